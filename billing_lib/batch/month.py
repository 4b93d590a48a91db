"""The scheduled job: issue the month of all facilities, state it, deliver it.

    for each facility with a price book, in parallel processes
        its open billing runs, then the rest of the month   →  issued, waiting or failed
    statements of all teams
    mail of the facilities with `deliver: automatic`

A facility that cannot be issued does not keep the others back. Waiting for a person (a review, a
sign-off, an approval) is not a failure; the next run of the job takes it up. A second run changes
nothing and says so.
"""

import datetime as dt
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial
from zoneinfo import ZoneInfo

import polars as pl
from sqlalchemy import Engine

from billing_lib.audit.provenance import provenance, require_clean
from billing_lib.batch.issuing import (
    IssuingResult,
    IssuingTerms,
    issue_approved,
    issue_month,
    parse_invoice_date,
    process_run,
)
from billing_lib.delivery.queue import deliver_month
from billing_lib.errors import AlreadyIssued, BillingError, InvalidPeriod, NotReady, count_of
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import runs
from billing_lib.ledger.database import open_ledger, reading
from billing_lib.ledger.states import DISABLED, ERROR, OPEN
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.program import spare_iri_parsers
from billing_lib.settings import Settings
from billing_lib.workflow.load import read_price_book, read_price_books
from billing_lib.workflow.runs import RunScope
from billing_lib.workflow.statements import generate_statements
from billing_lib.workflow.steps import Progress, unheard


@dataclass
class Outcome:
    """The outcome of one facility's month: sentences, and the numbers of issued invoices.

    Waiting for a person is not a failure.
    """

    facility: str
    sentences: list[str] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    failed: bool = False

    def say(self, sentence: str, *, failed: bool = False) -> None:
        """Add a sentence on this facility, once."""
        if self.facility not in sentence:
            sentence = f"{self.facility}: {sentence}"
        if sentence not in self.sentences:
            self.sentences.append(sentence)
        self.failed = self.failed or failed


@dataclass(frozen=True)
class BatchMonth:
    """The outcome of a month: facilities in order of their codes, statements and mail."""

    facilities: list[Outcome]
    statements: list[str]
    failed: bool
    delivered: list[str] = field(default_factory=list)


def issue_all(
    engine: Engine,
    settings: Settings,
    period: Period,
    *,
    terms: IssuingTerms | None = None,
    step: Progress = unheard,
) -> BatchMonth:
    """Issue every facility's month as far as it is ready, update statements and send mail."""
    how = replace(terms or IssuingTerms(), unattended=True)
    books = read_price_books(settings.parameters)
    over = _over(books, period, how.date)
    require_clean(provenance(), how.allow_dirty)
    outcomes = []
    for outcome in _side_by_side(over, settings, period, how):
        outcomes.append(outcome)
        step(len(outcomes), len(over), outcome.facility)
    for code in sorted(books.keys() - over):
        waits = Outcome(code)
        waits.say(f"{period} is not over in {books[code].facility.timezone}")
        outcomes.append(waits)
    outcomes.sort(key=lambda outcome: outcome.facility)
    try:
        statements, unstated = generate_statements(engine, books, period).sentences, False
    except BillingError as error:
        statements, unstated = [f"statements of {period}: {error}"], True
    delivered, undelivered = deliver_month(engine, settings, books, period)
    failed = unstated or undelivered or any(outcome.failed for outcome in outcomes)
    return BatchMonth(outcomes, statements, failed, delivered)


def _over(books: dict[str, PriceBook], period: Period, date: str | None) -> list[str]:
    """The facilities in whose time zones the month is over, in order; check the date for each."""
    now, over = dt.datetime.now(dt.UTC), []
    early: InvalidPeriod | None = None
    for code, book in sorted(books.items()):
        timezone = book.facility.timezone
        try:
            period.require_over(now, timezone)
        except InvalidPeriod as error:
            early = error
            continue
        parse_invoice_date(date, period, now.astimezone(ZoneInfo(timezone)).date())
        over.append(code)
    if early is not None and not over:
        raise early
    return over


def _side_by_side(
    facilities: list[str], settings: Settings, period: Period, terms: IssuingTerms
) -> Iterator[Outcome]:
    """Issue each facility in a process of its own, one per core at a time; outcomes in order."""
    if not facilities:
        return
    workers = min(len(facilities), os.cpu_count() or 1)
    fresh = multiprocessing.get_context("spawn")  # a fork would copy the locks of other threads
    with ProcessPoolExecutor(workers, fresh, spare_iri_parsers) as pool:
        tasks = [
            pool.submit(issue_facility, facility, settings, period, terms)
            for facility in facilities
        ]
        for facility, task in zip(facilities, tasks, strict=True):
            try:
                yield task.result()
            except BrokenProcessPool:
                ended = Outcome(facility)
                ended.say("a process ended before the facility was done; run it again", failed=True)
                yield ended


def issue_facility(
    facility: str, settings: Settings, period: Period, terms: IssuingTerms
) -> Outcome:
    """Issue one facility's month as far as it is ready: its open runs, then the rest."""
    engine, outcome = open_ledger(settings.database), Outcome(facility)
    try:
        book = read_price_book(settings.parameters, facility)
        with reading(engine) as connection:
            standing = runs.read_runs(connection, facility, str(period))
        disabled = standing.filter(pl.col("state") == DISABLED)
        for run in disabled["id"]:
            outcome.say(f"billing run {run} is DISABLED and skipped")
        opened = standing.filter(pl.col("state") == OPEN)
        for run, text in opened.filter(pl.col("selection") != "").select("id", "selection").rows():
            # A person submits an ad hoc invoice or a reissue with a run of its own.
            whole = RunScope.parse(text).takes_charges
            issue = process_run if whole else issue_approved
            _try(outcome, partial(issue, engine, settings, book, run, terms=terms))
        if "" not in disabled["selection"] or "" in opened["selection"]:
            _try(outcome, partial(issue_month, engine, settings, book, period, terms=terms))
        _note_errors(engine, outcome, period, disabled["id"])
    except BillingError as error:
        outcome.say(str(error), failed=True)
    finally:
        engine.dispose()
    return outcome


def _try(outcome: Outcome, issue: Callable[[], IssuingResult]) -> None:
    try:
        issued = issue()
    except (AlreadyIssued, NotReady) as error:
        outcome.say(str(error))
    except BillingError as error:
        outcome.say(str(error), failed=True)
    else:
        outcome.numbers += issued.numbers
        for sentence in issued.sentences:
            outcome.say(sentence)


def _note_errors(engine: Engine, outcome: Outcome, period: Period, disabled: pl.Series) -> None:
    """Count the invoices that cannot be calculated as a failure."""
    with reading(engine) as connection:
        errors = ledger_invoices.read_invoices(
            connection, outcome.facility, period=str(period), states=(ERROR,)
        )
    mine = errors.filter(~pl.col("run").is_in(disabled.implode()).fill_null(value=False))
    if mine.height:
        outcome.say(
            f"{count_of(mine.height, 'invoice')} of {period} cannot be calculated", failed=True
        )
