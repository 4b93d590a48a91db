"""The chain of events: who and when are not the client's to say, and tampering is found."""

import os
import pwd
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dialects import ON_POSTGRESQL, ON_SQLITE
from sqlalchemy import Engine

from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import BEGINNING, check_chain, event_hash, read_events, record_event
from billing_lib.ledger.triggers import remove

Raw = Callable[[str], list[tuple[Any, ...]]]
FORGED = (
    "INSERT INTO event (facility, sequence, kind, subject, login, at, reason, previous_hash, hash)"
    " VALUES ('RC', {sequence}, 'adjust', 'u1', 'mallory', '1999-01-01T00:00:00.000000Z', 'none',"
    " '{previous}', '{hash}')"
)


def _adjust_thrice(ledger: Engine) -> None:
    """Events 2, 3 and 4; the first is that of the facility's maker."""
    with writing(ledger) as connection:
        record_event(
            connection, "RC", "adjust", "u2", "two broke", '{"quantity":"12"}', '{"quantity":"10"}'
        )
        record_event(
            connection, "RC", "adjust", "u1", "Größe, 12:ü,\n'quoted'", group="g1", team="smith-lab"
        )
        record_event(connection, "RC", "rules", "2020-04", "")


def test_events_are_numbered_and_chained(rated: Engine) -> None:
    _adjust_thrice(rated)
    with reading(rated) as connection:
        events = read_events(connection, "RC")
        assert check_chain(connection, "RC") == []
    assert events["kind"].to_list() == ["grant", "adjust", "adjust", "rules"]
    assert events["sequence"].to_list() == [1, 2, 3, 4]
    assert events["previous_hash"].to_list() == [BEGINNING, *events["hash"][:3]]
    assert events["reason"][2] == "Größe, 12:ü,\n'quoted'"


def test_the_rendering_is_as_told(rated: Engine) -> None:
    """Both databases compute what a reader of the module's head computes by hand."""
    fields = {
        "facility": "RC",
        "sequence": 1,
        "kind": "adjust",
        "subject": "ü",
        "team": None,
        "group_id": None,
        "login": "carol",
        "at": datetime(2020, 5, 1, 13, tzinfo=UTC),
        "reason": "",
        "before": None,
        "after": '{"quantity":"10"}',
        "previous_hash": BEGINNING,
    }
    by_hand = (
        "2:RC,1:1,6:adjust,2:ü,-,-,5:carol,27:2020-05-01T13:00:00.000000Z,0:,-,"
        f'17:{{"quantity":"10"}},64:{BEGINNING},'
    )
    import hashlib  # noqa: PLC0415

    assert event_hash(fields) == hashlib.sha256(by_hand.encode()).hexdigest()


def test_who_and_when_come_from_the_system(rated: Engine, raw: Raw) -> None:
    earliest = datetime.now(UTC) - timedelta(minutes=1)
    _adjust_thrice(rated)
    with reading(rated) as connection:
        event = read_events(connection, "RC").row(0, named=True)
    assert earliest < event["at"] < earliest + timedelta(minutes=10)
    if rated.dialect.name == "postgresql":
        assert [(event["login"],)] == raw("SELECT session_user::text")
    else:
        assert event["login"] == pwd.getpwuid(os.getuid()).pw_name


def test_events_are_found_by_kind_and_subject(rated: Engine) -> None:
    _adjust_thrice(rated)
    with reading(rated) as connection:
        assert read_events(connection, "RC", kinds=["adjust"])["subject"].to_list() == ["u2", "u1"]
        assert read_events(connection, "RC", subjects=["u1"])["team"].to_list() == ["smith-lab"]
        assert read_events(connection, "RC", kinds=["rules"], subjects=["u1"]).height == 0


@ON_POSTGRESQL  # SQLite has no login of its own
def test_a_raw_client_on_postgresql_cannot_choose_who_and_when(rated: Engine, raw: Raw) -> None:
    _adjust_thrice(rated)
    raw("CREATE ROLE mallet LOGIN")
    raw("GRANT billing_staff TO mallet")
    raw("GRANT INSERT ON event TO mallet")
    raw("SET ROLE mallet")
    raw(FORGED.format(sequence=77, previous="0" * 64, hash="f" * 64))
    raw("RESET ROLE")
    with reading(rated) as connection:
        event = read_events(connection, "RC").row(-1, named=True)
        assert check_chain(connection, "RC") == []
    assert event["sequence"] == 5
    assert event["login"] == "postgres"  # who connected, not the role that was put on
    assert datetime.now(UTC) - event["at"] < timedelta(minutes=10)
    raw("DROP OWNED BY mallet")
    raw("DROP ROLE mallet")


