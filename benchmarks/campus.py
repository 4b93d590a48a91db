"""A campus of facilities issued month by month: on one machine, and over Dask workers that die.

    .venv/bin/python benchmarks/campus.py                                8 facilities, 2 months
    .venv/bin/python benchmarks/campus.py --facilities 60 --months 12    a campus's year: hours
    .venv/bin/python benchmarks/campus.py --quick                        3 facilities, 1 month

Each facility has five projects and forty records a month. The same months are issued twice, each
time into a new PostgreSQL and a new archive: by processes of this machine, one per core, and by
Dask workers of which one is killed as soon as a quarter is done. Both must end with the same
invoices, each once and without a gap in the numbers.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from common.results import Results
from distributed import Client, LocalCluster
from ledger import CACHE, new_ledger
from sqlalchemy import Engine

from billing_lib.batch.issuing import IssuingTerms
from billing_lib.batch.month import issue_all
from billing_lib.batch.workers import dask_workers
from billing_lib.ledger import invoices
from billing_lib.ledger.database import reading
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period

TERMS = IssuingTerms(allow_dirty=True)
PROJECTS = 5
BOOK = """
facility:
  {{code: {code}, name: Facility {code}, currency: USD, timezone: UTC, country: US,
   fiscal_year_start: 1, issue: scheduled, instructions: None., contacts: office@example.edu}}
items: [{{code: slide, name: Slide, unit: each}}]
rates: [{{item: slide, group: internal, price: "1.25"}}]
project_types: [{{code: faculty, rate_group: internal}}]
teams: [{{code: lab, name: Lab, administrators: [lab@example.edu]}}]
projects:
"""
PROJECT = """  - code: p{number}
    team: lab
    type: faculty
    split: [{{expense_code: A, percent: "100"}}]
"""


def main(arguments: list[str]) -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--facilities", type=int, default=8)
    parser.add_argument("--months", type=int, default=2)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="3 facilities, 1 month")
    chosen = parser.parse_args(arguments)
    facilities, months = (3, 1) if chosen.quick else (chosen.facilities, chosen.months)
    codes = [f"F{number:02d}" for number in range(1, facilities + 1)]
    periods = [Period(2025, number) for number in range(1, months + 1)]
    found, size = Results("campus"), facilities * months
    alone = campus(codes, periods, None)
    found.row("one machine, a process per core", size, alone, 0)
    over = campus(codes, periods, chosen.workers)
    found.row(f"{chosen.workers} Dask workers, one killed", size, over, 0)
    found.note(
        f"Records are issuings: {facilities} facilities, {months} months, {os.cpu_count()} cores; "
        "workers share these cores."
    )
    found.finish(CACHE, written_down=not chosen.quick)


def campus(codes: list[str], periods: list[Period], workers: int | None) -> float:
    """Load, rate and issue the months; the seconds of issuing."""
    with (
        tempfile.TemporaryDirectory(prefix="billing-bench-") as folder,
        new_ledger("PostgreSQL") as engine,
    ):
        url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        here = Settings(
            database=url, runs=Path(folder) / "runs", parameters=Path(folder) / "parameters"
        )
        enter(engine, codes, periods, Path(folder))
        os.environ |= {
            "BILLING_DATABASE": url,
            "BILLING_RUNS": str(here.runs),
            "BILLING_PARAMETERS": str(here.parameters),
        }
        began = time.perf_counter()
        if workers is None:
            done = issue_all(engine, here, periods, terms=TERMS)
        else:
            with LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
            ) as cluster:
                address = cluster.scheduler_address
                done = issue_all(
                    engine,
                    here,
                    periods,
                    terms=TERMS,
                    workers=partial(dask_workers, None, address),
                    step=partial(kill_one, address, len(codes) * len(periods) // 4 or 1),
                )
        seconds = time.perf_counter() - began
        if done.failed:
            raise RuntimeError([outcome.sentences for outcome in done.facilities if outcome.failed])
        check(engine, codes, periods)
    return seconds


def enter(engine: Engine, codes: list[str], periods: list[Period], folder: Path) -> None:
    """Load and rate forty records of each facility and month."""
    (folder / "parameters").mkdir()
    projects = "".join(PROJECT.format(number=number) for number in range(PROJECTS))
    rows = "".join(
        f"{period}-{number},slide,p{number % PROJECTS},ann,{period}-{number % 28 + 1:02d},1\n"
        for period in periods
        for number in range(1, 41)
    )
    usage = folder / "usage.csv"
    usage.write_text(f"id,item,project,user,date,quantity\n{rows}")
    for code in codes:
        text = BOOK.format(code=code) + projects
        (folder / "parameters" / f"{code}.yml").write_text(text)
        book = PriceBook.parse(text, f"{code}.yml")
        load_files(engine, book, [usage], lambda *_: None)
        for period in periods:
            rate_period(engine, book, period)


def kill_one(address: str, at: int, done: int, total: int, what: str) -> None:
    """Kill a worker when so many issuings are done."""
    if done == at:
        with Client(address, set_as_default=False) as client:
            process = next(iter(client.run(os.getpid).values()))
        os.kill(process, signal.SIGKILL)
        print(f"killed a worker when {done} of {total} were done, the last {what}")


def check(engine: Engine, codes: list[str], periods: list[Period]) -> None:
    """Stop unless each project has each month once, by numbers without a gap."""
    with reading(engine) as connection:
        issued = invoices.read_issued(connection)
    for code in codes:
        own = issued.filter(facility=code)
        count = PROJECTS * len(periods)
        expected = [f"{number:05d}" for number in range(1, count + 1)]
        if (
            sorted(own["number"].str.tail(5)) != expected
            or own["period", "project"].is_duplicated().any()
        ):
            raise RuntimeError(f"the invoices of {code} are {sorted(own['number'])}")


if __name__ == "__main__":
    main(sys.argv[1:])
