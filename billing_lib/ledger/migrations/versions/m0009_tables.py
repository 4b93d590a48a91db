"""The tables as they stand before the first release.

Revisions 0001 to 0008 were never released; their ledgers are refused (database.py).
"""

from typing import NoReturn

from alembic import op

from billing_lib.ledger.schema import metadata

revision = "0009"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    metadata.create_all(op.get_bind())


def downgrade() -> NoReturn:
    """Refuse: issued invoices are never dropped."""
    raise NotImplementedError("a ledger is not taken back to before its first version")
