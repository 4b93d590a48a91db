"""The ledger's tables of what is made of invoices and statements, and kept in the store.

    transformation            a facility's template, rendered once
    package ─ package_file    a zip of documents, and what is in it

None of it is issued: these rows may be deleted, which is an event, and their files be made again.
Rows are added and deleted, never changed.
"""

from sqlalchemy import Column, Date, ForeignKey, Index, Table, Text

from billing_lib.ledger.columns import metadata, minor, of_facility, stamped, stated
from billing_lib.ledger.types import Instant

transformation = Table(
    "transformation",
    metadata,
    Column("id", Text, primary_key=True),
    of_facility(),
    stated("purpose"),  # invoice, run or statement
    stated("subject"),  # its number or id
    stated("template"),
    stated("format"),
    stated("template_sha256"),
    stated("input_sha256"),  # of what the template was given
    stated("sha256"),  # of the result, by which the store has it
    minor("bytes"),
    stamped("login", Text),
    stamped("made_at", Instant),
    Index(None, "facility", "subject"),
    sqlite_with_rowid=False,
)

package = Table(
    "package",
    metadata,
    Column("id", Text, primary_key=True),
    stated("selection"),  # in words
    stated("formats"),
    minor("files"),
    stated("sha256"),  # of the zip, by which the store has it
    minor("bytes"),
    Column("valid_until", Date, nullable=False),
    stamped("login", Text),
    stamped("made_at", Instant),
    sqlite_with_rowid=False,
)

package_file = Table(
    "package_file",
    metadata,
    Column("package", Text, ForeignKey("package.id", ondelete="CASCADE"), primary_key=True),
    Column("path", Text, primary_key=True),  # inside the zip
    # A statement over several facilities has a row for each.
    Column("facility", Text, ForeignKey("facility.code"), primary_key=True),
    stated("team"),
    stated("subject"),  # an invoice's number or a statement's id
    stated("format"),
    stated("source_sha256"),  # of the canonical JSON that it is made of
    stated("sha256"),
    minor("bytes"),
    Index(None, "subject"),
    sqlite_with_rowid=False,
)
