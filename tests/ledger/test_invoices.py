"""Invoices: what is read as it was written, and what a raw connection is refused after issue."""

import sqlite3
from collections.abc import Callable
from typing import Any

import polars as pl
import psycopg
import pytest
from april import (
    P1,
    P2,
    RUN,
    adjustments,
    bill,
    freeze,
    issue_reissue,
    issued_frames,
    pay,
    read_numbers,
    reissue,
)
from polars.testing import assert_frame_equal
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from billing_lib.errors import NotReady, UnknownInvoice
from billing_lib.ledger import charges, events, invoices, runs, statements
from billing_lib.ledger.database import reading, writing

Raw = Callable[[str], list[tuple[Any, ...]]]
REFUSED = (sqlite3.IntegrityError, psycopg.IntegrityError)


def test_issued_invoices_are_read_as_they_were_written(issued: Engine) -> None:
    with reading(issued) as connection:
        numbers = read_numbers(connection, RUN)
        bills, lines, splits = issued_frames(RUN, numbers)
        both = numbers["number"].to_list()
        assert_frame_equal(invoices.read_issued(connection, period="2020-04"), bills)
        assert_frame_equal(invoices.read_lines(connection, both), lines)
        assert_frame_equal(invoices.read_splits(connection, both), splits)
        assert_frame_equal(invoices.read_adjustments(connection, both), adjustments())
        prints = invoices.read_sealed(connection)
        assert prints.select("number", "fingerprint").rows() == [(it, "ab" * 32) for it in both]
        of_p2 = invoices.read_issued(connection, project="p2", active=True)
        assert of_p2["number"].to_list() == both[1:]
        assert invoices.read_issued(connection, number="RC-2020-0009").height == 0
        billed = charges.read_charges(connection, "RC", state="BILLED")
    assert billed.select("charge", "run", "invoice").rows() == [
        ("u1", RUN, P1),
        ("u2", RUN, P1),
        ("u3", RUN, P2),
    ]


def test_an_invoice_is_found_as_a_draft_and_with_its_number(issued: Engine) -> None:
    with reading(issued) as connection:
        found = invoices.read_invoices(connection, "RC", period="2020-04", project="p1")
        assert found.select("code", "number", "state").rows() == [(P1, "RC-2020-0001", "APPROVED")]
        assert invoices.require_invoice(connection, "RC-2020-0002")["code"] == P2
        with pytest.raises(UnknownInvoice):
            invoices.require_invoice(connection, "RC-2020-0003")


def test_each_move_is_an_event_with_what_was_before_and_after(issued: Engine) -> None:
    with reading(issued) as connection:
        told = events.read_events(connection, "RC", subjects=[P1])
    assert told.select("kind", "before", "team").rows() == [
        ("submit", '{"state":"OPEN"}', "smith-lab"),
        ("issue", '{"state":"APPROVING"}', "smith-lab"),
    ]
    assert '"number":"RC-2020-0001"' in told["after"][1]


def test_a_step_is_set_only_while_it_is_being_approved(issued: Engine, raw: Raw) -> None:
    with pytest.raises(NotReady, match="is not being approved"), writing(issued) as connection:
        row = invoices.read_invoices(connection, "RC", codes=[P1]).row(0, named=True)
        invoices.set_step(connection, row, 1, "", {})
    with pytest.raises(REFUSED, match="one reviewer after the other"):
        raw("UPDATE invoice SET step = 1 WHERE number = 'RC-2020-0001'")


def test_no_invoice_is_approved_under_the_number_of_another(rated: Engine, raw: Raw) -> None:
    with writing(rated) as connection:
        numbers = freeze(connection)
        invoices.insert_issued(connection, *issued_frames(RUN, numbers))
    for code, number in (
        (P1, "RC-2020-0002"),
        (P2, "RC-2020-0001"),
        (P1, "RC-2020-0009"),
        (P1, ""),
    ):
        with pytest.raises(REFUSED, match="issued under its number"):
            raw(f"UPDATE invoice SET state = 'APPROVED', number = '{number}' WHERE code = '{code}'")
    for slip in ("state = 'APPROVED'", "number = 'RC-2020-0001'"):
        with pytest.raises(REFUSED, match="has a number once it is issued"):
            raw(f"UPDATE invoice SET {slip} WHERE code = '{P1}'")
    with writing(rated) as connection:
        bill(connection, numbers)
        runs.finish(connection, RUN)
    with pytest.raises(REFUSED, match="keeps it"):
        raw(f"UPDATE invoice SET number = 'RC-2020-0009' WHERE code = '{P1}'")


@pytest.mark.parametrize(
    "change",
    [
        "state = 'PAID'",
        "state = 'PAID', paid_on = '2020-06-02', statement = 'smith-lab-2020-04'",
        "paid_on = '2020-06-02'",
        "payment_reference = 'transfer 8812'",
        "statement = 'smith-lab-2020-04'",
        "state = 'SUPERSEDED'",  # by nothing
        "state = 'APPROVING', number = NULL",
        "state = 'OPEN'",
        "total = 1",
    ],
)
def test_an_approved_invoice_only_moves_as_a_whole(issued: Engine, raw: Raw, change: str) -> None:
    with pytest.raises(REFUSED):
        raw(f"UPDATE invoice SET {change} WHERE code = '{P1}'")


