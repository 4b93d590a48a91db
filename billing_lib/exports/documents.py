"""Documents in files: a statement, a month's statements, or the invoices of a run.

A statement is the ledger's present one. The invoices in its workbook come from their audit records
and must match the ledger, or nothing is written.

    billing run documents RC-1993-11-1 --formats pdf,xlsx,xml --to november
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Engine

from billing_lib.documents.pictures import with_logo
from billing_lib.documents.registry import (
    FOR_DRAFTS,
    require_document_format,
    write_documents_of,
    write_each,
)
from billing_lib.documents.statement import (
    WITH_INVOICES,
    render_statement,
    require_statement_format,
    statement_file,
    suffix_of,
)
from billing_lib.documents.text import Invoice
from billing_lib.documents.writing import write_file
from billing_lib.errors import NotReady, count_of
from billing_lib.exports.packages import invoices_with_logos
from billing_lib.folders import Folder
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.invoices import read_archived
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings
from billing_lib.workflow.approve import note_job
from billing_lib.workflow.issue import preview_invoices
from billing_lib.workflow.permissions import VIEWER, require
from billing_lib.workflow.statements import Statement, list_statements, read_statement
from billing_lib.workflow.steps import Progress, unheard

Stated = tuple[Statement, Mapping[str, Invoice]]
"""A canonical statement, and its canonical invoices if the document needs them."""


def statement_documents(
    engine: Engine,
    archive: Folder,
    books: dict[str, PriceBook],
    statement_id: str,
    suffixes: Sequence[str],
) -> dict[str, bytes]:
    """A statement's documents in these formats, by file name."""
    statement = read_statement(engine, books, statement_id)
    documents = {}
    for suffix in suffixes:
        require_statement_format(suffix)
        (stated,) = _with_invoices(engine, archive, [statement], suffix)
        documents[statement_file(statement, suffix)] = _rendered(stated, suffix)
    return documents


def write_statement(
    engine: Engine, archive: Folder, books: dict[str, PriceBook], statement_id: str, path: Path
) -> bool:
    """Write a statement in the format of the file's name; whether the file changed."""
    documents = statement_documents(engine, archive, books, statement_id, [suffix_of(path)])
    return write_file(path, next(iter(documents.values())))


def write_statements(
    engine: Engine,
    archive: Folder,
    books: dict[str, PriceBook],
    period: Period,
    suffix: str,
    folder: Path,
    teams: list[str] | None = None,
    step: Progress = unheard,
) -> list[Path]:
    """Write a month's statements that the user may see into a folder; the changed files."""
    require_statement_format(suffix)
    listed = list_statements(engine, str(period), teams)["statement"]
    statements = [read_statement(engine, books, statement_id) for statement_id in listed]
    stated = _with_invoices(engine, archive, statements, suffix)
    paths = [folder / statement_file(statement, suffix) for statement in statements]
    return write_each(stated, partial(_rendered, suffix=suffix), paths, step)


def _rendered(stated: Stated, suffix: str) -> bytes:
    statement, invoices = stated
    return render_statement(statement, suffix, invoices)


def _with_invoices(
    engine: Engine, archive: Folder, statements: Sequence[Statement], suffix: str
) -> list[Stated]:
    if suffix != WITH_INVOICES:
        return [(statement, {}) for statement in statements]
    numbers = sorted({it for each in statements for it in _numbers(each)})
    with reading(engine) as connection:
        archived = read_archived(connection, numbers=numbers)
    invoices = invoices_with_logos(archive, archived)
    return [(each, {it: invoices[it] for it in _numbers(each)}) for each in statements]


def _numbers(statement: dict[str, Any]) -> list[str]:
    return [it["number"] for part in statement["facilities"] for it in part["invoices"]]


def write_run_documents(
    engine: Engine,
    settings: Settings,
    book: PriceBook,
    run: str,
    suffixes: Sequence[str],
    folder: Path,
    step: Progress = unheard,
) -> list[Path]:
    """Write the documents of a run's invoices; the changed files. A job of the run.

    Closed invoices and those in ERROR are left out, and what has no charges.

    Parameters
    ----------
    step
        Told the count; after a stop the files written so far are whole.
    """
    suffixes = list(dict.fromkeys(suffixes))  # a format named twice is written once
    formats = ", ".join(suffixes)
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        codes = ledger_invoices.read_invoices(connection, run=run)["code"].to_list()
    documents = read_documents(engine, settings, book, codes, suffixes)
    if not documents:
        raise NotReady(f"no invoice of run {run} can be written as {formats}", where=str(folder))
    written = write_documents_of(documents, suffixes, folder, step)
    with writing(engine) as connection:
        if written:
            log = (
                f"{count_of(len(documents), 'invoice')}, "
                f"{count_of(len(written), 'document')} written"
            )
            note_job(connection, run, formats, log)
    return written


def read_documents(
    engine: Engine,
    settings: Settings,
    book: PriceBook,
    codes: list[str],
    suffixes: Sequence[str],
) -> dict[str, Invoice]:
    """The invoices of a facility that can be written in these formats, with their logos.

    Issued invoices come from their audit records, by number. Drafts, in FOR_DRAFTS only, are as
    they would be issued now, by code; those without charges are left out.
    """
    for suffix in suffixes or [""]:
        require_document_format(suffix)
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        held = ledger_invoices.read_invoices(connection, book.facility.code, codes=codes)
        drafts = held.filter(
            pl.col("state").is_in(("OPEN", "APPROVING", "REJECTED", "QUARANTINED"))
            & (pl.col("charges") > 0)
        )["code"].to_list()
        wanted = [] if set(suffixes).isdisjoint(FOR_DRAFTS) else drafts
        previewed = preview_invoices(connection, book, wanted) if wanted else {}
        numbers = held["number"].drop_nulls().to_list()
        archived = read_archived(connection, numbers=numbers)
    documents = {code: with_logo(draft, book.facility.logo) for code, draft in previewed.items()}
    return documents | invoices_with_logos(settings.runs, archived)
