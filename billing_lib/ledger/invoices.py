"""Invoices from their first draft on, and the rows that issuing writes for them.

    RC-1993-11-1/u4   OPEN   57 charges, 1,204.11   →   APPROVING   →   APPROVED RC-1994-00003

    RC-2020-00001   smith-lab / p1   2020-04   3 lines, 101.25   sha256 of the canonical JSON

A row of INVOICE has an invoice's totals and moves between the states of states.py. Issued invoices
(schemas ISSUED_INVOICE, INVOICE_LINE, INVOICE_SPLIT, INVOICE_ADJUSTMENT) are written once, in the
transaction that issues them, and only read afterwards. Frames have the tables' column names.
"""

import datetime as dt
from typing import Any

import polars as pl
from sqlalchemy import Connection, Select, Table, func, select, update

from billing_lib.errors import NotReady, UnknownInvoice
from billing_lib.ledger import frames
from billing_lib.ledger.events import recorded
from billing_lib.ledger.frames import frame_schema
from billing_lib.ledger.schema import (
    invoice,
    invoice_adjustment,
    invoice_line,
    invoice_split,
    issued_invoice,
    issuing,
    log_entry,
)
from billing_lib.ledger.states import ACTIVE, APPROVING, OPEN, after
from billing_lib.ledger.states import INVOICE as OF_INVOICE
from billing_lib.pricing.fields import canonical_json

INVOICE = frame_schema(invoice.columns)
"""Columns of an invoice: facility, code, kind, run, period, … state, … number, … statement."""

_TOTALS = ("charges", "raw_total", "adjustment", "tax", "total", "cost")


def insert_invoices(connection: Connection, drafts: pl.DataFrame) -> None:
    """Add OPEN invoices that bill nothing yet.

    ``drafts`` has ``facility``, ``code``, ``kind``, ``run``, ``period``, ``project``, ``team``,
    ``covers_from``, ``covers_to``, ``description``, and optionally ``reference`` and ``replaces``.
    """
    nothing = dict.fromkeys(("step", "charges", "raw_total", "adjustment", "total"), 0)
    frames.insert_frame(connection, invoice, drafts, state=OPEN, **nothing)


def set_totals(connection: Connection, facility: str, totals: pl.DataFrame) -> None:
    """Set the totals of editable invoices: ``code``, ``team``, ``charges``, ``raw_total``,
    ``adjustment``, ``tax``, ``total``, ``cost``."""
    frames.update_frame(
        connection,
        invoice,
        totals.select("code", "team", *_TOTALS),
        ["facility", "code"],
        facility=facility,
    )


def put_in_run(connection: Connection, facility: str, codes: list[str], run: str | None) -> None:
    """Put ad hoc invoices in a run, or with None out of their run while they are editable."""
    if not codes:
        return
    chosen = invoice.c.code.in_(codes)
    connection.execute(
        update(invoice).where(invoice.c.facility == facility, chosen).values(run=run)
    )


def edit_invoice(connection: Connection, facility: str, code: str, **values: object) -> None:
    """Set ``covers_from``, ``covers_to``, ``period`` or ``description`` of an editable invoice."""
    connection.execute(
        update(invoice)
        .where(invoice.c.facility == facility, invoice.c.code == code)
        .values(**values)
    )


def read_referenced(connection: Connection, facility: str) -> pl.DataFrame:
    """A facility's ad hoc invoices in any state (schema INVOICE), by reference.

    A reissue has the reference of the invoice that it replaces, and comes after it.
    """
    statement = select(invoice).where(invoice.c.facility == facility, invoice.c.kind == "ad hoc")
    every = frames.read_frame(connection, statement, INVOICE)
    found = [every.filter(pl.col("replaces").is_null())]
    while found[-1].height:
        named = found[-1].drop_nulls("number").select("reference", replaces="number")
        found.append(every.drop("reference").join(named, on="replaces").select(every.columns))
    return pl.concat(found).sort("reference", maintain_order=True)


