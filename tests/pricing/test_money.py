"""Money: minor units inside, decimal text at the edge."""

from decimal import Decimal

import polars as pl
import pytest

from billing_lib.pricing.money import (
    minor_places,
    money_text,
    money_text_column,
    plain_text,
    plain_text_column,
    to_minor,
)

AMOUNTS = [
    # minor units, places, text
    (1250, 2, "12.50"),
    (-1250, 2, "-12.50"),
    (5, 2, "0.05"),
    (-5, 2, "-0.05"),
    (0, 2, "0.00"),
    (1250, 0, "1250"),
    (-7, 0, "-7"),
    (0, 0, "0"),
    (1440, 3, "1.440"),
    (-1, 3, "-0.001"),
    (10**18, 2, "10000000000000000.00"),
]


@pytest.mark.parametrize(("minor", "places", "text"), AMOUNTS)
def test_minor_units_are_shown_with_all_the_places_of_the_currency(
    minor: int, places: int, text: str
) -> None:
    column = pl.DataFrame({"total": [minor, None]}, schema={"total": pl.Int64})

    assert money_text(minor, places) == text
    shown = column.select(money_text_column(pl.col("total"), places))
    assert shown.to_dict(as_series=False) == {"total": [text, None]}


@pytest.mark.parametrize(("minor", "places", "text"), AMOUNTS)
def test_an_amount_in_text_is_so_many_minor_units(minor: int, places: int, text: str) -> None:
    assert to_minor(Decimal(text), places) == minor


@pytest.mark.parametrize(
    ("amount", "places"),
    [("0.001", 2), ("1.5", 0), ("0.0005", 3), ("1." + "0" * 40 + "1", 2)],
)
def test_an_amount_finer_than_the_minor_unit_is_refused(amount: str, places: int) -> None:
    with pytest.raises(ValueError, match=f"has more than {places} decimal places"):
        to_minor(Decimal(amount), places)


def test_zeros_behind_the_minor_unit_are_no_finer() -> None:
    assert to_minor(Decimal("500.000"), 0) == 500
    assert to_minor(Decimal("12.5000"), 2) == 1250


@pytest.mark.parametrize(
    ("currency", "places"), [("USD", 2), ("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)]
)
def test_the_places_are_those_of_iso_4217(currency: str, places: int) -> None:
    assert minor_places(currency) == places


@pytest.mark.parametrize("code", ["DOLLARS", "usd", "", "840"])
def test_a_code_outside_iso_4217_is_no_currency(code: str) -> None:
    with pytest.raises(ValueError, match=f"'{code}' is not a currency code of ISO 4217"):
        minor_places(code)


@pytest.mark.parametrize("code", ["XAU", "XXX"])
def test_nothing_is_billed_in_gold_or_in_no_currency(code: str) -> None:
    with pytest.raises(ValueError, match="has no minor units"):
        minor_places(code)


@pytest.mark.parametrize(
    ("stated", "shown"),
    [("3.500", "3.5"), ("100", "100"), ("0.000", "0"), ("10.0", "10"), ("0.000001", "0.000001")],
)
def test_a_decimal_is_shown_without_trailing_zeros(stated: str, shown: str) -> None:
    column = pl.DataFrame({"units": [Decimal(stated)]}, schema={"units": pl.Decimal(38, 9)})

    assert plain_text(Decimal(stated)) == shown
    assert column.select(plain_text_column(pl.col("units"))).item() == shown


def test_a_small_decimal_is_shown_without_an_exponent() -> None:
    assert plain_text(Decimal("1E-9")) == "0.000000001"
    assert plain_text(Decimal("1E+3")) == "1000"
