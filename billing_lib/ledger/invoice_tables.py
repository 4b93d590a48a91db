"""The ledger's tables of runs, invoices and statements.

    billing_run ─ job          what staff run, and each thing done in it
       └ invoice               its life: OPEN … APPROVED … PAID
    issuing ─ invoice_number   one pass from freezing to the archive
       └ issued_invoice ─ invoice_line, invoice_split, invoice_adjustment     written once
    statement ─ statement_invoice, statement_adjustment
    fund_entry                 prepaid funds: deposits, what invoices drew, what came back
    journal ─ journal_entry    what was posted to the general ledger, once

What was issued and what became of it are two rows: ``issued_invoice`` never changes, ``invoice``
only moves between the states of states.py.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    FetchedValue,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from billing_lib.ledger.columns import facility_key, metadata, minor, of_facility, stamped, stated
from billing_lib.ledger.types import Instant

billing_run = Table(
    "billing_run",
    metadata,
    Column("id", Text, primary_key=True),
    of_facility(),
    stated("period"),
    stated("selection"),  # '' for the whole month, else what of it (workflow/runs.py)
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
    stated("state"),  # RUNNING, DONE or FAILED
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
    Column("replaces", Text),  # the number of the one that this one reissues
    Column("paid_on", Date),
    Column("payment_reference", Text),
    Column("statement", Text),  # by whose payment it was paid, if by one's
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
    Column("prepaid", BigInteger),  # what of it was drawn from prepaid funds; null without any
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


invoice_line = Table(
    "invoice_line",
    metadata,
    Column("number", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    stated("facility"),
    stated("team"),
    stated("charge"),
    Column("item", Text),
    Column("user", Text),
    Column("on_date", Date),
    Column("description", Text),
    Column("quantity", Text),  # as shown
    minor("raw_total"),
    minor("adjustment"),
    minor("total"),
    _of_invoice(),
    Index(None, "facility", "charge", unique=True),  # billed again it is a copy, of its own code
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
    stated("worked_on"),  # items, a user; empty for the whole invoice
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
    minor("amount"),  # what the balance changes by
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
    Column("on_date", Date, nullable=False),
    _of_invoice(),
    ForeignKeyConstraint(["facility", "journal"], ["journal.facility", "journal.number"]),
    sqlite_with_rowid=False,
)
