"""Reproducing: run an archived record again and compare every cent of it.

The archived notebook runs on the archived snapshot, by the code of the recorded commit, in the
recorded container or else in the environment that the recorded lock states. It needs no ledger,
and the record itself is never written to.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from billing_lib.audit.comparison import Difference, compare_folders, compare_notebooks
from billing_lib.audit.container import find_engine, run_inside
from billing_lib.audit.crate import EXECUTED, NOTEBOOK
from billing_lib.audit.provenance import NO_CONTAINER, SOURCE, git, lock_sha256, packages
from billing_lib.audit.record import ENVIRONMENT, SOURCE_DIFF
from billing_lib.audit.verify import require_record, verify
from billing_lib.errors import InvalidRecord
from billing_lib.settings import settings

PARAMETERS = "parameters.yml"


@dataclass(frozen=True)
class Reproduction:
    """What running a record again came to.

    Attributes
    ----------
    differences
        Empty if everything is the same.
    environment
        One sentence on what it ran in.
    """

    differences: tuple[Difference, ...]
    environment: str


@dataclass(frozen=True)
class _Ran:
    failure: str | None
    environment: str


def reproduce(record: Path, *, repository: Path = SOURCE) -> Reproduction:
    """Run a record again and compare.

    Parameters
    ----------
    repository
        The git repository that has the recorded commit.

    Raises
    ------
    InvalidRecord
        It cannot be run here: no record, an unknown commit, an environment that cannot be had.
    """
    require_record(record)
    data = record / "data"
    origin = _read_environment(data)
    damaged = [
        Difference(found.file, (f"{found.what}: the record is damaged",))
        for found in verify(record)
    ]
    with tempfile.TemporaryDirectory(prefix="billing-reproduce-") as folder:
        work = Path(folder) / "data"
        _lay_out(data, work)
        ran = _run(origin, data, work, Path(folder) / "source", repository)
        if ran.failure is not None:
            failed = Difference(NOTEBOOK, ("the notebook fails now", *ran.failure.splitlines()))
            return Reproduction((*damaged, failed), ran.environment)
        differences = (
            *damaged,
            *compare_folders(data, work, "invoices"),
            *compare_folders(data, work, "documents"),
            *compare_notebooks(data / EXECUTED, work / EXECUTED, EXECUTED),
        )
        return Reproduction(differences, ran.environment)


def _read_environment(data: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((data / ENVIRONMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidRecord(
            f"the record does not say where it comes from ({error})", where=str(data / ENVIRONMENT)
        ) from None
    missing = {"commit", "container", "lock_sha256", "packages"} - content.keys()
    if missing:
        raise InvalidRecord(f"it does not say the {min(missing)}", where=str(data / ENVIRONMENT))
    return content


def _lay_out(data: Path, work: Path) -> None:
    """Copy what the notebook reads."""
    needed = [data / NOTEBOOK, data / PARAMETERS, data / "snapshot", data / EXECUTED]
    missing = [path for path in needed if not path.exists()]
    if missing:
        raise InvalidRecord("the record has no such file", where=str(missing[0]))
    (work / NOTEBOOK).parent.mkdir(parents=True)
    shutil.copyfile(data / NOTEBOOK, work / NOTEBOOK)
    shutil.copyfile(data / PARAMETERS, work / PARAMETERS)
    shutil.copytree(data / "snapshot", work / "snapshot")


def _run(origin: dict[str, Any], data: Path, work: Path, source: Path, repository: Path) -> _Ran:
    container, current = origin["container"], settings()
    if container not in (NO_CONTAINER, current.image):
        tool = find_engine(container)
        if tool is not None:
            done = run_inside(tool, container, work, _papermill("python"))
            return _Ran(_failure(done), f"in the recorded container {container}, by {tool}")
    checkout = _checkout(origin, data, source, repository)
    python, matched = _interpreter(checkout, origin)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BILLING_")}
    done = subprocess.run(
        _papermill(python),
        cwd=work,
        env=kept | {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if container == NO_CONTAINER:
        where = f"the record names no container; {matched}"
    elif container == current.image:
        where = f"inside the recorded container {container}"
    else:
        where = f"the recorded container {container} is not here; only {matched}"
    return _Ran(_failure(done), where)


def _papermill(python: str) -> list[str]:
    options = ["--cwd", ".", "--parameters_file", PARAMETERS, "--no-progress-bar"]
    return [python, "-m", "papermill", NOTEBOOK, EXECUTED, *options]


def _failure(done: subprocess.CompletedProcess[str]) -> str | None:
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return "\n".join(lines[-5:]) or f"papermill ended with status {done.returncode}"


def _checkout(origin: dict[str, Any], data: Path, source: Path, repository: Path) -> Path:
    """The code of the recorded commit, with the recorded difference."""
    commit = origin["commit"]
    if not (repository / ".git").exists():
        if settings().commit == commit:
            return repository
        raise InvalidRecord(
            f"the record's commit {commit} is not in reach: {repository} is no git repository",
            remedy="run 'billing reproduce' from a clone that has the commit",
        )
    source.mkdir()
    try:
        archive = git(repository, "archive", "--format=tar", commit)
    except subprocess.CalledProcessError:
        raise InvalidRecord(
            f"the repository {repository} does not have the record's commit {commit}",
            remedy="fetch it, and reproduce again",
        ) from None
    subprocess.run(["tar", "-x", "-C", source], input=archive, check=True)
    if origin.get("dirty"):
        _apply_difference(origin, data, source)
    return source


def _apply_difference(origin: dict[str, Any], data: Path, source: Path) -> None:
    diff = (data / SOURCE_DIFF).read_bytes()
    if hashlib.sha256(diff).hexdigest() != origin.get("diff_sha256"):
        raise InvalidRecord("the difference from the commit is not as recorded", where=SOURCE_DIFF)
    subprocess.run(
        ["git", "apply", "--binary", "--whitespace=nowarn", "-"],
        cwd=source,
        input=diff,
        env=os.environ | {"GIT_CEILING_DIRECTORIES": str(source.parent)},
        check=True,
    )


def _interpreter(checkout: Path, origin: dict[str, Any]) -> tuple[str, str]:
    """A Python with the locked packages, and a sentence on it."""
    if lock_sha256(checkout) != origin["lock_sha256"]:
        raise InvalidRecord(
            "the commit's uv.lock is not the one that the record names", where=str(checkout)
        )
    here = packages()
    if all(here.get(name, version) == version for name, version in origin["packages"].items()):
        return sys.executable, "the packages here are those of the recorded lock"
    made = _synchronised(checkout)
    if made is None:
        raise InvalidRecord(
            "the environment of the record's lock is not the one here, and cannot be made",
            remedy="install uv, and reproduce again where it can reach the packages",
        )
    return made, "an environment was made from the recorded lock"


def _synchronised(checkout: Path) -> str | None:
    uv = shutil.which("uv") or shutil.which("uv", path=str(SOURCE / ".tools" / "bin"))
    if uv is None:
        return None
    kept = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    done = subprocess.run(
        [uv, "sync", "--quiet", "--frozen", "--no-dev", "--project", str(checkout)],
        env=kept,
        capture_output=True,
        check=False,
    )
    python = checkout / ".venv" / "bin" / "python"
    return str(python) if done.returncode == 0 and python.exists() else None
