"""The review notebook's panels without a browser: what they show, find, and change."""

import re
from html import unescape

import pytest
from html_cells import asked, cells
from sample_facility import BOOK, nothing, usage_file

from billing_lib import Site
from billing_lib.panels.change import ChangeCharges
from billing_lib.panels.review import ChargesPanel, FindingsPanel, ReviewPanel
from billing_lib.pricing.clock import Period
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.review import read_month

TWICE = (
    "id,item,project,user,start,end,date,quantity\n"
    "d1,slide,p1,bob,,,2020-04-20,2\n"
    "d2,slide,p1,bob,,,2020-04-20,2\n"
)
"""The same slides twice: 2.50 each."""


@pytest.fixture
def twice(office: Site) -> Site:
    """April with one record that came twice."""
    path = usage_file(office.settings.parameters.parent, TWICE, "twice.csv")
    book = office.book("MIC")
    load_files(office.engine, book, [path], nothing)
    rate_period(office.engine, book, Period(2020, 4))
    return office


def reviewed(office: Site) -> ReviewPanel:
    review = ReviewPanel("MIC", "2020-04", office)
    review.check()
    return review


def findings(review: ReviewPanel) -> FindingsPanel:
    panel = review.findings().now()
    assert isinstance(panel, FindingsPanel)
    return panel


def made(change: ChangeCharges | None) -> ChangeCharges:
    assert change is not None
    return change


def apply(change: ChangeCharges) -> None:
    """See what the change does, then make it."""
    change.show.click()
    change.progress.wait()
    change.apply.click()
    change.progress.wait()


def place_of(panel: FindingsPanel, check: str) -> int:
    return panel.month.findings["check"].to_list().index(check)


def test_the_review_adds_up(office: Site) -> None:
    review = reviewed(office)
    heading = str(review.heading().data)
    assert "<b>5</b> usage records = <b>3</b> charges + <b>2</b> unbilled; 0 added" in heading
    assert "Total <b>160.83 USD</b>" in heading  # 133.33 + 15.00 + 12.50
    assert cells(review.by("project", "Projects").now().data) == [
        ["p1", "2", "148.33", "0.00", "148.33"],
        ["p2", "1", "12.50", "0.00", "12.50"],
        ["Total", "3", "160.83", "0.00", "160.83"],
    ]
    assert cells(review.largest().now().data)[0][0] == "MIC/u1"
    found = findings(review).month.findings
    assert dict(found.select("subject", "remedy").iter_rows())["unknown_project"] == (
        "add the project to the price book, then rate again"
    )


def test_what_cannot_be_reviewed_is_one_sentence(office: Site) -> None:
    review = ReviewPanel("MIC", "2020-07", office)
    said = str(review.heading().data)
    assert 'role="alert"' in said
    assert "MIC 2020-07 has no charges yet; load usage and press" in said
    review.check()
    assert review.charges().data == ""  # type: ignore[union-attr]
    for shown in (review.findings(), review.months(), review.by("user", "U")):
        assert shown.now().data == ""
    assert "no price book" in str(ReviewPanel("NO", "2020-04", office).heading().data)


def test_the_table_filters_searches_sorts_and_says_what_it_cannot_read(office: Site) -> None:
    panel = ChargesPanel("MIC", "2020-04", office)
    table = panel.table
    all_of_them = asked(table)
    assert all_of_them["told"] == "3 charges, total 160.83 USD"
    assert [row[0] for row in all_of_them["rows"]] == ["MIC/u1", "MIC/u2", "MIC/u3"]
    largest = asked(table, sort=[["total", True]], filters={"item": "SLI"})
    assert [(row[0], row[8]) for row in largest["rows"]] == [
        ("MIC/u2", "15.00"),
        ("MIC/u3", "12.50"),
    ]
    assert largest["told"] == "2 charges of 3, total 27.50 USD"
    for filters, codes in (
        ({"total": "> 15"}, ["MIC/u1"]),
        ({"total": "12.5 .. 15"}, ["MIC/u2", "MIC/u3"]),
        ({"quantity": ">= 12"}, ["MIC/u2"]),
        ({"date": "2020-04-07"}, ["MIC/u2"]),
        ({"date": "< 2020-04-08", "user": "ann"}, ["MIC/u1"]),
        ({"charge": "."}, []),  # a text, no pattern
        ({"item": "= slide"}, ["MIC/u2", "MIC/u3"]),
        ({"item": "= sli"}, []),
        ({"description": "="}, ["MIC/u1", "MIC/u2", "MIC/u3"]),
        ({"project": "="}, []),
    ):
        assert [row[0] for row in asked(table, filters=filters)["rows"]] == codes
    assert [row[0] for row in asked(table, search="slide EVE")["rows"]] == ["MIC/u3"]
    assert asked(table, sort=[["quantity", False]])["rows"][0][6] == "3.333333"
    assert asked(table, first=2, count=5)["rows"][0][0] == "MIC/u3"
    refused = asked(table, filters={"total": "lots"})
    assert (refused["kind"], refused["told"]) == (
        "refused",
        "Total: 'lots' is no money to compare with; write > 100, or two with .. between them",
    )
    for beyond in ("> 1e40", "= 0.0000000001"):  # a column holds 29 digits, nine behind the point
        assert asked(table, filters={"quantity": beyond})["kind"] == "refused"
    assert asked(table, sort=[["nonsense", True]])["kind"] == "refused"


