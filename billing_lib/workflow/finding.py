"""Finding invoices: lists as staff see them."""

import polars as pl
from sqlalchemy import Engine

from billing_lib.ledger.database import reading
from billing_lib.ledger.finding import find_invoices
from billing_lib.pricing.money import minor_places, money_text


def list_invoices(
    engine: Engine,
    facility: str | None = None,
    month: str | None = None,
    project: str | None = None,
) -> pl.DataFrame:
    """Invoices as staff's lists show them, drafts too: totals, and what they cost the facility,
    as text in their currency."""
    with reading(engine) as connection:
        frame = find_invoices(connection, facility, month, project)
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
