"""Rating and charging, in charges per second, beside what others do with the same usage.

    .venv/bin/python benchmarks/rate.py                      1, 5 and 25 million records
    .venv/bin/python benchmarks/rate.py --millions 1 5       without the long one
    .venv/bin/python benchmarks/rate.py --quick              a minute, to try it; writes no results

All are measured in one run and compared as ratios, since a machine that others share is not as
fast in every minute. `make bench` sets up what this needs, the peers among it.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from common import tasks
from common.measure import Measured, measure
from common.results import Results
from common.usage import usage_files

ROOT = Path(__file__).parent.parent
CACHE = ROOT / "build" / "bench"
PEERS = ROOT / "build" / "peers" / "bin" / "python"
FLAT, AFTER_HOURS = "ours, flat", "ours, after hours"
BY_HAND, BY_HAND_ALL = "polars by hand, totals", "polars by hand, all columns"
DUCKDB, LOOP, NEMO = "DuckDB SQL, totals", "SQLAlchemy, per record", "NEMO-billing, per record"
TIMES = {1: 5, 5: 3}
"""How often a size is measured within a process; larger ones once."""


def main(arguments: list[str]) -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--millions", type=int, nargs="+", default=[1, 5, 25], metavar="N")
    parser.add_argument("--rounds", type=int, default=2, help="how often all is measured in turn")
    parser.add_argument("--sample", type=int, default=10_000, help="records for the slow peers")
    parser.add_argument("--flat-only", action="store_true", help="leave out after hours")
    parser.add_argument("--quick", action="store_true", help="one million, once, a small sample")
    chosen = parser.parse_args(arguments)
    if chosen.quick:
        chosen.millions, chosen.rounds, chosen.sample = [1], 1, 1_000
    found = Results("rate")
    flat = {
        millions: _fast(found, millions, chosen.rounds, flat_only=chosen.flat_only)
        for millions in sorted(chosen.millions)
    }
    _slow(found, chosen.sample, flat)
    if {1, 25} <= flat.keys():
        growth = flat[25].seconds / (25 * flat[1].seconds)
        found.bar("flat, 25 M records ÷ 25 × 1 M records", growth, "≤", 1.15)
        found.bar("flat, 25 M records, peak memory in GiB", flat[25].peak / 1024, "≤", 6)
    found.finish(CACHE, written_down=not chosen.quick)


def _fast(found: Results, millions: int, rounds: int, *, flat_only: bool) -> Measured:
    """This library and the fast peers on so many million records; gives our flat rate's."""
    files = usage_files(CACHE / "usage", millions)
    wanted = {
        FLAT: tasks.ours,
        BY_HAND: tasks.by_hand,
        BY_HAND_ALL: tasks.by_hand_all_columns,
        DUCKDB: tasks.duckdb_sql,
        AFTER_HOURS: tasks.ours_after_hours,
    }
    if flat_only:
        del wanted[AFTER_HOURS]
    taken: dict[str, Measured] = {}
    for _ in range(rounds):  # in turn, so that a slow minute of the machine meets them all
        for name, task in wanted.items():
            once = measure(task, files, times=TIMES.get(millions, 1))
            taken[name] = once.or_faster(taken[name]) if name in taken else once
    for name, one in taken.items():
        found.row(name, one.result.charges, one.seconds, one.peak)
    _same(taken[name].result for name in (FLAT, BY_HAND, BY_HAND_ALL, DUCKDB))
    flat = taken[FLAT]
    size = f"{millions} M records"
    found.bar(f"flat ÷ by hand, {size}", flat.seconds / taken[BY_HAND].seconds, "≤", 3)
    if AFTER_HOURS in taken:
        late = taken[AFTER_HOURS].seconds
        found.bar(f"after hours ÷ flat, {size}", late / flat.seconds, "≤", 3)
    return flat


def _slow(found: Results, records: int, flat: dict[int, Measured]) -> None:
    """The peers that take one record at a time, on a sample."""
    files = usage_files(CACHE / "usage", 1)
    speed = max(one.result.charges / one.seconds for one in flat.values())
    loop = measure(tasks.loop, files, records, CACHE)
    found.row(LOOP, records, loop.seconds, loop.peak)
    _same([loop.result, measure(tasks.ours_sample, files, records).result])
    nemo = tasks.nemo(files, records, CACHE, PEERS, 3)
    found.row(NEMO, nemo.charges, nemo.seconds, nemo.peak)
    found.note(
        f"NEMO-billing: {nemo.equal:,} of {nemo.charges:,} charges are the same to the cent, "
        f"{nemo.a_cent_more:,} a cent more: it divides minutes by 60 to 28 digits and rounds up "
        f"to the next cent. Of the {nemo.even:,} sessions whose minutes three divides, where the "
        f"division is exact, {nemo.even_equal:,} are the same."
    )
    if nemo.equal + nemo.a_cent_more != nemo.charges or nemo.even_equal != nemo.even:
        raise SystemExit("NEMO-billing's charges differ otherwise than by its rounding up")
    found.bar("flat ÷ per-record loop, charges/s", speed * loop.seconds / records, "≥", 500)
    found.bar("flat ÷ NEMO-billing, charges/s", speed * nemo.seconds / nemo.charges, "≥", 500)


def _same(priced: Iterable[tasks.Priced]) -> None:
    totals = set(priced)
    if len(totals) != 1:
        raise SystemExit(f"the charges and totals are not the same: {totals}")


if __name__ == "__main__":
    main(sys.argv[1:])
