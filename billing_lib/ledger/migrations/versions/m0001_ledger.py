"""The first tables: usage, charges, runs, invoices and events."""

from typing import NoReturn

import sqlalchemy as sa
from alembic import op

from billing_lib.ledger.types import DecimalText, Instant

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "facility",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_facility")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "billing_run",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("selection", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("invoice_date", sa.Date(), nullable=False),
        sa.Column("fiscal_year", sa.Integer(), nullable=False),
        sa.Column("snapshot_sha256", sa.Text(), nullable=True),
        sa.Column("commit_hash", sa.Text(), nullable=True),
        sa.Column("container", sa.Text(), nullable=True),
        sa.Column("record", sa.Text(), nullable=True),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("frozen_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["facility"], ["facility.code"], name=op.f("fk_billing_run_facility")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_run")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_billing_run_facility_period"), "billing_run", ["facility", "period"], unique=False
    )
    op.create_index(
        "ux_billing_run_one_frozen",
        "billing_run",
        ["facility"],
        unique=True,
        sqlite_where=sa.text("state = 'FROZEN'"),
        postgresql_where=sa.text("state = 'FROZEN'"),
    )
    op.create_table(
        "event",
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column("group_id", sa.Text(), nullable=True),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("previous_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["facility"], ["facility.code"], name=op.f("fk_event_facility")),
        sa.PrimaryKeyConstraint("facility", "sequence", name=op.f("pk_event")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_event_facility_subject"), "event", ["facility", "subject"], unique=False
    )
    op.create_table(
        "rate",
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["facility"], ["facility.code"], name=op.f("fk_rate_facility")),
        sa.PrimaryKeyConstraint("facility", "fingerprint", name=op.f("pk_rate")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "source_file",
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("loaded_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility"], ["facility.code"], name=op.f("fk_source_file_facility")
        ),
        sa.PrimaryKeyConstraint("facility", "sha256", name=op.f("pk_source_file")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "invoice_number",
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("fiscal_year", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility"], ["facility.code"], name=op.f("fk_invoice_number_facility")
        ),
        sa.ForeignKeyConstraint(
            ["run"], ["billing_run.id"], name=op.f("fk_invoice_number_billing_run")
        ),
        sa.PrimaryKeyConstraint(
            "facility", "fiscal_year", "sequence", name=op.f("pk_invoice_number")
        ),
        sa.UniqueConstraint("number", name=op.f("uq_invoice_number_number")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_invoice_number_run"), "invoice_number", ["run"], unique=False)
    op.create_table(
        "usage_record",
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("occurrence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("period", sa.Text(), nullable=True),
        sa.Column("item", sa.Text(), nullable=True),
        sa.Column("project", sa.Text(), nullable=True),
        sa.Column("user", sa.Text(), nullable=True),
        sa.Column("start_at", Instant(), nullable=True),
        sa.Column("end_at", Instant(), nullable=True),
        sa.Column("on_date", sa.Date(), nullable=True),
        sa.Column("units", DecimalText(), nullable=True),
        sa.Column("quantity", DecimalText(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("file_sha256", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=True),
        sa.Column("row", sa.BigInteger(), nullable=True),
        sa.Column("defect", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("raw", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["facility", "file_sha256"],
            ["source_file.facility", "source_file.sha256"],
            name=op.f("fk_usage_record_source_file"),
        ),
        sa.PrimaryKeyConstraint("facility", "record", "occurrence", name=op.f("pk_usage_record")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_usage_record_facility_period"),
        "usage_record",
        ["facility", "period"],
        unique=False,
    )
    op.create_table(
        "invoice",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("fiscal_year", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("invoice_date", sa.Date(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("charges", sa.BigInteger(), nullable=False),
        sa.Column("raw_total", sa.BigInteger(), nullable=False),
        sa.Column("adjustment", sa.BigInteger(), nullable=False),
        sa.Column("tax", sa.BigInteger(), nullable=True),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["facility"], ["facility.code"], name=op.f("fk_invoice_facility")),
        sa.ForeignKeyConstraint(
            ["number"], ["invoice_number.number"], name=op.f("fk_invoice_invoice_number")
        ),
        sa.ForeignKeyConstraint(["run"], ["billing_run.id"], name=op.f("fk_invoice_billing_run")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_invoice")),
        sa.UniqueConstraint(
            "facility",
            "fiscal_year",
            "sequence",
            name=op.f("uq_invoice_facility_fiscal_year_sequence"),
        ),
        sa.UniqueConstraint("facility", "number", name=op.f("uq_invoice_facility_number")),
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
        "unbilled",
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("occurrence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("period", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["facility", "record", "occurrence"],
            ["usage_record.facility", "usage_record.record", "usage_record.occurrence"],
            name=op.f("fk_unbilled_usage_record"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("facility", "record", "occurrence", name=op.f("pk_unbilled")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_unbilled_facility_period"), "unbilled", ["facility", "period"], unique=False
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
        sa.Column("run", sa.Text(), nullable=True),
        sa.Column("invoice", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["facility", "record", "occurrence"],
            ["usage_record.facility", "usage_record.record", "usage_record.occurrence"],
            name=op.f("fk_charge_usage_record"),
        ),
        sa.ForeignKeyConstraint(["invoice"], ["invoice.number"], name=op.f("fk_charge_invoice")),
        sa.ForeignKeyConstraint(["run"], ["billing_run.id"], name=op.f("fk_charge_billing_run")),
        sa.PrimaryKeyConstraint("facility", "code", name=op.f("pk_charge")),
        sqlite_with_rowid=False,
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
            ["invoice.facility", "invoice.number"],
            name=op.f("fk_invoice_line_invoice"),
        ),
        sa.PrimaryKeyConstraint("number", "position", name=op.f("pk_invoice_line")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_invoice_line_facility_charge"),
        "invoice_line",
        ["facility", "charge"],
        unique=False,
    )
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
            ["invoice.facility", "invoice.number"],
            name=op.f("fk_invoice_adjustment_invoice"),
        ),
        sa.PrimaryKeyConstraint("number", "position", name=op.f("pk_invoice_adjustment")),
        sqlite_with_rowid=False,
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
            ["invoice.facility", "invoice.number"],
            name=op.f("fk_invoice_split_invoice"),
        ),
        sa.PrimaryKeyConstraint("number", "expense_code", name=op.f("pk_invoice_split")),
        sqlite_with_rowid=False,
    )
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


def downgrade() -> NoReturn:
    """There is none: what is issued is not dropped."""
    raise NotImplementedError("a ledger is not taken back to before its first version")
