"""Results: kept as JSON by each benchmark, written down together as a table and a picture.

build/bench/rate.json ┐
build/bench/ledger.json ┴→ benchmarks/RESULTS.md, benchmarks/results.svg, benchmarks/size.svg
"""

import datetime as dt
import json
import operator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from common.measure import BUSY, machine

FOLDER = Path(__file__).parent.parent
SHOWN_PACKAGES = ("polars", "duckdb", "sqlalchemy", "psycopg")
PEERS = ("nemo", "nemo-billing", "django")
_OF_RECORDS = ("rate", "ledger")
"""The benchmarks that price records or write them, whose speeds are drawn."""

_COMPARED = {"<": operator.lt, "≤": operator.le, "≥": operator.ge}
_TITLES = {
    "rate": "Rating and charging",
    "ledger": "Into the ledger",
    "review": "Reviewing a month",
    "pages": "Opening pages",
    "change": "Adjusting and issuing",
    "documents": "The documents of a month",
    "start": "Starting commands",
    "issue": "From usage to the record",
    "campus": "A campus of facilities",
    "growth": "A ledger that grows",
    "verify": "Verifying records",
}


@dataclass
class Results:
    """What one benchmark measured: rows, the bars they are held to, and remarks."""

    benchmark: str
    rows: list[dict[str, str | float]] = field(default_factory=list)
    bars: list[dict[str, str | float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def row(self, what: str, records: int, seconds: float, peak: float) -> None:
        """Note a measurement (peak memory in MiB), and print it."""
        self.rows.append({"what": what, "records": records, "seconds": seconds, "peak": peak})
        speed = records / seconds
        print(f"{what:32} {records:>12,} {seconds:>10.3f} s {speed:>14,.0f}/s {peak:>8,.0f} MiB")

    def bar(self, what: str, measured: float, relation: str, bound: float) -> None:
        """Note a bar and whether it is met, and print it."""
        met = "met" if _COMPARED[relation](measured, bound) else "not met"
        self.bars.append(
            {"what": what, "measured": measured, "bar": f"{relation} {bound:g}", "met": met}
        )
        print(f"{what:48} {measured:>10,.2f}  {relation} {bound:g}: {met}")

    def note(self, sentence: str) -> None:
        """Note a remark, and print it."""
        self.notes.append(sentence)
        print(sentence)

    def finish(self, cache: Path, *, written_down: bool) -> None:
        """Keep the results, and write all that are kept to RESULTS.md unless told not to."""
        if not written_down:
            return
        told = asdict(self) | {"date": dt.date.today().isoformat(), "machine": machine()}  # noqa: DTZ011
        cache.mkdir(parents=True, exist_ok=True)
        (cache / f"{self.benchmark}.json").write_text(json.dumps(told, indent=1))
        kept = [cache / f"{name}.json" for name in _TITLES]
        _write_down([json.loads(path.read_text()) for path in kept if path.exists()])


def _write_down(all_found: list[dict[str, Any]]) -> None:
    busy = [found["machine"].pop(BUSY) for found in all_found]
    machines = {json.dumps(found["machine"]) for found in all_found}
    lines = [
        "# Results of the benchmarks",
        "",
        "Written by `make bench`; [README.md](README.md) says what is measured and how.",
        "",
    ]
    for told in sorted(machines):
        lines += ["| machine | |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in json.loads(told).items()]
        lines += [f"| {name} | {version(name)} |" for name in SHOWN_PACKAGES]
        lines += [f"| {name} (peers) | {pinned} |" for name, pinned in _peers()]
        lines.append("")
    measured = {found["benchmark"] for found in all_found}
    if measured & set(_OF_RECORDS):
        lines += ["![Charges per second](results.svg)", ""]
    if "issue" in measured:
        lines += ["![Seconds by the number of charges](size.svg)", ""]
    for found, others in zip(all_found, busy, strict=True):
        lines += [f"## {_TITLES[found['benchmark']]} ({found['date']})", ""]
        lines += [f"{BUSY}: {others}, of which the benchmark's own were at most two.", ""]
        lines += ["| bar | measured | wanted | |", "|---|---:|---:|---|"]
        lines += [
            f"| {bar['what']} | {bar['measured']:,.2f} | {bar['bar']} | {bar['met']} |"
            for bar in found["bars"]
        ]
        lines += ["", "| | records | seconds | records/s | peak MiB |", "|---|---:|---:|---:|---:|"]
        lines += [
            f"| {row['what']} | {row['records']:,} | {row['seconds']:,.3f} "
            f"| {row['records'] / row['seconds']:,.0f} | {_memory(row['peak'])} |"
            for row in found["rows"]
        ]
        lines.append("")
        lines += [f"{note}\n" for note in found["notes"]]
    (FOLDER / "RESULTS.md").write_text("\n".join(lines).rstrip() + "\n")
    _draw(all_found)
    _draw_sizes(all_found)


def _memory(peak: float) -> str:
    return f"{peak:,.0f}" if peak else "–"  # of a browser's step it is not measured


def _peers() -> list[tuple[str, str]]:
    pins = [
        line.split(" ")[0].partition("==")
        for line in (FOLDER / "peers" / "requirements.txt").read_text().splitlines()
        if "==" in line
    ]
    return [(name, pinned) for name, _, pinned in pins if name in PEERS]


def _draw(all_found: list[dict[str, Any]]) -> None:
    """Records per second of each row at its largest size, on a logarithmic axis."""
    rows = [
        row | {"of": found["benchmark"]}
        for found in all_found
        if found["benchmark"] in _OF_RECORDS
        for row in found["rows"]
        if row["records"] >= 1_000  # a page of rows is no speed
    ]
    if not rows:
        return
    frame = (
        pl.DataFrame(rows)
        .with_columns(speed=pl.col("records") / pl.col("seconds"))
        .sort("records")
        .unique("what", keep="last")
        .with_columns(
            of=pl.when(pl.col("what").str.contains("by hand"))
            .then(pl.lit("peers"))
            .when(pl.col("of") == "ledger")
            .then(pl.lit("this library, with its ledger"))
            .when(pl.col("what").str.starts_with("ours"))
            .then(pl.lit("this library"))
            .otherwise(pl.lit("peers"))
        )
        .sort("speed", descending=True)
    )
    base = alt.Chart(frame).encode(
        x=alt.X("speed", title="records per second", scale=alt.Scale(type="log", domainMin=100)),
        y=alt.Y("what", title=None, sort=None, axis=alt.Axis(labelLimit=300)),
    )
    # A bar on a logarithmic axis needs to be told where it begins.
    bars = base.mark_bar().encode(
        x2=alt.datum(100), color=alt.Color("of", title=None, legend=alt.Legend(orient="bottom"))
    )
    figures = base.mark_text(align="left", dx=3).encode(text=alt.Text("speed", format=".2s"))
    (bars + figures).properties(width=480).save(FOLDER / "results.svg")


def _draw_sizes(all_found: list[dict[str, Any]]) -> None:
    """Seconds of each step by the number of charges, both axes logarithmic.

    Where cost is in proportion to size, the line is as steep as the dashed one.
    """
    rows = [
        row
        for found in all_found
        if found["benchmark"] == "issue"
        for row in found["rows"]
        if not row["what"].endswith(", 28 projects")  # the grid's month has another shape
    ]
    if not rows:
        return
    frame = (
        pl.DataFrame(rows)
        .with_columns(pl.col("what").str.split_exact(", ", 1).struct.rename_fields(["step", "of"]))
        .unnest("what")
    )
    largest = frame.filter(pl.col("step") == "issue").sort("records").tail(1)
    sizes = frame["records"].unique().sort()
    ideal = pl.DataFrame({"records": sizes}).with_columns(
        seconds=pl.col("records") * largest["seconds"][0] / largest["records"][0]
    )
    axes = {
        "x": alt.X("records", title="charges of a month", scale=alt.Scale(type="log")),
        "y": alt.Y("seconds", scale=alt.Scale(type="log")),
    }
    steps = (
        alt.Chart(frame)
        .mark_line(point=True)
        .encode(**axes, color=alt.Color("step", title=None, sort=None))
    )
    proportion = alt.Chart(ideal).mark_line(strokeDash=[4, 4], color="gray").encode(**axes)
    (proportion + steps).properties(width=480, height=320).save(FOLDER / "size.svg")
