"""Billing runs in the ledger: frozen, then issued or failed; and the numbers they reserve.

    RC-2020-04-1   FROZEN ─▶ FAILED   (its numbers go to the next try)
    RC-2020-04-2   FROZEN ─▶ ISSUED   RC-2020-0001, RC-2020-0002, no gap

At most one run per facility is frozen at a time. Numbers are 1 + the highest of the facility's
fiscal year, and are deleted again only as long as their run is not issued.
"""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import polars as pl
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from billing_lib.errors import NotReady
from billing_lib.ledger import frames
from billing_lib.ledger.identity import stamp
from billing_lib.ledger.tables import billing_run, invoice_number
from billing_lib.ledger.types import frame_schema

RUN = frame_schema(billing_run.columns)
"""Columns of a billing run: id, facility, period, selection, state, … failure."""

_DESCRIBED = {"snapshot_sha256", "commit_hash", "container", "record"}


def next_run_id(connection: Connection, facility: str, period: str) -> str:
    """The id of the next run of a facility's month: ``RC-2020-04-3`` after two tries."""
    tries = select(func.count()).where(
        billing_run.c.facility == facility, billing_run.c.period == period
    )
    return f"{facility}-{period}-{connection.scalars(tries).one() + 1}"


def freeze_run(
    connection: Connection,
    run: str,
    *,
    facility: str,
    period: str,
    selection: str,
    invoice_date: date,
    fiscal_year: int,
    snapshot_sha256: str | None = None,
    commit_hash: str | None = None,
    container: str | None = None,
    record: str | None = None,
) -> None:
    """Begin a run, in the state FROZEN; who and when come from the database.

    Parameters
    ----------
    selection
        A project's code, or '' for all of the month.

    Raises
    ------
    NotReady
        Another run of the facility is still frozen.
    """
    standing = frozen_run(connection, facility)
    if standing is not None:
        raise NotReady(f"the run {standing.id} is not ended yet", where=facility)
    connection.execute(
        insert(billing_run).values(
            id=run,
            facility=facility,
            period=period,
            selection=selection,
            state="FROZEN",
            invoice_date=invoice_date,
            fiscal_year=fiscal_year,
            snapshot_sha256=snapshot_sha256,
            commit_hash=commit_hash,
            container=container,
            record=record,
            **stamp(connection, who="login", when="frozen_at"),
        )
    )


def describe_run(connection: Connection, run: str, **columns: str) -> None:
    """Set ``snapshot_sha256``, ``commit_hash``, ``container`` or ``record`` of a frozen run."""
    unknown = columns.keys() - _DESCRIBED
    if unknown:
        raise TypeError(f"{sorted(unknown)} of a run cannot be set")
    _change(connection, run, columns)


def fail_run(connection: Connection, run: str, failure: str) -> None:
    """End a frozen run as FAILED, with the sentence why; its numbers are free again."""
    release_numbers(connection, run)
    _change(connection, run, {"state": "FAILED", "failure": failure})


def issue_run(connection: Connection, run: str) -> None:
    """End a frozen run as ISSUED, once its invoices are inserted; nothing undoes this."""
    _change(connection, run, {"state": "ISSUED"})


def frozen_run(connection: Connection, facility: str) -> Row[Any] | None:
    """The facility's run that is neither issued nor failed yet, if any: columns by name."""
    found = select(billing_run).where(
        billing_run.c.facility == facility, billing_run.c.state == "FROZEN"
    )
    return connection.execute(found).one_or_none()


def require_frozen(connection: Connection, facility: str) -> Row[Any]:
    """The facility's frozen run, who froze it and when included: columns by name.

    Raises
    ------
    NotReady
        No run is frozen.
    """
    run = frozen_run(connection, facility)
    if run is None:
        raise NotReady("no run is frozen", where=facility)
    return run


def read_run(connection: Connection, run: str) -> Row[Any]:
    """One run: its columns by name."""
    return connection.execute(select(billing_run).where(billing_run.c.id == run)).one()


def read_runs(
    connection: Connection, facility: str | None = None, period: str | None = None
) -> pl.DataFrame:
    """Billing runs (schema RUN), in the order in which they were frozen."""
    statement = select(billing_run)
    for column, wanted in (("facility", facility), ("period", period)):
        if wanted is not None:
            statement = statement.where(billing_run.c[column] == wanted)
    return frames.read_frame(connection, statement, RUN).sort("frozen_at", "id")


def reserve_numbers(
    connection: Connection,
    run: str,
    facility: str,
    fiscal_year: int,
    projects: Sequence[str],
    make_number: Callable[[int], str],
) -> pl.DataFrame:
    """Reserve the next numbers, one per project in the order given.

    Parameters
    ----------
    make_number
        A sequence number's text: ``lambda n: f"RC-2020-{n:04}"``.

    Returns
    -------
    polars.DataFrame
        ``project``, ``sequence``, ``number``.
    """
    last = connection.scalar(
        select(func.max(invoice_number.c.sequence)).where(
            invoice_number.c.facility == facility, invoice_number.c.fiscal_year == fiscal_year
        )
    )
    first = (last or 0) + 1
    reserved = pl.DataFrame(
        [
            (project, sequence, make_number(sequence))
            for sequence, project in enumerate(projects, first)
        ],
        schema={"project": pl.String, "sequence": pl.Int32, "number": pl.String},
        orient="row",
    )
    frames.insert_frame(
        connection,
        invoice_number,
        reserved,
        run=run,
        facility=facility,
        fiscal_year=fiscal_year,
    )
    return reserved


def read_numbers(connection: Connection, run: str) -> pl.DataFrame:
    """The numbers a run holds: ``project``, ``sequence``, ``number``, in sequence."""
    numbers = invoice_number.c
    statement = select(numbers.project, numbers.sequence, numbers.number)
    return frames.read_frame(connection, statement.where(numbers.run == run)).sort("sequence")


def release_numbers(connection: Connection, run: str) -> None:
    """Give back the numbers of a run that is not issued."""
    connection.execute(delete(invoice_number).where(invoice_number.c.run == run))


def _change(connection: Connection, run: str, columns: dict[str, str]) -> None:
    ended = stamp(connection, when="ended_at") if "state" in columns else {}
    changed = connection.execute(
        update(billing_run)
        .where(billing_run.c.id == run, billing_run.c.state == "FROZEN")
        .values(**columns, **ended)
    )
    if changed.rowcount != 1:
        raise NotReady(f"the run {run} is not frozen")
