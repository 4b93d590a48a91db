"""Intake: each record once, nothing lost, nothing half done."""

from pathlib import Path

import openpyxl
import pytest
from sample_facility import HEADER, USAGE, nothing, price_book, usage_file
from sqlalchemy import Engine

from billing_lib.errors import UnreadableFile
from billing_lib.ledger import usage
from billing_lib.ledger.database import reading
from billing_lib.workflow.load import load_files


def records(ledger: Engine, period: str | None = None) -> list[str]:
    with reading(ledger) as connection:
        return usage.read_usage(connection, "MIC", period=period)["record"].to_list()


def test_a_file_loads_once(ledger: Engine, tmp_path: Path) -> None:
    path = usage_file(tmp_path)
    first = load_files(ledger, price_book(), [path], nothing)[0]
    again = load_files(ledger, price_book(), [path], nothing)[0]
    assert (first.records, first.new, first.defects) == (6, 6, 1)
    assert again.loaded_before and again.new == 0
    assert records(ledger) == ["u1", "u2", "u3", "u4", "u5", "u6"]


def test_a_longer_file_adds_what_is_new(ledger: Engine, tmp_path: Path) -> None:
    load_files(ledger, price_book(), [usage_file(tmp_path)], nothing)
    longer = usage_file(tmp_path, USAGE + "u7,slide,p1,bob,,,2020-04-10,1\n", "longer.csv")
    loaded = load_files(ledger, price_book(), [longer], nothing)[0]
    assert (loaded.records, loaded.new, loaded.known) == (7, 1, 6)


def test_several_files_load_whole_or_not_at_all(ledger: Engine, tmp_path: Path) -> None:
    good = usage_file(tmp_path)
    empty = usage_file(tmp_path, "", "empty.csv")
    with pytest.raises(UnreadableFile):
        load_files(ledger, price_book(), [good, empty], nothing)
    assert records(ledger) == []


def test_usage_belongs_to_the_month_in_which_it_ends(ledger: Engine, tmp_path: Path) -> None:
    rows = HEADER + (
        "late,scope,p1,ann,2020-04-30T23:00:00-04:00,2020-05-01T00:00:00-04:00,,\n"
        "later,scope,p1,ann,2020-04-30T23:00:00-04:00,2020-05-01T00:00:01-04:00,,\n"
    )
    load_files(ledger, price_book(), [usage_file(tmp_path, rows)], nothing)
    assert records(ledger, "2020-04") == ["late"]
    assert records(ledger, "2020-05") == ["later"]


def test_a_row_without_an_end_belongs_to_the_month_of_its_date_or_start(
    ledger: Engine, tmp_path: Path
) -> None:
    rows = HEADER + (
        "runs,scope,p1,ann,2020-04-30T23:00:00-04:00,,,\n"
        "typo,scope,p1,ann,2020-04-30T23:00:00-04:00,sometime,,\n"
        "ends,scope,p1,ann,sometime,2020-05-01T01:00:00-04:00,,\n"
        "many,slide,p1,ann,,,2020-05-02,many\n"
    )
    load_files(ledger, price_book(), [usage_file(tmp_path, rows)], nothing)
    assert records(ledger, "2020-04") == ["runs", "typo"]
    assert records(ledger, "2020-05") == ["ends", "many"]


def test_a_row_without_a_time_is_in_no_month(ledger: Engine, tmp_path: Path) -> None:
    rows = USAGE + "u9,slide,p1,bob,,,yesterday,1\n"
    loaded = load_files(ledger, price_book(), [usage_file(tmp_path, rows)], nothing)[0]
    assert loaded.undated == 1
    assert "u9" in records(ledger)
    assert "u9" not in records(ledger, "2020-04") + records(ledger, "2020-05")


def test_what_of_a_workbook_was_not_read_is_said(ledger: Engine, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.create_sheet("old").sheet_state = "hidden"
    for row in (line.split(",") for line in USAGE.splitlines()[:3]):
        book.worksheets[0].append(row)
    book.save(tmp_path / "usage.xlsx")
    (loaded,) = load_files(ledger, price_book(), [tmp_path / "usage.xlsx"], nothing)
    assert loaded.sentence == (
        "usage.xlsx: 2 records read, 2 new; the sheet 'old' is hidden and was not read"
    )
