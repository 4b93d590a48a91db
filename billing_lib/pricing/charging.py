"""Charging: one usage record × one rate, with its adjustments, as a charge and its split.

    quantity   hours × units, or what the source states, or what staff set
    raw total  quantity × price, at least the minimum, rounded once, half up
    total      the raw total, or the amount that staff set; adjustment = total - raw total

The same function prices the ledger's charges, a quotation and an invoice from its snapshot.
"""

from dataclasses import dataclass

import polars as pl

from billing_lib.pricing.adjusting import (
    ADJUSTMENTS,
    LINES,
    SHARES,
    last_values,
    replaced_splits,
)
from billing_lib.pricing.catalogue import Catalogue
from billing_lib.pricing.exact import AmountTooLarge, Exact
from billing_lib.pricing.money import money_text_column, plain_text_column
from billing_lib.pricing.split import apportion
from billing_lib.pricing.usage import INSTANT

QUANTITY_PLACES = 6
"""Places to which quantities and hours are shown; never computed with."""

CHARGES = pl.Schema(
    {
        "charge": pl.String(),  # the usage record's id, or an added line's
        "kind": pl.String(),  # usage or line
        "project": pl.String(),
        "team": pl.String(),
        "item": pl.String(),
        "user": pl.String(),
        "date": pl.Date(),  # the local day it starts
        "start": INSTANT,
        "end": INSTANT,
        "description": pl.String(),
        "unit": pl.String(),
        "hours": pl.String(),  # elapsed, as shown
        "units": pl.String(),
        "quantity": pl.String(),  # as shown
        "rate": pl.String(),  # fingerprint
        "rate_group": pl.String(),
        "price": pl.String(),  # in force, after adjustment
        "raw_total": pl.Int64(),  # minor units, as are the next two
        "adjustment": pl.Int64(),
        "total": pl.Int64(),
        "file": pl.String(),
        "row": pl.Int64(),
    }
)
SPLITS = pl.Schema(SHARES | {"amount": pl.Int64()})

_HOUR = 3_600_000_000  # microseconds
_LARGEST_SUM = 10**18  # minor units


@dataclass(frozen=True)
class Charges:
    """Charges (schema CHARGES) and their splits (schema SPLITS), in the order of the usage,
    added lines last."""

    charges: pl.DataFrame
    splits: pl.DataFrame


def charge_usage(
    rated: pl.DataFrame,
    catalogue: Catalogue,
    adjustments: pl.DataFrame | None = None,
    lines: pl.DataFrame | None = None,
) -> Charges:
    """Price rated usage and added lines.

    Parameters
    ----------
    rated
        Usage with ``team``, ``rate_group``, ``unit``, ``day`` and ``rate`` (pricing/rating.py).
    catalogue
        The rates that ``rated`` names, and the accounts of its projects.
    adjustments, lines
        Staff's changes and added lines (pricing/adjusting.py); none by default.

    Raises
    ------
    AmountTooLarge
        A quantity times its price cannot be held exactly.
    """
    adjustments = ADJUSTMENTS.to_frame() if adjustments is None else adjustments
    lines = LINES.to_frame() if lines is None else lines
    values = last_values(adjustments, catalogue.places)
    charges = pl.concat(
        [
            _usage_charges(rated, catalogue, values),
            _line_charges(lines, catalogue, values),
        ]
    )
    _refuse_unsummable(charges)
    shares = _shares(charges, catalogue, replaced_splits(adjustments, lines))
    splits = shares.with_columns(
        amount=apportion(shares, "at", "total", "percent", "position")
    ).select(SPLITS.names())
    return Charges(charges, splits)


def _refuse_unsummable(charges: pl.DataFrame) -> None:
    # Sums of invoices and statements are 64 bits wide and would wrap without a word.
    amounts = pl.col("raw_total", "total").cast(pl.Int128).abs().sum()
    if sum(charges.select(amounts).row(0)) > _LARGEST_SUM:
        raise AmountTooLarge(
            "the charges together have more than 18 digits", remedy="check the quantities"
        )


