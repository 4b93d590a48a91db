"""Costs of rows: a cloud bill of 1,000 rows is billed to its exact sum, and no row is lost."""

import random
from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal

import polars as pl
import pytest

from billing_lib.pricing.charging import charge_usage
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rating import Catalogue, rate_usage
from billing_lib.sources import mappings, read_file

HEADER = (
    "BilledCost,EffectiveCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,"
    "ChargeCategory,ChargeDescription,SubAccountId"
)
BOOK = """
facility: {{code: F, name: Cloud, currency: USD, timezone: America/New_York}}
items: [{{code: cloud, name: Cloud, unit: cost}}]
rates: [{{item: cloud, group: internal, price: "{price}"}}]
project_types: [{{code: faculty, rate_group: internal}}]
teams: [{{code: a, name: A}}]
projects:
  - {{code: p0, team: a, type: faculty, split: [{{expense_code: "1", percent: "60"}},
     {{expense_code: "2", percent: "40"}}]}}
  - {{code: p1, team: a, type: faculty, split: [{{expense_code: "3", percent: "100"}}]}}
  - {{code: p2, team: a, type: faculty, split: [{{expense_code: "4", percent: "100"}}]}}
"""


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def bill(seed: int, rows: int = 1000) -> list[tuple[str, Decimal]]:
    """The project and cost of each row: usage with 11 decimals, credits, taxes, zero rows."""
    draw = random.Random(seed)
    drawn = [
        lambda: Decimal(draw.randint(0, 10**12)).scaleb(-11),
        lambda: Decimal(draw.randint(0, 10**6)).scaleb(-11),
        lambda: -Decimal(draw.randint(0, 10**13)).scaleb(-12),
        lambda: Decimal(0),
        lambda: Decimal(draw.randint(0, 10**7)).scaleb(-20),
    ]
    return [(f"p{draw.randrange(4)}", draw.choice(drawn)()) for _ in range(rows)]


def focus(rows: list[tuple[str, Decimal]], currency: str = "USD") -> str:
    lines = [
        f"0,{cost:f},{currency},2026-05-04T00:00:00Z,2026-05-05T00:00:00Z,Usage,x,{project}"
        for project, cost in rows
    ]
    return "\n".join([HEADER, *lines, ""])


