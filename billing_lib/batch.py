"""A billing run from freezing to the archive.

    freeze ─▶ issue.ipynb under papermill ─▶ seal ─▶ commit ─▶ move into place

Until the commit a failure, a full disk or a crash issues nothing: the next try frees the
charges and the numbers, and starts anew with the same numbers. After it, all that can be
missing is one rename, which the next try does. A lock per facility, which ends with the process
that holds it, keeps two runs apart (docs/architecture.md).
"""

import datetime as dt
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

import papermill
import polars as pl
import yaml
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from sqlalchemy import Engine
from traitlets.config import Config

from billing_lib.audit.description import RunDescription
from billing_lib.audit.provenance import Provenance, provenance, require_clean
from billing_lib.audit.record import seal
from billing_lib.errors import BillingError, InvalidPeriod, RunFailed
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import runs
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.lock import issuing
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings
from billing_lib.workflow.freeze import FrozenRun, freeze
from billing_lib.workflow.issue import checked_results, commit_run
from billing_lib.workflow.snapshot import snapshot_hash

Step = Callable[[int, int, str], None]

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "issue.ipynb"
"""The notebook that issues."""

_PRIVATE_KERNEL = Config({"KernelManager": {"transport": "ipc"}})
"""The kernel is reached over a socket of this user's, not over TCP."""

_STEPS = ("freeze", "compute", "archive", "commit", "done")


@dataclass(frozen=True)
class IssuedRun:
    """A run that is issued and archived.

    Attributes
    ----------
    numbers
        The invoices' numbers.
    total, cost
        Of all invoices, in minor units; the cost is None where no item states one.
    record
        The audit record's folder.
    """

    run: str
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
            f"{self.run}: issued {len(self.numbers):,} invoices ({numbers}), "
            f"{self.charges:,} charges, total {total} {self.currency}{cost}",
            f"{self.run}: audit record {self.record}",
            *self.notes,
        ]


def issue_run(
    engine: Engine,
    settings: Settings,
    book: PriceBook,
    period: Period,
    *,
    project: str | None = None,
    date: str | None = None,
    allow_dirty: bool = False,
    step: Step = lambda done, total, what: None,
) -> IssuedRun:
    """Issue what is pending for a period, or one project's invoice of it.

    Parameters
    ----------
    date
        The invoice date, ``YYYY-MM-DD``; today on the facility's calendar unless told.
    allow_dirty
        Issue although the program's files differ from their commit; the record keeps the diff.
    step
        Told how far the run is.

    Raises
    ------
    InvalidPeriod
        The period is not over.
    AlreadyIssued, NotReady, DirtyTree, IssuingElsewhere
        It cannot be issued as things are.
    RunFailed
        The notebook or the archiving failed; nothing was issued.
    """
    facility = book.facility
    now = dt.datetime.now(dt.UTC)
    period.require_over(now, facility.timezone)
    today = now.astimezone(ZoneInfo(facility.timezone)).date()
    invoice_date = _invoice_date(date, period, today)
    origin = provenance()
    require_clean(origin, allow_dirty)
    with issuing(engine, facility.code):
        finished = settle(engine, settings.runs, facility.code, period, project)
        if finished is not None:
            return finished
        step(0, len(_STEPS) - 1, "freeze")
        with writing(engine) as connection:
            run = freeze(
                connection,
                book,
                period,
                project=project,
                invoice_date=invoice_date,
                commit=origin.commit,
                container=origin.container,
            )
        try:
            return _compute_and_commit(engine, settings, run, origin, step)
        except (OSError, PapermillExecutionError, DeadKernelError, BillingError) as error:
            if _is_issued(engine, run.id):
                raise
            _abandon(engine, settings.runs, run.id, _said(error))
            raise RunFailed(
                f"the run failed and nothing was issued: {_said(error)}",
                where=run.id,
                remedy="mend the cause and issue again",
            ) from error


