"""Opening, setting up and reaching the ledger's database."""

import hashlib
import sqlite3
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from dialects import ON_SQLITE
from sqlalchemy import Connection, Engine, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError, InternalError
from sqlalchemy.schema import CreateIndex, CreateTable, SchemaItem

from billing_lib.errors import BillingError, NotReady, UnreachableLedger
from billing_lib.ledger import triggers
from billing_lib.ledger.database import (
    HEAD,
    change_mark,
    initialise,
    open_ledger,
    reading,
    require_initialised,
    writing,
)
from billing_lib.ledger.frames import frame_schema, insert_frame
from billing_lib.ledger.messages import read_preferences
from billing_lib.ledger.people import (
    current_login,
    know_facility,
    read_facilities,
    read_permissions,
)
from billing_lib.ledger.schema import BY_STATEMENT, metadata
from billing_lib.ledger.search import CHARGE_ROWS, Criteria, VisibleRows, select_rows
from billing_lib.pricing.charge import CHARGE, SPLIT
from billing_lib.pricing.fields import USAGE


def test_setting_up_twice_is_the_same_as_once(bare_url: str) -> None:
    engine = open_ledger(bare_url)
    assert initialise(engine)
    with writing(engine) as connection:
        connection.execute(text("INSERT INTO facility VALUES ('RC', 'RC', 'USD', 'UTC')"))
    assert not initialise(engine)
    require_initialised(engine)
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM facility")) == 1
    engine.dispose()


def test_a_ledger_that_is_not_set_up_asks_for_billing_init(bare_url: str) -> None:
    engine = open_ledger(bare_url)
    with pytest.raises(NotReady, match="run billing init"):
        require_initialised(engine)
    if engine.dialect.name == "sqlite":
        assert not Path(str(engine.url.database)).exists()
    engine.dispose()


@pytest.mark.parametrize(("version", "said"), [("0000", "earlier version"), ("9999", "later")])
def test_a_ledger_of_another_version_is_refused(ledger: Engine, version: str, said: str) -> None:
    with writing(ledger) as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{version}'"))
    with pytest.raises(NotReady, match=said):
        require_initialised(ledger)


def test_a_ledger_of_a_later_version_is_not_set_up_again(ledger: Engine) -> None:
    with writing(ledger) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NotReady, match="later version"):
        initialise(ledger)


def test_a_ledger_of_before_the_first_release_is_refused(ledger: Engine) -> None:
    with writing(ledger) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0007'"))
    with pytest.raises(NotReady, match=r"before the first release.*begin a new one"):
        initialise(ledger)


def test_a_charge_has_the_same_columns_in_frames_and_in_its_table() -> None:
    def columns(name: str) -> dict[str, pl.DataType]:
        return frame_schema(metadata.tables[name].columns)

    charge = columns("charge")
    assert charge.pop("facility") == pl.String()
    assert list(charge.items()) == [it for it in CHARGE.items() if it[0] in charge]
    assert CHARGE.keys() - charge.keys() == {"units", "file", "row"}
    assert {name: columns("usage_record")[name] for name in USAGE} == USAGE
    assert {name: columns("charge_split")[name] for name in SPLIT} == SPLIT


def differences(connection: Connection) -> list[object]:
    """Of the tables to the schema, where PostgreSQL has triggers for some foreign keys."""

    def stands(element: SchemaItem, *_: object) -> bool:
        return BY_STATEMENT not in element.info or connection.dialect.name == "sqlite"

    opts = {"compare_type": True, "include_object": stands}
    return list(compare_metadata(MigrationContext.configure(connection, opts=opts), metadata))


def test_the_migrations_make_the_tables(ledger: Engine) -> None:
    with reading(ledger) as connection:
        assert differences(connection) == []


