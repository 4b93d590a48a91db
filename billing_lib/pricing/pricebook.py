"""The price book: a facility's items, rates, customers and rules, checked once and then trusted.

One YAML file per facility (docs/price-book.md has every key). A rate prices one item for one
rate group between two dates; a project pays by its own rate group or its type's; a split names
the expense codes that pay. A check of the book as a whole is a function in CHECKS.

    rates:    [{item: slide, group: internal, price: "1.25"}]
    projects: [{code: p1, team: smith-lab, type: faculty,
                split: [{expense_code: "370-1", percent: "100"}]}]

The facility also has the accounts and CSV columns of its journal (templates, pricing/fields.py),
the service categories of the FOCUS dataset, and the expense codes that may be charged:

    journal: {credit: "4500-RC", items: {storage: "4510-RC"}, prepaid: "2400-{project}"}
    focus: {service_category: Compute, items: {storage: Storage}}
    expense_codes: {pattern: "[0-9]{3}-[0-9]+", codes: [{code: "370-1", valid_to: 2020-06-30}]}

    370-1 on 2020-07-01   "the expense code '370-1' is not valid on 2020-07-01"
    37-1  on 2020-07-01   "the expense code '37-1' does not match the pattern …"
"""

import datetime as dt
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache, lru_cache
from importlib.resources import files
from itertools import pairwise
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    StringConstraints,
    model_validator,
)

from billing_lib.errors import InvalidPriceBook
from billing_lib.pricing.aggregation import EACH
from billing_lib.pricing.clock import BusinessHours
from billing_lib.pricing.fields import (
    Amount,
    Code,
    Day,
    Entry,
    Logo,
    NotEmpty,
    Part,
    Percent,
    Price,
    Step,
    Template,
    WrongKey,
)
from billing_lib.pricing.money import minor_places, plain_text
from billing_lib.pricing.rates import Rate, Rule
from billing_lib.pricing.yaml_text import Document, KeyPath, Mistake, key_text, mistakes_in

Mistakes = Iterator[Mistake]


def check_references(book: "PriceBook", document: Document) -> None:
    """Refuse a price book with a mistake, naming the first one's file, line and key."""
    for check in CHECKS:
        for mistake in check(book):
            beside = document.where(*mistake.beside) if mistake.beside else ""
            where = document.where(*mistake.place)
            raise InvalidPriceBook(mistake.sentence + beside, where=where, remedy=mistake.remedy)


def find_mistakes(content: Mapping[str, Any]) -> list[Mistake]:
    """All mistakes of a price book's content; those of the whole if its entries have none."""
    mistakes = mistakes_in(content, PriceBook)
    if not mistakes:
        book = PriceBook.model_validate(content)
        mistakes = [mistake for check in CHECKS for mistake in check(book)]
    return [
        replace(it, sentence=it.sentence + (key_text(it.beside) if it.beside else ""))
        for it in mistakes
    ]


def codes_that_stand_twice(book: "PriceBook") -> Mistakes:
    """A code names one entry."""
    for section in ("resources", "items", "project_types", "teams", "projects"):
        seen: set[str] = set()
        for at, entry in enumerate(getattr(book, section)):
            if entry.code in seen:
                sentence = f"the code '{entry.code}' stands twice under '{section}'"
                yield Mistake(sentence, (section, at, "code"), "give each its own code")
            seen.add(entry.code)
    spanning = [rule.name for rule in book.rules if rule.over is not None]
    for at, rule in enumerate(book.rules):
        if rule.over is not None and spanning.count(rule.name) > 1:
            sentence = f"two rules over a span have the name '{rule.name}'"
            yield Mistake(sentence, ("rules", at, "name"), "give each its own name")


def codes_that_point_nowhere(book: "PriceBook") -> Mistakes:
    """A code that an entry refers to is defined."""
    known = {
        "resource": {resource.code for resource in book.resources},
        "item": {item.code for item in book.items},
        "team": {team.code for team in book.teams},
        "project type": {kind.code for kind in book.project_types},
        "project": {project.code for project in book.projects},
    }
    known["tag"] = {tag for team in book.teams for tag in team.tags}
    known["tag"] |= {tag for project in book.projects for tag in project.tags}
    for code, kind, place in _references(book):
        if code not in known[kind]:
            sentence = f"the {kind} '{code}' is not defined"
            if kind == "tag":
                sentence = f"no team or project has the tag '{code}'"
            yield Mistake(sentence, place, "define it or correct its spelling")


