"""Charges in the ledger: priced usage and added lines, until an invoice locks them.

    PENDING ─ priced again, adjusted, deleted ─▶ BILLED (on an issued invoice) ─▶ PAID

Frames have the tables' columns without the facility: ``charge`` as KEPT, ``charge_split`` as
SPLIT of pricing. A PENDING charge bound to a run waits for its invoice and does not change.
The rates that charges name by fingerprint are kept as they were.

Where charges stand: put on invoices, bound to runs, billed, paid, copied for a reissue.

    attach ─▶ bind (APPROVING) ─▶ bill (issued) ─▶ pay
       ▲         │ free
       └─────────┘

Late charges, which came after their month's invoice, are billed with a later month.

What a month costs, charge by charge: what its invoices that count bill, what is still to bill.

RC/57   20.00   RC-1994-00003        RC/58   4.00   on no issued invoice yet

Credits: added lines that give back some of an issued invoice, as their events name it.

add_line  line-1994-02-3   after {"amount": "-20.00", "credits": "RC-1994-00001", …}
"""

from collections.abc import Sequence
from datetime import date

import polars as pl
from sqlalchemy import ColumnElement, Connection, Select, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from billing_lib.errors import UnknownCharge
from billing_lib.ledger import frames
from billing_lib.ledger.events import read_events
from billing_lib.ledger.schema import KEPT, charge, charge_split, event, invoice, rate, usage_record
from billing_lib.ledger.states import ACTIVE, CLOSED, PENDING
from billing_lib.pricing.charge import SPLIT

_LOCKING = ("state", "run", "invoice")


def insert_charges(
    connection: Connection, facility: str, charges: pl.DataFrame, splits: pl.DataFrame
) -> int:
    """Add PENDING charges and their splits; how many charges.

    Parameters
    ----------
    charges
        Schema KEPT, without state, run and invoice.
    splits
        Schema SPLIT.
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
        Schema KEPT or some of it: ``charge`` and the columns to set.
    splits
        All the splits of these charges (schema SPLIT).

    Raises
    ------
    UnknownCharge
        One of them is not in the ledger, is billed, or bound to another run.
    """
    codes = charges.get_column("charge")
    _require_pending(connection, facility, codes)
    values = charges.drop(*_LOCKING, "kind", "record", "occurrence", strict=False)
    _leave_invoices(connection, facility, values)
    frames.update_frame(connection, charge, values, ["facility", "charge"], facility=facility)
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
    listed = frames.listed(connection, values["charge"])
    placed = select(charge.c.charge, charge.c.project).where(
        charge.c.facility == facility,
        charge.c.invoice.is_not(None),
        charge.c.charge.in_(select(listed.c.value)),
    )
    standing = frames.read_frame(connection, placed)
    moved = standing.join(values.select("charge", to="project"), on="charge").filter(
        pl.col("to") != pl.col("project")
    )
    off = moved.select("charge", invoice=pl.lit(None, dtype=pl.String))
    frames.update_frame(connection, charge, off, ["facility", "charge"], facility=facility)


def delete_charge(connection: Connection, facility: str, code: str) -> None:
    """Delete a PENDING charge and its splits, so that the next rating makes it anew.

    Raises
    ------
    UnknownCharge
        It is not in the ledger, is billed, or bound to a run.
    """
    _require_pending(connection, facility, pl.Series([code]))
    connection.execute(delete(charge).where(charge.c.facility == facility, charge.c.charge == code))


