"""Reviewing a month of a million charges in a real browser, and what its checks take.

    .venv/bin/python benchmarks/review.py            a million charges
    .venv/bin/python benchmarks/review.py --quick    a tenth of that; writes no results

JupyterLab runs the office's own panel of all charges in Chromium, without a window. Loading and
rating the month, starting the kernel and importing the library are not counted: what is timed
begins when the cell is run (or a key is pressed) and ends when the browser shows it. BROWSER names
another browser than chromium.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from common.measure import measure
from common.results import Results
from common.usage import MILLION, price_book_text, sample, usage_files
from playwright.sync_api import Page, sync_playwright
from playwright.sync_api import TimeoutError as NotSeen

from billing_lib.ledger.database import initialise, open_ledger
from billing_lib.pricing.clock import Period
from billing_lib.workflow.load import load_files, read_price_book
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.review import find_discrepancies

CACHE = Path(__file__).parent.parent / "build" / "bench"
MONTH = "2026-03"
IMPORTS = "from billing_lib.panels.review import ChargesPanel"
OPEN = f'ChargesPanel("RC", "{MONTH}")'
STATUS = "document.querySelector('.billing-status').textContent"
SECONDS = 180_000  # ms, until a step is given up


def main(arguments: list[str]) -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth, and no results written")
    chosen = parser.parse_args(arguments)
    records = MILLION // 10 if chosen.quick else MILLION
    found = Results("review")
    with tempfile.TemporaryDirectory(prefix="billing-bench-") as folder:
        office = Path(folder)
        made = measure(make_month, str(office), records)
        charges = made.result
        checked = measure(check_month, str(office))
        found.row("all checks, with reading the month", charges, checked.seconds, checked.peak)
        with jupyterlab(office) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which(os.environ.get("BROWSER", "chromium")),
                args=["--no-sandbox", "--disable-gpu"],
            )
            page = browser.new_page(viewport={"width": 1500, "height": 1000})
            measure_table(page, url, found, charges)
            browser.close()
    found.finish(CACHE, written_down=not chosen.quick)


def make_month(folder: str, records: int) -> int:
    """A ledger with a rated month, and its price book; how many charges it has."""
    office = Path(folder)
    (office / "parameters").mkdir()
    (office / "parameters" / "rc.yml").write_text(price_book_text())
    usage = office / "usage.parquet"
    files = usage_files(CACHE / "usage", 1)
    sample(files, records).rename({"record": "id"}).drop("row").write_parquet(usage)
    book = read_price_book(office / "parameters", "RC")
    engine = open_ledger(f"sqlite:///{office / 'billing.db'}")
    initialise(engine)
    load_files(engine, book, [usage], lambda *_: None)
    return rate_period(engine, book, Period.parse(MONTH)).charges


def check_month(folder: str) -> int:
    """Ask all checks of the month; how many findings."""
    book = read_price_book(Path(folder) / "parameters", "RC")
    engine = open_ledger(f"sqlite:///{Path(folder) / 'billing.db'}")
    return find_discrepancies(engine, book, MONTH).findings.height


@contextmanager
def jupyterlab(office: Path) -> Iterator[str]:
    """JupyterLab in the office's folder, with a notebook that opens the table; its URL."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(IMPORTS), nbformat.v4.new_code_cell(OPEN)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": ""}},
    )
    nbformat.write(notebook, office / "review.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "BILLING_DATABASE": f"sqlite:///{office / 'billing.db'}",
        "BILLING_RUNS": str(office / "runs"),
        "BILLING_PARAMETERS": str(office / "parameters"),
    }
    words = ["--no-browser", f"--port={port}", "--ServerApp.token=", "--allow-root"]
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyter", "lab", *words, f"--notebook-dir={office}"],
        env=os.environ | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}/lab/tree/review.ipynb?reset"
    finally:
        server.terminate()
        server.wait()


def measure_table(page: Page, url: str, found: Results, charges: int) -> None:
    """What people do with the table, each timed until they see it."""
    page.goto(url, timeout=SECONDS)
    cells = page.locator(".jp-Notebook .jp-Cell")
    cells.nth(1).wait_for(timeout=SECONDS)
    idle = "document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle'"
    page.wait_for_function(idle, timeout=SECONDS)
    ran = f"{idle} && /\\[\\d+\\]:/.test(document.body.innerText)"
    for _ in range(20):  # keys pressed while JupyterLab still settles go nowhere
        cells.nth(0).click()
        page.keyboard.press("Control+Enter")
        try:
            page.wait_for_function(ran, timeout=SECONDS / 20)
            break
        except NotSeen:
            continue
    page.wait_for_function(ran, timeout=SECONDS)
    cells.nth(1).click()

    def timed(what: str, do: Callable[[], Any], seen: str) -> float:
        begun = time.perf_counter()
        do()
        page.wait_for_function(seen, timeout=SECONDS)
        seconds = time.perf_counter() - begun
        found.row(what, charges, seconds, 0)
        return seconds

    paint = timed(
        "first rows in sight",
        lambda: page.keyboard.press("Control+Enter"),
        "document.querySelector('.billing-grid[data-drawn=yes] .billing-row')?.innerText",
    )
    timed("all rows read, from then on", lambda: None, f"{STATUS}.includes('total')")
    top = "document.querySelector('.billing-row > div').textContent"
    before = page.evaluate(top)
    heading = page.locator(".billing-head button", has_text="Total")
    slowest = timed("sort by total", heading.click, f"{top} !== '{before}'")
    status = page.evaluate(STATUS)
    box = page.get_by_label("Search charges")
    search = timed("search", lambda: box.fill("scope-12"), f"{STATUS} !== '{status}'")
    status = page.evaluate(STATUS)
    field = page.get_by_label("Filter Total")
    narrow = timed("filter by total", lambda: field.fill("> 100"), f"{STATUS} !== '{status}'")
    status = page.evaluate(STATUS)
    timed("show all again", lambda: (box.fill(""), field.fill("")), f"{STATUS} !== '{status}'")
    page.wait_for_function(f"{STATUS}.startsWith('{charges:,} charges,')", timeout=SECONDS)
    page.locator(".billing-grid").focus()
    last = f"document.querySelector('.billing-row[aria-rowindex=\"{charges + 1}\"] > div')"
    end = timed(
        "go to the last row",
        lambda: page.keyboard.press("End"),
        f"{last} && {last}.textContent !== '…'",
    )
    million = "1 M charges" if charges == MILLION else f"{charges:,} charges"
    found.bar(f"review, {million}, first rows in sight, s", paint, "≤", 3)
    found.bar(
        f"review, {million}, slowest of the rest, s", max(slowest, search, narrow, end), "≤", 3
    )
    found.note(
        "In Chromium, from running the cell (or pressing the key) to what is seen. Kernel start, "
        "imports and rating are not counted; what is typed is asked for a quarter of a second "
        "after the last key, which is counted."
    )


def _wait_for(port: int) -> None:
    for _ in range(600):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("JupyterLab did not start within a minute")


if __name__ == "__main__":
    main(sys.argv[1:])
