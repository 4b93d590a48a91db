"""Adjustments: what staff change on a charge before it is issued.

Each is an event with who, when and why; in the order given, a later one of the same field
wins. ``quantity`` and ``rate`` price the charge anew, ``amount`` sets its total, ``split`` and
``expense_code`` replace the project's split, ``project`` moves the charge to another project and
its rate group; ``waived`` leaves the charge on the invoice at
nothing, ``note`` is a text beside it. An added line is a charge without usage.

    charge  field     value  before  by     at                    reason
    s2      quantity  10     12      carol  2020-05-01T13:00:00Z  two were broken
"""

from decimal import Decimal

import polars as pl
from pydantic import TypeAdapter, ValidationError

from billing_lib.errors import InvalidAdjustment
from billing_lib.pricing.charge import SPLIT
from billing_lib.pricing.fields import DECIMAL, Amount, Code, Price, Quantity, canonical_json
from billing_lib.pricing.money import PERCENT_PLACES, plain_text, to_minor
from billing_lib.pricing.pricebook import Share, check_split
from billing_lib.pricing.rating import PRICE

FIELDS = ("quantity", "rate", "amount", "split", "expense_code", "project", "waived", "note")
"""What can be set on a charge."""

LINE_FIELDS = ("amount", "split", "expense_code", "project", "waived", "note")
"""What can be set on an added line, which has no quantity and no rate."""

YES, NO = "yes", "no"
"""What ``waived`` can be."""

ADJUSTMENTS = pl.Schema(
    {
        "order": pl.Int64(),  # later wins
        "charge": pl.String(),
        "field": pl.String(),
        "value": pl.String(),  # canonical text; a split as canonical JSON
        "before": pl.String(),
        "by": pl.String(),
        "at": pl.String(),  # ISO 8601 with offset
        "reason": pl.String(),
    }
)
LINES = pl.Schema(
    {
        "charge": pl.String(),
        "project": pl.String(),
        "date": pl.Date(),
        "description": pl.String(),
        "amount": pl.Int64(),  # minor units
        "expense_code": pl.String(),  # null: the project's split
        "by": pl.String(),
        "at": pl.String(),
        "reason": pl.String(),
    }
)
SHARES = pl.Schema({name: dtype for name, dtype in SPLIT.items() if name != "amount"})

_QUANTITY_PLACES = DECIMAL.scale
_VALUES = pl.Schema(
    {
        "charge": pl.String(),
        "set_quantity": DECIMAL,
        "set_price": PRICE,
        "set_amount": pl.Int64(),
    }
)