def read_charges(
    connection: Connection,
    facility: str,
    period: str | None = None,
    project: str | None = None,
    state: str | None = None,
    codes: pl.Series | list[str] | None = None,
    invoices: pl.Series | list[str] | None = None,
    *,
    where: Sequence[ColumnElement[bool]] = (),
    columns: Sequence[str] = tuple(KEPT),
    first: int | None = None,
) -> pl.DataFrame:
    """Charges (schema KEPT, or these columns of it), usage before added lines, by charge.

    Parameters
    ----------
    where
        Further conditions on the table.
    columns
        ``kind`` and ``charge`` are among them.
    first
        Only the first so many by project and charge, which is quick however many there are.
    """
    statement = _selected(
        connection,
        select(*(charge.c[name] for name in columns)),
        facility,
        period,
        project,
        state,
        codes,
        invoices,
    ).where(*where)
    if first is not None:
        statement = statement.order_by(charge.c.project, charge.c.charge).limit(first)
    found = frames.read_frame(connection, statement)
    return found.sort("kind", "charge", descending=[True, False])


def read_unattached(connection: Connection, facility: str, period: str) -> pl.DataFrame:
    """The PENDING charges of a month (schema KEPT) that are on no invoice yet and in no run."""
    free = (charge.c.run.is_(None), charge.c.invoice.is_(None), not_billed_otherwise())
    found = read_charges(connection, facility, period, state="PENDING", where=free)
    return found.sort("charge")


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
    """The PENDING copies (schema KEPT) of billed charges that are bound to no run."""
    listed = frames.listed(connection, billed)
    earlier = charge.alias("earlier")
    wanted = (
        select(earlier.c.charge)
        .where(
            earlier.c.facility == facility,
            earlier.c.charge.in_(select(listed.c.value)),
            func.coalesce(earlier.c.original, earlier.c.charge) == charge.c.original,
            func.coalesce(earlier.c.revision, 1) < charge.c.revision,
        )
        .exists()
    )
    copies = (charge.c.run.is_(None), charge.c.original.is_not(None), wanted)
    return read_charges(connection, facility, state="PENDING", where=copies).sort("charge")


