"""The table of invoices over months and facilities, and the actions on a selection."""

import io
import re
import zipfile
from dataclasses import replace
from html import unescape
from pathlib import Path

import action_forms
import polars as pl
import pytest
from html_cells import listed, tell, tick
from sample_facility import BOOK

from billing_lib import Site
from billing_lib.batch.issuing import IssuingTerms, issue_month
from billing_lib.ledger.database import operating_system_login, reading, writing
from billing_lib.ledger.events import read_events
from billing_lib.ledger.invoices import read_invoices
from billing_lib.panels import invoices
from billing_lib.panels.invoices import InvoicesPanel
from billing_lib.pricing.clock import Period
from billing_lib.workflow.approve import make_run, quarantine
from billing_lib.workflow.permissions import grant, revoke
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.runs import RunScope, sign_off

ME = operating_system_login()
P1, P2 = "MIC-2020-04-1/p1", "MIC-2020-04-1/p2"
MAY = "MIC-2020-05-1/p2"


@pytest.fixture
def drafted(office: Site, tmp_path: Path) -> Site:
    """Drafts of April (148.33 and 12.50) and May (5.00), which must be signed off and approved."""
    keys = f"  issue: ready\n  approval: {{reviewers: [{ME}, bob]}}\n"
    text = BOOK.replace("  issue: scheduled\n", keys)
    (office.settings.parameters / "microscopy.yml").write_text(text)
    settings = office.settings.model_copy(
        update={
            "office": tmp_path / "office",
            "store": tmp_path / "store",
            "smtp_host": "localhost",
            "smtp_from": "billing@example.edu",
        }
    )
    here = replace(office, settings=settings)
    rate_period(here.engine, here.book("MIC"), Period(2020, 5))
    for month in (4, 5):
        make_run(here.engine, here.book("MIC"), Period(2020, month), RunScope(), "")
    return here


def said(panel: InvoicesPanel) -> str:
    return unescape(panel.actions.message.widget.value)


def states(office: Site) -> dict[str, str]:
    with reading(office.engine) as connection:
        return dict(read_invoices(connection).select("code", "state").iter_rows())


def look(panel: InvoicesPanel, action: str, **entries: object) -> str:
    action_forms.look(panel.actions, action, **entries)
    return said(panel)


def go(panel: InvoicesPanel) -> str:
    action_forms.go(panel.actions)
    return said(panel)


def below(panel: InvoicesPanel) -> str:
    """What is listed below the buttons."""
    parts = [
        str([row[:] for row in child.opening["rows"]]) if hasattr(child, "opening") else child.value
        for child in panel.actions.result.children
    ]
    return "\n".join(parts)


def files(office: Site) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in (office.settings.office / "downloads").iterdir()
    }


def test_one_table_over_months_with_views_and_filters(drafted: Site) -> None:
    panel = InvoicesPanel(office=drafted)
    assert listed(panel.table) == [MAY, P1, P2]
    assert listed(panel.table, filters={"total": "> 100"}) == [P1]
    assert listed(panel.table, filters={"period": "= 2020-05"}) == [MAY]
    panel.view.value = "past"
    assert listed(panel.table) == [MAY, P1, P2]  # open, and 2020 is over
    panel.view.value = "ready"
    assert listed(panel.table) == []
    panel.view.value = ""
    for name, value, found in (
        ("user", "ann", [P1]),
        ("expense_code", "C", [MAY, P2]),
        ("period_to", "2020-04", [P1, P2]),
        ("team", "smith", [MAY, P1, P2]),
        ("text", "nothing of the kind", []),
    ):
        panel.filters[name].value = value
        assert listed(panel.table) == found, name
        panel.clear_filters()
    panel.filters["period_from"].value = "April"
    assert "April" in panel.message.widget.value


