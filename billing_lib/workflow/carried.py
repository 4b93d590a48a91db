"""Carried: what caps over a quarter or fiscal year have come to on issued invoices.

    cap "instrument cap", over a quarter, by project       in May, of April's issued invoices
    rule            key  amount
    instrument cap  p1   480.00

A quarter is counted from the start of the facility's fiscal year. Invoices of the same month that
another run has issued count too. Tax does not,
and neither do ad hoc invoices and what was superseded or is void.
"""

from typing import Any

import polars as pl
from sqlalchemy import Connection

from billing_lib.ledger import issued as ledger_issued
from billing_lib.pricing.catalogue import Catalogue
from billing_lib.pricing.invoicing import CARRIED, part_worked_on
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import Facility
from billing_lib.pricing.rules import INVOICE, Rule
from billing_lib.pricing.ruling import targeted
from billing_lib.workflow.summing import AD_HOC

_MONTHS = {"quarter": 3, "fiscal_year": 12}


def carried_amounts(
    connection: Connection,
    facility: Facility,
    catalogue: Catalogue,
    period: Period,
    replaced: pl.Series,
) -> pl.DataFrame:
    """What the caps of these rules have come to before (schema CARRIED).

    Parameters
    ----------
    replaced
        Numbers of invoices that are being reissued, which do not count.
    """
    caps = [rule for _, rule in catalogue.rules_at(INVOICE) if rule.over is not None]
    found = [CARRIED.to_frame()]
    for rule in caps:
        months = [str(month) for month in span(period, facility.fiscal_year_start, str(rule.over))]
        issued = pl.concat(
            ledger_issued.read_issued(connection, facility=facility.code, period=month, active=True)
            for month in months
        )
        projects = targeted(rule, catalogue.projects)
        counted = issued.filter(
            pl.col("project").is_in(projects.implode())
            & ~pl.col("number").is_in(replaced.implode())
            & (pl.col("kind") != AD_HOC)
        )
        found.append(_came_to(connection, rule, counted))
    return pl.concat(found)


def span(period: Period, fiscal_year_start: int, over: str) -> list[Period]:
    """The months of a period's quarter or fiscal year until it, itself among them."""
    since_start = (period.month - fiscal_year_start) % 12
    months = [period]
    for _ in range(since_start % _MONTHS[over]):
        months.append(months[-1].previous)
    return months[::-1]


def _came_to(connection: Connection, rule: Rule, issued: pl.DataFrame) -> pl.DataFrame:
    numbers = issued["number"].to_list()
    of_invoice = issued.select("number", "project", "team")
    lines = ledger_issued.read_lines(connection, numbers).select("number", "item", "user", "total")
    changes = ledger_issued.read_adjustments(connection, numbers)
    if rule.items is not None:
        lines = lines.filter(pl.col("item").is_in(rule.items))
    if rule.carries_by == "user":
        lines = lines.filter(pl.col("user").is_not_null())
    on = part_worked_on(rule)
    parts = pl.concat(
        [
            lines.with_columns(on=on).select("number", "user", "on", amount="total"),
            _changes_of(rule, changes, lines.with_columns(on=on).select("user", "on").unique()),
        ]
    )
    key: Any = rule.carries_by
    return (
        parts.join(of_invoice, on="number")
        .group_by(pl.col(key).alias("key"))
        .agg(pl.col("amount").sum())
        .select(rule=pl.lit(rule.name), key="key", amount="amount")
        .sort("key")
    )


def _changes_of(rule: Rule, changes: pl.DataFrame, parts: pl.DataFrame) -> pl.DataFrame:
    """What rules changed on the same part: all of an invoice's where it is the whole."""
    amounts = changes.select("number", "amount", on="worked_on")
    if rule.items is None and rule.carries_by != "user":
        return amounts.select("number", pl.lit(None, pl.String).alias("user"), "on", "amount")
    return amounts.join(parts.unique("on"), on="on").select("number", "user", "on", "amount")
