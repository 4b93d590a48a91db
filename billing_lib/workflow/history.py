"""History: what a project was billed in each of the twelve months up to an invoice's own.

    1993-10  1,204.50     1993-11  –     1993-12  980.00     …     1994-09  1,310.25  (this one)

The months before, and what is issued of this month already, are frozen; what the issuing itself
bills is added when it is computed. So a record gives the same figures again, whatever is
reissued or void by then. Invoices of every kind count, with tax; what was superseded, is void, or
is being replaced does not.
"""

from typing import Any

import polars as pl
from sqlalchemy import Connection

from billing_lib.ledger import issued as ledger_issued
from billing_lib.pricing.money import money_text
from billing_lib.pricing.period import Period

MONTHS = 12

HISTORY = pl.Schema({"project": pl.String(), "period": pl.String(), "total": pl.Int64()})
"""What each project was billed in a month before this issuing, minor units."""


def months_until(period: Period) -> list[Period]:
    """The twelve months that end with this one, in order."""
    months = [period]
    while len(months) < MONTHS:
        months.append(months[-1].previous)
    return months[::-1]


def billed_before(
    connection: Connection, facility: str, period: Period, invoices: pl.DataFrame
) -> pl.DataFrame:
    """What the projects of these invoices were billed in these months (schema HISTORY).

    Parameters
    ----------
    invoices
        ``project``, and ``replaces``: the numbers that do not count any more.
    """
    months = months_until(period)
    billed = ledger_issued.read_billed(connection, facility, str(months[0]), str(period))
    return (
        billed.filter(
            pl.col("project").is_in(invoices["project"].unique().implode())
            & ~pl.col("number").is_in(invoices["replaces"].drop_nulls().implode())
        )
        .group_by("project", "period")
        .agg(pl.col("total").sum())
        .select(HISTORY.names())
        .sort("project", "period")
    )


def histories(
    before: pl.DataFrame, totals: pl.DataFrame, period: str, places: int
) -> dict[str, list[dict[str, Any]]]:
    """The twelve months of each project, this issuing's invoices added to its month.

    Parameters
    ----------
    before
        Schema HISTORY.
    totals
        ``project``, ``total`` of what is being issued.

    Returns
    -------
    dict
        By project: ``period`` and ``total`` of each month in order, null where nothing was billed.
    """
    now = totals.select("project", "total", period=pl.lit(period)).select(HISTORY.names())
    summed = pl.concat([before, now]).group_by("project", "period").agg(pl.col("total").sum())
    found = {(project, month): total for project, month, total in summed.iter_rows()}
    months = [str(month) for month in months_until(Period.parse(period))]
    return {
        project: [
            {
                "period": month,
                "total": None
                if (project, month) not in found
                else money_text(found[project, month], places),
            }
            for month in months
        ]
        for project in now["project"].unique()
    }
