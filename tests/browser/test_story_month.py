"""Stories of a month in JupyterLab: the overview, making a run, approving, issuing."""

import re
from collections.abc import Callable

from office_window import APRIL, ME, SLOW, Facility, Lab, button
from playwright.sync_api import Page, expect

from billing_lib.audit.verify import find_record, verify
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.invoices import read_invoices
from billing_lib.pricing.clock import Period
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


def test_the_office_opens_on_the_months_and_a_click_opens_one(
    facility: Make, window: Open, lab: Lab
) -> None:
    facility("HOME", issue="ready")
    page = window("home.ipynb")
    row = page.get_by_role("row", name="HOME")
    expect(row).to_contain_text("IN REVIEW")
    expect(row).to_contain_text("160.83 USD")
    expect(row).to_contain_text("a reviewer's sign-off")
    assert page.locator(".jp-CodeMirrorEditor:visible").count() == 0  # no code is seen
    page.get_by_role("link", name=f"Run HOME {APRIL}").click()
    expect(page.get_by_text("the month waits for a reviewer's sign-off")).to_be_visible()
    assert page.url.endswith(f"/doc/tree/HOME/{APRIL}/run-HOME-{APRIL}.ipynb")


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


def test_an_invoice_is_sent_back_with_a_reason(facility: Make, opened: Open) -> None:
    here = submitted(facility, "BACK")
    page = opened(here, "approve")
    page.get_by_role("row", name="p2").click()
    expect(page.get_by_title("Invoice BACK-2020-04-1/p2")).to_be_visible()
    page.get_by_role("grid", name="invoices").focus()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_title("Invoice BACK-2020-04-1/p1")).to_be_visible()
    button(page, "Reject").click()
    expect(page.get_by_role("alert")).to_contain_text("needs a reason; say why")
    page.get_by_placeholder("A comment").fill("wrong split")
    button(page, "Reject").click()
    said = page.get_by_role("status").filter(has_text="is rejected and takes in changes")
    expect(said).to_be_visible()
    assert states(here) == {"p1": "REJECTED", "p2": "APPROVING"}
    (moved,) = here.events("reject")
    assert (moved["login"], moved["reason"]) == (ME, "wrong split")


def test_a_run_is_issued_and_its_record_is_whole(facility: Make, opened: Open, lab: Lab) -> None:
    here = facility("ISSUE")
    page = opened(here, "run")
    make(page)
    choose(page, PROCESS)
    page.get_by_label("also from changed files").check()
    look(page, "2 invoices, 160.83 USD would be issued")
    button(page, PROCESS).click()
    expect(page.get_by_role("status")).to_contain_text("issued 2 invoices", timeout=2 * SLOW)
    assert states(here) == {"p1": "APPROVED", "p2": "APPROVED"}
    with reading(here.engine) as connection:
        numbers = read_invoices(connection, "ISSUE")["number"].to_list()
    for number in numbers:
        assert verify(find_record(number, lab.runs)) == []


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
    assert verify(find_record(first, lab.runs)) == []
    assert [(event["subject"], event["login"]) for event in here.events("issue")] == [
        (f"STOP-2020-04-1/{project}", ME) for project in ("p1", "p2")
    ]


def issued_numbers(facility: Facility) -> list[str]:
    """The numbers given out, in order."""
    with reading(facility.engine) as connection:
        return read_invoices(connection, facility.code)["number"].drop_nulls().sort().to_list()


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


def test_a_month_without_anything_says_so(facility: Make, opened: Open) -> None:
    page = opened(facility("NONE"), "approve")
    expect(page.get_by_text("This month has no billing run yet")).to_be_visible()
    expect(button(page, "Approve")).to_be_disabled()
