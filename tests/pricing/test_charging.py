"""Charging: one record × one rate, to the cent, and its split."""

import polars as pl
import pytest

from billing_lib.pricing.adjusting import ADJUSTMENTS
from billing_lib.pricing.charge import PRICED, SPLIT, as_text
from billing_lib.pricing.charging import Charges, charge_usage
from billing_lib.pricing.money import AmountTooLarge
from billing_lib.pricing.rating import Catalogue, rate_usage

from .small_book import scenario
from .tables import changes, lines, rows, usage

SLIDES = """
    record  item   project  date        quantity
    u1      slide  p        2020-04-06  12
"""
FIGURES = ("hours", "units", "quantity", "price")
MONEY = ("raw_total", "adjustment", "total")


def charged(
    text: str,
    adjustments: pl.DataFrame | None = None,
    added: pl.DataFrame | None = None,
    **sections: str,
) -> Charges:
    catalogue = Catalogue.of(scenario(**sections))
    rating = rate_usage(usage(text), catalogue, "2020-04")
    assert rating.unbilled.is_empty()
    return charge_usage(rating.rated, catalogue, adjustments, added)


def slides(quantity: str, price: str, minimum: str | None = None, currency: str = "USD") -> int:
    """The raw total of one record of slides, in minor units."""
    least = f', minimum: "{minimum}"' if minimum else ""
    priced = charged(
        f"record  item  project  date  quantity\nu1  slide  p  2020-04-06  {quantity}",
        rates=f'[{{item: slide, group: internal, price: "{price}"{least}}}]',
        facility=f"{{code: RC, name: R, currency: {currency}, timezone: America/New_York}}",
    )
    return priced.charges["raw_total"].item()


def session(start: str, end: str, price: str, units: str = "1", step: str = "") -> tuple[str, int]:
    """Quantity and raw total of one session."""
    rounding = f', rounding_step: "{step}"' if step else ""
    priced = charged(
        f"record  item  project  start  end  units\n"
        f"u1  scope  p  2020-04-06T{start}-0400  2020-04-06T{end}-0400  {units}",
        rates=f'[{{item: scope, group: internal, price: "{price}"{rounding}}}]',
    )
    return rows(as_text(priced.charges, only=FIGURES), "quantity", "raw_total")[0]


@pytest.mark.parametrize(
    ("quantity", "price", "cents"),
    [
        ("12", "1.25", 1500),
        ("0", "1.25", 0),
        ("1", "0.005", 1),  # half up
        ("1", "0.004999", 0),
        ("3", "0.335", 101),  # 1.005, where a binary float says 1.00
        ("0.000000001", "1", 0),
        ("0.005000000", "1", 1),
        ("0.004999999", "1", 0),
        ("1000000000", "0.000001", 100_000),  # 10^9 × 10^-6 = 1000.00
        # (10^9 - 10^-9) × (10^5 - 10^-6) = 99 999 999 998 999.999…
        ("999999999.999999999", "99999.999999", 9_999_999_999_900_000),
        ("1000000", "0.12", 12_000_000),
    ],
)
def test_a_charge_is_quantity_times_price_rounded_once(
    quantity: str, price: str, cents: int
) -> None:
    assert slides(quantity, price) == cents


@pytest.mark.parametrize(
    ("currency", "amount"),
    [("JPY", 7), ("USD", 667), ("KWD", 6667)],  # 10 × 0.666666 = 6.66666
)
def test_a_charge_is_rounded_to_the_currencys_minor_unit(currency: str, amount: int) -> None:
    assert slides("10", "0.666666", currency=currency) == amount


@pytest.mark.parametrize(
    ("quantity", "cents"), [("0", 200), ("1", 200), ("1.6", 200), ("1.61", 201), ("2", 250)]
)
def test_a_minimum_is_a_lower_bound(quantity: str, cents: int) -> None:
    assert slides(quantity, "1.25", minimum="2.00") == cents


