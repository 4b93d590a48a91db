"""Charges in the ledger: priced usage and added lines, from pricing to payment.

    PENDING ─ priced again, adjusted, deleted ─▶ BILLED (on an issued invoice) ─▶ PAID
       └─ its invoice is closed for good ─▶ CANCELLED

    attach ─▶ bind (APPROVING) ─▶ bill (issued) ─▶ pay
       ▲         │ free
       └─────────┘

    RC/57   20.00   RC-1994-00003        RC/58   4.00   on no issued invoice yet

    add_line  line-1994-02-3   after {"amount": "-20.00", "credits": "RC-1994-00001", …}

A PENDING charge bound to a run waits for its invoice and does not change. Late charges, which come
after their month's invoice, are billed with a later month. A reissue bills copies of charges. A
credit is an added line that gives back a part of an issued invoice, named in its event. The rates
that charges name by fingerprint are kept unchanged. Frames have the tables' columns without the
facility: ``charge`` as KEPT, ``charge_split`` as SPLIT of pricing.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

import polars as pl
from pydantic import ValidationError
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    case,
    column,
    func,
    or_,
    select,
    update,
    values,
)
from sqlalchemy.dialects import postgresql, sqlite

from billing_lib.errors import NotReady, UnknownCharge
from billing_lib.ledger import frames
from billing_lib.ledger.database import stamp
from billing_lib.ledger.events import read_events
from billing_lib.ledger.schema import KEPT, charge, charge_split, event, invoice, rate, usage_record
from billing_lib.ledger.states import (
    ACTIVE,
    BILLED,
    CANCELLED,
    CLOSED,
    PAID,
    PENDING,
    SUPERSEDED,
    VOID,
)
from billing_lib.pricing.charge import SPLIT
from billing_lib.pricing.rates import Rate
from billing_lib.pricing.rating import COUPLED

_LOCKING = ("state", "run", "invoice")
_ROWS_OF_VALUES = 5_000
"""So many rows a statement brings with it, of four values each; SQLite takes 32,766 values."""


def insert_charges(
    connection: Connection, facility: str, charges: pl.DataFrame, splits: pl.DataFrame
) -> int:
    """Add PENDING charges (KEPT without state, run, invoice) and splits (SPLIT); their number."""
    frames.insert_frame(
        connection, charge, charges.drop(_LOCKING, strict=False), facility=facility, state=PENDING
    )
    frames.insert_frame(connection, charge_split, splits, facility=facility)
    return charges.height


def replace_charges(
    connection: Connection, facility: str, charges: pl.DataFrame, splits: pl.DataFrame
) -> None:
    """Set columns of PENDING charges and all their splits (schema SPLIT).

    ``charges`` has ``charge`` and the columns of KEPT to set. A charge whose project changes leaves
    its invoice.
    """
    codes = charges.get_column("charge")
    if codes.len() == 0:
        return
    _require_pending(connection, facility, codes)
    values = charges.drop(*_LOCKING, "kind", "record", "occurrence", strict=False)
    _leave_invoices(connection, facility, values)
    frames.update_frame(connection, charge, values, ["facility", "charge"], facility=facility)
    listed = frames.listed(connection, codes)
    chosen = charge_split.c.charge.in_(select(listed.c.value))
    frames.delete_rows(connection, charge_split, charge_split.c.facility == facility, chosen)
    frames.insert_frame(connection, charge_split, splits, facility=facility)


def _leave_invoices(connection: Connection, facility: str, values: pl.DataFrame) -> None:
    """Take charges off their invoices if these values change their project."""
    if "project" not in values.columns or values.height == 0:
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


def delete_charges(connection: Connection, facility: str, codes: pl.Series) -> None:
    """Delete PENDING charges and their splits; the next rating makes them anew."""
    if codes.len() == 0:
        return
    _require_pending(connection, facility, codes)
    listed = frames.listed(connection, codes)
    chosen = charge.c.charge.in_(select(listed.c.value))
    frames.delete_rows(connection, charge, charge.c.facility == facility, chosen)


def read_charges(
    connection: Connection,
    facility: str,
    period: str | None = None,
    project: str | None = None,
    state: str | None = None,
    codes: pl.Series | list[str] | None = None,
    invoices: pl.Series | list[str] | None = None,
    *,
    parts: pl.DataFrame | None = None,
    where: Sequence[ColumnElement[bool]] = (),
    columns: Sequence[str] = tuple(KEPT),
    first: int | None = None,
) -> pl.DataFrame:
    """Charges (schema KEPT, or these columns of it), usage before added lines, by charge.

    ``parts`` keeps the charges that agree with one of its rows, in columns such as ``period``,
    ``project`` and ``item``. ``columns`` include ``kind``, ``charge`` and those of ``parts``.
    ``where`` are further conditions on the table. ``first`` reads only so many by project and
    charge, which is quick in a large month.
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
    for part in parts if parts is not None else ():
        listed = frames.listed(connection, part.drop_nulls().unique())
        statement = statement.where(charge.c[part.name].in_(select(listed.c.value)))
    if first is not None:
        statement = statement.order_by(charge.c.project, charge.c.charge).limit(first)
    found = frames.read_frame(connection, statement)
    if parts is not None:
        found = found.join(parts, on=parts.columns, how="semi")
    return found.sort("kind", "charge", descending=[True, False])


