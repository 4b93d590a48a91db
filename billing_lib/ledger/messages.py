"""Messages in the outbox, notices in the notebooks, and the preferences of recipients.

    RC-1994-00003-3f09ab12cd34   ann@example.edu   SENT      250 2.0.0 Ok: queued as 4F1
    RC-1994-00004-77d0c1a2b3e4   bob@example.edu   REFUSED   550 5.1.1 User unknown

    RC  bio  invoice  RC-1994-00003   Invoice RC-1994-00003 of 1,204.11 USD is ready
    RC       refused  RC-1994-0000…   to the staff: a message was refused

Table ``told`` names the documents of each message. A recipient is told of an invoice once, and of
a statement once per state of it. Telling again adds a version, after the earlier version was
withdrawn or if the document's fingerprint differs. A notice is for a team's lab administrators or
for a facility's staff, and each login reads it by itself; its key is unique.
"""

import datetime as dt
from typing import Any

import polars as pl
from sqlalchemy import ColumnElement, Connection, and_, func, insert, or_, select, update

from billing_lib.errors import NotReady, UnknownMessage
from billing_lib.ledger import frames
from billing_lib.ledger.database import stamp
from billing_lib.ledger.events import recorded
from billing_lib.ledger.frames import frame_schema
from billing_lib.ledger.people import current_login
from billing_lib.ledger.schema import (
    attachment,
    invoice,
    message,
    notice,
    notice_seen,
    preference,
    told,
)
from billing_lib.ledger.states import ACTIVE, CANCELLED, FAILED, WAITING, after
from billing_lib.ledger.states import MESSAGE as OF_MESSAGE
from billing_lib.pricing.fields import canonical_json

INVOICE, STATEMENT = "invoice", "statement"
"""The kinds of documents that messages tell of."""

_LISTED = [column for column in message.columns if column.name not in ("text", "html")]

MESSAGE = frame_schema(_LISTED)
"""Columns of a message in lists: all but its text and HTML."""

_TOLD = (*told.columns, message.c.state)

TOLD = frame_schema(_TOLD)
"""Columns: kind, key, facility, address, version, fingerprint, message, state."""


def lock_outbox(connection: Connection) -> None:
    """Keep other sessions from queueing until the transaction ends, as SQLite does anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.billing_guard_wait("outbox")))


def insert_messages(
    connection: Connection,
    messages: list[dict[str, Any]],
    tells: list[dict[str, Any]],
    attachments: list[dict[str, Any]],
) -> None:
    """Add WAITING messages, rows of ``told`` and attachments, without state, attempts, stamps."""
    if not messages:
        return
    begun = {"state": WAITING, "attempts": 0} | stamp(connection, who="login", when="queued_at")
    connection.execute(insert(message), [row | begun for row in messages])
    connection.execute(insert(told), tells)
    if attachments:
        connection.execute(insert(attachment), attachments)


def read_messages(
    connection: Connection,
    *,
    ids: list[str] | None = None,
    states: tuple[str, ...] | None = None,
) -> pl.DataFrame:
    """Messages (schema MESSAGE), in the order of queueing."""
    chosen = select(*_LISTED)
    if ids is not None:
        listed = frames.listed(connection, ids)
        chosen = chosen.where(message.c.id.in_(select(listed.c.value)))
    if states is not None:
        chosen = chosen.where(message.c.state.in_(states))
    return frames.read_frame(connection, chosen, MESSAGE).sort("queued_at", "id")


def read_message(connection: Connection, message_id: str) -> dict[str, Any]:
    """A message's columns by name; it must exist."""
    found = connection.execute(select(message).where(message.c.id == message_id)).one_or_none()
    if found is None:
        raise UnknownMessage(
            f"there is no message {message_id}", remedy="look in the outbox, at sent ones too"
        )
    return found._asdict()


