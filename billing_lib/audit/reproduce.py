"""Reproducing: run an archived record again and compare every result.

    origin        environment.json, each value checked: a commit is a full hash, an image a digest
    code          the record's own, proven by the commit's hash, then git apply of a dirty diff;
                  for an earlier record without it, that of a clone or a wheel of the same commit
    environment   the recorded container, if docker, podman or buildah has the image
                  else this Python, if its packages are the record's or other versions of its lock
                  else a temporary one, made by uv from the lock and the wheels beside the record
                  else this Python all the same, with its differences in words, unless strict
    run           the commit's notebooks on the archived snapshot, by papermill, in a sandbox
    compare       every result and document byte for byte, and the notebooks' displayed outputs

Reproducing needs no ledger and never writes to the record. Nothing is run before ``verify`` finds
no fault, and the changes of a dirty program only if they are accepted. No image is pulled. What is
run has no network, no home and no secrets (sandbox.py).
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import nbformat
from nbformat import NotebookNode
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from billing_lib.audit.clean_room import clean_environment
from billing_lib.audit.comparison import Difference, compare_folders, compare_notebooks
from billing_lib.audit.known import NOTHING, Known, apply_difference, from_clone
from billing_lib.audit.lock import PACKAGES, differences, make_environment, read_lock
from billing_lib.audit.program_source import read_program
from billing_lib.audit.proof import PROOF
from billing_lib.audit.provenance import (
    COMMIT,
    IMAGE,
    NO_CONTAINER,
    installed_packages,
    lock_sha256,
    python_version,
    running_image,
)
from billing_lib.audit.record import (
    ENVIRONMENT,
    EXECUTED,
    EXECUTED_NOTEBOOKS,
    NOTEBOOK,
    PARAMETERS,
    SOURCE_DIFF,
    executed_path,
)
from billing_lib.audit.sandbox import (
    SECONDS,
    NoSandbox,
    limited,
    python_folders,
    run_watched,
    sandbox_kind,
    without_network,
    wrapped,
)
from billing_lib.audit.verify import verify
from billing_lib.errors import InvalidRecord
from billing_lib.program import PACKAGE, ROOT, installed_source
from billing_lib.settings import anywhere
from billing_lib.workflow.steps import Progress, unheard

_SHA256 = r"^[0-9a-f]{64}$"


class Origin(BaseModel):
    """The commit and environment by which a record was made."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    commit: Annotated[str, Field(pattern=f"^(?:{COMMIT})$")]
    dirty: bool
    diff_sha256: Annotated[str, Field(pattern=_SHA256)] | None
    container: Annotated[str, Field(pattern=f"^(?:{NO_CONTAINER}|{IMAGE})$")]
    lock_sha256: Annotated[str, Field(pattern=_SHA256)]
    python: Annotated[str, Field(pattern=r"^\w+ \d+\.\d+\.\S+$")]
    packages: dict[str, str]


