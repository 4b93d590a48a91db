"""The workbook calculates: numbers are exact numbers, and no text becomes a formula."""

import hashlib
import json
from datetime import datetime
from decimal import Decimal
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import pytest
from openpyxl import load_workbook
from openpyxl.worksheet.worksheet import Worksheet
from sample_invoice import (
    LOGO,
    ad_hoc_credit,
    added_line,
    draft,
    hourly,
    invoice,
    lettered,
    long_invoice,
    prepaid_invoice,
    reissue,
    taxed_invoice,
)
from workbook_reading import cents, formulas, read, said, table, total_row

from billing_lib.documents import render_xlsx, with_logo


def sheet_of(sample: dict[str, Any]) -> Worksheet:
    (sheet,) = read(render_xlsx(sample)).worksheets
    return sheet


def test_one_sheet_holds_every_charge_and_its_table_sums_to_the_total() -> None:
    sample = invoice()
    sheet = sheet_of(sample)
    assert (sheet.title, sheet.freeze_panes) == ("RC-1993-00001", "B1")
    charges = table(sheet)
    for row, line in zip(charges, sample["lines"], strict=True):
        assert row["Charge"] == line["charge"]
        assert row["Date"] == datetime.fromisoformat(line["date"])
        assert cents(row["Raw total"]) == Decimal(line["raw_total"])
        assert cents(row["Adjustment"]) == Decimal(line["adjustment"])
        assert cents(row["Total"]) == Decimal(line["total"])
    assert charges[0]["Start"] == datetime.fromisoformat(
        "1993-10-01T07:06:17"
    )  # as the facility's clocks say
    assert (charges[0]["Hours"], charges[0]["Units"], charges[0]["Rate"]) == (84.0625, 128, 0.125)
    assert (charges[2]["Item"], charges[2]["Quantity"]) == (None, None)
    sums = total_row(sheet)
    assert (sums["Charge"], sums["Raw total"], sums["Total"]) == ("Total", 82.5, 81.25)
    assert (sums["Code 370-1"], sums["Code 370-2"]) == (-456.75, 538)
    assert formulas(render_xlsx(sample)) == {
        f"=SUBTOTAL(109,Charges[{name}])"
        for name in (
            *("Raw total", "Adjustment", "Total", "By rules", "By subsidies", "By staff"),
            *("Code 370-1", "Code 370-2"),
        )
    }


def test_each_charge_has_its_derivation_step_by_step() -> None:
    at = {"by": "carol", "at": "1993-11-02T10:00:00-08:00", "reason": "agreed"}
    steps = [
        {"step": "in business hours", "quantity": "1", "price": "40", "amount": "40.00"},
        {"step": "after hours", "quantity": "2", "price": "25", "amount": "50.00"},
        {"step": "service fee", "quantity": None, "price": None, "amount": "5.00"},
    ]
    line = hourly(
        raw_total="95.00",
        adjustment="5.00",
        total="100.00",
        steps=steps,
        rules=[
            {"rule": "pilot price", "kind": "scale", "amount": "-9.50"},
            {"rule": "City fund", "kind": "subsidy", "amount": "-20.00"},
        ],
        adjustments=[
            at | {"field": "quantity", "before": "4", "after": "3"},
            at | {"field": "amount", "before": "65.50", "after": "100.00"},
        ],
    )
    (row,) = table(sheet_of(invoice([line])))
    assert row["Derivation"].split("; ") == [
        "2.5 hours × 128 units, 1993-10-01 07:06:17 −07:00 to 1993-10-01 09:36:17 −07:00",
        "carol, 1993-11-02 10:00:00 −08:00: quantity 4 → 3 (agreed)",
        "in business hours: 1 × 40.00 = 40.00",
        "after hours: 2 × 25.00 = 50.00",
        "service fee: 5.00",
        "Raw total: 95.00",
        "pilot price (scale): −9.50",
        "Subsidy by City fund: −20.00",
        "carol, 1993-11-02 10:00:00 −08:00: amount 65.50 → 100.00 (agreed): 34.50",
        "Total: 100.00",
        "370-1 pays 60 %: 24.00",
        "370-2 pays 40 %: 16.00",
    ]
    changed = [row[name] for name in ("By rules", "By subsidies", "By staff", "Adjustment")]
    assert changed == [-9.5, -20, 34.5, 5]
    assert (row["Changed by"], row["Expense codes"]) == ("carol", "370-1, 370-2")
    _, slide, credit = table(sheet_of(invoice()))
    assert "10 each × 1.25 = 12.50" in slide["Derivation"]
    assert credit["Derivation"].startswith(
        "Added by carol, 1993-11-03 11:30:00 −08:00 (outage); Raw total: −1,275.00; "
    )
    assert "Total: " not in credit["Derivation"]  # nothing changed it


