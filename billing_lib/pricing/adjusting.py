"""Adjustments: changes that staff make to a charge before it is issued.

Each is an event with login, time and reason; of several for one field the last wins.
``quantity`` and ``rate`` price the charge anew, ``amount`` sets its total, ``split`` and
``expense_code`` replace the project's split, ``project`` moves the charge to another project and
its rate group, ``waived`` leaves it on the invoice with a total of 0, ``note`` is a text beside
it. An added line is a charge without usage.

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
"""The fields of a charge that can be set."""

LINE_FIELDS = ("amount", "split", "expense_code", "project", "waived", "note")
"""The fields of an added line that can be set: it has no quantity and no rate."""

YES, NO = "yes", "no"
"""The values of ``waived``."""

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
    """The canonical text of an adjustment's value, with as many ``places`` as the currency.

    A value is a text; for ``split`` it may also be a list of ``{expense_code, percent}``, whose
    short form is ``370-1=60,370-2=40``.

    Raises
    ------
    InvalidAdjustment
        The field cannot be set, or not to this value.
    """
    if field not in FIELDS:
        raise InvalidAdjustment(
            f"a charge has no field '{field}' to set", remedy=f"set one of {', '.join(FIELDS)}"
        )
    try:
        return _canonical(field, value, places)
    except (ValidationError, ValueError) as error:
        mistake = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InvalidAdjustment(mistake.removeprefix("Value error, "), where=field) from None


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
    """A split as canonical JSON; ValueError if it is none or does not make 100."""
    if isinstance(value, str):
        pairs = (part.partition("=") for part in value.split(","))
        value = [{"expense_code": code.strip(), "percent": p.strip()} for code, _, p in pairs]
    shares = check_split(TypeAdapter(tuple[Share, ...]).validate_python(value))
    return canonical_json(
        [
            {"expense_code": share.expense_code, "percent": plain_text(share.percent)}
            for share in shares
        ]
    )


def last_values(adjustments: pl.DataFrame, places: int) -> pl.DataFrame:
    """The values set on each adjusted charge, null where a field was not set.

    Columns ``charge``, ``set_quantity``, ``set_price`` and ``set_amount`` (minor units).
    """
    if adjustments.height == 0:
        return _VALUES.to_frame()
    values = adjustments.select("charge").unique(maintain_order=True)
    for field, name in (
        ("quantity", "set_quantity"),
        ("rate", "set_price"),
        ("amount", "set_amount"),
    ):
        values = values.join(_last(adjustments, field, name), on="charge", how="left")
    return values.with_columns(
        pl.col("set_quantity").str.to_decimal(scale=_QUANTITY_PLACES).cast(DECIMAL),
        pl.col("set_price").str.to_decimal(scale=PRICE.scale).cast(PRICE),
        pl.col("set_amount").str.replace_all(".", "", literal=True).cast(pl.Int64),
    )


def _last(adjustments: pl.DataFrame, field: str, name: str) -> pl.DataFrame:
    """The last value of one field by ``charge``, in a column of this name."""
    return (
        adjustments.filter(pl.col("field") == field)
        .sort("order", maintain_order=True)
        .group_by("charge", maintain_order=True)
        .agg(pl.col("value").last().alias(name))
    )


def moved(frame: pl.DataFrame, adjustments: pl.DataFrame, key: str) -> pl.DataFrame:
    """Usage or added lines with the projects that staff moved them to, before they are rated.

    ``key`` is the column with the charge.
    """
    return frame.update(_last(adjustments, "project", "project").rename({"charge": key}), on=key)


def waived_charges(adjustments: pl.DataFrame) -> pl.Series:
    """The charges whose last value of ``waived`` is yes."""
    return _last(adjustments, "waived", "waived").filter(pl.col("waived") == YES)["charge"]


def notes_of(adjustments: pl.DataFrame) -> pl.DataFrame:
    """The last note of each charge that has one: ``charge``, ``note``."""
    return _last(adjustments, "note", "note").filter(pl.col("note") != "")


def replaced_splits(adjustments: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """The last split of each charge that has a split of its own (schema SHARES).

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
        .sort("order", maintain_order=True)  # within one adjustment the later row wins
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