def read_invoices(
    connection: Connection,
    facility: str | None = None,
    *,
    run: str | None = None,
    period: str | None = None,
    project: str | None = None,
    states: tuple[str, ...] | None = None,
    codes: pl.Series | list[str] | None = None,
    numbers: pl.Series | list[str] | None = None,
    replaces: str | None = None,
    reference: str | None = None,
) -> pl.DataFrame:
    """Invoices (schema INVOICE), by facility, period and code."""
    statement = select(invoice)
    wanted = {
        "facility": facility,
        "run": run,
        "period": period,
        "project": project,
        "replaces": replaces,
        "reference": reference,
    }
    for column, value in wanted.items():
        if value is not None:
            statement = statement.where(invoice.c[column] == value)
    if states is not None:
        statement = statement.where(invoice.c.state.in_(states))
    for column, values in (("code", codes), ("number", numbers)):
        if values is not None:
            listed = frames.listed(connection, values)
            statement = statement.where(invoice.c[column].in_(select(listed.c.value)))
    return frames.read_frame(connection, statement, INVOICE).sort("facility", "period", "code")


def require_invoice(connection: Connection, number: str) -> dict[str, object]:
    """The columns of the issued invoice with this number, by name; it must exist."""
    found = read_invoices(connection, numbers=[number])
    if found.height == 0:
        raise UnknownInvoice(
            f"there is no invoice {number}", remedy="'billing invoices' lists them"
        )
    return found.row(0, named=True)


def lock_invoices(connection: Connection, facility: str, codes: list[str]) -> pl.DataFrame:
    """These invoices (schema INVOICE), locked until the end of the transaction."""
    if connection.dialect.name == "postgresql":
        chosen = select(invoice.c.code).where(
            invoice.c.facility == facility, invoice.c.code.in_(codes)
        )
        connection.execute(chosen.order_by(invoice.c.code).with_for_update())
    return read_invoices(connection, facility, codes=codes)


def move_invoices(
    connection: Connection,
    facility: str,
    codes: list[str],
    action: str,
    reason: str = "",
    *,
    group: str | None = None,
    numbers: dict[str, str] | None = None,
    facts: dict[str, dict[str, str]] | None = None,
    payment: tuple[dt.date, str, str | None] | None = None,
    locked: pl.DataFrame | None = None,
) -> None:
    """Move invoices by an action of states.py, all or none, with an event for each.

    ``numbers`` are by code, for ``issue``. ``facts`` are further values of the events, by code.
    ``payment`` is date, reference and the paid statement's id or None, for ``pay``. ``locked`` has
    the invoices as lock_invoices returned them. NotReady if the action is not allowed in an
    invoice's state.
    """
    if not codes:
        return
    rows, moves = [], []
    known = lock_invoices(connection, facility, codes) if locked is None else locked
    for row in known.sort("code").iter_rows(named=True):
        code, before = row["code"], row["state"]
        state = after(OF_INVOICE, before, action, f"invoice {row['number'] or code}")
        values: dict[str, object] = {"state": state}
        if reason:
            values["reason"] = reason
        if action in ("reject", "quarantine", "close"):
            values["step"] = 0
        if numbers is not None:
            values["number"] = numbers[code]
        if action in ("pay", "unpay"):
            names = ("paid_on", "payment_reference", "statement")
            values |= dict(zip(names, payment or (None, None, None), strict=True))
        rows.append(values | {"code": code, "facility": facility})
        told = {name: str(value) for name, value in values.items() if value is not None}
        told |= (facts or {}).get(code, {})
        moves.append(
            {
                "facility": facility,
                "kind": action,
                "subject": code,
                "team": row["team"],
                "group_id": group,
                "reason": reason,
                "before": canonical_json({"state": before}),
                "after": canonical_json(told),
            }
        )
    schema = {name: INVOICE[name] for name in rows[0]}
    with recorded(connection, moves):
        frames.update_frame(connection, invoice, pl.DataFrame(rows, schema), ["facility", "code"])


