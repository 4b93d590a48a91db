"""Issuing a large month: from usage in a file to the record in the archive, beside polars by hand.

    .venv/bin/python benchmarks/issue.py            a grid's month of 185,597 charges for 28
                                                    projects; then ten thousand charges for 3,
                                                    100,000 for 30, a million for 300, and five
                                                    million for 1,500: half an hour in all
    .venv/bin/python benchmarks/issue.py --most N   no month of more than N charges
    .venv/bin/python benchmarks/issue.py --quick    a tenth of the first; writes no results

The months are made from a seed (``grid_month``): as in the log of a grid a few projects have most
of the jobs, a project has a handful of users, and a user's jobs come in bursts. Loading and rating
run in one process, issuing in another, as the commands do; its memory is that of all its processes
together, shared pages counted once. The records of up to a million charges are reproduced. Months
of less than a million are measured three times, and the best of each stage counts. The peer
prices the same file by one polars query, groups it to the same lines, and writes each project's
charges as CSV and Parquet: no ledger, no documents, no record.
"""

import argparse
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import psutil
from common.measure import measure
from common.results import Results
from ledger import CACHE

from billing_lib.audit.reproduce import reproduce
from billing_lib.batch.issuing import IssuingTerms, issue_month
from billing_lib.ledger.database import initialise, open_ledger
from billing_lib.pricing.clock import Period
from billing_lib.settings import Settings
from billing_lib.workflow.load import load_files, read_price_book
from billing_lib.workflow.rate import rate_period

MARCH = Period(2026, 3)
GRID, MILLION, LARGEST = (185_597, 28), (1_000_000, 300), (5_000_000, 1_500)
GROWING = ((10_000, 3), (100_000, 30), MILLION, LARGEST)
"""Charges and projects."""
_ITEMS = {"core-hour": "0.012", "gpu-hour": "0.85", "large-memory-hour": "0.03"}


class Stages(NamedTuple):
    """Seconds of loading, rating, issuing and reproducing (None if it was not); MiB at the most
    while issuing, of the record, and of its invoices, details and documents."""

    load: float
    rate: float
    issue: float
    reproduce: float | None
    peak: float
    record: float
    documents: float
    total: int