def _references(book: "PriceBook") -> Iterator[tuple[str, str, KeyPath]]:
    for at, item in enumerate(book.items):
        if item.resource is not None:
            yield item.resource, "resource", ("items", at, "resource")
    for key in ("journal", "focus"):
        for code in getattr(book.facility, key).items:
            yield code, "item", ("facility", key, "items", code)
    for at, team in enumerate(book.teams):
        if team.parent is not None:
            yield team.parent, "team", ("teams", at, "parent")
    for at, project in enumerate(book.projects):
        yield project.team, "team", ("projects", at, "team")
        yield project.type, "project type", ("projects", at, "type")
    for at, rate in enumerate(book.rates):
        yield rate.item, "item", ("rates", at, "item")
    for at, rule in enumerate(book.rules):
        for key, kind in (("items", "item"), ("projects", "project"), ("tags", "tag")):
            for index, code in enumerate(getattr(rule, key) or ()):
                yield code, kind, ("rules", at, key, index)


def amounts_finer_than_the_currency(book: "PriceBook") -> Mistakes:
    """Amounts and minimums are whole minor units; only prices may be finer."""
    places = minor_places(book.facility.currency)
    for noun, amount, place in _amounts(book):
        if amount is not None and amount != round(amount, places):
            yield Mistake(f"the {noun} '{amount}' has more than {places} decimal places", place)


def _amounts(book: "PriceBook") -> Iterator[tuple[str, Decimal | None, KeyPath]]:
    for at, rate in enumerate(book.rates):
        yield "minimum", rate.minimum, ("rates", at, "minimum")
        yield "service fee", rate.service_fee, ("rates", at, "service_fee")
        for index, band in enumerate(rate.bands or ()):
            yield "minimum", band.minimum, ("rates", at, "bands", index, "minimum")
    for at, project in enumerate(book.projects):
        yield "balance", project.prepaid_low, ("projects", at, "prepaid_low")
    for at, rule in enumerate(book.rules):
        yield "amount", rule.amount, ("rules", at, "amount")
        for index, step in enumerate(rule.steps or ()):
            yield "amount", step.up_to, ("rules", at, "steps", index, "up_to")


def dates_in_the_wrong_order(book: "PriceBook") -> Mistakes:
    """An entry with two dates ends after it starts."""
    codes = book.facility.expense_codes
    sections: tuple[tuple[str, KeyPath, Sequence[Rate | Project | ExpenseCode]], ...] = (
        ("rate", ("rates",), book.rates),
        ("project", ("projects",), book.projects),
        ("expense code", ("facility", "expense_codes", "codes"), (codes and codes.codes) or ()),
    )
    for noun, place, entries in sections:
        for at, entry in enumerate(entries):
            if entry.valid_from and entry.valid_to and entry.valid_to < entry.valid_from:
                yield Mistake(f"the {noun} ends before it starts", (*place, at, "valid_to"))


def rates_that_overlap(book: "PriceBook") -> Mistakes:
    """At most one rate per item, group and date."""
    keyed = sorted(
        enumerate(book.rates),
        key=lambda pair: (pair[1].item, pair[1].group, _from(pair[1]), pair[0]),
    )
    for (earlier_at, earlier), (later_at, later) in pairwise(keyed):
        same = (earlier.item, earlier.group) == (later.item, later.group)
        if same and _from(later) <= (earlier.valid_to or dt.date.max):
            day = later.valid_from or earlier.valid_from
            when = "at the same time, without a valid_from" if day is None else f"on {day}"
            yield Mistake(
                f"two rates for item '{later.item}' and group '{later.group}' are both valid "
                f"{when}, this one and the one at ",
                ("rates", later_at),
                "end one before the other starts",
                beside=("rates", earlier_at),
            )


def teams_in_a_circle(book: "PriceBook") -> Mistakes:
    """Teams form a tree: none belongs to itself, not even through others."""
    parents = {team.code: team.parent for team in book.teams}
    for at, team in enumerate(book.teams):
        above, seen = team.parent, {team.code}
        while above is not None and above not in seen:
            seen.add(above)
            above = parents[above]
        if above == team.code:
            yield Mistake(f"the team '{above}' belongs to itself", ("teams", at, "parent"))