def _usage_charges(rated: pl.DataFrame, catalogue: Catalogue, values: pl.DataFrame) -> pl.DataFrame:
    rates = catalogue.rates.select("rate", "price", "minimum", "step")
    frame = (
        rated.rename({"record": "charge"})
        .join(rates, on="rate", how="left", maintain_order="left")
        .join(values, on="charge", how="left", maintain_order="left")
    )
    stated, timed = _stated(frame), _timed(frame)
    price = Exact.of_decimals(frame.select(pl.coalesce("set_price", "price")).to_series())
    hours = Exact(frame.select(_elapsed()).to_series(), _HOUR)
    raw = pl.max_horizontal(pl.col("raw_total"), pl.col("minimum"))
    return (
        frame.with_columns(
            _either(stated.times(price), timed.times(price), catalogue.places).alias("raw_total"),
            _either(stated, timed, QUANTITY_PLACES).alias("quantity"),
            hours.rounded(QUANTITY_PLACES).alias("hours"),
        )
        .with_columns(raw_total=raw)
        .with_columns(total=pl.coalesce("set_amount", "raw_total"))
        .select(
            "charge",
            pl.lit("usage").alias("kind"),
            "project",
            "team",
            "item",
            "user",
            pl.col("day").alias("date"),
            "start",
            "end",
            "description",
            "unit",
            _shown("hours"),
            plain_text_column(pl.col("units")).alias("units"),
            _shown("quantity"),
            "rate",
            "rate_group",
            plain_text_column(pl.coalesce("set_price", "price")).alias("price"),
            "raw_total",
            (pl.col("total") - pl.col("raw_total")).alias("adjustment"),
            "total",
            "file",
            "row",
        )
    )


def _elapsed() -> pl.Expr:
    return (pl.col("end") - pl.col("start")).dt.total_microseconds()


def _stated(frame: pl.DataFrame) -> Exact:
    return Exact.of_decimals(frame.select(pl.coalesce("set_quantity", "quantity")).to_series())


def _timed(frame: pl.DataFrame) -> Exact:
    elapsed, step = _elapsed(), pl.col("step")
    stepped = pl.when(step.is_null()).then(elapsed).otherwise((elapsed + step - 1) // step * step)
    unstated = pl.coalesce("set_quantity", "quantity").is_null()
    hours = Exact(frame.select(pl.when(unstated).then(stepped)).to_series(), _HOUR).reduced()
    units = Exact.of_decimals(frame.get_column("units").fill_null(1))
    return hours.times(units)


def _either(stated: Exact, timed: Exact, places: int) -> pl.Series:
    # Rounded apart: over one denominator, a job timed to the microsecond would take the digits
    # that a large stated quantity in the same frame needs.
    return pl.select(pl.coalesce(stated.rounded(places), timed.rounded(places))).to_series()


def _shown(column: str) -> pl.Expr:
    text = money_text_column(pl.col(column), QUANTITY_PLACES)
    return text.str.strip_chars_end("0").str.strip_chars_end(".").alias(column)


def _line_charges(lines: pl.DataFrame, catalogue: Catalogue, values: pl.DataFrame) -> pl.DataFrame:
    teams = catalogue.accounts.select("project", "team").unique("project")
    known = (
        lines.join(teams, on="project", how="left", maintain_order="left")
        .join(values.select("charge", "set_amount"), on="charge", how="left", maintain_order="left")
        .with_columns(
            kind=pl.lit("line"),
            raw_total=pl.col("amount"),
            total=pl.coalesce("set_amount", "amount"),
        )
        .with_columns(adjustment=pl.col("total") - pl.col("raw_total"))
    )
    return known.select(
        pl.col(name).cast(dtype) if name in known.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in CHARGES.items()
    )


def _shares(charges: pl.DataFrame, catalogue: Catalogue, replaced: pl.DataFrame) -> pl.DataFrame:
    totals = charges.select("charge", "project", "total").with_row_index("at")
    standing = totals.join(replaced, on="charge", how="anti").join(
        catalogue.accounts.select("project", "position", "expense_code", "percent"),
        on="project",
        how="left",
    )
    own = totals.join(replaced, on="charge", how="inner").select(standing.columns)
    return pl.concat([standing, own]).sort("at", "position")
