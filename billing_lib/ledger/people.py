"""Facilities in the ledger, and permissions in them.

    RC  Research Computing  USD  America/New_York

    facility  login  role                team
    RC        carol  issuer
    RC        li     lab_administrator   bio

The ledger knows a facility from its first use on. Amounts are whole minor units and periods are
local months, so its currency and time zone never change. The login is the database's own on
PostgreSQL and the operating system's on SQLite (database.py), never a name that a client sends.
"""

import polars as pl
from sqlalchemy import Connection, func, insert, select, update

from billing_lib.errors import InvalidPriceBook
from billing_lib.ledger import frames
from billing_lib.ledger.acts import ADMINISTRATOR
from billing_lib.ledger.database import operating_system_login
from billing_lib.ledger.events import recorded
from billing_lib.ledger.frames import frame_schema
from billing_lib.ledger.schema import facility as facilities
from billing_lib.ledger.schema import permission
from billing_lib.pricing.fields import canonical_json

PERMISSION = frame_schema(permission.columns)
"""Columns of a permission: facility, login, role, team ('' but for a lab administrator)."""


def current_login(connection: Connection) -> str:
    """The login of the current session."""
    if connection.dialect.name == "postgresql":
        return str(connection.scalars(select(func.session_user())).one())
    return operating_system_login()


def read_permissions(
    connection: Connection, facility: str | None = None, login: str | None = None
) -> pl.DataFrame:
    """Permissions (schema PERMISSION), by facility, login, role and team."""
    statement = select(permission)
    for column, wanted in (("facility", facility), ("login", login)):
        if wanted is not None:
            statement = statement.where(permission.c[column] == wanted)
    found = frames.read_frame(connection, statement, PERMISSION)
    return found.sort("facility", "login", "role", "team")


def lock_permissions(connection: Connection, facility: str) -> pl.DataFrame:
    """A facility's permissions (schema PERMISSION), locked until the end of the transaction."""
    if connection.dialect.name == "postgresql":
        chosen = select(facilities.c.code).where(facilities.c.code == facility)
        connection.execute(chosen.with_for_update())
    return read_permissions(connection, facility)


def insert_permission(
    connection: Connection, facility: str, login: str, role: str, team: str, reason: str = ""
) -> None:
    """Give a new permission, with an event."""
    row = {"facility": facility, "login": login, "role": role, "team": team}
    with recorded(connection, [_event("grant", row, reason)]):
        connection.execute(insert(permission).values(row))


def delete_permission(
    connection: Connection, facility: str, login: str, role: str, team: str, reason: str = ""
) -> None:
    """Take a permission back, with an event."""
    row = {"facility": facility, "login": login, "role": role, "team": team}
    with recorded(connection, [_event("revoke", row, reason)]):
        frames.delete_rows(
            connection, permission, *(permission.c[name] == value for name, value in row.items())
        )


def _event(kind: str, row: dict[str, str], reason: str) -> dict[str, str | None]:
    held = {name: row[name] for name in ("role", "team") if row[name]}
    return {
        "facility": row["facility"],
        "kind": kind,
        "subject": row["login"],
        "team": row["team"] or None,
        "group_id": None,
        "reason": reason,
        "before": canonical_json(held) if kind == "revoke" else None,
        "after": canonical_json(held) if kind == "grant" else None,
    }


def know_facility(
    connection: Connection, code: str, name: str, currency: str, timezone: str
) -> None:
    """Add a facility at its first use, or update its name; its currency and time zone are fixed.

    Its maker becomes its administrator.
    """
    known = connection.execute(select(facilities).where(facilities.c.code == code)).one_or_none()
    if known is None:
        values = {"code": code, "name": name, "currency": currency, "timezone": timezone}
        connection.execute(insert(facilities).values(values))
        if connection.dialect.name != "postgresql":  # there a trigger does
            insert_permission(connection, code, current_login(connection), ADMINISTRATOR, "")
        return
    for what, was, now in (
        ("currency", known.currency, currency),
        ("time zone", known.timezone, timezone),
    ):
        if was != now:
            raise InvalidPriceBook(
                f"the {what} of {code} was {was} when it was first used and cannot become {now}",
                remedy="set it back, or bill under another facility code",
            )
    if known.name != name:
        connection.execute(update(facilities).where(facilities.c.code == code).values(name=name))


def read_facilities(connection: Connection) -> pl.DataFrame:
    """``code``, ``name``, ``currency``, ``timezone``, by code."""
    return frames.read_frame(connection, select(facilities).order_by(facilities.c.code))
