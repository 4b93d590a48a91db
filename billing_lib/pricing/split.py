"""Splitting money so that the parts make the whole: the largest remainder method.

Each part gets the whole minor units of its exact share; what is left over goes, one unit each,
to the largest remainders, ties to the first listed. Negative amounts share like positive ones.

    1.01 over 50/50          →  0.51, 0.50
    0.02 over 33.3333 × 3    →  0.01, 0.00, 0.01
"""

import polars as pl

from billing_lib.pricing.exact import INT64_MAX, Exact, largest_of


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
    if parts.height == 0:
        return pl.Series([], dtype=pl.Int64)
    if not _in_order(parts, whole, order):
        numbered = parts.with_row_index("_row").sort(whole, order)
        in_order = apportion(numbered, whole, amount, weight, order)
        return numbered.select("_row", part=in_order).sort("_row")["part"]
    run = parts[whole].rle_id().cast(pl.Int64)
    lengths = run.rle().struct.field("len").cast(pl.Int64)
    ends = lengths.cum_sum()
    first = (ends - lengths).gather(run)
    size = parts[amount].abs()
    product = Exact(size, 1).times(Exact(parts[weight], 1)).numerators
    weights = _sums(parts[weight], ends).gather(run).cast(product.dtype)
    share, rest = (product // weights).cast(pl.Int64), product % weights
    left = size - _sums(share, ends).gather(run)
    ranked = _ranked(run, rest)
    # A whole's rows take the same places before and after ranking, so what is left over goes to
    # as many of its first places.
    gets = (pl.int_range(parts.height, eager=True) - first < left).cast(pl.Int64)
    more = pl.zeros(parts.height, dtype=pl.Int64, eager=True).scatter(ranked, gets)
    return (share + more) * parts[amount].sign()


def _in_order(parts: pl.DataFrame, whole: str, order: str) -> bool:
    same = pl.col(whole) == pl.col(whole).shift(1)
    rising = pl.when(same).then(pl.col(order) > pl.col(order).shift(1))
    kept = rising.otherwise(pl.col(whole) > pl.col(whole).shift(1))
    return bool(parts.select(kept.fill_null(value=True).all()).item())


def _sums(values: pl.Series, ends: pl.Series) -> pl.Series:
    """The sum of each run of rows, by where the runs end."""
    until = values.cum_sum().gather(ends - 1)
    return until - until.shift(1, fill_value=0)


def _ranked(run: pl.Series, rest: pl.Series) -> pl.Series:
    """The rows in order of their run and, within it, of their remainder, the largest first."""
    largest = largest_of(rest) + 1
    if run.len() * largest > INT64_MAX:
        frame = pl.DataFrame({"run": run, "rest": rest})
        by = pl.arg_sort_by("run", "rest", descending=[False, True], maintain_order=True)
        return frame.select(by).to_series()
    key = run * largest + (largest - 1 - rest.cast(pl.Int64))
    return key.to_frame("key").select(pl.arg_sort_by("key", maintain_order=True)).to_series()
