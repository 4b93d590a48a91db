"""After issue: reissue, void, late usage, payment, prepaid funds, versions of texts."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sample_facility import BOOK, HEADER, nothing, price_book, usage_file
from sample_issuing import issue_here, issue_prepared
from sqlalchemy import Engine

from billing_lib.errors import AlreadyIssued, InvalidAdjustment, NotReady, UnknownInvoice
from billing_lib.ledger import charges, events, invoices
from billing_lib.ledger.database import reading, writing
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adjust import adjust_charge
from billing_lib.workflow.after_issue import deposit, list_funds, pay, reissue, unpay, void
from billing_lib.workflow.approve import change_invoices, prepare_run
from billing_lib.workflow.load import load_files
from billing_lib.workflow.notes import text_versions, write_text
from billing_lib.workflow.overview import report_run
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.runs import RunScope
from billing_lib.workflow.statements import generate_statements, pay_statement

APRIL, MAY = Period(2020, 4), Period(2020, 5)
ONE, TWO, THREE = (f"MIC-2021-0000{at}" for at in (1, 2, 3))


@pytest.fixture
def april(ledger: Engine, tmp_path: Path) -> Engine:
    """April issued: ONE of p1, 148.33; TWO of p2, 12.50."""
    load_files(ledger, price_book(), [usage_file(tmp_path)], nothing)
    rate_period(ledger, price_book(), APRIL)
    assert list(issue_here(ledger, price_book(), APRIL, tmp_path)) == [ONE, TWO]
    return ledger


def process(
    ledger: Engine, run: str, folder: Path, book: PriceBook | None = None
) -> dict[str, dict[str, Any]]:
    """A run's next step, which issues it."""
    known = book or price_book()
    with writing(ledger) as connection:
        prepared = prepare_run(connection, known, run, RunScope(), [])
    return issue_prepared(ledger, known, prepared, folder)


def lives(ledger: Engine) -> list[tuple[Any, ...]]:
    with reading(ledger) as connection:
        found = invoices.read_invoices(connection)
    return sorted(found.select("number", "state", "replaces", "total").rows(), key=str)


def counting(ledger: Engine) -> int:
    """What all invoices that count come to."""
    with reading(ledger) as connection:
        return int(invoices.read_issued(connection, active=True)["total"].sum())


def test_a_reissue_replaces_an_invoice_and_keeps_the_old_one_whole(
    april: Engine, tmp_path: Path
) -> None:
    with reading(april) as connection:
        before = invoices.read_issued(connection, number=ONE)
    said = reissue(april, price_book(), ONE, "two slides broke")
    assert said[0].startswith(f"invoice {ONE} is being reissued as MIC-2020-04-2/p1: 2 charges")
    assert "already, nothing changed" in reissue(april, price_book(), ONE, "again")[0]
    with pytest.raises(NotReady, match="is BILLED on invoice"):
        adjust_charge(april, price_book(), "MIC/u2", {"quantity": "10"}, "the original is locked")
    adjust_charge(april, price_book(), "MIC/u2~2", {"quantity": "10"}, "two broke")
    assert counting(april) == 16083
    (new,) = process(april, "MIC-2020-04-2", tmp_path).values()
    assert (new["number"], new["replaces"], new["totals"]["total"]) == (THREE, ONE, "145.83")
    assert new["kind"] == "periodic"
    assert lives(april) == [
        (ONE, "SUPERSEDED", None, 14833),
        (TWO, "APPROVED", None, 1250),
        (THREE, "APPROVED", ONE, 14583),
    ]
    assert counting(april) == 14583 + 1250
    with reading(april) as connection:
        assert invoices.read_issued(connection, number=ONE).equals(before)
    # a second one goes on from the changes of the first
    reissue(april, price_book(), THREE, "one more broke")
    with reading(april) as connection:
        copies = charges.read_charges(connection, "MIC", invoices=["MIC-2020-04-3/p1"])
    assert copies["charge"].to_list() == ["u1~3", "u2~3"]
    assert copies["quantity"].to_list()[1] == 10_000_000
    with pytest.raises(NotReady, match=f"invoice {ONE} is SUPERSEDED; 'supersede' is for APPROVED"):
        reissue(april, price_book(), ONE, "once more")
    with pytest.raises(UnknownInvoice, match="there is no invoice MIC-1999-00001"):
        reissue(april, price_book(), "MIC-1999-00001", "typing error")