@pytest.mark.parametrize(
    ("start", "end", "price", "quantity", "cents"),
    [
        ("09:00:00", "10:20:00", "40.00", "1.333333", 5333),  # 40 × 4/3
        ("09:00:00", "09:00:01", "36.00", "0.000278", 1),  # 36 / 3600
        ("09:00:00", "09:00:01", "17.99", "0.000278", 0),  # 0.00499…
        ("09:00:00", "09:00:01", "18.00", "0.000278", 1),  # 0.005, half up
        ("09:00:00", "09:20:00", "0.03", "0.333333", 1),
        ("09:00:00", "09:00:00", "40.00", "0", 0),
    ],
)
def test_hours_are_exact_thirds_and_all(
    start: str, end: str, price: str, quantity: str, cents: int
) -> None:
    assert session(start, end, price) == (quantity, cents)


@pytest.mark.parametrize(
    ("end", "units", "step", "quantity", "cents"),
    [
        ("09:20:00", "1", "", "0.333333", 1333),
        ("09:20:00", "1", "15min", "0.5", 2000),
        ("09:30:00", "1", "15min", "0.5", 2000),
        ("09:30:01", "1", "15min", "0.75", 3000),
        ("09:20:00", "128", "", "42.666667", 170_667),
        ("09:20:00", "128", "15min", "64", 256_000),  # the step before the units
        ("09:20:00", "0.5", "1h", "0.5", 2000),
        ("09:00:00", "128", "1h", "0", 0),
    ],
)
def test_elapsed_time_is_stepped_up_and_then_multiplied_by_units(
    end: str, units: str, step: str, quantity: str, cents: int
) -> None:
    assert session("09:00:00", end, "40.00", units, step) == (quantity, cents)


def test_a_stated_quantity_stands_before_the_clock_and_the_units() -> None:
    priced = charged(
        """
        record  item   project  start                     end                       quantity  units
        u1      scope  p        2020-04-06T09:00:00-0400  2020-04-06T11:00:00-0400  0.25      8
        u2      scope  p        2020-04-06T09:00:00-0400  2020-04-06T11:00:00-0400  -         -
        """
    )

    assert rows(
        as_text(priced.charges, only=FIGURES), "charge", "hours", "quantity", "raw_total"
    ) == [
        ("u1", "2", "0.25", 1000),
        ("u2", "2", "2", 8000),
    ]


def test_a_record_timed_to_the_microsecond_leaves_a_large_one_its_digits() -> None:
    # Over one common denominator the second amount would pass 128 bits.
    catalogue = Catalogue.of(
        scenario(
            rates='[{item: scope, group: internal, price: "99.999999"}, '
            '{item: slide, group: internal, price: "99.999999"}]'
        )
    )
    text = """
        record  item   project  start                     end                       date        quantity              units
        u1      scope  p        2020-04-06T09:00:00-0400  2020-04-06T09:00:01-0400  -           -                     0.123456789
        u2      slide  p        -                         -                         2020-04-06  999999999.999999999   -
    """  # noqa: E501
    fine = usage(text).with_columns(pl.col("start").dt.offset_by("1us"))

    priced = charge_usage(rate_usage(fine, catalogue, "2020-04").rated, catalogue)

    # 10^9 × 99.999999 less a tenth of a millionth is 99 999 999 000.00
    assert rows(priced.charges, "charge", "raw_total") == [("u1", 0), ("u2", 9_999_999_900_000)]


def test_a_charge_carries_where_it_comes_from_and_what_it_was_made_of() -> None:
    priced = charged(
        """
        record  item   project  user  start                     end                       units  description
        u1      scope  p        ann   2020-04-06T23:00:00-0400  2020-04-07T00:30:00-0400  2      night run
        """  # noqa: E501
    )
    catalogue = Catalogue.of(scenario())

    assert priced.charges.schema == PRICED
    charge = as_text(priced.charges, only=FIGURES).row(0, named=True)
    assert {key: charge[key] for key in ("charge", "kind", "project", "team", "item", "user")} == {
        "charge": "u1",
        "kind": "usage",
        "project": "p",
        "team": "smith",
        "item": "scope",
        "user": "ann",
    }
    assert (str(charge["date"]), charge["hours"], charge["units"]) == ("2020-04-06", "1.5", "2")
    assert (charge["quantity"], charge["price"], charge["raw_total"]) == ("3", "40", 12_000)
    assert (charge["description"], charge["unit"]) == ("night run", "hour")
    assert charge["rate_group"] == "internal"
    assert charge["rate"] == catalogue.rates.filter(pl.col("item") == "scope")["rate"].item()
    assert (charge["file"], charge["row"]) == ("april.csv", 1)


