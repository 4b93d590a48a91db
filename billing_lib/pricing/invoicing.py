"""Invoicing: charges summed to one invoice per project, invoices to one statement per team.

    raw total    the sum of the charges' totals
    adjustment   the changes by rules at invoice scope, each its own line
    tax          of both, if the project's type has one
    total        all three; by expense code it sums to the same cent

The base of a rule is the whole running total, or the subtotal of its items' (a user's, a day's)
lines with the changes of earlier rules on the same base or a part of it. A cap or floor over a
span also counts the totals of earlier invoices (``year_to_date``); by team or user it goes through
the invoices in order of project:

    cap 100.00 over a month by user     ann 150.00 → 100.00, bob 60.00 → 60.00; together 160.00
"""

from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from billing_lib.pricing.charging import KINDS, RULE_LINES, Charges, scaled, targeted
from billing_lib.pricing.money import PERCENT_PLACES
from billing_lib.pricing.rates import INVOICE, STATEMENT, Rule
from billing_lib.pricing.rating import Catalogue
from billing_lib.pricing.split import apportion

YEAR_TO_DATE = pl.Schema({"rule": pl.String(), "key": pl.String(), "amount": pl.Int64()})
"""The totals of earlier invoices, by the rule's name and its project, team or user, for a rule over
days with the day: ``ann 2020-04-06``."""


@dataclass(frozen=True)
class Invoices:
    """Invoice totals, also by expense code.

    Attributes
    ----------
    invoices
        ``project``, ``team``, ``charges`` (count), ``charges_raw_total``,
        ``charges_adjustment``, ``cost``, ``raw_total``, ``adjustment``, ``tax_name``, ``tax``
        (null without one), ``total`` (minor units), sorted by project.
    by_expense_code
        ``project``, ``expense_code``, ``amount``, sorted by both.
    rule_lines
        Schema RULE_LINES, in order.
    """

    invoices: pl.DataFrame
    by_expense_code: pl.DataFrame
    rule_lines: pl.DataFrame


def invoice_charges(
    priced: Charges, catalogue: Catalogue, year_to_date: pl.DataFrame | None = None
) -> Invoices:
    """One invoice per project that has a charge.

    ``year_to_date`` has the earlier totals of rules over a span (schema YEAR_TO_DATE).
    """
    summed = (
        priced.charges.group_by("project")
        .agg(
            pl.col("team").first(),
            pl.len().cast(pl.Int64).alias("charges"),
            pl.col("raw_total").sum().alias("charges_raw_total"),
            pl.col("adjustment").sum().alias("charges_adjustment"),
            pl.when(pl.col("cost").count() > 0).then(pl.col("cost").sum()).alias("cost"),
            pl.col("total").sum().alias("raw_total"),
        )
        .sort("project")
    )
    taxes = catalogue.projects.select("project", "tax_name", "tax_percent")
    lines = _ruled(priced.charges, summed, catalogue, year_to_date)
    changed = lines.group_by("subject").agg(pl.col("amount").sum().alias("adjustment"))
    invoices = (
        summed.join(changed, left_on="project", right_on="subject", how="left")
        .join(taxes, on="project", how="left")
        .sort("project")
        .with_columns(pl.col("adjustment").fill_null(0))
    )
    tax = _tax(invoices)
    invoices = invoices.with_columns(tax=tax).with_columns(
        total=pl.col("raw_total") + pl.col("adjustment") + pl.col("tax").fill_null(0)
    )
    return Invoices(invoices.drop("tax_percent"), _by_code(priced, invoices), lines)


def _tax(invoices: pl.DataFrame) -> pl.Series:
    tax = pl.repeat(None, invoices.height, dtype=pl.Int64, eager=True)
    taxed = invoices["raw_total"] + invoices["adjustment"]
    for percent in invoices["tax_percent"].drop_nulls().unique():
        here = (invoices["tax_percent"] == percent).fill_null(value=False)
        factor = Decimal(percent).scaleb(-PERCENT_PLACES - 2)
        tax = scaled(taxed, factor).zip_with(here, tax)
    return tax


