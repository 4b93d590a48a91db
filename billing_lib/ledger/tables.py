"""The ledger's tables: usage in, charges in the middle, issued invoices and events out.

    source_file ─ usage_record ─ charge ─ charge_split      PENDING until billed
                       └ unbilled     └ rate (kept copies)
    billing_run ─ invoice_number ─ invoice ─ invoice_line, invoice_split, invoice_adjustment
    event (who, when, why; hash-chained per facility)

Money is whole minor units of the facility's currency; quantities and percentages are exact
decimals in text. Keys are the field's own. Every row names its facility, and its team where a
lab's administrator may one day read it, so that row-level security can tell without a join.
What may happen to a row stands in guards.py, not in CHECK constraints: SQLite cannot alter
those, and the list of states grows. SQLite's tables have no rowid, so REPLACE can overwrite a
row by its declared keys only, and the guards watch those.
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
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from billing_lib.ledger.types import DecimalText, Instant

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _facility_key() -> Column[str]:
    return Column("facility", Text, ForeignKey("facility.code"), primary_key=True)


def _facility() -> Column[str]:
    return Column("facility", Text, ForeignKey("facility.code"), nullable=False)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _minor(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _stamped(name: str, kind: type[Text] | type[Instant]) -> Column[object]:
    """Who or when: PostgreSQL's triggers set it, whatever the client sends."""
    return Column(name, kind, FetchedValue(), nullable=False)


facility = Table(
    "facility",
    metadata,
    Column("code", Text, primary_key=True),
    _text("name"),
    _text("currency"),
    _text("timezone"),
    sqlite_with_rowid=False,
)

source_file = Table(
    "source_file",
    metadata,
    _facility_key(),
    Column("sha256", Text, primary_key=True),
    _text("name"),
    _text("kind"),
    _minor("records"),
    _stamped("login", Text),
    _stamped("loaded_at", Instant),
    sqlite_with_rowid=False,
)

usage_record = Table(
    "usage_record",
    metadata,
    Column("facility", Text, primary_key=True),
    Column("record", Text, primary_key=True),
    Column("occurrence", Integer, primary_key=True, autoincrement=False),
    Column("period", Text),  # null where the time could not be read
    Column("item", Text),
    Column("project", Text),
    Column("user", Text),
    Column("start_at", Instant),
    Column("end_at", Instant),
    Column("on_date", Date),
    Column("units", DecimalText),
    Column("quantity", DecimalText),
    Column("description", Text),
    Column("file_sha256", Text, nullable=False),
    Column("file", Text),
    Column("row", BigInteger),
    Column("defect", Text),
    Column("detail", Text),
    Column("raw", Text),
    ForeignKeyConstraint(
        ["facility", "file_sha256"], ["source_file.facility", "source_file.sha256"]
    ),
    Index(None, "facility", "period"),
    sqlite_with_rowid=False,
)

unbilled = Table(
    "unbilled",
    metadata,
    Column("facility", Text, primary_key=True),
    Column("record", Text, primary_key=True),
    Column("occurrence", Integer, primary_key=True, autoincrement=False),
    Column("period", Text),
    _text("reason"),
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
    _facility_key(),
    Column("fingerprint", Text, primary_key=True),
    _text("body"),  # canonical JSON
    sqlite_with_rowid=False,
)

