"""The panels without a browser: what the forms do, and what they say of a mistake."""

import re
from html import unescape

from sample_facility import BOOK

from billing_lib.panels.adjust import AdjustPanel
from billing_lib.panels.audit import AuditPanel
from billing_lib.panels.bulk import BulkPanel
from billing_lib.panels.office import Office
from billing_lib.panels.review import ReviewPanel
from billing_lib.panels.tables import table
from billing_lib.workflow.review import read_month


def cells(html: str) -> list[list[str]]:
    """The texts of a table's body, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    found = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [[unescape(cell) for cell in row] for row in found if row]


def totals(office: Office) -> dict[str, int]:
    month = read_month(office.engine, office.book("MIC"), "2020-04")
    return dict(month.charges.select("charge", "total").iter_rows())


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


def test_a_change_is_made_shown_and_kept(office: Office) -> None:
    panel = AdjustPanel("MIC", "2020-04", office)
    assert (panel.project.value, panel.charge.value) == ("p1", "MIC/u1")  # the largest of the first
    assert "133.33" in panel.chosen.value
    assert "Total: 133.33 USD." in panel.derivation.value
    panel.project.value, panel.charge.value = "p1", "MIC/u2"
    panel.field.value, panel.value.value = "quantity", "10"
    panel.reason.value = "two broke"
    panel.apply.click()
    assert "MIC/u2: total 15.00 → 12.50 USD" in panel.message.widget.value
    assert totals(office)["MIC/u2"] == 1250
    assert panel.charge.value == "MIC/u2"
    (change,) = cells(panel.trail.value)
    assert change[:4] == ["MIC/u2", "quantity", "12", "10"]
    assert change[6] == "two broke"
    assert panel.reason.value == ""


def test_many_charges_are_previewed_changed_and_undone(office: Office) -> None:
    before = totals(office)
    panel = BulkPanel("MIC", "2020-04", office)
    assert panel.apply.disabled
    assert panel.select["project"].options == ("all", "p1", "p2")
    panel.select["item"].value = "slide"
    panel.field.value, panel.value.value = "rate", "2.00"
    panel.preview.click()
    assert (
        "2 charges selected, nothing changed yet; 2 totals change, together 27.50 → 44.00 USD"
        in (unescape(panel.message.widget.value))
    )
    changes = [["MIC/u2", "p1", "15.00", "24.00"], ["MIC/u3", "p2", "12.50", "20.00"]]
    assert cells(panel.effect.value) == changes
    assert totals(office) == before

    panel.apply.click()
    assert "the change has no reason" in panel.message.widget.value
    panel.reason.value = "agreed"
    panel.apply.click()
    assert "2 charges changed, group " in panel.message.widget.value
    assert totals(office) == before | {"MIC/u2": 2400, "MIC/u3": 2000}
    assert panel.apply.disabled  # another change asks for another preview

    ((label, group),) = panel.group.options
    assert label.startswith("2 charges at ") and label.endswith(": agreed")
    panel.group.value = group
    panel.undo_reason.value = "not agreed after all"
    panel.undo.click()
    assert totals(office) == before
    assert panel.group.options == ()


def test_a_charge_that_moves_to_another_project_stays_in_sight(office: Office) -> None:
    panel = AdjustPanel("MIC", "2020-04", office)
    panel.project.value, panel.charge.value = "p1", "MIC/u2"
    panel.field.value, panel.value.value = "project", "p2"
    panel.reason.value = "it was for p2"
    panel.apply.click()
    assert (panel.project.value, panel.charge.value) == ("p2", "MIC/u2")
    assert "project p1 → p2" in panel.message.widget.value


def test_a_split_is_shown_as_people_write_it(office: Office) -> None:
    panel = AdjustPanel("MIC", "2020-04", office)
    panel.project.value, panel.charge.value = "p1", "MIC/u2"
    panel.field.value, panel.value.value = "split", "A=50, B=50"
    panel.reason.value = "half each"
    panel.apply.click()
    (change,) = cells(panel.trail.value)
    assert change[:4] == ["MIC/u2", "split", "A 60 %, B 40 %", "A 50 %, B 50 %"]


def test_a_line_is_added_to_the_project(office: Office) -> None:
    panel = AdjustPanel("MIC", "2020-04", office)
    panel.project.value = "p2"
    stated = {"date": "2020-04-30", "description": "Training", "amount": "75.00", "reason": "why"}
    for name, value in stated.items():
        panel.line[name].value = value
    panel.add.click()
    assert "added MIC/line-2020-04-1: Training, 75.00 USD on p2" in panel.message.widget.value
    assert totals(office)["MIC/line-2020-04-1"] == 7500
    (change,) = cells(panel.trail.value)
    assert change[:3] == ["MIC/line-2020-04-1", "line added", ""]
    assert "Training" in change[3]


def test_a_mistake_is_a_sentence_in_the_panel_and_changes_nothing(office: Office) -> None:
    before = totals(office)
    panel = AdjustPanel("MIC", "2020-04", office)
    panel.project.value, panel.charge.value = "p1", "MIC/u2"
    for field, value, reason, sentence in (
        ("quantity", "10", "", "the change has no reason"),
        ("quantity", "ten", "why", "is no quantity"),
        ("split", "A=50,B=49", "why", "makes 99 %"),
    ):
        panel.field.value, panel.value.value, panel.reason.value = field, value, reason
        panel.apply.click()
        assert sentence in panel.message.widget.value
        assert 'role="alert"' in panel.message.widget.value
    assert totals(office) == before


def test_what_people_wrote_is_shown_as_text(office: Office) -> None:
    panel = AdjustPanel("MIC", "2020-04", office)
    panel.project.value, panel.charge.value = "p1", "MIC/u2"
    panel.field.value, panel.value.value = "quantity", "10"
    panel.reason.value = "<img src=x onerror=alert(1)>"
    panel.apply.click()
    assert "<img" not in panel.trail.value
    assert "&lt;img" in panel.trail.value


def test_the_same_table_is_the_same_html(office: Office) -> None:
    month = read_month(office.engine, office.book("MIC"), "2020-04")
    assert table(month.charges, "Charges").data == table(month.charges, "Charges").data


def test_an_empty_archive_is_said(office: Office) -> None:
    panel = AuditPanel(archive=office.settings.runs)
    assert "There is no record in" in panel.message.widget.value
