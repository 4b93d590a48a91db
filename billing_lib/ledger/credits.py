"""Credits: added lines that give back some of an issued invoice, as their events name it.

add_line  line-1994-02-3   after {"amount": "-20.00", "credits": "RC-1994-00001", …}
"""

import polars as pl
from sqlalchemy import Connection, select

from billing_lib.ledger import frames
from billing_lib.ledger.events import read_events
from billing_lib.ledger.invoice_tables import invoice
from billing_lib.ledger.tables import charge

_GONE = ("CLOSED", "VOID", "SUPERSEDED")


def read_credits(connection: Connection, facility: str) -> pl.DataFrame:
    """The added lines that give back some of an invoice: ``code``, ``credits`` (its number)."""
    added = read_events(connection, facility, kinds=["add_line"])
    of = pl.col("after").str.json_path_match("$.credits")
    return added.select(code="subject", credits=of).drop_nulls().unique("code")


def credited(connection: Connection, facility: str, numbers: list[str]) -> int:
    """What standing credits give back of these invoices together, in minor units.

    A credit on an invoice that is closed, void or superseded no longer counts; what bills it anew
    does.
    """
    given = read_credits(connection, facility).filter(pl.col("credits").is_in(numbers))
    listed = frames.listed(connection, given["code"])
    codes = select(listed.c.value)
    statement = (
        select(charge.c.total, invoice.c.state)
        .select_from(charge)
        .outerjoin(
            invoice,
            (invoice.c.facility == charge.c.facility) & (invoice.c.code == charge.c.invoice),
        )
        .where(
            charge.c.facility == facility,
            charge.c.code.in_(codes) | charge.c.original.in_(codes),
        )
    )
    schema = pl.Schema({"total": pl.Int64(), "state": pl.String()})
    lines = frames.read_frame(connection, statement, schema)
    return -int(lines.filter(~pl.col("state").is_in(_GONE).fill_null(value=False))["total"].sum())
