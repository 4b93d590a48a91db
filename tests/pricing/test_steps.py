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


def test_each_month_of_a_monthly_price_is_a_step() -> None:
    disk = "[{code: disk, name: Disk, unit: TB}]"
    rate = "item: disk, group: internal, price: '4.00', per: month, minimum: '30.00'"
    usage = (
        "[{id: u1, item: disk, project: p, quantity: '5', "
        "start: '2020-03-15T09:00:00-04:00', end: '2020-04-10T09:00:00-04:00'}]"
    )
    # 10.967… and 6.666…, together 17.634…: the last step takes what rounding leaves
    assert steps_of(items=disk, rates=f"[{{{rate}}}]", usage=usage) == [
        ("17 of the 31 days of 2020-03", 2_741_935, Decimal(4), 10_97),
        ("10 of the 30 days of 2020-04", 1_666_667, Decimal(4), 6_66),
        ("up to the minimum", None, None, 12_37),
    ]


def test_a_booking_is_named_in_the_steps_that_it_is_billed_by() -> None:
    booked = "booked_start: '2020-04-06T17:00:00-04:00', booked_end: '2020-04-06T20:00:00-04:00'"
    used = "start: '2020-04-06T17:00:00-04:00', end: '2020-04-06T17:30:00-04:00'"
    rate = "item: scope, group: internal, price: '40.00', booking: longer"
    span = "booked from 2020-04-06 17:00:00 to 2020-04-06 20:00:00"

    def steps(keys: str, times: str) -> list[tuple[str, int | None, Decimal | None, int]]:
        usage = f"[{{id: u1, item: scope, project: p, {times}}}]"
        return steps_of(resources=ROOM, items=SCOPE, rates=f"[{{{rate}{keys}}}]", usage=usage)

    assert steps("", f"{used}, {booked}") == [(span, 3_000_000, Decimal(40), 120_00)]
    assert steps(", after_hours: '25.00'", f"{used}, {booked}") == [
        (f"{span}, in business hours", 1_000_000, Decimal(40), 40_00),
        (f"{span}, after hours", 2_000_000, Decimal(25), 50_00),
    ]
    assert steps(", no_show: '20.00', service_fee: '5.00'", booked) == [
        (f"{span}, not used", 3_000_000, Decimal(20), 60_00),
        ("service fee", None, None, 5_00),
    ]
    assert not steps("", used)


def test_snapshots_are_steps_that_share_the_mean() -> None:
    disk = "[{code: disk, name: Disk, unit: TB}]"
    rate = "[{item: disk, group: internal, price: '1.00', per: snapshot}]"
    usage = ", ".join(
        f"{{id: u{day}, item: disk, project: p, date: 2020-04-0{day}, quantity: '1'}}"
        for day in (1, 2, 3)
    )
    assert steps_of(items=disk, rates=rate, usage=f"[{usage}]") == [
        ("snapshot of 1, one of the 3 of its month", 333_333, Decimal(1), amount)
        for amount in (34, 33, 33)
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
