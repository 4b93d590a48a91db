"""Counts and sums of a facility's months, and the charges of a month for review.

    RC  1993-10   5,321 charges   19,806.92   of which pending 0
                  57 invoices APPROVED, 1 APPROVING at step 1

A reissue bills copies of charges, and review reads only the copy that counts. Charges on
superseded, void or closed invoices do not count, nor does a copy while its source is on an invoice
that counts.
"""

import polars as pl
from sqlalchemy import Connection, Table, and_, case, func, or_, select

from billing_lib.ledger import frames
from billing_lib.ledger.charges import not_billed_otherwise, read_charges
from billing_lib.ledger.frames import frame_schema
from billing_lib.ledger.schema import KEPT, charge, charge_split, invoice, unbilled, usage_record
from billing_lib.ledger.states import CLOSED, PENDING, SUPERSEDED, VOID

CHARGED = pl.Schema(
    {
        "period": pl.String(),
        "charges": pl.Int64(),
        "pending": pl.Int64(),
        "total": pl.Int64(),
    }
)
"""Columns of sum_charges; ``total`` is in minor units."""

INVOICED = pl.Schema(
    {
        "period": pl.String(),
        "state": pl.String(),
        "step": pl.Int64(),
        "invoices": pl.Int64(),
        "reissues": pl.Int64(),
        "total": pl.Int64(),
    }
)
"""Columns of sum_invoices; ``reissues`` of the ``invoices`` replace an issued one, ``total`` is in
minor units."""


def sum_charges(connection: Connection, facility: str) -> pl.DataFrame:
    """The charges of each month (schema CHARGED) without copies on reissues, by month.

    Unbilled charges on a closed invoice are not pending.
    """
    waits = and_(
        charge.c.state == PENDING, or_(invoice.c.state.is_(None), invoice.c.state != CLOSED)
    )
    pending = func.sum(case((waits, 1), else_=0))
    statement = (
        select(
            charge.c.period,
            func.count().label("charges"),
            pending.label("pending"),
            func.sum(charge.c.total).label("total"),
        )
        .join_from(
            charge,
            invoice,
            and_(
                invoice.c.facility == charge.c.facility,
                invoice.c.code == charge.c.invoice,
            ),
            isouter=True,
        )
        .where(charge.c.facility == facility, charge.c.original.is_(None))
        .group_by(charge.c.period)
    )
    return frames.read_frame(connection, statement, CHARGED).sort("period")


def open_months(connection: Connection, facility: str) -> list[tuple[str, bool]]:
    """The months with charges that may still change (True), or just with unbilled usage."""
    free = select(charge.c.period).where(
        charge.c.facility == facility, charge.c.state == PENDING, charge.c.run.is_(None)
    )
    left = select(unbilled.c.period).where(unbilled.c.facility == facility)
    pending = set(connection.scalars(free.distinct()))
    return [
        (month, month in pending)
        for month in sorted(pending | set(connection.scalars(left.distinct())))
    ]


def sum_invoices(connection: Connection, facility: str) -> pl.DataFrame:
    """The invoices of each month by state and step of approval (schema INVOICED), by month."""
    statement = (
        select(
            invoice.c.period,
            invoice.c.state,
            invoice.c.step,
            func.count().label("invoices"),
            func.count(invoice.c.replaces).label("reissues"),
            func.sum(invoice.c.total).label("total"),
        )
        .where(invoice.c.facility == facility)
        .group_by(invoice.c.period, invoice.c.state, invoice.c.step)
    )
    return frames.read_frame(connection, statement, INVOICED).sort("period", "state", "step")


def read_team_months(connection: Connection, facility: str) -> pl.DataFrame:
    """``team`` and ``period`` of a facility's charges, newest month first."""
    statement = select(charge.c.team, charge.c.period).where(charge.c.facility == facility)
    schema = pl.Schema({"team": pl.String(), "period": pl.String()})
    found = frames.read_frame(connection, statement.distinct(), schema)
    return found.sort("period", "team", descending=[True, False])


