"""The program's own files and its commit, in a clone and in an installed wheel alike.

    clone    notebooks/ data/ … beside billing_lib/   git says the commit and what differs
    sdist    notebooks/ data/ … beside billing_lib/   program_files/build.json says it
    wheel    notebooks/ data/ … in program_files/     the same, and RECORD has every file's hash

Only the standard library is imported here, and nothing of billing_lib: the build hook
(hatch_build.py) loads this file alone.
"""

import base64
import hashlib
import json
import os
import subprocess
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

NAME = "billing-notebooks"

PACKAGE = Path(__file__).absolute().parent
"""The folder of the package billing_lib."""

CARRIED = PACKAGE / "program_files"
"""Where a wheel carries the files that stand beside billing_lib/ in a clone."""

INSTALLED = (CARRIED / "notebooks").is_dir()
"""Whether the program runs from an installed wheel."""

ROOT = CARRIED if INSTALLED else PACKAGE.parent
"""The folder with notebooks/, data/, parameters/, pyproject.toml and uv.lock."""

NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "data"
PARAMETERS = ROOT / "parameters"
"""The price book of the demonstration."""

BUILD, DIFF = "build.json", "source.diff"
"""The files in ``CARRIED`` that say the commit of a wheel and how its tree differed from that."""

FILES = (
    *("billing_lib", "notebooks", "pyproject.toml", "uv.lock", "hatch_build.py"),
    *("Dockerfile", "environment.yml", "jupyterhub_config.py", "scripts/uv.txt"),
)
"""The program: the files from which a wheel or an image is built. Price books, data, ledgers and
records in a clone are its site's, and no part of the program."""

_ELSEWHERE = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_WORK_TREE",
}
"""What git sets for its hooks; left alone it would make git answer about another tree."""


@dataclass(frozen=True)
class Source:
    """A commit, and how the program's files differ from it.

    Attributes
    ----------
    commit
        The full git hash.
    changed
        The program's files that differ, untracked ones with them.
    diff
        The difference as ``git apply`` takes it; None where it cannot be told, as for files that
        were changed after a wheel was installed.
    """

    commit: str
    changed: tuple[str, ...] = ()
    diff: bytes | None = b""

    @property
    def diff_sha256(self) -> str | None:
        """The sha256 of the difference; None if there is none, or none that can be told."""
        return hashlib.sha256(self.diff).hexdigest() if self.changed and self.diff else None


def repository_source(root: Path) -> Source | None:
    """The commit of a tree and the difference from it; None where the tree is no repository.

    Only the tree's own ``.git`` counts: a program that stands below some other project's
    repository is not of that project's commit.

    Raises
    ------
    FileNotFoundError
        There is no git.
    subprocess.CalledProcessError
        git cannot read the commit.
    """
    if not (root / ".git").exists():
        return None
    commit = git(root, "rev-parse", "--verify", "HEAD").decode().strip()
    return Source(commit, *_difference(root))


def built_source(carried: Path = CARRIED) -> Source | None:
    """The commit that a wheel or sdist was built from, as ``build.json`` says; None without one."""
    path = carried / BUILD
    if not path.is_file():
        return None
    stated = json.loads(path.read_bytes())
    changed = tuple(stated["changed"])
    return Source(stated["commit"], changed, (carried / DIFF).read_bytes() if changed else b"")


def installed_source() -> Source | None:
    """The commit of the installed wheel, after its files were checked against their hashes; None
    where the program is not installed from a wheel."""
    source = built_source() if INSTALLED else None
    if source is None:
        return None
    tampered = _not_as_installed()
    return Source(source.commit, tampered, None) if tampered else source


def write_build(source: Source, folder: Path) -> dict[str, str]:
    """Write ``build.json``, and the difference of a changed tree.

    Returns
    -------
    dict
        From the files' paths to their places in a wheel or sdist, as hatch's force-include.
    """
    stated = {
        "commit": source.commit,
        "changed": list(source.changed),
        "dirty": bool(source.changed),
        "diff_sha256": source.diff_sha256,
    }
    contents = {BUILD: json.dumps(stated, indent=2, sort_keys=True).encode() + b"\n"}
    if source.changed:
        contents[DIFF] = source.diff or b""
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {str(folder / name): f"billing_lib/program_files/{name}" for name in contents}


def distribution() -> Distribution | None:
    """The installed distribution whose billing_lib is the one that runs."""
    for found in distributions(name=NAME):
        package = Path(str(found.locate_file("billing_lib")))
        if package.is_dir() and package.samefile(PACKAGE):
            return found
    return None


def version() -> str:
    """The program's version: as installed, else as pyproject.toml states it."""
    found = distribution()
    if found is not None:
        return found.version
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return str(stated["project"]["version"])


def git(
    folder: Path,
    *words: str,
    environment: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
) -> bytes:
    """Run git in a folder; its output.

    Parameters
    ----------
    environment
        Further variables for git.

    Raises
    ------
    FileNotFoundError
        There is no git.
    subprocess.CalledProcessError
        git refuses.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    return subprocess.run(  # noqa: S603
        ["git", *words],  # noqa: S607 - the git that is on PATH
        cwd=folder,
        env=kept | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"} | dict(environment or {}),
        input=stdin,
        capture_output=True,
        check=True,
    ).stdout


def said_by(error: subprocess.CalledProcessError) -> str:
    """The last line that a refusing command wrote."""
    lines = error.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"


def _difference(root: Path) -> tuple[tuple[str, ...], bytes]:
    """The program's files that differ from HEAD, untracked ones with them, and the diff.

    Taken with an index and an object store of its own. So the repository is not written to,
    and a file that its own index tells git to overlook (``--assume-unchanged``) is seen too.
    """
    objects = git(root, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    committed = git(root, "ls-tree", "-z", "--name-only", "HEAD", "--", *FILES).decode()
    here = {name for name in FILES if (root / name).exists()} | {*committed.split("\0")} - {""}
    with tempfile.TemporaryDirectory() as folder:
        aside = {
            "GIT_INDEX_FILE": str(Path(folder) / "index"),
            "GIT_OBJECT_DIRECTORY": folder,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects.decode().strip(),
        }
        git(root, "read-tree", "HEAD", environment=aside)
        if here:
            git(root, "add", "--all", "--", *sorted(here), environment=aside)
        # diff-index, unlike diff, does not heed the user's configuration
        compare = ("diff-index", "--cached", "--no-renames")
        names = git(root, *compare, "--name-only", "-z", "HEAD", environment=aside)
        how = ("--patch", "--binary", "--full-index", "--no-ext-diff", "--no-textconv")
        diff = git(root, *compare, *how, "HEAD", environment=aside) if names else b""
    changed = (name.decode(errors="replace") for name in names.split(b"\0") if name)
    return tuple(sorted(changed)), diff


def _not_as_installed() -> tuple[str, ...]:
    """Files of billing_lib that are not as RECORD has them, and modules that it does not have."""
    found = distribution()
    if found is None:
        return ("RECORD",)
    wrong, listed = [], set()
    for path in found.files or []:
        if path.parts[0] == "billing_lib" and path.hash is not None:
            listed.add(path.as_posix())
            file = Path(str(found.locate_file(path)))
            if not file.is_file() or _record_hash(file, path.hash.mode) != path.hash.value:
                wrong.append(path.as_posix())
    modules = (path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*.py"))
    return tuple(sorted([*wrong, *(name for name in modules if name not in listed)]))


def _record_hash(file: Path, algorithm: str) -> str:
    """A file's hash as RECORD writes it (PEP 376): urlsafe base64 without padding."""
    digest = hashlib.new(algorithm, file.read_bytes()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
