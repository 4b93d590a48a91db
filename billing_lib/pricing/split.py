"""Splitting money so that the parts make the whole: the largest remainder method.

Each part gets the whole minor units of its exact share; what is left over goes, one unit each,
to the largest remainders, ties to the first listed. Negative amounts share like positive ones.

    1.01 over 50/50          →  0.51, 0.50
    0.02 over 33.3333 × 3    →  0.01, 0.00, 0.01
"""

import polars as pl

from billing_lib.pricing.exact import Exact

_FEW = 8
"""Parts of a whole up to which each is compared with its neighbours, which needs no sorting."""


def apportion(parts: pl.DataFrame, whole: str, amount: str, weight: str, order: str) -> pl.Series:
    """The part of an amount that falls to each row.

    Parameters
    ----------
    parts
        One row per part; fastest where they stand by ``whole`` and ``order`` already.
    whole
        Column that says which amount a part belongs to.
    amount
        Column with the amount to share, the same on all parts of a whole (Int64, minor units).
    weight
        Column with the part's weight (Int64, not negative, with a positive sum per whole).
    order
        Column by which ties are broken, the smallest first.

    Returns
    -------
    pl.Series
        Int64 minor units, in the order of ``parts``; they sum to the amount for each whole.
    """
    product = Exact(parts[amount].abs(), 1).times(Exact(parts[weight], 1)).numerators
    working = parts.select(
        whole=whole,
        order=order,
        size=pl.col(amount).abs(),
        sign=pl.col(amount).sign(),
        product=product,
        weight=weight,
    )
    longest = _longest(working)
    return _by_neighbours(working, longest) if longest <= _FEW else _by_sorting(working)


def _longest(parts: pl.DataFrame) -> int:
    """The most parts that a whole has where all stand in order; more than any if they do not."""
    whole, order = pl.col("whole"), pl.col("order")
    later = (whole > whole.shift()) | ((whole == whole.shift()) & (order >= order.shift()))
    if not parts.select(later.all()).item():
        return _FEW + 1
    longest = parts.get_column("whole").rle().struct.field("len").max()
    return longest if isinstance(longest, int) else 0


def _by_neighbours(parts: pl.DataFrame, longest: int) -> pl.Series:
    """The parts where all of a whole stand within ``longest`` rows of each other, in order."""
    number = parts.get_column("whole").rle_id()
    ends = parts.get_column("whole").rle().struct.field("len").cum_sum() - 1

    def summed(values: pl.Series) -> pl.Series:
        """The sum over each whole, on all its rows."""
        until = values.cum_sum().gather(ends)
        return (until - until.shift(1, fill_value=0)).gather(number)

    divided = _divided(parts.with_columns(weights=summed(parts.get_column("weight"))))
    left = parts.get_column("size") - summed(divided.get_column("share"))
    whole, rest = pl.lit(number), pl.col("rest")
    larger = [
        (whole == whole.shift(at)) & (rest.shift(at) >= rest if at > 0 else rest.shift(at) > rest)
        for at in range(1 - longest, longest)
        if at
    ]  # of a tie, the earlier is the larger
    place = pl.sum_horizontal(pl.lit(0), *larger)
    return divided.select(_part(place, pl.lit(left))).to_series()


def _by_sorting(parts: pl.DataFrame) -> pl.Series:
    summed = parts.with_columns(weights=pl.col("weight").sum().over("whole"))
    ranked = (
        _divided(summed.with_row_index("at"))
        .with_columns(left=pl.col("size") - pl.col("share").sum().over("whole"))
        .sort("whole", "rest", "order", descending=[False, True, False], maintain_order=True)
        .with_columns(place=pl.int_range(pl.len()).over("whole"))
    )
    part = _part(pl.col("place"), pl.col("left"))
    return ranked.with_columns(part=part).sort("at").get_column("part")


def _divided(parts: pl.DataFrame) -> pl.DataFrame:
    """With each part's ``share`` in whole units, and the ``rest`` that is left of it."""
    product, weights = parts.get_column("product"), parts.get_column("weights")
    if weights.min() == weights.max():
        weights = weights.head(1)  # one divisor for all divides much faster
    divisor = weights.cast(product.dtype)
    share = product // divisor
    return parts.with_columns(share=share.cast(pl.Int64), rest=product - share * divisor)


def _part(place: pl.Expr, left: pl.Expr) -> pl.Expr:
    return (pl.col("share") + (place < left).cast(pl.Int64)) * pl.col("sign")
