"""The ledger's tables.

    source_file ─ usage_record ─ charge ─ charge_split      PENDING until billed
                       ├ unbilled     └ rate (kept copies)
                       └ usage_version                      what it was before, each time
    permission (who may do what)    event (who, when, why; hash-chained per facility)
    written (PostgreSQL: each statement that wrote what makes an amount)

    billing_run ─ job          a run by staff, and each action in it
       └ invoice               its life: OPEN … APPROVED … PAID
    issuing ─ invoice_number   one pass from freezing to the archive
       ├ issued_invoice ─ invoice_line, invoice_split, invoice_adjustment     written once
       └ log_entry          the seal of its audit record, in the order of issue; append-only
    statement ─ statement_invoice, statement_adjustment
    fund_entry                 prepaid funds: deposits, draws by invoices, returns
    journal ─ journal_entry    postings to the general ledger, each once

    transformation            a facility's template, rendered once
    package ─ package_file    a zip of documents, and its files

    message ─ attachment      an e-mail to one recipient, as it was queued, and its state
       └ told                 its invoices or statements, once per recipient
    notice ─ notice_seen      a text in the notebooks, and its readers
    preference                a recipient's choice of e-mail about invoices

Usage and charges have the columns and types of their frames (USAGE, CHARGE and SPLIT of pricing):
money is whole minor units of the facility's currency, a decimal is text. Keys are the field's
own. Every row names its facility, and its team if a lab's administrator may one day read it, so
that row-level security needs no join. Guards (guards.py) limit changes instead of CHECK
constraints, which SQLite cannot alter while the list of states grows. SQLite's tables have no
rowid, so REPLACE overwrites rows only by their declared keys, which the guards watch.
``issued_invoice`` never changes, ``invoice`` only moves between states; of a message only state,
tries and last answer change. Transformations and packages may be deleted, which is an event, since
their files can be made again.
"""

import polars as pl
from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    FetchedValue,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import LargeBinary

from billing_lib.ledger.frames import Instant, columns_of
from billing_lib.pricing.charge import CHARGE, SPLIT
from billing_lib.pricing.fields import USAGE

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""All tables of the ledger."""


def facility_key() -> Column[str]:
    """The facility, as the first part of a key."""
    return Column("facility", Text, ForeignKey("facility.code"), primary_key=True)


def of_facility() -> Column[str]:
    """The facility of a row that has another key."""
    return Column("facility", Text, ForeignKey("facility.code"), nullable=False)


def stated(name: str) -> Column[str]:
    """A text that is never null."""
    return Column(name, Text, nullable=False)


def minor(name: str) -> Column[int]:
    """An amount in whole minor units, or a count, that is never null."""
    return Column(name, BigInteger, nullable=False)


BY_STATEMENT = "by statement"


def checked_by_statement(
    columns: list[str], referred: list[str], ondelete: str | None = None
) -> ForeignKeyConstraint:
    """A foreign key of a table with millions of rows, on PostgreSQL a trigger (triggers.py).

    There a foreign key is a query per row, which takes most of the time of rating a large month.
    """
    made = ForeignKeyConstraint(columns, referred, ondelete=ondelete, info={BY_STATEMENT: True})
    return made.ddl_if(dialect="sqlite")


def stamped(name: str, kind: type[Text] | type[Instant]) -> Column[object]:
    """A login or a time: PostgreSQL's triggers set it, whatever the client sends."""
    return Column(name, kind, FetchedValue(), nullable=False)


facility = Table(
    "facility",
    metadata,
    Column("code", Text, primary_key=True),
    stated("name"),
    stated("currency"),
    stated("timezone"),
    sqlite_with_rowid=False,
)

source_file = Table(
    "source_file",
    metadata,
    facility_key(),
    Column("sha256", Text, primary_key=True),
    stated("name"),
    stated("kind"),
    minor("records"),
    stamped("login", Text),
    stamped("loaded_at", Instant),
    sqlite_with_rowid=False,
)


