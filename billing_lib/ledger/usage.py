"""Usage in the ledger: files loaded, their records, and the records that rating left out.

    usage.csv (sha256 4f…)  →  records 1, 2, 3  →  unbilled: 3, no_rate

    record 2   version 1 of usage.csv, quantity 12     usage_version, ended by event 31
               version 2 of corrected.csv, quantity 13 usage_record

A later file may replace a record that is not billed, or take it back; the version before is kept.
A record that is taken back (``withdrawn``) has no period and is read by nobody but those who
replace it. The period of a standing record is null if no time of it could be read; ``undated``
asks for such records.
"""

import hashlib
from typing import Any

import polars as pl
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    func,
    insert,
    literal,
    select,
    union_all,
)

from billing_lib.ledger import frames
from billing_lib.ledger.database import stamp
from billing_lib.ledger.schema import charge, source_file, unbilled, usage_record, usage_version
from billing_lib.pricing.fields import INSTANT, USAGE

USAGE_WITH_PERIOD = pl.Schema({**USAGE, "period": pl.String()})
"""A usage frame and the period, YYYY-MM, in which each record ends."""

STANDING = pl.Schema(
    {**USAGE_WITH_PERIOD, "withdrawn": pl.Int64(), "file_sha256": pl.String()}
    | {"version": pl.Int64()}
)
"""A usage record with its file, its version, and the event that took it back, if one did."""

VERSION = pl.Schema({**STANDING, "event": pl.Int64()})
"""An earlier version of a usage record, and the event with which it ended."""

RECORD = ["record", "occurrence"]
"""The key of a record in its facility."""

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


def files_named(connection: Connection, facility: str, name: str) -> set[str]:
    """The hashes of the files that were loaded under a name."""
    found = select(source_file.c.sha256).where(
        source_file.c.facility == facility, source_file.c.name == name
    )
    return set(connection.scalars(found))


def read_files(connection: Connection, facility: str) -> pl.DataFrame:
    """The loaded files: ``sha256``, ``name``, ``kind``, ``records``, ``login``, ``loaded_at``; the
    one loaded last first."""
    columns = ("sha256", "name", "kind", "records", "login", "loaded_at")
    statement = select(*(source_file.c[name] for name in columns)).where(
        source_file.c.facility == facility
    )
    schema = pl.Schema(dict.fromkeys(columns, pl.String())) | {
        "records": pl.Int64(),
        "loaded_at": INSTANT,
    }
    found = frames.read_frame(connection, statement, pl.Schema(schema))
    return found.sort("loaded_at", "name", descending=[True, False])


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
    without a period. ``records`` are ids, however many. None that is taken back.
    """
    statement = select(*(usage_record.c[name] for name in USAGE_WITH_PERIOD)).where(
        usage_record.c.facility == facility, usage_record.c.withdrawn.is_(None)
    )
    if period is not None:
        statement = statement.where(_ends_in(usage_record, period, undated=undated))
    if records is not None:
        wanted = frames.listed(connection, records)
        statement = statement.where(usage_record.c.record.in_(select(wanted.c.value)))
    found = frames.read_frame(connection, statement, USAGE_WITH_PERIOD)
    return found.sort("record", "occurrence")  # bytes, whatever the database's collation


def read_standing(
    connection: Connection,
    facility: str,
    records: pl.Series | list[str] | None = None,
    *,
    files: set[str] | None = None,
    withdrawn_by: list[int] | None = None,
) -> pl.DataFrame:
    """Records as they stand or were taken back (schema STANDING), by record and occurrence.

    Those of some ids, the standing ones of some files (by hash), or those taken back by some
    events.
    """
    statement = select(
        *(usage_record.c[name] for name in STANDING if name != "version"),
        func.coalesce(usage_record.c.version, 1).label("version"),
    ).where(usage_record.c.facility == facility)
    if records is not None:
        statement = statement.where(_among(connection, usage_record.c.record, records))
    if files is not None:
        statement = statement.where(
            usage_record.c.withdrawn.is_(None), usage_record.c.file_sha256.in_(files)
        )
    if withdrawn_by is not None:
        statement = statement.where(usage_record.c.withdrawn.in_(withdrawn_by))
    return _read(connection, statement, STANDING)


def read_parts(connection: Connection, facility: str) -> pl.DataFrame:
    """The standing records with a month behind their id, ``u1@2020-03`` (schema STANDING).

    Mostly these are parts of usage cut at the ends of months.
    """
    ids = select(usage_record.c.record).where(
        usage_record.c.facility == facility,
        usage_record.c.withdrawn.is_(None),
        usage_record.c.record.like("%@____-__"),
    )
    return read_standing(connection, facility, list(connection.scalars(ids.distinct())))


def read_versions(
    connection: Connection,
    facility: str,
    records: pl.Series | list[str] | None = None,
    *,
    event: int | None = None,
) -> pl.DataFrame:
    """Earlier versions (schema VERSION), by record, occurrence and version: all of some ids, or
    those that an event ended."""
    statement = select(*(usage_version.c[name] for name in VERSION)).where(
        usage_version.c.facility == facility
    )
    if records is not None:
        statement = statement.where(_among(connection, usage_version.c.record, records))
    if event is not None:
        statement = statement.where(usage_version.c.event == event)
    return _read(connection, statement, VERSION)


def read_first_versions(connection: Connection, facility: str, sha256: str) -> pl.DataFrame:
    """A file's records as they were added at first (schema USAGE_WITH_PERIOD), by record."""
    parts = [
        select(*(table.c[name] for name in USAGE_WITH_PERIOD)).where(
            table.c.facility == facility, table.c.file_sha256 == sha256, first
        )
        for table, first in (
            (usage_record, func.coalesce(usage_record.c.version, 1) == 1),
            (usage_version, usage_version.c.version == 1),
        )
    ]
    return pl.concat(_read(connection, part, USAGE_WITH_PERIOD) for part in parts).sort(RECORD)


