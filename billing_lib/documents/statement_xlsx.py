"""A statement as a workbook: a summary, then each invoice's sheet (documents/invoice_sheet.py).

The summary's tables hold every invoice and every change by a rule, with its facility, to filter
and to sum; an invoice's number leads to its sheet.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from billing_lib.documents.invoice_sheet import add_invoice_sheet
from billing_lib.documents.statement import (
    Statement,
    day_of,
    statement_facts,
    way_to_due,
)
from billing_lib.documents.text import Invoice, printable_invoice
from billing_lib.documents.view import view
from billing_lib.documents.workbook import (
    BOLD,
    HEADING,
    PLAIN,
    QUIET,
    TITLE,
    Book,
    Field,
    Sheet,
    Value,
)

SUMMARY = "Statement"
"""The first sheet's name."""

_WIDTHS = (30, 26, 22, 14, 14, 13, 15, 16)
_AMOUNTS = 3  # the column that the totals stand in


def render_statement_xlsx(statement: Statement, invoices: Mapping[str, Invoice]) -> bytes:
    """The statement as an Office Open XML workbook (ECMA-376).

    Parameters
    ----------
    invoices
        The canonical invoices that are on it, by number.
    """
    shown = printable_invoice(statement)
    title = f"Statement {shown['id']}"
    book = Book(title, shown["team"]["name"], day_of(shown))
    summary = book.sheet(SUMMARY)
    numbers = [it["number"] for part in statement["facilities"] for it in part["invoices"]]
    sheets = {
        number: add_invoice_sheet(book, invoices[number], view(invoices[number]), f"Charges_{at}")
        for at, number in enumerate(numbers, start=1)
    }
    below = _head(summary, shown)
    below = _invoices(summary, below, shown, list(sheets.values()))
    _adjustments(summary, below, shown)
    summary.widths(_WIDTHS)
    summary.print_on(title, "")
    return book.saved()


def _head(sheet: Sheet, statement: dict[str, Any]) -> int:
    """What stands over the tables; the row below it."""
    sheet.put(0, 0, statement["team"]["name"], TITLE)
    sheet.height(0, 24)
    sheet.put(1, 0, f"Statement {statement['id']}", HEADING)
    sheet.put(3, 0, f"Totals ({statement['currency']})", HEADING)
    row = 4
    for step in way_to_due(statement):
        look = BOLD if step.rank == "total" else QUIET if step.rank == "aside" else PLAIN
        sheet.put(row, 0, step.label, look)
        sheet.put(row, _AMOUNTS, Decimal(step.amount), look)
        row += 1
    row += 1
    sheet.put(row, 0, "This statement", HEADING)
    for label, value in _facts(statement):
        row += 1
        sheet.put(row, 0, label, QUIET)
        sheet.put(row, 1, value, {"align": "left"})
    return row + 2


def _facts(statement: dict[str, Any]) -> Iterable[tuple[str, Value]]:
    paid = statement["payment"]
    for label, text in statement_facts(statement):
        if label == "Paid on":
            yield label, date.fromisoformat(paid["date"])
        else:
            yield label, text


def _invoices(sheet: Sheet, row: int, statement: dict[str, Any], sheets: list[Sheet]) -> int:
    rows: list[list[Value]] = [
        [
            part["facility"]["name"] or part["facility"]["code"],
            it["number"],
            it["project"],
            it["kind"].capitalize(),
            date.fromisoformat(it["invoice_date"]),
            it["state"].capitalize(),
            Decimal(it["prepaid"]),
            Decimal(it["total"]),
        ]
        for part in statement["facilities"]
        for it in part["invoices"]
    ]
    names = ("Facility", "Invoice", "Project", "Kind")
    fields = [
        *(Field(name, width, wrapped=True) for name, width in zip(names, _WIDTHS, strict=False)),
        Field("Invoice date", _WIDTHS[4], numeric=True),
        Field("State", _WIDTHS[5]),
        Field("From prepaid", _WIDTHS[6], _sum(row[6] for row in rows)),
        Field(f"Total ({statement['currency']})", _WIDTHS[7], _sum(row[7] for row in rows)),
    ]
    sheet.put(row, 0, "Invoices", HEADING)
    if not rows:
        sheet.put(row + 1, 0, "This statement has no invoices.")
        return row + 3
    below = sheet.put_table(row + 1, "Invoices", fields, rows)
    for at, (values, target) in enumerate(zip(rows, sheets, strict=True), start=row + 2):
        sheet.put_link(at, 1, str(values[1]), target)
    return below + 1


def _adjustments(sheet: Sheet, row: int, statement: dict[str, Any]) -> None:
    rows: list[list[Value]] = [
        [
            part["facility"]["name"] or part["facility"]["code"],
            it["rule"],
            it["kind"],
            Decimal(it["amount"]),
        ]
        for part in statement["facilities"]
        for it in part["adjustments"]
    ]
    if rows:
        fields = [
            *(
                Field(name, width, wrapped=True)
                for name, width in zip(("Facility", "Rule", "Kind"), _WIDTHS, strict=False)
            ),
            Field(f"Amount ({statement['currency']})", _WIDTHS[3], _sum(row[3] for row in rows)),
        ]
        sheet.put(row, 0, "Adjustments of the statement", HEADING)
        sheet.put_table(row + 1, "Adjustments", fields, rows)


def _sum(amounts: Iterable[Value]) -> Decimal:
    return sum((it for it in amounts if isinstance(it, Decimal)), Decimal(0))
