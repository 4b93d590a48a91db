"""Checking a month of the ledger: what counts, what staff judged, what is dismissed."""

from pathlib import Path

import pytest
from sample_facility import BOOK, HEADER, nothing, price_book, usage_file
from sample_issuing import issue_here
from sqlalchemy import Engine

from billing_lib.errors import InvalidAdjustment, NotReady
from billing_lib.ledger.database import reading
from billing_lib.ledger.events import read_events
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adjust import adjust_charge
from billing_lib.workflow.after_issue import reissue
from billing_lib.workflow.bulk import adjust_many, undo_group
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.review import (
    dismiss,
    find_discrepancies,
    read_charges,
    remedy,
    summarise_month,
)
from billing_lib.workflow.runs import sign_off

APRIL = Period(2020, 4)
USAGE = HEADER + (
    "m1,slide,p1,ann,,,2020-03-07,4\n"
    "m2,slide,p2,eve,,,2020-03-07,4\n"
    "s1,scope,p1,ann,2020-04-06T10:00:00-04:00,2020-04-06T12:00:00-04:00,,\n"
    "s2,scope,p1,bob,2020-04-06T11:00:00-04:00,2020-04-06T13:00:00-04:00,,\n"
    "d1,slide,p1,ann,,,2020-04-07,12\n"
    "d2,slide,p1,ann,,,2020-04-07,12\n"
)


@pytest.fixture
def rated(ledger: Engine, tmp_path: Path) -> Engine:
    """March and April, with an overlap, a duplicate, a new user and a project fallen silent."""
    load_files(ledger, price_book(), [usage_file(tmp_path, USAGE)], nothing)
    for month in (Period(2020, 3), APRIL):
        rate_period(ledger, price_book(), month)
    return ledger


def found(engine: Engine) -> dict[str, list[str]]:
    month = find_discrepancies(engine, price_book(), "2020-04")
    return dict(month.findings.select("check", "charges").iter_rows())


OVERLAP = "overlapping sessions of an instrument"


def test_what_is_wrong_is_found_until_staff_have_judged_it(rated: Engine) -> None:
    book = price_book()
    assert found(rated) == {
        OVERLAP: ["MIC/s1", "MIC/s2"],
        "duplicates": ["MIC/d1", "MIC/d2"],
        "new users": ["MIC/s2"],
        "projects without usage": [],
    }
    month = find_discrepancies(rated, book, "2020-04")
    duplicate = month.findings.filter(check="duplicates").row(0, named=True)
    proposed = remedy(duplicate)
    assert proposed is not None
    made = adjust_many(
        rated,
        book,
        "2020-04",
        proposed.charges,
        {str(proposed.field): proposed.value},
        proposed.reason,
    )
    assert made.selected == 1
    adjust_charge(rated, book, "MIC/s2", {"quantity": "1"}, "came an hour late")
    assert set(found(rated)) == {"new users", "projects without usage"}
    undo_group(rated, book, made.group, "they were two")
    assert found(rated)["duplicates"] == ["MIC/d1", "MIC/d2"]
    assert remedy(month.findings.filter(check="projects without usage").row(0, named=True)) is None


def test_a_dismissal_is_an_event_and_holds_for_the_very_finding(
    rated: Engine, tmp_path: Path
) -> None:
    book = price_book()
    month = find_discrepancies(rated, book, "2020-04")
    key = month.findings.filter(check="duplicates")["key"].item()
    with pytest.raises(InvalidAdjustment, match="no reason"):
        dismiss(rated, book, "2020-04", key, " ")
    with pytest.raises(InvalidAdjustment, match="there is no finding 'nonsense' in MIC 2020-04"):
        dismiss(rated, book, "2020-04", "nonsense", "why")
    assert dismiss(rated, book, "2020-04", key, "two trays") == (
        f"{key}: dismissed, duplicates, slide"
    )
    assert "was dismissed before, nothing changed" in dismiss(rated, book, "2020-04", key, "again")
    with reading(rated) as connection:
        (event,) = read_events(connection, "MIC", kinds=["dismiss"]).iter_rows(named=True)
    assert (event["subject"], event["reason"]) == (f"2020-04 {key}", "two trays")
    again = find_discrepancies(rated, book, "2020-04")
    assert "duplicates" not in again.findings["check"].to_list()
    assert again.dismissed.select("check", "reason").rows() == [("duplicates", "two trays")]
    third = HEADER + "d3,slide,p1,ann,,,2020-04-07,12\n"
    load_files(rated, book, [usage_file(tmp_path, third, "third.csv")], nothing)
    rate_period(rated, book, APRIL)
    assert found(rated)["duplicates"] == ["MIC/d1", "MIC/d2", "MIC/d3"]


