"""The formats of invoices, by file suffix, and writing invoices in them.

A renderer is a function from the canonical invoice to bytes. Four are built in; an installed
package adds one, or replaces one, by an entry point:

    [project.entry-points."billing_lib.documents"]
    csv = "our_billing.journal:render"      # writes <number>.csv

Many documents at once are made by all processors. Writing twice changes nothing: a file with the
same bytes stays as it is.

    write_documents_of({"RC-1994-00001": {…}, "RC-1993-11-1/u4": {…}}, "pdf", Path("november"))
    → november/RC-1994-00001.pdf, november/RC-1993-11-1_u4.pdf
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
from billing_lib.workflow.steps import Progress, unheard

Renderer = Callable[[Invoice], bytes]
"""A pure function of the canonical invoice and the content of its logo (documents/pictures.py)."""

GROUP = "billing_lib.documents"
"""The group of the entry points."""

BUILT_IN: dict[str, Renderer] = {
    "html": lambda invoice: render_html(invoice).encode("utf-8"),
    "pdf": render_pdf,
    "xlsx": render_xlsx,
    "xml": render_ubl,
}

FOR_DRAFTS = ("html", "pdf", "xlsx")
"""The formats of drafts, for people alone: a program would take a draft for an invoice."""


def renderers() -> dict[str, Renderer]:
    """The renderers by suffix: the built-in ones, then those of installed packages."""
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


def require_document_format(suffix: str) -> None:
    """Refuse an unknown format of invoices."""
    if suffix not in renderers():
        raise UnknownFormat(
            f"there is no format '{suffix}' of invoices", remedy=f"say {', '.join(renderers())}"
        )


def render(invoice: Invoice, suffix: str) -> bytes:
    """An invoice or a draft in a format; drafts have FOR_DRAFTS only."""
    if draft_of(invoice) and suffix not in FOR_DRAFTS:
        raise NotReady(
            f"{draft_of(invoice)} is a draft, and .{suffix} is for issued invoices",
            remedy="issue it first, or write it as .pdf",
        )
    return renderers()[suffix](invoice)


def write_documents(invoice: Invoice, folder: Path, logo: Logo | None = None) -> list[Path]:
    """Write an invoice in every format, or a draft in FOR_DRAFTS, into the folder; the files."""
    invoice = with_logo(invoice, logo)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix in FOR_DRAFTS if draft_of(invoice) else renderers():
        path = folder / file_name(invoice, suffix)
        path.write_bytes(render(invoice, suffix))
        written.append(path)
    return written


FEW = 20
"""So many documents are made in this process: starting others would take as long."""

Shown = TypeVar("Shown")

_AT_ONCE = 8  # documents for one process at a time


def write_documents_of(
    invoices: Mapping[str, Invoice],
    suffixes: str | Sequence[str],
    folder: Path,
    step: Progress = unheard,
) -> list[Path]:
    """Write invoices and drafts into a folder; the changed files.

    Parameters
    ----------
    invoices
        By number, drafts by code.
    suffixes
        One format or several; of several, drafts are written in FOR_DRAFTS only.
    step
        Told the count; after a stop the files written so far are whole.
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
    return write_each(wanted, _render_pair, paths, step)


def _render_pair(wanted: tuple[Invoice, str]) -> bytes:
    return render(*wanted)  # a function, not a lambda: other processes find it by name


def write_each(
    shown: Sequence[Shown],
    make: Callable[[Shown], bytes],
    paths: Sequence[Path],
    step: Progress = unheard,
) -> list[Path]:
    """Make each document and write it into its file; the changed files.

    Parameters
    ----------
    make
        A function at a module's top level, so that other processes find it.
    step
        Told the count; after a stop the files written so far are whole.
    """
    for folder in {path.parent for path in paths}:
        make_folder(folder)
    written = []
    with closing(_documents(shown, make)) as contents:
        for at, (path, content) in enumerate(zip(paths, contents, strict=True)):
            step(at, len(paths), f"writing {path.name}")
            if write_file(path, content):
                written.append(path)
    step(len(paths), len(paths), "written")
    return written


def write_document(invoice: Invoice, suffix: str, path: Path) -> bool:
    """Write an invoice or a draft in one format; whether the file changed."""
    return write_file(path, render(invoice, suffix))


def rendered(invoices: Sequence[Invoice], suffix: str) -> Iterator[bytes]:
    """Each invoice in this format, in the given order."""
    return _documents(invoices, partial(render, suffix=suffix))


def _documents(
    shown: Sequence[Shown], make: Callable[[Shown], bytes]
) -> Generator[bytes, None, None]:
    """Each document, in the given order; many are made by all processors."""
    if len(shown) <= FEW:
        yield from map(make, shown)
        return
    # New processes, not copies of this one: a copy would lack polars' threads.
    pool = ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"))
    try:
        yield from pool.map(make, shown, chunksize=_AT_ONCE)
    finally:
        pool.shutdown(cancel_futures=True)
