"""Later versions of usage: corrected, taken back, and brought again, and the charges that follow.

Amounts are those of sample_facility.py: 40.00 an hour of scope, 1.25 a slide.
"""

import json
import os
import shutil
import tempfile
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from ledger_invariants import broken
from sample_facility import BOOK, HEADER, USAGE, nothing, price_book, usage_file
from sample_issuing import issue_here
from sqlalchemy import Engine

from billing_lib.errors import InvalidAdjustment, NotReady, UnreadableFile
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, invoices, usage
from billing_lib.ledger.database import open_ledger, reading, writing
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adhoc import Words, create_ad_hoc
from billing_lib.workflow.adjust import adjust_charge, changes_of
from billing_lib.workflow.after_issue import pay, reissue
from billing_lib.workflow.approve import change_invoices, make_run, prepare
from billing_lib.workflow.correct import (
    CORRECTED,
    NEW,
    REFUSED,
    TAKEN_BACK,
    TakenBack,
    is_unload,
    undo_unload,
    unload,
)
from billing_lib.workflow.load import Loaded, load_files
from billing_lib.workflow.overview import read_overview
from billing_lib.workflow.rate import rate_period, read_unbilled
from billing_lib.workflow.review import dismiss, find_discrepancies, summarise_month
from billing_lib.workflow.runs import RunScope, sign_off

APRIL, MAY = Period(2020, 4), Period(2020, 5)
SPLIT_BOOK = price_book(BOOK.replace("fiscal_year_start: 7", "crossing: split"))
TIERED = price_book(
    BOOK.replace(
        '{item: slide, group: internal, price: "1.25"}',
        "{item: slide, group: internal, tiers: {mode: graduated, per: project, "
        'steps: [{up_to: "10", price: "1.00"}, {up_to: null, price: "0.50"}]}}',
    )
)


def load(
    ledger: Engine, folder: Path, rows: str, name: str = "usage.csv", book: PriceBook | None = None
) -> Loaded:
    """Load a file with these rows."""
    file = usage_file(folder, HEADER + rows, name)
    return load_files(ledger, book or price_book(), [file], nothing)[0]


def rate(ledger: Engine, *months: Period, book: PriceBook | None = None) -> None:
    for month in months or (APRIL, MAY):
        rate_period(ledger, book or price_book(), month)


def totals(ledger: Engine) -> dict[str, int]:
    with reading(ledger) as connection:
        charges = ledger_charges.read_charges(connection, "MIC")
    return dict(charges.select("charge", "total").sort("charge").iter_rows())


def charge(ledger: Engine, code: str) -> dict[str, Any]:
    with reading(ledger) as connection:
        return ledger_charges.read_charges(connection, "MIC", codes=[code]).row(0, named=True)


def unbilled(ledger: Engine, month: str) -> dict[str, str]:
    return dict(read_unbilled(ledger, "MIC", month).select("record", "reason").iter_rows())


def events_of(ledger: Engine, kind: str) -> list[dict[str, Any]]:
    with reading(ledger) as connection:
        return events.read_events(connection, "MIC", kinds=[kind]).to_dicts()


def outcomes(result: Loaded | TakenBack) -> dict[str, str]:
    return dict(result.outcomes.select("record", "outcome").iter_rows())


@pytest.fixture
def rated(ledger: Engine, tmp_path: Path) -> Engine:
    """April and May loaded and rated: u1 133.33, u2 15.00, u3 12.50, u6 5.00."""
    load_files(ledger, price_book(), [usage_file(tmp_path)], nothing)
    rate(ledger)
    return ledger


# A pending charge follows.


def test_a_corrected_record_changes_its_pending_charge_at_once(
    rated: Engine, tmp_path: Path
) -> None:
    loaded = load(rated, tmp_path, "u2,slide,p1,bob,,,2020-04-07,13\n", "b.csv")
    assert (loaded.records, loaded.new, loaded.known, loaded.corrected) == (1, 0, 0, 1)
    assert totals(rated) == {"u1": 13333, "u2": 1625, "u3": 1250, "u6": 500}  # 13 x 1.25
    event = events_of(rated, "correct")[0]
    assert (event["subject"], event["team"]) == ("u2", "smith")
    was = {"quantity": "12", "total": "15.00", "file": "usage.csv", "row": "3"}
    assert json.loads(event["before"]) == was
    now = {"quantity": "13", "total": "16.25", "file": "b.csv", "row": "2"}
    assert json.loads(event["after"]) == now
    with reading(rated) as connection:
        versions = usage.read_versions(connection, "MIC")
        history = changes_of(connection, "MIC", ["u2"])
    assert versions.select("record", "version", "quantity", "file").rows() == [
        ("u2", 1, 12, "usage.csv")
    ]
    assert history["what"].to_list() == ["correct"]
    rate(rated)
    assert totals(rated)["u2"] == 1625


