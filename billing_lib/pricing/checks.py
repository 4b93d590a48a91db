"""Checks of a price book as a whole: what one entry alone cannot know.

Each check is a function from the book to the mistakes it finds, listed in CHECKS: codes that
stand twice or point nowhere, amounts finer than the currency, rates that overlap, tags that
nobody has. To add a check is to write a function and name it in the list.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

from billing_lib.errors import InvalidPriceBook
from billing_lib.pricing.money import minor_places
from billing_lib.pricing.rates import Rate
from billing_lib.pricing.yaml_text import Document, KeyPath

if TYPE_CHECKING:
    from billing_lib.pricing.pricebook import PriceBook


@dataclass(frozen=True)
class Mistake:
    """What is wrong, the keys that lead to it, and what to do."""

    what: str
    place: KeyPath
    remedy: str | None = None
    beside: KeyPath | None = None
    """Another place that the sentence ends with."""


Mistakes = Iterator[Mistake]


def check_references(book: "PriceBook", document: Document) -> None:
    """Refuse a price book with a mistake that CHECKS find.

    Raises
    ------
    InvalidPriceBook
        The first of them, with file, line and key.
    """
    for check in CHECKS:
        for mistake in check(book):
            beside = document.where(*mistake.beside) if mistake.beside else ""
            raise InvalidPriceBook(
                mistake.what + beside,
                where=document.where(*mistake.place),
                remedy=mistake.remedy,
            )


def codes_that_stand_twice(book: "PriceBook") -> Mistakes:
    """A code names one entry."""
    for section in ("resources", "items", "project_types", "teams", "projects"):
        yield from _twice(section, "code", [entry.code for entry in getattr(book, section)])
    carrying = [rule.name for rule in book.rules if rule.over is not None]
    for at, rule in enumerate(book.rules):
        if rule.over is not None and carrying.count(rule.name) > 1:
            what = f"two caps over a span have the name '{rule.name}'"
            yield Mistake(what, ("rules", at, "name"), "give each its own name")


def codes_that_point_nowhere(book: "PriceBook") -> Mistakes:
    """What an entry names is defined."""
    known = {
        "resource": {resource.code for resource in book.resources},
        "item": {item.code for item in book.items},
        "team": {team.code for team in book.teams},
        "project type": {kind.code for kind in book.project_types},
        "project": {project.code for project in book.projects},
    }
    known["tag"] = {tag for team in book.teams for tag in team.tags}
    known["tag"] |= {tag for project in book.projects for tag in project.tags}
    for code, what, place in _named(book):
        if code not in known[what]:
            yield Mistake(
                f"the {what} '{code}' is not defined"
                if what != "tag"
                else f"no team or project has the tag '{code}'",
                place,
                "define it or correct its spelling",
            )


def _named(book: "PriceBook") -> Iterator[tuple[str, str, KeyPath]]:
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
        for key, what in (("items", "item"), ("projects", "project"), ("tags", "tag")):
            for index, code in enumerate(getattr(rule, key) or ()):
                yield code, what, ("rules", at, key, index)


def amounts_finer_than_the_currency(book: "PriceBook") -> Mistakes:
    """Amounts and minimums are whole minor units; only prices may be finer."""
    places = minor_places(book.facility.currency)
    for what, amount, place in _amounts(book):
        if amount is not None and amount != round(amount, places):
            yield Mistake(f"the {what} '{amount}' has more than {places} decimal places", place)


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
    """What is valid ends after it starts."""
    for at, rate in enumerate(book.rates):
        if rate.valid_from and rate.valid_to and rate.valid_to < rate.valid_from:
            yield Mistake("the rate ends before it starts", ("rates", at, "valid_to"))
    for at, project in enumerate(book.projects):
        if project.valid_from and project.valid_to and project.valid_to < project.valid_from:
            yield Mistake("the project ends before it starts", ("projects", at, "valid_to"))
    codes = book.facility.expense_codes
    for at, code in enumerate((codes and codes.codes) or ()):
        if code.valid_from and code.valid_to and code.valid_to < code.valid_from:
            place = ("facility", "expense_codes", "codes", at, "valid_to")
            yield Mistake("the expense code ends before it starts", place)


def rates_that_overlap(book: "PriceBook") -> Mistakes:
    """At most one rate per item, group and date."""
    keyed = sorted(
        enumerate(book.rates),
        key=lambda pair: (pair[1].item, pair[1].group, _from(pair[1]), pair[0]),
    )
    for (earlier_at, earlier), (later_at, later) in pairwise(keyed):
        same = (earlier.item, earlier.group) == (later.item, later.group)
        if same and _from(later) <= (earlier.valid_to or dt.date.max):
            yield Mistake(
                f"two rates for item '{later.item}' and group '{later.group}' are both valid on "
                f"{max(_from(later), _from(earlier))}, this one and the one at ",
                ("rates", later_at),
                "end one before the other starts",
                beside=("rates", earlier_at),
            )


def teams_in_a_circle(book: "PriceBook") -> Mistakes:
    """Teams form a tree: none belongs, over others, to itself."""
    parents = {team.code: team.parent for team in book.teams}
    for at, team in enumerate(book.teams):
        above, seen = team.parent, {team.code}
        while above is not None and above not in seen:
            seen.add(above)
            above = parents[above]
        if above == team.code:
            yield Mistake(f"the team '{above}' belongs to itself", ("teams", at, "parent"))


def after_hours_without_hours(book: "PriceBook") -> Mistakes:
    """After hours are those of the item's resource."""
    resources = {item.code: item.resource for item in book.items}
    for at, rate in enumerate(book.rates):
        if rate.after_hours is not None and resources[rate.item] is None:
            yield Mistake(
                f"the item '{rate.item}' has no resource, so no hours are its business hours",
                ("rates", at, "after_hours"),
                "name a resource with business_hours on the item",
            )


CHECKS: tuple[Callable[["PriceBook"], Mistakes], ...] = (
    codes_that_stand_twice,
    codes_that_point_nowhere,
    amounts_finer_than_the_currency,
    dates_in_the_wrong_order,
    rates_that_overlap,
    teams_in_a_circle,
    after_hours_without_hours,
)
"""What is checked of a whole price book, in this order."""


def _twice(section: str, key: str, codes: list[str]) -> Mistakes:
    seen: set[str] = set()
    for index, code in enumerate(codes):
        if code in seen:
            yield Mistake(
                f"the {key} '{code}' stands twice under '{section}'",
                (section, index, key),
                f"give each its own {key}",
            )
        seen.add(code)


def _from(rate: Rate) -> dt.date:
    return rate.valid_from or dt.date.min
