"""From drafts to approval: readiness, reviewers in order, rejection, quarantine, closing."""

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
from dialects import ON_POSTGRESQL
from sample_facility import BOOK, HEADER, USAGE, nothing, price_book, usage_file
from sample_issuing import issue_here, issue_prepared
from sample_logins import let_in, url_as
from sqlalchemy import Engine, make_url

from billing_lib.errors import InvalidAdjustment, InvalidPeriod, NotPermitted, NotReady
from billing_lib.ledger import charges, events, invoices, runs
from billing_lib.ledger.database import open_ledger, operating_system_login, reading, writing
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adhoc import Words, create_ad_hoc
from billing_lib.workflow.adjust import adjust_charge
from billing_lib.workflow.after_issue import deposit
from billing_lib.workflow.approve import (
    Prepared,
    approve,
    cancel,
    change_invoices,
    make_run,
    prepare,
    read_run,
    set_enabled,
)
from billing_lib.workflow.lines import NewLine, add_charge_line
from billing_lib.workflow.load import load_files
from billing_lib.workflow.permissions import grant, note_facility
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.runs import RunScope, sign_off
from billing_lib.workflow.search import InvoiceSelection

APRIL, RUN = Period(2020, 4), "MIC-2020-04-1"
P1, P2 = f"{RUN}/p1", f"{RUN}/p2"
WHOLE = RunScope()


def reviewed_by(*logins: str, two_persons: bool = False) -> PriceBook:
    """The facility with reviewers, one per step."""
    asks = ", two_persons: true" if two_persons else ""
    approval = f"  approval: {{reviewers: [{', '.join(logins)}]{asks}}}\n"
    return price_book(BOOK.replace("  issue: scheduled\n", f"  issue: scheduled\n{approval}"))


@pytest.fixture
def rated(ledger: Engine, tmp_path: Path) -> Engine:
    """April: p1 148.33 in two charges, p2 12.50 in one."""
    load_files(ledger, price_book(), [usage_file(tmp_path)], nothing)
    rate_period(ledger, price_book(), APRIL)
    return ledger


def prepared(ledger: Engine, book: PriceBook) -> Prepared:
    with writing(ledger) as connection:
        return prepare(connection, book, APRIL, WHOLE)


def states(ledger: Engine) -> dict[str, str]:
    with reading(ledger) as connection:
        return dict(invoices.read_invoices(connection).select("code", "state").iter_rows())


def me(ledger: Engine) -> str:
    if ledger.dialect.name == "sqlite":
        return operating_system_login()
    return str(make_url(ledger.url).username)


def test_a_month_that_nobody_signed_off_is_not_issued(rated: Engine) -> None:
    book = price_book(BOOK.replace("  issue: scheduled\n", ""))
    with pytest.raises(NotReady, match="MIC 2020-04 is not signed off"):
        prepared(rated, book)
    said = sign_off(rated, book, "2020-04", "looked at it")
    assert said == "MIC 2020-04 is ready: 3 charges, total 160.83 USD"
    assert sign_off(rated, book, "2020-04").endswith("it was signed off before, nothing changed")
    adjust_charge(rated, book, "MIC/u2", {"quantity": "10"}, "two broke")
    with pytest.raises(NotReady, match=r"total 160\.83 USD; it has 3 charges, total 158\.33"):
        prepared(rated, book)
    sign_off(rated, book, "2020-04")
    assert sorted(prepared(rated, book).codes) == [P1, P2]
    with pytest.raises(NotReady, match="no charges for MIC 2020-08"):
        sign_off(rated, book, "2020-08")


