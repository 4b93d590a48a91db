"""Statements, prepaid funds and general-ledger journals.

    smith-lab-1993-11     OPEN   3 invoices   1,204.11 - 3.00 = 1,201.11 USD
      RC-1994-00003   RC    1,129.11
      MIC-1994-00007  MIC      75.00
      courtesy        MIC      -3.00

    RC  u4  1  deposit   1000.00
    RC  u4  2  draw      -240.11   RC-1994-00003

    RC  3  RC-1994-00003  issue      1993-12-06
    RC  4  RC-1994-00003  reversal   1994-01-15   it was voided, or another one replaced it

A statement is a team's debt for a month over all facilities, in one currency. An invoice is on
one statement at most, and a paid statement does not change. Fund entries (deposits, draws by
invoices, returns) and journals (invoices posted or reversed) are only added. Frames have the
tables' column names (schemas STATEMENT, STATED, STATEMENT_ADJUSTMENT, FUND_ENTRY, JOURNAL, …).
"""

import datetime as dt
from typing import Any

import polars as pl
from sqlalchemy import Connection, Row, Select, func, insert, select, update

from billing_lib.errors import NotReady, UnknownStatement
from billing_lib.ledger import frames
from billing_lib.ledger.database import stamp
from billing_lib.ledger.events import recorded
from billing_lib.ledger.frames import frame_schema
from billing_lib.ledger.schema import facility as facilities
from billing_lib.ledger.schema import (
    fund_entry,
    invoice,
    issued_invoice,
    journal,
    journal_entry,
    statement,
    statement_adjustment,
    statement_invoice,
)
from billing_lib.ledger.states import ACTIVE, OPEN, PAID, after
from billing_lib.ledger.states import STATEMENT as OF_STATEMENT
from billing_lib.pricing.fields import canonical_json

STATEMENT = frame_schema(statement.columns)
"""Columns of a statement: id, team, period, sequence, currency, state, invoices, … reference."""

STATEMENT_ADJUSTMENT = frame_schema(statement_adjustment.columns)
"""Columns of a rule's adjustment: statement, facility, position, team, rule, kind, amount."""

_STATED = (
    statement_invoice.c.statement,
    issued_invoice.c.number,
    issued_invoice.c.facility,
    issued_invoice.c.team,
    issued_invoice.c.period,
    issued_invoice.c.currency,
    issued_invoice.c.project,
    issued_invoice.c.kind,
    issued_invoice.c.invoice_date,
    issued_invoice.c.prepaid,
    issued_invoice.c.total,
    invoice.c.code,
    invoice.c.state,
    invoice.c.statement.label("paid_by"),
)

STATED = frame_schema(_STATED)
"""Columns of an invoice as statements see it; ``statement`` is null where it is on none, and
``paid_by`` is the statement whose payment paid it."""


def lock_statements(connection: Connection) -> None:
    """Keep other sessions from statements until the transaction ends, as SQLite does anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.billing_guard_wait("statements")))


def read_statements(
    connection: Connection,
    *,
    periods: list[str] | None = None,
    teams: list[str] | None = None,
    ids: list[str] | None = None,
) -> pl.DataFrame:
    """Statements (schema STATEMENT), by period, team, currency and sequence."""
    chosen = select(statement)
    for column, values in (("period", periods), ("team", teams), ("id", ids)):
        if values is not None:
            listed = frames.listed(connection, values)
            chosen = chosen.where(statement.c[column].in_(select(listed.c.value)))
    found = frames.read_frame(connection, chosen, STATEMENT)
    return found.sort("period", "team", "currency", "sequence")


def require_statement(connection: Connection, statement_id: str) -> Row[Any]:
    """A statement's columns by name; it must exist."""
    chosen = select(statement).where(statement.c.id == statement_id)
    found = connection.execute(chosen).one_or_none()
    if found is None:
        raise UnknownStatement(
            f"there is no statement {statement_id}",
            remedy="'billing statements PERIOD' lists a month's",
        )
    return found


def paid_statement_of(connection: Connection, number: str) -> str | None:
    """The id of the paid statement that an invoice is on, or None."""
    chosen = (
        select(statement.c.id)
        .join(statement_invoice, statement_invoice.c.statement == statement.c.id)
        .where(statement_invoice.c.number == number, statement.c.state == PAID)
    )
    return connection.scalars(chosen).one_or_none()


