"""The scheduled job: issue months of all facilities, state them, deliver them.

    for each facility with a price book, by workers side by side, its months in order
        its open billing runs, then the rest of the month   →  issued, waiting or failed
    statements of all teams
    mail of the facilities with `deliver: automatic`
    a notebook that reports, if asked for

A facility that cannot be issued does not keep the others back. Waiting for a person (a review, a
sign-off, an approval) is not a failure; the next run of the job takes it up. A second run changes
nothing and says so. Each outcome is a line of the report's journal as soon as it is there, so that
a batch that was stopped can be resumed without asking for all again.
"""

import datetime as dt
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import papermill
import polars as pl
from sqlalchemy import Engine

from billing_lib.audit.provenance import provenance, require_clean
from billing_lib.batch.issuing import (
    IssuingResult,
    IssuingTerms,
    clean_kernel,
    issue_approved,
    issue_month,
    parse_invoice_date,
    process_run,
)
from billing_lib.batch.workers import Watch, Workers, processes
from billing_lib.delivery.queue import deliver_month
from billing_lib.documents.writing import make_folder
from billing_lib.errors import AlreadyIssued, BillingError, InvalidPeriod, NotReady, count_of
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import runs
from billing_lib.ledger.database import open_ledger, reading
from billing_lib.ledger.states import DISABLED, ERROR, OPEN
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings
from billing_lib.workflow.load import read_price_book, read_price_books
from billing_lib.workflow.runs import RunScope
from billing_lib.workflow.statements import generate_statements
from billing_lib.workflow.steps import Progress, unheard

_REPORT = Path(__file__).with_name("report.ipynb")


@dataclass
class Outcome:
    """The outcome of one facility's month: sentences, and the numbers of issued invoices.

    Waiting for a person is not a failure. ``seconds`` are from handing it to the workers on.
    """

    facility: str
    period: str
    sentences: list[str] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    failed: bool = False
    seconds: float = 0

    def say(self, sentence: str, *, failed: bool = False) -> None:
        """Add a sentence on this facility, once."""
        if self.facility not in sentence:
            sentence = f"{self.facility}: {sentence}"
        if sentence not in self.sentences:
            self.sentences.append(sentence)
        self.failed = self.failed or failed


