"""The steps by which lines of invoices come to their raw totals, as the canonical invoice has them.

{"step": "after hours", "quantity": "2", "rate": "25", "amount": "50.00"}
"""

import polars as pl

from billing_lib.pricing.charging import QUANTITY_PLACES
from billing_lib.pricing.money import money_text_column, plain_text_column
from billing_lib.pricing.steps import STEPS, price_steps
from billing_lib.workflow.snapshot import Snapshot


def line_steps(snapshot: Snapshot, places: int) -> pl.DataFrame:
    """``charge`` and ``steps``, a list of structs of texts, of the charges that have some.

    Each month is priced by itself, as workflow/months.py does: nothing of one counts in another.
    """
    usage, catalogue = snapshot.usage, snapshot.catalogue()
    months = (usage.filter(pl.col("period") == it) for it in usage["period"].unique().sort())
    parts = [price_steps(month, catalogue, snapshot.adjustments) for month in months]
    quantity = money_text_column(pl.col("quantity"), QUANTITY_PLACES)
    step = pl.struct(
        "step",
        quantity.str.strip_chars_end("0").str.strip_chars_end("."),
        rate=plain_text_column(pl.col("price")),
        amount=money_text_column(pl.col("amount"), places),
    )
    steps = pl.concat([STEPS.to_frame(), *parts])
    return steps.group_by("charge", maintain_order=True).agg(step.alias("steps"))
