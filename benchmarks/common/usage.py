"""Usage to measure with: a facility's month, made from a seed, in Parquet files of a million.

    record      item        project  user  start                end                  units
    j000000001  core-hour   p017     u203  2026-03-02 10:14:31  2026-03-02 16:02:11  64
    j000000002  scope-3     p004     u051  2026-03-05 09:10:00  2026-03-05 11:40:00  1

Seven records in ten are HPC-like: core-hours, timed to the second, on 1 to 512 processors. The
rest are sessions on instruments, minutes to days, timed to the minute. Prices of instruments
are whole cents a minute, so that a peer that rounds otherwise must find the same totals.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from billing_lib.pricing.fields import USAGE
from billing_lib.pricing.pricebook import PriceBook

MILLION = 1_000_000
INSTRUMENTS = 60
PROJECTS = 200
GROUPS = ("internal", "partner", "industry")
_SPLITS = (("100",), ("100",), ("60", "40"), ("33.3333", "33.3333", "33.3334"))
_CENTS_A_MINUTE = {"internal": 45, "partner": 68, "industry": 150}
_CORE_HOUR = {"internal": "0.012", "partner": "0.0185", "industry": "0.042"}
_MINIMUM = {"industry": "10.00"}


def price_book(*, after_hours: bool = False) -> PriceBook:
    """The facility's price book: one rate per item and group, flat or with after hours."""
    return PriceBook.parse(price_book_text(after_hours=after_hours), "benchmark.yml")


