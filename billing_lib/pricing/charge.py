"""A charge: the one schema of it, from the ledger's table to the canonical JSON.

    charge   quantity  price      raw_total     as numbers: integers and exact decimals
    57       3333333   40.000000  13333
    57       3.333333  40         133.33        as text, at the edge

Frames, the ledger's table ``charge``, lists and the lines of the canonical JSON have the same
names and the same types; whoever needs fewer columns selects. Text is made by :func:`as_text`
alone.
"""

from collections.abc import Collection

import polars as pl

from billing_lib.pricing.fields import DECIMAL, INSTANT, USAGE
from billing_lib.pricing.money import (
    PERCENT_PLACES,
    decimals,
    minor_places,
    money_text_column,
    plain_text_column,
)
from billing_lib.pricing.rating import PRICE

QUANTITY_PLACES = 6
"""Places of a quantity and of hours as they are billed and shown; prices are computed from the
exact ones."""

CHARGE = pl.Schema(
    {
        "charge": pl.String(),  # its code: the usage record's id, or an added line's
        "kind": pl.String(),  # usage or line
        "record": USAGE["record"],  # of the usage; null for an added line, as is occurrence
        "occurrence": USAGE["occurrence"],
        "period": pl.String(),  # the month that bills it, YYYY-MM
        "project": pl.String(),
        "team": pl.String(),
        "item": pl.String(),
        "user": pl.String(),
        "date": pl.Date(),  # the local day on which it starts
        "start": INSTANT,
        "end": INSTANT,
        "description": pl.String(),
        "unit": pl.String(),
        "hours": pl.Int64(),  # elapsed, in millionths
        "units": DECIMAL,  # the hours are multiplied by them
        "quantity": pl.Int64(),  # in millionths
        "rate": pl.String(),  # the rate's fingerprint; null for an added line
        "rate_group": pl.String(),
        "price": PRICE,  # in force, after adjustment; null where tiers have several
        "effective_rate": PRICE,  # the blended price, where the rate has after hours
        "raw_total": pl.Int64(),  # in minor units, as are the next three
        "adjustment": pl.Int64(),
        "total": pl.Int64(),
        "cost": pl.Int64(),  # to the facility, where the item states one
        "file": USAGE["file"],
        "row": USAGE["row"],
        "state": pl.String(),  # PENDING, BILLED, PAID or CANCELLED
        "reference": pl.String(),  # of the ad hoc invoice it goes to
        "original": pl.String(),  # the charge that this one bills anew, on a reissue
        "revision": pl.Int32(),  # 2 for the first such copy; null for what is no copy
        "run": pl.String(),  # while it waits locked for its invoice
        "invoice": pl.String(),  # the invoice's code
    }
)
"""Columns of a charge, in order."""

SPLIT = pl.Schema(
    {
        "charge": CHARGE["charge"],
        "position": pl.Int32(),
        "expense_code": pl.String(),
        "percent": pl.Int64(),  # in ten-thousandths of a per cent
        "amount": pl.Int64(),  # in minor units
    }
)
"""Columns of a share of a charge, in order."""

PRICED = pl.Schema(
    {
        name: dtype
        for name, dtype in CHARGE.items()
        if name not in ("period", "state", "reference", "original", "revision", "run", "invoice")
    }
)
"""Columns of a charge that pricing computes; the others say where it stands."""

MONEY = ("raw_total", "adjustment", "tax", "total", "cost", "amount", "due", "prepaid")
"""Columns of amounts, in minor units; tax, due and prepaid are an invoice's."""

_PLACES = {"hours": QUANTITY_PLACES, "quantity": QUANTITY_PLACES, "percent": PERCENT_PLACES}
_DECIMALS = ("units", "price")


def as_text(
    frame: pl.DataFrame,
    places: int | None = None,
    timezone: str = "UTC",
    only: Collection[str] | None = None,
) -> pl.DataFrame:
    """Charges, splits or sums of them with their numbers, dates and times as text.

    Numbers lose trailing zeros; an effective rate and amounts of money keep all their places.

    Parameters
    ----------
    frame
        Any of the columns of CHARGE and SPLIT, and the amounts of invoices.
    places
        Of the currency; by default each row's ``currency`` gives them.
    timezone
        Of the times.
    only
        The columns to change; all by default.
    """
    texts: dict[str, pl.Expr] = {}
    for name, dtype in frame.schema.items():
        column = pl.col(name)
        if only is not None and name not in only:
            continue
        if name in MONEY:
            texts[name] = _money(frame, name, places)
        elif name in _PLACES:
            texts[name] = _scaled(column, _PLACES[name])
        elif name in _DECIMALS:
            texts[name] = plain_text_column(column)
        elif name == "effective_rate":
            texts[name] = column.cast(pl.String)
        elif dtype == pl.Date:
            texts[name] = column.dt.to_string("%Y-%m-%d")
        elif dtype == INSTANT:
            local = column.dt.convert_time_zone(timezone)
            texts[name] = local.dt.to_string("%Y-%m-%dT%H:%M:%S%.f%:z")
    return frame.with_columns(**texts)


FORMULA = r"^[=+\-@\t\r\n']"
"""The beginning of a text that a spreadsheet takes for a formula; an apostrophe precedes it."""

_NUMBER = r"^[+-]?[0-9][0-9.,]*$"


def without_formulas(frame: pl.DataFrame, names: Collection[str] | None = None) -> pl.DataFrame:
    """The frame for CSV that people open: an apostrophe precedes each text that a spreadsheet would
    take for a formula, and each that begins with one, so that it can be taken off again.

    ``names`` are the columns to look at; by default all of text.
    """
    text = pl.selectors.string() if names is None else pl.col(names)
    risky = text.str.contains(FORMULA) & ~text.str.contains(_NUMBER)
    return frame.with_columns(pl.when(risky).then("'" + text).otherwise(text).name.keep())


def as_decimals(frame: pl.DataFrame, places: int | None = None) -> pl.DataFrame:
    """Charges, splits or sums of them with their whole numbers as decimals, to reckon with.

    Parameters
    ----------
    places
        Of the currency; by default each row's ``currency`` gives them, and a column of several
        currencies has the most places.
    """
    factor = pl.lit(1)
    if places is None:
        own = {currency: minor_places(currency) for currency in frame["currency"].unique()}
        places = max(own.values(), default=2)
        for currency, fewer in own.items():
            of_currency = pl.col("currency") == currency
            factor = pl.when(of_currency).then(10 ** (places - fewer)).otherwise(factor)
    exact = {
        name: decimals(pl.col(name) * factor, places)
        if name in MONEY
        else decimals(pl.col(name), _PLACES[name])
        for name in frame.columns
        if name in (*MONEY, *_PLACES)
    }
    return frame.with_columns(**exact)


def _scaled(column: pl.Expr, places: int) -> pl.Expr:
    """Whole numbers of 10^-places as decimal text without trailing zeros."""
    # Through a decimal: several times as fast as padding digits with zeros.
    text = decimals(column, places).cast(pl.String)
    return text.str.strip_chars_end("0").str.strip_chars_end(".")


def _money(frame: pl.DataFrame, name: str, places: int | None) -> pl.Expr:
    if places is not None:
        return money_text_column(pl.col(name), places)
    text = pl.lit(None, pl.String)
    for currency in frame["currency"].unique().sort():
        of_currency = money_text_column(pl.col(name), minor_places(currency))
        text = pl.when(pl.col("currency") == currency).then(of_currency).otherwise(text)
    return text
