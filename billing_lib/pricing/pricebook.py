"""The price book: what a facility sells, to whom, at which rate.

One YAML file per facility (docs/scenario-format.md has every key). A project's type names its
rate group unless the project names one itself; a rate prices one item for one group between
two dates; a split says which expense codes pay.

    rates:    [{item: slide, group: internal, price: "1.25"}]
    projects: [{code: p1, team: smith-lab, type: faculty,
                split: [{expense_code: "370-1", percent: "100"}]}]

Everything is checked at the edge, here and in pricing/checks.py: whoever holds a ``PriceBook``
can trust it.
"""

import datetime as dt
import re
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from billing_lib.pricing.accounts import Accounts
from billing_lib.pricing.checks import check_references
from billing_lib.pricing.fields import (
    Amount,
    Code,
    Day,
    Entry,
    NotEmpty,
    Part,
    Percent,
    Price,
    Step,
    WrongKey,
)
from billing_lib.pricing.focus import Focus
from billing_lib.pricing.hours import BusinessHours
from billing_lib.pricing.logo import Logo
from billing_lib.pricing.money import minor_places, plain_text
from billing_lib.pricing.rates import Rate
from billing_lib.pricing.rules import Rule
from billing_lib.pricing.yaml_text import Document


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


@cache
def _countries() -> frozenset[str]:
    table = (files("tzdata.zoneinfo") / "iso3166.tab").read_text("utf-8")
    return frozenset(line[:2] for line in table.splitlines() if not line.startswith("#"))


def _country(code: str) -> str:
    if code not in _countries():
        raise ValueError(f"'{code}' is not a country code of ISO 3166-1, such as US or GB")
    return code


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"'{text}' is no regular expression ({error})") from None
    return text


def _logo(file: object) -> object:
    if isinstance(file, Logo):
        return file
    if not isinstance(file, str) or re.fullmatch(r"[^/\\]+\.(png|svg)", file, re.I) is None:
        raise ValueError(f"'{file}' is no name of a .png or .svg file beside the price book")
    return Logo(file)


def _record_url(template: str) -> str:
    written = template.replace("{number}", "").replace("{fingerprint}", "")
    if re.fullmatch(r"https?://[!-z|~]+", written) is None:
        raise ValueError(
            f"'{template}' is no web address; write it as "
            "https://billing.example.edu/{number}?sha256={fingerprint}"
        )
    return template


class ExpenseCode(Entry):
    """An expense code that may be charged, between two dates."""

    code: Code
    valid_from: Day | None = None
    valid_to: Day | None = None


class ExpenseCodes(Entry):
    """Which expense codes may be charged: a pattern for all of each, a list, or both."""

    pattern: Annotated[str, AfterValidator(_pattern)] | None = None
    codes: tuple[ExpenseCode, ...] | None = None
    file: str | None = None
    """A CSV file beside the price book that adds to the list (workflow/expense_codes.py)."""


def _above_zero(value: Decimal) -> Decimal:
    if value <= 0:
        raise ValueError("it must be above zero")
    return value


def _one_or_several(logins: object) -> object:
    return [logins] if isinstance(logins, str) else logins


Reviewers = Annotated[tuple[Code, ...], NotEmpty, BeforeValidator(_one_or_several)]


class Approval(Entry):
    """Who approves the facility's invoices: reviewers in order, the last one's approval issues."""

    reviewers: Annotated[tuple[Reviewers, ...], NotEmpty]
    """The logins that may approve at each step; one of them does."""
    two_persons: bool = False
    """Whether nobody may approve an invoice on which they changed something."""


class ReviewLimits(Entry):
    """From where on review finds something odd (docs/checks.md)."""

    longest_session: Step = "48h"
    """Longer ones are implausible; an item may say otherwise."""
    unusual_spend: Annotated[Part, AfterValidator(_above_zero)] = Decimal("3.5")
    """The robust z-score from which on a project's month is far from those before."""
    least_history: Annotated[int, Field(ge=3, le=12)] = 4
    """Months that a project must have before its spend is judged by them."""