def steps_without_a_second_person(book: "PriceBook") -> Mistakes:
    """With two_persons each step has a second reviewer, for the changes of the first."""
    approval = book.facility.approval
    if approval is None or not approval.two_persons:
        return
    for at, reviewers in enumerate(approval.reviewers):
        if len(set(reviewers)) == 1:
            yield Mistake(
                f"the price book asks for two persons, but only {reviewers[0]} may approve step "
                f"{at + 1}, and nobody could approve what {reviewers[0]} changes",
                ("facility", "approval", "reviewers", at),
                "name a second reviewer for this step, or leave two_persons out",
            )


def after_hours_without_hours(book: "PriceBook") -> Mistakes:
    """An item with a price after hours has a resource with business hours."""
    resources = {item.code: item.resource for item in book.items}
    for at, rate in enumerate(book.rates):
        if rate.after_hours is not None and resources[rate.item] is None:
            yield Mistake(
                f"the item '{rate.item}' has no resource, so it has no business hours",
                ("rates", at, "after_hours"),
                "name a resource with business_hours on the item",
            )


COST = "cost"
"""The unit of items whose quantity is an amount of money, which may be negative (a credit)."""


def costs_not_at_one_price(book: "PriceBook") -> Mistakes:
    """A cost is passed through at one price: 1, or more or less for a markup or a subsidy."""
    costs = {item.code for item in book.items if item.unit == COST}
    for at, rate in enumerate(book.rates):
        for key in ("after_hours", "bands", "tiers", "per", "minimum", "rounding_step"):
            if rate.item in costs and getattr(rate, key) is not None:
                yield Mistake(
                    f"the item '{rate.item}' is a cost, so its rate has no '{key}'",
                    ("rates", at, key),
                    "remove it; the price multiplies the cost",
                )


def bookings_without_hours(book: "PriceBook") -> Mistakes:
    """A rate that bills bookings counts hours."""
    units = {item.code: item.unit for item in book.items}
    for at, rate in enumerate(book.rates):
        if rate.booking is not None and (rate.per or units[rate.item]) != "hour":
            yield Mistake(
                f"the item '{rate.item}' is not counted in hours, so no booking can be billed",
                ("rates", at, "booking"),
                "remove it, or give the rate 'per: hour'",
            )


CHECKS: tuple[Callable[["PriceBook"], Mistakes], ...] = (
    codes_that_stand_twice,
    codes_that_point_nowhere,
    amounts_finer_than_the_currency,
    dates_in_the_wrong_order,
    rates_that_overlap,
    teams_in_a_circle,
    steps_without_a_second_person,
    after_hours_without_hours,
    costs_not_at_one_price,
    bookings_without_hours,
)
"""The checks of a whole price book, in this order."""


def _from(rate: Rate) -> dt.date:
    return rate.valid_from or dt.date.min


ACCOUNT_FIELDS = ("facility", "project", "team", "period")
"""The fields of an account; ``debit`` may also have the ``expense_code``."""

COLUMN_FIELDS = (
    *("date", "year", "month", "day", "account", "role", "debit", "credit", "amount", "side"),
    *("currency", "description", "reference", "kind", "invoice", "project", "team", "period"),
    *("run", "facility", "journal", "line"),
)
"""The fields of a column of the CSV."""

COLUMNS = {
    name: f"{{{name}}}"
    for name in (
        *("date", "account", "debit", "credit", "currency", "description", "reference"),
        *("invoice", "run"),
    )
}
"""The columns of the CSV if the price book names none."""


def _made_of(fields: Sequence[str]) -> AfterValidator:
    def check(text: str) -> str:
        for field in Template.parse(text).fields:
            if field not in fields:
                raise ValueError(
                    f"'{text}' names the field '{field}', which is unknown here; "
                    f"the fields are {', '.join(fields)}"
                )
        return text

    return AfterValidator(check)


Account = Annotated[Code, _made_of(ACCOUNT_FIELDS)]
DebitAccount = Annotated[Code, _made_of((*ACCOUNT_FIELDS, "expense_code"))]
Column = Annotated[str, _made_of(COLUMN_FIELDS)]


class Accounts(Entry):
    """The accounts that a journal debits and credits, and the columns of its CSV."""

    debit: DebitAccount = "{expense_code}"
    """The payments of each expense code."""
    credit: Account = "{facility}"
    """The facility's income."""
    items: dict[str, Account] = Field(default_factory=dict)
    """The income from items with accounts of their own."""
    tax: Account = "{facility}-tax"
    prepaid: Account = "{facility}-prepaid"
    """The funds that invoices draw from."""
    columns: Annotated[dict[Code, Column], NotEmpty] = COLUMNS
    """The CSV's columns in order, each by its name."""


