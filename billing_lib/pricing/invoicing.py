"""Invoicing: charges summed to one invoice per project, invoices to one statement per team.

raw total    the sum of the charges' totals
adjustment   the invoice's own
total        both; by expense code it sums to the same cent
"""

from dataclasses import dataclass

import polars as pl

from billing_lib.pricing.charging import Charges


@dataclass(frozen=True)
class Invoices:
    """Invoice totals and what they come to by expense code.

    Attributes
    ----------
    invoices
        ``project``, ``team``, ``charges`` (count), ``charges_raw_total``,
        ``charges_adjustment``, ``raw_total``, ``adjustment``, ``total`` (minor units), sorted
        by project.
    by_expense_code
        ``project``, ``expense_code``, ``amount``, sorted by both.
    """

    invoices: pl.DataFrame
    by_expense_code: pl.DataFrame


def invoice_charges(priced: Charges) -> Invoices:
    """One invoice per project that has a charge."""
    invoices = (
        priced.charges.group_by("project")
        .agg(
            pl.col("team").first(),
            pl.len().cast(pl.Int64).alias("charges"),
            pl.col("raw_total").sum().alias("charges_raw_total"),
            pl.col("adjustment").sum().alias("charges_adjustment"),
            pl.col("total").sum().alias("raw_total"),
        )
        .with_columns(adjustment=pl.lit(0, dtype=pl.Int64), total=pl.col("raw_total"))
        .sort("project")
    )
    codes = (
        priced.splits.join(priced.charges.select("charge", "project"), on="charge")
        .group_by("project", "expense_code")
        .agg(pl.col("amount").sum())
        .sort("project", "expense_code")
    )
    return Invoices(invoices, codes)


def statements(invoices: pl.DataFrame) -> pl.DataFrame:
    """One statement per team: ``team``, ``raw_total``, ``adjustment``, ``total``."""
    return (
        invoices.group_by("team")
        .agg(pl.col("total").sum().alias("raw_total"))
        .with_columns(adjustment=pl.lit(0, dtype=pl.Int64), total=pl.col("raw_total"))
        .sort("team")
    )
