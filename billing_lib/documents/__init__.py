"""Documents for people and programs: one module per format, all made from the canonical invoice.

The canonical invoice (``invoices/<number>.json`` of a record) is the result; a document shows it.
Rendering reads no clock, network, locale or system font, so the same invoice gives the same bytes,
and computes nothing but sums. Each name is imported at its first use, since a command that shows a
table needs no library of PDFs or workbooks.

    invoice = json.loads(Path("RC-1993-00001.json").read_text("utf-8"))
    write_documents([invoice], Path("documents"), read_logo(Path("snapshot")))
    → documents/RC-1993-00001.html, .pdf, .xlsx, .xml
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from billing_lib.documents.html import render_html
    from billing_lib.documents.pdf import render_pdf
    from billing_lib.documents.pictures import with_logo
    from billing_lib.documents.registry import (
        renderers,
        write_document,
        write_documents,
        write_documents_of,
    )
    from billing_lib.documents.text import Invoice
    from billing_lib.documents.ubl import render_ubl
    from billing_lib.documents.workbook import render_xlsx

__all__ = [
    "Invoice",
    "render_html",
    "render_pdf",
    "render_ubl",
    "render_xlsx",
    "renderers",
    "with_logo",
    "write_document",
    "write_documents",
    "write_documents_of",
]

_MODULES = {
    "Invoice": "text",
    "render_html": "html",
    "render_pdf": "pdf",
    "render_ubl": "ubl",
    "render_xlsx": "workbook",
    "with_logo": "pictures",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'registry')}"), name)
