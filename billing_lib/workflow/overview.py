"""The overview: every facility's months, each with its state, what it comes to, and for whom it
waits.

    facility  1993-10                          1993-11
    RC        ISSUED  19,806.92                IN APPROVAL  21,417.70
                                               12 invoices wait for ann

Only facilities whose every row may be read are in it.

Which labs' months who is asking may see: what a listing or a statement is chosen from.

bio   Structural Biology Lab   1993-11, 1993-10

The pre-invoicing report: what a run is about to bill, beside what the last month came to.

Read before the first approval: how many invoices and how much, which are the largest, which
projects are new or missing, what is not billed and why.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import NotReady
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import overview, runs, usage
from billing_lib.ledger.database import reading
from billing_lib.ledger.states import ACTIVE, APPROVING, EDITABLE, ERROR, QUARANTINED, REJECTED
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.permissions import VIEWER, may_team, readable, require
from billing_lib.workflow.runs import UNFINISHED, RunSelection, require_ready

TO_RATE, IN_REVIEW, READY = "TO RATE", "IN REVIEW", "READY"
IN_APPROVAL, PARTLY_ISSUED, DONE = "IN APPROVAL", "PARTLY ISSUED", "ISSUED"

STATES = {
    TO_RATE: "usage is loaded that is not rated",
    IN_REVIEW: "rated; nobody has said yet that it may be issued",
    READY: "it may be issued",
    IN_APPROVAL: "invoices wait for reviewers",
    PARTLY_ISSUED: "some of it is issued",
    DONE: "all of it is issued or closed",
}
"""The states of a month, and what each means."""

OVERVIEW = pl.Schema(
    {
        "facility": pl.String(),
        "name": pl.String(),
        "period": pl.String(),
        "state": pl.String(),
        "charges": pl.Int64(),
        "invoices": pl.Int64(),
        "unbilled": pl.Int64(),
        "total": pl.Int64(),
        "currency": pl.String(),
        "waits": pl.List(pl.String()),
    }
)
"""Columns of an overview; ``total`` is minor units: issued invoices once all is issued, else
charges."""

_SAID = {REJECTED: "rejected", QUARANTINED: "in quarantine", ERROR: "in error"}


def read_overview(engine: Engine, books: dict[str, PriceBook], months: int = 6) -> pl.DataFrame:
    """The newest months that have anything, of every facility that may be read (OVERVIEW).

    Parameters
    ----------
    months
        How many months are taken, the same for all facilities.
    """
    rows: list[dict[str, object]] = []
    with reading(engine) as connection:
        for code in readable(connection, books):
            rows += _months(connection, books[code])
    found = pl.DataFrame(rows, schema=OVERVIEW, orient="row").sort("facility", "period")
    newest = found["period"].unique().sort(descending=True).head(months)
    return found.filter(pl.col("period").is_in(newest.implode()))


def _months(connection: Connection, book: PriceBook) -> list[dict[str, object]]:
    facility = book.facility.code
    counted = usage.count_records(connection, facility).drop_nulls("period")
    charged = overview.sum_charges(connection, facility)
    invoiced = overview.sum_invoices(connection, facility)
    both = counted.rename({"charges": "usage_charges"}).join(
        charged, on="period", how="full", coalesce=True
    )
    rows = both.with_columns(pl.exclude("period").fill_null(0)).sort("period")
    return [
        _month(connection, book, row, invoiced.filter(pl.col("period") == row["period"]))
        for row in rows.iter_rows(named=True)
    ]


def _month(
    connection: Connection, book: PriceBook, row: dict[str, object], invoiced: pl.DataFrame
) -> dict[str, object]:
    active = invoiced.filter(pl.col("state").is_in(ACTIVE))
    approving = invoiced.filter(pl.col("state") == APPROVING)
    unrated = int(str(row["records"])) - int(str(row["usage_charges"])) - int(str(row["unbilled"]))
    pending, waits = int(str(row["pending"])), []
    if unrated > 0:
        state = TO_RATE
        waits.append(f"{unrated:,} usage {'record' if unrated == 1 else 'records'} to be rated")
    elif approving.height:
        state = IN_APPROVAL
    elif pending and active.height:
        state = PARTLY_ISSUED
    elif pending:
        state = READY if _is_ready(connection, book, str(row["period"])) else IN_REVIEW
        waits.append("an issuer" if state == READY else "a reviewer's word that it is ready")
    else:
        state = DONE
    waits += _waiting(book, approving)
    for held in (state for state in EDITABLE if state in _SAID):
        count = int(invoiced.filter(pl.col("state") == held)["invoices"].sum())
        if count:
            waits.append(f"{count:,} {_invoices(count)} {_SAID[held]}")
    return {
        "facility": book.facility.code,
        "name": book.facility.name,
        "period": row["period"],
        "state": state,
        "charges": row["charges"],
        "invoices": int(active["invoices"].sum()),
        "unbilled": row["unbilled"],
        "total": int(active["total"].sum()) if state == DONE and active.height else row["total"],
        "currency": book.facility.currency,
        "waits": waits,
    }


def _is_ready(connection: Connection, book: PriceBook, month: str) -> bool:
    try:
        require_ready(connection, book, month)
    except NotReady:
        return False
    return True


def _waiting(book: PriceBook, approving: pl.DataFrame) -> list[str]:
    """For whom invoices that are being approved wait."""
    approval = book.facility.approval
    steps = approval.reviewers if approval is not None else ()
    by_step = approving.group_by("step").agg(pl.col("invoices").sum()).sort("step")
    return [
        f"{count:,} {_invoices(count)} wait for "
        + (" or ".join(steps[step]) if step < len(steps) else "an issuer")
        for step, count in by_step.select("step", "invoices").iter_rows()
    ]


def _invoices(count: int) -> str:
    return "invoice" if count == 1 else "invoices"


LAB_MONTHS = pl.Schema({"team": pl.String(), "name": pl.String(), "period": pl.String()})
"""Columns of read_lab_months."""


def read_lab_months(engine: Engine, books: Mapping[str, PriceBook]) -> pl.DataFrame:
    """The months with charges of every team that who is asking may see in some facility
    (LAB_MONTHS), by name, the newest month first."""
    found = [LAB_MONTHS.to_frame()]
    with reading(engine) as connection:
        for code, book in sorted(books.items()):
            teams = [team for team in book.teams if may_team(connection, code, team.code)]
            names = pl.DataFrame(
                {"team": [team.code for team in teams], "name": [team.name for team in teams]},
                schema={"team": pl.String, "name": pl.String},
            )
            months = overview.read_team_months(connection, code)
            found.append(months.join(names, on="team").select(LAB_MONTHS.names()))
    every = pl.concat(found).unique(["team", "period"], keep="first", maintain_order=True)
    return every.sort("name", "team", "period", descending=[False, False, True])


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
