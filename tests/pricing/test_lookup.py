"""Looking up: codes in a small table, and what holds for a key on a day."""

import datetime as dt

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from billing_lib.pricing.rating import Codes, Dated, columns_at, positions

from .made_up import drawn

DAY = dt.date(2020, 1, 1)
SPANS = pl.Schema({"key": pl.UInt32(), "valid_from": pl.Date(), "valid_to": pl.Date()})


def day(number: int) -> dt.date:
    return DAY + dt.timedelta(days=number)


def test_a_code_stands_where_the_table_has_it() -> None:
    table = pl.Series(["slide", "scope"])

    assert positions(pl.Series(["scope", None, "x", "slide"]), table).to_list() == [
        1,
        None,
        None,
        0,
    ]
    assert positions(pl.Series(["x"]), pl.Series([], dtype=pl.String)).to_list() == [None]


def test_codes_are_found_also_where_their_hashes_have_the_same_place() -> None:
    table = pl.select(pl.format("p{}", pl.int_range(3_000))).to_series()  # two in a place, surely
    asked = pl.concat([table.reverse(), pl.Series(["x", None, "p", "p0"])])

    found = Codes(table).positions(asked)
    assert found.to_list() == [*reversed(range(3_000)), None, None, None, 0]
    assert found.dtype == pl.UInt32
    assert Codes(table.clear()).positions(asked).null_count() == asked.len()
    assert Codes(table).positions(asked.clear()).is_empty()


def test_columns_follow_their_rows_and_are_null_where_there_is_none() -> None:
    table = pl.DataFrame({"unit": ["hour", "hour"], "price": [1, 2]})
    frame = pl.DataFrame({"n": [0, 1]})

    found = frame.with_columns(columns_at(table, pl.Series([1, 0], dtype=pl.UInt32)))
    assert found.rows() == [(0, "hour", 2), (1, "hour", 1)]
    missing = frame.with_columns(columns_at(table, pl.Series([None, 0], dtype=pl.UInt32)))
    assert missing.rows() == [(0, None, None), (1, "hour", 1)]
    empty = frame.clear().with_columns(columns_at(table, pl.Series([], dtype=pl.UInt32)))
    assert empty.schema == {"n": pl.Int64, "unit": pl.String, "price": pl.Int64}


@drawn(200)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sets(st.integers(0, 20), max_size=6)), max_size=4),
    st.lists(st.tuples(st.none() | st.integers(0, 4), st.none() | st.integers(-2, 22))),
)
def test_the_row_that_holds_is_the_one_of_the_key_around_the_day(
    cuts: list[tuple[int, set[int]]], asked: list[tuple[int | None, int | None]]
) -> None:
    spans = [
        (key, ends[at], ends[at + 1] - 1)
        for key, ends in ((key, sorted(days)) for key, days in dict(cuts).items())
        for at in range(0, len(ends) - 1, 2 if key else 1)  # with gaps, and without
    ]
    table = pl.DataFrame(
        [(key, day(first), day(last)) for key, first, last in reversed(spans)],
        schema=SPANS,
        orient="row",
    )
    keys = pl.Series([key for key, _ in asked], dtype=pl.UInt32)
    days = pl.Series([None if n is None else day(n) for _, n in asked], dtype=pl.Date)

    expected = [
        next(
            (
                at
                for at, (own, first, last) in enumerate(reversed(spans))
                if key == own and n is not None and first <= n <= last
            ),
            None,
        )
        for key, n in asked
    ]
    assert Dated(table).at(keys, days).to_list() == expected
