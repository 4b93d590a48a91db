"""Rates and rules: the prices of items, and the changes to totals.

    {item: slide, group: internal, price: "1.25"}                              flat
    {item: scope, group: internal, price: "40.00", after_hours: "25.00"}       two prices by time
    {item: laser, group: internal, price: "30.00", bands: [{name: peak, …}]}   prices by the week
    {item: disk, group: internal, tiers: {mode: graduated, steps: […]}}        prices by quantity
    {item: disk, group: internal, price: "4.00", per: month}                   flat, by days
    {item: scope, group: internal, price: "40.00", booking: longer}            booked or used time

A rate is the price of an item for one rate group between two dates, in one of these four ways,
each with minimum, step and service fee. A charge keeps a copy of its rate, the canonical JSON
``body``, named by its fingerprint. Rules apply at exactly one scope each, in the order listed
(pricing/charging.py, pricing/invoicing.py):

    {name: pilot price, scope: charge, kind: scale, factor: "0.90", items: [slide]}
    {name: cap p1, scope: invoice, kind: cap, amount: "500.00", tags: [pilot]}
    {name: courtesy, scope: statement, kind: discount, amount: "3.00"}
    {name: user cap, scope: invoice, kind: cap, amount: "100.00", over: month, by: user}
"""

import hashlib
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, model_validator

from billing_lib.pricing.clock import BandHours
from billing_lib.pricing.fields import (
    Bound,
    Code,
    Day,
    Entry,
    Factor,
    NotEmpty,
    Part,
    Price,
    RuleAmount,
    Step,
    WrongKey,
    body_of,
)
from billing_lib.pricing.money import plain_text

FLAT, HOURS, BANDS, TIERS = "flat", "hours", "bands", "tiers"
"""The four ways in which a rate prices."""


class Band(Entry):
    """A price, and a minimum, for some hours of the week."""

    name: Code
    hours: BandHours
    price: Price
    minimum: Price | None = None


class TierStep(Entry):
    """A price up to and including a quantity; the last step has no end."""

    up_to: Bound | None
    price: Price


_Steps = TypeVar("_Steps", bound="tuple[TierStep | FactorStep, ...]")


def _rising(steps: _Steps) -> _Steps:
    """Refuse steps that do not rise, or do not end open."""
    bounds = [step.up_to for step in steps]
    if not bounds or bounds[-1] is not None:
        raise ValueError("the steps have no end; the last one is 'up_to: null'")
    closed = [bound for bound in bounds[:-1] if bound is not None]
    if len(closed) < len(bounds) - 1:
        raise ValueError("only the last step is 'up_to: null'")
    for lower, upper in pairwise([Decimal(0), *closed]):
        if upper <= lower:
            raise ValueError(
                f"the steps are out of order: {plain_text(upper)} after {plain_text(lower)}"
            )
    return steps


class Tiers(Entry):
    """Prices by quantity: of each part (graduated) or of all (volume)."""

    mode: Literal["graduated", "volume"]
    per: Literal["charge", "project"] = "charge"
    steps: Annotated[tuple[TierStep, ...], AfterValidator(_rising)]


class Subsidy(Entry):
    """The part of a rate that a third party pays: a percentage, or a price per unit."""

    by: Code
    percent: Part | None = None
    price: Price | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.percent is None) == (self.price is None):
            raise WrongKey("percent", "a subsidy has either 'percent' or 'price'")
        if self.percent is not None and self.percent > 100:
            raise WrongKey("percent", "a subsidy pays at most 100 %")
        return self


class Rate(Entry):
    """The price of an item for one rate group between two dates."""

    item: Code
    group: Code
    price: Price | None = None
    after_hours: Price | None = None
    bands: Annotated[tuple[Band, ...], NotEmpty] | None = None
    tiers: Tiers | None = None
    per: Literal["hour", "each", "use", "day", "month", "snapshot", "daily_snapshot"] | None = None
    minimum: Price | None = None
    service_fee: Price | None = None
    rounding_step: Step | None = None
    booking: Literal["longer"] | None = None
    no_show: Price | None = None
    subsidy: Subsidy | None = None
    valid_from: Day | None = None
    valid_to: Day | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [key for key in ("after_hours", "bands", "tiers") if getattr(self, key) is not None]
        if len(ways) > 1:
            raise WrongKey(ways[1], f"a rate cannot have both '{ways[0]}' and '{ways[1]}'")
        if self.price is None and self.tiers is None:
            raise WrongKey("price", "the key 'price' is missing", "add it")
        if self.price is not None and self.tiers is not None:
            raise WrongKey("price", "a rate with 'tiers' has no price beside them", "remove one")
        self._check_monthly()
        if self.booking is not None and self.per not in (None, "hour"):
            raise WrongKey("booking", f"a rate with 'per: {self.per}' bills no time", "remove it")
        if self.no_show is not None and self.booking is None:
            raise WrongKey("no_show", "'no_show' needs 'booking'", "say booking: longer")
        return self

    def _check_monthly(self) -> None:
        """A price for a month has one price, and a mean of many records no minimum of one."""
        if self.per not in ("month", "snapshot", "daily_snapshot"):
            return
        without = ["after_hours", "bands", "tiers", "rounding_step"]
        if self.per != "month":
            without += ["minimum", "service_fee"]
        for key in without:
            if getattr(self, key) is not None:
                raise WrongKey(key, f"a rate with 'per: {self.per}' has no '{key}'", "remove it")

    @property
    def pricing(self) -> str:
        """The way in which the rate prices, one of the four."""
        if self.after_hours is not None:
            return HOURS
        return BANDS if self.bands else TIERS if self.tiers else FLAT

    @property
    def body(self) -> str:
        """The rate as canonical JSON: sorted keys, decimals as text."""
        return body_of(self)

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the body's sha256, by which charges name their rate."""
        return hashlib.sha256(self.body.encode()).hexdigest()[:16]