def read_stated(connection: Connection, ids: list[str]) -> pl.DataFrame:
    """The invoices on these statements (schema STATED), by statement, facility and number."""
    listed = frames.listed(connection, ids)
    chosen = _invoices(outer=False).where(statement_invoice.c.statement.in_(select(listed.c.value)))
    found = frames.read_frame(connection, chosen, STATED)
    return found.sort("statement", "facility", "number")


def statements_with(connection: Connection, numbers: list[str]) -> list[str]:
    """The ids of the statements that hold these invoices."""
    listed = frames.listed(connection, numbers)
    chosen = select(statement_invoice.c.statement).where(
        statement_invoice.c.number.in_(select(listed.c.value))
    )
    return sorted(connection.scalars(chosen.distinct()))


def read_unstated(
    connection: Connection, period: str, teams: list[str] | None = None
) -> pl.DataFrame:
    """A month's invoices that count and are on no statement (STATED), by team, facility, number."""
    chosen = _invoices(outer=True).where(
        issued_invoice.c.period == period,
        invoice.c.state.in_(ACTIVE),
        statement_invoice.c.statement.is_(None),
    )
    if teams is not None:
        listed = frames.listed(connection, teams)
        chosen = chosen.where(issued_invoice.c.team.in_(select(listed.c.value)))
    return frames.read_frame(connection, chosen, STATED).sort("team", "facility", "number")


def _invoices(*, outer: bool) -> Select[Any]:
    return (
        select(*_STATED)
        .join_from(issued_invoice, invoice, invoice.c.number == issued_invoice.c.number)
        .join(
            statement_invoice, statement_invoice.c.number == issued_invoice.c.number, isouter=outer
        )
    )


def read_statement_adjustments(connection: Connection, ids: list[str]) -> pl.DataFrame:
    """Adjustments of statements (STATEMENT_ADJUSTMENT), by statement, facility and position."""
    listed = frames.listed(connection, ids)
    chosen = select(statement_adjustment).where(
        statement_adjustment.c.statement.in_(select(listed.c.value))
    )
    found = frames.read_frame(connection, chosen, STATEMENT_ADJUSTMENT)
    return found.sort("statement", "facility", "position")


def insert_statements(connection: Connection, fresh: pl.DataFrame) -> None:
    """Add empty OPEN statements: ``id``, ``team``, ``period``, ``sequence``, ``currency``."""
    nothing = dict.fromkeys(("invoices", "raw_total", "adjustment", "total"), 0)
    frames.insert_frame(connection, statement, fresh, state=OPEN, **nothing)


def put_on(connection: Connection, placed: pl.DataFrame) -> None:
    """Put invoices on OPEN statements: ``number, statement, facility, team, total``."""
    names = [column.name for column in statement_invoice.columns]
    frames.insert_frame(connection, statement_invoice, placed.select(names))


def take_off(connection: Connection, numbers: pl.Series) -> None:
    """Take invoices off their OPEN statements."""
    listed = frames.listed(connection, numbers)
    of_these = statement_invoice.c.number.in_(select(listed.c.value))
    frames.delete_rows(connection, statement_invoice, of_these)


def replace_adjustments(connection: Connection, ids: list[str], adjustments: pl.DataFrame) -> None:
    """Replace all adjustments of OPEN statements with these (schema STATEMENT_ADJUSTMENT)."""
    listed = frames.listed(connection, ids)
    of_these = statement_adjustment.c.statement.in_(select(listed.c.value))
    frames.delete_rows(connection, statement_adjustment, of_these)
    frames.insert_frame(connection, statement_adjustment, adjustments)


def set_statement_totals(connection: Connection, totals: pl.DataFrame) -> None:
    """Set the totals of OPEN statements: ``id, invoices, raw_total, adjustment, total``."""
    frames.update_frame(connection, statement, totals, ["id"])


