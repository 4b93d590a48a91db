"""Charges in the ledger: priced usage and added lines, until an invoice locks them.

    PENDING ─ priced again, adjusted, deleted ─▶ BILLED (on an issued invoice) ─▶ PAID

Frames have the tables' column names: ``charge`` without facility as CHARGE, ``charge_split`` as
CHARGE_SPLIT. A PENDING charge bound to a run waits for its invoice and does not change.
The rates that charges name by fingerprint are kept as they were.
"""

import polars as pl
from sqlalchemy import ColumnElement, Connection, Select, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from billing_lib.errors import UnknownCharge
from billing_lib.ledger import frames
from billing_lib.ledger.invoice_tables import invoice
from billing_lib.ledger.states import ACTIVE
from billing_lib.ledger.tables import charge, charge_split, event, rate, usage_record
from billing_lib.ledger.types import frame_schema

CHARGE = pl.Schema(
    {name: dtype for name, dtype in frame_schema(charge.columns).items() if name != "facility"}
)
"""Columns of a charge: code, kind, record, occurrence, period, project, … state, run, invoice."""

CHARGE_SPLIT = pl.Schema(
    {
        name: dtype
        for name, dtype in frame_schema(charge_split.columns).items()
        if name != "facility"
    }
)
"""Columns of a charge's split: charge, position, expense_code, percent, amount."""

_LOCKING = ("state", "run", "invoice")


def insert_charges(
    connection: Connection, facility: str, charges: pl.DataFrame, splits: pl.DataFrame
) -> int:
    """Add PENDING charges and their splits; how many charges.

    Parameters
    ----------
    charges
        Schema CHARGE, without state, run and invoice.
    splits
        Schema CHARGE_SPLIT.
    """
    frames.insert_frame(
        connection, charge, charges.drop(_LOCKING, strict=False), facility=facility, state="PENDING"
    )
    frames.insert_frame(connection, charge_split, splits, facility=facility)
    return charges.height


def replace_charges(
    connection: Connection, facility: str, charges: pl.DataFrame, splits: pl.DataFrame
) -> None:
    """Set PENDING charges as they are priced now, and their splits; one that goes to another
    project leaves its invoice.

    Parameters
    ----------
    charges
        Schema CHARGE or some of it: ``code`` and the columns to set.
    splits
        All the splits of these charges (schema CHARGE_SPLIT).

    Raises
    ------
    UnknownCharge
        One of them is not in the ledger, is billed, or bound to another run.
    """
    codes = charges.get_column("code")
    _require_pending(connection, facility, codes)
    values = charges.drop(*_LOCKING, "kind", "record", "occurrence", strict=False)
    _leave_invoices(connection, facility, values)
    frames.update_frame(connection, charge, values, ["facility", "code"], facility=facility)
    listed = frames.listed(connection, codes)
    connection.execute(
        delete(charge_split).where(
            charge_split.c.facility == facility, charge_split.c.charge.in_(select(listed.c.value))
        )
    )
    frames.insert_frame(connection, charge_split, splits, facility=facility)


def _leave_invoices(connection: Connection, facility: str, values: pl.DataFrame) -> None:
    """Take those charges off their invoices that these values move to another project."""
    if "project" not in values.columns:
        return
    listed = frames.listed(connection, values["code"])
    placed = select(charge.c.code, charge.c.project).where(
        charge.c.facility == facility,
        charge.c.invoice.is_not(None),
        charge.c.code.in_(select(listed.c.value)),
    )
    standing = frames.read_frame(connection, placed)
    moved = standing.join(values.select("code", to="project"), on="code").filter(
        pl.col("to") != pl.col("project")
    )
    off = moved.select("code", invoice=pl.lit(None, dtype=pl.String))
    frames.update_frame(connection, charge, off, ["facility", "code"], facility=facility)


def delete_charge(connection: Connection, facility: str, code: str) -> None:
    """Delete a PENDING charge and its splits, so that the next rating makes it anew.

    Raises
    ------
    UnknownCharge
        It is not in the ledger, is billed, or bound to a run.
    """
    _require_pending(connection, facility, pl.Series([code]))
    connection.execute(delete(charge).where(charge.c.facility == facility, charge.c.code == code))


def read_charges(
    connection: Connection,
    facility: str,
    period: str | None = None,
    project: str | None = None,
    state: str | None = None,
    codes: pl.Series | list[str] | None = None,
    invoices: pl.Series | list[str] | None = None,
) -> pl.DataFrame:
    """Charges (schema CHARGE), usage before added lines, by code."""
    statement = _selected(
        connection,
        select(*(charge.c[name] for name in CHARGE)),
        facility,
        period,
        project,
        state,
        codes,
        invoices,
    )
    return frames.read_frame(connection, statement, CHARGE).sort(
        "kind", "code", descending=[True, False]
    )