def set_step(
    connection: Connection, row: dict[str, Any], step: int, reason: str, facts: dict[str, str]
) -> None:
    """Set the number of reviewers who have approved an APPROVING invoice, with an event.

    ``row`` has the invoice's columns, and ``facts`` are further values of the event.
    """
    told = {
        "facility": row["facility"],
        "kind": "approve" if step > row["step"] else "send_back",
        "subject": row["code"],
        "team": row["team"],
        "group_id": None,
        "reason": reason,
        "before": canonical_json({"step": str(row["step"])}),
        "after": canonical_json({"step": str(step)} | facts),
    }
    with recorded(connection, [told]):
        changed = connection.execute(
            update(invoice)
            .where(
                invoice.c.facility == row["facility"],
                invoice.c.code == row["code"],
                invoice.c.state == APPROVING,
            )
            .values(step=step)
        )
        if changed.rowcount != 1:
            raise NotReady(f"invoice {row['code']} is not being approved")


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
    """Add issued invoices, with all their lines, splits and adjustments.

    ``number`` is reserved by the issuing; an invoice has as many lines as its ``charges`` says.
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

    ``active`` leaves out superseded and void invoices.
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
    """Invoices that count (neither superseded nor void) from one month to another: ``number``,
    ``project``, ``period``, ``total``, by number."""
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
    """Amounts of these invoices by expense code (schema INVOICE_SPLIT), by number and code."""
    return _of(connection, invoice_split, numbers).sort("number", "expense_code")


def read_adjustments(connection: Connection, numbers: list[str]) -> pl.DataFrame:
    """Rules' adjustments of these invoices (schema INVOICE_ADJUSTMENT), by number and position."""
    return _of(connection, invoice_adjustment, numbers).sort("number", "position")


def read_item_totals(connection: Connection, numbers: list[str]) -> pl.DataFrame:
    """Totals of these invoices by item: ``invoice`` (the number), ``item``, ``total``; added lines
    have no item and are left out."""
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
    log_entry.c.seal,
)

ARCHIVED = frame_schema(_ARCHIVED)
"""Columns of an issued invoice with ``record``, its audit record's path in the archive, and the
record's ``seal``."""


def read_archived(
    connection: Connection, *, numbers: list[str] | None = None, runs: list[str] | None = None
) -> pl.DataFrame:
    """Issued invoices of these numbers or billing runs (ARCHIVED), by facility and number."""
    chosen = (
        select(*_ARCHIVED)
        .join_from(issued_invoice, invoice, invoice.c.number == issued_invoice.c.number)
        .join(issuing, issuing.c.id == issued_invoice.c.issuing)
        .join(log_entry, log_entry.c.issuing == issuing.c.id)
    )
    for column, values in ((issued_invoice.c.number, numbers), (invoice.c.run, runs)):
        if values is not None:
            listed = frames.listed(connection, values)
            chosen = chosen.where(column.in_(select(listed.c.value)))
    return frames.read_frame(connection, chosen, ARCHIVED).sort("facility", "number")


def read_sealed(connection: Connection) -> pl.DataFrame:
    """All issued invoices as their records have them, by number: ``facility``, ``team``,
    ``number``, ``issuing``, ``fingerprint``, ``state``, and ``replaced_by``, a number or null."""
    reissue = invoice.alias()
    chosen = (
        select(
            *(issued_invoice.c[name] for name in ("facility", "team", "number", "issuing")),
            issued_invoice.c.fingerprint,
            invoice.c.state,
            reissue.c.number.label("replaced_by"),
        )
        .join_from(issued_invoice, invoice, invoice.c.number == issued_invoice.c.number)
        .outerjoin(reissue, reissue.c.replaces == issued_invoice.c.number)
    )
    return frames.read_frame(connection, chosen).sort("number", "replaced_by", nulls_last=True)


def _of(connection: Connection, table: Table, numbers: list[str]) -> pl.DataFrame:
    listed = frames.listed(connection, numbers)
    statement: Select[Any] = select(table).where(table.c.number.in_(select(listed.c.value)))
    return frames.read_frame(connection, statement)
