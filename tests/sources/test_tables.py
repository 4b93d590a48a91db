"""Excel and Parquet: cells and columns with types of their own."""

import datetime as dt
from decimal import Decimal

import openpyxl
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing_lib.errors import UnreadableFile
from billing_lib.sources import read_usage

HEADER = ["id", "item", "project", "user", "start", "end", "date", "quantity"]
FIVE_PM = dt.datetime(2020, 4, 6, 17)  # noqa: DTZ001 - a wall clock, as spreadsheets have it
EIGHT_PM = dt.datetime(2020, 4, 6, 20)  # noqa: DTZ001


@pytest.fixture
def read_sheet(tmp_path):
    """Write rows into the first sheet of a workbook, and read it."""

    def read(*rows):
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.create_sheet("notes").append(["not usage"])
        book.save(tmp_path / "usage.xlsx")
        return read_usage(tmp_path / "usage.xlsx", {}, "America/New_York")

    return read


@pytest.fixture
def read_columns(tmp_path):
    """Write a frame as Parquet, and read it as usage."""

    def read(timezone="America/New_York", **columns):
        frame = pl.DataFrame({"id": ["u1"], "item": "slide", "project": "p1", **columns})
        frame.write_parquet(tmp_path / "usage.parquet")
        return read_usage(tmp_path / "usage.parquet", {}, timezone)

    return read


def test_date_cells_are_wall_clocks_and_numbers_what_was_typed(read_sheet):
    usage = read_sheet(
        HEADER,
        [57, "scope-1", "p1", "ann", FIVE_PM, EIGHT_PM, None, None],
        ["u2", "slide", "p1", 12.0, None, None, dt.date(2020, 4, 7), 0.1],
    )
    assert usage["defect"].to_list() == [None, None]
    assert usage.select("record", "user", "row").rows() == [("57", "ann", 2), ("u2", "12", 3)]
    assert str(usage["start"][0]) == "2020-04-06 21:00:00+00:00"
    assert str(usage["end"][0]) == "2020-04-07 00:00:00+00:00"
    assert usage["date"][1] == dt.date(2020, 4, 7)
    assert usage["quantity"][1] == Decimal("0.1")


def test_blank_rows_are_passed_over_and_rows_are_the_sheets_own(read_sheet):
    slide = ["u2", "slide", "p1", "bob", None, None, dt.date(2020, 4, 7), 12]
    usage = read_sheet([], HEADER, [], slide, [None, " "], [*slide[:7], "12.5"])
    assert usage.select("row", "occurrence", "quantity").rows() == [
        (4, 1, Decimal(12)),
        (6, 2, Decimal("12.5")),
    ]


@pytest.mark.parametrize(
    ("column", "value", "defect", "detail"),
    [
        ("date", 43831, "invalid_time", "'43831' is a number where a date belongs"),
        ("date", FIVE_PM, "invalid_time", "has a time of day where a date belongs"),
        ("start", 43831.5, "invalid_time", "'43831.5' is a number where a time belongs"),
        ("start", "5 pm", "invalid_time", "'5 pm' is not a time"),
        ("quantity", "a few", "invalid_quantity", "'a few' is not a number"),
        ("quantity", 1 / 3, "invalid_quantity", "has more than nine decimals"),
        ("quantity", -2, "invalid_quantity", "'-2' is negative"),
    ],
)
def test_a_cell_of_another_kind_is_named_with_its_place(read_sheet, column, value, defect, detail):
    cells = dict.fromkeys(HEADER) | {"id": "u1", "item": "i", "project": "p"}
    cells |= {"start": FIVE_PM, "end": EIGHT_PM, column: value}
    usage = read_sheet(HEADER, list(cells.values()))
    assert usage["defect"].to_list() == [defect]
    assert usage["detail"][0].startswith(f"usage.xlsx, row 2, column '{column}': ")
    assert detail in usage["detail"][0]
    assert usage["raw"][0].split("\t")[:3] == ["u1", "i", "p"]


def test_cells_beyond_the_header_make_a_row_malformed(read_sheet):
    slide = ["u2", "slide", "p1", "bob", None, None, dt.date(2020, 4, 7), 12]
    usage = read_sheet(HEADER, [*slide, "?"], slide)
    assert usage["defect"].to_list() == ["invalid_time", None]
    assert "beyond the header" in usage["detail"][0]
    cells = ["u2", "slide", "p1", "bob", "", "", "2020-04-07T00:00:00", "12", "?"]
    assert usage["raw"].to_list() == ["\t".join(cells), None]


def test_tables_without_rows_are_refused(tmp_path, read_sheet):
    with pytest.raises(UnreadableFile, match=r"usage\.xlsx, sheet Sheet: it holds no record, only"):
        read_sheet(HEADER)
    columns = dict.fromkeys(["id", "item", "project", "date"], pl.String)
    pl.DataFrame(schema=columns).write_parquet(tmp_path / "usage.parquet")
    with pytest.raises(UnreadableFile, match=r"usage\.parquet: it holds no record.*id, item"):
        read_usage(tmp_path / "usage.parquet", {}, "UTC")


def test_an_excel_file_that_is_none_is_refused(tmp_path, read_sheet):
    (tmp_path / "usage.xlsx").write_text("id,item\n")
    with pytest.raises(UnreadableFile, match=r"usage\.xlsx: it is no Excel workbook"):
        read_usage(tmp_path / "usage.xlsx", {}, "UTC")
    with pytest.raises(UnreadableFile, match=r"usage\.xlsx, sheet Sheet: the sheet is empty"):
        read_sheet()


