"""The first tables: facilities, usage, kept rates and events."""

from typing import NoReturn

import sqlalchemy as sa
from alembic import op

from billing_lib.ledger.frames import DecimalText, Instant

revision = "0002"
down_revision = None


def upgrade() -> None:
    """Create them."""
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
        "event",
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column(
            "sequence",
            sa.BigInteger(),
            server_default=sa.FetchedValue(),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column("group_id", sa.Text(), nullable=True),
        sa.Column("login", sa.Text(), server_default=sa.FetchedValue(), nullable=False),
        sa.Column("at", Instant(), server_default=sa.FetchedValue(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("previous_hash", sa.Text(), server_default=sa.FetchedValue(), nullable=False),
        sa.Column("hash", sa.Text(), server_default=sa.FetchedValue(), nullable=False),
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
        sa.Column("login", sa.Text(), server_default=sa.FetchedValue(), nullable=False),
        sa.Column("loaded_at", Instant(), server_default=sa.FetchedValue(), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility"], ["facility.code"], name=op.f("fk_source_file_facility")
        ),
        sa.PrimaryKeyConstraint("facility", "sha256", name=op.f("pk_source_file")),
        sqlite_with_rowid=False,
    )
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
        sa.Column("reference", sa.Text(), nullable=True),
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


def downgrade() -> NoReturn:
    """There is none: what is issued is not dropped."""
    raise NotImplementedError("a ledger is not taken back to before its first version")
