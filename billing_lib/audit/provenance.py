"""Provenance: the program, price book and environment by which a record is made.

    version     0.1.0   commit  3f0c…(40 digits)   dirty  false   diff_sha256  null
    price_book  microscopy.yml, its sha256, the site's commit or null, whether it differs from it
    container   name@sha256:… or "none", with the image's build id, and who read the digest
    lock_sha256 of uv.lock; Python and every installed package with its version

The program is dirty if a file that it is installed from differs from the commit. Price books,
ledgers and records in the same folder do not count. A dirty program may issue only if the user
allows it; the record then holds the diff, and commit and diff together are the program. The price
book belongs to the site and may differ from the site's commit, because the snapshot holds it.

No image can hold its own digest, so a launcher reads the digest from the engine and tells it. It
also tells the build id that the engine reads from the image's labels, and only the image with that
id inside believes the digest. Outside an image a digest is refused.
"""

import hashlib
import json
import platform
import re
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from billing_lib import program
from billing_lib.errors import DirtyTree, InvalidRecord
from billing_lib.program import Source, said_by
from billing_lib.settings import anywhere
from billing_lib.workflow.load import BookFile

NO_CONTAINER = "none"
COMMIT = r"[0-9a-f]{40}|[0-9a-f]{64}"
"""A full git hash, SHA-1 or SHA-256."""
BUILD_ID = "image-build-id"
"""The file with the image's build id, beside billing_lib in an image."""

IMAGE = r"\w[\w.:/-]*@sha256:[0-9a-f]{64}"
"""A container image, named by its digest."""


@dataclass(frozen=True)
class PriceBookOrigin:
    """The price book from which a record's charges were rated.

    ``file`` is its name in the site's folder of price books. ``commit`` is the commit of the
    site's git repository, and ``changed`` whether the file differs from it; both are None if the
    site is no repository.
    """

    file: str
    sha256: str
    commit: str | None = None
    changed: bool | None = None


@dataclass(frozen=True)
class Provenance:
    """The origin of results.

    Attributes
    ----------
    version, commit
        The program's version, and its commit as a full git hash.
    changed
        The program's files that differ from the commit, including untracked ones.
    diff
        The difference from the commit, as input of ``git apply``; empty for an unchanged program,
        None if it is unknown, as for an installed wheel whose files were changed.
    container
        ``name@sha256:…``, or ``none``.
    container_build, container_told_by
        The image's build id, and the launcher that read its digest; None without a container.
    price_book
        None for results that are not priced from a file.
    root
        The tree that holds the program.
    """

    version: str
    commit: str
    changed: tuple[str, ...]
    diff: bytes | None
    container: str
    lock_sha256: str
    python: str
    platform: str
    packages: dict[str, str]
    price_book: PriceBookOrigin | None = field(default=None)
    container_build: str | None = None
    container_told_by: str | None = None
    root: Path = field(default=program.ROOT)

    @property
    def dirty(self) -> bool:
        """Whether the program differs from the commit."""
        return bool(self.changed)

    @property
    def said(self) -> dict[str, str]:
        """The program and the price book as texts of the snapshot."""
        stated = {"program_version": self.version, "program_commit": self.commit}
        if self.price_book is None:
            return stated
        book = self.price_book
        return stated | {"price_book": book.file, "price_book_sha256": book.sha256}

    def environment_json(self) -> str:
        """The content of a record's environment.json, with sorted keys and a final line feed."""
        content: dict[str, Any] = asdict(self)
        for name in ("diff", "root"):
            content.pop(name)
        content |= {
            "changed": list(self.changed),
            "dirty": self.dirty,
            "diff_sha256": hashlib.sha256(self.diff or b"").hexdigest() if self.dirty else None,
        }
        return json.dumps(content, sort_keys=True, ensure_ascii=False, indent=2) + "\n"


def provenance(root: Path | None = None, book: BookFile | None = None) -> Provenance:
    """The provenance of results that the running program computes.

    Parameters
    ----------
    root
        The tree that holds the program; by default the running one. If it is neither a repository
        nor an installed wheel, as inside an image, BILLING_COMMIT names the commit.

    Raises
    ------
    InvalidRecord
        The commit is unknown, or BILLING_IMAGE is not the image's that runs.
    """
    root = root or program.ROOT
    current = anywhere()
    image = running_image(root)
    source = program_source(root) or Source(_stated_commit(current.commit))
    return Provenance(
        version=program.version(),
        commit=source.commit,
        changed=source.changed,
        diff=source.diff,
        container=image or NO_CONTAINER,
        lock_sha256=lock_sha256(root),
        python=python_version(),
        platform=platform.platform(),
        packages=installed_packages(),
        price_book=_book_origin(book) if book else None,
        container_build=current.image_build if image else None,
        container_told_by=current.image_told_by if image else None,
        root=root,
    )


