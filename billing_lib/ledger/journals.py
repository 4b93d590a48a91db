"""General-ledger journals: which invoices were posted, and which were taken back; added only.

RC  3  RC-1994-00003  issue      1993-12-06
RC  4  RC-1994-00003  reversal   1994-01-15   it was voided, or another one replaced it
"""

import polars as pl
from sqlalchemy import Connection, func, insert, select

from billing_lib.ledger import frames
from billing_lib.ledger.identity import stamp
from billing_lib.ledger.invoice_tables import journal, journal_entry
from billing_lib.ledger.tables import facility as facilities
from billing_lib.ledger.types import frame_schema

JOURNAL = frame_schema(journal.columns)
"""Columns of a journal: facility, number, entries, settings, login, posted_at."""

JOURNAL_ENTRY = frame_schema(journal_entry.columns)
"""Columns of an entry: number (the invoice's), kind, facility, journal, on_date."""


def lock_journals(connection: Connection, facility: str) -> None:
    """Keep others from posting for the facility until the end of the transaction."""
    if connection.dialect.name == "postgresql":
        chosen = select(facilities.c.code).where(facilities.c.code == facility)
        connection.execute(chosen.with_for_update(key_share=True))


def insert_journal(
    connection: Connection, facility: str, settings: str, entries: pl.DataFrame
) -> int:
    """Add the facility's next journal; its number.

    Parameters
    ----------
    settings
        JSON of the accounts and columns that it is posted with.
    entries
        ``number``, ``kind``, ``on_date``.
    """
    posted = select(func.count()).where(journal.c.facility == facility)
    number = int(connection.scalars(posted).one()) + 1
    values = {"number": number, "entries": entries.height, "settings": settings}
    who = stamp(connection, who="login", when="posted_at")
    connection.execute(insert(journal).values(facility=facility, **values, **who))
    frames.insert_frame(
        connection,
        journal_entry,
        entries.select("number", "kind", "on_date"),
        facility=facility,
        journal=number,
    )
    return number


def read_journals(connection: Connection, facility: str) -> pl.DataFrame:
    """A facility's journals (schema JOURNAL), by number."""
    statement = select(journal).where(journal.c.facility == facility)
    return frames.read_frame(connection, statement, JOURNAL).sort("number")


def read_entries(connection: Connection, facility: str) -> pl.DataFrame:
    """What a facility's journals posted (schema JOURNAL_ENTRY), by journal, date and number."""
    statement = select(journal_entry).where(journal_entry.c.facility == facility)
    found = frames.read_frame(connection, statement, JOURNAL_ENTRY)
    return found.sort("journal", "on_date", "number", "kind")