def test_what_is_being_approved_does_not_change_until_it_is_rejected(
    rated: Engine, tmp_path: Path
) -> None:
    book = reviewed_by(me(rated), "bob")
    waiting = prepared(rated, book)
    assert waiting.codes == []
    assert waiting.waiting == [f"2 invoices of run {RUN} waiting for {me(rated)}"]
    with pytest.raises(NotReady, match="which is APPROVING; reject the invoice first"):
        adjust_charge(rated, book, "MIC/u2", {"quantity": "10"}, "two broke")
    with pytest.raises(InvalidAdjustment, match="the rejection has no reason"):
        change_invoices(rated, book, "reject", [P1], " ")
    assert change_invoices(rated, book, "reject", [P1], "two broke") == [
        f"invoice {P1} is rejected and takes in changes"
    ]
    adjust_charge(rated, book, "MIC/u2", {"quantity": "10"}, "two broke")
    with reading(rated) as connection:
        row = invoices.read_invoices(connection, codes=[P1]).row(0, named=True)
    assert (row["state"], row["total"], row["reason"]) == ("REJECTED", 14583, "two broke")
    with writing(rated) as connection:  # nobody is there who says that it is mended
        left = prepare(connection, book, APRIL, WHOLE, unattended=True)
    assert left.waiting[-1] == f"1 invoice of run {RUN} rejected"
    assert prepared(rated, book).waiting == [f"2 invoices of run {RUN} waiting for {me(rated)}"]
    with writing(rated) as connection:
        now = approve(connection, book, RUN, [P1, P2], "fine")
    assert now.waiting == [f"2 invoices of run {RUN} waiting for bob"]
    with pytest.raises(NotPermitted, match="waits for bob, not for"), writing(rated) as connection:
        approve(connection, book, RUN, [P1], "")
    with pytest.raises(NotPermitted, match="waits for bob, not for"):
        change_invoices(rated, book, "reject", [P2], "look again")
    both = reviewed_by(me(rated), f"[bob, {me(rated)}]")
    assert change_invoices(rated, both, "reject", [P2], "look again") == [
        f"invoice {P2} goes back to {me(rated)}"
    ]
    alone = reviewed_by(me(rated))
    with writing(rated) as connection:
        note_facility(connection, alone)
        done = approve(connection, alone, RUN, [P2], "")
    issued = issue_prepared(rated, alone, done, tmp_path)
    assert [it["totals"]["total"] for it in issued.values()] == ["12.50"]
    assert states(rated) == {P1: "APPROVING", P2: "APPROVED"}


@ON_POSTGRESQL  # two people: two logins of a server
def test_nobody_approves_an_own_change_where_two_persons_are_asked_for(
    rated: Engine, ledger_url: str
) -> None:
    let_in(ledger_url, ("ann_2",))
    book = reviewed_by(f"[{me(rated)}, ann_2]", two_persons=True)
    grant(rated, book, "ann_2", "issuer")
    deposit(rated, book, "p2", "5.00", "paid in")
    prepared(rated, book)
    own = rf"{me(rated)} loaded the file usage.csv, whose usage invoice {P1} bills"
    with pytest.raises(NotPermitted, match=own), writing(rated) as connection:
        approve(connection, book, RUN, [P1], "")
    other = open_ledger(url_as(ledger_url, "ann_2"))
    with writing(other) as connection:
        assert approve(connection, book, RUN, [P2], "").codes == [P2]
    change_invoices(other, book, "reject", [P1], "look again")
    adjust_charge(other, book, "MIC/u2", {"quantity": "10"}, "two broke")
    prepared(other, book)
    own = rf"ann_2 changed 1 charge of invoice {P1}, the first of them MIC/u2"
    with pytest.raises(NotPermitted, match=own), writing(other) as connection:
        approve(connection, book, RUN, [P1], "")
    deposit(other, book, "p2", "6.00", "paid in")
    change_invoices(other, book, "reject", [P2], "look again")
    own = "ann_2 entered the deposit of project p2"
    with pytest.raises(NotPermitted, match=own), writing(other) as connection:
        approve(connection, book, RUN, [P2], "")
    other.dispose()
    with reading(rated) as connection:
        approvals = events.read_events(connection, "MIC", kinds=["approve"])
    assert approvals["login"].to_list() == ["ann_2"]


def test_quarantine_keeps_an_invoice_out_of_the_run_with_its_charges(
    rated: Engine, tmp_path: Path
) -> None:
    book = price_book()
    make_run(rated, book, APRIL, WHOLE)
    change_invoices(rated, book, "quarantine", [P1], "the lab disputes it")
    now = prepared(rated, book)
    assert (now.codes, now.waiting) == ([P2], [f"1 invoice of run {RUN} in quarantine"])
    issue_prepared(rated, book, now, tmp_path)
    adjust_charge(rated, book, "MIC/u2", {"waived": "yes"}, "settled")
    assert change_invoices(rated, book, "release", [P1]) == [f"invoice {P1} is in its run again"]
    (issued,) = issue_prepared(rated, book, prepared(rated, book), tmp_path).values()
    assert issued["totals"]["total"] == "133.33"
    with reading(rated) as connection:
        assert runs.read_run(connection, RUN).state == "FINISHED"


