"""Finding invoices: their life and, where they are issued, what they were issued with."""

import polars as pl
from sqlalchemy import Connection, func, select

from billing_lib.ledger import frames
from billing_lib.ledger.invoice_tables import invoice, issued_invoice
from billing_lib.ledger.tables import facility as facilities


def find_invoices(
    connection: Connection,
    facility: str | None = None,
    period: str | None = None,
    project: str | None = None,
) -> pl.DataFrame:
    """Invoices, drafts too, by facility, period and code: the columns of ``invoice`` with
    ``invoice_date`` and ``currency``."""
    statement = (
        select(
            *(column for column in invoice.c),
            issued_invoice.c.invoice_date,
            func.coalesce(issued_invoice.c.currency, facilities.c.currency).label("currency"),
        )
        .join_from(invoice, facilities, facilities.c.code == invoice.c.facility)
        .outerjoin(issued_invoice, issued_invoice.c.number == invoice.c.number)
    )
    for column, wanted in (("facility", facility), ("period", period), ("project", project)):
        if wanted is not None:
            statement = statement.where(invoice.c[column] == wanted)
    return frames.read_frame(connection, statement).sort("facility", "period", "code")
