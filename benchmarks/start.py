"""The start of commands, and the fixed cost of an issuing beside papermill on an empty notebook.

    .venv/bin/python benchmarks/start.py            the median of five issuings; two minutes
    .venv/bin/python benchmarks/start.py --quick    one of each; writes no results

A site has one facility, two issued invoices of April and one charge of May. Each command is a
process of its own, as staff give it. May is issued from copies of the site, in turn with papermill;
the other commands list, show or change something small, and each counts by its shortest time.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from common.results import Results
from ledger import CACHE

BILLING = Path(sys.executable).with_name("billing")
BOOK = """
facility: {code: MIC, name: Microscopy, currency: USD, timezone: UTC, country: US, issue: scheduled}
items: [{code: slide, name: Slide, unit: each}]
rates: [{item: slide, group: internal, price: "1.25"}]
project_types: [{code: faculty, rate_group: internal}]
teams: [{code: smith, name: Smith Lab}]
projects:
  - {code: p1, team: smith, type: faculty, split: [{expense_code: A, percent: "100"}]}
  - {code: p2, team: smith, type: faculty, split: [{expense_code: B, percent: "100"}]}
"""
USAGE = """id,item,project,user,date,quantity
u1,slide,p1,bob,2020-04-07,12
u2,slide,p2,eve,2020-04-08,10
u3,slide,p2,eve,2020-05-02,4
"""
ORDINARY = """
invoices
charges MIC 2020-05
check MIC 2020-05
unbilled MIC 2020-05
runs
explain MIC/u3
events MIC
groups MIC 2020-05
texts MIC contacts
show MIC-2020-00001
run show MIC-2020-04-1
run report MIC-2020-04-1
run make MIC 2020-05
preview MIC-2020-05-1/p2
verify MIC-2020-00001
log head
doctor
prices MIC --to prices.xlsx
load MIC usage.csv
rate MIC 2020-05
adjust MIC/u3 --set quantity=5 --reason counted
bulk MIC 2020-05 --set waived=yes --reason test --preview
ready MIC 2020-05
funds MIC
note MIC 2020-05 --project p2 --text moved
deposit MIC p1 10.00 --reason grant
statements 2020-04
statement smith-2020-04
listing smith 2020-04
permissions MIC
grant MIC ann reviewer
templates MIC
transformations
packages
journal MIC
journals MIC
package --run MIC-2020-04-1 --into package
run documents MIC-2020-04-1 --to documents
focus MIC 2020-04 --to focus.parquet
outbox MIC
notices
""".strip().splitlines()
"""Commands of each chapter of the manual but those that bill months or run records again."""


def main(arguments: list[str]) -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one of each; no results written")
    chosen = parser.parse_args(arguments)
    issuings, times = (1, 1) if chosen.quick else (5, 2)
    found = Results("start")
    with tempfile.TemporaryDirectory(prefix="billing-bench-") as folder:
        site = Path(folder) / "site"
        prepare(site)
        issue, papermill = issued_in_turn(site, issuings)
        found.row("issue one charge", 1, issue, 0)
        found.row("papermill, an empty notebook", 1, papermill, 0)
        python = min(seconds(site, sys.executable, "-c", "pass") for _ in range(issuings))
        found.row("python -c pass", 1, python, 0)
        shown = min(seconds(site, BILLING, "--help") for _ in range(issuings))
        found.row("billing --help", 1, shown, 0)
        taken = {words: shortest(site, words, times) for words in ORDINARY}
    slowest = sorted(taken, key=lambda words: taken[words])
    for words in (slowest[len(slowest) // 2], slowest[-1]):
        found.row(f"billing {words}", 1, taken[words], 0)
    found.bar("issuing one charge, seconds over papermill", issue - papermill, "≤", 1.5)
    found.bar("billing --help, seconds", shown, "≤", 0.3)
    found.bar(
        f"slowest of {len(taken)}, billing {slowest[-1]}, seconds", taken[slowest[-1]], "≤", 1
    )
    found.finish(CACHE, written_down=not chosen.quick)


def prepare(site: Path) -> None:
    """Make the site, issue April, and rate May."""
    seconds(site.parent, BILLING, "init", site.name)
    (site / "parameters" / "example.yml").unlink()
    (site / "parameters" / "microscopy.yml").write_text(BOOK)
    (site / "usage.csv").write_text(USAGE)
    nbformat.write(nbformat.v4.new_notebook(), site / "empty.ipynb")
    for command in (
        *("load MIC usage.csv", "rate MIC 2020-04", "rate MIC 2020-05"),
        "issue MIC 2020-04 --date 2020-05-04 --allow-dirty",
    ):
        seconds(site, BILLING, *command.split())


def issued_in_turn(site: Path, times: int) -> tuple[float, float]:
    """The medians of issuing May, each time in a copy of the site, and of papermill."""
    issue, papermill = [], []
    runner = (sys.executable, "-m", "papermill", "--kernel", "python3", "empty.ipynb", "out.ipynb")
    for _ in range(times):
        papermill.append(seconds(site, *runner))
        copy = Path(shutil.copytree(site, site.with_name("copy")))
        words = ("issue", "MIC", "2020-05", "--date", "2020-06-02", "--allow-dirty")
        issue.append(seconds(copy, BILLING, *words))
        shutil.rmtree(copy)
    return statistics.median(issue), statistics.median(papermill)


def shortest(site: Path, words: str, times: int) -> float:
    """The shortest time of a command that may be given again."""
    return min(seconds(site, BILLING, *words.split()) for _ in range(times))


def seconds(folder: Path, *words: str | Path) -> float:
    """The seconds of a process, with compiled modules as after an installation."""
    environment = {name: it for name, it in os.environ.items() if not name.startswith("BILLING_")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    begun = time.perf_counter()
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, check=False)
    taken = time.perf_counter() - begun
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, words))}: {done.stderr.decode()}")
    return taken


if __name__ == "__main__":
    main(sys.argv[1:])