def usage_files(folder: Path, millions: int) -> list[Path]:
    """As many Parquet files of a million records each; made where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_made(folder / f"usage-{part:02d}.parquet", part) for part in range(millions)]


def sample(files: list[Path], records: int, *, instruments_only: bool = False) -> pl.DataFrame:
    """The first records of the first file, as they stand there."""
    scan = pl.scan_parquet(files[0])
    if instruments_only:
        scan = scan.filter(pl.col("item") != "core-hour")
    return scan.head(records).collect()


def usage_chunks(files: list[Path], size: int) -> Iterator[pl.LazyFrame]:
    """Records in chunks of ``size``, file after file, each read when it is collected."""
    for path in files:
        records = pl.scan_parquet(path)
        for first in range(0, MILLION, size):
            yield records.slice(first, size)


def usage_frame(records: pl.DataFrame) -> pl.DataFrame:
    """Records of these files as a usage frame (schema USAGE)."""
    known = {"occurrence": pl.lit(1), "file": pl.lit("usage.parquet")}
    known |= {name: pl.col(name) for name in records.columns}
    return records.select(
        known.get(name, pl.lit(None)).cast(dtype).alias(name) for name, dtype in USAGE.items()
    )


def _made(path: Path, part: int) -> Path:
    if not path.exists():
        unfinished = path.with_suffix(".part")
        _records(part).write_parquet(unfinished, row_group_size=250_000)
        unfinished.rename(path)
    return path


def _records(part: int) -> pl.DataFrame:
    random = np.random.default_rng([7, part])
    first = part * MILLION
    job = random.random(MILLION) < 0.7
    month = int(np.datetime64("2026-03-01T05:00:00", "s").astype(np.int64))
    start = month + random.integers(0, 25 * 86_400, MILLION)
    seconds = np.minimum(random.lognormal(7.5, 1.6, MILLION), 5 * 86_400).astype(np.int64) + 1
    minutes = np.minimum(random.lognormal(4.6, 1.1, MILLION), 5 * 1_440).astype(np.int64) + 1
    start = np.where(job, start, start // 60 * 60)
    elapsed = np.where(job, seconds, minutes * 60)
    units = np.where(job, 1 << random.integers(0, 10, MILLION), 1)
    instrument = random.integers(1, INSTRUMENTS + 1, MILLION)
    return pl.DataFrame(
        {
            "row": np.arange(first + 1, first + MILLION + 1),
            "item": np.where(job, 0, instrument),
            "project": random.integers(0, PROJECTS, MILLION),
            "user": random.integers(0, 4 * PROJECTS, MILLION),
            "start": start,
            "end": start + elapsed,
            "units": units.astype(np.int32),
        }
    ).select(
        pl.format("j{}", pl.col("row").cast(pl.String).str.zfill(9)).alias("record"),
        pl.when(pl.col("item") == 0)
        .then(pl.lit("core-hour"))
        .otherwise(pl.format("scope-{}", "item"))
        .alias("item"),
        pl.format("p{}", pl.col("project").cast(pl.String).str.zfill(3)).alias("project"),
        pl.format("u{}", pl.col("user").cast(pl.String).str.zfill(3)).alias("user"),
        *(
            pl.from_epoch(name, "s").dt.cast_time_unit("us").dt.replace_time_zone("UTC")
            for name in ("start", "end")
        ),
        "units",
        "row",
    )


def price_book_text(*, after_hours: bool = False) -> str:
    """The same as YAML."""
    items = ["core-hour", *(f"scope-{number}" for number in range(1, INSTRUMENTS + 1))]
    lines = [
        "facility: {code: RC, name: Research Computing, currency: USD, timezone: America/New_York}"
    ]
    if after_hours:
        lines.append("resources:")
        lines += [
            f'  - {{code: {item}, business_hours: {{mon-fri: "08:00-18:00", sat: "10:00-14:00"}}, '
            "holidays: [2026-03-17, 2026-03-31]}"
            for item in items
        ]
    lines.append("items:")
    for item in items:
        resource = f", resource: {item}" if after_hours else ""
        shared = ", shared: true" if item == items[0] else ""
        lines.append(f"  - {{code: {item}, name: {item}, unit: hour{resource}{shared}}}")
    lines.append("rates:")
    lines += [
        _rate_line(number, item, group, after_hours=after_hours)
        for number, item in enumerate(items)
        for group in GROUPS
    ]
    lines.append("project_types:")
    lines += [f"  - {{code: {group}, rate_group: {group}}}" for group in GROUPS]
    lines.append("teams:")
    lines += [
        f"  - {{code: t{team}, name: Team {team}, administrators: [t{team}@example.edu]}}"
        for team in range(PROJECTS // 5)
    ]
    lines.append("projects:")
    lines += [_project_line(number) for number in range(PROJECTS)]
    return "\n".join(lines) + "\n"


def group_of(number: int) -> str:
    """The rate group of a project by its number."""
    return GROUPS[number % len(GROUPS)]


def price_of(number: int, group: str) -> str:
    """The price of an hour of an item by its number, 0 for core-hours."""
    if number == 0:
        return _CORE_HOUR[group]
    cents = 60 * (_CENTS_A_MINUTE[group] + number)
    return f"{cents // 100}.{cents % 100:02d}"


def minimum_of(number: int, group: str) -> str | None:
    """The least that a charge for the item comes to, if the group has one."""
    return _MINIMUM.get(group) if number else None


def _rate_line(number: int, item: str, group: str, *, after_hours: bool) -> str:
    price, minimum = price_of(number, group), minimum_of(number, group)
    after = f', after_hours: "{float(price) / 2:.6f}"' if after_hours else ""
    least = f', minimum: "{minimum}"' if minimum else ""
    return (
        f'  - {{item: {item}, group: {group}, price: "{price}"{after}{least}, '
        "valid_from: 2026-01-01, valid_to: 2026-12-31}"
    )


def _project_line(number: int) -> str:
    shares = ", ".join(
        f'{{expense_code: "{370 + place}-{number:04d}", percent: "{percent}"}}'
        for place, percent in enumerate(_SPLITS[number % len(_SPLITS)])
    )
    return (
        f"  - {{code: p{number:03d}, team: t{number // 5}, type: {group_of(number)}, "
        f"split: [{shares}]}}"
    )