@pytest.mark.parametrize(
    ("row", "total"),
    [
        ("u1,scope,p1,ann,2020-04-06T17:00:00-04:00,2020-04-06T18:00:00-04:00,,", 4000),
        ("u1,scope,p2,ann,2020-04-06T17:00:00-04:00,2020-04-06T20:20:00-04:00,,", 13333),
        ("u1,slide,p1,ann,,,2020-04-06,3", 375),
        ("u1,scope,p1,zoe,2020-04-06T17:00:00-04:00,2020-04-06T20:20:00-04:00,,", 13333),
    ],
    ids=["end", "project", "item", "user"],
)
def test_every_column_of_a_charge_follows(
    rated: Engine, tmp_path: Path, row: str, total: int
) -> None:
    load(rated, tmp_path, row + "\n", "b.csv")
    now = charge(rated, "u1")
    assert now["total"] == total
    _, item, project, user, *_ = row.split(",")
    assert (now["item"], now["project"], now["user"]) == (item, project, user)
    with reading(rated) as connection:
        splits = ledger_charges.read_splits(connection, "MIC", codes=["u1"])
    assert splits["expense_code"].to_list() == (["C"] if project == "p2" else ["A", "B"])
    assert splits["amount"].sum() == total


def test_the_archived_rate_stays_while_it_fits(rated: Engine, tmp_path: Path) -> None:
    dearer = price_book(BOOK.replace('"1.25"', '"2.00"').replace('"40.00"', '"50.00"'))
    load(rated, tmp_path, "u2,slide,p1,bob,,,2020-04-07,13\n", "b.csv", dearer)
    assert totals(rated)["u2"] == 1625  # 13 x 1.25, not 26.00
    loaded = load(rated, tmp_path, "u2,slide,p2,bob,,,2020-04-08,2\n", "c.csv", dearer)
    assert totals(rated)["u2"] == 250  # of the same group
    assert loaded.outcomes["note"].to_list() == [None]
    other = "u2,scope,p1,bob,2020-04-07T09:00:00-04:00,2020-04-07T10:00:00-04:00,,\n"
    loaded = load(rated, tmp_path, other, "d.csv", dearer)
    assert totals(rated)["u2"] == 5000  # no rate of scope was kept for it
    assert loaded.outcomes["note"].to_list() == [
        "takes today's rate, since its own is of another item, group or time"
    ]


def test_a_rate_that_ended_does_not_fit_a_later_day(ledger: Engine, tmp_path: Path) -> None:
    dated = price_book(
        BOOK.replace(
            '{item: slide, group: internal, price: "1.25"}',
            '{item: slide, group: internal, price: "1.25", valid_to: 2020-04-30}\n'
            '  - {item: slide, group: internal, price: "3.00", valid_from: 2020-05-01}',
        )
    )
    load(ledger, tmp_path, "u2,slide,p1,bob,,,2020-04-07,12\n", book=dated)
    rate(ledger, book=dated)
    loaded = load(ledger, tmp_path, "u2,slide,p1,bob,,,2020-05-07,12\n", "b.csv", dated)
    assert (charge(ledger, "u2")["period"], charge(ledger, "u2")["total"]) == ("2020-05", 3600)
    assert "today's rate" in loaded.outcomes["note"][0]


def test_a_kept_rate_serves_when_the_price_book_has_no_other(rated: Engine, tmp_path: Path) -> None:
    gone = price_book(BOOK.replace('  - {item: slide, group: internal, price: "1.25"}\n', ""))
    load(rated, tmp_path, "u2,slide,p1,bob,,,2020-04-07,13\n", "b.csv", gone)
    assert totals(rated)["u2"] == 1625


def test_changes_by_staff_stay(rated: Engine, tmp_path: Path) -> None:
    adjust_charge(rated, price_book(), "MIC/u2", {"rate": "2.00"}, "agreed")
    adjust_charge(rated, price_book(), "MIC/u3", {"amount": "9.00"}, "agreed")
    adjust_charge(rated, price_book(), "MIC/u6", {"project": "p1"}, "moved")
    rows = (
        "u2,slide,p1,bob,,,2020-04-07,13\nu3,slide,p2,eve,,,2020-04-08,11\n"
        "u6,slide,p2,eve,,,2020-05-02,8\n"
    )
    load(rated, tmp_path, rows, "b.csv")
    assert totals(rated) == {"u1": 13333, "u2": 2600, "u3": 900, "u6": 1000}
    assert charge(rated, "u6")["project"] == "p1"
    rate(rated)
    assert totals(rated) == {"u1": 13333, "u2": 2600, "u3": 900, "u6": 1000}


def test_a_charge_lost_by_a_correction_has_the_changes_of_staff_when_it_is_back(
    rated: Engine, tmp_path: Path
) -> None:
    adjust_charge(rated, price_book(), "MIC/u2", {"rate": "2.00"}, "agreed")
    adjust_charge(rated, price_book(), "MIC/u3", {"project": "p1"}, "moved")
    rows = "u2,slide,p1,bob,,,2020-04-07,many\nu3,slide,p2,eve,,,2020-04-08,many\n"
    lost = load(rated, tmp_path, rows, "b.csv")
    assert outcomes(lost) == {"u2": CORRECTED, "u3": CORRECTED}
    assert totals(rated) == {"u1": 13333, "u6": 500}
    gone = {("u2", "invalid_quantity"), ("u3", "invalid_quantity")}
    assert unbilled(rated, "2020-04").items() >= gone
    rows = "u2,slide,p1,bob,,,2020-04-07,13\nu3,slide,p2,eve,,,2020-04-08,4\n"
    load(rated, tmp_path, rows, "c.csv")
    rate(rated)
    assert totals(rated) == {"u1": 13333, "u2": 2600, "u3": 500, "u6": 500}
    assert charge(rated, "u3")["project"] == "p1"
    rate(rated)
    assert totals(rated)["u2"] == 2600