ServiceCategory = Literal[
    "AI and Machine Learning",
    "Analytics",
    "Business Applications",
    "Compute",
    "Databases",
    "Developer Tools",
    "Identity",
    "Integration",
    "Internet of Things",
    "Management and Governance",
    "Media",
    "Migration",
    "Mobile",
    "Multicloud",
    "Networking",
    "Other",
    "Security",
    "Storage",
    "Web",
]
"""The allowed values of FOCUS 1.2, column ServiceCategory."""


class Focus(Entry):
    """The service categories of a facility's items in the FOCUS dataset (docs/focus.md)."""

    service_category: ServiceCategory = "Other"
    items: dict[str, ServiceCategory] = Field(default_factory=dict)
    """The categories of items that are not in the facility's own."""


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
        # A machine's own zone files have names, such as localtime, unknown to other machines.
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
    """The expense codes that may be charged: by a pattern, a list, or both."""

    pattern: Annotated[str, AfterValidator(_pattern)] | None = None
    codes: tuple[ExpenseCode, ...] | None = None
    file: str | None = None
    """A CSV file beside the price book that adds to the list (workflow/load.py)."""


def _keys_together(keys: tuple[str, ...]) -> tuple[str, ...]:
    if EACH in keys and len(keys) > 1:
        raise ValueError(f"'{EACH}' makes each charge a line, so no other key stands beside it")
    if len(set(keys)) < len(keys):
        raise ValueError("it names a key twice")
    return keys


def _above_zero(value: Decimal) -> Decimal:
    if value <= 0:
        raise ValueError("it must be above zero")
    return value


def _one_or_several(logins: object) -> object:
    return [logins] if isinstance(logins, str) else logins


Reviewers = Annotated[tuple[Code, ...], NotEmpty, BeforeValidator(_one_or_several)]


class Approval(Entry):
    """The approval of a facility's invoices: reviewers in order; the last approval issues."""

    reviewers: Annotated[tuple[Reviewers, ...], NotEmpty]
    """The logins of each step, any one of which may approve."""
    two_persons: bool = False
    """Whether nobody may approve an invoice on which they changed something."""


class ReviewLimits(Entry):
    """The limits beyond which review reports a finding (docs/checks.md)."""

    longest_session: Step = "48h"
    """Longer sessions are implausible; an item may have its own limit."""
    unusual_spend: Annotated[Part, AfterValidator(_above_zero)] = Decimal("3.5")
    """The robust z-score above which a project's month is far from the months before."""
    least_history: Annotated[int, Field(ge=3, le=12)] = 4
    """Months that a project must have before its spend is judged by them."""


class InvoiceLines(Entry):
    """How charges become lines of an invoice (pricing/aggregation.py)."""

    by: Annotated[
        tuple[Literal["charge", "day", "user", "item", "rate", "expense_code"], ...],
        NotEmpty,
        AfterValidator(_keys_together),
        BeforeValidator(_one_or_several),
    ] = ("day", "user", "item", "rate", "expense_code")
    """Charges that agree in these stand on one line: day, user, item, rate, expense_code; or
    charge, so that each is a line."""
    above: Annotated[int, Field(ge=0)] = 300
    """Invoices with more charges than this have such lines; on others each charge is a line."""


