"""The ledger's database: opening it, setting it up, transactions, locks, and login and time.

    engine = open_ledger("sqlite:///billing.db")
    initialise(engine)                        # billing init; again does nothing
    with writing(engine) as connection: ...   # all or nothing
    with trying(engine) as connection: ...    # to see the result; always rolled back
    with writing(connection) as same: ...     # a part of a transaction, undone alone if it fails
    with reading(engine) as connection: ...   # one consistent view, never blocks a writer
    with issuing(engine, "RC"): ...           # a second one is told, not kept waiting
    with sending(engine): ...

SQLite writes under BEGIN IMMEDIATE, so two writers queue instead of failing half way, in WAL
mode, so readers go on. A PostgreSQL session runs in UTC with ISO dates. One process per facility
issues, and one sends mail. Their locks are advisory locks on a connection of their own, or files
beside a SQLite ledger, and end with the process, even if it is killed. On PostgreSQL they are
leases: the holder beats every quarter of a minute, and the server ends a session that is silent
for a minute, as when its machine is gone or hangs. Whoever lost a lease commits nothing, since the
next holder ends the issuing that it finds frozen. On PostgreSQL triggers set
login (``session_user``) and time, whatever a client sends. On SQLite only this module sets them:
the owner of the process, never an environment variable, and the system's clock.
"""

import atexit
import os
import pwd
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from weakref import WeakSet

from filelock import FileLock, Timeout
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Text,
    cast,
    column,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    table,
)
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from billing_lib.errors import (
    BillingError,
    IssuingElsewhere,
    NotPermitted,
    NotReady,
    SendingElsewhere,
    UnreachableLedger,
)
from billing_lib.ledger import logins
from billing_lib.ledger.schema import metadata

HEAD = "0014"
"""The latest migration (migrations/versions); a test compares it with alembic's answer."""

_FIRST = "0009"
"""The earliest migration that can be upgraded; earlier ones were never released."""

Ledger = Engine | Connection
"""A ledger, or a transaction on it of which the work becomes a part."""

_BUSY_SECONDS = 60
_LEASE_SECONDS = 60
TAKEOVER_SECONDS = 2 * _LEASE_SECONDS
"""The time in which a dead holder's lease has surely ended."""
_CONNECT_SECONDS = 10
_INSUFFICIENT_PRIVILEGE = "42501"  # PostgreSQL's error code
_READING = "billing_reading"
_PRAGMAS = (
    "foreign_keys=ON",
    "recursive_triggers=ON",
    "journal_mode=WAL",
    "cache_size=-524288",  # at most 512 MiB: a month of a million records is written in memory
)
_SQLITE, _POSTGRESQL = "sqlite", "postgresql"


