"""What a price book says of hours, bands, tiers and rules that cannot be: one sentence each."""

import pytest

from billing_lib.errors import InvalidPriceBook
from billing_lib.pricing.pricebook import PriceBook

from .small_book import text

ROOM = "[{code: room, business_hours: {mon-fri: '08:00-18:00'}}]"
SCOPE = "[{code: scope, name: Microscope, unit: hour, resource: room}]"


def refusal(**sections: str) -> str:
    with pytest.raises(InvalidPriceBook) as refused:
        PriceBook.parse(text(period="", **sections), "book.yml")
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


def hours(span: str) -> str:
    return f"[{{code: room, business_hours: {{mon-fri: '{span}'}}}}]"


@pytest.mark.parametrize(
    ("resources", "sentence"),
    [
        (hours("18:00-08:00"), "the hours '18:00-08:00' end before they start"),
        (
            hours("08:00-08:00"),
            "the hours '08:00-08:00' end when they start; a whole day is \"00:00-24:00\"",
        ),
        (hours("8-18"), "'8-18' is not a span of hours; write it as \"08:00-18:00\""),
        (
            hours("08:00-24:01"),
            "'08:00-24:01' is not a span of hours; a day is 00:00 to 24:00",
        ),
        (
            hours("08:60-18:00"),
            "'08:60-18:00' is not a span of hours; a day is 00:00 to 24:00",
        ),
        (
            "[{code: room, business_hours: {weekdays: '08:00-18:00'}}]",
            "'weekdays' names no days; write them as mon, sat-sun or mon-fri",
        ),
        (
            "[{code: room, business_hours: {mon-fri: '08:00-18:00', wed: '08:00-12:00'}}]",
            "the hours of wed are stated twice",
        ),
    ],
)
def test_business_hours_lie_within_each_day(resources: str, sentence: str) -> None:
    place = "book.yml, line 7, resources[1].business_hours"

    assert refusal(resources=resources) == f"{place}: {sentence}"


def test_a_holiday_is_a_date() -> None:
    assert refusal(resources="[{code: room, holidays: [easter]}]") == (
        "book.yml, line 7, resources[1].holidays[1]: 'easter' is not a date; write it as YYYY-MM-DD"
    )


