"""Adjusting: staff change a pending charge, add a line, or delete a charge.

Each is an event that keeps who, when, why, before and after; the charge is priced again from
its usage, its kept rate and all its changes, and with it those whose price depends on it. A
charge that is on an invoice, or in a run being issued, is refused.
"""

from collections.abc import Mapping

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment, NotReady, UnknownCharge
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import writing
from billing_lib.ledger.states import APPROVING, PENDING
from billing_lib.pricing.adjusting import (
    LINE_FIELDS,
    NO,
    YES,
    adjustment_value,
    notes_of,
    waived_charges,
)
from billing_lib.pricing.charging import CHARGES
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.charge_rows import (
    differing,
    replace_charges,
    unbound,
)
from billing_lib.workflow.gathering import gather, standing_changes
from billing_lib.workflow.moving import move_charges
from billing_lib.workflow.permissions import REVIEWER, require
from billing_lib.workflow.runs import follow_changes
from billing_lib.workflow.steps import Step, unheard

_AT_ONCE = 2_000
"""How many changes are recorded at once; between them the work can be stopped."""


def split_code(charge: str) -> tuple[str, str]:
    """A charge as people name it, ``RC/57``, as facility and code.

    Raises
    ------
    UnknownCharge
        There is no slash in it.
    """
    facility, slash, code = charge.partition("/")
    if not slash or not facility or not code:
        raise UnknownCharge(
            f"'{charge}' is not the name of a charge",
            remedy="write FACILITY/CODE as 'billing charges' lists it, such as RC/57",
        )
    return facility, code


def adjust_charge(
    engine: Engine, book: PriceBook, charge: str, changes: Mapping[str, object], reason: str
) -> list[str]:
    """Set fields of a pending charge; what each change did, in words.

    Parameters
    ----------
    charge
        ``FACILITY/CODE``.
    changes
        Values by field (pricing/adjusting.py); all are made, or none.

    Raises
    ------
    UnknownCharge, InvalidAdjustment, NotReady
        No such charge; a field or value that cannot be; a charge that is issued.
    """
    require_reason(reason)
    facility, code = split_code(charge)
    places = minor_places(book.facility.currency)
    with writing(engine) as connection:
        require(connection, facility, REVIEWER)
        lock_with_kin(connection, facility, pl.Series([code]), changes.get("project"))
        frame = _pending(connection, facility, code)
        values = checked_values(book, frame, changes)
        if standing_so(connection, facility, frame, values).len():
            stated = ", ".join(f"{field} {value}" for field, value in values.items())
            return [f"{charge}: {stated} was set before, nothing changed"]
        moved = move_to(connection, book, frame, values)
        before = record_changes(connection, book, frame, values, reason)[code]
        priced = price_with_kin(connection, book, frame, moved)
        follow_changes(connection, book, frame)
        total = money_text(priced.filter(pl.col("charge") == code)["total"].item(), places)
    made = [f"{charge}: {field} {before[field]} → {value}" for field, value in values.items()]
    return [*made, f"{charge}: total {before['total']} → {total} {book.facility.currency}"]


def checked_values(
    book: PriceBook, charges: pl.DataFrame, changes: Mapping[str, object]
) -> dict[str, str]:
    """The canonical values to set on these charges.

    Raises
    ------
    InvalidAdjustment
        A field or value cannot be, or one of the charges does not have the field.
    """
    places = minor_places(book.facility.currency)
    values = {field: adjustment_value(field, value, places) for field, value in changes.items()}
    lines = charges.filter(pl.col("kind") == "line")
    missing = [field for field in values if field not in LINE_FIELDS]
    if lines.height and missing:
        raise InvalidAdjustment(
            f"the added line {book.facility.code}/{lines['code'][0]} has no {missing[0]}",
            remedy=f"set one of {', '.join(LINE_FIELDS)}",
        )
    return values


def standing_so(
    connection: Connection, facility: str, charges: pl.DataFrame, values: Mapping[str, str]
) -> pl.Series:
    """Which of these charges staff have set to just these values already: their codes."""
    changes, _ = standing_changes(connection, facility, charges["code"])
    last = changes.group_by("charge", "field").agg(pl.col("value").last())
    wanted = pl.DataFrame(list(values.items()), schema=["field", "value"], orient="row")
    same = last.join(wanted, on=["field", "value"]).group_by("charge").len()
    return same.filter(pl.col("len") == len(values))["charge"]


def record_changes(
    connection: Connection,
    book: PriceBook,
    charges: pl.DataFrame,
    values: Mapping[str, str],
    reason: str,
    group: str | None = None,
    step: Step = unheard,
) -> dict[str, dict[str, str | None]]:
    """One event per charge and field; what each charge had before, by code and field."""
    before = current_values(connection, book, charges)
    told = [
        {
            "kind": "adjust",
            "subject": code,
            "team": team,
            "group_id": group,
            "reason": reason,
            "before": canonical_json({field: before[code][field]}),
            "after": canonical_json({field: value}),
        }
        for code, team in charges.select("code", "team").iter_rows()
        for field, value in values.items()
    ]
    for first in range(0, len(told), _AT_ONCE):
        step(first, len(told), "recording who changes what")
        events.record_events(connection, book.facility.code, told[first : first + _AT_ONCE])
    return before


def move_to(
    connection: Connection, book: PriceBook, charges: pl.DataFrame, values: Mapping[str, str]
) -> pl.DataFrame:
    """The charges as those of the project that the values name, if they do; its rates are kept."""
    if "project" not in values:
        return charges
    to = charges.select("code", project=pl.lit(values["project"]))
    moved, rates = move_charges(connection, book, charges, to)
    pairs = rates.select("rate", "body").rows()
    ledger_charges.keep_rates(connection, book.facility.code, pairs)
    return moved


