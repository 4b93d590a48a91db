"""The catalogue: a price book as frames, which is what columns are priced against.

A price book becomes a catalogue when usage is rated; a snapshot holds one as Parquet files, so
that issuing needs no price book. Rates in a snapshot are the kept copies, as they were.

    rates     rate              item   group     pricing  price  minimum  step  valid_from  …
              3f0c…             slide  internal  flat     1.25   null     null  0001-01-01
    accounts  project  team       rate_group  from        position  expense_code  percent
              p1       smith-lab  internal    0001-01-01  0         370-1         600000
"""

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import polars as pl

from billing_lib.pricing.fields import step_microseconds
from billing_lib.pricing.money import PERCENT_PLACES, PRICE_PLACES, minor_places, to_minor
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rates import Rate
from billing_lib.pricing.rules import Rule

PRICE = pl.Decimal(38, PRICE_PLACES)
"""A price: exact, six places, in the currency's unit."""

HOUR, EACH, USE, DAY = "hour", "each", "use", "day"
"""What a rate can count; hour is also the unit of items that are counted by time."""

_Made = TypeVar("_Made")

_SPAN = pl.Struct({"days": pl.String(), "hours": pl.String()})

RESOURCES = pl.Schema(
    {
        "resource": pl.String(),
        "business_hours": pl.List(_SPAN),
        "holidays": pl.List(pl.Date()),
    }
)
ITEMS = pl.Schema(
    {
        "item": pl.String(),
        "item_name": pl.String(),
        "unit": pl.String(),
        "resource": pl.String(),
        "cost": PRICE,  # per unit, for staff only
    }
)
RATES = pl.Schema(
    {
        "rate": pl.String(),  # fingerprint of the rate's body
        "item": pl.String(),
        "rate_group": pl.String(),
        "pricing": pl.String(),  # flat, hours, bands or tiers; details are in the body
        "per": pl.String(),  # null: by the item's unit
        "price": PRICE,  # null with tiers
        "minimum": pl.Int64(),  # minor units
        "service_fee": pl.Int64(),
        "step": pl.Int64(),  # microseconds
        "valid_from": pl.Date(),
        "valid_to": pl.Date(),  # inclusive
        "body": pl.String(),  # canonical JSON, as the price book said it
    }
)
ACCOUNTS = pl.Schema(
    {
        "project": pl.String(),
        "project_name": pl.String(),
        "project_type": pl.String(),
        "rate_group": pl.String(),
        "tags": pl.List(pl.String()),  # the project's own and its team's
        "tax_name": pl.String(),
        "tax_percent": pl.Int64(),  # ten-thousandths of a per cent
        "team": pl.String(),
        "team_name": pl.String(),
        "team_tags": pl.List(pl.String()),
        "administrators": pl.List(pl.String()),
        "split_from": pl.Date(),  # the first and last day of this split
        "split_to": pl.Date(),
        "position": pl.Int32(),  # of the share in the split, from 0
        "expense_code": pl.String(),
        "percent": pl.Int64(),  # ten-thousandths of a per cent
    }
)
RULES = pl.Schema(
    {
        "position": pl.Int32(),  # in the order listed
        "name": pl.String(),
        "scope": pl.String(),
        "body": pl.String(),  # canonical JSON
    }
)