@pytest.mark.parametrize(
    ("rate", "key", "sentence"),
    [
        (
            'price: "40.00", after_hours: "-1"',
            ".after_hours",
            "the price '-1' is negative",
        ),
        (
            'after_hours: "25.00", tiers: {mode: volume, steps: [{up_to: null, price: "1"}]}',
            ".tiers",
            "a rate cannot have both 'after_hours' and 'tiers'",
        ),
        (
            'price: "40.00", after_hours: "0", bands: [{name: n, hours: {sat: "08:00-09:00"}, '
            'price: "1"}]',
            ".bands",
            "a rate cannot have both 'after_hours' and 'bands'",
        ),
        (
            'bands: [{name: n, hours: {sat: "08:00-09:00"}, price: "1"}], '
            'tiers: {mode: volume, steps: [{up_to: null, price: "1"}]}',
            ".tiers",
            "a rate cannot have both 'bands' and 'tiers'",
        ),
        (
            'price: "1", tiers: {mode: volume, steps: [{up_to: null, price: "1"}]}',
            ".price",
            "a rate with 'tiers' has no price beside them; remove one",
        ),
        (
            'tiers: {mode: volume, steps: [{up_to: "10", price: "1"}]}',
            ".tiers.steps",
            "the steps have no end; the last one is 'up_to: null'",
        ),
        (
            "tiers: {mode: volume, steps: []}",
            ".tiers.steps",
            "the steps have no end; the last one is 'up_to: null'",
        ),
        (
            'tiers: {mode: graduated, steps: [{up_to: "10", price: "1"}, {up_to: "5", price: "1"}, '
            '{up_to: null, price: "1"}]}',
            ".tiers.steps",
            "the steps are out of order: 5 after 10",
        ),
        (
            'tiers: {mode: volume, steps: [{up_to: null, price: "1"}, {up_to: null, price: "1"}]}',
            ".tiers.steps",
            "only the last step is 'up_to: null'",
        ),
        (
            'tiers: {mode: blocks, steps: [{up_to: null, price: "1"}]}',
            ".tiers.mode",
            "'blocks' is not known here; write 'graduated' or 'volume'",
        ),
        (
            'price: "1", bands: [{name: n, hours: {sat: "08:00-08:00"}, price: "1"}]',
            ".bands[1].hours",
            "the hours '08:00-08:00' end when they start; a whole day is \"00:00-24:00\"",
        ),
        (
            'price: "1", bands: [{name: n, hours: {sat: "20:00-02:00"}, price: "-1"}]',
            ".bands[1].price",
            "the price '-1' is negative",
        ),
        (
            'price: "1", bands: [{name: n, hours: {sat: "20:00-02:00"}, price: "1", '
            'minimum: "0.001"}]',
            ".bands[1].minimum",
            "the minimum '0.001' has more than 2 decimal places",
        ),
        ('price: "1", bands: []', ".bands", "'bands' is empty; list at least one"),
        (
            'price: "1", service_fee: "0.001"',
            ".service_fee",
            "the service fee '0.001' has more than 2 decimal places",
        ),
        (
            'price: "1", per: week',
            ".per",
            "'week' is not known here; "
            "write 'hour', 'each', 'use', 'day', 'month', 'snapshot' or 'daily_snapshot'",
        ),
        (
            'price: "1", no_show: "1"',
            ".no_show",
            "'no_show' needs 'booking'; say booking: longer",
        ),
        (
            'price: "1", per: day, booking: longer',
            ".booking",
            "a rate with 'per: day' bills no time; remove it",
        ),
        (
            'price: "1", booking: shorter',
            ".booking",
            "'shorter' is not known here; write 'longer'",
        ),
        (
            'price: "1", per: month, rounding_step: 1h',
            ".rounding_step",
            "a rate with 'per: month' has no 'rounding_step'; remove it",
        ),
        (
            "per: month, tiers: {mode: volume, steps: [{up_to: null, price: '1'}]}",
            ".tiers",
            "a rate with 'per: month' has no 'tiers'; remove it",
        ),
        (
            'price: "1", per: snapshot, minimum: "1"',
            ".minimum",
            "a rate with 'per: snapshot' has no 'minimum'; remove it",
        ),
        (
            'price: "1", per: daily_snapshot, service_fee: "1"',
            ".service_fee",
            "a rate with 'per: daily_snapshot' has no 'service_fee'; remove it",
        ),
        (
            'price: "1", after_hours: "1"',
            ".after_hours",
            "the item 'scope' has no resource, so it has no business hours; "
            "name a resource with business_hours on the item",
        ),
        (
            'price: "1", subsidy: {by: NIH}',
            ".subsidy.percent",
            "a subsidy has either 'percent' or 'price'",
        ),
        (
            'price: "1", subsidy: {by: NIH, percent: "100.01"}',
            ".subsidy.percent",
            "a subsidy pays at most 100 %",
        ),
    ],
)
def test_a_rate_prices_in_one_way(rate: str, key: str, sentence: str) -> None:
    rates = f"[{{item: scope, group: internal, {rate}}}]"

    assert refusal(rates=rates) == f"book.yml, line 3, rates[1]{key}: {sentence}"


def rule(keys: str) -> str:
    return f"[{{name: r, {keys}}}]"


@pytest.mark.parametrize(
    ("keys", "key", "sentence"),
    [
        (
            "scope: project, kind: cap, amount: '1'",
            ".scope",
            "'project' is not known here; write 'charge', 'invoice' or 'statement'",
        ),
        (
            "scope: charge, kind: ceiling, amount: '1'",
            ".kind",
            "'ceiling' is not known here; "
            "write 'cap', 'floor', 'scale', 'tier', 'fee' or 'discount'",
        ),
        ("scope: charge, kind: cap", ".amount", "a rule of kind 'cap' needs the key 'amount'"),
        (
            "scope: charge, kind: scale, factor: '1', amount: '1'",
            ".amount",
            "a rule of kind 'scale' has no key 'amount'",
        ),
        ("scope: charge, kind: fee, amount: '-1'", ".amount", "the amount '-1' is negative"),
        ("scope: charge, kind: scale, factor: '-1'", ".factor", "the factor '-1' is negative"),
        (
            "scope: charge, kind: fee, amount: '0.001'",
            ".amount",
            "the amount '0.001' has more than 2 decimal places",
        ),
        (
            "scope: invoice, kind: tier, steps: [{up_to: '1', factor: '1'}]",
            ".steps",
            "the steps have no end; the last one is 'up_to: null'",
        ),
        (
            "scope: invoice, kind: cap, amount: '1', tags: [unheard]",
            ".tags[1]",
            "no team or project has the tag 'unheard'; define it or correct its spelling",
        ),
        (
            "scope: invoice, kind: cap, amount: '1', items: [unheard]",
            ".items[1]",
            "the item 'unheard' is not defined; define it or correct its spelling",
        ),
        (
            "scope: invoice, kind: cap, amount: '1', projects: [unheard]",
            ".projects[1]",
            "the project 'unheard' is not defined; define it or correct its spelling",
        ),
        (
            "scope: statement, kind: cap, amount: '1', items: [scope]",
            ".items",
            "a rule at statement scope has no 'items'; it works on the whole total",
        ),
        (
            "scope: statement, kind: cap, amount: '1', projects: [p]",
            ".projects",
            "a rule at statement scope has no 'projects'; it works on the whole total",
        ),
        (
            "scope: invoice, kind: fee, amount: '1', over: quarter",
            ".over",
            "only a cap or a floor works over a span; remove 'over'",
        ),
        (
            "scope: invoice, kind: cap, amount: '1', by: user",
            ".by",
            "'by' needs 'over'; say over: day, month, quarter, fiscal_year",
        ),
        (
            "scope: charge, kind: cap, amount: '1', over: quarter",
            ".over",
            "a cap over a span works at invoice or statement scope",
        ),
        (
            "scope: statement, kind: cap, amount: '1', over: quarter, by: project",
            ".by",
            "at statement scope a cap counts by team",
        ),
        (
            "scope: statement, kind: cap, amount: '1', over: day",
            ".over",
            "a statement has no days; put the rule at invoice scope",
        ),
        (
            "scope: invoice, kind: cap, amount: '1', over: week",
            ".over",
            "'week' is not known here; write 'day', 'month', 'quarter' or 'fiscal_year'",
        ),
    ],
)
def test_a_rule_works_at_one_scope_on_what_is_there(keys: str, key: str, sentence: str) -> None:
    assert refusal(rules=rule(keys)) == f"book.yml, line 7, rules[1]{key}: {sentence}"


