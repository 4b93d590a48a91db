"""Tables and columns that ledgers of before the first release lack: the log, and times of rates.

Revisions 0009 and 0010 made the tables as they were on the day, so two ledgers of one revision may
differ. This one makes them the same, and from here on a committed migration does not change: a
test has the hash of the tables.
"""

from typing import NoReturn

from alembic import op
from sqlalchemy import inspect, text

from billing_lib.ledger.schema import metadata, rate

revision = "0011"
down_revision = "0010"

_BEFORE = "1970-01-01T00:00:00.000000Z"
"""The time of a rate that was kept before times were: older than any price book."""


def upgrade() -> None:
    """Make an earlier ledger the same as a new one."""
    connection = op.get_bind()
    metadata.create_all(connection)
    if "kept_at" in {each["name"] for each in inspect(connection).get_columns("rate")}:
        return
    if connection.dialect.name == "postgresql":
        column = f"kept_at TIMESTAMPTZ NOT NULL DEFAULT '{_BEFORE}'"
        connection.execute(text(f"ALTER TABLE rate ADD COLUMN {column}"))
        connection.execute(text("ALTER TABLE rate ALTER COLUMN kept_at DROP DEFAULT"))
        return
    connection.execute(text("PRAGMA defer_foreign_keys = ON"))  # charges refer to the table
    rates = connection.execute(text("SELECT facility, fingerprint, body FROM rate")).all()
    op.drop_table("rate")
    rate.create(connection)
    added = text("INSERT INTO rate VALUES (:facility, :fingerprint, :body, :kept_at)")
    for kept in rates:
        connection.execute(added, {**kept._asdict(), "kept_at": _BEFORE})


def downgrade() -> NoReturn:
    """Refuse: issued invoices are never dropped."""
    raise NotImplementedError("a ledger is not taken back to an earlier version")
