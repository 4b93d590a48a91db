"""A scenario: a price book, usage, adjustments and expected results, in one YAML file.

Staff use it for what-if questions and quotations, tests for exactness; it is priced without any
database. The keys and their arithmetic are in docs/scenario-format.md.

    usage:  [{id: u1, item: slide, project: p1, date: 2020-04-07, quantity: "12"}]
    expect: {charges: {u1: {total: "15.00"}}}

    billing quote what-if.yml           the result as JSON
    billing quote --check what-if.yml   the differences from ``expect``
"""

import re
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any, Self

import polars as pl
from pydantic import AwareDatetime, BeforeValidator, Field, model_validator

from billing_lib.errors import InvalidAdjustment, InvalidPeriod, InvalidPriceBook
from billing_lib.pricing.adjusting import (
    ADJUSTMENTS,
    FIELDS,
    LINE_FIELDS,
    LINES,
    adjustment_value,
    moved,
)
from billing_lib.pricing.charge import as_text
from billing_lib.pricing.charging import Charges, charge_usage
from billing_lib.pricing.clock import Period, cut_to_period
from billing_lib.pricing.fields import USAGE, Amount, Code, Day, Elapsed, Entry, Quantity
from billing_lib.pricing.invoicing import YEAR_TO_DATE, Invoices, invoice_charges, statements
from billing_lib.pricing.money import minor_places, to_minor
from billing_lib.pricing.pricebook import PriceBook, check_references
from billing_lib.pricing.rating import Catalogue, due_rules, rate_usage
from billing_lib.pricing.yaml_text import Document


def _instant(value: object) -> object:
    # Left to itself, pydantic takes 86400 for an instant in seconds since 1970.
    if isinstance(value, str) and re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]", value) is None:
        raise ValueError(f"'{value}' is not a time; write it as \"2020-04-06T17:00:00-04:00\"")
    return value


Instant = Annotated[AwareDatetime, BeforeValidator(_instant)]


class UsageEntry(Entry):
    """One usage record: with start and end, or with a date, or both and a quantity; or booked."""

    id: Code
    item: Code
    project: Code
    user: str | None = None
    start: Instant | None = None
    end: Instant | None = None
    date: Day | None = None
    elapsed: Elapsed | None = None
    booked_start: Instant | None = None
    booked_end: Instant | None = None
    units: Quantity = Decimal(1)
    quantity: Quantity | None = None
    description: str | None = None


class AddedLine(Entry):
    """A charge with no usage."""

    project: Code
    date: Day
    description: str
    amount: Amount
    expense_code: Code | None = None


class AdjustmentEntry(Entry):
    """A change to a charge, or an added line, with who, when and why."""

    charge: Code | None = None
    set: dict[str, Any] | None = None
    add_line: AddedLine | None = None
    by: str
    at: Instant
    reason: str

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        changes = self.charge is not None and self.set
        if bool(changes) == (self.add_line is not None):
            raise ValueError("an adjustment has either 'charge' and 'set', or 'add_line'")
        return self


class Expectation(Entry):
    """The expected results; only those listed are compared."""

    charges: dict[str, dict[str, str]] = Field(default_factory=dict)
    splits: dict[str, dict[str, str]] = Field(default_factory=dict)
    invoices: dict[str, dict[str, Any]] = Field(default_factory=dict)
    statements: dict[str, dict[str, str]] = Field(default_factory=dict)
    unbilled: dict[str, str] = Field(default_factory=dict)


