"""Rating: which usage can be billed, and by which rate; the rest with its reason.

    usage → rated  (one row per billable record, with the rate's fingerprint)
          → unbilled (one reason per record, the first that applies)

The rate is looked up by item, the project's rate group and the local day on which usage starts
(or its date). Every record comes out on exactly one side: records in = rated + unbilled.
"""

from dataclasses import dataclass

import polars as pl

from billing_lib.pricing.catalogue import DAY, EACH, HOUR, USE, Catalogue
from billing_lib.pricing.lookup import Codes, Dated, columns_at, positions
from billing_lib.pricing.period import local_dates, period_of

_UNBILLED = pl.Schema(
    {
        "record": pl.String(),
        "occurrence": pl.Int32(),
        "reason": pl.String(),
        "detail": pl.String(),
        "file": pl.String(),
        "row": pl.Int64(),
    }
)


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


REFERENCES = pl.Schema({"reference": pl.String(), "project": pl.String()})
"""Ad hoc invoices that usage can name, each once, and whose they are."""


def rate_usage(
    usage: pl.DataFrame,
    catalogue: Catalogue,
    period: str | None = None,
    references: pl.DataFrame | None = None,
) -> Rating:
    """Give each usage record its rate, or the reason why it has none.

    Parameters
    ----------
    usage
        A usage frame (pricing/usage.py).
    catalogue
        Items, rates and accounts.
    period
        ``YYYY-MM``: usage that ends in another month is ``outside_period``; None takes all.
    references
        The ad hoc invoices that usage may name (schema REFERENCES), which is theirs where it names
        no project; None takes any.
    """
    usage, named = _of_references(usage, references)
    frame = _looked_up(usage, catalogue, period).with_columns(named.alias("_named"))
    checks = _checks(period)
    refused = frame.select(pl.any_horizontal(checks.values()).fill_null(value=False)).to_series()
    rated = frame.select(*usage.columns, "team", "rate_group", "unit", "day", "rate")
    if not refused.any():  # then no row is copied and no sentence made
        return Rating(rated, _UNBILLED.to_frame())
    return Rating(rated.filter(~refused), _unbilled(frame.filter(refused), checks))


def _unbilled(frame: pl.DataFrame, checks: dict[str, pl.Expr]) -> pl.DataFrame:
    reasons = (pl.when(check).then(pl.lit(reason)) for reason, check in checks.items())
    reasoned = frame.with_columns(reason=pl.coalesce(*reasons))
    return reasoned.select("record", "occurrence", "reason", _detail(), "file", "row")


def _of_references(
    usage: pl.DataFrame, references: pl.DataFrame | None
) -> tuple[pl.DataFrame, pl.Series]:
    """The usage with the project of the reference it names where it names none; and the sentence
    on a reference that is not known, or another project's."""
    fine = pl.repeat(None, usage.height, dtype=pl.String, eager=True)
    if references is None or usage["reference"].null_count() == usage.height:
        return usage, fine
    known = positions(usage["reference"], references["reference"])
    frame = usage.select("reference", "project", of=references["project"].gather(known))
    unknown = pl.format("there is no ad hoc invoice '{}'", "reference")
    other = pl.format("the ad hoc invoice '{}' is of project '{}'", "reference", "of")
    named = frame.select(
        sentence=pl.when(pl.col("of").is_null())
        .then(unknown)  # null where nothing is named
        .when(pl.col("project") != pl.col("of"))
        .then(other)
    )["sentence"]
    of = frame.select(pl.coalesce("project", "of")).to_series()
    return usage.with_columns(project=of), named


@dataclass(frozen=True)
class _Tables:
    """What usage is looked up in.

    Attributes
    ----------
    items, of_item
        The items, and by item ``unit`` and ``_uncounted``: some rate of it counts uses or days.
    projects, of_project
        The projects, and by project ``team`` and ``rate_group``.
    groups, group_at
        The rate groups, and by project the place of its own among them.
    rates
        The rates by item and group, as _pair numbers them.
    """

    items: Codes
    of_item: pl.DataFrame
    projects: Codes
    of_project: pl.DataFrame
    groups: pl.Series
    group_at: pl.Series
    rates: Dated


