"""Frames in and out of the database, whole columns at a time, and the column types for both.

    insert_frame   polars → COPY (PostgreSQL), executemany (SQLite)
    update_frame   the same way, over rows that exist
    read_frame     COPY (PostgreSQL), a JSON array per column (SQLite) → polars

    Instant       1993-10-01T14:06:17.000000Z   TIMESTAMPTZ, or this text on SQLite
    DecimalText   128, 0.25                     text in both, so that no driver rounds

All run in the caller's transaction. Instants, dates and decimals travel as text, so no driver
makes a Python object per value, and none rounds. Text instants have one width and one zone, so
they sort as times do. Only this module writes them, without sqlite3's deprecated date adapters.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from itertools import chain
from typing import TYPE_CHECKING, Any
from typing import cast as cast_type

import orjson
import polars as pl
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Date,
    Dialect,
    FromClause,
    Integer,
    Select,
    Table,
    Text,
    TypeDecorator,
    cast,
    column,
    delete,
    func,
    literal,
    literal_column,
    select,
    type_coerce,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.elements import NamedColumn
from sqlalchemy.types import TypeEngine

from billing_lib.errors import BillingError
from billing_lib.pricing.fields import DECIMAL, INSTANT
from billing_lib.pricing.money import plain_text, plain_text_column

if TYPE_CHECKING:
    import psycopg

INSTANT_TEXT = "%Y-%m-%dT%H:%M:%S.%fZ"
"""The format of an instant in SQLite and in the event chain: UTC, microseconds."""


class Instant(TypeDecorator[datetime]):
    """An instant: TIMESTAMPTZ on PostgreSQL, ISO 8601 text in UTC on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | str | None:
        if value is None or dialect.name == "postgresql":
            return value
        return instant_text(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        return datetime.fromisoformat(value)


class DecimalText(TypeDecorator[Decimal]):
    """An exact decimal of fixed scale, stored as text without exponent or trailing zeros."""

    impl = Text
    cache_ok = True

    def __init__(self, places: int = DECIMAL.scale) -> None:
        super().__init__()
        self.places = places

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        return None if value is None else plain_text(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


def instant_text(value: datetime) -> str:
    """An instant as fixed text in UTC; ValueError for a time without a zone."""
    if value.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    return value.astimezone(UTC).strftime(INSTANT_TEXT)


def columns_of(
    schema: pl.Schema, *, key: Collection[str] = (), required: Collection[str] = ()
) -> Iterator[Column[Any]]:
    """A table's columns for a polars schema; ``key`` and ``required`` columns are never null."""
    for name, dtype in schema.items():
        yield Column(
            name,
            _sql_type(dtype),
            primary_key=name in key,
            nullable=name not in key and name not in required,
            autoincrement=False,
        )


def frame_schema(columns: Iterable[ColumnElement[Any]]) -> pl.Schema:
    """The polars schema of a table's or a select's columns, in their order."""
    return pl.Schema({_name(column): _polars_type(column.type) for column in columns})


def _name(column: ColumnElement[Any]) -> str:
    if not isinstance(column, NamedColumn):
        raise TypeError(f"{column} has no label")
    return column.name


def _sql_type(dtype: pl.DataType) -> TypeEngine[Any]:
    if isinstance(dtype, pl.Decimal):
        return DecimalText(dtype.scale)
    types: dict[pl.DataType, TypeEngine[Any]] = {
        pl.String(): Text(),
        pl.Int64(): BigInteger(),
        pl.Int32(): Integer(),
        pl.Date(): Date(),
        INSTANT: Instant(),
    }
    return types[dtype]


def _polars_type(kind: TypeEngine[Any]) -> pl.DataType:
    if isinstance(kind, Instant):
        return INSTANT
    if isinstance(kind, DecimalText):
        return pl.Decimal(38, kind.places)
    if isinstance(kind, BigInteger):
        return pl.Int64()
    if isinstance(kind, Integer):
        return pl.Int32()
    if isinstance(kind, Date):
        return pl.Date()
    return pl.String()


_CHUNK = 100_000
POLARS_INSTANT = INSTANT_TEXT.replace(".%f", "%.6f")
"""The same for polars."""
_POSTGRESQL_INSTANT = "%Y-%m-%d %H:%M:%S%.f%#z"  # COPY's format with TimeZone UTC
_NARROW, _TOGETHER = 8, 100  # columns of a row, and rows of one INSERT into SQLite
_FEW = 1_000  # rows that a statement brings with it; more of them go by COPY
STAGED = "billing_staged"
"""The temporary table that COPY writes to."""
_ESCAPED = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))
_ESCAPED_IN_ARRAYS = (("\\", "\\\\"), ('"', '\\"'))


