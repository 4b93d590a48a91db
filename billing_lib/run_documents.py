"""The documents of a run's invoices, issued or drafts, in some formats, into one folder.

billing run documents RC-1993-11-1 --formats pdf,xlsx,xml --to november
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from sqlalchemy import Engine

from billing_lib.audit.archive import find_record
from billing_lib.documents.bundle import write_documents_of
from billing_lib.documents.logo import with_logo
from billing_lib.documents.registry import FOR_DRAFTS, require_format
from billing_lib.errors import NotReady
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import reading, writing
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings
from billing_lib.workflow.canonical import read_invoice
from billing_lib.workflow.permissions import VIEWER, require
from billing_lib.workflow.preview import preview_invoices
from billing_lib.workflow.run_actions import note_job
from billing_lib.workflow.snapshot import read_logo
from billing_lib.workflow.steps import Step, unheard


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

    Raises
    ------
    NotReady
        The run has no invoice that can be written so.
    UnknownFormat
        There is no such format, or none is named.
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
