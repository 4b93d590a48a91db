"""Rating: each record comes out once, with its rate or with the reason why it has none."""

from dataclasses import replace

import polars as pl
import pytest

from billing_lib.pricing.charging import charge_usage
from billing_lib.pricing.fields import REASONS
from billing_lib.pricing.money import plain_text
from billing_lib.pricing.rating import Catalogue, Rating, rate_usage

from .small_book import scenario
from .tables import rows, usage

RATES = """
  - {item: scope, group: internal, price: "40.00", valid_to: 2020-04-14}
  - {item: scope, group: internal, price: "44.00", valid_from: 2020-04-15}
  - {item: slide, group: internal, price: "1.25"}
  - {item: slide, group: industry, price: "5.00", valid_to: 2020-04-10}"""
PROJECTS = """
  - {code: p, team: smith, type: faculty, split: [{expense_code: A, percent: "100"}]}
  - {code: q, team: smith, type: faculty, rate_group: industry,
     split: [{expense_code: A, percent: "50"}, {expense_code: B, percent: "50"}]}"""


def catalogue(**sections: str) -> Catalogue:
    return Catalogue.of(scenario(**({"rates": RATES, "projects": PROJECTS} | sections)))


REFERENCED = pl.DataFrame({"reference": ["PO-1"], "project": ["p"]})


def rated(text: str, period: str | None = "2020-04") -> Rating:
    return rate_usage(usage(text), catalogue(), period, REFERENCED)


def prices(rating: Rating) -> list[tuple[str, str]]:
    """Record and price of what is rated."""
    priced = rating.rated.join(catalogue().rates.select("rate", "price"), on="rate")
    return [(record, plain_text(price)) for record, price in rows(priced, "record", "price")]


def reasons(rating: Rating) -> list[tuple[str, str]]:
    return rows(rating.unbilled, "record", "reason")


def test_the_rate_is_that_of_the_item_the_projects_group_and_the_day() -> None:
    rating = rated("""
        record  item   project  start                     end                       date        quantity
        old     scope  p        2020-04-14T23:00:00-0400  2020-04-15T02:00:00-0400  -           -
        new     scope  p        2020-04-15T00:00:00-0400  2020-04-15T02:00:00-0400  -           -
        utc     scope  p        2020-04-15T03:59:59+0000  2020-04-15T06:00:00+0000  -           -
        own     slide  p        -                         -                         2020-04-10  1
        other   slide  q        -                         -                         2020-04-10  1
    """)  # fmt: skip # noqa: E501

    assert prices(rating) == [
        ("old", "40"),
        ("new", "44"),
        ("utc", "40"),  # still the 14th in New York
        ("own", "1.25"),
        ("other", "5"),
    ]
    assert rating.unbilled.is_empty()


def test_a_rated_record_carries_what_charging_needs() -> None:
    rating = rated("""
        record  item   project  start                     end                       date
        u1      scope  q        2020-04-14T23:00:00-0400  2020-04-15T02:00:00-0400  -
        u2      scope  p        2020-04-14T23:00:00-0400  2020-04-15T02:00:00-0400  -
    """)

    columns = ("record", "team", "rate_group", "unit", "file", "row")
    assert rows(rating.rated, *columns) == [("u2", "smith", "internal", "hour", "april.csv", 2)]
    assert [str(day) for day in rating.rated["date"]] == ["2020-04-14"]


def test_every_reason_has_its_sentence() -> None:
    rating = rated("""
        record  item     project  reference  start                     end                       date        quantity  units
        u1      slide    p        -          -                         -                         2020-04-06  1         -
        u1      slide    p        -          -                         -                         2020-04-06  1         -
        u2      scope    p        -          2020-04-06T10:00:00-0400  2020-04-06T09:00:00-0400  -           -         -
        u3      slide    p        -          -                         -                         2020-04-06  -1        -
        u4      unheard  p        -          -                         -                         2020-04-06  1         -
        u5      slide    nobody   PO-2       -                         -                         2020-04-06  1         -
        u6      slide    nobody   -          -                         -                         2020-04-06  1         -
        u7      slide    p        -          -                         -                         2020-05-06  1         -
        u8      slide    q        -          -                         -                         2020-04-11  1         -
    """)  # fmt: skip # noqa: E501

    assert rows(rating.unbilled, "record", "reason", "detail", "row") == [
        ("u1", "duplicate", "the id 'u1' stands earlier in the same file", 2),
        ("u2", "invalid_time", "start or end is unknown, or the end is before the start", 3),
        ("u3", "invalid_quantity", "the quantity is unknown or negative", 4),
        ("u4", "unknown_item", "the price book has no item 'unheard'", 5),
        ("u5", "unknown_reference", "there is no ad hoc invoice 'PO-2'", 6),
        ("u6", "unknown_project", "the price book has no project 'nobody'", 7),
        ("u7", "outside_period", "the usage ends in 2020-05", 8),
        ("u8", "no_rate", "no rate for item 'slide' and group 'industry' on 2020-04-11", 9),
    ]
    assert tuple(rating.unbilled["reason"]) == REASONS
    assert rows(rating.rated, "record", "occurrence") == [("u1", 1)]


