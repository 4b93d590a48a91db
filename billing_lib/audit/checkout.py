"""Checkout: the code of a record's commit, with the record's own difference from it.

commit 3f0c…           git archive ─▶ a folder of its own; the repository stays as it is
dirty, source.diff     git apply, if its sha256 is the recorded one
"""

import hashlib
import os
import subprocess
from pathlib import Path

from billing_lib.audit.crate import SOURCE_DIFF
from billing_lib.audit.origin import Origin
from billing_lib.audit.provenance import SOURCE, git, said_by
from billing_lib.errors import InvalidRecord
from billing_lib.settings import settings


def check_out(origin: Origin, data: Path, repository: Path, target: Path) -> Path:
    """The tree with the code by which a record was made.

    Parameters
    ----------
    data
        The record's ``data/``.
    repository
        A git repository; where it is none, as inside an image, the running program will do if
        BILLING_COMMIT says that it is of this commit.
    target
        Where the tree is put; it does not exist yet.

    Returns
    -------
    Path
        ``target``, or the running program's own tree.

    Raises
    ------
    InvalidRecord
        The commit is not in reach, or its difference is not as recorded.
    """
    if not (repository / ".git").exists():
        if settings().commit == origin.commit and not origin.dirty:
            return SOURCE
        raise InvalidRecord(
            f"the record's commit {origin.commit} is not in reach: "
            f"{repository} is no git repository",
            remedy="run 'billing reproduce' from a clone that has the commit",
        )
    try:
        archive = git(repository, "archive", "--format=tar", origin.commit)
    except subprocess.CalledProcessError as error:
        raise InvalidRecord(
            f"the repository {repository} does not have the record's commit {origin.commit} "
            f"({said_by(error)})",
            remedy="fetch it, and reproduce again",
        ) from None
    target.mkdir()
    subprocess.run(["tar", "-x", "-C", target], input=archive, check=True)
    if origin.dirty:
        _apply_difference(origin, data / SOURCE_DIFF, target)
    return target


def _apply_difference(origin: Origin, path: Path, target: Path) -> None:
    diff = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(diff).hexdigest() != origin.diff_sha256:
        raise InvalidRecord(
            "the difference from the commit is not the one that was recorded",
            where=str(path),
            remedy="take the record from the archive again",
        )
    # A repository further up would make git apply skip what lies outside it.
    alone = {"GIT_CEILING_DIRECTORIES": os.path.realpath(target.parent)}
    words = ("apply", "--binary", "--whitespace=nowarn", "-")
    try:
        git(target, *words, environment=alone, stdin=diff)
    except subprocess.CalledProcessError as error:
        raise InvalidRecord(
            f"the recorded difference does not fit the commit ({said_by(error)})", where=str(path)
        ) from None
