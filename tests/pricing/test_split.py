"""Splits: the largest remainder, ties to the first listed, parts that make the whole."""

from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_lib.pricing.money import AmountTooLarge
from billing_lib.pricing.split import Plans, apportion

from .made_up import drawn
from .oracle import shared


def parts(rows: list[tuple[str, int, int, int]]) -> list[int]:
    schema = {"charge": pl.String(), "total": pl.Int64(), "percent": pl.Int64(), "at": pl.Int64()}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return apportion(frame, "charge", "total", "percent", "at").to_list()


def one(total: int, *weights: int) -> list[int]:
    return parts([("u1", total, weight, at) for at, weight in enumerate(weights)])


@pytest.mark.parametrize(
    ("total", "weights", "expected"),
    [
        (100, (50, 50), [50, 50]),
        (101, (50, 50), [51, 50]),  # a tie, to the first
        (1, (50, 50), [1, 0]),
        (2, (333333, 333333, 333334), [1, 0, 1]),  # 0.666666, 0.666666, 0.666668
        (10_000, (333333, 333333, 333334), [3333, 3333, 3334]),
        (100, (1, 1, 1), [34, 33, 33]),
        (100, (1, 2, 4), [14, 29, 57]),  # 14.29, 28.57, 57.14
        (5, (0, 1, 0), [0, 5, 0]),
        (0, (60, 40), [0, 0]),
        (-101, (50, 50), [-51, -50]),  # the shares of 101, with the sign
        (-2, (333333, 333333, 333334), [-1, 0, -1]),
        (12_345, (1_000_000,), [12_345]),
    ],
)
def test_what_is_left_over_goes_to_the_largest_remainders(
    total: int, weights: tuple[int, ...], expected: list[int]
) -> None:
    assert one(total, *weights) == expected


def test_each_whole_is_split_by_itself_and_parts_keep_their_rows() -> None:
    rows = [
        # charge, total, percent, place in the split
        ("u2", 101, 50, 1),
        ("u1", 3, 50, 0),
        ("u2", 101, 50, 0),
        ("u1", 3, 50, 1),
    ]

    assert parts(rows) == [50, 2, 51, 1]


def test_no_parts_are_no_parts() -> None:
    assert parts([]) == []


def test_a_total_of_64_bits_is_split_without_wrapping() -> None:
    total = 2**63 - 1
    weights = (333_333, 333_333, 333_334)

    assert one(total, *weights) == shared(total, [Fraction(weight) for weight in weights])


def test_weights_past_128_bits_are_refused() -> None:
    with pytest.raises(AmountTooLarge):
        apportion(
            pl.DataFrame(
                {"charge": ["u1"], "total": [2**62], "percent": [2**66], "at": [0]}
            ).with_columns(pl.col("percent").cast(pl.Int128)),
            "charge",
            "total",
            "percent",
            "at",
        )


@drawn(200)
@given(
    st.lists(
        st.tuples(
            st.integers(-(10**18), 10**18),
            st.lists(st.integers(0, 10**6), min_size=1, max_size=40).filter(any),
        ),
        max_size=4,
    )
)
def test_parts_sum_to_the_whole_and_are_those_of_fractions(
    wholes: list[tuple[int, list[int]]],
) -> None:
    rows = [
        (f"u{number}", total, weight, at)
        for number, (total, weights) in enumerate(wholes)
        for at, weight in enumerate(weights)
    ]
    expected = [
        part for total, weights in wholes for part in shared(total, [Fraction(w) for w in weights])
    ]

    assert parts(rows) == expected
    assert sum(expected) == sum(total for total, _ in wholes)


@drawn(300)
@given(
    st.lists(
        st.lists(st.integers(0, 10**6), min_size=1, max_size=4).filter(any), min_size=1, max_size=4
    ),
    st.none() | st.lists(st.integers(0, 10**6), min_size=9, max_size=40).filter(any),
    st.lists(st.tuples(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(0, 9)), max_size=6),
)
def test_amounts_are_shared_out_by_their_plans(
    short: list[list[int]], long: list[int] | None, asked: list[tuple[int, int]]
) -> None:
    plans = short if long is None else [*short, long]
    chosen = [(amount, number % len(plans)) for amount, number in asked]
    names = [[f"{number}/{place}" for place in range(len(it))] for number, it in enumerate(plans)]
    frame = pl.DataFrame(
        {"name": names, "weight": plans},
        schema={"name": pl.List(pl.String), "weight": pl.List(pl.Int64)},
    )

    amounts, numbers = zip(*chosen, strict=True) if chosen else ((), ())
    found = Plans(frame, "weight").share_out(
        pl.Series(amounts, dtype=pl.Int64), pl.Series(numbers, dtype=pl.UInt32)
    )

    assert found.rows() == [
        (at, names[number][place], plans[number][place], part)
        for at, (amount, number) in enumerate(chosen)
        for place, part in enumerate(shared(amount, [Fraction(it) for it in plans[number]]))
    ]


def test_where_there_is_no_plan_there_is_nothing_to_share_out() -> None:
    nothing = pl.DataFrame(schema={"name": pl.List(pl.String), "weight": pl.List(pl.Int64)})
    found = Plans(nothing, "weight").share_out(
        pl.Series([], dtype=pl.Int64), pl.Series([], dtype=pl.UInt32)
    )

    assert found.is_empty()
    assert found.schema == {
        "at": pl.UInt32, "name": pl.String, "weight": pl.Int64, "amount": pl.Int64
    }  # fmt: skip
