"""Whole months, drawn at random: against the oracle to the cent, and what must be conserved."""

import json
from random import Random

import polars as pl
import pytest
from hypothesis import event, given
from polars.testing import assert_frame_equal

from billing_lib.pricing.charging import Charges, charge_usage
from billing_lib.pricing.invoicing import invoice_charges, statements
from billing_lib.pricing.rating import Catalogue, Rating, rate_usage
from billing_lib.pricing.scenario import Scenario, quote

from .made_up import EXAMPLES, drawn, months, uncoupled
from .oracle import bill
from .together import check_months, side_by_side, together

CHUNKS = 10
"""Parts of the comparison, so that several processes share it."""

FEW = max(20, EXAMPLES // 20)


def read(month: dict) -> Scenario:
    return Scenario.parse(json.dumps(month), "month.yml")  # JSON is YAML


def built(month: dict) -> Scenario:
    """The same without its YAML, which the properties below go through: a quarter of the time."""
    return Scenario.model_validate(month)


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


def changes_by(lines: pl.DataFrame) -> dict[str, int]:
    """What rules changed in all, by subject."""
    return {code: amount for code, amount in sums(lines, "subject", "amount").items() if amount}


def adjustments_by(frame: pl.DataFrame, key: str) -> dict[str, int]:
    """The adjustments that are not nothing."""
    return {code: amount for code, amount in sums(frame, key, "adjustment").items() if amount}


def amounts_set(scenario: Scenario) -> list[str]:
    """The charges whose amount staff set."""
    changes, _ = scenario.adjustment_frames()
    return changes.filter(pl.col("field") == "amount")["charge"].to_list()


def in_order(frame: pl.DataFrame, *keys: str) -> pl.DataFrame:
    return frame.sort(*keys, maintain_order=True)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_month_comes_to_what_the_oracle_says(chunk: int) -> None:
    def agree(batch: list[dict]) -> None:
        expected = side_by_side([bill(month) for month in batch])
        assert quote(built(together(batch))) == expected

    check_months(chunk, EXAMPLES // CHUNKS, agree)


@drawn(EXAMPLES // 20)
@given(months())
def test_a_month_by_itself_comes_to_what_the_oracle_says(month: dict) -> None:
    expected = bill(month)
    for reason in set(expected["unbilled"].values()):
        event(reason)

    assert quote(built(month)) == expected


def test_nothing_is_invented_or_lost_between_record_charge_invoice_and_statement() -> None:
    check_months(CHUNKS, FEW, lambda batch: conserved(read(together(batch))))


def conserved(scenario: Scenario) -> None:
    """Each amount is where it should be, and nowhere else."""
    catalogue, usage = Catalogue.of(scenario), scenario.usage_frame()
    rating = rate_usage(usage, catalogue, scenario.period)
    priced = charge_usage(rating.rated, catalogue, *scenario.adjustment_frames())
    invoices = invoice_charges(priced, catalogue, scenario.carried_frame())
    stated, stated_lines = statements(invoices, catalogue, scenario.carried_frame())
    charges = priced.charges

    assert usage.height == rating.rated.height + rating.unbilled.height
    rows = [*rating.rated["row"], *rating.unbilled["row"]]
    assert sorted(rows) == list(range(1, usage.height + 1))
    assert charges["charge"].is_unique().all()
    assert (charges["raw_total"] + charges["adjustment"] == charges["total"]).all()
    ruled = charges.filter(~pl.col("charge").is_in(amounts_set(scenario)))
    left = priced.rule_lines.filter(pl.col("subject").is_in(ruled["charge"].implode()))
    assert changes_by(left) == adjustments_by(ruled, "charge")
    totals = sums(charges, "project", "total")
    assert sums(invoices.invoices, "project", "raw_total") == totals
    told = pl.col("raw_total") + pl.col("adjustment") + pl.col("tax").fill_null(0)
    assert invoices.invoices.select((told == pl.col("total")).all()).item()
    invoiced = sums(invoices.invoices, "project", "total")
    assert sums(invoices.by_expense_code, "project", "amount") == invoiced
    assert changes_by(invoices.rule_lines) == adjustments_by(invoices.invoices, "project")
    by_team = sums(invoices.invoices, "team", "total")
    assert sums(stated, "team", "raw_total") == by_team
    assert changes_by(stated_lines) == adjustments_by(stated, "team")


def test_the_order_of_usage_changes_no_amount() -> None:
    random = Random(0)

    def same(batch: list[dict]) -> None:
        scenario = read(together(batch))
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

    check_months(CHUNKS + 1, FEW, same)


def test_rating_in_two_halves_is_rating_at_once() -> None:
    random = Random(0)

    def same(batch: list[dict]) -> None:
        scenario = read(uncoupled(together(batch)))
        usage = scenario.usage_frame()
        first = random.randint(0, usage.height)

        rating, charged = priced(usage, scenario)
        halves = [priced(usage[:first], scenario), priced(usage[first:], scenario)]

        assert_frame_equal(rating.unbilled, pl.concat([half.unbilled for half, _ in halves]))
        assert_frame_equal(charged.charges, pl.concat([half.charges for _, half in halves]))
        assert_frame_equal(charged.splits, pl.concat([half.splits for _, half in halves]))

    check_months(CHUNKS + 2, FEW, same)
