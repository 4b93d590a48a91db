"""Prepaid funds in the ledger: what came in, what invoices drew, what came back; never changed.

RC  u4  1  deposit   1000.00
RC  u4  2  draw      -240.11   RC-1994-00003
"""

import polars as pl
from sqlalchemy import Connection, func, insert, select

from billing_lib.ledger import frames
from billing_lib.ledger.identity import stamp
from billing_lib.ledger.invoice_tables import fund_entry
from billing_lib.ledger.types import frame_schema

FUND_ENTRY = frame_schema(fund_entry.columns)
"""Columns of an entry: facility, project, sequence, team, kind, amount, number, … login, at."""


def insert_entry(
    connection: Connection,
    facility: str,
    project: str,
    team: str,
    kind: str,
    amount: int,
    reason: str,
    number: str | None = None,
) -> None:
    """Add what a balance changes by, in minor units."""
    known = select(func.coalesce(func.max(fund_entry.c.sequence), 0)).where(
        fund_entry.c.facility == facility, fund_entry.c.project == project
    )
    connection.execute(
        insert(fund_entry).values(
            facility=facility,
            project=project,
            sequence=int(connection.scalars(known).one()) + 1,
            team=team,
            kind=kind,
            amount=amount,
            number=number,
            reason=reason,
            **stamp(connection, who="login", when="at"),
        )
    )


def read_entries(
    connection: Connection,
    facility: str,
    project: str | None = None,
    number: str | None = None,
) -> pl.DataFrame:
    """Entries (schema FUND_ENTRY), by project and sequence."""
    statement = select(fund_entry).where(fund_entry.c.facility == facility)
    for column, wanted in (("project", project), ("number", number)):
        if wanted is not None:
            statement = statement.where(fund_entry.c[column] == wanted)
    return frames.read_frame(connection, statement, FUND_ENTRY).sort("project", "sequence")
