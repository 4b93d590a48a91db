"""What a raw connection is refused on statements."""

import sqlite3
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from april import P1, pay, pay_statement, state
from sqlalchemy import Engine

from billing_lib.ledger import invoices
from billing_lib.ledger.database import writing

Raw = Callable[[str], list[tuple[Any, ...]]]
REFUSED = (sqlite3.IntegrityError, psycopg.IntegrityError)
ID = "smith-lab-2020-04"
PAID = "state = 'PAID', paid_on = '2020-06-02'"


@pytest.fixture
def stated(issued: Engine) -> Engine:
    """April's statement, OPEN, with the invoice of p2."""
    with writing(issued) as connection:
        assert state(connection) == ID
    return issued


def test_an_invoice_is_on_one_statement(stated: Engine, raw: Raw) -> None:
    raw(
        "INSERT INTO statement VALUES"
        f" ('{ID}-2', 'smith-lab', '2020-04', 2, 'USD', 'OPEN', 1, 250, 0, 250, NULL, NULL)"
    )
    for statement in (ID, f"{ID}-2"):
        with pytest.raises(REFUSED):
            raw(
                "INSERT INTO statement_invoice"
                f" VALUES ('RC-2020-0002', '{statement}', 'RC', 'smith-lab', 250)"
            )


@pytest.mark.parametrize(
    "values",
    [
        "('RC-2020-0001', 'smith-lab-2020-04', 'RC', 'smith-lab', 1)",  # not its total
        "('RC-2020-0001', 'smith-lab-2020-04', 'RC', 'other-lab', 10125)",
        "('RC-2020-0001', 'smith-lab-2020-04', 'NF', 'smith-lab', 10125)",
        "('RC-2020-0009', 'smith-lab-2020-04', 'RC', 'smith-lab', 10125)",
        "('RC-2020-0001', 'other-lab-2020-04', 'RC', 'smith-lab', 10125)",
    ],
)
def test_a_statement_takes_an_invoice_as_it_is(stated: Engine, raw: Raw, values: str) -> None:
    with pytest.raises(REFUSED):
        raw(f"INSERT INTO statement_invoice VALUES {values}")


def test_a_statement_takes_no_invoice_that_does_not_count(stated: Engine, raw: Raw) -> None:
    with writing(stated) as connection:
        invoices.move_invoices(connection, "RC", [P1], "void", "never ordered")
    with pytest.raises(REFUSED, match="takes an invoice that counts"):
        raw(
            "INSERT INTO statement_invoice"
            f" VALUES ('RC-2020-0001', '{ID}', 'RC', 'smith-lab', 10125)"
        )


def test_a_statement_is_paid_with_its_invoices_and_their_sum(stated: Engine, raw: Raw) -> None:
    with pytest.raises(REFUSED, match="and are paid"):
        raw(f"UPDATE statement SET {PAID}")
    with writing(stated) as connection:
        pay(connection, "RC-2020-04-1/p2", ID)
    for slip, right in (("raw_total = 1, total = 1", "raw_total = 250, total = 250"),
                        ("invoices = 2", "invoices = 1")):  # fmt: skip
        with pytest.raises(REFUSED, match="does not change"):
            raw(f"UPDATE statement SET {PAID}, {slip}")
        raw(f"UPDATE statement SET {slip}")
        with pytest.raises(REFUSED, match="a paid statement"):
            raw(f"UPDATE statement SET {PAID}")
        raw(f"UPDATE statement SET {right}")
    with pytest.raises(REFUSED, match="payment that of a paid statement"):
        raw("UPDATE statement SET state = 'PAID'")
    raw(f"UPDATE statement SET {PAID}")


def test_an_empty_statement_is_not_paid(stated: Engine, raw: Raw) -> None:
    raw("DELETE FROM statement_invoice")
    raw("UPDATE statement SET invoices = 0, raw_total = 0, total = 0")
    with pytest.raises(REFUSED, match="at least one"):
        raw(f"UPDATE statement SET {PAID}")


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM statement_invoice",
        "DELETE FROM statement_adjustment",
        "INSERT INTO statement_invoice"
        " VALUES ('RC-2020-0001', 'smith-lab-2020-04', 'RC', 'smith-lab', 10125)",
        "INSERT INTO statement_adjustment"
        " VALUES ('smith-lab-2020-04', 'RC', 2, 'smith-lab', 'fee', 'fee', 1)",
        "UPDATE statement SET raw_total = 1, total = 1",
        "UPDATE statement SET state = 'OPEN'",  # with its payment
        "UPDATE statement SET state = 'OPEN', paid_on = NULL, team = 'other-lab'",
        "UPDATE statement SET state = 'VOID'",
    ],
)
def test_a_paid_statement_does_not_change(stated: Engine, raw: Raw, change: str) -> None:
    with writing(stated) as connection:
        pay_statement(connection, ID)
    with pytest.raises(REFUSED):
        raw(change)


def test_an_invoice_is_paid_with_a_statement_that_it_is_on(stated: Engine, raw: Raw) -> None:
    with pytest.raises(REFUSED, match="a statement that it is on"):
        raw(f"UPDATE invoice SET {PAID}, statement = '{ID}' WHERE code = '{P1}'")
