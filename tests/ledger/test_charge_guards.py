"""What a raw connection is refused on charges, their splits and their usage."""

import sqlite3
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from april import P1, P2, RUN, draft, late_charge, pay
from sqlalchemy import Engine

from billing_lib.ledger.database import writing

Raw = Callable[[str], list[tuple[Any, ...]]]
REFUSED = (sqlite3.IntegrityError, psycopg.IntegrityError)


def test_what_happens_to_a_billed_charge_is_only_that_it_is_paid(issued: Engine, raw: Raw) -> None:
    for change in (
        "state = 'PENDING', run = NULL, invoice = NULL",
        "state = 'PENDING'",
        "run = NULL",
        "state = 'PAID'",  # its invoice is not
        "state = 'PAID', total = 0, raw_total = 0",
        f"state = 'PAID', invoice = '{P2}'",
        "state = 'CANCELLED'",
        "team = 'other-lab'",
        "charge = 'u9'",
    ):
        with pytest.raises(REFUSED):
            raw(f"UPDATE charge SET {change} WHERE charge = 'u1'")
    with writing(issued) as connection:
        pay(connection, P1)
    assert raw("SELECT state FROM charge WHERE charge = 'u1'") == [("PAID",)]
    for change in ("state = 'PENDING'", "total = 1", "description = 'other'", "team = 'other-lab'"):
        with pytest.raises(REFUSED):
            raw(f"UPDATE charge SET {change} WHERE charge = 'u1'")
    with pytest.raises(REFUSED):
        raw("DELETE FROM charge WHERE charge = 'u1'")


def test_a_pending_charge_is_not_billed_by_hand(issued: Engine, raw: Raw) -> None:
    with writing(issued) as connection:
        late_charge(connection)
    for change in (
        "state = 'PAID'",
        "state = 'BILLED'",
        f"state = 'BILLED', run = '{RUN}', invoice = '{RUN}/p9'",
        f"state = 'BILLED', run = 'RC-2020-04-2', invoice = '{P1}'",
        f"state = 'BILLED', run = '{RUN}', invoice = '{P1}'",
        f"state = 'BILLED', run = '{RUN}', invoice = '{P1}', total = 1",
        f"run = '{RUN}', invoice = '{P1}'",
        f"run = '{RUN}'",
        f"invoice = '{P1}'",  # it is issued
        "charge = 'u9'",
    ):
        with pytest.raises(REFUSED):
            raw(f"UPDATE charge SET {change} WHERE charge = 'late'")


@pytest.mark.parametrize("state", ["BILLED", "PAID", "OTHER"])
def test_a_charge_begins_pending(rated: Engine, raw: Raw, state: str) -> None:
    with pytest.raises(REFUSED, match="begins PENDING"):
        raw(_inserted(state=f"'{state}'"))


def _inserted(**columns: str) -> str:
    row = {
        "facility": "'RC'",
        "charge": "'late'",
        "kind": "'line'",
        "period": "'2020-04'",
        "project": "'p1'",
        "team": "'smith-lab'",
        "raw_total": "100",
        "adjustment": "0",
        "total": "100",
        "state": "'PENDING'",
    } | columns
    return f"INSERT INTO charge ({', '.join(row)}) VALUES ({', '.join(row.values())})"


def test_a_charge_begins_on_no_invoice(rated: Engine, raw: Raw) -> None:
    with writing(rated) as connection:
        draft(connection)
    for placed in ({"invoice": f"'{P1}'"}, {"run": f"'{RUN}'"}):
        with pytest.raises(REFUSED, match="begins without run and invoice"):
            raw(_inserted(**placed))


def test_a_charge_goes_on_an_open_invoice_of_its_facility_and_project(
    rated: Engine, raw: Raw
) -> None:
    with writing(rated) as connection:
        draft(connection)
        late_charge(connection)
    raw("INSERT INTO facility VALUES ('NF', 'Nanofab', 'USD', 'UTC')")
    raw(_inserted(facility="'NF'"))
    with pytest.raises(REFUSED, match="of its facility and project"):
        raw(f"UPDATE charge SET invoice = '{P2}' WHERE charge = 'late' AND facility = 'RC'")
    with pytest.raises(REFUSED):
        raw(f"UPDATE charge SET invoice = '{P1}' WHERE facility = 'NF'")
    raw(f"UPDATE charge SET invoice = '{P1}' WHERE charge = 'late' AND facility = 'RC'")
    with pytest.raises(REFUSED, match="of its facility and project"):
        raw("UPDATE charge SET project = 'p2' WHERE charge = 'late' AND facility = 'RC'")
    raw(
        "UPDATE charge SET project = 'p2', invoice = NULL WHERE charge = 'late' AND facility = 'RC'"
    )


def test_a_pending_charge_and_its_splits_may_change_and_go(rated: Engine, raw: Raw) -> None:
    raw("UPDATE charge SET total = 1, raw_total = 1 WHERE charge = 'u1'")
    raw("UPDATE charge_split SET amount = 1 WHERE charge = 'u1' AND position = 0")
    raw("DELETE FROM charge_split WHERE charge = 'u1'")
    raw("DELETE FROM charge WHERE charge = 'u1'")
    assert raw("SELECT count(*) FROM charge") == [(2,)]


def test_usage_is_kept_while_a_charge_refers_to_it(rated: Engine, raw: Raw) -> None:
    with pytest.raises(REFUSED):
        raw("DELETE FROM usage_record WHERE record = 'u3'")
    raw("DELETE FROM charge_split WHERE charge = 'u3'")
    raw("DELETE FROM charge WHERE charge = 'u3'")
    raw("DELETE FROM usage_record WHERE record = 'u3'")
    assert raw("SELECT count(*) FROM usage_record") == [(2,)]
