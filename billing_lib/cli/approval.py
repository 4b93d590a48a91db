"""Commands on the way to an invoice's approval: ``ready``, ``approve``, ``reject``, ``quarantine``,
``release``, ``close``."""

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer

from billing_lib.cli.app import FacilityCode, PeriodText, app, ledger, price_book, progress, say
from billing_lib.cli.runs import AllowDirty, InvoiceDate, Reason, RunId
from billing_lib.errors import InvalidAdjustment

if TYPE_CHECKING:
    from billing_lib.workflow.choosing import Choice

Invoices = Annotated[
    list[str] | None, typer.Option("--invoice", help="Only these, RC-1993-11-1/u4.")
]
Projects = Annotated[list[str] | None, typer.Option("--project", help="Only these projects'.")]
Teams = Annotated[list[str] | None, typer.Option("--team", help="Only these teams'.")]
States = Annotated[list[str] | None, typer.Option("--state", help="Only in these states.")]
TotalFrom = Annotated[str | None, typer.Option(help="Only with a total of at least this.")]
TotalTo = Annotated[str | None, typer.Option(help="Only with a total of at most this.")]
Everything = Annotated[bool, typer.Option("--all", help="All invoices of the run.")]


def _choice(
    invoices: list[str] | None,
    projects: list[str] | None,
    teams: list[str] | None,
    states: list[str] | None,
    bounds: tuple[str | None, str | None],
    everything: bool,
) -> "Choice":
    from billing_lib.workflow.choosing import Choice

    return Choice(
        tuple(invoices or ()),
        tuple(projects or ()),
        tuple(teams or ()),
        tuple(states or ()),
        *_amounts(bounds),
        everything,
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
    """Sign a month off: it may be issued as it stands; a later change asks for it again."""
    from billing_lib.pricing.period import Period
    from billing_lib.workflow.readiness import sign_off

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
    comment: Annotated[str, typer.Option(help="Kept with the approval.")] = "",
    date: InvoiceDate = None,
    allow_dirty: AllowDirty = False,
) -> None:
    """Approve invoices as the reviewer whose turn it is; the last one's approval issues them."""
    from billing_lib import batch
    from billing_lib.cli.books import book_of_run
    from billing_lib.issuer import Terms
    from billing_lib.ledger.database import writing
    from billing_lib.settings import settings
    from billing_lib.workflow import approving

    engine = ledger()
    book = book_of_run(engine, run_id)
    choice = _choice(invoice, project, team, state, (total_from, total_to), everything)
    with writing(engine) as connection:
        codes = choice.of(connection, book, run_id)
        prepared = approving.approve(connection, book, run_id, codes, comment)
    say(f"{len(codes):,} invoices approved")
    if not prepared.codes:
        for sentence in prepared.waiting:
            say(sentence)
        return
    with progress("issue") as step:
        terms = Terms(date, allow_dirty)
        issued = batch.issue_approved(
            engine, settings(), book, run_id, codes, terms=terms, step=step
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
) -> None:
    """Send invoices back one reviewer; from the first they reopen and take in changes."""
    choice = _choice(invoice, project, team, state, (total_from, total_to), everything)
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
    """Keep invoices out of their run, with their charges, until they are released."""
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
    """Take invoices out of quarantine, back into their run."""
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
    """Close invoices that shall never be sent, for good; they get no number."""
    if reopen is None:
        raise InvalidAdjustment(
            "say what becomes of the charges", remedy="add --reopen-charges or --cancel-charges"
        )
    choice = _choice(invoice, project, team, state, (total_from, total_to), everything)
    _change("close_and_reopen" if reopen else "close", run_id, choice, reason)


def _change(action: str, run_id: str, choice: "Choice", reason: str) -> None:
    from billing_lib.cli.books import book_of_run
    from billing_lib.ledger.database import reading
    from billing_lib.workflow.approving import change_invoices

    engine = ledger()
    book = book_of_run(engine, run_id)
    with reading(engine) as connection:
        codes = choice.of(connection, book, run_id)
    for sentence in change_invoices(engine, book, action, codes, reason):
        say(sentence)
