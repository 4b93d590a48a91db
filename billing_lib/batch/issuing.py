"""Issuing a month, a run or approved invoices, from freezing to the archive.

    freeze ─▶ issue, review and adjust under papermill ─▶ seal ─▶ commit ─▶ move into place

Before the commit, a failure, a full disk or a crash issues nothing: the next try frees the
numbers and uses them again. After the commit only the move can be missing, and the next try
makes it. A lock per facility keeps two issuings apart; it ends with its process, so that a crash
leaves no lock behind (docs/architecture.md).
"""

import ctypes
import datetime as dt
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self
from zoneinfo import ZoneInfo

import papermill
import polars as pl
import yaml
from jupyter_core.utils import run_sync
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from sqlalchemy import Connection, Engine

from billing_lib.audit import log
from billing_lib.audit.archive import (
    discard,
    open_record,
    partial_record,
    publish,
    store,
    stored_only,
)
from billing_lib.audit.bag import TAG_MANIFEST, file_sha256
from billing_lib.audit.clean_room import CleanKernelManager, warm_up
from billing_lib.audit.evidence import Evidence, gather
from billing_lib.audit.provenance import Provenance, provenance, require_clean
from billing_lib.audit.record import EXECUTED_NOTEBOOKS, ISSUE, RunDescription, read_ahead, seal
from billing_lib.errors import BillingError, InvalidPeriod, NotReady, RunFailed, count_of
from billing_lib.folders import Folder
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import runs
from billing_lib.ledger.database import TAKEOVER_SECONDS, issuing, reading, writing
from billing_lib.ledger.states import DONE, FAILED, ISSUED, RUNNING
from billing_lib.pricing.clock import Period
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.program import NOTEBOOKS
from billing_lib.settings import Settings
from billing_lib.workflow.approve import Prepared, approved_of, prepare, prepare_run, run_of
from billing_lib.workflow.issue import (
    Frozen,
    commit_issuing,
    computed_results,
    freeze,
    require_results,
)
from billing_lib.workflow.load import BookFile, book_file
from billing_lib.workflow.permissions import ISSUER, REVIEWER, VIEWER, changing, may, require
from billing_lib.workflow.review import MonthData, read_month_data
from billing_lib.workflow.runs import RunScope
from billing_lib.workflow.snapshot import snapshot_hash
from billing_lib.workflow.steps import Progress, unheard

SOURCES = {name: NOTEBOOKS / f"{name}.ipynb" for name in EXECUTED_NOTEBOOKS}
"""The notebooks that issuing executes."""

_BESIDE = 250_000
"""Up to so many charges the library computes while the notebooks run; a larger month is computed
after them, since both at once take twice the memory."""

_STEPS = ("freeze", "compute", "archive", "commit", "done")


@dataclass(frozen=True)
class IssuingResult:
    """The result of an issuing, whose id is also that of its audit record.

    ``total`` and ``cost`` are sums of all invoices in minor units; the cost is None if no item
    has one. ``record`` is its folder or URL; ``notes`` are sentences on waiting invoices, and
    notices. If invoices were ``submitted`` and none could be issued yet, ``numbers`` is empty,
    ``issuing`` is the billing run and ``record`` the archive.
    """

    issuing: str
    numbers: list[str]
    charges: int
    total: int
    cost: int | None
    currency: str
    record: Folder
    notes: list[str] = field(default_factory=list)
    submitted: int = 0

    @property
    def sentences(self) -> list[str]:
        """The result in words."""
        if not self.numbers:
            noun = "invoice" if self.submitted == 1 else "invoices"
            return [f"{self.issuing}: {self.submitted:,} {noun} submitted", *self.notes]
        places = minor_places(self.currency)
        total = money_text(self.total, places)
        cost = "" if self.cost is None else f", cost {money_text(self.cost, places)}"
        first, last = self.numbers[0], self.numbers[-1]
        numbers = first if first == last else f"{first} to {last}"
        return [
            f"{self.issuing}: issued {count_of(len(self.numbers), 'invoice')} ({numbers}), "
            f"{count_of(self.charges, 'charge')}, total {total} {self.currency}{cost}",
            f"{self.issuing}: audit record {self.record}",
            *self.notes,
        ]