def read_origin(data: Path) -> Origin:
    """Read the environment.json in a record's ``data/``; InvalidRecord if it is invalid."""
    path = data / ENVIRONMENT
    try:
        return Origin.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidRecord(
            f"the record does not say where it comes from ({error.strerror})", where=str(path)
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InvalidRecord(
            f"the record does not say where it comes from ({key + ': ' if key else ''}"
            f"{first['msg']})",
            where=str(path),
            remedy="take the record from the archive again",
        ) from None


def check_out(origin: Origin, data: Path, repository: Path, target: Path) -> Path:
    """Put the code by which a record was made into a new folder, and return that folder.

    Parameters
    ----------
    data
        The record's ``data/``.
    repository
        A git repository, for records that hold no program. If it is none, the running program is
        copied, provided that it has the record's commit: that of an installed wheel, or
        BILLING_COMMIT inside an image.

    Raises
    ------
    InvalidRecord
        The commit is not available, or the recorded difference from it was changed.
    """
    held = read_program(data, origin.commit)
    if held is not None:
        held.write(target)
        return _with_difference(origin, data, target)
    if not (repository / ".git").exists():
        return _copy_running(origin, target)
    archive = from_clone(repository, origin.commit, "archive", "--format=tar", origin.commit)
    target.mkdir()
    subprocess.run(["tar", "-x", "-C", target], input=archive, check=True)
    return _with_difference(origin, data, target)


def _with_difference(origin: Origin, data: Path, target: Path) -> Path:
    if origin.dirty:
        _apply_difference(origin, data / SOURCE_DIFF, target)
    return target


def _copy_running(origin: Origin, target: Path) -> Path:
    """Copy the running program; InvalidRecord if the record was made by another one."""
    if (running := installed_source()) is not None:
        commit, differing = running.commit, bool(running.changed)
        same = (commit, differing, running.diff_sha256) == (
            *(origin.commit, origin.dirty, origin.diff_sha256),
        )
    else:
        commit, differing = anywhere().commit or "unknown", False
        same = (commit, origin.dirty) == (origin.commit, False)
    if not same:
        differs = " and its files differ from that" if differing else ""
        raise InvalidRecord(
            f"the record's commit {origin.commit} is not in reach: the running program is of "
            f"commit {commit}{differs}",
            remedy="run 'billing reproduce' from a clone that has the commit, or install its wheel",
        )
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, target / "billing_lib", ignore=ignored)
    shutil.copytree(ROOT / "notebooks", target / "notebooks")
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copyfile(ROOT / name, target / name)
    return target


def _apply_difference(origin: Origin, path: Path, target: Path) -> None:
    diff = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(diff).hexdigest() != origin.diff_sha256:
        raise InvalidRecord(
            "the difference from the commit is not the one that was recorded",
            where=str(path),
            remedy="take the record from the archive again",
        )
    try:
        apply_difference(diff, target)
    except InvalidRecord as error:
        raise InvalidRecord(error.what, where=str(path)) from None


def find_interpreter(
    origin: Origin, checkout: Path, target: Path, wheels: Path | None, strict: bool
) -> tuple[str, str]:
    """The path of a Python to run with, and a sentence that describes it.

    ``checkout`` holds the commit's uv.lock; an environment is made in ``target`` if needed, of the
    ``wheels`` if there are any. InvalidRecord if packages differ from the lock and ``strict``.
    """
    if lock_sha256(checkout) != origin.lock_sha256:
        raise InvalidRecord(
            "the commit's uv.lock is not the one that the record names",
            where=f"commit {origin.commit}",
        )
    lock = read_lock((checkout / "uv.lock").read_bytes())
    differing = differences(lock, origin.packages, installed_packages())
    other = python_version() != origin.python
    under = f" (here under {python_version()}, then under {origin.python})" if other else ""
    if not differing:
        return sys.executable, f"the packages here are those of the recorded lock{under}"
    refused = ""
    for python in dict.fromkeys((re.findall(r"\d+\.\d+", origin.python)[0], sys.executable)):
        refused = make_environment(checkout, python, target, wheels) or ""
        if not refused:
            made = str(target / "bin" / "python")
            return made, "an environment was made from the recorded lock"
    named = "; ".join(differing)
    if strict:
        raise InvalidRecord(
            f"the packages here are not those of the record's lock: {named}; {refused}",
            remedy="install uv where it can reach the packages, or name a folder of their wheels",
        )
    return sys.executable, f"the environment here is not the recorded lock's: {named}{under}"


MOUNTED = "/work"
"""The path of the mounted folder inside the container."""

_STATUS = "/run/billing-status"
_ENGINE_FAILED = 125  # the status of docker and podman for a command that did not start


def find_engine(image: str) -> str | None:
    """The first tool here that has an image (``name@sha256:…``), or None."""
    for tool in ("docker", "podman", "buildah"):
        if shutil.which(tool) and _has(tool, image):
            return tool
    return None


