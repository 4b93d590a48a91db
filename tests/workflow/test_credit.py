"""Credits: some of an issued invoice given back on the project's next one, and never too much."""

import datetime as dt
import json
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sample_facility import BOOK, HEADER, nothing, price_book, usage_file
from sample_issuing import issue_here
from sqlalchemy import Engine

from billing_lib.documents.html import render_html
from billing_lib.documents.pdf import render_pdf
from billing_lib.documents.workbook import render_xlsx
from billing_lib.errors import InvalidAdjustment, NotReady, UnknownInvoice
from billing_lib.ledger import events, invoices
from billing_lib.ledger.database import reading
from billing_lib.pricing.clock import Period
from billing_lib.workflow.adjust import adjust_charge, delete_charge
from billing_lib.workflow.after_issue import reissue
from billing_lib.workflow.lines import credit_invoice, facility_of
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.runs import RunScope
from billing_lib.workflow.search import Filter, find_charges

BOOKED = price_book()
APRIL, MAY = Period(2020, 4), Period(2020, 5)
NUMBER = "MIC-2021-00001"  # of p1, 148.33
USAGE = HEADER + (
    "u1,scope,p1,ann,2020-04-06T17:00:00-04:00,2020-04-06T20:20:00-04:00,,\n"
    "u2,slide,p1,bob,,,2020-04-07,12\n"
    "u3,slide,p1,bob,,,2020-05-07,4\n"
)


@pytest.fixture
def april(ledger: Engine, tmp_path: Path) -> Engine:
    load_files(ledger, BOOKED, [usage_file(tmp_path, USAGE)], nothing)
    rate_period(ledger, BOOKED, APRIL)
    issue_here(ledger, BOOKED, APRIL, tmp_path)
    return ledger


def credit(ledger: Engine, amount: str, number: str = NUMBER, **how: str | None) -> str:
    return credit_invoice(
        ledger, BOOKED, number, amount, "overcharged", **({"date": "2020-05-04"} | how)
    )


def test_a_credit_is_a_line_of_the_next_invoice_that_names_what_it_credits(
    april: Engine, tmp_path: Path
) -> None:
    assert facility_of(april, NUMBER) == "MIC"
    said = credit(april, "20.00")
    assert said == ("MIC/line-2020-05-1: Credit for MIC-2021-00001: overcharged, -20.00 USD on p1")
    with reading(april) as connection:
        event = events.read_events(connection, "MIC", kinds=["add_line"]).row(0, named=True)
    assert json.loads(event["after"])["credits"] == NUMBER
    assert event["reason"] == "overcharged"
    rate_period(april, BOOKED, MAY)

    (bill,) = issue_here(april, BOOKED, MAY, tmp_path).values()

    assert (bill["totals"]["total"], bill["totals"]["due"]) == ("-15.00", "-15.00")
    assert [(row["date"], row["total"]) for row in bill["lines"]] == [
        ("2020-05-04", "-20.00"),
        ("2020-05-07", "5.00"),
    ]
    assert bill["summaries"]["by_expense_code"] == [
        {"expense_code": "A", "total": "-9.00"},
        {"expense_code": "B", "total": "-6.00"},
    ]
    page = render_html(bill)
    assert "Credit for MIC-2021-00001: overcharged" in page
    assert "-15.00" in page or "−15.00" in page
    assert render_pdf(bill).startswith(b"%PDF")
    assert render_xlsx(bill).startswith(b"PK")
    with reading(april) as connection:
        known = invoices.read_issued(connection, number=bill["number"])
    assert known["total"].to_list() == [-1500]


def test_no_more_is_given_back_than_there_was(april: Engine) -> None:
    credit(april, "100.00")
    with pytest.raises(InvalidAdjustment) as refusal:
        credit(april, "48.34")
    assert str(refusal.value) == (
        "amount: the total of invoice MIC-2021-00001 is 148.33 USD before tax, of which 100.00 is "
        "credited already; credit at most 48.33"
    )
    credit(april, "48.33")
    with pytest.raises(InvalidAdjustment, match=r"at most 0\.00"):
        credit(april, "0.01")
    delete_charge(april, BOOKED, "MIC/line-2020-05-2", "a mistake")
    adjust_charge(april, BOOKED, "MIC/line-2020-05-1", {"amount": "-90.00"}, "less")
    credit(april, "58.33")