CHARGE, INVOICE, STATEMENT = "charge", "invoice", "statement"

_NEEDS = {
    "cap": "amount",
    "floor": "amount",
    "fee": "amount",
    "discount": "amount",
    "scale": "factor",
    "tier": "steps",
}


class FactorStep(Entry):
    """A factor for the part of an amount up to a bound; the last step has no end."""

    up_to: RuleAmount | None
    factor: Factor


MONTHS_OF_SPAN = {"day": 1, "month": 1, "quarter": 3, "fiscal_year": 12}
"""By the span of a cap or floor the number of months whose invoices it counts."""

Targets = Annotated[tuple[Code, ...], NotEmpty]


class Rule(Entry):
    """A change to totals; ``tags``, ``projects`` and ``items`` choose its targets."""

    name: Code
    scope: Literal["charge", "invoice", "statement"]
    kind: Literal["cap", "floor", "scale", "tier", "fee", "discount"]
    amount: RuleAmount | None = None
    factor: Factor | None = None
    steps: Annotated[tuple[FactorStep, ...], AfterValidator(_rising)] | None = None
    tags: Targets | None = None
    projects: Targets | None = None
    items: Targets | None = None
    over: Literal["day", "month", "quarter", "fiscal_year"] | None = None
    by: Literal["project", "team", "user"] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        needed = _NEEDS[self.kind]
        for key in ("amount", "factor", "steps"):
            if (getattr(self, key) is not None) != (key == needed):
                wants = f"needs the key '{key}'" if key == needed else f"has no key '{key}'"
                raise WrongKey(key, f"a rule of kind '{self.kind}' {wants}")
        if self.scope == STATEMENT and (self.items or self.projects):
            key = "items" if self.items else "projects"
            raise WrongKey(
                key, f"a rule at statement scope has no '{key}'", "it works on the whole total"
            )
        self._check_span()
        return self

    def _check_span(self) -> None:
        if self.over is None and self.by is None:
            return
        key = "by" if self.over is None else "over"
        if self.kind not in ("cap", "floor"):
            raise WrongKey(key, "only a cap or a floor works over a span", f"remove '{key}'")
        if self.over is None:
            raise WrongKey("by", "'by' needs 'over'", f"say over: {', '.join(MONTHS_OF_SPAN)}")
        if self.scope == CHARGE:
            raise WrongKey("over", f"a {self.kind} over a span works at invoice or statement scope")
        if self.scope == STATEMENT and self.by not in (None, "team"):
            raise WrongKey("by", f"at statement scope a {self.kind} counts by team")
        if self.scope == STATEMENT and self.over == "day":
            raise WrongKey("over", "a statement has no days", "put the rule at invoice scope")

    def is_due(self, month: int, fiscal_year_start: int) -> bool:
        """Whether it works on invoices of this month of the year.

        A floor over several months is known when they are over, so it works in the last one.
        """
        if self.over is None or self.kind != "floor":
            return True
        months = MONTHS_OF_SPAN[self.over]
        return (month - fiscal_year_start) % months == months - 1

    @property
    def carries_by(self) -> str | None:
        """The key of a rule over a span: project, team or user; None for every other rule."""
        if self.over is None:
            return None
        return self.by or ("team" if self.scope == STATEMENT else "project")

    @property
    def body(self) -> str:
        """The rule as canonical JSON."""
        return body_of(self)

    def targets_project(self, project: str, tags: set[str]) -> bool:
        """Whether it applies to a project that has these tags."""
        tagged = self.tags is None or not tags.isdisjoint(self.tags)
        return tagged and (self.projects is None or project in self.projects)

    def amount_minor(self, places: int) -> int:
        """The amount in minor units."""
        return int((self.amount or Decimal(0)).scaleb(places))
