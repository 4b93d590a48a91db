"""The bag: a folder whose manifests list the sha256 of every file (BagIt, RFC 8493).

    manifest-sha256.txt      every file under data/
    manifest-tree.txt        the root of a Merkle tree over the lines of manifest-sha256.txt
    manifest-salt.txt        a secret of the record, so that no leaf of the tree can be guessed
    tagmanifest-sha256.txt   every file beside data/, except itself, its signature and time stamp

Manifests have exactly one written form (sorted by path, two spaces, lower case, a line feed after
each line). So ``verify`` finds any changed byte in them by writing them again.

The tree lets one file be shown to be part of the record without the others: its path in the tree
has hashes alone. A line's leaf begins with a salt of its own, 32 bytes of HMAC-SHA256 of the file's
path under the record's secret; without it, whoever knows another invoice but for its total could
try totals until the hash fits.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from billing_lib.audit.merkle import inclusion_path, tree_root

MANIFEST = "manifest-sha256.txt"
TAG_MANIFEST = "tagmanifest-sha256.txt"
SIGNATURE = "tagmanifest-sha256.txt.sig"
TIME_STAMP = "tagmanifest-sha256.txt.tsr"
TREE = "manifest-tree.txt"
SALT = "manifest-salt.txt"
DECLARATION = "bagit.txt"
INFO = "bag-info.txt"

DECLARATION_TEXT = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"


def write_bag(folder: Path, info: dict[str, str]) -> None:
    """Write declaration, info and manifests over a folder that has its ``data/``.

    Parameters
    ----------
    info
        Further lines of bag-info.txt; Payload-Oxum (bytes.files) is added.
    """
    payload = payload_files(folder)
    size = sum(path.stat().st_size for path in payload)
    lines = info | {"Payload-Oxum": f"{size}.{len(payload)}"}
    text = "".join(f"{key}: {_one_line(value)}\n" for key, value in lines.items())
    (folder / DECLARATION).write_bytes(DECLARATION_TEXT.encode())
    (folder / INFO).write_bytes(text.encode())
    write_manifests(folder, payload)


def write_manifests(folder: Path, payload: list[Path]) -> None:
    """Write both manifests and the tree; a salt that is there is kept, so that bytes repeat."""
    manifest = manifest_bytes(folder, payload)
    (folder / MANIFEST).write_bytes(manifest)
    salt = folder / SALT
    if not salt.exists():
        salt.write_bytes(f"{secrets.token_hex(32)}\n".encode())
    (folder / TREE).write_bytes(ManifestTree.of(manifest, salt.read_bytes()).text)
    (folder / TAG_MANIFEST).write_bytes(manifest_bytes(folder, tag_files(folder)))


def manifest_bytes(
    folder: Path, files: list[Path], sha256: Callable[[Path], str] | None = None
) -> bytes:
    """The content of a manifest of these files, in its only written form (RFC 8493, 2.1.3).

    ``sha256`` gives a file's hash, where it is known already.
    """
    hashed = sha256 or file_sha256
    lines = (f"{hashed(path)}  {manifest_path(folder, path)}\n" for path in files)
    return "".join(lines).encode(errors="surrogateescape")  # names need not be UTF-8


TREE_TEXT = re.compile(rb"(?P<root>[0-9a-f]{64})  (?P<size>[1-9]\d*) lines\n")
"""The content of ``manifest-tree.txt``."""


@dataclass(frozen=True)
class ManifestTree:
    """The tree over a manifest's lines, in their order; ``salts`` are in bytes."""

    lines: tuple[bytes, ...]
    salts: tuple[bytes, ...]

    @classmethod
    def of(cls, manifest: bytes, salt: bytes) -> "ManifestTree":
        """The tree of a manifest under the secret in ``manifest-salt.txt``."""
        lines = tuple(manifest.splitlines())
        paths = (line.partition(b"  ")[2] for line in lines)
        return cls(lines, tuple(hmac.digest(salt.strip(), path, "sha256") for path in paths))

    @property
    def leaves(self) -> list[bytes]:
        """Each line after its salt."""
        return [salt + line for salt, line in zip(self.salts, self.lines, strict=True)]

    @property
    def text(self) -> bytes:
        """The content of ``manifest-tree.txt``."""
        return f"{tree_root(self.leaves).hex()}  {len(self.lines)} lines\n".encode()

    def path(self, index: int) -> list[bytes]:
        """The path of a line in the tree."""
        return inclusion_path(self.leaves, index)


def tree_defect(folder: Path) -> str | None:
    """A sentence if a record's tree is not that of its manifest; None if it is, or has none."""
    tree, salt, manifest = (folder / name for name in (TREE, SALT, MANIFEST))
    if not tree.is_file() and not salt.is_file():
        return None  # a record of an earlier version
    if not (tree.is_file() and salt.is_file() and manifest.is_file()):
        return "the tree, its salt or the manifest is missing"
    made = ManifestTree.of(manifest.read_bytes(), salt.read_bytes())
    return None if tree.read_bytes() == made.text else "it is not the tree of the manifest's lines"


def manifest_path(folder: Path, path: Path) -> str:
    """A file's path in manifests: relative, with %, CR and LF percent-encoded."""
    relative = path.relative_to(folder).as_posix()
    return relative.replace("%", "%25").replace("\n", "%0A").replace("\r", "%0D")


def payload_files(folder: Path) -> list[Path]:
    """Every file under ``data/``, sorted by its path."""
    return _sorted(folder, [path for path in (folder / "data").rglob("*") if path.is_file()])


def tag_files(folder: Path) -> list[Path]:
    """Every file outside ``data/`` that the tag manifest lists, sorted by its path."""
    excluded = {TAG_MANIFEST, SIGNATURE, TIME_STAMP}
    outside = [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.relative_to(folder).parts[0] != "data"
        and path.relative_to(folder).as_posix() not in excluded
    ]
    return _sorted(folder, outside)


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sorted(folder: Path, paths: list[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: path.relative_to(folder).as_posix())


def _one_line(value: str) -> str:
    """A value without line breaks, which would begin another entry of bag-info.txt."""
    return " ".join(value.split())
