"""What a raw connection is refused on journals: nothing is posted twice."""

import sqlite3
from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl
import psycopg
import pytest
from april import P1
from sqlalchemy import Engine

from billing_lib.ledger import invoices, statements
from billing_lib.ledger.database import writing

Raw = Callable[[str], list[tuple[Any, ...]]]
REFUSED = (sqlite3.IntegrityError, psycopg.IntegrityError)


def entry(number: str, kind: str, journal: int = 1) -> str:
    return (
        "INSERT INTO journal_entry (number, kind, facility, journal, date)"
        f" VALUES ('{number}', '{kind}', 'RC', {journal}, '2020-05-04')"
    )


def journal(number: int, entries: int = 1) -> str:
    columns = "facility, number, entries, settings, login, posted_at"
    return (
        f"INSERT INTO journal ({columns}) VALUES"
        f" ('RC', {number}, {entries}, '{{}}', 'me', '2020-05-04T00:00:00.000000Z')"
    )


def test_nothing_is_posted_twice_and_nothing_added_later(issued: Engine, raw: Raw) -> None:
    posted = {"number": ["RC-2020-0001"], "kind": ["issue"], "date": [date(2020, 5, 4)]}
    with writing(issued) as connection:
        assert statements.insert_journal(connection, "RC", "{}", pl.DataFrame(posted)) == 1
    with pytest.raises(REFUSED, match="gets no further entry"):
        raw(entry("RC-2020-0002", "issue"))
    for number in (1, 3):  # 1 is there, 2 is the next one
        with pytest.raises(REFUSED):
            raw(journal(number))
    with pytest.raises(REFUSED, match="one after the other"):
        raw(journal(2, entries=0))
    raw(journal(2, entries=2))
    for again in (entry("RC-2020-0001", "issue", 2), entry("RC-2020-0001", "issued", 2)):
        with pytest.raises(REFUSED):
            raw(again)
    with pytest.raises(REFUSED, match="reversed once it no longer counts"):
        raw(entry("RC-2020-0001", "reversal", 2))
    with writing(issued) as connection:
        invoices.move_invoices(connection, "RC", [P1], "void", "never ordered")
    raw(entry("RC-2020-0001", "reversal", 2))
    with pytest.raises(REFUSED):
        raw(entry("RC-2020-0001", "reversal", 2))
