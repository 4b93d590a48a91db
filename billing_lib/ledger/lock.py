"""One issuing process per facility at a time, freed by the operating system on a crash.

    with issuing(engine, "RC"):     # a second one is told, not kept waiting
        ...

On PostgreSQL a session's advisory lock, on a connection of its own; beside a SQLite file a lock
on another file. Both end with the process that holds them, even if it is killed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout
from sqlalchemy import Engine, func, select

from billing_lib.errors import IssuingElsewhere


@contextmanager
def issuing(engine: Engine, facility: str) -> Iterator[None]:
    """Hold the facility's issuing lock, on either database.

    Raises
    ------
    IssuingElsewhere
        Another process (or another caller in this one) holds it.
    """
    held = _session_lock if engine.dialect.name == "postgresql" else _file_lock
    with held(engine, facility):
        yield


@contextmanager
def _session_lock(engine: Engine, facility: str) -> Iterator[None]:
    key = func.hashtextextended(f"billing.issuing:{facility}", 0)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(select(func.pg_try_advisory_lock(key))):
            raise _elsewhere(facility)
        try:
            yield
        finally:
            connection.scalar(select(func.pg_advisory_unlock(key)))


@contextmanager
def _file_lock(engine: Engine, facility: str) -> Iterator[None]:
    database = Path(str(engine.url.database)).resolve()
    lock = FileLock(database.with_name(f"{database.name}.{quote(facility, safe='')}.issuing"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise _elsewhere(facility) from None
    try:
        yield
    finally:
        lock.release()


def _elsewhere(facility: str) -> IssuingElsewhere:
    return IssuingElsewhere(
        "another process is issuing at this moment",
        where=facility,
        remedy="run the command again when it has ended",
    )
