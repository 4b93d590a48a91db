"""References of tables with millions of rows: foreign keys on SQLite, triggers on PostgreSQL.

Each refusal is one that the foreign keys of both databases had before; the races are those that a
foreign key's lock on the row which it refers to decides.
"""

import threading
from collections.abc import Callable

import polars as pl
import pytest
from april import three_charges, usage_records
from dialects import ON_POSTGRESQL
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

from billing_lib.ledger import charges, frames, triggers, usage
from billing_lib.ledger.database import writing
from billing_lib.ledger.events import record_event
from billing_lib.ledger.schema import charge_split

SPLIT = "INSERT INTO charge_split VALUES ('RC', '{}', 7, '370-9', 0, 0)"
PRICED, SPLITS = three_charges()


def add_split_to(code: str) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(text(SPLIT.format(code)))


def add_charge_of(record: str) -> Callable[[Connection], object]:
    priced = PRICED.head(1).with_columns(charge=pl.lit(record), record=pl.lit(record))
    return lambda connection: charges.insert_charges(connection, "RC", priced, SPLITS.clear())


def add_usage_of(connection: Connection) -> None:
    record_event(connection, "RC", "load", "none", "")
    usage.insert_usage(connection, "RC", "none", usage_records(("u9", "slide", "p1", "2")))


@pytest.mark.parametrize(
    "write", [add_split_to("u9"), add_charge_of("u9"), add_usage_of], ids=("split", "charge", "use")
)
def test_what_refers_to_nothing_is_refused(
    rated: Engine, write: Callable[[Connection], object]
) -> None:
    refused = "FOREIGN KEY" if rated.dialect.name == "sqlite" else "refers to a missing"
    with pytest.raises(IntegrityError, match=refused), writing(rated) as connection:
        write(connection)


def test_one_among_many_that_refers_to_nothing_is_refused(rated: Engine) -> None:
    known = SPLITS.head(1).join(pl.DataFrame({"at": range(10, 2_000)}), how="cross")
    known = known.with_columns(position=pl.col("at").cast(pl.Int32)).drop("at")
    lost = known.with_columns(
        charge=pl.when(pl.col("position") == 1_500).then(pl.lit("u9")).otherwise("charge")
    )
    with pytest.raises(IntegrityError), writing(rated) as connection:
        frames.insert_frame(connection, charge_split, lost, facility="RC")
    with writing(rated) as connection:
        frames.insert_frame(connection, charge_split, known, facility="RC")
        charges.delete_charges(connection, "RC", pl.Series(["u1"]))
        assert charges.read_splits(connection, "RC")["charge"].to_list() == ["u2", "u3"]


def test_a_row_that_refers_to_a_part_of_a_key_refers_to_nothing(rated: Engine) -> None:
    """An added line has no usage record."""
    line = PRICED.head(1).with_columns(
        charge=pl.lit("line-1"), kind=pl.lit("line"), record=None, occurrence=None
    )
    with writing(rated) as connection:
        assert charges.insert_charges(connection, "RC", line, SPLITS.clear()) == 1


@ON_POSTGRESQL
def test_guards_are_not_put_on_tables_whose_rows_refer_to_nothing(rated: Engine) -> None:
    """As where a copy of a damaged ledger is made."""
    refused = pytest.raises(IntegrityError, match="charge_split refers to a missing charge")
    with refused, writing(rated) as connection:
        triggers.remove(connection)
        add_split_to("u9")(connection)
        triggers.install(connection)


def in_the_meantime(ledger: Engine, write: Callable[[Connection], object]) -> threading.Thread:
    """A thread that writes in a transaction of its own, and waits for others."""

    def run() -> None:
        try:
            with writing(ledger) as connection:
                write(connection)
        except IntegrityError:
            pass

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive(), "it waits"
    return thread


def delete_u3(connection: Connection) -> None:
    charges.delete_charges(connection, "RC", pl.Series(["u3"]))


@ON_POSTGRESQL
@pytest.mark.parametrize("first", [add_split_to("u3"), delete_u3], ids=["added", "deleted"])
def test_a_split_and_the_deletion_of_its_charge_wait_for_each_other(
    rated: Engine, first: Callable[[Connection], object]
) -> None:
    second = add_split_to("u3") if first is delete_u3 else delete_u3
    with writing(rated) as connection:
        first(connection)
        waiting = in_the_meantime(rated, second)
    waiting.join()
    with writing(rated) as connection:
        assert charges.read_charges(connection, "RC")["charge"].to_list() == ["u1", "u2"]
        assert "u3" not in charges.read_splits(connection, "RC")["charge"]
        left = connection.scalar(text("SELECT count(*) FROM charge_split WHERE charge = 'u3'"))
        assert left == 0
