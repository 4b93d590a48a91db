"""Issuing a month, a run, or what is approved of one; under a lock per facility.

The lock ends with the process that holds it, so it keeps two issuings of a facility apart and a
crash leaves none behind (docs/architecture.md). What an interrupted issuing left is settled
first. The work itself is issuer.py's.
"""

from pathlib import Path

import polars as pl
from sqlalchemy import Engine

from billing_lib.issuer import Issued, Issuer, Terms, settle
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import issuings
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.lock import issuing
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings
from billing_lib.workflow.approving import approved_of, prepare, prepare_run
from billing_lib.workflow.permissions import VIEWER, require
from billing_lib.workflow.run_actions import run_of
from billing_lib.workflow.selection import RunSelection
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