def drafts(ledger: Engine) -> dict[tuple[str, str], int]:
    """The totals of drafts, by month and project."""
    with reading(ledger) as connection:
        every = invoices.read_invoices(connection, "MIC")
    return {
        (month, project): total
        for month, project, total in every.select("period", "project", "total").iter_rows()
    }


def test_drafts_follow_and_a_record_moves_to_its_month(rated: Engine, tmp_path: Path) -> None:
    for month in (APRIL, MAY):
        make_run(rated, price_book(), month, RunScope())
    before = {("2020-04", "p1"): 14833, ("2020-04", "p2"): 1250, ("2020-05", "p2"): 500}
    assert drafts(rated) == before
    load(rated, tmp_path, "u2,slide,p1,bob,,,2020-04-07,13\n", "b.csv")
    assert drafts(rated) == before | {("2020-04", "p1"): 14958}
    load(rated, tmp_path, "u3,slide,p2,eve,,,2020-05-08,10\n", "c.csv")
    moved = {("2020-04", "p1"): 14958, ("2020-04", "p2"): 0, ("2020-05", "p2"): 1750}
    assert drafts(rated) == moved
    load(rated, tmp_path, "u2,slide,p1,bob,,,2020-04-07,many\n", "d.csv")
    assert drafts(rated) == moved | {("2020-04", "p1"): 13333}
    unload(rated, price_book(), "c.csv")
    assert drafts(rated) == before | {("2020-04", "p1"): 13333}


def test_a_charge_goes_to_the_ad_hoc_invoice_that_the_correction_names(
    ledger: Engine, tmp_path: Path
) -> None:
    words = Words(project="p1", start="2020-04-01", end="2020-04-30")
    create_ad_hoc(ledger, price_book(), "PO-12", words)
    header = HEADER.replace("quantity", "quantity,reference")
    for name, reference in (("a.csv", ""), ("b.csv", "PO-12"), ("c.csv", "")):
        text = f"{header}u2,slide,p1,bob,,,2020-04-07,12,{reference}\n"
        load_files(ledger, price_book(), [usage_file(tmp_path, text, name)], nothing)
        rate(ledger, APRIL)
        with reading(ledger) as connection:
            total = invoices.read_invoices(connection, "MIC", codes=["MIC/PO-12"])["total"][0]
        assert total == (1500 if reference else 0)


def test_charges_that_share_tiers_are_priced_anew(ledger: Engine, tmp_path: Path) -> None:
    rows = (
        "a,slide,p1,bob,,,2020-04-06,8\nb,slide,p1,bob,,,2020-04-07,8\n"
        "c,slide,p2,bob,,,2020-04-07,12\n"
    )
    load(ledger, tmp_path, rows, book=TIERED)
    rate(ledger, APRIL, book=TIERED)
    assert totals(ledger) == {"a": 800, "b": 500, "c": 1100}  # of b 2 x 1.00 + 6 x 0.50
    load(ledger, tmp_path, "a,slide,p1,bob,,,2020-04-06,10\n", "b.csv", TIERED)
    assert totals(ledger) == {"a": 1000, "b": 400, "c": 1100}
    load(ledger, tmp_path, "a,slide,p2,bob,,,2020-04-06,10\n", "c.csv", TIERED)
    assert totals(ledger) == {"a": 1000, "b": 800, "c": 600}
    load(ledger, tmp_path, "a,slide,p2,bob,,,2020-04-06,many\n", "d.csv", TIERED)
    assert totals(ledger) == {"b": 800, "c": 1100}


# What is billed stays.


def test_what_is_billed_or_paid_stays_and_is_named_and_the_rest_loads(
    rated: Engine, tmp_path: Path
) -> None:
    issue_here(rated, price_book(), APRIL, tmp_path / "issued", RunScope(projects=("p1",)))
    with reading(rated) as connection:
        first = invoices.read_issued(connection, facility="MIC")["number"].item()
    pay(rated, price_book(), [first], "2021-02-01", "transfer 8812")
    issue_here(rated, price_book(), MAY, tmp_path / "issued")
    rows = (
        "u2,slide,p1,bob,,,2020-04-07,13\nu3,slide,p2,eve,,,2020-04-08,11\n"
        "u6,slide,p2,eve,,,2020-05-02,many\nu7,slide,p1,bob,,,2020-04-10,1\n"
        "u1,scope,p1,ann,2020-04-06T17:00:00-04:00,2020-04-06T20:20:00-04:00,,\n"
    )
    loaded = load(rated, tmp_path, rows, "b.csv")
    counts = (loaded.new, loaded.known, loaded.corrected, loaded.refused)
    assert counts == (1, 1, 1, 2)
    refused = loaded.outcomes.filter(outcome=REFUSED)
    second = f"{first[:-1]}{int(first[-1]) + 1}"
    assert refused.select("record", "file", "row", "note").rows() == [
        ("u2", "b.csv", 2, f"billed as {first}: reissue or credit that invoice"),
        ("u6", "b.csv", 4, f"billed as {second}: reissue or credit that invoice"),
    ]
    assert refused["reason"][0] == "quantity 12 → 13"
    assert totals(rated) == {"u1": 13333, "u2": 1500, "u3": 1375, "u6": 500}
    again = load(rated, tmp_path, rows, "b.csv")
    assert (again.new, again.corrected, again.refused, again.loaded_before) == (0, 0, 2, False)
    assert len(events_of(rated, "correct")) == 1


