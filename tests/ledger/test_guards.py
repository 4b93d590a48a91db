"""What a plain sqlite3 or psycopg connection is refused, whatever this library would do."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from april import all_there_is, three_charges
from dialects import ON_POSTGRESQL, ON_SQLITE
from sqlalchemy import Engine, insert
from sqlalchemy.exc import IntegrityError

from billing_lib.ledger import charges
from billing_lib.ledger.database import writing
from billing_lib.ledger.schema import metadata, written
from billing_lib.ledger.triggers import guarded_tables, install, remove

Raw = Callable[[str], list[tuple[Any, ...]]]
REFUSED = (
    *(sqlite3.IntegrityError, psycopg.IntegrityError),
    psycopg.errors.InsufficientPrivilege,
)

ISSUED = {
    "billing_run": ("period = '2020-03'", "id = 'RC-2020-04-1'"),
    "attachment": ("name = 'other.pdf'", "position = 1"),
    "charge": ("total = 0, raw_total = 0", "charge = 'u1'"),
    "charge_split": ("amount = 0", "charge = 'u1' AND position = 0"),
    "event": ("reason = 'another'", "sequence = 1"),
    "facility": ("currency = 'EUR'", "code = 'RC'"),
    "fund_entry": ("amount = 1", "project = 'p1' AND sequence = 1"),
    "invoice": ("total = 0, raw_total = 0", "number = 'RC-2020-0001'"),
    "invoice_adjustment": ("amount = 1", "number = 'RC-2020-0001' AND position = 1"),
    "invoice_line": ("total = 0, raw_total = 0", "number = 'RC-2020-0001' AND position = 1"),
    "invoice_number": ("invoice = 'RC-2020-04-1/p2'", "number = 'RC-2020-0001'"),
    "invoice_split": ("amount = 0", "number = 'RC-2020-0001' AND expense_code = '370-1'"),
    "issued_invoice": ("total = 0, raw_total = 0", "number = 'RC-2020-0001'"),
    "issuing": ("period = '2020-03'", "id = 'RC-2020-04-1'"),
    "job": ("log = 'another'", "run = 'RC-2020-04-1' AND sequence = 1"),
    "journal": ("settings = '{}'", "number = 1"),
    "journal_entry": ("date = '2020-05-05'", "number = 'RC-2020-0001'"),
    "log_entry": (f"seal = '{'ef' * 32}'", "position = 1"),
    "message": ("subject = 'another'", "id = 'RC-2020-0001-3f09ab12cd34'"),
    "notice": ("text = 'another'", "key = 'RC-2020-0001'"),
    "notice_seen": ("login = 'mallory'", "key = 'RC-2020-0001'"),
    "permission": ("login = 'mallory'", "role = 'administrator'"),
    "preference": ("address = 'eve@example.edu'", "address = 'ann@example.edu'"),
    "rate": ("body = '{}'", "fingerprint = '3f0c'"),
    "source_file": ("name = 'may.csv'", "sha256 = '4f'"),
    "statement": ("total = 0, raw_total = 0", "id = 'smith-lab-2020-04'"),
    "statement_adjustment": ("amount = 1", "statement = 'smith-lab-2020-04'"),
    "statement_invoice": ("total = 0", "number = 'RC-2020-0002'"),
    "told": ("address = 'eve@example.edu'", "key = 'RC-2020-0001'"),
    "usage_record": ("item = 'slide'", "record = 'u1'"),
    "written": ("login = 'mallory'", "operation = 'NONE'"),
    "usage_version": ("item = 'scope'", "record = 'u9'"),
}


NONE = {"operation": "NONE", "login": "carol", "rows": 1}


@pytest.fixture
def full(rated: Engine) -> Engine:
    """A ledger with a row in every guarded table."""
    with writing(rated) as connection:
        all_there_is(connection)
        row = {"facility": "RC", "at": datetime.now(UTC), "session": 1, "table": "charge"}
        connection.execute(insert(written).values(row | NONE))
    return rated


def test_every_guarded_table_is_tried_below() -> None:
    assert sorted(ISSUED) == guarded_tables()


@pytest.mark.parametrize("table", ISSUED)
def test_what_is_issued_or_recorded_does_not_change(full: Engine, raw: Raw, table: str) -> None:
    change, row = ISSUED[table]
    before = raw(f"SELECT * FROM {table} WHERE {row}")
    assert len(before) == 1
    with pytest.raises(REFUSED):
        raw(f"UPDATE {table} SET {change} WHERE {row}")
    with pytest.raises(REFUSED):
        raw(f"DELETE FROM {table} WHERE {row}")
    assert raw(f"SELECT * FROM {table} WHERE {row}") == before


def test_the_same_statements_pass_without_guards(full: Engine, raw: Raw) -> None:
    """So that it is the guards that refuse above, and not a slip in the statements."""
    with writing(full) as connection:
        remove(connection)
    for table, (change, row) in ISSUED.items():
        before = raw(f"SELECT * FROM {table} WHERE {row}")
        raw(f"UPDATE {table} SET {change} WHERE {row}")
        assert raw(f"SELECT * FROM {table} WHERE {row}") != before


def test_no_guarded_table_can_be_emptied(full: Engine, raw: Raw) -> None:
    for table in ISSUED:
        before = raw(f"SELECT count(*) FROM {table}")
        with pytest.raises(REFUSED):
            if full.dialect.name == "postgresql":
                raw(f"TRUNCATE {table} CASCADE")
            else:
                raw(f"DELETE FROM {table}")
        assert raw(f"SELECT count(*) FROM {table}") == before


def test_no_row_is_overwritten_by_an_insert(full: Engine, raw: Raw) -> None:
    """REPLACE in SQLite, an upsert in PostgreSQL (where an event becomes the next one)."""
    for table, (change, row) in ISSUED.items():
        columns = {f'"{column.name}"': f'"{column.name}"' for column in metadata.tables[table].c}
        for assignment in change.split(", "):
            name, value = assignment.split(" = ")
            columns[f'"{name}"'] = value
        names, values = ", ".join(columns), ", ".join(columns.values())
        other = f"{table} ({names}) SELECT {values} FROM {table} WHERE {row}"
        key = ", ".join(f'"{column.name}"' for column in metadata.tables[table].primary_key)
        settings = ", ".join(f"{name} = excluded.{name}" for name in columns)
        before = raw(f"SELECT * FROM {table}")
        with suppress(*REFUSED):
            if full.dialect.name == "sqlite":
                raw(f"INSERT OR REPLACE INTO {other}")
            else:
                raw(f"INSERT INTO {other} ON CONFLICT ({key}) DO UPDATE SET {settings}")
        assert set(before) <= set(raw(f"SELECT * FROM {table}")), table


KEYS = {
    "charge": ("charge = 'u1'", "charge = 'u2'"),
    "charge_split": ("position = 0", "charge = 'u1' AND position = 1"),
    "fund_entry": ("sequence = 1", "sequence = 2"),
    "invoice": ("number = 'RC-2020-0001'", "number = 'RC-2020-0002'"),
    "issuing": ("state = 'FROZEN'", "state = 'ISSUED'"),
    "job": ("sequence = 1", "sequence = 2"),
}


@ON_SQLITE  # UPDATE OR REPLACE is SQLite's own
@pytest.mark.parametrize("table", KEYS)
def test_no_row_takes_the_key_of_another(full: Engine, raw: Raw, table: str) -> None:
    raw("INSERT INTO job VALUES ('RC-2020-04-1', 2, 'RC', 'x', 'RUNNING', 'me', '', NULL, '')")
    raw("INSERT INTO fund_entry VALUES ('RC', 'p1', 2, '', 'deposit', 1, NULL, '', 'me', '')")
    key, row = KEYS[table]
    before = raw(f"SELECT * FROM {table}")
    with pytest.raises(REFUSED):
        raw(f"UPDATE OR REPLACE {table} SET {key} WHERE {row}")
    assert raw(f"SELECT * FROM {table}") == before


@ON_POSTGRESQL  # a setting of PostgreSQL
def test_a_session_that_poses_as_a_replica_is_refused_too(full: Engine, raw: Raw) -> None:
    raw("SET session_replication_role = replica")
    with pytest.raises(REFUSED):
        raw("DELETE FROM invoice_line")


@ON_POSTGRESQL  # MERGE is not in SQLite
def test_a_merge_is_refused_as_an_update_is(full: Engine, raw: Raw) -> None:
    with pytest.raises(REFUSED, match="does not change"):
        raw(
            "MERGE INTO charge c USING (SELECT 'u1' AS code) s ON c.charge = s.code"
            " WHEN MATCHED THEN UPDATE SET total = 0"
        )


@ON_POSTGRESQL  # SQLite has one writer at a time, and no levels
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_what_looks_at_an_old_snapshot_writes_nothing(rated: Engine, raw: Raw, level: str) -> None:
    raw(f"SET default_transaction_isolation = '{level.lower()}'")
    with pytest.raises(REFUSED, match="under READ COMMITTED only"):
        raw("UPDATE charge SET description = 'seen' WHERE charge = 'u1'")


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