def test_what_was_closed_and_reopened_is_on_a_further_invoice_of_the_run(rated: Engine) -> None:
    book = price_book()
    assert sorted(prepared(rated, book).codes) == [P1, P2]
    for code in (P2, f"{P2}~2"):
        change_invoices(rated, book, "close_and_reopen", [code], "to another address")
        prepared(rated, book)
    with reading(rated) as connection:
        told = events.read_events(connection, "MIC", subjects=[P2])["kind"].to_list()
        with_charges = charges.read_charges(connection, "MIC", project="p2")["invoice"]
    assert told == ["submit", "reject", "close"]
    assert states(rated) == {
        P1: "APPROVING",
        P2: "CLOSED",
        f"{P2}~2": "CLOSED",
        f"{P2}~3": "APPROVING",
    }
    assert with_charges.to_list() == [f"{P2}~3"]
    said = f"invoice {P2} is CLOSED; 'close' is for"
    with pytest.raises(NotReady, match=said):
        change_invoices(rated, book, "close_and_reopen", [P2, f"{P2}~3"], "again")


@pytest.mark.parametrize("reopen", [True, False])
def test_a_cancelled_run_reopens_its_charges_or_keeps_them_for_good(
    rated: Engine, reopen: bool
) -> None:
    book = price_book()
    prepared(rated, book)
    said = cancel(rated, book, RUN, "wrong rates", reopen=reopen)
    assert said[-1] == f"billing run {RUN} is cancelled"
    assert cancel(rated, book, RUN, "again", reopen=reopen)[0].endswith("nothing changed")
    assert set(states(rated).values()) == {"CLOSED"}
    if reopen:
        assert sorted(prepared(rated, book).codes) == ["MIC-2020-04-2/p1", "MIC-2020-04-2/p2"]
    else:
        with pytest.raises(NotReady, match="MIC 2020-04 has nothing to issue"):
            prepared(rated, book)
        with pytest.raises(NotReady, match="which is CLOSED"):
            adjust_charge(rated, book, "MIC/u2", {"quantity": "1"}, "too late")
    with reading(rated) as connection:
        now = charges.read_charges(connection, "MIC", "2020-04")["state"].unique().to_list()
    assert now == (["PENDING"] if reopen else ["CANCELLED"])
    assert [job["kind"] for job in read_run(rated, book, RUN).jobs.to_dicts()] == ["cancel"]


def test_a_disabled_run_is_passed_over_until_it_is_enabled(rated: Engine) -> None:
    book = price_book()
    said = make_run(rated, book, APRIL, WHOLE)
    assert said == [f"billing run {RUN} made: 2 invoices not issued yet, 3 charges taken in"]
    assert make_run(rated, book, APRIL, WHOLE) == [
        f"billing run {RUN} brought up to date: 2 invoices not issued yet, 0 charges taken in"
    ]
    set_enabled(rated, book, RUN, enabled=False)
    with pytest.raises(NotReady, match=f"billing run {RUN} is DISABLED"):
        prepared(rated, book)
    assert set_enabled(rated, book, RUN, enabled=False)[0].endswith("nothing changed")
    set_enabled(rated, book, RUN, enabled=True)
    assert sorted(prepared(rated, book).codes) == [P1, P2]


@pytest.mark.parametrize("drafted", [True, False])
def test_an_invoice_that_cannot_be_calculated_is_in_error_and_keeps_no_other_back(
    rated: Engine, drafted: bool
) -> None:
    book = price_book()
    if drafted:
        make_run(rated, book, APRIL, WHOLE)
    without = price_book(BOOK.replace("code: p2", "code: p3"))
    now = prepared(rated, without)
    assert now.codes == [P1]
    assert "the project 'p2', which the price book no longer has" in now.waiting[0]
    assert states(rated) == {P1: "APPROVING", P2: "ERROR"}
    with reading(rated) as connection:
        standing = charges.read_charges(connection, "MIC")
    bound = {P1: RUN, P2: None}
    assert dict(standing.select("invoice", "run").iter_rows()) == bound
    assert sorted(prepared(rated, book).codes) == [P1, P2]


def test_usage_that_comes_while_a_run_is_open_joins_its_invoices(
    rated: Engine, tmp_path: Path
) -> None:
    book = price_book()
    make_run(rated, book, APRIL, WHOLE)
    more = usage_file(tmp_path, HEADER + "u9,slide,p2,eve,,,2020-04-30,2\n", "more.csv")
    load_files(rated, book, [more], nothing)
    rate_period(rated, book, APRIL)
    make_run(rated, book, APRIL, WHOLE)
    with reading(rated) as connection:
        found = invoices.read_invoices(connection, codes=[P2]).row(0, named=True)
        held = charges.read_charges(connection, "MIC", invoices=[P2])["charge"].to_list()
    assert (found["charges"], found["total"], held) == (2, 1500, ["u3", "u9"])