@dataclass(frozen=True)
class IssuingTerms:
    """The terms of an issuing.

    Attributes
    ----------
    date
        The invoice date, ``YYYY-MM-DD``; by default today in the facility's time zone.
    allow_dirty
        Issue although the program differs from its commit; the record keeps the diff.
    unattended
        Whether the batch issues: rejected invoices then wait for a person, and the batch for
        another process that issues, since a dead one holds its lease a while.
    """

    date: str | None = None
    allow_dirty: bool = False
    unattended: bool = False

    @property
    def wait(self) -> float:
        """For how many seconds to wait for another process that issues."""
        return TAKEOVER_SECONDS if self.unattended else 0


@dataclass(frozen=True)
class Issuer:
    """The inputs of an issuing; ``issue`` runs it."""

    engine: Engine
    settings: Settings
    book: PriceBook
    file: BookFile | None
    period: Period
    invoice_date: dt.date
    origin: Provenance
    step: Progress

    @classmethod
    def begin(
        cls,
        engine: Engine,
        settings: Settings,
        book: PriceBook,
        period: Period,
        terms: IssuingTerms,
        step: Progress,
        role: str = REVIEWER,
    ) -> Self:
        """Check the user, the date and the program before the lock is taken."""
        with reading(engine) as connection:
            require(connection, book.facility.code, role)
        now = dt.datetime.now(dt.UTC)
        period.require_over(now, book.facility.timezone)
        today = now.astimezone(ZoneInfo(book.facility.timezone)).date()
        invoice_date = parse_invoice_date(terms.date, period, today)
        file = book_file(settings.parameters, book)
        origin = provenance(book=file)
        require_clean(origin, terms.allow_dirty)
        return cls(engine, settings, book, file, period, invoice_date, origin, step)

    def issue(self, prepare: Callable[[Connection], Prepared]) -> IssuingResult:
        """Prepare, freeze, compute, archive and commit; call it under the facility's lock.

        Preparing and freezing are one transaction, so that the charges are read once. A reviewer
        who is no issuer submits, and leaves issuing to an issuer.
        """
        self.step(0, len(_STEPS) - 1, "freeze")
        warm_up()
        facility = self.book.facility.code
        with changing(self.engine, self.book, REVIEWER) as connection:
            prepared = prepare(connection)
            submitted = prepared.submitted
            if submitted is None and prepared.codes:
                require(connection, facility, ISSUER)
            issues = bool(prepared.codes) and may(connection, facility, ISSUER)
            if issues:
                job = runs.begin_job(connection, prepared.run, "issue")
                frozen = freeze(
                    connection,
                    self.book,
                    prepared.run,
                    prepared.codes,
                    invoice_date=self.invoice_date,
                    commit=self.origin.commit,
                    container=self.origin.container,
                    said=self.origin.said,
                    submitted=prepared.submitted,
                )
                review = read_month_data(connection, self.book, self.period, calculated=submitted)
                evidence = gather(
                    connection, self.book, frozen, self.file, self.settings.usage_files
                )
        if not issues and submitted is not None:
            waiting = list(prepared.waiting)
            if prepared.codes:
                waiting.append(f"{len(prepared.codes):,} of them wait for an issuer")
            return IssuingResult(
                prepared.run,
                [],
                int(submitted.invoices["charges"].sum()),
                int(submitted.invoices["total"].sum()),
                None,
                self.book.facility.currency,
                self.settings.runs,
                waiting,
                submitted.invoices.height,
            )
        if not issues:
            sentences = ["nothing can be issued yet", *prepared.waiting]
            raise NotReady("; ".join(sentences), where=prepared.run)
        try:
            # The memory of SQLite's cache is for writing, and that of the charges for the kernel.
            prepared, submitted = replace(prepared, submitted=None), None
            self.engine.dispose()
            _return_memory()
            snapshot_sha256 = self._write(frozen, review)
            frozen = replace(frozen, snapshot=frozen.snapshot.outline())
            del review
            _return_memory()
            issued = self._compute_and_commit(frozen, snapshot_sha256, evidence, job)
        except (OSError, PapermillExecutionError, DeadKernelError, BillingError) as error:
            with reading(self.engine) as connection:
                state = runs.read_issuing(connection, frozen.id).state
            if state == ISSUED:
                raise
            if state == FAILED:  # whoever took the lease over has ended it
                discard(self.settings.runs, frozen.folder)
            else:
                _abandon(self.engine, self.settings.runs, frozen.id, _message(error))
            raise RunFailed(
                f"the run failed and nothing was issued: {_message(error)}",
                where=frozen.id,
                remedy="remove the cause and issue again",
            ) from error
        issued.notes.extend(prepared.waiting)
        return issued

    def _write(self, frozen: Frozen, review: MonthData) -> str:
        """Begin the record with the snapshot; its hash."""
        partial = partial_record(self.settings.runs, frozen.folder)
        if partial.exists():
            shutil.rmtree(partial)
        frozen.snapshot.write(partial / "data" / "snapshot")
        review.write(partial / "data" / "snapshot")
        return snapshot_hash(partial / "data" / "snapshot")

    def _compute_and_commit(
        self, frozen: Frozen, snapshot_sha256: str, evidence: Evidence, job: int
    ) -> IssuingResult:
        archive, last = self.settings.runs, len(_STEPS) - 1
        partial = partial_record(archive, frozen.folder)
        data = partial / "data"
        self.step(1, last, "compute")
        started = dt.datetime.now(dt.UTC)
        with ThreadPoolExecutor(1) as meanwhile:
            meanwhile.submit(read_ahead, self.origin)  # if that fails, sealing does and says why
            snapshot = (data / "snapshot").resolve()  # papermill changes the process's folder
            beside = frozen.charges <= _BESIDE
            computing = meanwhile.submit(computed_results, snapshot) if beside else None
            execute_notebooks(
                data, {"facility": frozen.facility, "period": frozen.period, "run": frozen.id}
            )
        ended = dt.datetime.now(dt.UTC)
        if snapshot_hash(data / "snapshot") != snapshot_sha256:
            raise RunFailed("the notebook changed the snapshot", where=frozen.id)
        computation, results = computing.result() if computing else computed_results(snapshot)
        require_results(results, data / "invoices")
        fingerprints = {number: results[f"{number}.json"] for number in computation.invoices}
        self.step(2, last, "archive")
        evidence.write(data, self.book, frozen, computation)
        notes = seal(partial, _description(frozen, started, ended), self.origin)
        store(archive, frozen.folder)
        self.step(3, last, "commit")
        with writing(self.engine) as connection:
            log.append(
                connection,
                self.settings,
                issuing=frozen.id,
                facility=frozen.facility,
                seal=file_sha256(partial / TAG_MANIFEST),
            )
            notices = commit_issuing(
                connection, self.book, frozen, computation, fingerprints, snapshot_sha256
            )
            issued = _issued(connection, archive, frozen.id)
            runs.end_job(connection, frozen.run, job, DONE, issued.sentences[0])
        publish(archive, frozen.folder)
        self.step(4, last, "done")
        issued.notes.extend([*notices, *notes, *self._exported()])
        return issued

    def _exported(self) -> list[str]:
        """Append to the exported log; a sentence if that fails, since the invoices are issued."""
        if self.settings.log_export is None:
            return []
        try:
            log.export(self.engine, self.settings)
        except BillingError as error:
            return [str(error)]
        return []