def image_commit(tool: str, image: str) -> str | None:
    """The commit of the code in an image: its BILLING_COMMIT, or None without one."""
    if tool == "buildah":
        words = ["buildah", "inspect", "--type", "image", "--format", "{{.OCIv1.Config.Env}}"]
        inspected = _run_engine(*words, image)
    else:
        name = image if tool == "podman" else _docker_name(image)
        inspected = _run_engine(tool, "image", "inspect", "--format", "{{.Config.Env}}", name)
    commit = re.search(r"\bBILLING_COMMIT=([0-9a-f]{40,64})\b", inspected.stdout)
    return commit[1] if inspected.returncode == 0 and commit else None


def run_inside(
    tool: str,
    image: str,
    folder: Path,
    command: Sequence[str],
    *,
    within: str = ".",
    beat: Callable[[], None] = lambda: None,
) -> subprocess.CompletedProcess[str]:
    """Run a command inside an image, by a tool of ``find_engine``.

    Parameters
    ----------
    folder
        Mounted as ``MOUNTED`` for reading and writing.
    within
        The command's working folder, relative to the mounted one.
    beat
        As of ``run_watched``.

    Raises
    ------
    InvalidRecord
        The tool did not start the command.
    """
    where = str(PurePosixPath(MOUNTED) / within)
    if tool == "buildah":
        return _buildah(image, folder, where, command, beat)
    name = image if tool == "podman" else _docker_name(image)
    user = f"{os.getuid()}:{os.getgid()}"
    options = ["--rm", "--network", "none", "--user", user, "--workdir", where]
    options += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "4096"]
    if tool == "podman" and os.getuid() != 0:
        options += ["--userns", "keep-id"]
    mount = ["--volume", f"{folder}:{MOUNTED}", "--entrypoint", command[0]]
    done = run_watched([tool, "run", *options, *mount, name, *command[1:]], beat)
    if done.returncode == _ENGINE_FAILED:
        raise _not_run(tool, image, done)
    return done


def _buildah(
    image: str, folder: Path, where: str, command: Sequence[str], beat: Callable[[], None]
) -> subprocess.CompletedProcess[str]:
    made = _run_engine("buildah", "from", "--pull-never", image)
    if made.returncode != 0:
        raise _not_run("buildah", image, made)
    container = made.stdout.strip()
    # buildah 1.28 panics with its own status when it cannot clean up after a successful command
    # (its run_linux.go logs that to no logger), so the command's status is kept in a file.
    with tempfile.TemporaryDirectory(prefix="billing-status-") as kept:
        try:
            user = f"{os.getuid()}:{os.getgid()}"
            options = ["--isolation", "chroot", "--user", user, "--workingdir", where]
            mounts = ["--volume", f"{folder}:{MOUNTED}", "--volume", f"{kept}:{_STATUS}"]
            keeping = ["sh", "-c", f'"$@"; echo $? >{_STATUS}/status', "sh", *command]
            words = ["buildah", "run", *options, *mounts, container, "--", *keeping]
            done = run_watched(without_network(words) or words, beat, env=_environment("buildah"))
        finally:
            _run_engine("buildah", "rm", container)
        status = Path(kept, "status")
        if not status.exists():
            raise _not_run("buildah", image, done)
        done.returncode = int(status.read_text())
        return done


def _not_run(tool: str, image: str, done: subprocess.CompletedProcess[str]) -> InvalidRecord:
    lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
    return InvalidRecord(
        f"{tool} did not run the container: {lines[0]}",
        where=image,
        remedy=f"see that {tool} runs this image, or take the image away to run without it",
    )


def _has(tool: str, image: str) -> bool:
    if tool == "docker":
        return _known(tool, "image", "inspect", _docker_name(image))
    if tool == "podman":
        return _known(tool, "image", "exists", image)
    return _known(tool, "inspect", "--type", "image", image)


def _docker_name(image: str) -> str:
    """The name of an image in docker: by digest once it was pushed, by bare id until then."""
    return image if _known("docker", "image", "inspect", image) else image.partition("@")[2]