def test_what_is_being_approved_stays_until_it_is_rejected(rated: Engine, tmp_path: Path) -> None:
    with writing(rated) as connection:
        prepare(connection, price_book(), APRIL, RunScope())
    row = "u2,slide,p1,bob,,,2020-04-07,13\n"
    loaded = load(rated, tmp_path, row, "b.csv")
    assert (loaded.corrected, loaded.refused) == (0, 1)
    assert loaded.outcomes["note"].to_list() == [
        "on MIC-2020-04-1/p1, which is being approved: reject it first"
    ]
    change_invoices(rated, price_book(), "reject", ["MIC-2020-04-1/p1"], "look again")
    assert load(rated, tmp_path, row, "b.csv").corrected == 1
    assert totals(rated)["u2"] == 1625


def test_a_record_that_is_being_reissued_stays(rated: Engine, tmp_path: Path) -> None:
    issued = issue_here(rated, price_book(), APRIL, tmp_path / "issued")
    number = next(iter(issued))
    reissue(rated, price_book(), number, "a slide broke")
    loaded = load(rated, tmp_path, "u2,slide,p1,bob,,,2020-04-07,13\n", "b.csv")
    assert loaded.outcomes["note"].to_list() == [
        f"billed as {number}: reissue or credit that invoice"
    ]
    assert totals(rated)["u2"] == totals(rated)["u2~2"] == 1500


# Rows known by their place, and parts of usage.


def test_a_malformed_row_is_gone_when_the_corrected_file_says_what_it_was(
    ledger: Engine, tmp_path: Path
) -> None:
    first = (
        "b1,slide,p1,ann,,,2020-04-06,1\nb2,slide,p1,ann,,,2020-04-07,2,and,more\n"
        ",slide,p1,ann,,,2020-04-08,many\n"
    )
    load(ledger, tmp_path, first)
    rate(ledger)
    assert set(unbilled(ledger, "2020-04")) == {"usage.csv:3", "usage.csv:4"}
    second = first.replace("2,and,more", "2")
    loaded = load(ledger, tmp_path, second)
    assert (loaded.new, loaded.known, loaded.taken_back) == (1, 2, 1)
    rate(ledger)
    assert set(unbilled(ledger, "2020-04")) == {"usage.csv:4"}
    third = second.replace(",slide,p1,ann,,,2020-04-08,many", "b3,slide,p1,ann,,,2020-04-08,3")
    assert load(ledger, tmp_path, third).taken_back == 1
    rate(ledger)
    assert unbilled(ledger, "2020-04") == {}
    assert totals(ledger) == {"b1": 125, "b2": 250, "b3": 375}


def test_a_place_in_another_months_file_of_the_same_name_is_another_record(
    ledger: Engine, tmp_path: Path
) -> None:
    april = "b1,slide,p1,ann,,,2020-04-06,1\n,slide,p1,ann,,,2020-04-07,2\n"
    load(ledger, tmp_path, april)
    rate(ledger)
    assert totals(ledger) == {"b1": 125, "usage.csv:3": 250}
    may = "c1,slide,p1,ann,,,2020-05-06,3\n,slide,p1,ann,,,2020-05-07,4\n"
    assert load(ledger, tmp_path, may).new == 2
    assert load(ledger, tmp_path, may).loaded_before
    rate(ledger)
    assert sorted(totals(ledger).values()) == [125, 250, 375, 500]
    later = load(ledger, tmp_path, may.replace("05-07,4", "05-07,5"))
    assert (later.new, later.known, later.corrected) == (0, 1, 1)
    assert sorted(totals(ledger).values()) == [125, 250, 375, 625]


NIGHT = "u1,scope,p1,ann,{},{},,\n"


