"""Interpreter: a Python with the packages that a record's lock file states.

this one, if its packages are those that the record lists
else one made by ``uv sync --frozen`` from the commit's uv.lock, for this once
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from billing_lib.audit.origin import Origin
from billing_lib.audit.provenance import (
    SOURCE,
    lock_sha256,
    packages,
    python_version,
    said_by,
)
from billing_lib.errors import InvalidRecord


def find_interpreter(origin: Origin, checkout: Path, target: Path) -> tuple[str, str]:
    """A Python with the locked packages, and a sentence on it.

    Parameters
    ----------
    checkout
        The tree with the commit's uv.lock.
    target
        Where an environment is made, if one is needed.

    Raises
    ------
    InvalidRecord
        The lock is not the recorded one, or its packages cannot be had.
    """
    if lock_sha256(checkout) != origin.lock_sha256:
        raise InvalidRecord(
            "the commit's uv.lock is not the one that the record names",
            where=f"commit {origin.commit}",
        )
    here = packages()
    # What is not installed here cannot differ: the record may list tools of its developers.
    if all(here.get(name, version) == version for name, version in origin.packages.items()):
        matched = "the packages here are those of the recorded lock"
        if python_version() != origin.python:
            matched += f" (here under {python_version()}, then under {origin.python})"
        return sys.executable, matched
    _synchronise(origin, checkout, target)
    return str(target / "bin" / "python"), "an environment was made from the recorded lock"


def _synchronise(origin: Origin, checkout: Path, target: Path) -> None:
    """Install the lock's packages into an environment of their own."""
    remedy = "reproduce again where uv can reach the packages"
    uv = shutil.which("uv") or shutil.which("uv", path=str(SOURCE / ".tools" / "bin"))
    if uv is None:
        raise InvalidRecord(
            "the packages here are not those of the record's lock, and there is no uv",
            remedy=f"install uv, and {remedy}",
        )
    version = re.findall(r"\d+\.\d+", origin.python)[0]
    options = ["--quiet", "--frozen", "--no-dev", "--no-install-project", "--python", version]
    kept = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    try:
        subprocess.run(
            [uv, "sync", *options, "--project", str(checkout)],
            env=kept | {"UV_PROJECT_ENVIRONMENT": str(target)},  # never the one that runs
            capture_output=True,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise InvalidRecord(
            "the packages here are not those of the record's lock, and uv cannot install them "
            f"({said_by(error)})",
            remedy=remedy,
        ) from None