_NAMES = (
    *("charge", "kind", "project", "team", "item", "user", "date", "start", "end"),
    *("description", "unit", "hours", "quantity", "rate", "rate_group", "price", "raw_total"),
    *("adjustment", "total", "cost", "state", "run", "invoice"),
)
REVIEWED = pl.Schema({name: KEPT[name] for name in _NAMES})
"""The columns of a charge in review."""

_PENDING = (
    *(charge.c[name] for name in ("charge", "project", "item", "user", "date", "description")),
    *(charge.c[name] for name in ("quantity", "price", "total", "state", "run", "invoice")),
    charge.c.original,
    invoice.c.state.label("invoice_state"),
)
PENDING_CHARGE = pl.Schema(frame_schema(_PENDING))
"""The columns of a pending charge by which staff choose."""

_KEYS = ("period", "project", "item", "user")
SPEND = pl.Schema(
    {
        **frame_schema(charge.c[name] for name in _KEYS),
        "charges": pl.Int64(),
        "total": pl.Int64(),
    }
)
"""Columns of read_spend: a project's user and item in a month, with number and total of charges."""

_COUNTS = pl.Schema(
    {"what": pl.String(), "rows": pl.Int64(), "total": pl.Int64(), "cost": pl.Int64()}
)


def count_month(connection: Connection, facility: str, period: str) -> pl.DataFrame:
    """A month's counts and sums by kind of row.

    ``what`` (records, unbilled, usage, line), ``rows``, ``total``, ``cost`` (null without costs).
    """
    charges = (
        select(
            charge.c.kind.label("what"),
            func.count().label("rows"),
            func.sum(charge.c.total).label("total"),
            func.sum(charge.c.cost).label("cost"),
        )
        .where(charge.c.facility == facility, charge.c.period == period)
        .group_by(charge.c.kind)
    )
    sums = frames.read_frame(connection, charges, _COUNTS)
    left_out = (
        _uncounted(connection, facility, period)
        .group_by("kind")
        .agg(
            pl.len().cast(pl.Int64).alias("rows_out"),
            pl.col("total").sum().alias("total_out"),
            pl.col("cost").sum().alias("cost_out"),
        )
    )
    counted = sums.join(left_out, left_on="what", right_on="kind", how="left").select(
        "what",
        *(pl.col(name) - pl.col(f"{name}_out").fill_null(0) for name in ("rows", "total", "cost")),
    )
    others = [
        ("records", count_records(connection, facility, period), 0, None),
        ("unbilled", _count(connection, unbilled, facility, period), 0, None),
    ]
    return pl.concat([counted, pl.DataFrame(others, schema=_COUNTS, orient="row")])


def count_records(connection: Connection, facility: str, period: str) -> int:
    """The number of usage records that end in a month."""
    return _count(connection, usage_record, facility, period)


def count_all_charges(connection: Connection, facility: str, period: str) -> int:
    """The number of a month's charges, with those that do not count."""
    return _count(connection, charge, facility, period)


