"""Billing runs and their jobs."""

import sqlite3
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from april import RUN, april_drafts, draft
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from billing_lib.errors import NotReady, UnknownRun
from billing_lib.ledger import events, runs
from billing_lib.ledger.database import reading, writing

Raw = Callable[[str], list[tuple[Any, ...]]]
REFUSED = (sqlite3.IntegrityError, psycopg.IntegrityError)


def test_the_runs_of_a_month_are_numbered_and_described(rated: Engine) -> None:
    with writing(rated) as connection:
        made = [runs.make_run(connection, "RC", "2020-04", part, "") for part in ("", "teams: x")]
        runs.describe_run(connection, RUN, "first half")
        assert made == [RUN, "RC-2020-04-2"]
        assert runs.make_run(connection, "RC", "2020-05", "", "") == "RC-2020-05-1"
        assert runs.read_run(connection, RUN).description == "first half"
        assert runs.read_runs(connection, "RC", "2020-04", "OPEN")["id"].to_list() == made
        with pytest.raises(UnknownRun, match="no billing run RC-2020-04-9"):
            runs.read_run(connection, "RC-2020-04-9")
        told = events.read_events(connection, "RC", subjects=[RUN]).row(-1, named=True)
    assert (told["kind"], told["before"], told["after"]) == (
        "run_describe",
        '{"description":""}',
        '{"description":"first half"}',
    )


def test_a_run_with_unfinished_invoices_does_not_end(rated: Engine, raw: Raw) -> None:
    with writing(rated) as connection:
        draft(connection)
    for state in ("FINISHED", "CANCELLED"):
        with pytest.raises(REFUSED, match="ends when its invoices are issued or closed"):
            raw(f"UPDATE billing_run SET state = '{state}'")


def test_a_run_that_ended_takes_no_invoice(issued: Engine) -> None:
    with reading(issued) as connection:
        assert runs.read_run(connection, RUN).state == "FINISHED"
    with (
        pytest.raises(IntegrityError, match="of its facility and month"),
        writing(issued) as connection,
    ):
        april_drafts(connection, RUN, "p3")


@pytest.mark.parametrize("change", ["period = '2020-05'", "selection = 'x'", "facility = 'NF'"])
def test_of_a_run_only_the_description_is_edited(issued: Engine, raw: Raw, change: str) -> None:
    with pytest.raises(REFUSED):
        raw(f"UPDATE billing_run SET {change}")


def test_jobs_are_the_history_of_their_run(rated: Engine, raw: Raw) -> None:
    with writing(rated) as connection:
        runs.make_run(connection, "RC", "2020-04", "", "")
        first, second = (runs.begin_job(connection, RUN, kind) for kind in ("create", "issue"))
        runs.end_job(connection, RUN, first, "DONE", "57 invoices")
        runs.end_job(connection, RUN, second, "FAILED", "the disk was full")
        jobs = runs.read_jobs(connection, RUN)
    assert jobs.select("sequence", "kind", "state", "log").rows() == [
        (1, "create", "DONE", "57 invoices"),
        (2, "issue", "FAILED", "the disk was full"),
    ]
    assert jobs["ended_at"].null_count() == 0
    raw("INSERT INTO facility VALUES ('NF', 'Nanofab', 'USD', 'UTC')")
    job = "INSERT INTO job VALUES ('{}', 3, '{}', 'issue', '{}', 'me', {}, NULL, '')"
    moment = "'2020-05-01T00:00:00.000000Z'"
    for run, facility, state in (
        (RUN, "RC", "DONE"),
        (RUN, "NF", "RUNNING"),
        ("RC-2020-04-9", "RC", "RUNNING"),
    ):
        with pytest.raises(REFUSED):
            raw(job.format(run, facility, state, moment))
    raw(job.format(RUN, "RC", "RUNNING", moment))
    for change in ("state = 'LOST'", "kind = 'other'", "sequence = 9"):
        with pytest.raises(REFUSED):
            raw(f"UPDATE job SET {change} WHERE sequence = 3")


def test_a_run_makes_only_the_moves_of_the_table(issued: Engine) -> None:
    said = f"billing run {RUN} is FINISHED; 'enable' is for DISABLED"
    with pytest.raises(NotReady, match=said), writing(issued) as connection:
        runs.move_run(connection, RUN, "enable")