def test_an_earlier_ledger_becomes_like_a_new_one(ledger: Engine) -> None:
    """With its preferences, and with an administrator for a facility that was open to all."""
    with writing(ledger) as connection:
        know_facility(connection, "RC", "RC", "USD", "UTC")
        triggers.remove(connection)
        for statement in (
            *("DELETE FROM permission", "DROP TABLE written", "DROP TABLE preference"),
            *("DROP TABLE log_entry", "ALTER TABLE rate DROP COLUMN kept_at"),
            "INSERT INTO rate VALUES ('RC', 'f1', '{}')",
            "CREATE TABLE preference (facility TEXT, address TEXT, invoices TEXT)",
            "INSERT INTO preference VALUES ('RC', 'ann@example.edu', 'digest')",
            "DROP INDEX ix_charge_facility_period_project_charge_date_total",
            "CREATE INDEX ix_charge_facility_period_project ON charge (facility, period, project)",
            "UPDATE alembic_version SET version_num = '0009'",
        ):
            connection.execute(text(statement))
        if ledger.dialect.name == "postgresql":
            key = "FOREIGN KEY (facility, charge) REFERENCES charge ON DELETE CASCADE"
            added = f"ALTER TABLE charge_split ADD CONSTRAINT fk_charge_split_charge {key}"
            connection.execute(text(added))
    assert initialise(ledger)
    with reading(ledger) as connection:
        assert differences(connection) == []
        kept = connection.execute(text("SELECT fingerprint, kept_at FROM rate")).one()
        assert (kept.fingerprint, str(kept.kept_at)[:4]) == ("f1", "1970")
        preferences = read_preferences(connection, "RC").rows()
        administrators = read_permissions(connection, "RC").select("login", "role").rows()
        assert administrators == [(current_login(connection), "administrator")]
    assert preferences == [("RC", "", "ann@example.edu", "digest")]
    with pytest.raises(IntegrityError, match="not deleted"), writing(ledger) as connection:
        connection.execute(text("DELETE FROM preference"))


def test_a_change_of_the_tables_comes_with_a_migration() -> None:
    """Also where both would be changed: ledgers that were upgraded before would be left behind."""
    statements = [
        str(made(element).compile(dialect=sqlite.dialect()))
        for table in metadata.sorted_tables
        for made, element in [
            (CreateTable, table),
            *((CreateIndex, index) for index in sorted(table.indexes, key=lambda it: str(it.name))),
        ]
    ]
    hashed = hashlib.sha256("".join(statements).encode()).hexdigest()
    assert (HEAD, hashed[:12]) == ("0014", "9053e8c6f146"), (
        "add a migration, and write its number and hash"
    )


def test_the_version_is_that_of_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "billing_lib.ledger:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "postgresql://host:port/name",
        "mysql://host/name",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_a_url_that_cannot_be_a_ledger_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(UnreachableLedger, match="check BILLING_DATABASE"):
        open_ledger(url)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////nowhere/at/all/billing.db",
        "postgresql://carol:hunter2@localhost:1/billing?connect_timeout=2",
    ],
)
def test_a_database_that_cannot_be_reached_is_named_without_its_password(url: str) -> None:
    with pytest.raises(BillingError) as refusal:
        initialise(open_ledger(url))
    assert "hunter2" not in str(refusal.value)
    assert "check BILLING_DATABASE" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_no_database_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "billing.db").write_text("record,item,project\n" * 100)
    with pytest.raises(UnreachableLedger, match="not a database"):
        initialise(open_ledger(f"sqlite:///{tmp_path / 'billing.db'}"))


def test_a_failed_transaction_leaves_nothing(ledger: Engine) -> None:
    with pytest.raises(KeyError), writing(ledger) as connection:
        connection.execute(text("INSERT INTO facility VALUES ('RC', 'RC', 'USD', 'UTC')"))
        raise KeyError
    with reading(ledger) as connection:
        assert connection.scalar(text("SELECT count(*) FROM facility")) == 0


def test_the_mark_changes_with_what_is_written_and_not_with_what_is_read(ledger: Engine) -> None:
    with reading(ledger) as connection:
        read_facilities(connection)
    before = change_mark(ledger)
    with reading(ledger) as connection:
        read_facilities(connection)
    assert change_mark(ledger) == before
    with writing(ledger) as connection:
        know_facility(connection, "RC", "Research Computing", "USD", "UTC")
    assert change_mark(ledger) != before


def test_a_reader_sees_one_moment_and_stops_no_writer(ledger: Engine) -> None:
    count = text("SELECT count(*) FROM facility")
    with reading(ledger) as reader:
        assert reader.scalar(count) == 0
        with writing(ledger) as writer:
            writer.execute(text("INSERT INTO facility VALUES ('RC', 'RC', 'USD', 'UTC')"))
        assert reader.scalar(count) == 0
    with reading(ledger) as reader:
        assert reader.scalar(count) == 1


@ON_SQLITE  # PostgreSQL always does
def test_sqlite_checks_what_rows_refer_to(ledger: Engine) -> None:
    with reading(ledger) as connection:
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"