def _version_columns() -> tuple[SchemaItem, ...]:
    """The columns of a usage record and its earlier versions beside those of the usage frame."""
    return (
        Column("period", Text),  # null where no time could be read, and where it is taken back
        Column("withdrawn", BigInteger),  # the event that took it back; null for what stands
        Column("file_sha256", Text, nullable=False),
        checked_by_statement(
            ["facility", "file_sha256"], ["source_file.facility", "source_file.sha256"]
        ),
    )


usage_record = Table(
    "usage_record",
    metadata,
    Column("facility", Text, primary_key=True),
    *columns_of(USAGE, key=("record", "occurrence")),
    *_version_columns(),
    Column("version", Integer),  # null for the first, which is nearly every record's only one
    Index(None, "facility", "period"),
    sqlite_with_rowid=False,
)

usage_version = Table(
    "usage_version",
    metadata,
    Column("facility", Text, primary_key=True),
    *columns_of(USAGE, key=("record", "occurrence")),
    *_version_columns(),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("event", BigInteger, nullable=False),  # the event with which it ended
    ForeignKeyConstraint(
        ["facility", "record", "occurrence"],
        ["usage_record.facility", "usage_record.record", "usage_record.occurrence"],
    ),
    Index(None, "facility", "event"),
    sqlite_with_rowid=False,
)

unbilled = Table(
    "unbilled",
    metadata,
    Column("facility", Text, primary_key=True),
    Column("record", Text, primary_key=True),
    Column("occurrence", Integer, primary_key=True, autoincrement=False),
    Column("period", Text),
    stated("reason"),
    Column("detail", Text),
    ForeignKeyConstraint(
        ["facility", "record", "occurrence"],
        ["usage_record.facility", "usage_record.record", "usage_record.occurrence"],
        ondelete="CASCADE",
    ),
    Index(None, "facility", "period"),
    sqlite_with_rowid=False,
)

rate = Table(
    "rate",
    metadata,
    facility_key(),
    Column("fingerprint", Text, primary_key=True),
    stated("body"),  # canonical JSON
    stamped("kept_at", Instant),
    sqlite_with_rowid=False,
)

KEPT = pl.Schema(
    {name: dtype for name, dtype in CHARGE.items() if name not in ("units", "file", "row")}
)
"""Columns of a charge in its table; the usage record has the others."""

_TOTALS = ("raw_total", "adjustment", "total")

