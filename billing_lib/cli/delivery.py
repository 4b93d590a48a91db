"""Commands about mail (``deliver``, ``outbox``, ``bounce``), notices and preferences."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from billing_lib.cli.app import (
    AsJson,
    FacilityCode,
    app,
    ledger,
    price_book,
    progress,
    say,
    say_frame,
)
from billing_lib.cli.unattended import tell
from billing_lib.errors import InvalidAdjustment, count_of

if TYPE_CHECKING:
    from billing_lib.delivery.queue import Queued


@app.command(epilog="Example: billing deliver RC 1993-10 --preview october")
def deliver(
    facility: Annotated[
        str | None, typer.Argument(metavar="FACILITY", help="Whose invoices.")
    ] = None,
    period: Annotated[
        str | None, typer.Argument(metavar="PERIOD", help="Their month, YYYY-MM.")
    ] = None,
    statements: Annotated[
        str | None, typer.Option(metavar="PERIOD", help="The statements of this month instead.")
    ] = None,
    team: Annotated[
        list[str] | None, typer.Option(help="Only this team's statements; can be given again.")
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write the messages as .eml files; queue and send nothing."
        ),
    ] = None,
) -> None:
    """Mail a month's invoices to the teams' administrators, or statements to their owners, once.

    Without arguments, send the waiting messages. Status 1 if a message needs a person."""
    queued = _queue(facility, period, statements, team, preview)
    problems = queued.problems if queued is not None else []
    for sentence in queued.sentences if queued is not None else []:
        tell(sentence, facility=facility or "")
    for sentence in problems:
        tell(sentence, facility=facility or "", failed=True)
    failed = False if preview is not None else _send()
    raise typer.Exit(1 if problems or failed else 0)


def _queue(
    facility: str | None,
    period: str | None,
    statements: str | None,
    team: list[str] | None,
    preview: Path | None,
) -> "Queued | None":
    """Queue the messages or write their preview; None if only waiting messages are to be sent."""
    from billing_lib.delivery import queue
    from billing_lib.pricing.clock import Period
    from billing_lib.settings import settings
    from billing_lib.workflow.load import read_price_books

    if facility is not None and (period is None or statements is not None):
        raise InvalidAdjustment(
            "invoices are delivered of a facility and a month, statements of a month",
            remedy="write 'billing deliver RC 1993-10' or 'billing deliver --statements 1993-10'",
        )
    if team and statements is None:
        raise InvalidAdjustment("--team is for statements", remedy="add --statements PERIOD")
    its = settings()
    if statements is not None:
        books, month = read_price_books(its.parameters), Period.parse(statements)
        if preview is not None:
            return queue.preview_statements(ledger(), its, books, month, team, preview)
        return queue.queue_statements(ledger(), its, books, month, team)
    if facility is not None and period is not None:
        book, month = price_book(facility), Period.parse(period)
        if preview is not None:
            return queue.preview_invoices(ledger(), its, book, month, preview)
        return queue.queue_invoices(ledger(), its, book, month)
    if preview is not None:
        raise InvalidAdjustment(
            "a preview is of invoices or statements", remedy="name a facility and a month"
        )
    return None


def _send() -> bool:
    """Send the waiting messages, and return whether one needs a person."""
    from billing_lib.delivery.send import send_waiting
    from billing_lib.settings import settings

    with progress("send") as step:
        sent = send_waiting(ledger(), settings(), step)
    for sentence in sent.sentences:
        tell(sentence, failed=sent.failed)
    tell(f"{count_of(sent.sent, 'message')} sent")
    return sent.failed


@app.command(epilog="Example: billing outbox RC --state UNCERTAIN")
def outbox(
    facility: Annotated[
        str | None, typer.Argument(metavar="FACILITY", help="Only messages that tell of it.")
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="Only in this state; can be given again.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that are sent, too.")] = False,
    sent: Annotated[
        str | None, typer.Option(metavar="ID", help="An uncertain one has arrived.")
    ] = None,
    again: Annotated[
        str | None, typer.Option(metavar="ID", help="Send one once more that did not arrive.")
    ] = None,
    withdraw: Annotated[
        str | None, typer.Option(metavar="ID", help="Do not send one any more.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; kept with the event.")] = "",
    as_json: AsJson = False,
) -> None:
    """List messages that wait, failed, were refused or are uncertain, or settle one of them."""
    from billing_lib.ledger.states import MESSAGE, states
    from billing_lib.workflow.outbox import list_outbox, settle_message

    engine, done = ledger(), False
    for action, message_id in (("send", sent), ("again", again), ("withdraw", withdraw)):
        if message_id is not None:
            say(settle_message(engine, message_id, action, reason))
            done = True
    if not done:
        say_frame(
            list_outbox(engine, facility, states(MESSAGE) if everything else state),
            title="Outbox",
            as_json=as_json,
            spared=("queued_at", "attempts", "subject", "next_try"),
        )


@app.command(epilog="Example: billing bounce undeliverable.eml")
def bounce(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The report as it came by mail, an .eml file.")
    ],
) -> None:
    """Record that a message came back undelivered; its run shows it."""
    from billing_lib.delivery.bounce import note_bounce

    say(note_bounce(ledger(), file))


@app.command(epilog="Example: billing notices --read")
def notices(
    team: Annotated[
        str | None, typer.Option(help="What this team's lab administrators are shown.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that are read, too.")] = False,
    read: Annotated[bool, typer.Option("--read", help="Put all of them away.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the notices that the notebooks show you."""
    import polars as pl

    from billing_lib.workflow.outbox import list_notices, read_all

    engine = ledger()
    if read:
        say(f"{read_all(engine):,} notices put away")
        return
    found = list_notices(engine, team=team, everything=everything)
    moment = pl.col("made_at", "seen_at").dt.to_string("%Y-%m-%d %H:%MZ")
    say_frame(
        found.with_columns(moment).select("made_at", "facility", "team", "text", "link", "seen_at"),
        title="Notices",
        as_json=as_json,
        spared=("link", "seen_at", "team"),
    )


@app.command(epilog="Example: billing preferences RC ann@example.edu --invoices digest")
def preferences(
    facility: FacilityCode,
    address: Annotated[
        str | None, typer.Argument(metavar="ADDRESS", help="Whose preference to set.")
    ] = None,
    invoices: Annotated[
        str | None,
        typer.Option(help="each: a message for each invoice; digest: one for all; none."),
    ] = None,
    team: Annotated[
        str | None,
        typer.Option(help="Only of this team's invoices, as its own administrators may set it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the recipients of invoices and statements, or set a recipient's preference."""
    from billing_lib.workflow.outbox import list_preferences, prefer

    if (address is None) != (invoices is None):
        raise InvalidAdjustment(
            "a preference is set of an address", remedy="name it, and say --invoices"
        )
    engine, book = ledger(), price_book(facility)
    if address is not None and invoices is not None:
        say(prefer(engine, book, address, invoices, team))
    else:
        say_frame(list_preferences(engine, book), title=f"Preferences {facility}", as_json=as_json)
