"""The overview of facilities' months, the months of labs, and the report on a run before approval.

    facility  1993-10                          1993-11
    RC        ISSUED  19,806.92                IN APPROVAL  21,417.70
                                               12 invoices waiting for ann

The overview gives each month's state and total, and the people it waits for, in the facilities in
which the user has a role. Labs choose a listing or statement from their own months:

    bio   Structural Biology Lab   1993-11, 1993-10

The pre-invoicing report is read before the first approval. It compares a run with the month
before: number and sum of invoices, the largest ones, new and missing projects, unbilled usage.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from zoneinfo import ZoneInfo

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import count_of
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import overview, runs, usage
from billing_lib.ledger.database import reading
from billing_lib.ledger.people import current_login
from billing_lib.ledger.states import (
    ACTIVE,
    APPROVING,
    EDITABLE,
    ERROR,
    QUARANTINED,
    REJECTED,
    UNFINISHED,
)
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.permissions import (
    ISSUER,
    REVIEWER,
    VIEWER,
    may,
    may_team,
    readable,
    require,
)
from billing_lib.workflow.rate import count_by_reason
from billing_lib.workflow.runs import RunScope, signed_off, unsigned_ad_hoc
from billing_lib.workflow.unplaced import month_unbilled, read_unplaced

TO_RATE, IN_REVIEW, READY = "TO RATE", "IN REVIEW", "READY"
IN_APPROVAL, PARTLY_ISSUED, ALL_ISSUED = "IN APPROVAL", "PARTLY ISSUED", "ISSUED"

STATES = {
    TO_RATE: "some usage is loaded but not rated",
    IN_REVIEW: "rated, but not signed off yet",
    READY: "may be issued",
    IN_APPROVAL: "invoices wait for reviewers",
    PARTLY_ISSUED: "some charges are issued, others are not",
    ALL_ISSUED: "all charges are issued or closed",
}
"""The states of a month and their meanings."""

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
        "mine": pl.Boolean(),
    }
)
"""Columns of an overview. ``mine`` says whether the next step is the current user's. ``total`` is
in minor units: the sum of the charges, or of the issued invoices of an ISSUED month."""

_HELD = {REJECTED: "rejected", QUARANTINED: "in quarantine", ERROR: "in error"}


def read_overview(engine: Engine, books: dict[str, PriceBook], months: int = 6) -> pl.DataFrame:
    """Return the newest months with usage or charges, the same for all facilities (OVERVIEW).

    Covers the facilities whose every row the current user may read.
    """
    rows: list[dict[str, object]] = []
    with reading(engine) as connection:
        for code in readable(connection, books):
            rows += _months(connection, books[code])
    overviews = pl.DataFrame(rows, schema=OVERVIEW, orient="row").sort("facility", "period")
    newest = overviews["period"].unique().sort(descending=True).head(months)
    return overviews.filter(pl.col("period").is_in(newest.implode()))


def loading(engine: Engine, books: dict[str, PriceBook]) -> dict[str, str]:
    """The facilities into which the current user may load usage, each with its present month."""
    with reading(engine) as connection:
        codes = [code for code in sorted(books) if may(connection, code, REVIEWER)]
    now = dt.datetime.now(dt.UTC)
    return {
        code: f"{now.astimezone(ZoneInfo(books[code].facility.timezone)):%Y-%m}" for code in codes
    }


def _months(connection: Connection, book: PriceBook) -> list[dict[str, object]]:
    facility = book.facility.code
    counted = usage.count_records(connection, facility).drop_nulls("period")
    charged = overview.sum_charges(connection, facility)
    invoiced = overview.sum_invoices(connection, facility)
    both = counted.rename({"charges": "usage_charges"}).join(
        charged, on="period", how="full", coalesce=True
    )
    rows = both.with_columns(pl.exclude("period").fill_null(0)).sort("period")
    unplaced = read_unplaced(connection, facility).height
    return [
        _month(connection, book, row, invoiced.filter(pl.col("period") == row["period"]), unplaced)
        for row in rows.iter_rows(named=True)
    ]


def _month(
    connection: Connection,
    book: PriceBook,
    row: dict[str, object],
    invoiced: pl.DataFrame,
    unplaced: int,
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
        state = READY if signed_off(connection, book, str(row["period"])) else IN_REVIEW
        waits.append("an issuer" if state == READY else "a reviewer's sign-off")
    else:
        state = ALL_ISSUED
    waits += _waiting(book, approving)
    if state == ALL_ISSUED and active.height:
        unplaced = 0
    elif unplaced:
        waits.append(f"{unplaced:,} usage {'row' if unplaced == 1 else 'rows'} without a time")
    unfinished = invoiced.filter(pl.col("state").is_in(UNFINISHED))
    reissues = int(unfinished["reissues"].sum())
    if reissues:
        waits.append(f"{reissues:,} {'reissue is' if reissues == 1 else 'reissues are'} open")
    if state == READY:
        drafts = ledger_invoices.read_invoices(
            connection, book.facility.code, period=str(row["period"]), states=EDITABLE
        )
        waits += [
            f"the ad hoc invoice {code} waits for a sign-off"
            for code in unsigned_ad_hoc(connection, book, str(row["period"]), drafts)
        ]
    for held in (state for state in EDITABLE if state in _HELD):
        count = int(invoiced.filter(pl.col("state") == held)["invoices"].sum())
        if count:
            waits.append(f"{count_of(count, 'invoice')} {_HELD[held]}")
    return {
        "facility": book.facility.code,
        "name": book.facility.name,
        "period": row["period"],
        "state": state,
        "charges": row["charges"],
        "invoices": int(active["invoices"].sum()),
        "unbilled": int(str(row["unbilled"])) + unplaced,
        "total": int(active["total"].sum())
        if state == ALL_ISSUED and active.height
        else row["total"],
        "currency": book.facility.currency,
        "waits": waits,
        "mine": _mine(connection, book, state, approving),
    }


_ROLES = {TO_RATE: REVIEWER, IN_REVIEW: REVIEWER, READY: ISSUER, PARTLY_ISSUED: ISSUER}
"""The role that takes the next step of a month."""


def _mine(connection: Connection, book: PriceBook, state: str, approving: pl.DataFrame) -> bool:
    """Whether the current user takes the month's next step."""
    if state != IN_APPROVAL:
        return state in _ROLES and may(connection, book.facility.code, _ROLES[state])
    login = current_login(connection)
    steps = _reviewers(book)
    return any(step < len(steps) and login in steps[step] for step in approving["step"])


