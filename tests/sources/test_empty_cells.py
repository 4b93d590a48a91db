"""An empty cell is a hole, unless it belongs to another kind of record or has a default."""

from decimal import Decimal

import pytest

SESSION = "2025-11-03T09:00,2025-11-03T10:00,"
HEADER = "id,item,project,start,end,date,units,quantity\n"
MAPPED = {"units": "{units}"}


def defects(usage):
    return usage["defect"].to_list()


@pytest.mark.parametrize("column", ["units", "quantity", "elapsed"])
def test_an_empty_cell_of_a_mapped_column_is_held_back(read_text, column):
    text = f"id,item,project,start,end,n\na,cpu,p1,{SESSION}\nb,cpu,p1,{SESSION}2:00:00\n"
    text = text if column == "elapsed" else text.replace("2:00:00", "2")
    usage = read_text("u.csv", text, {"csv": {column: "{n}"}})
    assert defects(usage) == ["invalid_quantity", None]
    assert usage["detail"][0] == ("u.csv, row 2, column 'n': nothing stands where a number belongs")


def test_even_where_no_cell_of_the_mapped_column_is_filled(read_text):
    text = f"id,item,project,start,end,cores\na,cpu,p1,{SESSION}\n"
    assert defects(read_text("u.csv", text, {"csv": {"units": "{cores}"}})) == ["invalid_quantity"]
    assert defects(read_text("u.csv", text)) == [None]  # nothing says that cores are units


def test_a_default_stands_for_an_empty_cell_alone(read_text):
    text = HEADER + f"a,cpu,p1,{SESSION},,\nb,cpu,p1,{SESSION},4,\nc,cpu,p1,{SESSION},four,\n"
    usage = read_text("u.csv", text, {"csv": MAPPED | {"defaults": {"units": "1.5"}}})
    assert usage["units"].to_list()[:2] == [Decimal("1.5"), Decimal(4)]
    assert defects(usage) == [None, None, "invalid_quantity"]


def test_an_empty_default_leaves_the_field_out(read_text):
    mapped = {"quantity": "{quantity}", "defaults": {"quantity": ""}}
    text = HEADER + f"a,cpu,p1,{SESSION},,\nb,slide,p1,,,2025-11-03,,5\n"
    assert defects(read_text("u.csv", text, {"csv": mapped})) == [None, None]
    mapped.pop("defaults")
    assert defects(read_text("u.csv", text, {"csv": mapped})) == ["invalid_quantity", None]


def test_texts_may_have_defaults_too(read_text):
    text = f"id,item,project,user,start,end\na,cpu,,,{SESSION.rstrip(',')}\n"
    usage = read_text("u.csv", text, {"csv": {"defaults": {"project": "p9", "user": "nobody"}}})
    assert usage.select("project", "user", "defect").row(0) == ("p9", "nobody", None)


def test_kinds_of_records_in_one_table_leave_each_others_columns_empty(read_text):
    text = HEADER + (
        f"a,cpu,p1,{SESSION},16,\n"  # by the clock, times units
        f"b,scope,p1,{SESSION},,\n"  # by the clock; no scope has units
        "c,slide,p1,,,2025-11-03,,5\n"  # counted
        f"d,laser,p1,{SESSION},,0.75\n"  # its quantity is stated, which needs no units
    )
    usage = read_text("u.csv", text)
    assert defects(usage) == [None] * 4
    assert usage["units"].to_list() == [16, 1, 1, 1]


@pytest.mark.parametrize(
    ("full", "hole"),
    [
        (f"cpu,p1,{SESSION},16,", f"cpu,p1,{SESSION},,"),
        (f"laser,p1,{SESSION},,0.75", f"laser,p1,{SESSION},,"),
    ],
)
def test_a_kind_that_states_a_number_elsewhere_is_held_back_without_it(read_text, full, hole):
    usage = read_text("u.csv", HEADER + f"a,{full}\nb,{hole}\nc,slide,p1,,,2025-11-03,,5\n")
    assert defects(usage) == [None, "invalid_quantity", None]


def test_an_empty_elapsed_time_is_a_hole_where_the_item_states_it_elsewhere(read_text):
    text = f"id,item,project,start,end,elapsed\na,x,p,{SESSION}0:30:00\nb,x,p,{SESSION}\n"
    usage = read_text("u.csv", text + f"c,y,p,{SESSION}\n")
    assert defects(usage) == [None, "invalid_quantity", None]


def test_a_template_of_nothing_leaves_a_column_of_that_name_out(read_text):
    text = f"id,item,project,start,end,quantity\na,x,p,{SESSION}60\n"
    usage = read_text("u.csv", text, {"csv": {"quantity": ""}})
    assert usage.select("quantity", "defect").row(0) == (None, None)
