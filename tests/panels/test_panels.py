"""The panels without a browser: what the forms do, and what they say of a mistake."""

import re
from html import unescape

from sample_facility import BOOK

from billing_lib.panels.audit import AuditPanel
from billing_lib.panels.office import Office
from billing_lib.panels.review import ReviewPanel
from billing_lib.panels.tables import table
from billing_lib.workflow.review import read_month


def cells(html: str) -> list[list[str]]:
    """The texts of a table's body, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    found = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [[unescape(cell) for cell in row] for row in found if row]


def test_the_review_adds_up(office: Office) -> None:
    review = ReviewPanel("MIC", "2020-04", office)
    heading = review.heading()
    assert "**5** usage records = **3** charges + **2** unbilled; 0 added lines" in heading
    assert "Total **160.83 USD**" in heading  # 133.33 + 15.00 + 12.50
    assert cells(review.by("project", "Projects").data) == [
        ["p1", "2", "148.33", "0.00", "148.33"],
        ["p2", "1", "12.50", "0.00", "12.50"],
        ["Total", "3", "160.83", "0.00", "160.83"],
    ]
    assert cells(review.largest().data)[0][0] == "MIC/u1"
    assert {row[0] for row in cells(review.unbilled().data)} == {
        "unknown_project",
        "invalid_quantity",
        "Total",
    }


def test_codes_that_may_not_be_charged_are_found_with_the_reason(office: Office) -> None:
    path = office.settings.parameters / "microscopy.yml"
    stated = '  expense_codes: {pattern: "[A-C]", file: codes.csv}\n'
    path.write_text(BOOK.replace("  contacts: ", stated + "  contacts: "))
    (path.parent / "codes.csv").write_text("code,valid_from,valid_to\nA,,\nB,2020-04-07,\n")
    found = cells(ReviewPanel("MIC", "2020-04", office).expense_codes().data)
    assert found == [
        ["MIC/u1", "B", "2020-04-06", "the expense code 'B' is not valid on 2020-04-06"],
        ["MIC/u3", "C", "2020-04-08", "the expense code 'C' is not among those allowed"],
    ]


def test_the_same_table_is_the_same_html(office: Office) -> None:
    month = read_month(office.engine, office.book("MIC"), "2020-04")
    assert table(month.charges, "Charges").data == table(month.charges, "Charges").data


def test_an_empty_archive_is_said(office: Office) -> None:
    panel = AuditPanel(archive=office.settings.runs)
    assert "There is no record in" in panel.message.widget.value