def test_the_parts_of_corrected_usage_follow(ledger: Engine, tmp_path: Path) -> None:
    whole = NIGHT.format("2020-03-31T22:00:00-04:00", "2020-05-01T03:00:00-04:00")
    load(ledger, tmp_path, whole, book=SPLIT_BOOK)
    months = (Period(2020, 3), APRIL, MAY)
    rate(ledger, *months, book=SPLIT_BOOK)
    april = 30 * 24 * 4000
    assert totals(ledger) == {"u1": 12000, "u1@2020-03": 8000, "u1@2020-04": april}
    shorter = NIGHT.format("2020-04-30T22:00:00-04:00", "2020-05-01T03:00:00-04:00")
    loaded = load(ledger, tmp_path, shorter, "b.csv", SPLIT_BOOK)
    assert outcomes(loaded) == {"u1@2020-03": TAKEN_BACK, "u1@2020-04": CORRECTED}
    assert totals(ledger) == {"u1": 12000, "u1@2020-04": 8000}
    within = NIGHT.format("2020-04-30T22:00:00-04:00", "2020-04-30T23:00:00-04:00")
    load(ledger, tmp_path, within, "c.csv", SPLIT_BOOK)
    assert totals(ledger) == {"u1": 4000}
    assert charge(ledger, "u1")["period"] == "2020-04"
    unload(ledger, SPLIT_BOOK, "c.csv")
    rate(ledger, *months, book=SPLIT_BOOK)
    assert totals(ledger) == {"u1": 12000, "u1@2020-04": 8000}
    unload(ledger, SPLIT_BOOK, "b.csv")
    rate(ledger, *months, book=SPLIT_BOOK)
    assert totals(ledger) == {"u1": 12000, "u1@2020-03": 8000, "u1@2020-04": april}


def test_an_id_that_only_looks_like_a_part_stays(ledger: Engine, tmp_path: Path) -> None:
    load(ledger, tmp_path, "u1@2020-03,slide,p1,ann,,,2020-04-06,1\n", book=SPLIT_BOOK)
    load(ledger, tmp_path, "u1,slide,p1,ann,,,2020-04-06,2\n", "b.csv", SPLIT_BOOK)
    load(ledger, tmp_path, "u1,slide,p1,ann,,,2020-04-06,3\n", "c.csv", SPLIT_BOOK)
    rate(ledger, book=SPLIT_BOOK)
    assert totals(ledger) == {"u1": 375, "u1@2020-03": 125}


def test_a_billed_part_stays_and_the_others_follow(ledger: Engine, tmp_path: Path) -> None:
    night = NIGHT.format("2020-04-30T22:00:00-04:00", "2020-05-01T03:00:00-04:00")
    load(ledger, tmp_path, night, book=SPLIT_BOOK)
    rate(ledger, book=SPLIT_BOOK)
    issue_here(ledger, SPLIT_BOOK, APRIL, tmp_path / "issued")
    later = NIGHT.format("2020-05-01T01:00:00-04:00", "2020-05-01T03:00:00-04:00")
    loaded = load(ledger, tmp_path, later, "b.csv", SPLIT_BOOK)
    assert outcomes(loaded) == {"u1@2020-04": REFUSED, "u1": CORRECTED}
    assert totals(ledger) == {"u1": 8000, "u1@2020-04": 8000}


# Preview, taking back, and undoing that.


def contents(ledger: Engine) -> list[Any]:
    with reading(ledger) as connection:
        return [
            usage.read_standing(connection, "MIC").rows(),
            usage.read_versions(connection, "MIC").rows(),
            usage.read_unbilled(connection, "MIC").rows(),
            ledger_charges.read_charges(connection, "MIC").rows(),
            ledger_charges.read_splits(connection, "MIC").rows(),
            events.read_events(connection, "MIC").rows(),
        ]


def test_a_preview_says_what_loading_does_and_writes_nothing(rated: Engine, tmp_path: Path) -> None:
    before = contents(rated)
    rows = (
        "u2,slide,p1,bob,,,2020-04-07,13\nu3,slide,p2,eve,,,2020-04-08,10\n"
        "u8,slide,p1,bob,,,2020-04-07,many\nu9,slide,p1,bob,,,2020-04-07,1\n"
    )
    file = usage_file(tmp_path, HEADER + rows, "b.csv")
    shown = load_files(rated, price_book(), [file], nothing, preview=True)[0]
    assert contents(rated) == before
    counts = (shown.records, shown.new, shown.known, shown.corrected, shown.refused)
    assert counts == (4, 2, 1, 1, 0)
    assert shown.outcomes.select("outcome", "reason", "record", "row").rows() == [
        (CORRECTED, "quantity 12 → 13", "u2", 2),
        (NEW, "invalid_quantity", "u8", 4),
    ]
    done = load_files(rated, price_book(), [file], nothing)[0]
    assert done == shown
    assert done.outcomes.equals(shown.outcomes)


