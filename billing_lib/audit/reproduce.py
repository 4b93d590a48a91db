"""Reproducing: run an archived record again and compare every cent of it.

The archived notebook runs on the archived snapshot, by the code of the recorded commit, in the
recorded container or else in the environment that the recorded lock states. It needs no ledger,
and the record itself is never written to.

    invoices/RC-1994-00001.json differs
      -  "total": "220.83"
      +  "total": "220.84"

Running a record runs the code in it: reproduce what comes from an archive that you trust, or
whose signature holds.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from billing_lib.audit.checkout import check_out
from billing_lib.audit.comparison import Difference, compare_folders, compare_notebooks
from billing_lib.audit.container import MOUNTED, find_engine, image_commit, run_inside
from billing_lib.audit.crate import EXECUTED, NOTEBOOK, PARAMETERS
from billing_lib.audit.interpreter import find_interpreter
from billing_lib.audit.origin import Origin, read_origin
from billing_lib.audit.provenance import NO_CONTAINER, SOURCE
from billing_lib.audit.running import run_watched
from billing_lib.audit.verify import require_record, verify
from billing_lib.errors import InvalidRecord
from billing_lib.settings import settings
from billing_lib.workflow.steps import Step, unheard

_STEPS = 4


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


def reproduce(
    record: Path, *, repository: Path | None = None, step: Step = unheard
) -> Reproduction:
    """Run a record again and compare.

    Parameters
    ----------
    step
        Told how far it is, while the notebook runs twice a second; stopping ends it.
    repository
        The git repository that has the recorded commit; by default the running program's.

    Raises
    ------
    InvalidRecord
        It cannot be run here: no record, an unknown commit, an environment that cannot be had.
    """
    require_record(record)
    data = record / "data"
    origin = read_origin(data)
    step(0, _STEPS, "verifying the record")
    damaged = [
        Difference(found.file, (f"{found.what}: the record is damaged",))
        for found in verify(record)
    ]
    with tempfile.TemporaryDirectory(prefix="billing-reproduce-") as folder:
        place = Path(folder)
        work = place / "data"
        _lay_out(data, work)
        step(1, _STEPS, "making its environment")
        done, environment = _run(origin, data, place, repository or SOURCE, step)
        if done.returncode != 0:
            failed = Difference(NOTEBOOK, ("the notebook fails now", *_failure(done, work)))
            return Reproduction((*damaged, failed), environment)
        step(3, _STEPS, "comparing every result")
        differences = (
            *damaged,
            *compare_folders(data, work, "invoices"),
            *compare_folders(data, work, "documents"),
            *compare_notebooks(data / EXECUTED, work / EXECUTED, EXECUTED),
        )
        return Reproduction(differences, environment)


def _lay_out(data: Path, work: Path) -> None:
    """Copy what the notebook reads."""
    needed = [data / NOTEBOOK, data / PARAMETERS, data / "snapshot"]
    missing = [path for path in needed if not path.exists()]
    if missing:
        raise InvalidRecord(
            "the record has no such file",
            where=str(missing[0]),
            remedy="take the record from the archive again",
        )
    (work / NOTEBOOK).parent.mkdir(parents=True)
    shutil.copyfile(data / NOTEBOOK, work / NOTEBOOK)
    shutil.copyfile(data / PARAMETERS, work / PARAMETERS)
    shutil.copytree(data / "snapshot", work / "snapshot")


def _run(
    origin: Origin, data: Path, place: Path, repository: Path, step: Step
) -> tuple[subprocess.CompletedProcess[str], str]:
    """Execute the notebook in ``place/data``; what came of it, and in what it ran."""
    container, inside = origin.container, settings().image
    if container not in (NO_CONTAINER, inside):
        tool = find_engine(container)
        if tool is not None:
            return _run_in_container(tool, origin, data, place, repository, step)
    checkout = check_out(origin, data, repository, place / "source")
    python, matched = find_interpreter(origin, checkout, place / "environment")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BILLING_")}
    apart = {
        "PYTHONPATH": str(checkout),
        "PYTHONDONTWRITEBYTECODE": "1",
        "IPYTHONDIR": str(place / "ipython"),  # no start-up file of the user's
        "JUPYTER_PREFER_ENV_PATH": "1",  # this Python's kernel, not one that the user installed
    }
    done = run_watched(_papermill(python), _beat(step), cwd=place / "data", env=kept | apart)
    if container == NO_CONTAINER:
        return done, f"the record names no container; {matched}"
    if container == inside:
        return done, f"inside the recorded container {container}"
    return done, f"the recorded container {container} is not here; only {matched}"


def _run_in_container(
    tool: str, origin: Origin, data: Path, place: Path, repository: Path, step: Step
) -> tuple[subprocess.CompletedProcess[str], str]:
    """The same inside the image, by its own code if that is the commit's, else by a checkout."""
    image, command, whose = origin.container, _papermill("python"), ""
    if origin.dirty or image_commit(tool, image) != origin.commit:
        check_out(origin, data, repository, place / "source")
        command = ["env", f"PYTHONPATH={MOUNTED}/source", *command]
        whose = ", by the code of the recorded commit"
    done = run_inside(tool, image, place, command, within="data", beat=_beat(step))
    return done, f"in the recorded container {image}, by {tool}{whose}"


def _beat(step: Step) -> Callable[[], None]:
    return lambda: step(2, _STEPS, "running the archived notebook again")


def _papermill(python: str) -> list[str]:
    options = ["--cwd", ".", "--parameters_file", PARAMETERS, "--no-progress-bar"]
    return [python, "-m", "papermill", NOTEBOOK, EXECUTED, *options]


def _failure(done: subprocess.CompletedProcess[str], work: Path) -> list[str]:
    """Where and why the notebook failed; what papermill said, if it was not in a cell."""
    try:
        text = (work / EXECUTED).read_text(encoding="utf-8")
        notebook: NotebookNode = nbformat.reads(text, as_version=4)
    except (OSError, ValueError):  # papermill did not come as far as to write one
        notebook = NotebookNode(cells=[])
    said = [
        f"in cell {cell.execution_count}: {output.ename}: {output.evalue}"
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]
    last = done.stderr.strip().splitlines()[-5:]
    return said or last or [f"papermill ended with status {done.returncode}"]
