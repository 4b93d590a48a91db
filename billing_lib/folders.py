"""Folders of records and files: on this machine, or where fsspec reaches.

    BILLING_RUNS=runs                       a Path
    BILLING_RUNS=s3://bucket/archive        a RemoteFolder, with the AWS variables or ~/.aws
    BILLING_RUNS=sftp://user@host/archive   a RemoteFolder, with ~/.ssh
    BILLING_RUNS=ftp://host/archive         refused

A file of a remote folder is there whole or not at all: an object store puts it in one step, and a
file sent by SFTP gets its name when it is complete. Nothing here keeps what it read: each command
asks the store anew.
"""

import atexit
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from billing_lib.errors import MissingExtra, UnreachableFolder

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")

_DRIVERS: dict[
    str, tuple[str, str, str, dict[str, Any]]
] = {  # by the beginning of a URL: fsspec's driver, its own errors, its options
    "s3": ("s3fs", "botocore.exceptions", "BotoCoreError", {"use_listings_cache": False}),
    "sftp": ("sshfs", "asyncssh", "Error", {"known_hosts": ()}),  # else no host would be checked
}


@dataclass(frozen=True)
class RemoteFolder:
    """A folder that is no folder of this machine; paths in it are written with slashes."""

    url: str

    def __str__(self) -> str:
        """The URL."""
        return self.url

    def __truediv__(self, path: str | Path) -> "RemoteFolder":
        """A folder in it."""
        return RemoteFolder(f"{self.url}/{path}")

    def absolute(self) -> "RemoteFolder":
        """The folder itself, as a URL is the same from everywhere."""
        return self

    @property
    def copies(self) -> Path:
        """A folder of this process for copies of files; it is deleted at the end."""
        return _copies(self.url)

    def read(self, path: str) -> bytes:
        """A file's content; FileNotFoundError if it is not there."""
        with self._sentences(may_lack=True):
            content: bytes = self._files.cat_file(self._at(path))
        return content

    def write(self, path: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        with self._sentences():
            if self._scheme == "s3":  # an object is put in one step
                self._files.pipe_file(self._at(path), content)
                return
            partial = f"{self._at(path)}.partial"
            self._files.pipe_file(partial, content)
            self._files.mv(partial, self._at(path))

    def exists(self, path: str) -> bool:
        """Whether a file is there."""
        with self._sentences():
            return bool(self._files.isfile(self._at(path)))

    def size(self, path: str) -> int:
        """A file's size in bytes."""
        with self._sentences():
            return int(self._files.size(self._at(path)))

    def modified(self, path: str) -> datetime:
        """The time at which a file was written, by the store's clock."""
        with self._sentences():
            moment: datetime = self._files.modified(self._at(path))
        return moment

    def names(self, under: str = "") -> list[str]:
        """The paths of all files under a path, sorted."""
        with self._sentences():
            top, root = self._at(under).rstrip("/"), self._root.rstrip("/")
            if not self._files.isdir(top):
                return []
            found = self._files.find(top, withdirs=False, detail=True)
        return sorted(
            name.removeprefix(root).lstrip("/")
            for name, details in found.items()
            if details["type"] == "file"
        )

    def upload(self, folder: Path, under: str, names: Iterable[str]) -> None:
        """Copy files of a local folder under a path."""
        listed = list(names)
        with self._sentences():
            self._files.put(
                [str(folder / name) for name in listed],
                [self._at(f"{under}/{name}") for name in listed],
            )

    def download(self, under: str, folder: Path) -> None:
        """Copy all files under a path into a local folder."""
        names = self.names(under)
        odd = next((name for name in names if ".." in name.split("/")), None)
        if odd is not None:  # an object's name is any text
            raise UnreachableFolder(f"'{odd}' is no name of a file", where=self.url)
        with self._sentences():
            self._files.get(
                [self._at(name) for name in names],
                [str(folder / name.removeprefix(f"{under}/")) for name in names],
            )

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; one that is not there is no mistake."""
        with self._sentences():
            for name in names:
                if self._files.isfile(self._at(name)):
                    self._files.rm_file(self._at(name))

    @property
    def _scheme(self) -> str:
        return urlsplit(self.url).scheme

    @property
    def _files(self) -> Any:
        return _driver(self.url)[0]

    @property
    def _root(self) -> str:
        root: str = _driver(self.url)[1]
        return root

    def _at(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}"

    @contextmanager
    def _sentences(self, *, may_lack: bool = False) -> Iterator[None]:
        package, module, name, _ = _DRIVERS[self._scheme]
        if find_spec(package) is None:
            raise MissingExtra(
                f"a folder at {self.url} needs {package}, which is not installed",
                remedy="run: pip install 'billing-notebooks[remote]'",
            )
        unreachable: type[Exception] = getattr(import_module(module), name)
        try:
            yield
        except (OSError, unreachable) as error:
            if may_lack and isinstance(error, FileNotFoundError):
                raise
            raise UnreachableFolder(
                f"the store cannot be used ({error})",
                where=self.url,
                remedy="check the URL, the credentials and the rights",
            ) from error


Folder = Path | RemoteFolder
"""A folder anywhere."""


def parse_folder(stated: object) -> object:
    """A folder from its text, a Path or a RemoteFolder; ValueError if the URL is of no use."""
    found = _URL.match(str(stated)) if isinstance(stated, str | Path) else None
    if found is None:
        return stated
    text, scheme = str(stated), found[1]
    if scheme not in _DRIVERS or not text.startswith(f"{scheme}://"):
        known = " or ".join(f"{each}://" for each in _DRIVERS)
        raise ValueError(f"'{text}' is neither a folder nor a URL that begins with {known}")
    parts = urlsplit(text)
    if not parts.hostname:
        raise ValueError(f"'{text}' names no {'bucket' if scheme == 's3' else 'host'}")
    if parts.password is not None:
        raise ValueError("a URL with a password would be shown; leave the password out")
    return RemoteFolder(text.rstrip("/"))


def local_only(stated: object) -> object:
    """The text or Path of a folder or file of this machine; ValueError if it is a URL."""
    if isinstance(stated, str | Path) and _URL.match(str(stated)):
        raise ValueError(f"'{stated}' is a URL, and this must be a path on this machine")
    return stated


@cache
def _driver(url: str) -> tuple[Any, str]:
    """The fsspec driver and the path in it."""
    from fsspec.core import url_to_fs  # noqa: PLC0415 — only who archives elsewhere has it

    driver, root = url_to_fs(url, **_DRIVERS[urlsplit(url).scheme][-1])
    return driver, root


@cache
def _copies(_url: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="billing-copies-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
