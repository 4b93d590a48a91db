"""Workbooks: sheets, hidden rows, formulas without values, errors, typed and untyped cells."""

import datetime as dt
import zipfile
from decimal import Decimal

import openpyxl
import pytest
import xlsxwriter

from billing_lib.errors import UnreadableFile
from billing_lib.sources import mappings, read_file, read_usage

HEADER = ["id", "item", "project", "date", "quantity"]
NOTES = [["Please", "read"], ["this", "first"]]


def slide(name, quantity=1, day="2025-11-03"):
    return [name, "slide", "chem", day, quantity]


@pytest.fixture
def read(tmp_path):
    """Write sheets into a workbook, by their titles, and read it: usage and notices."""

    def read_book(sheets, mapping=None, change=lambda book: None):
        book = openpyxl.Workbook()
        book.remove(book.active)
        for title, rows in sheets.items():
            sheet = book.create_sheet(title)
            for row in rows:
                sheet.append(row)
        change(book)
        book.save(tmp_path / "usage.xlsx")
        sources = mappings({"excel": mapping or {}})
        file = read_file(tmp_path / "usage.xlsx", sources, "America/New_York")
        return file.usage, file.notices

    return read_book


def hide(title, state="hidden"):
    def change(book):
        book[title].sheet_state = state

    return change


@pytest.mark.parametrize("state", ["hidden", "veryHidden"])
def test_a_hidden_sheet_is_not_read_but_named(read, state):
    """Case 06: the first sheet is hidden and old."""
    sheets = {"old": [HEADER, slide("o1", 500)], "November": [HEADER, slide("n1", 5)]}
    usage, notices = read(sheets, change=hide("old", state))
    assert usage.select("record", "file", "row").rows() == [("n1", "usage.xlsx", 2)]
    assert notices == ("the sheet 'old' is hidden and was not read",)


def test_all_visible_sheets_with_the_columns_are_read_and_the_others_named(read):
    sheets = {
        "October": [HEADER, slide("a"), slide("b")],
        "Notes": NOTES,
        "November": [HEADER, slide("a", 3)],
        "Empty": [],
    }
    usage, notices = read(sheets)
    assert usage.select("record", "occurrence", "file", "row").rows() == [
        ("a", 1, "usage.xlsx, sheet October", 2),
        ("b", 1, "usage.xlsx, sheet October", 3),
        ("a", 2, "usage.xlsx, sheet November", 2),  # a duplicate, as within one sheet
    ]
    assert len(notices) == 1
    assert notices[0].startswith("the sheet 'Notes' was not read: the mapping does not give the id")


def test_the_named_sheets_alone_are_read_even_hidden_ones(read):
    sheets = {"October": [HEADER, slide("o")], "November": [HEADER, slide("n")]}
    usage, notices = read(sheets, {"sheets": ["November"]}, hide("November"))
    assert usage["record"].to_list() == ["n"]
    assert notices == ("the sheet 'October' is not among those of the mapping and was not read",)
    with pytest.raises(UnreadableFile, match=r"no sheet 'Dec'; the sheets are 'October', 'Nov"):
        read(sheets, {"sheets": ["Dec"]})
    with pytest.raises(UnreadableFile, match=r"usage\.xlsx, sheet Notes: .*column 'id' is missing"):
        read(sheets | {"Notes": NOTES}, {"sheets": ["November", "Notes"]})


