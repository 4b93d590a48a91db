"""Freezing: a run's charges bound, its numbers reserved, all it reads written as a snapshot.

After this nothing but the snapshot is read. A run that fails gives its charges and its numbers
back; the next try gets the same numbers, so none is lost.
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Connection, Row

from billing_lib.errors import AlreadyIssued, NotReady
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import runs, usage
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.carried import carried_amounts
from billing_lib.workflow.gathering import Gathered, gather
from billing_lib.workflow.notes import notes_in_force
from billing_lib.workflow.rating import differing
from billing_lib.workflow.snapshot import NUMBERS, TEXTS, UNBILLED, Snapshot


@dataclass(frozen=True)
class FrozenRun:
    """A run between freezing and issuing.

    Attributes
    ----------
    left
        Sentences on pending charges that stay out of the run.
    """

    id: str
    facility: str
    period: str
    selection: str
    invoice_date: dt.date
    fiscal_year: int
    login: str
    frozen_at: dt.datetime
    snapshot: Snapshot
    left: list[str]

    @property
    def folder(self) -> Path:
        """Where the record goes, relative to the archive."""
        return Path(self.facility) / self.period / self.id

    @property
    def partial_folder(self) -> Path:
        """Where the record is while the run goes on, relative to the archive."""
        return Path(self.facility) / self.period / f".{self.id}.partial"


def freeze(
    connection: Connection,
    book: PriceBook,
    period: Period,
    *,
    project: str | None,
    invoice_date: dt.date,
    commit: str,
    container: str,
) -> FrozenRun:
    """Freeze what is pending for a period, or for one project of it.

    Raises
    ------
    AlreadyIssued
        Everything asked for is on an invoice already.
    NotReady
        Nothing is pending, or the price book has changed since the charges were rated.
    """
    facility, month = book.facility.code, str(period)
    pending, left = _pending(connection, facility, month, project)
    gathered = gather(connection, book, pending)
    _require_as_reviewed(connection, facility, month, pending, gathered)
    run_id = runs.next_run_id(connection, facility, month)
    fiscal_year = book.facility.fiscal_year(invoice_date)
    runs.freeze_run(
        connection,
        run_id,
        facility=facility,
        period=month,
        selection=project or "",
        invoice_date=invoice_date,
        fiscal_year=fiscal_year,
        commit_hash=commit,
        container=container,
    )
    ledger_charges.bind_charges(connection, facility, pending["code"], run_id)
    numbers = runs.reserve_numbers(
        connection,
        run_id,
        facility,
        fiscal_year,
        sorted(pending["project"].unique()),
        lambda sequence: f"{facility}-{fiscal_year}-{sequence:05d}",
    )
    run = runs.require_frozen(connection, facility)
    snapshot = Snapshot(
        usage=gathered.usage,
        unbilled=_unbilled(connection, facility, month, project),
        resources=gathered.catalogue.resources,
        items=gathered.catalogue.items,
        rates=gathered.catalogue.rates,
        accounts=gathered.catalogue.accounts.filter(
            pl.col("project").is_in(numbers["project"].implode())
        ),
        rules=gathered.catalogue.rules,
        notes=notes_in_force(connection, facility, month).filter(
            pl.col("project").is_in(numbers["project"].implode())
        ),
        carried=carried_amounts(connection, book.facility, gathered.catalogue, period),
        adjustments=gathered.adjustments,
        lines=gathered.lines,
        invoices=numbers.select(NUMBERS.names()),
        texts=_texts(book, period, run),
    )
    return FrozenRun(
        run.id,
        facility,
        month,
        project or "",
        invoice_date,
        fiscal_year,
        run.login,
        run.frozen_at,
        snapshot,
        left,
    )


def _pending(
    connection: Connection, facility: str, month: str, project: str | None
) -> tuple[pl.DataFrame, list[str]]:
    charges = ledger_charges.read_charges(connection, facility, period=month, project=project)
    what = f"{facility} {month}" + (f", project {project}" if project else "")
    if charges.height == 0:
        raise NotReady(
            f"there are no charges for {what}",
            remedy=f"load usage and run 'billing rate {facility} {month}'",
        )
    issued = ledger_invoices.read_invoices(
        connection, facility=facility, period=month, project=project
    )
    pending = charges.filter(pl.col("state") == "PENDING")
    late = pending.filter(pl.col("project").is_in(issued["project"].implode()))
    ready = pending.filter(~pl.col("project").is_in(issued["project"].implode()))
    left = [
        f"{count:,} charges of project {code} came after its invoice and stay pending"
        for code, count in late.group_by("project").len().sort("project").iter_rows()
    ]
    if ready.height == 0:
        first, last = min(issued["number"]), max(issued["number"])
        numbers = str(first) if first == last else f"{first} to {last}"
        raise AlreadyIssued(
            "; ".join([f"{what} is issued ({numbers})", *left]),
            remedy="'billing invoices' lists them",
        )
    return ready, left


def _require_as_reviewed(
    connection: Connection, facility: str, month: str, pending: pl.DataFrame, gathered: Gathered
) -> None:
    codes = differing(connection, facility, pending, gathered.price())
    if codes.len():
        raise NotReady(
            f"the price book has changed since {codes.len():,} charges were rated, the first of "
            f"them {facility}/{codes[0]}",
            remedy=f"run 'billing rate {facility} {month}' and review them",
        )


def _unbilled(
    connection: Connection, facility: str, month: str, project: str | None
) -> pl.DataFrame:
    frame = usage.read_unbilled(connection, facility, month)
    chosen = frame if project is None else frame.filter(pl.col("project") == project)
    return chosen.select(UNBILLED.names())


def _texts(book: PriceBook, period: Period, run: Row[Any]) -> pl.DataFrame:
    facility = book.facility
    texts = {
        "run": run.id,
        "facility": facility.code,
        "facility_name": facility.name,
        "currency": facility.currency,
        "timezone": facility.timezone,
        "instructions": facility.instructions.strip(),
        "contacts": facility.contacts.strip(),
        "country": facility.country or "",
        "tax_id": facility.tax_id or "",
        "period": str(period),
        "covers_from": period.first_day.isoformat(),
        "covers_to": period.last_day.isoformat(),
        "invoice_date": run.invoice_date.isoformat(),
        "frozen_by": run.login,
        "frozen_at": run.frozen_at.isoformat(timespec="seconds"),
    }
    return pl.DataFrame(list(texts.items()), schema=TEXTS, orient="row")
