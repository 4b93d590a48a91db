"""Money: whole minor units inside, decimal text at the edge, never a binary float.

    12.50 USD  is  1250      (two places)
    1250 JPY   is  1250      (none)

The places are those of ISO 4217 (table one, as packaged by the ``iso4217`` library). Prices and
percentages are decimals in text with at most six and four places, and 14 digits before them.
"""

from decimal import Decimal

import polars as pl
from iso4217 import Currency

PRICE_PLACES = 6
"""Places of a price: 0.000001 of the currency's unit."""

PERCENT_PLACES = 4
"""Places of a percentage; a whole is 100.0000."""

WHOLE_DIGITS = 14
"""Digits before the point of a stated number: with any currency's places they fit 64 bits."""

WHOLE = 100 * 10**PERCENT_PLACES
"""One hundred per cent, in ten-thousandths of a per cent."""


def minor_places(currency: str) -> int:
    """How many decimal places a currency's amounts have (ISO 4217).

    Raises
    ------
    ValueError
        The code is no ISO 4217 currency, or one without minor units (gold, test codes).
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
