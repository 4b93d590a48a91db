"""CSV: separators, quotes, ragged rows, and values that are not what their column says."""

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing_lib.errors import UnreadableFile
from billing_lib.pricing.fields import USAGE
from billing_lib.sources import mappings, read_usage

HEADER = "id,item,project,user,start,end,date,quantity\n"
SLIDES = "u2,slide,p1,bob,,,2020-04-07,12\n"
SESSION = "u1,scope-1,p1,ann,2020-04-06T17:00:00-04:00,2020-04-06T20:00,,\n"


def test_columns_named_as_the_usage_fields_need_no_mapping(read_text):
    usage = read_text("usage.csv", HEADER + SESSION + SLIDES)
    assert usage.schema == USAGE
    assert usage["defect"].to_list() == [None, None]
    assert usage.select("record", "item", "project", "user", "file", "row").rows() == [
        ("u1", "scope-1", "p1", "ann", "usage.csv", 2),
        ("u2", "slide", "p1", "bob", "usage.csv", 3),
    ]
    assert str(usage["start"][0]) == "2020-04-06 21:00:00+00:00"
    assert str(usage["end"][0]) == "2020-04-07 00:00:00+00:00"
    assert str(usage["date"][1]) == "2020-04-07"
    assert usage["quantity"].to_list() == [None, Decimal(12)]
    assert usage["units"].to_list() == [1, 1]


def test_a_mapping_makes_usage_fields_of_any_columns(read_text):
    text = "Booking No.,tool,dept,begin,finish\n57,scope-1,chem,2020-04-06 17:00,2020-04-06 20:00\n"
    usage = read_text(
        "bookings.csv",
        text,
        {
            "csv": {
                "id": "b{Booking No.}",
                "item": "{tool}",
                "project": "{dept}/{tool}",
                "start": "{begin}",
                "end": "{finish}",
                "units": "2",
            }
        },
    )
    assert usage.select("record", "item", "project", "user", "units", "defect").rows() == [
        ("b57", "scope-1", "chem/scope-1", None, Decimal(2), None)
    ]


def test_an_empty_cell_makes_no_project_of_the_rest_of_its_template(read_text):
    usage = read_text("u.csv", HEADER + SLIDES.replace("bob", ""), {"csv": {"project": "u{user}"}})
    assert usage["project"].to_list() == [None]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separator_is_told_by_the_header(read_text, separator):
    quoted = ["u3", "slide", "p1", '"B, ""Bob""; Jr."', "", "", "2020-04-07", "12"]
    text = (HEADER + SLIDES).replace(",", separator) + separator.join(quoted) + "\n"
    usage = read_text("usage.csv", text)
    assert usage["record"].to_list() == ["u2", "u3"]
    assert usage["user"].to_list() == ["bob", 'B, "Bob"; Jr.']
    assert usage["defect"].to_list() == [None, None]


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(read_text):
    text = "\ufeff" + (HEADER + SLIDES).replace("\n", "\r\n")
    usage = read_text("usage.csv", text)
    assert usage.select("record", "row", "defect").rows() == [("u2", 2, None)]


def test_blank_lines_are_no_records_but_count_as_lines(read_text):
    usage = read_text("usage.csv", "\n" + HEADER + "\n" + SLIDES + "   \n" + SESSION + "\n\n")
    assert usage.select("record", "row").rows() == [("u2", 4), ("u1", 6)]


@pytest.mark.parametrize(
    ("line", "fields"), [("u9,slide,p1\n", 3), (SLIDES.replace("12", "12,x"), 9)]
)
def test_a_ragged_row_stays_as_it_stood(read_text, line, fields):
    usage = read_text("usage.csv", HEADER + SESSION + line + SLIDES)
    assert usage["record"].to_list() == ["u1", "usage.csv:3", "u2"]
    assert usage["defect"].to_list() == [None, "invalid_time", None]
    assert usage["detail"][1] == f"usage.csv, row 3: it has {fields} fields instead of 8"
    assert usage["raw"][1] == line.rstrip("\n")


def test_a_quoted_line_break_belongs_to_its_field_and_rows_stay_lines(read_text):
    noted = SLIDES.replace("bob", '"bob\nthe builder"')
    usage = read_text("usage.csv", HEADER + noted + SESSION + "u9,slide\n")
    assert usage.select("record", "row").rows() == [
        ("u2", 2),
        ("u1", 4),
        ("usage.csv:5", 5),
    ]
    assert usage["user"][0] == "bob\nthe builder"
    assert usage["raw"][2] == "u9,slide"


