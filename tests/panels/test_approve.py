"""Approving one by one, as the notebook's panel does it, without a browser."""

from dataclasses import replace
from pathlib import Path

import pytest
from html_cells import listed, tell
from sample_facility import BOOK

from billing_lib import Site
from billing_lib.ledger.charges import read_charges
from billing_lib.ledger.database import operating_system_login, reading, writing
from billing_lib.ledger.events import read_events
from billing_lib.ledger.invoices import read_invoices
from billing_lib.panels.run import ApprovePanel
from billing_lib.pricing.clock import Period
from billing_lib.workflow.approve import make_run, prepare
from billing_lib.workflow.runs import RunScope

ME = operating_system_login()
P1, P2 = "MIC-2020-04-1/p1", "MIC-2020-04-1/p2"


@pytest.fixture
def reviewed(office: Site, tmp_path: Path) -> Site:
    """The month's two invoices wait for who runs the tests."""
    approval = f"  approval: {{reviewers: [{operating_system_login()}]}}\n"
    text = BOOK.replace("  issue: scheduled\n", f"  issue: scheduled\n{approval}")
    (office.settings.parameters / "microscopy.yml").write_text(text)
    with writing(office.engine) as connection:
        prepare(connection, office.book("MIC"), Period(2020, 4), RunScope())
    here = office.settings.model_copy(update={"office": tmp_path / "office"})
    return replace(office, settings=here)


def states(office: Site) -> dict[str, str]:
    with reading(office.engine) as connection:
        return dict(read_invoices(connection).select("code", "state").iter_rows())


def shown(panel: ApprovePanel) -> list[str]:
    return panel.table.matching()["code"].to_list()


def test_the_invoice_is_shown_as_it_will_be_sent(reviewed: Site) -> None:
    panel = ApprovePanel("MIC", "2020-04", office=reviewed)
    assert shown(panel) == [P1, P2]
    assert listed(panel.table, filters={"total": "< 100", "waits": ME}) == ["p2"]
    assert listed(panel.table) == ["p1", "p2"]
    assert panel.code == P1
    assert "DRAFT: not issued" in panel.page.value
    assert "148.33" in panel.page.value
    tell(panel.table, {"kind": "action", "name": P2})  # as going to its row does
    assert panel.code == P2
    assert "12.50" in panel.page.value
    assert 'sandbox=""' in panel.page.value


def test_where_nothing_waits_it_opens_on_what_there_is(office: Site) -> None:
    make_run(office.engine, office.book("MIC"), Period(2020, 4), RunScope(), "")
    panel = ApprovePanel("MIC", "2020-04", office=office)
    assert panel.show.value == "Drafts"
    assert shown(panel) == [P1, P2]
    assert panel.buttons["Approve"].disabled


def test_approving_leads_to_the_next_one_and_keeps_the_comment(reviewed: Site) -> None:
    panel = ApprovePanel("MIC", "2020-04", office=reviewed)
    panel.comment.value = "as agreed"
    panel.buttons["Approve"].click()
    assert panel.message.widget.value == f'<span role="status">invoice {P1} is approved</span>'
    assert (shown(panel), panel.code) == ([P2], P2)
    assert "<b>1 of 2</b>" in panel.said.value
    assert not panel.issue.disabled
    with reading(reviewed.engine) as connection:
        event = read_events(connection, "MIC", kinds=["approve"]).row(0, named=True)
    assert (event["subject"], event["reason"]) == (P1, "as agreed")
    panel.show.value = "Approved by all"
    assert shown(panel) == [P1]


def test_rejecting_needs_a_reason(reviewed: Site) -> None:
    panel = ApprovePanel("MIC", "2020-04", office=reviewed)
    panel.buttons["Reject"].click()
    assert "needs a reason; say why" in panel.message.widget.value
    assert states(reviewed)[P1] == "APPROVING"
    panel.comment.value = "wrong split"
    panel.buttons["Reject"].click()
    assert states(reviewed) == {P1: "REJECTED", P2: "APPROVING"}
    panel.show.value = "Rejected"
    assert shown(panel) == [P1]
    assert panel.buttons["Approve"].disabled