class Facility(Entry):
    """The facility that bills: its code, currency (ISO 4217), time zone and standing texts."""

    code: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    name: str
    currency: Annotated[str, AfterValidator(_currency)]
    timezone: Annotated[str, AfterValidator(_timezone)]
    fiscal_year_start: Annotated[int, Field(ge=1, le=12)] = 1
    """The month in which a fiscal year starts; the year is named by the month it ends in."""
    crossing: Literal["whole", "split"] = "whole"
    """Whether usage across a month's end is charged whole in the later month, or cut."""
    expense_codes: ExpenseCodes | None = None
    approval: Approval | None = None
    issue: Literal["ready", "scheduled"] = "ready"
    """Whether a month is issued when a person declares it ready, or by schedule."""
    late_usage: Literal["next_run", "reissue"] = "next_run"
    """Whether usage after its month's invoice is billed by the next run, or by a reissue."""
    deliver: Literal["by_hand", "automatic"] = "by_hand"
    """Whether the monthly batch sends invoices and statements by mail, or a person does."""
    review: ReviewLimits = Field(default_factory=ReviewLimits)
    lines: InvoiceLines = Field(default_factory=InvoiceLines)
    """How charges become lines of its invoices."""
    instructions: str = ""
    contacts: str = ""
    letterhead: str = ""
    """Lines beside its name at the top of its invoices, such as its address."""
    logo: Annotated[Logo, BeforeValidator(_logo)] | None = None
    """A PNG or SVG file beside the price book (workflow/load.py)."""
    record_url: Annotated[str, AfterValidator(_record_url)] | None = None
    """The web address that checks an issued invoice, by its {number} and {fingerprint}."""
    country: Annotated[str, AfterValidator(_country)] | None = None
    """Its country (ISO 3166-1 alpha-2); the XML invoice needs it (documents/ubl.py)."""
    tax_id: Code | None = None
    """Its tax number; the XML invoice needs it if a tax is charged."""
    journal: Accounts = Accounts()
    """The accounts of the general ledger (docs/journal.md)."""
    focus: Focus = Focus()

    def fiscal_year(self, day: dt.date) -> int:
        """The fiscal year of a day."""
        later = self.fiscal_year_start > 1 and day.month >= self.fiscal_year_start
        return day.year + 1 if later else day.year


class Resource(Entry):
    """A resource with business hours; days left out and holidays are after hours all day."""

    code: Code
    name: str | None = None
    business_hours: BusinessHours = Field(default_factory=dict)
    holidays: tuple[Day, ...] = ()


class Item(Entry):
    """A billable item; ``unit: hour`` is counted by time, any other unit by quantity.

    With ``unit: cost`` the quantity is an amount of money, such as a row of a cloud bill.
    """

    code: Code
    name: str
    unit: Code
    resource: Code | None = None
    cost: Price | None = None
    """The facility's cost of a unit; shown to staff only."""
    shared: bool = False
    """Whether it has several users at a time, as a cluster; an instrument has one."""
    longest_session: Step | None = None
    """The longest plausible session, if not the facility's."""


class Tax(Entry):
    """A tax on a project's invoices, by its name."""

    name: Code
    percent: Part


class ProjectType(Entry):
    """A kind of project, the rate group it pays by, and its tax."""

    code: Code
    rate_group: Code
    tax: Tax | None = None
    lines: InvoiceLines | None = None
    """How charges become lines of its projects' invoices, if not as the facility's."""


class Team(Entry):
    """A team, which receives invoices."""

    code: Code
    name: str
    parent: Code | None = None
    """The team that this one belongs to; teams form a tree."""
    administrators: tuple[str, ...] = ()
    """The addresses that get a notice when its invoices are ready."""
    owners: tuple[str, ...] = ()
    """The addresses that get its statements; the administrators if there are none."""
    tags: tuple[Code, ...] = ()


class Share(Entry):
    """One expense code's part of a split, in per cent."""

    expense_code: Code
    percent: Percent


def check_split(shares: tuple[Share, ...]) -> tuple[Share, ...]:
    """Refuse a split that does not make 100, has a percentage of 0, or names a code twice."""
    total = sum((share.percent for share in shares), Decimal(0))
    if total != 100:
        raise ValueError(f"the split makes {plain_text(total)} %; its percentages must make 100")
    if any(share.percent <= 0 for share in shares):
        raise ValueError("every percentage of a split must be above zero")
    codes = [share.expense_code for share in shares]
    if len(set(codes)) < len(codes):
        raise ValueError("the split names an expense code twice")
    return shares


Split = Annotated[tuple[Share, ...], AfterValidator(check_split)]