def test_a_form_without_an_entry_and_an_empty_selection_are_sentences(drafted: Site) -> None:
    panel = InvoicesPanel(office=drafted)
    assert "no invoice is selected; tick some in the table" in look(panel, "submit")
    panel.table.tick_matching()
    assert "'Quarantine' needs a reason; say why" in look(panel, "quarantine")
    assert panel.actions.go.disabled


def test_what_can_be_done_is_done_and_the_rest_has_a_reason(drafted: Site) -> None:
    sign_off(drafted.engine, drafted.book("MIC"), "2020-04")
    panel = InvoicesPanel(office=drafted)
    panel.table.tick_matching()
    assert "2 invoices, 160.83 USD would be submitted; 1 cannot" in look(panel, "submit")
    assert "MIC 2020-05 is not signed off" in below(panel)
    assert set(states(drafted).values()) == {"OPEN"}  # nothing is done yet
    assert panel.actions.go.description == "Submit for approval: 2 invoices, 160.83 USD"
    assert "Done. 2 invoices, 160.83 USD submitted." in go(panel)
    assert states(drafted) == {P1: "APPROVING", P2: "APPROVING", MAY: "OPEN"}
    assert listed(panel.table, filters={"waits": ME}) == [P1, P2]
    # The selection stays, and the next action passes over what it is not for.
    assert "2 invoices, 160.83 USD would be approved; 1 cannot" in look(
        panel, "approve", comment="as agreed"
    )
    assert "it is OPEN; 'Approve' is for APPROVING" in below(panel)
    go(panel)
    with reading(drafted.engine) as connection:
        approved = read_events(connection, "MIC", kinds=["approve"])
    assert approved.select("subject", "reason").rows() == [(P1, "as agreed"), (P2, "as agreed")]
    assert "None of them can be approved" in look(panel, "approve")  # it is bob's turn
    assert "waits for bob, not for" in below(panel)


def test_an_invoice_that_changed_after_the_look_is_left_alone(drafted: Site) -> None:
    panel, other = (InvoicesPanel(office=drafted) for _ in range(2))
    for each in (panel, other):
        each.table.tick([f"MIC {P1}", f"MIC {P2}"])
        look(each, "quarantine", reason="ask the lab")
    other.table.tick([f"MIC {P2}"])
    look(other, "quarantine", reason="theirs")
    go(other)
    assert "Done. 1 invoice, 148.33 USD put in quarantine; 1 were refused." in go(panel)
    assert "somebody has changed it since this list was read" in below(panel)
    other.table.tick([f"MIC {P1}"])  # the other page has not seen that it moved, too
    look(other, "quarantine", reason="again")
    assert "it is read again now: look at it and repeat the action" in below(other)
    look(other, "release")
    assert "Nothing is done yet. 1 invoice" in said(other)
    with reading(drafted.engine) as connection:
        moved = read_events(connection, "MIC", kinds=["quarantine"])
    assert moved.select("subject", "reason").rows() == [(P2, "theirs"), (P1, "ask the lab")]


def test_other_peoples_work_comes_in_and_a_look_at_other_invoices_holds(drafted: Site) -> None:
    panel = InvoicesPanel(office=drafted)
    panel.table.tick([f"MIC {P1}"])
    look(panel, "quarantine", reason="disputed")
    with writing(drafted.engine) as connection:
        quarantine(connection, drafted.book("MIC"), [P2], "a test")
    panel.follow_others()
    assert panel.frame.filter(invoice=P2)["state"].to_list() == ["QUARANTINED"]
    assert not panel.actions.go.disabled
    with writing(drafted.engine) as connection:
        quarantine(connection, drafted.book("MIC"), [P1], "by somebody else")
    panel.follow_others()
    assert (panel.table.ticked, panel.actions.go.disabled) == ([f"MIC {P1}"], True)


