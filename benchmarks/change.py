"""Adjusting one charge of a large month, and the statements that issuing sends to the ledger.

    .venv/bin/python benchmarks/change.py            months of ten thousand and of a million
    .venv/bin/python benchmarks/change.py --quick    a tenth of that; writes no results

A month is loaded and rated into SQLite; then single charges are adjusted as staff do it, first with
the charges on no invoice, then with all of them on drafts, which are summed up again. Loading and
rating are not counted. The real log's first month is issued by the workflow's own function, as a
whole and by one project alone.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from common.measure import measure
from common.results import Results
from common.usage import MILLION, price_book, sample, usage_files
from ledger import CACHE, LOG, LOG_BOOK, new_ledger
from sqlalchemy import Engine, event

from billing_lib.batch.issuing import IssuingTerms, issue_month
from billing_lib.ledger import frames
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings
from billing_lib.workflow.adjust import adjust_charge, read_pending
from billing_lib.workflow.approve import make_run
from billing_lib.workflow.load import load_files, read_price_book
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.runs import RunScope, sign_off

MONTH = "2026-03"
LOG_MONTH = Period(1993, 10)
TIMES = 7


class Adjusted(NamedTuple):
    """The seconds of one adjustment, without and with drafts; statements and rows without."""

    seconds: float
    with_drafts: float
    statements: int
    rows: int
    charges: int


class Issued(NamedTuple):
    """The statements that one issuing sent, and its invoices."""

    statements: int
    invoices: int


def main(arguments: list[str]) -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of that")
    chosen = parser.parse_args(arguments)
    large = MILLION // 10 if chosen.quick else MILLION
    found, months = Results("change"), {}
    for records in (large // 100, large):
        made = measure(adjust_some, records)
        months[records] = adjusted = made.result
        for what, seconds in (("", adjusted.seconds), (", on drafts", adjusted.with_drafts)):
            found.row(f"adjust one of {adjusted.charges:,}{what}", 1, seconds, made.peak)
        found.note(
            f"Adjusting one of {adjusted.charges:,} charges on no invoice: {adjusted.statements} "
            f"statements, {adjusted.rows:,} rows read."
        )
    small, big = months[large // 100], months[large]
    found.bar("one adjustment in the large month, seconds", big.seconds, "≤", 1)
    found.bar("as a multiple of the small month", big.seconds / small.seconds, "≤", 2)
    found.bar("with drafts, seconds", big.with_drafts, "≤", 1)
    whole, one = (measure(issue_log, projects).result for projects in ((), ("u4",)))
    found.bar("statements per invoice issued", whole.statements / whole.invoices, "≤", 30)
    found.note(
        f"Issuing the real log's first month: {whole.statements} statements for "
        f"{whole.invoices} invoices; {one.statements} for {one.invoices} alone."
    )
    found.finish(CACHE, written_down=not chosen.quick)


def adjust_some(records: int) -> Adjusted:
    """Adjust a few charges of a rated month."""
    book, path = price_book(), CACHE / f"ledger-{records}.parquet"
    files = usage_files(CACHE / "usage", 1)
    sample(files, records).rename({"record": "id"}).drop("row").write_parquet(path)
    with new_ledger("SQLite") as engine:
        load_files(engine, book, [path], lambda *_: None)
        charges = rate_period(engine, book, Period.parse(MONTH)).charges
        codes = read_pending(engine, book, MONTH, TIMES)["charge"].to_list()
        seconds, told = _adjust(engine, book, codes, "2")
        make_run(engine, book, Period.parse(MONTH), RunScope())
        with_drafts, _ = _adjust(engine, book, codes, "3")
    return Adjusted(seconds, with_drafts, *told, charges)


def _adjust(
    engine: Engine, book: PriceBook, codes: list[str], quantity: str
) -> tuple[float, tuple[int, int]]:
    """The shortest time of adjusting one of these charges, and its statements and rows."""
    taken = []
    for code in codes:
        with counted(engine) as (statements, rows):
            begun = time.perf_counter()
            adjust_charge(engine, book, code, {"quantity": quantity}, "measured")
            taken.append((time.perf_counter() - begun, (len(statements), sum(rows))))
    return min(taken)


def issue_log(projects: tuple[str, ...]) -> Issued:
    """Issue the real log's first month, or these projects of it."""
    book = read_price_book(LOG_BOOK.parent, "RC")
    with new_ledger("SQLite") as engine, tempfile.TemporaryDirectory() as folder:
        settings = Settings(database=str(engine.url), parameters=LOG_BOOK.parent, runs=Path(folder))
        load_files(engine, book, [LOG], lambda *_: None)
        rate_period(engine, book, LOG_MONTH)
        sign_off(engine, book, str(LOG_MONTH))
        with counted(engine) as (statements, _):
            issued = issue_month(
                engine,
                settings,
                book,
                LOG_MONTH,
                RunScope(projects=projects),
                terms=IssuingTerms(allow_dirty=True),
            )
    return Issued(len(statements), len(issued.numbers))


@contextmanager
def counted(engine: Engine) -> Iterator[tuple[list[str], list[int]]]:
    """Collect the statements sent to a SQLite ledger, and the number of rows of each read."""
    statements: list[str] = []
    rows: list[int] = []
    read, many = frames.read_frame, frames._execute_many

    def sent(_: object, __: object, statement: str, *___: object) -> None:
        statements.append(statement)

    def read_frame(*given: Any, **named: Any) -> Any:
        frame = read(*given, **named)
        rows.append(frame.height)
        return frame

    def execute_many(connection: Any, sql: str, stored: Any) -> int:
        statements.append(sql)
        return many(connection, sql, stored)

    event.listen(engine, "before_cursor_execute", sent)
    frames.read_frame, frames._execute_many = read_frame, execute_many
    try:
        yield statements, rows
    finally:
        event.remove(engine, "before_cursor_execute", sent)
        frames.read_frame, frames._execute_many = read, many


if __name__ == "__main__":
    main(sys.argv[1:])
