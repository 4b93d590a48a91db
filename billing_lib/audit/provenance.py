"""Provenance: by which program, from which price book, in which environment a record is made.

The program is a version and a commit, and whether its own files differ from that: files from
which it is installed, never price books, ledgers or records that stand in the same folder. A
program that differs is refused for a real issue; when it is allowed, the difference goes into the
record, so that the commit and the diff together are the program. The price book is the site's:
its file, and its commit where the site is a git repository. It may differ from that as it likes,
for the snapshot holds it.

    version     0.1.0   commit  3f0c…(40 digits)   dirty  false   diff_sha256  null
    price_book  microscopy.yml, its sha256, the site's commit or null, whether it differs from it
    container   name@sha256:… or "none"
    lock_sha256 of uv.lock; Python and every installed package with its version
"""

import hashlib
import json
import platform
import re
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
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
"""A full git hash, of either kind that git has."""
IMAGE = r"\w[\w.:/-]*@sha256:[0-9a-f]{64}"
"""An image by its digest."""


@dataclass(frozen=True)
class PriceBookOrigin:
    """The price book from which a record's charges were rated.

    Attributes
    ----------
    file
        Its name in the site's folder of price books.
    commit
        The commit of the site's git repository; None where the site is none.
    changed
        Whether the file differs from that commit; None without a commit.
    """

    file: str
    sha256: str
    commit: str | None = None
    changed: bool | None = None


@dataclass(frozen=True)
class Provenance:
    """Where results come from.

    Attributes
    ----------
    version, commit
        The program's; the commit is the full git hash.
    changed
        The program's files that differ from the commit, untracked ones with them.
    diff
        The difference from the commit, as ``git apply`` takes it; empty for an unchanged program,
        None where it cannot be told, as for an installed wheel whose files were changed.
    container
        ``name@sha256:…``, or ``none``.
    price_book
        None for what is not priced from a file.
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
        """The content of a record's environment.json: sorted keys, a line feed at the end."""
        content: dict[str, Any] = asdict(self)
        content.pop("diff")
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
        The tree that holds the program; by default the one that is running. Where it is neither
        a repository nor an installed wheel, as inside an image, BILLING_COMMIT says the commit.
    book
        The price book's file.

    Raises
    ------
    InvalidRecord
        There is no commit to name, or BILLING_IMAGE is no digest.
    """
    root = root or program.ROOT
    current = anywhere()
    image = current.image
    if image is not None and re.fullmatch(IMAGE, image) is None:
        raise InvalidRecord(
            f"BILLING_IMAGE is '{image}', which names no image by digest",
            remedy="set it to name@sha256:…, or unset it outside a container",
        )
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
        packages=packages(),
        price_book=_book_origin(book) if book else None,
    )


def program_source(root: Path) -> Source | None:
    """The commit of the program in a tree, and how its files differ; None where nothing says it.

    Raises
    ------
    InvalidRecord
        git cannot say it.
    """
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
    """Refuse a program that differs from its commit, unless that is allowed.

    Raises
    ------
    DirtyTree
        Which files differ.
    """
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


def _book_origin(book: BookFile) -> PriceBookOrigin:
    """The price book's file as the site's repository knows it.

    A site without git, or that git cannot read, has no commit; nothing needs one.
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
