"""Charges of invoices closed for good are CANCELLED; ad hoc invoices may leave their run."""

from typing import NoReturn

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Cancel the charges that are bound to closed invoices."""
    op.execute(
        "UPDATE charge SET state = 'CANCELLED' WHERE state = 'PENDING' AND run IS NOT NULL"
        " AND EXISTS (SELECT 1 FROM invoice i WHERE i.facility = charge.facility"
        " AND i.code = charge.invoice AND i.state = 'CLOSED')"
    )


def downgrade() -> NoReturn:
    """Refuse: issued invoices are never dropped."""
    raise NotImplementedError("a ledger is not taken back to an older version")