def _known(*words: str) -> bool:
    return _run_engine(*words).returncode == 0


def _run_engine(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, env=_environment(words[0]), capture_output=True, text=True, check=False
    )


def _environment(tool: str) -> dict[str, str] | None:
    # Inside another container buildah's other storage drivers do not work.
    return {"STORAGE_DRIVER": "vfs"} | os.environ if tool == "buildah" else None


_STEPS = 4


class ChangedProgram(InvalidRecord):
    """A record was issued from changed files, which nobody has accepted yet."""


@dataclass(frozen=True)
class Reproduction:
    """The result of running a record again.

    ``differences`` is empty if everything is the same; ``environment`` is one sentence on the
    environment of the run and its sandbox.
    """

    differences: tuple[Difference, ...]
    environment: str


def changes_sentence(record: Path) -> str | None:
    """A sentence on the changed files from which a record was issued; None if there were none."""
    data = record / "data"
    origin = read_origin(data)
    if not origin.dirty:
        return None
    diff = data / SOURCE_DIFF
    size = diff.stat().st_size if diff.is_file() else 0
    return (
        f"issued from changed files: {size:,} bytes of difference from the commit {origin.commit}, "
        f"in data/{SOURCE_DIFF}"
    )


def reproduce(
    record: Path,
    *,
    known: Known = NOTHING,
    wheels: Path | None = None,
    strict: bool = False,
    accept_changes: bool = False,
    unsandboxed: bool = False,
    step: Progress = unheard,
) -> Reproduction:
    """Run a record again and compare every result.

    Nothing is run before ``verify`` finds no fault. The notebooks are the commit's, not the
    record's.

    Parameters
    ----------
    known
        What the record is verified with; its clone has the recorded commit, for records that do
        not hold their program, by default the running program's own files or an installed wheel.
    wheels
        A folder with the lock's packages; by default ``packages`` beside the record.
    strict
        Refuse to run where packages differ from the recorded lock.
    accept_changes
        Run a record that was issued from changed files, with these changes.
    unsandboxed
        Run without a sandbox where none is there.
    step
        Called with the progress, twice a second while the notebook runs; if it raises, the
        notebook is ended.

    Raises
    ------
    InvalidRecord
        The folder is no record, it has a fault, its commit is unknown, or its environment is not
        available.
    ChangedProgram
        It was issued from changed files, and ``accept_changes`` is False.
    NoSandbox
        There is no sandbox here, and ``unsandboxed`` is False.
    """
    step(0, _STEPS, "verifying the record")
    findings = verify(record, known).findings
    if findings:
        raise InvalidRecord(
            f"nothing was run: the record is not as it was issued ({findings[0]})",
            where=str(record),
            remedy="'billing verify' lists every fault; take the record from a copy",
        )
    data = record / "data"
    origin = read_origin(data)
    changes = changes_sentence(record)
    if changes is not None and not accept_changes:
        raise ChangedProgram(
            f"nothing was run: it was {changes}",
            where=str(record),
            remedy="read that file, and accept the changes if they may be run",
        )
    with tempfile.TemporaryDirectory(prefix="billing-reproduce-") as folder:
        place = Path(folder)
        work = place / "data"
        _lay_out(data, work)
        step(1, _STEPS, "making its environment")
        beside = record.absolute().parent / PACKAGES
        packages = wheels or (beside if beside.is_dir() else None)
        running = _Running(origin, data, place, known.repository, unsandboxed, packages, strict)
        done, environment = _run(running, step)
        _require_plain(work)
        if done.returncode != 0:
            return Reproduction((_failure(done, work),), environment)
        step(3, _STEPS, "comparing every result")
        differences = (
            *_compare_inputs(data, work),
            *compare_folders(data, work, "invoices"),
            *compare_folders(data, work, "documents"),
            *_compare_executed(data, work),
        )
        return Reproduction(differences, environment)


