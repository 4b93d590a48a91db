"""The whole table of states.py: each legal move works, with its event; any other is refused.

Each state is reached from the first one by legal moves, with the library; then every action and
every other state is tried from there.
"""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from april import (
    MAIL,
    P1,
    RUN,
    bill,
    draft,
    freeze,
    issue,
    issue_reissue,
    issued_frames,
    pay_statement,
    queue,
    read_numbers,
    reissue,
    state,
)
from april import pay as pay_invoice
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

from billing_lib.errors import NotReady
from billing_lib.ledger import charges, events, invoices, messages, runs, triggers
from billing_lib.ledger.database import writing
from billing_lib.ledger.guards import moves_only
from billing_lib.ledger.people import current_login
from billing_lib.ledger.states import (
    CHARGE,
    DONE,
    FAILED,
    FIRST,
    INVOICE,
    ISSUING,
    JOB,
    MESSAGE,
    STATEMENT,
    moves,
    states,
)
from billing_lib.ledger.states import RUN as OF_RUN

Raw = Callable[[str], list[tuple[Any, ...]]]
Action = Callable[[Connection], None]
REFUSED = (sqlite3.IntegrityError, psycopg.IntegrityError)


class Undo(Exception):
    """Takes a tried move back."""


def _move(action: str, connection: Connection) -> None:
    invoices.move_invoices(connection, "RC", [P1], action, "for the test")


def _submit(connection: Connection) -> None:
    charges.bind_charges(connection, "RC", [P1], RUN)
    _move("submit", connection)


def _free(action: str, connection: Connection) -> None:
    _move(action, connection)
    charges.free_charges(connection, "RC", [P1])


def _close(connection: Connection) -> None:
    charges.bind_charges(connection, "RC", [P1], RUN)
    _move("close", connection)


def _cancel(connection: Connection) -> None:
    _close(connection)
    charges.cancel_charges(connection, "RC", [P1])


def _issue(connection: Connection) -> None:
    freeze(connection, [P1])
    _write(connection)


def _supersede(connection: Connection) -> None:
    issue_reissue(connection, reissue(connection))


def _pay(connection: Connection) -> None:
    pay_invoice(connection, P1)


def _unpay(connection: Connection) -> None:
    charges.unpay_charges(connection, "RC", [P1])
    _move("unpay", connection)


def _unpay_statement(connection: Connection) -> None:
    unpaid = "state = 'OPEN', paid_on = NULL, payment_reference = NULL"
    connection.execute(text(f"UPDATE statement SET {unpaid}"))


def _run(action: str, connection: Connection) -> None:
    runs.move_run(connection, RUN, action, "for the test")


def _write(connection: Connection) -> None:
    issuing = runs.frozen(connection, "RC")
    assert issuing is not None
    numbers = read_numbers(connection, issuing.id)
    invoices.insert_issued(connection, *issued_frames(issuing.id, numbers))
    bill(connection, numbers)
    runs.finish(connection, issuing.id)


def _end_job(state: str, connection: Connection) -> None:
    runs.end_job(connection, RUN, 1, state, "for the test")


def _message(action: str, connection: Connection) -> None:
    messages.move_message(connection, MAIL, action, "for the test")


def _claim(connection: Connection) -> None:
    assert messages.claim_message(connection, MAIL)


def _begin_run(connection: Connection) -> None:
    runs.make_run(connection, "RC", "2020-04", "", "")


def _begin_draft(connection: Connection) -> None:
    draft(connection)


def _begin_submitted(connection: Connection) -> None:
    draft(connection)
    _submit(connection)


def _begin_issuing(connection: Connection) -> None:
    _begin_submitted(connection)
    freeze(connection, [P1])


def _begin_job(connection: Connection) -> None:
    _begin_run(connection)
    runs.begin_job(connection, RUN, "issue")


def _begin_statement(connection: Connection) -> None:
    issue(connection)
    state(connection)


def _begin_message(connection: Connection) -> None:
    queue(connection)