def main(arguments: list[str]) -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the grid's month")
    parser.add_argument("--most", type=int, default=LARGEST[0], metavar="N")
    chosen = parser.parse_args(arguments)
    found = Results("issue")
    charges, projects = GRID
    grid = month(found, charges // 10 if chosen.quick else charges, projects, grid=True)
    found.bar("the grid's month, issuing as a multiple of load", grid.issue / grid.load, "≤", 8)
    found.bar("the grid's month, GiB while issuing", grid.peak / 1024, "≤", 2)
    if not chosen.quick:
        sizes = [size for size in GROWING if size[0] <= chosen.most]
        grown = {size: month(found, *size, grid=False) for size in sizes}
        if MILLION in grown:
            stages = grown[MILLION]
            whole = stages.load + stages.rate + stages.issue
            found.bar("a million charges, from file to record, seconds", whole, "≤", 240)
            found.bar("a million charges, GiB while issuing", stages.peak / 1024, "≤", 3)
        if LARGEST in grown:
            found.bar(
                "five million, memory as a multiple of a million's",
                grown[LARGEST].peak / grown[MILLION].peak,
                "<",
                5,
            )
    found.finish(CACHE, written_down=not chosen.quick)


def month(found: Results, charges: int, projects: int, *, grid: bool) -> Stages:
    """Measure a month, and the peer on the same file."""
    with tempfile.TemporaryDirectory(prefix="billing-bench-") as folder:
        usage = Path(folder) / "usage.parquet"
        grid_month(charges, projects, grid=grid).write_parquet(usage)
        rounds = 1 if charges >= MILLION[0] else 3
        stages = best([site_of(Path(folder) / str(it), usage, projects) for it in range(rounds)])
        for name in ("load", "rate", "issue", "reproduce"):
            seconds = getattr(stages, name)
            if seconds is not None:
                peak = stages.peak if name == "issue" else 0
                found.row(f"{name}, {projects:,} projects", charges, seconds, peak)
        peer = measure(by_hand, usage, Path(folder) / "by-hand")
        found.row(f"polars by hand, {projects:,} projects", charges, peer.seconds, peer.peak)
        if peer.result != stages.total:
            raise SystemExit(f"the peer's total is {peer.result}, not {stages.total}")
        size = usage.stat().st_size / 2**20
        besides = stages.record - stages.documents
        found.note(
            f"{charges:,} charges: a record of {stages.record:.1f} MiB, of which invoices, details "
            f"and documents {stages.documents:.1f}; from {size:.1f} MiB of usage as Parquet."
        )
        if charges >= GRID[0]:
            found.bar(f"{charges:,} charges, the record besides ÷ usage", besides / size, "≤", 3)
            if stages.reproduce is not None:
                ratio = stages.reproduce / stages.issue
                found.bar(f"{charges:,} charges, reproduce ÷ issue", ratio, "≤", 1)
    return stages


def site_of(site: Path, usage: Path, projects: int) -> Stages:
    """Measure a site of its own, which is removed then; the largest is not reproduced."""
    load, rate = measure(prepared_site, site, usage, projects).result
    stages: Stages = measure(issued_site, site, load, rate, projects != LARGEST[1]).result
    shutil.rmtree(site)
    return stages


def best(tried: list[Stages]) -> Stages:
    """The least seconds of each stage, and the most memory."""
    first, *further = tried
    for each in further:
        first = first._replace(
            load=min(first.load, each.load),
            rate=min(first.rate, each.rate),
            issue=min(first.issue, each.issue),
            reproduce=min(first.reproduce or 0, each.reproduce or 0),
            peak=max(first.peak, each.peak),
        )
    return first


def grid_month(charges: int, projects: int, *, grid: bool) -> pl.DataFrame:
    """The usage of a month, by start: the larger a project, the more users it has.

    On a grid they are few: its own log has some 870 lines, of 28 projects.
    """
    random = np.random.default_rng([15, charges])
    weights = 1 / np.arange(1, projects + 1) ** (1.1 if grid else 0.6)
    project = random.choice(projects, charges, p=weights / weights.sum())
    users = np.maximum(2 if grid else 4, (12 * weights / weights[0]).astype(np.int64))
    user = random.integers(0, users[project])
    day = (project * 7 + user * 11 + random.integers(0, 8 if grid else 12, charges) * 7) % 30
    start = int(np.datetime64("2026-03-01T05:00:00", "s").astype(np.int64)) + day * 86_400
    start = start + random.integers(0, 86_400, charges)
    seconds = np.minimum(random.lognormal(6.5, 1.6, charges), 86_400).astype(np.int64) + 1
    item = np.where(random.random(charges) < 0.97, 0, (project + user) % 2 + 1)
    start = np.minimum(start, int(np.datetime64("2026-03-30T20:00:00", "s").astype(np.int64)))
    return pl.DataFrame(
        {
            "id": [f"j{at:09d}" for at in range(charges)],
            "item": np.array(list(_ITEMS))[item],
            "project": project,
            "user": user,
            "start": start,
            "end": start + seconds,
            "units": (1 << random.integers(0, 7, charges)).astype(np.int32),
        }
    ).with_columns(
        pl.format("p{}", pl.col("project").cast(pl.String).str.zfill(3)).alias("project"),
        pl.format("u{}-{}", "project", "user").alias("user"),
        *(
            pl.from_epoch(name, "s").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
            for name in ("start", "end")
        ),
    )


def price_book_text(projects: int) -> str:
    """The grid's price book: three items, projects of which every third has two expense codes."""
    lines = [
        "facility: {code: RC, name: Research Computing, currency: USD, country: US,",
        "  timezone: America/New_York, issue: scheduled, crossing: whole}",
        "items:",
        *(f"  - {{code: {item}, name: {item}, unit: hour, shared: true}}" for item in _ITEMS),
        "rates:",
        *(f'  - {{item: {it}, group: internal, price: "{price}"}}' for it, price in _ITEMS.items()),
        "project_types: [{code: faculty, rate_group: internal}]",
        "teams:",
        *(f"  - {{code: t{at}, name: Team {at}}}" for at in range(projects)),
        "projects:",
    ]
    for at in range(projects):
        shares = [("370", "100")] if at % 3 else [("370", "60"), ("371", "40")]
        split = ", ".join(
            f'{{expense_code: "{code}-{at:03d}", percent: "{share}"}}' for code, share in shares
        )
        lines.append(f"  - {{code: p{at:03d}, team: t{at}, type: faculty, split: [{split}]}}")
    return "\n".join(lines) + "\n"


def prepared_site(site: Path, usage: Path, projects: int) -> tuple[float, float]:
    """Make a site, load and rate the usage; the seconds of both."""
    (site / "parameters").mkdir(parents=True)
    (site / "parameters" / "rc.yml").write_text(price_book_text(projects))
    book = read_price_book(site / "parameters", "RC")
    engine = open_ledger(f"sqlite:///{site / 'billing.db'}")
    initialise(engine)
    begun = time.perf_counter()
    load_files(engine, book, [usage], lambda *_: None)
    loaded = time.perf_counter()
    rate_period(engine, book, MARCH)
    return loaded - begun, time.perf_counter() - loaded


def issued_site(site: Path, load: float, rate: float, again: bool) -> Stages:
    """Issue the site's month, and reproduce it ``again``."""
    database = f"sqlite:///{site / 'billing.db'}"
    parameters = site / "parameters"
    settings = Settings(database=database, parameters=parameters, runs=site / "runs")
    begun = time.perf_counter()
    with watched_memory() as peak:
        issued = issue_month(
            open_ledger(database),
            settings,
            read_price_book(parameters, "RC"),
            MARCH,
            terms=IssuingTerms(allow_dirty=True),
            step=_say,
        )
    issue, reproduced = time.perf_counter() - begun, None
    if again:
        begun = time.perf_counter()
        reproduction = reproduce(issued.record, accept_changes=True)
        reproduced = time.perf_counter() - begun
        if reproduction.differences:
            raise RuntimeError(reproduction.differences[0])
    files = [path for path in issued.record.rglob("*") if path.is_file()]
    record, documents = (
        sum(path.stat().st_size for path in listed) / 2**20
        for listed in (
            files,
            [it for it in files if it.parent.name in ("invoices", "documents")],
        )
    )
    return Stages(load, rate, issue, reproduced, max(peak), record, documents, issued.total)


def _say(done: int, _: int, what: str) -> None:
    print(f"  {time.perf_counter():.1f} s: {what}", file=sys.stderr)


@contextmanager
def watched_memory() -> Iterator[list[float]]:
    """Note the memory of this process and those it started, MiB, five times a second."""
    noted, ended = [0.0], threading.Event()

    def watch() -> None:
        this = psutil.Process()
        while not ended.wait(0.2):
            noted.append(sum(map(_mib, [this, *this.children(recursive=True)])))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield noted
    finally:
        ended.set()
        thread.join()


def _mib(process: psutil.Process) -> float:
    """A process's own memory and its part of what it shares, MiB; 0 if it has ended."""
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return int(text.split("Pss:", 1)[1].split()[0]) / 1024 if "Pss:" in text else 0


def by_hand(usage: Path, folder: Path) -> int:
    """Price, group and write by polars alone; the total in cents."""
    folder.mkdir()
    prices = pl.DataFrame({"item": list(_ITEMS), "price": list(_ITEMS.values())})
    millionths = pl.col("price").str.to_decimal(scale=6).cast(pl.Decimal(38, 6)) * 1_000_000
    per_cent = 3_600 * 10_000
    exact = (pl.col("end") - pl.col("start")).dt.total_seconds() * pl.col("units")
    charges = (
        pl.read_parquet(usage)
        .join(prices.with_columns(millionths.cast(pl.Int64)), on="item")
        .with_columns(
            total=(exact * pl.col("price") + per_cent // 2) // per_cent,
            day=pl.col("start").dt.convert_time_zone("America/New_York").dt.date(),
        )
        .sort("project", "day", "start", "id")
    )
    lines = charges.group_by("project", "day", "user", "item", maintain_order=True).agg(
        pl.len(), pl.col("total").sum()
    )
    lines.write_csv(folder / "lines.csv")
    for (project,), part in charges.group_by("project", maintain_order=True):
        part.write_csv(folder / f"{project}.csv")
        part.write_parquet(folder / f"{project}.parquet")
    return int(lines["total"].sum())


if __name__ == "__main__":
    main(sys.argv[1:])
