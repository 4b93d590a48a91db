"""Freezing: numbers reserved for approved invoices, all they are computed from put together.

After this nothing but the snapshot is read. Their charges are locked since they were submitted,
so what is frozen is what was approved. An issuing that fails gives its numbers back; the next
try gets the same numbers, so none is lost.
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Connection, Row

from billing_lib.errors import NotReady
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import issuings, runs, usage
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.carried import carried_amounts
from billing_lib.workflow.charge_rows import differing
from billing_lib.workflow.funds import balances
from billing_lib.workflow.gathering import gather
from billing_lib.workflow.notes import notes_in_force
from billing_lib.workflow.permissions import ISSUER, require
from billing_lib.workflow.selection import RunSelection
from billing_lib.workflow.snapshot import INVOICES, TEXTS, UNBILLED, Snapshot
from billing_lib.workflow.texts import texts_in_force


@dataclass(frozen=True)
class Frozen:
    """What is between freezing and issuing.

    Attributes
    ----------
    id
        The issuing's, and the audit record's.
    """

    id: str
    run: str
    facility: str
    period: str
    selection: str
    invoice_date: dt.date
    fiscal_year: int
    login: str
    frozen_at: dt.datetime
    snapshot: Snapshot

    @property
    def folder(self) -> Path:
        """Where the record goes, relative to the archive."""
        return Path(self.facility) / self.period / self.id

    @property
    def partial_folder(self) -> Path:
        """Where the record is while the issuing goes on, relative to the archive."""
        return Path(self.facility) / self.period / f".{self.id}.partial"


def freeze(
    connection: Connection,
    book: PriceBook,
    run: str,
    codes: list[str],
    *,
    invoice_date: dt.date,
    commit: str,
    container: str,
) -> Frozen:
    """Freeze invoices of a run that all reviewers have approved.

    Raises
    ------
    NotPermitted
        Only an issuer does this.
    NotReady
        The price book has changed since they were submitted.
    """
    row = runs.read_run(connection, run)
    facility, month = book.facility.code, row.period
    require(connection, facility, ISSUER)
    approved = ledger_invoices.lock_invoices(connection, facility, codes)
    charges = ledger_charges.read_charges(connection, facility, invoices=approved["code"])
    gathered = gather(connection, book, charges, month)
    changed = differing(connection, facility, charges, gathered.price())
    if changed.len():
        raise NotReady(
            f"the price book has changed since {changed.len():,} charges were approved, the first "
            f"of them {facility}/{changed[0]}",
            remedy="reject their invoices, so that they take in the change",
        )
    begun = issuings.freeze(
        connection,
        facility=facility,
        run=run,
        period=month,
        invoice_date=invoice_date,
        fiscal_year=book.facility.fiscal_year(invoice_date),
        commit_hash=commit,
        container=container,
    )
    numbers = issuings.reserve_numbers(
        connection,
        begun.id,
        facility,
        begun.fiscal_year,
        approved.sort("project", "code")["code"].to_list(),
        lambda sequence: f"{facility}-{begun.fiscal_year}-{sequence:05d}",
    )
    selection, period = RunSelection.parse(row.selection), Period.parse(month)
    billed = pl.col("project").is_in(approved["project"].unique().implode())
    snapshot = Snapshot(
        usage=gathered.usage,
        unbilled=selection.of(_unbilled(connection, book, month)).select(UNBILLED.names()),
        resources=gathered.catalogue.resources,
        items=gathered.catalogue.items,
        rates=gathered.catalogue.rates,
        accounts=gathered.catalogue.accounts.filter(billed),
        rules=gathered.rules,
        notes=notes_in_force(connection, facility, month).filter(billed),
        carried=carried_amounts(
            connection,
            book.facility,
            gathered.catalogue,
            period,
            approved["replaces"].drop_nulls(),
        ),
        adjustments=gathered.adjustments,
        lines=gathered.lines,
        invoices=_invoices(connection, facility, approved, numbers),
        placing=charges.select("invoice", charge="code"),
        texts=_texts(connection, book, period, begun),
    )
    return Frozen(
        begun.id,
        run,
        facility,
        month,
        row.selection,
        invoice_date,
        begun.fiscal_year,
        begun.login,
        begun.frozen_at,
        snapshot,
    )


def _invoices(
    connection: Connection, facility: str, approved: pl.DataFrame, numbers: pl.DataFrame
) -> pl.DataFrame:
    return (
        approved.rename({"code": "invoice"})
        .drop("number")
        .join(numbers.select("invoice", "number"), on="invoice")
        .join(balances(connection, facility, approved), on="project", how="left")
        .select(INVOICES.names())
        .sort("number")
    )


def _unbilled(connection: Connection, book: PriceBook, month: str) -> pl.DataFrame:
    teams = pl.DataFrame(
        [(project.code, project.team) for project in book.projects],
        schema={"project": pl.String, "team": pl.String},
        orient="row",
    )
    unbilled = usage.read_unbilled(connection, book.facility.code, month)
    return unbilled.join(teams, on="project", how="left", maintain_order="left")


def _texts(
    connection: Connection, book: PriceBook, period: Period, begun: Row[Any]
) -> pl.DataFrame:
    facility = book.facility
    texts = {
        "run": begun.id,
        "facility": facility.code,
        "facility_name": facility.name,
        "currency": facility.currency,
        "timezone": facility.timezone,
        **texts_in_force(connection, book),
        "country": facility.country or "",
        "tax_id": facility.tax_id or "",
        "period": str(period),
        "covers_from": period.first_day.isoformat(),
        "covers_to": period.last_day.isoformat(),
        "invoice_date": begun.invoice_date.isoformat(),
        "frozen_by": begun.login,
        "frozen_at": begun.frozen_at.isoformat(timespec="seconds"),
    }
    return pl.DataFrame(list(texts.items()), schema=TEXTS, orient="row")
