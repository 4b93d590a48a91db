"""Actions on many invoices: those that can, with a reason for each that cannot.

    act(engine, books, ACTIONS["approve"], chosen, {"comment": "as agreed"}, trial=True)
    22 invoices, 6,104.20 USD; RC-1993-11-1/u7: waits for bob, not for ann      rolled back
    act(…, trial=False)                                                         the same, for good

Invoices are taken by facility, many in one transaction. If one of them refuses, the transaction is
undone and its invoices are halved, until the refusing invoice stands alone; the others are done. An
invoice that has changed since the user saw it refuses too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import BillingError, ChangedMeanwhile, InvalidAdjustment
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import Ledger, reading, trying
from billing_lib.ledger.states import (
    ACTIVE,
    APPROVING,
    EDITABLE,
    ERROR,
    INVOICE,
    OPEN,
    REJECTED,
    moves,
)
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow import after_issue, approve, lines
from billing_lib.workflow.permissions import ISSUER, REVIEWER, changing, require
from billing_lib.workflow.search import Books
from billing_lib.workflow.steps import Progress, unheard

AT_ONCE = 200
"""The most invoices in one transaction."""

Entries = Mapping[str, Any]
"""The values of a form, by the names in ``Action.entries``."""

Change = Callable[[Connection, PriceBook, pl.DataFrame, Entries], list[str]]
"""Changes invoices of one facility, all or none, and returns a sentence on each."""


@dataclass(frozen=True)
class Action:
    """An action on invoices.

    Attributes
    ----------
    label, done
        In words: ``Approve``, ``approved``.
    states
        The states of invoices that it is for.
    entries, needed
        The names of its form's entries, and of those that must not be empty.
    """

    label: str
    done: str
    states: tuple[str, ...]
    entries: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    role: str = REVIEWER
    change: Change | None = None


@dataclass
class Outcome:
    """The result of an action, or of its trial.

    ``done`` has rows of the invoices; ``refused`` has pairs of an invoice's name and a reason.
    """

    done: pl.DataFrame
    sentences: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)


def _before(action: str) -> tuple[str, ...]:
    return tuple(move.before for move in moves(INVOICE) if move.action == action)


def _codes(rows: pl.DataFrame) -> list[str]:
    return rows["invoice"].to_list()


def _numbers(rows: pl.DataFrame) -> list[str]:
    return rows["number"].to_list()


def _approve(
    connection: Connection, book: PriceBook, rows: pl.DataFrame, entries: Entries
) -> list[str]:
    for (run,), part in rows.group_by("run", maintain_order=True):
        approve.approve(connection, book, str(run), _codes(part), entries["comment"])
    return [f"invoice {code} is approved" for code in _codes(rows)]


def _close(
    connection: Connection, book: PriceBook, rows: pl.DataFrame, entries: Entries
) -> list[str]:
    return approve.close(connection, book, _codes(rows), entries["reason"], reopen=entries["frees"])


def _unpay(
    connection: Connection, book: PriceBook, rows: pl.DataFrame, entries: Entries
) -> list[str]:
    return [
        after_issue.unpay(connection, book, number, entries["reason"])[0]
        for number in _numbers(rows)
    ]


def _void(
    connection: Connection, book: PriceBook, rows: pl.DataFrame, entries: Entries
) -> list[str]:
    reason, frees = entries["reason"], entries["frees"]
    return [
        sentence
        for number in _numbers(rows)
        for sentence in after_issue.void(connection, book, number, reason, reopen=frees)
    ]


def _reissue(
    connection: Connection, book: PriceBook, rows: pl.DataFrame, entries: Entries
) -> list[str]:
    return [
        after_issue.reissue(connection, book, number, entries["reason"])[0]
        for number in _numbers(rows)
    ]


def _credit(
    connection: Connection, book: PriceBook, rows: pl.DataFrame, entries: Entries
) -> list[str]:
    return [
        lines.credit_invoice(
            *(connection, book, number, entries["amount"], entries["reason"]),
            date=entries["date"] or None,
            expense_code=entries["expense_code"] or None,
            again=entries["again"],
        )
        for number in _numbers(rows)
    ]


_REASON = ("reason",)

ACTIONS = {
    "submit": Action(
        "Submit for approval",
        "submitted",
        (OPEN, ERROR, REJECTED),
        change=lambda it, book, rows, _: approve.submit_invoices(it, book, _codes(rows)),
    ),
    "approve": Action("Approve", "approved", (APPROVING,), ("comment",), change=_approve),
    "reject": Action(
        "Reject",
        "rejected",
        _before("reject"),
        _REASON,
        needed=_REASON,
        change=lambda it, book, rows, entries: approve.reject(
            it, book, _codes(rows), entries["reason"]
        ),
    ),
    "close": Action(
        "Close, never to be sent",
        "closed",
        _before("close"),
        ("reason", "frees"),
        needed=_REASON,
        change=_close,
    ),
    "quarantine": Action(
        "Quarantine",
        "put in quarantine",
        _before("quarantine"),
        _REASON,
        needed=_REASON,
        change=lambda it, book, rows, entries: approve.quarantine(
            it, book, _codes(rows), entries["reason"]
        ),
    ),
    "release": Action(
        "Release from quarantine",
        "released",
        _before("release"),
        change=lambda it, book, rows, _: approve.release(it, book, _codes(rows)),
    ),
    "recalculate": Action(
        "Recalculate",
        "recalculated",
        EDITABLE,
        change=lambda it, book, rows, _: approve.recalculate(it, book, _codes(rows)),
    ),
    "pay": Action(
        "Record a payment",
        "marked as paid",
        _before("pay"),
        ("date", "reference"),
        needed=("date", "reference"),
        role=ISSUER,
        change=lambda it, book, rows, entries: after_issue.pay(
            it, book, _numbers(rows), entries["date"], entries["reference"]
        ),
    ),
    "unpay": Action(
        "Undo a payment",
        "marked as unpaid",
        _before("unpay"),
        _REASON,
        needed=_REASON,
        role=ISSUER,
        change=_unpay,
    ),
    "void": Action(
        "Void",
        "voided",
        _before("void"),
        ("reason", "frees"),
        needed=_REASON,
        role=ISSUER,
        change=_void,
    ),
    "reissue": Action(
        "Reissue",
        "copied for their reissue",
        _before("supersede"),
        _REASON,
        needed=_REASON,
        role=ISSUER,
        change=_reissue,
    ),
    "credit": Action(
        "Credit a part",
        "credited",
        ACTIVE,
        ("amount", "reason", "date", "expense_code", "again"),
        needed=("amount", "reason"),
        role=ISSUER,
        change=_credit,
    ),
}
"""The actions that change the ledger, in the order of an invoice's life."""


