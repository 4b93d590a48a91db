"""The store: files by their content, each once, whoever refers to it.

    store/files/9c/9c41…   what has this sha256

Files are put there whole or not at all, and before the ledger refers to them; what nothing refers
to, after a crash or a deletion, is swept away. One process at a time puts and sweeps, so that
nothing goes while somebody is about to refer to it.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from billing_lib.documents.writing import make_folder, unwritable, write_file
from billing_lib.errors import NotReady, UnknownExport

_WAIT = 600  # seconds for whoever makes a large package
_PARTIAL = "package.partial"


@dataclass(frozen=True)
class Store:
    """A folder that is a store."""

    folder: Path

    @contextmanager
    def locked(self, wait: float = _WAIT) -> Iterator[None]:
        """Keep others from putting and sweeping; they wait.

        Raises
        ------
        NotReady
            Another process has kept it for as long as ``wait`` seconds.
        UnwritableFile
            The folder cannot be made or written.
        """
        make_folder(self.folder / "files")
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=wait)
        except Timeout:
            raise NotReady(
                "another process is making packages or transformations at this moment",
                where=str(self.folder),
                remedy="run the command again when it has ended",
            ) from None
        except OSError as error:
            raise unwritable(self.folder, error) from None
        try:
            yield
        finally:
            lock.release()

    def put(self, content: bytes) -> str:
        """Keep a file's content; its sha256.

        Raises
        ------
        UnwritableFile
            It cannot be written.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        path = self._path(sha256)
        make_folder(path.parent)
        write_file(path, content)
        return sha256

    @property
    def partial(self) -> Path:
        """Where something large is written, under the lock, before it is taken."""
        return self.folder / _PARTIAL

    def take(self) -> tuple[str, int]:
        """Keep what was written to ``partial``; its sha256 and bytes.

        Raises
        ------
        UnwritableFile
            It cannot be moved into place.
        """
        with self.partial.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            size = file.seek(0, os.SEEK_END)
        path = self._path(sha256)
        make_folder(path.parent)
        try:
            self.partial.replace(path)
        except OSError as error:
            raise unwritable(path, error) from None
        return sha256, size

    def has(self, sha256: str) -> bool:
        """Whether a file with this content is kept."""
        return self._path(sha256).is_file()

    def size(self, sha256: str) -> int:
        """The bytes of a file that is kept."""
        return self._path(sha256).stat().st_size

    def read(self, sha256: str) -> bytes:
        """A file's content.

        Raises
        ------
        UnknownExport
            It is not kept any more, or was changed by somebody.
        """
        path = self._path(sha256)
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != sha256:
            raise UnknownExport(
                "the file is gone from the store, or was changed there",
                where=str(path),
                remedy="make it again",
            )
        return content

    def sweep(self, referred: set[str]) -> int:
        """Remove what nothing refers to, and what a crash left half written; how many files."""
        left = [path for path in (self.folder / "files").glob("*/*") if path.name not in referred]
        for path in [*left, self.partial]:
            path.unlink(missing_ok=True)
        return len(left)

    def _path(self, sha256: str) -> Path:
        return self.folder / "files" / sha256[:2] / sha256