@pytest.mark.parametrize("reopen", [True, False])
def test_a_reissue_that_is_closed_bills_nothing_twice(
    april: Engine, tmp_path: Path, reopen: bool
) -> None:
    reissue(april, price_book(), ONE, "a mistake")
    adjust_charge(april, price_book(), "MIC/u2~2", {"quantity": "1"}, "a mistake too")
    action = "close_and_reopen" if reopen else "close"
    change_invoices(april, price_book(), action, ["MIC-2020-04-2/p1"], "not needed")
    rate_period(april, price_book(), APRIL)
    assert rate_period(april, price_book(), MAY).late == 0
    with pytest.raises(AlreadyIssued):
        issue_here(april, price_book(), APRIL, tmp_path)
    (may,) = issue_here(april, price_book(), MAY, tmp_path).values()
    assert (may["project"]["code"], may["totals"]["total"]) == ("p2", "5.00")
    reissue(april, price_book(), ONE, "now really")
    assert [it["totals"]["total"] for it in process(april, "MIC-2020-04-3", tmp_path).values()] == [
        "148.33"
    ]


def test_a_moved_copy_waits_until_the_old_invoice_is_superseded(
    april: Engine, tmp_path: Path
) -> None:
    reissue(april, price_book(), ONE, "the slides were p2's")
    adjust_charge(april, price_book(), "MIC/u2~2", {"project": "p2"}, "theirs")
    assert rate_period(april, price_book(), MAY).late == 0
    process(april, "MIC-2020-04-2", tmp_path)
    assert rate_period(april, price_book(), MAY).late == 1
    (may,) = issue_here(april, price_book(), MAY, tmp_path).values()
    assert [line["late"] for line in may["lines"]] == ["2020-04", None]
    assert counting(april) == 13333 + 1250 + 1500 + 500


@pytest.mark.parametrize("reopen", [True, False])
def test_a_void_invoice_is_kept_and_does_not_count(
    april: Engine, tmp_path: Path, reopen: bool
) -> None:
    with pytest.raises(InvalidAdjustment, match="the voiding has no reason"):
        void(april, price_book(), ONE, "")
    said = void(april, price_book(), ONE, "another's project", reopen=reopen)
    assert void(april, price_book(), ONE, "again")[0].endswith("nothing changed")
    assert counting(april) == 1250
    with pytest.raises(NotReady, match="is VOID"):
        reissue(april, price_book(), ONE, "too late")
    if reopen:
        assert said == [f"invoice {ONE} is void; 2 charges free again, the first MIC/u1~2"]
        (new,) = issue_here(april, price_book(), APRIL, tmp_path).values()
        assert (new["number"], new["totals"]["total"]) == (THREE, "148.33")
        assert counting(april) == 16083
    else:
        with pytest.raises(AlreadyIssued):
            issue_here(april, price_book(), APRIL, tmp_path)


def test_late_usage_is_billed_by_the_next_run(april: Engine, tmp_path: Path) -> None:
    late = usage_file(tmp_path, HEADER + "u7,slide,p1,bob,,,2020-04-30,4\n", "late.csv")
    load_files(april, price_book(), [late], nothing)
    assert rate_period(april, price_book(), APRIL).new == 1
    with pytest.raises(AlreadyIssued, match="rating the next month takes them to its run"):
        issue_here(april, price_book(), APRIL, tmp_path)
    assert "and 1 late charge" in rate_period(april, price_book(), MAY).sentence
    assert "and 1 late charge" in rate_period(april, price_book(), MAY).sentence
    again = rate_period(april, price_book(), APRIL)
    assert (again.records, again.charges, again.new) == (6, 4, 0)
    bills = issue_here(april, price_book(), MAY, tmp_path)
    assert {it["project"]["code"]: it["totals"]["total"] for it in bills.values()} == {
        "p1": "5.00",
        "p2": "5.00",
    }