def test_unloading_takes_back_and_undoing_brings_again(rated: Engine, tmp_path: Path) -> None:
    adjust_charge(rated, price_book(), "MIC/u2", {"rate": "2.00"}, "agreed")
    rows = "u2,slide,p1,bob,,,2020-04-07,13\nu9,slide,p1,bob,,,2020-04-07,1\n"
    load(rated, tmp_path, rows, "b.csv")
    rate(rated)
    with_both = totals(rated)
    assert with_both == {"u1": 13333, "u2": 2600, "u3": 1250, "u6": 500, "u9": 125}
    shown = unload(rated, price_book(), "b.csv", preview=True)
    assert totals(rated) == with_both
    assert events_of(rated, "unload") == []
    done = unload(rated, price_book(), "b.csv", "the wrong file")
    assert outcomes(done) == outcomes(shown) == {"u2": CORRECTED, "u9": TAKEN_BACK}
    assert totals(rated) == {"u1": 13333, "u2": 2400, "u3": 1250, "u6": 500}  # 12 x 2.00
    event = events_of(rated, "unload")[0]
    assert (event["subject"], event["reason"]) == ("b.csv", "the wrong file")
    assert event["group_id"] == done.group
    assert is_unload(rated, price_book(), done.group)
    with pytest.raises(InvalidAdjustment, match="no reason"):
        undo_unload(rated, price_book(), done.group, " ")
    undo_unload(rated, price_book(), done.group, "it was right", preview=True)
    assert totals(rated)["u2"] == 2400
    undo_unload(rated, price_book(), done.group, "it was right")
    assert totals(rated)["u2"] == 2600
    rate(rated)
    assert totals(rated) == with_both
    with pytest.raises(InvalidAdjustment, match="no taking back"):
        undo_unload(rated, price_book(), done.group, "twice")


def test_a_file_loads_again_after_it_is_taken_back(rated: Engine, tmp_path: Path) -> None:
    file = usage_file(tmp_path)
    before = totals(rated)
    for _ in range(2):
        unload(rated, price_book(), str(file))
        assert totals(rated) == {}
        assert unbilled(rated, "2020-04") == {}
        assert unload(rated, price_book(), "usage.csv").group == ""
        loaded = load_files(rated, price_book(), [file], nothing)[0]
        assert (loaded.new, loaded.known, loaded.corrected) == (6, 0, 0)
        rate(rated)
        assert totals(rated) == before
        assert unbilled(rated, "2020-04") == {"u4": "unknown_project", "u5": "invalid_quantity"}


def test_the_version_before_is_of_no_file_that_is_taken_back(rated: Engine, tmp_path: Path) -> None:
    rows = {
        f"{name}.csv": f"u2,slide,p1,bob,,,2020-04-07,{count}\n{name},slide,p1,bob,,,2020-04-07,1\n"
        for name, count in (("b", 13), ("c", 14))
    }
    for name, text in rows.items():
        load(rated, tmp_path, text, name)
    unload(rated, price_book(), "b.csv")  # its version of u2 does not stand
    assert totals(rated)["u2"] == 1750
    unload(rated, price_book(), "c.csv")
    assert totals(rated)["u2"] == 1500
    load(rated, tmp_path, rows["b.csv"], "b.csv")
    load(rated, tmp_path, rows["c.csv"], "c.csv")
    unload(rated, price_book(), "c.csv")
    assert totals(rated)["u2"] == 1625
    unload(rated, price_book(), "usage.csv")
    unload(rated, price_book(), "b.csv")
    assert totals(rated) == {}


def test_what_is_billed_is_not_taken_back(rated: Engine, tmp_path: Path) -> None:
    issue_here(rated, price_book(), APRIL, tmp_path / "issued", RunScope(projects=("p1",)))
    done = unload(rated, price_book(), "usage.csv")
    assert outcomes(done) == {
        **dict.fromkeys(("u1", "u2"), REFUSED),
        **dict.fromkeys(("u3", "u4", "u5", "u6"), TAKEN_BACK),
    }
    assert totals(rated) == {"u1": 13333, "u2": 1500}
    assert "2 stay since they are billed" in done.sentence
    loaded = load_files(rated, price_book(), [usage_file(tmp_path)], nothing)[0]
    assert (loaded.new, loaded.known) == (4, 2)


def test_undoing_leaves_what_was_loaded_since(rated: Engine, tmp_path: Path) -> None:
    done = unload(rated, price_book(), "usage.csv")
    load(rated, tmp_path, "u2,slide,p1,bob,,,2020-04-07,20\n", "b.csv")
    back = undo_unload(rated, price_book(), done.group, "it was right")
    assert "1 were loaded anew since and stay" in back.sentence
    rate(rated)
    assert totals(rated) == {"u1": 13333, "u2": 2500, "u3": 1250, "u6": 500}


def test_a_file_that_was_not_loaded_cannot_be_taken_back(rated: Engine) -> None:
    with pytest.raises(UnreadableFile, match=r"no file 'june.csv' was loaded into MIC"):
        unload(rated, price_book(), "june.csv")


def test_a_file_of_which_others_repeat_records_names_them(rated: Engine, tmp_path: Path) -> None:
    file = usage_file(tmp_path, USAGE + "u7,slide,p1,bob,,,2020-04-10,1\n", "longer.csv")
    load_files(rated, price_book(), [file], nothing)
    done = unload(rated, price_book(), "usage.csv")
    assert done.sentence.endswith("load longer.csv again if some of these stand there too")
    assert load_files(rated, price_book(), [file], nothing)[0].new == 6


def test_the_file_loaded_last_counts_also_if_it_was_loaded_before(
    rated: Engine, tmp_path: Path
) -> None:
    before = totals(rated)
    load(rated, tmp_path, "u2,slide,p1,bob,,,2020-04-07,13\n", "b.csv")
    loaded = load_files(rated, price_book(), [usage_file(tmp_path)], nothing)[0]
    assert (loaded.known, loaded.corrected, loaded.loaded_before) == (5, 1, False)
    assert totals(rated) == before