def move_statement(
    connection: Connection,
    statement_id: str,
    facilities: list[str],
    action: str,
    reason: str = "",
    *,
    payment: tuple[dt.date, str] | None = None,
    facts: dict[str, str] | None = None,
) -> None:
    """Move a statement by an action of states.py, with an event for each of its facilities.

    ``payment`` is a date and a reference, for ``pay``; ``facts`` are further values of the event.
    """
    row = require_statement(connection, statement_id)
    state = after(OF_STATEMENT, row.state, action, f"statement {statement_id}")
    paid_on, reference = payment or (None, None)
    values = {"state": state, "paid_on": paid_on, "payment_reference": reference}
    after_it = {name: str(value) for name, value in values.items() if value is not None}
    told = {
        "kind": f"statement_{action}",
        "subject": statement_id,
        "team": row.team,
        "group_id": None,
        "reason": reason,
        "before": canonical_json({"state": row.state}),
        "after": canonical_json(after_it | (facts or {})),
    }
    with recorded(connection, [told | {"facility": code} for code in sorted(facilities)]):
        changed = connection.execute(
            update(statement)
            .where(statement.c.id == statement_id, statement.c.state == row.state)
            .values(values)
        )
        if changed.rowcount != 1:
            raise NotReady(f"statement {statement_id} was changed by another at this moment")


FUND_ENTRY = frame_schema(fund_entry.columns)
"""Columns of an entry: facility, project, sequence, team, kind, amount, number, … login, at."""


def insert_entry(
    connection: Connection,
    facility: str,
    project: str,
    team: str,
    kind: str,
    amount: int,
    reason: str,
    number: str | None = None,
) -> None:
    """Add a change of a project's balance, in minor units."""
    known = select(func.coalesce(func.max(fund_entry.c.sequence), 0)).where(
        fund_entry.c.facility == facility, fund_entry.c.project == project
    )
    connection.execute(
        insert(fund_entry).values(
            facility=facility,
            project=project,
            sequence=int(connection.scalars(known).one()) + 1,
            team=team,
            kind=kind,
            amount=amount,
            number=number,
            reason=reason,
            **stamp(connection, who="login", when="at"),
        )
    )


def read_entries(
    connection: Connection,
    facility: str,
    project: str | None = None,
    number: str | None = None,
) -> pl.DataFrame:
    """Fund entries (schema FUND_ENTRY), by project and sequence."""
    statement = select(fund_entry).where(fund_entry.c.facility == facility)
    for column, wanted in (("project", project), ("number", number)):
        if wanted is not None:
            statement = statement.where(fund_entry.c[column] == wanted)
    return frames.read_frame(connection, statement, FUND_ENTRY).sort("project", "sequence")


JOURNAL = frame_schema(journal.columns)
"""Columns of a journal: facility, number, entries, settings, login, posted_at."""

JOURNAL_ENTRY = frame_schema(journal_entry.columns)
"""Columns of an entry: number (the invoice's), kind, facility, journal, date."""


def lock_journals(connection: Connection, facility: str) -> None:
    """Keep other sessions from posting for the facility until the end of the transaction."""
    if connection.dialect.name == "postgresql":
        chosen = select(facilities.c.code).where(facilities.c.code == facility)
        connection.execute(chosen.with_for_update(key_share=True))


def insert_journal(
    connection: Connection, facility: str, settings: str, entries: pl.DataFrame
) -> int:
    """Add the facility's next journal, with entries of ``number``, ``kind``, ``date``; its number.

    ``settings`` is JSON of the accounts and columns that it is posted with.
    """
    posted = select(func.count()).where(journal.c.facility == facility)
    number = int(connection.scalars(posted).one()) + 1
    values = {"number": number, "entries": entries.height, "settings": settings}
    who = stamp(connection, who="login", when="posted_at")
    connection.execute(insert(journal).values(facility=facility, **values, **who))
    frames.insert_frame(
        connection,
        journal_entry,
        entries.select("number", "kind", "date"),
        facility=facility,
        journal=number,
    )
    return number


def read_journals(connection: Connection, facility: str) -> pl.DataFrame:
    """A facility's journals (schema JOURNAL), by number."""
    statement = select(journal).where(journal.c.facility == facility)
    return frames.read_frame(connection, statement, JOURNAL).sort("number")


def read_journal_entries(connection: Connection, facility: str) -> pl.DataFrame:
    """The entries of a facility's journals (schema JOURNAL_ENTRY), by journal, date and number."""
    statement = select(journal_entry).where(journal_entry.c.facility == facility)
    found = frames.read_frame(connection, statement, JOURNAL_ENTRY)
    return found.sort("journal", "date", "number", "kind")