def test_late_usage_is_billed_by_a_reissue_where_the_facility_says_so(
    april: Engine, tmp_path: Path
) -> None:
    book = price_book(BOOK.replace("  issue:", "  late_usage: reissue\n  issue:"))
    late = usage_file(tmp_path, HEADER + "u7,slide,p1,bob,,,2020-04-30,4\n", "late.csv")
    load_files(april, book, [late], nothing)
    rate_period(april, book, APRIL)
    assert rate_period(april, book, MAY).late == 0
    with pytest.raises(AlreadyIssued, match="'billing reissue' takes them in"):
        issue_here(april, book, APRIL, tmp_path)
    assert "1 late charge added" in reissue(april, book, ONE, "late usage")[0]
    (new,) = process(april, "MIC-2020-04-2", tmp_path, book).values()
    assert new["totals"]["total"] == "153.33"


def test_a_payment_locks_and_is_undone_only_with_a_reason(april: Engine) -> None:
    book = price_book()
    said = pay(april, book, [ONE, TWO], "2021-02-01", "transfer 1")
    assert said[0] == f"invoice {ONE} is paid, on 2021-02-01 by transfer 1"
    assert all(
        "nothing changed" in it for it in pay(april, book, [ONE, TWO], "2021-02-01", "transfer 1")
    )
    with pytest.raises(NotReady, match=f"invoice {ONE} is PAID; 'pay' is for APPROVED"):
        pay(april, book, [ONE], "2021-02-02", "transfer 2")
    with pytest.raises(NotReady, match="is PAID"):
        void(april, book, ONE, "too late")
    with reading(april) as connection:
        assert charges.read_charges(connection, "MIC", state="PAID").height == 3
    with pytest.raises(InvalidAdjustment, match="the undoing of the payment has no reason"):
        unpay(april, book, ONE, "")
    unpay(april, book, ONE, "another's transfer")
    with reading(april) as connection:
        assert charges.read_charges(connection, "MIC", state="PAID")["charge"].to_list() == ["u3"]
        told = events.read_events(connection, "MIC", kinds=["pay", "unpay"])
        assert events.check_chain(connection, "MIC") == []
    assert told["kind"].to_list() == ["pay", "pay", "unpay"]
    with pytest.raises(InvalidAdjustment, match="'tomorrow' is not a date"):
        pay(april, book, [ONE], "tomorrow", "transfer 3")


def test_what_is_being_reissued_is_not_paid_until_that_is_settled(april: Engine) -> None:
    book = price_book()
    generate_statements(april, {"MIC": book}, APRIL)
    reissue(april, book, ONE, "a mistake")
    under_way = f"invoice {ONE} is being reissued as MIC-2020-04-2/p1; issue or close the new"
    with pytest.raises(NotReady, match=under_way):
        pay(april, book, [TWO, ONE], "2021-02-01", "transfer 1")
    with pytest.raises(NotReady, match=under_way):
        pay_statement(april, "smith-2020-04", "2021-02-01", "transfer 1")
    with reading(april) as connection:
        assert charges.read_charges(connection, "MIC", state="PAID").height == 0
    change_invoices(april, book, "close", ["MIC-2020-04-2/p1"], "it was right")
    assert pay(april, book, [ONE], "2021-02-01", "transfer 1") == [
        f"invoice {ONE} is paid, on 2021-02-01 by transfer 1"
    ]