def test_a_timestamp_with_a_zone_is_an_instant_and_one_without_a_wall_clock(read_columns):
    aware = FIVE_PM.replace(tzinfo=dt.UTC)
    usage = read_columns(start=[aware], end=[FIVE_PM])
    assert str(usage["start"][0]) == "2020-04-06 17:00:00+00:00"
    assert str(usage["end"][0]) == "2020-04-06 21:00:00+00:00"
    assert usage["defect"][0] is None


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (Decimal("1.25"), Decimal("1.25")),
        (3, Decimal(3)),
        (0.1, Decimal("0.1")),
        (1e-7, Decimal("0.0000001")),
        ("2.50", Decimal("2.5")),
    ],
)
def test_numbers_of_any_type_are_exact(read_columns, quantity, expected):
    usage = read_columns(date=[dt.date(2020, 4, 7)], quantity=[quantity])
    assert usage["quantity"].to_list() == [expected]
    assert usage["defect"][0] is None


@pytest.mark.parametrize(
    ("columns", "defect", "detail"),
    [
        ({"date": [43831]}, "invalid_time", "'43831' is a number where a date belongs"),
        ({"start": [43831], "end": [FIVE_PM]}, "invalid_time", "is a number where a time"),
        (
            {"start": [dt.date(2020, 4, 7)], "end": [EIGHT_PM]},
            "invalid_time",
            "has no time of day",
        ),
        (
            {"start": [dt.datetime(2020, 3, 8, 2, 30)], "end": [EIGHT_PM]},  # noqa: DTZ001
            "invalid_time",
            "was skipped on the clocks of America/New_York",
        ),
        (
            {"date": ["2020-04-07"], "quantity": [float("nan")]},
            "invalid_quantity",
            "'NaN' is not a number",
        ),
        (
            {"date": ["2020-04-07"], "quantity": [Decimal("0.12345678901")]},
            "invalid_quantity",
            "has more than nine decimals",
        ),
        ({"date": ["2020-04-07"], "quantity": [True]}, "invalid_quantity", "is not a number"),
    ],
)
def test_a_column_of_another_type_is_a_defect_of_each_row(read_columns, columns, defect, detail):
    usage = read_columns(**columns)
    assert usage["defect"].to_list() == [defect]
    assert usage["detail"][0].startswith("usage.parquet, row 1, column '")
    assert detail in usage["detail"][0]
    assert usage["raw"][0].split("\t")[:3] == ["u1", "slide", "p1"]


def test_a_file_name_is_no_pattern(tmp_path):
    frame = pl.DataFrame({"id": "u1", "item": "slide", "project": "p1", "date": "2020-04-07"})
    frame.write_parquet(tmp_path / "april.parquet")
    frame.write_parquet(tmp_path / "a*.parquet")
    assert read_usage(tmp_path / "a*.parquet", {}, "UTC").height == 1


def test_an_instant_at_local_midnight_is_a_date(read_columns):
    midnight = dt.datetime(2020, 4, 7, 4, tzinfo=dt.UTC)
    assert read_columns(date=[midnight])["date"][0] == dt.date(2020, 4, 7)


def test_ids_may_be_numbers(read_columns):
    frame = read_columns(id=[57], user=[1.0], date=["2020-04-07"])
    assert frame.select("record", "user", "row").rows() == [("57", "1", 1)]


def test_a_parquet_file_that_is_none_or_holds_lists_is_refused(tmp_path, read_columns):
    path = tmp_path / "usage.parquet"
    path.write_bytes(b"")
    with pytest.raises(UnreadableFile, match=r"usage\.parquet: the file is empty"):
        read_usage(path, {}, "UTC")
    path.write_text("PAR? no")
    with pytest.raises(UnreadableFile, match=r"usage\.parquet: it is no Parquet file"):
        read_usage(path, {}, "UTC")
    with pytest.raises(UnreadableFile, match=r"column 'user' is of type List"):
        read_columns(user=[["a", "b"]], date=["2020-04-07"])


INSTANTS = st.datetimes(
    dt.datetime(1990, 1, 1),  # noqa: DTZ001
    dt.datetime(2040, 1, 1),  # noqa: DTZ001
    timezones=st.just(dt.UTC),
)


@settings(deadline=None, max_examples=40)
@given(
    spans=st.lists(
        st.tuples(INSTANTS, st.timedeltas(dt.timedelta(0), dt.timedelta(days=9))),
        min_size=1,
        max_size=10,
    )
)
def test_instants_survive_parquet_and_text_alike(tmp_path_factory, spans):
    folder = tmp_path_factory.mktemp("spans")
    starts, ends = [s for s, _ in spans], [s + length for s, length in spans]
    frame = pl.DataFrame({"start": starts, "end": ends}).with_columns(
        id=pl.int_range(pl.len()), item=pl.lit("scope"), project=pl.lit("p1")
    )
    frame.write_parquet(folder / "usage.parquet")
    text = (
        pl.col("start", "end").dt.convert_time_zone("America/New_York").dt.to_string("iso:strict")
    )
    frame.with_columns(text).write_csv(folder / "usage.csv")
    for name in ("usage.parquet", "usage.csv"):
        usage = read_usage(folder / name, {}, "America/New_York")
        assert usage["defect"].to_list() == [None] * len(spans)
        assert usage["start"].to_list() == starts
        assert usage["end"].to_list() == ends
