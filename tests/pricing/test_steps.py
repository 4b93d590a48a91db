"""The steps of a price: what each part comes to, and that they make the raw total."""

from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from billing_lib.pricing.charging import charge_usage
from billing_lib.pricing.explain import price_steps
from billing_lib.pricing.rates import FLAT
from billing_lib.pricing.rating import Catalogue, rate_usage
from billing_lib.pricing.scenario import Scenario

from .small_book import WHO, scenario

SCENARIOS = sorted((Path(__file__).parent.parent / "scenarios").glob("*.yml"))
ROOM = "[{code: room, business_hours: {mon-fri: '08:00-18:00'}}]"
SCOPE = "[{code: scope, name: Microscope, unit: hour, resource: room}]"
EVENING = "start: '2020-04-06T17:00:00-04:00', end: '2020-04-06T20:00:00-04:00'"


def priced(read: Scenario) -> tuple[pl.DataFrame, pl.DataFrame, Catalogue]:
    catalogue = Catalogue.of(read)
    rated = rate_usage(read.usage_frame(), catalogue, read.period).rated
    adjustments, lines = read.adjustment_frames()
    charges = charge_usage(rated, catalogue, adjustments, lines).charges
    return charges, price_steps(rated, catalogue, adjustments), catalogue


def steps_of(**sections: str) -> list[tuple[str, int | None, Decimal | None, int]]:
    _, steps, _ = priced(scenario(**sections))
    return steps.select("step", "quantity", "price", "amount").rows()


def test_hours_a_minimum_and_a_fee_are_steps() -> None:
    rate = "item: scope, group: internal, price: '40.00', after_hours: '25.00'"
    sections = {"resources": ROOM, "items": SCOPE}
    usage = f"[{{id: u1, item: scope, project: p, {EVENING}}}]"
    assert steps_of(rates=f"[{{{rate}, service_fee: '5.00'}}]", usage=usage, **sections) == [
        ("in business hours", 1_000_000, Decimal(40), 40_00),
        ("after hours", 2_000_000, Decimal(25), 50_00),
        ("service fee", None, None, 5_00),
    ]
    assert steps_of(rates=f"[{{{rate}, minimum: '100.00'}}]", usage=usage, **sections)[-1] == (
        *("up to the minimum", None, None, 10_00),
    )
    # A price that staff set holds for all hours: quantity × rate, and nothing to tell apart.
    changed = f"[{{charge: u1, set: {{rate: '30.00'}}, {WHO}}}]"
    assert not steps_of(rates=f"[{{{rate}}}]", usage=usage, adjustments=changed, **sections)


def test_each_tier_is_a_step_and_the_last_takes_what_rounding_leaves() -> None:
    tiers = (
        "[{up_to: '1', price: '0.335'}, {up_to: '2', price: '0.335'}, {up_to: null, price: '3'}]"
    )
    rate = f"item: slide, group: internal, tiers: {{mode: graduated, steps: {tiers}}}"
    usage = "[{id: u1, item: slide, project: p, quantity: '2', date: 2020-04-06}]"
    assert steps_of(rates=f"[{{{rate}}}]", usage=usage) == [
        ("up to 1", 1_000_000, Decimal("0.335"), 34),
        ("up to 2", 1_000_000, Decimal("0.335"), 33),
    ]


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_steps_make_the_raw_total_in_every_scenario(path: Path) -> None:
    charges, steps, catalogue = priced(Scenario.parse(path.read_text("utf-8"), path.name))
    made = steps.group_by("charge").agg(pl.col("amount").sum())
    both = charges.join(made, on="charge")
    assert both["amount"].to_list() == both["raw_total"].to_list()
    by_parts = catalogue.rates.filter(
        (pl.col("pricing") != FLAT) & ~pl.col("body").str.contains('"volume"')
    )
    explained = charges.join(by_parts, on="rate", how="semi").filter(
        pl.col("start").is_not_null() & (pl.col("end") > pl.col("start"))
    )
    missing = explained.join(made, on="charge", how="anti").filter(pl.col("raw_total") != 0)
    # What staff set a price for is quantity × rate.
    assert missing["price"].null_count() == 0
