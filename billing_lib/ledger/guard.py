"""One guard: what the database refuses, said so that both dialects can make a trigger of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from billing_lib.ledger.states import FIRST, moves, states

INSERT, UPDATE, DELETE = "INSERT", "UPDATE", "DELETE"


@dataclass(frozen=True)
class Guard:
    """One refusal.

    Parameters
    ----------
    table, operations
        Where it stands.
    says
        The error's message.
    when
        The condition, in terms of NEW and OLD; '' refuses always.
    lookup
        The condition reads other rows too; then it names only NEW or only OLD.
    """

    table: str
    operations: tuple[str, ...]
    says: str
    when: str = ""
    lookup: bool = False


def differs(columns: Iterable[str]) -> str:
    """The condition that one of these columns changes."""
    return " OR ".join(f'NEW."{name}" IS DISTINCT FROM OLD."{name}"' for name in columns)


def never(table: str, says: str, *operations: str) -> Guard:
    """Refuse these operations always; changing and deleting unless told."""
    return Guard(table, operations or (UPDATE, DELETE), says)


def named(states: Iterable[str]) -> str:
    """States as a list in SQL."""
    return "(" + ", ".join(f"'{state}'" for state in states) + ")"


def moves_only(table: str, what: str) -> tuple[Guard, Guard]:
    """A row begins in its first state and makes the moves of states.py, no other."""
    legal = " OR ".join(
        f"(OLD.state = '{move.before}' AND NEW.state = '{move.after}')" for move in moves(table)
    )
    known = named(states(table))
    return (
        Guard(table, (INSERT,), f"{what} begins {FIRST[table]}", f"NEW.state <> '{FIRST[table]}'"),
        Guard(
            table,
            (UPDATE,),
            f"{what} makes the moves of docs/states.md, and no other",
            f"NEW.state NOT IN {known} OR (NEW.state <> OLD.state AND NOT ({legal}))",
        ),
    )
