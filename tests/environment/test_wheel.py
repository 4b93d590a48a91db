"""The wheel: built, installed outside any clone, and all of a month done with it in a site.

The wheel is built by way of an sdist from a clone that holds the working tree as a commit; its
environment has the lock's versions. Where uv has the packages in its cache, no network is needed.
"""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest
from sample_facility import BOOK, usage_file

ROOT = Path(__file__).parent.parent.parent
UV = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
MEGABYTES = 400
"""What an installed base may take, without the bytecode that Python makes of it as it runs."""

Said = subprocess.CompletedProcess[str]

# The wheel is built once.
pytestmark = pytest.mark.xdist_group("wheel")


def outside(**settings: str) -> dict[str, str]:
    """This process's environment without its Python and without settings, but for the given."""
    dropped = ("BILLING_", "PYTHON", "VIRTUAL_ENV", "UV_PROJECT")
    kept = {name: it for name, it in os.environ.items() if not name.startswith(dropped)}
    return kept | {"COLUMNS": "200", "PATH": "/usr/local/bin:/usr/bin:/bin"} | settings


def run(*words: object, folder: Path, **settings: str) -> Said:
    return subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=outside(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def done(*words: object, folder: Path, **settings: str) -> str:
    """The output of a command that has to succeed."""
    said = run(*words, folder=folder, **settings)
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout


@dataclass(frozen=True)
class Wheel:
    """A wheel, the clone that it was built from, and the clone's commit."""

    path: Path
    clone: Path
    commit: str


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    """Built from the working tree as a commit."""
    folder = tmp_path_factory.mktemp("wheel")
    clone = folder / "clone"
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.edu")
    done(*git, "clone", "--quiet", ROOT, clone, folder=folder)
    names = done(*git, "ls-files", "-z", "-co", "--exclude-standard", folder=ROOT).split("\0")
    for name in filter(None, names):
        target = clone / name
        target.unlink(missing_ok=True)
        if (ROOT / name).is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    done(*git, "add", "--all", folder=clone)
    done(*git, "commit", "--quiet", "--allow-empty", "--message", "Working tree", folder=clone)
    done(UV, "build", "--quiet", "--out-dir", folder / "dist", clone, folder=folder)
    (path,) = (folder / "dist").glob("*.whl")
    return Wheel(path, clone, done("git", "rev-parse", "HEAD", folder=clone).strip())


def install(wheel: Wheel, folder: Path, extra: str = "") -> Path:
    """A new environment with the wheel at the lock's versions; its ``billing``."""
    options = ("--quiet", "--frozen", "--no-dev", "--all-extras", "--no-hashes", "--no-header")
    locked = done(UV, "export", *options, "--no-emit-project", folder=wheel.clone)
    (folder / "locked.txt").write_text(locked)
    python = folder / "environment" / "bin" / "python"
    done(UV, "venv", "--quiet", "--python", sys.executable, folder / "environment", folder=folder)
    wanted = f"billing-notebooks{extra} @ {wheel.path.as_uri()}"
    pip = ("pip", "install", "--quiet", "--python", python, "--constraints", "locked.txt")
    done(UV, *pip, wanted, folder=folder)
    return python.with_name("billing")


@pytest.fixture(scope="module")
def billing(wheel: Wheel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``billing`` of an environment with the base alone."""
    return install(wheel, tmp_path_factory.mktemp("base"))


def environment_of(record: Path) -> dict[str, object]:
    return dict(json.loads((record / "data" / "environment.json").read_text()))


def test_a_month_in_a_site_and_the_next_one_by_a_changed_price_book(
    wheel: Wheel, billing: Path, tmp_path: Path
) -> None:
    made = done(billing, "init", "core", folder=tmp_path)
    site = tmp_path / "core"
    assert f"{site}: a site, with billing.toml, .gitignore, parameters/example.yml" in made
    (site / "parameters" / "example.yml").unlink()
    book = site / "parameters" / "microscopy.yml"
    book.write_text(BOOK)
    usage_file(site)
    below = site / "anywhere" / "below"
    below.mkdir(parents=True)
    done(billing, "load", "MIC", site / "usage.csv", folder=below)
    for month, date, slide, total in (
        ("2020-04", "2020-05-04", "1.25", "160.83"),
        ("2020-05", "2020-06-02", "1.50", "6.00"),
    ):
        book.write_text(BOOK.replace('"1.25"', f'"{slide}"'))
        done(billing, "rate", "MIC", month, folder=below)
        done(billing, "ready", "MIC", month, folder=below)
        issued = done(billing, "issue", "MIC", month, "--date", date, folder=below)
        assert f"total {total} USD" in issued
        record = site / "runs" / "MIC" / month / f"MIC-{month}-1"
        stated = environment_of(record)
        assert (stated["commit"], stated["dirty"], stated["changed"]) == (wheel.commit, False, [])
        assert stated["price_book"] == {
            "file": "microscopy.yml",
            "sha256": hashlib.sha256(book.read_bytes()).hexdigest(),
            "commit": None,
            "changed": None,
        }
        alone = run(billing, "verify", record, folder=tmp_path)
        assert alone.returncode == 3, alone.stderr  # no ledger here
        assert "notebook   right: the commit's" in alone.stdout
    copy = shutil.copytree(record, tmp_path / "copy")
    reproduced = done(billing, "reproduce", copy, folder=tmp_path)
    assert "the packages here are those of the recorded lock" in reproduced
    assert "reproduced, every result is the same" in reproduced
    of_another = copy / "data" / "environment.json"
    of_another.write_text(of_another.read_text().replace(wheel.commit, "0" * 40))
    refused = run(billing, "reproduce", copy, folder=tmp_path)
    assert refused.returncode == 2
    assert "nothing was run: the record is not as it was issued" in refused.stderr


def test_the_base_says_what_it_is_and_takes_little_room(wheel: Wheel, billing: Path) -> None:
    environment = billing.parent.parent
    said = done(billing, "--version", folder=environment)
    assert said == f"billing-notebooks 0.1.0, commit {wheel.commit}\n"
    files = (path for path in environment.rglob("*") if path.is_file() and not path.is_symlink())
    size = sum(path.stat().st_size for path in files if path.suffix != ".pyc")
    assert size < MEGABYTES * 10**6


@pytest.mark.parametrize(
    ("command", "extra"), [("lab", "lab"), ("portal", "portal")], ids=["lab", "portal"]
)
def test_a_command_whose_extra_is_missing_says_which(
    billing: Path, tmp_path: Path, command: str, extra: str
) -> None:
    done(billing, "init", folder=tmp_path)
    refused = run(billing, command, folder=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert refused.stderr.endswith(f"; run: pip install 'billing-notebooks[{extra}]'\n")


def test_the_demonstration_makes_a_site_of_its_own_in_an_empty_folder(
    billing: Path, tmp_path: Path
) -> None:
    first = done(billing, "demo", folder=tmp_path)
    assert first.startswith("There is no site here: made one in ./billing-demo\n")
    assert "no record has a fault, and each is reproduced" in first
    totals = {line.split()[1]: line.split()[-2] for line in first.splitlines() if "│" in line}
    # RC: tests/quarter/independent.py. MIC: 208.75 + 96.25 + 175.00 + 555.00, SHOP: 223.55 + 368.40
    # + 1893.50, worked out from the files by hand; tests/cli/test_demonstration.py has the lines.
    assert totals == {"Research": "5,540.83", "Microscopy": "1,035.00", "Workshop": "2,485.45"}
    record = tmp_path / "billing-demo" / "runs" / "RC" / "1993-10" / "RC-1993-10-1"
    assert environment_of(record)["dirty"] is False
    again = done(billing, "demo", folder=tmp_path)
    assert "Everything was done before; nothing changed." in again
    own = tmp_path / "own"
    done(billing, "init", own, folder=tmp_path)
    refused = run(billing, "demo", folder=own)
    assert refused.returncode == 2
    assert "this site is not the demonstration's" in refused.stderr


@pytest.fixture
def tampered(billing: Path) -> Iterator[str]:
    """A file of the installed program, changed for the length of a test; its name."""
    (path,) = billing.parent.parent.glob("lib/python3*/site-packages/billing_lib/batch/issuing.py")
    text = path.read_text()
    path.unlink()  # it may be the same file in uv's cache
    path.write_text(text + "# changed\n")
    yield "billing_lib/batch/issuing.py"
    path.write_text(text)


def test_an_installed_file_that_was_changed_is_named_and_nothing_issued(
    billing: Path, tampered: str, tmp_path: Path
) -> None:
    done(billing, "init", folder=tmp_path)
    said = run(billing, "month", "2020-04", "--allow-dirty", folder=tmp_path)
    assert said.returncode == 2
    assert f"are not as they were installed: {tampered}; install it again" in said.stderr
    assert "with changed files" in done(billing, "--version", folder=tmp_path)


def test_a_wheel_from_a_changed_tree_says_so_and_keeps_the_difference(
    wheel: Wheel, tmp_path: Path
) -> None:
    changed = tmp_path / "changed"
    done("git", "clone", "--quiet", wheel.clone, changed, folder=tmp_path)
    (changed / "billing_lib" / "added.py").write_text("NAME = 'added'\n")
    (changed / "parameters" / "own.yml").write_text("facility: {}\n")
    (changed / "november.csv").write_text("id\n")
    done(UV, "build", "--quiet", "--wheel", "--out-dir", "dist", changed, folder=tmp_path)
    (path,) = (tmp_path / "dist").glob("*.whl")
    with ZipFile(path) as built:
        stated = json.loads(built.read("billing_lib/program_files/build.json"))
        diff = built.read("billing_lib/program_files/source.diff")
        names = built.namelist()
    assert stated == {
        "commit": wheel.commit,
        "changed": ["billing_lib/added.py"],
        "dirty": True,
        "diff_sha256": hashlib.sha256(diff).hexdigest(),
    }
    assert b"+NAME = 'added'" in diff
    assert not [name for name in names if name.endswith(("own.yml", "november.csv"))]


def test_with_its_extra_the_lab_serves_the_overview(
    wheel: Wheel, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("lab")
    billing = install(wheel, folder, "[lab]")
    site = folder / "site"
    done(billing, "init", site, folder=folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("--no-browser", f"--port={port}", "--IdentityProvider.token=", "--allow-root")
    with (folder / "log").open("wb") as log:
        lab = subprocess.Popen(
            [billing, "lab", *options], cwd=site, env=outside(HOME=str(folder)), stderr=log
        )
    try:
        page = wait_for(f"http://127.0.0.1:{port}/doc/tree/home.ipynb", lab)
        assert "<title>JupyterLab</title>" in page, (folder / "log").read_text()
        assert (site / "office" / "home.ipynb").is_file()
    finally:
        lab.terminate()
        lab.wait(timeout=30)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> str:
    """A page of a server that is starting; '' where it ended or takes too long."""
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.3)
    return ""
