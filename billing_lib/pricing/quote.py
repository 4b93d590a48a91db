"""A quotation: a scenario priced without any database, and compared with what it expects.

billing quote what-if.yml           the result as JSON
billing quote --check what-if.yml   the differences from ``expect``
"""

from typing import Any

import polars as pl

from billing_lib.pricing.adjusting import moved
from billing_lib.pricing.catalogue import Catalogue
from billing_lib.pricing.charging import Charges, charge_usage, shown
from billing_lib.pricing.crossing import cut_to_period
from billing_lib.pricing.invoicing import Invoices, invoice_charges, statements
from billing_lib.pricing.money import money_text_column
from billing_lib.pricing.rating import rate_usage
from billing_lib.pricing.scenario import Scenario

Result = dict[str, dict[str, Any]]


def quote(scenario: Scenario) -> Result:
    """Price a scenario: ``charges``, ``splits``, ``invoices``, ``statements``, ``unbilled``,
    each keyed by its code, money as decimal text."""
    catalogue = Catalogue.of(scenario)
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
    """Where a result is not what a scenario expects, one sentence each.

    Only what is expected is compared; a table (a split, the expense codes) is compared whole.
    """
    found = []
    for section, entries in expected.items():
        for code, wanted in entries.items():
            place = f"{section}.{code}"
            actual = result[section].get(code)
            if actual is None:
                found.append(f"{place}: expected {_shown(wanted)}, got nothing")
            elif section in ("splits", "unbilled"):
                if actual != wanted:
                    found.append(f"{place}: expected {_shown(wanted)}, got {_shown(actual)}")
            else:
                found += [
                    f"{place}.{key}: expected {_shown(value)}, got {_shown(actual.get(key))}"
                    for key, value in wanted.items()
                    if actual.get(key) != value
                ]
    return found


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {part}" for key, part in value.items()) + "}"
    return "nothing" if value is None else str(value)


def _charges(priced: Charges, places: int) -> dict[str, Any]:
    frame = shown(priced.charges).select("charge", "quantity", "effective_rate", *_money(places))
    return {
        row.pop("charge"): {key: value for key, value in row.items() if value is not None}
        for row in frame.iter_rows(named=True)
    }


def _money(places: int) -> list[pl.Expr]:
    totals = ("raw_total", "adjustment", "total")
    return [money_text_column(pl.col(name), places) for name in totals]


def _nested(frame: pl.DataFrame, outer: str, places: int) -> dict[str, dict[str, str]]:
    nested: dict[str, dict[str, str]] = {}
    text = money_text_column(pl.col("amount"), places)
    for code, expense_code, amount in frame.select(outer, "expense_code", text).iter_rows():
        nested.setdefault(code, {})[expense_code] = amount
    return nested


def _totals(frame: pl.DataFrame, key: str, places: int) -> dict[str, Any]:
    texts = frame.select(key, *_money(places))
    return {row.pop(key): row for row in texts.iter_rows(named=True)}


def _invoices(invoices: Invoices, places: int) -> dict[str, Any]:
    by_code = _nested(invoices.by_expense_code, "project", places)
    taxed = invoices.invoices.filter(pl.col("tax").is_not_null())
    text = money_text_column(pl.col("tax"), places)
    taxes = {project: {"tax": tax} for project, tax in taxed.select("project", text).iter_rows()}
    return {
        project: totals | taxes.get(project, {}) | {"by_expense_code": by_code[project]}
        for project, totals in _totals(invoices.invoices, "project", places).items()
    }