def read_unattached(connection: Connection, facility: str, period: str) -> pl.DataFrame:
    """The PENDING charges of a month (schema CHARGE) that are on no invoice yet and in no run."""
    statement = select(*(charge.c[name] for name in CHARGE)).where(
        charge.c.facility == facility,
        charge.c.period == period,
        charge.c.state == "PENDING",
        charge.c.run.is_(None),
        charge.c.invoice.is_(None),
        not_billed_otherwise(),
    )
    return frames.read_frame(connection, statement, CHARGE).sort("code")


def count_charges(connection: Connection, facility: str, period: str) -> tuple[int, int]:
    """How many charges a month bills, copies on reissues left out, and what they come to.

    What is on an ad hoc invoice is billed in that invoice's month.
    """
    ad_hoc = select(invoice.c.code).where(
        invoice.c.facility == facility, invoice.c.kind == "ad hoc"
    )
    own = charge.c.invoice.is_(None) | charge.c.invoice.not_in(ad_hoc)
    counted = select(func.count(), func.coalesce(func.sum(charge.c.total), 0)).where(
        charge.c.facility == facility,
        charge.c.original.is_(None),
        ((charge.c.period == period) & own)
        | charge.c.invoice.in_(ad_hoc.where(invoice.c.period == period)),
    )
    count, total = connection.execute(counted).one()
    return int(count), int(total)


def read_copies(
    connection: Connection, facility: str, billed: pl.Series | list[str]
) -> pl.DataFrame:
    """The PENDING copies (schema CHARGE) of billed charges that are bound to no run."""
    listed = frames.listed(connection, billed)
    earlier = charge.alias("earlier")
    wanted = (
        select(earlier.c.code)
        .where(
            earlier.c.facility == facility,
            earlier.c.code.in_(select(listed.c.value)),
            func.coalesce(earlier.c.original, earlier.c.code) == charge.c.original,
            func.coalesce(earlier.c.revision, 1) < charge.c.revision,
        )
        .exists()
    )
    statement = select(*(charge.c[name] for name in CHARGE)).where(
        charge.c.facility == facility,
        charge.c.state == "PENDING",
        charge.c.run.is_(None),
        charge.c.original.is_not(None),
        wanted,
    )
    return frames.read_frame(connection, statement, CHARGE).sort("code")


def not_billed_otherwise() -> ColumnElement[bool]:
    """The condition that no other copy of a charge, nor its original, is on an invoice that
    counts: a copy on a reissue waits until the old invoice is superseded."""
    other = charge.alias("other")
    counted = (
        select(other.c.code)
        .join_from(
            other,
            invoice,
            (invoice.c.facility == other.c.facility) & (invoice.c.code == other.c.invoice),
        )
        .where(
            other.c.facility == charge.c.facility,
            other.c.code != charge.c.code,
            (other.c.code == charge.c.original) | (other.c.original == charge.c.original),
            invoice.c.state.in_(ACTIVE),
        )
        .exists()
    )
    return charge.c.original.is_(None) | ~counted


def read_charged(connection: Connection, facility: str, period: str) -> pl.DataFrame:
    """Which usage of a month has charges, whatever month bills them: ``record``,
    ``occurrence``."""
    statement = (
        select(charge.c.record, charge.c.occurrence)
        .join_from(
            usage_record,
            charge,
            (charge.c.facility == usage_record.c.facility)
            & (charge.c.code == usage_record.c.record),  # the key; copies have originals
        )
        .where(usage_record.c.facility == facility, usage_record.c.period == period)
    )
    return frames.read_frame(connection, statement).unique()


def read_splits(
    connection: Connection,
    facility: str,
    period: str | None = None,
    project: str | None = None,
    state: str | None = None,
    codes: pl.Series | list[str] | None = None,
    invoices: pl.Series | list[str] | None = None,
) -> pl.DataFrame:
    """The splits (schema CHARGE_SPLIT) of the charges that read_charges gives, by charge."""
    statement = _selected(
        connection,
        select(*(charge_split.c[name] for name in CHARGE_SPLIT)).join_from(charge_split, charge),
        facility,
        period,
        project,
        state,
        codes,
        invoices,
    )
    return frames.read_frame(connection, statement, CHARGE_SPLIT).sort("charge", "position")


