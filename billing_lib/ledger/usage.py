"""Usage in the ledger: files loaded, their records, and the records that rating left out.

    usage.csv (sha256 4f…)  →  records 1, 2, 3  →  unbilled: 3, no_rate

A record is written once and never changed. The period of a record is null if its time could not
be read; ``undated`` asks for such records.
"""

from typing import Any

import polars as pl
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Table,
    delete,
    func,
    insert,
    literal,
    select,
    union_all,
)

from billing_lib.ledger import frames
from billing_lib.ledger.database import stamp
from billing_lib.ledger.schema import charge, source_file, unbilled, usage_record
from billing_lib.pricing.fields import USAGE

USAGE_WITH_PERIOD = pl.Schema({**USAGE, "period": pl.String()})
"""A usage frame and the period, YYYY-MM, in which each record ends."""

UNBILLED = pl.Schema(
    {name: USAGE[name] for name in ("record", "occurrence")}
    | {"period": pl.String(), "reason": pl.String(), "detail": pl.String()}
    | {
        name: USAGE[name]
        for name in ("item", "project", "reference", "user", "start", "end", "date")
    }
    | {name: USAGE[name] for name in ("file", "row", "raw")}
)
"""The unbilled report: one reason per record, and the place of the record in its file."""


def known_file(connection: Connection, facility: str, sha256: str) -> Row[Any] | None:
    """The loaded file with these bytes: its columns by name, or None."""
    found = select(source_file).where(
        source_file.c.facility == facility, source_file.c.sha256 == sha256
    )
    return connection.execute(found).one_or_none()


def insert_file(
    connection: Connection, facility: str, sha256: str, name: str, kind: str, records: int
) -> None:
    """Record a loaded file, with login and time."""
    connection.execute(
        insert(source_file).values(
            facility=facility,
            sha256=sha256,
            name=name,
            kind=kind,
            records=records,
            **stamp(connection, who="login", when="loaded_at"),
        )
    )


def insert_usage(
    connection: Connection, facility: str, file_sha256: str, usage: pl.DataFrame
) -> int:
    """Add a file's records (schema USAGE_WITH_PERIOD); the number of records."""
    return frames.insert_frame(
        connection,
        usage_record,
        usage.select(USAGE_WITH_PERIOD.names()),
        facility=facility,
        file_sha256=file_sha256,
    )


def read_usage(
    connection: Connection,
    facility: str,
    period: str | None = None,
    records: pl.Series | list[str] | None = None,
    *,
    undated: bool = False,
) -> pl.DataFrame:
    """Usage records (schema USAGE_WITH_PERIOD), by record and occurrence.

    With ``period`` only the records that end in this month, and with ``undated`` also the records
    without a period. ``records`` are ids, however many.
    """
    statement = select(*(usage_record.c[name] for name in USAGE_WITH_PERIOD)).where(
        usage_record.c.facility == facility
    )
    if period is not None:
        statement = statement.where(_ends_in(usage_record, period, undated=undated))
    if records is not None:
        wanted = frames.listed(connection, records)
        statement = statement.where(usage_record.c.record.in_(select(wanted.c.value)))
    found = frames.read_frame(connection, statement, USAGE_WITH_PERIOD)
    return found.sort("record", "occurrence")  # bytes, whatever the database's collation


def replace_unbilled(
    connection: Connection, facility: str, period: str | None, left_out: pl.DataFrame
) -> None:
    """Replace a period's unbilled records: ``record``, ``occurrence``, ``reason``, ``detail``."""
    standing = unbilled.c.period == period  # None becomes IS NULL
    connection.execute(delete(unbilled).where(unbilled.c.facility == facility, standing))
    frames.insert_frame(
        connection,
        unbilled,
        left_out.select("record", "occurrence", "reason", "detail"),
        facility=facility,
        period=period,
    )


def read_unbilled(
    connection: Connection, facility: str, period: str | None = None, *, undated: bool = False
) -> pl.DataFrame:
    """The unbilled report (schema UNBILLED), by file and row; parameters as in read_usage."""
    statement = (
        select(
            *(unbilled.c[name] if name in unbilled.c else usage_record.c[name] for name in UNBILLED)
        )
        .join_from(unbilled, usage_record)
        .where(unbilled.c.facility == facility)
    )
    if period is not None:
        statement = statement.where(_ends_in(unbilled, period, undated=undated))
    return frames.read_frame(connection, statement, UNBILLED).sort("file", "row", "record")


def count_records(connection: Connection, facility: str) -> pl.DataFrame:
    """Counts by ``period``: ``records``, ``charges`` (of usage), ``lines`` (added), ``unbilled``.

    After rating, records = charges + unbilled. Records of unreadable times have period null.
    """
    counted = [
        select(table.c.period, literal(what).label("what"), func.count().label("rows"))
        .where(table.c.facility == facility, *only)
        .group_by(table.c.period)
        for what, table, only in (
            ("records", usage_record, []),
            ("charges", charge, [charge.c.kind == "usage"]),
            ("lines", charge, [charge.c.kind == "line"]),
            ("unbilled", unbilled, []),
        )
    ]
    both = union_all(*counted).subquery()
    schema = pl.Schema({"period": pl.String(), "what": pl.String(), "rows": pl.Int64()})
    long = frames.read_frame(connection, select(both), schema)
    columns = [
        pl.col("rows").filter(pl.col("what") == what).sum().alias(what)
        for what in ("records", "charges", "lines", "unbilled")
    ]
    return long.group_by("period").agg(columns).sort("period")


def _ends_in(table: Table, period: str, *, undated: bool) -> ColumnElement[bool]:
    dated = table.c.period == period
    return dated | table.c.period.is_(None) if undated else dated
