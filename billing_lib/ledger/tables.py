"""The ledger's tables: usage in, charges in the middle, events beside them all.

    source_file ─ usage_record ─ charge ─ charge_split      PENDING until billed
                       └ unbilled     └ rate (kept copies)
    permission (who may do what)    event (who, when, why; hash-chained per facility)

The tables of runs, invoices and statements stand in invoice_tables.py, those of what is made of
them in document_tables.py, those of mail and notices in delivery_tables.py. Money is whole minor
units of the facility's currency; quantities and percentages are exact decimals in text. Keys are
the field's own. Every row names its facility, and its team where a lab's administrator may one
day read it, so that row-level security can tell without a join. What may happen to a row stands
in guards.py, not in CHECK constraints: SQLite cannot alter those, and the list of states grows.
SQLite's tables have no rowid, so REPLACE can overwrite a row by its declared keys only, and the
guards watch those.
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
    text,
)

from billing_lib.ledger.columns import facility_key, metadata, minor, stamped, stated
from billing_lib.ledger.types import DecimalText, Instant

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
    Column("reference", Text),  # of the ad hoc invoice that this usage goes to
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
    sqlite_with_rowid=False,
)

charge = Table(
    "charge",
    metadata,
    Column("facility", Text, primary_key=True),
    Column("code", Text, primary_key=True),  # the usage record's id, or an added line's
    stated("kind"),  # usage or line
    Column("record", Text),
    Column("occurrence", Integer),
    stated("period"),
    stated("project"),
    stated("team"),
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
    minor("raw_total"),
    minor("adjustment"),
    minor("total"),
    Column("cost", BigInteger),  # what it costs the facility, where that is stated
    stated("state"),
    Column("reference", Text),  # of the ad hoc invoice it goes to
    Column("original", Text),  # the charge that this one bills anew, on a reissue
    Column("revision", Integer),  # 2 for the first such copy; null for what is no copy
    Column("run", Text, ForeignKey("billing_run.id")),  # while it waits locked for its invoice
    Column("invoice", Text),  # the invoice's code
    ForeignKeyConstraint(["facility", "invoice"], ["invoice.facility", "invoice.code"]),
    ForeignKeyConstraint(
        ["facility", "record", "occurrence"],
        ["usage_record.facility", "usage_record.record", "usage_record.occurrence"],
    ),
    Index(None, "facility", "period", "project"),
    Index(
        None,
        "facility",
        "original",
        sqlite_where=text("original IS NOT NULL"),
        postgresql_where=text("original IS NOT NULL"),
    ),
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
    stated("expense_code"),
    stated("percent"),
    minor("amount"),
    ForeignKeyConstraint(
        ["facility", "charge"], ["charge.facility", "charge.code"], ondelete="CASCADE"
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
