"""The price book: what a facility sells, to whom, at which rate.

One YAML file per facility (docs/scenario-format.md has every key). A project's type names its
rate group unless the project names one itself; a rate prices one item for one group between
two dates; a split says which expense codes pay.

    rates:    [{item: slide, group: internal, price: "1.25"}]
    projects: [{code: p1, team: smith-lab, type: faculty,
                split: [{expense_code: "370-1", percent: "100"}]}]

Everything is checked here, at the edge: whoever holds a ``PriceBook`` can trust it.
"""

import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from billing_lib.errors import InvalidPriceBook
from billing_lib.pricing.money import (
    PERCENT_PLACES,
    PRICE_PLACES,
    WHOLE_DIGITS,
    minor_places,
    plain_text,
)
from billing_lib.pricing.usage import DECIMAL
from billing_lib.pricing.yaml_text import Document


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


def _day(value: object) -> object:
    # Left to itself, pydantic takes 86400 for a day in seconds since 1970.
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value) is None:
        raise ValueError(f"'{value}' is not a date; write it as YYYY-MM-DD")
    return value


def _not_negative(value: Decimal) -> Decimal:
    if value < 0:
        raise ValueError(f"the price '{value}' is negative")
    return value


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
        # A machine's own zone files hold names, such as localtime, that mean nothing elsewhere.
        pl.Series([], dtype=pl.Datetime("us", "UTC")).dt.convert_time_zone(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, pl.exceptions.ComputeError):
        raise ValueError(
            f"the time zone '{name}' is unknown; use a name such as America/New_York"
        ) from None
    return name


def _currency(code: str) -> str:
    minor_places(code)
    return code


def _step(text: str) -> str:
    step_microseconds(text)
    return text


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


Code = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Day = Annotated[dt.date, BeforeValidator(_day)]
Price = Annotated[Decimal, _decimal(PRICE_PLACES, "price"), AfterValidator(_not_negative)]
Amount = Annotated[Decimal, _decimal(None, "amount")]
Quantity = Annotated[Decimal, _decimal(DECIMAL.scale, "quantity")]
Percent = Annotated[Decimal, _decimal(PERCENT_PLACES, "percentage")]


class Entry(BaseModel):
    """What every part of a price book shares: fixed once read, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Facility(Entry):
    """Who bills: its code, currency (ISO 4217), time zone and standing texts."""

    code: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    name: str
    currency: Annotated[str, AfterValidator(_currency)]
    timezone: Annotated[str, AfterValidator(_timezone)]
    fiscal_year_start: Annotated[int, Field(ge=1, le=12)] = 1
    """The month in which a fiscal year starts; the year is named by the month it ends in."""
    instructions: str = ""
    contacts: str = ""

    def fiscal_year(self, day: dt.date) -> int:
        """The fiscal year a day lies in."""
        later = self.fiscal_year_start > 1 and day.month >= self.fiscal_year_start
        return day.year + 1 if later else day.year


class Item(Entry):
    """What can be billed; ``unit: hour`` is counted by time, anything else by quantity."""

    code: Code
    name: str
    unit: Code


class Rate(Entry):
    """The price of an item for one rate group, valid from and to the dates named."""

    item: Code
    group: Code
    price: Price
    minimum: Price | None = None
    rounding_step: Annotated[str, AfterValidator(_step)] | None = None
    valid_from: Day | None = None
    valid_to: Day | None = None

    @property
    def body(self) -> str:
        """The rate as canonical JSON: sorted keys, decimals as text, nothing left open."""
        stated = self.model_dump(exclude_none=True)
        return canonical_json({key: _text(value) for key, value in stated.items()})

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the body's sha256: the name of a kept rate."""
        return hashlib.sha256(self.body.encode()).hexdigest()[:16]


class ProjectType(Entry):
    """A kind of project and the rate group it pays by."""

    code: Code
    rate_group: Code


class Team(Entry):
    """Who receives invoices."""

    code: Code
    name: str
    administrators: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


class Share(Entry):
    """One expense code's part of a split, in per cent."""

    expense_code: Code
    percent: Percent


def check_split(shares: Sequence[Share]) -> None:
    """Refuse a split that is not whole.

    Raises
    ------
    ValueError
        Percentages do not make 100, are not above zero, or name a code twice.
    """
    total = sum((share.percent for share in shares), Decimal(0))
    if total != 100:
        raise ValueError(f"the split makes {plain_text(total)} %; its percentages must make 100")
    if any(share.percent <= 0 for share in shares):
        raise ValueError("every percentage of a split must be above zero")
    codes = [share.expense_code for share in shares]
    if len(set(codes)) < len(codes):
        raise ValueError("the split names an expense code twice")


