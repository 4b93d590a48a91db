"""The values that a price book is written in, the usage frame, and templates of fields.

    price "12.50"   percent "33.3333"   day 2020-04-06   step "15min"   hours "08:00-18:00"

Numbers are text in digits, so that none passes through a binary float. A row of the usage frame
is one usage record of any meter: ``start`` and ``end`` (UTC) for timed usage, ``date`` (local) for
usage with only a day; ``booked_start`` and ``booked_end`` where a booking says what was reserved,
whether used or not; without a stated ``quantity``, timed usage counts hours × ``units``. The hours
are ``elapsed``, where the source states the time itself (a job was suspended for a while), else
those between start and end. A row that cannot be read keeps its reason in ``defect`` and ends in
the unbilled report:

    record  item        project  user  start                 end                   units
    57      core-hour   u4       u4    1993-10-01 14:06:17Z  1993-10-01 14:06:27Z  1

A template makes one field of a usage record from the fields of its source. The braces hold only a
field's name, ``{{`` and ``}}`` are braces. An empty field makes the result empty, so that
``u{user}`` of nobody is never a project called ``u``:

    u{user}              the field user behind a letter             4          → u4
    {account}/{project}  two fields with a slash between            chem, 7    → chem/7
    core-hour            no field: the same for every record                   → core-hour
    {begin}              a field alone keeps its type: a time in Parquet stays a time
"""

import datetime as dt
import hashlib
import json
import re
from collections.abc import Sized
from dataclasses import dataclass
from decimal import Decimal
from string import Formatter
from typing import Annotated, Any, Self

import polars as pl
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints
from pydantic_core import PydanticCustomError

from billing_lib.pricing.money import PERCENT_PLACES, PRICE_PLACES, WHOLE_DIGITS, plain_text

DECIMAL = pl.Decimal(38, 9)
"""Quantities and units: exact, nine places, at most 29 digits before the point."""

INSTANT = pl.Datetime("us", "UTC")
"""An instant in UTC, microseconds."""

USAGE = pl.Schema(
    {
        "record": pl.String(),  # the record's id, unique in the facility
        "occurrence": pl.Int32(),  # 1 for the first row of an id; the rest are duplicates
        "item": pl.String(),
        "project": pl.String(),
        "user": pl.String(),
        "start": INSTANT,
        "end": INSTANT,
        "date": pl.Date(),
        "elapsed": pl.Int64(),  # µs: the time as the source states it; null: start to end
        "booked_start": INSTANT,  # null without a booking
        "booked_end": INSTANT,
        "units": DECIMAL,  # the factor of the hours (processors); 1 by default
        "quantity": DECIMAL,
        "costs_before": DECIMAL,  # the sum of its file's costs before a row's own; else null
        "description": pl.String(),
        "reference": pl.String(),  # of its ad hoc invoice; null: the month's invoice
        "file": pl.String(),  # the source file's name, without its folder
        "row": pl.Int64(),  # its line or sheet row, from 1
        "defect": pl.String(),  # invalid_time or invalid_quantity, found while reading
        "detail": pl.String(),  # one sentence on the defect
        "raw": pl.String(),  # the row as in the file, for rows with a defect
    }
)
"""Columns of the usage frame, in order."""

REASONS = (
    *("duplicate", "invalid_time", "invalid_quantity", "unknown_item"),
    *("unknown_reference", "unknown_project", "outside_period", "no_rate"),
)
"""Why usage is unbilled: one reason per record, the first that applies in this order."""


class Entry(BaseModel):
    """A part of a price book: fixed once read, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WrongKey(ValueError):
    """A mistake of an entry as a whole, with the key to be corrected."""

    def __init__(self, key: str, mistake: str, remedy: str | None = None) -> None:
        self.key = key
        self.remedy = remedy
        super().__init__(mistake)


def _decimal(places: int | None, noun: str) -> BeforeValidator:
    def check(value: object) -> Decimal:
        if isinstance(value, Decimal):
            return value
        if not isinstance(value, str) or re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", value) is None:
            raise ValueError(f"'{value}' is no {noun}; write it in digits, such as \"12.50\"")
        if len(value.lstrip("+-").partition(".")[0]) > WHOLE_DIGITS:
            raise ValueError(f"the {noun} '{value}' has more than {WHOLE_DIGITS} digits")
        if places is not None and len(value.partition(".")[2]) > places:
            raise ValueError(f"the {noun} '{value}' has more than {places} decimal places")
        return Decimal(value)

    return BeforeValidator(check)


def _not_negative(noun: str) -> AfterValidator:
    def check(value: Decimal) -> Decimal:
        if value < 0:
            raise ValueError(f"the {noun} '{value}' is negative")
        return value

    return AfterValidator(check)


def _day(value: object) -> object:
    # Left to itself, pydantic takes 86400 for a day in seconds since 1970.
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value) is None:
        raise ValueError(f"'{value}' is not a date; write it as YYYY-MM-DD")
    return value


def step_microseconds(text: str) -> int:
    """A billing step in microseconds: a whole number of s, min or h above zero."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})\s*(s|min|h)", text)
    if match is None:
        raise ValueError(f"'{text}' is not a step; write it as 30s, 15min or 1h")
    return int(match[1]) * {"s": 1, "min": 60, "h": 3600}[match[2]] * 1_000_000


LONGEST = 10**10
"""The longest elapsed time in seconds, 317 years: more is a mistake of a meter."""

