"""Items whose quantity is a cost: credits, markups, and the cents of a file's rows."""

import random
from decimal import ROUND_HALF_UP, Decimal
from itertools import accumulate

import polars as pl
import pytest

from billing_lib.errors import InvalidPriceBook
from billing_lib.pricing.adjusting import ADJUSTMENTS, LINES
from billing_lib.pricing.charging import charge_usage
from billing_lib.pricing.explain import explain_charge
from billing_lib.pricing.rating import Catalogue, rate_usage

from .small_book import quoted, scenario
from .tables import changes, usage

CLOUD = "[{code: cloud, name: Cloud, unit: cost}, {code: slide, name: Slide, unit: each}]"


def cents(value: Decimal) -> int:
    return int(value.quantize(Decimal("0.01"), ROUND_HALF_UP).scaleb(2))


def priced(costs: list[Decimal], price: str, adjustments: pl.DataFrame | None = None):
    before = [Decimal(0), *accumulate(costs)][:-1]
    lines = [
        f"u{at}  cloud  p  2020-04-06  {cost:f}  {upto:f}"
        for at, (cost, upto) in enumerate(zip(costs, before, strict=True))
    ]
    frame = usage("\n".join(["record  item  project  date  quantity  costs_before", *lines]))
    catalogue = Catalogue.of(
        scenario(items=CLOUD, rates=f'[{{item: cloud, group: internal, price: "{price}"}}]')
    )
    rating = rate_usage(frame, catalogue, "2020-04")
    assert rating.unbilled.is_empty()
    return rating.rated, catalogue, charge_usage(rating.rated, catalogue, adjustments)


@pytest.mark.parametrize(
    ("costs", "amounts"),
    [
        (["0.004", "0.004", "0.004", "-0.020"], [0, 1, 0, -2]),  # sums .004 .008 .012 -.008
        (["0.005", "0.005"], [1, 0]),  # half away from zero: .005 is 0.01, and .010 too
        (["-0.005", "-0.005"], [-1, 0]),
        (["0", "12.34", "0"], [0, 1234, 0]),
        (["0.000000001"] * 3, [0, 0, 0]),
    ],
)
def test_rows_share_the_cents_of_their_sum(costs: list[str], amounts: list[int]) -> None:
    charges = priced([Decimal(cost) for cost in costs], "1")[2].charges
    assert charges["raw_total"].to_list() == amounts


@pytest.mark.parametrize("price", ["1", "1.05", "0.8", "1.000001"])
def test_the_sum_is_the_exact_sum_times_the_price(price: str) -> None:
    draw = random.Random(price)
    costs = [Decimal(draw.randint(-(10**8), 10**10)).scaleb(-9) for _ in range(1000)]
    charges = priced(costs, price)[2].charges
    assert charges.height == 1000
    assert charges["total"].sum() == cents(sum(costs) * Decimal(price))


def test_a_credit_is_a_cost_and_nothing_else_may_be_negative() -> None:
    result = quoted(
        items=CLOUD,
        rates='[{item: cloud, group: internal, price: "1.05"}, '
        '{item: slide, group: internal, price: "1.25"}]',
        usage="[{id: c, item: cloud, project: p, date: 2020-04-06, quantity: '-10'}, "
        "{id: s, item: slide, project: p, date: 2020-04-06, quantity: '-10'}, "
        "{id: x, item: other, project: p, date: 2020-04-06, quantity: '-10'}]",
    )
    assert result["charges"]["c"]["total"] == "-10.50"
    assert result["unbilled"] == {"s": "invalid_quantity", "x": "invalid_quantity"}


def test_a_third_party_pays_its_part_of_credits_too() -> None:
    result = quoted(
        items=CLOUD,
        rates='[{item: cloud, group: internal, price: "1", subsidy: {by: NIH, price: "0.20"}}]',
        usage="[{id: c, item: cloud, project: p, date: 2020-04-06, quantity: '-10'}, "
        "{id: d, item: cloud, project: p, date: 2020-04-06, quantity: '10'}]",
    )
    assert [result["charges"][name]["total"] for name in "cd"] == ["-8.00", "8.00"]


def test_a_cost_set_by_staff_is_rounded_alone() -> None:
    costs = [Decimal("0.004"), Decimal("0.004"), Decimal("0.004")]
    set_one = changes("charge  field  value\nu1  quantity  7.005")
    charges = priced(costs, "1", set_one)[2].charges
    assert charges["raw_total"].to_list() == [0, 701, 0]


def test_the_derivation_says_where_the_cent_comes_from() -> None:
    rated, catalogue, _ = priced([Decimal("0.004"), Decimal("0.004")], "1")

    told = explain_charge("u1", "USD", rated, catalogue, ADJUSTMENTS.to_frame(), LINES.to_frame())
    assert (
        "The costs before it in its file are 0.004 USD; it is billed the cents that it adds to "
        "their rounded sum." in told
    )


@pytest.mark.parametrize(
    "keys", ['minimum: "1.00"', "per: use", "rounding_step: 1h", 'after_hours: "2"']
)
def test_a_cost_has_one_price(keys: str) -> None:
    with pytest.raises(InvalidPriceBook, match="'cloud' is a cost, so its rate has no '"):
        scenario(
            resources="[{code: room, business_hours: {mon-fri: '08:00-18:00'}}]",
            items="[{code: cloud, name: Cloud, unit: cost, resource: room}]",
            rates=f'[{{item: cloud, group: internal, price: "1", {keys}}}]',
        )