def read_of_usage(connection: Connection, facility: str, records: pl.Series) -> pl.DataFrame:
    """The charges of usage records (ids), copies on reissues included (schema KEPT)."""
    listed = frames.listed(connection, records)
    copies = (charge.c.original.in_(select(listed.c.value)),)
    every = [
        read_charges(connection, facility, codes=records),
        read_charges(connection, facility, where=copies),
    ]
    return pl.concat(every).filter(pl.col("kind") == "usage")


def has_pending(connection: Connection, facility: str, period: str) -> bool:
    """Whether a month has PENDING charges on no invoice."""
    free = select(charge.c.charge).where(
        charge.c.facility == facility,
        charge.c.period == period,
        charge.c.state == PENDING,
        charge.c.invoice.is_(None),
    )
    return connection.execute(free.limit(1)).one_or_none() is not None


def place_charges(connection: Connection, facility: str, placed: pl.DataFrame) -> None:
    """Set where PENDING charges are billed: ``charge``, ``period``, ``reference``, ``invoice``."""
    columns = ["charge", "period", "reference", "invoice"]
    frames.update_frame(
        connection, charge, placed.select(columns), ["facility", "charge"], facility=facility
    )


def read_unattached(connection: Connection, facility: str, period: str) -> pl.DataFrame:
    """A month's PENDING charges (schema KEPT) on no invoice and in no run, by charge."""
    found = read_charges(connection, facility, where=_unattached(facility, period))
    return found.sort("charge")


def _unattached(facility: str, period: str) -> tuple[ColumnElement[bool], ...]:
    return (
        charge.c.facility == facility,
        charge.c.period == period,
        charge.c.state == PENDING,
        charge.c.run.is_(None),
        charge.c.invoice.is_(None),
        not_billed_otherwise(),
    )


def attach_unattached(
    connection: Connection, facility: str, period: str, drafts: pl.DataFrame
) -> None:
    """Put a month's charges on editable invoices, by set: ``project``, ``team``, ``invoice``, and
    ``run``, to which they are bound at once (or null).

    They are those that ``read_unattached`` returns, without those of an ad hoc invoice.
    """
    names = ("project", "team", "invoice", "run")
    for part in drafts.select(names).iter_slices(_ROWS_OF_VALUES):
        columns = (column(name, Text) for name in names)
        draft = values(*columns, name="draft").data(part.rows()).cte()
        given = (
            select(charge.c.charge, draft.c.invoice, draft.c.run)
            .where(
                *_unattached(facility, period),
                charge.c.reference.is_(None),
                charge.c.project == draft.c.project,
                charge.c.team == draft.c.team,
            )
            .order_by(charge.c.charge)  # so that the table is read and written from end to end
            .subquery()
        )
        connection.execute(
            update(charge)
            .where(charge.c.facility == facility, charge.c.charge == given.c.charge)
            .values(invoice=given.c.invoice, run=given.c.run)
        )


