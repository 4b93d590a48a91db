"""The program's own files and its commit, in a clone and in an installed wheel alike.

             other files                              commit and changed files
    clone    notebooks/ data/ … beside billing_lib/   from git
    sdist    notebooks/ data/ … beside billing_lib/   from program_files/build.json
    wheel    notebooks/ data/ … in program_files/     the same, with the hashes in RECORD

Its source at the commit, which records hold, is packed from git; a wheel, an sdist and an image
have it packed in program_files/program/.

This module imports only the standard library, because the build hook (hatch_build.py) loads it
alone.
"""

import base64
import gzip
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, distributions
from io import BytesIO
from pathlib import Path, PurePosixPath

NAME = "billing-notebooks"

PACKAGE = Path(__file__).absolute().parent
"""The folder of the package billing_lib."""

PROGRAM_FILES = PACKAGE / "program_files"
"""The folder in a wheel for the files that are beside billing_lib/ in a clone."""

INSTALLED = (PROGRAM_FILES / "notebooks").is_dir()
"""Whether the program runs from an installed wheel."""

ROOT = PROGRAM_FILES if INSTALLED else PACKAGE.parent
"""The folder with notebooks/, data/, parameters/, pyproject.toml and uv.lock."""

NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "data"
PARAMETERS = ROOT / "parameters"
"""The price book of the demonstration."""

BUILD, DIFF, PROGRAM = "build.json", "source.diff", "program"
"""The files in ``PROGRAM_FILES`` with a wheel's commit and the changes of its tree, and the folder
with its packed source."""

FILES = (
    *("billing_lib", "notebooks", "pyproject.toml", "uv.lock", "hatch_build.py"),
    *("Dockerfile", "environment.yml", "jupyterhub_config.py", "scripts/uv.txt"),
)
"""The program's files, from which a wheel or an image is built. Price books, data, ledgers and
records in a clone belong to its site, not to the program."""

FONTS = "billing_lib/documents/fonts"
"""The folder of fonts, 20 MB: a record holds only those that its documents use."""

SOURCE, OBJECTS = "source.tar.gz", "objects"
"""The files of a packed source: an archive of ``FILES`` without fonts, and raw git objects."""

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
"""Variables that git sets for its hooks and that would make git read another tree."""


@dataclass(frozen=True)
class Source:
    """A commit, and the difference of the program's files from it.

    Attributes
    ----------
    commit
        The full git hash.
    changed
        The program's files that differ, including untracked ones.
    diff
        The difference as input of ``git apply``; None if it is unknown, as for files that were
        changed after a wheel was installed.
    """

    commit: str
    changed: tuple[str, ...] = ()
    diff: bytes | None = b""

    @property
    def diff_sha256(self) -> str | None:
        """The sha256 of the difference; None if there is none or it is unknown."""
        return hashlib.sha256(self.diff).hexdigest() if self.changed and self.diff else None


def repository_source(root: Path) -> Source | None:
    """The commit of a tree and the difference from it; None if the tree is no repository.

    Only the tree's own ``.git`` counts, since a program below another project's repository does
    not belong to that project's commit.

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


def built_source(carried: Path = PROGRAM_FILES) -> Source | None:
    """The commit of a wheel or sdist, from its ``build.json``; None without that file."""
    path = carried / BUILD
    if not path.is_file():
        return None
    stated = json.loads(path.read_bytes())
    changed = tuple(stated["changed"])
    return Source(stated["commit"], changed, (carried / DIFF).read_bytes() if changed else b"")


def installed_source() -> Source | None:
    """The commit of the installed wheel, with its files that differ from their hashes in RECORD.

    None if the program is not installed from a wheel.
    """
    source = built_source() if INSTALLED else None
    if source is None:
        return None
    tampered = _not_as_installed()
    return Source(source.commit, tampered, None) if tampered else source


def write_build(source: Source, folder: Path, packed: Mapping[str, bytes]) -> dict[str, str]:
    """Write ``build.json``, the packed source, and the difference of a changed tree.

    Returns the files' places in a wheel or sdist by their paths, for hatch's force-include.
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
    contents |= {f"{PROGRAM}/{name}": content for name, content in packed.items()}
    write_packed(contents, folder)
    return {str(folder / name): f"billing_lib/program_files/{name}" for name in contents}


def packed_source(root: Path, commit: str) -> dict[str, bytes]:
    """The packed source of the program in a tree, from git or as its build packed it.

    Empty if it is unknown; the errors are those of ``pack_source``.
    """
    if (root / ".git").exists():
        return pack_source(root, commit)
    folder = PROGRAM_FILES / PROGRAM
    if root != ROOT or not (folder / OBJECTS / f"{commit}.commit").is_file():
        return {}
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@lru_cache(maxsize=4)
def pack_source(root: Path, commit: str) -> dict[str, bytes]:
    """The program's source at a commit of a repository, as contents by file name.

    ``source.tar.gz`` holds ``FILES`` without fonts. ``objects/<hash>.commit`` and
    ``objects/<hash>.tree`` are git's objects without their headers: the commit, and each tree
    that names more than the archive holds. audit/program_source.py proves the archive by them.

    Raises
    ------
    FileNotFoundError
        There is no git.
    subprocess.CalledProcessError
        git cannot read the commit.
    """
    listed = git(root, "ls-tree", "-r", "-z", "--full-tree", commit, "--", *FILES).decode()
    rows = [row.split("\t", 1) for row in listed.split("\0") if row]
    blobs = {path: stated.split() for stated, path in rows}
    packed = {path: row for path, row in blobs.items() if not path.startswith(f"{FONTS}/")}
    above = {str(folder) for name in FILES for folder in PurePosixPath(name).parents}
    above |= {FONTS, *(str(folder) for folder in PurePosixPath(FONTS).parents)}
    folders = sorted(
        name for name in above if name == "." or any(path.startswith(f"{name}/") for path in blobs)
    )
    trees = [f"{commit}:{'' if name == '.' else name}" for name in folders]
    commit_object, *others = _objects(
        root, [commit, *trees, *(stated[2] for stated in packed.values())]
    )
    raw_trees, contents = others[: len(trees)], others[len(trees) :]
    objects = {f"{OBJECTS}/{name}.tree": content for name, content in raw_trees}
    objects[f"{OBJECTS}/{commit_object[0]}.commit"] = commit_object[1]
    at = int(commit_object[1].split(b"\ncommitter ", 1)[1].split(b"\n", 1)[0].split()[-2])
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for (path, stated), (_, content) in zip(packed.items(), contents, strict=True):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mtime, entry.mode = len(content), at, int(stated[0], 8) & 0o777
            tar.addfile(entry, BytesIO(content))
    return objects | {SOURCE: gzip.compress(archive.getvalue(), 6, mtime=0)}


