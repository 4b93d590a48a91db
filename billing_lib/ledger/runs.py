"""Billing runs with their jobs, and issuings with their invoice numbers.

    RC-1993-11-1   1993-11, whole month   OPEN
        1  create   DONE   57 invoices
        2  issue    DONE   RC-1993-11-1: issued 57 invoices

    RC-2020-04-1     FROZEN ─▶ FAILED   (its numbers go to the next try)
    RC-2020-04-1.2   FROZEN ─▶ ISSUED   RC-2020-00001, RC-2020-00002, no gap

A run bills a month or a part of it, and a job is one action in it. An issuing is one pass from
freezing to the archive. The first issuing has the run's id, which is also its audit record's; the
next ones, after a failure or for invoices approved later, add a number. One issuing per facility
is frozen at a time. Invoice numbers are 1 + the highest of the facility's fiscal year; they are
deleted only while their invoices are not issued.
"""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import polars as pl
from sqlalchemy import Connection, Row, func, insert, select, update

from billing_lib.errors import NotReady, UnknownRun
from billing_lib.ledger import frames
from billing_lib.ledger.database import stamp
from billing_lib.ledger.events import recorded
from billing_lib.ledger.frames import frame_schema
from billing_lib.ledger.schema import billing_run, invoice_number, issued_invoice, issuing, job
from billing_lib.ledger.states import FAILED, FROZEN, ISSUED, OPEN, RUNNING, after
from billing_lib.ledger.states import RUN as OF_RUN
from billing_lib.pricing.fields import canonical_json

RUN = frame_schema(billing_run.columns)
"""Columns of a billing run: id, facility, period, selection, state, description, login, made_at."""

JOB = frame_schema(job.columns)
"""Columns of a job: run, sequence, facility, kind, state, login, started_at, ended_at, log."""


def make_run(
    connection: Connection, facility: str, period: str, selection: str, description: str
) -> str:
    """Begin a billing run; its id: ``RC-1993-11-3`` after two runs of that month."""
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
            state=OPEN,
            description=description,
            **stamp(connection, who="login", when="made_at"),
        )
    )
    return run


def read_run(connection: Connection, run: str) -> Row[Any]:
    """A billing run's columns by name; it must exist."""
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
    """Billing runs (schema RUN), oldest first."""
    statement = select(billing_run)
    for column, wanted in (("facility", facility), ("period", period), ("state", state)):
        if wanted is not None:
            statement = statement.where(billing_run.c[column] == wanted)
    return frames.read_frame(connection, statement, RUN).sort("made_at", "id")


def move_run(connection: Connection, run: str, action: str, reason: str = "") -> None:
    """Move a run by an action of states.py, with an event."""
    row = read_run(connection, run)
    state = after(OF_RUN, row.state, action, f"billing run {run}")
    _change(connection, row, action, reason, "state", state)


def describe_run(connection: Connection, run: str, description: str) -> None:
    """Edit a run's description, its only editable column."""
    row = read_run(connection, run)
    _change(connection, row, "describe", "", "description", description)


def begin_job(connection: Connection, run: str, kind: str) -> int:
    """Begin a job of a run; its sequence number."""
    last = select(func.coalesce(func.max(job.c.sequence), 0)).where(job.c.run == run)
    begun = insert(job).values(
        run=run,
        sequence=last.scalar_subquery() + 1,
        facility=select(billing_run.c.facility).where(billing_run.c.id == run).scalar_subquery(),
        kind=kind,
        state=RUNNING,
        log="",
        **stamp(connection, who="login", when="started_at"),
    )
    return int(connection.scalars(begun.returning(job.c.sequence)).one())


def end_job(connection: Connection, run: str, sequence: int, state: str, log: str) -> None:
    """End a job as DONE or FAILED, with its log."""
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
    told = {
        "facility": row.facility,
        "kind": f"run_{kind}",
        "subject": row.id,
        "team": None,
        "group_id": None,
        "reason": reason,
        "before": canonical_json({column: before}),
        "after": canonical_json({column: value}),
    }
    with recorded(connection, [told]):
        changed = connection.execute(
            update(billing_run)
            .where(billing_run.c.id == row.id, billing_run.c[column] == before)
            .values({column: value})
        )
        if changed.rowcount != 1:
            raise NotReady(f"billing run {row.id} was changed by another at this moment")


ISSUING = frame_schema(issuing.columns)
"""Columns of an issuing: id, facility, run, period, state, invoice_date, … failure."""


