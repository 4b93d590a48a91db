"""Whole months, drawn at random: against the oracle to the cent, and what must be conserved."""

import json
from random import Random

import polars as pl
from hypothesis import event, given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from billing_lib.pricing.catalogue import Catalogue
from billing_lib.pricing.charging import Charges, charge_usage
from billing_lib.pricing.invoicing import invoice_charges, statements
from billing_lib.pricing.quote import quote
from billing_lib.pricing.rating import Rating, rate_usage
from billing_lib.pricing.scenario import Scenario

from .made_up import EXAMPLES, drawn, months
from .oracle import bill

FEW = max(20, EXAMPLES // 10)


def read(month: dict) -> Scenario:
    return Scenario.parse(json.dumps(month), "month.yml")  # JSON is YAML


def priced(usage: pl.DataFrame, scenario: Scenario) -> tuple[Rating, Charges]:
    """Rated and charged, without added lines."""
    catalogue = Catalogue.of(scenario)
    rating = rate_usage(usage, catalogue, scenario.period)
    changes, _ = scenario.adjustment_frames()
    return rating, charge_usage(rating.rated, catalogue, changes)


def sums(frame: pl.DataFrame, key: str, amount: str) -> dict[str, int]:
    totals: dict[str, int] = {}
    for code, value in frame.select(key, amount).iter_rows():
        totals[code] = totals.get(code, 0) + value
    return totals


def in_order(frame: pl.DataFrame, *keys: str) -> pl.DataFrame:
    return frame.sort(*keys, maintain_order=True)


@drawn(EXAMPLES)
@given(months())
def test_every_month_comes_to_what_the_oracle_says(month: dict) -> None:
    expected = bill(month)
    for reason in set(expected["unbilled"].values()):
        event(reason)

    assert quote(read(month)) == expected


@drawn(FEW)
@given(months())
def test_nothing_is_invented_or_lost_between_record_charge_invoice_and_statement(
    month: dict,
) -> None:
    scenario = read(month)
    catalogue, usage = Catalogue.of(scenario), scenario.usage_frame()
    rating = rate_usage(usage, catalogue, scenario.period)
    priced = charge_usage(rating.rated, catalogue, *scenario.adjustment_frames())
    invoices = invoice_charges(priced)
    charges = priced.charges

    assert usage.height == rating.rated.height + rating.unbilled.height
    rows = [*rating.rated["row"], *rating.unbilled["row"]]
    assert sorted(rows) == list(range(1, usage.height + 1))
    assert charges["charge"].is_unique().all()
    assert (charges["raw_total"] + charges["adjustment"] == charges["total"]).all()
    assert sums(priced.splits, "charge", "amount") == sums(charges, "charge", "total")
    totals = sums(charges, "project", "total")
    assert sums(invoices.invoices, "project", "total") == totals
    assert sums(invoices.by_expense_code, "project", "amount") == totals
    by_team = sums(charges, "team", "total")
    assert sums(statements(invoices.invoices), "team", "total") == by_team


@drawn(FEW)
@given(months(), st.randoms(use_true_random=False))
def test_the_order_of_usage_changes_no_amount(month: dict, random: Random) -> None:
    scenario = read(month)
    usage = scenario.usage_frame()
    places = list(range(usage.height))
    random.shuffle(places)

    rating, charged = priced(usage, scenario)
    rating_shuffled, charged_shuffled = priced(usage[places], scenario)

    for frame, shuffled, keys in [
        (rating.unbilled, rating_shuffled.unbilled, ["row"]),
        (charged.charges, charged_shuffled.charges, ["charge"]),
        (charged.splits, charged_shuffled.splits, ["charge", "position"]),
    ]:
        assert_frame_equal(in_order(frame, *keys), in_order(shuffled, *keys))


@drawn(FEW)
@given(months(), st.integers(0, 8))
def test_rating_in_two_halves_is_rating_at_once(month: dict, first: int) -> None:
    scenario = read(month)
    usage = scenario.usage_frame()

    rating, charged = priced(usage, scenario)
    halves = [priced(usage[:first], scenario), priced(usage[first:], scenario)]

    assert_frame_equal(rating.unbilled, pl.concat([half.unbilled for half, _ in halves]))
    assert_frame_equal(charged.charges, pl.concat([half.charges for _, half in halves]))
    assert_frame_equal(charged.splits, pl.concat([half.splits for _, half in halves]))
