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
from math import gcd
from typing import Self

import polars as pl

from billing_lib.errors import BillingError

_INT64_MAX = 2**63 - 1
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
        return cls(column.to_physical(), 10**dtype.scale).reduced()

    def reduced(self) -> Self:
        """The same values with a smaller denominator where all rows share a power of ten."""
        for power in _COMMON_POWERS:
            if self.denominator % power == 0:
                whole = (self.numerators % _literal(power, self.numerators.dtype) == 0).all()
                if whole:
                    divisor = _literal(power, self.numerators.dtype)
                    numerators = self.numerators // divisor
                    return type(self)(_narrowed(numerators), self.denominator // power).reduced()
        return type(self)(_narrowed(self.numerators), self.denominator)

    def times(self, other: "Exact") -> "Exact":
        """The product, row by row; null where either is null.

        Raises
        ------
        AmountTooLarge
            A product could pass 128 bits.
        """
        bound = _largest(self.numerators) * _largest(other.numerators)
        dtype = _dtype_for(bound)
        product = self.numerators.cast(dtype) * other.numerators.cast(dtype)
        return Exact(product, self.denominator * other.denominator)

    def rounded(self, places: int) -> pl.Series:
        """Whole numbers of 10^-places, rounded half up, half away from zero below it; Int64.

        Raises
        ------
        AmountTooLarge
            A rounded number passes 64 bits.
        """
        common = gcd(10**places, self.denominator)
        factor, divisor = 10**places // common, self.denominator // common
        dtype = _dtype_for(max(_largest(self.numerators) * factor, 2 * divisor))
        whole = _literal(divisor, dtype)
        scaled = self.numerators.cast(dtype).abs() * _literal(factor, dtype)
        half_or_more = scaled % whole * _literal(2, dtype) >= whole
        signed = (scaled // whole + half_or_more.cast(dtype)) * self.numerators.sign().cast(dtype)
        if _largest(signed) > _INT64_MAX:
            raise AmountTooLarge("an amount has more than 18 digits", remedy="check the quantities")
        return signed.cast(pl.Int64)


def _largest(column: pl.Series) -> int:
    ends = (column.min(), column.max())
    return max(abs(end) if isinstance(end, int) else 0 for end in ends)


def _dtype_for(bound: int) -> pl.DataType:
    if bound <= _INT64_MAX:
        return pl.Int64()
    if bound <= _INT128_MAX:
        return pl.Int128()
    raise AmountTooLarge("a quantity times its price is too large", remedy="check the quantities")


def _narrowed(column: pl.Series) -> pl.Series:
    fits = column.dtype == pl.Int128 and _largest(column) <= _INT64_MAX
    return column.cast(pl.Int64) if fits else column


def _literal(value: int, dtype: pl.DataType) -> pl.Series:
    return pl.Series([value], dtype=dtype)
