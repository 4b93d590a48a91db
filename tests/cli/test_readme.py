"""The README's commands do what it says, in its order, in a folder of their own."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from billing_lib.settings import Settings

from .conftest import Office

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The commands of the README's blocks but the two that set up and test."""
    text = "".join(BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if not line.startswith("make ")]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """A folder with what the commands name: the price book, the log and the scenarios."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("parameters", "data", "tests/scenarios"):
        shutil.copytree(ROOT / name, folder / name)
    return Office(folder)


def test_the_commands_of_the_readme_work_one_after_the_other(office: Office) -> None:
    assert len(commands()) == 25
    for line in commands():
        if line.startswith(".venv/bin/billing "):
            words = shlex.split(line.removeprefix(".venv/bin/billing "))
            # The tree under test may hold changes that are not committed yet.
            issuing = words[0] in ("issue", "month")
            said = office.run(*words, *(["--allow-dirty"] if issuing else []))
        else:
            said = subprocess.run(
                ["bash", "-c", line], cwd=office.folder, capture_output=True, text=True, check=False
            )
        assert said.returncode == 0, f"{line}\n{said.stdout}{said.stderr}"
    records = sorted(path.parent.name for path in office.folder.glob("runs/*/*/*/bagit.txt"))
    assert records == ["RC-1993-11-1", "RC-1993-11-2"]


def test_every_document_that_is_named_is_there() -> None:
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for named in re.findall(
            r"`((?:docs|parameters|scripts|notebooks|tests)/[\w./-]+)`",
            document.read_text(encoding="utf-8"),
        ):
            assert (ROOT / named).exists(), f"{document.name} names {named}"


def test_every_setting_is_documented() -> None:
    documented = re.findall(r"`BILLING_(\w+)` \|", (ROOT / "docs" / "settings.md").read_text())
    assert [name.lower() for name in documented] == list(Settings.model_fields)
