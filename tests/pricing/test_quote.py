"""Quotations: every scenario comes out as it says, and what differs is said."""

from pathlib import Path

import pytest
import yaml

from billing_lib.pricing.scenario import Scenario, differences, quote

from .oracle import bill
from .small_book import SLIDES, WHO, quoted

FOLDER = Path(__file__).parents[1] / "scenarios"
SCENARIOS = sorted(FOLDER.glob("*.yml"))

RESULT = {
    "charges": {
        "u1": {"quantity": "12", "raw_total": "15.00", "adjustment": "0.00", "total": "15.00"}
    },
    "splits": {"u1": {"A": "9.00", "B": "6.00"}},
    "invoices": {
        "p": {
            "raw_total": "15.00",
            "adjustment": "0.00",
            "total": "15.00",
            "by_expense_code": {"A": "9.00", "B": "6.00"},
        }
    },
    "statements": {"smith": {"raw_total": "15.00", "adjustment": "0.00", "total": "15.00"}},
    "unbilled": {},
}


def read(path: Path) -> Scenario:
    return Scenario.parse(path.read_text(encoding="utf-8"), path.name)


def plain(path: Path) -> dict:
    """What the file says, every scalar as text."""
    content = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    return without_nothing(content)


def without_nothing(value: object) -> object:
    """BaseLoader reads null as text too; the last step of a list of tiers says it."""
    if isinstance(value, dict):
        return {key: without_nothing(part) for key, part in value.items()}
    if isinstance(value, list):
        return [without_nothing(part) for part in value]
    return None if value == "null" else value


def named(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", SCENARIOS, ids=named)
def test_a_scenario_comes_out_as_it_says(path: Path) -> None:
    scenario = read(path)

    assert scenario.expect.model_dump(exclude_defaults=True), "it expects nothing"
    assert differences(quote(scenario), scenario.expect.model_dump()) == []


ORACLES = [path for path in SCENARIOS if not path.stem.startswith("own-")]
"""All but those of keys that the shared format does not have, which the oracle does not know."""


@pytest.mark.parametrize("path", ORACLES, ids=named)
def test_the_oracle_says_the_same_of_all_that_a_scenario_leaves_unsaid(path: Path) -> None:
    assert quote(read(path)) == bill(plain(path))


def test_a_quotation_has_charges_splits_invoices_statements_and_what_is_unbilled() -> None:
    assert quoted(usage=SLIDES) == RESULT


def test_a_line_has_no_quantity() -> None:
    line = "{project: p, date: 2020-04-30, description: Training, amount: '75'}"
    result = quoted(adjustments=f"[{{add_line: {line}, {WHO}}}]")

    assert result["charges"] == {
        "line-1": {"raw_total": "75.00", "adjustment": "0.00", "total": "75.00"}
    }


def test_what_is_as_expected_makes_no_difference_and_what_is_unsaid_is_not_compared() -> None:
    assert differences(RESULT, RESULT) == []
    assert differences(RESULT, {"charges": {"u1": {"total": "15.00"}}}) == []
    assert differences(RESULT, {}) == []


@pytest.mark.parametrize(
    ("expected", "difference"),
    [
        (
            {"charges": {"u1": {"total": "15.01", "raw_total": "15.00"}}},
            "charges.u1.total: expected 15.01, got 15.00",
        ),
        (
            {"charges": {"u1": {"effective_rate": "1.250000"}}},
            "charges.u1.effective_rate: expected 1.250000, got nothing",
        ),
        (
            {"charges": {"u2": {"total": "1.00"}}},
            "charges.u2: expected {total: 1.00}, got nothing",
        ),
        (
            {"splits": {"u1": {"A": "9.00"}}},  # a split is compared whole
            "splits.u1: expected {A: 9.00}, got {A: 9.00, B: 6.00}",
        ),
        (
            {"invoices": {"p": {"by_expense_code": {"A": "15.00"}}}},
            "invoices.p.by_expense_code: expected {A: 15.00}, got {A: 9.00, B: 6.00}",
        ),
        (
            {"statements": {"smith": {"total": "0.00"}}},
            "statements.smith.total: expected 0.00, got 15.00",
        ),
        (
            {"unbilled": {"u1": "no_rate"}},
            "unbilled.u1: expected no_rate, got nothing",
        ),
    ],
)
def test_each_difference_is_a_sentence_that_names_its_place(
    expected: dict, difference: str
) -> None:
    assert differences(RESULT, expected) == [difference]


def test_another_reason_is_a_difference() -> None:
    result = quoted(usage=SLIDES.replace("slide", "unheard"))

    assert result["unbilled"] == {"u1": "unknown_item"}
    assert differences(result, {"unbilled": {"u1": "no_rate"}}) == [
        "unbilled.u1: expected no_rate, got unknown_item"
    ]


def test_quoting_twice_comes_to_the_same() -> None:
    path = FOLDER / "adjustments.yml"

    assert quote(read(path)) == quote(read(path))
