"""One issuing process per facility, and one that sends mail, at a time; freed on a crash.

    with issuing(engine, "RC"):     # a second one is told, not kept waiting
        ...
    with sending(engine):
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

from billing_lib.errors import BillingError, IssuingElsewhere, SendingElsewhere


@contextmanager
def issuing(engine: Engine, facility: str) -> Iterator[None]:
    """Hold the facility's issuing lock, on either database.

    Raises
    ------
    IssuingElsewhere
        Another process (or another caller in this one) holds it.
    """
    refusal = IssuingElsewhere(
        "another process is issuing at this moment",
        where=facility,
        remedy="run the command again when it has ended",
    )
    with _held(engine, f"issuing:{facility}", f"{quote(facility, safe='')}.issuing", refusal):
        yield


@contextmanager
def sending(engine: Engine) -> Iterator[None]:
    """Hold the ledger's one lock on sending mail.

    Raises
    ------
    SendingElsewhere
        Another process (or another caller in this one) holds it.
    """
    refusal = SendingElsewhere(
        "another process is sending mail at this moment",
        remedy="what is queued waits; run 'billing deliver' when it has ended",
    )
    with _held(engine, "sending", "sending", refusal):
        yield


@contextmanager
def _held(engine: Engine, key: str, file: str, refusal: BillingError) -> Iterator[None]:
    if engine.dialect.name == "postgresql":
        with _session_lock(engine, key, refusal):
            yield
    else:
        with _file_lock(engine, file, refusal):
            yield


@contextmanager
def _session_lock(engine: Engine, name: str, refusal: BillingError) -> Iterator[None]:
    key = func.hashtextextended(f"billing.{name}", 0)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(select(func.pg_try_advisory_lock(key))):
            raise refusal
        try:
            yield
        finally:
            connection.scalar(select(func.pg_advisory_unlock(key)))


@contextmanager
def _file_lock(engine: Engine, name: str, refusal: BillingError) -> Iterator[None]:
    database = Path(str(engine.url.database)).resolve()
    lock = FileLock(database.with_name(f"{database.name}.{name}"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise refusal from None
    try:
        yield
    finally:
        lock.release()