@ON_SQLITE
@pytest.mark.parametrize(("query", "milliseconds"), [("", 60_000), ("?timeout=0.1", 100)])
def test_a_writer_waits_a_minute_or_what_the_url_says(
    ledger: Engine, query: str, milliseconds: int
) -> None:
    engine = open_ledger(f"{ledger.url}{query}")
    with reading(engine) as connection:
        assert connection.scalar(text("PRAGMA busy_timeout")) == milliseconds
    engine.dispose()


@ON_SQLITE  # PostgreSQL locks rows, not files
def test_a_writer_that_waits_too_long_is_told(ledger: Engine) -> None:
    impatient = open_ledger(f"{ledger.url}?timeout=0.1")
    other = sqlite3.connect(str(ledger.url.database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnreachableLedger, match="database is locked"), writing(impatient):
        pass
    other.close()


def test_a_transaction_that_reads_cannot_write(ledger: Engine) -> None:
    added = text("INSERT INTO facility VALUES ('XX', 'XX', 'USD', 'UTC')")
    with pytest.raises((BillingError, InternalError)), reading(ledger) as connection:
        connection.execute(added)
    with writing(ledger) as connection:  # the same connection of the pool writes again
        connection.execute(added)


@pytest.mark.parametrize(
    ("table", "where", "index"),
    [
        ("charge", "period = '2020-04' AND state = 'PENDING'", "ix_charge_facility_period_project"),
        ("charge", "period = '2020-04' AND project = 'p1' AND run IS NULL", "project=?"),
        ("charge", "charge = '57' AND state = 'PENDING'", "charge=?"),
        ("usage_record", "period = '2020-04' AND item = 'scope'", "period=?"),
        ("event", "subject = '57' AND kind = 'adjust'", "subject=?"),
        ("invoice", "period = '2020-04' AND state = 'OPEN'", "period=?"),
    ],
)
@ON_SQLITE
def test_sqlite_reads_a_part_of_a_facility_by_its_index(
    ledger: Engine, table: str, where: str, index: str
) -> None:
    query = f"SELECT * FROM {table} WHERE facility = 'RC' AND {where}"
    with reading(ledger) as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]
    assert len(plan) == 1 and index in plan[0], plan


@pytest.mark.parametrize(
    "order", [[("project", False), ("date", False)], [("date", True)], [("total", True)]]
)
def test_a_page_of_a_month_is_read_from_one_index(
    ledger: Engine, order: list[tuple[str, bool]]
) -> None:
    """Ten months of 200 charges, where the page's keys are looked for in the index alone."""
    numbers = pl.Series("total", range(2_000), pl.Int64)
    rows = pl.DataFrame(numbers).select(
        pl.format("l{}", "total").alias("charge"),
        pl.format("2020-{}", pl.col("total") % 10 + 10).alias("period"),
        pl.format("p{}", pl.col("total") % 7).alias("project"),
        pl.lit(date(2020, 1, 1)).alias("date"),
        *("total", pl.col("total").alias("raw_total"), pl.lit(0, pl.Int64).alias("adjustment")),
    )
    with writing(ledger) as connection:
        know_facility(connection, "RC", "RC", "USD", "UTC")
        same = {"kind": "line", "team": "t", "state": "PENDING"}
        insert_frame(connection, metadata.tables["charge"], rows, facility="RC", **same)
    if ledger.dialect.name == "postgresql":
        with ledger.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text("VACUUM ANALYZE"))
    month = Criteria(
        VisibleRows(("RC",)), facility="RC", period_from="2020-11", period_to="2020-11"
    )
    with reading(ledger) as connection:
        if ledger.dialect.name == "postgresql":  # as in a table of millions
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            connection.execute(text("SET LOCAL enable_bitmapscan = off"))
        page = select_rows(connection, CHARGE_ROWS, month, order, 50, after=("RC", "l901"))
        plan = " ".join(
            str(row[-1])
            for row in connection.exec_driver_sql(
                ("EXPLAIN " if ledger.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN ")
                + str(page.compile(connection, compile_kwargs={"literal_binds": True}))
            )
        )
    index = "ix_charge_facility_period_project_charge_date_total"
    assert f"Index Only Scan using {index}" in plan or f"COVERING INDEX {index}" in plan, plan
    assert "Seq Scan on charge" not in plan and "SCAN charge" not in plan, plan
