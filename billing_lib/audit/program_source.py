"""The program in a record: its source at the commit, which anyone can prove and run.

    data/program/source.tar.gz              billing_lib/, notebooks/, uv.lock …, without fonts
    data/program/objects/<hash>.commit      the commit, as git stores it
    data/program/objects/<hash>.tree        each tree that names more than the archive holds
    data/program/fonts/NotoSansArabic.ttf   the fonts that the record's PDFs use

A commit's hash covers its tree's, and a tree's hash those of its files and folders. So a reader
needs no repository and no git: the commit names the tree, and every file of the archive is found
again by its hash. Entries that the trees only name, such as tests and unused fonts, are not held.
A git bundle of the commit would hold all of them: 13 MB instead of 1, and git to read it.
"""

import hashlib
import json
import re
import subprocess
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from billing_lib.errors import InvalidRecord
from billing_lib.program import (
    FONTS,
    OBJECTS,
    PROGRAM,
    SOURCE,
    font_names,
    packed_source,
    read_font,
    said_by,
    write_packed,
)

FONTS_HELD = "fonts"
"""The folder of fonts in a record's ``program/``."""

NEEDED = ("billing_lib", "notebooks", "pyproject.toml", "uv.lock")
"""Files and folders of the commit that a record must hold whole, but for fonts."""

LARGEST = 64 * 1024 * 1024
"""The most bytes that an archive may unpack to."""

_FILE_MODES = {b"100644": False, b"100755": True}
_TREE_MODE = b"40000"
_FONT = re.compile(rb"/BaseFont ?/(?:[A-Z]{6}\+)?([A-Za-z]+)")


@dataclass(frozen=True)
class ProgramSource:
    """The proven source of a commit.

    ``files`` are contents by path, in the repository's folders; ``executable`` are the paths of
    files with the mode of programs.
    """

    commit: str
    files: Mapping[str, bytes]
    executable: frozenset[str]

    def write(self, target: Path) -> None:
        """Write the files below a new folder."""
        for name, content in self.files.items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o755 if name in self.executable else 0o644)


def write_program(data: Path, root: Path, commit: str, changed: Iterable[str] = ()) -> None:
    """Write the program's source into a record's ``data/`` whose documents are there.

    Writes nothing for a program of which only the commit's hash is known. ``changed`` are the
    program's files that the record's source.diff changes: it fits only what it was made from.

    Raises
    ------
    InvalidRecord
        There is no git, or it cannot read the commit.
    """
    try:
        files = dict(packed_source(root, commit))
        drawn = _named_fonts(data)
        edited = {Path(name).name for name in changed if name.startswith(f"{FONTS}/")}
        if files and (drawn or edited):
            fonts = font_names(root, commit)
            used = _files_of(drawn, fonts) | edited
            files |= {
                f"{FONTS_HELD}/{name}": read_font(root, commit, name)
                for name in fonts
                if name in used
            }
    except FileNotFoundError:
        raise InvalidRecord(
            "there is no git to read the program's source with", remedy="install git"
        ) from None
    except subprocess.CalledProcessError as error:
        raise InvalidRecord(
            f"git cannot read the program's source at the commit {commit} ({said_by(error)})",
            where=str(root),
        ) from None
    write_packed(files, data / PROGRAM)


def read_program(data: Path, commit: str) -> ProgramSource | None:
    """Read the program's source from a record's ``data/``, proven by the commit's hash.

    None if the record holds none, as those of earlier versions.

    Raises
    ------
    InvalidRecord
        The source is not that of the commit, or is incomplete.
    """
    folder = data / PROGRAM
    if not (folder / SOURCE).exists():
        return None
    try:
        objects, fonts = _contents(folder / OBJECTS), _contents(folder / FONTS_HELD)
        return _proven(commit, (folder / SOURCE).read_bytes(), objects, fonts)
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError) as error:
        raise InvalidRecord(
            f"the program's source cannot be read ({error})", where=str(folder)
        ) from None
    except InvalidRecord as error:
        raise InvalidRecord(error.what, where=str(folder)) from None


_Named = tuple[tuple[str, bytes], ...]


def _contents(folder: Path) -> _Named:
    return tuple((path.name, path.read_bytes()) for path in sorted(folder.glob("*")))


@lru_cache(maxsize=4)  # the records of an archive share few commits
def _proven(commit: str, archive: bytes, objects: _Named, fonts: _Named) -> ProgramSource:
    files, executable = _unpack(archive)
    files |= {f"{FONTS}/{name}": content for name, content in fonts}
    by_hash = {name.partition(".")[0]: content for name, content in objects}
    fault = prove_source(commit, by_hash, files, executable)
    if fault is not None:
        raise InvalidRecord(fault)
    return ProgramSource(commit, files, frozenset(executable))


def program_fault(data: Path) -> str | None:
    """A sentence on a record's program that is not that of the record's commit, else None.

    None for records that hold no program; an invalid environment.json is a fault of another check.
    """
    try:
        commit = json.loads((data / "environment.json").read_bytes())["commit"]
        read_program(data, str(commit))
    except InvalidRecord as error:
        return error.what
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None


