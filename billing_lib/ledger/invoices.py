"""Issued invoices: written once, in the transaction that issues their run, and only read then.

    RC-2020-0001   smith-lab / p1   2020-04   3 lines, 101.25   sha256 of the canonical JSON

Frames have the tables' column names (schemas INVOICE, INVOICE_LINE, INVOICE_SPLIT,
INVOICE_ADJUSTMENT).
"""

from typing import Any

import polars as pl
from sqlalchemy import Connection, Select, Table, select

from billing_lib.ledger import frames
from billing_lib.ledger.tables import (
    invoice,
    invoice_adjustment,
    invoice_line,
    invoice_split,
)
from billing_lib.ledger.types import frame_schema

INVOICE = frame_schema(invoice.columns)
INVOICE_LINE = frame_schema(invoice_line.columns)
INVOICE_SPLIT = frame_schema(invoice_split.columns)
INVOICE_ADJUSTMENT = frame_schema(invoice_adjustment.columns)


def insert_invoices(
    connection: Connection,
    invoices: pl.DataFrame,
    lines: pl.DataFrame,
    splits: pl.DataFrame,
    adjustments: pl.DataFrame | None = None,
) -> None:
    """Add a frozen run's invoices, with all their lines, splits and adjustments.

    Parameters
    ----------
    invoices, lines, splits
        Schemas INVOICE (``state`` APPROVED; ``number`` reserved by the run), INVOICE_LINE (as
        many per invoice as its ``charges`` says) and INVOICE_SPLIT.
    adjustments
        What rules changed (schema INVOICE_ADJUSTMENT); none by default.
    """
    frames.insert_frame(connection, invoice, invoices)
    frames.insert_frame(connection, invoice_line, lines)
    frames.insert_frame(connection, invoice_split, splits)
    if adjustments is not None:
        frames.insert_frame(connection, invoice_adjustment, adjustments)


def read_invoices(
    connection: Connection,
    *,
    facility: str | None = None,
    period: str | None = None,
    project: str | None = None,
    team: str | None = None,
    run: str | None = None,
    number: str | None = None,
) -> pl.DataFrame:
    """Invoices (schema INVOICE), by facility, fiscal year and sequence."""
    statement = select(invoice)
    wanted = {
        "facility": facility,
        "period": period,
        "project": project,
        "team": team,
        "run": run,
        "number": number,
    }
    for column, value in wanted.items():
        if value is not None:
            statement = statement.where(invoice.c[column] == value)
    found = frames.read_frame(connection, statement, INVOICE)
    return found.sort("facility", "fiscal_year", "sequence")


def read_lines(connection: Connection, numbers: list[str]) -> pl.DataFrame:
    """The lines of these invoices (schema INVOICE_LINE), by number and position."""
    return _of(connection, invoice_line, numbers).sort("number", "position")


def read_splits(connection: Connection, numbers: list[str]) -> pl.DataFrame:
    """What these invoices come to by expense code (schema INVOICE_SPLIT), by both."""
    return _of(connection, invoice_split, numbers).sort("number", "expense_code")


def read_adjustments(connection: Connection, numbers: list[str]) -> pl.DataFrame:
    """What rules changed on these invoices (schema INVOICE_ADJUSTMENT), by number and position."""
    return _of(connection, invoice_adjustment, numbers).sort("number", "position")


def read_fingerprints(connection: Connection, run: str) -> dict[str, str]:
    """The fingerprint of each invoice of a run, by number."""
    statement = select(invoice.c.number, invoice.c.fingerprint).where(invoice.c.run == run)
    found = frames.read_frame(connection, statement)
    return dict(found.sort("number").iter_rows())


def read_all_fingerprints(connection: Connection) -> dict[str, str]:
    """The fingerprint of every issued invoice, by number."""
    found = frames.read_frame(connection, select(invoice.c.number, invoice.c.fingerprint))
    return dict(found.sort("number").iter_rows())


def _of(connection: Connection, table: Table, numbers: list[str]) -> pl.DataFrame:
    listed = frames.listed(connection, numbers)
    statement: Select[Any] = select(table).where(table.c.number.in_(select(listed.c.value)))
    return frames.read_frame(connection, statement)