billing_run = Table(
    "billing_run",
    metadata,
    Column("id", Text, primary_key=True),
    _facility(),
    _text("period"),
    _text("selection"),  # a project's code, or '' for the whole month
    _text("state"),
    Column("invoice_date", Date, nullable=False),
    Column("fiscal_year", Integer, nullable=False),
    Column("snapshot_sha256", Text),
    Column("commit_hash", Text),
    Column("container", Text),
    Column("record", Text),  # the audit record's path, relative to the archive
    _stamped("login", Text),
    _stamped("frozen_at", Instant),
    Column("ended_at", Instant, FetchedValue()),
    Column("failure", Text),
    Index(None, "facility", "period"),
    Index(
        "ux_billing_run_one_frozen",
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
    _facility_key(),
    Column("fiscal_year", Integer, primary_key=True, autoincrement=False),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    _text("number"),
    Column("run", Text, ForeignKey("billing_run.id"), nullable=False, index=True),
    _text("project"),
    UniqueConstraint("number"),
    sqlite_with_rowid=False,
)

invoice = Table(
    "invoice",
    metadata,
    Column("number", Text, ForeignKey("invoice_number.number"), primary_key=True),
    _facility(),
    Column("fiscal_year", Integer, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("run", Text, ForeignKey("billing_run.id"), nullable=False, index=True),
    _text("project"),
    _text("team"),
    _text("period"),
    Column("invoice_date", Date, nullable=False),
    _text("currency"),
    _text("state"),
    Column("charges", BigInteger, nullable=False),  # how many lines
    _minor("raw_total"),
    _minor("adjustment"),
    Column("tax", BigInteger),  # null without one
    _minor("total"),
    Column("cost", BigInteger),  # for staff only; not part of the canonical JSON
    _text("fingerprint"),  # sha256 of the canonical JSON
    UniqueConstraint("facility", "fiscal_year", "sequence"),
    UniqueConstraint("facility", "number"),
    Index(None, "facility", "period", "project"),
    sqlite_with_rowid=False,
)


def _of_invoice() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["facility", "number"], ["invoice.facility", "invoice.number"])


invoice_line = Table(
    "invoice_line",
    metadata,
    Column("number", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _text("facility"),
    _text("team"),
    _text("charge"),
    Column("item", Text),
    Column("user", Text),
    Column("on_date", Date),
    Column("description", Text),
    Column("quantity", Text),  # as shown
    _minor("raw_total"),
    _minor("adjustment"),
    _minor("total"),
    _of_invoice(),
    Index(None, "facility", "charge"),
    sqlite_with_rowid=False,
)

invoice_split = Table(
    "invoice_split",
    metadata,
    Column("number", Text, primary_key=True),
    Column("expense_code", Text, primary_key=True),
    _text("facility"),
    _text("team"),
    _minor("amount"),
    _of_invoice(),
    sqlite_with_rowid=False,
)

invoice_adjustment = Table(
    "invoice_adjustment",
    metadata,
    Column("number", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _text("facility"),
    _text("team"),
    _text("rule"),
    _text("kind"),
    _text("worked_on"),  # items, a user; empty for the whole invoice
    _minor("amount"),
    _of_invoice(),
    sqlite_with_rowid=False,
)

charge = Table(
    "charge",
    metadata,
    Column("facility", Text, primary_key=True),
    Column("code", Text, primary_key=True),  # the usage record's id, or an added line's
    _text("kind"),  # usage or line
    Column("record", Text),
    Column("occurrence", Integer),
    _text("period"),
    _text("project"),
    _text("team"),
    Column("item", Text),
    Column("user", Text),
    Column("description", Text),
    Column("on_date", Date),
    Column("start_at", Instant),
    Column("end_at", Instant),
    Column("unit", Text),
    Column("hours", Text),  # as shown, like quantity and price
    Column("quantity", Text),
    Column("rate", Text),  # fingerprint; null for an added line
    Column("rate_group", Text),
    Column("price", Text),
    Column("effective_rate", Text),  # blended, where the rate has after hours
    _minor("raw_total"),
    _minor("adjustment"),
    _minor("total"),
    Column("cost", BigInteger),  # what it costs the facility, where that is stated
    _text("state"),
    Column("run", Text, ForeignKey("billing_run.id")),
    Column("invoice", Text, ForeignKey("invoice.number")),
    ForeignKeyConstraint(
        ["facility", "record", "occurrence"],
        ["usage_record.facility", "usage_record.record", "usage_record.occurrence"],
    ),
    Index(None, "facility", "period", "project"),
    # No index on record and occurrence: only deleting usage would use it, rating would pay for it.
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
    Column("charge", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _text("expense_code"),
    _text("percent"),
    _minor("amount"),
    ForeignKeyConstraint(
        ["facility", "charge"], ["charge.facility", "charge.code"], ondelete="CASCADE"
    ),
    sqlite_with_rowid=False,
)

event = Table(
    "event",
    metadata,
    _facility_key(),
    Column("sequence", BigInteger, FetchedValue(), primary_key=True, autoincrement=False),
    _text("kind"),
    _text("subject"),
    Column("team", Text),
    Column("group_id", Text),
    _stamped("login", Text),
    _stamped("at", Instant),
    _text("reason"),
    Column("before", Text),  # JSON, as is after
    Column("after", Text),
    _stamped("previous_hash", Text),
    _stamped("hash", Text),
    Index(None, "facility", "subject"),
    sqlite_with_rowid=False,
)
