"""Delivery: the outbox of mail, notices in the notebooks, and preferences."""

from typing import NoReturn

import sqlalchemy as sa
from alembic import op

from billing_lib.ledger.frames import Instant

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create their tables."""
    op.create_table(
        "message",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("html", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_try", Instant(), nullable=True),
        sa.Column("said", sa.Text(), nullable=True),
        sa.Column("login", sa.Text(), server_default=sa.FetchedValue(), nullable=False),
        sa.Column("queued_at", Instant(), server_default=sa.FetchedValue(), nullable=False),
        sa.Column("moved_at", Instant(), server_default=sa.FetchedValue(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_message_state"), "message", ["state"], unique=False)
    op.create_table(
        "told",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["facility"], ["facility.code"], name=op.f("fk_told_facility")),
        sa.ForeignKeyConstraint(["message"], ["message.id"], name=op.f("fk_told_message")),
        sa.PrimaryKeyConstraint(
            "kind", "key", "facility", "address", "version", name=op.f("pk_told")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_told_message"), "told", ["message"], unique=False)
    op.create_table(
        "attachment",
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["message"], ["message.id"], name=op.f("fk_attachment_message")),
        sa.PrimaryKeyConstraint("message", "position", name=op.f("pk_attachment")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "notice",
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("link", sa.Text(), nullable=False),
        sa.Column("made_at", Instant(), server_default=sa.FetchedValue(), nullable=False),
        sa.ForeignKeyConstraint(["facility"], ["facility.code"], name=op.f("fk_notice_facility")),
        sa.PrimaryKeyConstraint("facility", "team", "kind", "key", name=op.f("pk_notice")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "notice_seen",
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("login", sa.Text(), server_default=sa.FetchedValue(), nullable=False),
        sa.Column("at", Instant(), server_default=sa.FetchedValue(), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility", "team", "kind", "key"],
            ["notice.facility", "notice.team", "notice.kind", "notice.key"],
            name=op.f("fk_notice_seen_notice"),
        ),
        sa.PrimaryKeyConstraint(
            "facility", "team", "kind", "key", "login", name=op.f("pk_notice_seen")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "preference",
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("invoices", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility"], ["facility.code"], name=op.f("fk_preference_facility")
        ),
        sa.PrimaryKeyConstraint("facility", "address", name=op.f("pk_preference")),
        sqlite_with_rowid=False,
    )


def downgrade() -> NoReturn:
    """There is none: what is issued is not dropped."""
    raise NotImplementedError("a ledger is not taken back to before its first version")
