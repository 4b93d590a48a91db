"""A small frozen run: two charges, a change, an added line, and one record that is not billed."""

import polars as pl

from billing_lib.pricing.charging import charge_usage
from billing_lib.pricing.clock import Period
from billing_lib.pricing.rating import Catalogue, rate_usage
from billing_lib.pricing.scenario import Scenario
from billing_lib.workflow.notes import NOTES
from billing_lib.workflow.snapshot import HISTORY, INVOICES, TEXTS, Snapshot

SCENARIO = """
facility: {code: MIC, name: Microscopy, currency: USD, timezone: America/New_York}
period: 2020-04
items: [{code: scope, name: Microscope, unit: hour}, {code: slide, name: Slide, unit: each}]
rates:
  - {item: scope, group: internal, price: "40.00"}
  - {item: slide, group: internal, price: "1.25"}
project_types: [{code: faculty, rate_group: internal}]
teams: [{code: smith, name: Smith Lab, administrators: [admin@example.edu]}]
projects:
  - code: p1
    team: smith
    type: faculty
    split: [{expense_code: A, percent: "60"}, {expense_code: B, percent: "40"}]
usage:
  - id: u1
    item: scope
    project: p1
    user: ann
    start: "2020-04-06T17:00:00-04:00"
    end: "2020-04-06T20:20:00-04:00"
  - {id: u2, item: slide, project: p1, user: bob, date: 2020-04-07, quantity: "12"}
  - {id: u3, item: slide, project: nobody, user: bob, date: 2020-04-07, quantity: "12"}
adjustments:
  - charge: u2
    set: {quantity: "10"}
    by: carol
    at: "2020-05-01T09:00:00-04:00"
    reason: two broke
  - add_line: {project: p1, date: 2020-04-30, description: Training, amount: "75.00"}
    by: carol
    at: "2020-05-01T09:05:00-04:00"
    reason: agreed by telephone
"""
"""133.33 + 12.50 + 75.00 = 220.83."""

NUMBER = "MIC-2020-00001"

TEXT = {
    "run": "MIC-2020-04-1",
    "facility": "MIC",
    "facility_name": "Microscopy",
    "currency": "USD",
    "timezone": "America/New_York",
    "instructions": "Charged through the ledger.",
    "contacts": "office@example.edu",
    "period": "2020-04",
    "covers_from": "2020-04-01",
    "covers_to": "2020-04-30",
    "invoice_date": "2020-05-04",
    "frozen_by": "carol",
    "frozen_at": "2020-05-04T10:00:00+00:00",
}


def snapshot() -> Snapshot:
    """The run as it was frozen."""
    scenario = Scenario.parse(SCENARIO, "sample.yml")
    notes = pl.DataFrame([("p1", "The lamp was replaced.")], schema=NOTES, orient="row")
    return frozen(scenario, TEXT, {"p1": NUMBER}, notes)


def frozen(
    scenario: Scenario, text: dict[str, str], numbers: dict[str, str], notes: pl.DataFrame
) -> Snapshot:
    """What freezing makes of a scenario's month: texts by key, numbers by project."""
    usage = scenario.usage_frame()
    catalogue = Catalogue.of(scenario)
    rating = rate_usage(usage, catalogue, scenario.period)
    adjustments, lines = scenario.adjustment_frames()
    priced = charge_usage(rating.rated, catalogue, adjustments, lines).charges
    who = usage.select("record", "occurrence", "item", "project", "user")
    return Snapshot(
        usage=rating.rated.with_columns(
            period=pl.lit(scenario.period), elsewhere=pl.lit(None, pl.Int64)
        ),
        unbilled=rating.unbilled.join(who, on=["record", "occurrence"]),
        resources=catalogue.resources,
        items=catalogue.items,
        rates=catalogue.rates,
        accounts=catalogue.accounts,
        rules=catalogue.rules.with_columns(period=pl.lit(scenario.period)),
        year_to_date=scenario.carried_frame(),
        notes=notes,
        adjustments=adjustments,
        lines=lines,
        invoices=pl.DataFrame(
            [_invoice(scenario, project, number) for project, number in numbers.items()],
            schema=INVOICES,
        ),
        assignment=priced.select("charge", invoice="project"),
        history=HISTORY.to_frame(),
        texts=pl.DataFrame(list(text.items()), schema=TEXTS, orient="row"),
    )


def _invoice(scenario: Scenario, project: str, number: str) -> dict[str, object]:
    return {
        "invoice": project,
        "number": number,
        "kind": "periodic",
        "project": project,
        "reference": None,
        "covers_from": Period.parse(scenario.period).first_day,
        "covers_to": Period.parse(scenario.period).last_day,
        "description": "",
        "replaces": None,
        "prepaid": None,
        "lines_by": ", ".join(scenario.facility.lines.by),
        "lines_above": scenario.facility.lines.above,
    }
