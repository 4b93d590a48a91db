"""Queueing: what is not told yet becomes messages in the outbox, all or nothing.

    billing deliver RC 1993-11 --preview november    the messages as .eml files, nothing else
    billing deliver RC 1993-11                       RC 1993-11: 40 messages queued

The messages of a preview are put together by the same code, in a transaction that cannot write.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, Engine

from billing_lib.delivery.composing import Composed, compose_invoices, compose_statements
from billing_lib.delivery.outgoing import mail_of, write_previews
from billing_lib.ledger import messages, notices
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import record_event
from billing_lib.ledger.states import FAILED, WAITING
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings
from billing_lib.workflow.permissions import ISSUER, require


@dataclass(frozen=True)
class Queued:
    """What queueing, or previewing it, came to.

    Attributes
    ----------
    sentences
        What was queued or written.
    problems
        What could not be: an address that is none, a team without any, a missing document.
    """

    messages: int
    sentences: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def queue_invoices(engine: Engine, settings: Settings, book: PriceBook, period: Period) -> Queued:
    """Queue the messages on a month's issued invoices that are not told yet.

    Raises
    ------
    NotReady
        Nothing of the month is issued.
    InvalidSettings
        The sender or the link cannot be.
    NotPermitted
        Only an issuer does this.
    """
    facility = book.facility.code
    with writing(engine) as connection:
        require(connection, facility, ISSUER)
        messages.lock_outbox(connection)
        composed = compose_invoices(connection, settings, book, period)
        return _queued(connection, composed, [facility], str(period))


def queue_statements(
    engine: Engine,
    settings: Settings,
    books: dict[str, PriceBook],
    period: Period,
    teams: list[str] | None = None,
    facilities: Collection[str] | None = None,
) -> Queued:
    """Queue a month's statements that are not told yet as they stand, of some teams or all.

    Parameters
    ----------
    facilities
        Only statements over none but these.

    Raises
    ------
    NotReady
        There are none.
    InvalidSettings
        The sender or the link cannot be.
    NotPermitted
        Only an issuer of all facilities on a statement does this.
    """
    with writing(engine) as connection:
        messages.lock_outbox(connection)
        composed = compose_statements(connection, settings, books, period, teams, facilities)
        for facility in composed.facilities:
            require(connection, facility, ISSUER)
        for old in composed.outdated:
            messages.move_message(connection, old, "withdraw", "the statement has changed since")
        return _queued(connection, composed, composed.facilities, str(period))


def preview_invoices(
    engine: Engine, settings: Settings, book: PriceBook, period: Period, folder: Path
) -> Queued:
    """Write the messages on a month's invoices that would be sent now as ``.eml`` files."""
    with reading(engine) as connection:
        require(connection, book.facility.code, ISSUER)
        composed = compose_invoices(connection, settings, book, period)
        return _previewed(connection, composed, settings, folder)


def preview_statements(
    engine: Engine,
    settings: Settings,
    books: dict[str, PriceBook],
    period: Period,
    teams: list[str] | None,
    folder: Path,
) -> Queued:
    """Write a month's statements that would be sent now as ``.eml`` files."""
    with reading(engine) as connection:
        composed = compose_statements(connection, settings, books, period, teams)
        for facility in composed.facilities:
            require(connection, facility, ISSUER)
        return _previewed(connection, composed, settings, folder)


def _queued(
    connection: Connection, composed: Composed, facilities: list[str], month: str
) -> Queued:
    messages.insert_messages(
        connection,
        [it.row for it in composed.outgoing],
        [row for it in composed.outgoing for row in it.tells],
        [row for it in composed.outgoing for row in it.attachments],
    )
    notices.add_notices(connection, composed.notices)
    count = len(composed.outgoing)
    if count:
        for facility in facilities:
            after = canonical_json({"messages": str(count), "tells": composed.kind})
            record_event(connection, facility, "deliver", month, "", after=after)
    said = f"{count:,} messages queued" if count else "nothing new to tell"
    return Queued(count, [f"{composed.of}: {said}{_rest(composed)}"], composed.problems)


def _previewed(
    connection: Connection, composed: Composed, settings: Settings, folder: Path
) -> Queued:
    mails = [mail_of(it.row, it.attachments, settings.runs, None) for it in composed.outgoing]
    standing = messages.read_messages(connection, ids=composed.standing, states=(WAITING, FAILED))
    for message_id in standing["id"]:
        if message_id not in composed.outdated:
            row = messages.read_message(connection, message_id)
            attachments = messages.read_attachments(connection, message_id)
            mails.append(mail_of(row, attachments, settings.runs, row["queued_at"]))
    count, written = write_previews(mails, folder)
    said = (
        f"{count:,} messages in {folder}/, {written:,} of them written; nothing is queued or sent"
    )
    return Queued(count, [f"{composed.of}: {said}{_rest(composed)}"], composed.problems)


def _rest(composed: Composed) -> str:
    parts = [
        f"{composed.before:,} told before" if composed.before else "",
        f"{composed.unwished:,} not wished for" if composed.unwished else "",
    ]
    return "".join(f"; {part}" for part in parts if part)
