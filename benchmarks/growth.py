"""A ledger that grows: whether the last month is entered as fast as the first, and its size.

    .venv/bin/python benchmarks/growth.py                                        3 x 200,000
    .venv/bin/python benchmarks/growth.py --facilities 10 --records 1000000      10 million
    .venv/bin/python benchmarks/growth.py --quick                                2 x 20,000

Each facility loads and rates one month into the same PostgreSQL, with its settings as they come.
Then the first page of a facility's charges is read, and the sizes of the tables with their indexes.
"""

import argparse
import sys
import time

from common.results import Results
from common.usage import MILLION, price_book_text, sample, usage_files
from ledger import CACHE, new_ledger
from sqlalchemy import text

from billing_lib.ledger import charges
from billing_lib.ledger.database import reading
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period

MARCH = "2026-03"
SIZES = """
SELECT relname, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
ORDER BY pg_total_relation_size(oid) DESC LIMIT 6
"""


def main(arguments: list[str]) -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--facilities", type=int, default=3)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--quick", action="store_true", help="2 facilities of 20,000")
    chosen = parser.parse_args(arguments)
    facilities, records = (2, 20_000) if chosen.quick else (chosen.facilities, chosen.records)
    path = CACHE / f"growth-{records}.parquet"
    files = usage_files(CACHE / "usage", 1 + (records - 1) // MILLION)
    sample(files, records).rename({"record": "id"}).drop("row").write_parquet(path)
    found, taken = Results("growth"), []
    own = PriceBook.parse(price_book_text(), "benchmark.yml").facility.code
    with new_ledger("PostgreSQL") as engine:
        for number in range(1, facilities + 1):
            code = f"G{number:02d}"
            book = PriceBook.parse(price_book_text().replace(own, code), f"{code}.yml")
            began = time.perf_counter()
            load_files(engine, book, [path], lambda *_: None)
            rated = rate_period(engine, book, Period.parse(MARCH))
            taken.append(time.perf_counter() - began)
            found.row(f"load and rate, month {number}", rated.charges, taken[-1], 0)
        with engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))
        began = time.perf_counter()
        with reading(engine) as connection:
            few = charges.read_charges(connection, "G01", period=MARCH).height
        found.row("read a month's charges", few, time.perf_counter() - began, 0)
        with reading(engine) as connection:
            sizes = connection.execute(text(SIZES)).all()
    rows = facilities * records
    for name, table, indexes in sizes:
        found.note(
            f"{name}: {table / rows:,.0f} bytes per record in the table, {indexes / rows:,.0f} in "
            "its indexes."
        )
    found.bar("the last month ÷ the first", taken[-1] / taken[0], "≤", 1.5)
    found.finish(CACHE, written_down=not chosen.quick)


if __name__ == "__main__":
    main(sys.argv[1:])
