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
    ISSUING,
    JOB,
    MESSAGE,
    NUMBERED,
    RUN,
    STATEMENT,
    Move,
    ends,
    moves,
)

THINGS = {
    INVOICE: (
        "Invoice",
        f"It takes changes while it is {', '.join(EDITABLE[:-1])} or {EDITABLE[-1]}. From "
        "APPROVING on its amounts are fixed and its charges are bound to it. It has a number "
        f"once it is {', '.join(NUMBERED[:-1])} or {NUMBERED[-1]}; of these, "
        f"{' and '.join(ACTIVE)} count: the total is owed or paid.",
    ),
    CHARGE: (
        "Charge",
        "It moves with its invoice, in the same transaction. While it is PENDING it can be rated "
        "again, changed, moved and deleted, unless its invoice is being approved or is closed. A "
        "copy on a reissue begins PENDING; the copied charge stays as it was billed.",
    ),
    RUN: ("Billing run", "A run ends when all its invoices are issued or closed."),
    ISSUING: (
        "Issuing",
        "One pass from freezing a run to its audit record. A facility has at most one FROZEN "
        "issuing at a time. An issuing that crashed is found by the next one, which fails it and "
        "reserves the same invoice numbers again (docs/architecture.md).",
    ),
    JOB: (
        "Job",
        "One action in a run, such as calculating its invoices or issuing. The job of an issuing "
        "that crashed is failed with it.",
    ),
    STATEMENT: ("Statement", "It is paid together with its invoices and their charges."),
    MESSAGE: (
        "Message",
        "An e-mail in the outbox; its text and recipient are fixed when it is queued. SENDING is "
        "committed before the program contacts the mail server. So after a crash the message is "
        "found in that state and becomes UNCERTAIN: a person decides whether to send it again "
        "(docs/delivery.md).",
    ),
}

HEAD = """\
# States, and the moves between them

Written by `python scripts/states.py >docs/states.md` from `billing_lib/ledger/states.py`, the one
table of moves. The database refuses any other move, from every client (`ledger/guards.py`); the
commands refuse it with one sentence. Moves of invoices, runs, statements and messages are events
with login, time and reason, except attempts to send a message. The rows of issuings and jobs hold
login and times themselves.
"""


def diagram(of: str) -> str:
    """A state diagram in Mermaid, which GitHub draws."""
    lines = [
        "stateDiagram-v2",
        f"    [*] --> {FIRST[of]}",
        *(f"    {move.before} --> {move.after}: {move.action}" for move in moves(of)),
        *(f"    {state} --> [*]" for state in ends(of)),
    ]
    return "```mermaid\n" + "\n".join(lines) + "\n```\n"


def table(of: str) -> str:
    """The moves as a table, with a row per action and state that it leads to."""
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
