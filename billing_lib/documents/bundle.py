"""The documents of many invoices at once, and of one into a file that somebody names.

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

from billing_lib.documents.registry import FOR_DRAFTS, render
from billing_lib.documents.text import Invoice, draft_of, file_name
from billing_lib.documents.writing import make_folder, write_file
from billing_lib.errors import UnwritableFile
from billing_lib.workflow.steps import Step, unheard

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

    Raises
    ------
    NotReady
        One is a draft, and the one format is for issued invoices.
    UnwritableFile
        The folder cannot be written, or two drafts would be in one file.
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

    Raises
    ------
    UnwritableFile
        The folder cannot be written.
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
    """Write an invoice, or a draft, in one format; whether the file was not so already.

    Raises
    ------
    UnwritableFile
        It cannot be written.
    """
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
