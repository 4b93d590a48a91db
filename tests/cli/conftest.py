"""A billing office in a folder of its own, worked by the command line."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from sample_facility import BOOK, usage_file
from sqlalchemy import URL, Engine

from billing_lib.cli import main
from billing_lib.ledger import database

BILLING = Path(sys.executable).with_name("billing")

Said = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Office:
    """A folder with a price book, usage.csv, and perhaps a ledger and an archive.

    Attributes
    ----------
    apart
        Whether each command is a process of its own, as staff give it. It takes a second to
        start; where what a command does is looked at, and not how it starts, it is given in this
        process.
    """

    folder: Path
    apart: bool = False

    def run(
        self, *words: object, source: Path | None = None, typed: bytes = b"", **settings: str
    ) -> Said:
        """A command and what came of it.

        ``settings`` are variables without their ``BILLING_``; ``source`` is another tree with
        the program; ``typed`` is standard input, of a command in this process.
        """
        kept = {key: it for key, it in os.environ.items() if not key.startswith("BILLING_")}
        stated = {f"BILLING_{key.upper()}": value for key, value in settings.items()}
        environment = kept | {"BILLING_PARAMETERS": "parameters", "COLUMNS": "300"} | stated
        given = [str(word) for word in words]
        if source is not None:
            program = [sys.executable, "-c", "from billing_lib.cli import main; main()"]
            environment["PYTHONPATH"] = str(source)
            return _apart([*program, *given], self.folder, environment)
        if self.apart:
            return _apart([str(BILLING), *given], self.folder, environment)
        return _here(given, self.folder, environment, typed)

    def done(self, *words: object, typed: bytes = b"", **settings: str) -> str:
        """What a command prints that does what it should."""
        said = self.run(*words, typed=typed, **settings)
        assert said.returncode == 0, said.stdout + said.stderr
        return said.stdout

    def listed(self, *words: object) -> list[dict[str, Any]]:
        """What a list says as JSON."""
        rows: list[dict[str, Any]] = json.loads(self.done(*words, "--json"))
        return rows


def _apart(words: list[str], folder: Path, environment: Mapping[str, str]) -> Said:
    return subprocess.run(
        words,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _here(words: list[str], folder: Path, environment: Mapping[str, str], typed: bytes) -> Said:
    out, err = (TextIOWrapper(BytesIO(), "utf-8", write_through=True) for _ in range(2))
    opened: list[Engine] = []

    def opening(really_open: Callable[[URL], Engine]) -> Callable[[URL], Engine]:
        def open_engine(url: URL) -> Engine:
            opened.append(really_open(url))
            return opened[-1]

        return open_engine

    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        for name in os.environ.keys() - environment.keys():
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["billing", *words])
        patch.setattr(sys, "stdin", TextIOWrapper(BytesIO(typed), "utf-8"))
        for name in ("_open_sqlite", "_open_postgresql"):  # however open_ledger was imported
            patch.setattr(database, name, opening(getattr(database, name)))
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            main()
    for engine in opened:  # as the end of a process does
        engine.dispose()
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(words, int(ended.value.code or 0), *texts)


def new_office(folder: Path) -> Office:
    """A site with its price book and usage file and nothing done yet."""
    (folder / "parameters").mkdir(parents=True)
    (folder / "billing.toml").touch()
    (folder / "parameters" / "microscopy.yml").write_text(BOOK)
    usage_file(folder)
    return Office(folder)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """An office where nothing has been done."""
    return new_office(tmp_path / "office")


@pytest.fixture
def office_apart(office: Office) -> Office:
    """The same, where each command is a process of its own."""
    return replace(office, apart=True)


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """An office whose April is loaded and rated; do not issue it."""
    office = new_office(tmp_path_factory.mktemp("rated") / "office")
    office.done("init")
    office.done("load", "MIC", "usage.csv")
    office.done("rate", "MIC", "2020-04")
    return office


COSTLY = (
    BOOK.replace("unit: hour}", 'unit: hour, cost: "31.07"}')
    .replace("{code: p2, team: smith,", "{code: p2, team: jones,")
    .replace("teams: [", "teams: [{code: jones, name: Jones Lab}, ")
)


@pytest.fixture(scope="session")
def issued_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with its key, whose microscopy has issued two labs' April; do not change it."""
    folder = tmp_path_factory.mktemp("extract")
    Office(folder).done("init", "core")
    core = folder / "core"
    (core / "parameters" / "example.yml").unlink()
    (core / "parameters" / "microscopy.yml").write_text(COSTLY)
    usage_file(core)
    with (core / "billing.toml").open("a") as settings:
        settings.write('\nusage_files = "usage"\n')
    office = Office(core)
    office.done("load", "MIC", "usage.csv")
    office.done("rate", "MIC", "2020-04")
    office.done("deposit", "MIC", "p1", "50", "--reason", "a grant")
    key = office.listed("check", "MIC", "2020-04")[0]["key"]
    office.done("dismiss", "MIC", "2020-04", key, "--reason", "a colleague of both")
    office.done("ready", "MIC", "2020-04", "--comment", "seen with both labs")
    office.done("issue", "MIC", "2020-04", "--date", "2020-05-04", "--allow-dirty")
    office.done("extract", "MIC-2020-00001", "--to", "out")
    return core


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs a command in an office, in this process; the one sentence with which it is refused."""

    def run(office: Office, *words: object, **settings: str) -> str:
        monkeypatch.chdir(office.folder)
        monkeypatch.setattr(sys, "argv", ["billing", *map(str, words)])
        for name, value in ({"parameters": "parameters"} | settings).items():
            monkeypatch.setenv(f"BILLING_{name.upper()}", value)
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        assert ended.value.code == 2, said
        assert said.out == ""
        lines = said.err.strip().splitlines()
        assert len(lines) == 1, said.err
        assert lines[0].startswith("billing: ")
        return lines[0].removeprefix("billing: ")

    return run