class UnstorableText(BillingError):
    """A text holds a NUL character, which no database column can store."""


def insert_frame(connection: Connection, table: Table, frame: pl.DataFrame, **same: object) -> int:
    """Insert a frame's rows; the number of rows.

    The frame's columns are named as the table's; columns left out become null. ``same`` are values
    of every row, by column name (``facility="RC"``).
    """
    stored = as_stored(frame.with_columns(**_literals(same)), table)
    if stored.height == 0:
        return 0
    # Sorted by the key, so that the tables' trees grow at one end.
    stored = stored.sort([key.name for key in table.primary_key if key.name in stored.columns])
    if connection.dialect.name == "postgresql":
        names, target = _names(connection, stored.columns), _quoted(connection, table.name)
        given, values = _given(connection, table, stored)
        _execute(connection, f"INSERT INTO {target} ({names}) SELECT {names} FROM {given}", values)  # noqa: S608
    else:
        places = f"({', '.join('?' * stored.width)})"
        names = _names(connection, stored.columns)
        sql = f"INSERT INTO {_quoted(connection, table.name)} ({names}) VALUES "  # noqa: S608
        # Narrow rows go many to a statement; wide ones gain nothing by it.
        many = _TOGETHER if stored.width <= _NARROW else 1
        whole = stored.height - stored.height % many
        rows = stored.head(whole).iter_rows()
        _execute_many(connection, sql + ", ".join([places] * many), _together(rows, many))
        _execute_many(connection, sql + places, stored.slice(whole).iter_rows())
    return stored.height


def update_frame(
    connection: Connection, table: Table, frame: pl.DataFrame, keys: list[str], **same: object
) -> int:
    """Set the frame's columns on the rows that ``keys`` identify; the number of rows.

    Keys are columns of the frame or of ``same``, the values of every row by column name.
    """
    stored = _storable(frame.with_columns(**_literals(same)), table)
    if stored.height == 0:
        return 0
    columns = [name for name in stored.columns if name not in keys]
    stored = stored.select(*columns, *keys)
    target = _quoted(connection, table.name)
    if connection.dialect.name == "postgresql":
        quoted = {name: _quoted(connection, name) for name in stored.columns}
        settings = ", ".join(f"{quoted[name]} = given.{quoted[name]}" for name in columns)
        found = " AND ".join(f"kept.{quoted[name]} = given.{quoted[name]}" for name in keys)
        given, values = _given(connection, table, stored)
        sql = f"UPDATE {target} AS kept SET {settings} FROM {given} WHERE {found}"  # noqa: S608
        return _execute(connection, sql, values)
    settings = ", ".join(f"{_quoted(connection, name)} = ?" for name in columns)
    found = " AND ".join(f"{_quoted(connection, name)} = ?" for name in keys)
    sql = f"UPDATE {target} SET {settings} WHERE {found}"  # noqa: S608
    return _execute_many(connection, sql, stored.iter_rows())


def read_frame(
    connection: Connection, statement: Select[Any], schema: pl.Schema | None = None
) -> pl.DataFrame:
    """The rows of a select with labelled columns, as a frame.

    ``schema`` has their names and polars types in order; by default frame_schema of the columns.
    """
    columns = list(statement.selected_columns)
    schema = frame_schema(columns) if schema is None else schema
    if connection.dialect.name == "postgresql":
        return _copy_out(connection, _without_costs(connection, statement, columns), schema)
    texts = statement.with_only_columns(
        *(
            type_coerce(chosen, Text).label(name) if _storage_type(dtype) == pl.String else chosen
            for chosen, (name, dtype) in zip(columns, schema.items(), strict=True)
        )
    ).subquery()
    # Quicker than rows of Python objects; SQLite holds a column of up to 10^9 bytes.
    arrays = select(*map(func.json_group_array, texts.columns))
    left = list(connection.execute(arrays).one())
    read = [
        pl.Series(name, orjson.loads(left.pop(0)), dtype=dtype)  # whose text is then let go
        for name, dtype in _stored_schema(schema).items()
    ]
    return _restored(pl.DataFrame(read), schema, POLARS_INSTANT)


