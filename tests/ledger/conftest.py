"""Ledgers with April in them, and raw connections as an outsider has them."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from april import issue, load_and_rate, submit
from sqlalchemy import Engine

from billing_lib.ledger.database import writing

Raw = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def raw(ledger: Engine) -> Iterator[Raw]:
    """Runs SQL on a plain driver's connection, each statement committed at once."""
    if ledger.dialect.name == "sqlite":
        with closing(sqlite3.connect(str(ledger.url.database), isolation_level=None)) as plain:
            yield lambda sql: plain.execute(sql).fetchall()
        return
    url = ledger.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as session:

        def run(sql: str) -> list[tuple[Any, ...]]:
            cursor = session.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

        yield run


@pytest.fixture
def rated(ledger: Engine) -> Engine:
    """A ledger with three PENDING charges."""
    with writing(ledger) as connection:
        load_and_rate(connection)
    return ledger


@pytest.fixture
def submitted(rated: Engine) -> Engine:
    """A ledger with two invoices being approved."""
    with writing(rated) as connection:
        submit(connection)
    return rated


@pytest.fixture
def issued(rated: Engine) -> Engine:
    """A ledger with two issued invoices."""
    with writing(rated) as connection:
        issue(connection)
    return rated
