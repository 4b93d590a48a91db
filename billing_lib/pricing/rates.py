"""Rates: the price of an item for one rate group between two dates.

    {item: slide, group: internal, price: "1.25"}                              flat
    {item: scope, group: internal, price: "40.00", after_hours: "25.00"}       two prices by time
    {item: laser, group: internal, price: "30.00", bands: [{name: peak, …}]}   prices by the week
    {item: disk, group: internal, tiers: {mode: graduated, steps: […]}}        prices by quantity

A rate is one of these four; minimum, step and service fee go with each. A charge keeps a copy
of its rate, the canonical JSON ``body``, named by its fingerprint.
"""

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from billing_lib.pricing.fields import (
    Bound,
    Code,
    Day,
    Entry,
    NotEmpty,
    Part,
    Price,
    Step,
    WrongKey,
    body_of,
)
from billing_lib.pricing.hours import BandHours
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


def check_bounds(bounds: Sequence[Decimal | None]) -> None:
    """Refuse steps that do not rise, or do not end open.

    Raises
    ------
    ValueError
        Which of the two.
    """
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


def _rising(steps: tuple[TierStep, ...]) -> tuple[TierStep, ...]:
    check_bounds([step.up_to for step in steps])
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
            raise WrongKey("percent", "a subsidy says either 'percent' or 'price'")
        if self.percent is not None and self.percent > 100:
            raise WrongKey("percent", "a subsidy pays at most 100 %")
        return self


class Rate(Entry):
    """The price of an item for one rate group, valid from and to the dates named."""

    item: Code
    group: Code
    price: Price | None = None
    after_hours: Price | None = None
    bands: Annotated[tuple[Band, ...], NotEmpty] | None = None
    tiers: Tiers | None = None
    per: Literal["hour", "each", "use", "day"] | None = None
    minimum: Price | None = None
    service_fee: Price | None = None
    rounding_step: Step | None = None
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
        return self

    @property
    def pricing(self) -> str:
        """Which of the four ways."""
        if self.after_hours is not None:
            return HOURS
        return BANDS if self.bands else TIERS if self.tiers else FLAT

    @property
    def body(self) -> str:
        """The rate as canonical JSON: sorted keys, decimals as text, nothing left open."""
        return body_of(self)

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the body's sha256: the name of a kept rate."""
        return hashlib.sha256(self.body.encode()).hexdigest()[:16]
