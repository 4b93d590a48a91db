"""Who and when, as far as SQLite goes: the operating system's login and clock.

On PostgreSQL triggers take ``session_user`` and the server's clock, whatever a client sends
(guards.py), so nothing is sent. SQLite has neither; there this module is the one place that
says who and when, and the login is the owner of the process, not an environment variable.
"""

import os
import pwd
from datetime import UTC, datetime

from sqlalchemy import Connection


def stamp(connection: Connection, *, who: str | None = None, when: str) -> dict[str, object]:
    """The columns that say who and when, to be written: none on PostgreSQL.

    Parameters
    ----------
    who, when
        The columns' names.
    """
    if connection.dialect.name == "postgresql":
        return {}
    moment: dict[str, object] = {when: datetime.now(UTC)}
    return moment if who is None else {who: operating_system_login(), **moment}


def operating_system_login() -> str:
    """The login name of the user that this process runs as; its number if it has no name."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"
