"""Statements, prepaid funds and permissions."""

from typing import NoReturn

import sqlalchemy as sa
from alembic import op

from billing_lib.ledger.frames import Instant

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create their tables."""
    op.create_table(
        "statement",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("invoices", sa.Integer(), nullable=False),
        sa.Column("raw_total", sa.BigInteger(), nullable=False),
        sa.Column("adjustment", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("paid_on", sa.Date(), nullable=True),
        sa.Column("payment_reference", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_statement")),
        sa.UniqueConstraint(
            "team",
            "period",
            "currency",
            "sequence",
            name=op.f("uq_statement_team_period_currency_sequence"),
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "statement_adjustment",
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility"], ["facility.code"], name=op.f("fk_statement_adjustment_facility")
        ),
        sa.ForeignKeyConstraint(
            ["statement"], ["statement.id"], name=op.f("fk_statement_adjustment_statement")
        ),
        sa.PrimaryKeyConstraint(
            "statement", "facility", "position", name=op.f("pk_statement_adjustment")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "statement_invoice",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["number"], ["issued_invoice.number"], name=op.f("fk_statement_invoice_issued_invoice")
        ),
        sa.ForeignKeyConstraint(
            ["statement"], ["statement.id"], name=op.f("fk_statement_invoice_statement")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_statement_invoice")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_statement_invoice_statement"), "statement_invoice", ["statement"], unique=False
    )
    op.create_table(
        "fund_entry",
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("login", sa.Text(), server_default=sa.FetchedValue(), nullable=False),
        sa.Column("at", Instant(), server_default=sa.FetchedValue(), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility"], ["facility.code"], name=op.f("fk_fund_entry_facility")
        ),
        sa.ForeignKeyConstraint(
            ["number"], ["issued_invoice.number"], name=op.f("fk_fund_entry_issued_invoice")
        ),
        sa.PrimaryKeyConstraint("facility", "project", "sequence", name=op.f("pk_fund_entry")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "permission",
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility"], ["facility.code"], name=op.f("fk_permission_facility")
        ),
        sa.PrimaryKeyConstraint("facility", "login", "role", "team", name=op.f("pk_permission")),
        sqlite_with_rowid=False,
    )


def downgrade() -> NoReturn:
    """There is none: what is issued is not dropped."""
    raise NotImplementedError("a ledger is not taken back to before its first version")
