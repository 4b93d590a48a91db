"""docs/states.md: the table of moves (billing_lib/ledger/states.py) as diagrams and tables.

python scripts/states.py >docs/states.md
"""

import sys
import textwrap
from itertools import groupby

from billing_lib.ledger.states import (
    ACTIVE,
    CHARGE,
    EDITABLE,
    FIRST,
    INVOICE,
    ISSUED,
    MESSAGE,
    RUN,
    STATEMENT,
    Move,
    moves,
    states,
)

THINGS = {
    INVOICE: (
        "Invoice",
        f"It takes in changes while it is {', '.join(EDITABLE[:-1])} or {EDITABLE[-1]}. From "
        "APPROVING on what it bills is fixed, and its charges are bound to it. It has a number "
        f"once it is {', '.join(ISSUED[:-1])} or {ISSUED[-1]}; of these, {' and '.join(ACTIVE)} "
        "count.",
    ),
    CHARGE: (
        "Charge",
        "It moves with its invoice, in the same transaction. While it is PENDING it is rated "
        "again, changed, moved and deleted, unless its invoice is being approved or is closed. A "
        "copy on a reissue begins PENDING; what it copies stays as it was billed.",
    ),
    RUN: ("Billing run", "A run ends when all its invoices are issued or closed."),
    STATEMENT: ("Statement", "It is paid together with its invoices and their charges."),
    MESSAGE: (
        "Message",
        "An e-mail in the outbox; what it says, and to whom, is fixed when it is queued. SENDING "
        "is committed before the mail server is told anything, so what a crash leaves there is "
        "found and becomes UNCERTAIN: a person says whether it is sent again (docs/delivery.md).",
    ),
}

HEAD = """\
# States, and the moves between them

Written by `python scripts/states.py >docs/states.md` from `billing_lib/ledger/states.py`, the one
table of moves. The database refuses any other move, whoever asks (`ledger/guards.py`); the
commands say so in one sentence. Each move of an invoice, a run or a statement, and what becomes of
a message, is an event with login, time and reason.
"""


def diagram(of: str) -> str:
    """A state diagram in Mermaid, which GitHub draws."""
    ends = [state for state in states(of) if state not in {move.before for move in moves(of)}]
    lines = [
        "stateDiagram-v2",
        f"    [*] --> {FIRST[of]}",
        *(f"    {move.before} --> {move.after}: {move.action}" for move in moves(of)),
        *(f"    {state} --> [*]" for state in ends),
    ]
    return "```mermaid\n" + "\n".join(lines) + "\n```\n"


def table(of: str) -> str:
    """The moves as a table, those of one action that lead to the same state in one row."""
    rows = ["| action | from | to | what it means |", "|---|---|---|---|"]
    for (action, after, means), same in groupby(moves(of), _row):
        before = ", ".join(move.before for move in same)
        rows.append(f"| {action} | {before} | {after} | {means} |")
    return "\n".join(rows) + "\n"


def _row(move: Move) -> tuple[str, str, str]:
    return move.action, move.after, move.means


def document() -> str:
    """The whole document."""
    parts = [HEAD]
    for of, (title, about) in THINGS.items():
        parts += [f"## {title}\n", textwrap.fill(about, 98) + "\n", diagram(of), table(of)]
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(document())
