"""A billing office in a folder of its own, worked by the real command line."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sample_facility import BOOK, usage_file

BILLING = Path(sys.executable).with_name("billing")


@dataclass(frozen=True)
class Office:
    """A folder with a price book, usage.csv, and perhaps a ledger and an archive."""

    folder: Path

    def run(
        self, *words: object, source: Path | None = None, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """A command and what came of it.

        ``settings`` are variables without their ``BILLING_``; ``source`` is another tree with
        the program.
        """
        kept = {key: it for key, it in os.environ.items() if not key.startswith("BILLING_")}
        stated = {f"BILLING_{key.upper()}": value for key, value in settings.items()}
        program = [BILLING]
        if source is not None:
            program = [sys.executable, "-c", "from billing_lib.cli import main; main()"]
            stated["PYTHONPATH"] = str(source)
        return subprocess.run(
            [*program, *map(str, words)],
            cwd=self.folder,
            env=kept | {"BILLING_PARAMETERS": "parameters", "COLUMNS": "300"} | stated,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def done(self, *words: object, **settings: str) -> str:
        """What a command prints that does what it should."""
        said = self.run(*words, **settings)
        assert said.returncode == 0, said.stdout + said.stderr
        return said.stdout

    def listed(self, *words: object) -> list[dict[str, Any]]:
        """What a list says as JSON."""
        rows: list[dict[str, Any]] = json.loads(self.done(*words, "--json"))
        return rows


def new_office(folder: Path) -> Office:
    """An office with its price book and usage file and nothing done yet."""
    (folder / "parameters").mkdir(parents=True)
    (folder / "parameters" / "microscopy.yml").write_text(BOOK)
    usage_file(folder)
    return Office(folder)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """An office where nothing has been done."""
    return new_office(tmp_path / "office")


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """An office whose April is loaded and rated; do not issue it."""
    office = new_office(tmp_path_factory.mktemp("rated") / "office")
    office.done("init")
    office.done("load", "MIC", "usage.csv")
    office.done("rate", "MIC", "2020-04")
    return office
