"""Guards that compare an invoice with its charges once, when it is issued. No table changes."""

from typing import NoReturn

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Change no table; migrations/env.py installs the guards anew."""


def downgrade() -> NoReturn:
    """Refuse: issued invoices are never dropped."""
    raise NotImplementedError("a ledger is not taken back to an earlier version")
