"""Charges become lines: by every key, with the sums of the charges to the minor unit."""

from random import Random

import polars as pl

from billing_lib.pricing.aggregation import EACH, KEYS, PLAIN_STEP, Lines, number_lines, sum_lines
from billing_lib.pricing.charging import Charges, charge_usage
from billing_lib.pricing.explain import price_steps
from billing_lib.pricing.rating import Catalogue, rate_usage
from billing_lib.pricing.scenario import Scenario

from .made_up import EXAMPLES
from .together import check_months, together

CHUNK = 20
FEW = max(20, EXAMPLES // 50)

SCENARIO = """
facility: {code: MIC, name: Microscopy, currency: USD, timezone: UTC}
period: 2020-04
items: [{code: scope, name: Microscope, unit: hour}, {code: slide, name: Slide, unit: each}]
rates:
  - {item: scope, group: internal, price: "10.00", minimum: "5.00"}
  - {item: slide, group: internal, price: "0.333"}
project_types: [{code: faculty, rate_group: internal}]
teams: [{code: smith, name: Smith Lab}]
projects:
  - code: p1
    team: smith
    type: faculty
    splits:
      - split: [{expense_code: A, percent: "60"}, {expense_code: B, percent: "40"}]
      - valid_from: 2020-04-03
        split: [{expense_code: A, percent: "100"}]
usage:
  - {id: u1, item: slide, project: p1, user: ann, date: 2020-04-01, quantity: "1"}
  - {id: u2, item: slide, project: p1, user: bob, date: 2020-04-01, quantity: "1"}
  - {id: u3, item: slide, project: p1, user: ann, date: 2020-04-01, quantity: "1"}
  - {id: u4, item: slide, project: p1, user: ann, date: 2020-04-03, quantity: "1"}
  - {id: u5, item: slide, project: p1, user: ann, date: 2020-04-03, quantity: "1"}
  - {id: u6, item: scope, project: p1, user: ann, start: "2020-04-03T08:00:00Z",
     end: "2020-04-03T08:15:00Z"}
  - {id: u7, item: scope, project: p1, user: ann, start: "2020-04-03T09:00:00Z",
     end: "2020-04-03T11:00:00Z"}
adjustments:
  - {charge: u5, set: {note: box 7}, by: carol, at: "2020-05-01T09:00:00+00:00", reason: asked}
"""


def charged(scenario: Scenario) -> tuple[Charges, pl.DataFrame]:
    """The charges of a scenario's month, and their steps of pricing."""
    catalogue = Catalogue.of(scenario)
    rated = rate_usage(scenario.usage_frame(), catalogue, scenario.period).rated
    changes, lines = scenario.adjustment_frames()
    return charge_usage(rated, catalogue, changes, lines), price_steps(rated, catalogue, changes)


def lines_of(
    scenario: Scenario, priced: Charges, steps: pl.DataFrame, by: str, above: int
) -> Lines:
    changes, _ = scenario.adjustment_frames()
    apart = pl.col("charge").is_in(changes["charge"].implode()) | (pl.col("kind") == "line")
    charges = priced.charges.sort("project", "date", "start", "charge", nulls_last=True)
    charges = charges.with_columns(
        invoice="project",
        by=pl.lit(by),
        above=pl.lit(above, pl.Int64),
        late=pl.lit(None, pl.String),
        alone=apart,
    )
    rules = priced.rule_lines.rename({"subject": "charge"})
    return sum_lines(number_lines(charges, priced.splits), priced.splits, rules, steps)


def shown(by: str, above: int = 0) -> list[tuple]:
    """Each line of SCENARIO: charges, first and last day, user, quantity in units, total."""
    scenario = Scenario.parse(SCENARIO, "lines.yml")
    lines = lines_of(scenario, *charged(scenario), by, above).lines
    return [
        (n, f"{first:%d}", f"{last:%d}", user, quantity / 1_000_000, total)
        for n, first, last, user, quantity, total in lines.select(
            "charges", "date", "last_date", "user", "quantity", "total"
        ).iter_rows()
    ]


def test_charges_that_agree_in_the_keys_are_one_line() -> None:
    # A slide is 0.33; a quarter of an hour the minimum of 5.00; two hours 20.00. u5 has a note;
    # on a day, charges with a time come first.
    noted, scope = (1, "03", "03", "ann", 1, 33), (2, "03", "03", "ann", 2.25, 2500)
    assert shown("item") == [(4, "01", "03", None, 4, 132), scope, noted]
    assert shown("user, item") == [
        (3, "01", "03", "ann", 3, 99),
        (1, "01", "01", "bob", 1, 33),
        scope,
        noted,
    ]
    # 60 : 40 on the first day, all to A on the third.
    assert shown("item, expense_code")[0] == (3, "01", "01", None, 3, 99)
    assert len(shown(EACH)) == len(shown("item", above=7)) == 7
    assert len(shown("item", above=6)) == 3


def test_a_line_says_in_what_its_charges_differ_and_sums_their_codes_and_steps() -> None:
    scenario = Scenario.parse(SCENARIO, "lines.yml")
    lines = lines_of(scenario, *charged(scenario), "item", 0)
    slides, scope, note = lines.lines.iter_rows(named=True)
    assert (slides["several"], note["several"], scope["several"]) == (["user"], [], [])
    assert (slides["charge"], note["charge"], slides["price"]) == (None, "u5", note["price"])
    # 0.33 as 0.20 and 0.13, three times; and once all of it to A.
    codes = lines.splits.filter(pl.col("line") == 1).select("expense_code", "percent", "amount")
    assert codes.rows() == [("A", None, 93), ("B", None, 39)]
    # 2.25 hours at 10.00, and 2.50 more for the quarter of an hour, whose minimum is 5.00.
    steps = lines.steps.select("line", "step", "quantity", "amount").rows()
    assert steps[0] == (2, PLAIN_STEP, 2_250_000, 2250)
    assert [(line, quantity, amount) for line, _, quantity, amount in steps[1:]] == [(2, None, 250)]


def test_lines_by_any_keys_come_to_what_the_charges_do() -> None:
    random = Random(0)

    def same(batch: list[dict]) -> None:
        scenario = Scenario.model_validate(together(batch))
        priced, steps = charged(scenario)
        by = random.sample(sorted(KEYS), random.randint(1, len(KEYS)))
        lines = lines_of(scenario, priced, steps, ", ".join(by), random.choice([0, 1, 5]))
        amounts = ("raw_total", "adjustment", "total")
        charges = priced.charges.with_columns(invoice="project")
        assert by_invoice(lines.lines, "charges") == dict(
            charges.group_by("invoice").len().iter_rows()
        )
        for name in amounts:
            assert by_invoice(lines.lines, name) == by_invoice(charges, name)
        owners = charges.select("charge", "invoice")
        splits = priced.splits.join(owners, on="charge")
        for keys, part, whole in (
            (["expense_code"], lines.splits, splits),
            (
                ["rule", "kind"],
                lines.rules,
                priced.rule_lines.join(owners, left_on="subject", right_on="charge"),
            ),
        ):
            assert by_invoice(part, "amount", *keys) == by_invoice(whole, "amount", *keys)
        # On each line the codes sum to the total, and any steps to the raw total.
        for part, name in ((lines.splits, "total"), (lines.steps, "raw_total")):
            summed = part.group_by("invoice", "line").agg(pl.col("amount").sum())
            both = summed.join(lines.lines, on=["invoice", "line"])
            assert both.height == summed.height
            assert (both["amount"] == both[name]).all()

    check_months(CHUNK, FEW, same)


def by_invoice(frame: pl.DataFrame, amount: str, *keys: str) -> dict[tuple, int]:
    summed = frame.group_by("invoice", *keys).agg(pl.col(amount).sum())
    if not keys:
        return dict(summed.iter_rows())
    return {tuple(row[:-1]): row[-1] for row in summed.iter_rows()}
