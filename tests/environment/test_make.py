"""What `make` offers: every target says what it does, and a refusal says what to install."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PLAIN_TOOLS = ("bash", "dirname", "env", "id", "make", "readlink", "rm", "stat")


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


def make(*words: str, folder: Path, **options: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *words],
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
    listed = re.findall(r"^make ([a-z-]+) +\S", make("help", folder=ROOT).stdout, re.MULTILINE)
    assert sorted(listed) == sorted(declared[1].split())


def test_without_python_the_demo_says_in_one_line_what_to_install(
    checkout: Path, bare: dict[str, str]
) -> None:
    said = make("demo", folder=checkout, env=bare)
    assert said.returncode != 0
    sentence, *rest = said.stderr.splitlines()
    assert sentence.startswith("No Python from 3.11 to 3.14 found; install one")
    assert all(line.startswith("make: ***") for line in rest)


def test_where_nothing_can_be_installed_the_tests_say_which_packages_they_use(
    checkout: Path, bare: dict[str, str]
) -> None:
    said = make("test", folder=checkout, env=bare)
    assert said.returncode != 0
    sentence, *rest = said.stderr.splitlines()
    assert sentence.startswith("The tests use ")
    assert re.search(r"as root: apt-get install .*\bbuildah\b", sentence)
    assert all(line.startswith("make: ***") for line in rest)


def test_some_tests_run_without_the_packages_that_others_use(
    checkout: Path, bare: dict[str, str]
) -> None:
    """They come as far as setting up, which says in its turn that there is no Python."""
    said = make("test", "T=tests/pricing", folder=checkout, env=bare)
    warning, sentence, *rest = said.stderr.splitlines()
    assert warning.startswith("Some tests fail without packages that are not here; as root: ")
    assert re.search(r" apt-get install .*\bchromium\b", warning)
    assert sentence.startswith("No Python from 3.11 to 3.14 found; install one")
    assert all(line.startswith("make: ***") for line in rest)


def test_the_words_of_t_go_to_pytest() -> None:
    planned = make("--dry-run", "test", "T=tests/pricing -k 'this or that'", folder=ROOT)
    assert planned.stdout == "scripts/test.sh tests/pricing -k 'this or that'\n"
    assert make("--dry-run", "test", folder=ROOT).stdout.split() == ["scripts/test.sh"]
    assert (ROOT / "scripts" / "test.sh").read_text().splitlines()[-1].endswith(' "$@"')


def library(call: str, **environment: str) -> str:
    """The output of a function of scripts/lib.sh."""
    return subprocess.run(
        ["bash", "-euc", f". scripts/lib.sh; {call}"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"} | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_uv_python_names_the_interpreter_that_is_taken_first() -> None:
    assert library("find_python", UV_PYTHON=sys.executable) == sys.executable
    assert library("python_fits false || echo none", UV_PYTHON="false") == "none"


def test_an_interpreter_that_others_cannot_reach_is_found_out(tmp_path: Path) -> None:
    interpreter = tmp_path / "home" / "versions" / "python"
    interpreter.parent.mkdir(parents=True)
    interpreter.touch(mode=0o755)
    link = tmp_path / "python"
    link.symlink_to(interpreter)
    for closed, folder in ((0o700, "home"), (0o750, "home/versions")):
        (tmp_path / folder).chmod(closed)
        assert library(f"closed_to_others '{link}'") == str(tmp_path / folder)
    assert library("closed_to_others /usr/bin/env") == ""


def test_the_list_of_packages_names_each_once_with_a_sign_of_it() -> None:
    lines = (ROOT / "scripts" / "test-packages.txt").read_text().splitlines()
    rows = [line.split(maxsplit=2) for line in lines if line and not line.startswith("#")]
    assert len({row[0] for row in rows}) == len({row[1] for row in rows}) == len(rows)
    assert library("missing_packages") == "", "what stands here is what the suite runs with"
