"""Times and days in writings that the mapping declares; none of them is guessed."""

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing_lib.errors import InvalidPriceBook
from billing_lib.sources import mappings, read_usage

SESSIONS = "id;item;project;start;end\n"


def session(start: str, end: str, name: str = "z1") -> str:
    return f"{name};scope;p1;{start};{end}\n"


def hours(usage) -> list[float | None]:
    spans = (usage["end"] - usage["start"]).dt.total_seconds()
    return [None if span is None else span / 3600 for span in spans]


@pytest.mark.parametrize(
    ("pattern", "start", "end"),
    [
        ("%m/%d/%Y %I:%M %p", "11/03/2025 09:00 AM", "11/03/2025 10:30 AM"),  # case 08
        ("%m/%d/%Y %I:%M %p", "11/3/2025 9:00\u202fAM", "11/3/2025 10:30\u202fam"),
        ("%d/%m/%Y %H:%M", "03/11/2025 09:00", "03/11/2025 10:30"),
        ("%d.%m.%Y %H:%M", "03.11.2025 09:00", "3.11.2025 10:30"),
        ("%d.%m.%y %H:%M:%S", "03.11.25 09:00:00", "03.11.25 10:30:00"),
        ("%d-%b-%Y %H:%M", "03-Nov-2025 09:00", "03-Nov-2025 10:30"),
        ("%Y-%d-%m %H:%M", "2025-03-11 09:00", "2025-03-11 10:30"),  # never read as ISO
        ("%m/%d/%Y %H:%M %z", "11/03/2025 15:00 +0100", "11/03/2025 15:30 +0000"),
        ("%s", "1762178400", "1762183800"),
    ],
)
def test_times_are_read_as_the_mapping_declares(read_text, pattern, start, end):
    usage = read_text("u.csv", SESSIONS + session(start, end), {"csv": {"times": pattern}})
    assert usage["defect"].to_list() == [None]
    assert str(usage["start"][0]) == "2025-11-03 14:00:00+00:00"  # nine in New York
    assert hours(usage) == [1.5]


@pytest.mark.parametrize(
    ("rows", "offered"),
    [
        (
            [("11/03/2025 09:00 AM", "11/03/2025 10:30 AM")],
            "times: '%m/%d/%Y %I:%M %p' or '%d/%m/%Y %I:%M %p'",
        ),
        (  # the second row can only be November
            [
                ("11/03/2025 09:00 AM", "11/03/2025 10:30 AM"),
                ("11/14/2025 09:00 AM", "11/14/2025 10:30 AM"),
            ],
            "times: '%m/%d/%Y %I:%M %p'",
        ),
        ([("03.11.2025 09:00", "03.11.2025 10:30")], "times: '%d.%m.%Y %H:%M'"),
        ([("2025-11-03 9:00", "2025-11-03 9:30")], "times: '%Y-%m-%d %H:%M'"),
    ],
)
def test_times_of_another_writing_are_held_back_with_the_patterns_that_fit_the_column(
    read_text, rows, offered
):
    text = SESSIONS + "".join(session(*row, name=f"z{at}") for at, row in enumerate(rows))
    usage = read_text("november.csv", text)
    assert usage["defect"].to_list() == ["invalid_time"] * len(rows)
    assert usage["start"].null_count() == usage["end"].null_count() == len(rows)
    for row, detail in enumerate(usage["detail"], start=2):
        assert detail.startswith(f"november.csv, row {row}, column 'start': '")
        assert detail.endswith(f"price book's sources {offered}")


def test_a_time_that_does_not_follow_the_declared_pattern_is_held_back_alone(read_text):
    text = (
        SESSIONS
        + session("11/03/2025 09:00", "11/03/2025 10:00")
        + (
            session("14/11/2025 09:00", "14/11/2025 10:00", "z2")
            + session("2025-11-03T09:00", "2025-11-03T10:00", "z3")
        )
    )
    usage = read_text("u.csv", text, {"csv": {"times": "%m/%d/%Y %H:%M"}})
    assert usage["defect"].to_list() == [None, "invalid_time", "invalid_time"]
    assert "the mapping declares times: '%m/%d/%Y %H:%M'" in usage["detail"][2]


@pytest.mark.parametrize(
    ("pattern", "day"),
    [("%d.%m.%Y", "03.11.2025"), ("%m/%d/%Y", "11/3/2025"), ("%d %B %Y", "3 November 2025")],
)
def test_days_are_read_as_the_mapping_declares(read_text, pattern, day):
    text = f"id;item;project;date;quantity\nu1;slide;p1;{day};2\n"
    usage = read_text("u.csv", text, {"csv": {"dates": pattern}})
    assert usage.select("date", "defect").row(0) == (dt.date(2025, 11, 3), None)
    unread = read_text("u.csv", text)
    assert unread["defect"][0] == "invalid_time"
    assert f"dates: '{pattern}'" in unread["detail"][0]


