"""Tiers: prices by quantity, of each part at its own tier's price, or all at one.

    steps up to 10 at 5.00, then 3.00; a quantity of 12
    graduated   10 × 5.00 + 2 × 3.00 = 56.00
    volume      12 × 3.00            = 36.00, the price of the tier that 12 reaches

Per charge each counts alone. Per project the project's quantity of the item counts through the
month, in order of end time, then id (a date counts as the end of its day); with volume the
month's whole decides for every charge. What goes to an ad hoc invoice counts for itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from math import lcm

import polars as pl

from billing_lib.pricing.catalogue import PRICE, Catalogue
from billing_lib.pricing.exact import Exact
from billing_lib.pricing.money import PRICE_PLACES, plain_text
from billing_lib.pricing.period import closing_date, day_start, period_of
from billing_lib.pricing.quantities import Quantities
from billing_lib.pricing.rates import TIERS, Rate, Tiers

_GROUP = ("project", "reference", "item", "month")
_PRICE_UNIT = Decimal(1).scaleb(-PRICE_PLACES)


def tier_amounts(
    frame: pl.DataFrame, counted: Quantities, catalogue: Catalogue
) -> tuple[pl.Series, pl.Series]:
    """The amounts of records under rates with tiers, null elsewhere, and their one price.

    Parameters
    ----------
    frame
        All the rated records, with ``prices`` (how each is priced); those of other rates count
        towards a project's quantity too.
    counted
        Their quantities.

    Returns
    -------
    tuple[pl.Series, pl.Series]
        Minor units, and the price of the tier where one holds for all of a charge.
    """
    amounts = pl.repeat(None, frame.height, dtype=pl.Int64, eager=True)
    prices = pl.repeat(None, frame.height, dtype=pl.Int64, eager=True)
    for one in _tiered(frame, counted, catalogue):
        if one.tiers.mode == "graduated":
            total = Exact(pl.zeros(one.reached.height, dtype=pl.Int64, eager=True), 1)
            for _, part, price in _graduated(one):
                total = total.plus(part.times(price))
        else:
            reached = _volume_price(one.reached["whole"], one.tiers, one.denominator)
            total = Exact(one.reached["quantity"], one.denominator).times(
                Exact(reached, 10**PRICE_PLACES)
            )
            prices = prices.scatter(one.at, reached)
        amounts = amounts.scatter(one.at, total.rounded(catalogue.places))
    return amounts, (prices.cast(pl.Decimal(38, 0)) * _PRICE_UNIT).cast(PRICE)


def graduated_parts(
    frame: pl.DataFrame, counted: Quantities, catalogue: Catalogue
) -> Iterator[tuple[pl.Series, str, Exact, Exact]]:
    """Tier by tier of the graduated rates: the records' places in the frame, what the tier is
    called, how much of each record is in it, and its price; as for :func:`tier_amounts`."""
    for one in _tiered(frame, counted, catalogue):
        if one.tiers.mode == "graduated":
            for name, part, price in _graduated(one):
                yield one.at, name, part, price


@dataclass(frozen=True)
class _Tiered:
    """The records under one rate: their places in the frame, and what they have reached."""

    tiers: Tiers
    at: pl.Series
    reached: pl.DataFrame
    denominator: int


def _tiered(frame: pl.DataFrame, counted: Quantities, catalogue: Catalogue) -> Iterator[_Tiered]:
    tiered = frame.select("rate", "prices").with_row_index("at")
    tiered = tiered.filter(pl.col("prices") == TIERS)
    if tiered.height == 0:
        return
    used = catalogue.rates.join(tiered.select("rate").unique(), on="rate", how="semi")
    stated = [(name, Rate.model_validate_json(body)) for name, body in used["rate", "body"].rows()]
    bounds = [step.up_to for _, rate in stated for step in _tiers(rate).steps if step.up_to]
    quantity = counted.joined()
    quantity = quantity.over(
        lcm(quantity.denominator, *(bound.as_integer_ratio()[1] for bound in bounds))
    )
    reached = _reached(frame, quantity, catalogue.timezone)
    for name, rate in stated:
        tiers, at = _tiers(rate), tiered.filter(pl.col("rate") == name)["at"]
        here = reached[at]
        if tiers.per == "charge":
            alone = pl.col("quantity")
            here = here.select("quantity", before=alone - alone, after=alone, whole=alone)
        yield _Tiered(tiers, at, here, quantity.denominator)


def _tiers(rate: Rate) -> Tiers:
    if rate.tiers is None:
        raise TypeError(f"the rate {rate.fingerprint} has no tiers")
    return rate.tiers


def _reached(frame: pl.DataFrame, quantity: Exact, timezone: str) -> pl.DataFrame:
    """Per record its ``quantity``, what its project had used ``before`` and ``after`` it in the
    month, and the month's ``whole``; numerators of the quantity's denominator."""
    day_ends = day_start(pl.col("day").dt.offset_by("1d"), timezone)
    month = period_of(closing_date(pl.col("end"), pl.col("day"), timezone))
    # Sums may pass 64 bits where no quantity does.
    wide = quantity.numerators.cast(pl.Int128)
    return (
        frame.select(
            "project", "reference", "item", "charge",
            month=month, ends=pl.coalesce("end", day_ends), quantity=wide,
        )
        .with_row_index("at")
        .sort("ends", "charge", "at")
        .with_columns(
            after=pl.col("quantity").cum_sum().over(_GROUP),
            whole=pl.col("quantity").sum().over(_GROUP),
        )
        .with_columns(before=pl.col("after") - pl.col("quantity"))
        .sort("at")
        .select("quantity", "before", "after", "whole")
    )  # fmt: skip


def _graduated(one: _Tiered) -> Iterator[tuple[str, Exact, Exact]]:
    """Each tier's name, the part of each record that is in it, and its price."""
    here, nothing = one.reached, _whole_number(Decimal(0), one.denominator)
    lower, name = nothing, ""
    for step in one.tiers.steps:
        upper = pl.col("after")
        if step.up_to is not None:
            upper = pl.min_horizontal("after", _whole_number(step.up_to, one.denominator))
        part = here.select(
            part=pl.max_horizontal(upper - pl.max_horizontal("before", lower), nothing)
        )["part"]
        price = pl.repeat(int(step.price.scaleb(PRICE_PLACES)), here.height, eager=True)
        if step.up_to is not None:
            lower, name = _whole_number(step.up_to, one.denominator), plain_text(step.up_to)
        called = f"up to {name}" if step.up_to is not None else f"beyond {name}".strip()
        yield called, Exact(part, one.denominator), Exact(price, 10**PRICE_PLACES)


def _volume_price(whole: pl.Series, tiers: Tiers, denominator: int) -> pl.Series:
    """The price (10^-6) of the tier that a quantity reaches."""
    chosen = pl.lit(int(tiers.steps[-1].price.scaleb(PRICE_PLACES)), dtype=pl.Int64)
    for step in reversed(tiers.steps[:-1]):
        bound = _whole_number(step.up_to or Decimal(0), denominator)
        price = int(step.price.scaleb(PRICE_PLACES))
        chosen = pl.when(pl.col("whole") <= bound).then(price).otherwise(chosen)
    return pl.DataFrame({"whole": whole}).select(price=chosen)["price"]


def _whole_number(value: Decimal, denominator: int) -> pl.Expr:
    above, below = value.as_integer_ratio()
    return pl.lit(pl.Series([above * (denominator // below)], dtype=pl.Int128)).first()