def _by_code(priced: Charges, invoices: pl.DataFrame) -> pl.DataFrame:
    """Charge totals by code, with the adjustment and the tax spread in their proportion."""
    codes = (
        priced.splits.join(priced.charges.select("charge", "project"), on="charge")
        .group_by("project", "expense_code")
        .agg(pl.col("amount").sum())
        .sort("project", "expense_code")
        .join(invoices.select("project", "adjustment", "tax"), on="project", how="left")
        .with_columns(
            pl.col("tax").fill_null(0),
            weight=pl.col("amount").abs(),
            place=pl.int_range(pl.len()).over("project"),
        )
    )
    # If all codes have an amount of 0, the first code takes the adjustment and the tax.
    nothing = pl.col("weight").sum().over("project") == 0
    weight = pl.when(nothing & (pl.col("place") == 0)).then(1).otherwise("weight")
    codes = codes.with_columns(weight=weight)
    spread = [
        apportion(codes, "project", column, "weight", "place") for column in ("adjustment", "tax")
    ]
    return codes.select("project", "expense_code", pl.col("amount") + spread[0] + spread[1])


def _ruled(
    charges: pl.DataFrame,
    summed: pl.DataFrame,
    catalogue: Catalogue,
    year_to_date: pl.DataFrame | None,
) -> pl.DataFrame:
    lines, teams = RULE_LINES.to_frame(), summed.select("project", "team")
    for position, rule in catalogue.rules_at(INVOICE):
        projects = targeted(rule, catalogue.projects)
        chosen = charges.filter(pl.col("project").is_in(projects.implode()))
        parts = (
            bases(rule, chosen, lines.rename({"subject": "project"}), "project")
            .join(teams, on="project")
            .with_columns(on=part_in_words(rule), key=carried_key(rule))
            .sort("project", "on")
        )
        lines = pl.concat([lines, _lines_of(rule, position, parts, catalogue, year_to_date)])
    return lines


def bases(rule: Rule, lines: pl.DataFrame, changes: pl.DataFrame, invoice: str) -> pl.DataFrame:
    """The amounts that a rule at invoice scope works on.

    Parameters
    ----------
    lines
        The lines of invoices: ``item``, ``user``, ``date``, ``total``, and the invoice.
    changes
        The changes by earlier rules: ``on``, ``user``, ``day``, ``amount``, and the invoice. A
        base counts those on parts of itself.
    invoice
        The column that names the invoice.

    Returns
    -------
    pl.DataFrame
        The invoice, ``user``, ``day`` (null where the rule does not count them apart), ``before``.
    """
    apart = ["user"] if rule.carries_by == "user" else []
    apart += ["day"] if rule.over == "day" else []
    keys = [invoice, *apart]
    if rule.items is not None:
        lines = lines.filter(pl.col("item").is_in(rule.items))
        changes = changes.filter(pl.col("on") == part_in_words(rule))
    own = lines.select(invoice, "user", "total", day="date")
    if apart:
        own = own.drop_nulls(apart)
    before = own.group_by(keys).agg(pl.col("total").sum())
    changed = changes.group_by(keys).agg(pl.col("amount").sum())
    everyone = {"user": pl.lit(None, pl.String), "day": pl.lit(None, pl.Date)}
    return (
        before.join(changed, on=keys, how="left")
        .with_columns(**{name: of for name, of in everyone.items() if name not in apart})
        .select(*(invoice, "user", "day"), before=pl.col("total") + pl.col("amount").fill_null(0))
    )


def part_in_words(rule: Rule) -> pl.Expr:
    """The base of a rule as shown in its lines, such as ``scope of ann on 2020-04-06``: its items,
    and the ``user`` and ``day`` of the row; empty for the whole."""
    return pl.concat_str(
        pl.lit(", ".join(sorted(rule.items)) if rule.items else None, pl.String),
        pl.format("of {}", "user"),
        pl.format("on {}", "day"),
        separator=" ",
        ignore_nulls=True,
    )


def carried_key(rule: Rule) -> pl.Expr:
    """The key by which a rule over a span counts: the project, team or user, with the day of a
    rule over days."""
    key = pl.col(rule.carries_by or "project")
    return pl.format("{} {}", key, "day") if rule.over == "day" else key


