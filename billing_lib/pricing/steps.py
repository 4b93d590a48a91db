"""The steps by which a charge's raw total comes about, where quantity × rate is not all of it.

    in business hours         1 × 40 =  40.00
    after hours               2 × 25 =  50.00
    service fee                          5.00
    raw total                           95.00

The amounts are rounded one by one, and the last part of a price takes what that leaves: they sum
to the raw total to the minor unit.
"""

from collections.abc import Iterator

import polars as pl

from billing_lib.pricing.adjusting import last_values
from billing_lib.pricing.by_time import Blends, label_names
from billing_lib.pricing.catalogue import PRICE, Catalogue
from billing_lib.pricing.charging import QUANTITY_PLACES, price_usage
from billing_lib.pricing.money import PRICE_PLACES
from billing_lib.pricing.quantities import Quantities
from billing_lib.pricing.rates import BANDS, FLAT, HOURS, Rate
from billing_lib.pricing.tiers import graduated_parts

STEPS = pl.Schema(
    {
        "charge": pl.String(),
        "step": pl.String(),  # what it is, in words
        "quantity": pl.Int64(),  # in millionths; null where the step has none
        "price": PRICE,  # null where the step has none
        "amount": pl.Int64(),  # minor units
    }
)

_PARTS = pl.Schema(
    {
        "at": pl.UInt32(),
        "place": pl.Int64(),
        "step": pl.String(),
        "quantity": pl.Int64(),
        "price": pl.Int64(),
        "amount": pl.Int64(),
    }
)
_MINIMUM, _FEE = "up to the minimum", "service fee"
_LAST = 10**6  # a place behind all parts of a price


def price_steps(
    rated: pl.DataFrame, catalogue: Catalogue, adjustments: pl.DataFrame
) -> pl.DataFrame:
    """The steps (schema STEPS) of charges that are more than quantity × rate, in their order.

    Parameters
    ----------
    rated, catalogue, adjustments
        As :func:`~billing_lib.pricing.charging.charge_usage` takes them.
    """
    used = catalogue.rates.join(rated.select("rate").unique(), on="rate", how="semi")
    plain = (pl.col("pricing") == FLAT) & pl.col("minimum").is_null()
    if used.select((plain & pl.col("service_fee").is_null()).all()).item():
        return STEPS.to_frame()
    frame, counted = price_usage(rated, catalogue, last_values(adjustments, catalogue.places))
    frame = frame.with_columns(known=counted.known).with_row_index("at")
    parts = pl.concat(
        [_PARTS.to_frame(), *_by_time(frame, catalogue), *_by_tier(frame, counted, catalogue)]
    )
    parts = parts.filter((pl.col("quantity") != 0) | (pl.col("amount") != 0))
    parts = pl.concat([parts, _flat(frame, parts, counted), *_added(frame)])
    parts = parts.sort("at", "place")
    unit = pl.lit(1).cast(PRICE) / 10**PRICE_PLACES
    return (
        parts.join(frame.select("at", "charge", "priced"), on="at", maintain_order="left")
        .with_columns(amount=pl.col("amount") + _rest())
        .select("charge", "step", "quantity", (pl.col("price") * unit).cast(PRICE), "amount")
        .cast(STEPS)
    )


def _by_time(frame: pl.DataFrame, catalogue: Catalogue) -> Iterator[pl.DataFrame]:
    timed = frame.filter(pl.col("prices").is_in([HOURS, BANDS]))
    if timed.height == 0:
        return
    used = catalogue.rates.join(timed.select("rate").unique(), on="rate", how="semi")
    names = {
        rate: label_names(Rate.model_validate_json(body))
        for rate, body in used.select("rate", "body").iter_rows()
    }
    for label, (quantity, price, amount) in enumerate(
        Blends(timed, catalogue).by_label(catalogue.places)
    ):
        called = {rate: listed[label] for rate, listed in names.items() if label < len(listed)}
        yield _part(
            timed["at"], label, timed["rate"].replace_strict(called, default=None),
            quantity, price, amount,
        )  # fmt: skip


def _by_tier(
    frame: pl.DataFrame, counted: Quantities, catalogue: Catalogue
) -> Iterator[pl.DataFrame]:
    for place, (at, name, part, price) in enumerate(graduated_parts(frame, counted, catalogue)):
        called = pl.repeat(name, at.len(), dtype=pl.String, eager=True)
        amount = part.times(price).rounded(catalogue.places)
        yield _part(at, place, called, part.rounded(QUANTITY_PLACES), price.numerators, amount)


def _part(
    at: pl.Series, place: int, step: pl.Series, quantity: pl.Series, price: pl.Series,
    amount: pl.Series,
) -> pl.DataFrame:  # fmt: skip
    columns = {"at": at, "step": step, "quantity": quantity, "price": price, "amount": amount}
    return pl.DataFrame(columns).select(
        pl.lit(place).alias(name).cast(dtype) if name == "place" else pl.col(name).cast(dtype)
        for name, dtype in _PARTS.items()
    )


def _flat(frame: pl.DataFrame, parts: pl.DataFrame, counted: Quantities) -> pl.DataFrame:
    """Quantity × rate, as a step of the charges that have a minimum or a fee beside it."""
    price = pl.coalesce("tier_price", "set_price", "price")
    return (
        frame.with_columns(counted.rounded(QUANTITY_PLACES).alias("quantity"))
        .filter((pl.col("least") > pl.col("priced")) | pl.col("service_fee").is_not_null())
        .join(parts.select("at").unique(), on="at", how="anti")
        .select(
            "at",
            place=pl.lit(0, dtype=pl.Int64),
            step=pl.lit("quantity × rate"),
            quantity="quantity",
            price=price.to_physical().cast(pl.Int64),
            amount="priced",
        )
    )


def _added(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """What comes on top of the price: up to the minimum, and the service fee."""
    nothing = pl.lit(None, dtype=pl.Int64)
    over = pl.col("least") - pl.col("priced")
    for place, step, amount in ((_LAST, _MINIMUM, over), (_LAST + 1, _FEE, pl.col("service_fee"))):
        yield frame.select(
            "at",
            place=pl.lit(place, dtype=pl.Int64),
            step=pl.lit(step),
            quantity=nothing,
            price=nothing,
            amount=amount,
        ).filter(pl.col("amount") > 0)


def _rest() -> pl.Expr:
    """What rounding the parts of a price one by one leaves, on the last of them; 0 elsewhere."""
    of_price = pl.col("place") < _LAST
    rest = pl.col("priced") - pl.col("amount").filter(of_price).sum().over("at")
    last = of_price & (pl.col("place") == pl.col("place").filter(of_price).max().over("at"))
    return pl.when(last).then(rest).otherwise(0)