def test_usage_for_an_invoice_of_another_run_is_in_its_total_at_once(
    rated: Engine, tmp_path: Path
) -> None:
    book = reviewed_by(me(rated))
    make_run(rated, book, APRIL, RunScope(projects=("p1",)))
    late = HEADER + "u9,slide,p1,ann,,,2020-04-20,4\n"
    load_files(rated, book, [usage_file(tmp_path, late, "late.csv")], nothing)
    rate_period(rated, book, APRIL)
    with writing(rated) as connection:  # of all that is left, in a run of its own
        prepare(connection, book, APRIL, WHOLE)
    with reading(rated) as connection:
        found = invoices.read_invoices(connection).select("code", "charges", "total").rows()
    assert found == [(P1, 3, 15333), ("MIC-2020-04-2/p2", 1, 1250)]


def test_a_part_is_issued_while_the_runs_other_charges_have_just_come(
    ledger: Engine, tmp_path: Path
) -> None:
    """The run of the whole month takes in p2's charge, too, which is not lost with p1's issuing."""
    book, (*of_p1, of_p2) = price_book(), USAGE.splitlines(keepends=True)[1:4]
    load_files(ledger, book, [usage_file(tmp_path, HEADER + "".join(of_p1), "p1.csv")], nothing)
    rate_period(ledger, book, APRIL)
    make_run(ledger, book, APRIL, WHOLE)
    load_files(ledger, book, [usage_file(tmp_path, HEADER + of_p2, "p2.csv")], nothing)
    rate_period(ledger, book, APRIL)
    issue_here(ledger, book, APRIL, tmp_path, RunScope(projects=("p1",)))
    with reading(ledger) as connection:
        found = invoices.read_invoices(connection).select("code", "state", "charges", "total")
        assert runs.read_run(connection, RUN).state == "OPEN"
    assert found.sort("code").rows() == [(P1, "APPROVED", 2, 14833), (P2, "OPEN", 1, 1250)]


def test_a_choice_says_what_it_is_for(rated: Engine) -> None:
    book = price_book()
    make_run(rated, book, APRIL, WHOLE)

    def chosen(choice: InvoiceSelection, of: Engine = rated, run: str = RUN) -> list[str]:
        with reading(of) as connection:
            return choice.of(connection, book, run)

    cases: list[tuple[Callable[[], list[str]], str]] = [
        (lambda: chosen(InvoiceSelection()), "no invoice is selected"),
        (lambda: chosen(InvoiceSelection(invoices=("x",))), "invoice x is not of run"),
        (lambda: chosen(InvoiceSelection(states=("void",))), "no invoice of run .* matches"),
    ]
    for call, said in cases:
        with pytest.raises((InvalidAdjustment, NotReady), match=said):
            call()
    assert chosen(InvoiceSelection(everything=True)) == [P1, P2]
    assert chosen(InvoiceSelection(projects=("p2",))) == chosen(
        InvoiceSelection(states=("open",), invoices=(P2,))
    )


def test_approving_all_passes_over_what_does_not_wait_for_the_user(rated: Engine) -> None:
    mine = reviewed_by(me(rated))
    prepared(rated, mine)
    change_invoices(rated, mine, "quarantine", [P2], "disputed")
    with pytest.raises(NotReady, match=f"invoice {P2} is QUARANTINED and does not wait"):
        approve_now(rated, mine, [P1, P2])
    done = approve_now(rated, mine, [P1, P2], passing_over=True)
    assert done.decided == done.codes == [P1]
    assert f"passed over: invoice {P2} in state QUARANTINED" in done.waiting
    again = "nothing here waits for .*approved by all already.*in state QUARANTINED; 'billing run"
    with pytest.raises(NotReady, match=again):
        approve_now(rated, mine, [P1, P2], passing_over=True)


def test_a_selection_keeps_what_waits_for_the_user(rated: Engine) -> None:
    mine = reviewed_by(me(rated), "bob")
    prepared(rated, mine)
    approve_now(rated, mine, [P1])
    with reading(rated) as connection:
        assert InvoiceSelection(waiting_for_me=True).of(connection, mine, RUN) == [P2]
    sentences = change_invoices(rated, mine, "reject", [P1, P2], "look", passing_over=True)
    assert sentences == [
        f"passed over: invoice {P1} waiting for bob",
        f"invoice {P2} is rejected and takes in changes",
    ]
    assert states(rated) == {P1: "APPROVING", P2: "REJECTED"}


