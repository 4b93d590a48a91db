"""Billing runs and their jobs: what staff run for a month, and each thing that was done in it.

RC-1993-11-1   1993-11, whole month   OPEN
    1  create   DONE   57 invoices
    2  issue    DONE   RC-1993-11-1: issued 57 invoices
"""

from typing import Any

import polars as pl
from sqlalchemy import Connection, Row, func, insert, select, update

from billing_lib.errors import NotReady, UnknownRun
from billing_lib.ledger import frames
from billing_lib.ledger.events import record_event
from billing_lib.ledger.identity import stamp
from billing_lib.ledger.invoice_tables import billing_run, job
from billing_lib.ledger.states import RUN as OF_RUN
from billing_lib.ledger.states import after
from billing_lib.ledger.types import frame_schema
from billing_lib.pricing.fields import canonical_json

RUN = frame_schema(billing_run.columns)
"""Columns of a billing run: id, facility, period, selection, state, description, login, made_at."""

JOB = frame_schema(job.columns)
"""Columns of a job: run, sequence, facility, kind, state, login, started_at, ended_at, log."""


def make_run(
    connection: Connection, facility: str, period: str, selection: str, description: str
) -> str:
    """Begin a billing run; its id: ``RC-1993-11-3`` after two of that month."""
    made = select(func.count()).where(
        billing_run.c.facility == facility, billing_run.c.period == period
    )
    run = f"{facility}-{period}-{connection.scalars(made).one() + 1}"
    connection.execute(
        insert(billing_run).values(
            id=run,
            facility=facility,
            period=period,
            selection=selection,
            state="OPEN",
            description=description,
            **stamp(connection, who="login", when="made_at"),
        )
    )
    return run


def read_run(connection: Connection, run: str) -> Row[Any]:
    """One run: its columns by name.

    Raises
    ------
    UnknownRun
        There is none with this id.
    """
    found = connection.execute(select(billing_run).where(billing_run.c.id == run)).one_or_none()
    if found is None:
        raise UnknownRun(f"there is no billing run {run}", remedy="'billing runs' lists them")
    return found


def read_runs(
    connection: Connection,
    facility: str | None = None,
    period: str | None = None,
    state: str | None = None,
) -> pl.DataFrame:
    """Billing runs (schema RUN), in the order in which they were made."""
    statement = select(billing_run)
    for column, wanted in (("facility", facility), ("period", period), ("state", state)):
        if wanted is not None:
            statement = statement.where(billing_run.c[column] == wanted)
    return frames.read_frame(connection, statement, RUN).sort("made_at", "id")


def move_run(connection: Connection, run: str, action: str, reason: str = "") -> None:
    """Make a move of states.py with a run; it is an event.

    Raises
    ------
    NotReady
        It is in a state from which the action does not lead.
    """
    row = read_run(connection, run)
    state = after(OF_RUN, row.state, action, f"billing run {run}")
    _change(connection, row, action, reason, "state", state)


def describe_run(connection: Connection, run: str, description: str) -> None:
    """Edit a run's description, the only thing of it that is edited."""
    row = read_run(connection, run)
    _change(connection, row, "describe", "", "description", description)


def begin_job(connection: Connection, run: str, kind: str) -> int:
    """Begin a job of a run; its sequence number."""
    row = read_run(connection, run)
    known = select(func.coalesce(func.max(job.c.sequence), 0)).where(job.c.run == run)
    sequence = int(connection.scalars(known).one()) + 1
    connection.execute(
        insert(job).values(
            run=run,
            sequence=sequence,
            facility=row.facility,
            kind=kind,
            state="RUNNING",
            log="",
            **stamp(connection, who="login", when="started_at"),
        )
    )
    return sequence


def end_job(connection: Connection, run: str, sequence: int, state: str, log: str) -> None:
    """End a job as DONE or FAILED, with what it has to tell."""
    connection.execute(
        update(job)
        .where(job.c.run == run, job.c.sequence == sequence)
        .values(state=state, log=log, **stamp(connection, when="ended_at"))
    )


def read_jobs(connection: Connection, run: str) -> pl.DataFrame:
    """The jobs of a run (schema JOB), in order."""
    statement = select(job).where(job.c.run == run)
    return frames.read_frame(connection, statement, JOB).sort("sequence")


def _change(
    connection: Connection, row: Row[Any], kind: str, reason: str, column: str, value: str
) -> None:
    before = getattr(row, column)
    changed = connection.execute(
        update(billing_run)
        .where(billing_run.c.id == row.id, billing_run.c[column] == before)
        .values({column: value})
    )
    if changed.rowcount != 1:
        raise NotReady(f"billing run {row.id} was changed by another at this moment")
    record_event(
        connection,
        row.facility,
        kind=f"run_{kind}",
        subject=row.id,
        reason=reason,
        before=canonical_json({column: before}),
        after=canonical_json({column: value}),
    )