def act(
    engine: Engine,
    books: Books,
    action: Action,
    rows: pl.DataFrame,
    entries: Entries,
    step: Progress = unheard,
    *,
    trial: bool,
) -> Outcome:
    """Carry out an action on invoices (rows of find_invoices), or try it and undo it all.

    A stop keeps the invoices that are done.

    Raises
    ------
    InvalidAdjustment
        The form lacks an entry.
    """
    require_entries(action, entries)
    fitting, refused = split_by_state(action, rows)
    outcome, count = Outcome(fitting.clear(), refused=refused), 0
    for (facility,), part in fitting.group_by("facility", maintain_order=True):
        try:
            with reading(engine) as connection:
                require(connection, str(facility), action.role)
            book = books[str(facility)]
        except KeyError:
            _refuse(outcome, part, f"there is no price book of {facility}")
            continue
        except BillingError as error:
            _refuse(outcome, part, str(error))
            continue
        for first in range(0, part.height, AT_ONCE):
            step(count, fitting.height, f"{action.label}: {part['name'][first]}")
            some = part[first : first + AT_ONCE]
            if trial:
                with trying(engine) as connection:
                    _halve(connection, book, action, some, entries, outcome)
            else:
                _halve(engine, book, action, some, entries, outcome)
            count += some.height
    step(count, fitting.height, action.label)
    return outcome


def require_entries(action: Action, entries: Entries) -> None:
    """Refuse a form that lacks an entry."""
    for name in action.needed:
        if not str(entries.get(name) or "").strip():
            if name == "reason":
                raise InvalidAdjustment(f"'{action.label}' needs a reason", remedy="say why")
            raise InvalidAdjustment(
                f"'{action.label}' needs an entry under '{name.replace('_', ' ').capitalize()}'",
                remedy="fill it in",
            )


def split_by_state(
    action: Action, rows: pl.DataFrame
) -> tuple[pl.DataFrame, list[tuple[str, str]]]:
    """The invoices in the action's states, with a ``name``, and the reasons of the others."""
    named = rows.with_columns(name=pl.coalesce("number", "invoice"))
    fits = pl.col("state").is_in(action.states)
    others = named.filter(~fits)
    states = " or ".join(action.states)
    return named.filter(fits), [
        (name, f"it is {state}; '{action.label}' is for {states}")
        for name, state in others.select("name", "state").iter_rows()
    ]


def _refuse(outcome: Outcome, rows: pl.DataFrame, reason: str) -> None:
    outcome.refused += [(name, reason) for name in rows["name"]]


def _halve(
    ledger: Ledger,
    book: PriceBook,
    action: Action,
    rows: pl.DataFrame,
    entries: Entries,
    outcome: Outcome,
) -> None:
    """Carry the action out on all rows, or on each half of them if one refuses."""
    if action.change is None:
        raise ValueError(f"'{action.label}' changes nothing in the ledger")
    try:
        with changing(ledger, book, action.role) as connection:
            _require_as_seen(connection, book.facility.code, rows)
            sentences = action.change(connection, book, rows, entries)
    except BillingError as error:
        if rows.height == 1:
            _refuse(outcome, rows, str(error))
            return
        middle = rows.height // 2
        for half in (rows[:middle], rows[middle:]):
            _halve(ledger, book, action, half, entries, outcome)
    else:
        outcome.done = pl.concat([outcome.done, rows])
        outcome.sentences += sentences


CHANGED = "somebody has changed it since this list was read"
"""The reason of a refusal after which a page reads its list again."""


def _require_as_seen(connection: Connection, facility: str, rows: pl.DataFrame) -> None:
    now = ledger_invoices.lock_invoices(connection, facility, _codes(rows))
    seen = rows.select("state", "total", "step", code="invoice")
    if now.join(seen, on=seen.columns, how="semi", nulls_equal=True).height != seen.height:
        raise ChangedMeanwhile(
            CHANGED, remedy="it is read again now: look at it and repeat the action"
        )


def sums(rows: pl.DataFrame) -> str:
    """The number of invoices and their total: ``24 invoices, 6,104.20 USD``."""
    noun = "invoice" if rows.height == 1 else "invoices"
    totals = rows.group_by("currency").agg(pl.col("total").sum()).sort("currency")
    texts = [
        f"{Decimal(money_text(total, minor_places(currency))):,} {currency}"
        for currency, total in totals.iter_rows()
    ]
    return ", ".join([f"{rows.height:,} {noun}", *texts])
