"""An invoice as a workbook of one sheet (documents/invoice_sheet.py)."""

from datetime import date

from billing_lib.documents.invoice_sheet import add_invoice_sheet
from billing_lib.documents.text import Invoice
from billing_lib.documents.view import view
from billing_lib.documents.workbook import Book


def render_xlsx(invoice: Invoice) -> bytes:
    """The invoice as an Office Open XML workbook (ECMA-376): one sheet, everything on it."""
    said = view(invoice)
    book = Book(said.title, said.facility, date.fromisoformat(said.invoice_date_iso))
    add_invoice_sheet(book, invoice, said, "Charges")
    return book.saved()