def test_the_sheet_holds_the_facts_the_totals_the_texts_and_the_summaries() -> None:
    facts = said(sheet_of(invoice()))
    assert facts["Invoice number"] == "RC-1993-00001"
    assert facts["Invoice date"] == datetime.fromisoformat("1993-11-08")
    assert facts["Dates covered to"] == datetime.fromisoformat("1993-10-31")
    assert facts["Time zone"] == "America/Los_Angeles"
    assert facts["Team"] == "Aerodynamics (aero)"
    assert facts["Charges before adjustments"] == 82.5
    assert facts["Adjustments to charges"] == -1.25
    assert facts["3 charges after adjustments"] == 81.25
    assert facts["Adjustments to the invoice"] == -5
    assert (facts["370-1"], facts["Core hour (core-hour)"], facts["bob"]) == (-461.75, 1345, 11.25)
    assert facts["Contacts"].splitlines()[1] == "billing@example.edu"


def test_letterhead_and_fingerprint_are_on_the_sheet() -> None:
    canonical = lettered(invoice())
    text = json.dumps(canonical, sort_keys=True, ensure_ascii=False, indent=2) + "\n"
    facts = said(sheet_of(with_logo(canonical, LOGO)))
    assert facts["Fingerprint, sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert facts["Letterhead"].startswith("Office of Research, 1200 Campus Way\n")


def test_an_amount_of_fifteen_digits_stands_in_the_file_to_the_cent() -> None:
    exact = "1234567890123.45"
    rendered = render_xlsx(invoice([added_line(amount=exact)]))
    with ZipFile(BytesIO(rendered)) as archive:
        assert f"<v>{exact}</v>" in archive.read("xl/worksheets/sheet1.xml").decode()
    shown = [
        cell
        for row in read(rendered).worksheets[0]
        for cell in row
        if cell.value == 1234567890123.45
    ]
    assert {cell.number_format for cell in shown} == {"#,##0.00"}


@pytest.mark.parametrize(
    "text", ["=1+1", "=cmd|'/c calc'!A1", "+1", "-1+2", "@SUM(A1)", "#N/A", "1e5", "007"]
)
def test_a_text_like_a_formula_stays_a_text(text: str) -> None:
    shares = [{"expense_code": text, "percent": "100", "amount": "40.00"}]
    hostile = invoice(
        [hourly(text, user=text, description=text, note=text, expense_codes=shares)],
        notes=[text, f"{text}\n{text}"],
        number=text,
    )
    hostile["facility"] |= {"contacts": text, "name": text}
    hostile["team"]["name"] = text
    rendered = render_xlsx(hostile)
    cells = [cell for row in load_workbook(BytesIO(rendered)).worksheets[0] for cell in row]
    same = [cell for cell in cells if cell.value == text]
    assert len(same) >= 9
    assert {cell.data_type for cell in same} == {"s"}
    assert {cell.quotePrefix for cell in same} == {text[0] in "=+-@"}
    assert all(formula.startswith("=SUBTOTAL(109,Charges[") for formula in formulas(rendered))


def test_expense_codes_that_a_spreadsheet_takes_for_one_have_a_column_each() -> None:
    codes = ["a[1]", "A[1]", "a\n[1]", ""]
    shares = [{"expense_code": code, "percent": "25", "amount": "10.00"} for code in codes]
    (row,) = table(sheet_of(invoice([hourly(expense_codes=shares)], adjustment="0.00")))
    assert [name for name in row if name.startswith("Code ")] == [
        *("Code –", "Code A[1]", "Code a [1]", "Code a[1] (2)"),
    ]


def test_control_characters_do_not_break_the_workbook() -> None:
    (row,) = table(sheet_of(invoice([hourly(description="a\x00b\x0bc\ufffe")])))
    assert row["Description"] == "a\ufffdb\ufffdc\ufffd"


def test_the_file_carries_the_invoice_date_and_no_other_time() -> None:
    rendered = render_xlsx(invoice())
    properties = read(rendered).properties
    assert properties.created == properties.modified == datetime.fromisoformat("1993-11-08")
    assert (properties.title, properties.creator) == ("Invoice RC-1993-00001", "Research Computing")
    with ZipFile(BytesIO(rendered)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_an_invoice_of_2000_charges_sums_to_its_total() -> None:
    sample = long_invoice(2000)
    sheet = sheet_of(sample)
    charges = table(sheet)
    assert len(charges) == 2000
    total = Decimal(sample["totals"]["raw_total"])
    assert sum(cents(row["Total"]) for row in charges) == total
    assert cents(total_row(sheet)["Total"]) == total


def test_an_invoice_without_charges_says_so() -> None:
    sheet = sheet_of(invoice([], notes=[]))
    assert table(sheet) == []
    assert said(sheet)["Number of charges"] == 0
    assert "This invoice has no charges." in {cell.value for row in sheet for cell in row}


def test_rules_tax_and_subsidies_are_numbers_of_their_own() -> None:
    facts = said(sheet_of(taxed_invoice()))
    assert facts["cap p1 (cap on core-hour)"] == -45
    assert facts["Before tax"] == 1260
    assert facts["Sales tax, 6.25 %"] == 78.75
    assert facts["Total"] == 1338.75
    assert facts["City fund"] == 100


def test_prepaid_funds_are_numbers_of_their_own_and_codes_sum_to_what_is_left() -> None:
    sheet = sheet_of(prepaid_invoice())
    facts = said(sheet)
    assert facts["Total"] == 76.25
    assert facts["Drawn from prepaid funds"] == -50
    assert facts["Left to pay"] == 26.25 == facts["370-1"] + facts["370-2"]
    assert facts["Prepaid balance after this invoice"] == 0
    bold = [row[6].value for row in sheet.iter_rows() if row[10].font.bold]
    assert "Left to pay" in bold and "Total" not in bold
    assert "Drawn from prepaid funds" not in said(sheet_of(invoice()))


def test_kind_reference_and_what_is_replaced_are_facts_and_late_charges_are_marked() -> None:
    sheet = sheet_of(reissue())
    facts = said(sheet)
    assert sheet["B3"].value == "Replaces invoice RC-1993-00001"
    assert (facts["Kind"], facts["Replaces invoice"]) == ("Periodic", "RC-1993-00001")
    assert facts["Description"] == "With the jobs that came late"
    charges = table(sheet)
    assert [row["Late, of month"] for row in charges] == ["1993-09", None]
    assert [row["Waived"] for row in charges] == [None, "yes"]
    assert [row["Note"] for row in charges] == [None, "node 7"]
    assert "waived no → yes (it crashed): −40.00; Total: 0.00" in charges[1]["Derivation"]
    credit = said(sheet_of(ad_hoc_credit()))
    assert (credit["Kind"], credit["Reference"]) == ("Ad hoc", "PO 4711")
    assert credit["Total (credit)"] == -1275
    assert "Replaces invoice" not in credit


def test_a_draft_says_so_on_its_sheet_and_over_every_printed_page() -> None:
    workbook = read(render_xlsx(draft()))
    (sheet,) = workbook.worksheets
    assert sheet.title == "RC-1993-10-1_u4"
    assert sheet["B2"].value == "Draft RC-1993-10-1/u4"
    assert sheet["B3"].value.startswith("DRAFT: not issued")
    facts = said(sheet)
    assert facts["Invoice date"] == "not issued yet"
    assert "Invoice number" not in facts
    assert sheet.oddHeader.center.text.startswith("DRAFT: not issued")
    assert sheet.oddFooter.left.text == "Draft RC-1993-10-1/u4"
    assert workbook.properties.created == datetime.fromisoformat("1993-10-31")
    assert not sheet_of(invoice()).oddHeader.center.text


def test_charges_print_on_pages_of_one_width_with_their_heading() -> None:
    sheet = sheet_of(invoice([hourly(f"RC/{n}") for n in range(1, 301)]))
    assert sheet.sheet_properties.pageSetUpPr.fitToPage  # one page wide is the default
    assert sheet.page_setup.fitToHeight == 0
    (top,) = (cell.row for cell in sheet["A"] if cell.value == "Charge")
    assert sheet.print_title_rows == f"${top}:${top}"
    # The columns from the charge to its total, down to the row of sums.
    assert sheet.print_area.replace("$", "").endswith(f"!A1:K{top + 301}")
    assert {sheet.row_dimensions[row].height for row in range(top + 1, top + 301)} == {None}
