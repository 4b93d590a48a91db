"""Single rows mended and dismissed, and the month that is rated afterwards (sample_facility.py)."""

import json
from pathlib import Path

import pytest
from ledger_invariants import broken
from sample_facility import HEADER, USAGE, nothing, price_book, usage_file
from sample_issuing import issue_here
from sqlalchemy import Engine

from billing_lib.errors import InvalidAdjustment
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events
from billing_lib.ledger.database import reading
from billing_lib.pricing.clock import Period
from billing_lib.workflow.correct import list_loaded, undo_unload, unload
from billing_lib.workflow.load import Loaded, load_files
from billing_lib.workflow.mend import (
    dismiss_row,
    mend_record,
    mend_rows,
    read_rows,
    restore_row,
    waiting_values,
)
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.review import find_discrepancies
from billing_lib.workflow.unplaced import read_unplaced

BOOK = price_book()
APRIL = Period(2020, 4)


def load(ledger: Engine, folder: Path, text: str = USAGE, name: str = "usage.csv") -> Loaded:
    return load_files(ledger, BOOK, [usage_file(folder, text, name)], nothing)[0]


def rows(ledger: Engine) -> dict[str, tuple[str, str]]:
    found = read_rows(ledger, BOOK, "2020-04").select("record", "reason", "dismissed")
    return {record: (reason, dismissed) for record, reason, dismissed in found.iter_rows()}


def totals(ledger: Engine) -> dict[str, int]:
    with reading(ledger) as connection:
        charges = ledger_charges.read_charges(connection, "MIC", period="2020-04")
    return dict(charges.select("charge", "total").sort("charge").iter_rows())


def billed(ledger: Engine) -> dict[str, str]:
    with reading(ledger) as connection:
        charges = ledger_charges.read_charges(connection, "MIC", period="2020-04")
    return dict(charges.select("charge", "state").iter_rows())


def defects(ledger: Engine) -> list[str]:
    return broken(ledger, {"2020-04"})


@pytest.fixture
def rated(ledger: Engine, tmp_path: Path) -> Engine:
    load(ledger, tmp_path)
    rate_period(ledger, BOOK, APRIL)
    return ledger


def test_a_mended_row_is_charged_with_the_month(rated: Engine) -> None:
    assert rows(rated) == {"u4": ("unknown_project", ""), "u5": ("invalid_quantity", "")}
    mended = mend_record(rated, BOOK, "u5", 1, {"quantity": "12"}, "said eve")
    assert mended.sentence == "u5: quantity none → 12; it can be billed"
    assert rows(rated) == {"u4": ("unknown_project", "")}
    mend_record(rated, BOOK, "u4", 1, {"project": "p2", "user": "bob"}, "a typing error")
    rate_period(rated, BOOK, APRIL)
    assert rows(rated) == {}
    assert totals(rated) == {"u1": 13333, "u2": 1500, "u3": 1250, "u4": 1250, "u5": 1500}
    with reading(rated) as connection:
        told = events.read_events(connection, "MIC", kinds=["mend"]).to_dicts()
    assert [(event["subject"], event["reason"]) for event in told] == [
        ("u5", "said eve"),
        ("u4", "a typing error"),
    ]
    assert json.loads(told[1]["before"]) == {"id": "u4", "project": "nobody", "user": "eve"}
    assert json.loads(told[1]["after"]) == {"id": "u4", "project": "p2", "user": "bob"}
    assert defects(rated) == []


def test_the_same_file_again_leaves_a_mended_row(rated: Engine, tmp_path: Path) -> None:
    mend_record(rated, BOOK, "u5", 1, {"quantity": "12"}, "said eve")
    mend_record(rated, BOOK, "u5", 1, {"quantity": "13"}, "counted again")
    again = load(rated, tmp_path)
    assert (again.loaded_before, again.corrected) == (True, 0)
    other = load(rated, tmp_path, USAGE.replace("09,many", "09,14"), "b.csv")
    assert (other.corrected, other.known) == (1, 5)
    assert load(rated, tmp_path).corrected == 1  # the file loaded last counts
    assert rows(rated).keys() == {"u4"}  # u5 waits for rating