def test_of_what_is_reissued_one_copy_counts(rated: Engine, tmp_path: Path) -> None:
    book = price_book()
    total = summarise_month(rated, book, "2020-04").total
    assert total == 16000 + 3000  # 4 h x 40.00, 24 slides x 1.25
    (number,) = issue_here(rated, book, APRIL, tmp_path)
    before = found(rated)
    reissue(rated, book, number, "half of it was another's")
    assert summarise_month(rated, book, "2020-04").total == total
    assert found(rated) == before
    assert read_charges(rated, book, "2020-04")["charge"].to_list() == [
        "MIC/d1",
        "MIC/d2",
        "MIC/s1",
        "MIC/s2",
    ]
    assert read_charges(rated, book, "2020-04", first=4)["charge"].to_list() == ["MIC/d1", "MIC/d2"]


def test_a_month_that_is_not_there_is_said(rated: Engine) -> None:
    with pytest.raises(NotReady, match="MIC 2020-07 has no charges yet"):
        summarise_month(rated, price_book(), "2020-07")


def test_a_step_may_stop_the_checks(rated: Engine) -> None:
    class Enough(Exception):
        pass

    told: list[str] = []

    def step(done: int, total: int, what: str) -> None:
        told.append(what)
        if done == 5:
            raise Enough

    with pytest.raises(Enough):
        find_discrepancies(rated, price_book(), "2020-04", step)
    assert told[0] == "reading the charges of 2020-04"
    assert told[-1] == "reading 2020-01"


MINUTES = HEADER + (
    "n1,scope,p1,ann,2020-04-06T13:00:00-04:00,2020-04-06T14:00:00-04:00,,60.00\n"
    "n2,scope,p1,ann,2020-04-07T13:00:00-04:00,2020-04-07T14:30:00-04:00,,90.00\n"
    "n3,slide,p1,ann,,,2020-04-07,60\n"
)
STATED = "stated quantities that are not the hours"


def rated_minutes(ledger: Engine, folder: Path, book: PriceBook) -> None:
    load_files(ledger, book, [usage_file(folder, MINUTES)], nothing)
    rate_period(ledger, book, APRIL)


def test_minutes_as_hours_hold_back_the_sign_off_until_they_are_dismissed(
    ledger: Engine, tmp_path: Path
) -> None:
    """Case 09: 60 and 90 minutes came to 2,400.00 and 3,600.00 as hours."""
    book = price_book()
    rated_minutes(ledger, tmp_path, book)
    assert found(ledger)[STATED] == ["MIC/n1", "MIC/n2"]
    with pytest.raises(NotReady) as refused:
        sign_off(ledger, book, "2020-04")
    assert f"{STATED}, scope: 2 charges" in str(refused.value)
    assert "measure: minutes" in str(refused.value)
    month = find_discrepancies(ledger, book, "2020-04")
    key = month.findings.filter(check=STATED)["key"].item()
    assert f"(billing dismiss MIC 2020-04 {key})" in str(refused.value)
    dismiss(ledger, book, "2020-04", key, "the meter counts double at night")
    assert sign_off(ledger, book, "2020-04").startswith("MIC 2020-04 is ready: 3 charges")


def test_declared_minutes_hold_back_nothing(ledger: Engine, tmp_path: Path) -> None:
    mapped = price_book(BOOK + 'sources: {csv: {measure: minutes, defaults: {elapsed: ""}}}\n')
    sessions = MINUTES.replace("n3,slide,p1,ann,,,2020-04-07,60\n", "")
    load_files(ledger, mapped, [usage_file(tmp_path, sessions)], nothing)
    rate_period(ledger, mapped, APRIL)
    charges = read_charges(ledger, mapped, "2020-04").select("charge", "quantity", "total")
    assert charges.rows() == [("MIC/n1", 1_000_000, 4000), ("MIC/n2", 1_500_000, 6000)]
    assert STATED not in found(ledger)
    assert sign_off(ledger, mapped, "2020-04").startswith("MIC 2020-04 is ready: 2 charges")


def test_a_quantity_that_staff_set_holds_back_nothing(ledger: Engine, tmp_path: Path) -> None:
    book = price_book()
    rated_minutes(ledger, tmp_path, book)
    for code, hours in (("MIC/n1", "1"), ("MIC/n2", "1.5")):
        adjust_charge(ledger, book, code, {"quantity": hours}, "minutes")
    assert sign_off(ledger, book, "2020-04").startswith("MIC 2020-04 is ready: 3 charges")


def test_quantities_of_what_is_not_counted_by_the_hour_hold_back_nothing(
    ledger: Engine, tmp_path: Path
) -> None:
    """An item by the hour whose rate counts each of what the source states."""
    each = price_book(BOOK.replace('price: "40.00"}', 'price: "40.00", per: each}'))
    rated_minutes(ledger, tmp_path, each)
    assert sign_off(ledger, each, "2020-04").startswith("MIC 2020-04 is ready: 3 charges")
