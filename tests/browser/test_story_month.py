"""Stories of a month in JupyterLab: the overview, making a run, approving, issuing."""

import re
from collections.abc import Callable

from office_window import APRIL, ME, SLOW, Facility, Lab, button, wait_until
from playwright.sync_api import Page, expect

from billing_lib.audit.archive import find_record
from billing_lib.audit.verify import verify
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.invoices import read_invoices
from billing_lib.pricing.clock import Period
from billing_lib.workflow.adjust import adjust_charge
from billing_lib.workflow.approve import prepare
from billing_lib.workflow.runs import RunScope

MAKE = "Make or update the invoices"
PROCESS = "Submit, and issue what is approved"
Make = Callable[..., Facility]
Open = Callable[..., Page]


def states(facility: Facility) -> dict[str, str]:
    """Invoice code → state."""
    with reading(facility.engine) as connection:
        found = read_invoices(connection, facility.code)
    return dict(found.select("project", "state").iter_rows())


def submitted(make: Make, code: str, *keys: str) -> Facility:
    """A facility whose two invoices wait for who runs the tests."""
    facility = make(code, f"approval: {{reviewers: [{ME}]}}", *keys)
    with writing(facility.engine) as connection:
        prepare(connection, facility.book, Period(2020, 4), RunScope())
    return facility


def test_a_run_is_made_and_the_month_signed_off(facility: Make, opened: Open) -> None:
    here = facility("MAKE", issue="ready")
    page = opened(here, "run")
    choose(page, "Sign the month off")
    page.get_by_label("Comment").fill("checked with the labs")
    look(page, "MAKE 2020-04 has 3 charges, total 160.83 USD")
    assert here.events("ready") == []
    button(page, "Sign the month off").click()
    expect(page.get_by_role("status")).to_contain_text(f"MAKE {APRIL} is ready: 3 charges")
    (ready,) = here.events("ready")
    assert (ready["login"], ready["reason"]) == (ME, "checked with the labs")
    make(page)
    assert states(here) == {"p1": "OPEN", "p2": "OPEN"}
    page.get_by_role("feed", name="Cells").get_by_text("Statistics: 160.83 USD").click()
    expect(page.get_by_text("The run comes to 160.83 USD")).to_be_visible()


def test_a_run_is_approved_with_the_keyboard(facility: Make, opened: Open) -> None:
    here = submitted(facility, "KEYS")
    page = opened(here, "approve")
    sent: list[str] = []  # comments and clicks keep their order in one thread of the kernel
    page.on("websocket", lambda it: it.on("framesent", lambda frame: sent.append(str(frame))))
    page.get_by_role("row", name="p2").click()
    expect(page.get_by_title("Invoice KEYS-2020-04-1/p2")).to_be_visible()
    page.get_by_role("grid", name="invoices").focus()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_title("Invoice KEYS-2020-04-1/p1")).to_be_visible()
    comment = page.get_by_placeholder("A comment")
    comment.focus()
    page.keyboard.type("as agreed")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    said = page.get_by_role("status").filter(has_text="invoice KEYS-2020-04-1/p1 is approved")
    expect(said).to_be_visible()
    expect(page.get_by_title("Invoice KEYS-2020-04-1/p2")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_text("2 of 2")).to_be_visible()
    seen = [(event["subject"], event["login"], event["reason"]) for event in here.events("approve")]
    assert seen == [
        ("KEYS-2020-04-1/p1", ME, "as agreed"),
        ("KEYS-2020-04-1/p2", ME, ""),
    ]
    assert [frame for frame in sent if "click" in frame] != []
    assert [frame for frame in sent if "create_subshell_request" in frame] == []