def test_a_paid_invoice_and_its_charges_are_paid_together(issued: Engine, raw: Raw) -> None:
    with writing(issued) as connection:
        pay(connection, P1)
    for change in ("paid_on = '2020-06-03'", "payment_reference = 'other'"):
        with pytest.raises(REFUSED, match="payment while it is paid"):
            raw(f"UPDATE invoice SET {change} WHERE code = '{P1}'")
    unpaid = "state = 'APPROVED', paid_on = NULL, payment_reference = NULL"
    with pytest.raises(REFUSED, match="that is not paid are not paid"):
        raw(f"UPDATE invoice SET {unpaid} WHERE code = '{P1}'")
    with writing(issued) as connection:
        charges.unpay_charges(connection, "RC", [P1])
        invoices.move_invoices(connection, "RC", [P1], "unpay", "another's payment")
    with reading(issued) as connection:
        found = invoices.read_invoices(connection, "RC", codes=[P1])
    assert found.select("state", "paid_on", "payment_reference").rows() == [
        ("APPROVED", None, None)
    ]


def test_an_invoice_replaces_one_that_counts_and_counts_instead(issued: Engine, raw: Raw) -> None:
    with writing(issued) as connection:
        code = reissue(connection)
    with pytest.raises(REFUSED, match="superseded by an issued one"):
        raw(f"UPDATE invoice SET state = 'SUPERSEDED' WHERE code = '{P1}'")

    said = r"on no other invoice|is superseded"
    with pytest.raises(IntegrityError, match=said), writing(issued) as connection:
        issue_reissue(connection, code, supersede=False)
    with writing(issued) as connection:
        issue_reissue(connection, code)
    with reading(issued) as connection:
        found = invoices.read_invoices(connection, "RC", project="p1")
    assert found.select("code", "state", "number").rows() == [
        (P1, "SUPERSEDED", "RC-2020-0001"),
        (code, "APPROVED", "RC-2020-0003"),
    ]


def test_what_no_longer_counts_is_not_replaced(issued: Engine) -> None:
    with writing(issued) as connection:
        code = reissue(connection)
        invoices.move_invoices(connection, "RC", [P1], "void", "never ordered")
    with (
        pytest.raises(IntegrityError, match="replaces one that counts"),
        writing(issued) as connection,
    ):
        issue_reissue(connection, code)


@pytest.mark.parametrize("number", ["RC-2020-0002", "RC-2020-0009"])
def test_a_reissue_is_of_an_invoice_of_the_same_project(issued: Engine, number: str) -> None:
    said = "of its facility and project"
    with pytest.raises(IntegrityError, match=said), writing(issued) as connection:
        reissue(connection, number)


def test_prepaid_funds_are_drawn_as_issued_and_given_back_once(rated: Engine, raw: Raw) -> None:
    entry = (
        "INSERT INTO fund_entry VALUES ('RC', 'p1', {}, 'smith-lab', '{}', {}, {}, '', 'me', {})"
    )

    def enter(sequence: int, kind: str, amount: int, number: str | None) -> None:
        quoted = "NULL" if number is None else f"'{number}'"
        raw(entry.format(sequence, kind, amount, quoted, "'2020-05-01T00:00:00.000000Z'"))

    enter(1, "deposit", 3000, None)
    with writing(rated) as connection:
        numbers = freeze(connection)
        bills, lines, splits = issued_frames(RUN, numbers)
        drawn = pl.when(pl.col("project") == "p1").then(3000)
        paid = pl.when(pl.col("number") == "RC-2020-0001", pl.col("expense_code") == "370-1")
        left = pl.col("amount") - paid.then(3000).otherwise(0)
        invoices.insert_issued(
            connection,
            bills.with_columns(prepaid=drawn),
            lines,
            splits.with_columns(amount=left),
        )
        bill(connection, numbers)
    for wrong in (
        (2, "draw", -2999, "RC-2020-0001"),
        (2, "draw", 3000, "RC-2020-0001"),
        (2, "draw", -3000, None),
        (2, "draw", -3000, "RC-2020-0002"),
        (3, "draw", -3000, "RC-2020-0001"),
        (2, "return", 3000, "RC-2020-0001"),
        (2, "deposit", 3000, "RC-2020-0001"),
        (2, "deposit", -3001, None),
        (2, "gift", 1, None),
    ):
        with pytest.raises(REFUSED):
            enter(*wrong)
    with pytest.raises(REFUSED, match="is drawn"):
        raw("UPDATE issuing SET state = 'ISSUED'")
    enter(2, "draw", -3000, "RC-2020-0001")
    enter(3, "deposit", 3000, None)
    with pytest.raises(REFUSED):
        enter(4, "draw", -3000, "RC-2020-0001")  # twice
    raw("UPDATE issuing SET state = 'ISSUED'")
    with pytest.raises(REFUSED, match="once it no longer counts"):
        enter(4, "return", 3000, "RC-2020-0001")
    raw(f"UPDATE invoice SET state = 'VOID' WHERE code = '{P1}'")
    with pytest.raises(REFUSED, match="what it drew"):
        enter(4, "return", 3001, "RC-2020-0001")
    enter(4, "return", 3000, "RC-2020-0001")
    with pytest.raises(REFUSED, match="what it drew"):
        enter(5, "return", 3000, "RC-2020-0001")
    with reading(rated) as connection:
        assert statements.read_entries(connection, "RC")["amount"].sum() == 6000
        assert statements.read_entries(connection, "RC", number="RC-2020-0001")[
            "kind"
        ].to_list() == [
            "draw",
            "return",
        ]


def test_the_totals_of_a_draft_are_set_and_no_longer_those_of_an_issued_one(
    issued: Engine,
) -> None:
    totals = pl.DataFrame(
        {"code": [P1], "team": ["smith-lab"]}
        | {name: [1] for name in ("charges", "raw_total", "adjustment", "tax", "total", "cost")}
    )
    with pytest.raises(IntegrityError, match="does not change once"), writing(issued) as connection:
        invoices.set_totals(connection, "RC", totals)
    with reading(issued) as connection:
        assert connection.scalar(text("SELECT sum(total) FROM invoice")) == 10375
