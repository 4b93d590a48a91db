"""Writing a requested file: whole or not at all, only if its content differs."""

from contextlib import suppress
from pathlib import Path

from billing_lib.errors import UnwritableFile


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, unless they exist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None


def write_file(path: Path, content: bytes) -> bool:
    """Write a file; whether its content changed. On an error the old content stays."""
    partial_path = path.with_name(f".{path.name}.partial")
    try:
        if path.is_file() and path.read_bytes() == content:
            return False
        partial_path.write_bytes(content)
        partial_path.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial_path.unlink(missing_ok=True)
        raise unwritable(path, error) from None
    return True


def unwritable(path: Path, error: OSError) -> UnwritableFile:
    """The error about a file or folder that cannot be written."""
    return UnwritableFile(
        f"it cannot be written ({error.strerror})",
        where=str(path),
        remedy="choose another file or folder, or make room",
    )