def freeze(
    connection: Connection,
    *,
    facility: str,
    run: str,
    period: str,
    invoice_date: date,
    fiscal_year: int,
    commit_hash: str | None = None,
    container: str | None = None,
) -> Row[Any]:
    """Begin a FROZEN issuing; its columns by name. NotReady while the facility has another one.

    A run's first issuing has the run's id, its second one ``RC-2020-04-1.2``.
    """
    tries = 0
    earlier = select(issuing.c.id, issuing.c.run, issuing.c.state).where(
        issuing.c.facility == facility, (issuing.c.run == run) | (issuing.c.state == FROZEN)
    )
    for standing in connection.execute(earlier):
        if standing.state == FROZEN:
            raise NotReady(f"the issuing {standing.id} is not ended yet", where=facility)
        tries += 1
    begun = insert(issuing).values(
        id=run if tries == 0 else f"{run}.{tries + 1}",
        facility=facility,
        run=run,
        period=period,
        state=FROZEN,
        invoice_date=invoice_date,
        fiscal_year=fiscal_year,
        commit_hash=commit_hash,
        container=container,
        **stamp(connection, who="login", when="frozen_at"),
    )
    return connection.execute(begun.returning(issuing)).one()


def fail(connection: Connection, issuing_id: str, failure: str) -> None:
    """End a frozen issuing as FAILED, with the reason; its numbers are free again."""
    release_numbers(connection, issuing_id)
    _change_issuing(connection, issuing_id, {"state": FAILED, "failure": failure})


def finish(
    connection: Connection,
    issuing_id: str,
    snapshot_sha256: str | None = None,
    record: str | None = None,
) -> None:
    """End a frozen issuing as ISSUED, after its invoices are inserted; nothing undoes this.

    ``record`` is the path of the audit record in the archive.
    """
    ended = {"state": ISSUED, "snapshot_sha256": snapshot_sha256, "record": record}
    _change_issuing(connection, issuing_id, ended)


def frozen(connection: Connection, facility: str) -> Row[Any] | None:
    """The facility's FROZEN issuing: its columns by name, or None."""
    found = select(issuing).where(issuing.c.facility == facility, issuing.c.state == FROZEN)
    return connection.execute(found).one_or_none()


def read_issuing(connection: Connection, issuing_id: str) -> Row[Any]:
    """An issuing's columns by name."""
    return connection.execute(select(issuing).where(issuing.c.id == issuing_id)).one()


def find_record(connection: Connection, target: str) -> str | None:
    """The path in the archive of the record with this issuing's id or invoice number, if any."""
    numbered = select(issued_invoice.c.issuing).where(issued_invoice.c.number == target)
    named = (issuing.c.id == target) | issuing.c.id.in_(numbered)
    return connection.scalar(select(issuing.c.record).where(named, issuing.c.state == ISSUED))


def read_issuings(
    connection: Connection,
    facility: str | None = None,
    period: str | None = None,
    run: str | None = None,
) -> pl.DataFrame:
    """Issuings (schema ISSUING), oldest first."""
    statement = select(issuing)
    for column, wanted in (("facility", facility), ("period", period), ("run", run)):
        if wanted is not None:
            statement = statement.where(issuing.c[column] == wanted)
    return frames.read_frame(connection, statement, ISSUING).sort("frozen_at", "id")


def reserve_numbers(
    connection: Connection,
    issuing_id: str,
    facility: str,
    fiscal_year: int,
    invoices: Sequence[str],
    make_number: Callable[[int], str],
) -> pl.DataFrame:
    """Reserve the next numbers, one per invoice in order: ``invoice``, ``sequence``, ``number``.

    ``make_number`` makes a number of a sequence: ``lambda n: f"RC-2020-{n:04}"``.
    """
    last = connection.scalar(
        select(func.max(invoice_number.c.sequence)).where(
            invoice_number.c.facility == facility, invoice_number.c.fiscal_year == fiscal_year
        )
    )
    first = (last or 0) + 1
    reserved = pl.DataFrame(
        [
            (invoice, sequence, make_number(sequence))
            for sequence, invoice in enumerate(invoices, first)
        ],
        schema={"invoice": pl.String, "sequence": pl.Int32, "number": pl.String},
        orient="row",
    )
    frames.insert_frame(
        connection,
        invoice_number,
        reserved,
        issuing=issuing_id,
        facility=facility,
        fiscal_year=fiscal_year,
    )
    return reserved


def release_numbers(connection: Connection, issuing_id: str) -> None:
    """Give back the numbers of an issuing that is not issued."""
    frames.delete_rows(connection, invoice_number, invoice_number.c.issuing == issuing_id)


def _change_issuing(
    connection: Connection, issuing_id: str, columns: dict[str, str | None]
) -> None:
    ended = stamp(connection, when="ended_at")
    changed = connection.execute(
        update(issuing)
        .where(issuing.c.id == issuing_id, issuing.c.state == FROZEN)
        .values(**columns, **ended)
    )
    if changed.rowcount != 1:
        raise NotReady(f"the issuing {issuing_id} is not frozen")
