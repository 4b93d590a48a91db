"""Seconds from a click to a page of the office, beside an empty notebook in the same JupyterLab.

    .venv/bin/python benchmarks/pages.py            a month of 20,000 charges, three rounds
    .venv/bin/python benchmarks/pages.py --quick    one round; writes no results

The office runs as ``billing lab`` starts it, in Chromium without a window. Each page is opened by
a link on the page before, with a kernel of its own, and is there when a part of it is seen. The
peer is a notebook of one line that displays a widget of ipywidgets. BROWSER names another browser
than chromium.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from common.measure import measure
from common.results import Results
from playwright.sync_api import Page, sync_playwright
from review import CACHE, MONTH, make_month

from billing_lib.ledger.database import open_ledger, writing
from billing_lib.pricing.clock import Period
from billing_lib.workflow.approve import prepare
from billing_lib.workflow.load import read_price_book
from billing_lib.workflow.notebooks import GENERAL, HOME, MONTHLY, open_month, open_notebook
from billing_lib.workflow.runs import RunScope, sign_off

CHARGES = 20_000
SHOWN = {
    "home": "text=Facilities and months",
    "usage": "text=Drop usage files here",
    "review": "text=checks were asked",
    "adjust": "text=Show what it does",
    "run": "text=Show what it touches",
    "approve": "text=invoices are decided",
    "invoices": "text=Show what it touches",
    "after": "text=Show what it touches",
    "prices": "text=Fiscal year start",
    "listing": "select >> nth=0",
    "statement": "select >> nth=0",
    "audit": "text=Verify",
    "peer": "text=here I am",
}
"""A part of each page that is seen once the page is there."""

PEER = 'import ipywidgets\n\nipywidgets.HTML("here I am")'
START = "start.ipynb"
"""A copy of the peer, from which each round begins."""

SIGHT = ".jp-NotebookPanel:not(.lm-mod-hidden)"
"""The page in sight; pages left behind stay open."""

LINK = f"""path => {{
  document.getElementById('the-link')?.remove();
  const link = document.createElement('a');
  Object.assign(link, {{ href: `/doc/tree/${{path}}`, id: 'the-link', textContent: path }});
  document.querySelector('{SIGHT}').append(link);
}}"""

RESTS = 2_000  # ms, in which a reader looks at a page
LONGEST = 60_000  # ms, until a page is given up


def main(arguments: list[str]) -> None:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round, and no results written")
    rounds = 1 if parser.parse_args(arguments).quick else 3
    found = Results("pages")
    with tempfile.TemporaryDirectory(prefix="billing-bench-") as folder:
        office = Path(folder)
        measure(make_month, str(office), CHARGES)
        paths = make_pages(office)
        with billing_lab(office) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which(os.environ.get("BROWSER", "chromium")),
                args=["--no-sandbox", "--disable-gpu"],
            )
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(LONGEST)
            open_pages(page, url, paths)  # warms the server and the disk
            seconds = [open_pages(page, url, paths) for _ in range(rounds)]
            browser.close()
    medians = {name: statistics.median(times[name] for times in seconds) for name in paths}
    worst = {name: max(times[name] for times in seconds) for name in paths}
    for name in paths:
        print(f"{name:12} median {medians[name]:.2f} s, worst {worst[name]:.2f} s")
        found.row(f"{name}, median", 1, medians[name], 0)
    ours = {name: it for name, it in medians.items() if name != "peer"}
    slowest = max(ours, key=lambda name: ours[name])
    found.bar("pages, median of the slowest page, s", ours[slowest], "≤", 3)
    found.bar("pages, median of the slowest page ÷ peer", ours[slowest] / medians["peer"], "≤", 3)
    found.note(
        f"The slowest page is {slowest}; the worst single opening took "
        f"{max(it for name, it in worst.items() if name != 'peer'):.2f} s, "
        f"the peer's {worst['peer']:.2f} s. All with a kernel of their own."
    )
    found.finish(CACHE, written_down=rounds > 1)


def make_pages(office: Path) -> dict[str, str]:
    """The month's run and all pages; their paths in the office, by name."""
    engine = open_ledger(f"sqlite:///{office / 'billing.db'}")
    book = read_price_book(office / "parameters", "RC")
    sign_off(engine, book, MONTH, "for the benchmark")
    with writing(engine) as connection:
        prepare(connection, book, Period.parse(MONTH), RunScope())
    engine.dispose()
    os.environ["JUPYTER_DATA_DIR"] = str(office / "jupyter")  # of the notebooks' signatures
    folder = office / "office"
    monthly = open_month(folder, "RC", MONTH)
    general = {name: open_notebook(folder, name, {}) for name in (HOME, *GENERAL)}
    peer = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(PEER)],
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "billing": {"run_when_opened": True},
        },
    )
    nbformat.sign.NotebookNotary().sign(peer)
    for name in ("peer.ipynb", START):
        nbformat.write(peer, folder / name)
    return {**general, **{name: monthly[name] for name in MONTHLY}, "peer": "peer.ipynb"}


@contextmanager
def billing_lab(office: Path) -> Iterator[str]:
    """The office's JupyterLab; its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "BILLING_DATABASE": f"sqlite:///{office / 'billing.db'}",
        "BILLING_RUNS": str(office / "runs"),
        "BILLING_PARAMETERS": str(office / "parameters"),
        "BILLING_OFFICE": str(office / "office"),
        "JUPYTER_DATA_DIR": str(office / "jupyter"),
        "JUPYTER_CONFIG_DIR": str(office / "config"),
    }
    words = ["--no-browser", f"--port={port}", "--ServerApp.token=", "--allow-root"]
    words.append("--ServerApp.disable_check_xsrf=True")
    server = subprocess.Popen(
        [Path(sys.executable).with_name("billing"), "lab", *words],
        cwd=office,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/api").close()
                break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait()


def open_pages(page: Page, url: str, paths: dict[str, str]) -> dict[str, float]:
    """Seconds from the click on a link until each page is there, one after the other.

    All kernels are shut down in the end.
    """
    page.goto(f"{url}/doc/tree/{START}?reset")
    page.locator(f"{SIGHT} >> text=here I am").wait_for()
    seconds = {}
    for name, path in paths.items():
        page.wait_for_timeout(RESTS)
        page.evaluate(LINK, path)
        begun = time.perf_counter()
        page.evaluate("document.getElementById('the-link').click()")
        page.wait_for_function("path => location.pathname.endsWith(path)", arg=path)
        page.locator(f"{SIGHT} .jp-OutputArea-output >> {SHOWN[name]}").first.wait_for()
        seconds[name] = time.perf_counter() - begun
    page.goto("about:blank")
    with urllib.request.urlopen(f"{url}/api/sessions") as answer:
        sessions = json.load(answer)
    for session in sessions:
        gone = urllib.request.Request(f"{url}/api/sessions/{session['id']}", method="DELETE")
        urllib.request.urlopen(gone).close()
    return seconds


if __name__ == "__main__":
    main(sys.argv[1:])