def content(records: pl.DataFrame) -> str:
    """The sha256 of usage records (schema USAGE_WITH_PERIOD), as the event of loading has it."""
    exact = records.select(pl.col(name).cast(dtype) for name, dtype in USAGE_WITH_PERIOD.items())
    return hashlib.sha256(exact.sort(RECORD).write_csv().encode()).hexdigest()


def replaced_records(connection: Connection, facility: str) -> pl.Series:
    """The ids of the records that have earlier versions."""
    found = select(usage_version.c.record).where(usage_version.c.facility == facility).distinct()
    return frames.read_frame(connection, found)["record"]


def replace_usage(
    connection: Connection, facility: str, standing: pl.DataFrame, now: pl.DataFrame, event: int
) -> None:
    """Keep records as they stand as versions that the event ended, and put others in their place.

    Parameters
    ----------
    standing
        The records (schema STANDING). They leave the unbilled report.
    now
        The same records as they are from now on (schema STANDING without ``version``).
    """
    frames.insert_frame(connection, usage_version, standing, facility=facility, event=event)
    versions = standing.select(*RECORD, version=pl.col("version") + 1)
    frames.update_frame(
        connection,
        usage_record,
        now.drop("version", strict=False).join(versions, on=RECORD),
        ["facility", *RECORD],
        facility=facility,
    )
    for (occurrence,), part in standing.group_by("occurrence"):
        among = _among(connection, unbilled.c.record, part["record"])
        of_occurrence = unbilled.c.occurrence == occurrence
        frames.delete_rows(
            connection, unbilled, unbilled.c.facility == facility, of_occurrence, among
        )


def insert_unbilled(connection: Connection, facility: str, left_out: pl.DataFrame) -> None:
    """Add unbilled records: ``record``, ``occurrence``, ``period``, ``reason``, ``detail``."""
    columns = (*RECORD, "period", "reason", "detail")
    frames.insert_frame(connection, unbilled, left_out.select(columns), facility=facility)


def replace_unbilled(
    connection: Connection, facility: str, period: str | None, left_out: pl.DataFrame
) -> None:
    """Replace a period's unbilled records: ``record``, ``occurrence``, ``reason``, ``detail``."""
    standing = unbilled.c.period == period  # None becomes IS NULL
    frames.delete_rows(connection, unbilled, unbilled.c.facility == facility, standing)
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
    if period is not None or undated:
        statement = statement.where(_ends_in(unbilled, period, undated=undated))
    return frames.read_frame(connection, statement, UNBILLED).sort("file", "row", "record")


def count_records(connection: Connection, facility: str) -> pl.DataFrame:
    """Counts by ``period``: ``records``, ``charges`` (of usage), ``lines`` (added), ``unbilled``.

    After rating, records = charges + unbilled. Records of unreadable times have period null.
    """
    undated = usage_record.c.period.is_(None)
    counted = [
        select(table.c.period, literal(what).label("what"), func.count().label("rows"))
        .where(table.c.facility == facility, *only)
        .group_by(table.c.period)
        for what, table, only in (
            ("records", usage_record, [usage_record.c.period.is_not(None)]),
            ("records", usage_record, [undated, usage_record.c.withdrawn.is_(None)]),
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


def _ends_in(table: Table, period: str | None, *, undated: bool) -> ColumnElement[bool]:
    dated = table.c.period == period  # None becomes IS NULL
    return dated | table.c.period.is_(None) if undated else dated


def _among(
    connection: Connection, column: ColumnElement[str], values: pl.Series | list[str]
) -> ColumnElement[bool]:
    listed = frames.listed(connection, values)
    return column.in_(select(listed.c.value))


def _read(connection: Connection, statement: Select[Any], schema: pl.Schema) -> pl.DataFrame:
    found = frames.read_frame(connection, statement, schema)
    return found.sort(name for name in (*RECORD, "version") if name in schema)
