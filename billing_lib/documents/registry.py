"""The formats an invoice is written in, by file suffix; an institution can add its own.

A renderer is a function from the canonical invoice to bytes. The built-in four are listed
here; an installed package adds one, or takes the place of one, by an entry point:

    [project.entry-points."billing_lib.documents"]
    csv = "our_billing.journal:render"      # writes <number>.csv
"""

from collections.abc import Callable
from pathlib import Path

from billing_lib.documents.html import render_html
from billing_lib.documents.logo import with_logo
from billing_lib.documents.pdf import render_pdf
from billing_lib.documents.text import Invoice, draft_of, file_name
from billing_lib.documents.ubl import render_ubl
from billing_lib.documents.xlsx import render_xlsx
from billing_lib.errors import AmbiguousFormat, NotReady, UnknownFormat
from billing_lib.installed import entry_points
from billing_lib.pricing.logo import Logo

Renderer = Callable[[Invoice], bytes]
"""A pure function of the canonical invoice, with the content of the logo that it names
(documents/logo.py): the same invoice, the same bytes."""

GROUP = "billing_lib.documents"
"""The entry points' group."""


def _html(invoice: Invoice) -> bytes:
    return render_html(invoice).encode("utf-8")


BUILT_IN: dict[str, Renderer] = {
    "html": _html,
    "pdf": render_pdf,
    "xlsx": render_xlsx,
    "xml": render_ubl,
}

FOR_DRAFTS = ("html", "pdf", "xlsx")
"""What a draft is written in: for people to look at. Programs would take it for an invoice."""


def renderers() -> dict[str, Renderer]:
    """Suffix → renderer: the built-in ones, then the installed ones, in order of suffix.

    Raises
    ------
    AmbiguousFormat
        Two installed packages give the same suffix: which one writes must not be chance.
    """
    added: dict[str, Renderer] = {}
    offered: dict[str, str] = {}
    for entry in entry_points(GROUP):
        if offered.setdefault(entry.name, entry.value) != entry.value:
            raise AmbiguousFormat(
                f"{offered[entry.name]} and {entry.value} both write .{entry.name} documents",
                where=f"entry points {GROUP}",
                remedy="uninstall one of the two packages",
            )
        added[entry.name] = entry.load()
    return BUILT_IN | added


def require_format(suffix: str) -> None:
    """Pass if invoices are written in this format.

    Raises
    ------
    UnknownFormat
        They are not.
    """
    if suffix not in renderers():
        raise UnknownFormat(
            f"no invoice is written as '{suffix}'", remedy=f"say {', '.join(renderers())}"
        )


def render(invoice: Invoice, suffix: str) -> bytes:
    """The invoice, or a draft of one, in a format.

    Raises
    ------
    NotReady
        It is a draft, and the format is for issued invoices.
    """
    if draft_of(invoice) and suffix not in FOR_DRAFTS:
        raise NotReady(
            f"{draft_of(invoice)} is a draft, and .{suffix} is for issued invoices",
            remedy="issue it first, or write it as .pdf",
        )
    return renderers()[suffix](invoice)


def write_documents(invoice: Invoice, folder: Path, logo: Logo | None = None) -> list[Path]:
    """Write ``<number>.<suffix>`` in every format into the folder; the files, in that order.

    A draft is written in those formats that are for drafts.

    Parameters
    ----------
    logo
        The one that the invoice names, if it names one.

    Raises
    ------
    InvalidRecord
        It is another one.
    """
    invoice = with_logo(invoice, logo)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix in FOR_DRAFTS if draft_of(invoice) else renderers():
        path = folder / file_name(invoice, suffix)
        path.write_bytes(render(invoice, suffix))
        written.append(path)
    return written
