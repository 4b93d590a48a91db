"""Frames go in and come out the same, on both databases."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sqlalchemy import Connection, Engine, Table, select
from sqlalchemy.exc import IntegrityError

from billing_lib.ledger import frames, people, usage
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import record_event
from billing_lib.ledger.frames import frame_schema
from billing_lib.ledger.schema import charge, usage_record

AWKWARD = [
    "plain",
    "",
    None,
    "Größe µ 統計 🧪",
    'it\'s "quoted"',
    "a,b;c",
    "line\nbreak",
    "carriage\rreturn",
    "tab\there",
    "\\N",
    "\\.",
    "back\\slash\\n",
    "first\n\\.\nlast",
    " spaces ",
    "NULL",
    "%s %(name)s {x} :y ?",
]
NUMBERS = [
    "0.000000001",
    "12345678901234567890123456789.123456789",
    "-3",
    None,
    "1.5",
    "0",
    "100",
]


def _awkward_usage() -> pl.DataFrame:
    rows = [
        {
            "record": f"u{at}",
            "occurrence": 1,
            "item": said,
            "raw": said,
            "description": said,
            "quantity": None if number is None else Decimal(number),
            "units": Decimal("128"),
            "start": None if at % 3 else datetime(1993, 10, 31, 8, 59, 59, at, tzinfo=UTC),
            "end": datetime(2020, 2, 29, 23, tzinfo=UTC),
            "date": None if at % 2 else date(2020, 2, 29),
            "row": at,
        }
        for at, (said, number) in enumerate(
            zip(AWKWARD, (NUMBERS * 3)[: len(AWKWARD)], strict=True), 10
        )
    ]
    return pl.DataFrame(rows, schema=usage.USAGE_WITH_PERIOD)


@pytest.fixture
def with_file(ledger: Engine) -> Engine:
    with writing(ledger) as connection:
        people.know_facility(connection, "RC", "RC", "USD", "UTC")
        usage.insert_file(connection, "RC", "4f", "a.csv", "csv", 1)
    return ledger


@contextmanager
def loading(ledger: Engine) -> Iterator[Connection]:
    """A transaction that may add to the file: PostgreSQL asks for its event."""
    with writing(ledger) as connection:
        record_event(connection, "RC", "load", "a.csv", "")
        yield connection


@pytest.mark.parametrize("times", [1, 100], ids=["few", "many"])
def test_usage_comes_out_as_it_went_in(with_file: Engine, times: int) -> None:
    went_in = pl.concat(
        _awkward_usage().with_columns(occurrence=pl.lit(each, pl.Int32)) for each in range(times)
    ).sort("record", "occurrence")
    with loading(with_file) as connection:
        assert usage.insert_usage(connection, "RC", "4f", went_in) == went_in.height
    with reading(with_file) as connection:
        assert_frame_equal(usage.read_usage(connection, "RC"), went_in)


def test_an_empty_frame_goes_in_and_out(with_file: Engine) -> None:
    with loading(with_file) as connection:
        assert usage.insert_usage(connection, "RC", "4f", _awkward_usage().clear()) == 0
        out = usage.read_usage(connection, "RC")
    assert out.height == 0
    assert out.schema == usage.USAGE_WITH_PERIOD


def test_records_are_found_by_id_however_odd_and_many(with_file: Engine) -> None:
    many = (
        _awkward_usage()
        .head(1)
        .drop("record")
        .join(
            pl.DataFrame({"record": ["it's", 'a "b"', "ü\n", *map(str, range(3000))]}), how="cross"
        )
    )
    wanted = ["it's", 'a "b"', "ü\n", *map(str, range(0, 5000, 2))]
    with loading(with_file) as connection:
        usage.insert_usage(connection, "RC", "4f", many)
        found = usage.read_usage(connection, "RC", records=wanted)["record"]
    assert sorted(found) == sorted(set(wanted) & set(many["record"]))


def test_a_nul_character_is_refused_on_both(with_file: Engine) -> None:
    odd = _awkward_usage().head(1).with_columns(raw=pl.lit("a\0b"))
    with pytest.raises(frames.UnstorableText, match="'raw'"), loading(with_file) as connection:
        usage.insert_usage(connection, "RC", "4f", odd)


def test_a_row_that_is_refused_takes_the_whole_frame_with_it(with_file: Engine) -> None:
    twice = pl.concat([_awkward_usage(), _awkward_usage().tail(1)])
    with pytest.raises(IntegrityError), loading(with_file) as connection:
        usage.insert_usage(connection, "RC", "4f", twice)
    with reading(with_file) as connection:
        assert usage.read_usage(connection, "RC").height == 0


@pytest.mark.parametrize("others", [1, 2000], ids=["few", "many"])
def test_rows_are_updated_by_their_keys(rated: Engine, others: int) -> None:
    none = [f"none {number}" for number in range(others)]
    fresh = pl.DataFrame(
        {"charge": ["u1", "u3", *none], "description": ["a\tb", None, *AWKWARD[:1] * others]}
    )
    with writing(rated) as connection:
        updated = frames.update_frame(
            connection, charge, fresh, ["facility", "charge"], facility="RC", user="bob"
        )
        out = frames.read_frame(
            connection, select(charge.c.charge, charge.c.description, charge.c.user)
        ).sort("charge")
    assert updated == 2
    assert out.rows() == [("u1", "a\tb", "bob"), ("u2", None, "ann"), ("u3", None, "bob")]


@pytest.mark.parametrize("table", [usage_record, charge], ids=str)
def test_the_schema_of_a_table_is_kept(ledger: Engine, table: Table) -> None:
    with reading(ledger) as connection:
        out = frames.read_frame(connection, select(table))
    assert out.schema == frame_schema(table.columns)


def test_many_rows_come_back_whole(with_file: Engine, tmp_path: Path) -> None:
    """More than one chunk."""
    rows = pl.select(record=pl.int_range(250_000).cast(pl.String)).with_columns(
        occurrence=pl.lit(1, dtype=pl.Int32), row=pl.col("record").cast(pl.Int64)
    )
    with loading(with_file) as connection:
        frames.insert_frame(
            connection, usage_record, rows, facility="RC", file_sha256="4f", period="2020-04"
        )
    columns = (usage_record.c.record, usage_record.c.row)
    with reading(with_file) as connection:
        out = frames.read_frame(connection, select(*columns)).sort("row")
    assert_frame_equal(out, rows.select("record", "row"))