def listed(connection: Connection, values: pl.Series | list[str]) -> FromClause:
    """A list of texts, of any length, as a relation with one column ``value``."""
    if isinstance(values, pl.Series):
        written = orjson.dumps(values.to_list()).decode()
    else:  # arguments of a command may hold what orjson does not write
        written = json.dumps(values)
    text = literal(written, Text)
    elements = (
        func.json_array_elements_text(cast(text, JSON))
        if connection.dialect.name == "postgresql"
        else func.json_each(text)
    )
    return elements.table_valued(column("value", Text)).alias("listed")


def _given(
    connection: Connection, table: Table, stored: pl.DataFrame
) -> tuple[str, Sequence[object]]:
    """Rows for a statement to read, as the relation ``given`` and its parameters.

    Few rows are an array per column. Many go by COPY into a temporary table, since COPY writes to
    no table with row-level security; triggers.py has the function that makes it.
    """
    names = _names(connection, stored.columns)
    if stored.height <= _FEW:
        kinds = (table.columns[name].type.compile(connection.dialect) for name in stored.columns)
        arrays = ", ".join(f"%s::text::{kind}[]" for kind in kinds)
        return f"unnest({arrays}) AS given ({names})", _arrays(stored)
    connection.execute(select(func.billing_guard_stage(table.name)))
    sql = f"COPY pg_temp.{STAGED} ({names}) FROM STDIN"
    escaped = stored.with_columns(_escaped(stored))
    with (
        _driver_errors(connection, sql),
        _psycopg(connection).cursor() as cursor,
        cursor.copy(sql.encode()) as copy,
    ):
        for part in escaped.iter_slices(_CHUNK):
            text = part.write_csv(
                include_header=False, separator="\t", quote_style="never", null_value="\\N"
            )
            copy.write(text)
    return f"pg_temp.{STAGED} AS given", ()


def _execute(connection: Connection, sql: str, values: Sequence[object]) -> int:
    with _driver_errors(connection, sql), _psycopg(connection).cursor() as cursor:
        return cursor.execute(sql.encode(), values).rowcount


def _arrays(part: pl.DataFrame) -> list[str]:
    """Each column as the text of an array: ``{"RC","a \\"b\\"",NULL}``."""
    return [
        "{" + text + "}"
        for text in part.select(
            _element(name, dtype).str.join(",", ignore_nulls=False)
            for name, dtype in part.schema.items()
        ).row(0)
    ]


def _element(name: str, dtype: pl.DataType) -> pl.Expr:
    if dtype != pl.String:
        return pl.col(name).cast(pl.String).fill_null("NULL")
    text = pl.col(name)
    for plain, escaped in _ESCAPED_IN_ARRAYS:
        text = text.str.replace_all(plain, escaped, literal=True)
    return pl.format('"{}"', text).fill_null("NULL").alias(name)


def _without_costs(
    connection: Connection, statement: Select[Any], columns: Sequence[ColumnElement[Any]]
) -> Select[Any]:
    """The select with null for costs, which a lab's login has no right to read."""
    if not any(_name(chosen) == "cost" for chosen in columns):
        return statement
    if "reads_costs" not in connection.info:
        asked = select(func.has_column_privilege("charge", "cost", "SELECT"))
        connection.info["reads_costs"] = connection.scalar(asked)
    if connection.info["reads_costs"]:
        return statement
    return statement.with_only_columns(
        *(
            literal_column("NULL").label("cost") if _name(chosen) == "cost" else chosen
            for chosen in columns
        )
    )


def _copy_out(connection: Connection, statement: Select[Any], schema: pl.Schema) -> pl.DataFrame:
    compiled = statement.compile(
        dialect=connection.dialect, compile_kwargs={"render_postcompile": True}
    )
    sql = f"COPY ({compiled.string}) TO STDOUT (FORMAT csv)"
    text = BytesIO()
    with (
        _driver_errors(connection, sql),
        _psycopg(connection).cursor() as cursor,
        cursor.copy(sql.encode(), compiled.params) as copy,
    ):
        for part in copy:
            text.write(part)
    if not text.tell():
        return schema.to_frame()
    stored = pl.read_csv(text.getvalue(), has_header=False, schema=_stored_schema(schema))
    return _restored(stored, schema, _POSTGRESQL_INSTANT)