def test_a_reference_is_that_of_its_project_which_may_be_left_out() -> None:
    rating = rated("""
        record  item   project  reference  date        quantity
        u1      slide  -        PO-1       2020-04-06  1
        u2      slide  p        PO-1       2020-04-06  1
        u3      slide  q        PO-1       2020-04-06  1
    """)

    assert rows(rating.rated, "record", "project") == [("u1", "p"), ("u2", "p")]
    assert rows(rating.unbilled, "record", "reason", "detail") == [
        ("u3", "unknown_reference", "the ad hoc invoice 'PO-1' is of project 'p'"),
    ]


def test_a_record_without_item_or_project_is_told_too() -> None:
    rating = rated("""
        record  item   project  date        quantity
        u1      -      p        2020-04-06  1
        u2      slide  -        2020-04-06  1
    """)

    assert rows(rating.unbilled, "record", "reason", "detail") == [
        ("u1", "unknown_item", "the usage names no item"),
        ("u2", "unknown_project", "the usage names no project"),
    ]


def test_a_defect_found_while_reading_keeps_its_own_sentence() -> None:
    rating = rated("""
        record  item   project  start                     end                       defect            detail
        u1      scope  p        -                         -                         invalid_time      the run time is unknown (-1)
        u2      scope  p        2020-04-06T09:00:00-0400  2020-04-06T10:00:00-0400  invalid_quantity  the processors are unknown (-1)
        u2      scope  p        2020-04-06T09:00:00-0400  2020-04-06T10:00:00-0400  invalid_quantity  the processors are unknown (-1)
        u3      scope  p        2020-04-06T10:00:00-0400  2020-04-06T09:00:00-0400  invalid_quantity  the processors are unknown (-1)
    """)  # fmt: skip # noqa: E501

    assert rows(rating.unbilled, "record", "reason", "detail") == [
        ("u1", "invalid_time", "the run time is unknown (-1)"),
        ("u2", "invalid_quantity", "the processors are unknown (-1)"),
        ("u2", "duplicate", "the id 'u2' stands earlier in the same file"),
        ("u3", "invalid_time", "start or end is unknown, or the end is before the start"),
    ]


@pytest.mark.parametrize(
    ("item", "start", "end", "date", "quantity", "reason"),
    [
        ("scope", "09:00", "10:00", "-", "-", None),
        ("scope", "09:00", "09:00", "-", "-", None),
        ("scope", "09:00", "10:00", "-", "2", None),
        ("scope", "-", "-", "2020-04-06", "2", None),
        ("slide", "09:00", "10:00", "-", "2", None),
        ("slide", "-", "-", "2020-04-06", "0", None),
        ("scope", "09:00", "-", "-", "-", "invalid_time"),
        ("scope", "-", "10:00", "-", "-", "invalid_time"),
        ("scope", "09:00", "-", "2020-04-06", "2", "invalid_time"),
        ("slide", "-", "-", "-", "2", "invalid_time"),
        ("slide", "09:00", "10:00", "-", "-", "invalid_quantity"),  # hours are no slides
        ("scope", "-", "-", "2020-04-06", "-", "invalid_quantity"),
        ("slide", "-", "-", "2020-04-06", "-0.000000001", "invalid_quantity"),
    ],
)
def test_usage_needs_a_time_and_a_quantity(
    item: str, start: str, end: str, date: str, quantity: str, reason: str | None
) -> None:
    times = [clock if clock == "-" else f"2020-04-06T{clock}:00-0400" for clock in (start, end)]
    rating = rated(f"""
        record  item  project  start  end  date  quantity
        u1  {item}  p  {times[0]}  {times[1]}  {date}  {quantity}
    """)

    assert reasons(rating) == ([] if reason is None else [("u1", reason)])
    assert rating.rated.height == (1 if reason is None else 0)


