"""What a story in the browser works with: the running JupyterLab, a facility of its own."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session
from playwright.sync_api import Locator, Page, expect
from sqlalchemy import Engine

from billing_lib.ledger.database import operating_system_login, reading
from billing_lib.ledger.events import read_events
from billing_lib.pricing.pricebook import PriceBook

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

SIGHT = ".jp-NotebookPanel:not(.lm-mod-hidden)"
"""The page in sight; pages left behind stay open."""

ME = operating_system_login()


@dataclass
class PostOffice:
    """A handler of aiosmtpd that keeps each message: its recipient and its text."""

    mail: list[tuple[str, str]] = field(default_factory=list)

    async def handle_DATA(  # noqa: N802 - aiosmtpd calls it so
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Take a message."""
        text = envelope.content.decode() if isinstance(envelope.content, bytes) else ""
        self.mail += [(recipient, text) for recipient in envelope.rcpt_tos]
        return "250 OK"


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab, the ledger behind it, and the mail that it has sent."""

    url: str
    folder: Path
    engine: Engine
    mail_port: int
    mail: list[tuple[str, str]]

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

    def end_kernels(self) -> None:
        """End the kernels of closed windows: they would keep memory, and follow the ledger."""
        for each in json.loads(self._asked("GET", "/api/sessions")):
            self._asked("DELETE", f"/api/sessions/{each['id']}")

    def _asked(self, method: str, path: str) -> bytes:
        headers = {"Authorization": f"token {TOKEN}"}
        request = urllib.request.Request(self.url + path, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bytes(answer.read())

    def environment(self) -> dict[str, str]:
        """What tells a command where things are."""
        return os.environ | {
            "BILLING_DATABASE": f"sqlite:///{self.folder / 'billing.db'}",
            "BILLING_RUNS": str(self.runs),
            "BILLING_PARAMETERS": str(self.parameters),
            "BILLING_OFFICE": str(self.office),
            "BILLING_STORE": str(self.folder / "store"),
            "BILLING_SMTP_HOST": "127.0.0.1",
            "BILLING_SMTP_PORT": str(self.mail_port),
            "BILLING_SMTP_SECURITY": "none",
            "BILLING_SMTP_FROM": "billing@example.edu",
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
        except OSError:  # a proxy without anything behind it yet answers 404
            assert process.poll() is None, "the server ended"
            time.sleep(0.25)
    raise TimeoutError(url)


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

    def events(self, kind: str) -> list[dict[str, object]]:
        """What the ledger has recorded of this kind, in order."""
        with reading(self.engine) as connection:
            return read_events(connection, self.code, kinds=[kind]).to_dicts()


def button(page: Page | Locator, name: str) -> Locator:
    """The button that says this, whatever its icon."""
    return page.locator("button", has_text=re.compile(rf"^\s*{re.escape(name)}$"))


def go_to(page: Page, name: str) -> None:
    """Follow the bar's link of this name, until its page is in sight."""
    bar = page.get_by_role("navigation", name="Pages of the billing office")
    link = bar.get_by_role("link", name=name, exact=True)
    link.click()
    expect(link).to_have_attribute("aria-current", "page")


def wait_until(page: Page, done: Callable[[], bool]) -> None:
    """Wait until something stands in the ledger."""
    for _ in range(SLOW // 250):
        if done():
            return
        page.wait_for_timeout(250)
    raise TimeoutError("it was not done")
