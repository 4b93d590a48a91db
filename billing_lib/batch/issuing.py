"""Issuing invoices: from freezing to the archive.

    freeze ─▶ issue.ipynb under papermill ─▶ seal ─▶ commit ─▶ move into place

Until the commit a failure, a full disk or a crash issues nothing: the next try frees the
numbers, and starts anew with the same numbers. After it, all that can be missing is one rename,
which the next try does.

Issuing a month, a run, or what is approved of one; under a lock per facility.

The lock ends with the process that holds it, so it keeps two issuings of a facility apart and a
crash leaves none behind (docs/architecture.md). What an interrupted issuing left is settled
first. The work itself is issuer.py's.
"""

import datetime as dt
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from zoneinfo import ZoneInfo

import papermill
import polars as pl
import yaml
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from sqlalchemy import Connection, Engine
from traitlets.config import Config

from billing_lib.audit.provenance import Provenance, provenance, require_clean
from billing_lib.audit.record import RunDescription, seal
from billing_lib.errors import BillingError, InvalidPeriod, NotReady, RunFailed
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import runs
from billing_lib.ledger.database import issuing, reading, writing
from billing_lib.pricing.clock import Period
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.program import NOTEBOOKS
from billing_lib.settings import Settings
from billing_lib.workflow.approve import Prepared, approved_of, prepare, prepare_run, run_of
from billing_lib.workflow.issue import Frozen, checked_results, commit_issuing, freeze
from billing_lib.workflow.load import book_file
from billing_lib.workflow.permissions import ISSUER, VIEWER, require
from billing_lib.workflow.runs import RunSelection
from billing_lib.workflow.snapshot import snapshot_hash
from billing_lib.workflow.steps import Step, unheard

NOTEBOOK = NOTEBOOKS / "issue.ipynb"
"""The notebook that issues."""

_PRIVATE_KERNEL = Config({"KernelManager": {"transport": "ipc"}})
"""The kernel is reached over a socket of this user's, not over TCP."""

_STEPS = ("freeze", "compute", "archive", "commit", "done")


@dataclass(frozen=True)
class Issued:
    """What one issuing came to.

    Attributes
    ----------
    issuing
        Its id, and the audit record's.
    numbers
        The invoices' numbers.
    total, cost
        Of all invoices, in minor units; the cost is None where no item states one.
    record
        The audit record's folder.
    notes
        Sentences on what is left, and notices.
    """

    issuing: str
    numbers: list[str]
    charges: int
    total: int
    cost: int | None
    currency: str
    record: Path
    notes: list[str] = field(default_factory=list)

    @property
    def sentences(self) -> list[str]:
        """The same in words."""
        places = minor_places(self.currency)
        total = money_text(self.total, places)
        cost = "" if self.cost is None else f", cost {money_text(self.cost, places)}"
        first, last = self.numbers[0], self.numbers[-1]
        numbers = first if first == last else f"{first} to {last}"
        return [
            f"{self.issuing}: issued {len(self.numbers):,} invoices ({numbers}), "
            f"{self.charges:,} charges, total {total} {self.currency}{cost}",
            f"{self.issuing}: audit record {self.record}",
            *self.notes,
        ]


@dataclass(frozen=True)
class Terms:
    """How to issue.

    Attributes
    ----------
    date
        The invoice date, ``YYYY-MM-DD``; today on the facility's calendar unless told.
    allow_dirty
        Issue although the program differs from its commit; the record keeps the diff.
    unattended
        Nobody is there: what a reviewer has rejected waits for a person to take it up.
    """

    date: str | None = None
    allow_dirty: bool = False
    unattended: bool = False


@dataclass(frozen=True)
class Issuer:
    """What all of an issuing needs; ``issue`` does it."""

    engine: Engine
    settings: Settings
    book: PriceBook
    period: Period
    invoice_date: dt.date
    origin: Provenance
    step: Step

    @classmethod
    def begin(
        cls,
        engine: Engine,
        settings: Settings,
        book: PriceBook,
        period: Period,
        terms: Terms,
        step: Step,
    ) -> Self:
        """Check who is asking, before what an interrupted issuing left is touched, and all that
        does not need the ledger.

        Raises
        ------
        NotPermitted
            Only an issuer issues.
        """
        with reading(engine) as connection:
            require(connection, book.facility.code, ISSUER)
        now = dt.datetime.now(dt.UTC)
        period.require_over(now, book.facility.timezone)
        today = now.astimezone(ZoneInfo(book.facility.timezone)).date()
        invoice_date = parse_invoice_date(terms.date, period, today)
        origin = provenance(book=book_file(settings.parameters, book))
        require_clean(origin, terms.allow_dirty)
        return cls(engine, settings, book, period, invoice_date, origin, step)

    def issue(self, prepared: Prepared, nothing: str) -> Issued:
        """Freeze, compute, archive and commit; call it under the facility's lock."""
        if not prepared.codes:
            raise NotReady("; ".join([nothing, *prepared.waiting]), where=prepared.run)
        self.step(0, len(_STEPS) - 1, "freeze")
        with writing(self.engine) as connection:
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
            )
        try:
            issued = self._compute_and_commit(frozen, job)
        except (OSError, PapermillExecutionError, DeadKernelError, BillingError) as error:
            if _is_issued(self.engine, frozen.id):
                raise
            _abandon(self.engine, self.settings.runs, frozen.id, _said(error))
            raise RunFailed(
                f"the run failed and nothing was issued: {_said(error)}",
                where=frozen.id,
                remedy="mend the cause and issue again",
            ) from error
        issued.notes.extend(prepared.waiting)
        return issued

    def _compute_and_commit(self, frozen: Frozen, job: int) -> Issued:
        archive, last = self.settings.runs, len(_STEPS) - 1
        partial = archive / frozen.partial_folder
        if partial.exists():
            shutil.rmtree(partial)
        data = partial / "data"
        snapshot_sha256 = frozen.snapshot.write(data / "snapshot")
        self.step(1, last, "compute")
        started = dt.datetime.now(dt.UTC)
        execute_notebook(
            data, {"facility": frozen.facility, "period": frozen.period, "run": frozen.id}
        )
        ended = dt.datetime.now(dt.UTC)
        if snapshot_hash(data / "snapshot") != snapshot_sha256:
            raise RunFailed("the notebook changed the snapshot", where=frozen.id)
        computation, fingerprints = checked_results(frozen.snapshot, data / "invoices")
        self.step(2, last, "archive")
        seal(partial, _description(frozen, started, ended), self.origin)
        self.step(3, last, "commit")
        with writing(self.engine) as connection:
            notices = commit_issuing(
                connection, self.book, frozen, computation, fingerprints, snapshot_sha256
            )
            issued = _issued(connection, archive, frozen.id)
            runs.end_job(connection, frozen.run, job, "DONE", issued.sentences[0])
        _move(partial, archive / frozen.folder)
        self.step(4, last, "done")
        issued.notes.extend(notices)
        return issued


