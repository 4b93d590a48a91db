"""What staff do with a billing run as a whole: make, disable, enable, cancel, describe it.

Each is an event, and stands in the run's execution history where it is a job.
"""

from dataclasses import dataclass
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine, Row

from billing_lib.errors import InvalidAdjustment, NotReady
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import runs
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.states import DISABLED
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.approving import close
from billing_lib.workflow.facility import note_facility
from billing_lib.workflow.outbox import deliveries
from billing_lib.workflow.permissions import REVIEWER, VIEWER, readable, require
from billing_lib.workflow.runs import UNFINISHED, calculate, open_run, require_open, take_in
from billing_lib.workflow.selection import RunSelection


def make_run(
    engine: Engine,
    book: PriceBook,
    period: Period,
    selection: RunSelection,
    description: str = "",
) -> list[str]:
    """Make the run of a month or of some projects or teams of it, or bring the one that is open
    up to date; what it has now, in words.

    Raises
    ------
    InvalidAdjustment
        A project or team is not in the price book.
    NotReady
        Nothing is charged that is on no invoice yet.
    """
    facility = book.facility.code
    _require_known(book, selection)
    with writing(engine) as connection:
        require(connection, facility, REVIEWER)
        note_facility(connection, book)
        before = set(runs.read_runs(connection, facility, str(period))["id"])
        run = open_run(connection, book, period, selection, description)
        require_open(connection, run)
        taken = take_in(connection, book, run)
        drafts = ledger_invoices.read_invoices(connection, run=run, states=UNFINISHED)
        if drafts.height == 0:
            raise NotReady(
                f"nothing of {facility} {period} is left for a run",
                remedy=f"'billing charges {facility} {period}' lists what there is",
            )
        calculate(connection, book, drafts["code"].to_list())
        made = "made" if run not in before else "brought up to date"
        said = (
            f"billing run {run} {made}: {drafts.height:,} invoices not issued yet, "
            f"{taken:,} charges taken in"
        )
        if run not in before or taken:
            note_job(connection, run, "calculate", said)
    return [said]


def note_job(connection: Connection, run: str, kind: str, log: str) -> None:
    """Note a job that was done within this transaction."""
    runs.end_job(connection, run, runs.begin_job(connection, run, kind), "DONE", log)


def set_enabled(engine: Engine, book: PriceBook, run: str, *, enabled: bool) -> list[str]:
    """Enable a run, or disable it so that the batch passes it over; what was done, in words."""
    with writing(engine) as connection:
        require(connection, book.facility.code, REVIEWER)
        row = run_of(connection, book, run)
        if enabled == (row.state != DISABLED) and row.state in ("OPEN", DISABLED):
            return [f"billing run {run} is {row.state} already, nothing changed"]
        runs.move_run(connection, run, "enable" if enabled else "disable")
    return [f"billing run {run} is {'enabled' if enabled else 'disabled'}"]


def cancel(engine: Engine, book: PriceBook, run: str, reason: str, *, reopen: bool) -> list[str]:
    """Cancel a run: what it has not issued is closed; what was done, in words.

    Parameters
    ----------
    reopen
        Whether the charges are free again for another run, or cancelled for good.
    """
    with writing(engine) as connection:
        require(connection, book.facility.code, REVIEWER)
        row = run_of(connection, book, run)
        if row.state == "CANCELLED":
            return [f"billing run {run} was cancelled before, nothing changed"]
        left = ledger_invoices.read_invoices(connection, run=run, states=UNFINISHED)
        codes = left["code"].to_list()
        said = close(connection, book, codes, reason, reopen=reopen)
        runs.move_run(connection, run, "cancel", reason)
        note_job(connection, run, "cancel", f"{len(said):,} invoices closed: {reason}")
    return [*said, f"billing run {run} is cancelled"]


def describe(engine: Engine, book: PriceBook, run: str, description: str) -> list[str]:
    """Edit a run's description; what was done, in words."""
    with writing(engine) as connection:
        require(connection, book.facility.code, REVIEWER)
        if run_of(connection, book, run).description == description:
            return [f"billing run {run} is described so already, nothing changed"]
        runs.describe_run(connection, run, description)
    return [f"billing run {run}: {description}"]


@dataclass(frozen=True)
class RunView:
    """A run as staff see it.

    Attributes
    ----------
    run
        Its columns by name.
    invoices
        Its invoices (schema INVOICE of ledger/invoices.py), by code.
    jobs
        Its execution history (schema JOB of ledger/runs.py), in order.
    deliveries
        What became of the messages on its invoices (workflow/outbox.py).
    """

    run: dict[str, object]
    invoices: pl.DataFrame
    jobs: pl.DataFrame
    deliveries: pl.DataFrame


def read_run(engine: Engine, book: PriceBook, run: str) -> RunView:
    """A run with its invoices and its execution history."""
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        row = run_of(connection, book, run)
        held = ledger_invoices.read_invoices(connection, run=run)
        told = deliveries(connection, held["number"].drop_nulls().to_list())
        return RunView(row._asdict(), held, runs.read_jobs(connection, run), told)


def list_runs(
    engine: Engine, facility: str | None = None, month: str | None = None
) -> pl.DataFrame:
    """Billing runs that may be seen, with how many invoices they have in all, and not issued yet.

    Raises
    ------
    NotPermitted
        A facility is named that may not be read.
    """
    with reading(engine) as connection:
        if facility is not None:
            require(connection, facility, VIEWER)
        found = runs.read_runs(connection, facility, month)
        whole = readable(connection, found["facility"])
        found = found.filter(pl.col("facility").is_in(whole))
        held = ledger_invoices.read_invoices(connection, facility, period=month)
    counts = held.group_by(pl.col("run").alias("id")).agg(
        pl.len().cast(pl.Int64).alias("invoices"),
        pl.col("state").is_in(UNFINISHED).sum().cast(pl.Int64).alias("open"),
    )
    return (
        found.join(counts, on="id", how="left", maintain_order="left")
        .with_columns(pl.col("invoices", "open").fill_null(0))
        .select("id", "facility", "period", "selection", "state", "invoices", "open", "description")
        .rename({"id": "run"})
    )


def _require_known(book: PriceBook, selection: RunSelection) -> None:
    known = {
        "project": {project.code for project in book.projects},
        "team": {team.code for team in book.teams},
    }
    for what, stated in (("project", selection.projects), ("team", selection.teams)):
        strange = sorted(set(stated) - known[what])
        if strange:
            raise InvalidAdjustment(f"the price book has no {what} '{strange[0]}'", where=what)


def run_of(connection: Connection, book: PriceBook, run: str) -> Row[Any]:
    """A run of the price book's facility: its columns by name.

    Raises
    ------
    UnknownRun
        There is none with this id.
    InvalidAdjustment
        It is another facility's.
    """
    row = runs.read_run(connection, run)
    if row.facility != book.facility.code:
        raise InvalidAdjustment(f"billing run {run} is not of {book.facility.code}")
    return row