def rewritten(source, target, before, after):
    """A copy of a workbook with some bytes of its parts replaced."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(before, after))


def test_a_workbook_without_a_sheet_to_read_is_refused(read, tmp_path):
    with pytest.raises(UnreadableFile, match=r"usage\.xlsx, sheet Notes: .*column 'id' is missing"):
        read({"Notes": NOTES, "old": [HEADER, slide("a")]}, change=hide("old"))
    read({"S": [HEADER, slide("a")]})
    path = tmp_path / "hidden.xlsx"
    rewritten(tmp_path / "usage.xlsx", path, b'state="visible"', b'state="hidden"')
    with pytest.raises(UnreadableFile, match=r"hidden\.xlsx: all of its sheets are hidden"):
        read_usage(path, {}, "UTC")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([3], "1 hidden row of the sheet 'S' (3) not read"),
        ([3, 4], "2 hidden rows of the sheet 'S' (3, 4) not read"),
    ],
)
def test_hidden_rows_are_not_read_but_named_and_rows_keep_their_numbers(read, rows, sentence):
    def change(book):
        for row in rows:
            book["S"].row_dimensions[row].hidden = True

    body = [slide(name) for name in "abcd"]
    usage, notices = read({"S": [HEADER, *body]}, change=change)
    seen = [(name, row) for row, name in enumerate("abcd", start=2) if row not in rows]
    assert usage.select("record", "row").rows() == seen
    assert notices == (sentence,)


def test_merged_cells_are_named(read):
    usage, notices = read(
        {"S": [HEADER, slide("a", 12), slide("b", None)]},
        change=lambda book: book["S"].merge_cells("E2:E3"),
    )
    assert notices == ("the sheet 'S' has 1 merged areas, each read as its first cell alone",)
    assert usage["quantity"].to_list() == [Decimal(12), None]  # never 12 twice


TIMED = ["id", "item", "project", "start", "end", "units"]
NINE, ELEVEN = "2025-11-03T09:00", "2025-11-03T11:00"


@pytest.mark.parametrize(
    ("column", "defect"),
    [
        ("units", "invalid_quantity"),  # case 05: it was billed with 1
        ("start", "invalid_time"),
        ("id", "invalid_time"),
        ("project", "invalid_time"),
    ],
)
@pytest.mark.parametrize(
    ("cell", "detail"),
    [("=4*16", "the formula has no saved value"), ("#REF!", "'#REF!' is an error in the workbook")],
)
def test_a_cell_without_a_value_is_never_replaced_by_a_default(read, column, defect, cell, detail):
    row = dict(zip(TIMED, ["j1", "cpu", "chem", NINE, ELEVEN, 4], strict=True)) | {column: cell}
    sound = ["j2", "cpu", "chem", NINE, ELEVEN, 2]
    for mapping in ({}, {"defaults": {"units": "1", "project": "p9"}}):
        usage, _ = read({"S": [TIMED, list(row.values()), sound]}, mapping)
        assert usage["defect"].to_list() == [defect, None]
        assert detail in usage["detail"][0]
        assert f"row 2, column '{column}'" in usage["detail"][0]


def written(path, saved):
    """A workbook by xlsxwriter, which saves 0 with a formula unless it is told the result."""
    book = xlsxwriter.Workbook(path)
    sheet = book.add_worksheet("S")
    sheet.write_row(0, 0, HEADER)
    for row, (name, result) in enumerate(saved.items(), start=1):
        sheet.write_row(row, 0, slide(name)[:4])
        if result is None:
            sheet.write_formula(row, 4, "=2*3")
        else:
            sheet.write_formula(row, 4, "=2*3", None, result)
    book.close()


def test_a_formula_counts_as_its_saved_value_unless_nobody_computed_it(tmp_path):
    path = tmp_path / "usage.xlsx"
    written(path, {"a": None, "b": 6, "c": "#DIV/0!", "d": 0})
    usage = read_usage(path, {}, "UTC")
    assert usage["quantity"].to_list() == [None, 6, None, None]
    assert usage["defect"].to_list() == ["invalid_quantity", None, *["invalid_quantity"] * 2]
    # saved by a program that computes, a 0 is meant
    computed = tmp_path / "computed.xlsx"
    rewritten(path, computed, b' fullCalcOnLoad="1"', b"")
    usage = read_usage(computed, {}, "UTC")
    assert usage["quantity"].to_list() == [0, 6, None, 0]
    # and an empty text, saved as such, is an empty cell
    empty = tmp_path / "empty.xlsx"
    number, text = b'<c r="E2"><f>2*3</f><v>0</v></c>', b'<c r="E2" t="str"><f>""</f><v></v></c>'
    rewritten(path, empty, number, text)
    usage = read_usage(empty, {}, "UTC")
    assert usage.select("quantity", "defect").row(0) == (None, None)


def test_numbers_as_text_follow_the_file_and_typed_ones_do_not(read):
    body = [slide("a", "1.234,50"), slide("b", "2.500"), slide("c", 1.234), slide("d", 7)]
    usage, _ = read({"S": [HEADER, *body]})
    assert usage["quantity"].to_list() == [
        Decimal("1234.5"),
        Decimal(2500),
        Decimal("1.234"),
        Decimal(7),
    ]
    typed, _ = read({"S": [HEADER, slide("c", 1.234), slide("d", 2.5)]})
    assert typed["quantity"].to_list() == [Decimal("1.234"), Decimal("2.5")]
    with pytest.raises(UnreadableFile, match=r"'1\.234' is 1\.234 with a decimal point and 1234"):
        read({"S": [HEADER, slide("a", "1.234"), slide("d", 2.5)]})


def test_typed_times_and_durations_are_read_whatever_is_declared_for_texts(read):
    header = ["id", "item", "project", "day", "from", "to", "elapsed"]
    day = dt.datetime(2025, 11, 3)  # noqa: DTZ001 - a day, as spreadsheets have it
    rows = [
        ["a", "scope", "chem", day, dt.time(9), dt.time(10, 30), dt.timedelta(hours=1)],
        ["b", "scope", "chem", "11/03/2025", "09:00 AM", "10:30 AM", dt.timedelta(hours=26.5)],
    ]
    mapping = {"start": "{day} {from}", "end": "{day} {to}", "times": "%m/%d/%Y %I:%M %p"}
    usage, _ = read({"S": [header, *rows]}, mapping)
    assert usage["defect"].to_list() == [None, None]
    assert [str(start) for start in usage["start"]] == ["2025-11-03 14:00:00+00:00"] * 2
    assert [str(end) for end in usage["end"]] == ["2025-11-03 15:30:00+00:00"] * 2
    assert usage["elapsed"].to_list() == [3_600_000_000, 95_400_000_000]


def test_a_percentage_is_the_number_that_its_cell_holds(read):
    def change(book):
        book["S"]["E2"].number_format = "0%"

    usage, _ = read({"S": [HEADER, slide("a", 0.5)]}, change=change)
    assert usage["quantity"].to_list() == [Decimal("0.5")]
