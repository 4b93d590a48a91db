"""Commands about billing runs and approval.

runs          ``runs``, ``run make``, ``show``, ``report``, ``process``, ``cancel`` …
approval      ``ready``, ``approve``, ``reject``, ``quarantine``, ``release``, ``close``
scheduled     ``month``, for all facilities at once
"""

from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from billing_lib.cli.app import (
    AsJson,
    FacilityCode,
    PeriodText,
    Reason,
    app,
    ledger,
    price_book,
    progress,
    say,
    say_frame,
    say_json,
)
from billing_lib.cli.unattended import tell
from billing_lib.errors import InvalidAdjustment, count_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from billing_lib.batch.workers import Watch
    from billing_lib.workflow.approve import RunView
    from billing_lib.workflow.search import InvoiceSelection
    from billing_lib.workflow.steps import Progress


run = typer.Typer(
    help="Make a billing run, see it, take its next step, disable, cancel or describe it.",
    epilog="Example: billing run make RC 1993-11",
    no_args_is_help=True,
)
app.add_typer(run, name="run")

RunId = Annotated[str, typer.Argument(metavar="RUN", help="A billing run, RC-1993-11-1.")]
InvoiceDate = Annotated[
    str | None, typer.Option(help="The invoice date, YYYY-MM-DD; today unless told.")
]
AllowDirty = Annotated[
    bool,
    typer.Option("--allow-dirty", help="Issue from changed files; the record keeps the diff."),
]


Folder = Annotated[Path, typer.Option(help="The folder to write to; this one unless told.")]


@app.command(epilog="Example: billing runs --facility RC --period 1993-11")
def runs(
    facility: Annotated[str | None, typer.Option(help="Only this facility's.")] = None,
    period: Annotated[str | None, typer.Option(help="Only this month's, YYYY-MM.")] = None,
    as_json: AsJson = False,
) -> None:
    """List billing runs with their states and the number of invoices not issued yet."""
    from billing_lib.workflow.approve import list_runs

    say_frame(list_runs(ledger(), facility, period), title="Billing runs", as_json=as_json)