def _require_plain(work: Path) -> None:
    """Raise InvalidRecord if the run left links or pipes, which are not to be followed or read."""
    for path in work.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            name = path.relative_to(work).as_posix()
            raise InvalidRecord(f"the program of the record made a link or a pipe of {name}")


def _compare_inputs(data: Path, work: Path) -> list[Difference]:
    """The differences between the record's notebooks and the commit's, which were run."""
    differences: list[Difference] = []
    for name in executed_notebooks(data):
        if (data / name).read_bytes() != (work / name).read_bytes():
            compared = compare_notebooks(data / name, work / name, name)
            apart = Difference(name, ("it is not the commit's, byte for byte",))
            differences += compared or [apart]
    return differences


def _compare_executed(data: Path, work: Path) -> list[Difference]:
    # An extract of one invoice has no executed notebook, which showed all invoices.
    if (data / PROOF).is_file() and not (data / EXECUTED).exists():
        return []
    executed = (executed_path(name) for name in executed_notebooks(data))
    return [
        difference
        for name in executed
        for difference in compare_notebooks(data / name, work / name, name)
    ]


def _lay_out(data: Path, work: Path) -> None:
    """Copy the files that the notebook reads; they are the record's own, as verify saw them."""
    needed = [data / NOTEBOOK, data / PARAMETERS, data / "snapshot"]
    missing = [path for path in needed if not path.exists()]
    if missing:
        raise InvalidRecord(
            "the record has no such file",
            where=str(missing[0]),
            remedy="take the record from the archive again",
        )
    (work / NOTEBOOK).parent.mkdir(parents=True)
    shutil.copyfile(data / PARAMETERS, work / PARAMETERS, follow_symlinks=False)
    (work / "snapshot").mkdir()
    for path in (data / "snapshot").iterdir():
        if path.is_file() and not path.is_symlink():
            shutil.copyfile(path, work / "snapshot" / path.name)


@dataclass(frozen=True)
class _Running:
    """A record that is run: the arguments of ``reproduce``, and the folder ``place`` to run in."""

    origin: Origin
    data: Path
    place: Path
    repository: Path
    unsandboxed: bool
    packages: Path | None
    strict: bool

    @property
    def notebooks(self) -> list[str]:
        """The paths of the notebooks to execute."""
        return executed_notebooks(self.data)

    def check_out(self) -> Path:
        """Put the code into a new folder, and return that folder."""
        return check_out(self.origin, self.data, self.repository, self.place / "source")


def _run(running: _Running, step: Progress) -> tuple[subprocess.CompletedProcess[str], str]:
    """Execute the notebooks in ``place/data``; papermill's result, and the environment as words."""
    container, inside = running.origin.container, running_image()
    if container not in (NO_CONTAINER, inside):
        tool = find_engine(container)
        if tool is not None:
            return _run_in_container(tool, running, step)
    kind = sandbox_kind()
    if kind is None and not running.unsandboxed:
        raise NoSandbox(
            "nothing was run: there is no sandbox here (neither bubblewrap nor user namespaces)",
            remedy="install bubblewrap, or allow it to run without a sandbox",
        )
    checkout, place = running.check_out(), running.place
    python, matched = find_interpreter(
        running.origin, checkout, place / "environment", running.packages, running.strict
    )
    work, home = place / "data", place / "home"
    home.mkdir()
    for name in running.notebooks:
        shutil.copyfile(checkout / "notebooks" / Path(name).name, work / name)
    inputs = [work / name for name in ("snapshot", PARAMETERS, *running.notebooks)]
    read = [*python_folders(python), checkout, *inputs]
    words = wrapped(kind, _papermill(python, running.notebooks), read, [work, home], work)
    environment = clean_environment(home, checkout)
    done = run_watched(limited(words), _beat(step), cwd=work, env=environment)
    said = f"sandboxed by {kind}" if kind else "without a sandbox"
    if container == NO_CONTAINER:
        return done, f"{said}; the record names no container; {matched}"
    if container == inside:
        return done, f"{said}; inside the recorded container {container}"
    return done, f"{said}; the recorded container {container} is not here; only {matched}"


