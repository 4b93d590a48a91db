"""From charges to the lines of an invoice: each charge, or charges of the same day, user, item.

    charge  date   user  item   price  total          line  charges  date   user  quantity  total
    57      10-04  ann   core   0.125  40.00 ─┐
    58      10-04  ann   core   0.125   2.50 ─┴─▶     1     2        10-04  ann   340       42.50
    59      10-04  ann   core   0.125   1.00 ───▶     2     1        10-04  ann   8          1.00
                                (waived by staff)

The facility or the project's type says by which keys charges go together, and above which number of
charges on an invoice (pricebook.InvoiceLines). A charge that staff changed, added, waived or noted,
and one that is late, stands on a line of its own. Amounts are only summed, never rounded again: the
totals of lines, of their expense codes, rules and steps are those of the charges.
"""

from dataclasses import dataclass

import polars as pl

EACH = "charge"
"""The key by which each charge is a line."""

KEYS = {
    "day": "date",
    "user": "user",
    "item": "item",
    "rate": "rate",
    "expense_code": "split",
}
"""The keys by which charges go together, each with its column."""

SHARED = ("item", "unit", "user", "description", "units", "price", "rate_group")
"""Columns that a line has where all its charges agree; elsewhere ``several`` names them."""

PLAIN_STEP = "quantity × rate"
"""The step of a charge that is just that, on a line with charges of several prices."""

_OF_ONE = ("charge", "start", "end", "late", "file", "row")
"""Columns that only a line of one charge has."""


@dataclass(frozen=True)
class Lines:
    """Lines of invoices, and their parts, each with ``invoice`` and ``line``, in order.

    Attributes
    ----------
    lines
        ``charges`` (their number), ``date``, ``last_date``, sums, and where all charges agree their
        other columns; ``several`` lists the names of SHARED in which they differ.
    splits
        ``expense_code``, ``percent`` (null where the charges' percentages differ), ``amount``.
    rules
        ``rule``, ``kind``, ``amount``.
    steps
        ``step``, ``quantity``, ``price``, ``amount``; none for a line of quantity × one price.
    """

    lines: pl.DataFrame
    splits: pl.DataFrame
    rules: pl.DataFrame
    steps: pl.DataFrame


def number_lines(charges: pl.DataFrame, splits: pl.DataFrame) -> pl.DataFrame:
    """Add to each charge its ``line`` on its invoice, from 1, in the order of the first charges.

    Parameters
    ----------
    charges
        In order: columns of CHARGE; ``by`` (keys, or EACH, joined by ", ") and ``above``, of the
        invoice; ``late``, the month of a late charge; ``alone``, whether the charge stands on a
        line of its own.
    splits
        Schema SPLIT.
    """
    settings = {by: by.split(", ") for by in charges["by"].unique().sort()}

    def has(key: str) -> pl.Expr:
        return pl.col("by").is_in([by for by, keys in settings.items() if key in keys])

    together = ~has(EACH) & (pl.len().over("invoice") > pl.col("above")) & ~pl.col("alone")
    if not charges.select(together.any()).item():
        numbered = pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("invoice")
        return charges.with_columns(line=numbered)
    share = pl.concat_str(pl.col("percent"), pl.col("expense_code"), separator=" ")
    shares = splits.sort("charge", "position").group_by("charge").agg(split=share)
    shares = shares.with_columns(pl.col("split").list.join("\n"))  # at once, not group by group
    keyed = charges.join(shares, on="charge", how="left", maintain_order="left").select(
        "invoice",
        pl.int_range(pl.len()).alias("place"),
        pl.when(~together).then("charge").alias("own"),
        *(pl.when(together & has(key)).then(column).alias(key) for key, column in KEYS.items()),
    )
    first = pl.col("place").min().over("invoice", "own", *KEYS)
    line = keyed.select(first.alias("first"), "invoice").select(
        line=pl.col("first").rank("dense").over("invoice").cast(pl.Int64)
    )
    return charges.with_columns(line["line"])