def _on_invoices(
    connection: Connection, facility: str, invoices: pl.Series | list[str]
) -> ColumnElement[bool]:
    """The condition that a charge of the facility is on one of these invoices.

    In the order of keys: by the index alone SQLite would go through the table once per invoice.
    """
    one, listed = charge.alias("one"), frames.listed(connection, invoices)
    on = (one.c.facility == facility, one.c.invoice.in_(select(listed.c.value)))
    return charge.c.charge.in_(select(one.c.charge).where(*on))


def count_charges(connection: Connection, facility: str, period: str) -> pl.DataFrame:
    """The charges that a month bills, copies on reissues left out: ``ad_hoc``, ``charges``,
    ``total``, a row for each ad hoc invoice and one, with null, for all others.

    Charges on an ad hoc invoice count in that invoice's month; those that wait for one do not.
    """
    apart, *counting = _counted(facility, period)
    counted = (
        select(apart, func.count().label("charges"), func.sum(charge.c.total).label("total"))
        .where(*counting)
        .group_by(apart)
    )
    schema = pl.Schema({"ad_hoc": pl.String(), "charges": pl.Int64(), "total": pl.Int64()})
    return frames.read_frame(connection, counted, schema).sort("ad_hoc")


def read_counted(connection: Connection, facility: str, period: str) -> pl.DataFrame:
    """The charges (schema KEPT) that count_charges counts, each with its ``ad_hoc`` invoice."""
    apart, *counting = _counted(facility, period)
    statement = select(*(charge.c[name] for name in KEPT), apart).where(*counting)
    return frames.read_frame(connection, statement, pl.Schema({**KEPT, "ad_hoc": pl.String()}))


def _counted(
    facility: str, period: str
) -> tuple[Any, ColumnElement[bool], ColumnElement[bool], ColumnElement[bool]]:
    """The ad hoc invoice of a charge that a month bills, and the conditions that it bills it."""
    ad_hoc = select(invoice.c.code).where(
        invoice.c.facility == facility, invoice.c.kind == "ad hoc"
    )
    of_month = charge.c.invoice.in_(ad_hoc.where(invoice.c.period == period))
    own = or_(
        charge.c.invoice.is_(None) & charge.c.reference.is_(None),
        charge.c.invoice.not_in(ad_hoc),
    )
    return (
        case((of_month, charge.c.invoice)).label("ad_hoc"),
        charge.c.facility == facility,
        charge.c.original.is_(None),
        ((charge.c.period == period) & own) | of_month,
    )


def count_by_project(connection: Connection, facility: str, period: str) -> pl.DataFrame:
    """The number of a month's charges: ``project``, ``team``, ``reference``, ``free``, ``charges``.

    ``free`` is 1 for those that ``read_unattached`` returns.
    """
    keys = (charge.c.project, charge.c.team, charge.c.reference)
    free = case((and_(*_unattached(facility, period)), 1), else_=0).label("free")
    rows = (
        select(*keys, free)
        .where(charge.c.facility == facility, charge.c.period == period)
        .subquery()
    )
    statement = select(*rows.c, func.count().label("charges")).group_by(*rows.c)
    schema = pl.Schema(
        dict.fromkeys(("project", "team", "reference"), pl.String())
        | dict.fromkeys(("free", "charges"), pl.Int64())
    )
    return frames.read_frame(connection, statement, schema).sort("project", "team")


def read_copies(
    connection: Connection, facility: str, billed: pl.Series | list[str]
) -> pl.DataFrame:
    """PENDING copies (schema KEPT) of billed charges, bound to no run."""
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
    return read_charges(connection, facility, state=PENDING, where=copies).sort("charge")


def not_billed_otherwise() -> ColumnElement[bool]:
    """The condition that neither a charge's original nor another copy is on an invoice that counts:
    a copy on a reissue waits until the old invoice is superseded."""
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
    """``record`` and ``occurrence`` of a month's usage that has charges, in any month."""
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
    """The splits (schema SPLIT) of the charges that read_charges returns, by charge."""
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
    """Each charge as ``charge`` with itself, its original and its earlier copies as ``member``."""
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
            earlier.c.state.not_in(
                (PENDING, CANCELLED)
            ),  # a copy on a closed reissue leads nowhere
            (earlier.c.charge == copy.c.original)
            | ((earlier.c.original == copy.c.original) & (earlier.c.revision < copy.c.revision)),
        )
        .distinct()
    )
    before = frames.read_frame(connection, found)
    return pl.concat([every, before]).unique()