def read_attachments(connection: Connection, message_id: str) -> list[dict[str, Any]]:
    """The columns of a message's attachments by name, in order."""
    chosen = select(attachment).where(attachment.c.message == message_id)
    found = connection.execute(chosen.order_by(attachment.c.position))
    return [row._asdict() for row in found]


def read_told(
    connection: Connection,
    *,
    kind: str | None = None,
    keys: list[str] | None = None,
    messages: list[str] | None = None,
) -> pl.DataFrame:
    """Documents told in messages (schema TOLD), by kind, key, address and version."""
    chosen = select(*_TOLD).join_from(told, message, message.c.id == told.c.message)
    if kind is not None:
        chosen = chosen.where(told.c.kind == kind)
    for column, values in ((told.c.key, keys), (told.c.message, messages)):
        if values is not None:
            listed = frames.listed(connection, values)
            chosen = chosen.where(column.in_(select(listed.c.value)))
    found = frames.read_frame(connection, chosen, TOLD)
    return found.sort("kind", "key", "address", "version", "facility")


def facilities_of(connection: Connection, message_id: str) -> list[str]:
    """The facilities of a message's documents, in order."""
    chosen = select(told.c.facility).where(told.c.message == message_id).distinct()
    return sorted(connection.scalars(chosen))


def due_messages(connection: Connection, now: dt.datetime) -> list[str]:
    """The ids of the messages that may be sent now, in the order of queueing."""
    chosen = select(message.c.id).where(
        or_(
            message.c.state == WAITING,
            (message.c.state == FAILED) & (message.c.next_try <= now),
        )
    )
    return list(connection.scalars(chosen.order_by(message.c.queued_at, message.c.id)))


def lapsed_invoices(connection: Connection, message_id: str) -> list[str]:
    """The numbers of a message's invoices that no longer count."""
    chosen = (
        select(told.c.key)
        .join_from(told, invoice, invoice.c.number == told.c.key)
        .where(
            told.c.message == message_id,
            told.c.kind == INVOICE,
            invoice.c.state.not_in(ACTIVE),
        )
    )
    return sorted(connection.scalars(chosen))


def claim_message(connection: Connection, message_id: str) -> bool:
    """Begin to send a message; False if it no longer waits."""
    changed = connection.execute(
        update(message)
        .where(message.c.id == message_id, message.c.state.in_((WAITING, FAILED)))
        .values(
            state=after(OF_MESSAGE, WAITING, "claim", message_id),
            attempts=message.c.attempts + 1,
            next_try=None,
            **stamp(connection, when="moved_at"),
        )
    )
    return changed.rowcount == 1


def move_message(
    connection: Connection,
    message_id: str,
    action: str,
    said: str,
    *,
    next_try: dt.datetime | None = None,
) -> str:
    """Move a message by an action of states.py; the new state.

    Each facility of the message gets an event, unless the action is ``defer``. ``said`` is the
    server's answer or a reason, ``next_try`` the time of a deferred message's next try.
    """
    row = read_message(connection, message_id)
    state = after(OF_MESSAGE, row["state"], action, f"message {message_id}")
    tries = {"attempts": 0} if state == WAITING else {}
    event = {
        "kind": f"message_{action}",
        "subject": message_id,
        "team": row["team"],
        "group_id": None,
        "reason": said,
        "before": canonical_json({"state": row["state"]}),
        "after": canonical_json({"state": state, "recipient": row["recipient"]}),
    }
    facilities = facilities_of(connection, message_id) if action != "defer" else []
    with recorded(connection, [event | {"facility": code} for code in facilities]):
        changed = connection.execute(
            update(message)
            .where(message.c.id == message_id, message.c.state == row["state"])
            .values(
                state=state,
                said=said,
                next_try=next_try,
                **tries,
                **stamp(connection, when="moved_at"),
            )
        )
        if changed.rowcount != 1:
            raise NotReady(f"message {message_id} was changed by another at this moment")
    return state


