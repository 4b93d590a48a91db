"""The page "After issue": each part with its table and its actions, without a browser."""

import datetime as dt
from dataclasses import replace
from html import unescape
from pathlib import Path

import action_forms
import pytest
from html_cells import listed

from billing_lib import Site
from billing_lib.batch.issuing import IssuingTerms, issue_month
from billing_lib.delivery.queue import queue_invoices
from billing_lib.exports.packages import make_package
from billing_lib.ledger.database import operating_system_login
from billing_lib.panels.after import PARTS, AfterPanel
from billing_lib.pricing.clock import Period
from billing_lib.workflow.after_issue import deposit, list_funds
from billing_lib.workflow.permissions import grant, revoke
from billing_lib.workflow.search import ExportSelection
from billing_lib.workflow.statements import list_statements

APRIL, ME = Period(2020, 4), operating_system_login()


@pytest.fixture
def here(office: Site, tmp_path: Path) -> Site:
    """The office with folders of its own."""
    folders = {"office": tmp_path / "office", "store": tmp_path / "store"}
    mail = {"smtp_host": "localhost", "smtp_from": "billing@example.edu"}
    return replace(office, settings=office.settings.model_copy(update=folders | mail))


def look(panel: AfterPanel, action: str, **entries: object) -> str:
    action_forms.look(panel.form, action, **entries)
    return unescape(panel.message.widget.value)


def go(panel: AfterPanel) -> str:
    action_forms.go(panel.form)
    return unescape(panel.message.widget.value)


def files(office: Site) -> set[str]:
    return {path.name for path in (office.settings.office / "downloads").iterdir()}


def test_every_part_opens_without_anything_in_it(here: Site) -> None:
    panel = AfterPanel(month="2020-04", office=here)
    for part in PARTS:
        panel.part.value = part
        assert 'role="alert"' not in panel.message.widget.value, part
        assert [key for _, key in panel.form.action.options] == list(PARTS[part].actions)
    panel.part.value = "Statements"
    assert "no row is ticked" in look(panel, "pay", date=dt.date(2020, 6, 1), reference="WIRE 1")
    panel.month.value = "April"
    assert "April" in panel.message.widget.value


def test_funds_are_paid_in_after_a_look(here: Site) -> None:
    panel = AfterPanel("Prepaid funds", office=here)
    assert "'Amount' has no entry; fill it in" in look(panel, "deposit", project="p1", reason="PO")
    assert "the prepaid balance is 100.00 USD" in look(panel, "deposit", amount="100.00")
    assert list_funds(here.engine, here.book("MIC")).height == 0
    assert "Done: MIC, project p1: the prepaid balance is 100.00 USD" in go(panel)
    assert listed(panel.table) == ["p1"]


def test_texts_get_versions_and_addresses_their_wishes(here: Site) -> None:
    panel = AfterPanel("Instructions and contacts", office=here)
    look(panel, "write", text="Pay by internal transfer.", reason="new ledger")
    assert "version 2 of the instructions" in go(panel)
    assert listed(panel.table, filters={"text": "transfer"}) == ["instructions"]
    panel.part.value = "Mail preferences"
    panel.table.tick(["smith admin@example.edu"])
    look(panel, "prefer", invoices="digest")
    assert "admin@example.edu receives all invoices in one message" in go(panel)
    assert listed(panel.table, filters={"invoices": "digest"}) == ["smith"]