@dataclass(frozen=True)
class Catalogue:
    """All that pricing reads of a facility, with its currency's places and time zone."""

    places: int
    timezone: str
    resources: pl.DataFrame
    items: pl.DataFrame
    rates: pl.DataFrame
    accounts: pl.DataFrame
    rules: pl.DataFrame
    _made: dict[Callable[["Catalogue"], Any], Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, book: PriceBook) -> "Catalogue":
        """The catalogue that a price book states."""
        places = minor_places(book.facility.currency)
        return cls(
            places=places,
            timezone=book.facility.timezone,
            resources=_resources_frame(book),
            items=pl.DataFrame(
                [(it.code, it.name, it.unit, it.resource, it.cost) for it in book.items],
                schema=ITEMS,
                orient="row",
            ),
            rates=rates_frame(book.rates, places),
            accounts=_accounts_frame(book),
            rules=pl.DataFrame(
                [(at, rule.name, rule.scope, rule.body) for at, rule in enumerate(book.rules)],
                schema=RULES,
                orient="row",
            ),
        )

    def once(self, make: Callable[["Catalogue"], _Made]) -> _Made:
        """What a function makes of this catalogue: made when first asked for, then kept.

        Usage that is priced in chunks needs the same tables for each of them, and to make them
        anew takes as long as to price some ten thousand records. Threads that ask at the same
        time may each make it, which does no harm.
        """
        if make not in self._made:
            self._made[make] = make(self)
        made: _Made = self._made[make]
        return made

    @property
    def projects(self) -> pl.DataFrame:
        """The accounts, one row per project."""
        return self.once(_projects)

    def rules_at(self, scope: str) -> list[tuple[int, Rule]]:
        """The rules of one scope, in the order listed, each with its position."""
        return self.once(_rules).get(scope, [])


def _projects(catalogue: Catalogue) -> pl.DataFrame:
    return catalogue.accounts.unique("project", keep="first", maintain_order=True)


def _rules(catalogue: Catalogue) -> dict[str, list[tuple[int, Rule]]]:
    listed = catalogue.rules.sort("position").select("scope", "position", "body")
    by_scope: dict[str, list[tuple[int, Rule]]] = {}
    for scope, position, body in listed.iter_rows():
        by_scope.setdefault(scope, []).append((position, Rule.model_validate_json(body)))
    return by_scope


def rates_frame(rates: Iterable[Rate], places: int) -> pl.DataFrame:
    """Rates as a frame (schema RATES); an open validity is filled with the calendar's ends."""
    rows = [
        (
            rate.fingerprint,
            rate.item,
            rate.group,
            rate.pricing,
            rate.per,
            rate.price,
            None if rate.minimum is None else to_minor(rate.minimum, places),
            None if rate.service_fee is None else to_minor(rate.service_fee, places),
            None if rate.rounding_step is None else step_microseconds(rate.rounding_step),
            rate.valid_from or dt.date.min,
            rate.valid_to or dt.date.max,
            rate.body,
        )
        for rate in rates
    ]
    return pl.DataFrame(rows, schema=RATES, orient="row")


def _resources_frame(book: PriceBook) -> pl.DataFrame:
    rows = [
        (
            resource.code,
            [{"days": days, "hours": span} for days, span in resource.business_hours.items()],
            list(resource.holidays),
        )
        for resource in book.resources
    ]
    return pl.DataFrame(rows, schema=RESOURCES, orient="row")


def _accounts_frame(book: PriceBook) -> pl.DataFrame:
    teams = {team.code: team for team in book.teams}
    taxes = {kind.code: kind.tax for kind in book.project_types}
    rows = []
    for project in book.projects:
        team, tax = teams[project.team], taxes[project.type]
        splits = project.dated_splits()
        ends = [later.valid_from for later in splits[1:]]
        for split, next_from in zip(splits, [*ends, None], strict=True):
            rows += [
                (
                    project.code,
                    project.name,
                    project.type,
                    book.rate_group(project),
                    [*project.tags, *team.tags],
                    tax.name if tax else None,
                    int(tax.percent.scaleb(PERCENT_PLACES)) if tax else None,
                    team.code,
                    team.name,
                    list(team.tags),
                    list(team.administrators),
                    split.valid_from or dt.date.min,
                    next_from - dt.timedelta(days=1) if next_from else dt.date.max,
                    position,
                    share.expense_code,
                    int(share.percent.scaleb(PERCENT_PLACES)),
                )
                for position, share in enumerate(split.split)
            ]
    return pl.DataFrame(rows, schema=ACCOUNTS, orient="row")