def running_image(root: Path | None = None) -> str | None:
    """The container image that runs, by its digest; None outside an image.

    InvalidRecord if BILLING_IMAGE is no digest, or was told without the build id of this image.
    """
    current = anywhere()
    if current.image is None:
        return None
    if re.fullmatch(IMAGE, current.image) is None:
        raise InvalidRecord(
            f"BILLING_IMAGE is '{current.image}', which names no image by digest",
            remedy="start the image by scripts/image.sh, or unset it outside a container",
        )
    inside = (root or program.ROOT) / BUILD_ID
    build = inside.read_text(encoding="ascii").strip() if inside.is_file() else ""
    if not build:
        raise InvalidRecord(
            "BILLING_IMAGE names a container image, and the program does not run in one",
            remedy="unset it, or start the image by scripts/image.sh",
        )
    if current.image_build != build:
        raise InvalidRecord(
            f"BILLING_IMAGE was told for an image with build id {current.image_build or 'unknown'},"
            f" and this image has {build}",
            remedy="start the image by scripts/image.sh, which reads both from the engine",
        )
    return current.image


def program_source(root: Path) -> Source | None:
    """The commit of the program in a tree, with the files that differ; None if it is unknown."""
    try:
        source = program.repository_source(root)
    except FileNotFoundError:
        raise InvalidRecord(
            "there is no git to read the commit with", remedy="install git"
        ) from None
    except subprocess.CalledProcessError as error:
        raise InvalidRecord(
            f"git cannot read the commit ({said_by(error)})",
            where=str(root),
            remedy="run the program from a clone that git can read",
        ) from None
    if source is None and root == program.ROOT:
        source = program.installed_source()
    return source


def require_clean(origin: Provenance, allow_dirty: bool) -> None:
    """Raise DirtyTree if the program differs from its commit, unless that is allowed."""
    if not origin.dirty or (allow_dirty and origin.diff is not None):
        return
    named = ", ".join(origin.changed[:3])
    more = f" and {len(origin.changed) - 3} more" if len(origin.changed) > 3 else ""
    if origin.diff is None:
        raise DirtyTree(
            f"files of the installed program are not as they were installed: {named}{more}",
            remedy="install it again; to bill by a changed program, work in a clone",
        )
    raise DirtyTree(
        f"files of the program differ from commit {origin.commit[:12]}: {named}{more}",
        remedy="commit them, or allow changed files, which the record will say",
    )


def lock_sha256(source: Path) -> str:
    """The sha256 of a tree's uv.lock."""
    lock = source / "uv.lock"
    if not lock.is_file():
        raise InvalidRecord("the program's tree has no uv.lock", where=str(source))
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def python_version() -> str:
    """The implementation and version of the running Python: ``CPython 3.11.7``."""
    return f"{platform.python_implementation()} {platform.python_version()}"


_NAME_AND_VERSION = re.compile(r"^(Name|Version): *(\S+)", re.MULTILINE)


@cache
def installed_packages() -> dict[str, str]:
    """The ``packages`` of the running program."""
    return packages(distributions())


def packages(installed: Iterable[Distribution]) -> dict[str, str]:
    """The version of every package, by its normalised name (PEP 503).

    If a package is installed twice, the first one on the path counts, since that is imported.
    """
    versions: dict[str, str] = {}
    for each in installed:
        text = each.read_text("METADATA") or each.read_text("PKG-INFO") or ""
        stated = dict(_NAME_AND_VERSION.findall(text.partition("\n\n")[0]))  # a long text follows
        if "Name" in stated:  # the remains of a broken installation have none
            name = re.sub(r"[-_.]+", "-", stated["Name"]).lower()
            versions.setdefault(name, stated["Version"])
    return dict(sorted(versions.items()))


def _book_origin(book: BookFile) -> PriceBookOrigin:
    """The price book's file, with the commit of the site's repository.

    The commit is None if the site is no repository or git cannot read it.
    """
    name, folder = book.path.name, book.path.absolute().parent
    try:
        commit = program.git(folder, "rev-parse", "--verify", "HEAD").decode().strip()
        words = ("cat-file", "blob", f"HEAD:./{name}")
        committed: bytes | None = program.git(folder, *words)
    except FileNotFoundError:
        return PriceBookOrigin(name, book.sha256)
    except subprocess.CalledProcessError as error:
        if "cat-file" not in error.cmd:
            return PriceBookOrigin(name, book.sha256)
        committed = None  # it is not committed yet
    changed = committed is None or hashlib.sha256(committed).hexdigest() != book.sha256
    return PriceBookOrigin(name, book.sha256, commit, changed)


def _stated_commit(commit: str | None) -> str:
    if commit is None or re.fullmatch(COMMIT, commit) is None:
        raise InvalidRecord(
            "the program stands in no git repository and is no installed wheel, so a record "
            "could name no commit",
            remedy="run it from a clone, install its wheel, or set BILLING_COMMIT to the full "
            "hash, as the image does",
        )
    return commit
