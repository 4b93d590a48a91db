"""Issuing without a notebook, for tests of what stands in the ledger afterwards.

What papermill would execute is computed here in the same process from the snapshot as it was
written; everything else is what ``billing issue`` does.
"""

import datetime as dt
import hashlib
import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from billing_lib.audit import log
from billing_lib.audit.bag import TAG_MANIFEST, file_sha256, write_bag
from billing_lib.documents import write_documents
from billing_lib.ledger.database import writing
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings
from billing_lib.workflow.approve import Prepared, prepare
from billing_lib.workflow.detail import detail_names, into
from billing_lib.workflow.invoice import compute_invoices, invoice_json, write_invoices
from billing_lib.workflow.issue import commit_issuing, freeze
from billing_lib.workflow.runs import RunScope
from billing_lib.workflow.snapshot import Snapshot, snapshot_hash

WHOLE = RunScope()


def issue_here(
    engine: Engine,
    book: PriceBook,
    period: Period,
    folder: Path,
    selection: RunScope = WHOLE,
    date: dt.date | None = None,
    settings: Settings | None = None,
    runs: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Issue what may be issued of a month; the invoices by number.

    ``runs`` is an archive, into which the record of results and documents is put. The charges
    beside invoices whose lines sum several are in ``details`` of the folder, too.
    """
    with writing(engine) as connection:
        prepared = prepare(connection, book, period, selection)
        return _issue(connection, book, prepared, folder, date, settings, runs)


def issue_prepared(
    engine: Engine,
    book: PriceBook,
    prepared: Prepared,
    folder: Path,
    date: dt.date | None = None,
) -> dict[str, dict[str, Any]]:
    """Issue what is approved of a run; the invoices by number."""
    with writing(engine) as connection:
        return _issue(connection, book, prepared, folder, date)


def _issue(
    connection: Connection,
    book: PriceBook,
    prepared: Prepared,
    folder: Path,
    date: dt.date | None,
    settings: Settings | None = None,
    runs: Path | None = None,
) -> dict[str, dict[str, Any]]:
    assert prepared.codes, prepared.waiting
    frozen = freeze(
        connection,
        book,
        prepared.run,
        prepared.codes,
        invoice_date=date or dt.date(2021, 1, 4),
        commit="0" * 40,
        container="none",
        submitted=prepared.submitted,
    )
    frozen.snapshot.write(folder / frozen.id)
    computed = compute_invoices(Snapshot.read(folder / frozen.id), into(folder / "details"))
    prints = {
        number: hashlib.sha256(invoice_json(invoice).encode()).hexdigest()
        for number, invoice in computed.invoices.items()
    }
    sha256 = snapshot_hash(folder / frozen.id)
    seal = (
        sha256
        if runs is None
        else _archive(runs / frozen.folder, computed.invoices, book, folder / "details")
    )
    entry = {"issuing": frozen.id, "facility": frozen.facility, "seal": seal}
    log.append(connection, settings or Settings(), **entry)
    commit_issuing(connection, book, frozen, computed, prints, sha256)
    return computed.invoices


def _archive(
    record: Path, invoices: dict[str, dict[str, Any]], book: PriceBook, details: Path
) -> str:
    """Write a record as sealing does, and give its seal."""
    data, logo = record / "data", book.facility.logo
    write_invoices(invoices, data / "invoices")
    for name in (name for it in invoices.values() for name in detail_names(it)):
        shutil.copyfile(details / name, data / "invoices" / name)
    write_documents(invoices.values(), data / "documents", logo)
    if logo is not None:
        (data / "snapshot").mkdir()
        (data / "snapshot" / logo.file).write_bytes(logo.content)
    write_bag(record, {})
    return file_sha256(record / TAG_MANIFEST)