def open_ledger(url: str) -> Engine:
    """An engine for ``sqlite:///billing.db`` or ``postgresql://host/name``, not connected yet."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise _unusable("the database's URL cannot be read") from None
    backend = parsed.get_backend_name()
    if backend == _SQLITE:
        engine = _open_sqlite(parsed)
    elif backend in (_POSTGRESQL, "postgres"):
        engine = _open_postgresql(parsed)
    else:
        raise _unusable(f"a database of the kind '{backend}' cannot hold a ledger")
    _opened.add(engine)
    return engine


_opened: WeakSet[Engine] = WeakSet()


@atexit.register
def _close() -> None:
    """Close all connections: SQLite then has everything in the one file."""
    for engine in _opened:
        engine.dispose()


def initialise(engine: Engine) -> bool:
    """Bring the ledger's tables and guards to this version; False if they already are.

    On PostgreSQL roles and grants are made or renewed in either case.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "billing_lib.ledger:migrations")
    with writing(engine) as connection:
        if engine.dialect.name == _POSTGRESQL:
            key = func.hashtextextended("billing.initialise", 0)
            connection.execute(select(func.pg_advisory_xact_lock(key)))
        standing = _version(connection)
        if standing == HEAD:
            _let_in(connection)
            return False
        if standing is not None and standing > HEAD:
            raise _too_new(engine)
        if standing is not None and standing < _FIRST:
            raise NotReady(
                "the ledger was set up by a version before the first release",
                where=_shown(engine),
                remedy="begin a new one",
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        _let_in(connection)
        if engine.dialect.name == _SQLITE:
            _state_sizes(connection)
    return True


def _let_in(connection: Connection) -> None:
    """Make or renew PostgreSQL's roles and grants."""
    if connection.dialect.name == _POSTGRESQL:
        logins.set_up(connection)


_ROWS = 1_000_000
_VALUES = {"facility": 4, "period": 40}
"""About so many values a column of a large ledger has; others have _MANY."""
_MANY = 100


def _state_sizes(connection: Connection) -> None:
    """Tell SQLite how large a ledger grows: without, it reads a facility's rows one by one rather
    than use an index by month and project. Measured sizes (ANALYZE) would make a plan depend on the
    day on which they were measured."""
    connection.exec_driver_sql("ANALYZE sqlite_schema")  # makes the table of sizes
    connection.exec_driver_sql("DELETE FROM sqlite_stat1")
    for of in metadata.tables:
        for _, index, unique, origin, _ in connection.exec_driver_sql(f'PRAGMA index_list("{of}")'):
            sizes = [_ROWS]
            for _, _, name in connection.exec_driver_sql(f'PRAGMA index_info("{index}")'):
                sizes.append(max(sizes[-1] // _VALUES.get(name, _MANY), 2))
            if unique:
                sizes[-1] = 1
            tree = of if origin == "pk" else index  # SQLite names a table's own tree by the table
            connection.exec_driver_sql(
                "INSERT INTO sqlite_stat1 VALUES (?, ?, ?)", (of, tree, " ".join(map(str, sizes)))
            )
    connection.exec_driver_sql("ANALYZE sqlite_schema")  # reads it


def require_initialised(engine: Engine) -> None:
    """Raise NotReady unless the ledger is set up for this version of the program."""
    remedy = "run billing init"
    if engine.dialect.name == _SQLITE and not Path(str(engine.url.database)).exists():
        raise NotReady("there is no ledger yet", where=_shown(engine), remedy=remedy)
    with reading(engine) as connection:
        standing = _version(connection)
    if standing is None:
        raise NotReady("the ledger is not set up", where=_shown(engine), remedy=remedy)
    if standing < HEAD:
        raise NotReady(
            "the ledger is of an earlier version of the program",
            where=_shown(engine),
            remedy=remedy,
        )
    if standing > HEAD:
        raise _too_new(engine)


@contextmanager
def writing(engine: Ledger) -> Iterator[Connection]:
    """A transaction that writes: committed at the end, rolled back on any exception.

    It waits for another writer for a minute, or for the timeout in the URL. Within a transaction it
    is a savepoint, so that an exception rolls back this part alone.
    """
    if isinstance(engine, Connection):
        with engine.begin_nested():
            yield engine
        return
    with _sentences(engine), engine.begin() as connection:
        yield connection


@contextmanager
def trying(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes and is always rolled back, to see the result of a change."""
    with _sentences(engine), engine.connect() as connection, connection.begin() as transaction:
        yield connection
        transaction.rollback()


@contextmanager
def reading(engine: Ledger) -> Iterator[Connection]:
    """A transaction that only reads, and sees the ledger as at one moment.

    Within another transaction it sees that one's changes too.
    """
    if isinstance(engine, Connection):
        yield engine
        return
    with _sentences(engine), engine.connect() as connection:
        if engine.dialect.name == _POSTGRESQL:
            connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        else:
            connection.execution_options(**{_READING: True})
        yield connection


def change_mark(engine: Engine) -> str:
    """A text that changes with each write that anybody commits to the ledger."""
    if engine.dialect.name == _POSTGRESQL:
        with _sentences(engine), engine.connect() as connection:
            return str(connection.scalar(select(cast(func.pg_current_snapshot(), Text))))
    file = Path(str(engine.url.database))
    written = [path.stat() for path in (file, Path(f"{file}-wal")) if path.exists()]
    return " ".join(f"{each.st_size}-{each.st_mtime_ns}" for each in written)


def _open_sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise _unusable("a SQLite ledger needs a file")
    limit = {} if "timeout" in url.query else {"timeout": _BUSY_SECONDS}
    engine = create_engine(url, connect_args=limit)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions begin below, not in the driver
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get(_READING, False)
        connection.connection.cursor().execute(f"PRAGMA query_only = {int(reads)}")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _open_postgresql(url: URL) -> Engine:
    limit = {} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_SECONDS}
    engine = create_engine(url.set(drivername="postgresql+psycopg"), connect_args=limit)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.autocommit = True
        connection.execute("SET TIME ZONE 'UTC'")  # frames.py parses COPY's output in UTC
        connection.execute("SET datestyle TO 'ISO, YMD'")
        connection.autocommit = False

    return engine


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalar(select(column("version_num")).select_from(table("alembic_version")))


@contextmanager
def _sentences(engine: Engine) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        if getattr(error.orig, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE:
            said = str(error.orig).strip().splitlines()[0]
            raise NotPermitted(
                f"the database refuses it to this login: {said}",
                where=_shown(engine),
                remedy="'billing people add' lets a login use the ledger, 'billing grant' gives it "
                "a role",
            ) from error
        # The bare class is SQLite's "file is not a database"; other subclasses are our defects.
        if not isinstance(error, OperationalError) and type(error) is not DatabaseError:
            raise
        said = str(error.orig).strip().splitlines()[0]
        raise _unusable(f"the database cannot be used: {said}", _shown(engine)) from error


def _unusable(what: str, where: str | None = None) -> UnreachableLedger:
    return UnreachableLedger(what, where=where, remedy="check BILLING_DATABASE")


def _too_new(engine: Engine) -> NotReady:
    return NotReady(
        "the ledger was set up by a later version of the program",
        where=_shown(engine),
        remedy="install that version",
    )


def _shown(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)


@contextmanager
def issuing(engine: Engine, facility: str, wait: float = 0) -> Iterator[None]:
    """Hold the facility's issuing lock; IssuingElsewhere if another process or caller holds it.

    ``wait`` is for how many seconds to wait for the other.
    """
    refusal = IssuingElsewhere(
        "another process is issuing at this moment",
        where=facility,
        remedy="run the command again when it has ended",
    )
    file = f"{quote(facility, safe='')}.issuing"
    with _held(engine, f"issuing:{facility}", file, refusal, wait):
        yield


@contextmanager
def sending(engine: Engine) -> Iterator[None]:
    """Hold the ledger's one lock on sending mail; refused if another process or caller holds it."""
    refusal = SendingElsewhere(
        "another process is sending mail at this moment",
        remedy="what is queued waits; run 'billing deliver' when it has ended",
    )
    with _held(engine, "sending", "sending", refusal):
        yield


@contextmanager
def _held(
    engine: Engine, key: str, file: str, refusal: BillingError, wait: float = 0
) -> Iterator[None]:
    if engine.dialect.name == "postgresql":
        with _session_lock(engine, key, refusal, wait):
            yield
    else:
        with _file_lock(engine, file, refusal, wait):
            yield


@contextmanager
def _session_lock(engine: Engine, name: str, refusal: BillingError, wait: float) -> Iterator[None]:
    until = time.monotonic() + wait
    with (
        _sentences(engine),  # also where the lock is lost with its connection
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
    ):
        connection.detach()  # its session ends with the lock, and is not for others
        while not connection.scalar(select(func.billing_guard_hold(name))):
            if time.monotonic() >= until:
                raise refusal
            time.sleep(0.2)
        ended = threading.Event()
        beating = threading.Thread(target=_beat, args=(connection, ended), daemon=True)
        beating.start()
        try:
            yield
        finally:
            ended.set()
            beating.join()
            if not connection.invalidated:
                connection.scalar(select(func.billing_guard_free(name)))


def _beat(connection: Connection, ended: threading.Event) -> None:
    """Show the server that the holder of a lease is there, until it has ended or is lost."""
    timeout = f"{_LEASE_SECONDS}s"
    try:
        connection.execute(select(func.set_config("idle_session_timeout", timeout, False)))
        while not ended.wait(_LEASE_SECONDS / 4):
            connection.scalar(select(1))
    except DatabaseError:
        connection.invalidate()


@contextmanager
def _file_lock(engine: Engine, name: str, refusal: BillingError, wait: float) -> Iterator[None]:
    database = Path(str(engine.url.database)).resolve()
    lock = FileLock(database.with_name(f"{database.name}.{name}"), mode=0o666)  # less the umask
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise refusal from None
    try:
        yield
    finally:
        lock.release()


def stamp(connection: Connection, *, who: str | None = None, when: str) -> dict[str, object]:
    """The columns of login (``who``) and time (``when``) to write; none on PostgreSQL."""
    if connection.dialect.name == "postgresql":
        return {}
    moment: dict[str, object] = {when: datetime.now(UTC)}
    return moment if who is None else {who: operating_system_login(), **moment}


def operating_system_login() -> str:
    """The login name of this process's user, or ``uid NUMBER`` for a user without a name."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"