class Scenario(PriceBook):
    """A whole scenario."""

    scenario: str = ""
    period: str
    usage: tuple[UsageEntry, ...] = ()
    adjustments: tuple[AdjustmentEntry, ...] = ()
    carried: dict[str, dict[str, Amount]] = Field(default_factory=dict)
    """The totals of rules over a span in earlier months, by the rule's name and its key."""
    expect: Expectation = Expectation()

    @classmethod
    def parse(cls, text: str, name: str) -> Self:
        """A scenario from YAML text; ``name`` is the file's, for messages."""
        document = Document(text, name)
        scenario = document.validate(cls)
        check_references(scenario, document)
        try:
            Period.parse(scenario.period)
        except InvalidPeriod as error:
            raise InvalidPeriod(
                error.what, where=document.where("period"), remedy=error.remedy
            ) from None
        _check_adjustments(scenario, document)
        _check_carried(scenario, document)
        return scenario

    def usage_frame(self) -> pl.DataFrame:
        """The usage as a usage frame (pricing/fields.py); the row is the entry's place."""
        rows = [
            {
                "record": entry.id,
                "file": self.scenario,
                "row": row,
                **entry.model_dump(exclude={"id"}),
            }
            for row, entry in enumerate(self.usage, start=1)
        ]
        frame = pl.DataFrame(rows, schema={k: v for k, v in USAGE.items() if k != "occurrence"})
        occurrence = pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("record")
        return frame.with_columns(occurrence=occurrence).select(USAGE.names())

    def carried_frame(self) -> pl.DataFrame:
        """The earlier totals of rules over a span (schema YEAR_TO_DATE)."""
        places = minor_places(self.facility.currency)
        rows = [
            (rule, key, to_minor(amount, places))
            for rule, keys in self.carried.items()
            for key, amount in keys.items()
        ]
        return pl.DataFrame(rows, schema=YEAR_TO_DATE, orient="row")

    def adjustment_frames(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The adjustments (schema ADJUSTMENTS) and the added lines (schema LINES)."""
        places = minor_places(self.facility.currency)
        changes: list[dict[str, Any]] = []
        lines: list[dict[str, Any]] = []
        for order, entry in enumerate(self.adjustments):
            event = {"by": entry.by, "at": entry.at.isoformat(), "reason": entry.reason}
            if entry.add_line is not None:
                line = entry.add_line.model_dump() | {
                    "charge": f"line-{len(lines) + 1}",
                    "amount": to_minor(entry.add_line.amount, places),
                }
                lines.append(line | event)
            for field, value in (entry.set or {}).items():
                change = {"order": order, "charge": entry.charge, "field": field}
                changes.append(change | {"value": adjustment_value(field, value, places)} | event)
        return pl.DataFrame(changes, schema=ADJUSTMENTS), pl.DataFrame(lines, schema=LINES)


_SPELLING = "define it or correct its spelling"


def _check_adjustments(scenario: Scenario, document: Document) -> None:
    charges = {entry.id for entry in scenario.usage}
    lines: set[str] = set()
    for index, entry in enumerate(scenario.adjustments):
        if entry.add_line is None:
            _check_changes(scenario, document, index, charges, lines)
        else:
            lines.add(f"line-{len(lines) + 1}")
            _check_line(scenario, document, index, entry.add_line)
    for row, usage in enumerate(scenario.usage):
        if usage.id in lines:
            raise InvalidPriceBook(
                f"the id '{usage.id}' is that of an added line",
                where=document.where("usage", row, "id"),
                remedy="give the usage another id",
            )


def _check_changes(
    scenario: Scenario, document: Document, index: int, charges: set[str], lines: set[str]
) -> None:
    entry, place = scenario.adjustments[index], ("adjustments", index)
    if entry.charge not in charges | lines:
        raise InvalidPriceBook(
            f"there is no usage or added line '{entry.charge}'",
            where=document.where(*place, "charge"),
            remedy="name a usage record's id, or line-1 for the first line added above",
        )
    allowed = FIELDS if entry.charge in charges else LINE_FIELDS
    for field, value in (entry.set or {}).items():
        where = document.where(*place, "set", field)
        if field not in allowed:
            raise InvalidPriceBook(
                f"'{field}' cannot be set", where=where, remedy=f"set one of {', '.join(allowed)}"
            )
        if field == "project":
            _check_project(scenario, value, where)
        try:
            adjustment_value(field, value, minor_places(scenario.facility.currency))
        except InvalidAdjustment as error:
            raise InvalidPriceBook(error.what, where=where) from None


def _check_line(scenario: Scenario, document: Document, index: int, line: AddedLine) -> None:
    place = ("adjustments", index, "add_line")
    _check_project(scenario, line.project, document.where(*place, "project"))
    _check_amount(scenario, line.amount, document.where(*place, "amount"))


def _check_project(scenario: Scenario, code: object, where: str) -> None:
    if code not in {project.code for project in scenario.projects}:
        raise InvalidPriceBook(
            f"the project '{code}' is not defined", where=where, remedy=_SPELLING
        )


def _check_amount(scenario: Scenario, amount: Decimal, where: str) -> None:
    try:
        to_minor(amount, minor_places(scenario.facility.currency))
    except ValueError as error:
        raise InvalidPriceBook(str(error), where=where) from None


def _check_carried(scenario: Scenario, document: Document) -> None:
    spanning = {rule.name: rule for rule in scenario.rules if rule.over is not None}
    known = {
        "project": {project.code for project in scenario.projects},
        "team": {team.code for team in scenario.teams},
    }
    for name, keys in scenario.carried.items():
        if name not in spanning:
            raise InvalidPriceBook(
                f"no rule over a span has the name '{name}'",
                where=document.where("carried", name),
                remedy="give the rule 'over', or correct the name",
            )
        by = str(spanning[name].carries_by)
        for key, amount in keys.items():
            where = document.where("carried", name, key)
            code = key
            if spanning[name].over == "day":
                code, _, day = key.rpartition(" ")
                if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", day) is None:
                    raise InvalidPriceBook(
                        f"'{key}' names no day", where=where, remedy=f'write "{key} 2020-04-06"'
                    )
            if by in known and code not in known[by]:
                raise InvalidPriceBook(
                    f"the {by} '{code}' is not defined", where=where, remedy=_SPELLING
                )
            _check_amount(scenario, amount, where)


Result = dict[str, dict[str, Any]]

_TOTALS = ("raw_total", "adjustment", "total")


def quote(scenario: Scenario) -> Result:
    """Price a scenario: ``charges``, ``splits``, ``invoices``, ``statements``, ``unbilled``,
    each keyed by its code, money as decimal text."""
    catalogue = Catalogue.of(scenario)
    month, year = Period.parse(scenario.period), scenario.facility.fiscal_year_start
    catalogue = replace(catalogue, rules=due_rules(catalogue.rules, month, year))
    usage = scenario.usage_frame()
    if scenario.facility.crossing == "split":
        usage = cut_to_period(usage, scenario.period, catalogue.timezone)
    adjustments, lines = scenario.adjustment_frames()
    usage, lines = moved(usage, adjustments, "record"), moved(lines, adjustments, "charge")
    rating = rate_usage(usage, catalogue, scenario.period)
    carried = scenario.carried_frame()
    priced = charge_usage(rating.rated, catalogue, adjustments, lines)
    invoices = invoice_charges(priced, catalogue, carried)
    stated, _ = statements(invoices, catalogue, carried)
    return {
        "charges": _charges(priced, catalogue.places),
        "splits": _nested(priced.splits, "charge", catalogue.places),
        "invoices": _invoices(invoices, catalogue.places),
        "statements": _totals(stated, "team", catalogue.places),
        "unbilled": dict(rating.unbilled.select("record", "reason").iter_rows()),
    }


def differences(result: Result, expected: Result) -> list[str]:
    """The differences of a result from the expected one, one sentence each.

    Only listed values are compared; a table (a split, the expense codes) is compared whole.
    """
    sentences = []
    for section, entries in expected.items():
        for code, wanted in entries.items():
            place = f"{section}.{code}"
            actual = result[section].get(code)
            if actual is None:
                sentences.append(f"{place}: expected {_shown(wanted)}, got nothing")
            elif section in ("splits", "unbilled"):
                if actual != wanted:
                    sentences.append(f"{place}: expected {_shown(wanted)}, got {_shown(actual)}")
            else:
                sentences += [
                    f"{place}.{key}: expected {_shown(value)}, got {_shown(actual.get(key))}"
                    for key, value in wanted.items()
                    if actual.get(key) != value
                ]
    return sentences


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {part}" for key, part in value.items()) + "}"
    return "nothing" if value is None else str(value)


def _charges(priced: Charges, places: int) -> dict[str, Any]:
    frame = as_text(priced.charges.select("charge", "quantity", "effective_rate", *_TOTALS), places)
    return {
        row.pop("charge"): {key: value for key, value in row.items() if value is not None}
        for row in frame.iter_rows(named=True)
    }


def _nested(frame: pl.DataFrame, outer: str, places: int) -> dict[str, dict[str, str]]:
    nested: dict[str, dict[str, str]] = {}
    texts = as_text(frame.select(outer, "expense_code", "amount"), places)
    for code, expense_code, amount in texts.iter_rows():
        nested.setdefault(code, {})[expense_code] = amount
    return nested


def _totals(frame: pl.DataFrame, key: str, places: int) -> dict[str, Any]:
    texts = as_text(frame.select(key, *_TOTALS), places)
    return {row.pop(key): row for row in texts.iter_rows(named=True)}


def _invoices(invoices: Invoices, places: int) -> dict[str, Any]:
    by_code = _nested(invoices.by_expense_code, "project", places)
    taxed = invoices.invoices.filter(pl.col("tax").is_not_null())
    texts = as_text(taxed.select("project", "tax"), places)
    taxes = {project: {"tax": tax} for project, tax in texts.iter_rows()}
    return {
        project: totals | taxes.get(project, {}) | {"by_expense_code": by_code[project]}
        for project, totals in _totals(invoices.invoices, "project", places).items()
    }
