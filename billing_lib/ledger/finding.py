"""Finding invoices and charges: a page of what matches, how much all that matches comes to.

    Criteria(states=("OPEN",), text="laser")   page 2 of 50 rows, by total   312 rows, 10,204.11 USD

What matches is asked in matching.py. Rows come in the same order from both databases: texts by
their code points, what is missing last, ties by facility and code.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    Text,
    UnaryExpression,
    func,
    select,
)
from sqlalchemy.sql.operators import custom_op

from billing_lib.ledger import frames
from billing_lib.ledger.invoice_tables import invoice, issued_invoice
from billing_lib.ledger.matching import Criteria, charge_conditions, invoice_conditions
from billing_lib.ledger.tables import charge
from billing_lib.ledger.tables import facility as facilities
from billing_lib.ledger.types import frame_schema


class Listing(NamedTuple):
    """What can be listed: its table, what is joined to it, and its columns as lists name them."""

    table: Table
    joined: FromClause
    columns: Mapping[str, ColumnElement[Any]]
    sorts: Mapping[str, ColumnElement[Any]]
    """The columns by which rows are sorted, under the names that people write."""


_INVOICE_COLUMNS: dict[str, ColumnElement[Any]] = {
    "number": invoice.c.number,
    "invoice": invoice.c.code,
    "facility": invoice.c.facility,
    "period": invoice.c.period,
    "project": invoice.c.project,
    "team": invoice.c.team,
    "invoice_date": issued_invoice.c.invoice_date,
    "state": invoice.c.state,
    "kind": invoice.c.kind,
    "reference": invoice.c.reference,
    "charges": invoice.c.charges,
    "raw_total": invoice.c.raw_total,
    "adjustment": invoice.c.adjustment,
    "tax": invoice.c.tax,
    "total": invoice.c.total,
    "currency": facilities.c.currency,
    "cost": invoice.c.cost,
    "reason": invoice.c.reason,
}
_CHARGE_COLUMNS: dict[str, ColumnElement[Any]] = {
    "charge": charge.c.code,
    "facility": charge.c.facility,
    "project": charge.c.project,
    "item": charge.c.item,
    "user": charge.c.user,
    "date": charge.c.on_date,
    "description": charge.c.description,
    "quantity": charge.c.quantity,
    "price": charge.c.price,
    "raw_total": charge.c.raw_total,
    "adjustment": charge.c.adjustment,
    "total": charge.c.total,
    "cost": charge.c.cost,
    "state": charge.c.state,
    "invoice": charge.c.invoice,
    "currency": facilities.c.currency,
}

INVOICES = Listing(
    invoice,
    invoice.join(facilities, facilities.c.code == invoice.c.facility).outerjoin(
        issued_invoice, issued_invoice.c.number == invoice.c.number
    ),
    _INVOICE_COLUMNS,
    {name: column for name, column in _INVOICE_COLUMNS.items() if name != "reason"}
    | {"date": issued_invoice.c.invoice_date},
)
CHARGES = Listing(
    charge,
    charge.join(facilities, facilities.c.code == charge.c.facility).outerjoin(
        invoice,
        (invoice.c.facility == charge.c.facility) & (invoice.c.code == charge.c.invoice),
    ),
    _CHARGE_COLUMNS,
    {
        name: column
        for name, column in _CHARGE_COLUMNS.items()
        if name not in ("description", "quantity", "price")  # as shown, so not in order
    }
    | {"period": charge.c.period, "team": charge.c.team},
)


def read_rows(
    connection: Connection,
    listing: Listing,
    criteria: Criteria,
    order: Sequence[tuple[str, bool]],
    limit: int | None = None,
    offset: int = 0,
) -> pl.DataFrame:
    """What matches (the listing's columns), in order.

    Parameters
    ----------
    order
        Names of the listing's ``sorts``, each with whether the largest comes first.
    limit, offset
        How many rows, after how many; all by default.
    """
    key = (listing.table.c.facility, listing.table.c.code)
    sorting = [
        *(_sorted(connection, listing.sorts[name], falling=falling) for name, falling in order),
        *(_sorted(connection, column, falling=False) for column in key),
    ]
    columns = [column.label(name) for name, column in listing.columns.items()]
    if limit is None:
        chosen = _matching(select(*columns), listing, criteria)
    else:
        # Only keys are sorted; the other columns are read of what is on the page.
        page = _matching(select(*key), listing, criteria).order_by(*sorting)
        on_page = page.limit(limit).offset(offset).subquery("page")
        same = (on_page.c.facility == key[0]) & (on_page.c.code == key[1])
        chosen = select(*columns).select_from(listing.joined.join(on_page, same))
    return frames.read_frame(connection, chosen.order_by(*sorting), frame_schema(columns))


def read_totals(connection: Connection, listing: Listing, criteria: Criteria) -> pl.DataFrame:
    """How many match and what they come to: ``currency``, ``count``, ``total``, by currency."""
    statement = _matching(
        select(
            facilities.c.currency.label("currency"),
            func.count().label("count"),
            func.sum(listing.table.c.total).label("total"),
        ),
        listing,
        criteria,
    ).group_by(facilities.c.currency)
    schema = pl.Schema({"currency": pl.String(), "count": pl.Int64(), "total": pl.Int64()})
    return frames.read_frame(connection, statement, schema).sort("currency")


def read_codes(connection: Connection, listing: Listing, criteria: Criteria) -> pl.DataFrame:
    """``facility`` and ``code`` of what matches, by both."""
    key = (listing.table.c.facility, listing.table.c.code)
    return frames.read_frame(connection, _matching(select(*key), listing, criteria)).sort(
        "facility", "code"
    )


def read_values(
    connection: Connection, listing: Listing, criteria: Criteria, column: str
) -> list[str]:
    """The different values that a column of what matches has, in order."""
    values = _matching(select(listing.sorts[column].label("value")).distinct(), listing, criteria)
    return frames.read_frame(connection, values)["value"].drop_nulls().sort().to_list()


def _matching(statement: Select[Any], listing: Listing, criteria: Criteria) -> Select[Any]:
    conditions = charge_conditions if listing is CHARGES else invoice_conditions
    return statement.select_from(listing.joined).where(*conditions(criteria))


def _sorted(
    connection: Connection, column: ColumnElement[Any], *, falling: bool
) -> ColumnElement[Any]:
    if connection.dialect.name == "postgresql":
        value = column.collate("C") if isinstance(column.type, Text) else column
    else:
        # SQLite walks no index for the order of +x. It would read each row at another place,
        # ten times as slow as all of them one after the other.
        value = UnaryExpression(column, operator=custom_op("+"), type_=column.type)
    return (value.desc() if falling else value.asc()).nulls_last()