def keep_rates(connection: Connection, facility: str, rates: list[tuple[str, str]]) -> None:
    """Keep copies of rates, ``(fingerprint, canonical JSON)``, unless they are kept already."""
    kept = set(read_rates(connection, facility, [name for name, _ in rates])["fingerprint"])
    when = stamp(connection, when="kept_at")
    fresh = [
        {"facility": facility, "fingerprint": name, "body": body} | when
        for name, body in dict(rates).items()
        if name not in kept
    ]
    if not fresh:
        return
    if connection.dialect.name == "postgresql":  # another session may have kept it by now
        connection.execute(postgresql.insert(rate).on_conflict_do_nothing(), fresh)
    else:
        connection.execute(sqlite.insert(rate), fresh)


def read_coupling_rates(connection: Connection, facility: str) -> pl.DataFrame:
    """Kept rates (``fingerprint``, ``body``) by which one charge's price depends on others."""
    coupling = [rate.c.body.contains(f'"per":"{per}"') for per in COUPLED]
    statement = select(rate.c.fingerprint, rate.c.body)
    return frames.read_frame(
        connection, statement.where(rate.c.facility == facility, or_(*coupling))
    )


def read_snapshots(
    connection: Connection, facility: str, rates: list[str], usage: pl.DataFrame
) -> pl.DataFrame:
    """The charged records under these rates (fingerprints) in the months and projects of ``usage``
    (``month``, ``project``), whichever month bills them: ``record``, ``month``, ``project``,
    ``reference``, ``user``, ``item``."""
    named, months, projects = (
        frames.listed(connection, values)
        for values in (rates, usage["month"].unique(), usage["project"].unique())
    )
    statement = (
        select(
            *(usage_record.c.record, usage_record.c.period.label("month"), charge.c.project),
            *(usage_record.c.reference, charge.c.user, charge.c.item),
        )
        .join_from(
            usage_record,
            charge,
            (charge.c.facility == usage_record.c.facility)
            & (charge.c.charge == usage_record.c.record),  # the key; copies have originals
        )
        .where(
            usage_record.c.facility == facility,
            usage_record.c.occurrence == charge.c.occurrence,
            usage_record.c.period.in_(select(months.c.value)),
            charge.c.project.in_(select(projects.c.value)),
            charge.c.rate.in_(select(named.c.value)),
        )
    )
    columns = ("record", "month", "project", "reference", "user", "item")
    schema = pl.Schema(dict.fromkeys(columns, pl.String()))
    return frames.read_frame(connection, statement, schema)


def read_groups(connection: Connection, facility: str, period: str) -> list[str]:
    """The names of the groups that changed charges which the month bills now."""
    statement = (
        select(event.c.group_id)
        .join_from(
            event,
            charge,
            (charge.c.facility == event.c.facility) & (charge.c.charge == event.c.subject),
        )
        .where(
            event.c.facility == facility,
            event.c.kind == "adjust",
            event.c.group_id.is_not(None),
            charge.c.period == period,
        )
        .distinct()
    )
    return list(connection.scalars(statement))


def read_rates(
    connection: Connection, facility: str, fingerprints: pl.Series | list[str] | None = None
) -> pl.DataFrame:
    """Kept rates: ``fingerprint``, ``body`` (canonical JSON), ``kept_at``, by fingerprint.

    NotReady if a body is no rate, which only somebody who took the guards off can have written.
    """
    columns = (rate.c.fingerprint, rate.c.body, rate.c.kept_at)
    statement = select(*columns).where(rate.c.facility == facility)
    if fingerprints is not None:
        listed = frames.listed(connection, fingerprints)
        statement = statement.where(rate.c.fingerprint.in_(select(listed.c.value)))
    kept = frames.read_frame(connection, statement).sort("fingerprint")
    for fingerprint, body in kept.select("fingerprint", "body").iter_rows():
        try:
            Rate.model_validate_json(body)
        except ValidationError:
            raise NotReady(
                f"the kept rate {fingerprint} cannot be read",
                where=facility,
                remedy="restore it from a backup, for somebody changed it past the guards",
            ) from None
    return kept


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
    for name, wanted in (("period", period), ("project", project), ("state", state)):
        if wanted is not None:
            statement = statement.where(charge.c[name] == wanted)
    if codes is not None:
        listed = frames.listed(connection, codes)
        statement = statement.where(charge.c.charge.in_(select(listed.c.value)))
    if invoices is not None:
        statement = statement.where(_on_invoices(connection, facility, invoices))
    return statement


