"""What a plain sqlite3 or psycopg connection is refused, whatever this library would do."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from april import freeze, three_charges
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from billing_lib.ledger import charges
from billing_lib.ledger.database import writing
from billing_lib.ledger.events import record_event
from billing_lib.ledger.guard_sql import guarded_tables, install, remove
from billing_lib.ledger.tables import metadata

Raw = Callable[[str], list[tuple[Any, ...]]]
REFUSED = (sqlite3.IntegrityError, psycopg.IntegrityError)

ISSUED = {
    "invoice": ("total = 0, raw_total = 0", "number = 'RC-2020-0001'"),
    "invoice_line": ("total = 0, raw_total = 0", "number = 'RC-2020-0001' AND position = 1"),
    "invoice_split": ("amount = 0", "number = 'RC-2020-0001' AND expense_code = '370-1'"),
    "invoice_adjustment": ("amount = 1", "number = 'RC-2020-0001' AND position = 1"),
    "invoice_number": ("project = 'p9'", "number = 'RC-2020-0001'"),
    "billing_run": ("period = '2020-03'", "id = 'RC-2020-04-1'"),
    "charge": ("total = 0, raw_total = 0", "code = 'u1'"),
    "charge_split": ("amount = 0", "charge = 'u1' AND position = 0"),
    "event": ("reason = 'another'", "sequence = 1"),
    "rate": ("body = '{}'", "fingerprint = '3f0c'"),
    "source_file": ("name = 'may.csv'", "sha256 = '4f'"),
    "usage_record": ("item = 'slide'", "record = 'u1'"),
    "facility": ("currency = 'EUR'", "code = 'RC'"),
}


@pytest.fixture
def issued_with_event(issued: Engine) -> Engine:
    with writing(issued) as connection:
        record_event(connection, "RC", "issue", "RC-2020-04-1", "April")
    return issued


def test_every_guarded_table_is_tried_below() -> None:
    assert sorted(ISSUED) == guarded_tables()


@pytest.mark.parametrize("table", ISSUED)
def test_what_is_issued_or_recorded_does_not_change(
    issued_with_event: Engine, raw: Raw, table: str
) -> None:
    change, row = ISSUED[table]
    before = raw(f"SELECT * FROM {table} WHERE {row}")
    assert len(before) == 1
    with pytest.raises(REFUSED):
        raw(f"UPDATE {table} SET {change} WHERE {row}")
    with pytest.raises(REFUSED):
        raw(f"DELETE FROM {table} WHERE {row}")
    assert raw(f"SELECT * FROM {table} WHERE {row}") == before


@pytest.mark.parametrize("table", ISSUED)
def test_the_same_statements_pass_without_guards(
    issued_with_event: Engine, raw: Raw, table: str
) -> None:
    """So that it is the guards that refuse above, and not a slip in the statements."""
    with writing(issued_with_event) as connection:
        remove(connection)
    change, row = ISSUED[table]
    before = raw(f"SELECT * FROM {table} WHERE {row}")
    raw(f"UPDATE {table} SET {change} WHERE {row}")
    assert raw(f"SELECT * FROM {table} WHERE {row}") != before


@pytest.mark.parametrize("table", ISSUED)
def test_no_guarded_table_can_be_emptied(issued_with_event: Engine, raw: Raw, table: str) -> None:
    before = raw(f"SELECT count(*) FROM {table}")
    with pytest.raises(REFUSED):
        if issued_with_event.dialect.name == "postgresql":
            raw(f"TRUNCATE {table} CASCADE")
        else:
            raw(f"DELETE FROM {table}")
    assert raw(f"SELECT count(*) FROM {table}") == before


@pytest.mark.parametrize("table", ISSUED)
def test_no_row_is_overwritten_by_an_insert(
    issued_with_event: Engine, raw: Raw, table: str
) -> None:
    """REPLACE in SQLite, an upsert in PostgreSQL (where an event becomes the next one)."""
    change, row = ISSUED[table]
    columns = {f'"{column.name}"': f'"{column.name}"' for column in metadata.tables[table].columns}
    for assignment in change.split(", "):
        name, value = assignment.split(" = ")
        columns[f'"{name}"'] = value
    names, values = ", ".join(columns), ", ".join(columns.values())
    other = f"{table} ({names}) SELECT {values} FROM {table} WHERE {row}"
    key = ", ".join(f'"{column.name}"' for column in metadata.tables[table].primary_key)
    settings = ", ".join(f"{name} = excluded.{name}" for name in columns)
    before = raw(f"SELECT * FROM {table}")
    with suppress(*REFUSED):
        if issued_with_event.dialect.name == "sqlite":
            raw(f"INSERT OR REPLACE INTO {other}")
        else:
            raw(f"INSERT INTO {other} ON CONFLICT ({key}) DO UPDATE SET {settings}")
    assert set(before) <= set(raw(f"SELECT * FROM {table}"))


def test_a_pending_charge_does_not_take_the_place_of_a_billed_one(issued: Engine, raw: Raw) -> None:
    if issued.dialect.name == "postgresql":
        pytest.skip("UPDATE OR REPLACE is SQLite's own")
    _add_late_charge(issued)
    with pytest.raises(REFUSED, match="keeps its facility and code"):
        raw("UPDATE OR REPLACE charge SET code = 'u1' WHERE code = 'late'")
    assert raw("SELECT state FROM charge WHERE code = 'u1'") == [("BILLED",)]


def test_a_session_that_poses_as_a_replica_is_refused_too(issued: Engine, raw: Raw) -> None:
    if issued.dialect.name == "sqlite":
        pytest.skip("a setting of PostgreSQL")
    raw("SET session_replication_role = replica")
    with pytest.raises(REFUSED):
        raw("DELETE FROM invoice_line")


def _add_late_charge(ledger: Engine) -> None:
    with writing(ledger) as connection:
        connection.execute(
            text(
                "INSERT INTO charge (facility, code, kind, period, project, team, raw_total,"
                " adjustment, total, state) VALUES"
                " ('RC', 'late', 'line', '2020-04', 'p1', 'smith-lab', 100, 0, 100, 'PENDING')"
            )
        )


@pytest.mark.parametrize(
    "change",
    [
        "state = 'PENDING', run = NULL, invoice = NULL",
        "state = 'BILLED'",
        "state = 'PAID', total = 0, raw_total = 0",
        "state = 'PAID', invoice = 'RC-2020-0002'",
        "state = 'PAID', description = 'other'",
        "state = 'CANCELLED'",
    ],
)
def test_a_billed_charge_can_only_be_paid(issued: Engine, raw: Raw, change: str) -> None:
    with pytest.raises(REFUSED):
        raw(f"UPDATE charge SET {change} WHERE code = 'u1'")


def test_a_billed_charge_can_be_paid_and_then_no_more(issued: Engine, raw: Raw) -> None:
    raw("UPDATE charge SET state = 'PAID' WHERE code = 'u1'")
    for change in ("state = 'PAID'", "state = 'BILLED'", "state = 'PENDING'", "total = 1"):
        with pytest.raises(REFUSED):
            raw(f"UPDATE charge SET {change} WHERE code = 'u1'")
    with pytest.raises(REFUSED):
        raw("DELETE FROM charge WHERE code = 'u1'")


@pytest.mark.parametrize(
    "change",
    [
        "state = 'PAID'",
        "state = 'BILLED'",
        "state = 'BILLED', run = 'RC-2020-04-1', invoice = 'RC-2020-0009'",
        "state = 'BILLED', run = 'RC-2020-04-2', invoice = 'RC-2020-0001'",
        "state = 'BILLED', run = 'RC-2020-04-1', invoice = 'RC-2020-0001', total = 1",
        "invoice = 'RC-2020-0001'",
        "code = 'u9'",
    ],
)
def test_a_pending_charge_is_billed_only_with_an_invoice_and_as_it_is(
    issued: Engine, raw: Raw, change: str
) -> None:
    _add_late_charge(issued)
    with pytest.raises(REFUSED):
        raw(f"UPDATE charge SET {change} WHERE code = 'late'")


@pytest.mark.parametrize("state", ["BILLED", "PAID", "OTHER"])
def test_a_charge_begins_pending(rated: Engine, raw: Raw, state: str) -> None:
    with pytest.raises(REFUSED, match="begins PENDING"):
        raw(
            "INSERT INTO charge (facility, code, kind, period, project, team, raw_total,"
            " adjustment, total, state) VALUES"
            f" ('RC', 'late', 'line', '2020-04', 'p1', 'smith-lab', 100, 0, 100, '{state}')"
        )


def test_a_pending_charge_and_its_splits_may_change_and_go(rated: Engine, raw: Raw) -> None:
    raw("UPDATE charge SET total = 1, raw_total = 1 WHERE code = 'u1'")
    raw("UPDATE charge_split SET amount = 1 WHERE charge = 'u1' AND position = 0")
    raw("DELETE FROM charge_split WHERE charge = 'u1'")
    raw("DELETE FROM charge WHERE code = 'u1'")
    assert raw("SELECT count(*) FROM charge") == [(2,)]


def test_a_charge_bound_to_a_frozen_run_waits_unchanged(rated: Engine, raw: Raw) -> None:
    with writing(rated) as connection:
        freeze(connection)
    for statement in (
        "UPDATE charge SET total = 1 WHERE code = 'u1'",
        "DELETE FROM charge WHERE code = 'u1'",
        "UPDATE charge_split SET amount = 1 WHERE charge = 'u1'",
        "DELETE FROM charge_split WHERE charge = 'u1'",
        "INSERT INTO charge_split VALUES ('RC', 'u1', 7, '370-1', '0', 0)",
    ):
        with pytest.raises(REFUSED, match="bound to a run"):
            raw(statement)


def test_usage_is_kept_while_a_charge_refers_to_it(rated: Engine, raw: Raw) -> None:
    with pytest.raises(REFUSED):
        raw("DELETE FROM usage_record WHERE record = 'u3'")
    raw("DELETE FROM charge_split WHERE charge = 'u3'")
    raw("DELETE FROM charge WHERE code = 'u3'")
    raw("DELETE FROM usage_record WHERE record = 'u3'")
    assert raw("SELECT count(*) FROM usage_record") == [(2,)]


@pytest.mark.parametrize(
    "forged",
    [
        "INSERT INTO invoice_line (number, position, facility, team, charge, raw_total,"
        " adjustment, total) VALUES ('RC-2020-0001', 3, 'RC', 'smith-lab', 'x', 1, 0, 1)",
        "INSERT INTO invoice_split VALUES ('RC-2020-0001', '999', 'RC', 'smith-lab', 1)",
        "INSERT INTO invoice_adjustment"
        " VALUES ('RC-2020-0001', 2, 'RC', 'smith-lab', 'fee', 'fee', '', 1)",
        "INSERT INTO charge_split VALUES ('RC', 'u1', 2, '370-9', '0', 0)",
        "INSERT INTO invoice_number VALUES ('RC', 2020, 3, 'RC-2020-0003', 'RC-2020-04-1', 'p3')",
    ],
)
def test_nothing_is_added_to_what_is_issued(issued: Engine, raw: Raw, forged: str) -> None:
    with pytest.raises(REFUSED):
        raw(forged)


def test_a_frozen_run_is_not_issued_with_a_number_that_has_no_invoice(
    rated: Engine, raw: Raw
) -> None:
    with writing(rated) as connection:
        freeze(connection)
    raw("UPDATE charge SET run = NULL")
    with pytest.raises(REFUSED, match="an invoice for every number"):
        raw("UPDATE billing_run SET state = 'ISSUED'")


def test_a_number_is_reserved_only_in_sequence(rated: Engine, raw: Raw) -> None:
    with writing(rated) as connection:
        freeze(connection)
    with pytest.raises(REFUSED, match="without a gap"):
        raw(
            "INSERT INTO invoice_number VALUES"
            " ('RC', 2020, 4, 'RC-2020-0004', 'RC-2020-04-1', 'p3')"
        )


@pytest.mark.parametrize("state", ["ISSUED", "FAILED"])
def test_a_run_begins_frozen(rated: Engine, raw: Raw, state: str) -> None:
    with pytest.raises(REFUSED, match="begins FROZEN"):
        raw(
            "INSERT INTO billing_run (id, facility, period, selection, state, invoice_date,"
            " fiscal_year, login, frozen_at) VALUES ('RC-2020-04-1', 'RC', '2020-04', '',"
            f" '{state}', '2020-05-04', 2020, 'x', '2020-05-04T00:00:00.000000Z')"
        )


def test_the_library_is_refused_as_anybody_is(issued: Engine) -> None:
    _, splits = three_charges()
    with pytest.raises(IntegrityError), writing(issued) as connection:
        charges.frames.update_frame(
            connection,
            charges.charge_split,
            splits,
            ["facility", "charge", "position"],
            facility="RC",
        )


def test_guards_can_be_taken_off_and_put_back(issued: Engine, raw: Raw) -> None:
    with writing(issued) as connection:
        remove(connection)
        install(connection)
    with pytest.raises(REFUSED):
        raw("DELETE FROM invoice")
