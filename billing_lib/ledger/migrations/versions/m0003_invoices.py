"""Charges, runs, and invoices from their first draft to what was issued."""

from typing import NoReturn

import sqlalchemy as sa
from alembic import op

from billing_lib.ledger.frames import Instant

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create their tables."""
    op.create_table(
        "billing_run",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("selection", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("login", sa.Text(), server_default=sa.FetchedValue(), nullable=False),
        sa.Column("made_at", Instant(), server_default=sa.FetchedValue(), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility"], ["facility.code"], name=op.f("fk_billing_run_facility")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_run")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_billing_run_facility_period"), "billing_run", ["facility", "period"], unique=False
    )
    op.create_table(
        "invoice",
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=True),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("covers_from", sa.Date(), nullable=False),
        sa.Column("covers_to", sa.Date(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("charges", sa.BigInteger(), nullable=False),
        sa.Column("raw_total", sa.BigInteger(), nullable=False),
        sa.Column("adjustment", sa.BigInteger(), nullable=False),
        sa.Column("tax", sa.BigInteger(), nullable=True),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=True),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("number", sa.Text(), nullable=True),
        sa.Column("replaces", sa.Text(), nullable=True),
        sa.Column("paid_on", sa.Date(), nullable=True),
        sa.Column("payment_reference", sa.Text(), nullable=True),
        sa.Column("statement", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["facility"], ["facility.code"], name=op.f("fk_invoice_facility")),
        sa.ForeignKeyConstraint(["run"], ["billing_run.id"], name=op.f("fk_invoice_billing_run")),
        sa.PrimaryKeyConstraint("facility", "code", name=op.f("pk_invoice")),
        sa.UniqueConstraint("facility", "reference", name=op.f("uq_invoice_facility_reference")),
        sa.UniqueConstraint("number", name=op.f("uq_invoice_number")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_invoice_facility_period_project"),
        "invoice",
        ["facility", "period", "project"],
        unique=False,
    )
    op.create_index(op.f("ix_invoice_run"), "invoice", ["run"], unique=False)
    op.create_table(
        "issuing",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("invoice_date", sa.Date(), nullable=False),
        sa.Column("fiscal_year", sa.Integer(), nullable=False),
        sa.Column("snapshot_sha256", sa.Text(), nullable=True),
        sa.Column("commit_hash", sa.Text(), nullable=True),
        sa.Column("container", sa.Text(), nullable=True),
        sa.Column("record", sa.Text(), nullable=True),
        sa.Column("login", sa.Text(), server_default=sa.FetchedValue(), nullable=False),
        sa.Column("frozen_at", Instant(), server_default=sa.FetchedValue(), nullable=False),
        sa.Column("ended_at", Instant(), server_default=sa.FetchedValue(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["facility"], ["facility.code"], name=op.f("fk_issuing_facility")),
        sa.ForeignKeyConstraint(["run"], ["billing_run.id"], name=op.f("fk_issuing_billing_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issuing")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_issuing_facility_period"), "issuing", ["facility", "period"], unique=False
    )
    op.create_index(op.f("ix_issuing_run"), "issuing", ["run"], unique=False)
    op.create_index(
        "ux_issuing_one_frozen",
        "issuing",
        ["facility"],
        unique=True,
        sqlite_where=sa.text("state = 'FROZEN'"),
        postgresql_where=sa.text("state = 'FROZEN'"),
    )
    op.create_table(
        "job",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("login", sa.Text(), server_default=sa.FetchedValue(), nullable=False),
        sa.Column("started_at", Instant(), server_default=sa.FetchedValue(), nullable=False),
        sa.Column("ended_at", Instant(), server_default=sa.FetchedValue(), nullable=True),
        sa.Column("log", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["facility"], ["facility.code"], name=op.f("fk_job_facility")),
        sa.ForeignKeyConstraint(["run"], ["billing_run.id"], name=op.f("fk_job_billing_run")),
        sa.PrimaryKeyConstraint("run", "sequence", name=op.f("pk_job")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "charge",
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=True),
        sa.Column("occurrence", sa.Integer(), nullable=True),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=True),
        sa.Column("user", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("on_date", sa.Date(), nullable=True),
        sa.Column("start_at", Instant(), nullable=True),
        sa.Column("end_at", Instant(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=True),
        sa.Column("hours", sa.Text(), nullable=True),
        sa.Column("quantity", sa.Text(), nullable=True),
        sa.Column("rate", sa.Text(), nullable=True),
        sa.Column("rate_group", sa.Text(), nullable=True),
        sa.Column("price", sa.Text(), nullable=True),
        sa.Column("effective_rate", sa.Text(), nullable=True),
        sa.Column("raw_total", sa.BigInteger(), nullable=False),
        sa.Column("adjustment", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("original", sa.Text(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.Column("run", sa.Text(), nullable=True),
        sa.Column("invoice", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["facility", "invoice"],
            ["invoice.facility", "invoice.code"],
            name=op.f("fk_charge_invoice"),
        ),
        sa.ForeignKeyConstraint(
            ["facility", "record", "occurrence"],
            ["usage_record.facility", "usage_record.record", "usage_record.occurrence"],
            name=op.f("fk_charge_usage_record"),
        ),
        sa.ForeignKeyConstraint(["run"], ["billing_run.id"], name=op.f("fk_charge_billing_run")),
        sa.PrimaryKeyConstraint("facility", "code", name=op.f("pk_charge")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_charge_facility_original"),
        "charge",
        ["facility", "original"],
        unique=False,
        sqlite_where=sa.text("original IS NOT NULL"),
        postgresql_where=sa.text("original IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_charge_facility_period_project"),
        "charge",
        ["facility", "period", "project"],
        unique=False,
    )
    op.create_index(
        op.f("ix_charge_invoice"),
        "charge",
        ["invoice"],
        unique=False,
        sqlite_where=sa.text("invoice IS NOT NULL"),
        postgresql_where=sa.text("invoice IS NOT NULL"),
    )
    op.create_table(
        "invoice_number",
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("fiscal_year", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("issuing", sa.Text(), nullable=False),
        sa.Column("invoice", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility", "invoice"],
            ["invoice.facility", "invoice.code"],
            name=op.f("fk_invoice_number_invoice"),
        ),
        sa.ForeignKeyConstraint(
            ["facility"], ["facility.code"], name=op.f("fk_invoice_number_facility")
        ),
        sa.ForeignKeyConstraint(
            ["issuing"], ["issuing.id"], name=op.f("fk_invoice_number_issuing")
        ),
        sa.PrimaryKeyConstraint(
            "facility", "fiscal_year", "sequence", name=op.f("pk_invoice_number")
        ),
        sa.UniqueConstraint("number", name=op.f("uq_invoice_number_number")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_invoice_number_issuing"), "invoice_number", ["issuing"], unique=False)
    op.create_table(
        "charge_split",
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("charge", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("expense_code", sa.Text(), nullable=False),
        sa.Column("percent", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility", "charge"],
            ["charge.facility", "charge.code"],
            name=op.f("fk_charge_split_charge"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("facility", "charge", "position", name=op.f("pk_charge_split")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "issued_invoice",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("invoice", sa.Text(), nullable=False),
        sa.Column("fiscal_year", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("issuing", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("invoice_date", sa.Date(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("charges", sa.BigInteger(), nullable=False),
        sa.Column("raw_total", sa.BigInteger(), nullable=False),
        sa.Column("adjustment", sa.BigInteger(), nullable=False),
        sa.Column("tax", sa.BigInteger(), nullable=True),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("prepaid", sa.BigInteger(), nullable=True),
        sa.Column("cost", sa.BigInteger(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility"], ["facility.code"], name=op.f("fk_issued_invoice_facility")
        ),
        sa.ForeignKeyConstraint(
            ["issuing"], ["issuing.id"], name=op.f("fk_issued_invoice_issuing")
        ),
        sa.ForeignKeyConstraint(
            ["number"], ["invoice_number.number"], name=op.f("fk_issued_invoice_invoice_number")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_issued_invoice")),
        sa.UniqueConstraint(
            "facility",
            "fiscal_year",
            "sequence",
            name=op.f("uq_issued_invoice_facility_fiscal_year_sequence"),
        ),
        sa.UniqueConstraint("facility", "invoice", name=op.f("uq_issued_invoice_facility_invoice")),
        sa.UniqueConstraint("facility", "number", name=op.f("uq_issued_invoice_facility_number")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_issued_invoice_facility_period_project"),
        "issued_invoice",
        ["facility", "period", "project"],
        unique=False,
    )
    op.create_index(op.f("ix_issued_invoice_issuing"), "issued_invoice", ["issuing"], unique=False)
    op.create_table(
        "invoice_adjustment",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("worked_on", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility", "number"],
            ["issued_invoice.facility", "issued_invoice.number"],
            name=op.f("fk_invoice_adjustment_issued_invoice"),
        ),
        sa.PrimaryKeyConstraint("number", "position", name=op.f("pk_invoice_adjustment")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "invoice_line",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("charge", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=True),
        sa.Column("user", sa.Text(), nullable=True),
        sa.Column("on_date", sa.Date(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("quantity", sa.Text(), nullable=True),
        sa.Column("raw_total", sa.BigInteger(), nullable=False),
        sa.Column("adjustment", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility", "number"],
            ["issued_invoice.facility", "issued_invoice.number"],
            name=op.f("fk_invoice_line_issued_invoice"),
        ),
        sa.PrimaryKeyConstraint("number", "position", name=op.f("pk_invoice_line")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_invoice_line_facility_charge"),
        "invoice_line",
        ["facility", "charge"],
        unique=True,
    )
    op.create_table(
        "invoice_split",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("expense_code", sa.Text(), nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility", "number"],
            ["issued_invoice.facility", "issued_invoice.number"],
            name=op.f("fk_invoice_split_issued_invoice"),
        ),
        sa.PrimaryKeyConstraint("number", "expense_code", name=op.f("pk_invoice_split")),
        sqlite_with_rowid=False,
    )


def downgrade() -> NoReturn:
    """There is none: what is issued is not dropped."""
    raise NotImplementedError("a ledger is not taken back to before its first version")