def test_a_row_that_is_still_wrong_is_refused_or_says_why(rated: Engine) -> None:
    with pytest.raises(InvalidAdjustment, match=r"quantity'.*'dozen'"):
        mend_record(rated, BOOK, "u5", 1, {"quantity": "dozen"}, "why")
    with pytest.raises(InvalidAdjustment, match="still be one that cannot be read"):
        mend_record(rated, BOOK, "u5", 1, {"project": "p1"}, "why")
    with pytest.raises(InvalidAdjustment, match="no field was changed"):
        mend_record(rated, BOOK, "u5", 1, {"project": "p2"}, "why")
    with pytest.raises(InvalidAdjustment, match="reason"):
        mend_record(rated, BOOK, "u5", 1, {"quantity": "12"}, " ")
    mended = mend_record(rated, BOOK, "u4", 1, {"project": "p9"}, "why")
    assert "the price book has no project 'p9'" in mended.reason
    assert rows(rated)["u4"] == ("unknown_project", "")
    preview = mend_record(rated, BOOK, "u5", 1, {"quantity": "12"}, "", preview=True)
    assert preview.reason == ""
    assert "u5" in rows(rated)


def test_times_are_mended_as_the_facilitys_clock_shows_them(ledger: Engine, tmp_path: Path) -> None:
    text = HEADER + (
        "t1,scope,p1,ann,2020-04-06T17:00,yesterday,,\n"
        "t2,scope,p1,ann,soon,later,,\n"
        "t3,scope,p1,ann,2020-04-06T20:00,2020-04-06T17:00,,\n"
    )
    load(ledger, tmp_path, text)
    rate_period(ledger, BOOK, APRIL)
    assert rows(ledger).keys() == {"t1", "t2", "t3"}  # t2 may be of any month
    texts = waiting_values(ledger, BOOK, "2020-04").filter(record="t1")
    assert texts["start"].item() == "2020-04-06 17:00:00-04:00"
    mend_record(ledger, BOOK, "t1", 1, {"end": "2020-04-06 18:00"}, "why")
    mend_record(
        ledger, BOOK, "t2", 1, {"start": "2020-04-06 09:00", "end": "2020-04-06 10:00"}, "y"
    )
    mend_record(ledger, BOOK, "t3", 1, {"end": "2020-04-06 21:00"}, "why")
    rate_period(ledger, BOOK, APRIL)
    assert totals(ledger) == {"t1": 4000, "t2": 4000, "t3": 4000}
    assert rows(ledger) == {}


def test_rows_with_the_same_wrong_value_are_mended_at_once(ledger: Engine, tmp_path: Path) -> None:
    text = HEADER + (
        "m1,slide,p9,ann,,,2020-04-06,4\n"
        "m2,slide,p9,ann,,,2020-04-07,2\n"
        "m3,slide,p8,ann,,,2020-04-07,2\n"
        "m4,nothing,p9,ann,,,2020-04-07,2\n"
        "m5,slide,p9,ann,,,2020-04-07,many\n"
    )
    load(ledger, tmp_path, text)
    rate_period(ledger, BOOK, APRIL)
    shown = mend_rows(ledger, BOOK, "2020-04", "project", "p9", "p1", "", preview=True)
    assert shown.sentence == "project p9 → p1 in 3 rows; 2 of 4 can be billed"
    assert len(rows(ledger)) == 5
    with pytest.raises(InvalidAdjustment, match="reason"):
        mend_rows(ledger, BOOK, "2020-04", "project", "p9", "p1", " ")
    mended = mend_rows(ledger, BOOK, "2020-04", "project", "p9", "p1", "the old account")
    outcomes = dict(mended.rows.select("record", "outcome").iter_rows())
    assert (outcomes["m1"], outcomes["m2"]) == ("", "")
    assert outcomes["m4"].startswith("it is not billed yet, unknown item")
    assert "'many'" in outcomes["m5"]
    assert outcomes["m5"].startswith("it stays as it is")
    with reading(ledger) as connection:
        (event,) = events.read_events(connection, "MIC", kinds=["mend"]).to_dicts()
    assert event["reason"] == "the old account"
    assert json.loads(event["before"]) == {"project": "p9", "records": ["m1", "m2", "m4"]}
    load(ledger, tmp_path, text)  # the same file leaves them
    rate_period(ledger, BOOK, APRIL)
    assert totals(ledger) == {"m1": 500, "m2": 250}  # 4 and 2 slides at 1.25
    assert rows(ledger).keys() == {"m3", "m4", "m5"}
    assert defects(ledger) == []
    with pytest.raises(InvalidAdjustment, match="no row of 2020-04 has project 'p7'"):
        mend_rows(ledger, BOOK, "2020-04", "project", "p7", "p1", "why")
    with pytest.raises(InvalidAdjustment, match="no row can be mended so"):
        mend_rows(ledger, BOOK, "2020-04", "quantity", "", "dozen", "why")