def _whole_split(shares: tuple[Share, ...]) -> tuple[Share, ...]:
    check_split(shares)
    return shares


class Project(Entry):
    """Who uses and pays: a team's project with its split over expense codes."""

    code: Code
    name: str | None = None
    team: Code
    type: Code
    rate_group: Code | None = None
    tags: tuple[str, ...] = ()
    split: Annotated[tuple[Share, ...], AfterValidator(_whole_split)]


class PriceBook(Entry):
    """All that pricing needs to know of a facility."""

    facility: Facility
    items: tuple[Item, ...]
    rates: tuple[Rate, ...]
    project_types: tuple[ProjectType, ...]
    teams: tuple[Team, ...]
    projects: tuple[Project, ...]
    sources: dict[str, dict[str, str]] = Field(default_factory=dict)
    """How each kind of usage file maps to usage records (docs/sources.md)."""

    def rate_group(self, project: Project) -> str:
        """The rate group a project pays by: its own, else its type's."""
        if project.rate_group is not None:
            return project.rate_group
        return next(kind.rate_group for kind in self.project_types if kind.code == project.type)

    @classmethod
    def parse(cls, text: str, name: str) -> Self:
        """A price book from YAML text; ``name`` is the file's, for messages.

        Raises
        ------
        InvalidPriceBook
            What is wrong, with file, line and key.
        """
        document = Document(text, name)
        book = document.validate(cls)
        check_references(book, document)
        return book


def check_references(book: PriceBook, document: Document) -> None:
    """Refuse codes that stand twice or point nowhere, amounts finer than the currency's
    minor unit, and rates whose validity overlaps.

    Raises
    ------
    InvalidPriceBook
        The first of these, with file, line and key.
    """
    for section in ("items", "project_types", "teams", "projects"):
        _unique(section, [entry.code for entry in getattr(book, section)], document)
    items = {item.code for item in book.items}
    teams = {team.code for team in book.teams}
    types = {kind.code for kind in book.project_types}
    for index, project in enumerate(book.projects):
        place = ("projects", index)
        _known(project.team, teams, "team", (*place, "team"), document)
        _known(project.type, types, "project type", (*place, "type"), document)
    places = minor_places(book.facility.currency)
    for index, rate in enumerate(book.rates):
        place = ("rates", index)
        _known(rate.item, items, "item", (*place, "item"), document)
        if rate.minimum is not None and rate.minimum != round(rate.minimum, places):
            raise InvalidPriceBook(
                f"the minimum '{rate.minimum}' has more than {places} decimal places",
                where=document.where(*place, "minimum"),
            )
        if rate.valid_from and rate.valid_to and rate.valid_to < rate.valid_from:
            raise InvalidPriceBook(
                "the rate ends before it starts", where=document.where(*place, "valid_to")
            )
    _no_overlap(book.rates, document)


def _unique(section: str, codes: Iterable[str], document: Document) -> None:
    seen: set[str] = set()
    for index, code in enumerate(codes):
        if code in seen:
            raise InvalidPriceBook(
                f"the code '{code}' stands twice under '{section}'",
                where=document.where(section, index, "code"),
                remedy="give each its own code",
            )
        seen.add(code)


def _known(
    code: str, known: set[str], what: str, path: tuple[str | int, ...], document: Document
) -> None:
    if code not in known:
        raise InvalidPriceBook(
            f"the {what} '{code}' is not defined",
            where=document.where(*path),
            remedy="define it or correct its spelling",
        )


def _no_overlap(rates: Sequence[Rate], document: Document) -> None:
    keyed = sorted(
        enumerate(rates), key=lambda pair: (pair[1].item, pair[1].group, _from(pair[1]), pair[0])
    )
    for (earlier_at, earlier), (later_at, later) in pairwise(keyed):
        same = (earlier.item, earlier.group) == (later.item, later.group)
        if same and _from(later) <= (earlier.valid_to or dt.date.max):
            raise InvalidPriceBook(
                f"two rates for item '{later.item}' and group '{later.group}' are both valid on "
                f"{max(_from(later), _from(earlier))}, this one and the one at "
                f"{document.where('rates', earlier_at)}",
                where=document.where("rates", later_at),
                remedy="end one before the other starts",
            )


def _from(rate: Rate) -> dt.date:
    return rate.valid_from or dt.date.min


def _text(value: object) -> str:
    return plain_text(value) if isinstance(value, Decimal) else str(value)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: one text for one value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
