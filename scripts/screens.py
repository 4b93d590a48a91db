"""Pictures of every page of the office at three sizes; scripts/pictures.sh makes the office.

    .venv/bin/python scripts/screens.py FOLDER [PAGE …]

Writes FOLDER/PAGE-WIDTH.png, the window as it opens, and FOLDER/PAGE-WIDTH-whole.png, the page to
its end; beside them the first two pages of an invoice's PDF. Needs Chromium (BROWSER names another)
and the test environment (scripts/setup.sh test).
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps
from playwright.sync_api import Page, sync_playwright
from pypdfium2 import PdfDocument

SIZES = ((1280, 800), (1440, 900), (1920, 1080))
SCROLLED = ".jp-WindowedPanel-outer"
SLOW = 60_000  # ms
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


def nothing(page: Page) -> None:
    """Leave a page as it opens."""


WORKSHOP = """Order;Work;Project;Technician;Day;From;To;Amount;Piece
W3;material;holder;max;11.10.1993;;;36,80;aluminium
W9;labour;hub;ida;20.10.1993;08:00;09:30;;test piece
W10;labour;hubb;ida;21.10.1993;08:00;09:30;;test piece
W11;material;furnace;max;22.10.1993;;;by phone;fire brick
"""


def dropped(page: Page) -> None:
    """A file with a correction, a new row and two bad ones, as it is read."""
    page.get_by_label("Drop usage files here").set_input_files(
        {"name": "workshop-late.csv", "mimeType": "text/csv", "buffer": WORKSHOP.encode()}
    )
    page.get_by_text("Nothing is loaded yet.").wait_for()


def statements(page: Page) -> None:
    """The statements of the month that has some."""
    page.get_by_label("Month", exact=True).fill("1993-10")
    page.keyboard.press("Enter")
    page.get_by_text("bio-1993-10").first.wait_for()


def findings(page: Page) -> None:
    """The findings of the month's checks."""
    to_top = "it => it.scrollIntoView(true)"
    page.get_by_role("heading", name="What is wrong with it").evaluate(to_top)


def changed(page: Page) -> None:
    """Half of a job's quantity, and what that does."""
    page.get_by_label("Filter Project").first.fill("= u4")
    page.keyboard.press("Enter")
    page.get_by_label("RC/28552").check()
    page.get_by_role("combobox", name="Change", exact=True).select_option(label="Quantity")
    page.get_by_placeholder("a number, such as").first.fill("80.72")
    page.get_by_label("Reason").first.fill("half of the nodes failed during the run")
    page.get_by_role("button", name="Show what it does").first.click()
    page.get_by_text("Nothing is changed yet.").first.wait_for()


@dataclass(frozen=True)
class Shown:
    """A page: its notebook in the office, a text that stands on it at last, and what is done."""

    notebook: str
    text: str
    act: Callable[[Page], None] = nothing


def month(name: str, facility: str, period: str) -> str:
    """The notebook of a facility's month."""
    return f"{facility}/{period}/{name}-{facility}-{period}"


PAGES = {
    "home": Shown("home", "Facilities and months"),
    "usage": Shown(month("usage", "SHOP", "1993-10"), "Drop usage files here", dropped),
    "review": Shown(month("review", "RC", "1993-12"), "checks were asked", findings),
    "adjust": Shown(month("adjust", "RC", "1993-12"), "Show what it does", changed),
    "run": Shown(month("run", "RC", "1993-11"), "Show what it touches"),
    "approve": Shown(month("approve", "RC", "1993-11"), "invoices are decided"),
    "invoices": Shown("invoices", "Show what it touches"),
    "after": Shown("after", "Show what it touches", statements),
    "prices": Shown("prices", "Fiscal year start"),
    "statement": Shown("statement", "Structural Biology"),
    "listing": Shown("listing", "Invoice"),
    "audit": Shown("audit", "Verify"),
}


def main(folder: Path, names: list[str]) -> None:
    """Take the pictures of these pages, or of all, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with office() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which(os.environ.get("BROWSER", "chromium")), args=FLAGS
        )
        for name in names or PAGES:
            page = browser.new_page(viewport={"width": SIZES[0][0], "height": SIZES[0][1]})
            page.set_default_timeout(SLOW)
            shown = PAGES[name]
            page.goto(f"{url}/doc/tree/{shown.notebook}.ipynb?reset")
            page.get_by_text(shown.text).first.wait_for(state="attached")
            settle(page)
            shown.act(page)
            for width, height in SIZES:
                page.set_viewport_size({"width": width, "height": height})
                page.wait_for_timeout(1_000)
                page.screenshot(path=folder / f"{name}-{width}.png")
                page.set_viewport_size({"width": width, "height": height + hidden(page)})
                page.wait_for_timeout(1_000)
                at = page.locator(SCROLLED).first.evaluate(
                    "it => [it.scrollTop, it.scrollTo(0, 0)]"
                )
                page.screenshot(path=folder / f"{name}-{width}-whole.png")
                page.locator(SCROLLED).first.evaluate("(it, top) => it.scrollTo(0, top)", at[0])
            page.close()
        browser.close()
    (pdf,) = Path(os.environ["BILLING_RUNS"]).glob("RC/1993-12/*/data/documents/*.pdf")
    with PdfDocument(pdf) as document:
        for number in (1, 2):
            drawn = document[number - 1].render(scale=1.25).to_pil()
            drawn.save(folder / f"invoice-{number}.png")
    for path in folder.glob("*.png"):
        whole = Image.open(path).convert("RGB")
        if path.stem.endswith("-whole"):  # without the white below the page's end
            *_, bottom = ImageOps.invert(whole).getbbox() or (0, 0, 0, whole.height)
            whole = whole.crop((0, 0, whole.width, bottom))
        whole.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def settle(page: Page) -> None:
    """Wait until the page's kernel has been idle for a while."""
    idle = "document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle'"
    for _ in range(3):  # cells run one after the other, idle between them
        page.wait_for_timeout(1_500)
        page.wait_for_function(idle)


def hidden(page: Page) -> int:
    """Pixels of the page that are below the window."""
    missing = "it => it.scrollHeight - it.clientHeight"
    height: int = page.locator(SCROLLED).first.evaluate(missing)
    return min(height, 6_000)


@contextmanager
def office() -> Iterator[str]:
    """`billing lab` on a free port, without a token for as long as it takes; its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("--no-browser", f"--port={port}", "--IdentityProvider.token=", "--allow-root")
    server = subprocess.Popen([Path(sys.executable).with_name("billing"), "lab", *words])
    try:
        for _ in range(300):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
