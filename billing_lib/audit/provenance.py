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
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from billing_lib.errors import DirtyTree, InvalidRecord
from billing_lib.settings import settings

SOURCE = Path(__file__).parent.parent.parent
"""The tree that holds the running program."""

NO_CONTAINER = "none"
_IMAGE = re.compile(r"\S+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Provenance:
    """Where results come from.

    Attributes
    ----------
    commit
        40 hex digits.
    changed
        Files that differ from the commit, as ``git status`` names them.
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


def provenance(source: Path = SOURCE) -> Provenance:
    """The provenance of what the running program computes.

    Raises
    ------
    InvalidRecord
        There is no commit to name, or BILLING_IMAGE is no digest.
    """
    current = settings()
    image = current.image
    if image is not None and _IMAGE.fullmatch(image) is None:
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
        python=f"{platform.python_implementation()} {platform.python_version()}",
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


def packages() -> dict[str, str]:
    """Every installed package with its version, by name."""
    found = {each.metadata["Name"].lower(): each.version for each in distributions()}
    return dict(sorted(found.items()))


def git(source: Path, *words: str, **more: str) -> bytes:
    """What a git command prints about a tree.

    Raises
    ------
    subprocess.CalledProcessError
        git refuses.
    """
    return subprocess.run(
        ["git", *words],
        cwd=source,
        env=os.environ | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"} | more,
        capture_output=True,
        check=True,
    ).stdout


def _tree(source: Path) -> tuple[str, tuple[str, ...], bytes] | None:
    """Commit, changed files and diff; None where the source stands in no repository."""
    if not (source / ".git").exists():
        return None
    try:
        commit = git(source, "rev-parse", "--verify", "HEAD").decode().strip()
        status = git(source, "status", "--porcelain", "-z", "--no-renames").decode()
    except FileNotFoundError:
        raise InvalidRecord(
            "there is no git to read the commit with", remedy="install git"
        ) from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode().strip().splitlines()
        raise InvalidRecord(
            f"git cannot read the commit ({said[-1] if said else 'no message'})", where=str(source)
        ) from None
    changed = tuple(sorted(entry[3:] for entry in status.split("\0") if entry))
    return commit, changed, _diff(source) if changed else b""


def _diff(source: Path) -> bytes:
    """The difference from HEAD with untracked files, taken without touching the index."""
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git(source, "read-tree", "HEAD", **index)
        git(source, "add", "--all", **index)
        return git(source, "diff", "--cached", "--binary", "--no-renames", "HEAD", **index)


def _stated_commit(commit: str | None) -> str:
    if commit is None or re.fullmatch(r"[0-9a-f]{40}", commit) is None:
        raise InvalidRecord(
            "the program stands in no git repository, so a record could name no commit",
            remedy="run it from a clone, or set BILLING_COMMIT to the full hash, as the image does",
        )
    return commit
