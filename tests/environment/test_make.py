"""What `make` offers: every target says what it does, and a refusal says what to install."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PLAIN_TOOLS = ("bash", "dirname", "env", "id", "make", "rm")


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine with no Python, no apt-get and little else."""
    for name in PLAIN_TOOLS:
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    return {"PATH": str(tmp_path), "HOME": str(tmp_path)}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The Makefile and the scripts in a new folder, with nothing set up yet."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    shutil.copy(ROOT / "Makefile", folder)
    return folder


def make(target: str, folder: Path, **options: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", target],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_make_help_lists_every_target() -> None:
    declared = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert declared
    listed = re.findall(r"^make ([a-z-]+) +\S", make("help", ROOT).stdout, re.MULTILINE)
    assert sorted(listed) == sorted(declared[1].split())


def test_without_python_the_demo_says_in_one_line_what_to_install(
    checkout: Path, bare: dict[str, str]
) -> None:
    said = make("demo", checkout, env=bare)
    assert said.returncode != 0
    sentence, *rest = said.stderr.splitlines()
    assert sentence.startswith("No Python from 3.11 to 3.14 found; install one")
    assert all(line.startswith("make: ***") for line in rest)


def test_where_nothing_can_be_installed_the_tests_say_which_packages_they_use(
    checkout: Path, bare: dict[str, str]
) -> None:
    said = make("test", checkout, env=bare)
    assert said.returncode != 0
    sentence, *rest = said.stderr.splitlines()
    assert sentence.startswith("The tests use ")
    assert re.search(r"as root: apt-get install .*\bbuildah\b", sentence)
    assert all(line.startswith("make: ***") for line in rest)
