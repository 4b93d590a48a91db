"""Charges priced month by month: each by the rules of the month that it belongs to.

    RC/PO-12    57  of 1993-10   by October's rules
                60  of 1993-11   by November's

An ad hoc invoice may bill what several months have charged; nothing of one month counts towards
tiers or day passes of another. What belongs to a project's month is of one month anyway.
"""

from dataclasses import replace

import polars as pl

from billing_lib.pricing.catalogue import RULES, Catalogue
from billing_lib.pricing.charging import Charges, charge_usage

RULES_OF_MONTHS = pl.Schema({"period": pl.String(), **RULES})
"""The rules in force of some months."""


def of_month(rules: pl.DataFrame, month: str) -> pl.DataFrame:
    """The rules of one month (schema RULES)."""
    return rules.filter(pl.col("period") == month).select(RULES.names())


def charge_months(
    usage: pl.DataFrame,
    catalogue: Catalogue,
    rules: pl.DataFrame,
    adjustments: pl.DataFrame,
    lines: pl.DataFrame,
) -> Charges:
    """Price rated usage and added lines.

    Parameters
    ----------
    usage
        Rated usage, each with the ``period`` that its charge belongs to.
    catalogue
        Whose rates and accounts hold for all; its own rules are not asked.
    rules
        Schema RULES_OF_MONTHS, for every period of the usage.
    adjustments, lines
        Staff's changes and added lines (pricing/adjusting.py); rules at charge scope leave added
        lines alone.
    """
    months = usage["period"].unique().sort()
    parts = [
        charge_usage(
            usage.filter(pl.col("period") == month) if months.len() > 1 else usage,
            replace(catalogue, rules=of_month(rules, month)),
            adjustments,
            lines if months.len() == 1 else None,
        )
        for month in months
    ]
    if months.len() == 1:
        return parts[0]
    parts.append(charge_usage(usage.clear(), catalogue, adjustments, lines))
    return Charges(
        pl.concat(part.charges for part in parts),
        pl.concat(part.splits for part in parts),
        pl.concat(part.rule_lines for part in parts),
    )