def sum_lines(
    charges: pl.DataFrame, splits: pl.DataFrame, rule_lines: pl.DataFrame, steps: pl.DataFrame
) -> Lines:
    """Sum charges with their ``line`` (as of ``number_lines``) to lines.

    Parameters
    ----------
    splits, rule_lines, steps
        Of the charges: SPLIT, RULE_LINES of charging.py with ``charge`` for ``subject``, and STEPS
        of explain.py.
    """
    key = ["invoice", "line"]
    charges = charges.sort(*key, maintain_order=True)
    follows = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in key)
    shared = (*SHARED, "effective_rate")
    charges = charges.with_columns(
        (follows & pl.col(name).ne_missing(pl.col(name).shift())).alias(f"_{name}")
        for name in shared
    )
    timed = pl.col("start").is_not_null()
    hours = pl.when(timed).then("hours")
    one, differ = pl.len() == 1, {name: pl.col(f"_{name}").any() for name in shared}
    lines = charges.group_by(key, maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("charges"),
        pl.col("kind").first(),
        *(pl.when(one).then(pl.col(name).first()).alias(name) for name in _OF_ONE),
        pl.col("date").min(),
        pl.col("date").max().alias("last_date"),
        *(pl.when(~differ[name]).then(pl.col(name).first()).alias(name) for name in shared),
        pl.concat_list(pl.when(differ[name]).then(pl.lit(name)) for name in SHARED)
        .list.drop_nulls()
        .alias("several"),
        pl.when(hours.count() > 0).then(hours.sum()).alias("hours"),
        pl.when(timed.any()).then(pl.lit(value=True)).alias("timed"),
        pl.when((pl.col("quantity").count() > 0) & ~differ["unit"])
        .then(pl.col("quantity").sum())
        .alias("quantity"),
        pl.col("raw_total", "adjustment", "total").sum(),
    )
    lines = lines.with_columns(units=pl.when("timed").then("units")).drop("timed")
    place = charges.select("charge", *key)
    parts = (
        splits.join(place, on="charge")
        .group_by(*key, "expense_code")
        .agg(
            pl.col("position").min(),
            pl.col("percent").min(),
            pl.col("percent").max().alias("most"),
            pl.len().alias("of"),
            pl.col("amount").sum(),
        )
    )
    parts = parts.join(lines.select(*key, "charges"), on=key)
    same = (pl.col("percent") == pl.col("most")) & (pl.col("of") == pl.col("charges"))
    return Lines(
        lines,
        parts.sort(*key, "position", "expense_code").select(
            *key, "expense_code", pl.when(same).then("percent").alias("percent"), "amount"
        ),
        rule_lines.join(place, on="charge", maintain_order="left")
        .group_by(*key, "rule", "kind", maintain_order=True)
        .agg(pl.col("amount").sum()),
        _sum_steps(charges, lines, steps),
    )


def _sum_steps(charges: pl.DataFrame, lines: pl.DataFrame, steps: pl.DataFrame) -> pl.DataFrame:
    """The steps of lines by name and price; a charge without steps has one, unless all have none
    and one price."""
    key = ["invoice", "line"]
    stepped = charges.join(steps.select("charge").unique(), on="charge", how="semi")
    several = pl.col("several").list.contains("price")
    wanting = lines.filter(several).select(key)
    wanting = pl.concat([wanting, stepped.select(key)]).unique()
    plain = (
        charges.join(wanting, on=key, how="semi")
        .join(stepped, on="charge", how="anti")
        .select("charge", pl.lit(PLAIN_STEP).alias("step"), "quantity", "price", amount="raw_total")
    )
    place = charges.select("charge", *key, pl.int_range(pl.len()).alias("place"))
    mixed = lines.select(*key, mixed=pl.col("several").list.contains("unit"))
    return (
        pl.concat([steps, plain.cast(steps.schema)])
        .join(place, on="charge", maintain_order="left")
        .join(mixed, on=key, maintain_order="left")
        .sort("place", maintain_order=True)
        .group_by(*key, "step", "price", maintain_order=True)
        .agg(
            pl.when((pl.col("quantity").count() > 0) & ~pl.col("mixed").first())
            .then(pl.col("quantity").sum())
            .alias("quantity"),
            pl.col("amount").sum(),
        )
        .sort(key, maintain_order=True)
    )
