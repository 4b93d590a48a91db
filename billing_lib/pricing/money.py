"""Money: whole minor units inside, decimal text at the edge, never a binary float.

    12.50 USD  is  1250      (two places, by ISO 4217)
    1250 JPY   is  1250      (none)

Prices and percentages are decimals in text with at most six and four places, and 14 digits before
them. A column of quantities such as 4/3 hours is kept as integers over one denominator; columns
are multiplied exactly and rounded once, at the end:

    hours    4 800 s / 3 600        (4/3 h)
    × price     12 500 / 100 000    (0.125)
    = cents         17              (0.1666… rounded half up)

Integers have 64 bits while the products fit and 128 bits beyond; a product that does not fit into
128 bits is refused, never wrapped.
"""

from dataclasses import dataclass
from decimal import Decimal
from math import gcd, lcm
from typing import Self

import polars as pl
from iso4217 import Currency

from billing_lib.errors import BillingError

PRICE_PLACES = 6
"""Places of a price: 0.000001 of the currency's unit."""

PERCENT_PLACES = 4
"""Places of a percentage; a whole is 100.0000."""

WHOLE_DIGITS = 14
"""Digits before the point of a stated number: with any currency's places they fit 64 bits."""

WHOLE = 100 * 10**PERCENT_PLACES
"""One hundred per cent, in ten-thousandths of a per cent."""


def minor_places(currency: str) -> int:
    """The number of decimal places of a currency's amounts (ISO 4217).

    ValueError if the code is no currency, or one without minor units (gold, test codes).
    """
    try:
        places = Currency(currency).exponent
    except ValueError:
        raise ValueError(f"'{currency}' is not a currency code of ISO 4217") from None
    if places is None:
        raise ValueError(f"'{currency}' has no minor units, so nothing can be billed in it")
    return int(places)


def to_minor(amount: Decimal, places: int) -> int:
    """An amount in minor units.

    Raises
    ------
    ValueError
        The amount has more places than the currency.
    """
    if amount != round(amount, places):
        raise ValueError(f"{amount} has more than {places} decimal places")
    return int(amount.scaleb(places))


def money_text(minor: int, places: int) -> str:
    """Minor units as decimal text: 1250 → '12.50'."""
    sign = "-" if minor < 0 else ""
    digits = str(abs(minor)).rjust(places + 1, "0")
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else f"{sign}{digits}"


def money_text_column(minor: pl.Expr, places: int) -> pl.Expr:
    """A column of minor units (Int64) as decimal text, under the same name."""
    if places == 0:
        return minor.cast(pl.String)
    digits = minor.abs().cast(pl.String).str.pad_start(places + 1, "0")
    sign = pl.when(minor < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    text = pl.concat_str(sign, digits.str.head(-places), pl.lit("."), digits.str.tail(places))
    return text.alias(minor.meta.output_name())


def decimals(whole: pl.Expr, places: int) -> pl.Expr:
    """Whole numbers of 10^-places as decimals."""
    # The factor from text: polars imports numpy to look at a decimal of Python.
    factor = f"{Decimal(1).scaleb(-places):f}"
    return whole.cast(pl.Decimal(38, 0)) * pl.lit(factor).cast(pl.Decimal(38, places))


def plain_text(value: Decimal) -> str:
    """A decimal without exponent and trailing zeros: 3.500 → '3.5'."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def plain_text_column(value: pl.Expr) -> pl.Expr:
    """A Decimal column as text without trailing zeros."""
    text = value.cast(pl.String)
    return (
        pl.when(text.str.contains(".", literal=True))
        .then(text.str.strip_chars_end("0").str.strip_chars_end("."))
        .otherwise(text)
    )


INT64_MAX = 2**63 - 1
"""The largest number of 64 bits."""
_INT128_MAX = 2**127 - 1
_COMMON_POWERS = (10**9, 10**6, 10**3)
_CHUNK = 10**15


class AmountTooLarge(BillingError):
    """An amount has too many digits to be computed exactly in 128 bits."""


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
        """The values at these positions."""
        return type(self)(self.numerators[positions], self.denominator)

    def reduced(self) -> Self:
        """The same values with a smaller denominator if all rows share a power of ten."""
        numerators, denominator = _narrowed(self.numerators), self.denominator
        for power in _COMMON_POWERS:
            divisor = _literal(power, numerators.dtype)
            while denominator % power == 0 and (numerators % divisor == 0).all():
                numerators, denominator = _narrowed(numerators // divisor), denominator // power
        return type(self)(numerators, denominator)

    def times(self, other: "Exact") -> "Exact":
        """The product, row by row; null where either is null."""
        mine, others = largest_of(self.numerators), largest_of(other.numerators)
        dtype = _dtype_for(max(mine * others, mine, others))
        product = self.numerators.cast(dtype) * other.numerators.cast(dtype)
        return Exact(product, self.denominator * other.denominator)

    def over(self, denominator: int) -> "Exact":
        """The same values over a multiple of the present denominator."""
        factor = denominator // self.denominator
        dtype = _dtype_for(max(largest_of(self.numerators), 1) * factor)
        return Exact(self.numerators.cast(dtype) * _literal(factor, dtype), denominator)

    def plus(self, other: "Exact") -> "Exact":
        """The sum, row by row; null where either is null."""
        denominator = lcm(self.denominator, other.denominator)
        mine, others = self.over(denominator), other.over(denominator)
        dtype = _dtype_for(largest_of(mine.numerators) + largest_of(others.numerators))
        return Exact(mine.numerators.cast(dtype) + others.numerators.cast(dtype), denominator)

    def times_ratio(self, above: pl.Series, below: pl.Series, scale: int, places: int) -> pl.Series:
        """Times ``above / (below × scale)``, in whole numbers of 10^-places, rounded half up.

        Each row has its own denominator, so this is long division, the quotient first and then
        the remainder, which keeps the products small.

        Parameters
        ----------
        above, below
            Whole numbers, not negative; ``below`` above zero.
        """
        common = gcd(10**places, self.denominator * scale)
        factor, divisor = 10**places // common, self.denominator * scale // common
        size, longest = largest_of(self.numerators) * factor, largest_of(below)
        quotients = size * (largest_of(above // below) + 1) + size
        chunk = _CHUNK if size * longest > _INT128_MAX else size + 1
        products = max(size // chunk * longest, 2 * min(chunk, size) * longest)
        dtype = _dtype_for(max(quotients, products, 2 * longest, 2 * divisor, largest_of(above)))
        wide = above.cast(dtype)
        length = below.cast(dtype)
        number = self.numerators.cast(dtype) * _literal(factor, dtype)
        whole, part = number * (wide // length), wide % length
        if chunk <= size:  # number × part does not fit: first the number's upper digits
            upper = number // _literal(chunk, dtype) * part
            whole += upper // length * _literal(chunk, dtype)
            rest = upper % length * _literal(chunk, dtype) + number % _literal(chunk, dtype) * part
        else:
            rest = number * part
        whole += rest // length
        return _half_up(whole, rest % length * _literal(2, dtype) // length, divisor, dtype)

    def rounded(self, places: int) -> pl.Series:
        """Whole numbers of 10^-places, rounded half up, half away from zero below it; Int64."""
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
