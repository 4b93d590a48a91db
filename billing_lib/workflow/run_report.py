"""The pre-invoicing report: what a run is about to bill, beside what the last month came to.

Read before the first approval: how many invoices and how much, which are the largest, which
projects are new or missing, what is not billed and why.
"""

from dataclasses import dataclass
from decimal import Decimal

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import runs, usage
from billing_lib.ledger.database import reading
from billing_lib.ledger.states import ACTIVE
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.permissions import VIEWER, require
from billing_lib.workflow.runs import UNFINISHED
from billing_lib.workflow.selection import RunSelection

LARGEST = 10
"""How many of the largest invoices are listed."""

_COUNTED = (*UNFINISHED, *ACTIVE)


@dataclass(frozen=True)
class RunReport:
    """What a run is about to bill. Amounts are minor units.

    Attributes
    ----------
    states
        ``state``, ``invoices``, ``charges``, ``raw_total``, ``adjustment``, ``total``, ``cost``.
    total, last_total
        Of the run, and of the same projects or teams in the month before.
    largest
        ``invoice``, ``project``, ``team``, ``state``, ``charges``, ``total``, ``last_total``.
    new, missing
        ``project``, ``total``: billed now and not in the month before; billed then and not now.
    unbilled
        ``reason``, ``records``.
    """

    run: str
    period: str
    currency: str
    states: pl.DataFrame
    total: int
    last_total: int
    largest: pl.DataFrame
    new: pl.DataFrame
    missing: pl.DataFrame
    unbilled: pl.DataFrame

    @property
    def change(self) -> str:
        """The change against the month before, in per cent with one place; a dash from nothing."""
        if self.last_total == 0:
            return "–"
        percent = Decimal(100 * (self.total - self.last_total)) / self.last_total
        return f"{percent.quantize(Decimal('0.1')):+} %"


def report_run(engine: Engine, book: PriceBook, run: str) -> RunReport:
    """The pre-invoicing report of a run, from the ledger as at one moment."""
    facility = book.facility.code
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        row = runs.read_run(connection, run)
        selection = RunSelection.parse(row.selection)
        now = ledger_invoices.read_invoices(connection, run=run)
        before = _last_month(connection, facility, row.period, selection)
        unbilled = usage.read_unbilled(connection, facility, row.period)
    counted = now.filter(pl.col("state").is_in(_COUNTED))
    projects = _by_project(counted).join(
        before.rename({"total": "last_total"}), on="project", how="full", coalesce=True
    )
    amounts = ("charges", "raw_total", "adjustment", "total", "cost")
    return RunReport(
        run=run,
        period=row.period,
        currency=book.facility.currency,
        states=now.group_by("state")
        .agg(pl.len().cast(pl.Int64).alias("invoices"), pl.col(*amounts).sum())
        .sort("state"),
        total=int(counted["total"].sum()),
        last_total=int(before["total"].sum()),
        largest=counted.join(before.rename({"total": "last_total"}), on="project", how="left")
        .sort("total", "code", descending=[True, False])
        .head(LARGEST)
        .rename({"code": "invoice"})
        .select("invoice", "project", "team", "state", "charges", "total", "last_total"),
        new=projects.filter(pl.col("last_total").is_null())
        .select("project", "total")
        .sort("project"),
        missing=projects.filter(pl.col("total").is_null())
        .select("project", total="last_total")
        .sort("project"),
        unbilled=unbilled.group_by("reason")
        .agg(pl.len().cast(pl.Int64).alias("records"))
        .sort("records", "reason", descending=[True, False]),
    )


def _by_project(invoices: pl.DataFrame) -> pl.DataFrame:
    return invoices.group_by("project").agg(pl.col("total").sum()).sort("project")


def _last_month(
    connection: Connection, facility: str, month: str, selection: RunSelection
) -> pl.DataFrame:
    before = str(Period.parse(month).previous)
    found = ledger_invoices.read_invoices(connection, facility, period=before, states=_COUNTED)
    return _by_project(selection.of(found))
