"""Expense codes that may not be charged are found with the reason."""

import datetime as dt

import polars as pl

from billing_lib.pricing.pricebook import ExpenseCodes, invalid_codes

CHARGED = pl.DataFrame(
    {
        "charge": ["u1", "u2", "u3", "u4"],
        "expense_code": ["370-1", "370-1", "370-2", "37x"],
        "date": [dt.date(2020, 6, 30), *[dt.date(2020, 7, 1)] * 3],
    }
)


def problems(**allowed: object) -> list[tuple[str, str]]:
    found = invalid_codes(CHARGED, ExpenseCodes.model_validate(allowed))
    return found.select("charge", "problem").rows()


def test_a_code_matches_the_pattern_as_a_whole() -> None:
    assert problems(pattern="[0-9]{3}-[0-9]") == [
        ("u4", "the expense code '37x' does not match the pattern [0-9]{3}-[0-9]")
    ]
    assert problems(pattern="370|37x") == [
        (charge, f"the expense code '{code}' does not match the pattern 370|37x")
        for charge, code in [("u1", "370-1"), ("u2", "370-1"), ("u3", "370-2")]
    ]


def test_a_code_is_listed_and_valid_on_the_day() -> None:
    codes = [{"code": "370-1", "valid_to": "2020-06-30"}, {"code": "37x"}]

    assert problems(codes=codes) == [
        ("u2", "the expense code '370-1' is not valid on 2020-07-01"),
        ("u3", "the expense code '370-2' is not among those allowed"),
    ]


def test_a_code_that_is_listed_twice_is_valid_in_either_span() -> None:
    spans = [
        {"code": "370-1", "valid_to": "2020-06-30"},
        {"code": "370-1", "valid_from": "2020-07-01"},
    ]

    assert problems(codes=[*spans, {"code": "370-2"}, {"code": "37x"}]) == []


def test_without_a_word_on_expense_codes_all_may_be_charged() -> None:
    assert problems() == []