def approve_now(
    ledger: Engine, book: PriceBook, codes: list[str], *, passing_over: bool = False
) -> Prepared:
    with writing(ledger) as connection:
        return approve(connection, book, RUN, codes, passing_over=passing_over)


def test_a_cancelled_run_leaves_its_ad_hoc_invoices_unless_told(rated: Engine) -> None:
    book = price_book()
    for reference in ("PO-12", "PO-13"):
        create_ad_hoc(rated, book, reference, Words("p1", "2020-04-06"))
        line = NewLine(None, dt.date(2020, 4, 6), "Course", 7500, None, reference)
        add_charge_line(rated, book, line, "asked for")
    change_invoices(rated, book, "quarantine", ["MIC/PO-13"], "disputed")
    assert sorted(prepared(rated, book).codes) == [P1, P2, "MIC/PO-12"]
    said = cancel(rated, book, RUN, "wrong rates", reopen=True)
    assert said[-3:] == [
        "the ad hoc invoice MIC/PO-12 stays, in no run",
        "the ad hoc invoice MIC/PO-13 stays, in no run",
        f"billing run {RUN} is cancelled",
    ]
    with reading(rated) as connection:
        rows = invoices.read_invoices(connection).select("code", "state", "run", "total").rows()
    assert ("MIC/PO-12", "REJECTED", None, 7500) in rows
    assert ("MIC/PO-13", "QUARANTINED", None, 7500) in rows
    again = prepared(rated, book)
    assert sorted(again.codes) == ["MIC-2020-04-2/p1", "MIC-2020-04-2/p2", "MIC/PO-12"]
    cancel(rated, book, "MIC-2020-04-2", "wrong rates", reopen=False, with_ad_hoc=True)
    assert states(rated)["MIC/PO-12"] == "CLOSED"


def test_an_invoice_is_closed_only_when_its_month_is_over(
    rated: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(rated, price_book())

    class Earlier(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Self:
            return cls(2020, 4, 30, 12, tzinfo=tz)

    monkeypatch.setattr("billing_lib.workflow.approve.dt.datetime", Earlier)
    with pytest.raises(InvalidPeriod, match="the period 2020-04 is not over before 2020-05-01"):
        change_invoices(rated, price_book(), "close", [P1], "a gift")
    assert states(rated)[P1] == "APPROVING"


def test_an_ad_hoc_line_asks_for_a_sign_off_of_its_own_invoice_only(rated: Engine) -> None:
    book = price_book(BOOK.replace("  issue: scheduled\n", ""))
    create_ad_hoc(rated, book, "PO-12", Words("p1", "2020-04-06"))
    line = NewLine(None, dt.date(2020, 4, 6), "Course", 7500, None, "PO-12")
    add_charge_line(rated, book, line, "asked for")
    assert "4 charges, total 235.83 USD" in sign_off(rated, book, "2020-04")
    add_charge_line(rated, book, replace(line, description="Another"), "asked for")
    month = prepared(rated, book)
    assert sorted(month.codes) == [P1, P2]
    assert month.waiting == [
        "the ad hoc invoice MIC/PO-12 is not signed off as it is now; "
        "'billing ready MIC 2020-04' signs it off with its month"
    ]
    own = RunScope(reference="PO-12")
    told = r"MIC/PO-12 was signed off with 1 charge, total 75\.00 USD; it has 2 charges, total 150"
    with pytest.raises(NotReady, match=told), writing(rated) as connection:
        prepare(connection, book, APRIL, own)
    sign_off(rated, book, "2020-04")
    assert sorted(prepared(rated, book).codes) == [P1, P2, "MIC/PO-12"]


def test_a_month_names_the_runs_of_a_part_of_it(rated: Engine) -> None:
    book = price_book()
    make_run(rated, book, APRIL, RunScope(projects=("p1",)))
    month = prepared(rated, book)
    assert month.codes == ["MIC-2020-04-2/p2"]
    passed = (
        f"passed over: billing run {RUN} (project p1) is OPEN; "
        f"'billing run process {RUN}' takes its next step"
    )
    assert month.waiting == [passed]
    set_enabled(rated, book, RUN, enabled=False)
    assert (
        f"passed over: billing run {RUN} (project p1) is DISABLED" in prepared(rated, book).waiting
    )