class DatedSplit(Entry):
    """A split from a day until the next split's; the first has no ``valid_from``."""

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
    """A team's project with its split over expense codes, which uses and pays."""

    code: Code
    name: str | None = None
    team: Code
    type: Code
    rate_group: Code | None = None
    tags: tuple[Code, ...] = ()
    split: Split | None = None
    splits: Annotated[tuple[DatedSplit, ...], NotEmpty, AfterValidator(_in_order)] | None = None
    prepaid_low: Amount | None = None
    """The balance of prepaid funds below which staff get a notice."""
    valid_from: Day | None = None
    valid_to: Day | None = None
    """The project's last day; usage outside its days is billed and reported by review."""

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
    """All data of a facility for pricing."""

    facility: Facility
    resources: tuple[Resource, ...] = ()
    items: tuple[Item, ...]
    rates: tuple[Rate, ...]
    project_types: tuple[ProjectType, ...]
    teams: tuple[Team, ...]
    projects: tuple[Project, ...]
    rules: tuple[Rule, ...] = ()
    sources: dict[str, dict[str, Any] | None] = Field(default_factory=dict)
    """The mapping of each kind of usage file to usage records (docs/sources.md)."""
    _sha256: str | None = PrivateAttr(default=None)

    @property
    def sha256(self) -> str | None:
        """The hash of the text that it was read from, if there was one."""
        return self._sha256

    @property
    def review_steps(self) -> tuple[tuple[str, ...], ...]:
        """The reviewers of each step of approval; none if the facility names no reviewers."""
        return () if self.facility.approval is None else self.facility.approval.reviewers

    def reviewers_of(self, state: str, step: int) -> tuple[str, ...]:
        """The reviewers for whom an invoice waits in this state and step."""
        waits = state == "APPROVING" and step < len(self.review_steps)
        return self.review_steps[step] if waits else ()

    def team_of(self, project: str) -> str | None:
        """The team of a project; None if the project is unknown."""
        return next((known.team for known in self.projects if known.code == project), None)

    def rate_group(self, project: Project) -> str:
        """The rate group of a project: its own, else its type's."""
        if project.rate_group is not None:
            return project.rate_group
        return next(kind.rate_group for kind in self.project_types if kind.code == project.type)

    def lines_of(self, project: str) -> InvoiceLines:
        """How charges become lines of a project's invoices."""
        kinds = {kind.code: kind.lines for kind in self.project_types}
        own = next(
            (kinds.get(known.type) for known in self.projects if known.code == project), None
        )
        return own or self.facility.lines

    @staticmethod
    def parse(text: str, name: str) -> "PriceBook":
        """A price book from YAML text; ``name`` is the file's, for messages."""
        return _parsed(text, name)

    @staticmethod
    def of(document: Document) -> "PriceBook":
        """A price book from a document."""
        book = document.validate(PriceBook)
        check_references(book, document)
        book._sha256 = hashlib.sha256(document.text.encode()).hexdigest()
        return book


@lru_cache(maxsize=100)  # pages ask for the same texts again and again
def _parsed(text: str, name: str) -> PriceBook:
    return PriceBook.of(Document(text, name))


CODES = pl.Schema({"expense_code": pl.String(), "valid_from": pl.Date(), "valid_to": pl.Date()})


def invalid_codes(charged: pl.DataFrame, allowed: ExpenseCodes) -> pl.DataFrame:
    """The rows whose expense code may not be charged on their date, with a sentence ``problem``.

    ``charged`` has ``expense_code``, ``date``, and any other columns.
    """
    problem = pl.lit(None, dtype=pl.String)
    if allowed.codes is not None:
        problem = _not_listed(charged, allowed.codes)
    if allowed.pattern is not None:
        fits = pl.col("expense_code").str.contains(f"^(?:{allowed.pattern})$")
        odd = pl.format(
            "the expense code '{}' does not match the pattern {}",
            "expense_code",
            pl.lit(allowed.pattern),
        )
        problem = pl.when(~fits).then(odd).otherwise(problem)
    return charged.with_columns(problem=problem).filter(pl.col("problem").is_not_null())


def _not_listed(charged: pl.DataFrame, codes: Sequence[ExpenseCode]) -> pl.Expr:
    listed = pl.DataFrame(
        [
            (code.code, code.valid_from or dt.date.min, code.valid_to or dt.date.max)
            for code in codes
        ],
        schema=CODES,
        orient="row",
    )
    numbered = charged.select("expense_code", "date").with_row_index("at")
    matched = numbered.join(listed, on="expense_code", how="left", maintain_order="left")
    valid = pl.col("date").is_between("valid_from", "valid_to").fill_null(value=False)
    rows = matched.group_by("at", maintain_order=True).agg(
        known=pl.col("valid_from").is_not_null().any(), valid=valid.any()
    )
    unknown = pl.format("the expense code '{}' is not among those allowed", "expense_code")
    expired = pl.format("the expense code '{}' is not valid on {}", "expense_code", "date")
    return (
        pl.when(~pl.lit(rows["known"]))
        .then(unknown)
        .when(~pl.lit(rows["valid"]))
        .then(expired)
        .otherwise(pl.lit(None, dtype=pl.String))
    )