def adjustment_value(field: str, value: object, places: int) -> str:
    """The canonical text of an adjustment's value.

    Parameters
    ----------
    field
        One of FIELDS.
    value
        Text; for ``split`` a list of ``{expense_code, percent}`` or its short form
        ``370-1=60,370-2=40``.
    places
        Of the facility's currency.

    Raises
    ------
    InvalidAdjustment
        The field cannot be set, or not to this.
    """
    if field not in FIELDS:
        raise InvalidAdjustment(
            f"a charge has no field '{field}' to set", remedy=f"set one of {', '.join(FIELDS)}"
        )
    try:
        return _canonical(field, value, places)
    except (ValidationError, ValueError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InvalidAdjustment(what.removeprefix("Value error, "), where=field) from None


def _canonical(field: str, value: object, places: int) -> str:
    match field:
        case "quantity":
            quantity = TypeAdapter[Decimal](Quantity).validate_python(value)
            if quantity < 0:
                raise ValueError(f"the quantity '{value}' is negative")
            return plain_text(quantity)
        case "rate":
            return plain_text(TypeAdapter[Decimal](Price).validate_python(value))
        case "amount":
            amount = TypeAdapter[Decimal](Amount).validate_python(value)
            to_minor(amount, places)
            return f"{amount:.{places}f}"
        case "expense_code" | "project":
            return TypeAdapter[str](Code).validate_python(value)
        case "waived":
            if value not in (YES, NO):
                raise ValueError(f"'{value}' is neither yes nor no")
            return str(value)
        case "note":
            return str(value).strip()
        case _:
            return split_value(value)


def split_value(value: object) -> str:
    """A split as canonical JSON.

    Raises
    ------
    ValueError
        It is no split, or does not make 100.
    """
    if isinstance(value, str):
        pairs = (part.partition("=") for part in value.split(","))
        value = [{"expense_code": code.strip(), "percent": p.strip()} for code, _, p in pairs]
    shares = TypeAdapter(tuple[Share, ...]).validate_python(value)
    check_split(shares)
    return canonical_json(
        [
            {"expense_code": share.expense_code, "percent": plain_text(share.percent)}
            for share in shares
        ]
    )


def last_values(adjustments: pl.DataFrame, places: int) -> pl.DataFrame:
    """One row per adjusted charge: ``charge``, ``set_quantity``, ``set_price``, ``set_amount``.

    Null where a field was not set; the amount in minor units.
    """
    if adjustments.height == 0:
        return _VALUES.to_frame()
    last = (
        adjustments.sort("order", maintain_order=True)
        .group_by("charge", "field")
        .agg(pl.col("value").last())
    )

    def only(field: str, name: str) -> pl.DataFrame:
        return last.filter(pl.col("field") == field).select("charge", pl.col("value").alias(name))

    amount = pl.col("set_amount").str.replace_all(".", "", literal=True).cast(pl.Int64)
    return (
        last.select("charge")
        .unique(maintain_order=True)
        .join(only("quantity", "set_quantity"), on="charge", how="left")
        .join(only("rate", "set_price"), on="charge", how="left")
        .join(only("amount", "set_amount"), on="charge", how="left")
        .with_columns(
            pl.col("set_quantity").str.to_decimal(scale=_QUANTITY_PLACES).cast(DECIMAL),
            pl.col("set_price").str.to_decimal(scale=PRICE.scale).cast(PRICE),
            amount,
        )
    )


def moved(frame: pl.DataFrame, adjustments: pl.DataFrame, key: str) -> pl.DataFrame:
    """Usage or added lines with the project that staff moved each to, before it is rated.

    Parameters
    ----------
    key
        The column that names the charge.
    """
    last = (
        adjustments.filter(pl.col("field") == "project")
        .sort("order", maintain_order=True)
        .group_by(pl.col("charge").alias(key), maintain_order=True)
        .agg(pl.col("value").last().alias("project"))
    )
    return frame.update(last, on=key)


def waived_charges(adjustments: pl.DataFrame) -> pl.Series:
    """The charges that are waived: those whose last word on it is yes."""
    if adjustments.height == 0:
        return adjustments["charge"]
    last = (
        adjustments.filter(pl.col("field") == "waived")
        .sort("order", maintain_order=True)
        .group_by("charge", maintain_order=True)
        .agg(pl.col("value").last())
    )
    return last.filter(pl.col("value") == YES)["charge"]


def notes_of(adjustments: pl.DataFrame) -> pl.DataFrame:
    """The last note of each charge that has one: ``charge``, ``note``."""
    last = (
        adjustments.filter(pl.col("field") == "note")
        .sort("order", maintain_order=True)
        .group_by("charge", maintain_order=True)
        .agg(pl.col("value").last().alias("note"))
    )
    return last.filter(pl.col("note") != "")


def replaced_splits(adjustments: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """The splits that replace the project's (schema SHARES), the last of each charge.

    An expense code set by itself takes all of the charge.
    """
    if adjustments.height == lines.height == 0:
        return SHARES.to_frame()
    stated = lines.filter(pl.col("expense_code").is_not_null()).select(
        "charge",
        order=pl.lit(-1, dtype=pl.Int64),
        field=pl.lit("expense_code"),
        value="expense_code",
    )
    plans = (
        pl.concat([stated, adjustments.select("charge", "order", "field", "value")])
        .filter(pl.col("field").is_in(["split", "expense_code"]))
        .sort("order", maintain_order=True)  # of one adjustment's own, the later written wins
        .group_by("charge", maintain_order=True)
        .agg(pl.col("field").last(), pl.col("value").last())
    )
    share = pl.Struct({"expense_code": pl.String(), "percent": pl.String()})
    named = pl.col("value").str.json_decode(pl.List(share))
    whole = pl.concat_list(pl.struct(expense_code="value", percent=pl.lit("100")))
    is_split = pl.col("field") == "split"
    parted = pl.concat(
        [
            plans.filter(is_split).select("charge", shares=named),
            plans.filter(~is_split).select("charge", shares=whole),
        ]
    )
    percent = pl.col("percent").str.to_decimal(scale=PERCENT_PLACES).to_physical()
    return (
        parted.with_columns(position=pl.int_ranges(pl.col("shares").list.len(), dtype=pl.Int32))
        .explode("shares", "position")
        .unnest("shares")
        .with_columns(percent=percent.cast(pl.Int64))
        .select(SHARES.names())
    )