def end_interrupted(
    engine: Engine, archive: Folder, facility: str, period: Period, selection: RunScope
) -> IssuingResult | None:
    """Finish or undo an interrupted issuing; call it under the facility's lock.

    Returns the issuing if it is of this period and selection and only its move into the archive
    was missing.
    """
    with reading(engine) as connection:
        frozen = runs.frozen(connection, facility)
        issued = runs.read_issuings(connection, facility).filter(pl.col("state") == ISSUED)
    if frozen is not None:
        _abandon(engine, archive, frozen.id, "interrupted")
    finished = None
    for row in issued.tail(1).iter_rows(named=True):  # earlier ones were ended before it began
        if stored_only(archive, row["record"]):
            publish(archive, row["record"])
            with reading(engine) as connection:
                of = runs.read_run(connection, row["run"])
                if (of.period, of.selection) == (str(period), selection.text):
                    finished = _issued(connection, archive, row["id"])
    return finished


def execute_notebooks(data: Path, parameters: dict[str, str]) -> None:
    """Run the notebooks by papermill in a record's ``data/`` folder, their only input.

    The issuing notebook is the first in a fresh kernel. Then ``review`` and ``adjust`` show the
    frozen month in the same kernel, which saves its start.
    """
    notebook = data / "notebook"
    notebook.mkdir(parents=True, exist_ok=True)
    stated = dict(sorted((parameters | {"folder": "."}).items()))
    (data / "parameters.yml").write_text(yaml.safe_dump(stated), encoding="utf-8")
    month = {name: value for name, value in stated.items() if name != "run"}
    with clean_kernel() as kernel:
        for name, source in SOURCES.items():
            shutil.copyfile(source, notebook / f"{name}.ipynb")
            papermill.execute_notebook(
                str(notebook / f"{name}.ipynb"),
                str(notebook / f"{name}.executed.ipynb"),
                parameters=stated if name == ISSUE else month,
                cwd=str(data),
                progress_bar=False,
                log_output=False,
                request_save_on_cell_execute=False,  # once, at the end
                km=kernel,
            )