def test_all_that_match_are_changed_alike(office: Site) -> None:
    panel = ChargesPanel("MIC", "2020-04", office)
    asked(panel.table, filters={"item": "slide"})
    panel.change_all.click()
    assert "The form below is for 2 charges" in panel.message.widget.value
    change = made(panel.change)
    change.form.fill("rate", "2.00")
    change.reason.value = "agreed"
    apply(change)
    assert "Changed: 2 charges; 2 totals change" in change.message.widget.value
    assert "Read again" in unescape(panel.message.widget.value)
    panel.again.click()
    assert asked(panel.table)["told"] == "3 charges, total 177.33 USD"  # 133.33 + 24 + 20
    panel.change_one(0)
    assert made(panel.change).chosen == ["MIC/u1"]


@pytest.mark.parametrize("unreadable", ["> abc", "much", ">"])
def test_a_filter_that_is_refused_leaves_nothing_selected(office: Site, unreadable: str) -> None:
    panel = ChargesPanel("MIC", "2020-04", office)
    asked(panel.table, filters={"item": "slide"})
    panel.change_all.click()
    assert len(made(panel.change).chosen) == 2
    assert asked(panel.table, filters={"total": unreadable})["kind"] == "refused"
    panel.change_all.click()
    assert re.search(
        "Total: '.*' is no money to compare with, so nothing is selected; write",
        unescape(panel.message.widget.value).replace("&gt;", ">"),
    )
    assert (panel.change, panel.form.children) == (None, ())
    asked(panel.table, filters={"total": "> 15"})
    panel.change_all.click()
    assert made(panel.change).chosen == ["MIC/u1"]


def test_a_filter_asked_before_all_is_read_is_the_one_that_counts(office: Site) -> None:
    panel = ChargesPanel("MIC", "2020-04", office)
    page = panel.table.answer({"filters": {"item": "slide"}})
    assert page["told"] == "the first 3 charges; reading the others …"
    panel.change_all.click()
    assert made(panel.change).chosen == ["MIC/u2", "MIC/u3"]


def test_a_finding_leads_to_its_remedy_and_is_gone_after_it(twice: Site) -> None:
    panel = findings(reviewed(twice))
    panel.show(place_of(panel, "duplicates"))
    change = made(panel.change)
    assert change.form.changes() == {"waived": "yes"}
    assert (change.chosen, change.reason.value) == (["MIC/d2"], "duplicates: slide")
    apply(change)
    assert "Check again" in unescape(panel.message.widget.value)
    book = twice.book("MIC")
    charges = read_month(twice.engine, book, "2020-04").charges
    totals = dict(charges.select("charge", "total").iter_rows())
    assert (totals["MIC/d1"], totals["MIC/d2"]) == (250, 0)
    panel.again.click()
    assert "duplicates" not in panel.month.findings["check"].to_list()
    panel.show(place_of(panel, "unbilled usage"))
    assert panel.change is None  # there is no charge to change
    panel.rate.click()
    assert "records = 5 charges (0 new" in panel.message.widget.value


