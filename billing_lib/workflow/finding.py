"""Finding invoices: lists as staff see them."""

import polars as pl
from sqlalchemy import Engine

from billing_lib.ledger.database import reading
from billing_lib.ledger.finding import find_invoices
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.workflow.permissions import require_some, seen


def list_invoices(
    engine: Engine,
    facility: str | None = None,
    month: str | None = None,
    project: str | None = None,
) -> pl.DataFrame:
    """Invoices that may be seen, drafts too: totals, and what they cost the facility, as text in
    their currency. A lab sees what was issued to it, and no cost.

    Raises
    ------
    NotPermitted
        A facility is named of which nothing may be seen.
    """
    with reading(engine) as connection:
        if facility is not None:
            require_some(connection, facility)
        frame = seen(connection, find_invoices(connection, facility, month, project))
    amounts = {
        name: pl.Series(
            name,
            [
                None if amount is None else money_text(amount, minor_places(currency))
                for amount, currency in frame.select(name, "currency").iter_rows()
            ],
            dtype=pl.String,
        )
        for name in ("total", "cost")
    }
    return frame.select(
        "number",
        pl.col("code").alias("invoice"),
        "facility",
        "period",
        "project",
        "team",
        pl.col("invoice_date").cast(pl.String),
        "state",
        "charges",
        amounts["total"],
        "currency",
        amounts["cost"],
    ).sort("number", "invoice", nulls_last=True)
