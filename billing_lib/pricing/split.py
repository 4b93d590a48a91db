"""Splitting money so that the parts make the whole: the largest remainder method.

Each part gets the whole minor units of its exact share; what is left over goes, one unit each,
to the largest remainders, ties to the first listed. Negative amounts share like positive ones.

    1.01 over 50/50          →  0.51, 0.50
    0.02 over 33.3333 × 3    →  0.01, 0.00, 0.01
"""

import polars as pl

from billing_lib.pricing.exact import Exact


def apportion(parts: pl.DataFrame, whole: str, amount: str, weight: str, order: str) -> pl.Series:
    """The part of an amount that falls to each row.

    Parameters
    ----------
    parts
        One row per part.
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
        size=pl.col(amount).abs(),
        sign=pl.col(amount).sign(),
        order=order,
        product=product,
        weights=pl.col(weight).sum().over(whole),
    ).with_row_index("at")
    dtype = product.dtype
    weights = pl.col("weights").cast(dtype)
    floored = working.with_columns(
        share=(pl.col("product") // weights).cast(pl.Int64), rest=pl.col("product") % weights
    ).with_columns(left=pl.col("size") - pl.col("share").sum().over("whole"))
    ranked = floored.sort(
        "whole", "rest", "order", descending=[False, True, False], maintain_order=True
    ).with_columns(place=pl.int_range(pl.len()).over("whole"))
    return (
        ranked.with_columns(
            part=(pl.col("share") + (pl.col("place") < pl.col("left")).cast(pl.Int64))
            * pl.col("sign")
        )
        .sort("at")
        .get_column("part")
    )
