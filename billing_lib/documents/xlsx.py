"""An invoice as a workbook to calculate with: numbers are numbers, dates are dates.

    Invoice        facts, bill-to, totals, texts, summaries
    Charges        one row per charge, to filter and to sum
    Expense codes  one row per charge and expense code, to pivot
    Adjustments    who changed what, when and why

Spreadsheets calculate in binary floats: amounts are exact up to fifteen digits, their limit,
and beyond it the canonical invoice alone is. A text that starts like a formula (``=cmd|…``)
stays a text, also when someone edits the cell. The workbook's properties carry the invoice
date and the zip entries a constant time: the same invoice gives the same bytes.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from io import BytesIO
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from openpyxl import Workbook
from openpyxl.cell.cell import Cell
from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.header_footer import HeaderFooterItem, _HeaderFooterPart
from openpyxl.worksheet.properties import PageSetupProperties
from openpyxl.worksheet.worksheet import Worksheet
from openpyxl.xml.constants import ARC_CORE
from openpyxl.xml.functions import tostring

from billing_lib.documents.text import Invoice, printable_invoice, value_of
from billing_lib.documents.view import view

_INK = "1B2A41"
_TITLE = Font(bold=True, size=16, color=_INK)
_HEADING = Font(bold=True, size=12, color=_INK)
_BOLD = Font(bold=True)
_HEADER_FILL = PatternFill("solid", fgColor="F1F4F8")
_RULE = Border(top=Side(style="thin", color=_INK), bottom=Side(style="thin", color=_INK))
_TOP = Alignment(vertical="top", wrap_text=True)
_FORMULA_LIKE = re.compile(r"[=+\-@]")
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip entry can carry

Value = str | int | Decimal | date | None


def render_xlsx(invoice: Invoice) -> bytes:
    """The invoice as an Office Open XML workbook (ECMA-376) of four sheets."""
    shown = printable_invoice(invoice)
    workbook = Workbook()
    _front(workbook.worksheets[0], shown)
    _charges(workbook.create_sheet("Charges"), shown["lines"])
    _expense_codes(workbook.create_sheet("Expense codes"), shown["lines"])
    _adjustments(workbook.create_sheet("Adjustments"), shown["lines"])
    for sheet in workbook.worksheets:
        left, right = _HeaderFooterPart(), _HeaderFooterPart("Page &P of &N")
        left.text = f"Invoice {shown['number']}".replace("&", "&&")
        sheet.oddFooter = HeaderFooterItem(left=left, right=right)
        sheet.page_setup.fitToHeight = 0
        sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
    properties = workbook.properties
    properties.title = f"Invoice {shown['number']}"
    properties.creator = shown["facility"]["name"] or shown["facility"]["code"]
    return _settled(workbook, datetime.combine(_date(shown["invoice_date"]), time()))


def _settled(workbook: Workbook, issued: datetime) -> bytes:
    """The saved workbook with the clock's traces replaced by the invoice date."""
    saved = BytesIO()
    workbook.save(saved)
    properties = workbook.properties
    properties.created = properties.modified = issued
    settled = BytesIO()
    with ZipFile(saved) as source, ZipFile(settled, "w", ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = tostring(properties.to_tree()) if name == ARC_CORE else source.read(name)
            entry = ZipInfo(name, _ZIP_EPOCH)
            entry.compress_type = ZIP_DEFLATED
            entry.create_system = 0  # else the zip says on which system it was made
            target.writestr(entry, content)
    return settled.getvalue()


def _front(sheet: Worksheet, invoice: dict[str, Any]) -> None:
    sheet.title = "Invoice"
    said = view(invoice)
    facility, totals, summaries = invoice["facility"], invoice["totals"], invoice["summaries"]
    covered, currency = invoice["dates_covered"], invoice["currency"]
    tax = invoice.get("tax")
    _put(sheet, 1, 1, said.facility).font = _TITLE
    _put(sheet, 2, 1, said.title).font = _HEADING
    _pairs(
        sheet,
        "This invoice",
        [
            ("Invoice number", invoice["number"]),
            ("Invoice date", _date(invoice["invoice_date"])),
            ("Dates covered from", _date(covered["from"])),
            ("Dates covered to", _date(covered["to"])),
            ("Billing run", invoice["run"]),
            ("Currency", currency),
        ],
    )
    _pairs(sheet, "Bill to", said.bill_to)
    _pairs(
        sheet,
        f"Totals ({currency})",
        [
            ("Charges before adjustments", _amount(totals["charges_raw_total"])),
            ("Adjustments to charges", _amount(totals["charges_adjustment"])),
            ("Charges after adjustments", _amount(totals["raw_total"])),
            ("Adjustments to the invoice", _amount(totals["adjustment"])),
            *([(tax["name"], _amount(tax["amount"]))] if tax else []),
            ("Total", _amount(totals["total"])),
            ("Number of charges", totals["charges"]),
        ],
    )
    texts = [("Instructions", facility["instructions"]), ("Contacts", facility["contacts"])]
    texts += [("Note", note) for note in invoice["notes"]]
    _pairs(sheet, "Texts", [(label, text) for label, text in texts if text])
    _table(
        sheet,
        "By expense code",
        ["Expense code", f"Total ({currency})"],
        [[row["expense_code"], _amount(row["total"])] for row in summaries["by_expense_code"]],
    )
    _table(
        sheet,
        "By item",
        ["Item", f"Total ({currency})", "Quantity", "Unit", "Item code"],
        [
            [row["name"], _amount(row["total"]), _amount(row["quantity"]), row["unit"], row["item"]]
            for row in summaries["by_item"]
        ],
    )
    _table(
        sheet,
        "By user",
        ["User", f"Total ({currency})", "Charges", "Hours"],
        [
            [row["user"], _amount(row["total"]), row["charges"], _amount(row["hours"])]
            for row in summaries["by_user"]
        ],
    )
    _widths(sheet, [28, 44, 14, 12, 16])


def _charges(sheet: Worksheet, lines: list[dict[str, Any]]) -> None:
    header = ["Charge", "Date", "Start", "End", "Item code", "Item", "Description", "User"]
    header += ["Expense codes", "Hours", "Units", "Quantity", "Unit", "Rate", "Rate group"]
    header += ["Amount", "Adjustment", "Total", "Source file", "Source row"]
    rows = (_charge(line) for line in lines)
    _sheet(sheet, header, rows, [12, 11, 26, 26, 14, 22, 28, 14, 22, 12, 8, 12, 8, 10, 12])


def _charge(line: dict[str, Any]) -> list[Value]:
    item, source = line["item"] or {}, line["source"] or {}
    return [
        line["charge"],
        _date(line["date"]),
        # Text, for a cell's own time would lose the distance from UTC.
        line["start"],
        line["end"],
        item.get("code"),
        item.get("name"),
        line["description"] or None,
        line["user"],
        ", ".join(share["expense_code"] or "" for share in line["expense_codes"]) or None,
        _amount(line["hours"]),
        _amount(line["units"]),
        _amount(line["quantity"]),
        line["unit"],
        _amount(line["rate"]),
        line["rate_group"],
        _amount(line["raw_total"]),
        _amount(line["adjustment"]),
        _amount(line["total"]),
        source.get("file"),
        source.get("row"),
    ]


def _expense_codes(sheet: Worksheet, lines: list[dict[str, Any]]) -> None:
    rows = (
        [
            line["charge"],
            _date(line["date"]),
            line["user"],
            share["expense_code"],
            _amount(share["percent"]),
            _amount(share["amount"]),
        ]
        for line in lines
        for share in line["expense_codes"]
    )
    header = ["Charge", "Date", "User", "Expense code", "Percent", "Amount"]
    _sheet(sheet, header, rows, [12, 11, 14, 36, 10, 14])


def _adjustments(sheet: Worksheet, lines: list[dict[str, Any]]) -> None:
    rows = (
        [
            line["charge"],
            step["field"],
            value_of(step["field"], step["before"]),
            value_of(step["field"], step["after"]),
            step["by"],
            step["at"],
            step["reason"],
        ]
        for line in lines
        for step in line["adjustments"]
    )
    header = ["Charge", "Changed", "Before", "After", "By", "When", "Reason"]
    _sheet(sheet, header, rows, [12, 14, 24, 24, 14, 26, 40])


def _amount(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def _date(value: str) -> date:
    return date.fromisoformat(value)


def _number_format(value: Decimal) -> str:
    places = max(0, -int(value.as_tuple().exponent))
    return f"#,##0.{'0' * places}" if places else "#,##0"


def _put(sheet: Worksheet, row: int, column: int, value: Value) -> Cell:
    cell = sheet.cell(row, column)
    if not isinstance(cell, Cell):
        raise TypeError(f"{cell.coordinate} is merged and cannot be written")
    cell.value = value
    if isinstance(value, str):
        cell.data_type = "s"  # openpyxl takes "=…" for a formula and "#N/A" for an error
        cell.quotePrefix = bool(_FORMULA_LIKE.match(value))
    elif isinstance(value, Decimal):
        cell.number_format = _number_format(value)
    elif isinstance(value, date):
        cell.number_format = "yyyy-mm-dd"
    return cell


def _pairs(sheet: Worksheet, title: str, pairs: Iterable[tuple[str, Value]]) -> None:
    row = sheet.max_row + 2
    _put(sheet, row, 1, title).font = _HEADING
    for at, (label, value) in enumerate(pairs, start=row + 1):
        _put(sheet, at, 1, label).alignment = _TOP
        cell = _put(sheet, at, 2, value)
        cell.alignment = _TOP
        if label == "Total":
            sheet.cell(at, 1).font = cell.font = _BOLD


def _table(
    sheet: Worksheet, title: str, header: Sequence[str], rows: Sequence[Sequence[Value]]
) -> None:
    row = sheet.max_row + 2
    _put(sheet, row, 1, title).font = _HEADING
    _header(sheet, row + 1, header)
    for at, values in enumerate(rows, start=row + 2):
        for column, value in enumerate(values, start=1):
            _put(sheet, at, column, value)


def _sheet(
    sheet: Worksheet, header: Sequence[str], rows: Iterable[Sequence[Value]], widths: Sequence[int]
) -> None:
    _header(sheet, 1, header)
    for at, values in enumerate(rows, start=2):
        for column, value in enumerate(values, start=1):
            _put(sheet, at, column, value)
    sheet.freeze_panes = "B2"
    sheet.auto_filter.ref = sheet.dimensions
    sheet.print_title_rows = "1:1"
    sheet.page_setup.orientation = "landscape"
    _widths(sheet, [*widths, *[14] * (len(header) - len(widths))])


def _header(sheet: Worksheet, row: int, labels: Sequence[str]) -> None:
    for column, label in enumerate(labels, start=1):
        cell = _put(sheet, row, column, label)
        cell.font, cell.fill, cell.border = _BOLD, _HEADER_FILL, _RULE


def _widths(sheet: Worksheet, widths: Sequence[int]) -> None:
    for column, width in enumerate(widths, start=1):
        sheet.column_dimensions[get_column_letter(column)].width = width
