"""The derivation of a charge, in words."""

from billing_lib.pricing.explain import explain_charge
from billing_lib.pricing.rating import Catalogue, rate_usage

from .small_book import SLIDES, WHO, scenario

ROOM = "[{code: room, business_hours: {mon-fri: '08:00-18:00'}}]"
ITEMS = (
    "[{code: scope, name: Microscope, unit: hour, resource: room}, "
    "{code: slide, name: Slide, unit: each}]"
)


def explained(charge: str, **sections: str) -> list[str]:
    read = scenario(**sections)
    catalogue = Catalogue.of(read)
    rated = rate_usage(read.usage_frame(), catalogue, read.period).rated
    return explain_charge(charge, "USD", rated, catalogue, *read.adjustment_frames())


def test_a_session_across_the_evening() -> None:
    told = explained(
        "u1",
        resources=ROOM,
        items=ITEMS,
        rates="[{item: scope, group: internal, price: '40.00', after_hours: '25.00', "
        "rounding_step: 15min, minimum: '10.00', service_fee: '5.00'}]",
        rules="[{name: pilot price, scope: charge, kind: scale, factor: '0.9'}]",
        usage="[{id: u1, item: scope, project: p, user: ann, "
        "start: '2020-04-06T17:00:00-04:00', end: '2020-04-06T19:50:00-04:00'}]",
    )

    assert told == [
        "Microscope, project p, user ann",
        "Used from 2020-04-06 17:00:00 to 2020-04-06 19:50:00 (America/New_York): 2.833333 hours.",
        "The time is rounded up to the next 15min.",
        "In business hours 1 hour at 40, after hours 2 hours at 25; together 30.000000 an hour.",
        "Quantity: 3 hour.",
        "Rate for group internal: 40 USD per hour.",
        "At least 10 a charge.",
        "Service fee: 5, added once.",
        "Before adjustments: 95.00 USD.",
        "Rule 'pilot price' (scale): -9.50.",
        "Total: 85.50 USD.",
        "A pays 60 %: 51.30.",
        "B pays 40 %: 34.20.",
    ]


def test_tiers_changes_by_staff_and_a_subsidy() -> None:
    told = explained(
        "u1",
        rates="[{item: slide, group: internal, subsidy: {by: NIH, percent: '50'}, "
        "tiers: {mode: graduated, per: project, "
        "steps: [{up_to: '10', price: '5.00'}, {up_to: null, price: '3.00'}]}}]",
        usage=SLIDES,
        adjustments=f"[{{charge: u1, set: {{quantity: '11', expense_code: C}}, {WHO}}}]",
    )

    assert told == [
        "Slide, project p",
        "Used on 2020-04-06.",
        "Quantity: 11 each.",
        "Tiers (graduated), by the project's quantity in the month: 5 up to 10, 3 beyond.",
        "Before adjustments: 53.00 USD.",
        "carol set quantity to 11 on 2020-05-01T09:00:00-04:00: agreed.",
        "carol set expense code to C on 2020-05-01T09:00:00-04:00: agreed.",
        "Subsidy by NIH: -26.50.",
        "Total: 26.50 USD.",
        "C pays 100 %: 26.50.",
    ]


def test_an_added_line() -> None:
    line = "{project: p, date: 2020-04-30, description: Training, amount: '75'}"

    assert explained("line-1", adjustments=f"[{{add_line: {line}, {WHO}}}]") == [
        "Training, project p",
        "Before adjustments: 75.00 USD.",
        "Total: 75.00 USD.",
        "A pays 60 %: 45.00.",
        "B pays 40 %: 30.00.",
    ]


def test_a_stated_elapsed_time_is_told_as_what_the_source_states() -> None:
    told = explained(
        "u1",
        resources=ROOM,
        items=ITEMS,
        rates="[{item: scope, group: internal, price: '40.00', after_hours: '25.00', "
        "rounding_step: 1h}]",
        usage="[{id: u1, item: scope, project: p, elapsed: '01:20:00', "
        "start: '2020-04-06T17:00:00-04:00', end: '2020-04-06T20:00:00-04:00'}]",
    )
    assert told[1:6] == [
        "Used from 2020-04-06 17:00:00 to 2020-04-06 20:00:00 (America/New_York): "
        "1.333333 hours, as the source states.",
        "The time is rounded up to the next 1h.",
        "In business hours 1 hour at 40, after hours 2 hours at 25; together 30.000000 an hour.",
        "Quantity: 2 hour.",
        "Rate for group internal: 40 USD per hour.",
    ]
    assert "Total: 60.00 USD." in told
