"""What is made of invoices and statements and kept: transformations and packages."""

from typing import NoReturn

import sqlalchemy as sa
from alembic import op

from billing_lib.ledger.frames import Instant

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create their tables."""
    op.create_table(
        "transformation",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("template", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("template_sha256", sa.Text(), nullable=False),
        sa.Column("input_sha256", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("login", sa.Text(), server_default=sa.FetchedValue(), nullable=False),
        sa.Column("made_at", Instant(), server_default=sa.FetchedValue(), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility"], ["facility.code"], name=op.f("fk_transformation_facility")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transformation")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_transformation_facility_subject"),
        "transformation",
        ["facility", "subject"],
        unique=False,
    )
    op.create_table(
        "package",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("selection", sa.Text(), nullable=False),
        sa.Column("formats", sa.Text(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=False),
        sa.Column("login", sa.Text(), server_default=sa.FetchedValue(), nullable=False),
        sa.Column("made_at", Instant(), server_default=sa.FetchedValue(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_package")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "package_file",
        sa.Column("package", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("facility", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("source_sha256", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["facility"], ["facility.code"], name=op.f("fk_package_file_facility")
        ),
        sa.ForeignKeyConstraint(
            ["package"],
            ["package.id"],
            name=op.f("fk_package_file_package"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("package", "path", "facility", name=op.f("pk_package_file")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_package_file_subject"), "package_file", ["subject"], unique=False)


def downgrade() -> NoReturn:
    """There is none: what is issued is not dropped."""
    raise NotImplementedError("a ledger is not taken back to before its first version")
