"""The states of rows of the ledger, and every move between them.

    invoice   OPEN ── submit ──▶ APPROVING ── issue ──▶ APPROVED

This is the only table of moves. From it guards.py generates the guards with which the database
refuses any other move, the workflow checks a move before it tries, and scripts/states.py draws
docs/states.md. Each move is an event with login, time and reason, except attempts to send a
message, issuings and jobs, whose own rows hold login, times and the failure.
"""

from collections.abc import Iterator
from typing import NamedTuple

from billing_lib.errors import NotReady

CHARGE, INVOICE, RUN, STATEMENT = "charge", "invoice", "billing_run", "statement"
ISSUING, JOB, MESSAGE = "issuing", "job", "message"
"""The tables whose rows have states."""

OPEN, APPROVING, APPROVED, CLOSED = "OPEN", "APPROVING", "APPROVED", "CLOSED"
QUARANTINED, REJECTED, ERROR = "QUARANTINED", "REJECTED", "ERROR"
SUPERSEDED, VOID, PAID = "SUPERSEDED", "VOID", "PAID"
PENDING, BILLED = "PENDING", "BILLED"
DISABLED, CANCELLED, FINISHED = "DISABLED", "CANCELLED", "FINISHED"
FROZEN, ISSUED, RUNNING, DONE = "FROZEN", "ISSUED", "RUNNING", "DONE"
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
    Move(CHARGE, PENDING, "cancel", CANCELLED, "its invoice is closed, and nothing bills it"),
    Move(CHARGE, BILLED, "pay", PAID, "its invoice is paid"),
    Move(CHARGE, PAID, "unpay", BILLED, "the payment was recorded by mistake"),
    Move(INVOICE, OPEN, "submit", APPROVING, "it is locked, and reviewers approve it as it stands"),
    Move(INVOICE, OPEN, "fail", ERROR, "its amounts cannot be calculated"),
    Move(INVOICE, ERROR, "recalculate", OPEN, "the error is corrected"),
    Move(INVOICE, APPROVING, "issue", APPROVED, "all reviewers approved; it gets its number"),
    Move(INVOICE, APPROVING, "reject", REJECTED, "the first reviewer sent it back, with a reason"),
    Move(INVOICE, REJECTED, "reopen", OPEN, "it takes changes again"),
    *(
        Move(
            INVOICE,
            state,
            "quarantine",
            QUARANTINED,
            "it and its charges are held back",
        )
        for state in (OPEN, APPROVING, REJECTED, ERROR)
    ),
    Move(INVOICE, QUARANTINED, "release", OPEN, "it is in the run again"),
    *(
        Move(INVOICE, state, "close", CLOSED, "it is never sent and gets no number; this is final")
        for state in (OPEN, APPROVING, REJECTED, ERROR, QUARANTINED)
    ),
    Move(INVOICE, APPROVED, "supersede", SUPERSEDED, "an issued invoice replaces it"),
    Move(INVOICE, APPROVED, "void", VOID, "it no longer counts"),
    Move(INVOICE, APPROVED, "pay", PAID, "it is paid, and its charges with it"),
    Move(INVOICE, PAID, "unpay", APPROVED, "the payment was recorded by mistake"),
    Move(RUN, OPEN, "disable", DISABLED, "the batch skips it"),
    Move(RUN, DISABLED, "enable", OPEN, "the batch issues it again"),
    Move(RUN, OPEN, "cancel", CANCELLED, "its invoices are closed"),
    Move(RUN, DISABLED, "cancel", CANCELLED, "its invoices are closed"),
    Move(RUN, OPEN, "finish", FINISHED, "all its invoices are issued or closed"),
    Move(STATEMENT, OPEN, "pay", PAID, "it is paid, with its invoices and their charges"),
    Move(STATEMENT, PAID, "unpay", OPEN, "the payment was recorded by mistake"),
    Move(ISSUING, FROZEN, "issue", ISSUED, "its invoices are issued; nothing undoes this"),
    Move(ISSUING, FROZEN, "fail", FAILED, "it failed or crashed; its numbers are free again"),
    Move(JOB, RUNNING, "finish", DONE, "its action is completed"),
    Move(JOB, RUNNING, "fail", FAILED, "its action failed or crashed; its log says why"),
    Move(MESSAGE, WAITING, "claim", SENDING, "a process begins to send it"),
    Move(MESSAGE, FAILED, "claim", SENDING, "a process begins to send it"),
    Move(MESSAGE, SENDING, "send", SENT, "the mail server accepted it"),
    Move(MESSAGE, SENDING, "refuse", REFUSED, "the mail server refused it permanently"),
    Move(MESSAGE, SENDING, "defer", FAILED, "it could not be sent; it is tried again later"),
    Move(MESSAGE, SENDING, "lose", UNCERTAIN, "it is unknown whether the mail server accepted it"),
    Move(MESSAGE, UNCERTAIN, "send", SENT, "a person confirmed that it arrived"),
    *(
        Move(MESSAGE, state, "again", WAITING, "a person decided to send it once more")
        for state in (UNCERTAIN, REFUSED, BOUNCED)
    ),
    *(
        Move(MESSAGE, state, "bounce", BOUNCED, "a report says that it was not delivered")
        for state in (SENT, UNCERTAIN)
    ),
    *(
        Move(MESSAGE, state, "withdraw", CANCELLED, "its content no longer holds")
        for state in (WAITING, FAILED, UNCERTAIN, REFUSED, BOUNCED)
    ),
)
"""Every legal move."""

FIRST = {
    **{CHARGE: PENDING, INVOICE: OPEN, RUN: OPEN, STATEMENT: OPEN},
    **{ISSUING: FROZEN, JOB: RUNNING, MESSAGE: WAITING},
}
"""The first state of each table's rows."""

EDITABLE = (OPEN, REJECTED, ERROR, QUARANTINED)
"""States of an invoice that still takes changes."""

UNFINISHED = (*EDITABLE, APPROVING)
"""States of an invoice that is neither issued nor closed."""

NUMBERED = (APPROVED, SUPERSEDED, VOID, PAID)
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


def ends(of: str) -> list[str]:
    """The states of a table's rows that no move leaves."""
    left = {move.before for move in moves(of)}
    return [state for state in states(of) if state not in left]


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
    raise NotReady(f"{name} is {before}; '{action}' is for {' or '.join(can)}")
