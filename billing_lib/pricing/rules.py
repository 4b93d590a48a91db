"""Rules: what a price book does to totals, each at exactly one scope, in the order listed.

    {name: pilot price, scope: charge, kind: scale, factor: "0.90", items: [slide]}
    {name: cap p1, scope: invoice, kind: cap, amount: "500.00", tags: [pilot]}
    {name: courtesy, scope: statement, kind: discount, amount: "3.00"}

A rule is checked here; pricing/ruling.py applies it to columns.
"""

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from billing_lib.pricing.fields import Code, Entry, Factor, NotEmpty, RuleAmount, WrongKey, body_of
from billing_lib.pricing.rates import check_bounds

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


def _rising(steps: tuple[FactorStep, ...]) -> tuple[FactorStep, ...]:
    check_bounds([step.up_to for step in steps])
    return steps


Targets = Annotated[tuple[Code, ...], NotEmpty]


class Rule(Entry):
    """One rule; ``tags``, ``projects`` and ``items`` say what it works on."""

    name: Code
    scope: Literal["charge", "invoice", "statement"]
    kind: Literal["cap", "floor", "scale", "tier", "fee", "discount"]
    amount: RuleAmount | None = None
    factor: Factor | None = None
    steps: Annotated[tuple[FactorStep, ...], AfterValidator(_rising)] | None = None
    tags: Targets | None = None
    projects: Targets | None = None
    items: Targets | None = None
    over: Literal["quarter", "fiscal_year"] | None = None
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
        if self.kind != "cap":
            raise WrongKey(key, "only a cap counts earlier months", f"remove '{key}'")
        if self.over is None:
            raise WrongKey("by", "'by' needs 'over'", "say over: quarter or over: fiscal_year")
        if self.scope == CHARGE:
            raise WrongKey("over", "a cap over months works at invoice or statement scope")
        if self.scope == STATEMENT and self.by not in (None, "team"):
            raise WrongKey("by", "at statement scope a cap counts by team")

    @property
    def carries_by(self) -> str | None:
        """What a cap over a span counts by; None for every other rule."""
        if self.over is None:
            return None
        return self.by or ("team" if self.scope == STATEMENT else "project")

    @property
    def body(self) -> str:
        """The rule as canonical JSON."""
        return body_of(self)

    def targets_project(self, project: str, tags: set[str]) -> bool:
        """Whether it works on a project that has these tags."""
        tagged = self.tags is None or not tags.isdisjoint(self.tags)
        return tagged and (self.projects is None or project in self.projects)

    def amount_minor(self, places: int) -> int:
        """The amount in minor units."""
        return int((self.amount or Decimal(0)).scaleb(places))