def write_packed(contents: Mapping[str, bytes], folder: Path) -> None:
    """Write files below a folder, by their names."""
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def font_names(root: Path, commit: str) -> list[str]:
    """The file names of the commit's fonts; of a build those of the running program."""
    if (root / ".git").exists():
        listed = git(root, "ls-tree", "-z", "--name-only", f"{commit}:{FONTS}").decode()
        return [name for name in listed.split("\0") if name]
    return sorted(path.name for path in (PACKAGE.parent / FONTS).iterdir())


def read_font(root: Path, commit: str, name: str) -> bytes:
    """The content of one of the fonts that ``font_names`` lists."""
    if (root / ".git").exists():
        return git(root, "cat-file", "blob", f"{commit}:{FONTS}/{name}")
    return (PACKAGE.parent / FONTS / name).read_bytes()


def _objects(root: Path, names: list[str]) -> list[tuple[str, bytes]]:
    """The hash and content of git's objects, in the order of their names."""
    asked = "".join(f"{name}\n" for name in names).encode()
    answer = BytesIO(git(root, "cat-file", "--batch", stdin=asked))
    objects = []
    for _ in names:
        name, _, size = answer.readline().decode().split()
        objects.append((name, answer.read(int(size))))
        answer.read(1)
    return objects


def distribution() -> Distribution | None:
    """The installed distribution that holds the running billing_lib, or None."""
    for installed in distributions(name=NAME):
        package = Path(str(installed.locate_file("billing_lib")))
        if package.is_dir() and package.samefile(PACKAGE):
            return installed
    return None


def version() -> str:
    """The program's version, from the installed distribution or pyproject.toml."""
    installed = distribution()
    if installed is not None:
        return installed.version
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return str(stated["project"]["version"])


def git(
    folder: Path,
    *words: str,
    environment: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout: float | None = None,
) -> bytes:
    """Run git in a folder, with further variables in its environment, and return its output.

    ``timeout`` is in seconds.

    Raises
    ------
    FileNotFoundError
        There is no git.
    subprocess.CalledProcessError
        git failed.
    subprocess.TimeoutExpired
        git did not end in time.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    return subprocess.run(  # noqa: S603
        ["git", *words],  # noqa: S607 - the git that is on PATH
        cwd=folder,
        env=kept | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"} | dict(environment or {}),
        input=stdin,
        timeout=timeout,
        capture_output=True,
        check=True,
    ).stdout


def said_by(error: subprocess.CalledProcessError) -> str:
    """The last line that a failed command wrote to standard error."""
    lines = error.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"


def _difference(root: Path) -> tuple[tuple[str, ...], bytes]:
    """The program's files that differ from HEAD, including untracked ones, and the diff.

    A temporary index and object store keep the repository unchanged, and show files too that its
    own index tells git to ignore (``--assume-unchanged``).
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
        # unlike diff, diff-index ignores the user's configuration
        compare = ("diff-index", "--cached", "--no-renames")
        names = git(root, *compare, "--name-only", "-z", "HEAD", environment=aside)
        how = ("--patch", "--binary", "--full-index", "--no-ext-diff", "--no-textconv")
        diff = git(root, *compare, *how, "HEAD", environment=aside) if names else b""
    changed = (name.decode(errors="replace") for name in names.split(b"\0") if name)
    return tuple(sorted(changed)), diff


def _not_as_installed() -> tuple[str, ...]:
    """Files of billing_lib that differ from RECORD, and modules that it does not list."""
    installed = distribution()
    if installed is None:
        return ("RECORD",)
    changed, listed = [], set()
    for path in installed.files or []:
        if path.parts[0] == "billing_lib" and path.hash is not None:
            listed.add(path.as_posix())
            file = Path(str(installed.locate_file(path)))
            if not file.is_file() or _record_hash(file, path.hash.mode) != path.hash.value:
                changed.append(path.as_posix())
    modules = (path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*.py"))
    return tuple(sorted([*changed, *(name for name in modules if name not in listed)]))


def _record_hash(file: Path, algorithm: str) -> str:
    """A file's hash in RECORD's form (PEP 376): urlsafe base64 without padding."""
    digest = hashlib.new(algorithm, file.read_bytes()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def spare_iri_parsers() -> None:
    """Keep jsonschema from building parsers of IRIs when this process imports it.

    For the program's own processes only: the command line, its workers, the kernels of the office.
    jsonschema is imported with nbformat, and no notebook holds an IRI. The parsers take a second of
    every start, and six more at an unlucky depth of calls (its issue 1428). A module that is None
    counts as not installed, and jsonschema works without it.
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
