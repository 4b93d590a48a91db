"""What a facility's months come to at a glance: a few counts and sums per month, by the database.

RC  1993-10   5,321 charges   19,806.92   of which pending 0
              57 invoices APPROVED, 1 APPROVING at step 1
"""

import polars as pl
from sqlalchemy import Connection, and_, case, func, or_, select

from billing_lib.ledger import frames
from billing_lib.ledger.invoice_tables import invoice
from billing_lib.ledger.states import CLOSED
from billing_lib.ledger.tables import charge

CHARGED = pl.Schema(
    {
        "period": pl.String(),
        "charges": pl.Int64(),
        "pending": pl.Int64(),
        "total": pl.Int64(),
    }
)
"""Columns of sum_charges; ``total`` is minor units."""

INVOICED = pl.Schema(
    {
        "period": pl.String(),
        "state": pl.String(),
        "step": pl.Int64(),
        "invoices": pl.Int64(),
        "total": pl.Int64(),
    }
)
"""Columns of sum_invoices; ``total`` is minor units."""


def sum_charges(connection: Connection, facility: str) -> pl.DataFrame:
    """The charges of each month (schema CHARGED), copies on reissues left out, by month.

    What stays unbilled with a closed invoice is not pending.
    """
    waits = and_(
        charge.c.state == "PENDING", or_(invoice.c.state.is_(None), invoice.c.state != CLOSED)
    )
    pending = func.sum(case((waits, 1), else_=0))
    statement = (
        select(
            charge.c.period,
            func.count().label("charges"),
            pending.label("pending"),
            func.sum(charge.c.total).label("total"),
        )
        .join_from(
            charge,
            invoice,
            and_(
                invoice.c.facility == charge.c.facility,
                invoice.c.code == charge.c.invoice,
            ),
            isouter=True,
        )
        .where(charge.c.facility == facility, charge.c.original.is_(None))
        .group_by(charge.c.period)
    )
    return frames.read_frame(connection, statement, CHARGED).sort("period")


def sum_invoices(connection: Connection, facility: str) -> pl.DataFrame:
    """The invoices of each month by state and step of approval (schema INVOICED), by month."""
    statement = (
        select(
            invoice.c.period,
            invoice.c.state,
            invoice.c.step,
            func.count().label("invoices"),
            func.sum(invoice.c.total).label("total"),
        )
        .where(invoice.c.facility == facility)
        .group_by(invoice.c.period, invoice.c.state, invoice.c.step)
    )
    return frames.read_frame(connection, statement, INVOICED).sort("period", "state", "step")


def read_team_months(connection: Connection, facility: str) -> pl.DataFrame:
    """``team`` and ``period`` of all charges of a facility, the newest month first."""
    statement = select(charge.c.team, charge.c.period).where(charge.c.facility == facility)
    schema = pl.Schema({"team": pl.String(), "period": pl.String()})
    found = frames.read_frame(connection, statement.distinct(), schema)
    return found.sort("period", "team", descending=[True, False])
