"""The page of a billing run, without a browser: its actions, and what its parts say."""

import datetime as dt
from dataclasses import replace
from html import unescape
from pathlib import Path

import action_forms
import pytest
from sample_facility import BOOK

from billing_lib import Site
from billing_lib.ledger.database import operating_system_login, reading
from billing_lib.ledger.invoices import read_invoices
from billing_lib.panels.run import RunPanel
from billing_lib.pricing.clock import Period
from billing_lib.workflow.adjust import adjust_charge
from billing_lib.workflow.approve import cancel, make_run
from billing_lib.workflow.runs import RunScope

ME = operating_system_login()
RUN = "MIC-2020-04-1"


@pytest.fixture
def here(office: Site, tmp_path: Path) -> Site:
    """The office with a folder of its own, where a person must sign the month off."""
    return with_book(office, tmp_path, BOOK.replace("issue: scheduled", "issue: ready"))


def with_book(office: Site, folder: Path, text: str) -> Site:
    (office.settings.parameters / "microscopy.yml").write_text(text)
    settings = office.settings.model_copy(update={"office": folder / "office"})
    return replace(office, settings=settings)


def said(panel: RunPanel) -> str:
    return unescape(panel.message.widget.value)


def look(panel: RunPanel, action: str, **entries: object) -> str:
    action_forms.look(panel.actions, action, **entries)
    return said(panel)


def go(panel: RunPanel) -> str:
    action_forms.go(panel.actions)
    return said(panel)


def do(panel: RunPanel, action: str, **entries: object) -> str:
    look(panel, action, **entries)
    return go(panel)


def offered(panel: RunPanel) -> list[str]:
    return [key for _, key in panel.actions.action.options]


def states(office: Site) -> set[str]:
    with reading(office.engine) as connection:
        return set(read_invoices(connection)["state"])


def test_a_run_is_shown_before_it_is_made(here: Site) -> None:
    panel = RunPanel("MIC", "2020-04", office=here)
    assert offered(panel) == ["make", "sign_off"]
    assert "There is no billing run" in panel.parts["Invoices"].value
    assert panel.actions.entries["description"].value == "April 2020"
    assert "Nothing is done yet: billing run MIC-2020-04-1 made: 2 invoices" in look(panel, "make")
    assert states(here) == set()
    assert "billing run MIC-2020-04-1 made: 2 invoices" in go(panel)
    assert panel.run.value == RUN
    assert ">148.33<" in panel.parts["Invoices"].value
    assert "160.83 USD" in panel.parts["Statistics"].value
    assert "calculate" in panel.parts["History"].value
    assert ">April 2020<" in panel.parts["Configuration"].value
    assert [fold.heading.title for fold in panel.folds.values()] == [
        "Configuration: OPEN, the whole month",
        f"History: 1 step, the last 'calculate' by {ME}",
        "Statistics: 160.83 USD",
        "Invoices: 2 OPEN",
    ]


def test_a_run_of_some_projects_is_made(here: Site) -> None:
    panel = RunPanel("MIC", "2020-04", office=here)
    assert "a run is of projects or of teams" in look(panel, "make", projects="p1", teams="smith")
    assert "made: 1 invoice" in do(panel, "make", projects="p1", teams="")
    assert panel.folds["Configuration"].heading.title == "Configuration: OPEN, projects: p1"


def test_a_sign_off_shows_what_it_signs(here: Site) -> None:
    panel = RunPanel("MIC", "2020-04", office=here)
    assert "waits for a reviewer's sign-off" in unescape(panel.heading.value)
    shown = look(panel, "sign_off", comment="checked with the labs")
    assert "MIC 2020-04 has 3 charges, total 160.83 USD" in shown
    assert "2 usage records are not billed" in shown
    assert "0 changes by staff; it was not signed off before" in shown
    assert "waits for" in panel.heading.value
    assert "MIC 2020-04 is ready: 3 charges" in go(panel)
    assert "may be issued" in panel.heading.value
    adjust_charge(here.engine, here.book("MIC"), "MIC/u2", {"quantity": "10"}, "two broke")
    assert f"1 change by staff since it was signed off by {ME}" in look(panel, "sign_off")


def test_a_month_that_is_not_over_or_has_errors_is_not_signed_off(
    office: Site, tmp_path: Path
) -> None:
    codes = "  expense_codes: {codes: [{code: A}, {code: B}]}\n  issue: ready\n"
    wrong = with_book(office, tmp_path, BOOK.replace("  issue: scheduled\n", codes))
    panel = RunPanel("MIC", "2020-04", office=wrong)
    assert "findings that must be settled first" in look(panel, "sign_off")
    assert "invalid expense codes" in said(panel)
    now = f"{dt.datetime.now(dt.UTC):%Y-%m}"
    assert f"MIC {now} is not over" in look(RunPanel("MIC", now, office=wrong), "sign_off")


def test_the_actions_fit_the_state_of_the_run(here: Site) -> None:
    panel = RunPanel("MIC", "2020-04", office=here)
    do(panel, "make")
    assert offered(panel) == [
        *("make", "sign_off", "process", "disable", "describe", "cancel", "write")
    ]
    do(panel, "disable")
    assert offered(panel) == ["make", "sign_off", "enable", "describe", "cancel", "write"]
    do(panel, "enable")
    do(panel, "describe", description="second try")
    assert ">second try<" in panel.parts["Configuration"].value
    assert "the cancelling has no reason; say why" in look(panel, "cancel")
    look(panel, "cancel", reason="wrong rates")
    assert "billing run MIC-2020-04-1 is cancelled" in said(panel)
    assert states(here) == {"OPEN"}  # only looked at
    go(panel)
    assert states(here) == {"CLOSED"}
    assert offered(panel) == ["make", "sign_off", "describe"]
    history = panel.parts["History"].value
    for text in ("disable", "enable", "describe", "second try", "CANCELLED", "wrong rates", ME):
        assert text in history, text


def test_a_step_that_cannot_be_taken_is_a_sentence(here: Site) -> None:
    panel = RunPanel("MIC", "2020-04", office=here)
    do(panel, "make")
    assert "MIC 2020-04 is not signed off" in look(panel, "process")
    assert panel.actions.go.disabled
    assert panel.actions.progress.widget.layout.display == "none"
    do(panel, "sign_off")
    assert "2 invoices, 160.83 USD would be issued, dated today" in look(panel, "process")
    assert states(here) == {"OPEN"}


def test_another_persons_work_is_followed_and_asks_for_another_look(here: Site) -> None:
    book = here.book("MIC")
    make_run(here.engine, book, Period(2020, 4), RunScope(), "")
    panel = RunPanel("MIC", "2020-04", office=here)
    look(panel, "cancel", reason="wrong rates")
    panel.refresh()
    assert not panel.actions.go.disabled  # nothing has changed
    assert panel.actions.entries["reason"].value == "wrong rates"
    cancel(here.engine, book, RUN, "theirs", reopen=True)
    panel.refresh()
    assert panel.actions.go.disabled
    assert "theirs" in panel.parts["History"].value


def test_the_files_of_a_run_are_kept(here: Site) -> None:
    panel = RunPanel("MIC", "2020-04", office=here)
    do(panel, "make")
    assert "2 files written" in do(panel, "write")
    (link,) = panel.actions.result.children
    assert 'href="../../../../files/downloads/MIC-2020-04-1.zip?download=1"' in link.value
    assert "2 documents written" in panel.parts["History"].value