@contextmanager
def clean_kernel() -> Iterator[CleanKernelManager]:
    """A kernel in the clean room, for papermill."""
    with tempfile.TemporaryDirectory(prefix="billing-") as home:
        kernel = CleanKernelManager(
            home=home,
            transport="ipc",  # a socket of this user, not TCP
            connection_file=str(Path(home) / "kernel.json"),  # the sockets are beside it
        )
        try:
            yield kernel
        finally:
            kernel.close_clients()
            if kernel.has_kernel:  # its files are written by then
                run_sync(kernel.shutdown_kernel)(now=True)


def _description(frozen: Frozen, started: dt.datetime, ended: dt.datetime) -> RunDescription:
    return RunDescription(
        run=frozen.id,
        facility=frozen.facility,
        facility_name=frozen.snapshot.text["facility_name"],
        period=frozen.period,
        selection=frozen.selection,
        invoice_date=frozen.invoice_date,
        login=frozen.login,
        frozen_at=frozen.frozen_at,
        started=started,
        ended=ended,
    )


def parse_invoice_date(text: str | None, period: Period, today: dt.date) -> dt.date:
    """Read the invoice date from text; today by default."""
    if text is None:
        return today
    try:
        date = dt.date.fromisoformat(text)
    except ValueError:
        raise InvalidPeriod(
            f"'{text}' is not an invoice date", remedy="write it as YYYY-MM-DD"
        ) from None
    if not period.last_day < date <= today:
        raise InvalidPeriod(
            f"the invoice date {date} is not between the end of {period} and today, {today}"
        )
    return date


def _issued(connection: Connection, archive: Folder, issuing_id: str) -> IssuingResult:
    invoices = ledger_invoices.read_issued(connection, issuing=issuing_id)
    row = runs.read_issuing(connection, issuing_id)
    return IssuingResult(
        issuing_id,
        invoices["number"].to_list(),
        int(invoices["charges"].sum()),
        int(invoices["total"].sum()),
        int(invoices["cost"].sum()) if invoices["cost"].count() else None,
        invoices["currency"][0],
        archive / row.record,
    )