def charged(tmp_path, text: str, price: str) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The usage frame, charges and unbilled rows of a bill."""
    (tmp_path / "focus.csv").write_text(text)
    book = PriceBook.parse(BOOK.format(price=price), "f.yml")
    usage = read_file(
        tmp_path / "focus.csv", mappings({"focus": {}}), book.facility.timezone, currency="USD"
    ).usage
    catalogue = Catalogue.of(book)
    rating = rate_usage(usage, catalogue, "2026-05")
    priced = charge_usage(rating.rated, catalogue)
    assert priced.splits["amount"].sum() == priced.charges["total"].sum()
    return usage, priced.charges, rating.unbilled


@pytest.mark.parametrize("price", ["1", "1.05", "0.8"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_cloud_bill_comes_to_its_exact_sum_and_each_row_is_accounted_for(tmp_path, seed, price):
    rows = [(project, cost) for project, cost in bill(seed) if project != "p3"]
    usage, charges, unbilled = charged(tmp_path, focus(rows), price)
    assert charges.height == usage.height == len(rows)
    assert unbilled.is_empty()
    exact = sum(cost for _, cost in rows) * Decimal(price)
    assert Decimal(charges["total"].sum()).scaleb(-2) == cents(exact)
    of_project: dict[str, Decimal] = defaultdict(Decimal)
    for project, cost in rows:
        of_project[project] += cost * Decimal(price)
    for project, total in charges.group_by("project").agg(pl.col("total").sum()).iter_rows():
        assert abs(Decimal(total).scaleb(-2) - of_project[project]) < Decimal("0.01")


def test_rows_without_a_project_take_no_cent_from_the_others(tmp_path):
    rows = [("" if project == "p3" else project, cost) for project, cost in bill(5)]
    usage, charges, unbilled = charged(tmp_path, focus(rows), "1")
    assert usage.height == charges.height + unbilled.height
    exact = sum(cost for project, cost in rows if project)
    assert Decimal(charges["total"].sum()).scaleb(-2) == cents(exact)


def test_rows_of_unknown_projects_are_unbilled_with_their_reason(tmp_path):
    rows = bill(4)
    usage, charges, unbilled = charged(tmp_path, focus(rows), "1")
    assert usage.height == 1000 == charges.height + unbilled.height
    assert unbilled["reason"].unique().to_list() == ["unknown_project"]
    assert set(unbilled["record"]) == {
        f"focus.csv:{at}" for at, (project, _) in enumerate(rows, start=2) if project == "p3"
    }
    exact = sum(cost for project, cost in rows if project != "p3")
    assert Decimal(charges["total"].sum()).scaleb(-2) == cents(exact)  # p3 is the last in order


@pytest.mark.parametrize(
    ("costs", "totals"),
    [
        (["0.00499999999951"], [0]),  # no cent through rounding twice
        (["0.00500000000000"], [1]),
        (["-0.00499999999951"], [0]),
        (["0.0049999999999999999", "0.0000000000000000001"], [0, 1]),
        (["1.2E-05", "-1.2E-05"], [0, 0]),
        (["12345678.905", "-12345678.905"], [1234567891, -1234567891]),
    ],
)
def test_costs_with_many_decimals(tmp_path, costs, totals):
    text = focus([("p1", Decimal(0))] * len(costs))
    for cost in costs:
        text = text.replace("0,0,USD", f"0,{cost},USD", 1)
    assert charged(tmp_path, text, "1")[1]["total"].to_list() == totals


@pytest.mark.parametrize(
    ("cell", "complaint"),
    [
        ("", "nothing stands where a cost belongs"),
        ("free", "'free' is not a number"),
        ("1." + "1" * 25, "has more than 24 decimals"),
        ("1" * 26, "is too large to be counted"),
    ],
)
def test_a_cost_that_cannot_be_read_holds_its_row_back_and_no_other(tmp_path, cell, complaint):
    text = focus([("p1", Decimal("0.004")), ("p1", Decimal(0)), ("p1", Decimal("0.004"))])
    _usage, charges, unbilled = charged(tmp_path, text.replace("0,0,USD", f"0,{cell},USD"), "1")
    assert charges["total"].to_list() == [0, 1]
    assert unbilled.select("record", "reason").rows() == [("focus.csv:3", "invalid_quantity")]
    assert complaint in unbilled["detail"].item()


def test_a_cost_in_another_currency_is_held_back(tmp_path):
    text = focus([("p1", Decimal(1)), ("p1", Decimal(2))])
    _usage, charges, unbilled = charged(tmp_path, text.replace("0,2,USD", "0,2,EUR"), "1")
    assert charges["total"].to_list() == [100]
    assert unbilled["detail"].item() == (
        "focus.csv, row 3, column 'BillingCurrency': 'EUR' is not the facility's currency, USD"
    )


@pytest.mark.parametrize("start", ["2026-05-01T00:00:00Z", "2026-05-01 00:00:00", "2026-05-01"])
def test_a_bills_month_is_its_own_and_not_that_of_the_facilitys_clock(tmp_path, start):
    """The first hour of a bill, in UTC, is the last evening of April in New York."""
    text = focus([("p1", Decimal(1))]).replace("2026-05-04T00:00:00Z", start)
    assert charged(tmp_path, text, "1")[1]["date"].item().isoformat() == "2026-05-01"


def test_a_columns_name_alone_makes_no_cost(tmp_path):
    text = "id,item,project,date,quantity,cost,currency\n1,i,p,2026-05-04,2,-9,EUR\n"
    (tmp_path / "u.csv").write_text(text)
    usage = read_file(tmp_path / "u.csv", {}, "UTC", currency="USD").usage
    assert usage.select("quantity", "costs_before", "defect").rows() == [(Decimal(2), None, None)]


def test_floats_of_parquet_are_the_decimals_that_were_typed(tmp_path):
    frame = pl.DataFrame({"cost": [0.1, 0.2, 1e-7, -0.3], "id": ["a", "b", "c", "d"]})
    frame.with_columns(
        item=pl.lit("i"), project=pl.lit("p"), date=pl.date(2026, 5, 4)
    ).write_parquet(tmp_path / "u.parquet")
    usage = read_file(
        tmp_path / "u.parquet", mappings({"parquet": {"cost": "{cost}"}}), "UTC"
    ).usage
    assert [f"{value:f}" for value in usage["quantity"]] == [
        *("0.100000000", "0.200000000", "0.000000100", "-0.300000000")
    ]
