"""Quantities as they stand in files, into exact decimals with nine places.

    12  0.25  +1.5  1.500000000000   read as they stand; zeros at the end do not count
    1,5  1.234,00  1e3  twelve       not read: a separator might be a decimal comma or thousands
    0.1234567891                     not read: more than nine decimals, and none is invented
    -3                               read, and in trouble: usage is never negative

A binary float of a spreadsheet or a Parquet file is taken as the shortest decimal that reads
back as the same float, which is what the person typed: 0.1 is 0.1, not 0.1000000000000000055.
"""

from decimal import Decimal

import polars as pl

from billing_lib.pricing.usage import DECIMAL

_NUMBER = r"^[+-]?(?:\d+(?:\.\d*)?|\.\d+)$"
_DECIMALS = r"\.\d{9}\d*[1-9]"
_HOW_TO_WRITE = "write it like 12 or 0.25"


def read_quantities(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Read a column of numbers, texts or typed.

    Returns DECIMAL, null where empty or not readable, and String: what is wrong with the value.
    """
    texts = _texts(column)
    frame = pl.DataFrame({"text": texts})
    number = pl.col("text").str.contains(_NUMBER)
    fine = pl.col("text").str.contains(_DECIMALS)
    value = pl.when(number & ~fine).then("text").str.strip_prefix("+").cast(DECIMAL, strict=False)
    frame = frame.with_columns(value=value)
    given = pl.col("text").is_not_null()
    wrong = given & (pl.col("value").is_null() | (pl.col("value") < 0))
    if not frame.select(wrong.any()).item():
        return frame["value"], pl.repeat(None, frame.height, dtype=pl.String, eager=True)
    what = (
        pl.when(pl.col("value") < 0)
        .then(pl.lit("is negative; usage is zero or more"))
        .when(number & fine)
        .then(pl.lit("has more than nine decimals; round it in the file"))
        .when(number)
        .then(pl.lit("is too large to be counted"))
        .otherwise(pl.lit(f"is not a number; {_HOW_TO_WRITE}"))
    )
    trouble = pl.when(wrong).then(pl.format("'{}' {}", "text", what))
    read = frame.select("value", trouble=trouble)
    return read["value"], read["trouble"]


def plain(text: str) -> str:
    """A float's shortest text without an exponent: ``1e-07`` is ``0.0000001``."""
    return f"{Decimal(text):f}" if "e" in text.lower() and text.lower() != "nan" else text


def _texts(column: pl.Series) -> pl.Series:
    texts = column.cast(pl.String)
    if column.dtype.is_float():
        exponents = texts.str.contains("e", literal=True).fill_null(value=False)
        if exponents.any():
            places = exponents.arg_true()
            spelled = texts.filter(exponents).map_elements(plain, return_dtype=pl.String)
            texts = texts.scatter(places, spelled)
    return texts
