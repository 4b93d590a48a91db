"""Quotations: every scenario comes out as it says, and what differs is said."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from billing_lib.errors import InvalidPriceBook
from billing_lib.pricing.pricebook import Facility, Item, Project, ProjectType, Rate, Team
from billing_lib.pricing.quote import differences, quote
from billing_lib.pricing.scenario import Scenario

from .oracle import bill
from .small_book import SLIDES, WHO, quoted

FOLDER = Path(__file__).parents[1] / "scenarios"
SCENARIOS = sorted(FOLDER.glob("*.yml"))

LATER = {"resources", "resource", "business_hours", "holidays", "after_hours", "tiers", "bands"}
LATER |= {"rules", "tax", "service_fee", "per", "carried", "crossing"}
"""Keys of the format that some version of the models does not have; the oracle has none."""

MODELS = (Scenario, Facility, Item, Rate, ProjectType, Team, Project)
SUPPORTED = {key for model in MODELS for key in model.model_fields}

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


def keys(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """Line and name of every key, in the order of the file."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key.start_mark.line + 1, key.value
            yield from keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from keys(child)


def later_keys(path: Path) -> list[tuple[int, str]]:
    """The keys of a scenario that are of a later issue than the oracle."""
    root = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    return [(line, key) for line, key in keys(root) if key in LATER]


def named(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", SCENARIOS, ids=named)
def test_a_scenario_comes_out_as_it_says_or_its_first_unsupported_key_is_refused(
    path: Path,
) -> None:
    unsupported = [(line, key) for line, key in later_keys(path) if key not in SUPPORTED]
    if unsupported:
        line, key = unsupported[0]
        with pytest.raises(InvalidPriceBook) as refused:
            read(path)
        place, _, sentence = str(refused.value).partition(": ")
        assert place.startswith(f"{path.name}, line {line}, ")
        assert place.endswith(key)
        assert sentence.startswith(f"the key '{key}' is not supported")
        return
    scenario = read(path)
    assert scenario.expect.model_dump(exclude_defaults=True), "it expects nothing"
    assert differences(quote(scenario), scenario.expect.model_dump()) == []


ORACLES = [path for path in SCENARIOS if not later_keys(path)]


@pytest.mark.parametrize("path", ORACLES, ids=named)
def test_the_oracle_says_the_same_of_all_that_a_scenario_leaves_unsaid(path: Path) -> None:
    plain = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)  # every scalar is text

    assert quote(read(path)) == bill(plain)


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
