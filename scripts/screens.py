"""Pictures of the office for the README: the overview, what is wrong with a month, approving.

    .venv/bin/python scripts/screens.py docs/pictures

Needs Chromium (BROWSER names another), the test environment (scripts/setup.sh test) and an office
with RC's autumn of 1993, which scripts/pictures.sh makes. Look at them before you commit them.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

SLOW = 60_000  # ms


def main(folder: Path) -> None:
    """Take all pictures into a folder."""
    with office() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which(os.environ.get("BROWSER", "chromium")),
            args=["--no-sandbox", "--disable-gpu"],
        )
        page = opened(browser.new_page(viewport={"width": 1250, "height": 560}), url, "home")
        page.get_by_role("row", name="RC").wait_for()
        page.screenshot(path=folder / "home.png")

        page = browser.new_page(viewport={"width": 1250, "height": 2300})
        opened(page, url, "RC/1993-12/review-RC-1993-12")
        page.get_by_role("row", name="unknown_project").first.wait_for()
        top = page.get_by_role("heading", name="What is wrong with it").bounding_box()
        if top is None:
            raise SystemExit("the findings are not in sight")
        shown = {"x": 0, "y": top["y"] - 10, "width": 1250, "height": 720}
        page.screenshot(path=folder / "review.png", clip=shown)

        page = browser.new_page(viewport={"width": 1500, "height": 900})
        opened(page, url, "RC/1993-11/approve-RC-1993-11")
        page.locator("iframe").first.wait_for()
        page.screenshot(path=folder / "approve.png")
        browser.close()


def opened(page: Page, url: str, name: str) -> Page:
    """A notebook of the office that has run."""
    page.set_default_timeout(SLOW)
    page.goto(f"{url}/doc/tree/{name}.ipynb?reset")
    idle = "document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle'"
    page.wait_for_function(idle)
    page.wait_for_timeout(8_000)  # cells run one after the other, idle between them
    page.wait_for_function(idle)
    return page


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
    main(Path(sys.argv[1]))
