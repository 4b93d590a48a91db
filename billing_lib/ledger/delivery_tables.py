"""The ledger's tables of delivery: the outbox of mail, notices in the notebooks, preferences.

    message ─ attachment      an e-mail to one recipient, as it was queued, and what became of it
       └ told                 which invoice or statement it tells, once per recipient
    notice ─ notice_seen      what the notebooks show, and who has read it
    preference                how a recipient wants to be told of invoices

What a message says never changes; only its state, its tries and the server's last answer do.
"""

from sqlalchemy import Column, FetchedValue, ForeignKey, ForeignKeyConstraint, Integer, Table, Text
from sqlalchemy.types import LargeBinary

from billing_lib.ledger.columns import facility_key, metadata, stamped, stated
from billing_lib.ledger.types import Instant

message = Table(
    "message",
    metadata,
    Column("id", Text, primary_key=True),  # RC-1994-00003-3f09ab12cd34, also in its Message-ID
    stated("kind"),  # invoice or statement
    stated("period"),
    Column("team", Text),  # null where a digest is of several
    stated("sender"),
    stated("recipient"),  # with the name, if there is one
    stated("subject"),
    stated("text"),
    stated("html"),
    Column("state", Text, nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    Column("next_try", Instant),  # of a FAILED one
    Column("said", Text),  # the server's last answer, or why
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
    stated("fingerprint"),  # of what was told; another one is told anew
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
    Column("place", Text),  # in the archive of records; or else
    Column("content", LargeBinary),
    sqlite_with_rowid=False,
)

notice = Table(
    "notice",
    metadata,
    facility_key(),
    Column("team", Text, primary_key=True),  # whose lab administrators see it; '' for staff
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
    Column("address", Text, primary_key=True),
    stated("invoices"),  # each, digest or none
    sqlite_with_rowid=False,
)
