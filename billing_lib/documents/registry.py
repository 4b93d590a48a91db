"""The formats an invoice is written in, by file suffix; an institution can add its own.

A renderer is a function from the canonical invoice to bytes. The built-in four are listed
here; an installed package adds one, or takes the place of one, by an entry point:

    [project.entry-points."billing_lib.documents"]
    csv = "our_billing.journal:render"      # writes <number>.csv

The documents of many invoices at once, and of one into a file that somebody names.

    write_documents_of({"RC-1994-00001": {…}, "RC-1993-11-1/u4": {…}}, "pdf", Path("november"))
    → november/RC-1994-00001.pdf, november/RC-1993-11-1_u4.pdf

Writing twice changes nothing: a file that holds the same bytes already is left as it is.
"""

import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from billing_lib.documents.html import render_html
from billing_lib.documents.pdf import render_pdf
from billing_lib.documents.pictures import with_logo
from billing_lib.documents.text import Invoice, draft_of, file_name
from billing_lib.documents.ubl import render_ubl
from billing_lib.documents.workbook import render_xlsx
from billing_lib.documents.writing import make_folder, write_file
from billing_lib.errors import AmbiguousFormat, NotReady, UnknownFormat, UnwritableFile
from billing_lib.pricing.fields import Logo
from billing_lib.settings import entry_points
from billing_lib.workflow.steps import Step, unheard

Renderer = Callable[[Invoice], bytes]
"""A pure function of the canonical invoice, with the content of the logo that it names
(documents/pictures.py): the same invoice, the same bytes."""

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
    """Suffix → renderer: the built-in ones, then the installed ones, in order of suffix."""
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
    """Pass if invoices are written in this format."""
    if suffix not in renderers():
        raise UnknownFormat(
            f"no invoice is written as '{suffix}'", remedy=f"say {', '.join(renderers())}"
        )


def render(invoice: Invoice, suffix: str) -> bytes:
    """The invoice, or a draft of one, in a format."""
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
    """
    invoice = with_logo(invoice, logo)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix in FOR_DRAFTS if draft_of(invoice) else renderers():
        path = folder / file_name(invoice, suffix)
        path.write_bytes(render(invoice, suffix))
        written.append(path)
    return written


FEW = 20
"""Up to so many documents are made in this process; starting others takes as long."""

Shown = TypeVar("Shown")

_AT_ONCE = 8  # documents that a process makes before it asks for more


def write_documents_of(
    invoices: Mapping[str, Invoice],
    suffixes: str | Sequence[str],
    folder: Path,
    step: Step = unheard,
) -> list[Path]:
    """Write these invoices, or drafts, into a folder; the files that were not so already.

    Parameters
    ----------
    invoices
        By number, a draft by its code.
    suffixes
        The format, or several: ``pdf``, ``html``, ``xlsx``, ``xml`` or that of an installed
        package. A draft is left out of those that are for issued invoices, if there are several.
    step
        Told how many are written; who stops it there has these, each whole.
    """
    several = [suffixes] if isinstance(suffixes, str) else suffixes
    wanted = [
        (invoice, suffix)
        for invoice in invoices.values()
        for suffix in several
        if len(several) == 1 or suffix in FOR_DRAFTS or not draft_of(invoice)
    ]
    paths = [folder / file_name(invoice, suffix) for invoice, suffix in wanted]
    twice = [str(path) for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise UnwritableFile("two drafts would be in this one file", where=twice[0])
    return write_each(wanted, _render, paths, step)


def _render(wanted: tuple[Invoice, str]) -> bytes:
    return render(*wanted)


def write_each(
    shown: Sequence[Shown],
    make: Callable[[Shown], bytes],
    paths: Sequence[Path],
    step: Step = unheard,
) -> list[Path]:
    """Write the document of each into its file; the files that were not so already.

    Parameters
    ----------
    make
        From what is shown to the document's bytes; a function that other processes find too.
    paths
        All in one folder, which is made where there is none.
    step
        Told how many are written; who stops it there has these, each whole.
    """
    for folder in {path.parent for path in paths}:
        make_folder(folder)
    written = []
    with closing(_made(shown, make)) as contents:
        for at, (path, content) in enumerate(zip(paths, contents, strict=True)):
            step(at, len(paths), f"writing {path.name}")
            if write_file(path, content):
                written.append(path)
    step(len(paths), len(paths), "written")
    return written


def write_document(invoice: Invoice, suffix: str, path: Path) -> bool:
    """Write an invoice, or a draft, in one format; whether the file was not so already."""
    return write_file(path, render(invoice, suffix))


def rendered(invoices: Sequence[Invoice], suffix: str) -> Iterator[bytes]:
    """Each invoice in this format, in the order given, made by all processors if many."""
    return _made(invoices, partial(render, suffix=suffix))


def _made(shown: Sequence[Shown], make: Callable[[Shown], bytes]) -> Generator[bytes, None, None]:
    """Each document, in the order given, made by all processors if many."""
    if len(shown) <= FEW:
        yield from map(make, shown)
        return
    # A new process, not a copy of this one: polars has threads, which a copy would lack.
    pool = ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"))
    try:
        yield from pool.map(make, shown, chunksize=_AT_ONCE)
    finally:
        pool.shutdown(cancel_futures=True)