def _return_memory() -> None:
    """Return freed memory to the system; glibc keeps it otherwise, half a gigabyte per million
    charges."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # other libraries return it by themselves
        trim(0)


def _abandon(engine: Engine, archive: Folder, issuing_id: str, failure: str) -> None:
    """End a frozen issuing as failed: free its numbers and delete its folder."""
    with writing(engine) as connection:
        row = runs.read_issuing(connection, issuing_id)
        runs.fail(connection, issuing_id, failure)
        for job in runs.read_jobs(connection, row.run).iter_rows(named=True):
            if (job["kind"], job["state"]) == ("issue", RUNNING):
                runs.end_job(connection, row.run, job["sequence"], FAILED, failure)
    discard(archive, Path(row.facility) / row.period / issuing_id)


def _message(error: Exception) -> str:
    if isinstance(error, PapermillExecutionError):
        return f"{error.ename}: {error.evalue}"
    return str(error)


def issue_month(
    engine: Engine,
    settings: Settings,
    book: PriceBook,
    period: Period,
    selection: RunScope | None = None,
    *,
    terms: IssuingTerms | None = None,
    step: Progress = unheard,
) -> IssuingResult:
    """Issue a month, or some projects or teams of it.

    Its run takes in the pending charges and is submitted; the invoices that all reviewers have
    approved are issued.

    Raises
    ------
    AlreadyIssued
        All selected charges are on issued invoices.
    NotReady
        The selection is empty, or waits for a person.
    DirtyTree
        The program's files differ from their commit.
    """
    chosen = selection or RunScope()
    stated = terms or IssuingTerms()
    issuer = Issuer.begin(engine, settings, book, period, stated, step)
    with issuing(engine, book.facility.code, stated.wait):
        finished = end_interrupted(engine, settings.runs, book.facility.code, period, chosen)
        if finished is not None:
            return finished
        return issuer.issue(
            lambda connection: prepare(
                connection, book, period, chosen, unattended=stated.unattended
            )
        )


def process_run(
    engine: Engine,
    settings: Settings,
    book: PriceBook,
    run: str,
    *,
    terms: IssuingTerms | None = None,
    step: Progress = unheard,
) -> IssuingResult:
    """Take in and submit the charges of a run, and issue its approved invoices.

    Raises
    ------
    NotReady
        The run is not open, nobody has signed its month off, or it waits for a person.
    DirtyTree
        The program's files differ from their commit.
    """
    period = _period_of(engine, book, run)
    stated = terms or IssuingTerms()
    issuer = Issuer.begin(engine, settings, book, period, stated, step)
    with issuing(engine, book.facility.code, stated.wait):
        end_interrupted(engine, settings.runs, book.facility.code, issuer.period, RunScope())
        return issuer.issue(
            lambda connection: prepare_run(
                connection, book, run, RunScope(), [], unattended=stated.unattended
            )
        )


def issue_approved(
    engine: Engine,
    settings: Settings,
    book: PriceBook,
    run: str,
    codes: list[str] | None = None,
    *,
    terms: IssuingTerms | None = None,
    step: Progress = unheard,
) -> IssuingResult:
    """Issue the invoices of a run that all reviewers have approved; NotReady without any."""
    period = _period_of(engine, book, run)
    stated = terms or IssuingTerms()
    issuer = Issuer.begin(engine, settings, book, period, stated, step, ISSUER)
    with issuing(engine, book.facility.code, stated.wait):
        end_interrupted(engine, settings.runs, book.facility.code, issuer.period, RunScope())
        return issuer.issue(
            lambda connection: approved_of(connection, book, run, codes or None, [])
        )


def issued_records(engine: Engine, archive: Folder, facility: str, period: Period) -> list[Path]:
    """List the audit records of a period's issued invoices, in the order of freezing."""
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        issuings = runs.read_issuings(connection, facility, str(period))
    issued = issuings.filter(pl.col("state") == ISSUED)
    return [open_record(archive, record) for record in issued["record"]]


def _period_of(engine: Engine, book: PriceBook, run: str) -> Period:
    with reading(engine) as connection:
        return Period.parse(run_of(connection, book, run).period)
