"""The real JupyterLab in Debian's Chromium, on a ledger with a small facility for each story.

    def test_…(facility, opened):
        page = opened("MIC", "run")      # run.ipynb of MIC's April in a fresh JupyterLab window

One JupyterLab and one browser serve all stories, which one worker tells; each story has a
facility of its own, so none depends on another. What is done in the browser is looked up in the
ledger afterwards.
"""

import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from office_window import (
    APRIL,
    FLAGS,
    SLOW,
    TOKEN,
    Facility,
    Lab,
    PostOffice,
    free_port,
    wait_for,
)
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sample_facility import BOOK, nothing, price_book, usage_file

from billing_lib.ledger.database import initialise, open_ledger
from billing_lib.pricing.clock import Period
from billing_lib.workflow.load import load_files
from billing_lib.workflow.notebooks import open_month
from billing_lib.workflow.rate import rate_period

expect.set_options(timeout=SLOW)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All stories go to one worker: they share JupyterLab and the browser."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("browser"))


WINDOWS = pytest.StashKey[list[tuple[Page, list[str]]]]()
"""A story's windows, and what each of them told its console."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport]:
    """Where a story fails, the report has what its windows showed."""
    report = yield
    if report.failed:
        for page, told in item.stash.get(WINDOWS, []):
            if page.is_closed():
                continue
            shown = [page.url.partition("?")[0], page.locator("body").inner_text(), *told]
            report.sections.append(("window", "\n".join(shown)))
    return report


@contextmanager
def running_lab(folder: Path) -> Iterator[Lab]:
    """JupyterLab as ``billing lab`` starts it, with a mail server on loopback."""
    (folder / "parameters").mkdir()
    engine = open_ledger(f"sqlite:///{folder / 'billing.db'}")
    initialise(engine)
    post = PostOffice()
    mail = Controller(post, hostname="127.0.0.1", port=free_port())
    mail.start()
    port = free_port()
    here = Lab(f"http://127.0.0.1:{port}", folder, engine, mail.port, post.mail)
    words = ("--no-browser", f"--port={port}", f"--IdentityProvider.token={TOKEN}", "--allow-root")
    process = here.billing("lab", *words)
    try:
        wait_for(f"{here.url}/api", process)
        yield here
    finally:
        process.terminate()
        process.wait(30)
        mail.stop()
        engine.dispose()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The JupyterLab of most stories."""
    with running_lab(tmp_path_factory.mktemp("browser")) as here:
        yield here


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    path = shutil.which("chromium")
    assert path is not None, "the browser tests use Debian's chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


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
def window(
    lab: Lab, chromium: Browser, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Page]]:
    """Opens a page of the office in a window of its own."""
    contexts, labs = [], {}
    windows = request.node.stash.setdefault(WINDOWS, [])

    def open_path(path: str, at: Lab = lab) -> Page:
        context = chromium.new_context(viewport={"width": 1500, "height": 1000})
        contexts.append(context)
        labs[at.url] = at
        page = context.new_page()
        page.set_default_timeout(SLOW)
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        windows.append((page, told))
        page.goto(f"{at.url}/doc/tree/{path}?reset&token={TOKEN}")
        return page

    yield open_path
    windows.clear()
    for context in contexts:
        context.close()
    for at in labs.values():
        at.end_kernels()


@pytest.fixture
def opened(
    lab: Lab, window: Callable[..., Page], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Page]:
    """Opens a notebook of a facility's April, which then runs by itself."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(lab.folder / "jupyter"))

    def open_notebook(facility: Facility, name: str) -> Page:
        return window(open_month(lab.office, facility.code, APRIL)[name])

    return open_notebook
