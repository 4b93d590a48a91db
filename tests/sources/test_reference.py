"""The reference of an ad hoc invoice, in every kind of usage file."""

import openpyxl
import polars as pl
import pytest

from billing_lib.errors import UnreadableFile
from billing_lib.sources import read_usage

TEXT = (
    "id,item,project,date,quantity,reference\n"
    "u1,slide,p1,2020-04-07,1,PO-12\n"
    "u2,slide,,2020-04-07,1, \n"
)


def test_a_column_of_a_table_is_read_and_an_empty_cell_names_nothing(read_text, tmp_path):
    rows = [line.split(",") for line in TEXT.splitlines()]
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(tmp_path / "usage.xlsx")
    columns = dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))
    pl.DataFrame(columns).write_parquet(tmp_path / "usage.parquet")
    read = [read_text("usage.csv", TEXT)] + [
        read_usage(tmp_path / name, {}, "America/New_York")
        for name in ("usage.xlsx", "usage.parquet")
    ]
    for usage in read:
        assert usage["reference"].to_list() == ["PO-12", None]
        assert usage["project"].to_list() == ["p1", None]


def test_a_mapping_makes_it_of_any_field(read_text):
    sacct = {"item": "core-hour", "project": "{Account}", "reference": "PO-{Comment}"}
    job = (
        "JobID|Account|Start|End|Comment\n"
        "1|chem|2020-04-06T17:00:00|2020-04-06T20:00:00|7\n"
        "2|chem|2020-04-06T17:00:00|2020-04-06T20:00:00|\n"
    )
    assert read_text("a.sacct", job, {"sacct": sacct})["reference"].to_list() == ["PO-7", None]
    swf = {"item": "core-hour", "project": "u{user}", "reference": "{queue}"}
    log = "; UnixStartTime: 1000000000\n1 0 -1 60 4 -1 -1 -1 -1 -1 -1 7 1 2 5 -1 -1 -1\n"
    assert read_text("a.swf", log, {"swf": swf})["reference"].to_list() == ["5"]


def test_with_a_reference_the_project_may_be_left_out_and_without_one_not(read_text):
    named = "id,item,date,quantity,reference\nu1,slide,2020-04-07,1,PO-12\n"
    assert read_text("usage.csv", named).select("project", "reference").rows() == [(None, "PO-12")]
    with pytest.raises(UnreadableFile, match="the column 'project' is missing"):
        read_text("usage.csv", named.replace("reference", "remark"))


def test_a_record_that_comes_with_none_has_none(read_text):
    plain = "id,item,project,date,quantity\nu1,slide,p1,2020-04-07,1\n"
    assert read_text("usage.csv", plain)["reference"].to_list() == [None]