def delete_rows(connection: Connection, table: Table, *where: ColumnElement[bool]) -> int:
    """Delete rows; their number. On PostgreSQL no login has the right to, but a function."""
    if connection.dialect.name != "postgresql":
        return connection.execute(delete(table).where(*where)).rowcount
    place: ColumnElement[Any] = literal_column(f"{_quoted(connection, table.name)}.ctid")
    places = func.array(select(place).select_from(table).where(*where).scalar_subquery())
    gone = connection.scalar(select(func.billing_guard_delete(table.name, places)))
    return int(gone or 0)


def _execute_many(connection: Connection, sql: str, rows: Iterator[tuple[object, ...]]) -> int:
    with _driver_errors(connection, sql):
        cursor = connection.connection.cursor()
        cursor.executemany(sql, cast_type(Sequence[Any], rows))
        return cursor.rowcount


def _together(rows: Iterator[tuple[object, ...]], many: int) -> Iterator[tuple[object, ...]]:
    """So many rows at a time as one."""
    if many == 1:
        return rows
    return (tuple(chain.from_iterable(part)) for part in zip(*[rows] * many, strict=True))


def as_stored(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The frame as rows to insert: integers and text, without columns of nulls.

    No table has defaults, so these can stay out, which saves binding them.
    """
    stored = _storable(frame, table)
    return stored.select(column for column in stored if column.null_count() < stored.height)


def _storable(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The frame in the types that the database receives: integers and text."""
    kinds = frame_schema(table.columns)
    shown = frame.select(
        _shown(pl.col(name), dtype) for name, dtype in kinds.items() if name in frame
    )
    texts = [name for name, dtype in shown.schema.items() if dtype == pl.String]
    held = shown.select(pl.col(texts).str.contains("\0", literal=True).any())
    for name in texts:
        if held.get_column(name).item():
            raise UnstorableText(
                f"a text in the column '{name}' holds a NUL character",
                remedy="remove it from the source",
            )
    return shown


def _shown(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.Datetime):
        return value.dt.convert_time_zone("UTC").dt.strftime(POLARS_INSTANT)
    if isinstance(dtype, pl.Date):
        return value.dt.strftime("%Y-%m-%d")
    if isinstance(dtype, pl.Decimal):
        return plain_text_column(value.cast(dtype))
    return value.cast(dtype)


def _restored(stored: pl.DataFrame, schema: pl.Schema, instants: str) -> pl.DataFrame:
    def value(name: str, dtype: pl.DataType) -> pl.Expr:
        if isinstance(dtype, pl.Datetime):
            return pl.col(name).str.to_datetime(instants, time_unit="us", time_zone="UTC")
        if isinstance(dtype, pl.Date):
            return pl.col(name).str.to_date("%Y-%m-%d")
        return pl.col(name).cast(dtype)

    return stored.select(value(name, dtype) for name, dtype in schema.items())


def _storage_type(dtype: pl.DataType) -> pl.DataType:
    return dtype if dtype.is_integer() else pl.String()


def _stored_schema(schema: pl.Schema) -> pl.Schema:
    return pl.Schema({name: _storage_type(dtype) for name, dtype in schema.items()})


def _literals(values: dict[str, object]) -> dict[str, pl.Expr]:
    return {name: pl.lit(value) for name, value in values.items()}


def _escaped(stored: pl.DataFrame) -> Iterator[pl.Expr]:
    """The texts of a frame that COPY's text format has otherwise."""
    for name, dtype in stored.schema.items():
        if dtype == pl.String and stored[name].str.contains(r"[\\\t\n\r]").any():
            text = pl.col(name)
            for plain, escaped in _ESCAPED:
                text = text.str.replace_all(plain, escaped, literal=True)
            yield text


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)


def _names(connection: Connection, names: list[str]) -> str:
    return ", ".join(_quoted(connection, name) for name in names)


def _psycopg(connection: Connection) -> "psycopg.Connection[Any]":
    import psycopg  # noqa: PLC0415 - a ledger in SQLite does without it

    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        raise TypeError(f"expected a psycopg connection, got {type(driver)}")
    return driver


@contextmanager
def _driver_errors(connection: Connection, sql: str) -> Iterator[None]:
    """Raise the driver's own errors as SQLAlchemy's, as everywhere else."""
    base = connection.dialect.loaded_dbapi.Error
    try:
        yield
    except base as error:
        raise DBAPIError.instance(sql, None, error, base) from error