BEGIN: dict[str, Action] = {
    CHARGE: _begin_submitted,
    INVOICE: _begin_draft,
    OF_RUN: _begin_run,
    ISSUING: _begin_issuing,
    JOB: _begin_job,
    STATEMENT: _begin_statement,
    MESSAGE: _begin_message,
}
ACTIONS: dict[str, dict[str, Action]] = {
    CHARGE: {"bill": _issue, "cancel": _cancel, "pay": _pay, "unpay": _unpay},
    INVOICE: {
        "submit": _submit,
        "fail": partial(_move, "fail"),
        "recalculate": partial(_move, "recalculate"),
        "issue": _issue,
        "reject": partial(_free, "reject"),
        "reopen": partial(_move, "reopen"),
        "quarantine": partial(_free, "quarantine"),
        "release": partial(_move, "release"),
        "close": _close,
        "supersede": _supersede,
        "void": partial(_move, "void"),
        "pay": _pay,
        "unpay": _unpay,
    },
    OF_RUN: {action: partial(_run, action) for action in ("disable", "enable", "cancel", "finish")},
    ISSUING: {
        "issue": _write,
        "fail": lambda connection: runs.fail(connection, RUN, "for the test"),
    },
    JOB: {"finish": partial(_end_job, DONE), "fail": partial(_end_job, FAILED)},
    STATEMENT: {
        "pay": lambda connection: pay_statement(connection, "smith-lab-2020-04"),
        "unpay": _unpay_statement,
    },
    MESSAGE: {"claim": _claim}
    | {
        action: partial(_message, action)
        for action in ("send", "refuse", "defer", "lose", "again", "bounce", "withdraw")
    },
}
ROWS = {
    CHARGE: "charge = 'u1'",
    INVOICE: f"code = '{P1}'",
    OF_RUN: f"id = '{RUN}'",
    ISSUING: f"id = '{RUN}'",
    JOB: f"run = '{RUN}' AND sequence = 1",
    STATEMENT: "id = 'smith-lab-2020-04'",
    MESSAGE: f"id = '{MAIL}'",
}


def _now(connection: Connection, of: str) -> str:
    found = connection.scalars(text(f"SELECT state FROM {of} WHERE {ROWS[of]}")).one()
    return str(found)


def _way(of: str, to: str) -> list[str]:
    """The actions of a shortest way from the first state."""
    ways: dict[str, list[str]] = {FIRST[of]: []}
    waiting = [FIRST[of]]
    while to not in ways:
        here = waiting.pop(0)
        for move in moves(of):
            if move.before == here and move.after not in ways:
                ways[move.after] = [*ways[here], move.action]
                waiting.append(move.after)
    return ways[to]


@pytest.fixture
def reached(rated: Engine, of: str, before: str) -> Engine:
    """A ledger in which something is in a state, by legal moves from the start."""
    with writing(rated) as connection:
        BEGIN[of](connection)
        for action in _way(of, before):
            ACTIONS[of][action](connection)
        assert _now(connection, of) == before
    return rated


EVERY = [(of, state) for of in FIRST for state in states(of)]


def test_every_action_of_the_table_is_tried() -> None:
    assert ACTIONS.keys() == FIRST.keys()
    for of, actions in ACTIONS.items():
        assert set(actions) == {move.action for move in moves(of)}


@pytest.mark.parametrize(("of", "before"), EVERY)
def test_from_each_state_the_moves_of_the_table_work_and_no_other(
    reached: Engine, raw: Raw, of: str, before: str
) -> None:
    legal = {move.action: move.after for move in moves(of) if move.before == before}
    for action, after in legal.items():
        _try(reached, of, action, after)
    for action in ACTIONS[of].keys() - legal.keys():
        _refused_by_the_library(reached, of, before, action)
    for after in [*states(of), "OTHER"]:
        if after != before and after not in legal.values():
            with pytest.raises(REFUSED):
                raw(f"UPDATE {of} SET state = '{after}' WHERE {ROWS[of]}")
            assert raw(f"SELECT state FROM {of} WHERE {ROWS[of]}") == [(before,)]


