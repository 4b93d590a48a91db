"""Scenarios: usage, adjustments and expectations beside a price book, read and refused."""

from decimal import Decimal

import polars as pl
import pytest

from billing_lib.errors import BillingError, InvalidPeriod, InvalidPriceBook
from billing_lib.pricing.adjusting import ADJUSTMENTS, LINES
from billing_lib.pricing.fields import USAGE
from billing_lib.pricing.scenario import Scenario

from .small_book import SLIDES, WHO, scenario, text
from .tables import rows


def refusal(**sections: str) -> str:
    with pytest.raises((InvalidPriceBook, InvalidPeriod)) as refused:
        scenario(**sections)
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


def used(keys: str) -> str:
    """One usage entry with these keys beside its item and project."""
    return f"[{{id: u1, item: scope, project: p, {keys}}}]"


def changed(change: str) -> str:
    return f"[{{charge: u1, set: {{{change}}}, {WHO}}}]"


def added(line: str) -> str:
    return f"[{{add_line: {{date: 2020-04-30, description: Training, {line}}}, {WHO}}}]"


def test_usage_becomes_a_usage_frame() -> None:
    read = scenario(
        usage="""
  - {id: u1, item: scope, project: p, user: ann, start: "2020-04-06T17:00:00-04:00",
     end: "2020-04-06T20:00:00.5-04:00", units: "128", description: night run}
  - {id: u2, item: slide, project: p, date: 2020-04-07, quantity: "0.000000001"}
  - {id: u1, item: slide, project: p, date: 2020-04-07, quantity: "12"}"""
    )
    frame = read.usage_frame()

    assert frame.schema == USAGE
    assert rows(frame, "record", "occurrence", "row") == [("u1", 1, 1), ("u2", 1, 2), ("u1", 2, 3)]
    assert frame["start"].dt.to_string("iso")[0] == "2020-04-06 21:00:00.000000+00:00"
    assert frame["end"].dt.to_string("iso")[0] == "2020-04-07 00:00:00.500000+00:00"
    assert frame["units"].to_list() == [Decimal(128), Decimal(1), Decimal(1)]
    assert frame["quantity"].to_list() == [None, Decimal("0.000000001"), Decimal(12)]
    assert rows(frame, "user", "description")[0] == ("ann", "night run")


def test_no_usage_is_an_empty_usage_frame() -> None:
    frame = scenario().usage_frame()

    assert (frame.schema, frame.height) == (USAGE, 0)


def test_adjustments_become_changes_and_lines_in_order() -> None:
    read = scenario(
        usage=SLIDES,
        adjustments=f"""
  - {{charge: u1, set: {{quantity: "10.0", expense_code: C}}, {WHO}}}
  - {{add_line: {{project: p, date: 2020-04-30, description: Training, amount: "75"}}, {WHO}}}
  - {{charge: line-1, set: {{amount: "-0.5"}}, {WHO}}}""",
    )
    changes, lines = read.adjustment_frames()

    assert changes.schema == ADJUSTMENTS
    assert rows(changes, "order", "charge", "field", "value") == [
        (0, "u1", "quantity", "10"),
        (0, "u1", "expense_code", "C"),
        (2, "line-1", "amount", "-0.50"),
    ]
    assert rows(changes, "by", "at", "reason")[0] == (
        "carol",
        "2020-05-01T09:00:00-04:00",
        "agreed",
    )
    assert lines.schema == LINES
    assert rows(lines, "charge", "project", "amount", "expense_code") == [
        ("line-1", "p", 7500, None)
    ]


def test_an_amount_is_in_the_minor_units_of_the_currency() -> None:
    yen = "{code: TYO, name: Tokyo, currency: JPY, timezone: Asia/Tokyo}"
    _, lines = scenario(
        facility=yen, adjustments=added('project: p, amount: "75.00"')
    ).adjustment_frames()

    assert lines["amount"].to_list() == [75]


