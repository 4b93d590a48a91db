"""The overview: each facility's months with their state, total and what waits for whom."""

from pathlib import Path

import pytest
from sample_facility import BOOK, nothing, price_book, usage_file
from sample_issuing import issue_here
from sample_logins import hand_over
from sqlalchemy import Engine

from billing_lib.ledger.database import writing
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.after_issue import reissue
from billing_lib.workflow.approve import change_invoices, prepare
from billing_lib.workflow.load import load_files
from billing_lib.workflow.overview import read_overview
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.runs import RunScope, sign_off

APRIL = Period(2020, 4)
READY = BOOK.replace("issue: scheduled", "issue: ready")
REVIEWED = BOOK.replace(
    "issue: scheduled", "issue: scheduled\n  approval: {reviewers: [ann, [bob, eve]]}"
)


def seen(engine: Engine, book: PriceBook) -> dict[str, tuple[str, int, list[str]]]:
    """State, total and what waits, by month."""
    rows = read_overview(engine, {"MIC": book}).iter_rows(named=True)
    return {row["period"]: (row["state"], row["total"], row["waits"]) for row in rows}


@pytest.fixture
def rated(ledger: Engine, tmp_path: Path) -> Engine:
    load_files(ledger, price_book(), [usage_file(tmp_path)], nothing)
    rate_period(ledger, price_book(), APRIL)
    return ledger


def test_a_month_from_loaded_to_issued(ledger: Engine, tmp_path: Path) -> None:
    book = price_book(READY)
    assert read_overview(ledger, {"MIC": book}).height == 0
    load_files(ledger, book, [usage_file(tmp_path)], nothing)
    assert seen(ledger, book)["2020-04"] == ("TO RATE", 0, ["5 usage records to be rated"])
    rate_period(ledger, book, APRIL)
    assert seen(ledger, book) == {
        "2020-04": ("IN REVIEW", 16083, ["a reviewer's sign-off"]),
        "2020-05": ("TO RATE", 0, ["1 usage record to be rated"]),
    }
    sign_off(ledger, book, "2020-04")
    assert seen(ledger, book)["2020-04"] == ("READY", 16083, ["an issuer"])
    issue_here(ledger, book, APRIL, tmp_path, RunScope(projects=("p2",)))
    assert seen(ledger, book)["2020-04"] == ("PARTLY ISSUED", 16083, [])
    issue_here(ledger, book, APRIL, tmp_path)
    assert seen(ledger, book)["2020-04"] == ("ISSUED", 16083, [])


def test_approval_names_who_is_waited_for(rated: Engine) -> None:
    book = price_book(REVIEWED)
    with writing(rated) as connection:
        run = prepare(connection, book, APRIL, RunScope()).run
    assert seen(rated, book)["2020-04"] == ("IN APPROVAL", 16083, ["2 invoices waiting for ann"])
    change_invoices(rated, price_book(), "reject", [f"{run}/p1"], "wrong code")
    change_invoices(rated, book, "quarantine", [f"{run}/p2"], "ask the lab")
    state, _, waits = seen(rated, book)["2020-04"]
    assert state == "READY"
    assert waits == ["an issuer", "1 invoice rejected", "1 invoice in quarantine"]


def test_what_a_closed_invoice_keeps_is_not_waited_for(rated: Engine, tmp_path: Path) -> None:
    book = price_book()
    with writing(rated) as connection:
        run = prepare(connection, book, APRIL, RunScope()).run
    change_invoices(rated, book, "close", [f"{run}/p1"], "a gift")
    issue_here(rated, book, APRIL, tmp_path)
    assert seen(rated, book)["2020-04"] == ("ISSUED", 1250, [])


def test_only_the_newest_months_are_shown(rated: Engine) -> None:
    found = read_overview(rated, {"MIC": price_book()}, months=1)
    assert found["period"].to_list() == ["2020-05"]


def test_a_facility_that_may_not_be_read_is_not_in_it(rated: Engine) -> None:
    hand_over(rated, "MIC")
    assert read_overview(rated, {"MIC": price_book()}).height == 0


def test_an_open_reissue_is_shown(rated: Engine, tmp_path: Path) -> None:
    book = price_book()
    number = min(issue_here(rated, book, APRIL, tmp_path))
    assert seen(rated, book)["2020-04"] == ("ISSUED", 16083, [])
    reissue(rated, book, number, "two slides broke")
    assert seen(rated, book)["2020-04"] == ("ISSUED", 16083, ["1 reissue is open"])