def test_another_selection_or_entry_asks_for_another_look(drafted: Site) -> None:
    panel = InvoicesPanel(office=drafted)
    panel.table.tick([f"MIC {P1}"])
    look(panel, "close", reason="a test")
    assert not panel.actions.go.disabled
    tick(panel.table, f"MIC {P2}")
    assert panel.actions.go.disabled
    look(panel, "close", reason="a test")
    panel.actions.entries["frees"].value = False
    assert panel.actions.go.disabled
    assert "it was not shown yet" in go(panel)


def test_a_draft_opens_below_with_lines_prices_and_history(drafted: Site) -> None:
    panel = InvoicesPanel(office=drafted)
    panel.table.tick([f"MIC {P1}"])
    look(panel, "quarantine", reason="ask the lab")
    go(panel)
    tell(panel.table, {"kind": "action", "name": f"MIC {P1}"})
    assert "DRAFT: not issued" in panel.viewer.page.value
    assert "148.33" in panel.viewer.page.value
    panel.viewer.explain(0)
    assert "3.333333 hour × 40.00 = 133.33" in panel.viewer.price.value.replace(
        "× 40 =", "× 40.00 ="
    )
    assert "ask the lab" in panel.viewer.history.value
    panel.viewer.write.click()
    assert {name.rpartition(".")[2] for name in files(drafted)} == {"pdf", "xlsx"}


def test_columns_are_chosen_and_the_list_is_kept(drafted: Site) -> None:
    panel = InvoicesPanel(office=drafted)
    listed(panel.table, filters={"period": "= 2020-04"}, sort=[("total", False)])
    panel.table.tick([f"MIC {P1}"])
    for name, box in panel.columns.items():
        box.value = name in ("name", "period", "total", "run")
    assert [column.name for column in panel.table.columns] == ["name", "period", "total", "run"]
    assert panel.table.ticked == [f"MIC {P1}"]
    for suffix, saving in panel.save.items():
        saving.click()
        panel.progress.wait()
        (content,) = (kept for name, kept in files(drafted).items() if name.endswith(suffix))
        file = io.BytesIO(content)
        rows = pl.read_csv(file) if suffix == "csv" else pl.read_excel(file, engine="openpyxl")
        assert rows.columns == ["Invoice", "Month", "Total", "Billing run"]
        assert rows.select("Invoice", "Total").rows() == [(P2, 12.5), (P1, 148.33)]
    for box in panel.columns.values():
        box.value = False
    assert "a table needs a column" in panel.message.widget.value


