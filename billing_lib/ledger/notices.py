"""Notices that the notebooks show, who has read them, and how recipients want to be told.

    RC  bio  invoice  RC-1994-00003   Invoice RC-1994-00003 of 1,204.11 USD is ready
    RC       refused  RC-1994-0000…   to the staff: a message was refused

A notice is for a team's lab administrators, or for the facility's staff; each login reads it by
itself. One with the same key is made once.
"""

import polars as pl
from sqlalchemy import ColumnElement, Connection, and_, insert, select, update

from billing_lib.ledger import frames
from billing_lib.ledger.delivery_tables import notice, notice_seen, preference
from billing_lib.ledger.identity import stamp
from billing_lib.ledger.permissions import current_login
from billing_lib.ledger.types import frame_schema

KEYS = ["facility", "team", "kind", "key"]
"""What a notice is known by."""

_SHOWN = (*notice.columns, notice_seen.c.at.label("seen_at"))

NOTICE = frame_schema(_SHOWN)
"""Columns of a notice: facility, team, kind, key, text, link, made_at, and ``seen_at``, when who
is asking has read it."""

STAFF = ""
"""The team of a notice that is for a facility's staff."""


def add_notices(connection: Connection, notices: list[dict[str, str]]) -> int:
    """Add notices that are not there yet; how many.

    Parameters
    ----------
    notices
        Rows of the table without ``made_at``.
    """
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
    """A facility's notices for these teams (schema NOTICE), the newest first."""
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
    """Note that who is asking has read these notices (schema NOTICE, none read before)."""
    stamps = stamp(connection, who="login", when="at")
    rows = [row | stamps for row in unread.select(KEYS).to_dicts()]
    if rows:
        connection.execute(insert(notice_seen), rows)


def read_preferences(connection: Connection, facility: str) -> pl.DataFrame:
    """``facility``, ``address``, ``invoices`` (each, digest or none), by address."""
    chosen = select(preference).where(preference.c.facility == facility)
    return frames.read_frame(connection, chosen).sort("address")


def set_preference(connection: Connection, facility: str, address: str, invoices: str) -> None:
    """Set how a recipient is told of a facility's invoices."""
    mine = (preference.c.facility == facility) & (preference.c.address == address)
    changed = connection.execute(update(preference).where(mine).values(invoices=invoices))
    if changed.rowcount == 0:
        values = {"facility": facility, "address": address, "invoices": invoices}
        connection.execute(insert(preference).values(values))


def _in(connection: Connection, notices: list[dict[str, str]]) -> ColumnElement[bool]:
    listed = frames.listed(connection, sorted({row["key"] for row in notices}))
    return notice.c.key.in_(select(listed.c.value))
