"""The states of charges, invoices, runs, statements and messages, and every move between them.

    invoice   OPEN ── submit ──▶ APPROVING ── issue ──▶ APPROVED

This is the only table of moves. With it guards.py makes the database refuse any other move, the
workflow checks a move before it tries, and docs/states.md is drawn. Each move is an event with
login, time and reason, except the tries of a message.
"""

from collections.abc import Iterator
from typing import NamedTuple

from billing_lib.errors import NotReady

CHARGE, INVOICE, RUN, STATEMENT = "charge", "invoice", "billing_run", "statement"
MESSAGE = "message"
"""The tables whose rows have states."""

OPEN, APPROVING, APPROVED, CLOSED = "OPEN", "APPROVING", "APPROVED", "CLOSED"
QUARANTINED, REJECTED, ERROR = "QUARANTINED", "REJECTED", "ERROR"
SUPERSEDED, VOID, PAID = "SUPERSEDED", "VOID", "PAID"
PENDING, BILLED = "PENDING", "BILLED"
DISABLED, CANCELLED, FINISHED = "DISABLED", "CANCELLED", "FINISHED"
WAITING, SENDING, SENT, FAILED = "WAITING", "SENDING", "SENT", "FAILED"
REFUSED, BOUNCED, UNCERTAIN = "REFUSED", "BOUNCED", "UNCERTAIN"


class Move(NamedTuple):
    """A move: its table, the state before, the action, the state after, and its meaning."""

    of: str
    before: str
    action: str
    after: str
    means: str


MOVES = (
    Move(CHARGE, PENDING, "bill", BILLED, "its invoice is issued"),
    Move(CHARGE, BILLED, "pay", PAID, "its invoice is paid"),
    Move(CHARGE, PAID, "unpay", BILLED, "the payment was a mistake"),
    Move(INVOICE, OPEN, "submit", APPROVING, "locked: what is approved is what was seen"),
    Move(INVOICE, OPEN, "fail", ERROR, "it cannot be calculated"),
    Move(INVOICE, ERROR, "recalculate", OPEN, "what was wrong is mended"),
    Move(INVOICE, APPROVING, "issue", APPROVED, "the last reviewer approved: number given, issued"),
    Move(INVOICE, APPROVING, "reject", REJECTED, "the first reviewer sent it back, with a reason"),
    Move(INVOICE, REJECTED, "reopen", OPEN, "it takes in changes"),
    *(
        Move(INVOICE, state, "quarantine", QUARANTINED, "kept out of the run with its charges")
        for state in (OPEN, APPROVING, REJECTED, ERROR)
    ),
    Move(INVOICE, QUARANTINED, "release", OPEN, "back in the run"),
    *(
        Move(INVOICE, state, "close", CLOSED, "never sent, no number, for good")
        for state in (OPEN, APPROVING, REJECTED, ERROR, QUARANTINED)
    ),
    Move(INVOICE, APPROVED, "supersede", SUPERSEDED, "an issued invoice replaces it"),
    Move(INVOICE, APPROVED, "void", VOID, "it no longer counts"),
    Move(INVOICE, APPROVED, "pay", PAID, "locked with its charges"),
    Move(INVOICE, PAID, "unpay", APPROVED, "the payment was a mistake"),
    Move(RUN, OPEN, "disable", DISABLED, "the batch passes it over"),
    Move(RUN, DISABLED, "enable", OPEN, "the batch takes it again"),
    Move(RUN, OPEN, "cancel", CANCELLED, "its invoices are closed"),
    Move(RUN, DISABLED, "cancel", CANCELLED, "its invoices are closed"),
    Move(RUN, OPEN, "finish", FINISHED, "all its invoices are issued or closed"),
    Move(STATEMENT, OPEN, "pay", PAID, "locked with its invoices and their charges"),
    Move(STATEMENT, PAID, "unpay", OPEN, "the payment was a mistake"),
    Move(MESSAGE, WAITING, "claim", SENDING, "a process begins to send it"),
    Move(MESSAGE, FAILED, "claim", SENDING, "a process begins to send it"),
    Move(MESSAGE, SENDING, "send", SENT, "the mail server has taken it"),
    Move(MESSAGE, SENDING, "refuse", REFUSED, "the mail server refuses it for good"),
    Move(MESSAGE, SENDING, "defer", FAILED, "it did not go out; it is tried again later"),
    Move(MESSAGE, SENDING, "lose", UNCERTAIN, "nobody knows whether the mail server has taken it"),
    Move(MESSAGE, UNCERTAIN, "send", SENT, "a person has found out that it arrived"),
    *(
        Move(MESSAGE, state, "again", WAITING, "a person has it sent once more")
        for state in (UNCERTAIN, REFUSED, BOUNCED)
    ),
    *(
        Move(MESSAGE, state, "bounce", BOUNCED, "a report came back that it was not delivered")
        for state in (SENT, UNCERTAIN)
    ),
    *(
        Move(MESSAGE, state, "withdraw", CANCELLED, "what it tells no longer holds")
        for state in (WAITING, FAILED, UNCERTAIN, REFUSED, BOUNCED)
    ),
)
"""Every legal move."""

FIRST = {CHARGE: PENDING, INVOICE: OPEN, RUN: OPEN, STATEMENT: OPEN, MESSAGE: WAITING}
"""The first state of each table's rows."""

EDITABLE = (OPEN, REJECTED, ERROR, QUARANTINED)
"""States of an invoice that still takes changes."""

ISSUED = (APPROVED, SUPERSEDED, VOID, PAID)
"""States of an invoice that has a number."""

ACTIVE = (APPROVED, PAID)
"""States of an invoice that counts: its total is owed or paid."""


def states(of: str) -> list[str]:
    """All states of a table's rows: the first one, then in the order of the moves."""
    named = [FIRST[of]]
    for move in MOVES:
        if move.of == of:
            named += [state for state in (move.before, move.after) if state not in named]
    return named


def moves(of: str) -> Iterator[Move]:
    """The moves of a table's rows."""
    return (move for move in MOVES if move.of == of)


def after(of: str, before: str, action: str, name: str) -> str:
    """The state to which an action leads; NotReady if it is not allowed in the state before.

    ``name`` is the row as people name it: ``invoice RC-1993-11-1/u4``.
    """
    for move in moves(of):
        if (move.before, move.action) == (before, action):
            return move.after
    can = sorted({move.before for move in moves(of) if move.action == action})
    raise NotReady(
        f"{name} is {before}; '{action}' is for {' or '.join(can)}",
        remedy="see docs/states.md",
    )