@dataclass(frozen=True)
class BatchMonth:
    """The outcome of months: facilities in order of their codes, statements and mail."""

    facilities: list[Outcome]
    statements: list[str]
    failed: bool
    delivered: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Journal:
    """The outcomes of a batch so far, a line each; ``resume`` takes those of an earlier one over.

    An outcome that failed is not taken over: it is tried again.
    """

    path: Path
    resume: bool = False

    def begin(self) -> list[Outcome]:
        """The outcomes of the batch that is resumed; none of a new one."""
        make_folder(self.path.parent)
        standing = self.path.is_file() and self.resume
        lines = self.path.read_text(encoding="utf-8").splitlines() if standing else []
        done = [each for each in map(_outcome, lines) if each is not None and not each.failed]
        self.path.write_text("".join(map(_line, done)), encoding="utf-8")
        return done

    def add(self, outcome: Outcome) -> None:
        """Write an outcome."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(outcome))


def _line(outcome: Outcome) -> str:
    return json.dumps(asdict(outcome)) + "\n"


def _outcome(line: str) -> Outcome | None:
    """An outcome from its line; None if the line was cut off as the batch was stopped."""
    try:
        return Outcome(**json.loads(line))
    except json.JSONDecodeError:
        return None


def unwatched(_month: str, _worker: str, _step: str) -> None:
    """A watch that nobody keeps."""


def issue_all(
    engine: Engine,
    settings: Settings,
    period: Period | Sequence[Period],
    *,
    terms: IssuingTerms | None = None,
    step: Progress = unheard,
    workers: Callable[[Settings, Watch], AbstractContextManager[Workers]] | None = None,
    watch: Watch = unwatched,
    journal: Journal | None = None,
) -> BatchMonth:
    """Issue every facility's months as far as they are ready, update statements and send mail.

    Parameters
    ----------
    workers
        Opens the workers; by default processes of this machine, one per core.
    watch
        Hears which worker does what.
    journal
        Keeps the outcomes.
    """
    how = replace(terms or IssuingTerms(), unattended=True)
    periods = [period] if isinstance(period, Period) else sorted(period)
    books = read_price_books(settings.parameters)
    over = {each: _over(books, each, how.date) for each in periods}
    require_clean(provenance(), how.allow_dirty)
    outcomes = journal.begin() if journal else []
    done = {(outcome.facility, outcome.period) for outcome in outcomes}
    months: dict[str, list[str]] = {code: [] for code in books}
    for each in periods:
        for code in over[each]:
            if (code, str(each)) not in done:
                months[code].append(str(each))
    count = sum(map(len, months.values()))
    opened = workers or partial(processes, min(len(books), os.cpu_count() or 1))
    if count:
        with opened(settings, watch) as ready:
            for outcome in _side_by_side(months, ready, partial(_issue, how)):
                outcomes.append(outcome)
                watch(f"{outcome.facility} {outcome.period}", "", "done")
                step(len(outcomes) - len(done), count, outcome.facility)
                if journal:
                    journal.add(outcome)
    for each in periods:
        for code in sorted(books.keys() - over[each]):
            waits = Outcome(code, str(each))
            waits.say(f"{each} is not over in {books[code].facility.timezone}")
            outcomes.append(waits)
    outcomes.sort(key=lambda outcome: (outcome.facility, outcome.period))
    statements, delivered = [], []
    failed = any(outcome.failed for outcome in outcomes)
    for each in periods:
        try:
            statements += generate_statements(engine, books, each).sentences
        except BillingError as error:
            statements.append(f"statements of {each}: {error}")
            failed = True
        sent, unsent = deliver_month(engine, settings, books, each)
        delivered += sent
        failed = failed or unsent
    return BatchMonth(outcomes, statements, failed, delivered)


def write_report(month: BatchMonth, path: Path) -> None:
    """Write a notebook that reports on a batch, executed.

    Raises
    ------
    UnwritableFile
        The file cannot be written.
    """
    told = {
        "outcomes": [asdict(outcome) for outcome in month.facilities],
        "statements": month.statements,
        "delivered": month.delivered,
    }
    make_folder(path.parent)
    with clean_kernel() as kernel:
        papermill.execute_notebook(
            str(_REPORT),
            str(path),
            parameters=told,
            cwd=str(path.parent),
            progress_bar=False,
            log_output=False,
            request_save_on_cell_execute=False,
            km=kernel,
        )


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
    months: dict[str, list[str]], workers: Workers, work: Callable[..., Outcome]
) -> Iterator[Outcome]:
    """Issue facilities side by side, the months of each in order; outcomes as they come."""
    running: dict[Any, tuple[str, list[str], float]] = {}

    def begin(facility: str, waiting: list[str]) -> None:
        if waiting:
            task = workers.submit(work, facility, waiting[0])
            running[task] = (facility, waiting, time.monotonic())

    for facility, waiting in sorted(months.items()):
        begin(facility, waiting)
    while running:
        for task in wait(running, return_when=FIRST_COMPLETED).done:
            facility, waiting, began = running.pop(task)
            try:
                outcome = task.result()
            except workers.died:
                outcome = Outcome(facility, waiting[0])
                outcome.say("its worker ended before it was done; run it again", failed=True)
            except BillingError as error:
                outcome = Outcome(facility, waiting[0])
                outcome.say(str(error), failed=True)
            outcome.seconds = round(time.monotonic() - began, 1)
            yield outcome
            if not outcome.failed:
                begin(facility, waiting[1:])
                continue
            for later in waiting[1:]:  # numbers and year-to-date amounts follow the months
                skipped = Outcome(facility, later)
                skipped.say(f"{later} was not begun, since {waiting[0]} failed", failed=True)
                yield skipped


def _issue(
    terms: IssuingTerms, facility: str, period: str, settings: Settings, step: Progress
) -> Outcome:
    """A worker's work."""
    return issue_facility(facility, settings, Period.parse(period), terms, step)


def issue_facility(
    facility: str,
    settings: Settings,
    period: Period,
    terms: IssuingTerms,
    step: Progress = unheard,
) -> Outcome:
    """Issue one facility's month as far as it is ready: its open runs, then the rest."""
    engine, outcome = open_ledger(settings.database), Outcome(facility, str(period))
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
            _try(outcome, partial(issue, engine, settings, book, run, terms=terms, step=step))
        if "" not in disabled["selection"] or "" in opened["selection"]:
            month = partial(issue_month, engine, settings, book, period)
            _try(outcome, partial(month, terms=terms, step=step))
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
