"""What a change comes to, before and after: on each invoice, and on each charge."""

import polars as pl

from billing_lib.documents.text import value_of
from billing_lib.panels.desk import Desk
from billing_lib.panels.tables import table
from billing_lib.pricing.money import money_text
from billing_lib.workflow.effect import Changed

SHOWN = 50
"""How many of the changed charges are listed; all of them are counted."""


def effect_sentence(changed: Changed, desk: Desk) -> str:
    """How much changes in all: ``2 charges selected; 2 totals change, together 27.50 → …``."""
    before, after = (
        money_text(int(changed.effect[name].sum()), desk.places) for name in ("before", "after")
    )
    count = changed.effect.height
    selected = f"{changed.selected:,} charge{'' if changed.selected == 1 else 's'}"
    if count == 0:
        return f"{selected}; no total changes"
    totals = f"{count:,} total{' changes' if count == 1 else 's change, together'}"
    return f"{selected}; {totals} {before} → {after} {desk.currency}"


def effect_tables(changed: Changed, desk: Desk, *, done: bool) -> str:
    """The invoices and the charges before and after, as HTML.

    Parameters
    ----------
    done
        Whether it was written, or would be.
    """
    would = "" if done else " would be"
    invoices = changed.invoices.select(
        pl.col("invoice").fill_null("on no invoice yet"),
        "project",
        "state",
        "charges",
        total="before",
        total_after="after",
        difference=pl.col("after") - pl.col("before"),
    )
    charges, count = _charges(changed, desk.facility)
    more = "" if count <= SHOWN else f", the first {SHOWN} of {count:,}"
    shown = [
        table(invoices, f"Invoices as they{would or ' are'}", places=desk.places),
        table(charges, f"Charges as they{would or ' are'}{more}", places=desk.places),
    ]
    return "".join(str(part.data) for part in shown)


def _charges(changed: Changed, facility: str) -> tuple[pl.DataFrame, int]:
    """The first of the selected charges and those whose totals change with theirs, and how many
    they are in all."""
    totals = changed.effect.rename({"before": "total", "after": "total_after"})
    every = changed.values.join(totals, on="charge", how="full", coalesce=True)
    first = every.sort(pl.col("field").is_null(), "charge").head(SHOWN)
    told = first.with_columns(
        pl.struct("field", value=name)
        .map_elements(lambda it: value_of(it["field"] or "", it["value"]), return_dtype=pl.String)
        .alias(name)
        for name in ("before", "after")
    )
    shown = told.select(
        pl.format("{}/{}", pl.lit(facility), "charge").alias("charge"),
        "project",
        pl.col("field").str.replace("_", " ").fill_null("priced with them").alias("what"),
        "before",
        "after",
        "total",
        "total_after",
        difference=pl.col("total_after") - pl.col("total"),
    )
    return shown, every.height