def standing(found: pl.DataFrame) -> pl.DataFrame:
    """The last version per document and address (schema TOLD), without withdrawn versions."""
    return (
        found.filter(pl.col("state") != CANCELLED)
        .sort("version")
        .unique(["kind", "key", "facility", "address"], keep="last", maintain_order=True)
    )


KEYS = ["facility", "team", "kind", "key"]
"""The key of a notice."""

_SHOWN = (*notice.columns, notice_seen.c.at.label("seen_at"))

NOTICE = frame_schema(_SHOWN)
"""Columns of a notice, and ``seen_at``, the time at which the current login read it."""

STAFF = ""
"""The team of a notice for a facility's staff."""


def personal(login: str) -> str:
    """The team of a notice for one user, ``@ann``."""
    return f"@{login}"


def add_notices(connection: Connection, notices: list[dict[str, str]]) -> int:
    """Add notices whose keys are new (rows without ``made_at``); the number of them."""
    if not notices:
        return 0
    known = frames.read_frame(
        connection, select(*(notice.c[name] for name in KEYS)).where(_in(connection, notices))
    )
    there = set(known.rows())
    made = stamp(connection, when="made_at")
    fresh = {tuple(row[name] for name in KEYS): row | made for row in notices}
    rows = [row for key, row in fresh.items() if key not in there]
    if rows:
        connection.execute(insert(notice), rows)
    return len(rows)


def read_notices(connection: Connection, facility: str, teams: list[str]) -> pl.DataFrame:
    """A facility's notices for these teams (schema NOTICE), newest first."""
    seen = and_(
        *(notice_seen.c[name] == notice.c[name] for name in KEYS),
        notice_seen.c.login == current_login(connection),
    )
    listed = frames.listed(connection, teams)
    chosen = (
        select(*_SHOWN)
        .join_from(notice, notice_seen, seen, isouter=True)
        .where(notice.c.facility == facility, notice.c.team.in_(select(listed.c.value)))
    )
    found = frames.read_frame(connection, chosen, NOTICE)
    return found.sort("made_at", "key", descending=[True, False])


def mark_read(connection: Connection, unread: pl.DataFrame) -> None:
    """Mark unread notices (schema NOTICE) as read by the current login."""
    stamps = stamp(connection, who="login", when="at")
    rows = [row | stamps for row in unread.select(KEYS).to_dicts()]
    if rows:
        connection.execute(insert(notice_seen), rows)


def read_preferences(connection: Connection, facility: str) -> pl.DataFrame:
    """Recipients' preferences: ``facility``, ``team`` ('' for all), ``address``, ``invoices``
    (each, digest, none)."""
    chosen = select(preference).where(preference.c.facility == facility)
    return frames.read_frame(connection, chosen).sort("address", "team")


def set_preference(
    connection: Connection, facility: str, team: str, address: str, invoices: str
) -> None:
    """Set how a recipient is told of a team's invoices, with an event: each, digest or none.

    Team '' stands for all teams that have not chosen.
    """
    key = {"facility": facility, "team": team, "address": address}
    mine = and_(*(preference.c[name] == value for name, value in key.items()))
    before = connection.scalar(select(preference.c.invoices).where(mine))
    chosen = {
        "facility": facility,
        "kind": "prefer",
        "subject": address,
        "team": team or None,
        "group_id": None,
        "reason": "",
        "before": None if before is None else canonical_json({"invoices": before}),
        "after": canonical_json({"invoices": invoices}),
    }
    with recorded(connection, [chosen]):
        if before is None:
            connection.execute(insert(preference).values(**key, invoices=invoices))
        else:
            connection.execute(update(preference).where(mine).values(invoices=invoices))


def _in(connection: Connection, notices: list[dict[str, str]]) -> ColumnElement[bool]:
    listed = frames.listed(connection, sorted({row["key"] for row in notices}))
    return notice.c.key.in_(select(listed.c.value))
