"""Ad hoc invoices: created, filled by lines and usage, issued with the month or by themselves."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from sample_facility import BOOK, nothing, price_book, usage_file
from sample_issuing import issue_here
from sqlalchemy import Engine

from billing_lib.errors import (
    AlreadyIssued,
    BillingError,
    InvalidAdjustment,
    NotReady,
    UnknownInvoice,
)
from billing_lib.ledger import charges, events, invoices
from billing_lib.ledger.database import reading, writing
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adhoc import Words, create_ad_hoc, edit_ad_hoc
from billing_lib.workflow.adjust import adjust_charge, delete_charge
from billing_lib.workflow.after_issue import reissue, void
from billing_lib.workflow.approve import change_invoices, prepare
from billing_lib.workflow.bulk import take_new_rates
from billing_lib.workflow.lines import NewLine, add_charge_line
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period, read_unbilled
from billing_lib.workflow.runs import RunScope, sign_off
from billing_lib.workflow.search import Filter

BOOKED = price_book()
APRIL, MAY = Period(2020, 4), Period(2020, 5)
ALONE = RunScope(reference="PO-12")
WORKSHOP = Words("p1", "2020-04-06", "2020-04-08", "Workshop")
HEADER = "id,item,project,date,quantity,reference\n"
USAGE = HEADER + (
    "a1,slide,p1,2020-04-07,12,PO-12\n"  # 15.00
    "a2,slide,,2020-04-07,4,PO-12\n"  # 5.00, of the invoice's project
    "a3,slide,p1,2020-04-07,8,\n"  # 10.00, the month's
    "a4,slide,p2,2020-04-07,1,PO-12\n"  # another's
    "a5,slide,p1,2020-04-07,1,PO-13\n"  # nobody's
)


def load(ledger: Engine, folder: Path, text: str, name: str = "usage.csv") -> None:
    load_files(ledger, BOOKED, [usage_file(folder, text, name)], nothing)


def invoice(ledger: Engine, reference: str = "PO-12") -> dict[str, Any]:
    with reading(ledger) as connection:
        found = invoices.read_invoices(connection, "MIC", reference=reference)
    return found.row(0, named=True)


def where(ledger: Engine) -> dict[str, str | None]:
    with reading(ledger) as connection:
        frame = charges.read_charges(connection, "MIC")
    return dict(frame.select("charge", "invoice").iter_rows())


def line(amount: str, date: str = "2020-04-07", **stated: str | None) -> NewLine:
    plain = {"project": None, "description": "Training", "expense_code": None}
    return NewLine.parse(plain | {"amount": amount, "date": date} | stated, BOOKED)


def add(ledger: Engine, amount: str, date: str = "2020-04-07", book: PriceBook = BOOKED) -> str:
    return add_charge_line(ledger, book, line(amount, date, reference="PO-12"), "agreed")


def test_it_is_created_once_and_each_creation_is_an_event(ledger: Engine) -> None:
    said = create_ad_hoc(ledger, BOOKED, "PO-12", WORKSHOP)
    assert said == "invoice MIC/PO-12 of project p1, 2020-04-06 to 2020-04-08, is open"
    row = invoice(ledger)
    assert (row["kind"], row["state"], row["run"], row["period"], row["team"]) == (
        *("ad hoc", "OPEN", None, "2020-04", "smith"),
    )
    again = create_ad_hoc(ledger, BOOKED, "PO-12", WORKSHOP)
    assert again == "invoice MIC/PO-12 was created before, nothing changed; it is OPEN"
    with pytest.raises(NotReady, match=r"the reference PO-12 .* project 'p1', not 'p2'"):
        create_ad_hoc(ledger, BOOKED, "PO-12", Words("p2", "2020-04-06", "2020-04-08", "Workshop"))
    create_ad_hoc(ledger, BOOKED, "PO-13", Words("p1", "2020-05-31"))
    assert invoice(ledger, "PO-13")["covers_to"] == dt.date(2020, 5, 31)
    with reading(ledger) as connection:
        made = events.read_events(connection, "MIC", kinds=["create_invoice"])
    assert made["subject"].to_list() == ["MIC/PO-12", "MIC/PO-13"]
    assert json.loads(made["after"][0])["description"] == "Workshop"


@pytest.mark.parametrize(
    ("reference", "words", "sentence"),
    [
        ("PO-12", Words("p1", "2020-04-08", "2020-04-06"), "the end 2020-04-06 is before"),
        ("PO-12", Words("p1", "April"), "start: 'April' is not a date"),
        ("PO-12", Words("nobody", "2020-04-08"), "no project 'nobody'"),
        ("PO-12", Words("p1"), "needs a project and a start date"),
        ("PO/12", Words("p1", "2020-04-08"), "'PO/12' is not a reference"),
        (" ", Words("p1", "2020-04-08"), "is not a reference"),
    ],
)
def test_what_cannot_be_is_refused(
    ledger: Engine, reference: str, words: Words, sentence: str
) -> None:
    with pytest.raises(InvalidAdjustment, match=sentence):
        create_ad_hoc(ledger, BOOKED, reference, words)


def test_dates_and_description_are_edited_and_the_month_goes_with_them(ledger: Engine) -> None:
    create_ad_hoc(ledger, BOOKED, "PO-12", WORKSHOP)
    edit_ad_hoc(ledger, BOOKED, "PO-12", Words(end="2020-05-02", description="Two workshops"))
    row = invoice(ledger)
    assert (row["period"], row["covers_to"]) == ("2020-05", dt.date(2020, 5, 2))
    assert row["description"] == "Two workshops"
    same = edit_ad_hoc(ledger, BOOKED, "PO-12", Words(end="2020-05-02"))
    assert same == "invoice MIC/PO-12 has these values already, nothing changed"
    with pytest.raises(InvalidAdjustment, match="belongs to project p1; create another one"):
        edit_ad_hoc(ledger, BOOKED, "PO-12", Words(project="p2"))
    with pytest.raises(InvalidAdjustment, match="is before the start"):
        edit_ad_hoc(ledger, BOOKED, "PO-12", Words(end="2020-04-01"))
    with pytest.raises(UnknownInvoice, match="MIC has no ad hoc invoice PO-99; create it"):
        edit_ad_hoc(ledger, BOOKED, "PO-99", Words(end="2020-05-02"))
    with reading(ledger) as connection:
        edited = events.read_events(connection, "MIC", kinds=["edit_invoice"])
        assert events.check_chain(connection, "MIC") == []
    assert json.loads(edited["before"][0])["covers_to"] == "2020-04-08"


def test_lines_go_to_it_whatever_their_date_and_it_is_calculated(ledger: Engine) -> None:
    create_ad_hoc(ledger, BOOKED, "PO-12", WORKSHOP)
    assert add(ledger, "75.00") == "MIC/line-2020-04-1: Training, 75.00 USD on PO-12"
    add(ledger, "25.00", "2019-12-31")
    assert "added before, nothing changed" in add(ledger, "25.00", "2019-12-31")
    assert where(ledger) == {"line-2020-04-1": "MIC/PO-12", "line-2019-12-1": "MIC/PO-12"}
    assert (invoice(ledger)["charges"], invoice(ledger)["total"]) == (2, 10000)
    adjust_charge(ledger, BOOKED, "MIC/line-2020-04-1", {"amount": "70.00"}, "less")
    assert invoice(ledger)["total"] == 9500
    delete_charge(ledger, BOOKED, "MIC/line-2019-12-1", "not this")
    assert (invoice(ledger)["charges"], invoice(ledger)["total"]) == (1, 7000)
    with pytest.raises(InvalidAdjustment, match="the ad hoc invoice PO-12 is of project p1"):
        add_charge_line(ledger, BOOKED, line("1.00", project="p2", reference="PO-12"), "why")
    with pytest.raises(UnknownInvoice, match="no ad hoc invoice PO-99"):
        add_charge_line(ledger, BOOKED, line("1.00", reference="PO-99"), "why")
    with pytest.raises(InvalidAdjustment, match="the ad hoc invoice PO-12 and cannot move"):
        adjust_charge(ledger, BOOKED, "MIC/line-2020-04-1", {"project": "p2"}, "theirs")


def test_usage_that_names_it_goes_to_it_and_else_says_why_not(
    ledger: Engine, tmp_path: Path
) -> None:
    load(ledger, tmp_path, USAGE)
    first = rate_period(ledger, BOOKED, APRIL)
    assert first.unbilled == {"unknown_reference": 4}
    create_ad_hoc(ledger, BOOKED, "PO-12", WORKSHOP)

    rated = rate_period(ledger, BOOKED, APRIL)

    assert (rated.new, rated.unbilled) == (2, {"unknown_reference": 2})
    unbilled = read_unbilled(ledger, "MIC", "2020-04")
    assert unbilled.select("record", "reference", "detail").rows() == [
        ("a4", "PO-12", "the ad hoc invoice 'PO-12' is of project 'p1'"),
        ("a5", "PO-13", "there is no ad hoc invoice 'PO-13'"),
    ]
    assert where(ledger) == {"a1": "MIC/PO-12", "a2": "MIC/PO-12", "a3": None}
    assert (invoice(ledger)["charges"], invoice(ledger)["total"]) == (2, 2000)
    again = rate_period(ledger, BOOKED, APRIL)
    assert (again.new, again.changed) == (0, 0)
    dearer = price_book(BOOK.replace('"1.25"', '"2.00"'))
    rate_period(ledger, dearer, APRIL, again=True)
    assert invoice(ledger)["total"] == 2000  # at the kept rate
    take_new_rates(ledger, dearer, "2020-04", Filter(item="slide"))
    assert invoice(ledger)["total"] == 3200


def test_both_kinds_of_a_project_in_one_run_sum_to_the_cent_and_rules_leave_it_alone(
    ledger: Engine, tmp_path: Path
) -> None:
    book = price_book(
        BOOK.replace("internal}]", 'internal, tax: {name: VAT, percent: "10"}}]')
        + 'rules: [{name: cap, scope: invoice, kind: cap, amount: "6.00"}]\n'
    )
    load(ledger, tmp_path, USAGE)
    create_ad_hoc(ledger, book, "PO-12", WORKSHOP)
    rate_period(ledger, book, APRIL)
    add(ledger, "0.33", book=book)

    month, ad_hoc = issue_here(ledger, book, APRIL, tmp_path).values()

    assert (month["kind"], month["totals"]["total"]) == ("periodic", "6.60")  # 10.00 at most 6.00
    assert (ad_hoc["kind"], ad_hoc["reference"]) == ("ad hoc", "PO-12")
    assert ad_hoc["totals"]["total"] == "22.36"  # 20.33 and 2.03
    assert ad_hoc["adjustments"] == []
    assert ad_hoc["dates_covered"] == {"from": "2020-04-06", "to": "2020-04-08"}
    assert ad_hoc["description"] == "Workshop"
    assert [part["total"] for part in ad_hoc["summaries"]["by_expense_code"]] == ["13.42", "8.94"]
    assert invoice(ledger)["state"] == "APPROVED"
    with pytest.raises(AlreadyIssued):
        issue_here(ledger, book, APRIL, tmp_path)


def test_it_is_issued_by_itself_before_the_month_or_after_it(
    ledger: Engine, tmp_path: Path
) -> None:
    load(ledger, tmp_path, USAGE)
    create_ad_hoc(ledger, BOOKED, "PO-12", WORKSHOP)
    create_ad_hoc(ledger, BOOKED, "PO-14", WORKSHOP)
    rate_period(ledger, BOOKED, APRIL)
    (alone,) = issue_here(ledger, BOOKED, APRIL, tmp_path, ALONE).values()
    assert (alone["reference"], alone["totals"]["total"]) == ("PO-12", "20.00")
    with pytest.raises(AlreadyIssued, match=r"PO-12 is issued \(MIC-2021-00001\)"):
        issue_here(ledger, BOOKED, APRIL, tmp_path, ALONE)
    with pytest.raises(NotReady, match="PO-14 has no charges yet"):
        issue_here(ledger, BOOKED, APRIL, tmp_path, RunScope(reference="PO-14"))
    with pytest.raises(NotReady, match=r"ends in 2020-04, .* 'billing issue MIC 2020-04"):
        issue_here(ledger, BOOKED, MAY, tmp_path, RunScope(reference="PO-14"))

    (month,) = issue_here(ledger, BOOKED, APRIL, tmp_path).values()
    assert [row["charge"] for row in month["lines"]] == ["MIC/a3"]
    with pytest.raises(AlreadyIssued):  # the empty draft is nothing to issue
        issue_here(ledger, BOOKED, APRIL, tmp_path)

    # The month is closed, and the ad hoc invoice takes lines all the same.
    add_charge_line(ledger, BOOKED, line("5.00", reference="PO-14"), "agreed")
    (later,) = issue_here(ledger, BOOKED, APRIL, tmp_path, RunScope(reference="PO-14")).values()
    assert (later["number"], later["totals"]["total"]) == ("MIC-2021-00003", "5.00")


def test_what_comes_after_it_is_late_until_it_is_open_again(ledger: Engine, tmp_path: Path) -> None:
    reviewed = price_book(
        BOOK.replace(
            "  issue: scheduled\n", "  issue: scheduled\n  approval: {reviewers: [[ann]]}\n"
        )
    )
    create_ad_hoc(ledger, reviewed, "PO-12", WORKSHOP)
    add(ledger, "75.00", book=reviewed)
    with writing(ledger) as connection:
        prepared = prepare(connection, reviewed, APRIL, ALONE)
    assert (prepared.codes, invoice(ledger)["state"]) == ([], "APPROVING")
    load(ledger, tmp_path, USAGE)

    rated = rate_period(ledger, reviewed, APRIL)

    assert rated.told == [
        "2 late charges of the ad hoc invoice PO-12 left pending: it is APPROVING"
    ]
    assert where(ledger)["a1"] is None
    with pytest.raises(NotReady, match="PO-12 is APPROVING and takes in no changes; reject it"):
        add(ledger, "1.00", book=reviewed)
    with writing(ledger) as connection:  # nor does the month's invoice take them
        month = prepare(connection, reviewed, APRIL, RunScope(projects=("p1",)))
    assert rated.told[0] in month.waiting
    assert where(ledger)["a1"] is None

    change_invoices(ledger, BOOKED, "reject", ["MIC/PO-12"], "usage came")
    rate_period(ledger, reviewed, APRIL)
    assert where(ledger)["a1"] == "MIC/PO-12"
    assert invoice(ledger)["total"] == 9500
    with pytest.raises(NotReady, match="is in run MIC-2020-04-1 of 2020-04 and cannot end in"):
        edit_ad_hoc(ledger, reviewed, "PO-12", Words(end="2020-05-01"))


def test_usage_that_names_an_issued_one_stays_pending_and_is_told(
    ledger: Engine, tmp_path: Path
) -> None:
    create_ad_hoc(ledger, BOOKED, "PO-12", WORKSHOP)
    add(ledger, "75.00")
    issue_here(ledger, BOOKED, APRIL, tmp_path, ALONE)
    load(ledger, tmp_path, USAGE)
    rated = rate_period(ledger, BOOKED, APRIL)
    assert rated.told == [
        "2 late charges of the ad hoc invoice PO-12 left pending: it is APPROVED as MIC-2021-00001"
    ]
    (month,) = issue_here(ledger, BOOKED, APRIL, tmp_path).values()
    assert month["totals"]["total"] == "10.00"
    load(ledger, tmp_path, HEADER + "b1,slide,p1,2020-05-07,1,\n", "may.csv")
    assert rate_period(ledger, BOOKED, MAY).late == 0
    assert where(ledger)["a1"] is None


def test_charges_of_several_months_are_priced_by_their_own_and_billed_with_its_end(
    ledger: Engine, tmp_path: Path
) -> None:
    def book(factor: str) -> PriceBook:
        rule = f'{{name: part, scope: charge, kind: scale, factor: "{factor}"}}'
        return price_book(BOOK.replace("scheduled", "ready") + f"rules: [{rule}]\n")

    load(
        ledger,
        tmp_path,
        HEADER + "a1,slide,p1,2020-04-07,8,PO-12\na2,slide,p1,2020-05-07,8,PO-12\n",
    )
    create_ad_hoc(ledger, BOOKED, "PO-12", Words("p1", "2020-04-06", "2020-05-08"))
    rate_period(ledger, book("0.5"), APRIL)
    rate_period(ledger, book("0.1"), MAY)
    assert rate_period(ledger, book("0.1"), APRIL).changed == 0
    assert invoice(ledger)["total"] == 600  # 10.00 at half, 10.00 at a tenth
    with pytest.raises(NotReady, match="MIC 2020-05 is not signed off"):
        issue_here(ledger, book("0.1"), MAY, tmp_path, ALONE)
    assert "2 charges, total 6.00 USD" in sign_off(ledger, book("0.1"), "2020-05")

    (bill,) = issue_here(ledger, book("0.1"), MAY, tmp_path, ALONE).values()

    assert [(row["total"], row["late"]) for row in bill["lines"]] == [
        ("5.00", None),
        ("1.00", None),
    ]
    assert (bill["period"], bill["totals"]["total"]) == ("2020-05", "6.00")


def test_a_reissue_takes_in_what_came_late_and_a_void_frees_it_for_the_month(
    ledger: Engine, tmp_path: Path
) -> None:
    create_ad_hoc(ledger, BOOKED, "PO-12", WORKSHOP)
    add(ledger, "75.00")
    (first,) = issue_here(ledger, BOOKED, APRIL, tmp_path, ALONE)
    load(ledger, tmp_path, USAGE)
    assert rate_period(ledger, BOOKED, APRIL).told
    reissue(ledger, BOOKED, first, "usage came")
    assert rate_period(ledger, BOOKED, APRIL).told == []
    add(ledger, "1.00")

    (bill,) = issue_here(ledger, BOOKED, APRIL, tmp_path, ALONE).values()

    assert (bill["kind"], bill["replaces"], bill["totals"]["total"]) == ("ad hoc", first, "96.00")
    with pytest.raises(AlreadyIssued, match="PO-12 is issued"):
        issue_here(ledger, BOOKED, APRIL, tmp_path, ALONE)
    void(ledger, BOOKED, bill["number"], "never held", reopen=True)
    assert rate_period(ledger, BOOKED, APRIL).told == []
    (month,) = issue_here(ledger, BOOKED, APRIL, tmp_path).values()
    assert month["totals"]["total"] == "106.00"  # with the 10.00 that were the month's


def test_a_closed_reissue_leaves_what_was_late_to_the_next(ledger: Engine, tmp_path: Path) -> None:
    create_ad_hoc(ledger, BOOKED, "PO-12", WORKSHOP)
    add(ledger, "75.00")
    (first,) = issue_here(ledger, BOOKED, APRIL, tmp_path, ALONE)
    load(ledger, tmp_path, USAGE)
    reissue(ledger, BOOKED, first, "usage came")
    rate_period(ledger, BOOKED, APRIL)
    assert where(ledger)["a1"] == "MIC-2020-04-2/p1"
    change_invoices(ledger, BOOKED, "close_and_reopen", ["MIC-2020-04-2/p1"], "not now")
    assert rate_period(ledger, BOOKED, APRIL).told == [
        f"2 late charges of the ad hoc invoice PO-12 left pending: it is APPROVED as {first}"
    ]
    (month,) = issue_here(ledger, BOOKED, APRIL, tmp_path).values()
    assert month["totals"]["total"] == "10.00"


def test_tiers_of_a_project_count_what_goes_to_it_apart(ledger: Engine, tmp_path: Path) -> None:
    steps = '[{up_to: "10", price: "2.00"}, {up_to: null, price: "1.00"}]'
    tiers = f"tiers: {{mode: graduated, per: project, steps: {steps}}}"
    book = price_book(BOOK.replace('price: "1.25"', tiers))
    load(ledger, tmp_path, USAGE)
    create_ad_hoc(ledger, book, "PO-12", WORKSHOP)
    rate_period(ledger, book, APRIL)
    with reading(ledger) as connection:
        found = charges.read_charges(connection, "MIC")
    # 10 at 2.00 and 2 at 1.00, then 4 at 1.00; the month's 8 are in the first step
    assert dict(found.select("charge", "total").iter_rows()) == {"a1": 2200, "a2": 400, "a3": 1600}
    bills = issue_here(ledger, book, APRIL, tmp_path)
    assert [bill["totals"]["total"] for bill in bills.values()] == ["16.00", "26.00"]


def test_closed_with_its_charges_free_they_are_the_months_again(
    ledger: Engine, tmp_path: Path
) -> None:
    load(ledger, tmp_path, USAGE)
    create_ad_hoc(ledger, BOOKED, "PO-12", WORKSHOP)
    rate_period(ledger, BOOKED, APRIL)
    change_invoices(ledger, BOOKED, "close_and_reopen", ["MIC/PO-12"], "no workshop")
    (month,) = issue_here(ledger, BOOKED, APRIL, tmp_path).values()
    assert month["totals"]["total"] == "30.00"
    with pytest.raises(NotReady, match=r"PO-12 is CLOSED .* another one with its own reference"):
        add(ledger, "1.00")


def test_a_months_invoice_that_is_approved_or_issued_takes_no_line(
    ledger: Engine, tmp_path: Path
) -> None:
    reviewed = price_book(
        BOOK.replace(
            "  issue: scheduled\n", "  issue: scheduled\n  approval: {reviewers: [[ann]]}\n"
        )
    )
    load(ledger, tmp_path, USAGE)
    rate_period(ledger, BOOKED, APRIL)
    with writing(ledger) as connection:
        prepare(connection, reviewed, APRIL, RunScope())
    with pytest.raises(NotReady, match="MIC-2020-04-1/p1 of project p1 is being approved"):
        add_charge_line(ledger, BOOKED, line("1.00", project="p1"), "why")
    issue_here(ledger, BOOKED, APRIL, tmp_path)  # nobody reviews any more
    with pytest.raises(NotReady, match=r"is issued \(MIC-2021-00001\) .* credit or reissue it"):
        add_charge_line(ledger, BOOKED, line("1.00", project="p1"), "why")


def test_a_mistake_leaves_nothing_half_written(ledger: Engine) -> None:
    create_ad_hoc(ledger, BOOKED, "PO-12", WORKSHOP)
    with pytest.raises(BillingError):
        add_charge_line(ledger, BOOKED, line("1.00", project="p2", reference="PO-12"), "why")
    with reading(ledger) as connection:
        assert events.read_events(connection, "MIC", kinds=["add_line"]).height == 0
