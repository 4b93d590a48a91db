"""How a file writes numbers and durations: found from all of it, declared, or refused."""

import datetime as dt
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing_lib.errors import UnreadableFile
from billing_lib.sources import mappings, read_usage

HEADER = "id;item;project;date;quantity\n"


def slides(*quantities: str) -> str:
    return HEADER + "".join(
        f"k{at};slide;p1;2025-11-03;{quantity}\n" for at, quantity in enumerate(quantities)
    )


def decimals(usage: pl.DataFrame, column: str = "quantity") -> list[str | None]:
    return [None if value is None else f"{value.normalize():f}" for value in usage[column]]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        # case 07: two rows show that the comma is decimal, so the points stand between thousands
        (("12,5", "1.234", "1.234,50", "2.000"), ["12.5", "1234", "1234.5", "2000"]),
        (("0,125", "1.250"), ["0.125", "1250"]),
        (("1.234.567", "2.500"), ["1234567", "2500"]),
        (("1,234.50", "1,234", "0.125"), ["1234.5", "1234", "0.125"]),
        (("12.5", "1.234"), ["12.5", "1.234"]),
        (("0.125", "1.250", "1"), ["0.125", "1.25", "1"]),
        (("1.2345", "1.234"), ["1.2345", "1.234"]),
        (("1 234,50", "1\u00a0234,5", "1\u202f234"), ["1234.5", "1234.5", "1234"]),
        (("1'234.50", "1\u2019234", "12"), ["1234.5", "1234", "12"]),
        (("1 234", "12"), ["1234", "12"]),
        (("1,5",), ["1.5"]),
        (("+1,5", " 2,5 "), ["1.5", "2.5"]),
    ],
)
def test_the_file_shows_how_its_numbers_are_written(read_text, written, read):
    usage = read_text("usage.csv", slides(*written))
    assert decimals(usage) == read
    assert usage["defect"].to_list() == [None] * len(read)


def test_one_number_column_decides_for_the_others(read_text):
    text = (
        "id;item;project;start;end;units;quantity\n"
        "a;scope;p1;2025-11-03T09:00;2025-11-03T10:00;1.250;0,5\n"
        "b;scope;p1;2025-11-03T09:00;2025-11-03T10:00;2;1,5\n"
    )
    assert decimals(read_text("usage.csv", text), "units") == ["1250", "2"]


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        (("1.234", "2.500"), r"'1\.234' is 1\.234 with a decimal point and 1234 with a decimal"),
        (("1,234", "12"), r"'1,234' is 1234 with a decimal point and 1\.234 with a decimal comma"),
        (("-1.250",), r"'-1\.250' is -1\.25 with a decimal point and -1250 with"),
        (("12.5", "12,5"), r"'12\.5' has a decimal point and '12,5' a decimal comma"),
        (("1,234.5", "1.234,5", "7"), r"has a decimal point and '1\.234,5' a decimal comma"),
    ],
)
def test_a_file_that_can_be_read_two_ways_is_refused_with_the_key_to_declare(
    read_text, written, sentence
):
    with pytest.raises(UnreadableFile, match=sentence) as refused:
        read_text("usage.csv", slides(*written))
    assert "column 'quantity'" in str(refused.value)
    assert 'numbers: "1,234.5" or numbers: "1.234,5"' in str(refused.value)


@pytest.mark.parametrize(
    ("declared", "written", "read"),
    [
        ("1,234.5", ("1.234", "2.500"), ["1.234", "2.5"]),
        ("1.234,5", ("1.234", "2.500"), ["1234", "2500"]),
        ("1 234,5", ("1 234", "1,250"), ["1234", "1.25"]),
        ("1'234.5", ("1'234", "1.250"), ["1234", "1.25"]),
        ("1234.5", ("1.234",), ["1.234"]),
        ("1234,5", ("1,234",), ["1.234"]),
    ],
)
def test_what_the_mapping_declares_is_what_counts(read_text, declared, written, read):
    usage = read_text("usage.csv", slides(*written), {"csv": {"numbers": declared}})
    assert decimals(usage) == read


def test_a_number_not_written_as_declared_is_held_back(read_text):
    usage = read_text("usage.csv", slides("1,234", "1.5"), {"csv": {"numbers": "1234.5"}})
    assert usage["defect"].to_list() == ["invalid_quantity", None]
    usage = read_text("usage.csv", slides("12.5", "12,5"), {"csv": {"numbers": "1.234,5"}})
    assert decimals(usage) == [None, "12.5"]
    assert "'12.5' is not a number as the file writes them (1.234,5)" in usage["detail"][0]


def test_a_typed_number_and_one_of_the_mapping_are_never_ambiguous(tmp_path, read_text):
    frame = pl.DataFrame(
        {"id": ["a", "b"], "item": "slide", "project": "p1", "quantity": [1.234, 2.5]}
    ).with_columns(date=dt.date(2025, 11, 3))
    frame.write_parquet(tmp_path / "usage.parquet")
    usage = read_usage(tmp_path / "usage.parquet", {}, "UTC")
    assert decimals(usage) == ["1.234", "2.5"]
    text = "id,item,project,start,end\na,s,p1,2025-11-03T09:00,2025-11-03T10:00\n"
    assert decimals(read_text("u.csv", text, {"csv": {"units": "1.250"}}), "units") == ["1.25"]


