"""Freezing: numbers reserved for approved invoices, all they are computed from put together.

After this nothing but the snapshot is read. Their charges are locked since they were submitted,
so what is frozen is what was approved. An issuing that fails gives its numbers back; the next
try gets the same numbers, so none is lost.
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from sqlalchemy import Connection

from billing_lib.errors import NotReady
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import issuings, runs, usage
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.charge_rows import differing
from billing_lib.workflow.composing import compose, in_order
from billing_lib.workflow.gathering import gather
from billing_lib.workflow.permissions import ISSUER, require
from billing_lib.workflow.selection import RunSelection
from billing_lib.workflow.snapshot import UNBILLED, Snapshot


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
        in_order(approved),
        lambda sequence: f"{facility}-{begun.fiscal_year}-{sequence:05d}",
    )
    unbilled = RunSelection.parse(row.selection).of(_unbilled(connection, book, month))
    snapshot = compose(
        connection,
        book,
        Period.parse(month),
        invoices=approved,
        numbers=numbers,
        charges=charges,
        gathered=gathered,
        unbilled=unbilled.select(UNBILLED.names()),
        said={
            "run": begun.id,
            "invoice_date": begun.invoice_date.isoformat(),
            "frozen_by": begun.login,
            "frozen_at": begun.frozen_at.isoformat(timespec="seconds"),
        },
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


def _unbilled(connection: Connection, book: PriceBook, month: str) -> pl.DataFrame:
    teams = pl.DataFrame(
        [(project.code, project.team) for project in book.projects],
        schema={"project": pl.String, "team": pl.String},
        orient="row",
    )
    unbilled = usage.read_unbilled(connection, book.facility.code, month)
    return unbilled.join(teams, on="project", how="left", maintain_order="left")