def test_what_is_right_is_dismissed_with_a_reason_and_does_not_come_back(twice: Site) -> None:
    panel = findings(reviewed(twice))
    panel.show(place_of(panel, "duplicates"))
    panel.dismiss.click()
    assert "the change has no reason" in panel.message.widget.value
    panel.reason.value = "<b>two</b> trays"
    panel.dismiss.click()
    assert "dismissed, duplicates, slide" in panel.message.widget.value
    assert "duplicates" not in panel.month.findings["check"].to_list()
    (row,) = cells(panel.dismissed.value)
    assert (row[0], row[-1]) == ("duplicates", "<b>two</b> trays")
    assert "<b>two" not in panel.dismissed.value
    again = findings(reviewed(twice))
    assert "duplicates" not in again.month.findings["check"].to_list()
    assert [label for label, _ in again.dismissal.options] == ["duplicates: slide"]
    again.why_back.value = "one tray only"
    again.restore.click()
    assert "shown again, duplicates, slide" in again.message.widget.value
    assert "duplicates" in again.month.findings["check"].to_list()
    assert again.taking_back.layout.display == "none"


def test_codes_that_may_not_be_charged_are_found_with_the_reason(office: Site) -> None:
    path = office.settings.parameters / "microscopy.yml"
    stated = '  expense_codes: {pattern: "[A-C]", file: codes.csv}\n'
    path.write_text(BOOK.replace("  contacts: ", stated + "  contacts: "))
    (path.parent / "codes.csv").write_text("code,valid_from,valid_to\nA,,\nB,2020-04-07,\n")
    found = findings(reviewed(office)).month.findings
    assert found.filter(check="invalid expense codes").select("sentence", "field").rows() == [
        ("1 charge of p1: the expense code 'B' is not valid on 2020-04-06", "split"),
        ("1 charge of p2: the expense code 'C' is not among those allowed", "expense_code"),
    ]


def test_pictures_stand_in_the_page_with_a_text(office: Site) -> None:
    review = reviewed(office)
    shown = [
        *(review.spend_by(column) for column in ("project", "user", "item")),
        *(review.spend_by_day(), review.months(), review.instrument_hours()),
    ]
    texts = []
    for picture in shown:
        html = picture.now()._repr_mimebundle_()["text/html"]
        (alt,) = re.findall(r'<img alt="([^"]*)" .* src="data:image/svg', html)
        texts.append(unescape(alt))
    assert texts[0] == "Spend by project: p1 148.33, p2 12.50 USD"
    assert texts[4] == "This month against the last twelve: 2020-04 160.83 USD"
    assert texts[5] == "Hours by instrument and day: scope 3.3 hours"
    assert review.months().now() == review.months().now()


def test_a_stopped_check_says_so_and_what_was_seen_stays(office: Site) -> None:
    review = ReviewPanel("MIC", "2020-04", office)
    progress = review.progress
    step = progress._step

    def stop_at(done: int, total: int, what: str) -> None:
        if what.startswith("checking"):
            progress.stop.click()
        step(done, total, what)

    progress._step = stop_at  # type: ignore[method-assign]
    shown = review.findings()
    assert "is being checked" in shown.now().data
    review.check()
    assert "stopped; nothing of it was done" in review.message.widget.value
    assert "was not checked" in shown.now().data
    progress._step = step  # type: ignore[method-assign]
    review.check()
    assert "stopped" not in review.message.widget.value
    panel = findings(review)
    progress._step = stop_at  # type: ignore[method-assign]
    panel.again.click()
    assert "Not checked again." in panel.message.widget.value
    assert shown.now() is panel


def test_in_browser_the_cell_ends_at_once_and_is_filled_later(
    office: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "review.ipynb")
    review = ReviewPanel("MIC", "2020-04", office)
    review.check()
    review.progress.wait()
    assert isinstance(review.findings().now(), FindingsPanel)


def test_without_jupyterlab_the_first_rows_stand_in_the_page(
    office: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    panel = ChargesPanel("MIC", "2020-04", office)
    bundle = panel._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert [row[0] for row in cells(bundle["text/html"])] == ["MIC/u1", "MIC/u2", "MIC/u3"]
    monkeypatch.setenv("JPY_SESSION_NAME", "review.ipynb")
    assert "application/vnd.jupyter.widget-view+json" in panel._repr_mimebundle_()