# Usage without a readable time.


def test_usage_without_a_time_is_in_every_open_month_until_it_is_dealt_with(
    rated: Engine, tmp_path: Path
) -> None:
    load(rated, tmp_path, "z1,slide,p1,bob,,,07.04.2020,1\nz2,slide,p1,bob,,,x,1\n", "z.csv")
    for month in ("2020-04", "2020-05", "2020-06"):
        both = {("z1", "invalid_time"), ("z2", "invalid_time")}
        assert unbilled(rated, month).items() >= both
        with pytest.raises(NotReady, match=r"z1 \(z.csv, row 2\), z2 \(z.csv, row 3\)"):
            sign_off(rated, price_book(), month)
    summary = summarise_month(rated, price_book(), "2020-05")
    assert (summary.records, summary.charges, summary.unbilled) == (3, 1, 2)
    overview = read_overview(rated, {"MIC": price_book()})
    assert overview.select("period", "unbilled").rows() == [("2020-04", 4), ("2020-05", 2)]
    assert all("2 usage rows without a time" in waits for waits in overview["waits"])
    issue_here(rated, price_book(), MAY, tmp_path / "issued")
    assert unbilled(rated, "2020-05") == {}
    assert "z1" in unbilled(rated, "2020-04")
    load(rated, tmp_path, "z1,slide,p1,bob,,,2020-04-07,1\n", "y.csv")
    with pytest.raises(NotReady, match=r"1 row of usage has no readable time.*: z2"):
        sign_off(rated, price_book(), "2020-04")
    unload(rated, price_book(), "z.csv")
    sign_off(rated, price_book(), "2020-04")


def test_dismissed_usage_without_a_time_is_dealt_with_in_all_months(
    rated: Engine, tmp_path: Path
) -> None:
    load(rated, tmp_path, "z1,slide,p1,bob,,,07.04.2020,1\n", "z.csv")
    found = find_discrepancies(rated, price_book(), "2020-04").findings
    key = found.filter(check="usage without a readable time")["key"].item()
    dismiss(rated, price_book(), "2020-04", key, "a test of the meter")
    for month in ("2020-04", "2020-05"):
        assert "z1" not in unbilled(rated, month)
        assert key in find_discrepancies(rated, price_book(), month).dismissed["key"]
        sign_off(rated, price_book(), month)
    load(rated, tmp_path, "z1,slide,p1,bob,,,07.04.2020,1\nz2,slide,p1,bob,,,x,1\n", "z.csv")
    with pytest.raises(NotReady, match="z2"):
        sign_off(rated, price_book(), "2020-04")


def test_a_job_that_still_runs_is_named_and_keeps_no_month_back(
    rated: Engine, tmp_path: Path
) -> None:
    load(rated, tmp_path, "j1,scope,p1,ann,2020-04-30T22:00:00-04:00,,,\n", "j.csv")
    rate(rated)
    said = sign_off(rated, price_book(), "2020-04")
    assert said.endswith("1 row of usage has a start and no end yet: j1 (j.csv, row 2)")
    assert "j1" not in sign_off(rated, price_book(), "2020-05")
    done = "j1,scope,p1,ann,2020-04-30T22:00:00-04:00,2020-05-01T08:00:00-04:00,,\n"
    load(rated, tmp_path, done, "k.csv")
    rate(rated)
    assert charge(rated, "j1")["period"] == "2020-05"
    assert totals(rated)["j1"] == 40000
    assert "j1" not in sign_off(rated, price_book(), "2020-04")


# Whatever is corrected.

ROOM_TEXT = BOOK.replace(
    '{item: slide, group: internal, price: "1.25"}',
    "{item: slide, group: internal, tiers: {mode: graduated, per: project, "
    'steps: [{up_to: "10", price: "1.00"}, {up_to: null, price: "0.50"}]}}\n'
    '  - {item: room, group: internal, price: "30.00", per: day}',
).replace("items:\n", "items:\n  - {code: room, name: Clean room, unit: hour}\n")
ROOM = price_book(ROOM_TEXT)
ROOM_SPLIT = price_book(ROOM_TEXT.replace("fiscal_year_start: 7", "crossing: split"))
MONTHS = (Period(2020, 3), APRIL, MAY)
DAYS = ("2020-03-30", "2020-03-31", "2020-04-01", "2020-04-02", "2020-04-30", "2020-05-01", "x")
Row = tuple[str, str, str, int, int, int, str]
"""Item, project, user, day, hour, hours, and a defect."""
ROWS = st.tuples(
    st.sampled_from(["scope", "slide", "slide", "room", "room", "unknown"]),
    st.sampled_from(["p1", "p1", "p2", "nobody"]),
    st.sampled_from(["ann", "bob"]),
    st.integers(0, len(DAYS) - 1),
    st.sampled_from([9, 22]),
    st.sampled_from([0, 1, 3, 30, 700]),
    st.sampled_from(["", "", "", "", "end", "quantity"]),
)


