"""A scenario: a price book, usage, adjustments, and what must come out, in one YAML file.

Staff use it for what-if questions and quotations, tests for exactness. The keys and their
arithmetic are in docs/scenario-format.md.

    usage:  [{id: u1, item: slide, project: p1, date: 2020-04-07, quantity: "12"}]
    expect: {charges: {u1: {total: "15.00"}}}
"""

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any, Self

import polars as pl
from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from billing_lib.errors import InvalidAdjustment, InvalidPriceBook
from billing_lib.pricing.adjusting import (
    ADJUSTMENTS,
    FIELDS,
    LINE_FIELDS,
    LINES,
    adjustment_value,
)
from billing_lib.pricing.money import minor_places, to_minor
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import Amount, Code, Entry, PriceBook, check_references
from billing_lib.pricing.usage import DECIMAL, USAGE
from billing_lib.pricing.yaml_text import Document


def _quantity(value: Decimal) -> Decimal:
    if value != round(value, DECIMAL.scale):
        raise ValueError(f"the quantity '{value}' has more than {DECIMAL.scale} decimal places")
    return value


Quantity = Annotated[Amount, AfterValidator(_quantity)]


class UsageEntry(Entry):
    """One usage record: with start and end, or with a date, or both and a quantity."""

    id: Code
    item: Code
    project: Code
    user: str | None = None
    start: AwareDatetime | None = None
    end: AwareDatetime | None = None
    date: dt.date | None = None
    units: Quantity = Decimal(1)
    quantity: Quantity | None = None
    description: str | None = None


class AddedLine(Entry):
    """A charge with no usage."""

    project: Code
    date: dt.date
    description: str
    amount: Amount
    expense_code: Code | None = None


class AdjustmentEntry(Entry):
    """A change to a charge, or an added line, with who, when and why."""

    charge: Code | None = None
    set: dict[str, Any] | None = None
    add_line: AddedLine | None = None
    by: str
    at: AwareDatetime
    reason: str

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        changes = self.charge is not None and self.set
        if bool(changes) == (self.add_line is not None):
            raise ValueError("an adjustment says either 'charge' and 'set', or 'add_line'")
        return self


class Expectation(Entry):
    """What must come out; only what is listed is compared."""

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
    expect: Expectation = Expectation()

    @classmethod
    def parse(cls, text: str, name: str) -> Self:
        """A scenario from YAML text; ``name`` is the file's, for messages.

        Raises
        ------
        InvalidPriceBook, InvalidPeriod, InvalidAdjustment
            What is wrong, with file, line and key.
        """
        document = Document(text, name)
        scenario = document.validate(cls)
        check_references(scenario, document)
        Period.parse(scenario.period)
        _check_adjustments(scenario, document)
        return scenario

    def usage_frame(self) -> pl.DataFrame:
        """The usage as a usage frame (pricing/usage.py); the row is the entry's place."""
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

    def adjustment_frames(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The adjustments (schema ADJUSTMENTS) and the added lines (schema LINES)."""
        places = minor_places(self.facility.currency)
        changes: list[dict[str, Any]] = []
        lines: list[dict[str, Any]] = []
        for order, entry in enumerate(self.adjustments):
            who = {"by": entry.by, "at": entry.at.isoformat(), "reason": entry.reason}
            if entry.add_line is not None:
                line = entry.add_line.model_dump() | {
                    "charge": f"line-{len(lines) + 1}",
                    "amount": to_minor(entry.add_line.amount, places),
                }
                lines.append(line | who)
            for field, value in (entry.set or {}).items():
                changes.append(
                    {
                        "order": order,
                        "charge": entry.charge,
                        "field": field,
                        "value": adjustment_value(field, value, places),
                        **who,
                    }
                )
        return pl.DataFrame(changes, schema=ADJUSTMENTS), pl.DataFrame(lines, schema=LINES)


def _check_adjustments(scenario: Scenario, document: Document) -> None:
    places = minor_places(scenario.facility.currency)
    charges = {entry.id for entry in scenario.usage}
    projects = {project.code for project in scenario.projects}
    lines: set[str] = set()
    for index, entry in enumerate(scenario.adjustments):
        try:
            if entry.add_line is not None:
                if entry.add_line.project not in projects:
                    raise ValueError(f"the project '{entry.add_line.project}' is not defined")
                to_minor(entry.add_line.amount, places)
                lines.add(f"line-{len(lines) + 1}")
                continue
            if entry.charge not in charges | lines:
                raise ValueError(f"there is no usage or added line '{entry.charge}'")
            allowed = FIELDS if entry.charge in charges else LINE_FIELDS
            for field, value in (entry.set or {}).items():
                if field not in allowed:
                    raise ValueError(f"'{field}' cannot be set; set one of {', '.join(allowed)}")
                adjustment_value(field, value, places)
        except (ValueError, InvalidAdjustment) as error:
            raise InvalidPriceBook(str(error), where=document.where("adjustments", index)) from None