def test_three_reviewers_reject_correct_approve_and_issue(
    facility: Make, opened: Open, lab: Lab
) -> None:
    # SQLite knows one login for an account of the machine, so three turns are of one login here;
    # tests/workflow/test_approving.py tells them apart on PostgreSQL.
    here = facility("THREE", f"approval: {{reviewers: [{ME}, {ME}, {ME}]}}")
    with writing(here.engine) as connection:
        prepare(connection, here.book, Period(2020, 4), RunScope())
    pages = [opened(here, "approve") for _ in range(2)]
    for page in pages:
        expect(page.get_by_title("Invoice THREE-2020-04-1/p1")).to_be_visible()
    first, second = pages
    decide_all(first, "Approve", 2)
    button(second, "Reject").click()
    expect(second.get_by_role("alert")).to_contain_text("needs a reason; say why")
    second.get_by_placeholder("A comment").fill("ten slides, not twelve")
    button(second, "Reject").click()
    expect(second.get_by_role("alert")).to_contain_text("somebody has changed it since")
    button(second, "Reject").click()  # the list is read again, and the comment kept
    told(second, f"p1 goes back to {ME}")  # to the first reviewer, who rejects it, too
    second.get_by_role("row", name="p1").click()
    expect(second.get_by_title("Invoice THREE-2020-04-1/p1")).to_be_visible()
    second.get_by_placeholder("A comment").fill("as the second says")
    button(second, "Reject").click()
    told(second, "is rejected and takes in changes")
    adjust_charge(here.engine, here.book, "THREE/u2", {"quantity": "10"}, "two broke")
    second.get_by_label("Show", exact=True).select_option("Rejected")
    button(second, "Recalculate").click()
    told(second, "comes to 145.83")
    assert states(here) == {"p1": "REJECTED", "p2": "APPROVING"}
    run = opened(here, "run")
    choose(run, PROCESS)
    run.get_by_label("also from changed files").check()
    look(run, "nothing would be issued yet")
    button(run, PROCESS).click()
    wait_until(run, lambda: states(here) == {"p1": "APPROVING", "p2": "APPROVING"})
    page = opened(here, "approve")
    decide_all(page, "Approve", 2)
    decide_all(page, "Approve", 2)  # the third approval of p2, which leaves the list
    expect(page.get_by_text("1 invoice, total 145.83 USD")).to_be_visible()
    page.get_by_placeholder("A comment").fill("now it is right")
    button(page, "Approve 1").click()
    told(page, "THREE-2020-04-1/p1 is approved")
    page.get_by_label("Show", exact=True).select_option("Approved by all")
    button(page, "Issue what all have approved").click()
    dirty = page.get_by_label("issue from changed files")
    issued = page.get_by_role("status").filter(has_text="issued 2 invoices")
    expect(dirty.or_(issued).first).to_be_visible(timeout=2 * SLOW)
    if dirty.is_visible():
        dirty.check()
        button(page, "Issue what all have approved").click()
    expect(issued).to_be_visible(timeout=2 * SLOW)
    with reading(here.engine) as connection:
        bills = read_invoices(connection, "THREE").select("project", "state", "total").rows()
    assert bills == [("p1", "APPROVED", 14583), ("p2", "APPROVED", 1250)]
    reasons = [here.events(kind)[0]["reason"] for kind in ("send_back", "reject")]
    assert reasons == ["ten slides, not twelve", "as the second says"]
    assert "now it is right" in [it["reason"] for it in here.events("approve")]
    (number, _) = issued_numbers(here)
    assert verify(find_record(number, lab.runs)).findings == []


def test_issuing_is_stopped_and_leaves_everything_whole(
    facility: Make, opened: Open, lab: Lab
) -> None:
    here = facility("STOP")
    page = opened(here, "run")
    make(page)
    choose(page, PROCESS)
    page.get_by_label("also from changed files").check()
    look(page, "2 invoices, 160.83 USD would be issued")
    button(page, PROCESS).click()
    expect(button(page, "Stop")).to_be_visible()
    button(page, "Stop").click()
    expect(page.get_by_role("alert").filter(has_text="stopped")).to_be_visible()
    expect(button(page, "Stop")).to_be_hidden()
    assert issued_numbers(here) == []
    assert list(lab.runs.glob("STOP/**/bagit.txt")) == []
    look(page, "2 invoices, 160.83 USD would be issued")
    button(page, PROCESS).click()
    expect(page.get_by_role("status")).to_contain_text("issued 2 invoices", timeout=2 * SLOW)
    first, second = issued_numbers(here)
    assert [number.rpartition("-")[2] for number in (first, second)] == ["00001", "00002"]
    assert verify(find_record(first, lab.runs)).findings == []
    assert [(event["subject"], event["login"]) for event in here.events("issue")] == [
        (f"STOP-2020-04-1/{project}", ME) for project in ("p1", "p2")
    ]


def issued_numbers(facility: Facility) -> list[str]:
    """The numbers given out, in order."""
    with reading(facility.engine) as connection:
        return read_invoices(connection, facility.code)["number"].drop_nulls().sort().to_list()


def decide_all(page: Page, action: str, count: int) -> None:
    """Decide on all invoices of the list at once; the comment is empty again when it is done."""
    button(page, "Select all that match").click()
    comment = page.get_by_placeholder("A comment")
    comment.fill("seen")
    button(page, f"{action} {count}").click()
    expect(comment).to_have_value("")


def told(page: Page, sentence: str) -> None:
    """Wait until the page says so."""
    expect(page.get_by_role("status").filter(has_text=sentence).first).to_be_visible()


def choose(page: Page, action: str) -> None:
    """Choose an action of the run page."""
    page.get_by_label("Action", exact=True).select_option(action)


def look(page: Page, touched: str) -> None:
    """Have shown what the chosen action touches."""
    button(page, "Show what it touches").click()
    expect(page.get_by_role("status").filter(has_text=touched)).to_be_visible()


def make(page: Page) -> None:
    """Make the month's invoices."""
    choose(page, MAKE)
    look(page, "Nothing is done yet: billing run")
    button(page, MAKE).click()
    made = page.get_by_role("status").filter(has_text=re.compile(r"^billing run .* made: 2"))
    expect(made).to_be_visible()