def written(rows: list[Row]) -> str:
    """Usage rows with ids; the third has the id of the first, so that it is a duplicate."""
    text = HEADER
    for number, (item, project, user, day, hour, hours, defect) in enumerate(rows):
        code = "r0" if number == 2 else f"r{number}"
        if item == "slide":
            quantity = "many" if defect else hours
            text += f"{code},{item},{project},{user},,,{DAYS[day]},{quantity}\n"
            continue
        start = "sometime" if DAYS[day] == "x" else f"{DAYS[day]}T{hour:02}:00:00-04:00"
        end = "sometime"
        if DAYS[day] != "x" and not defect:
            end = (datetime.fromisoformat(start) + timedelta(hours=hours)).isoformat()
        text += f"{code},{item},{project},{user},{start},{end},,\n"
    return text


def corrected(first: list[Row], changes: list[dict[int, Row]]) -> list[list[Row]]:
    """A file and its later versions, with some rows replaced in each."""
    versions = [first]
    for change in changes:
        versions.append([change.get(at, row) for at, row in enumerate(versions[-1])])
    return versions


VERSIONS = st.builds(
    corrected,
    st.lists(ROWS, min_size=8, max_size=14),
    st.lists(
        st.dictionaries(st.integers(0, 13), ROWS, min_size=2, max_size=8), min_size=1, max_size=3
    ),
)


def billed(ledger: Engine) -> tuple[list[Any], list[Any], list[Any]]:
    """The charges, their splits and what is unbilled, without the places they were read from."""
    with reading(ledger) as connection:
        charges = ledger_charges.read_charges(connection, "MIC").sort("charge")
        splits = ledger_charges.read_splits(connection, "MIC")
        left_out = usage.read_unbilled(connection, "MIC").sort("record", "occurrence")
    return (
        charges.rows(),
        splits.rows(),
        left_out.select("record", "occurrence", "period", "reason").rows(),
    )


@pytest.mark.parametrize("book", [ROOM, ROOM_SPLIT], ids=["whole", "split"])
def test_all_versions_in_order_bill_as_the_last_alone(
    sqlite_template: Path, book: PriceBook
) -> None:
    seen = Counter[str]()

    @seed(12)
    @settings(
        max_examples=int(os.environ.get("EXPLORE", "8")),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(VERSIONS, st.lists(st.booleans(), min_size=4, max_size=4), st.booleans())
    def check(versions: list[list[Row]], rates: list[bool], same_name: bool) -> None:
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder)
            ledgers = []
            for name in ("all.db", "last.db"):
                shutil.copyfile(sqlite_template, here / name)
                ledgers.append(open_ledger(f"sqlite:///{here / name}"))
            every, last = ledgers
            names = [f"usage{0 if same_name else at}.csv" for at in range(len(versions))]
            for rows, name, rated in zip(versions, names, rates, strict=False):
                file = usage_file(here, written(rows), name)
                loaded = load_files(every, book, [file], nothing)[0]
                seen.update(loaded.outcomes["outcome"].to_list())
                if rated:
                    rate(every, *MONTHS, book=book)
            load_files(last, book, [usage_file(here, written(versions[-1]), names[-1])], nothing)
            for each in ledgers:
                rate(each, *MONTHS, book=book)
            assert billed(every) == billed(last)
            assert not broken(every, {str(month) for month in MONTHS})
            if rates[0]:
                for name in reversed(names):
                    unload(every, book, name)
                assert billed(every) == ([], [], [])
            for each in ledgers:
                each.dispose()

    check()
    assert seen[CORRECTED] > 20, seen


COSTS = """
facility: {code: F, name: Cloud, currency: USD, timezone: America/New_York, issue: scheduled}
items: [{code: cloud, name: Cloud, unit: cost}]
rates: [{item: cloud, group: internal, price: "1"}]
project_types: [{code: faculty, rate_group: internal}]
teams: [{code: a, name: A}]
projects:
  - {code: p, team: a, type: faculty, split: [{expense_code: "1", percent: "100"}]}
sources: {csv: {cost: "{cost}"}}
"""


def test_a_billed_cost_is_named_only_where_it_changed_itself(
    ledger: Engine, tmp_path: Path
) -> None:
    book, path = price_book(COSTS), tmp_path / "bill.csv"

    def load(first: str) -> Loaded:
        costs = (first, "0.00512345678", "0.00512345678", "2.111111111111")
        rows = [f"c{n},cloud,p,2020-04-0{n},{cost}" for n, cost in enumerate(costs, start=1)]
        path.write_text("\n".join(["id,item,project,date,cost", *rows, ""]))
        (loaded,) = load_files(ledger, book, [path], nothing)
        return loaded

    load("1.00499999999")
    rate_period(ledger, book, Period(2020, 4))
    (issued,) = issue_here(ledger, book, Period(2020, 4), tmp_path).values()
    # 1.00499999999 + 2 x 0.00512345678 + 2.111111111111 = 3.126358024661
    assert issued["totals"]["total"] == "3.13"
    # One cent more for c1 shifts the costs before the others, which are not themselves changed.
    again = load("1.01499999999")
    assert (again.new, again.known, again.corrected, again.refused) == (0, 3, 0, 1)
    assert again.outcomes["record"].to_list() == ["c1"]
