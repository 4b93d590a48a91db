"""The workbook calculates: numbers are exact numbers, and no text becomes a formula."""

from datetime import datetime
from decimal import Decimal
from io import BytesIO
from zipfile import ZipFile

import pytest
from openpyxl import Workbook, load_workbook
from sample_invoice import (
    ad_hoc_credit,
    added_line,
    draft,
    hourly,
    invoice,
    long_invoice,
    prepaid_invoice,
    reissue,
    taxed_invoice,
)

from billing_lib.documents import render_xlsx


def read(rendered: bytes) -> Workbook:
    return load_workbook(BytesIO(rendered))


def records(workbook: Workbook, sheet: str) -> list[dict]:
    header, *rows = workbook[sheet].iter_rows(values_only=True)
    return [dict(zip(header, row, strict=True)) for row in rows]


def facts(workbook: Workbook) -> dict:
    return {label: value for label, value, *_ in workbook["Invoice"].iter_rows(values_only=True)}


def cents(value: float) -> Decimal:
    return Decimal(str(value)).quantize(Decimal("0.01"))


def test_the_charges_sheet_holds_every_charge_and_sums_to_the_total() -> None:
    sample = invoice()
    charges = records(read(render_xlsx(sample)), "Charges")
    assert [row["Charge"] for row in charges] == ["RC/57", "RC/58", "RC/59"]
    for row, line in zip(charges, sample["lines"], strict=True):
        assert row["Date"] == datetime.fromisoformat(line["date"])
        assert cents(row["Amount"]) == Decimal(line["raw_total"])
        assert cents(row["Adjustment"]) == Decimal(line["adjustment"])
        assert cents(row["Total"]) == Decimal(line["total"])
    assert charges[0]["Start"] == "1993-10-01T07:06:17-07:00"
    assert (charges[0]["Hours"], charges[0]["Units"], charges[0]["Rate"]) == (84.0625, 128, 0.125)
    assert (charges[2]["Item"], charges[2]["Quantity"]) == (None, None)


def test_expense_codes_and_adjustments_have_a_row_each() -> None:
    workbook = read(render_xlsx(invoice()))
    codes = records(workbook, "Expense codes")
    assert [(row["Charge"], row["Expense code"], row["Amount"]) for row in codes] == [
        ("RC/57", "370-1", 807),
        ("RC/57", "370-2", 538),
        ("RC/58", "370-1", 11.25),
        ("RC/59", "370-1", -1275),
    ]
    assert records(workbook, "Adjustments")[0] == {
        "Charge": "RC/58",
        "Changed": "quantity",
        "Before": "12",
        "After": "10",
        "By": "carol",
        "When": "1993-11-01T09:00:00-08:00",
        "Reason": "two broke",
    }


def test_the_invoice_sheet_holds_the_facts_the_totals_and_the_texts() -> None:
    said = facts(read(render_xlsx(invoice())))
    assert said["Invoice number"] == "RC-1993-00001"
    assert said["Invoice date"] == datetime.fromisoformat("1993-11-08")
    assert said["Dates covered to"] == datetime.fromisoformat("1993-10-31")
    assert said["Team"] == "Aerodynamics (aero)"
    assert said["Charges before adjustments"] == 82.5
    assert said["Adjustments to charges"] == -1.25
    assert said["3 charges after adjustments"] == 81.25
    assert said["Adjustments to the invoice"] == -5
    assert said["370-1"] == -461.75
    assert said["Contacts"].splitlines()[1] == "billing@example.edu"


def test_an_amount_of_fifteen_digits_stands_in_the_file_to_the_cent() -> None:
    exact = "1234567890123.45"
    rendered = render_xlsx(invoice([added_line(amount=exact)]))
    with ZipFile(BytesIO(rendered)) as archive:
        assert f"<v>{exact}</v>" in archive.read("xl/worksheets/sheet2.xml").decode()
    assert read(rendered)["Charges"]["R2"].number_format == "#,##0.00"


@pytest.mark.parametrize(
    "text", ["=1+1", "=cmd|'/c calc'!A1", "+1", "-1+2", "@SUM(A1)", "#N/A", "1e5", "007"]
)
def test_a_text_like_a_formula_stays_a_text(text: str) -> None:
    hostile = invoice([hourly(text, user=text, description=text)], notes=[text])
    hostile["facility"]["contacts"] = text
    workbook = read(render_xlsx(hostile))
    for name in ("A2", "G2", "H2"):
        cell = workbook["Charges"][name]
        assert (cell.value, cell.data_type) == (text, "s")
        assert cell.quotePrefix == (text[0] in "=+-@")
    assert all(
        cell.data_type != "f" for sheet in workbook for row in sheet.iter_rows() for cell in row
    )


