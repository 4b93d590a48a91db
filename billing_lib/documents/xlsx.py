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

from billing_lib.documents.tables import changes
from billing_lib.documents.text import Invoice, printable_invoice, value_of
from billing_lib.documents.view import InvoiceView, view, way_to_total

_INK = "1B2A41"
_FACE = "Calibri"  # openpyxl's own for plain cells; a font without a name falls back to any
_TITLE = Font(name=_FACE, bold=True, size=16, color=_INK)
_HEADING = Font(name=_FACE, bold=True, size=12, color=_INK)
_BOLD = Font(name=_FACE, bold=True, size=11)
_WARNING = Font(name=_FACE, bold=True, size=12, color="B3261E")
_HEADER_FILL = PatternFill("solid", fgColor="F1F4F8")
_RULE = Border(top=Side(style="thin", color=_INK), bottom=Side(style="thin", color=_INK))
_TOP = Alignment(vertical="top", horizontal="left", wrap_text=True)
_RIGHT = Alignment(horizontal="right")
_APART = Alignment(horizontal="left", indent=1)  # else a text touches the number before it
_TEXT_WIDTH, _LINE_HEIGHT = 44, 15  # of the front sheet's second column, in digits and points
_PAGE_WIDTH = 130  # what fits across a landscape page and can still be read, in digits
_FORMULA_LIKE = re.compile(r"[=+\-@]")
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip entry can carry

Value = str | int | Decimal | date | None


def render_xlsx(invoice: Invoice) -> bytes:
    """The invoice as an Office Open XML workbook (ECMA-376) of four sheets."""
    shown, said = printable_invoice(invoice), view(invoice)
    workbook = Workbook()
    _front(workbook.worksheets[0], shown, said)
    _charges(workbook.create_sheet("Charges"), shown["lines"])
    _expense_codes(workbook.create_sheet("Expense codes"), shown["lines"])
    _adjustments(workbook.create_sheet("Adjustments"), shown["lines"])
    for sheet in workbook.worksheets:
        left, right = _HeaderFooterPart(), _HeaderFooterPart("Page &P of &N")
        left.text = said.title.replace("&", "&&")
        sheet.oddFooter = HeaderFooterItem(left=left, right=right)
        if said.draft:
            sheet.oddHeader = HeaderFooterItem(center=_HeaderFooterPart(said.draft))
        sheet.page_setup.fitToHeight = 0
        sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
    properties = workbook.properties
    properties.title = said.title
    properties.creator = said.facility
    return _settled(workbook, datetime.combine(_date(said.invoice_date_iso), time()))


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


def _front(sheet: Worksheet, invoice: dict[str, Any], said: InvoiceView) -> None:
    sheet.title = "Invoice"
    facility, totals, summaries = invoice["facility"], invoice["totals"], invoice["summaries"]
    currency = invoice["currency"]
    _put(sheet, 1, 1, said.facility).font = _TITLE
    heading = [(said.title, _HEADING), (said.replaces, _BOLD), (said.draft, _WARNING)]
    for row, (text, font) in enumerate([it for it in heading if it[0]], start=2):
        _put(sheet, row, 1, text).font = font
    _pairs(sheet, "This invoice", _facts(invoice, said))
    _pairs(sheet, "Bill to", said.bill_to)
    _pairs(
        sheet,
        f"Totals ({currency})",
        [
            *((step.label, _amount(step.amount)) for step in way_to_total(invoice)),
            ("Number of charges", totals["charges"]),
        ],
        bold=[step.label for step in said.totals if step.rank == "total"],
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
    paid = invoice["subsidies"]
    if paid:
        header = ["Subsidy paid by", f"Amount ({currency})"]
        _table(sheet, "Subsidies", header, [[it["by"], _amount(it["amount"])] for it in paid])
    _table(
        sheet,
        "By item",
        ["Item", f"Total ({currency})", "Quantity", "Unit", "Item code"],
        [
            [
                row["name"] or "Added lines",
                _amount(row["total"]),
                _amount(row["quantity"]),
                row["unit"],
                row["item"],
            ]
            for row in summaries["by_item"]
        ],
    )
    _table(
        sheet,
        "By user",
        ["User", f"Total ({currency})", "Charges", "Hours"],
        [
            [row["user"] or "No user", _amount(row["total"]), row["charges"], _amount(row["hours"])]
            for row in summaries["by_user"]
        ],
    )
    _widths(sheet, [28, _TEXT_WIDTH, 14, 12, 16])


def _facts(invoice: dict[str, Any], said: InvoiceView) -> list[tuple[str, Value]]:
    covered, date = invoice["dates_covered"], invoice["invoice_date"]
    facts: list[tuple[str, Value]] = [
        said.facts[0],  # its number, or a draft's code
        ("Invoice date", _date(date) if date else said.invoice_date),
        ("Kind", invoice["kind"].capitalize()),
        ("Reference", invoice["reference"]),
        ("Replaces invoice", invoice["replaces"]),
        ("Description", said.description),
        ("Dates covered from", _date(covered["from"])),
        ("Dates covered to", _date(covered["to"])),
        ("Billing run", invoice["run"]),
        ("Currency", invoice["currency"]),
    ]
    return [(label, value) for label, value in facts if value]


def _charges(sheet: Worksheet, lines: list[dict[str, Any]]) -> None:
    header = ["Charge", "Date", "Start", "End", "Item code", "Item", "Description", "User"]
    header += ["Expense codes", "Hours", "Units", "Quantity", "Unit", "Rate", "Rate group"]
    header += ["Amount", "Adjustment", "Total", "Blended rate", "Rules", "Late, of month", "Waived"]
    header += ["Note", "Source file", "Source row"]
    rows = (_charge(line) for line in lines)
    widths = [12, 11, 26, 26, 14, 22, 28, 14, 22, 12, 8, 12, 8, 10, 12]
    widths += [14, 14, 14, 14, 22, 16, 10, 22, 26, 12]
    _sheet(sheet, header, rows, widths)


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
        _amount(line["effective_rate"]),
        "; ".join(f"{it['rule']} {it['amount']}" for it in line["rules"]) or None,
        line["late"],
        "yes" if line["waived"] else None,
        line["note"],
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
            it.charge,
            it.field,
            value_of(it.field, it.before),
            value_of(it.field, it.after),
            it.by,
            it.at,
            it.reason,
        ]
        for it in changes(lines)
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