def not_billed_otherwise() -> ColumnElement[bool]:
    """The condition that no other copy of a charge, nor its original, is on an invoice that
    counts: a copy on a reissue waits until the old invoice is superseded."""
    other = charge.alias("other")
    counted = (
        select(other.c.charge)
        .join_from(
            other,
            invoice,
            (invoice.c.facility == other.c.facility) & (invoice.c.code == other.c.invoice),
        )
        .where(
            other.c.facility == charge.c.facility,
            other.c.charge != charge.c.charge,
            (other.c.charge == charge.c.original) | (other.c.original == charge.c.original),
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
            & (charge.c.charge == usage_record.c.record),  # the key; copies have originals
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
    """The splits (schema SPLIT) of the charges that read_charges gives, by charge."""
    statement = _selected(
        connection,
        select(*(charge_split.c[name] for name in SPLIT)).join_from(charge_split, charge),
        facility,
        period,
        project,
        state,
        codes,
        invoices,
    )
    return frames.read_frame(connection, statement, SPLIT).sort("charge", "position")


def read_families(
    connection: Connection, facility: str, codes: pl.Series | list[str]
) -> pl.DataFrame:
    """Each charge with itself and, where it is a copy on a reissue, with what it goes on from:
    ``charge``, ``member``."""
    every = pl.DataFrame({"charge": pl.Series(codes, dtype=pl.String)}).with_columns(
        member="charge"
    )
    copied = select(charge.c.charge).where(
        charge.c.facility == facility, charge.c.original.is_not(None)
    )
    if connection.execute(copied.limit(1)).one_or_none() is None:
        return every.unique()
    listed = frames.listed(connection, codes)
    copy, earlier = charge.alias("copy"), charge.alias("earlier")
    found = (
        select(copy.c.charge, earlier.c.charge.label("member"))
        .where(
            copy.c.facility == facility,
            copy.c.original.is_not(None),
            copy.c.charge.in_(select(listed.c.value)),
            earlier.c.facility == facility,
            earlier.c.state != "PENDING",  # a copy on a closed reissue leads nowhere
            (earlier.c.charge == copy.c.original)
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
    for name, values in (("charge", codes), ("invoice", invoices)):
        if values is not None:
            listed = frames.listed(connection, values)
            statement = statement.where(charge.c[name].in_(select(listed.c.value)))
    return statement


def _require_pending(connection: Connection, facility: str, codes: pl.Series) -> None:
    """Refuse unless all are PENDING, and bound to no run."""
    listed = frames.listed(connection, codes)
    statement = select(charge.c.charge).where(
        charge.c.facility == facility,
        charge.c.state == "PENDING",
        charge.c.run.is_(None),
        charge.c.charge.in_(select(listed.c.value)),
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
    """One charge (schema KEPT; no row if there is none), kept from others until the end of
    the transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            select(charge.c.charge)
            .where(charge.c.facility == facility, charge.c.charge == code)
            .with_for_update()
        )
    return read_charges(connection, facility, codes=[code])


def lock_charges(connection: Connection, facility: str, codes: pl.Series) -> None:
    """Keep these charges from others until the end of the transaction.

    On SQLite a transaction that writes keeps all from others anyway.
    """
    if connection.dialect.name == "postgresql":
        listed = frames.listed(connection, codes)
        chosen = select(charge.c.charge).where(
            charge.c.facility == facility, charge.c.charge.in_(select(listed.c.value))
        )
        connection.execute(chosen.order_by(charge.c.charge).with_for_update())


def next_line_code(connection: Connection, facility: str, period: str) -> str:
    """The code of the next added line of a facility's month: ``line-2020-04-3`` after two."""
    said = select(func.count()).where(
        event.c.facility == facility,
        event.c.kind == "add_line",
        event.c.subject.startswith(f"line-{period}-", autoescape=True),
    )
    return f"line-{period}-{connection.scalars(said).one() + 1}"


def attach_charges(connection: Connection, facility: str, placing: pl.DataFrame) -> None:
    """Put PENDING charges on invoices that take in changes, or take them off.

    Parameters
    ----------
    placing
        ``charge``, ``invoice`` (the invoice's code, or null).
    """
    frames.update_frame(
        connection,
        charge,
        placing.select("charge", "invoice"),
        ["facility", "charge"],
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
            charge.c.charge.in_(select(listed.c.value)),
        )
        .values(reference=None)
    )


def read_waiting(connection: Connection, facility: str) -> pl.DataFrame:
    """The PENDING charges that go to an ad hoc invoice and are not on it: ``charge``,
    ``reference``, ``period``."""
    statement = select(charge.c.charge, charge.c.reference, charge.c.period).where(
        charge.c.facility == facility,
        charge.c.reference.is_not(None),
        charge.c.state == "PENDING",
        charge.c.run.is_(None),
        charge.c.invoice.is_(None),
        not_billed_otherwise(),
    )
    schema = pl.Schema(dict.fromkeys(("charge", "reference", "period"), pl.String()))
    return frames.read_frame(connection, statement, schema).sort("charge")


def detach_charges(connection: Connection, facility: str, codes: pl.Series) -> None:
    """Take PENDING charges out of their run and off their invoices, which take in changes."""
    listed = frames.listed(connection, codes)
    chosen = (
        charge.c.facility == facility,
        charge.c.state == "PENDING",
        charge.c.charge.in_(select(listed.c.value)),
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
        ``charge`` (``57~2``), ``original`` and ``copied``, the code of what was copied.
    """
    charges = read_charges(connection, facility, invoices=[invoice])
    charges = charges.filter(pl.col("state").is_in(states))
    named = charges.with_columns(copied="charge", original=pl.coalesce("original", "charge"))
    last = _last_revisions(connection, facility, named["original"])
    copies = named.join(last, on="original", how="left").with_columns(
        revision=pl.col("last").fill_null(1) + 1
    )
    copies = copies.drop("last").with_columns(charge=pl.format("{}~{}", "original", "revision"))
    named = copies.select("copied", copy="charge")
    splits = (
        read_splits(connection, facility, codes=charges["charge"])
        .join(named, left_on="charge", right_on="copied")
        .with_columns(charge="copy")
        .drop("copy")
    )
    insert_charges(connection, facility, copies.drop("copied"), splits)
    return copies.select("charge", "original", "copied")


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
    statement = select(charge.c.charge).where(
        charge.c.facility == facility,
        charge.c.period < period,
        charge.c.state == "PENDING",
        charge.c.run.is_(None),
        charge.c.invoice.is_(None),
        charge.c.reference.is_(None),
        not_billed_otherwise(),
        closed,
    )
    return frames.read_frame(connection, statement)["charge"].sort()


def set_period(connection: Connection, facility: str, codes: pl.Series, period: str) -> None:
    """Have PENDING charges billed with another month."""
    frames.update_frame(
        connection,
        charge,
        pl.DataFrame({"charge": codes}, schema={"charge": pl.String}),
        ["facility", "charge"],
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
        charge.c.date < first,
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


BILLED_CHARGE = pl.Schema({**KEPT, "number": pl.String(), "invoice_kind": pl.String()})
"""Columns of a charge on an issued invoice: KEPT, and the invoice's number and kind."""


def read_billed(connection: Connection, facility: str, period: str) -> pl.DataFrame:
    """The charges of a month's issued invoices that count (schema BILLED_CHARGE), by charge."""
    counting = select(
        invoice.c.code.label("invoice"), invoice.c.number, invoice.c.kind.label("invoice_kind")
    ).where(
        invoice.c.facility == facility,
        invoice.c.period == period,
        invoice.c.state.in_(ACTIVE),
    )
    invoices = frames.read_frame(connection, counting)
    charges = read_charges(connection, facility, invoices=invoices["invoice"])
    return charges.join(invoices, on="invoice").select(BILLED_CHARGE.names()).sort("charge")


def read_pending(connection: Connection, facility: str, period: str) -> pl.DataFrame:
    """The month's PENDING charges that an invoice may still bill (schema KEPT), by charge.

    Left out are those of closed invoices, and copies of what an invoice that counts bills.
    """
    closed = select(invoice.c.code).where(invoice.c.facility == facility, invoice.c.state == CLOSED)
    open_ones = (
        charge.c.invoice.is_(None) | charge.c.invoice.not_in(closed),
        not_billed_otherwise(),
    )
    found = read_charges(connection, facility, period, state=PENDING, where=open_ones)
    return found.sort("charge")


_GONE = ("CLOSED", "VOID", "SUPERSEDED")


def read_credits(connection: Connection, facility: str) -> pl.DataFrame:
    """The added lines that give back some of an invoice: ``charge``, ``credits`` (its number)."""
    added = read_events(connection, facility, kinds=["add_line"])
    of = pl.col("after").str.json_path_match("$.credits")
    return added.select(charge="subject", credits=of).drop_nulls().unique("charge")


def credited(connection: Connection, facility: str, numbers: list[str]) -> int:
    """What standing credits give back of these invoices together, in minor units.

    A credit on an invoice that is closed, void or superseded no longer counts; what bills it anew
    does.
    """
    given = read_credits(connection, facility).filter(pl.col("credits").is_in(numbers))
    listed = frames.listed(connection, given["charge"])
    codes = select(listed.c.value)
    statement = (
        select(charge.c.total, invoice.c.state)
        .select_from(charge)
        .outerjoin(
            invoice,
            (invoice.c.facility == charge.c.facility) & (invoice.c.code == charge.c.invoice),
        )
        .where(
            charge.c.facility == facility,
            charge.c.charge.in_(codes) | charge.c.original.in_(codes),
        )
    )
    schema = pl.Schema({"total": pl.Int64(), "state": pl.String()})
    lines = frames.read_frame(connection, statement, schema)
    return -int(lines.filter(~pl.col("state").is_in(_GONE).fill_null(value=False))["total"].sum())