_IN_IMAGE = (
    'cp "$(python -c "from billing_lib.program import NOTEBOOKS; print(NOTEBOOKS)")"/*.ipynb '
    'notebook/ && exec "$@"'
)
"""Shell that runs a command beside the notebooks of the code that is imported."""


def _run_in_container(
    tool: str, running: _Running, step: Progress
) -> tuple[subprocess.CompletedProcess[str], str]:
    """Execute it inside the image, by the image's code if its commit fits, else by a checkout."""
    origin, whose = running.origin, ""
    image = origin.container
    command = ["sh", "-c", _IN_IMAGE, "sh", *_papermill("python", running.notebooks)]
    if origin.dirty or image_commit(tool, image) != origin.commit:
        running.check_out()
        command = ["env", f"PYTHONPATH={MOUNTED}/source", *command]
        whose = ", by the code of the recorded commit"
    if tool == "buildah" and without_network([]) is None:
        if not running.unsandboxed:
            raise NoSandbox(
                "nothing was run: buildah keeps the network away from a container only for root",
                remedy="run it as root or by podman, or allow it to run without a sandbox",
            )
        whose += ", with this machine's network"
    done = run_inside(tool, image, running.place, command, within="data", beat=_beat(step))
    return done, f"in the recorded container {image}, by {tool}{whose}"


def _beat(step: Progress) -> Callable[[], None]:
    return lambda: step(2, _STEPS, "running the commit's notebooks again")


_PAPERMILL = """
import sys

sys.modules["rfc3987_syntax"] = None  # jsonschema's parsers of IRIs, which no notebook has
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync

kernel = AsyncKernelManager()
run_sync(kernel.start_kernel)()
try:
    import papermill
    from papermill.iorw import read_yaml_file

    for notebook in sys.argv[2:]:
        parameters = read_yaml_file(sys.argv[1])
        if not notebook.endswith("/issue.ipynb"):
            del parameters["run"]
        papermill.execute_notebook(
            notebook,
            notebook.replace(".ipynb", ".executed.ipynb"),
            parameters,
            cwd=".",
            progress_bar=False,
            request_save_on_cell_execute=False,
            km=kernel,
        )
finally:
    run_sync(kernel.shutdown_kernel)(now=True)
"""
"""Executes notebooks in one kernel, as issuing does; it starts while papermill is imported."""


def executed_notebooks(data: Path) -> list[str]:
    """The paths of the notebooks that were executed for a record, in their order.

    Records of earlier versions and extracts have the issuing notebook alone.
    """
    names = (f"notebook/{name}.ipynb" for name in EXECUTED_NOTEBOOKS)
    return [name for name in names if (data / name).is_file()]


def _papermill(python: str, notebooks: list[str]) -> list[str]:
    return [python, "-c", _PAPERMILL, PARAMETERS, *notebooks]


def _failure(done: subprocess.CompletedProcess[str], work: Path) -> Difference:
    """The failing cells with their errors; else that no kernel started, or why it ended."""
    cells: list[NotebookNode] = []
    for name in executed_notebooks(work):
        try:
            text = (work / executed_path(name)).read_text(encoding="utf-8")
            cells += nbformat.reads(text, as_version=4).cells
        except (OSError, ValueError):  # papermill failed before writing one
            break
    errors = [
        f"in cell {cell.execution_count}: {output.ename}: {output.evalue}"
        for cell in cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]
    if errors:
        return Difference(NOTEBOOK, ("the notebook fails now", *errors))
    last = done.stderr.strip().splitlines()[-5:]
    if done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL):
        last = [*last, f"it was ended: it took more than its memory or {SECONDS:,} seconds"]
    raise InvalidRecord(
        "the notebook was not executed: "
        + ("; ".join(last) or f"papermill ended with status {done.returncode}"),
        where="this environment, not the record",
        remedy="see that a Jupyter kernel starts here, then reproduce again",
    )