def _pairs(
    sheet: Worksheet, title: str, pairs: Iterable[tuple[str, Value]], bold: Sequence[str] = ()
) -> None:
    row = sheet.max_row + 2
    _put(sheet, row, 1, title).font = _HEADING
    for at, (label, value) in enumerate(pairs, start=row + 1):
        _put(sheet, at, 1, label).alignment = _TOP
        cell = _put(sheet, at, 2, value)
        if isinstance(value, str):
            cell.alignment = _TOP
            # Only some spreadsheets make a row as high as its wrapped text.
            lines = sum(1 + len(line) // _TEXT_WIDTH for line in value.split("\n"))
            sheet.row_dimensions[at].height = lines * _LINE_HEIGHT
        elif isinstance(value, date):
            cell.alignment = _TOP
        if label in bold:
            sheet.cell(at, 1).font = cell.font = _BOLD


def _table(
    sheet: Worksheet, title: str, header: Sequence[str], rows: Sequence[Sequence[Value]]
) -> None:
    row = sheet.max_row + 2
    _put(sheet, row, 1, title).font = _HEADING
    _header(sheet, row + 1, header, rows[0] if rows else [])
    for at, values in enumerate(rows, start=row + 2):
        _row(sheet, at, values)


def _sheet(
    sheet: Worksheet, header: Sequence[str], rows: Iterable[Sequence[Value]], widths: Sequence[int]
) -> None:
    listed = list(rows)
    _header(sheet, 1, header, listed[0] if listed else [])
    for at, values in enumerate(listed, start=2):
        _row(sheet, at, values)
    sheet.freeze_panes = "B2"
    sheet.auto_filter.ref = sheet.dimensions
    sheet.print_title_rows, sheet.print_title_cols = "1:1", "A:A"
    sheet.page_setup.orientation = "landscape"
    sheet.page_setup.fitToWidth = -(-sum(widths) // _PAGE_WIDTH)
    _widths(sheet, widths)


def _row(sheet: Worksheet, row: int, values: Sequence[Value]) -> None:
    for column, value in enumerate(values, start=1):
        cell = _put(sheet, row, column, value)
        if column > 1 and isinstance(value, str):
            cell.alignment = _APART


def _header(sheet: Worksheet, row: int, labels: Sequence[str], below: Sequence[Value]) -> None:
    """Column headings, set to the right where the row below holds numbers."""
    for column, label in enumerate(labels, start=1):
        cell = _put(sheet, row, column, label)
        cell.font, cell.fill, cell.border = _BOLD, _HEADER_FILL, _RULE
        if column <= len(below) and isinstance(below[column - 1], int | Decimal | date):
            cell.alignment = _RIGHT
        elif column > 1:
            cell.alignment = _APART


def _widths(sheet: Worksheet, widths: Sequence[int]) -> None:
    for column, width in enumerate(widths, start=1):
        sheet.column_dimensions[get_column_letter(column)].width = width