def test_the_same_credit_of_a_day_is_given_once_and_what_a_reissue_replaces_counts(
    april: Engine, tmp_path: Path
) -> None:
    credit(april, "100.00")
    assert "added before, nothing changed" in credit(april, "100.00")
    reissue(april, BOOKED, NUMBER, "a wrong text")
    (bill,) = issue_here(april, BOOKED, APRIL, tmp_path, RunScope(projects=("p1",))).values()
    with pytest.raises(NotReady, match=r"is SUPERSEDED .* credit the invoice that replaces it"):
        credit(april, "1.00")
    with pytest.raises(InvalidAdjustment, match=r"at most 48\.33"):
        credit(april, "48.34", bill["number"])


def test_tax_is_given_back_with_it(ledger: Engine, tmp_path: Path) -> None:
    taxed = price_book(BOOK.replace("internal}]", 'internal, tax: {name: VAT, percent: "10"}}]'))
    load_files(ledger, taxed, [usage_file(tmp_path, USAGE)], nothing)
    rate_period(ledger, taxed, APRIL)
    (first,) = issue_here(ledger, taxed, APRIL, tmp_path).values()
    assert first["totals"]["total"] == "163.16"
    with pytest.raises(InvalidAdjustment, match=r"is 148\.33 USD before tax"):
        credit_invoice(ledger, taxed, NUMBER, "148.34", "all", date="2020-05-04")
    credit_invoice(ledger, taxed, NUMBER, "148.33", "all", date="2020-05-04")
    (back,) = issue_here(ledger, taxed, MAY, tmp_path).values()
    assert (back["tax"]["amount"], back["totals"]["total"]) == ("-14.83", "-163.16")


@pytest.mark.parametrize(
    ("amount", "how", "sentence"),
    [
        ("0.00", {}, "gives nothing back"),
        ("-5.00", {}, "gives nothing back"),
        ("five", {}, "'five' is no amount"),
        ("1.234", {}, "more than 2 decimal places"),
        ("5.00", {"date": "May"}, "'May' is not a date"),
    ],
)
def test_what_cannot_be_is_refused(
    april: Engine, amount: str, how: dict[str, str], sentence: str
) -> None:
    with pytest.raises(InvalidAdjustment, match=sentence):
        credit(april, amount, **how)
    with reading(april) as connection:
        assert events.read_events(connection, "MIC", kinds=["add_line"]).height == 0


def test_only_what_is_issued_is_credited_and_not_on_what_is_issued(april: Engine) -> None:
    with pytest.raises(UnknownInvoice, match="there is no invoice MIC-2021-00009"):
        credit(april, "5.00", "MIC-2021-00009")
    with pytest.raises(NotReady, match=r"for 2020-04 is issued .* date the line to another month"):
        credit(april, "5.00", date="2020-04-30")
    with pytest.raises(InvalidAdjustment, match="no reason"):
        credit_invoice(april, BOOKED, NUMBER, "5.00", " ", date="2020-05-04")


def test_it_is_of_today_and_may_go_to_one_expense_code(april: Engine) -> None:
    today = dt.datetime.now(ZoneInfo("America/New_York")).date()
    credit(april, "5.00", date=None, expense_code="Z")
    month = f"{today:%Y-%m}"
    wanted = Filter(facility="MIC", period_from=month, period_to=month)
    found = find_charges(april, wanted).rows
    assert found.select("date", "total").rows() == [(today, -500)]


def test_without_a_date_it_is_on_the_next_invoice_of_the_project(
    april: Engine, tmp_path: Path
) -> None:
    today = dt.datetime.now(ZoneInfo(BOOKED.facility.timezone)).date()
    assert f"MIC/line-{today:%Y-%m}-1: " in credit(april, "5.00", date=None)
    rate_period(april, BOOKED, MAY)  # May is over; p1's charge of it is on no invoice yet
    assert "MIC/line-2020-05-1: " in credit(april, "20.00", date=None)
    with reading(april) as connection:
        event = events.read_events(connection, "MIC", kinds=["add_line"]).row(-1, named=True)
    assert json.loads(event["after"])["date"] == "2020-05-31"
    (bill,) = issue_here(april, BOOKED, MAY, tmp_path).values()
    assert bill["totals"]["total"] == "-15.00"
    assert f"MIC/line-{today:%Y-%m}-" in credit(april, "1.00", date=None)  # May is issued
