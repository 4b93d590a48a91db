"""Periods: months on the facility's wall clock."""

import datetime as dt

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_lib.errors import InvalidPeriod
from billing_lib.pricing.clock import (
    Period,
    closing_date,
    cut_with_ids,
    local_date,
    local_dates,
    period_of,
)
from billing_lib.pricing.fields import INSTANT

from .tables import rows, usage


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC)


@pytest.mark.parametrize(
    ("text", "first", "last", "following"),
    [
        ("2020-04", "2020-04-01", "2020-04-30", "2020-05"),
        ("2020-12", "2020-12-01", "2020-12-31", "2021-01"),
        ("2020-02", "2020-02-01", "2020-02-29", "2020-03"),
        ("2100-02", "2100-02-01", "2100-02-28", "2100-03"),
        ("9998-12", "9998-12-01", "9998-12-31", "9999-01"),
    ],
)
def test_a_period_is_a_calendar_month(text: str, first: str, last: str, following: str) -> None:
    period = Period.parse(text)

    assert str(period) == text
    assert (str(period.first_day), str(period.last_day)) == (first, last)
    assert str(period.next) == following
    assert period < period.next


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2020",
        "2020-4",
        "2020-13",
        "2020-00",
        "20-04",
        "2020-04-01",
        "April 2020",
        "2020-04\n",
        "0000-04",
        "9999-12",
        "２０２０-04",
        " 2020-04",
    ],
)
def test_any_other_text_is_no_period(text: str) -> None:
    with pytest.raises(InvalidPeriod) as refused:
        Period.parse(text)

    assert str(refused.value) == (
        f"'{text}' is not a period; write a month as YYYY-MM, such as 2020-04"
    )


@pytest.mark.parametrize(
    ("period", "timezone", "end"),
    [
        ("2020-04", "America/New_York", "2020-05-01T00:00:00-04:00"),
        ("2020-10", "America/New_York", "2020-11-01T00:00:00-04:00"),  # the change is at two
        ("2020-12", "Asia/Kolkata", "2021-01-01T00:00:00+05:30"),
        ("2017-09", "America/Asuncion", "2017-10-01T00:00:00-04:00"),  # then it is 01:00-03:00
        ("2015-10", "America/Havana", "2015-11-01T00:00:00-04:00"),  # the first of two midnights
    ],
)
def test_a_period_ends_at_midnight_on_the_wall_clock(period: str, timezone: str, end: str) -> None:
    assert Period.parse(period).end(timezone) == utc(end)


def test_a_period_is_over_at_midnight_and_not_a_microsecond_before() -> None:
    april, midnight = Period.parse("2020-04"), utc("2020-05-01T00:00:00-04:00")

    april.require_over(midnight, "America/New_York")
    with pytest.raises(InvalidPeriod) as refused:
        april.require_over(midnight - dt.timedelta(microseconds=1), "America/New_York")
    assert str(refused.value) == (
        "the period 2020-04 is not over before 2020-05-01 (America/New_York); wait until it is over"
    )


@pytest.mark.parametrize(
    ("end", "date", "day", "period"),
    [
        ("2020-04-30T23:59:59-04:00", None, "2020-04-30", "2020-04"),
        ("2020-05-01T00:00:00-04:00", None, "2020-04-30", "2020-04"),  # closes April
        ("2020-05-01T00:00:00.000001-04:00", None, "2020-05-01", "2020-05"),
        ("2020-05-01T00:00:00Z", None, "2020-04-30", "2020-04"),  # 20:00 in New York
        (None, "2020-05-01", "2020-05-01", "2020-05"),
        ("2020-04-30T12:00:00-04:00", "2020-05-01", "2020-04-30", "2020-04"),
    ],
)
def test_usage_belongs_to_the_day_its_end_closes(
    end: str | None, date: str | None, day: str, period: str
) -> None:
    frame = pl.DataFrame(
        {
            "end": [None if end is None else utc(end)],
            "date": [None if date is None else dt.date.fromisoformat(date)],
        },
        schema={"end": INSTANT, "date": pl.Date()},
    ).select(day=closing_date(pl.col("end"), pl.col("date"), "America/New_York"))

    assert str(frame["day"].item()) == day
    assert frame.select(period_of(pl.col("day"))).item() == period


def test_the_day_of_an_instant_is_that_of_the_wall_clock() -> None:
    instant = pl.DataFrame({"start": [utc("2020-04-14T18:30:00Z")]}, schema={"start": INSTANT})

    def day(timezone: str) -> str:
        return str(instant.select(local_date(pl.col("start"), timezone)).item())

    assert (day("Asia/Kolkata"), day("UTC")) == ("2020-04-15", "2020-04-14")


@pytest.mark.parametrize(
    ("timezone", "year"),
    [
        ("America/New_York", 2026),
        ("Pacific/Auckland", 2024),
        ("America/St_Johns", 2006),  # back from 00:01 to 23:01, so that a day starts twice
        ("America/Sao_Paulo", 2018),  # forward at midnight, which there is not
        ("Pacific/Apia", 2011),  # without 30 December
        ("UTC", 2020),
    ],
)
@pytest.mark.parametrize("before", [False, True])
def test_many_days_at_once_are_the_days_of_each(timezone: str, year: int, before: bool) -> None:
    first, last = utc(f"{year}-01-01T00:00Z"), utc(f"{year}-12-31T23:00Z")
    half_hours = pl.datetime_range(first, last, "30m", eager=True).cast(INSTANT)
    nothing = pl.Series([None, None], dtype=INSTANT)
    instants = pl.concat([half_hours, half_hours.dt.offset_by("-1us")]).append(nothing)
    instants = instants.shuffle(seed=1)
    at = pl.col("at").dt.offset_by("-1us") if before else pl.col("at")

    expected = instants.to_frame("at").select(local_date(at, timezone)).to_series()
    assert local_dates(instants, timezone, before=before).to_list() == expected.to_list()


def test_a_cut_record_shares_its_elapsed_time_by_the_time_from_start_to_end() -> None:
    """Five hours over a month's end, two before it and three after; the whole is kept."""
    whole = 7_200_000_001  # µs: two fifths are 2,880,000,000.4
    cut = cut_with_ids(
        usage(f"""
        record  start                     end                       elapsed
        u1      2020-04-30T22:00:00-0400  2020-05-01T03:00:00-0400  {whole}
        u2      2020-04-30T22:00:00-0400  2020-04-30T23:00:00-0400  1800000000
        u3      2020-04-30T22:00:00-0400  2020-05-01T03:00:00-0400  -
        """),
        "America/New_York",
    )
    assert rows(cut, "record", "elapsed") == [
        ("u1@2020-04", 2_880_000_000),
        ("u1", 4_320_000_001),
        ("u2", 1_800_000_000),
        ("u3@2020-04", None),
        ("u3", None),
    ]


@given(st.integers(0, 10**13), st.integers(1, 10**8))
def test_the_parts_of_an_elapsed_time_are_the_whole(elapsed: int, seconds: int) -> None:
    first = dt.datetime(2020, 4, 30, tzinfo=dt.UTC)
    frame = usage("record  elapsed\nu1  0").with_columns(
        start=pl.lit(first).cast(INSTANT),
        end=pl.lit(first + dt.timedelta(seconds=seconds)).cast(INSTANT),
        elapsed=pl.lit(elapsed, pl.Int64),
    )
    parts = cut_with_ids(frame, "America/New_York")["elapsed"]
    assert (parts.sum(), parts.min() >= 0) == (elapsed, True)
