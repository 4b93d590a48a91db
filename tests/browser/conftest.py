"""The real JupyterLab in Debian's Chromium, on a ledger with a small facility for each story.

    def test_…(facility, opened):
        page = opened("MIC", "run")      # run.ipynb of MIC's April in a fresh JupyterLab window

One JupyterLab and one browser serve all stories, which one worker tells; each story has a
facility of its own, so none depends on another. What is done in the browser is looked up in the
ledger afterwards.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sample_facility import BOOK, nothing, price_book, usage_file
from sqlalchemy import Engine

from billing_lib.ledger.database import initialise, open_ledger
from billing_lib.ledger.identity import operating_system_login
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.intake import load_files
from billing_lib.workflow.notebooks import open_month
from billing_lib.workflow.rating import rate_period

APRIL = "2020-04"
TOKEN = "a-token-for-tests"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SLOW = 60_000
"""Milliseconds that a page may take before a story has failed; a loaded machine is slow."""

expect.set_options(timeout=SLOW)

ME = operating_system_login()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All stories go to one worker: they share JupyterLab and the browser."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("browser"))


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab and the ledger behind it."""

    url: str
    folder: Path
    engine: Engine

    @property
    def office(self) -> Path:
        """The folder that JupyterLab shows."""
        return self.folder / "office"

    @property
    def runs(self) -> Path:
        """The archive."""
        return self.folder / "runs"

    @property
    def parameters(self) -> Path:
        """The price books."""
        return self.folder / "parameters"

    def environment(self) -> dict[str, str]:
        """What tells a command where things are."""
        return os.environ | {
            "BILLING_DATABASE": f"sqlite:///{self.folder / 'billing.db'}",
            "BILLING_RUNS": str(self.runs),
            "BILLING_PARAMETERS": str(self.parameters),
            "BILLING_OFFICE": str(self.office),
            "BILLING_STORE": str(self.folder / "store"),
            "JUPYTER_DATA_DIR": str(self.folder / "jupyter"),
            "JUPYTER_CONFIG_DIR": str(self.folder / "config"),
            "HOME": str(self.folder),
        }

    def billing(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command of ours."""
        log = (self.folder / f"{words[0]}.log").open("wb")
        command = [str(Path(sys.executable).with_name("billing")), *words]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment(), stdout=log, stderr=log
        )


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers."""
    for _ in range(SLOW // 250):
        try:
            with urllib.request.urlopen(url, timeout=10):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.25)
    raise TimeoutError(url)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab as ``billing lab`` starts it."""
    folder = tmp_path_factory.mktemp("browser")
    (folder / "parameters").mkdir()
    engine = open_ledger(f"sqlite:///{folder / 'billing.db'}")
    initialise(engine)
    port = free_port()
    here = Lab(f"http://127.0.0.1:{port}", folder, engine)
    words = ("--no-browser", f"--port={port}", f"--IdentityProvider.token={TOKEN}", "--allow-root")
    process = here.billing("lab", *words)
    try:
        wait_for(f"{here.url}/api", process)
        yield here
    finally:
        process.terminate()
        process.wait(30)
        engine.dispose()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    path = shutil.which("chromium")
    assert path is not None, "the browser tests use Debian's chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@dataclass(frozen=True)
class Facility:
    """A story's own facility: April 2020 rated, p1 148.33 and p2 12.50 (sample_facility)."""

    lab: Lab
    code: str
    book: PriceBook

    @property
    def engine(self) -> Engine:
        """The ledger."""
        return self.lab.engine


@pytest.fixture
def facility(lab: Lab, tmp_path: Path) -> Callable[..., Facility]:
    """Makes a facility of this code; further keys of it are lines of the price book."""

    def make(code: str, *keys: str, issue: str = "scheduled") -> Facility:
        lines = "".join(f"  {key}\n" for key in (f"issue: {issue}", *keys))
        text = BOOK.replace("code: MIC", f"code: {code}").replace("  issue: scheduled\n", lines)
        (lab.parameters / f"{code.lower()}.yml").write_text(text)
        book = price_book(text)
        load_files(lab.engine, book, [usage_file(tmp_path)], nothing)
        rate_period(lab.engine, book, Period(2020, 4))
        return Facility(lab, code, book)

    return make


@pytest.fixture
def window(lab: Lab, chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a path of the office in a JupyterLab window of its own."""
    contexts = []

    def open_path(path: str) -> Page:
        context = chromium.new_context(viewport={"width": 1500, "height": 1000})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SLOW)
        page.goto(f"{lab.url}/lab/tree/{path}?reset&token={TOKEN}")
        return page

    yield open_path
    for context in contexts:
        context.close()


@pytest.fixture
def opened(
    lab: Lab, window: Callable[..., Page], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Page]:
    """Opens a notebook of a facility's April, which then runs by itself."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(lab.folder / "jupyter"))

    def open_notebook(facility: Facility, name: str) -> Page:
        return window(open_month(lab.office, facility.code, APRIL)[name])

    return open_notebook