def read_families(
    connection: Connection, facility: str, codes: pl.Series | list[str]
) -> pl.DataFrame:
    """Each charge with itself and, where it is a copy on a reissue, with what it goes on from:
    ``code``, ``member``."""
    every = pl.DataFrame({"code": pl.Series(codes, dtype=pl.String)}).with_columns(member="code")
    copied = select(charge.c.code).where(
        charge.c.facility == facility, charge.c.original.is_not(None)
    )
    if connection.execute(copied.limit(1)).one_or_none() is None:
        return every.unique()
    listed = frames.listed(connection, codes)
    copy, earlier = charge.alias("copy"), charge.alias("earlier")
    found = (
        select(copy.c.code.label("code"), earlier.c.code.label("member"))
        .where(
            copy.c.facility == facility,
            copy.c.original.is_not(None),
            copy.c.code.in_(select(listed.c.value)),
            earlier.c.facility == facility,
            earlier.c.state != "PENDING",  # a copy on a closed reissue leads nowhere
            (earlier.c.code == copy.c.original)
            | ((earlier.c.original == copy.c.original) & (earlier.c.revision < copy.c.revision)),
        )
        .distinct()
    )
    before = frames.read_frame(connection, found)
    return pl.concat([every, before]).unique()


def keep_rates(connection: Connection, facility: str, rates: list[tuple[str, str]]) -> None:
    """Keep copies of rates: ``(fingerprint, canonical JSON)``; those kept before stay."""
    kept = set(read_rates(connection, facility, [name for name, _ in rates])["fingerprint"])
    fresh = [
        {"facility": facility, "fingerprint": name, "body": body}
        for name, body in dict(rates).items()
        if name not in kept
    ]
    if not fresh:
        return
    if connection.dialect.name == "postgresql":  # another session may have kept it just now
        connection.execute(postgresql.insert(rate).on_conflict_do_nothing(), fresh)
    else:
        connection.execute(sqlite.insert(rate), fresh)


def read_rates(
    connection: Connection, facility: str, fingerprints: pl.Series | list[str] | None = None
) -> pl.DataFrame:
    """Kept rates: ``fingerprint``, ``body`` (canonical JSON), by fingerprint."""
    statement = select(rate.c.fingerprint, rate.c.body).where(rate.c.facility == facility)
    if fingerprints is not None:
        listed = frames.listed(connection, fingerprints)
        statement = statement.where(rate.c.fingerprint.in_(select(listed.c.value)))
    return frames.read_frame(connection, statement).sort("fingerprint")


def _selected(
    connection: Connection,
    statement: Select[tuple[object, ...]],
    facility: str,
    period: str | None,
    project: str | None,
    state: str | None,
    codes: pl.Series | list[str] | None,
    invoices: pl.Series | list[str] | None,
) -> Select[tuple[object, ...]]:
    statement = statement.where(charge.c.facility == facility)
    for column, wanted in (("period", period), ("project", project), ("state", state)):
        if wanted is not None:
            statement = statement.where(charge.c[column] == wanted)
    for name, values in (("code", codes), ("invoice", invoices)):
        if values is not None:
            listed = frames.listed(connection, values)
            statement = statement.where(charge.c[name].in_(select(listed.c.value)))
    return statement


def _require_pending(connection: Connection, facility: str, codes: pl.Series) -> None:
    """Refuse unless all are PENDING, and bound to no run."""
    listed = frames.listed(connection, codes)
    statement = select(charge.c.code).where(
        charge.c.facility == facility,
        charge.c.state == "PENDING",
        charge.c.run.is_(None),
        charge.c.code.in_(select(listed.c.value)),
    )
    if connection.dialect.name == "postgresql":
        statement = statement.with_for_update()  # nobody bills them meanwhile
    pending = set(connection.scalars(statement))
    missing = sorted(set(codes) - pending)
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UnknownCharge(
            f"the charge '{missing[0]}'{others} is not in the ledger, or billed or being billed",
            where=facility,
            remedy="'billing charges' lists what there is",
        )


def lock_charge(connection: Connection, facility: str, code: str) -> pl.DataFrame:
    """One charge (schema CHARGE; no row if there is none), kept from others until the end of
    the transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            select(charge.c.code)
            .where(charge.c.facility == facility, charge.c.code == code)
            .with_for_update()
        )
    return read_charges(connection, facility, codes=[code])


def lock_charges(connection: Connection, facility: str, codes: pl.Series) -> None:
    """Keep these charges from others until the end of the transaction.

    On SQLite a transaction that writes keeps all from others anyway.
    """
    if connection.dialect.name == "postgresql":
        listed = frames.listed(connection, codes)
        chosen = select(charge.c.code).where(
            charge.c.facility == facility, charge.c.code.in_(select(listed.c.value))
        )
        connection.execute(chosen.order_by(charge.c.code).with_for_update())


def next_line_code(connection: Connection, facility: str, period: str) -> str:
    """The code of the next added line of a facility's month: ``line-2020-04-3`` after two."""
    said = select(func.count()).where(
        event.c.facility == facility,
        event.c.kind == "add_line",
        event.c.subject.startswith(f"line-{period}-", autoescape=True),
    )
    return f"line-{period}-{connection.scalars(said).one() + 1}"