_ELAPSED = re.compile(
    r"(?:(?:([0-9]{1,6})-)?([0-9]{1,7}):([0-5][0-9]):)?([0-9]{1,11})(?:\.([0-9]{1,6}))?"
)


def elapsed_microseconds(text: str) -> int:
    """An elapsed time in microseconds: seconds, ``hh:mm:ss`` or ``d-hh:mm:ss``."""
    match = _ELAPSED.fullmatch(text)
    if match is None or (match[3] is not None and int(match[4]) > 59):
        raise ValueError(f"'{text}' is no elapsed time; write it as \"02:30:00\" or in seconds")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[:4])
    whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if whole > LONGEST:
        raise ValueError(f"the elapsed time '{text}' is longer than three centuries")
    return whole * 1_000_000 + int((match[5] or "").ljust(6, "0"))


def _elapsed(value: object) -> object:
    return elapsed_microseconds(value) if isinstance(value, str) else value


def _step(text: str) -> str:
    step_microseconds(text)
    return text


def _some(entries: Sized) -> Sized:
    # pydantic's own min_length also counts against the entries that it refused.
    if not entries:
        raise PydanticCustomError("too_short", "the list is empty")
    return entries


NotEmpty = AfterValidator(_some)
Code = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Day = Annotated[dt.date, BeforeValidator(_day)]
Price = Annotated[Decimal, _decimal(PRICE_PLACES, "price"), _not_negative("price")]
Amount = Annotated[Decimal, _decimal(None, "amount")]
RuleAmount = Annotated[Decimal, _decimal(None, "amount"), _not_negative("amount")]
Factor = Annotated[Decimal, _decimal(PRICE_PLACES, "factor"), _not_negative("factor")]
Quantity = Annotated[Decimal, _decimal(DECIMAL.scale, "quantity")]
Bound = Annotated[Decimal, _decimal(DECIMAL.scale, "quantity"), _not_negative("quantity")]
Percent = Annotated[Decimal, _decimal(PERCENT_PLACES, "percentage")]
Part = Annotated[Decimal, _decimal(PERCENT_PLACES, "percentage"), _not_negative("percentage")]
Step = Annotated[str, AfterValidator(_step)]
Elapsed = Annotated[int, BeforeValidator(_elapsed)]
"""Microseconds."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: one text for one value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def body_of(entry: BaseModel) -> str:
    """An entry as canonical JSON: decimals as text, without keys that have their default."""
    return canonical_json(_plain(entry.model_dump(exclude_defaults=True)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if value is None:
        return None
    return plain_text(value) if isinstance(value, Decimal) else str(value)


@dataclass(frozen=True)
class Template:
    """A parsed template.

    Parameters
    ----------
    text
        As written in the price book.
    parts
        ``(literal, field)`` in order; the field is None behind the last literal.
    """

    text: str
    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a template; ValueError if its braces do not match or hold more than a name."""
        try:
            pieces = list(Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f"the braces in '{text}' do not match ({error})") from error
        for _, field, form, conversion in pieces:
            if field is not None and (not field.strip() or form or conversion):
                raise ValueError(f"'{text}' must have a field's name alone between braces")
        return cls(text, tuple((literal, field) for literal, field, _, _ in pieces))

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of its fields."""
        return tuple(field for _, field in self.parts if field is not None)

    @property
    def alone(self) -> str | None:
        """The field's name, if the template is one field and nothing else."""
        literal, field = self.parts[0] if len(self.parts) == 1 else ("", None)
        return field if literal == "" else None

    def of(self, fields: pl.DataFrame) -> pl.Expr:
        """The result as an expression on a source's fields: text, or a lone field's own type."""
        if self.alone is not None:
            return pl.col(self.alone)
        if not self.fields:
            return pl.lit("".join(literal for literal, _ in self.parts), pl.String)
        pieces: list[pl.Expr] = []
        for literal, field in self.parts:
            pieces.append(pl.lit(literal))
            if field is not None:
                pieces.append(as_text(fields, field))
        return pl.concat_str(pieces)

    @property
    def shown(self) -> str:
        """For messages: ``column 'begin'``, or the template itself."""
        return f"column '{self.alone}'" if self.alone is not None else f"'{self.text}'"


def as_text(fields: pl.DataFrame, name: str) -> pl.Expr:
    """A column as text, trimmed, null where empty; whole floats without ``.0``."""
    dtype = fields.schema[name]
    column = pl.col(name)
    if dtype.is_float():
        column = column.cast(pl.String).str.strip_suffix(".0")
    elif isinstance(dtype, pl.Datetime):
        column = column.dt.to_string("iso:strict")
    elif dtype != pl.String:
        column = column.cast(pl.String)
    column = column.str.strip_chars()
    return pl.when(column != "").then(column)


@dataclass(frozen=True)
class Logo:
    """The picture over a facility's invoices, PNG or SVG."""

    file: str
    """As in the price book; once read ``logo.png`` or ``logo.svg``, as in a snapshot."""
    content: bytes = b""
    """Empty until it is read (workflow/load.py)."""

    @property
    def suffix(self) -> str:
        """``png`` or ``svg``."""
        return self.file.rpartition(".")[2].lower()

    @property
    def sha256(self) -> str:
        """The hash by which an issued invoice names its picture."""
        return hashlib.sha256(self.content).hexdigest()
