"""Exact columns: whole numbers over one denominator, rounded once."""

from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from billing_lib.pricing.money import AmountTooLarge, Exact

from .made_up import drawn
from .oracle import half_up

HOURS = Exact(pl.Series([4_800, 3_600, None], dtype=pl.Int64), 3_600)


def column(*numbers: int | None, over: int = 1) -> Exact:
    wide = any(abs(number or 0) >= 2**63 for number in numbers)
    return Exact(pl.Series(numbers, dtype=pl.Int128 if wide else pl.Int64), over)


def prices(*texts: str | None) -> Exact:
    decimals = [None if text is None else Decimal(text) for text in texts]
    return Exact.of_decimals(pl.Series(decimals, dtype=pl.Decimal(38, 6)))


def values(exact: Exact) -> list[Fraction | None]:
    return [None if n is None else Fraction(n, exact.denominator) for n in exact.numerators]


def test_an_hour_and_twenty_minutes_at_an_eighth_is_17_cents() -> None:
    cents = HOURS.times(prices("0.125", "0.125", "0.125")).rounded(2)

    assert cents.to_list() == [17, 13, None]  # 4/3 × 0.125 = 0.16666…, 0.125 half up
    assert cents.dtype == pl.Int64


@pytest.mark.parametrize(
    ("value", "places", "rounded"),
    [
        (Fraction(1, 2), 0, 1),
        (Fraction(-1, 2), 0, -1),
        (Fraction(3, 2), 0, 2),
        (Fraction(5, 2), 0, 3),  # half up, not to even
        (Fraction(-5, 2), 0, -3),
        (Fraction(499_999_999, 1_000_000_000), 0, 0),
        (Fraction(1, 3), 2, 33),
        (Fraction(2, 3), 2, 67),
        (Fraction(-2, 3), 3, -667),
        (Fraction(1005, 1000), 2, 101),  # where a binary float says 1.00
        (Fraction(0), 2, 0),
        (Fraction(7), 2, 700),
    ],
)
def test_halves_are_rounded_away_from_zero(value: Fraction, places: int, rounded: int) -> None:
    exact = column(value.numerator, over=value.denominator)

    assert exact.rounded(places).to_list() == [rounded]


numbers = st.integers(-(10**18), 10**18)


@drawn(200)
@given(
    st.lists(st.one_of(st.none(), numbers), max_size=4),
    st.integers(1, 10**18),
    st.sampled_from([0, 2, 3]),
)
@example([0], 8 * 10**18, 2)  # twice the denominator passes 64 bits
def test_rounding_is_that_of_fractions(
    numerators: list[int | None], over: int, places: int
) -> None:
    expected = [None if n is None else half_up(Fraction(n, over) * 10**places) for n in numerators]
    if any(abs(number or 0) > 2**63 - 1 for number in expected):
        with pytest.raises(AmountTooLarge):
            column(*numerators, over=over).rounded(places)
    else:
        assert column(*numerators, over=over).rounded(places).to_list() == expected


@drawn(100)
@given(st.lists(st.tuples(numbers, numbers), max_size=4), st.integers(1, 10**9))
def test_products_are_those_of_fractions(pairs: list[tuple[int, int]], over: int) -> None:
    left, right = column(*(a for a, _ in pairs), over=over), column(*(b for _, b in pairs), over=7)

    assert values(left.times(right)) == [Fraction(a, over) * Fraction(b, 7) for a, b in pairs]


def test_products_pass_from_64_to_128_bits_without_wrapping() -> None:
    product = column(2**62, -(2**62)).times(column(2**62, 2**62))

    assert product.numerators.to_list() == [2**124, -(2**124)]


def test_a_product_past_128_bits_is_refused() -> None:
    with pytest.raises(AmountTooLarge, match="a quantity times its price is too large"):
        column(2**100).times(column(2**100))


def test_an_amount_past_64_bits_is_refused() -> None:
    with pytest.raises(AmountTooLarge, match="an amount has more than 18 digits"):
        column(10**18).rounded(2)


@pytest.mark.parametrize(
    ("texts", "denominator"),
    [
        (["1", "40"], 1),
        (["1.25", None], 1_000),
        (["0.000001", "40"], 1_000_000),
        ([None, None], 1),
        ([], 1),
    ],
)
def test_a_column_of_prices_keeps_its_values_over_the_smallest_power_of_a_thousand(
    texts: list[str | None], denominator: int
) -> None:
    exact = prices(*texts)

    assert values(exact) == [None if text is None else Fraction(text) for text in texts]
    assert exact.denominator == denominator
    assert exact.numerators.dtype == pl.Int64


def test_only_decimal_columns_are_taken_for_exact() -> None:
    with pytest.raises(TypeError, match="expected a Decimal column"):
        Exact.of_decimals(pl.Series([0.1]))