def test_a_quote_that_is_never_closed_costs_its_own_line_only(read_text):
    usage = read_text("usage.csv", HEADER + SESSION + SLIDES.replace("bob", '"bob') + SLIDES)
    assert usage.select("record", "defect").rows() == [
        ("u1", None),
        ("usage.csv:3", "invalid_time"),
        ("u2", None),
    ]
    assert "quotation mark" in usage["detail"][1]
    assert usage["raw"][1] == SLIDES.replace("bob", '"bob').rstrip("\n")


@pytest.mark.parametrize(
    ("column", "value", "defect", "detail"),
    [
        ("date", "43831", "invalid_time", "is a number where a date belongs"),
        ("date", "2020-02-30", "invalid_time", "is not a date"),
        ("date", "9999-12-31", "invalid_time", "is not a date"),
        ("date", "7.4.2020", "invalid_time", "is not a date"),
        ("date", "2020-04-07T10:00", "invalid_time", "has a time of day where a date belongs"),
        ("quantity", "twelve", "invalid_quantity", "is not a number"),
        ("quantity", "1,5,5", "invalid_quantity", "is not a number"),
        ("quantity", "1e3", "invalid_quantity", "is not a number"),
        ("quantity", "-1", "invalid_quantity", "is negative"),
        ("quantity", "0.1234567891", "invalid_quantity", "has more than nine decimals"),
        ("quantity", "9" * 30, "invalid_quantity", "is too large"),
    ],
)
def test_a_value_of_another_kind_is_named_with_its_place(read_text, column, value, defect, detail):
    cells = {"date": "2020-04-07", "quantity": "12", column: value}
    line = f'u2,slide,p1,bob,,,{cells["date"]},"{cells["quantity"]}"\n'
    usage = read_text("usage.csv", HEADER + SESSION + line)
    assert usage.select("record", "defect").rows() == [("u1", None), ("u2", defect)]
    assert usage["detail"][1].startswith(f"usage.csv, row 3, column '{column}': '{value}' {detail}")
    assert usage["raw"][1] == line.rstrip("\n")


@pytest.mark.parametrize(
    ("start", "end", "detail"),
    [
        ("43831", "2020-04-06T20:00", "column 'start': '43831' is a number where a time belongs"),
        ("2020-04-06", "2020-04-07", "column 'start': '2020-04-06' has no time of day"),
        ("2020-04-06T25:00", "2020-04-07T01:00", "column 'start': '2020-04-06T25:00' is not a"),
        ("2020-04-06T17:00+15:00", "2020-04-07T01:00", "'2020-04-06T17:00+15:00' is not a time"),
        ("2020-04-06T17:00", "9999-12-31T23:59:59", "is not within the years 1900 to 2999"),
        ("2020-04-06T17:00", "", "it has no end"),
        ("", "2020-04-06T17:00", "it has no start"),
        ("", "", "it has no time"),
        ("2020-04-06T17:00", "2020-04-06T16:00", "ends before that"),
        ("2020-03-08T02:30", "2020-03-08T04:00", "was skipped on the clocks of America/New_York"),
    ],
)
def test_a_session_without_a_time_that_can_be_stays_with_its_reason(read_text, start, end, detail):
    usage = read_text("usage.csv", HEADER + f"u1,scope-1,p1,ann,{start},{end},,\n" + SLIDES)
    assert usage["defect"].to_list() == ["invalid_time", None]
    assert usage["detail"][0].startswith("usage.csv, row 2")
    assert detail in usage["detail"][0]


@pytest.mark.parametrize(
    ("start", "end", "instants"),
    [
        ("01:10", "01:30", ("05:10", "05:30")),
        ("01:30", "01:10", ("05:30", "06:10")),
        ("01:30", "03:00", ("05:30", "08:00")),
    ],
)
def test_the_hour_that_comes_twice_is_read_as_the_earlier_one_where_that_can_be(
    read_text, start, end, instants
):
    line = f"u1,scope-1,p1,ann,2020-11-01T{start},2020-11-01T{end},,\n"
    usage = read_text("usage.csv", HEADER + line)
    shown = (usage["start"].dt.strftime("%H:%M")[0], usage["end"].dt.strftime("%H:%M")[0])
    assert shown == instants
    assert usage["defect"].to_list() == [None]


