"""The log of records in the ledger: the seal of each audit record, in the order of issue.

    1  RC-1993-10-1  RC  9c1f…  billing-log core 1 1993-11-05T10:00:00Z 6e34…   U1NIU0lH…
    2  RC-1993-11-1  RC  07be…  billing-log core 2 1993-12-06T09:12:44Z d37e…   U1NIU0lH…

An entry is added in the transaction that issues, under a lock that keeps two facilities apart, and
never changes. audit/log.py computes the tree over the seals, and its heads.
"""

import polars as pl
from sqlalchemy import Connection, func, insert, select

from billing_lib.ledger import frames
from billing_lib.ledger.frames import frame_schema
from billing_lib.ledger.schema import issued_invoice, log_entry

LOG_ENTRY = frame_schema(log_entry.columns)
"""Columns of an entry: position, issuing, facility, seal, head, signature."""


def lock_log(connection: Connection) -> pl.DataFrame:
    """Keep other transactions from adding entries until this one ends; the log as it stands."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.billing_guard_wait("log")))
    return read_log(connection)


def read_log(connection: Connection) -> pl.DataFrame:
    """All entries (schema LOG_ENTRY), by position."""
    return frames.read_frame(connection, select(log_entry), LOG_ENTRY).sort("position")


def add_entry(
    connection: Connection,
    position: int,
    *,
    issuing: str,
    facility: str,
    seal: str,
    head: str,
    signature: str | None,
) -> None:
    """Append the entry of a frozen issuing's record; call ``lock_log`` before."""
    connection.execute(
        insert(log_entry).values(
            position=position,
            issuing=issuing,
            facility=facility,
            seal=seal,
            head=head,
            signature=signature,
        )
    )


def head_after(connection: Connection, numbers: list[str]) -> str | None:
    """The head after the last of these invoices was issued; None without an entry of theirs."""
    listed = frames.listed(connection, numbers)
    statement = (
        select(log_entry.c.head)
        .join(issued_invoice, issued_invoice.c.issuing == log_entry.c.issuing)
        .where(issued_invoice.c.number.in_(select(listed.c.value)))
        .order_by(log_entry.c.position.desc())
        .limit(1)
    )
    return connection.scalar(statement)