def settle(
    engine: Engine, archive: Path, facility: str, period: Period, selection: RunSelection
) -> Issued | None:
    """Finish or undo what an interrupted issuing left; call it under the facility's lock.

    Returns
    -------
    Issued or None
        The issuing, if it is of this period and selection and lacked only its place in the
        archive.
    """
    with reading(engine) as connection:
        frozen = runs.frozen(connection, facility)
        issued = runs.read_issuings(connection, facility).filter(pl.col("state") == "ISSUED")
    if frozen is not None:
        _abandon(engine, archive, frozen.id, "interrupted")
    finished = None
    for row in issued.iter_rows(named=True):
        place = archive / row["record"]
        partial = place.with_name(f".{row['id']}.partial")
        if partial.is_dir() and not place.exists():
            _move(partial, place)
            with reading(engine) as connection:
                of = runs.read_run(connection, row["run"])
                if (of.period, of.selection) == (str(period), selection.text):
                    finished = _issued(connection, archive, row["id"])
    return finished


def execute_notebook(data: Path, parameters: dict[str, str]) -> None:
    """Run the issuing notebook by papermill in a record's ``data/`` folder, on that alone."""
    notebook = data / "notebook"
    notebook.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(NOTEBOOK, notebook / "issue.ipynb")
    stated = dict(sorted((parameters | {"folder": "."}).items()))
    (data / "parameters.yml").write_text(yaml.safe_dump(stated), encoding="utf-8")
    papermill.execute_notebook(
        str(notebook / "issue.ipynb"),
        str(notebook / "issue.executed.ipynb"),
        parameters=stated,
        cwd=str(data),
        progress_bar=False,
        log_output=False,
        config=_PRIVATE_KERNEL,
    )


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
    """The invoice date that a text names; today where there is none.

    Raises
    ------
    InvalidPeriod
        It is no date, or not between the end of the period and today.
    """
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


def _issued(connection: Connection, archive: Path, issuing_id: str) -> Issued:
    invoices = ledger_invoices.read_issued(connection, issuing=issuing_id)
    row = runs.read_issuing(connection, issuing_id)
    return Issued(
        issuing_id,
        invoices["number"].to_list(),
        int(invoices["charges"].sum()),
        int(invoices["total"].sum()),
        int(invoices["cost"].sum()) if invoices["cost"].count() else None,
        invoices["currency"][0],
        archive / row.record,
    )


def _is_issued(engine: Engine, issuing_id: str) -> bool:
    with reading(engine) as connection:
        return bool(runs.read_issuing(connection, issuing_id).state == "ISSUED")


def _abandon(engine: Engine, archive: Path, issuing_id: str, failure: str) -> None:
    """End a frozen issuing as failed: its numbers are free again, its folder is gone."""
    with writing(engine) as connection:
        row = runs.read_issuing(connection, issuing_id)
        runs.fail(connection, issuing_id, failure)
        for job in runs.read_jobs(connection, row.run).iter_rows(named=True):
            if (job["kind"], job["state"]) == ("issue", "RUNNING"):
                runs.end_job(connection, row.run, job["sequence"], "FAILED", failure)
    partial = archive / row.facility / row.period / f".{issuing_id}.partial"
    if partial.exists():
        shutil.rmtree(partial)


def _move(partial: Path, place: Path) -> None:
    partial.rename(place)
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _said(error: Exception) -> str:
    if isinstance(error, PapermillExecutionError):
        return f"{error.ename}: {error.evalue}"
    return str(error)


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
        found = runs.read_issuings(connection, facility, str(period))
    return [archive / record for record in found.filter(pl.col("state") == "ISSUED")["record"]]


def _period_of(engine: Engine, book: PriceBook, run: str) -> Period:
    with reading(engine) as connection:
        return Period.parse(run_of(connection, book, run).period)