TIME = 'write it as "2020-04-06T17:00:00-04:00"'
MISTAKES = [
    (
        {"usage": used('start: "2020-04-06T17:00:00", end: "2020-04-06T18:00:00-04:00"')},
        "april.yml, line 8, usage[1].start: "
        f"the time '2020-04-06T17:00:00' has no time zone; {TIME}",
    ),
    (
        {"usage": used("start: yesterday")},
        f"april.yml, line 8, usage[1].start: 'yesterday' is not a time; {TIME}",
    ),
    (
        {"usage": used("end: 1586206800")},
        f"april.yml, line 8, usage[1].end: '1586206800' is not a time; {TIME}",
    ),
    (
        {"usage": used('end: "2020-04-06T25:00:00Z"')},
        f"april.yml, line 8, usage[1].end: '2020-04-06T25:00:00Z' is not a time; {TIME}",
    ),
    (
        {"usage": used("date: 86400")},
        "april.yml, line 8, usage[1].date: '86400' is not a date; write it as YYYY-MM-DD",
    ),
    (
        {"usage": used("date: 06/04/2020")},
        "april.yml, line 8, usage[1].date: '06/04/2020' is not a date; write it as YYYY-MM-DD",
    ),
    (
        {"usage": used("date: 2020-04-06, quantity: many")},
        "april.yml, line 8, usage[1].quantity: "
        "'many' is no quantity; write it in digits, such as \"12.50\"",
    ),
    (
        {"usage": used('date: 2020-04-06, quantity: "1.0000000001"')},
        "april.yml, line 8, usage[1].quantity: "
        "the quantity '1.0000000001' has more than 9 decimal places",
    ),
    (
        {"usage": used('date: 2020-04-06, quantity: "100000000000000"')},
        "april.yml, line 8, usage[1].quantity: "
        "the quantity '100000000000000' has more than 14 digits",
    ),
    (
        {"usage": used("date: 2020-04-06, hours: '3'")},
        "april.yml, line 8, usage[1].hours: the key 'hours' is not supported here; remove it or "
        "correct its spelling (see the manual's page 'Scenario format')",
    ),
    (
        {"usage": "[{item: slide, project: p}]"},
        "april.yml, line 8, usage[1].id: the key 'id' is missing; add it",
    ),
    (
        {"usage": SLIDES, "adjustments": changed('units: "2"')},
        "april.yml, line 9, adjustments[1].set.units: 'units' cannot be set; "
        "set one of quantity, rate, amount, split, expense_code, project, waived, note",
    ),
    (
        {"usage": SLIDES, "adjustments": changed('amount: "0.001"')},
        "april.yml, line 9, adjustments[1].set.amount: 0.001 has more than 2 decimal places",
    ),
    (
        {
            "usage": SLIDES,
            "adjustments": '\n  - charge: u1\n    set:\n      split:\n'
            '        - {expense_code: A, percent: "99"}\n'
            f'    {WHO.replace(", ", chr(10) + "    ")}',
        },
        "april.yml, line 12, adjustments[1].set.split: "
        "the split makes 99 %; its percentages must make 100",
    ),
    (
        {"usage": SLIDES, "adjustments": changed("rate: 1").replace("u1", "u2")},
        "april.yml, line 9, adjustments[1].charge: there is no usage or added line 'u2'; "
        "name a usage record's id, or line-1 for the first line added above",
    ),
    (
        {"adjustments": added('project: p, amount: "1"')[:-1]
         + f', {{charge: line-1, set: {{rate: "1"}}, {WHO}}}]'},
        "april.yml, line 8, adjustments[2].set.rate: 'rate' cannot be set; "
        "set one of amount, split, expense_code, project, waived, note",
    ),
    (
        {"adjustments": added('project: nobody, amount: "1"')},
        "april.yml, line 8, adjustments[1].add_line.project: the project 'nobody' is not "
        "defined; define it or correct its spelling",
    ),
    (
        {"adjustments": added('project: p, amount: "0.001"')},
        "april.yml, line 8, adjustments[1].add_line.amount: 0.001 has more than 2 decimal places",
    ),
    (
        {"adjustments": added('project: p, amount: "1", item: slide')},
        "april.yml, line 8, adjustments[1].add_line.item: the key 'item' is not supported here; "
        "remove it or correct its spelling (see the manual's page 'Scenario format')",
    ),
    (
        {"adjustments": f"[{{{WHO}}}]"},
        "april.yml, line 8, adjustments[1]: "
        "an adjustment has either 'charge' and 'set', or 'add_line'",
    ),
    (
        {"usage": SLIDES, "adjustments": '[{charge: u1, set: {amount: "1"}, by: carol, '
         'at: "2020-05-01T09:00:00-04:00"}]'},
        "april.yml, line 9, adjustments[1].reason: the key 'reason' is missing; add it",
    ),
    (
        {"usage": SLIDES.replace("u1", "line-1"), "adjustments": added('project: p, amount: "1"')},
        "april.yml, line 8, usage[1].id: the id 'line-1' is that of an added line; "
        "give the usage another id",
    ),
    (
        {"period": "2020-4"},
        "april.yml, line 2, period: '2020-4' is not a period; "
        "write a month as YYYY-MM, such as 2020-04",
    ),
    (
        {"period": "April"},
        "april.yml, line 2, period: 'April' is not a period; "
        "write a month as YYYY-MM, such as 2020-04",
    ),
    (
        {"expect": "{totals: {p: '1.00'}}"},
        "april.yml, line 8, expect.totals: the key 'totals' is not supported here; remove it or "
        "correct its spelling (see the manual's page 'Scenario format')",
    ),
    (
        {"carried": "{cap: {p: '480.00'}}"},
        "april.yml, line 8, carried.cap: no rule over a span has the name 'cap'; "
        "give the rule 'over', or correct the name",
    ),
    (
        {
            "rules": "[{name: cap, scope: invoice, kind: cap, amount: '9', over: quarter}]",
            "carried": "{cap: {q: '480.00'}}",
        },
        "april.yml, line 9, carried.cap.q: the project 'q' is not defined; "
        "define it or correct its spelling",
    ),
    (
        {
            "rules": "[{name: cap, scope: invoice, kind: cap, amount: '9', over: quarter}]",
            "carried": "{cap: {p: '480.001'}}",
        },
        "april.yml, line 9, carried.cap.p: 480.001 has more than 2 decimal places",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("sections", "sentence"), MISTAKES)
def test_a_mistake_is_refused_in_a_sentence_with_file_line_and_key(
    sections: dict[str, str], sentence: str
) -> None:
    assert refusal(**sections) == sentence


def test_the_mistakes_of_a_price_book_are_those_of_a_scenario_too() -> None:
    assert refusal(rates='[{item: slide, group: g, price: "-1"}]') == (
        "april.yml, line 4, rates[1].price: the price '-1' is negative"
    )


def test_a_line_can_only_be_changed_after_it_is_added() -> None:
    change = f'{{charge: line-1, set: {{amount: "1"}}, {WHO}}}'
    line = added('project: p, amount: "2"')[1:-1]

    assert scenario(adjustments=f"[{line}, {change}]").adjustments[1].charge == "line-1"
    assert "there is no usage or added line 'line-1'" in refusal(adjustments=f"[{change}, {line}]")


@pytest.mark.parametrize("broken", ["", "[", "a: 1", "- a", "\0", "facility: {code: RC}"])
def test_what_is_no_scenario_is_refused_by_its_name(broken: str) -> None:
    with pytest.raises(BillingError, match=r"^april\.yml") as refused:
        Scenario.parse(broken, "april.yml")
    assert "\n" not in str(refused.value)


def test_usage_of_unknown_items_and_projects_is_read_for_it_is_unbilled_not_wrong() -> None:
    read = scenario(usage="[{id: u1, item: unheard, project: nobody, date: 2020-04-06}]")

    assert read.usage_frame().select(pl.len()).item() == 1


def test_a_scenario_without_usage_or_expectations_is_a_price_book_with_a_period() -> None:
    read = Scenario.parse(text(), "april.yml")

    assert (read.period, read.usage, read.adjustments) == ("2020-04", (), ())