def settle(
    engine: Engine, archive: Path, facility: str, period: Period, project: str | None
) -> IssuedRun | None:
    """Finish or undo what an interrupted run left; call it under the facility's lock.

    Returns
    -------
    IssuedRun or None
        The run, if it is of this period and selection and lacked only its place in the archive.
    """
    with reading(engine) as connection:
        frozen = runs.frozen_run(connection, facility)
        issued = runs.read_runs(connection, facility).filter(pl.col("state") == "ISSUED")
    if frozen is not None:
        _abandon(engine, archive, frozen.id, "interrupted")
    finished = None
    for run in issued.iter_rows(named=True):
        place = archive / run["record"]
        partial = place.with_name(f".{run['id']}.partial")
        if partial.is_dir() and not place.exists():
            _move(partial, place)
            if (run["period"], run["selection"]) == (str(period), project or ""):
                finished = _issued(engine, archive, run["id"])
    return finished


def issued_records(engine: Engine, archive: Path, facility: str, period: Period) -> list[Path]:
    """The audit records of a period's issued runs, in the order in which they were frozen."""
    with reading(engine) as connection:
        found = runs.read_runs(connection, facility, str(period))
    return [archive / record for record in found.filter(pl.col("state") == "ISSUED")["record"]]


def _compute_and_commit(
    engine: Engine, settings: Settings, run: FrozenRun, origin: Provenance, step: Step
) -> IssuedRun:
    partial = settings.runs / run.partial_folder
    if partial.exists():
        shutil.rmtree(partial)
    data = partial / "data"
    snapshot_sha256 = run.snapshot.write(data / "snapshot")
    step(1, len(_STEPS) - 1, "compute")
    started = dt.datetime.now(dt.UTC)
    execute_notebook(data, {"facility": run.facility, "period": run.period, "run": run.id})
    ended = dt.datetime.now(dt.UTC)
    if snapshot_hash(data / "snapshot") != snapshot_sha256:
        raise RunFailed("the notebook changed the snapshot", where=run.id)
    computation, fingerprints = checked_results(run.snapshot, data / "invoices")
    step(2, len(_STEPS) - 1, "archive")
    seal(partial, _description(run, started, ended), origin)
    step(3, len(_STEPS) - 1, "commit")
    with writing(engine) as connection:
        commit_run(connection, run, computation, fingerprints, snapshot_sha256)
    _move(partial, settings.runs / run.folder)
    step(4, len(_STEPS) - 1, "done")
    issued = _issued(engine, settings.runs, run.id)
    issued.notes.extend(run.left)
    return issued


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


def _description(run: FrozenRun, started: dt.datetime, ended: dt.datetime) -> RunDescription:
    text = run.snapshot.text
    return RunDescription(
        run=run.id,
        facility=run.facility,
        facility_name=text["facility_name"],
        period=run.period,
        selection=run.selection,
        invoice_date=run.invoice_date,
        login=run.login,
        frozen_at=run.frozen_at,
        started=started,
        ended=ended,
    )


def _invoice_date(text: str | None, period: Period, today: dt.date) -> dt.date:
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


def _issued(engine: Engine, archive: Path, run: str) -> IssuedRun:
    with reading(engine) as connection:
        invoices = ledger_invoices.read_invoices(connection, run=run)
        row = runs.read_run(connection, run)
    return IssuedRun(
        run,
        invoices["number"].to_list(),
        int(invoices["charges"].sum()),
        int(invoices["total"].sum()),
        int(invoices["cost"].sum()) if invoices["cost"].count() else None,
        invoices["currency"][0],
        archive / row.record,
    )


def _is_issued(engine: Engine, run: str) -> bool:
    with reading(engine) as connection:
        return bool(runs.read_run(connection, run).state == "ISSUED")


def _abandon(engine: Engine, archive: Path, run: str, failure: str) -> None:
    """End a frozen run as failed: charges and numbers are free again, its folder is gone."""
    with writing(engine) as connection:
        row = runs.read_run(connection, run)
        ledger_charges.free_charges(connection, row.facility, run)
        runs.fail_run(connection, run, failure)
    partial = archive / row.facility / row.period / f".{run}.partial"
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
