"""The formats of invoices, by file suffix, and writing invoices in them.

A renderer is a function from the canonical invoice to bytes. Four are built in; an installed
package adds one, or replaces one, by an entry point:

    [project.entry-points."billing_lib.documents"]
    csv = "our_billing.journal:render"      # writes <number>.csv

Documents are made by all processors at once: in threads, or, if they are many, in processes that
end after a while and so give their memory back. Writing twice changes nothing: a file with the same
bytes stays as it is.

    write_documents_of({"RC-1994-00001": {…}, "RC-1993-11-1/u4": {…}}, "pdf", Path("november"))
    → november/RC-1994-00001.pdf, november/RC-1993-11-1_u4.pdf
"""

import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
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
from billing_lib.documents.view import InvoiceView, view
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

_ON_PAGE: dict[str, Callable[[Invoice, InvoiceView], bytes]] = {
    "html": lambda invoice, page: render_html(invoice, page).encode("utf-8"),
    "pdf": render_pdf,
    "xlsx": render_xlsx,
}
"""The built-in renderers of pages for people, which several formats share."""

FOR_DRAFTS = tuple(_ON_PAGE)
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


def write_documents(
    invoices: Iterable[Invoice], folder: Path, logo: Logo | None = None
) -> list[Path]:
    """Write invoices in every format, and drafts in FOR_DRAFTS, into the folder; the changed files.

    ``logo`` is that of the facility whose invoices they are.
    """
    shown = {
        invoice["number"] or draft_of(invoice): with_logo(invoice, logo) for invoice in invoices
    }
    return write_documents_of(shown, tuple(renderers()), folder)


FEW = 3_000
"""So many lines are shown in this process: starting others would take longer."""

Shown = TypeVar("Shown")
Made = TypeVar("Made")

_AT_ONCE = 2_000  # lines that a process shows before it ends, which gives Typst's memory back
_PAGE = 20  # the work of a document without lines, in lines


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
        (invoice, formats)
        for invoice in invoices.values()
        if (
            formats := tuple(
                suffix
                for suffix in several
                if len(several) == 1 or suffix in FOR_DRAFTS or not draft_of(invoice)
            )
        )
    ]
    paths = [
        folder / file_name(invoice, suffix) for invoice, formats in wanted for suffix in formats
    ]
    twice = [str(path) for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise UnwritableFile("two drafts would be in this one file", where=twice[0])
    sizes = [_size(invoice) for invoice, _ in wanted]
    with closing(_made(wanted, _render_formats, sizes)) as made:
        return _write(paths, (content for contents in made for content in contents), step)


def _render_formats(wanted: tuple[Invoice, Sequence[str]]) -> list[bytes]:
    """The invoice in these formats; a function, not a lambda: other processes find it by name."""
    invoice, suffixes = wanted
    made = renderers()
    shared = [it for it in suffixes if it in FOR_DRAFTS and made[it] is BUILT_IN[it]]
    page = view(invoice) if len(shared) > 1 else None
    return [
        _ON_PAGE[suffix](invoice, page)
        if page is not None and suffix in shared
        else render(invoice, suffix)
        for suffix in suffixes
    ]


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
    with closing(_made(shown, make, [_PAGE] * len(shown))) as contents:
        return _write(paths, contents, step)


def _write(paths: Sequence[Path], contents: Iterable[bytes], step: Progress) -> list[Path]:
    for folder in {path.parent for path in paths}:
        make_folder(folder)
    written = []
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
    return _made(invoices, partial(render, suffix=suffix), [_size(it) for it in invoices])


def _size(invoice: Invoice) -> int:
    return len(invoice["lines"]) + _PAGE


def _made(
    shown: Sequence[Shown], make: Callable[[Shown], Made], sizes: Sequence[int]
) -> Generator[Made, None, None]:
    """The documents of each invoice, in the given order.

    ``sizes`` are in lines. A process makes some _AT_ONCE lines and ends, or fewer where processors
    would have nothing to do.
    """
    threads = 2 * (os.cpu_count() or 1)  # Typst lets another one run meanwhile
    pool: Executor
    if sum(sizes) <= FEW:
        batches, pool = [[one] for one in shown], ThreadPoolExecutor(threads)
    else:
        batches = _batches(shown, sizes, min(_AT_ONCE, sum(sizes) // threads))
        # Forked from a server that has imported this module, not from this process, whose threads
        # of polars a copy would lack.
        context = get_context("forkserver")
        context.set_forkserver_preload([__name__])
        pool = ProcessPoolExecutor(os.cpu_count(), mp_context=context, max_tasks_per_child=1)
    try:
        for made in pool.map(partial(_make_batch, make), batches):
            yield from made
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(shown: Sequence[Shown], sizes: Sequence[int], at_once: int) -> list[list[Shown]]:
    batches: list[list[Shown]] = []
    room = 0
    for one, size in zip(shown, sizes, strict=True):
        if room < size:
            batches.append([])
            room = at_once
        batches[-1].append(one)
        room -= size
    return batches


def _make_batch(make: Callable[[Shown], Made], batch: list[Shown]) -> list[Made]:
    return [make(one) for one in batch]