def price_with_kin(
    connection: Connection, book: PriceBook, charges: pl.DataFrame, now: pl.DataFrame
) -> pl.DataFrame:
    """Price charges of one month again with their kin, and write what comes out otherwise.

    Parameters
    ----------
    charges
        The charges as the ledger has them, or had them.
    now
        The same as they shall be; none where they are deleted.

    Returns
    -------
    pl.DataFrame
        The charges and their kin as they are now (schema CHARGES).
    """
    facility = book.facility.code
    kin = kin_of(connection, facility, pl.concat([charges, now]))
    wanted = pl.concat([kin.join(now, on="code", how="anti"), now])
    priced = gather(connection, book, wanted).price()
    if kin.height == 0:
        return CHARGES.to_frame()
    replace_charges(connection, facility, priced, differing(connection, facility, kin, priced))
    return priced.charges


def lock_with_kin(
    connection: Connection, facility: str, codes: pl.Series, project: object = None
) -> None:
    """Keep charges of one month and their kin from others until the end of the transaction, all
    in the order of their codes, so that two who change kin wait for each other.

    Parameters
    ----------
    project
        Where the charges go, if they do: their kin there too.
    """
    found = ledger_charges.read_charges(connection, facility, codes=codes)
    if found.height == 0:
        return
    both = [found, found.with_columns(project=pl.lit(str(project)))] if project else [found]
    kin = kin_of(connection, facility, pl.concat(both))
    every = pl.concat([found["code"], kin["code"]]).unique()
    ledger_charges.lock_charges(connection, facility, every)


def kin_of(connection: Connection, facility: str, charges: pl.DataFrame) -> pl.DataFrame:
    """The charges of one month that may still change, and with them the pending ones whose price
    may depend on theirs by tiers or day passes: those of the same project and item."""
    month = ledger_charges.read_charges(connection, facility, period=charges["period"][0])
    same = charges.select("project", "item").unique()
    related = month.join(same, on=["project", "item"], how="semi", nulls_equal=True)
    return unbound(related)


def delete_charge(engine: Engine, book: PriceBook, charge: str, reason: str) -> str:
    """Delete a pending charge; its usage is rated afresh by the next rating."""
    require_reason(reason)
    facility, code = split_code(charge)
    with writing(engine) as connection:
        require(connection, facility, REVIEWER)
        lock_with_kin(connection, facility, pl.Series([code]))
        frame = _pending(connection, facility, code)
        row = frame.row(0, named=True)
        events.record_event(
            connection,
            facility,
            kind="delete",
            subject=code,
            reason=reason,
            before=canonical_json(
                {key: row[key] for key in ("project", "item", "quantity", "price", "rate", "total")}
            ),
            team=row["team"],
        )
        ledger_charges.delete_charge(connection, facility, code)
        price_with_kin(connection, book, frame, frame.clear())
        follow_changes(connection, book, frame)
    return f"{charge}: deleted; 'billing rate {facility} {row['period']}' makes it anew"


def require_reason(reason: str) -> None:
    if not reason.strip():
        raise InvalidAdjustment("the change has no reason", remedy="say why")


def _pending(connection: Connection, facility: str, code: str) -> pl.DataFrame:
    """The charge, locked against others until the transaction ends."""
    frame = ledger_charges.lock_charge(connection, facility, code)
    if frame.height == 0:
        raise UnknownCharge(
            f"there is no charge {facility}/{code}",
            remedy="'billing charges' lists them",
        )
    row = frame.row(0, named=True)
    if row["state"] == PENDING and row["run"] is None:
        return frame
    held = ledger_invoices.read_invoices(connection, facility, codes=[row["invoice"]])
    state, number = held.select("state", "number").row(0)
    if row["state"] != PENDING:
        raise NotReady(
            f"the charge {facility}/{code} is {row['state']} on invoice {number}",
            remedy="what is issued never changes; reissue or credit the invoice",
        )
    raise NotReady(
        f"the charge {facility}/{code} is on invoice {row['invoice']}, which is {state}",
        remedy="reject the invoice first, so that it takes in changes"
        if state == APPROVING
        else None,
    )


def current_values(
    connection: Connection, book: PriceBook, charges: pl.DataFrame
) -> dict[str, dict[str, str | None]]:
    """What these charges have now, by code and field, as text."""
    facility, places = book.facility.code, minor_places(book.facility.currency)
    splits = ledger_charges.read_splits(connection, facility, codes=charges["code"])
    shares = (
        splits.sort("position")
        .group_by("charge")
        .agg(pl.struct("expense_code", "percent").alias("shares"))
    )
    parts = dict(shares.iter_rows())
    changes, _ = standing_changes(connection, facility, charges["code"])
    waived, notes = set(waived_charges(changes)), dict(notes_of(changes).iter_rows())
    found: dict[str, dict[str, str | None]] = {}
    for row in charges.iter_rows(named=True):
        code, total = row["code"], money_text(row["total"], places)
        found[code] = {
            "quantity": row["quantity"],
            "rate": row["price"],
            "amount": total,
            "total": total,
            "expense_code": ", ".join(share["expense_code"] for share in parts[code]),
            "split": canonical_json(parts[code]),
            "project": row["project"],
            "waived": YES if code in waived else NO,
            "note": notes.get(code, ""),
        }
    return found
