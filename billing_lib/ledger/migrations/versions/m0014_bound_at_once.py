"""Guards that let a charge be bound when it comes on its invoice. No table changes."""

from typing import NoReturn

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Change no table; migrations/env.py installs the guards anew."""


def downgrade() -> NoReturn:
    """Refuse: issued invoices are never dropped."""
    raise NotImplementedError("a ledger is not taken back to an earlier version")
