"""The bag: a folder whose manifests list the sha256 of every file (BagIt, RFC 8493).

    manifest-sha256.txt      every file under data/
    tagmanifest-sha256.txt   every file beside data/, except itself and its signature

Manifests have exactly one written form (sorted by path, two spaces, lower case, a line feed after
each line). So ``verify`` finds any changed byte in them by writing them again.
"""

import hashlib
from pathlib import Path

MANIFEST = "manifest-sha256.txt"
TAG_MANIFEST = "tagmanifest-sha256.txt"
SIGNATURE = "tagmanifest-sha256.txt.sig"
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
    (folder / MANIFEST).write_bytes(manifest_bytes(folder, payload))
    (folder / TAG_MANIFEST).write_bytes(manifest_bytes(folder, tag_files(folder)))


def manifest_bytes(folder: Path, files: list[Path]) -> bytes:
    """The content of a manifest of these files, in its only written form (RFC 8493, 2.1.3)."""
    lines = (f"{file_sha256(path)}  {manifest_path(folder, path)}\n" for path in files)
    return "".join(lines).encode(errors="surrogateescape")  # names need not be UTF-8


def manifest_path(folder: Path, path: Path) -> str:
    """A file's path in manifests: relative, with %, CR and LF percent-encoded."""
    relative = path.relative_to(folder).as_posix()
    return relative.replace("%", "%25").replace("\n", "%0A").replace("\r", "%0D")


def payload_files(folder: Path) -> list[Path]:
    """Every file under ``data/``, sorted by its path."""
    return _sorted(folder, [path for path in (folder / "data").rglob("*") if path.is_file()])


def tag_files(folder: Path) -> list[Path]:
    """Every file outside ``data/`` that the tag manifest lists, sorted by its path."""
    excluded = {TAG_MANIFEST, SIGNATURE}
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
