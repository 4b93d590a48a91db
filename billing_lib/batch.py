"""Issuing a month, a run, or what is approved of one; under a lock per facility.

The lock ends with the process that holds it, so it keeps two issuings of a facility apart and a
crash leaves none behind (docs/architecture.md). What an interrupted issuing left is settled
first. The work itself is issuer.py's.
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
from billing_lib.issuer import Issued, Issuer, Terms, settle
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import issuings
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.lock import issuing
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings
from billing_lib.workflow.approving import approved_of, prepare, prepare_run
from billing_lib.workflow.canonical import read_invoice
from billing_lib.workflow.permissions import VIEWER, require
from billing_lib.workflow.preview import preview_invoices
from billing_lib.workflow.run_actions import note_job, run_of
from billing_lib.workflow.selection import RunSelection
from billing_lib.workflow.snapshot import read_logo
from billing_lib.workflow.steps import Step, unheard


def issue_month(
    engine: Engine,
    settings: Settings,
    book: PriceBook,
    period: Period,
    selection: RunSelection | None = None,
    *,
    terms: Terms | None = None,
    step: Step = unheard,
) -> Issued:
    """Issue what may be issued of a month, or of some projects or teams of it.

    Its run is made where there is none, takes in what is pending, and is submitted; what all
    reviewers have approved is issued.

    Parameters
    ----------
    step
        Told how far it is.

    Raises
    ------
    InvalidPeriod
        The period is not over.
    NotPermitted
        Only an issuer does this.
    AlreadyIssued, NotReady, DirtyTree, IssuingElsewhere
        It cannot be issued as things are.
    RunFailed
        The notebook or the archiving failed; nothing was issued.
    """
    chosen = selection or RunSelection()
    stated = terms or Terms()
    issuer = Issuer.begin(engine, settings, book, period, stated, step)
    with issuing(engine, book.facility.code):
        finished = settle(engine, settings.runs, book.facility.code, period, chosen)
        if finished is not None:
            return finished
        with writing(engine) as connection:
            prepared = prepare(connection, book, period, chosen, unattended=stated.unattended)
        return issuer.issue(prepared, nothing="nothing can be issued yet")


def process_run(
    engine: Engine,
    settings: Settings,
    book: PriceBook,
    run: str,
    *,
    terms: Terms | None = None,
    step: Step = unheard,
) -> Issued:
    """The next step of a run: take in, calculate and submit, issue what is approved by all.

    Raises
    ------
    NotPermitted
        Only an issuer does this.
    NotReady
        The run is not open, nobody has signed its month off, or it waits for a person.
    """
    period = _period_of(engine, book, run)
    stated = terms or Terms()
    issuer = Issuer.begin(engine, settings, book, period, stated, step)
    with issuing(engine, book.facility.code):
        settle(engine, settings.runs, book.facility.code, issuer.period, RunSelection())
        with writing(engine) as connection:
            prepared = prepare_run(
                connection, book, run, RunSelection(), [], unattended=stated.unattended
            )
        return issuer.issue(prepared, nothing="nothing can be issued yet")


def issue_approved(
    engine: Engine,
    settings: Settings,
    book: PriceBook,
    run: str,
    codes: list[str] | None = None,
    *,
    terms: Terms | None = None,
    step: Step = unheard,
) -> Issued:
    """Issue those invoices of a run that all reviewers have approved.

    Raises
    ------
    NotPermitted
        Only an issuer does this.
    NotReady
        None is approved by all.
    """
    period = _period_of(engine, book, run)
    issuer = Issuer.begin(engine, settings, book, period, terms or Terms(), step)
    with issuing(engine, book.facility.code):
        settle(engine, settings.runs, book.facility.code, issuer.period, RunSelection())
        with writing(engine) as connection:
            known = ledger_invoices.read_invoices(connection, run=run)["code"].to_list()
            prepared = approved_of(connection, book, run, codes or known, [])
        return issuer.issue(prepared, nothing=f"nothing of run {run} is approved by all")


def issued_records(engine: Engine, archive: Path, facility: str, period: Period) -> list[Path]:
    """The audit records of what was issued of a period, in the order of freezing."""
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        found = issuings.read_issuings(connection, facility, str(period))
    return [archive / record for record in found.filter(pl.col("state") == "ISSUED")["record"]]


def _period_of(engine: Engine, book: PriceBook, run: str) -> Period:
    with reading(engine) as connection:
        return Period.parse(run_of(connection, book, run).period)


def write_run_documents(
    engine: Engine,
    settings: Settings,
    book: PriceBook,
    run: str,
    suffixes: Sequence[str],
    folder: Path,
) -> list[Path]:
    """Write the documents of a run's invoices in some formats; the files that were not so already.

    Issued invoices are as their audit records have them; drafts, where the format knows them, as
    they would be issued now. What is closed or in ERROR is left out. It is a job of the run.

    Raises
    ------
    NotReady
        The run has no invoice that can be written so.
    UnknownFormat
        There is no such format.
    """
    for suffix in suffixes:
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
    written = write_documents_of(found, suffixes, folder)
    with writing(engine) as connection:
        if written:
            log = f"{len(found):,} invoices, {len(written):,} documents written"
            note_job(connection, run, told, log)
    return written