@ON_POSTGRESQL  # SQLite's triggers read their own file only
def test_a_temporary_table_does_not_fool_the_chain(rated: Engine, raw: Raw) -> None:
    _adjust_thrice(rated)
    raw("CREATE TEMPORARY TABLE event (LIKE public.event)")
    raw(
        FORGED.format(sequence=1, previous="0" * 64, hash="f" * 64).replace(
            "event", "public.event", 1
        )
    )
    with reading(rated) as connection:
        assert check_chain(connection, "RC") == []
        assert read_events(connection, "RC").height == 5


@ON_SQLITE  # PostgreSQL links events itself
@pytest.mark.parametrize(("sequence", "previous"), [(5, "0" * 64), (6, None), (4, None), (0, None)])
def test_a_raw_client_on_sqlite_must_continue_the_chain(
    rated: Engine, raw: Raw, sequence: int, previous: str | None
) -> None:
    import sqlite3  # noqa: PLC0415

    _adjust_thrice(rated)
    last = raw("SELECT hash FROM event WHERE sequence = 4")[0][0]
    with pytest.raises(sqlite3.IntegrityError):
        raw(FORGED.format(sequence=sequence, previous=previous or last, hash="f" * 64))


@ON_SQLITE  # PostgreSQL hashes events itself
def test_a_forged_event_that_continues_the_chain_is_found_on_sqlite(
    rated: Engine, raw: Raw
) -> None:
    _adjust_thrice(rated)
    last = raw("SELECT hash FROM event WHERE sequence = 4")[0][0]
    raw(FORGED.format(sequence=5, previous=last, hash="f" * 64))
    with reading(rated) as connection:
        assert check_chain(connection, "RC") == [
            "RC, event 5: its content is not what was recorded",
            "RC, event 5: its time is before that of the event before it",
        ]


@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        ("UPDATE event SET reason = 'x' WHERE sequence = 3", ["RC, event 3: its content"]),
        ("UPDATE event SET login = 'eve' WHERE sequence = 2", ["RC, event 2: its content"]),
        (
            "DELETE FROM event WHERE sequence = 3",
            ["RC, event 4: event 3 is missing", "RC, event 4: it does not follow"],
        ),
        (
            "UPDATE event SET hash = 'ff' WHERE sequence = 3",
            ["RC, event 3: its content", "RC, event 4: it does not follow"],
        ),
        (
            "UPDATE event SET team = reason, reason = '' WHERE sequence = 2",
            ["RC, event 2: its content"],
        ),
    ],
)
def test_tampering_past_the_guards_is_found(
    rated: Engine, raw: Raw, tampering: str, found: list[str]
) -> None:
    _adjust_thrice(rated)
    with writing(rated) as connection:
        remove(connection)
    raw(tampering)
    with reading(rated) as connection:
        breaks = check_chain(connection, "RC")
    assert [said[: len(start)] for said, start in zip(breaks, found, strict=True)] == found


def test_writers_at_once_make_one_chain(rated: Engine) -> None:
    def write(writer: int) -> None:
        for number in range(10):
            with writing(rated) as connection:
                record_event(connection, "RC", "adjust", f"{writer}-{number}", "at once")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with reading(rated) as connection:
        assert check_chain(connection, "RC") == []
        assert read_events(connection, "RC")["sequence"].to_list() == list(range(1, 42))


def test_a_rolled_back_event_leaves_no_gap(rated: Engine) -> None:
    with pytest.raises(KeyboardInterrupt), writing(rated) as connection:
        record_event(connection, "RC", "adjust", "u1", "not to be")
        raise KeyboardInterrupt
    _adjust_thrice(rated)
    with reading(rated) as connection:
        assert read_events(connection, "RC")["sequence"].to_list() == [1, 2, 3, 4]
        assert check_chain(connection, "RC") == []


def test_each_facility_has_a_chain_of_its_own(rated: Engine) -> None:
    from billing_lib.ledger.people import know_facility  # noqa: PLC0415

    with writing(rated) as connection:
        know_facility(connection, "NF", "Nanofab", "CHF", "Europe/Zurich")
        assert record_event(connection, "RC", "rules", "2020-04", "") == 2
        assert record_event(connection, "NF", "rules", "2020-04", "") == 2
        assert record_event(connection, "RC", "rules", "2020-04", "") == 3
        assert check_chain(connection, "RC") == check_chain(connection, "NF") == []