def _require_pending(connection: Connection, facility: str, codes: pl.Series) -> None:
    """Refuse unless all charges are PENDING and bound to no run."""
    listed = frames.listed(connection, codes)
    statement = select(charge.c.charge).where(
        charge.c.facility == facility,
        charge.c.state == PENDING,
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
    """One charge (schema KEPT; no row if unknown), locked until the end of the transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            select(charge.c.charge)
            .where(charge.c.facility == facility, charge.c.charge == code)
            .with_for_update()
        )
    return read_charges(connection, facility, codes=[code])


def has_row_locks(connection: Connection) -> bool:
    """Whether writers lock single charges; in SQLite a writer locks out all others."""
    return connection.dialect.name == "postgresql"


def lock_charges(connection: Connection, facility: str, codes: pl.Series) -> None:
    """Lock these charges until the transaction ends, if the database has row locks."""
    if has_row_locks(connection):
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


def attach_charges(connection: Connection, facility: str, assignment: pl.DataFrame) -> None:
    """Put PENDING charges on editable invoices, or off them: ``charge``, ``invoice`` (or null)."""
    frames.update_frame(
        connection,
        charge,
        assignment.select("charge", "invoice"),
        ["facility", "charge"],
        facility=facility,
    )


def forget_references(connection: Connection, facility: str, codes: pl.Series) -> None:
    """Clear the references of PENDING charges to an ad hoc invoice; their month bills them."""
    listed = frames.listed(connection, codes)
    connection.execute(
        update(charge)
        .where(
            charge.c.facility == facility,
            charge.c.state == PENDING,
            charge.c.charge.in_(select(listed.c.value)),
        )
        .values(reference=None)
    )


def read_waiting(connection: Connection, facility: str) -> pl.DataFrame:
    """PENDING charges not yet on their ad hoc invoice: ``charge``, ``reference``, ``period``."""
    statement = select(charge.c.charge, charge.c.reference, charge.c.period).where(
        charge.c.facility == facility,
        charge.c.reference.is_not(None),
        charge.c.state == PENDING,
        charge.c.run.is_(None),
        charge.c.invoice.is_(None),
        not_billed_otherwise(),
    )
    schema = pl.Schema(dict.fromkeys(("charge", "reference", "period"), pl.String()))
    return frames.read_frame(connection, statement, schema).sort("charge")


def detach_charges(connection: Connection, facility: str, codes: pl.Series) -> None:
    """Take PENDING charges out of their run and off their editable invoices."""
    listed = frames.listed(connection, codes)
    chosen = (
        charge.c.facility == facility,
        charge.c.state == PENDING,
        charge.c.charge.in_(select(listed.c.value)),
    )
    bound = update(charge).where(*chosen, charge.c.run.is_not(None))
    connection.execute(bound.values(run=None))  # refused while the invoice is being approved
    connection.execute(update(charge).where(*chosen).values(invoice=None))


def bind_charges(connection: Connection, facility: str, invoices: list[str], run: str) -> None:
    """Bind the charges of invoices to their run, so that nobody changes them."""
    _set(connection, facility, invoices, PENDING, charge.c.run.is_(None), run=run)


def free_charges(connection: Connection, facility: str, invoices: list[str]) -> None:
    """Free the PENDING charges of invoices that are editable again."""
    _set(connection, facility, invoices, PENDING, run=None)


def bill_charges(connection: Connection, facility: str, invoices: list[str]) -> None:
    """Lock charges to their invoices, which are issued before: PENDING → BILLED."""
    _set(connection, facility, invoices, PENDING, state=BILLED)


def cancel_charges(connection: Connection, facility: str, invoices: list[str]) -> None:
    """End the charges of invoices that are closed for good: PENDING → CANCELLED."""
    _set(connection, facility, invoices, PENDING, state=CANCELLED)


def pay_charges(connection: Connection, facility: str, invoices: list[str]) -> None:
    """Move the charges of paid invoices: BILLED → PAID."""
    _set(connection, facility, invoices, BILLED, state=PAID)


def unpay_charges(connection: Connection, facility: str, invoices: list[str]) -> None:
    """Move the charges of invoices that were paid by mistake: PAID → BILLED."""
    _set(connection, facility, invoices, PAID, state=BILLED)


def copy_charges(
    connection: Connection, facility: str, invoice: str, states: tuple[str, ...]
) -> pl.DataFrame:
    """Copy an issued invoice's charges as PENDING charges, to bill them anew.

    Returns ``charge`` (``57~2``), ``original``, and ``copied``, the copied charge's code.
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
    """The last revision of charges that have copies: ``original``, ``last``."""
    listed = frames.listed(connection, originals)
    statement = (
        select(charge.c.original, func.max(charge.c.revision).label("last"))
        .where(charge.c.facility == facility, charge.c.original.in_(select(listed.c.value)))
        .group_by(charge.c.original)
    )
    return frames.read_frame(connection, statement)


def read_late(connection: Connection, facility: str, period: str) -> pl.Series:
    """The codes of late charges: PENDING charges of earlier months on no invoice, whose project has
    an invoice of that month that counts."""
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
        charge.c.state == PENDING,
        charge.c.run.is_(None),
        charge.c.invoice.is_(None),
        charge.c.reference.is_(None),
        not_billed_otherwise(),
        closed,
    )
    return frames.read_frame(connection, statement)["charge"].sort()


