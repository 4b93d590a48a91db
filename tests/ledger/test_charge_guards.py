"""What a raw connection is refused on charges, their splits and their usage."""

import sqlite3
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from april import P1, P2, RUN, draft, issue, late_charge, pay, submit
from sqlalchemy import Connection, Engine, text

from billing_lib.ledger import usage
from billing_lib.ledger.database import writing
from billing_lib.ledger.events import record_event

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
        f"run = '{RUN}', invoice = '{P1}'",  # it is issued
        f"run = '{RUN}'",
        f"invoice = '{P1}'",  # it is issued
        "charge = 'u9'",
    ):
        with pytest.raises(REFUSED):
            raw(f"UPDATE charge SET {change} WHERE charge = 'late'")


def test_a_charge_may_be_bound_when_it_comes_on_an_invoice_that_takes_changes(
    rated: Engine, raw: Raw
) -> None:
    with writing(rated) as connection:
        draft(connection)
        late_charge(connection)
    for change in (
        f"run = '{RUN}', invoice = '{P2}'",  # of another project
        f"run = 'RC-2020-04-2', invoice = '{P1}'",
        f"run = '{RUN}', invoice = '{P1}', state = 'BILLED'",
    ):
        with pytest.raises(REFUSED):
            raw(f"UPDATE charge SET {change} WHERE charge = 'late'")
    raw(f"UPDATE charge SET run = '{RUN}', invoice = '{P1}' WHERE charge = 'late'")
    with pytest.raises(REFUSED, match="its run and its invoice at once"):
        raw("UPDATE charge SET run = NULL, invoice = NULL WHERE charge = 'late'")
    with pytest.raises(REFUSED, match="does not change"):
        raw("UPDATE charge SET total = 0, raw_total = 0 WHERE charge = 'late'")


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


def test_usage_is_kept(rated: Engine, raw: Raw) -> None:
    with pytest.raises(REFUSED, match="a usage record is kept"):
        raw("DELETE FROM usage_record WHERE record = 'u3'")
    raw("DELETE FROM charge WHERE charge = 'u3'")
    with pytest.raises(REFUSED, match="a usage record is kept"):
        raw("DELETE FROM usage_record WHERE record = 'u3'")
    assert raw("SELECT count(*) FROM usage_record") == [(3,)]


COPIED = [*usage.USAGE_WITH_PERIOD, "withdrawn", "file_sha256"]
NAMES = ", ".join(f'"{name}"' for name in COPIED)


def kept(record: str, instead: str = "quantity", of: str = "quantity", version: int = 1) -> str:
    """SQL that keeps a record as a version; with one column replaced, as another one."""
    values = NAMES.replace(f'"{of}"', instead if instead != of else f'"{of}"')
    return (
        f"INSERT INTO usage_version (facility, {NAMES}, version, event)"
        f" SELECT facility, {values}, {version}, 1 FROM usage_record WHERE record = '{record}'"
    )


def changed(record: str, version: int = 2) -> str:
    return f"UPDATE usage_record SET quantity = '7', version = {version} WHERE record = '{record}'"


def test_usage_changes_into_its_next_version_and_the_one_before_is_kept(
    rated: Engine, raw: Raw
) -> None:
    with pytest.raises(REFUSED, match="into its next version"):
        raw("UPDATE usage_record SET quantity = '7' WHERE record = 'u2'")
    with pytest.raises(REFUSED, match="when the version before it is kept"):
        raw(changed("u2"))
    for other in ("'8'", "NULL"):
        with pytest.raises(REFUSED, match="as it stands"):
            raw(kept("u2", other))
    with pytest.raises(REFUSED, match="as it stands"):
        raw(kept("u2", version=2))
    raw(kept("u2"))
    with pytest.raises(REFUSED, match="into its next version"):
        raw(changed("u2", version=3))
    with pytest.raises(REFUSED, match="keeps its id"):
        raw(changed("u2").replace("SET", "SET record = 'u8',"))
    with writing(rated) as connection:
        record_event(connection, "RC", "load", "april.csv", "")  # PostgreSQL asks for one
        connection.execute(text(changed("u2")))
    assert raw("SELECT quantity, version FROM usage_record WHERE record = 'u2'") == [("7", 2)]
    assert raw("SELECT quantity, version FROM usage_version") == [("9", 1)]


@pytest.mark.parametrize("until", [submit, issue], ids=["bound", "billed"])
def test_usage_that_is_bound_or_billed_does_not_change(
    rated: Engine, raw: Raw, until: Callable[[Connection], object]
) -> None:
    with writing(rated) as connection:
        until(connection)
    for record in ("u1", "u2", "u3"):
        raw(kept(record))
        with pytest.raises(REFUSED, match="billed or bound"):
            raw(changed(record))
    assert raw("SELECT count(*) FROM usage_record WHERE version IS NULL") == [(3,)]


def test_usage_does_not_change_under_a_billed_charge_of_another_code(
    rated: Engine, raw: Raw
) -> None:
    """The guard finds a charge of usage by its code, so another code is refused."""
    raw("DELETE FROM charge WHERE charge = 'u3'")
    with pytest.raises(REFUSED, match="the code of its usage"):
        raw(_inserted(charge="'u33'", kind="'usage'", record="'u3'", occurrence="1"))
    raw(_inserted(charge="'u3'", kind="'usage'", record="'u3'", occurrence="1"))
    with pytest.raises(REFUSED, match="keeps its code and its usage"):
        raw("UPDATE charge SET record = 'u2' WHERE charge = 'u3'")