def test_quarantine_and_release(reviewed: Site) -> None:
    panel = ApprovePanel("MIC", "2020-04", office=reviewed)
    panel.comment.value = "ask the lab"
    panel.buttons["Quarantine"].click()
    panel.show.value = "In quarantine"
    assert shown(panel) == [P1]
    panel.buttons["Release"].click()
    assert states(reviewed)[P1] == "OPEN"
    assert "Nothing is left here" in panel.page.value


@pytest.mark.parametrize(("frees", "held"), [(True, None), (False, P1)])
def test_closing_frees_the_charges_or_keeps_them(
    reviewed: Site, frees: bool, held: str | None
) -> None:
    panel = ApprovePanel("MIC", "2020-04", office=reviewed)
    panel.keep.value = frees
    panel.comment.value = "a test"
    panel.buttons["Close"].click()
    assert states(reviewed)[P1] == "CLOSED"
    with reading(reviewed.engine) as connection:
        found = read_charges(connection, "MIC", period="2020-04")
    assert found.filter(project="p1")["invoice"].unique().to_list() == [held]


def test_several_are_decided_at_once_and_names_are_shown(reviewed: Site) -> None:
    path = reviewed.settings.parameters / "microscopy.yml"
    path.write_text(path.read_text().replace("- code: p1", "- code: p1\n    name: Cells"))
    panel = ApprovePanel("MIC", "2020-04", office=reviewed)
    assert listed(panel.table, filters={"name": "cells", "team": "smith"}) == ["p1"]
    panel.table.tick([P1, P2])
    assert panel.buttons["Approve"].description == "Approve 2"
    panel.comment.value = "as agreed"
    panel.buttons["Approve"].click()
    panel.progress.wait()
    assert "2 invoices, 160.83 USD: invoice MIC-2020-04-1/p1 is" in panel.message.widget.value
    assert "<b>2 of 2</b>" in panel.said.value
    assert panel.buttons["Approve"].description == "Approve"


def test_keys_decide_and_a_rejection_needs_its_reason(reviewed: Site) -> None:
    panel = ApprovePanel("MIC", "2020-04", office=reviewed)
    tell(panel.table, {"kind": "key", "key": "r"})  # leads to the entry for the reason
    assert states(reviewed)[P1] == "APPROVING"
    panel.comment.value = "wrong split"
    tell(panel.table, {"kind": "key", "key": "r"})
    assert states(reviewed) == {P1: "REJECTED", P2: "APPROVING"}
    tell(panel.table, {"kind": "key", "key": "a"})
    panel.show.value = "Rejected"
    assert f"<b>Reject</b> by {ME}" in panel.history.value
    assert "wrong split" in panel.history.value
    panel.buttons["Recalculate"].click()
    assert f"invoice {P1} comes to 148.33, as before" in panel.message.widget.value
    assert panel.buttons["Release"].tooltip == "For: In quarantine"


def test_another_reviewers_turn_is_a_sentence(reviewed: Site) -> None:
    path = reviewed.settings.parameters / "microscopy.yml"
    path.write_text(path.read_text().replace(operating_system_login(), "somebody-else"))
    panel = ApprovePanel("MIC", "2020-04", office=reviewed)
    panel.buttons["Approve"].click()
    assert "waits for somebody-else, not for" in panel.message.widget.value


def test_other_reviewers_decisions_come_in_and_a_comment_stays(reviewed: Site) -> None:
    panel = ApprovePanel("MIC", "2020-04", office=reviewed)
    panel.comment.value = "half a sen"
    page = panel.page.value
    panel.follow_others()
    assert panel.page.value is page
    other = ApprovePanel("MIC", "2020-04", office=reviewed)
    other.choose(P1)
    other.decide("approve")
    panel.follow_others()
    assert (shown(panel), panel.code, panel.comment.value) == ([P2], P2, "half a sen")


def test_without_a_run_it_says_so(office: Site) -> None:
    panel = ApprovePanel("MIC", "2020-05", office=office)
    assert "no billing run yet" in panel.said.value
    assert all(button.disabled for button in panel.buttons.values())