@pytest.mark.parametrize(
    "absurd",
    ["12345678901234567890123456", "9" * 30, "1000000000000", "1e26", "1,5,5", "0x10", "12 34"],
)
def test_one_absurd_number_is_held_back_alone(read_text, absurd):
    text = "id,item,project,date,quantity\nok,slide,p1,2025-11-03,1\n"
    usage = read_text("u.csv", text + f'h,slide,p1,2025-11-03,"{absurd}"\n')
    assert usage.select("record", "quantity", "defect").rows() == [
        ("ok", 1, None),
        ("h", None, "invalid_quantity"),
    ]
    units = (
        text.replace("quantity", "units")
        .replace("date", "start,end")
        .replace("2025-11-03", "2025-11-03T09:00,2025-11-03T10:00")
    )
    row = f'h,slide,p1,2025-11-03T09:00,2025-11-03T10:00,"{absurd}"\n'
    assert read_text("u.csv", units + row)["defect"].to_list() == [None, "invalid_quantity"]


NUMBERS = st.decimals(0, 10**9, places=4, allow_nan=False)
WRITINGS = {
    "1,234.5": lambda value: f"{value:,}",
    "1.234,5": lambda value: f"{value:,}".translate(str.maketrans(",.", ".,")),
    "1 234,5": lambda value: f"{value:,}".translate(str.maketrans(",.", "\u202f,")),
    "1'234.5": lambda value: f"{value:,}".translate(str.maketrans(",", "'")),
}


@settings(deadline=None, max_examples=40)
@given(numbers=st.lists(NUMBERS, min_size=1, max_size=9), writing=st.sampled_from([*WRITINGS]))
def test_numbers_are_read_back_in_every_writing_declared_or_found(
    tmp_path_factory, numbers, writing
):
    path = tmp_path_factory.mktemp("written") / "usage.csv"
    path.write_text(slides(*(WRITINGS[writing](number) for number in numbers)))
    for mapping in ({}, {"csv": {"numbers": writing}}):
        usage = read_usage(path, mappings(mapping), "UTC")
        assert usage["quantity"].to_list() == numbers


SESSION = "id,item,project,start,end,{}\nu1,scope,p1,2020-04-06T13:00,2020-04-06T16:00,{}\n"


@pytest.mark.parametrize(
    ("measure", "written", "seconds"),
    [
        ("minutes", "60.00", 3600),
        ("minutes", "0.5", 30),
        ("minutes", "20", 1200),  # a third of an hour, exactly
        ("hours", "1.5", 5400),
        ("seconds", "90", 90),
        ("[h]:mm", "26:30", 95400),
        ("[h]:mm:ss", "1:30:00", 5400),
        ("d-hh:mm:ss", "1-02:30:00", 95400),
        (None, "02:00:00", 7200),
        (None, "1-02:30:00", 95400),
    ],
)
@pytest.mark.parametrize("column", ["elapsed", "quantity"])
def test_a_duration_is_read_as_its_measure_says(read_text, measure, written, seconds, column):
    if measure is None and column == "quantity":
        measure = "d-hh:mm:ss"
    sources = {"csv": {"measure": measure}} if measure else {}
    usage = read_text("usage.csv", SESSION.format(column, written), sources)
    assert usage["elapsed"].to_list() == [seconds * 1_000_000]
    assert usage.select("quantity", "defect").row(0) == (None, None)


def test_a_measure_is_of_the_elapsed_time_where_there_is_one(read_text):
    text = SESSION.format("elapsed,quantity", "90,2")
    usage = read_text("usage.csv", text, {"csv": {"measure": "minutes"}})
    assert usage.select("elapsed", "quantity").row(0) == (5_400_000_000, Decimal(2))
    mapped = {"csv": {"elapsed": "{minutes}", "measure": "minutes"}}
    usage = read_text("usage.csv", SESSION.format("minutes", "90"), mapped)
    assert usage["elapsed"].to_list() == [5_400_000_000]


def test_minutes_follow_the_writing_of_numbers(read_text):
    text = SESSION.replace(",", ";").format("quantity", "1.234") + (
        "u2;scope;p1;2020-04-06T13:00;2020-04-06T16:00;12,5\n"
    )
    usage = read_text("usage.csv", text, {"csv": {"measure": "minutes"}})
    assert usage["elapsed"].to_list() == [1234 * 60_000_000, 750_000_000]


@pytest.mark.parametrize("written", ["7200", "1:30", "1.5"])
def test_an_elapsed_time_that_does_not_say_its_unit_refuses_the_file(read_text, written):
    with pytest.raises(UnreadableFile, match=rf"'{written}' does not say whether .* measure: "):
        read_text("usage.csv", SESSION.format("elapsed", written))


@pytest.mark.parametrize(
    ("measure", "written", "detail"),
    [
        ("minutes", "soon", "is not a number"),
        ("minutes", "-5", "is negative"),
        ("seconds", "99999999999", "is longer than three centuries"),
        ("hours", "12345678901234567890123456", "is too large"),
        ("[h]:mm", "1:75", "is no duration; write it like [h]:mm"),
        ("[h]:mm:ss", "99999999999:00:00", "is no duration"),
        (None, "soon", "is no duration; write it like d-hh:mm:ss"),
    ],
)
def test_a_duration_that_is_none_is_held_back(read_text, measure, written, detail):
    sources = {"csv": {"measure": measure}} if measure else {}
    usage = read_text("usage.csv", SESSION.format("elapsed", written), sources)
    assert usage.select("elapsed", "defect").row(0) == (None, "invalid_quantity")
    assert f"'{written}' {detail}" in usage["detail"][0]


def test_durations_of_their_own_type_need_no_measure(tmp_path):
    frame = pl.DataFrame(
        {
            "id": ["a", "b"],
            "item": "scope",
            "project": "p1",
            "date": dt.date(2020, 4, 6),
            "elapsed": [dt.timedelta(hours=1, minutes=30), None],
        }
    )
    frame.write_parquet(tmp_path / "usage.parquet")
    usage = read_usage(tmp_path / "usage.parquet", {}, "UTC")
    assert usage["elapsed"].to_list() == [5_400_000_000, None]