CLOCKS = "id,item,project,day,from,to\nu1,scope,p1,{day},{start},{end}\n"
COLUMNS = {"start": "{day} {from}", "end": "{day} {to}"}


@pytest.mark.parametrize(
    ("writing", "day", "start", "end"),
    [
        ({}, "2025-11-03", "09:00", "10:30"),
        ({"times": "%Y-%m-%d %I:%M %p"}, "2025-11-03", "9:00 AM", "10:30 AM"),
        ({"times": "%d.%m.%Y %H:%M"}, "03.11.2025", "09:00", "10:30"),
    ],
)
def test_a_day_column_goes_with_clock_columns(read_text, writing, day, start, end):
    text = CLOCKS.format(day=day, start=start, end=end)
    usage = read_text("u.csv", text, {"csv": COLUMNS | writing})
    assert hours(usage) == [1.5]
    assert str(usage["start"][0]) == "2025-11-03 14:00:00+00:00"


def test_clocks_past_midnight_are_held_back_unless_the_mapping_takes_the_next_day(read_text):
    text = CLOCKS.format(day="2025-11-03", start="22:00", end="02:00")
    held = read_text("u.csv", text, {"csv": COLUMNS})
    assert held["defect"][0] == "invalid_time"
    usage = read_text("u.csv", text, {"csv": COLUMNS | {"overnight": "next day"}})
    assert (hours(usage), usage["defect"][0]) == ([4.0], None)
    # into the night in which New York's clock goes back, so that it lasts an hour more
    night = CLOCKS.format(day="2025-11-01", start="22:00", end="03:00")
    usage = read_text("u.csv", night, {"csv": COLUMNS | {"overnight": "next day"}})
    assert hours(usage) == [6.0]
    other_days = "2025-11-03T09:00,2025-11-02T10:00"
    text = f"id,item,project,start,end\nu1,scope,p1,{other_days}\n"
    usage = read_text("u.csv", text, {"csv": {"overnight": "next day"}})
    assert usage["defect"][0] == "invalid_time"


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("times", "%m/%d/%Y", "is no pattern of a time; write it like '%m/%d/%Y %I:%M %p'"),
        ("times", "%Q", "is no pattern of a time"),
        ("times", "MM/DD/YYYY HH:MM", "is no pattern of a time"),
        ("times", "%m/%d %H:%M", "is no pattern of a time"),
        ("dates", "%m/%d", "is no pattern of a day; write it like '%d.%m.%Y'"),
        ("numbers", "european", "does not show how numbers are written"),
        ("numbers", "1.234.5", "does not show how numbers are written"),
        ("measure", "fortnights", "is no measure of time; use hours, minutes, seconds"),
        ("overnight", "yes", "is not known; use 'next day'"),
        ("defaults", {"start": "9"}, "'start' can have no default; these can: item"),
        ("defaults", {"units": "many"}, "'many' is not a number"),
        ("defaults", {"elapsed": "1"}, 'can only be ""'),
    ],
)
def test_a_key_that_cannot_be_is_refused_with_its_place(key, value, sentence):
    with pytest.raises(InvalidPriceBook) as refused:
        mappings({"csv": {key: value}})
    assert str(refused.value).startswith(f"sources, csv, {key}: ")
    assert sentence in str(refused.value)


MOMENTS = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2040, 1, 1))  # noqa: DTZ001
PATTERNS = ("%m/%d/%Y %I:%M:%S %p", "%d.%m.%Y %H:%M:%S", "%d/%m/%y %H:%M:%S", "%B %d, %Y %H:%M:%S")


@settings(deadline=None, max_examples=40)
@given(moments=st.lists(MOMENTS, min_size=1, max_size=9), pattern=st.sampled_from(PATTERNS))
def test_what_is_written_by_a_pattern_is_read_back(tmp_path_factory, moments, pattern):
    moments = [moment.replace(microsecond=0) for moment in moments]
    path = tmp_path_factory.mktemp("written") / "usage.csv"
    path.write_text(
        SESSIONS
        + "".join(
            session(moment.strftime(pattern), moment.strftime(pattern), f"u{at}")
            for at, moment in enumerate(moments)
        )
    )
    usage = read_usage(path, mappings({"csv": {"times": pattern}}), "UTC")
    assert [moment.replace(tzinfo=None) for moment in usage["start"]] == moments
