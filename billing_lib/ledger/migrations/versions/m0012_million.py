"""The index from which pages of a month's charges are read, in place of a narrower one.

On PostgreSQL triggers (triggers.py) take the place of some foreign keys.
"""

from typing import NoReturn

from alembic import op
from sqlalchemy import text

revision = "0012"
down_revision = "0011"

_REFERENCES = (
    ("usage_record", "source_file"),
    ("usage_version", "source_file"),
    ("charge", "usage_record"),
    ("charge_split", "charge"),
)
_COLUMNS = ("facility", "period", "project", "charge", "date", "total")


def upgrade() -> None:
    """Make the index and drop the foreign keys, where the tables are not new."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        for on, to in _REFERENCES:
            key = f"fk_{on}_{to}"
            connection.execute(text(f"ALTER TABLE {on} DROP CONSTRAINT IF EXISTS {key}"))
    connection.execute(text("DROP INDEX IF EXISTS ix_charge_facility_period_project"))
    made = f"ix_charge_{'_'.join(_COLUMNS)} ON charge ({', '.join(_COLUMNS)})"
    connection.execute(text(f"CREATE INDEX IF NOT EXISTS {made}"))


def downgrade() -> NoReturn:
    """Refuse: issued invoices are never dropped."""
    raise NotImplementedError("a ledger is not taken back to an earlier version")
