"""Rules at statement scope: whatever they are, raw total and lines make the total."""

from dataclasses import replace
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from sample_facility import price_book

from billing_lib.pricing.invoicing import YEAR_TO_DATE, rule_statements
from billing_lib.pricing.rates import Rule
from billing_lib.pricing.rating import RULES, Catalogue

_KINDS: list[dict[str, Any]] = [
    {"kind": "cap", "amount": "50.00"},
    {"kind": "cap", "amount": "50.00", "over": "quarter", "by": "team"},
    {"kind": "floor", "amount": "20.00"},
    {"kind": "fee", "amount": "2.50"},
    {"kind": "discount", "amount": "3.00"},
    {"kind": "scale", "factor": "0.333333"},
    {
        "kind": "tier",
        "steps": [{"up_to": "10.00", "factor": "1"}, {"up_to": None, "factor": "0.8"}],
    },
]
_TAGGED = st.sampled_from([{}, {"tags": ["t"]}])


@given(
    sums=st.lists(st.integers(-100_00, 1_000_00), min_size=1, max_size=5),
    kinds=st.lists(st.tuples(st.sampled_from(_KINDS), _TAGGED), max_size=5),
    before=st.integers(0, 80_00),
)
def test_lines_make_the_difference(
    sums: list[int], kinds: list[tuple[dict[str, Any], dict[str, Any]]], before: int
) -> None:
    rules = [
        Rule.model_validate({"name": f"r{at}", "scope": "statement"} | kind | tagged)
        for at, (kind, tagged) in enumerate(kinds)
    ]
    rows = [(at, rule.name, rule.scope, rule.body) for at, rule in enumerate(rules)]
    catalogue = replace(
        Catalogue.of(price_book()), rules=pl.DataFrame(rows, schema=RULES, orient="row")
    )
    names = [f"team-{at}" for at in range(len(sums))]
    summed = pl.DataFrame({"team": names, "raw_total": sums})
    teams = pl.DataFrame({"team": names[:1], "team_tags": [["t"]]})  # the others have no tags
    carried = pl.DataFrame(
        [(rule.name, name, before) for rule in rules if rule.over for name in names],
        schema=YEAR_TO_DATE,
        orient="row",
    )
    totals, lines = rule_statements(summed, teams, catalogue, carried)
    assert totals["team"].to_list() == names
    assert totals["raw_total"].to_list() == sums
    changed = dict(lines.group_by("subject").agg(pl.col("amount").sum()).iter_rows())
    for name, raw, adjustment, total in totals.iter_rows():
        assert adjustment == changed.get(name, 0)
        assert total == raw + adjustment
    for name, rule in lines.select("subject", "rule").iter_rows():
        assert name == "team-0" or rules[int(rule[1:])].tags is None
    assert lines.select("subject", "position").is_duplicated().sum() == 0
