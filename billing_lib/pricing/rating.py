"""Rating: which usage can be billed, and by which rate; the rest with its reason.

    usage → rated  (one row per billable record, with the rate's fingerprint)
          → unbilled (one reason per record, the first that applies)

The rate is looked up by item, the project's rate group and the local day on which usage starts
(or its date). Every record comes out on exactly one side: records in = rated + unbilled.
"""

from dataclasses import dataclass

import polars as pl

from billing_lib.pricing.catalogue import DAY, EACH, HOUR, USE, Catalogue
from billing_lib.pricing.period import closing_date, local_date, period_of


@dataclass(frozen=True)
class Rating:
    """What rating found.

    Attributes
    ----------
    rated
        The usage frame's billable rows with ``team``, ``rate_group``, ``unit``, ``day`` (the
        local day the usage starts) and ``rate`` (fingerprint).
    unbilled
        ``record``, ``occurrence``, ``reason``, ``detail``, ``file``, ``row``.
    """

    rated: pl.DataFrame
    unbilled: pl.DataFrame


def counted_per() -> pl.Expr:
    """What a rated record counts: its rate's ``per``, else by the item's unit.

    Items by the use or by the day count so where the usage states no quantity.
    """
    unit = pl.col("unit")
    by_unit = (
        pl.when(unit == HOUR)
        .then(pl.lit(HOUR))
        .when(unit.is_in([USE, DAY]) & pl.col("quantity").is_null())
        .then(unit)
        .otherwise(pl.lit(EACH))
    )
    return pl.coalesce("per", by_unit)


def rate_usage(usage: pl.DataFrame, catalogue: Catalogue, period: str | None = None) -> Rating:
    """Give each usage record its rate, or the reason why it has none.

    Parameters
    ----------
    usage
        A usage frame (pricing/usage.py).
    catalogue
        Items, rates and accounts.
    period
        ``YYYY-MM``: usage that ends in another month is ``outside_period``; None takes all.
    """
    placed = _placed(usage, catalogue, period)
    found = _with_rate(placed, catalogue)
    reasoned = found.with_columns(reason=_reason(period))
    billable = pl.col("reason").is_null()
    rated = reasoned.filter(billable).select(
        *usage.columns, "team", "rate_group", "unit", "day", "rate"
    )
    unbilled = reasoned.filter(~billable).select(
        "record", "occurrence", "reason", _detail(), "file", "row"
    )
    return Rating(rated, unbilled)


def _placed(usage: pl.DataFrame, catalogue: Catalogue, period: str | None) -> pl.DataFrame:
    projects = catalogue.projects.select("project", "team", "rate_group")
    uncounted = catalogue.rates.filter(pl.col("per").is_in([USE, DAY]))["item"].unique()
    items = catalogue.items.select(
        "item", "unit", _uncounted=pl.col("item").is_in(uncounted.implode())
    )
    return (
        usage.with_row_index("_at")
        .join(items, on="item", how="left", maintain_order="left")
        .join(projects, on="project", how="left", maintain_order="left")
        .with_columns(
            day=pl.coalesce(local_date(pl.col("start"), catalogue.timezone), "date"),
            # Half of the time that rating takes, and needed only where some usage is outside.
            _period=pl.lit(None, dtype=pl.String)
            if period is None
            else period_of(closing_date(pl.col("end"), pl.col("date"), catalogue.timezone)),
        )
    )


def _with_rate(placed: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    validity = catalogue.rates.select("item", "rate_group", "rate", "per", "valid_from", "valid_to")
    matches = (
        placed.select("_at", "item", "rate_group", "day")
        .join(validity, on=["item", "rate_group"], how="inner")
        .filter(pl.col("day").is_between("valid_from", "valid_to"))
        .select("_at", "rate", "per")
    )
    return placed.join(matches, on="_at", how="left", maintain_order="left").drop("_at")


def _needs_quantity() -> pl.Expr:
    """Whether the quantity must be stated: neither the clock, the day nor the record counts it."""
    timed = pl.col("start").is_not_null() & pl.col("end").is_not_null()
    unit = pl.col("unit")
    # Without a rate, what the item's rates count for others decides.
    unrated = pl.col("rate").is_null() & pl.col("_uncounted")
    known = pl.when(unrated).then(pl.lit(USE)).otherwise(counted_per())
    counted = (timed & (unit.is_null() | (known == HOUR))) | known.is_in([USE, DAY])
    return ~counted.fill_null(value=False)


def _reason(period: str | None) -> pl.Expr:
    start, end, date = pl.col("start"), pl.col("end"), pl.col("date")
    timed = start.is_not_null() & end.is_not_null()
    half_timed = start.is_null() != end.is_null()
    no_time = half_timed | (~timed & date.is_null()) | (end < start).fill_null(value=False)
    no_quantity = (
        (pl.col("quantity") < 0).fill_null(value=False)
        | (pl.col("units") < 0).fill_null(value=False)
        | (pl.col("quantity").is_null() & _needs_quantity())
    )
    outside = pl.lit(value=False) if period is None else pl.col("_period") != period
    checks = (
        ("duplicate", pl.col("occurrence") > 1),
        ("invalid_time", (pl.col("defect") == "invalid_time").fill_null(value=False) | no_time),
        (
            "invalid_quantity",
            (pl.col("defect") == "invalid_quantity").fill_null(value=False) | no_quantity,
        ),
        ("unknown_item", pl.col("unit").is_null()),
        ("unknown_project", pl.col("team").is_null()),
        ("outside_period", outside),
        ("no_rate", pl.col("rate").is_null()),
    )
    return pl.coalesce(*(pl.when(check).then(pl.lit(reason)) for reason, check in checks))


def _detail() -> pl.Expr:
    said = {
        "duplicate": pl.format("the id '{}' stands earlier in the same file", "record"),
        "invalid_time": pl.lit("start or end is unknown, or the end is before the start"),
        "invalid_quantity": pl.lit("the quantity is unknown or negative"),
        "unknown_item": pl.coalesce(
            pl.format("the price book has no item '{}'", "item"),
            pl.lit("the usage names no item"),
        ),
        "unknown_project": pl.coalesce(
            pl.format("the price book has no project '{}'", "project"),
            pl.lit("the usage names no project"),
        ),
        "outside_period": pl.format("the usage ends in {}", "_period"),
        "no_rate": pl.format(
            "no rate for item '{}' and group '{}' on {}", "item", "rate_group", "day"
        ),
    }
    sentences = pl.coalesce(
        *(pl.when(pl.col("reason") == reason).then(text) for reason, text in said.items())
    )
    found_at_intake = pl.col("detail").is_not_null() & (pl.col("reason") == pl.col("defect"))
    return pl.when(found_at_intake).then(pl.col("detail")).otherwise(sentences).alias("detail")