def _lines_of(
    rule: Rule,
    position: int,
    parts: pl.DataFrame,
    catalogue: Catalogue,
    year_to_date: pl.DataFrame | None,
    scope: str = INVOICE,
) -> pl.DataFrame:
    if rule.over is None:
        after = KINDS[rule.kind](rule, parts["before"], catalogue.places)
    else:
        after = _over_span(rule, parts, catalogue.places, year_to_date)
    return (
        parts.with_columns(amount=after - parts["before"])
        .filter(pl.col("amount") != 0)
        .select(
            pl.lit(scope).alias("scope"),
            pl.col("project").alias("subject"),
            pl.lit(position, pl.Int32).alias("position"),
            pl.lit(rule.name).alias("rule"),
            pl.lit(rule.kind).alias("kind"),
            *("on", "user", "day", "before", "amount"),
        )
    )


def _over_span(
    rule: Rule, parts: pl.DataFrame, places: int, year_to_date: pl.DataFrame | None
) -> pl.Series:
    """The amounts that a rule over a span leaves.

    With the earlier totals, and the parts before it of the same key, each amount comes to at most
    the cap's amount; the last part of a key comes to at least the floor's.
    """
    known = YEAR_TO_DATE.to_frame() if year_to_date is None else year_to_date
    carried = known.filter(pl.col("rule") == rule.name).select("key", carried="amount")
    left = rule.amount_minor(places) - pl.col("carried").fill_null(0)
    keyed = parts.join(carried, on="key", how="left", maintain_order="left")
    running = pl.col("before").cum_sum()
    if rule.kind == "cap":
        capped = pl.min_horizontal(running, left.clip(lower_bound=0))
        after = capped - capped.shift(1, fill_value=0)
    else:
        is_last = pl.int_range(pl.len()) == pl.len() - 1
        missing = (left - running).clip(lower_bound=0)
        after = pl.col("before") + pl.when(is_last).then(missing).otherwise(0)
    return keyed.select(after.over("key")).to_series()


def statements(
    invoices: Invoices, catalogue: Catalogue, year_to_date: pl.DataFrame | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One statement per team: ``team``, ``raw_total``, ``adjustment``, ``total``; and the lines of
    rules at statement scope (schema RULE_LINES)."""
    summed = (
        invoices.invoices.group_by("team")
        .agg(pl.col("total").sum().alias("raw_total"))
        .sort("team")
    )
    teams = catalogue.accounts.unique("team").select("team", "team_tags")
    return rule_statements(summed, teams, catalogue, year_to_date)


def rule_statements(
    summed: pl.DataFrame,
    teams: pl.DataFrame,
    catalogue: Catalogue,
    year_to_date: pl.DataFrame | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Apply the rules at statement scope to the totals of teams; returns as :func:`statements`.

    Parameters
    ----------
    summed
        ``team``, ``raw_total``, sorted by team.
    teams
        ``team``, ``team_tags``; a team that is missing has no tags.
    year_to_date
        The totals on earlier statements of rules over a span (schema YEAR_TO_DATE).
    """
    tagged = summed.join(teams, on="team", how="left", maintain_order="left").select(
        "team_tags", project="team"
    )
    running, lines = summed["raw_total"], RULE_LINES.to_frame()
    for position, rule in catalogue.rules_at(STATEMENT):
        chosen = targeted(rule, tagged, "team_tags")
        parts = summed.with_columns(before=running).filter(
            pl.col("team").is_in(chosen.implode())
        ).select(
            *("team", "before"), project="team", on=pl.lit(""), key="team",
            user=pl.lit(None, pl.String), day=pl.lit(None, pl.Date),
        )  # fmt: skip
        left = _lines_of(rule, position, parts, catalogue, year_to_date, STATEMENT)
        lines = pl.concat([lines, left])
        changed = summed.select(pl.col("team").replace_strict(
            left["subject"], left["amount"], default=0, return_dtype=pl.Int64
        ))  # fmt: skip
        running = running + changed.to_series()
    totals = summed.with_columns(adjustment=running - summed["raw_total"], total=running)
    return totals, lines