def test_a_duplicate_becomes_a_record_of_its_own(rated: Engine, tmp_path: Path) -> None:
    text = HEADER + "d1,slide,p1,ann,,,2020-04-07,1\nd1,slide,p1,ann,,,2020-04-08,2\n"
    load(rated, tmp_path, text, "twice.csv")
    rate_period(rated, BOOK, APRIL)
    assert rows(rated)["d1"] == ("duplicate", "")
    with pytest.raises(InvalidAdjustment, match="stands already"):
        mend_record(rated, BOOK, "d1", 2, {}, "two days", own_id="u1")
    mend_record(rated, BOOK, "d1", 2, {}, "two days", own_id="d2")
    rate_period(rated, BOOK, APRIL)
    assert "d1" not in rows(rated)
    assert totals(rated)["d2"] == 250
    assert load(rated, tmp_path, text, "twice.csv").loaded_before
    assert defects(rated) == []
    # As many records of the file are billed as it brought, and one of them is the mended one.
    issue_here(rated, BOOK, APRIL, tmp_path / "issued")
    assert set(billed(rated).values()) == {"BILLED"}


def test_a_dismissed_row_stays_in_the_report_and_holds_nothing_back(
    rated: Engine, tmp_path: Path
) -> None:
    load(rated, tmp_path, HEADER + "z1,slide,p1,ann,,,,3\n", "z.csv")
    assert "dismissed" in dismiss_row(rated, BOOK, "2020-04", "u4", 1, "a test of the vendor")
    dismiss_row(rated, BOOK, "2020-04", "z1", 1, "nobody knows")
    assert rows(rated) == {
        "u4": ("unknown_project", "a test of the vendor"),
        "u5": ("invalid_quantity", ""),
        "z1": ("invalid_time", "nobody knows"),
    }
    with reading(rated) as connection:
        assert read_unplaced(connection, "MIC").height == 0
    found = find_discrepancies(rated, BOOK, "2020-04").findings
    assert "unknown_project" not in found["subject"]
    rate_period(rated, BOOK, APRIL)
    assert rows(rated)["u4"][1] == "a test of the vendor"
    assert "nothing changed" in dismiss_row(rated, BOOK, "2020-04", "u4", 1, "again")
    restore_row(rated, BOOK, "2020-04", "u4", 1, "it counts after all")
    assert rows(rated)["u4"] == ("unknown_project", "")


def test_loaded_files_are_listed_with_their_state(rated: Engine, tmp_path: Path) -> None:
    (file,) = list_loaded(rated, BOOK).to_dicts()
    assert (file["file"], file["records"], file["state"]) == ("usage.csv", 6, "loaded")
    unload(rated, BOOK, file["sha256"], "wrong")
    (file,) = list_loaded(rated, BOOK).to_dicts()
    assert (file["state"], bool(file["group"])) == ("taken back", True)
    undo_unload(rated, BOOK, file["group"], "right after all")
    assert list_loaded(rated, BOOK)["state"].to_list() == ["loaded"]
