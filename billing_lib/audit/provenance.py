"""Provenance: by which commit, in which environment a record is made.

The commit is the full git hash of the tree that holds the running program. A tree that differs
from it is refused for a real issue; when it is allowed, the difference itself goes into the
record, so that the commit and the diff together are the program.

    commit      3f0c…(40 digits)      dirty  false      diff_sha256  null
    container   name@sha256:… or "none"
    lock_sha256 of uv.lock; Python and every installed package with its version
"""

import hashlib
import json
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from billing_lib.errors import DirtyTree, InvalidRecord
from billing_lib.settings import settings

SOURCE = Path(__file__).parent.parent.parent
"""The tree that holds the running program."""

NO_CONTAINER = "none"
COMMIT = r"[0-9a-f]{40}|[0-9a-f]{64}"
"""A full git hash, of either kind that git has."""
IMAGE = r"\w[\w.:/-]*@sha256:[0-9a-f]{64}"
"""An image by its digest."""

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
class Provenance:
    """Where results come from.

    Attributes
    ----------
    commit
        The full git hash.
    changed
        Files that differ from the commit, untracked ones with them.
    diff
        The difference from the commit, as ``git apply`` takes it; empty for a clean tree.
    container
        ``name@sha256:…``, or ``none``.
    """

    commit: str
    changed: tuple[str, ...]
    diff: bytes
    container: str
    lock_sha256: str
    python: str
    platform: str
    packages: dict[str, str]

    @property
    def dirty(self) -> bool:
        """Whether the tree differs from the commit."""
        return bool(self.changed)

    def environment_json(self) -> str:
        """The content of a record's environment.json: sorted keys, a line feed at the end."""
        content: dict[str, Any] = asdict(self)
        content.pop("diff")
        content |= {
            "changed": list(self.changed),
            "dirty": self.dirty,
            "diff_sha256": hashlib.sha256(self.diff).hexdigest() if self.dirty else None,
        }
        return json.dumps(content, sort_keys=True, ensure_ascii=False, indent=2) + "\n"


def provenance(source: Path | None = None) -> Provenance:
    """The provenance of what the running program computes.

    Parameters
    ----------
    source
        The tree that holds the program; by default the one that is running. Where it is no
        repository, as inside an image, BILLING_COMMIT says the commit.

    Raises
    ------
    InvalidRecord
        There is no commit to name, or BILLING_IMAGE is no digest.
    """
    source = source or SOURCE
    current = settings()
    image = current.image
    if image is not None and re.fullmatch(IMAGE, image) is None:
        raise InvalidRecord(
            f"BILLING_IMAGE is '{image}', which names no image by digest",
            remedy="set it to name@sha256:…, or unset it outside a container",
        )
    commit, changed, diff = _tree(source) or (_stated_commit(current.commit), (), b"")
    return Provenance(
        commit=commit,
        changed=changed,
        diff=diff,
        container=image or NO_CONTAINER,
        lock_sha256=lock_sha256(source),
        python=python_version(),
        platform=platform.platform(),
        packages=packages(),
    )


def require_clean(origin: Provenance, allow_dirty: bool) -> None:
    """Refuse a tree that differs from its commit, unless that is allowed.

    Raises
    ------
    DirtyTree
        Which files differ.
    """
    if origin.dirty and not allow_dirty:
        named = ", ".join(origin.changed[:3])
        more = f" and {len(origin.changed) - 3} more" if len(origin.changed) > 3 else ""
        raise DirtyTree(
            f"files differ from commit {origin.commit[:12]}: {named}{more}",
            remedy="commit them, or issue with --allow-dirty, which the record will say",
        )


def lock_sha256(source: Path) -> str:
    """The sha256 of a tree's lock file.

    Raises
    ------
    InvalidRecord
        The tree has none.
    """
    lock = source / "uv.lock"
    if not lock.is_file():
        raise InvalidRecord("the program's tree has no uv.lock", where=str(source))
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def python_version() -> str:
    """Implementation and version of the running Python: ``CPython 3.11.7``."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def packages(installed: Iterable[Distribution] | None = None) -> dict[str, str]:
    """Every installed package with its version, by its normalised name (PEP 503).

    Of a package that is installed twice, the one that is imported counts: the first found.
    """
    found: dict[str, str] = {}
    for each in distributions() if installed is None else installed:
        name = each.metadata["Name"]
        if name:  # what is left of a broken installation has none
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), each.version)
    return dict(sorted(found.items()))


def git(
    source: Path,
    *words: str,
    environment: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
) -> bytes:
    """What a git command prints about a tree.

    Parameters
    ----------
    environment
        Further variables for git.

    Raises
    ------
    InvalidRecord
        There is no git.
    subprocess.CalledProcessError
        git refuses.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    try:
        return subprocess.run(
            ["git", *words],
            cwd=source,
            env=kept | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"} | dict(environment or {}),
            input=stdin,
            capture_output=True,
            check=True,
        ).stdout
    except FileNotFoundError:
        raise InvalidRecord(
            "there is no git to read the commit with", remedy="install git"
        ) from None


def said_by(error: subprocess.CalledProcessError) -> str:
    """The last line of what a refusing command said."""
    lines = error.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"


def _tree(source: Path) -> tuple[str, tuple[str, ...], bytes] | None:
    """Commit, changed files and diff; None where the source stands in no repository.

    Only the tree's own ``.git`` counts: a program installed below some other project's
    repository is not of that project's commit.
    """
    if not (source / ".git").exists():
        return None
    try:
        commit = git(source, "rev-parse", "--verify", "HEAD").decode().strip()
        return commit, *_difference(source)
    except subprocess.CalledProcessError as error:
        raise InvalidRecord(
            f"git cannot read the commit ({said_by(error)})",
            where=str(source),
            remedy="run the program from a clone that git can read",
        ) from None


def _difference(source: Path) -> tuple[tuple[str, ...], bytes]:
    """What differs from HEAD, untracked files with it: their names and the diff.

    Taken with an index and an object store of its own. So the repository is not written to,
    and a file that its own index tells git to overlook (``--assume-unchanged``) is seen too.
    """
    objects = git(source, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    with tempfile.TemporaryDirectory() as folder:
        aside = {
            "GIT_INDEX_FILE": str(Path(folder) / "index"),
            "GIT_OBJECT_DIRECTORY": folder,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects.decode().strip(),
        }
        git(source, "read-tree", "HEAD", environment=aside)
        git(source, "add", "--all", environment=aside)
        # diff-index, unlike diff, does not heed the user's configuration
        compare = ("diff-index", "--cached", "--no-renames")
        names = git(source, *compare, "--name-only", "-z", "HEAD", environment=aside)
        how = ("--patch", "--binary", "--full-index", "--no-ext-diff", "--no-textconv")
        diff = git(source, *compare, *how, "HEAD", environment=aside) if names else b""
    changed = (name.decode(errors="replace") for name in names.split(b"\0") if name)
    return tuple(sorted(changed)), diff


def _stated_commit(commit: str | None) -> str:
    if commit is None or re.fullmatch(COMMIT, commit) is None:
        raise InvalidRecord(
            "the program stands in no git repository, so a record could name no commit",
            remedy="run it from a clone, or set BILLING_COMMIT to the full hash, as the image does",
        )
    return commit