def _try(ledger: Engine, of: str, action: str, after: str) -> None:
    earliest = datetime.now(UTC) - timedelta(minutes=1)
    with pytest.raises(Undo), writing(ledger) as connection:
        known = events.read_events(connection, "RC").height
        ACTIONS[of][action](connection)
        assert _now(connection, of) == after
        if of == MESSAGE and action in ("claim", "defer"):
            assert events.read_events(connection, "RC").height == known  # its row counts the tries
        elif of in (INVOICE, OF_RUN, MESSAGE):
            told = events.read_events(connection, "RC")[known:]
            kind, subject = {
                INVOICE: (action, P1),
                OF_RUN: (f"run_{action}", RUN),
                MESSAGE: (f"message_{action}", MAIL),
            }[of]
            mine = told.filter(told["kind"] == kind)
            event = mine.row(-1, named=True)
            assert event["subject"] == subject
            assert event["login"] == current_login(connection)
            assert earliest < event["at"] < earliest + timedelta(minutes=10)
            assert f'"state":"{after}"' in event["after"]
            assert events.check_chain(connection, "RC") == []
        raise Undo


def _refused_by_the_library(ledger: Engine, of: str, before: str, action: str) -> None:
    """With a sentence that names the state and those that the action is for."""
    if of == INVOICE:
        said = rf"invoice .* is {before}; '{action}' is for "
        with pytest.raises(NotReady, match=said), writing(ledger) as connection:
            invoices.move_invoices(connection, "RC", [P1], action)
    elif of == OF_RUN:
        said = f"billing run {RUN} is {before}; '{action}' is for "
        with pytest.raises(NotReady, match=said), writing(ledger) as connection:
            runs.move_run(connection, RUN, action)
    elif of == MESSAGE and action == "claim":  # a race that is lost is no mistake
        with writing(ledger) as connection:
            assert not messages.claim_message(connection, MAIL)
    elif of == MESSAGE:
        said = f"message {MAIL} is {before}; '{action}' is for "
        with pytest.raises(NotReady, match=said), writing(ledger) as connection:
            messages.move_message(connection, MAIL, action, "for the test")
    elif of == ISSUING:
        with pytest.raises(NotReady, match=f"{RUN} is not frozen"), writing(ledger) as connection:
            runs.finish(connection, RUN)
        with pytest.raises((NotReady, IntegrityError)), writing(ledger) as connection:
            runs.fail(connection, RUN, "for the test")
    elif of == JOB:
        with pytest.raises(IntegrityError, match="a job "), writing(ledger) as connection:
            ACTIONS[of][action](connection)
    elif of == CHARGE:  # it moves with its invoice; asked alone, it stays where it is
        alone = {
            "bill": charges.bill_charges,
            "cancel": charges.cancel_charges,
            "pay": charges.pay_charges,
            "unpay": charges.unpay_charges,
        }
        with writing(ledger) as connection:
            alone[action](connection, "RC", [P1])
            assert _now(connection, of) == before


@pytest.mark.parametrize("of", FIRST)
def test_the_guard_on_moves_alone_holds_the_table(
    rated: Engine, raw: Raw, of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All states against all, with every other guard away."""
    with writing(rated) as connection:
        issue(connection)
        runs.begin_job(connection, RUN, "issue")
        state(connection)
        queue(connection)
    monkeypatch.setattr(triggers, "GUARDS", moves_only(of, "it"))
    for before in states(of):
        with writing(rated) as connection:
            triggers.remove(connection)
            connection.execute(text(f"UPDATE {of} SET state = '{before}' WHERE {ROWS[of]}"))
            triggers.install(connection)
        legal = {before, *(move.after for move in moves(of) if move.before == before)}
        for after in [*states(of), "OTHER"]:
            change = f"UPDATE {of} SET state = '{after}' WHERE {ROWS[of]}"
            if after in legal:
                with pytest.raises(Undo), writing(rated) as connection:
                    connection.execute(text(change))
                    raise Undo
            else:
                with pytest.raises(REFUSED, match="may not move from its present state"):
                    raw(change)
