"""Issuings: each pass from freezing to the archive, frozen, then issued or failed; its numbers.

    RC-2020-04-1     FROZEN ─▶ FAILED   (its numbers go to the next try)
    RC-2020-04-1.2   FROZEN ─▶ ISSUED   RC-2020-00001, RC-2020-00002, no gap

The first issuing of a billing run has the run's id, which is also its audit record's; further
ones, after a failure or for what was approved later, have a number behind it. At most one
issuing per facility is frozen at a time. Numbers are 1 + the highest of the facility's fiscal
year, and are deleted again only as long as what they are for is not issued.
"""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import polars as pl
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from billing_lib.errors import NotReady
from billing_lib.ledger import frames
from billing_lib.ledger.identity import stamp
from billing_lib.ledger.invoice_tables import invoice_number, issuing
from billing_lib.ledger.types import frame_schema

ISSUING = frame_schema(issuing.columns)
"""Columns of an issuing: id, facility, run, period, state, invoice_date, … failure."""

_DESCRIBED = {"snapshot_sha256", "commit_hash", "container", "record"}


def next_id(connection: Connection, run: str) -> str:
    """The id of a run's next issuing: ``RC-2020-04-1.2`` after one."""
    tries = connection.scalars(select(func.count()).where(issuing.c.run == run)).one()
    return run if tries == 0 else f"{run}.{tries + 1}"


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
    """Begin an issuing, in the state FROZEN; who and when come from the database.

    Returns
    -------
    sqlalchemy.Row
        Its columns by name.

    Raises
    ------
    NotReady
        Another issuing of the facility is still frozen.
    """
    standing = frozen(connection, facility)
    if standing is not None:
        raise NotReady(f"the issuing {standing.id} is not ended yet", where=facility)
    connection.execute(
        insert(issuing).values(
            id=next_id(connection, run),
            facility=facility,
            run=run,
            period=period,
            state="FROZEN",
            invoice_date=invoice_date,
            fiscal_year=fiscal_year,
            commit_hash=commit_hash,
            container=container,
            **stamp(connection, who="login", when="frozen_at"),
        )
    )
    begun = frozen(connection, facility)
    if begun is None:  # one row was inserted just now
        raise AssertionError(facility)
    return begun


def describe(connection: Connection, issuing_id: str, **columns: str) -> None:
    """Set ``snapshot_sha256``, ``commit_hash``, ``container`` or ``record`` of a frozen issuing."""
    unknown = columns.keys() - _DESCRIBED
    if unknown:
        raise TypeError(f"{sorted(unknown)} of an issuing cannot be set")
    _change(connection, issuing_id, columns)


def fail(connection: Connection, issuing_id: str, failure: str) -> None:
    """End a frozen issuing as FAILED, with the sentence why; its numbers are free again."""
    release_numbers(connection, issuing_id)
    _change(connection, issuing_id, {"state": "FAILED", "failure": failure})


def finish(connection: Connection, issuing_id: str) -> None:
    """End a frozen issuing as ISSUED, once its invoices are inserted; nothing undoes this."""
    _change(connection, issuing_id, {"state": "ISSUED"})


def frozen(connection: Connection, facility: str) -> Row[Any] | None:
    """The facility's issuing that is neither issued nor failed yet, if any: columns by name."""
    found = select(issuing).where(issuing.c.facility == facility, issuing.c.state == "FROZEN")
    return connection.execute(found).one_or_none()


def read_issuing(connection: Connection, issuing_id: str) -> Row[Any]:
    """One issuing: its columns by name."""
    return connection.execute(select(issuing).where(issuing.c.id == issuing_id)).one()


def read_issuings(
    connection: Connection,
    facility: str | None = None,
    period: str | None = None,
    run: str | None = None,
) -> pl.DataFrame:
    """Issuings (schema ISSUING), in the order in which they were frozen."""
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
    """Reserve the next numbers, one per invoice in the order given.

    Parameters
    ----------
    make_number
        A sequence number's text: ``lambda n: f"RC-2020-{n:04}"``.

    Returns
    -------
    polars.DataFrame
        ``invoice``, ``sequence``, ``number``.
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


def read_numbers(connection: Connection, issuing_id: str) -> pl.DataFrame:
    """The numbers an issuing holds: ``invoice``, ``sequence``, ``number``, in sequence."""
    numbers = invoice_number.c
    statement = select(numbers.invoice, numbers.sequence, numbers.number)
    return frames.read_frame(connection, statement.where(numbers.issuing == issuing_id)).sort(
        "sequence"
    )


def release_numbers(connection: Connection, issuing_id: str) -> None:
    """Give back the numbers of what is not issued."""
    connection.execute(delete(invoice_number).where(invoice_number.c.issuing == issuing_id))


def _change(connection: Connection, issuing_id: str, columns: dict[str, str]) -> None:
    ended = stamp(connection, when="ended_at") if "state" in columns else {}
    changed = connection.execute(
        update(issuing)
        .where(issuing.c.id == issuing_id, issuing.c.state == "FROZEN")
        .values(**columns, **ended)
    )
    if changed.rowcount != 1:
        raise NotReady(f"the issuing {issuing_id} is not frozen")