def read_month(
    connection: Connection,
    facility: str,
    period: str,
    first: int | None = None,
    known: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """A month's charges that count (schema REVIEWED), by project and charge.

    ``first`` reads only so many charges, which is quick in a large month. ``known`` are all of the
    month's as they stand in the ledger, and are not read again.
    """
    if known is not None:
        found = known.select(REVIEWED.names())
    else:
        found = read_charges(connection, facility, period, columns=REVIEWED.names(), first=first)
    left_out = _uncounted(connection, facility, period)
    return found.join(left_out, on="charge", how="anti").sort("project", "charge")


def read_pending(
    connection: Connection, facility: str, period: str, first: int | None = None
) -> pl.DataFrame:
    """A month's PENDING charges (PENDING_CHARGE), by project, date and key; at most ``first``."""
    order = (charge.c.project, charge.c.date, charge.c.charge)
    on = (invoice.c.facility == charge.c.facility) & (invoice.c.code == charge.c.invoice)
    statement = (
        select(*_PENDING)
        .select_from(charge.outerjoin(invoice, on))
        .where(charge.c.facility == facility, charge.c.period == period, charge.c.state == PENDING)
    )
    if first is not None:
        statement = statement.order_by(*order).limit(first)
    found = frames.read_frame(connection, statement, PENDING_CHARGE)
    return found.sort(column.name for column in order)


def read_shares(connection: Connection, facility: str, period: str) -> pl.DataFrame:
    """The splits of a month's charges: ``charge``, ``expense_code``, ``percent``."""
    statement = (
        select(charge_split.c.charge, charge_split.c.expense_code, charge_split.c.percent)
        .join_from(charge_split, charge)
        .where(charge.c.facility == facility, charge.c.period == period)
    )
    return frames.read_frame(connection, statement)


def read_stated(connection: Connection, facility: str, period: str) -> pl.DataFrame:
    """The charges of a month for usage with start and end whose source states its quantity:
    ``charge``, ``unit``, ``rate``, ``stated``, ``units``."""
    of_usage = (
        (charge.c.facility == usage_record.c.facility)
        & (charge.c.record == usage_record.c.record)
        & (charge.c.occurrence == usage_record.c.occurrence)
    )
    statement = (
        select(
            *(charge.c[name] for name in ("charge", "unit", "rate")),
            usage_record.c.quantity.label("stated"),
            usage_record.c.units,
        )
        .join_from(charge, usage_record, of_usage)
        .where(
            charge.c.facility == facility,
            charge.c.period == period,
            *(usage_record.c[name].is_not(None) for name in ("quantity", "start", "end")),
        )
    )
    return frames.read_frame(connection, statement)


def read_spend(connection: Connection, facility: str, period: str) -> pl.DataFrame:
    """A month's charges that count, summed by project, item and user (schema SPEND)."""
    keys = [charge.c[name] for name in _KEYS]
    statement = (
        select(*keys, func.count().label("charges"), func.sum(charge.c.total).label("total"))
        .where(charge.c.facility == facility, charge.c.period == period)
        .group_by(*keys)
    )
    sums = frames.read_frame(connection, statement, SPEND)
    left_out = _uncounted(connection, facility, period)
    if left_out.height == 0:
        return sums
    minus = left_out.select(*_KEYS, charges=pl.lit(-1, dtype=pl.Int64), total=-pl.col("total"))
    return (
        pl.concat([sums, minus])
        .group_by(_KEYS)
        .agg(pl.col("charges", "total").sum())
        .filter(pl.col("charges") != 0)
    )


def _count(connection: Connection, table: Table, facility: str, period: str) -> int:
    rows = select(func.count()).where(table.c.facility == facility, table.c.period == period)
    return int(connection.scalars(rows).one())


def _uncounted(connection: Connection, facility: str, period: str) -> pl.DataFrame:
    """A month's charges that do not count: few, and queried without a join of all charges."""
    names = ("facility", *_KEYS, "charge", "kind", "total", "cost")
    columns = [charge.c[name] for name in names]
    # SQLite uses the short indexes of charges on invoices and of copies: the first query leaves
    # the facility to the filter below, the second has > '' for IS NOT NULL.
    closed = select(invoice.c.code).where(
        invoice.c.facility == facility, invoice.c.state.in_((SUPERSEDED, VOID, CLOSED))
    )
    listed = frames.listed(connection, list(connection.scalars(closed)))
    gone = select(*columns).where(charge.c.invoice.in_(select(listed.c.value)))
    copies = select(*columns).where(
        charge.c.facility == facility,
        charge.c.original > "",
        ~not_billed_otherwise(),
    )
    found = [frames.read_frame(connection, statement) for statement in (gone, copies)]
    return pl.concat(found).filter(facility=facility, period=period).unique("charge")
