"""General-ledger journals: what was posted, once."""

from typing import NoReturn

import sqlalchemy as sa
from alembic import op

from billing_lib.ledger.frames import Instant

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create their tables."""
    op.create_table(
        "journal",
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("login", sa.Text(), server_default=sa.FetchedValue(), nullable=False),
        sa.Column("posted_at", Instant(), server_default=sa.FetchedValue(), nullable=False),
        sa.ForeignKeyConstraint(["facility"], ["facility.code"], name=op.f("fk_journal_facility")),
        sa.PrimaryKeyConstraint("facility", "number", name=op.f("pk_journal")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "journal_entry",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("journal", sa.Integer(), nullable=False),
        sa.Column("on_date", sa.Date(), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility", "journal"],
            ["journal.facility", "journal.number"],
            name=op.f("fk_journal_entry_journal"),
        ),
        sa.ForeignKeyConstraint(
            ["facility", "number"],
            ["issued_invoice.facility", "issued_invoice.number"],
            name=op.f("fk_journal_entry_issued_invoice"),
        ),
        sa.PrimaryKeyConstraint("number", "kind", name=op.f("pk_journal_entry")),
        sqlite_with_rowid=False,
    )


def downgrade() -> NoReturn:
    """There is none: what is posted is not dropped."""
    raise NotImplementedError("a ledger is not taken back to before its first version")
