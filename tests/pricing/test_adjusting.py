"""Adjustments: what can be set, to what, and which of several wins."""

from decimal import Decimal

import pytest

from billing_lib.errors import InvalidAdjustment
from billing_lib.pricing.adjusting import (
    ADJUSTMENTS,
    LINES,
    SHARES,
    adjustment_value,
    last_values,
    replaced_splits,
    split_value,
)

from .tables import changes, lines, rows

HALVES = '[{"expense_code":"D","percent":"50"},{"expense_code":"E","percent":"50"}]'
NO_LINES = LINES.to_frame()


def shares(expense_code: str, percent: str) -> list[dict[str, str]]:
    return [{"expense_code": expense_code, "percent": percent}]


@pytest.mark.parametrize(
    ("field", "value", "canonical"),
    [
        ("quantity", "10", "10"),
        ("quantity", "10.500", "10.5"),
        ("quantity", "0.000000001", "0.000000001"),
        ("quantity", "0", "0"),
        ("rate", "0.333333", "0.333333"),
        ("rate", "40.00", "40"),
        ("amount", "75", "75.00"),
        ("amount", "-7.5", "-7.50"),
        ("amount", "0", "0.00"),
        ("expense_code", " 370-1 ", "370-1"),
        ("split", "D=50,E=50", HALVES),
        ("split", "D = 50.0, E = 50.00", HALVES),
        ("split", shares("D", "50") + shares("E", "50"), HALVES),
    ],
)
def test_a_value_is_kept_as_canonical_text(field: str, value: object, canonical: str) -> None:
    assert adjustment_value(field, value, places=2) == canonical


def test_an_amount_has_the_places_of_the_currency() -> None:
    assert adjustment_value("amount", "75", places=0) == "75"
    assert adjustment_value("amount", "75.5", places=3) == "75.500"


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("units", "2", "a charge has no field 'units' to set; set one of quantity, rate, amount,"),
        ("quantity", "-1", "quantity: the quantity '-1' is negative"),
        ("quantity", "ten", "quantity: 'ten' is no quantity; write it in digits"),
        ("quantity", "1.0000000001", "quantity: the quantity '1.0000000001' has more than 9 dec"),
        ("quantity", "1" * 30, f"quantity: the quantity '{'1' * 30}' has more than 14 digits"),
        ("quantity", None, "quantity: 'None' is no quantity"),
        ("rate", "-1", "rate: the price '-1' is negative"),
        ("rate", "1.2345678", "rate: the price '1.2345678' has more than 6 decimal places"),
        ("amount", "0.001", "amount: 0.001 has more than 2 decimal places"),
        ("amount", "1e3", "amount: '1e3' is no amount; write it in digits"),
        ("expense_code", "  ", "expense_code: String should have at least 1 character"),
        ("split", "D=50,E=49", "split: the split makes 99 %; its percentages must make 100"),
        ("split", "D", "split: '' is no percentage; write it in digits"),
        ("split", "D=50,D=50", "split: the split names an expense code twice"),
        ("split", "D=200,E=-100", "split: every percentage of a split must be above zero"),
        ("split", shares("D", "99.99999"), "split: the percentage '99.99999' has more than 4 dec"),
        ("split", [], "split: the split makes 0 %; its percentages must make 100"),
        ("split", [{"percent": "100"}], "split: Field required"),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_a_sentence(
    field: str, value: object, sentence: str
) -> None:
    with pytest.raises(InvalidAdjustment) as refused:
        adjustment_value(field, value, places=2)

    assert str(refused.value).startswith(sentence)


def test_the_short_form_of_a_split_keeps_its_order() -> None:
    assert split_value("E=33.3333,D=66.6667") == (
        '[{"expense_code":"E","percent":"33.3333"},{"expense_code":"D","percent":"66.6667"}]'
    )


def test_the_later_of_the_same_field_wins_by_order_not_by_place() -> None:
    values = last_values(
        changes("""
            order  charge  field     value
            2      u1      quantity  9
            0      u1      quantity  7
            1      u1      quantity  8
            3      u1      amount    12.34
            4      u2      rate      0.5
            5      u3      amount    -0.07
            6      u4      split     D=50,E=50
        """),
        places=2,
    )

    wanted = ("charge", "set_quantity", "set_price", "set_amount")
    assert sorted(rows(values, *wanted)) == [
        ("u1", Decimal(9), None, 1234),
        ("u2", None, Decimal("0.5"), None),
        ("u3", None, None, -7),
        ("u4", None, None, None),
    ]


def test_small_and_large_values_are_exact() -> None:
    values = last_values(
        changes("""
            charge  field     value
            u1      quantity  99999999999999.999999999
            u2      quantity  0.000000001
            u3      rate      99999999999999.999999
            u4      rate      0.000001
        """),
        places=2,
    ).sort("charge")

    assert values["set_quantity"].to_list()[:2] == [
        Decimal("99999999999999.999999999"),
        Decimal("0.000000001"),
    ]
    assert values["set_price"].to_list()[2:] == [
        Decimal("99999999999999.999999"),
        Decimal("0.000001"),
    ]


def test_the_last_split_or_expense_code_replaces_the_projects() -> None:
    found = replaced_splits(
        changes(f"""
            charge  field         value
            u1      expense_code  C
            u2      split         {HALVES}
            u3      expense_code  C
            u3      split         {HALVES}
            u4      split         {HALVES}
            u4      expense_code  C
            u5      amount        1.00
        """),
        NO_LINES,
    )

    assert found.schema == SHARES
    assert sorted(found.rows()) == [
        ("u1", 0, "C", 1_000_000),
        ("u2", 0, "D", 500_000),
        ("u2", 1, "E", 500_000),
        ("u3", 0, "D", 500_000),
        ("u3", 1, "E", 500_000),
        ("u4", 0, "C", 1_000_000),
    ]


def test_of_one_adjustment_that_sets_both_the_later_written_wins() -> None:
    # Many at once: an unstable sort would shuffle what has the same order.
    table = "order  charge  field  value\n" + "\n".join(
        f"0  u{number}  split  {HALVES}\n0  u{number}  expense_code  C" for number in range(200)
    )

    found = replaced_splits(changes(table), NO_LINES)

    assert set(found["expense_code"]) == {"C"}
    assert found.height == 200


def test_a_lines_own_code_stands_until_it_is_replaced() -> None:
    added = lines("""
        charge  project  amount  expense_code
        line-1  p        7500    C
        line-2  p        100     C
        line-3  p        100     -
    """)
    found = replaced_splits(changes(f"charge  field  value\nline-2  split  {HALVES}"), added)

    assert sorted(found.rows()) == [
        ("line-1", 0, "C", 1_000_000),
        ("line-2", 0, "D", 500_000),
        ("line-2", 1, "E", 500_000),
    ]


def test_no_adjustments_replace_nothing() -> None:
    assert last_values(ADJUSTMENTS.to_frame(), places=2).is_empty()
    found = replaced_splits(ADJUSTMENTS.to_frame(), NO_LINES)
    assert (found.schema, found.height) == (SHARES, 0)
