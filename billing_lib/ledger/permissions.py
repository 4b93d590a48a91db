"""Who may do what in a facility, as the ledger keeps it.

    facility  login  role                team
    RC        carol  issuer
    RC        li     lab_administrator   bio

The login is the database's own on PostgreSQL and the operating system's on SQLite (identity.py),
never what a client says.
"""

import polars as pl
from sqlalchemy import Connection, delete, func, insert, select

from billing_lib.ledger import frames
from billing_lib.ledger.identity import operating_system_login
from billing_lib.ledger.tables import permission
from billing_lib.ledger.types import frame_schema

PERMISSION = frame_schema(permission.columns)
"""Columns of a permission: facility, login, role, team ('' but for a lab administrator)."""


def current_login(connection: Connection) -> str:
    """Who is asking."""
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
    """A facility's permissions (schema PERMISSION), kept from others until the end of the
    transaction."""
    if connection.dialect.name == "postgresql":
        chosen = select(permission.c.login).where(permission.c.facility == facility)
        connection.execute(chosen.order_by(permission.c.login).with_for_update())
    return read_permissions(connection, facility)


def insert_permission(
    connection: Connection, facility: str, login: str, role: str, team: str
) -> None:
    """Give a permission that is not given yet."""
    connection.execute(
        insert(permission).values(facility=facility, login=login, role=role, team=team)
    )


def delete_permission(
    connection: Connection, facility: str, login: str, role: str, team: str
) -> None:
    """Take a permission back."""
    connection.execute(
        delete(permission).where(
            permission.c.facility == facility,
            permission.c.login == login,
            permission.c.role == role,
            permission.c.team == team,
        )
    )
