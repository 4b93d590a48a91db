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


DISK = "[{code: disk, name: Disk, unit: TB}]"


def test_a_monthly_price_across_two_months() -> None:
    told = explained(
        "u1",
        items=DISK,
        rates="[{item: disk, group: internal, price: '4.00', per: month, service_fee: '1.00'}]",
        usage="[{id: u1, item: disk, project: p, quantity: '5', "
        "start: '2020-03-15T09:00:00-04:00', end: '2020-04-10T09:00:00-04:00'}]",
    )

    assert told[2:-2] == [
        "17 of the 31 days of 2020-03: 2.741935.",
        "10 of the 30 days of 2020-04: 1.666667.",
        "Quantity: 4.408602 TB.",
        "Rate for group internal: 4 USD per TB and month.",
        "Service fee: 1, added once.",
        "Before adjustments: 18.63 USD.",  # 17.634… and the fee
        "Total: 18.63 USD.",
    ]


def test_a_snapshot_is_a_share_of_the_mean() -> None:
    sections = {
        "items": DISK,
        "usage": "[{id: u1, item: disk, project: p, date: 2020-04-06, quantity: '5'}, "
        "{id: u2, item: disk, project: p, date: 2020-04-07, quantity: '4'}]",
    }
    rate = "[{item: disk, group: internal, price: '4.00', per: snapshot}]"
    daily = rate.replace("snapshot", "daily_snapshot")

    assert explained("u1", rates=rate, **sections)[1:6] == [
        "Used on 2020-04-06.",
        "Snapshot of 5, one of the 2 of its month: 2.5.",
        "Quantity: 2.5 TB.",
        "Rate for group internal: 4 USD per TB and month.",
        "Before adjustments: 10.00 USD.",
    ]
    assert explained("u1", rates=daily, **sections)[2:4] == [
        "Snapshot of 5, on one of the 30 days of its month: 0.166667.",
        "Quantity: 0.166667 TB.",
    ]


BOOKED = "booked_start: '2020-04-06T17:00:00-04:00', booked_end: '2020-04-06T20:00:00-04:00'"
USED = "start: '2020-04-06T17:30:00-04:00', end: '2020-04-06T18:00:00-04:00'"


def booked(keys: str, used: str, items: str = ITEMS) -> list[str]:
    rates = f"[{{item: scope, group: internal, price: '40.00', booking: longer, {keys}}}]"
    usage = f"[{{id: u1, item: scope, project: p, {used}}}]"
    return explained("u1", resources=ROOM, items=items, rates=rates, usage=usage)[1:-2]


def test_a_booking_that_is_longer_than_the_use() -> None:
    assert booked("after_hours: '25.00'", f"{USED}, {BOOKED}") == [
        "Used from 2020-04-06 17:30:00 to 2020-04-06 18:00:00 (America/New_York): 0.5 hours.",
        "Booked from 2020-04-06 17:00:00 to 2020-04-06 20:00:00 (America/New_York): "
        "3 hours, longer than used.",
        "In business hours 1 hour at 40, after hours 2 hours at 25; together 30.000000 an hour.",
        "Quantity: 3 hour.",
        "Rate for group internal: 40 USD per hour.",
        "Before adjustments: 90.00 USD.",
        "Total: 90.00 USD.",
    ]
    assert booked("after_hours: '25.00'", USED)[1:3] == [
        "In business hours 0.5 hours at 40; together 40.000000 an hour.",
        "Quantity: 0.5 hour.",
    ]


def test_a_booking_that_was_not_used() -> None:
    not_used = (
        "Booked from 2020-04-06 17:00:00 to 2020-04-06 20:00:00 (America/New_York): "
        "3 hours, not used."
    )
    assert booked("after_hours: '25.00', no_show: '20.00'", BOOKED) == [
        not_used,
        "Quantity: 3 hour.",
        "No-show price for group internal: 20 USD per hour.",
        "Before adjustments: 60.00 USD.",
        "Total: 60.00 USD.",
    ]
    assert booked("after_hours: '25.00'", BOOKED)[:2] == [
        not_used,
        "In business hours 1 hour at 40, after hours 2 hours at 25; together 30.000000 an hour.",
    ]