def test_statements_packages_and_journals_of_an_issued_month(here: Site) -> None:
    book = here.book("MIC")
    terms = IssuingTerms("2020-05-04", allow_dirty=True)
    issue_month(here.engine, here.settings, book, APRIL, terms=terms)
    panel = AfterPanel(month="2020-04", office=here)
    look(panel, "update")
    assert listed(panel.table) == []
    go(panel)
    assert listed(panel.table) == ["smith-2020-04"]
    panel.table.tick(["smith-2020-04"])
    look(panel, "write")
    go(panel)
    assert files(here) == {f"smith-2020-04.{suffix}" for suffix in ("pdf", "xlsx", "json")}
    assert "1 message, new or waiting" in look(panel, "deliver")
    assert "1 message queued" in go(panel)
    panel.table.tick(["smith-2020-04"])
    look(panel, "pay", date=dt.date(2020, 6, 1), reference="WIRE 1")
    assert list_statements(here.engine, "2020-04")["state"].to_list() == ["OPEN"]
    assert "statement smith-2020-04 is paid: 2 invoices, total 160.83 USD" in go(panel)
    assert listed(panel.table, filters={"state": "= PAID"}) == ["smith-2020-04"]

    panel.part.value = "Journals"
    assert "2 transactions, 160.83 USD debited" in look(panel, "post")
    go(panel)
    panel.table.tick(["1"])
    look(panel, "get", ledger="beancount")
    assert "MIC-journal-1.beancount" in files(here)
    assert "there is nothing to post" in look(panel, "post")

    export = ExportSelection(everything=True)
    made = make_package(here.engine, here.settings, {"MIC": book}, export, ["pdf"])
    panel.part.value = "Packages"
    assert listed(panel.table, filters={"state": "valid"}) == [made.id]
    panel.table.tick([made.id])
    look(panel, "get")
    assert f"package-{made.id}.zip" in files(here)
    look(panel, "delete", reason="wrong lab")
    assert listed(panel.table) == [made.id]
    go(panel)
    assert listed(panel.table) == []


def test_roles_are_given_and_taken(here: Site) -> None:
    panel = AfterPanel("Roles", office=here)
    assert listed(panel.table) == [ME]  # of the facility's maker
    someone = "ann smith"  # PostgreSQL lets a login have spaces
    look(panel, "grant", login=someone, role="reviewer", reason="new")
    go(panel)
    panel.table.tick([f"{someone} reviewer "])
    look(panel, "revoke", reason="left")
    assert listed(panel.table, filters={"login": someone}) == [someone]
    assert f"{someone} is no reviewer any more" in go(panel)
    assert listed(panel.table, filters={"login": someone}) == []
    assert "the price book has no team" in look(
        panel, "grant", login="lab", role="lab_administrator", team="nobody", reason="asked"
    )


def test_messages_are_looked_at_and_withdrawn(here: Site) -> None:
    book = here.book("MIC")
    terms = IssuingTerms("2020-05-04", allow_dirty=True)
    issue_month(here.engine, here.settings, book, APRIL, terms=terms)
    queue_invoices(here.engine, here.settings, book, APRIL)
    panel = AfterPanel("Messages", office=here)
    (message, *_) = ticked = listed(panel.table)
    assert f"{len(ticked)} messages of MIC wait" in look(panel, "deliver")
    panel.table.tick([message])
    assert "is CANCELLED" in look(panel, "withdraw", reason="wrong address")
    assert message in listed(panel.table)
    assert "is CANCELLED" in go(panel)
    assert message not in listed(panel.table)


def test_a_site_without_a_facility_says_so(here: Site) -> None:
    (here.settings.parameters / "microscopy.yml").unlink()
    panel = AfterPanel("Journals", office=here)
    assert "there is no facility yet" in panel.message.widget.value


def test_other_peoples_work_comes_into_the_table(here: Site) -> None:
    panel = AfterPanel("Prepaid funds", office=here)
    deposit(here.engine, here.book("MIC"), "p1", "100.00", "PO 1")
    panel.follow_others()
    assert listed(panel.table) == ["p1"]
    look(panel, "deposit", project="p2", amount="5.00", reason="PO 2")
    panel.follow_others()  # nothing has changed, so the look holds
    assert not panel.form.go.disabled
    panel.part.value = "Roles"
    grant(here.engine, here.book("MIC"), ME, "administrator")
    grant(here.engine, here.book("MIC"), "ann", "viewer")
    panel.follow_others()
    panel.table.tick(["ann viewer "])
    look(panel, "revoke", reason="left")
    grant(here.engine, here.book("MIC"), "eve", "viewer")
    panel.follow_others()
    assert listed(panel.table, filters={"login": "eve"}) == ["eve"]
    assert (panel.table.ticked, panel.form.go.disabled) == (["ann viewer "], False)
    revoke(here.engine, here.book("MIC"), "ann", "viewer")
    panel.follow_others()
    assert (panel.table.ticked, panel.form.go.disabled) == ([], True)
