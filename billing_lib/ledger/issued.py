"""Issued invoices: written once, in the transaction that issues them, and only read then.

    RC-2020-00001   smith-lab / p1   2020-04   3 lines, 101.25   sha256 of the canonical JSON

Frames have the tables' column names (schemas ISSUED_INVOICE, INVOICE_LINE, INVOICE_SPLIT,
INVOICE_ADJUSTMENT).
"""

from typing import Any

import polars as pl
from sqlalchemy import Connection, Select, Table, func, select

from billing_lib.ledger import frames
from billing_lib.ledger.invoice_tables import (
    invoice,
    invoice_adjustment,
    invoice_line,
    invoice_split,
    issued_invoice,
    issuing,
)
from billing_lib.ledger.states import ACTIVE
from billing_lib.ledger.types import frame_schema

ISSUED_INVOICE = frame_schema(issued_invoice.columns)
INVOICE_LINE = frame_schema(invoice_line.columns)
INVOICE_SPLIT = frame_schema(invoice_split.columns)
INVOICE_ADJUSTMENT = frame_schema(invoice_adjustment.columns)


def insert_issued(
    connection: Connection,
    invoices: pl.DataFrame,
    lines: pl.DataFrame,
    splits: pl.DataFrame,
    adjustments: pl.DataFrame | None = None,
) -> None:
    """Add what is frozen as issued invoices, with all their lines, splits and adjustments.

    Parameters
    ----------
    invoices, lines, splits
        Schemas ISSUED_INVOICE (``number`` reserved by the issuing), INVOICE_LINE (as many per
        invoice as its ``charges`` says) and INVOICE_SPLIT.
    adjustments
        What rules changed (schema INVOICE_ADJUSTMENT); none by default.
    """
    frames.insert_frame(connection, issued_invoice, invoices)
    frames.insert_frame(connection, invoice_line, lines)
    frames.insert_frame(connection, invoice_split, splits)
    if adjustments is not None:
        frames.insert_frame(connection, invoice_adjustment, adjustments)


def read_issued(
    connection: Connection,
    *,
    facility: str | None = None,
    period: str | None = None,
    project: str | None = None,
    team: str | None = None,
    issuing: str | None = None,
    number: str | None = None,
    active: bool = False,
) -> pl.DataFrame:
    """Issued invoices (schema ISSUED_INVOICE), by facility, fiscal year and sequence.

    Parameters
    ----------
    active
        Only those that count: neither superseded nor void.
    """
    statement = select(issued_invoice)
    wanted = {
        "facility": facility,
        "period": period,
        "project": project,
        "team": team,
        "issuing": issuing,
        "number": number,
    }
    for column, value in wanted.items():
        if value is not None:
            statement = statement.where(issued_invoice.c[column] == value)
    if active:
        counting = select(invoice.c.number).where(invoice.c.state.in_(ACTIVE))
        statement = statement.where(issued_invoice.c.number.in_(counting))
    found = frames.read_frame(connection, statement, ISSUED_INVOICE)
    return found.sort("facility", "fiscal_year", "sequence")


def read_billed(connection: Connection, facility: str, first: str, last: str) -> pl.DataFrame:
    """``number``, ``project``, ``period``, ``total`` of the invoices that count (neither
    superseded nor void) from one month to another, by number."""
    columns = (issued_invoice.c[name] for name in ("number", "project", "period", "total"))
    counting = select(invoice.c.number).where(invoice.c.state.in_(ACTIVE))
    statement = select(*columns).where(
        issued_invoice.c.facility == facility,
        issued_invoice.c.period.between(first, last),
        issued_invoice.c.number.in_(counting),
    )
    return frames.read_frame(connection, statement).sort("number")


def read_lines(connection: Connection, numbers: list[str]) -> pl.DataFrame:
    """The lines of these invoices (schema INVOICE_LINE), by number and position."""
    return _of(connection, invoice_line, numbers).sort("number", "position")


def read_splits(connection: Connection, numbers: list[str]) -> pl.DataFrame:
    """What these invoices come to by expense code (schema INVOICE_SPLIT), by both."""
    return _of(connection, invoice_split, numbers).sort("number", "expense_code")


def read_adjustments(connection: Connection, numbers: list[str]) -> pl.DataFrame:
    """What rules changed on these invoices (schema INVOICE_ADJUSTMENT), by number and position."""
    return _of(connection, invoice_adjustment, numbers).sort("number", "position")


def read_item_totals(connection: Connection, numbers: list[str]) -> pl.DataFrame:
    """What the lines of these invoices come to by item: ``invoice`` (the number), ``item``,
    ``total``; added lines have no item and are left out."""
    listed = frames.listed(connection, numbers)
    of = (invoice_line.c.number.label("invoice"), invoice_line.c.item)
    statement = (
        select(*of, func.sum(invoice_line.c.total).label("total"))
        .where(invoice_line.c.number.in_(select(listed.c.value)), invoice_line.c.item.is_not(None))
        .group_by(*of)
    )
    schema = pl.Schema({"invoice": pl.String(), "item": pl.String(), "total": pl.Int64()})
    return frames.read_frame(connection, statement, schema).sort("invoice", "item")


_ARCHIVED = (
    *(
        issued_invoice.c[name]
        for name in ("number", "facility", "team", "project", "period", "invoice_date")
    ),
    *(issued_invoice.c[name] for name in ("kind", "currency", "total", "fingerprint")),
    invoice.c.run,
    invoice.c.state,
    issuing.c.record,
)

ARCHIVED = frame_schema(_ARCHIVED)
"""Columns of an issued invoice and where it is archived: number, facility, team, project, period,
invoice_date, kind, currency, total, fingerprint, run, state and ``record``, the audit record's
path in the archive."""


def read_archived(
    connection: Connection, *, numbers: list[str] | None = None, runs: list[str] | None = None
) -> pl.DataFrame:
    """Issued invoices of these numbers, or of these billing runs (schema ARCHIVED), by facility
    and number."""
    chosen = (
        select(*_ARCHIVED)
        .join_from(issued_invoice, invoice, invoice.c.number == issued_invoice.c.number)
        .join(issuing, issuing.c.id == issued_invoice.c.issuing)
    )
    for column, values in ((issued_invoice.c.number, numbers), (invoice.c.run, runs)):
        if values is not None:
            listed = frames.listed(connection, values)
            chosen = chosen.where(column.in_(select(listed.c.value)))
    return frames.read_frame(connection, chosen, ARCHIVED).sort("facility", "number")


def read_all_fingerprints(connection: Connection) -> pl.DataFrame:
    """``facility``, ``team``, ``number``, ``fingerprint`` of every issued invoice, by number."""
    columns = (issued_invoice.c[name] for name in ("facility", "team", "number", "fingerprint"))
    return frames.read_frame(connection, select(*columns)).sort("number")


def _of(connection: Connection, table: Table, numbers: list[str]) -> pl.DataFrame:
    listed = frames.listed(connection, numbers)
    statement: Select[Any] = select(table).where(table.c.number.in_(select(listed.c.value)))
    return frames.read_frame(connection, statement)
