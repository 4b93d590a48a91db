"""What a lab sees: its listing, its issued invoices with their files, its statements."""

import json
import re
from base64 import b64decode
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from sample_facility import BOOK, price_book
from sample_issuing import issue_here
from sample_logins import hand_over

from billing_lib import Site
from billing_lib.batch.issuing import IssuingTerms, issue_month
from billing_lib.documents.html import render_listing
from billing_lib.exports.packages import make_package
from billing_lib.panels.lab import InvoicePanel, LabChooser, ListingPanel, StatementPanel
from billing_lib.panels.office import Message
from billing_lib.pricing.clock import Period
from billing_lib.workflow.listing import read_listing
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.search import ExportSelection, Filter
from billing_lib.workflow.statements import generate_statements, pay_statement

APRIL = Period(2020, 4)
JONES = "{code: jones, name: Jones Lab, administrators: [jo@example.edu]}"
TWO_LABS = BOOK.replace("teams: [", f"teams: [{JONES}, ").replace(
    "{code: p2, team: smith", "{code: p2, team: jones"
)


def cells(html: str) -> list[list[str]]:
    """The texts of a table's rows."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    found = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [row for row in found if row]


def kept(html: str) -> dict[str, bytes]:
    """The files behind links, by name."""
    found = re.findall(r'download="([^"]+)" href="data:[^;]+;base64,([^"]+)"', html)
    return {name: b64decode(content) for name, content in found}


@pytest.fixture
def two_labs(office: Site) -> Site:
    """p1 is smith's, p2 is jones's; who runs the tests is lab administrator of jones only."""
    (office.settings.parameters / "microscopy.yml").write_text(TWO_LABS)
    rate_period(office.engine, price_book(TWO_LABS), APRIL, again=True)
    return office


def as_jones(office: Site) -> None:
    hand_over(office.engine, "MIC", ("lab_administrator", "jones"))


def issue(office: Site, folder: Path) -> None:
    """Issue April, its documents where an audit record has them."""
    issue_here(office.engine, office.book("MIC"), APRIL, folder, runs=office.settings.runs)


def test_a_listing_is_the_very_page(office: Site) -> None:
    panel = ListingPanel("smith", "2020-04", office=office)
    (framed,) = re.findall(r'srcdoc="([^"]*)"></iframe>', panel.page.value, re.DOTALL)
    books = {"MIC": office.book("MIC")}
    assert unescape(framed) == render_listing(
        read_listing(office.engine, books, "smith", "2020-04", "MIC")
    )
    assert "MIC/u1" in framed


def test_the_first_lab_and_its_newest_month_are_shown(two_labs: Site) -> None:
    rate_period(two_labs.engine, two_labs.book("MIC"), Period(2020, 5))
    panel = ListingPanel(office=two_labs)
    assert (panel.chooser.team.value, panel.chooser.period.value) == ("jones", "2020-05")
    panel.chooser.period.value = "2020-04"
    assert "MIC/u3" in panel.page.value
    panel.chooser.team.value = "smith"
    assert panel.chooser.period.value == "2020-04"
    assert "MIC/u1" in panel.page.value
    assert "MIC/u3" not in panel.page.value


def test_a_lab_is_offered_its_own_only(two_labs: Site, tmp_path: Path) -> None:
    issue(two_labs, tmp_path)
    as_jones(two_labs)
    seen: list[tuple[str, str]] = []
    message = Message()
    chooser = LabChooser(two_labs, "smith", "", lambda *chosen: seen.append(chosen), message)
    assert [code for _, code in chooser.team.options] == ["jones"]
    assert seen == [("jones", "2020-04")]
    panel = InvoicePanel("smith", "2020-04", office=two_labs)
    assert [number for _, number in panel.number.options] == ["MIC-2021-00002"]
    assert "MIC-2021-00001" not in panel.page.value


def test_the_first_page_has_links_to_all_that_a_lab_may_see(
    two_labs: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue(two_labs, tmp_path)
    generate_statements(two_labs.engine, {"MIC": two_labs.book("MIC")}, APRIL)
    as_jones(two_labs)
    assert "href" not in ListingPanel(office=two_labs).all.value  # the office has its bar
    monkeypatch.setenv("SERVER_SOFTWARE", "voila/0.5")
    panel = ListingPanel(office=two_labs)
    (row,) = cells(panel.all.value)
    assert [re.sub("<[^>]*>", "", cell) for cell in row] == [
        *("Jones Lab (jones)", "2020-04", "1 invoice", "1 statement")
    ]
    links = re.findall('href="([^"]*)"', panel.chooser.links.value)
    asked = "team=jones&amp;period=2020-04"
    assert links == [f"{page}.ipynb?{asked}" for page in ("listing", "invoice", "statement")]
    monkeypatch.setenv("QUERY_STRING", unescape(asked))
    assert InvoicePanel(office=two_labs).number.value == "MIC-2021-00002"


def test_a_lab_gets_its_packages_and_its_notices(two_labs: Site, tmp_path: Path) -> None:
    settings = two_labs.settings.model_copy(update={"store": tmp_path / "store"})
    here, books = replace(two_labs, settings=settings), {"MIC": two_labs.book("MIC")}
    terms = IssuingTerms("2020-05-04", allow_dirty=True)
    issue_month(here.engine, settings, books["MIC"], APRIL, terms=terms)
    ours, all_ = (
        make_package(here.engine, settings, books, selection, ["json"])
        for selection in (
            ExportSelection(Filter.parse({"team": "jones"})),
            ExportSelection(everything=True),
        )
    )
    as_jones(here)
    panel = ListingPanel(office=here)
    (row,) = panel.packages.rows.children
    assert row.children[0].description == f"Get {ours.id}"
    assert f"1 file, json, valid until {ours.valid_until}" in row.children[1].value
    row.children[0].click()
    assert f'download="package-{ours.id}.zip"' in panel.packages.link.value
    panel.packages.get(all_.id)  # another lab's invoice is in it
    assert 'role="alert"' in panel.packages.message.widget.value
    assert f"Package {ours.id}" in str(panel.notices.html())


def test_a_lab_chooses_how_it_is_told_by_mail(two_labs: Site) -> None:
    as_jones(two_labs)
    panel = ListingPanel(office=two_labs)
    (row,) = panel.preferences.rows.children
    assert (row.children[0].description, row.children[0].value) == ("jo@example.edu", "")
    row.children[0].value = "none"
    assert "receives no invoice of jones" in panel.preferences.message.widget.value
    (row,) = ListingPanel(office=two_labs).preferences.rows.children
    assert (row.children[0].value, len(row.children[0].options)) == ("none", 3)


def test_who_may_see_no_lab_is_told_so(two_labs: Site) -> None:
    hand_over(two_labs.engine, "MIC")
    panel = ListingPanel(office=two_labs)
    assert "no lab's month that you may see" in unescape(panel.message.widget.value)
    assert panel.page.value == ""


def test_an_invoice_is_shown_as_sent_with_its_files(office: Site, tmp_path: Path) -> None:
    panel = InvoicePanel("smith", "2020-04", office=office)
    assert "Nothing of this month is issued yet" in panel.message.widget.value
    issue(office, tmp_path)
    panel = InvoicePanel("smith", "2020-04", office=office)
    assert panel.number.value == "MIC-2021-00001"
    assert "148.33" in panel.page.value
    links = kept(panel.files.value)
    documents = office.settings.runs / "MIC" / "2020-04" / "MIC-2020-04-1" / "data" / "documents"
    assert list(links) == [f"MIC-2021-00001.{kind}" for kind in ("pdf", "xlsx", "xml", "html")]
    for name, content in links.items():
        assert content == (documents / name).read_bytes()
    panel.number.value = "MIC-2021-00002"
    assert "12.50" in panel.page.value


def test_a_statement_is_shown_with_its_invoices_and_rules(office: Site, tmp_path: Path) -> None:
    panel = StatementPanel("smith", "2020-04", office)
    assert "There is no statement of 2020-04" in panel.message.widget.value
    rule = '{name: courtesy, scope: statement, kind: discount, amount: "3.00"}'
    path = office.settings.parameters / "microscopy.yml"
    path.write_text(BOOK + f"\nrules: [{rule}]\n")
    book = office.book("MIC")
    rate_period(office.engine, book, APRIL, again=True)
    issue(office, tmp_path)
    generate_statements(office.engine, {"MIC": book}, APRIL)
    pay_statement(office.engine, "smith-2020-04", "2021-02-01", "<b>WIRE</b>")
    panel = StatementPanel("smith", "2020-04", office)
    assert "PAID on 2021-02-01, reference &lt;b&gt;WIRE" in panel.page.value
    assert "160.83 and by rules -3.00, total <b>157.83 USD</b>" in panel.page.value
    assert cells(panel.totals().data) == [
        ["smith-2020-04", "Microscopy", "160.83", "-3.00", "157.83"]
    ]
    assert [row[1:3] + row[-2:] for row in cells(panel.invoices().data)] == [
        ["MIC-2021-00001", "p1", "PAID", "148.33"],
        ["MIC-2021-00002", "p2", "PAID", "12.50"],
    ]
    assert cells(panel.adjustments().data) == [
        ["smith-2020-04", "Microscopy", "courtesy", "discount", "-3.00"]
    ]
    files = kept(panel.files.value)
    assert list(files) == [f"smith-2020-04.{kind}" for kind in ("pdf", "xlsx", "json")]
    assert files["smith-2020-04.pdf"].startswith(b"%PDF-")
    assert json.loads(files["smith-2020-04.json"])["totals"]["total"] == "157.83"


def test_the_newest_month_with_a_statement_or_invoice_is_shown(
    office: Site, tmp_path: Path
) -> None:
    rate_period(office.engine, office.book("MIC"), Period(2020, 5))
    assert StatementPanel(office=office).chooser.period.value == "2020-05"
    issue(office, tmp_path)
    generate_statements(office.engine, {"MIC": office.book("MIC")}, APRIL)
    assert StatementPanel(office=office).chooser.period.value == "2020-04"
    assert InvoicePanel(office=office).chooser.period.value == "2020-04"
    assert ListingPanel(office=office).chooser.period.value == "2020-05"
    assert StatementPanel(period="2020-05", office=office).chooser.period.value == "2020-05"


def test_files_that_the_archive_lacks_are_missed_in_a_sentence(
    office: Site, tmp_path: Path
) -> None:
    issue_here(office.engine, office.book("MIC"), APRIL, tmp_path)
    generate_statements(office.engine, {"MIC": office.book("MIC")}, APRIL)
    panel = StatementPanel("smith", "2020-04", office)
    assert "160.83" in panel.page.value
    assert panel.files.value == ""
    assert "MIC-2021-00001" in panel.message.widget.value