def test_issued_invoices_are_written_packed_posted_paid_and_credited(drafted: Site) -> None:
    text = BOOK.replace("  issue: scheduled\n", "  issue: ready\n")
    (drafted.settings.parameters / "microscopy.yml").write_text(text)
    templates = drafted.settings.parameters / "microscopy" / "templates"
    templates.mkdir(parents=True)
    listing = "{# for: run #}{% for it in invoices %}{{ it.number }} {% endfor %}"
    (templates / "list.csv.j2").write_text(listing)
    book = drafted.book("MIC")
    sign_off(drafted.engine, book, "2020-04")
    terms = IssuingTerms("2020-05-04", allow_dirty=True)
    issued = issue_month(drafted.engine, drafted.settings, book, Period(2020, 4), terms=terms)
    first, second = issued.numbers
    panel = InvoicesPanel(office=drafted)
    panel.table.tick_matching()

    tell(panel.table, {"kind": "action", "name": f"MIC {P1}"})
    sent = (issued.record / "data" / "documents" / f"{first}.html").read_text()
    assert re.findall(r"<title>(.*?)</title>", sent)[0] in panel.viewer.page.value
    assert f"{first}.pdf" in panel.viewer.files.children[0].value

    assert "3 invoices, 165.83 USD would be written" in look(panel, "write", formats="pdf")
    go(panel)
    (packed,) = (kept for name, kept in files(drafted).items() if name.startswith("invoices-"))
    names = zipfile.ZipFile(io.BytesIO(packed)).namelist()
    assert names == [f"MIC/{name}.pdf" for name in (first, second, "MIC-2020-05-1_p2")]
    assert "1 cannot" in look(panel, "write", formats="xml")
    assert "drafts are written as PDF, XLSX or HTML" in below(panel)

    assert "2 invoices, 160.83 USD would be packaged; 1 cannot" in look(panel, "package")
    go(panel)
    assert "valid until" in below(panel)
    assert any(name.startswith("package-") for name in files(drafted))

    assert "1 cannot" in look(panel, "deliver")
    assert "MIC 2020-04: 2 messages, new or waiting" in below(panel)
    assert "messages.zip" in files(drafted)
    go(panel)
    assert "MIC 2020-04: 2 messages queued" in below(panel)

    look(panel, "transform", template="list.csv")
    go(panel)
    assert files(drafted)["MIC-2020-04-1-list.csv"] == f"{first} {second} ".encode()

    look(panel, "journal")
    assert "not posted: 2 transactions, 160.83 USD debited" in below(panel)
    assert "2 invoices, 160.83 USD posted" in go(panel)
    assert "None of them can be posted" in look(panel, "journal")
    assert "all its entries are posted" in below(panel)

    look(panel, "credit", amount="20.00", reason="overcharged", date=dt_day("2020-05-20"))
    assert "the total of invoice" in below(panel)  # the second comes to 12.50 only
    assert "Done. 1 invoice, 148.33 USD credited" in go(panel)

    assert "2 invoices, 160.83 USD would be marked as paid; 1 cannot" in look(
        panel, "pay", date=dt_day("2020-06-01"), reference="WIRE 1"
    )
    go(panel)
    assert {*states(drafted).values()} == {"PAID", "OPEN"}
    assert listed(panel.table, filters={"state": "= PAID"}) == [first, second]
    look(panel, "unpay", reason="another's money")
    go(panel)
    panel.table.tick([f"MIC {P2}"])
    look(panel, "void", reason="not theirs", frees=False)
    assert "its charges stay with it" in below(panel)
    go(panel)
    assert states(drafted)[P2] == "VOID"


def test_a_viewer_sees_and_changes_nothing(drafted: Site) -> None:
    book = drafted.book("MIC")
    for login, role in ((ME, "viewer"), ("somebody", "administrator")):
        grant(drafted.engine, book, login, role)
    revoke(drafted.engine, book, ME, "administrator")
    panel = InvoicesPanel(office=drafted)
    assert listed(panel.table) == [MAY, P1, P2]
    panel.table.tick_matching()
    assert "None of them can be put in quarantine" in look(panel, "quarantine", reason="mine")
    assert f"{ME} may not do this in MIC: it takes the role reviewer" in below(panel)
    assert set(states(drafted).values()) == {"OPEN"}


def dt_day(text: str) -> object:
    """A day as a date entry holds it."""
    return pl.Series([text]).str.to_date()[0]


def test_of_fifty_thousand_invoices_a_page_is_shown_and_all_matching_are_selected(
    drafted: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 50_000
    real = invoices.find(drafted.engine, invoices.Filter())
    first = real.rows.head(1)
    many = pl.concat([first] * count).with_columns(
        invoice=pl.format("run-{}/p", pl.int_range(pl.len())),
        total=pl.int_range(pl.len(), dtype=pl.Int64),
        project=pl.format("p{}", pl.int_range(pl.len()) % 700),
    )

    def made_up(*_: object) -> object:
        return replace(real, rows=many)

    monkeypatch.setattr(invoices, "find", made_up)
    panel = InvoicesPanel(office=drafted)
    assert len(listed(panel.table)) == 100
    found = listed(panel.table, search="p69", filters={"total": "> 100"}, sort=[("total", True)])
    assert found[0] == "run-49769/p"
    panel.table.tick_matching()
    rows = panel.selected()
    # Of p69 and p690 to p699, 72 and 710 invoices, those above 100.00, the 10,001st and later.
    assert rows.height == (72 - 15) + (710 - 140)
