"""Rules on columns: what each kind makes of an amount, and what it leaves behind.

    cap 500.00       520.00 → 500.00      scale 0.90     12.50 → 11.25
    floor 20.00       12.50 →  20.00      discount 3.00   2.00 →  0.00

A rule that changes an amount leaves a line: its name, what it worked on and the difference.
Rules at invoice and statement scope are in pricing/invoicing.py, those on charges here.
"""

from collections.abc import Callable
from decimal import Decimal

import polars as pl

from billing_lib.pricing.catalogue import Catalogue
from billing_lib.pricing.exact import Exact
from billing_lib.pricing.money import PRICE_PLACES
from billing_lib.pricing.rules import CHARGE, Rule

RULE_LINES = pl.Schema(
    {
        "scope": pl.String(),  # charge, invoice or statement
        "subject": pl.String(),  # the charge, the project or the team
        "position": pl.Int32(),  # of the rule in the price book; a subsidy comes before all
        "rule": pl.String(),
        "kind": pl.String(),
        "on": pl.String(),  # what it worked on: items, a user; empty for the whole
        "before": pl.Int64(),  # minor units, as is the next
        "amount": pl.Int64(),  # what the rule adds
    }
)

Kind = Callable[[Rule, pl.Series, int], pl.Series]


def _cap(rule: Rule, amounts: pl.Series, places: int) -> pl.Series:
    return amounts.clip(upper_bound=rule.amount_minor(places))


def _floor(rule: Rule, amounts: pl.Series, places: int) -> pl.Series:
    return amounts.clip(lower_bound=rule.amount_minor(places))


def _fee(rule: Rule, amounts: pl.Series, places: int) -> pl.Series:
    return amounts + rule.amount_minor(places)


def _discount(rule: Rule, amounts: pl.Series, places: int) -> pl.Series:
    less = (amounts - rule.amount_minor(places)).clip(lower_bound=0)
    return less.zip_with(amounts > 0, amounts)


def _scale(rule: Rule, amounts: pl.Series, places: int) -> pl.Series:
    return scaled(amounts, rule.factor or Decimal(0))


def _tier(rule: Rule, amounts: pl.Series, places: int) -> pl.Series:
    """Each part × its own factor; what is negative lies in the first step."""
    total = Exact(pl.zeros(amounts.len(), dtype=pl.Int64, eager=True), 1)
    below = pl.zeros(amounts.len(), dtype=pl.Int64, eager=True)
    for step in rule.steps or ():
        bound = None if step.up_to is None else int(step.up_to.scaleb(places))
        reached = amounts.clip(upper_bound=bound)
        total = total.plus(_times(reached - below, step.factor))
        below = reached
    return total.rounded(0)


KINDS: dict[str, Kind] = {
    "cap": _cap,
    "floor": _floor,
    "fee": _fee,
    "discount": _discount,
    "scale": _scale,
    "tier": _tier,
}
"""What each kind makes of amounts in minor units."""


def scaled(amounts: pl.Series, factor: Decimal) -> pl.Series:
    """Amounts × a factor, rounded half up, half away from zero below it."""
    return _times(amounts, factor).rounded(0)


def _times(amounts: pl.Series, factor: Decimal) -> Exact:
    value = pl.repeat(int(factor.scaleb(PRICE_PLACES)), amounts.len(), dtype=pl.Int64, eager=True)
    return Exact(amounts, 1).times(Exact(value, 10**PRICE_PLACES))


def targeted(rule: Rule, projects: pl.DataFrame, tags: str = "tags") -> pl.Series:
    """The projects that a rule works on."""
    chosen = [
        rule.targets_project(project, set(held or ()))
        for project, held in projects.select("project", tags).iter_rows()
    ]
    return projects["project"].filter(pl.Series(chosen, dtype=pl.Boolean))


def rule_charges(charges: pl.DataFrame, catalogue: Catalogue) -> tuple[pl.Series, pl.DataFrame]:
    """The totals of charges after the rules at charge scope, and what each rule changed.

    Parameters
    ----------
    charges
        ``charge``, ``project``, ``item``, ``total``, without added lines.

    Returns
    -------
    tuple[pl.Series, pl.DataFrame]
        The totals, and lines (schema RULE_LINES).
    """
    totals, lines = charges["total"], [RULE_LINES.to_frame()]
    projects = catalogue.projects
    for position, rule in catalogue.rules_at(CHARGE):
        mask = pl.col("project").is_in(targeted(rule, projects).implode())
        if rule.items is not None:
            mask &= pl.col("item").is_in(rule.items)
        chosen = charges.select(mask.fill_null(value=False)).to_series()
        changed = KINDS[rule.kind](rule, totals, catalogue.places).zip_with(chosen, totals)
        lines.append(
            charges.select(
                subject="charge", position=pl.lit(position, pl.Int32), before=totals,
                amount=changed - totals,
            )
            .filter(pl.col("amount") != 0)
            .select(
                pl.lit(CHARGE).alias("scope"), "subject", "position",
                pl.lit(rule.name).alias("rule"), pl.lit(rule.kind).alias("kind"),
                pl.lit("").alias("on"), "before", "amount",
            )
        )  # fmt: skip
        totals = changed
    return totals, pl.concat(lines)