def _reviewers(book: PriceBook) -> tuple[tuple[str, ...], ...]:
    return book.facility.approval.reviewers if book.facility.approval is not None else ()


def _waiting(book: PriceBook, approving: pl.DataFrame) -> list[str]:
    """Sentences on the people for whom invoices in approval wait."""
    steps = _reviewers(book)
    by_step = approving.group_by("step").agg(pl.col("invoices").sum()).sort("step")
    return [
        f"{count_of(count, 'invoice')} waiting for "
        + (" or ".join(steps[step]) if step < len(steps) else "an issuer")
        for step, count in by_step.select("step", "invoices").iter_rows()
    ]


LAB_MONTHS = pl.Schema({"team": pl.String(), "name": pl.String(), "period": pl.String()})
"""Columns of read_lab_months."""


def read_lab_months(engine: Engine, books: Mapping[str, PriceBook]) -> pl.DataFrame:
    """List the months with charges of the teams that the current user may see (LAB_MONTHS).

    Sorted by name, the newest month first.
    """
    parts = [LAB_MONTHS.to_frame()]
    with reading(engine) as connection:
        for code, book in sorted(books.items()):
            teams = [team for team in book.teams if may_team(connection, code, team.code)]
            names = pl.DataFrame(
                {"team": [team.code for team in teams], "name": [team.name for team in teams]},
                schema={"team": pl.String, "name": pl.String},
            )
            months = overview.read_team_months(connection, code)
            parts.append(months.join(names, on="team").select(LAB_MONTHS.names()))
    lab_months = pl.concat(parts).unique(["team", "period"], keep="first", maintain_order=True)
    return lab_months.sort("name", "team", "period", descending=[False, False, True])


LARGEST = 10
"""The number of largest invoices in a report."""

_COUNTED = (*UNFINISHED, *ACTIVE)


@dataclass(frozen=True)
class RunReport:
    """The pre-invoicing report of a run; amounts in minor units.

    Attributes
    ----------
    states
        ``state``, ``invoices``, ``charges``, ``raw_total``, ``adjustment``, ``total``, ``cost``.
    total, last_total
        The run's total, and that of the same projects or teams in the month before.
    largest
        ``invoice``, ``project``, ``team``, ``state``, ``charges``, ``total``, ``last_total``.
    new, missing
        ``project``, ``total``: projects billed only in this month, or only in the month before.
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
        """The change against the month before in per cent, with one decimal; a dash from zero."""
        if self.last_total == 0:
            return "–"
        percent = Decimal(100 * (self.total - self.last_total)) / self.last_total
        return f"{percent.quantize(Decimal('0.1')):+} %"


def report_run(engine: Engine, book: PriceBook, run: str) -> RunReport:
    """Read a run's pre-invoicing report in one transaction."""
    facility = book.facility.code
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        row = runs.read_run(connection, run)
        selection = RunScope.parse(row.selection)
        now = ledger_invoices.read_invoices(connection, run=run)
        month_before = str(Period.parse(row.period).previous)
        invoiced = ledger_invoices.read_invoices(
            connection, facility, period=month_before, states=_COUNTED
        )
        unbilled = month_unbilled(connection, facility, row.period)
    before = _by_project(selection.of(invoiced)).rename({"total": "last_total"})
    counted = now.filter(pl.col("state").is_in(_COUNTED))
    projects = _by_project(counted).join(before, on="project", how="full", coalesce=True)
    amounts = ("charges", "raw_total", "adjustment", "total", "cost")
    return RunReport(
        run=run,
        period=row.period,
        currency=book.facility.currency,
        states=now.group_by("state")
        .agg(pl.len().cast(pl.Int64).alias("invoices"), pl.col(*amounts).sum())
        .sort("state"),
        total=int(counted["total"].sum()),
        last_total=int(before["last_total"].sum()),
        largest=counted.join(before, on="project", how="left")
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
        unbilled=count_by_reason(unbilled),
    )


def _by_project(invoices: pl.DataFrame) -> pl.DataFrame:
    return invoices.group_by("project").agg(pl.col("total").sum()).sort("project")
