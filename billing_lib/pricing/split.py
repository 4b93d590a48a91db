"""Splitting money so that the parts make the whole: the largest remainder method.

Each part gets the whole minor units of its exact share; what is left over goes, one unit each,
to the largest remainders, ties to the first listed. Negative amounts share like positive ones.

    1.01 over 50/50          →  0.51, 0.50
    0.02 over 33.3333 × 3    →  0.01, 0.00, 0.01
"""

import polars as pl

from billing_lib.pricing.exact import Exact, largest_of

_FEW = 8
"""Parts up to which each is compared with each, which is faster than sorting them."""


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
    run = parts[whole].rle_id()
    lengths = run.rle().struct.field("len")
    last = lengths.cum_sum() - 1
    wholes = _sums(parts[weight], last.cast(pl.Int64))
    return share_out(parts[amount].gather(last), wholes, lengths, run, parts[weight])


def share_out(
    amounts: pl.Series, wholes: pl.Series, lengths: pl.Series, at: pl.Series, weights: pl.Series
) -> pl.Series:
    """The parts of amounts whose parts stand one after another.

    Parameters
    ----------
    amounts, wholes, lengths
        For each whole its amount (Int64, minor units), the sum of its weights, and how many
        parts it has.
    at, weights
        For each part the number of its whole, from 0 and rising, and its weight.
    """
    last = lengths.cast(pl.Int64).cum_sum() - 1
    size = amounts.abs()
    product = Exact(size, 1).at(at).times(Exact(weights, 1)).numerators
    # Percentages make 100 everywhere, and dividing by one number is several times as fast.
    same = wholes.min() == wholes.max()
    divisor = (wholes.head(1) if same else wholes.gather(at)).cast(product.dtype)
    share = product // divisor
    rest = product - share * divisor
    share = share.cast(pl.Int64)
    left = size - _sums(share, last)
    gets = _before(at, rest, lengths) < left.gather(at)
    signs = amounts.sign()
    parts = share + gets.cast(pl.Int64)
    return parts if (signs >= 0).all() else parts * signs.gather(at)


def _in_order(parts: pl.DataFrame, whole: str, order: str) -> bool:
    same = pl.col(whole) == pl.col(whole).shift(1)
    rising = pl.when(same).then(pl.col(order) > pl.col(order).shift(1))
    kept = rising.otherwise(pl.col(whole) > pl.col(whole).shift(1))
    return bool(parts.select(kept.fill_null(value=True).all()).item())


def _sums(values: pl.Series, last: pl.Series) -> pl.Series:
    """The sum of each run of rows, by the last row of each."""
    until = values.cum_sum().gather(last)
    return until - until.shift(1, fill_value=0)


def _before(at: pl.Series, rest: pl.Series, lengths: pl.Series) -> pl.Series:
    """How many parts of its whole go before each: of a larger remainder, or listed earlier."""
    longest = largest_of(lengths)
    if longest > _FEW:
        return _ranks(at, rest, lengths)
    before = pl.zeros(at.len(), dtype=pl.Int8, eager=True)
    for apart in range(1, longest):
        # Number ``lengths.len()`` is no whole, so nothing goes before at the ends.
        earlier = at.shift(apart, fill_value=lengths.len()) == at
        later = at.shift(-apart, fill_value=lengths.len()) == at
        above = earlier & (rest.shift(apart, fill_value=0) >= rest)
        below = later & (rest.shift(-apart, fill_value=0) > rest)
        before = before + above.cast(pl.Int8) + below.cast(pl.Int8)
    return before.cast(pl.Int64)


def _ranks(at: pl.Series, rest: pl.Series, lengths: pl.Series) -> pl.Series:
    """The same by sorting, where some whole has many parts."""
    parts = pl.DataFrame({"at": at, "rest": rest})
    order = parts.select(
        pl.arg_sort_by("at", "rest", descending=[False, True], maintain_order=True)
    ).to_series()
    # A whole's rows take the same places before and after sorting.
    first = (lengths.cast(pl.Int64).cum_sum() - lengths).gather(at)
    places = pl.int_range(at.len(), eager=True) - first
    return pl.zeros(at.len(), dtype=pl.Int64, eager=True).scatter(order, places)
