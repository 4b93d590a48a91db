"""What a month costs, charge by charge: what its invoices that count bill, what is still to bill.

RC/57   20.00   RC-1994-00003        RC/58   4.00   on no issued invoice yet
"""

import polars as pl
from sqlalchemy import Connection, select

from billing_lib.ledger import frames
from billing_lib.ledger.charges import CHARGE, not_billed_otherwise
from billing_lib.ledger.invoice_tables import invoice
from billing_lib.ledger.states import ACTIVE, CLOSED, PENDING
from billing_lib.ledger.tables import charge

BILLED_CHARGE = pl.Schema({**CHARGE, "number": pl.String(), "invoice_kind": pl.String()})
"""Columns of a charge on an issued invoice: CHARGE, and the invoice's number and kind."""

_ON = (invoice.c.facility == charge.c.facility) & (invoice.c.code == charge.c.invoice)


def read_billed(connection: Connection, facility: str, period: str) -> pl.DataFrame:
    """The charges of a month's issued invoices that count (schema BILLED_CHARGE), by code."""
    statement = (
        select(
            *(charge.c[name] for name in CHARGE),
            invoice.c.number.label("number"),
            invoice.c.kind.label("invoice_kind"),
        )
        .join_from(invoice, charge, _ON)
        .where(
            invoice.c.facility == facility,
            invoice.c.period == period,
            invoice.c.state.in_(ACTIVE),
        )
    )
    return frames.read_frame(connection, statement, BILLED_CHARGE).sort("code")


def read_pending(connection: Connection, facility: str, period: str) -> pl.DataFrame:
    """The month's PENDING charges that an invoice may still bill (schema CHARGE), by code.

    Left out are those of closed invoices, and copies of what an invoice that counts bills.
    """
    statement = (
        select(*(charge.c[name] for name in CHARGE))
        .join_from(charge, invoice, _ON, isouter=True)
        .where(
            charge.c.facility == facility,
            charge.c.period == period,
            charge.c.state == PENDING,
            invoice.c.state.is_distinct_from(CLOSED),
            not_billed_otherwise(),
        )
    )
    return frames.read_frame(connection, statement, CHARGE).sort("code")