def set_period(connection: Connection, facility: str, codes: pl.Series, period: str) -> None:
    """Set the month that bills these PENDING charges."""
    frames.update_frame(
        connection,
        charge,
        pl.DataFrame({"charge": codes}, schema={"charge": pl.String}),
        ["facility", "charge"],
        facility=facility,
        period=period,
    )


def count_late(connection: Connection, facility: str, period: str) -> int:
    """The number of PENDING charges from earlier months that this month bills."""
    first = date.fromisoformat(f"{period}-01")
    counted = select(func.count()).where(
        charge.c.facility == facility,
        charge.c.period == period,
        charge.c.state == PENDING,
        charge.c.date < first,
    )
    return int(connection.scalars(counted).one())


def _set(
    connection: Connection,
    facility: str,
    invoices: list[str],
    was: str,
    *where: ColumnElement[bool],
    **values: str | None,
) -> None:
    on = _on_invoices(connection, facility, invoices)
    chosen = (charge.c.facility == facility, charge.c.state == was, *where, on)
    connection.execute(update(charge).where(*chosen).values(values))


BILLED_CHARGE = pl.Schema({**KEPT, "number": pl.String(), "invoice_kind": pl.String()})
"""Columns of a charge on an issued invoice: KEPT, and the invoice's number and kind."""


def read_billed(connection: Connection, facility: str, period: str) -> pl.DataFrame:
    """Charges on a month's issued invoices that count (schema BILLED_CHARGE), by charge."""
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

    Charges of closed invoices are left out, and copies of charges on an invoice that counts.
    """
    closed = select(invoice.c.code).where(invoice.c.facility == facility, invoice.c.state == CLOSED)
    open_ones = (
        charge.c.invoice.is_(None) | charge.c.invoice.not_in(closed),
        not_billed_otherwise(),
    )
    found = read_charges(connection, facility, period, state=PENDING, where=open_ones)
    return found.sort("charge")


_GONE = (CLOSED, VOID, SUPERSEDED)


def read_credits(connection: Connection, facility: str) -> pl.DataFrame:
    """Added lines that credit an invoice: ``charge``, ``credits`` (the invoice's number)."""
    added = read_events(connection, facility, kinds=["add_line"])
    of = pl.col("after").str.json_path_match("$.credits")
    return added.select(charge="subject", credits=of).drop_nulls().unique("charge")


def credited(connection: Connection, facility: str, numbers: list[str]) -> int:
    """The sum of these invoices' standing credits, in minor units.

    A credit on a closed, void or superseded invoice does not count; a copy that bills it anew does.
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
