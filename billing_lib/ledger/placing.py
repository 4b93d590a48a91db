"""Where charges stand: put on invoices, bound to runs, billed, paid, copied for a reissue.

    attach ─▶ bind (APPROVING) ─▶ bill (issued) ─▶ pay
       ▲         │ free
       └─────────┘

Late charges, which came after their month's invoice, are billed with a later month.
"""

from datetime import date

import polars as pl
from sqlalchemy import Connection, func, select, update

from billing_lib.ledger import frames
from billing_lib.ledger.charges import (
    insert_charges,
    not_billed_otherwise,
    read_charges,
    read_splits,
)
from billing_lib.ledger.invoice_tables import invoice
from billing_lib.ledger.states import ACTIVE
from billing_lib.ledger.tables import charge


def attach_charges(connection: Connection, facility: str, placing: pl.DataFrame) -> None:
    """Put PENDING charges on invoices that take in changes, or take them off.

    Parameters
    ----------
    placing
        ``code``, ``invoice`` (the invoice's code, or null).
    """
    frames.update_frame(
        connection,
        charge,
        placing.select("code", "invoice"),
        ["facility", "code"],
        facility=facility,
    )


def forget_references(connection: Connection, facility: str, codes: pl.Series) -> None:
    """Have PENDING charges that went to an ad hoc invoice billed with their month."""
    listed = frames.listed(connection, codes)
    connection.execute(
        update(charge)
        .where(
            charge.c.facility == facility,
            charge.c.state == "PENDING",
            charge.c.code.in_(select(listed.c.value)),
        )
        .values(reference=None)
    )


def read_waiting(connection: Connection, facility: str) -> pl.DataFrame:
    """The PENDING charges that go to an ad hoc invoice and are not on it: ``code``,
    ``reference``, ``period``."""
    statement = select(charge.c.code, charge.c.reference, charge.c.period).where(
        charge.c.facility == facility,
        charge.c.reference.is_not(None),
        charge.c.state == "PENDING",
        charge.c.run.is_(None),
        charge.c.invoice.is_(None),
        not_billed_otherwise(),
    )
    schema = pl.Schema(dict.fromkeys(("code", "reference", "period"), pl.String()))
    return frames.read_frame(connection, statement, schema).sort("code")


def detach_charges(connection: Connection, facility: str, codes: pl.Series) -> None:
    """Take PENDING charges out of their run and off their invoices, which take in changes."""
    listed = frames.listed(connection, codes)
    chosen = (
        charge.c.facility == facility,
        charge.c.state == "PENDING",
        charge.c.code.in_(select(listed.c.value)),
    )
    bound = update(charge).where(*chosen, charge.c.run.is_not(None))
    connection.execute(bound.values(run=None))  # refused while the invoice is being approved
    connection.execute(update(charge).where(*chosen).values(invoice=None))


def bind_charges(connection: Connection, facility: str, invoices: list[str], run: str) -> None:
    """Bind the charges of invoices to their run, so that nobody changes them meanwhile."""
    _set(connection, facility, invoices, "PENDING", run=run)


def free_charges(connection: Connection, facility: str, invoices: list[str]) -> None:
    """Free the PENDING charges of invoices that take in changes again."""
    _set(connection, facility, invoices, "PENDING", run=None)


def bill_charges(connection: Connection, facility: str, invoices: list[str]) -> None:
    """Lock charges to their invoices, which must be issued before: PENDING → BILLED."""
    _set(connection, facility, invoices, "PENDING", state="BILLED")


def pay_charges(connection: Connection, facility: str, invoices: list[str]) -> None:
    """The charges of invoices that are paid: BILLED → PAID."""
    _set(connection, facility, invoices, "BILLED", state="PAID")


def unpay_charges(connection: Connection, facility: str, invoices: list[str]) -> None:
    """The charges of invoices whose payment was a mistake: PAID → BILLED."""
    _set(connection, facility, invoices, "PAID", state="BILLED")


def copy_charges(
    connection: Connection, facility: str, invoice: str, states: tuple[str, ...]
) -> pl.DataFrame:
    """Copy the charges of an issued invoice as new PENDING ones, to be billed anew.

    Returns
    -------
    polars.DataFrame
        ``code`` (``57~2``), ``original`` and ``copied``, the code of what was copied.
    """
    charges = read_charges(connection, facility, invoices=[invoice])
    charges = charges.filter(pl.col("state").is_in(states))
    named = charges.with_columns(copied="code", original=pl.coalesce("original", "code"))
    last = _last_revisions(connection, facility, named["original"])
    copies = named.join(last, on="original", how="left").with_columns(
        revision=pl.col("last").fill_null(1) + 1
    )
    copies = copies.drop("last").with_columns(code=pl.format("{}~{}", "original", "revision"))
    splits = (
        read_splits(connection, facility, codes=charges["code"])
        .join(copies.select("code", charge="copied"), on="charge")
        .with_columns(charge="code")
        .drop("code")
    )
    insert_charges(connection, facility, copies.drop("copied"), splits)
    return copies.select("code", "original", "copied")


def _last_revisions(connection: Connection, facility: str, originals: pl.Series) -> pl.DataFrame:
    """The last copy there is of charges that have some: ``original``, ``last``."""
    listed = frames.listed(connection, originals)
    statement = (
        select(charge.c.original, func.max(charge.c.revision).label("last"))
        .where(charge.c.facility == facility, charge.c.original.in_(select(listed.c.value)))
        .group_by(charge.c.original)
    )
    return frames.read_frame(connection, statement)


def read_late(connection: Connection, facility: str, period: str) -> pl.Series:
    """The codes of PENDING charges of earlier months that are on no invoice while their
    project's invoice of that month counts."""
    closed = (
        select(invoice.c.code)
        .where(
            invoice.c.facility == facility,
            invoice.c.project == charge.c.project,
            invoice.c.period == charge.c.period,
            invoice.c.kind != "ad hoc",
            invoice.c.state.in_(ACTIVE),
        )
        .exists()
    )
    statement = select(charge.c.code).where(
        charge.c.facility == facility,
        charge.c.period < period,
        charge.c.state == "PENDING",
        charge.c.run.is_(None),
        charge.c.invoice.is_(None),
        charge.c.reference.is_(None),
        not_billed_otherwise(),
        closed,
    )
    return frames.read_frame(connection, statement)["code"].sort()


def set_period(connection: Connection, facility: str, codes: pl.Series, period: str) -> None:
    """Have PENDING charges billed with another month."""
    frames.update_frame(
        connection,
        charge,
        pl.DataFrame({"code": codes}, schema={"code": pl.String}),
        ["facility", "code"],
        facility=facility,
        period=period,
    )


def count_late(connection: Connection, facility: str, period: str) -> int:
    """How many charges that are on no issued invoice a month bills for earlier ones."""
    first = date.fromisoformat(f"{period}-01")
    counted = select(func.count()).where(
        charge.c.facility == facility,
        charge.c.period == period,
        charge.c.state == "PENDING",
        charge.c.on_date < first,
    )
    return int(connection.scalars(counted).one())


def _set(
    connection: Connection, facility: str, invoices: list[str], was: str, **values: str | None
) -> None:
    listed = frames.listed(connection, invoices)
    connection.execute(
        update(charge)
        .where(
            charge.c.facility == facility,
            charge.c.state == was,
            charge.c.invoice.in_(select(listed.c.value)),
        )
        .values(values)
    )