def test_prepaid_funds_pay_first_and_the_codes_pay_the_rest(ledger: Engine, tmp_path: Path) -> None:
    book = price_book(BOOK.replace("team: smith\n", 'team: smith\n    prepaid_low: "60.00"\n', 1))
    load_files(ledger, book, [usage_file(tmp_path)], nothing)
    rate_period(ledger, book, APRIL)
    said = deposit(ledger, book, "p1", "100.00", "purchase order 4711")
    assert said == "MIC, project p1: the prepaid balance is 100.00 USD"
    deposit(ledger, book, "p2", "50.00", "purchase order 4712")
    with pytest.raises(InvalidAdjustment, match=r"are 50\.00 USD, less than 50\.01"):
        deposit(ledger, book, "p2", "-50.01", "back")
    bills = issue_here(ledger, book, APRIL, tmp_path)
    first, second = bills[ONE], bills[TWO]
    assert first["prepaid"] == {"drawn": "100.00", "left": "0.00"}
    assert (first["totals"]["total"], first["totals"]["due"]) == ("148.33", "48.33")
    # 89.00 and 59.33 of 148.33, of which 100.00 is taken off in proportion
    assert first["summaries"]["by_expense_code"] == [
        {"expense_code": "A", "total": "29.00"},
        {"expense_code": "B", "total": "19.33"},
    ]
    assert second["prepaid"] == {"drawn": "12.50", "left": "37.50"}
    assert second["summaries"]["by_expense_code"] == [{"expense_code": "C", "total": "0.00"}]
    funds = list_funds(ledger, book).to_dicts()
    assert [(row["project"], row["balance"]) for row in funds] == [("p1", "0.00"), ("p2", "37.50")]
    assert funds[0]["notice"].startswith("the prepaid balance of project p1 is low: 0.00 USD")
    # a reissue draws anew what the old one had drawn; a void gives it back
    reissue(ledger, book, ONE, "one slide")
    adjust_charge(ledger, book, "MIC/u1~2", {"amount": "40.00"}, "agreed")
    (new,) = process(ledger, "MIC-2020-04-2", tmp_path, book).values()
    assert new["prepaid"] == {"drawn": "55.00", "left": "45.00"}
    void(ledger, book, TWO, "not theirs")
    assert list_funds(ledger, book)["balance"].to_list() == ["45.00", "50.00"]


def test_an_issued_invoice_keeps_the_text_it_was_issued_with(april: Engine, tmp_path: Path) -> None:
    said = write_text(april, price_book(), "instructions", "Please check.", "friendlier")
    assert "version 2 of the instructions" in said
    again = write_text(april, price_book(), "instructions", "Please check.\n", "friendlier")
    assert "nothing changed" in again
    rate_period(april, price_book(), MAY)
    (may,) = issue_here(april, price_book(), MAY, tmp_path).values()
    assert may["facility"]["instructions"] == "Please check."
    versions = text_versions(april, price_book(), "instructions")
    assert versions["text"].to_list() == ["Charged through the ledger.", "Please check."]
    with pytest.raises(InvalidAdjustment, match="a facility has no text 'slogan'"):
        write_text(april, price_book(), "slogan", "Cheap!", "marketing")


def test_the_report_shows_what_a_run_is_about_to_bill(april: Engine, tmp_path: Path) -> None:
    more = HEADER + "u8,slide,p2,eve,,,2020-05-03,40\nu9,scope,nobody,eve,,,2020-05-03,1\n"
    load_files(april, price_book(), [usage_file(tmp_path, more, "may.csv")], nothing)
    rate_period(april, price_book(), MAY)
    issue_here(april, price_book(), MAY, tmp_path)
    report = report_run(april, price_book(), "MIC-2020-05-1")
    assert (report.total, report.last_total, report.change) == (5500, 16083, "-65.8 %")
    assert report.largest.select("project", "total", "last_total").rows() == [("p2", 5500, 1250)]
    assert report.missing.rows() == [("p1", 14833)]
    assert report.new.height == 0
    assert report.states.select("state", "invoices", "charges").rows() == [("APPROVED", 1, 2)]
    assert report.unbilled.sort("reason")["records"].sum() == 1
    assert report.states.filter(pl.col("total") == 5500).height == 1