charge = Table(
    "charge",
    metadata,
    Column("facility", Text, primary_key=True),
    *columns_of(
        KEPT,
        key=("charge",),
        required=("kind", "period", "project", "team", *_TOTALS, "state"),
    ),
    ForeignKeyConstraint(["run"], ["billing_run.id"]),
    ForeignKeyConstraint(["facility", "invoice"], ["invoice.facility", "invoice.code"]),
    checked_by_statement(
        ["facility", "record", "occurrence"],
        ["usage_record.facility", "usage_record.record", "usage_record.occurrence"],
    ),
    # A month's pages in any of these orders are read from this index alone. Rows come in the order
    # of their codes, so that the index grows at one end per project.
    Index(None, "facility", "period", "project", "charge", "date", "total"),
    Index(
        None,
        "facility",
        "original",
        sqlite_where=text("original IS NOT NULL"),
        postgresql_where=text("original IS NOT NULL"),
    ),
    # No index on record: a charge of usage is found by its code, a copy by its original.
    Index(
        None,
        "invoice",
        sqlite_where=text("invoice IS NOT NULL"),
        postgresql_where=text("invoice IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

charge_split = Table(
    "charge_split",
    metadata,
    Column("facility", Text, primary_key=True),
    *columns_of(SPLIT, key=("charge", "position"), required=("expense_code", "percent", "amount")),
    checked_by_statement(
        ["facility", "charge"], ["charge.facility", "charge.charge"], ondelete="CASCADE"
    ),
    sqlite_with_rowid=False,
)

permission = Table(
    "permission",
    metadata,
    facility_key(),
    Column("login", Text, primary_key=True),
    Column("role", Text, primary_key=True),
    Column("team", Text, primary_key=True),  # of a lab administrator; else ''
    sqlite_with_rowid=False,
)

event = Table(
    "event",
    metadata,
    facility_key(),
    Column("sequence", BigInteger, FetchedValue(), primary_key=True, autoincrement=False),
    stated("kind"),
    stated("subject"),
    Column("team", Text),
    Column("group_id", Text),
    stamped("login", Text),
    stamped("at", Instant),
    stated("reason"),
    Column("before", Text),  # JSON, as is after
    Column("after", Text),
    stamped("previous_hash", Text),
    stamped("hash", Text),
    Index(None, "facility", "subject"),
    sqlite_with_rowid=False,
)

written = Table(
    "written",
    metadata,
    facility_key(),
    Column("at", Instant, FetchedValue(), primary_key=True),
    Column("session", Integer, FetchedValue(), primary_key=True, autoincrement=False),
    Column("table", Text, primary_key=True),
    Column("operation", Text, primary_key=True),
    stamped("login", Text),
    minor("rows"),
    sqlite_with_rowid=False,
)


billing_run = Table(
    "billing_run",
    metadata,
    Column("id", Text, primary_key=True),
    of_facility(),
    stated("period"),
    stated("selection"),  # '' for the whole month, else a part of it (workflow/runs.py)
    stated("state"),
    stated("description"),
    stamped("login", Text),
    stamped("made_at", Instant),
    Index(None, "facility", "period"),
    sqlite_with_rowid=False,
)

job = Table(
    "job",
    metadata,
    Column("run", Text, ForeignKey("billing_run.id"), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    of_facility(),
    stated("kind"),
    stated("state"),
    stamped("login", Text),
    stamped("started_at", Instant),
    Column("ended_at", Instant, FetchedValue()),
    stated("log"),
    sqlite_with_rowid=False,
)

invoice = Table(
    "invoice",
    metadata,
    Column("facility", Text, ForeignKey("facility.code"), primary_key=True),
    Column("code", Text, primary_key=True),  # RC-1993-11-1/u4, or an ad hoc invoice's reference
    stated("kind"),  # periodic or ad hoc
    Column("run", Text, ForeignKey("billing_run.id")),  # null until an ad hoc invoice is in one
    stated("period"),
    stated("project"),
    stated("team"),
    Column("reference", Text),
    Column("covers_from", Date, nullable=False),
    Column("covers_to", Date, nullable=False),
    stated("state"),
    Column("step", Integer, nullable=False),  # how many reviewers have approved
    Column("charges", BigInteger, nullable=False),  # how many lines
    minor("raw_total"),
    minor("adjustment"),
    Column("tax", BigInteger),  # null without one
    minor("total"),
    Column("cost", BigInteger),  # for staff only
    stated("description"),
    Column("reason", Text),  # of its last move that needs one
    Column("number", Text),  # once issued
    Column("replaces", Text),  # the number of the invoice that this one reissues
    Column("paid_on", Date),
    Column("payment_reference", Text),
    Column("statement", Text),  # the statement whose payment paid it, if any
    UniqueConstraint("number"),
    UniqueConstraint("facility", "reference"),
    Index(None, "facility", "period", "project"),
    Index(None, "run"),
    sqlite_with_rowid=False,
)

issuing = Table(
    "issuing",
    metadata,
    Column("id", Text, primary_key=True),
    of_facility(),
    Column("run", Text, ForeignKey("billing_run.id"), nullable=False, index=True),
    stated("period"),
    stated("state"),
    Column("invoice_date", Date, nullable=False),
    Column("fiscal_year", Integer, nullable=False),
    Column("snapshot_sha256", Text),
    Column("commit_hash", Text),
    Column("container", Text),
    Column("record", Text),  # the audit record's path, relative to the archive
    stamped("login", Text),
    stamped("frozen_at", Instant),
    Column("ended_at", Instant, FetchedValue()),
    Column("failure", Text),
    Index(None, "facility", "period"),
    Index(
        "ux_issuing_one_frozen",
        "facility",
        unique=True,
        sqlite_where=text("state = 'FROZEN'"),
        postgresql_where=text("state = 'FROZEN'"),
    ),
    sqlite_with_rowid=False,
)

log_entry = Table(
    "log_entry",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),  # 1, 2, 3 …
    Column("issuing", Text, ForeignKey("issuing.id"), nullable=False),
    of_facility(),
    stated("seal"),  # the sha256 of the record's tag manifest
    stated("head"),  # the head of the log up to this entry (audit/log.py)
    Column("signature", Text),  # of the head, SSHSIG as base64; null without a signing key
    UniqueConstraint("issuing"),
    sqlite_with_rowid=False,
)

invoice_number = Table(
    "invoice_number",
    metadata,
    facility_key(),
    Column("fiscal_year", Integer, primary_key=True, autoincrement=False),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    stated("number"),
    Column("issuing", Text, ForeignKey("issuing.id"), nullable=False, index=True),
    stated("invoice"),
    UniqueConstraint("number"),
    ForeignKeyConstraint(["facility", "invoice"], ["invoice.facility", "invoice.code"]),
    sqlite_with_rowid=False,
)

issued_invoice = Table(
    "issued_invoice",
    metadata,
    Column("number", Text, ForeignKey("invoice_number.number"), primary_key=True),
    of_facility(),
    stated("invoice"),
    Column("fiscal_year", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("issuing", Text, ForeignKey("issuing.id"), nullable=False, index=True),
    stated("kind"),
    stated("project"),
    stated("team"),
    stated("period"),
    Column("invoice_date", Date, nullable=False),
    stated("currency"),
    Column("charges", BigInteger, nullable=False),  # how many lines
    minor("raw_total"),
    minor("adjustment"),
    Column("tax", BigInteger),  # null without one
    minor("total"),
    Column("prepaid", BigInteger),  # the part drawn from prepaid funds; null without any
    Column("cost", BigInteger),  # for staff only; not part of the canonical JSON
    stated("fingerprint"),  # sha256 of the canonical JSON
    UniqueConstraint("facility", "fiscal_year", "sequence"),
    UniqueConstraint("facility", "number"),
    UniqueConstraint("facility", "invoice"),
    Index(None, "facility", "period", "project"),
    sqlite_with_rowid=False,
)


def _of_invoice() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["facility", "number"], ["issued_invoice.facility", "issued_invoice.number"]
    )


_LINE = pl.Schema(
    {
        name: CHARGE[name]
        for name in (
            *("charge", "item", "user", "date", "description", "quantity"),
            *("raw_total", "adjustment", "total"),
        )
    }
)

invoice_line = Table(
    "invoice_line",
    metadata,
    Column("number", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    stated("facility"),
    stated("team"),
    *columns_of(_LINE, required=("charge", "raw_total", "adjustment", "total")),
    _of_invoice(),
    Index(None, "facility", "charge", unique=True),  # a charge billed again is a copy
    sqlite_with_rowid=False,
)

invoice_split = Table(
    "invoice_split",
    metadata,
    Column("number", Text, primary_key=True),
    Column("expense_code", Text, primary_key=True),
    stated("facility"),
    stated("team"),
    minor("amount"),
    _of_invoice(),
    sqlite_with_rowid=False,
)

invoice_adjustment = Table(
    "invoice_adjustment",
    metadata,
    Column("number", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    stated("facility"),
    stated("team"),
    stated("rule"),
    stated("kind"),
    stated("worked_on"),  # items, a user, a day; empty for the whole invoice
    Column("user", Text),  # of that part, as is the next; null for all of them
    Column("day", Date),
    minor("amount"),
    _of_invoice(),
    sqlite_with_rowid=False,
)

statement = Table(
    "statement",
    metadata,
    Column("id", Text, primary_key=True),  # smith-lab-1993-11, its second smith-lab-1993-11-2
    stated("team"),
    stated("period"),
    Column("sequence", Integer, nullable=False),
    stated("currency"),
    stated("state"),
    Column("invoices", Integer, nullable=False),
    minor("raw_total"),
    minor("adjustment"),
    minor("total"),
    Column("paid_on", Date),
    Column("payment_reference", Text),
    UniqueConstraint("team", "period", "currency", "sequence"),
    sqlite_with_rowid=False,
)

statement_invoice = Table(
    "statement_invoice",
    metadata,
    Column("number", Text, ForeignKey("issued_invoice.number"), primary_key=True),
    Column("statement", Text, ForeignKey("statement.id"), nullable=False, index=True),
    stated("facility"),
    stated("team"),
    minor("total"),
    sqlite_with_rowid=False,
)

statement_adjustment = Table(
    "statement_adjustment",
    metadata,
    Column("statement", Text, ForeignKey("statement.id"), primary_key=True),
    Column("facility", Text, ForeignKey("facility.code"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    stated("team"),
    stated("rule"),
    stated("kind"),
    minor("amount"),
    sqlite_with_rowid=False,
)

fund_entry = Table(
    "fund_entry",
    metadata,
    facility_key(),
    Column("project", Text, primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    stated("team"),
    stated("kind"),  # deposit, draw or return
    minor("amount"),  # the change of the balance
    Column("number", Text, ForeignKey("issued_invoice.number")),  # of a draw or return
    stated("reason"),
    stamped("login", Text),
    stamped("at", Instant),
    sqlite_with_rowid=False,
)

journal = Table(
    "journal",
    metadata,
    facility_key(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("entries", Integer, nullable=False),  # how many
    stated("settings"),  # JSON: the accounts and columns it was posted with
    stamped("login", Text),
    stamped("posted_at", Instant),
    sqlite_with_rowid=False,
)

journal_entry = Table(
    "journal_entry",
    metadata,
    Column("number", Text, primary_key=True),  # of the invoice
    Column("kind", Text, primary_key=True),  # issue or reversal
    stated("facility"),
    Column("journal", Integer, nullable=False),
    Column("date", Date, nullable=False),
    _of_invoice(),
    ForeignKeyConstraint(["facility", "journal"], ["journal.facility", "journal.number"]),
    sqlite_with_rowid=False,
)


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
    stated("input_sha256"),  # of the template's input
    stated("sha256"),  # of the result, its key in the store
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
    stated("sha256"),  # of the zip, its key in the store
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
    stated("source_sha256"),  # of the canonical JSON behind it
    stated("sha256"),
    minor("bytes"),
    Index(None, "subject"),
    sqlite_with_rowid=False,
)


message = Table(
    "message",
    metadata,
    Column("id", Text, primary_key=True),  # RC-1994-00003-3f09ab12cd34, also in its Message-ID
    stated("kind"),  # invoice or statement
    stated("period"),
    Column("team", Text),  # null for a digest of several teams
    stated("sender"),
    stated("recipient"),  # with the name, if there is one
    stated("subject"),
    stated("text"),
    stated("html"),
    Column("state", Text, nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    Column("next_try", Instant),  # of a FAILED one
    Column("said", Text),  # the server's last answer, or a reason
    stamped("login", Text),
    stamped("queued_at", Instant),
    Column("moved_at", Instant, FetchedValue()),
    sqlite_with_rowid=False,
)

told = Table(
    "told",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),  # an invoice's number, a statement's id
    facility_key(),
    Column("address", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    stated("fingerprint"),  # of the document; a change is told anew
    Column("message", Text, ForeignKey("message.id"), nullable=False, index=True),
    sqlite_with_rowid=False,
)

attachment = Table(
    "attachment",
    metadata,
    Column("message", Text, ForeignKey("message.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    stated("name"),
    stated("media_type"),
    stated("sha256"),
    Column("place", Text),  # in the archive of records, or null with content
    Column("content", LargeBinary),
    sqlite_with_rowid=False,
)

notice = Table(
    "notice",
    metadata,
    facility_key(),
    Column(
        "team", Text, primary_key=True
    ),  # whose lab administrators see it; '' for staff; '@ann' for ann
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    stated("text"),
    stated("link"),  # the notebook with its parameters, '' for none
    stamped("made_at", Instant),
    sqlite_with_rowid=False,
)

notice_seen = Table(
    "notice_seen",
    metadata,
    Column("facility", Text, primary_key=True),
    Column("team", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("login", Text, FetchedValue(), primary_key=True),
    stamped("at", Instant),
    ForeignKeyConstraint(
        ["facility", "team", "kind", "key"],
        ["notice.facility", "notice.team", "notice.kind", "notice.key"],
    ),
    sqlite_with_rowid=False,
)

preference = Table(
    "preference",
    metadata,
    facility_key(),
    Column("team", Text, primary_key=True),  # that chose it for its invoices; '' if staff did
    Column("address", Text, primary_key=True),
    stated("invoices"),  # each, digest or none
    sqlite_with_rowid=False,
)