def _tables(catalogue: Catalogue) -> _Tables:
    uncounted = catalogue.rates.filter(pl.col("per").is_in([USE, DAY]))["item"].unique()
    items, projects, rates = catalogue.items, catalogue.projects, catalogue.rates
    groups = projects["rate_group"].unique()
    item_at = positions(rates["item"], items["item"])
    pairs = _pair(item_at, positions(rates["rate_group"], groups), groups)
    return _Tables(
        items=Codes(items["item"]),
        of_item=items.select("unit", _uncounted=pl.col("item").is_in(uncounted.implode())),
        projects=Codes(projects["project"]),
        of_project=projects.select("team", "rate_group"),
        groups=groups,
        group_at=positions(projects["rate_group"], groups),
        rates=Dated(rates.select("valid_from", "valid_to", key=pairs)),
    )


def _looked_up(usage: pl.DataFrame, catalogue: Catalogue, period: str | None) -> pl.DataFrame:
    """The usage with what its item, its project and its rate say."""
    tables = catalogue.once(_tables)
    item_at = tables.items.positions(usage["item"])
    project_at = tables.projects.positions(usage["project"])
    day = local_dates(usage["start"], catalogue.timezone)
    if day.null_count():
        day = day.zip_with(day.is_not_null(), usage["date"])
    pairs = _pair(item_at, tables.group_at[project_at], tables.groups)
    rate_at = tables.rates.at(pairs, day)
    closes = None
    if period is not None:
        end_day = local_dates(usage["end"], catalogue.timezone, before=True)
        closes = usage.select(period_of(pl.coalesce(end_day, "date"))).to_series()
    return usage.with_columns(
        *columns_at(tables.of_item, item_at),
        *columns_at(tables.of_project, project_at),
        day.alias("day"),
        pl.lit(closes, dtype=pl.String).alias("_period"),
        *columns_at(catalogue.rates.select("rate", "per"), rate_at),
    )


def _pair(item_at: pl.Series, group_at: pl.Series, groups: pl.Series) -> pl.Series:
    return item_at.cast(pl.Int64) * max(groups.len(), 1) + group_at.cast(pl.Int64)


def _needs_quantity() -> pl.Expr:
    """Whether the quantity must be stated: neither the clock, the day nor the record counts it."""
    timed = pl.col("start").is_not_null() & pl.col("end").is_not_null()
    unit = pl.col("unit")
    # Without a rate, what the item's rates count for others decides.
    unrated = pl.col("rate").is_null() & pl.col("_uncounted")
    known = pl.when(unrated).then(pl.lit(USE)).otherwise(counted_per())
    counted = (timed & (unit.is_null() | (known == HOUR))) | known.is_in([USE, DAY])
    return ~counted.fill_null(value=False)


def _checks(period: str | None) -> dict[str, pl.Expr]:
    """By reason whether a record has it; the first that applies is told."""
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
    defect = {
        reason: (pl.col("defect") == reason).fill_null(value=False)
        for reason in ("invalid_time", "invalid_quantity")
    }
    return {
        "duplicate": pl.col("occurrence") > 1,
        "invalid_time": defect["invalid_time"] | no_time,
        "invalid_quantity": defect["invalid_quantity"] | no_quantity,
        "unknown_item": pl.col("unit").is_null(),
        "unknown_reference": pl.col("_named").is_not_null(),
        "unknown_project": pl.col("team").is_null(),
        "outside_period": outside,
        "no_rate": pl.col("rate").is_null(),
    }


def _detail() -> pl.Expr:
    said = {
        "duplicate": pl.format("the id '{}' stands earlier in the same file", "record"),
        "invalid_time": pl.lit("start or end is unknown, or the end is before the start"),
        "invalid_quantity": pl.lit("the quantity is unknown or negative"),
        "unknown_item": pl.coalesce(
            pl.format("the price book has no item '{}'", "item"),
            pl.lit("the usage names no item"),
        ),
        "unknown_reference": pl.col("_named"),
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
