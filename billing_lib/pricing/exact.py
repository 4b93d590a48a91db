"""Exact columns: whole numbers over one denominator, so no price passes through a float.

An hour and twenty minutes is 4/3 hours. A column of such quantities is kept as integers over a
denominator that all rows share; columns are multiplied exactly and rounded once, at the end.

    hours    4 800 s / 3 600        (4/3 h)
    × price     12 500 / 100 000    (0.125)
    = cents         17              (0.1666… rounded half up)

Integers are 64 bits wide while the products fit and 128 bits beyond; a product that would not
fit into 128 bits is refused, never wrapped.
"""

from dataclasses import dataclass
from math import gcd, lcm
from typing import Self

import polars as pl

from billing_lib.errors import BillingError

INT64_MAX = 2**63 - 1
"""What 64 bits hold."""
_INT128_MAX = 2**127 - 1
_COMMON_POWERS = (10**9, 10**6, 10**3)


class AmountTooLarge(BillingError):
    """A quantity times a price passes what 128 bits can hold exactly."""


@dataclass(frozen=True)
class Exact:
    """A column of exact rational numbers.

    Parameters
    ----------
    numerators
        Int64 or Int128; nulls stay null.
    denominator
        Positive, shared by all rows.
    """

    numerators: pl.Series
    denominator: int

    @classmethod
    def of_decimals(cls, column: pl.Series) -> Self:
        """The values of a polars Decimal column, exactly."""
        dtype = column.dtype
        if not isinstance(dtype, pl.Decimal):
            raise TypeError(f"expected a Decimal column, got {dtype}")
        if column.null_count() == column.len():
            return cls(column.cast(pl.Int64), 1)
        return cls(column.to_physical(), 10**dtype.scale).reduced()

    def at(self, positions: pl.Series) -> Self:
        """The values that stand at these positions."""
        return type(self)(self.numerators[positions], self.denominator)

    def reduced(self) -> Self:
        """The same values with a smaller denominator where all rows share a power of ten."""
        numerators, denominator = _narrowed(self.numerators), self.denominator
        for power in _COMMON_POWERS:
            divisor = _literal(power, numerators.dtype)
            while denominator % power == 0 and (numerators % divisor == 0).all():
                numerators, denominator = _narrowed(numerators // divisor), denominator // power
        return type(self)(numerators, denominator)

    def times(self, other: "Exact") -> "Exact":
        """The product, row by row; null where either is null.

        Raises
        ------
        AmountTooLarge
            A product could pass 128 bits.
        """
        mine, others = largest_of(self.numerators), largest_of(other.numerators)
        dtype = _dtype_for(max(mine * others, mine, others))
        product = self.numerators.cast(dtype) * other.numerators.cast(dtype)
        return Exact(product, self.denominator * other.denominator)

    def over(self, denominator: int) -> "Exact":
        """The same values over a denominator that the present one divides into.

        Raises
        ------
        AmountTooLarge
            A numerator could pass 128 bits.
        """
        factor = denominator // self.denominator
        dtype = _dtype_for(max(largest_of(self.numerators), 1) * factor)
        return Exact(self.numerators.cast(dtype) * _literal(factor, dtype), denominator)

    def plus(self, other: "Exact") -> "Exact":
        """The sum, row by row; null where either is null.

        Raises
        ------
        AmountTooLarge
            A sum could pass 128 bits.
        """
        denominator = lcm(self.denominator, other.denominator)
        mine, others = self.over(denominator), other.over(denominator)
        dtype = _dtype_for(largest_of(mine.numerators) + largest_of(others.numerators))
        return Exact(mine.numerators.cast(dtype) + others.numerators.cast(dtype), denominator)

    def times_ratio(self, above: pl.Series, below: pl.Series, scale: int, places: int) -> pl.Series:
        """Times ``above / (below × scale)``, in whole numbers of 10^-places, rounded half up.

        Each row has its own denominator, so this is long division: the whole quotient first,
        then what its remainder adds, so that no product is larger than it must be.

        Parameters
        ----------
        above, below
            Whole numbers, not negative; ``below`` above zero.
        """
        common = gcd(10**places, self.denominator * scale)
        factor, divisor = 10**places // common, self.denominator * scale // common
        size, longest = largest_of(self.numerators) * factor, largest_of(below)
        quotients = size * (largest_of(above // below) + 1) + size
        bound = max(quotients, size * longest, 2 * longest, 2 * divisor, largest_of(above))
        dtype = _dtype_for(bound)
        wide = above.cast(dtype)
        length = below.cast(dtype)
        number = self.numerators.cast(dtype) * _literal(factor, dtype)
        rest = number * (wide % length)
        whole = number * (wide // length) + rest // length
        return _half_up(whole, rest % length * _literal(2, dtype) // length, divisor, dtype)

    def rounded(self, places: int) -> pl.Series:
        """Whole numbers of 10^-places, rounded half up, half away from zero below it; Int64.

        Raises
        ------
        AmountTooLarge
            A rounded number passes 64 bits.
        """
        common = gcd(10**places, self.denominator)
        factor, divisor = 10**places // common, self.denominator // common
        size = largest_of(self.numerators) * factor
        dtype = _dtype_for(max(size + divisor // 2, divisor))
        if (size + divisor // 2) // divisor > INT64_MAX:
            raise _too_many_digits()
        scaled = self.numerators.cast(dtype) * _literal(factor, dtype)
        half, by = _literal(divisor // 2, dtype), _literal(divisor, dtype)
        least = self.numerators.min()
        if not isinstance(least, int) or least >= 0:
            return ((scaled + half) // by).cast(pl.Int64)
        sizes = ((scaled.abs() + half) // by).cast(pl.Int64)
        return sizes * self.numerators.sign().cast(pl.Int64)


def largest_of(column: pl.Series) -> int:
    """The largest magnitude in a column of whole numbers; 0 where it holds none."""
    ends = [end for end in (column.min(), column.max()) if isinstance(end, int)]
    return max((abs(end) for end in ends), default=0)


def _dtype_for(bound: int) -> pl.DataType:
    if bound <= INT64_MAX:
        return pl.Int64()
    if bound <= _INT128_MAX:
        return pl.Int128()
    raise AmountTooLarge("a quantity times its price is too large", remedy="check the quantities")


def _narrowed(column: pl.Series) -> pl.Series:
    fits = column.dtype == pl.Int128 and largest_of(column) <= INT64_MAX
    return column.cast(pl.Int64) if fits else column


def _half_up(whole: pl.Series, halves: pl.Series, divisor: int, dtype: pl.DataType) -> pl.Series:
    """``(whole + halves / 2) / divisor`` rounded, a half up; ``halves`` is 0 or 1, rounded down."""
    by = _literal(divisor, dtype)
    half_or_more = whole % by * _literal(2, dtype) + halves >= by
    rounded = whole // by + half_or_more.cast(dtype)
    if largest_of(rounded) > INT64_MAX:
        raise _too_many_digits()
    return rounded.cast(pl.Int64)


def _too_many_digits() -> AmountTooLarge:
    return AmountTooLarge("an amount has more than 18 digits", remedy="check the quantities")


def _literal(value: int, dtype: pl.DataType) -> pl.Series:
    return pl.Series([value], dtype=dtype)
