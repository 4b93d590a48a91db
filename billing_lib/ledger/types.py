"""Column types that mean the same on SQLite and PostgreSQL.

    Instant       1993-10-01T14:06:17.000000Z   TIMESTAMPTZ, or this text on SQLite
    DecimalText   128, 0.25                     text in both, so that no driver rounds

Text instants have one width and one zone, so they sort as times do. Both are written by this
module alone, which keeps clear of the date adapters that Python's sqlite3 deprecates.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
from sqlalchemy import BigInteger, ColumnElement, Date, Dialect, Integer, Text, TypeDecorator
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.elements import NamedColumn
from sqlalchemy.types import TypeEngine

from billing_lib.pricing.money import plain_text
from billing_lib.pricing.usage import DECIMAL, INSTANT

INSTANT_TEXT = "%Y-%m-%dT%H:%M:%S.%fZ"
"""An instant as SQLite keeps it and as the event chain renders it: UTC, microseconds."""


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
    """An exact decimal, kept as text without exponent or trailing zeros."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        return None if value is None else plain_text(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


def instant_text(value: datetime) -> str:
    """An instant as fixed text in UTC; a time without a zone is refused (ValueError)."""
    if value.tzinfo is None:
        raise ValueError(f"{value} has no time zone")
    return value.astimezone(UTC).strftime(INSTANT_TEXT)


def frame_schema(columns: Iterable[ColumnElement[Any]]) -> pl.Schema:
    """The polars schema of a table's or a select's columns, by their names and in their order."""
    return pl.Schema({_name(column): _polars_type(column.type) for column in columns})


def _name(column: ColumnElement[Any]) -> str:
    if not isinstance(column, NamedColumn):
        raise TypeError(f"{column} has no label")
    return column.name


def _polars_type(kind: TypeEngine[Any]) -> pl.DataType:
    if isinstance(kind, Instant):
        return INSTANT
    if isinstance(kind, DecimalText):
        return DECIMAL
    if isinstance(kind, BigInteger):
        return pl.Int64()
    if isinstance(kind, Integer):
        return pl.Int32()
    if isinstance(kind, Date):
        return pl.Date()
    return pl.String()