def test_without_a_period_every_month_is_rated() -> None:
    text = """
        record  item   project  date        quantity
        u1      slide  p        2020-03-31  1
        u2      slide  p        2020-04-01  1
        u3      slide  p        2021-05-01  1
    """

    assert rated(text, None).rated["record"].to_list() == ["u1", "u2", "u3"]
    assert rated(text, "2020-04").rated["record"].to_list() == ["u2"]
    assert rated(text, "2021-05").rated["record"].to_list() == ["u3"]


def test_no_usage_is_rated_to_nothing() -> None:
    nothing = usage("record  item").clear()
    rating = rate_usage(nothing, catalogue(), "2020-04")

    assert rating.rated.is_empty()
    assert rating.unbilled.is_empty()


def test_without_any_rate_nothing_is_charged_and_all_is_said() -> None:
    text = """
        record  item   project  date        quantity
        u1      slide  p        2020-04-06  1
        u2      slide  q        2020-04-06  1
    """
    rating = rate_usage(usage(text), catalogue(rates="[]"), "2020-04")

    assert reasons(rating) == [("u1", "no_rate"), ("u2", "no_rate")]
    assert rating.rated.is_empty()


def test_a_split_over_many_codes_does_not_multiply_records() -> None:
    rating = rated("""
        record  item   project  date        quantity
        u1      slide  q        2020-04-06  1
    """)

    assert rating.rated.height == 1
    assert catalogue().accounts.filter(pl.col("project") == "q").height == 2


def test_a_changed_copy_of_a_catalogue_is_looked_up_anew() -> None:
    record = usage("""
        record  item   project  date        quantity
        u1      slide  p        2020-04-06  1
    """)
    before = catalogue()
    assert rate_usage(record, before).rated.height == 1

    changed = replace(before, rates=before.rates.clear())
    assert reasons(rate_usage(record, changed)) == [("u1", "no_rate")]
    assert rate_usage(record, before).rated.height == 1


ABSURD = """
    record    item   project  start                     end                       date        elapsed           units                   quantity
    fine      slide  p        -                         -                         2020-04-06  -                 -                       12
    session   scope  p        2020-04-06T09:00:00-0400  2020-04-06T10:00:00-0400  -           -                 -                       -
    quantity  slide  p        -                         -                         2020-04-06  -                 -                       12345678901234567890123456
    product   slide  p        -                         -                         2020-04-06  -                 -                       99999999999
    units     scope  p        2020-04-06T09:00:00-0400  2020-04-06T10:00:00-0400  -           -                 9999999999999999999999  -
    hours     scope  p        2020-04-06T09:00:00-0400  2020-04-06T10:00:00-0400  -           9000000000000000  999999                  -
    unrated   slide  q        -                         -                         2020-04-16  -                 -                       9999999999999
"""  # noqa: E501


def test_absurd_records_are_held_back_and_stop_nobody_elses_charge() -> None:
    """Prices of 10^4 and more come to 10^15 and more, which no charge does."""
    rates = '[{item: slide, group: internal, price: "12500"}, {item: scope, group: internal, price: "40000"}]'  # noqa: E501
    book = catalogue(rates=rates)
    rating = rate_usage(usage(ABSURD), book, "2020-04")
    assert set(reasons(rating)) == {
        (record, "invalid_quantity") for record in ("quantity", "product", "units", "hours")
    } | {("unrated", "invalid_quantity")}
    assert set(rating.unbilled["detail"]) == {
        "the quantity, or the amount it comes to, is too large"
    }
    charges = charge_usage(rating.rated, book).charges
    assert rows(charges, "charge", "total") == [("fine", 15_000_000), ("session", 4_000_000)]


def test_absurd_records_without_any_rate_are_held_back_too() -> None:
    rating = rate_usage(usage(ABSURD), catalogue(rates="[]"), "2020-04")
    assert dict(reasons(rating))["quantity"] == "invalid_quantity"
    assert dict(reasons(rating))["fine"] == "no_rate"