def test_a_record_without_an_id_is_identified_by_its_place(read_text):
    usage = read_text("usage.csv", HEADER + SLIDES.replace("u2", "") + SLIDES + SLIDES)
    assert usage.select("record", "occurrence", "defect").rows() == [
        ("usage.csv:2", 1, None),
        ("u2", 1, None),
        ("u2", 2, None),
    ]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("usage.csv", "", r"usage\.csv: the file is empty"),
        ("usage.csv", "\n \n", r"usage\.csv: the file is empty"),
        ("usage.csv", "item,project,date\na,b,c\n", r"column 'id' is missing; .* item, project"),
        ("usage.csv", "id,item,date\na,b,c\n", r"column 'project' is missing; .*; add it"),
        ("usage.csv", "id,item,project\na,b,c\n", r"time \(start and end, or date\)"),
        ("usage.csv", "id,item,project,start\na,b,c,d\n", r"column 'end' is missing; .*start"),
        ("usage.csv", HEADER, r"usage\.csv: it holds no record, only a header; .* id, item,"),
        ("usage.csv", "id,item,id\na,b,c\n", r"usage\.csv, row 1: the column 'id' stands twice"),
        ("usage.csv", ",,\na,b,c\n", r"usage\.csv, row 1: the header names no column"),
        ("usage.csv", '"id,item\na,b\n', r"usage\.csv, row 1: .*quotation mark"),
        ("usage.ods", "x\n", r"usage\.ods: .*no known kind.*; name it with one of \.swf"),
        (
            "usage.csv",
            HEADER.encode() + b"\nu1,\xe9\n",
            r"usage\.csv, row 3: the text is not UTF-8",
        ),
        ("usage.csv", HEADER.encode("utf-16"), r"not UTF-8 but UTF-16"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_what_to_do(read_text, name, text, sentence):
    with pytest.raises(UnreadableFile, match=sentence):
        read_text(name, text)


def test_a_column_that_the_mapping_names_must_be_there(read_text):
    with pytest.raises(
        UnreadableFile, match=r"'usr' is missing, from which user is made.*perhaps 'user' is meant"
    ):
        read_text("usage.csv", HEADER + SLIDES, {"csv": {"user": "{usr}"}})


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UnreadableFile, match="no such file"):
        read_usage(tmp_path / "usage.csv", mappings({}), "America/New_York")


def test_lines_are_read_the_same_with_quotes_and_without(read_text):
    lines = [SLIDES.replace("u2", f"u{place}") for place in range(50)]
    lines[20] = "u20,slide\n"
    lines[40] = "\n"
    whole = read_text("usage.csv", HEADER + "".join(lines))
    lines[10], lines[30] = (lines[at].replace("bob", '"bob"') for at in (10, 30))
    some = read_text("usage.csv", HEADER + "".join(lines))
    assert some.equals(whole)
    lines[11] = lines[11].replace("bob", '"b\nob"')  # now the file is taken record by record
    broken = read_text("usage.csv", HEADER + "".join(lines))
    others = pl.col("record").is_in(["u11"]) | pl.col("defect").is_not_null()  # they name lines
    assert broken.filter(~others).drop("row").equals(whole.filter(~others).drop("row"))
    assert broken["row"].to_list()[20] == 23
    assert whole.filter(pl.col("defect").is_not_null())["row"].to_list() == [22]


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=8
)
QUANTITIES = st.decimals(0, 10**6, places=4, allow_nan=False)  # three alone are ambiguous


@settings(deadline=None, max_examples=40)
@given(rows=st.lists(st.tuples(TEXTS, st.booleans(), QUANTITIES), min_size=1, max_size=20))
def test_what_is_written_is_read_back(tmp_path_factory, rows):
    frame = pl.DataFrame(
        {
            "id": [f"u{place}" for place in range(len(rows))],
            "item": "slide",
            "project": "p1",
            "date": "2020-04-07",
            "description": [text + "\n" * breaks + "." for text, breaks, _ in rows],
            "quantity": [str(quantity) for _, _, quantity in rows],
        }
    )
    folder = tmp_path_factory.mktemp("written")
    frame.write_csv(folder / "usage.csv")
    usage = read_usage(folder / "usage.csv", {}, "UTC")
    assert usage["defect"].to_list() == [None] * len(rows)
    assert usage["record"].to_list() == frame["id"].to_list()
    assert usage["quantity"].to_list() == [quantity for _, _, quantity in rows]
    assert usage["description"].to_list() == [t.strip() for t in frame["description"].to_list()]