def test_control_characters_do_not_break_the_workbook() -> None:
    broken = invoice([hourly(description="a\x00b\x0bc\ufffe")])
    assert (
        records(read(render_xlsx(broken)), "Charges")[0]["Description"] == "a\ufffdb\ufffdc\ufffd"
    )


def test_the_file_carries_the_invoice_date_and_no_other_time() -> None:
    rendered = render_xlsx(invoice())
    properties = read(rendered).properties
    assert properties.created == properties.modified == datetime.fromisoformat("1993-11-08")
    with ZipFile(BytesIO(rendered)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_an_invoice_of_2000_charges_sums_to_its_total() -> None:
    sample = long_invoice(2000)
    charges = records(read(render_xlsx(sample)), "Charges")
    assert len(charges) == 2000
    assert sum(cents(row["Total"]) for row in charges) == Decimal(sample["totals"]["raw_total"])


def test_an_invoice_without_charges_has_empty_sheets() -> None:
    workbook = read(render_xlsx(invoice([], notes=[])))
    assert records(workbook, "Charges") == []
    assert facts(workbook)["Number of charges"] == 0


def test_rules_tax_and_subsidies_are_numbers_of_their_own() -> None:
    said = facts(read(render_xlsx(taxed_invoice())))
    assert said["cap p1 (cap on core-hour)"] == -45
    assert said["Before tax"] == 1260
    assert said["Sales tax, 6.25 %"] == 78.75
    assert said["Total"] == 1338.75
    assert said["City fund"] == 100


def test_prepaid_funds_are_numbers_of_their_own_and_codes_sum_to_what_is_left() -> None:
    sheet = read(render_xlsx(prepaid_invoice()))
    said = facts(sheet)
    assert said["Total"] == 76.25
    assert said["Drawn from prepaid funds"] == -50
    assert said["Left to pay"] == 26.25 == said["370-1"] + said["370-2"]
    assert said["Prepaid balance after this invoice"] == 0
    bold = [row[0].value for row in sheet["Invoice"].iter_rows() if row[1].font.bold]
    assert "Left to pay" in bold and "Total" not in bold
    assert "Drawn from prepaid funds" not in facts(read(render_xlsx(invoice())))


def test_kind_reference_and_what_is_replaced_are_facts_and_late_charges_are_marked() -> None:
    workbook = read(render_xlsx(reissue()))
    said = facts(workbook)
    assert workbook["Invoice"]["A3"].value == "Replaces invoice RC-1993-00001"
    assert (said["Kind"], said["Replaces invoice"]) == ("Periodic", "RC-1993-00001")
    assert said["Description"] == "With the jobs that came late"
    charges = records(workbook, "Charges")
    assert [row["Late, of month"] for row in charges] == ["1993-09", None]
    assert [row["Waived"] for row in charges] == [None, "yes"]
    assert [row["Note"] for row in charges] == [None, "node 7"]
    credit = facts(read(render_xlsx(ad_hoc_credit())))
    assert (credit["Kind"], credit["Reference"]) == ("Ad hoc", "PO 4711")
    assert credit["Total (credit)"] == -1275
    assert "Replaces invoice" not in credit


def test_a_line_that_staff_added_is_among_the_adjustments() -> None:
    assert records(read(render_xlsx(invoice())), "Adjustments")[-1] == {
        "Charge": "RC/59",
        "Changed": "added line",
        "Before": "–",
        "After": "−1,275.00",
        "By": "carol",
        "When": "1993-11-03T11:30:00-08:00",
        "Reason": "outage",
    }


def test_a_draft_says_so_on_its_front_and_over_every_printed_sheet() -> None:
    workbook = read(render_xlsx(draft()))
    front = workbook["Invoice"]
    assert front["A2"].value == "Draft RC-1993-10-1/u4"
    assert front["A3"].value.startswith("DRAFT: not issued")
    assert facts(workbook)["Invoice date"] == "not issued yet"
    assert "Invoice number" not in facts(workbook)
    for sheet in workbook:
        assert sheet.oddHeader.center.text.startswith("DRAFT: not issued")
        assert sheet.oddFooter.left.text == "Draft RC-1993-10-1/u4"
    assert workbook.properties.created == datetime.fromisoformat("1993-10-31")
    assert not any(sheet.oddHeader.center.text for sheet in read(render_xlsx(invoice())))