@run.command(epilog="Example: billing run make RC 1993-11 --team bio")
def make(
    facility: FacilityCode,
    period: PeriodText,
    project: Annotated[list[str] | None, typer.Option(help="Only these projects.")] = None,
    team: Annotated[list[str] | None, typer.Option(help="Only these teams.")] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Make a month's invoices as drafts; a second time it takes in later charges."""
    from billing_lib.pricing.clock import Period
    from billing_lib.workflow.approve import make_run
    from billing_lib.workflow.runs import RunScope

    if project and team:
        raise InvalidAdjustment("a run is of projects or of teams, not of both")
    selection = RunScope(projects=tuple(project or ()), teams=tuple(team or ()))
    book = price_book(facility)
    for sentence in make_run(ledger(), book, Period.parse(period), selection, description):
        say(sentence)


@run.command(epilog="Example: billing run show RC-1993-11-1")
def show(run_id: RunId, as_json: AsJson = False) -> None:
    """Show a run: its invoices with state and total, and its execution history."""
    import polars as pl

    from billing_lib.cli.app import book_of_run
    from billing_lib.pricing.money import minor_places
    from billing_lib.workflow.approve import read_run

    engine = ledger()
    book = book_of_run(engine, run_id)
    view = read_run(engine, book, run_id)
    places = minor_places(book.facility.currency)
    invoices = view.invoices.select(
        *("code", "state", "step", "project", "team", "charges", "total", "number", "reason")
    )
    jobs = view.jobs.select(
        "kind",
        "state",
        "login",
        pl.col("started_at", "ended_at").dt.to_string("%Y-%m-%d %H:%M:%SZ"),
        "log",
    )
    if as_json:
        from billing_lib.pricing.money import money_text_column

        shown = invoices.with_columns(money_text_column(pl.col("total"), places))
        say_json(
            {
                "run": view.run,
                "invoices": shown.to_dicts(),
                "jobs": jobs.to_dicts(),
                "deliveries": view.deliveries.to_dicts(),
            }
        )
        return
    row = view.run
    say(f"billing run {run_id} is {row['state']}" + _of(str(row["selection"])))
    if row["description"]:
        say(str(row["description"]))
    say_frame(
        invoices,
        title="Invoices",
        as_json=False,
        places=places,
        money=("total",),
        spared=("step", "team", "reason", "charges"),
    )
    say_frame(jobs, title="Execution history", as_json=False, spared=("login", "ended_at"))
    _say_deliveries(view)


def _say_deliveries(view: "RunView") -> None:
    """Print the number of messages on the run's invoices by state, and each undelivered one."""
    import polars as pl

    issued, told = view.invoices["number"].drop_nulls(), view.deliveries
    if issued.is_empty():
        return
    counts = told.unique("message").group_by("state").len().sort("state").rows()
    shown = [f"{count:,} {state}" for state, count in counts]
    untold = issued.filter(~issued.is_in(told["number"].implode())).len()
    shown += [f"{count_of(untold, 'invoice')} not told yet"] if untold else []
    say(f"messages: {', '.join(shown)}")
    problems = told.filter(~pl.col("state").is_in(("SENT", "WAITING")))
    if problems.height:
        say_frame(problems, title="Not delivered", as_json=False, spared=("attempts", "message"))


def _of(selection: str) -> str:
    return f", of {selection}" if selection else ""


@run.command(epilog="Example: billing run report RC-1993-11-1")
def report(run_id: RunId, as_json: AsJson = False) -> None:
    """Report on a run before issuing: counts, totals, the last month, largest, new, missing."""
    from dataclasses import fields

    from billing_lib.cli.app import book_of_run
    from billing_lib.pricing.money import minor_places, money_text
    from billing_lib.workflow.overview import report_run

    engine = ledger()
    book = book_of_run(engine, run_id)
    it = report_run(engine, book, run_id)
    places = minor_places(it.currency)
    total, last = money_text(it.total, places), money_text(it.last_total, places)
    money = ("raw_total", "adjustment", "total", "last_total", "cost")
    if as_json:
        frames = ("states", "largest", "new", "missing", "unbilled")
        told = {name: _texts(getattr(it, name), money, places) for name in frames}
        plain = {field.name: getattr(it, field.name) for field in fields(it)}
        say_json(plain | told | {"total": total, "last_total": last, "change": it.change})
        return
    say(f"{run_id}: {total} {it.currency}, the month before {last} ({it.change})")
    for title, frame in (
        ("Invoices by state", it.states),
        ("Largest invoices", it.largest),
        ("Projects not billed the month before", it.new),
        ("Projects billed the month before and not now", it.missing),
        ("Unbilled", it.unbilled),
    ):
        if frame.height:
            named = [name for name in money if name in frame.columns]
            say_frame(frame, title=title, as_json=False, places=places, money=named)


def _texts(frame: "pl.DataFrame", money: tuple[str, ...], places: int) -> list[dict[str, Any]]:
    import polars as pl

    from billing_lib.pricing.money import money_text_column

    named = [name for name in money if name in frame.columns]
    return frame.with_columns(money_text_column(pl.col(name), places) for name in named).to_dicts()


@run.command(epilog="Example: billing run process RC-1993-11-1 --date 1993-12-06")
def process(run_id: RunId, date: InvoiceDate = None, allow_dirty: AllowDirty = False) -> None:
    """Take a run's next step: take in and calculate, submit, issue approved invoices."""
    from billing_lib.batch.issuing import IssuingTerms, process_run
    from billing_lib.cli.app import book_of_run
    from billing_lib.settings import settings

    engine = ledger()
    book = book_of_run(engine, run_id)
    with progress("process") as step:
        terms = IssuingTerms(date, allow_dirty)
        issued = process_run(engine, settings(), book, run_id, terms=terms, step=step)
    for sentence in issued.sentences:
        say(sentence)


@run.command(epilog="Example: billing run disable RC-1993-11-1")
def disable(run_id: RunId) -> None:
    """Make the batch skip a run."""
    _set_enabled(run_id, enabled=False)


@run.command(epilog="Example: billing run enable RC-1993-11-1")
def enable(run_id: RunId) -> None:
    """Make the batch process a run again."""
    _set_enabled(run_id, enabled=True)


def _set_enabled(run_id: str, *, enabled: bool) -> None:
    from billing_lib.cli.app import book_of_run
    from billing_lib.workflow.approve import set_enabled

    engine = ledger()
    for sentence in set_enabled(engine, book_of_run(engine, run_id), run_id, enabled=enabled):
        say(sentence)


@run.command(
    epilog="Example: billing run cancel RC-1993-11-1 --reopen-charges --reason 'wrong rates'"
)
def cancel(
    run_id: RunId,
    reason: Reason = "",
    reopen: Annotated[
        bool | None,
        typer.Option(
            "--reopen-charges/--cancel-charges",
            help="Whether the charges are free for another run, or cancelled for good.",
        ),
    ] = None,
    with_ad_hoc: Annotated[
        bool, typer.Option("--with-ad-hoc", help="Close its ad hoc invoices, too.")
    ] = False,
) -> None:
    """Cancel a run: invoices that are not issued are closed; ad hoc invoices stay open."""
    from billing_lib.cli.app import book_of_run
    from billing_lib.workflow import approve as workflow_approve

    if reopen is None:
        raise InvalidAdjustment(
            "say what becomes of the charges", remedy="add --reopen-charges or --cancel-charges"
        )
    engine = ledger()
    book = book_of_run(engine, run_id)
    for sentence in workflow_approve.cancel(
        engine, book, run_id, reason, reopen=reopen, with_ad_hoc=with_ad_hoc
    ):
        say(sentence)


@run.command(epilog="Example: billing run describe RC-1993-11-1 'November, second try'")
def describe(
    run_id: RunId, text: Annotated[str, typer.Argument(metavar="TEXT", help="What it is for.")]
) -> None:
    """Edit a run's description."""
    from billing_lib.cli.app import book_of_run
    from billing_lib.workflow import approve as workflow_approve

    engine = ledger()
    for sentence in workflow_approve.describe(engine, book_of_run(engine, run_id), run_id, text):
        say(sentence)


@run.command(epilog="Example: billing run pdf RC-1993-11-1 --to november")
def pdf(run_id: RunId, to: Folder = Path()) -> None:
    """Write the PDF of every invoice of a run; drafts are marked as drafts."""
    _write(run_id, ["pdf"], to)


@run.command(epilog="Example: billing run xml RC-1993-11-1 --to november")
def xml(run_id: RunId, to: Folder = Path()) -> None:
    """Write the UBL XML (EN 16931) of every issued invoice of a run."""
    _write(run_id, ["xml"], to)


@run.command(epilog="Example: billing run documents RC-1993-11-1 --formats pdf,xlsx --to november")
def documents(
    run_id: RunId,
    formats: Annotated[str, typer.Option(help="Which, between commas.")] = "pdf,xlsx,xml",
    to: Folder = Path(),
) -> None:
    """Write every invoice of a run in several formats, in parallel."""
    _write(run_id, [word.strip().lower() for word in formats.split(",") if word.strip()], to)


def _write(run_id: str, suffixes: list[str], folder: Path) -> None:
    from billing_lib.cli.app import book_of_run
    from billing_lib.exports.documents import write_run_documents
    from billing_lib.settings import settings

    engine = ledger()
    book = book_of_run(engine, run_id)
    with progress(", ".join(suffixes)) as step:
        written = write_run_documents(engine, settings(), book, run_id, suffixes, folder, step)
    say(
        f"{run_id}: {count_of(len(written), 'file')} written to {folder}"
        if written
        else "nothing changed"
    )


Invoices = Annotated[
    list[str] | None, typer.Option("--invoice", help="Only these, RC-1993-11-1/u4.")
]
Projects = Annotated[list[str] | None, typer.Option("--project", help="Only these projects'.")]
Teams = Annotated[list[str] | None, typer.Option("--team", help="Only these teams'.")]
States = Annotated[list[str] | None, typer.Option("--state", help="Only in these states.")]
TotalFrom = Annotated[str | None, typer.Option(help="Only with a total of at least this.")]
TotalTo = Annotated[str | None, typer.Option(help="Only with a total of at most this.")]
Everything = Annotated[bool, typer.Option("--all", help="All invoices of the run.")]
Mine = Annotated[
    bool, typer.Option("--waiting-for-me", help="Only invoices whose next reviewer you are.")
]


def _choice(
    invoices: list[str] | None,
    projects: list[str] | None,
    teams: list[str] | None,
    states: list[str] | None,
    bounds: tuple[str | None, str | None],
    everything: bool,
    mine: bool = False,
) -> "InvoiceSelection":
    from billing_lib.workflow.search import InvoiceSelection

    return InvoiceSelection(
        tuple(invoices or ()),
        tuple(projects or ()),
        tuple(teams or ()),
        tuple(states or ()),
        *_amounts(bounds),
        everything,
        mine,
    )


def _amounts(bounds: tuple[str | None, str | None]) -> tuple[Decimal | None, Decimal | None]:
    low, high = bounds
    return None if low is None else _amount(low), None if high is None else _amount(high)


def _amount(text: str) -> Decimal:
    from pydantic import TypeAdapter, ValidationError

    from billing_lib.pricing.fields import Amount

    try:
        amount: Decimal = TypeAdapter(Amount).validate_python(text)
    except ValidationError:
        raise InvalidAdjustment(f"'{text}' is no amount", remedy="write it as 1000.00") from None
    return amount


@app.command(epilog="Example: billing ready RC 1993-11 --comment 'reviewed with the labs'")
def ready(
    facility: FacilityCode,
    period: PeriodText,
    comment: Annotated[str, typer.Option(help="Kept with the sign-off.")] = "",
) -> None:
    """Sign a month off for issuing as it stands; a later change needs a new sign-off."""
    from billing_lib.pricing.clock import Period
    from billing_lib.workflow.runs import sign_off

    say(sign_off(ledger(), price_book(facility), str(Period.parse(period)), comment))


@app.command(epilog="Example: billing approve RC-1993-11-1 --all --comment 'as agreed'")
def approve(
    run_id: RunId,
    invoice: Invoices = None,
    project: Projects = None,
    team: Teams = None,
    state: States = None,
    total_from: TotalFrom = None,
    total_to: TotalTo = None,
    everything: Everything = False,
    mine: Mine = False,
    comment: Annotated[str, typer.Option(help="Kept with the approval.")] = "",
    date: InvoiceDate = None,
    allow_dirty: AllowDirty = False,
) -> None:
    """Approve invoices as the reviewer whose turn it is; the last approval issues them.

    Invoices that wait for somebody else are passed over, unless they are named one by one.
    """
    from billing_lib.batch import issuing
    from billing_lib.batch.issuing import IssuingTerms
    from billing_lib.cli.app import book_of_run
    from billing_lib.settings import settings
    from billing_lib.workflow import approve as workflow_approve
    from billing_lib.workflow.permissions import REVIEWER, changing

    engine = ledger()
    book = book_of_run(engine, run_id)
    choice = _choice(invoice, project, team, state, (total_from, total_to), everything, mine)
    with changing(engine, book, REVIEWER) as connection:
        codes = choice.of(connection, book, run_id)
        prepared = workflow_approve.approve(
            connection, book, run_id, codes, comment, passing_over=not choice.names_each
        )
    say(f"{count_of(len(prepared.decided), 'invoice')} approved")
    for sentence in prepared.waiting:
        say(sentence)
    if not prepared.codes:
        return
    with progress("issue") as step:
        terms = IssuingTerms(date, allow_dirty)
        issued = issuing.issue_approved(
            engine, settings(), book, run_id, prepared.codes, terms=terms, step=step
        )
    for sentence in issued.sentences:
        say(sentence)


@app.command(epilog="Example: billing reject RC-1993-11-1 --project u4 --reason 'wrong split'")
def reject(
    run_id: RunId,
    reason: Reason = "",
    invoice: Invoices = None,
    project: Projects = None,
    team: Teams = None,
    state: States = None,
    total_from: TotalFrom = None,
    total_to: TotalTo = None,
    everything: Everything = False,
    mine: Mine = False,
) -> None:
    """Send invoices back one reviewer; rejected by the first, they reopen and take changes.

    Invoices that wait for somebody else are passed over, unless they are named one by one.
    """
    choice = _choice(invoice, project, team, state, (total_from, total_to), everything, mine)
    _change("reject", run_id, choice, reason)


@app.command(epilog="Example: billing quarantine RC-1993-11-1 --project u4 --reason 'under review'")
def quarantine(
    run_id: RunId,
    reason: Reason = "",
    invoice: Invoices = None,
    project: Projects = None,
    team: Teams = None,
    state: States = None,
    total_from: TotalFrom = None,
    total_to: TotalTo = None,
    everything: Everything = False,
) -> None:
    """Hold invoices back from their run, with their charges, until they are released."""
    choice = _choice(invoice, project, team, state, (total_from, total_to), everything)
    _change("quarantine", run_id, choice, reason)


@app.command(epilog="Example: billing release RC-1993-11-1 --project u4")
def release(
    run_id: RunId,
    invoice: Invoices = None,
    project: Projects = None,
    team: Teams = None,
    everything: Everything = False,
) -> None:
    """Release invoices from quarantine into their run."""
    choice = _choice(invoice, project, team, ["QUARANTINED"], (None, None), everything)
    _change("release", run_id, choice, "")


@app.command(
    epilog="Example: billing close RC-1993-11-1 --project u4 --cancel-charges --reason 'a test'"
)
def close(
    run_id: RunId,
    reason: Reason = "",
    invoice: Invoices = None,
    project: Projects = None,
    team: Teams = None,
    state: States = None,
    total_from: TotalFrom = None,
    total_to: TotalTo = None,
    everything: Everything = False,
    reopen: Annotated[
        bool | None,
        typer.Option(
            "--reopen-charges/--cancel-charges",
            help="Whether the charges are free for another run, or cancelled for good.",
        ),
    ] = None,
) -> None:
    """Close invoices permanently: they are never sent and get no number."""
    if reopen is None:
        raise InvalidAdjustment(
            "say what becomes of the charges", remedy="add --reopen-charges or --cancel-charges"
        )
    choice = _choice(invoice, project, team, state, (total_from, total_to), everything)
    _change("close_and_reopen" if reopen else "close", run_id, choice, reason)


def _change(action: str, run_id: str, choice: "InvoiceSelection", reason: str) -> None:
    from billing_lib.cli.app import book_of_run
    from billing_lib.ledger.database import reading
    from billing_lib.workflow.approve import change_invoices

    engine = ledger()
    book = book_of_run(engine, run_id)
    with reading(engine) as connection:
        codes = choice.of(connection, book, run_id)
    passing_over = not choice.names_each
    for sentence in change_invoices(engine, book, action, codes, reason, passing_over=passing_over):
        say(sentence)


@app.command(epilog="Example: billing month 1993-10 1993-11 --workers 4 --resume")
def month(
    periods: Annotated[list[str], typer.Argument(metavar="PERIOD", help="Months, YYYY-MM.")],
    date: Annotated[
        str | None, typer.Option(help="The invoice date, YYYY-MM-DD; today unless told.")
    ] = None,
    allow_dirty: Annotated[
        bool,
        typer.Option(
            "--allow-dirty", help="Issue from changed files; the records say so and keep the diff."
        ),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Issue by so many Dask workers of this machine.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Issue by a Dask scheduler's workers.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="The notebook of the report; with workers it is in the office folder."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a batch of the same report was stopped.")
    ] = False,
) -> None:
    """Issue the ready invoices of all facilities, then the statements; status 1 after a failure.

    Usage must be loaded and rated. Facilities that wait for a person are listed; that is no
    failure.
    """
    from functools import partial

    from billing_lib.batch.issuing import IssuingTerms
    from billing_lib.batch.month import Journal, issue_all, write_report
    from billing_lib.batch.workers import dask_workers
    from billing_lib.pricing.clock import Period
    from billing_lib.settings import settings

    if workers is not None and scheduler is not None:
        raise typer.BadParameter("name workers of this machine or a scheduler, not both")
    wanted = sorted({Period.parse(period) for period in periods}, key=str)
    here = settings()
    by_dask = workers is not None or scheduler is not None
    if report is None and (by_dask or resume):
        named = "-to-".join(dict.fromkeys((str(wanted[0]), str(wanted[-1]))))
        report = here.office / f"month-{named}.ipynb"
    journal = None if report is None else Journal(report.with_suffix(".jsonl"), resume)
    opened = partial(dask_workers, workers, scheduler) if by_dask else None
    with _watched(by_dask) as (step, watch):
        done = issue_all(
            ledger(),
            here,
            wanted,
            terms=IssuingTerms(date, allow_dirty),
            step=step,
            workers=opened,
            watch=watch,
            journal=journal,
        )
    for outcome in done.facilities:
        for sentence in outcome.sentences:
            tell(sentence, facility=outcome.facility, failed=outcome.failed)
    for sentence in [*done.statements, *done.delivered]:
        tell(sentence)
    if report is not None:
        write_report(done, report)
        tell(f"report: {report}")
    raise typer.Exit(1 if done.failed else 0)


@contextmanager
def _watched(by_dask: bool) -> "Iterator[tuple[Progress, Watch]]":
    """Show a bar on standard error, or a table of Dask's workers and the facility of each."""
    import time

    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    from billing_lib.batch.month import unwatched
    from billing_lib.workflow.steps import unheard

    if not by_dask:
        with progress("month") as step:
            yield step, unwatched
        return
    running: dict[str, tuple[str, str, float]] = {}

    def table() -> Table:
        drawn = Table("facility and month", "worker", "step", "seconds")
        for name, (worker, step, since) in sorted(dict(running).items()):  # Dask's thread adds
            if worker:
                drawn.add_row(name, worker, step, f"{time.monotonic() - since:.0f}")
        waiting = sum(not worker for worker, _, _ in dict(running).values())
        drawn.caption = f"{waiting:,} wait for a worker" if waiting else None
        return drawn

    def watch(name: str, worker: str, step: str) -> None:
        if step == "done":
            running.pop(name, None)
        else:
            running[name] = (worker, step, time.monotonic())

    with Live(get_renderable=table, console=Console(stderr=True), transient=True):
        yield unheard, watch