def test_a_charge_is_split_as_its_project_says() -> None:
    priced = charged(SLIDES)

    assert priced.splits.schema == SPLIT
    assert rows(priced.splits, "charge", "position", "expense_code", "percent", "amount") == [
        ("u1", 0, "A", 600_000, 900),
        ("u1", 1, "B", 400_000, 600),
    ]


def test_an_amount_set_by_staff_leaves_the_raw_total_and_is_what_is_split() -> None:
    priced = charged(SLIDES, changes("charge  field  value\nu1  amount  -0.05"))

    assert rows(priced.charges, *MONEY) == [(1500, -1505, -5)]
    assert rows(priced.splits, "expense_code", "amount") == [("A", -3), ("B", -2)]


def test_quantity_and_rate_set_by_staff_price_the_charge_anew() -> None:
    both = changes("""
        charge  field     value
        u1      quantity  10
        u1      rate      0.333333
    """)
    priced = charged(SLIDES, both)

    assert rows(as_text(priced.charges, only=FIGURES), "quantity", "price", *MONEY) == [
        ("10", "0.333333", 333, 0, 333)
    ]


def test_an_adjustment_of_another_charge_changes_nothing() -> None:
    other = changes("charge  field  value\nu2  amount  1.00")

    assert charged(SLIDES, other).charges.equals(charged(SLIDES).charges)


def test_added_lines_come_last_and_are_charges_without_usage() -> None:
    added = lines("""
        charge  project  date        description  amount  expense_code
        line-1  p        2020-04-30  Training     7500    C
        line-2  p        2020-04-30  Refund       -101    -
    """)
    priced = charged(SLIDES, None, added)

    assert priced.charges.schema == PRICED
    assert rows(priced.charges, "charge", "kind", "team", "description", "total") == [
        ("u1", "usage", "smith", None, 1500),
        ("line-1", "line", "smith", "Training", 7500),
        ("line-2", "line", "smith", "Refund", -101),
    ]
    assert rows(priced.splits, "charge", "expense_code", "amount") == [
        ("u1", "A", 900),
        ("u1", "B", 600),
        ("line-1", "C", 7500),
        ("line-2", "A", -61),  # 60.6 and 40.4
        ("line-2", "B", -40),
    ]


def test_nothing_is_charged_to_nothing() -> None:
    catalogue = Catalogue.of(scenario())
    rating = rate_usage(usage(SLIDES).clear(), catalogue)

    priced = charge_usage(rating.rated, catalogue, ADJUSTMENTS.to_frame())

    assert (priced.charges.schema, priced.charges.height) == (PRICED, 0)
    assert (priced.splits.schema, priced.splits.height) == (SPLIT, 0)


def test_an_amount_that_cannot_be_held_is_refused() -> None:
    """Rating holds such usage back; staff may set such a quantity."""
    changed = changes("charge  field  value\nu1  quantity  99999999999999")
    price = '[{item: slide, group: internal, price: "99999999999999.99"}]'
    with pytest.raises(AmountTooLarge, match="an amount has more than 18 digits"):
        charged(
            "record  item  project  date  quantity\nu1  slide  p  2020-04-06  1",
            changed,
            rates=price,
        )


def test_charges_whose_sum_would_wrap_are_refused() -> None:
    at_the_bound = "record  item  project  date  quantity\n" + "\n".join(
        f"u{number}  slide  p  2020-04-06  990000" for number in range(102)
    )
    price = '[{item: slide, group: internal, price: "100000000"}]'  # 9.9 × 10^15 cents each

    with pytest.raises(AmountTooLarge, match="the sum of the charges has more than 18 digits"):
        charged(at_the_bound, rates=price)
