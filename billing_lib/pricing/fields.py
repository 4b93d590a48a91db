"""The kinds of values that a price book is written in, each checked where it stands.

    price "12.50"   percent "33.3333"   day 2020-04-06   step "15min"   hours "08:00-18:00"

Numbers are text in digits, so that none passes through a binary float; what cannot be is
refused with a sentence that shows it.
"""

import datetime as dt
import json
import re
from collections.abc import Sized
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints
from pydantic_core import PydanticCustomError

from billing_lib.pricing.money import PERCENT_PLACES, PRICE_PLACES, WHOLE_DIGITS, plain_text
from billing_lib.pricing.usage import DECIMAL


class Entry(BaseModel):
    """What every part of a price book shares: fixed once read, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WrongKey(ValueError):
    """What is wrong with an entry as a whole, and the key that should be looked at."""

    def __init__(self, key: str, what: str, remedy: str | None = None) -> None:
        self.key = key
        self.remedy = remedy
        super().__init__(what)


def _decimal(places: int | None, what: str) -> BeforeValidator:
    def check(value: object) -> Decimal:
        if isinstance(value, Decimal):
            return value
        if not isinstance(value, str) or re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", value) is None:
            raise ValueError(f"'{value}' is no {what}; write it in digits, such as \"12.50\"")
        if len(value.lstrip("+-").partition(".")[0]) > WHOLE_DIGITS:
            raise ValueError(f"the {what} '{value}' has more than {WHOLE_DIGITS} digits")
        if places is not None and len(value.partition(".")[2]) > places:
            raise ValueError(f"the {what} '{value}' has more than {places} decimal places")
        return Decimal(value)

    return BeforeValidator(check)


def _not_negative(what: str) -> AfterValidator:
    def check(value: Decimal) -> Decimal:
        if value < 0:
            raise ValueError(f"the {what} '{value}' is negative")
        return value

    return AfterValidator(check)


def _day(value: object) -> object:
    # Left to itself, pydantic takes 86400 for a day in seconds since 1970.
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value) is None:
        raise ValueError(f"'{value}' is not a date; write it as YYYY-MM-DD")
    return value


def step_microseconds(text: str) -> int:
    """A billing step such as ``15min`` in microseconds.

    Raises
    ------
    ValueError
        It is not a whole number of s, min or h above zero.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,5})\s*(s|min|h)", text)
    if match is None:
        raise ValueError(f"'{text}' is not a step; write it as 30s, 15min or 1h")
    return int(match[1]) * {"s": 1, "min": 60, "h": 3600}[match[2]] * 1_000_000


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


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: one text for one value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def body_of(entry: BaseModel) -> str:
    """An entry as canonical JSON, as it was stated: decimals as text, nothing left open."""
    stated = entry.model_dump(exclude_unset=False, exclude_defaults=True)
    return canonical_json(_plain(stated))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if value is None:
        return None
    return plain_text(value) if isinstance(value, Decimal) else str(value)
