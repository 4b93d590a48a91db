"""Splitting money so that the parts make the whole: the largest remainder method.

Each part gets the whole minor units of its exact share; the units left over go, one each, to the
largest remainders, ties to the first listed. Negative amounts share like positive ones.

    1.01 over 50/50          →  0.51, 0.50
    0.02 over 33.3333 × 3    →  0.01, 0.00, 0.01
"""

import polars as pl

from billing_lib.pricing.money import Exact, largest_of

_FEW = 8
"""The number of parts up to which comparing each with each is faster than sorting."""


class Plans:
    """Splits that many amounts follow.

    Parameters
    ----------
    plans
        A row per plan; each column a list with an entry per share, of which there is one or more.
    weight
        The column of the shares' weights (List(Int64), not negative, with a positive sum).
    """

    def __init__(self, plans: pl.DataFrame, weight: str) -> None:
        self._shares = plans.explode(plans.columns)
        self._weights = self._shares[weight]
        self._wholes = plans[weight].list.sum()
        self._lengths = plans[weight].list.len()
        places = pl.int_ranges(self._lengths, dtype=pl.UInt32, eager=True)
        self._places = places.explode()
        self._numbers = places + (self._lengths.cum_sum() - self._lengths)
        longest = largest_of(self._lengths)
        self._weights_by_place = [
            plans[weight].list.get(place, null_on_oob=True).fill_null(0)
            for place in range(longest if longest <= _FEW else 0)
        ]

    def share_out(self, amounts: pl.Series, plan: pl.Series) -> pl.DataFrame:
        """The parts of amounts (Int64 minor units), each by the plan of its number from 0.

        A row per part, an amount's one after another: ``at``, the number of the amount; the
        plan's columns of the share; ``amount``, Int64 minor units.
        """
        numbers = pl.int_range(amounts.len(), dtype=pl.UInt32, eager=True)
        parts = pl.DataFrame({"at": numbers, "share": self._numbers[plan]}).explode("share")
        at, share, lengths = parts["at"], parts["share"], self._lengths[plan]
        if self._weights_by_place:
            # An amount with one part is that part; the parts of the others follow by place.
            several = lengths > 1
            shared = self._parts_by_place(amounts.filter(several), plan.filter(several))
            earlier = several.cum_sum() - several.cast(pl.UInt32)
            begins = (earlier + amounts.len()).zip_with(several, numbers)
            steps = self._places[share] * several.sum()
            part = pl.concat([amounts, *shared])[begins[at] + steps]
        else:
            part = _parts(amounts, self._wholes[plan], lengths, at, self._weights[share])
        shares = {column.name: column[share] for column in self._shares}
        return pl.DataFrame({"at": at, **shares, "amount": part})

    def _parts_by_place(self, amounts: pl.Series, plan: pl.Series) -> list[pl.Series]:
        """The first parts of all amounts, their second parts, and so on; 0 where there is none.

        With a column per place, an amount and its parts are in the same row, without look-ups.
        """
        size, signs = amounts.abs(), amounts.sign()
        wholes = _one_or_all(self._wholes, plan)
        divided = [_divided(size, weights[plan], wholes) for weights in self._weights_by_place]
        left = size
        for share, _ in divided:
            left = left - share
        before = _before_each([rest for _, rest in divided])
        parts = [
            share + (earlier < left).cast(pl.Int64)
            for (share, _), earlier in zip(divided, before, strict=True)
        ]
        return parts if (signs >= 0).all() else [part * signs for part in parts]


def apportion(parts: pl.DataFrame, whole: str, amount: str, weight: str, order: str) -> pl.Series:
    """The part of an amount for each row, Int64 minor units, which sum to the amount per whole.

    Parameters
    ----------
    parts
        One row per part, with the columns named by the other parameters.
    whole
        The amount to which a part belongs.
    amount
        The amount to share, the same on all parts of a whole (Int64, minor units).
    weight
        The part's weight (Int64, not negative, with a positive sum per whole).
    order
        Ties go to the smallest.
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
    return _parts(parts[amount][last], wholes, lengths, run, parts[weight])


def _parts(
    amounts: pl.Series, wholes: pl.Series, lengths: pl.Series, at: pl.Series, weights: pl.Series
) -> pl.Series:
    """The parts of amounts, one after another.

    Parameters
    ----------
    amounts, wholes, lengths
        For each whole its amount (Int64, minor units), the sum of its weights, and its number
        of parts.
    at, weights
        For each part the number of its whole, from 0 and rising, and its weight.
    """
    last = lengths.cast(pl.Int64).cum_sum() - 1
    size = amounts.abs()
    share, rest = _divided(size[at], weights, _one_or_all(wholes, at))
    left = size - _sums(share, last)
    parts = share + (_ranks(at, rest, lengths) < left[at]).cast(pl.Int64)
    signs = amounts.sign()
    return parts if (signs >= 0).all() else parts * signs[at]


def _one_or_all(wholes: pl.Series, at: pl.Series) -> pl.Series:
    # Percentages always make 100, and dividing by one number is several times as fast.
    return wholes.head(1) if wholes.n_unique() == 1 else wholes[at]


def _divided(size: pl.Series, weights: pl.Series, wholes: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Amounts × weights ÷ wholes, and the remainders."""
    product = Exact(size, 1).times(Exact(weights, 1)).numerators
    divisor = wholes.cast(product.dtype)
    share = product // divisor
    return share.cast(pl.Int64), product - share * divisor


def _before_each(rests: list[pl.Series]) -> list[pl.Series]:
    """For each place the number of places before it: larger remainders, or equal ones earlier."""
    before = [pl.Series([0], dtype=pl.Int8)] * len(rests)
    for later, rest in enumerate(rests):
        for earlier in range(later):
            first = rests[earlier] >= rest
            before[later] = before[later] + first.cast(pl.Int8)
            before[earlier] = before[earlier] + (~first).cast(pl.Int8)
    return before


def _in_order(parts: pl.DataFrame, whole: str, order: str) -> bool:
    same = pl.col(whole) == pl.col(whole).shift(1)
    rising = pl.when(same).then(pl.col(order) > pl.col(order).shift(1))
    kept = rising.otherwise(pl.col(whole) > pl.col(whole).shift(1))
    return bool(parts.select(kept.fill_null(value=True).all()).item())


def _sums(values: pl.Series, last: pl.Series) -> pl.Series:
    """The sum of each run of rows, by the last row of each."""
    until = values.cum_sum()[last]
    return until - until.shift(1, fill_value=0)


def _ranks(at: pl.Series, rest: pl.Series, lengths: pl.Series) -> pl.Series:
    """For each part the number of parts of its whole before it, by sorting them."""
    parts = pl.DataFrame({"at": at, "rest": rest})
    order = parts.select(
        pl.arg_sort_by("at", "rest", descending=[False, True], maintain_order=True)
    ).to_series()
    # A whole's rows take the same places before and after sorting.
    first = (lengths.cast(pl.Int64).cum_sum() - lengths)[at]
    places = pl.int_range(at.len(), eager=True) - first
    return pl.zeros(at.len(), dtype=pl.Int64, eager=True).scatter(order, places)