class Facility(Entry):
    """Who bills: its code, currency (ISO 4217), time zone and standing texts."""

    code: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    name: str
    currency: Annotated[str, AfterValidator(_currency)]
    timezone: Annotated[str, AfterValidator(_timezone)]
    fiscal_year_start: Annotated[int, Field(ge=1, le=12)] = 1
    """The month in which a fiscal year starts; the year is named by the month it ends in."""
    crossing: Literal["whole", "split"] = "whole"
    """Whether usage across a month's end is charged whole where it ends, or cut there."""
    expense_codes: ExpenseCodes | None = None
    approval: Approval | None = None
    issue: Literal["ready", "scheduled"] = "ready"
    """Whether a month is issued once a person has said that it is ready, or without."""
    late_usage: Literal["next_run", "reissue"] = "next_run"
    """Whether usage that comes after its month's invoice is billed by the next run, or by a
    reissue of that invoice."""
    deliver: Literal["by_hand", "automatic"] = "by_hand"
    """Whether the monthly batch sends invoices and statements by mail, or a person does."""
    review: ReviewLimits = Field(default_factory=ReviewLimits)
    instructions: str = ""
    contacts: str = ""
    letterhead: str = ""
    """Lines beside its name at the top of its invoices, such as its address."""
    logo: Annotated[Logo, BeforeValidator(_logo)] | None = None
    """A PNG or SVG file beside the price book (workflow/logos.py)."""
    record_url: Annotated[str, AfterValidator(_record_url)] | None = None
    """Where an issued invoice can be checked, by its {number} and {fingerprint}."""
    country: Annotated[str, AfterValidator(_country)] | None = None
    """Where it is (ISO 3166-1 alpha-2); the XML invoice needs it (documents/ubl.py)."""
    tax_id: Code | None = None
    """The number under which it charges tax; the XML invoice needs it where a tax is charged."""
    journal: Accounts = Accounts()
    """How its invoices are posted to the general ledger (docs/journal.md)."""

    focus: Focus = Focus()

    def fiscal_year(self, day: dt.date) -> int:
        """The fiscal year a day lies in."""
        later = self.fiscal_year_start > 1 and day.month >= self.fiscal_year_start
        return day.year + 1 if later else day.year


class Resource(Entry):
    """What has business hours; days left out and holidays are after hours all day."""

    code: Code
    name: str | None = None
    business_hours: BusinessHours = Field(default_factory=dict)
    holidays: tuple[Day, ...] = ()


class Item(Entry):
    """What can be billed; ``unit: hour`` is counted by time, anything else by quantity."""

    code: Code
    name: str
    unit: Code
    resource: Code | None = None
    cost: Price | None = None
    """What a unit costs the facility; shown to staff only."""
    shared: bool = False
    """Whether several use it at the same time, as a cluster; an instrument has one user at once."""
    longest_session: Step | None = None
    """The longest plausible session, where it is not the facility's."""


class Tax(Entry):
    """A tax on a project's invoices, by its name."""

    name: Code
    percent: Part


class ProjectType(Entry):
    """A kind of project, the rate group it pays by, and its tax."""

    code: Code
    rate_group: Code
    tax: Tax | None = None


class Team(Entry):
    """Who receives invoices."""

    code: Code
    name: str
    parent: Code | None = None
    """The team that this one belongs to; teams form a tree."""
    administrators: tuple[str, ...] = ()
    """The addresses that are told when its invoices are ready."""
    owners: tuple[str, ...] = ()
    """The addresses that get its statements; the administrators where there are none."""
    tags: tuple[Code, ...] = ()


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


Split = Annotated[tuple[Share, ...], AfterValidator(_whole_split)]


class DatedSplit(Entry):
    """A split that holds from a day until the next one's; the first has no ``valid_from``."""

    valid_from: Day | None = None
    split: Split


def _in_order(splits: tuple[DatedSplit, ...]) -> tuple[DatedSplit, ...]:
    if splits[0].valid_from is not None:
        raise ValueError("the first split has no 'valid_from'; it holds until the next one")
    days = [split.valid_from for split in splits[1:]]
    known = [day for day in days if day is not None]
    if len(known) < len(days) or known != sorted(set(known)):
        raise ValueError("each split after the first needs a later 'valid_from' than the one above")
    return splits


class Project(Entry):
    """Who uses and pays: a team's project with its split over expense codes."""

    code: Code
    name: str | None = None
    team: Code
    type: Code
    rate_group: Code | None = None
    tags: tuple[Code, ...] = ()
    split: Split | None = None
    splits: Annotated[tuple[DatedSplit, ...], NotEmpty, AfterValidator(_in_order)] | None = None
    prepaid_low: Amount | None = None
    """The balance of prepaid funds below which staff are told."""
    valid_from: Day | None = None
    valid_to: Day | None = None
    """The project's first and last day; usage on others is billed and found by review."""

    @model_validator(mode="after")
    def _one_split(self) -> Self:
        if self.split is None and self.splits is None:
            raise WrongKey("split", "the key 'split' is missing", "add it")
        if self.split is not None and self.splits is not None:
            raise WrongKey("splits", "a project has either 'split' or 'splits'", "keep one")
        return self

    def dated_splits(self) -> tuple[DatedSplit, ...]:
        """The splits in order of time."""
        return self.splits or (DatedSplit(split=self.split or ()),)


class PriceBook(Entry):
    """All that pricing needs to know of a facility."""

    facility: Facility
    resources: tuple[Resource, ...] = ()
    items: tuple[Item, ...]
    rates: tuple[Rate, ...]
    project_types: tuple[ProjectType, ...]
    teams: tuple[Team, ...]
    projects: tuple[Project, ...]
    rules: tuple[Rule, ...] = ()
    sources: dict[str, dict[str, str]] = Field(default_factory=dict)
    """How each kind of usage file maps to usage records (docs/sources.md)."""

    def team_of(self, project: str) -> str | None:
        """The team of a project, or None where there is no such project."""
        return next((known.team for known in self.projects if known.code == project), None)

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
