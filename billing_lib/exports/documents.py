"""The documents of statements: one into a file, or a month's into a folder.

A statement is as the ledger has it now; the invoices in its workbook are as their audit records
have them, and are what the ledger says they are, or nothing is written.

The documents of a run's invoices, issued or drafts, in some formats, into one folder.

billing run documents RC-1993-11-1 --formats pdf,xlsx,xml --to november
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Engine

from billing_lib.audit.verify import find_record
from billing_lib.documents.pictures import with_logo
from billing_lib.documents.registry import (
    FOR_DRAFTS,
    require_format,
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
from billing_lib.errors import NotReady
from billing_lib.exports.packages import invoices_with_logos
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.invoices import read_archived
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings
from billing_lib.workflow.approve import note_job
from billing_lib.workflow.invoice import read_invoice
from billing_lib.workflow.issue import preview_invoices
from billing_lib.workflow.permissions import VIEWER, require
from billing_lib.workflow.snapshot import read_logo
from billing_lib.workflow.statements import Statement, list_statements, read_statement
from billing_lib.workflow.steps import Step, unheard

Stated = tuple[Statement, Mapping[str, Invoice]]
"""A canonical statement, and the canonical invoices on it where its document needs them."""


def statement_documents(
    engine: Engine,
    archive: Path,
    books: dict[str, PriceBook],
    statement_id: str,
    suffixes: Sequence[str],
) -> dict[str, bytes]:
    """A statement in each of these formats, by file name."""
    statement = read_statement(engine, books, statement_id)
    made = {}
    for suffix in suffixes:
        require_statement_format(suffix)
        (stated,) = _with_invoices(engine, archive, [statement], suffix)
        made[statement_file(statement, suffix)] = _rendered(stated, suffix)
    return made


def write_statement(
    engine: Engine, archive: Path, books: dict[str, PriceBook], statement_id: str, path: Path
) -> bool:
    """Write a statement in the format that the file's name says; whether it was not so already."""
    suffix = suffix_of(path)
    made = statement_documents(engine, archive, books, statement_id, [suffix])
    return write_file(path, next(iter(made.values())))


def write_statements(
    engine: Engine,
    archive: Path,
    books: dict[str, PriceBook],
    period: Period,
    suffix: str,
    folder: Path,
    teams: list[str] | None = None,
    step: Step = unheard,
) -> list[Path]:
    """Write a month's statements that may be seen, in one format, into a folder; the files that
    were not so already.

    Parameters
    ----------
    step
        Told how many are written.
    """
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
    engine: Engine, archive: Path, statements: Sequence[Statement], suffix: str
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
    step: Step = unheard,
) -> list[Path]:
    """Write the documents of a run's invoices in some formats; the files that were not so already.

    Issued invoices are as their audit records have them; drafts, where the format knows them, as
    they would be issued now. What is closed or in ERROR is left out. It is a job of the run.

    Parameters
    ----------
    step
        Told how many are written; who stops it there has these, each whole.
    """
    suffixes = list(dict.fromkeys(suffixes))  # one that is named twice is written once
    for suffix in suffixes or [""]:
        require_format(suffix)
    told = ", ".join(suffixes)
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        held = ledger_invoices.read_invoices(connection, run=run)
        numbers = held["number"].drop_nulls().sort()
        drafts = held.filter(
            pl.col("state").is_in(("OPEN", "APPROVING", "REJECTED", "QUARANTINED"))
            & (pl.col("charges") > 0)
        )
        codes = [] if set(suffixes).isdisjoint(FOR_DRAFTS) else drafts["code"].to_list()
        previewed = preview_invoices(connection, book, codes) if codes else {}
    found = {code: with_logo(draft, book.facility.logo) for code, draft in previewed.items()}
    for number in numbers:
        data = find_record(number, settings.runs) / "data"
        text = (data / "invoices" / f"{number}.json").read_text(encoding="utf-8")
        found[number] = with_logo(read_invoice(text), read_logo(data / "snapshot"))
    if not found:
        raise NotReady(f"no invoice of run {run} can be written as {told}", where=str(folder))
    written = write_documents_of(found, suffixes, folder, step)
    with writing(engine) as connection:
        if written:
            log = f"{len(found):,} invoices, {len(written):,} documents written"
            note_job(connection, run, told, log)
    return written