def prove_source(
    commit: str,
    objects: Mapping[str, bytes],
    files: Mapping[str, bytes],
    executable: frozenset[str] | set[str],
) -> str | None:
    """Prove files as those of a commit; None, or a sentence on the first fault.

    Parameters
    ----------
    objects
        Contents of the commit and of trees by their hashes.
    files
        Contents of files by path.
    executable
        The paths of ``files`` with the mode of programs.
    """
    if commit not in objects or object_hash("commit", objects[commit], commit) != commit:
        return f"the commit is not {commit}"
    root = re.match(rb"tree ([0-9a-f]+)\n", objects[commit])
    if root is None:
        return "the commit names no tree"
    proven: set[str] = set()
    fault = _walk("", root[1].decode(), objects, files, executable, proven)
    if fault is None and (others := sorted(set(files) - proven)):
        fault = f"{others[0]} is not in the commit"
    return fault


def object_hash(kind: str, content: bytes, like: str) -> str:
    """git's hash of an object (``blob``, ``tree``, ``commit``), of the kind that ``like`` is."""
    algorithm = "sha1" if len(like) == 40 else "sha256"
    header = f"{kind} {len(content)}\0".encode()
    return hashlib.new(algorithm, header + content, usedforsecurity=False).hexdigest()


def _walk(
    folder: str,
    tree: str,
    objects: Mapping[str, bytes],
    files: Mapping[str, bytes],
    executable: frozenset[str] | set[str],
    proven: set[str],
) -> str | None:
    """Compare the files below a folder with a tree; adds their paths to ``proven``."""
    if tree not in objects:
        below = [name for name in files if name.startswith(folder)]
        if not below and not _is_needed(folder):
            return None
        proven.update(below)
        held = _tree_hash(folder, files, executable, tree)
        return None if held == tree else f"the files in {folder} are not the commit's"
    if object_hash("tree", objects[tree], tree) != tree:
        return f"the tree {tree} is not what its hash names"
    for mode, name, named in _entries(objects[tree], len(tree) // 2):
        path = f"{folder}{name}"
        if mode == _TREE_MODE:
            fault = _walk(f"{path}/", named, objects, files, executable, proven)
            if fault is not None:
                return fault
        elif path in files:
            proven.add(path)
            same = object_hash("blob", files[path], tree) == named
            if not same or _FILE_MODES.get(mode) != (path in executable):
                return f"{path} is not the commit's"
        elif _is_needed(path) and not path.startswith(f"{FONTS}/"):
            return f"{path} of the commit is missing"
    return None


def _is_needed(path: str) -> bool:
    return any(path == name or path.startswith(f"{name}/") for name in NEEDED)


def _entries(tree: bytes, size: int) -> Iterator[tuple[bytes, str, str]]:
    """The mode, name and hash of each entry of a tree, whose hashes have ``size`` bytes."""
    at = 0
    while at < len(tree):
        space, end = tree.index(b" ", at), tree.index(b"\0", at)
        named = tree[end + 1 : end + 1 + size].hex()
        yield tree[at:space], tree[space + 1 : end].decode(errors="replace"), named
        at = end + 1 + size


def _tree_hash(
    folder: str, files: Mapping[str, bytes], executable: frozenset[str] | set[str], like: str
) -> str:
    """git's hash of the tree with all files below ``folder``, which ends with a slash."""
    entries: dict[bytes, bytes] = {}
    for path in files:
        if not path.startswith(folder):
            continue
        name, deeper, _ = path.removeprefix(folder).partition("/")
        key = name.encode() + (b"/" if deeper else b"")  # git sorts a folder as with a slash
        if key in entries:
            continue
        if deeper:
            mode, named = _TREE_MODE, _tree_hash(f"{folder}{name}/", files, executable, like)
        else:
            mode = b"100755" if path in executable else b"100644"
            named = object_hash("blob", files[path], like)
        entries[key] = mode + b" " + name.encode() + b"\0" + bytes.fromhex(named)
    return object_hash("tree", b"".join(entries[key] for key in sorted(entries)), like)


def _unpack(archive: bytes) -> tuple[dict[str, bytes], set[str]]:
    """The contents and the executable paths of an archive, in memory; ValueError if it is odd."""
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    content = inflate.decompress(archive, LARGEST)
    if not inflate.eof or inflate.unused_data:
        raise ValueError("the archive is cut off, or larger than a program")
    files, executable = {}, set()
    with tarfile.open(fileobj=BytesIO(content), mode="r:") as tar:
        for entry in tar:
            file = tar.extractfile(entry) if entry.isreg() else None
            if file is None or entry.name in files or not _is_plain(entry.name):
                raise ValueError(f"{entry.name} is no plain file")
            files[entry.name] = file.read()
            if entry.mode & 0o100:
                executable.add(entry.name)
    return files, executable


def _is_plain(path: str) -> bool:
    """Whether a path stays below the folder that it is joined to, on any system."""
    parts = path.split("/")
    return not {"", ".", "..", ".git"} & set(parts) and not set(path) & {"\\", ":", "\0"}


def _named_fonts(data: Path) -> set[str]:
    """The names in the PDFs of a record of those fonts that the program brings."""
    named: set[str] = set()
    for path in sorted((data / "documents").glob("*.pdf")):
        named.update(name.decode() for name in _FONT.findall(path.read_bytes()))
    return {name for name in named if name.startswith("Noto")}


def _files_of(named: Iterable[str], fonts: Iterable[str]) -> set[str]:
    """The file of each named font: ``NotoSansCJKsc`` is in ``NotoSansCJK-Regular.ttc``."""
    families = {name.partition(".")[0].partition("-")[0]: name for name in sorted(fonts)}
    used = (max((f for f in families if font.startswith(f)), key=len, default="") for font in named)
    return {families[family] for family in used if family}