def test_two_caps_that_count_earlier_months_have_two_names() -> None:
    cap = "{name: c, scope: invoice, kind: cap, amount: '1', over: quarter}"

    assert refusal(rules=f"[{cap}, {cap}]") == (
        "book.yml, line 7, rules[1].name: two rules over a span have the name 'c'; "
        "give each its own name"
    )


def test_an_item_names_a_resource_that_is_there() -> None:
    assert refusal(resources="[{code: other}]", items=SCOPE) == (
        "book.yml, line 2, items[1].resource: the resource 'room' is not defined; "
        "define it or correct its spelling"
    )


@pytest.mark.parametrize(
    ("tax", "key", "sentence"),
    [
        ("{name: VAT, percent: '6.12345'}", ".percent",
         "the percentage '6.12345' has more than 4 decimal places"),
        ("{name: VAT, percent: '-1'}", ".percent", "the percentage '-1' is negative"),
        ("{percent: '6.25'}", ".name", "the key 'name' is missing; add it"),
    ],
)  # fmt: skip
def test_a_tax_has_a_name_and_a_percentage(tax: str, key: str, sentence: str) -> None:
    types = f"[{{code: faculty, rate_group: internal, tax: {tax}}}]"

    assert refusal(project_types=types) == (
        f"book.yml, line 4, project_types[1].tax{key}: {sentence}"
    )


def project(splits: str) -> str:
    return f"[{{code: p, team: smith, type: faculty, {splits}}}]"


A = 'split: [{expense_code: A, percent: "100"}]'


@pytest.mark.parametrize(
    ("splits", "key", "sentence"),
    [
        (f"{A}, splits: [{{{A}}}]", ".splits",
         "a project has either 'split' or 'splits'; keep one"),
        ("tags: [x]", ".split", "the key 'split' is missing; add it"),
        ("splits: []", ".splits", "'splits' is empty; list at least one"),
        (f"splits: [{{valid_from: 2020-01-01, {A}}}]", ".splits",
         "the first split has no 'valid_from'; it holds until the next one"),
        (f"splits: [{{{A}}}, {{{A}}}]", ".splits",
         "each split after the first needs a later 'valid_from' than the one above"),
        (f"splits: [{{{A}}}, {{valid_from: 2020-02-01, {A}}}, {{valid_from: 2020-02-01, {A}}}]",
         ".splits", "each split after the first needs a later 'valid_from' than the one above"),
    ],
)  # fmt: skip
def test_splits_by_date_follow_each_other(splits: str, key: str, sentence: str) -> None:
    assert refusal(projects=project(splits)) == f"book.yml, line 6, projects[1]{key}: {sentence}"


@pytest.mark.parametrize(
    ("codes", "key", "sentence"),
    [
        ("{pattern: '['}", ".pattern",
         "'[' is no regular expression (unterminated character set at position 0)"),
        ("{codes: [{code: A, valid_from: 2020-02-02, valid_to: 2020-02-01}]}", ".codes[1].valid_to",
         "the expense code ends before it starts"),
    ],
)  # fmt: skip
def test_expense_codes_are_a_pattern_or_a_list(codes: str, key: str, sentence: str) -> None:
    facility = f"{{code: RC, name: R, currency: USD, timezone: UTC, expense_codes: {codes}}}"

    assert refusal(facility=facility) == (
        f"book.yml, line 1, facility.expense_codes{key}: {sentence}"
    )
