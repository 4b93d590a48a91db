"""The same change to many charges: shown, made as one group, undone as one group.

    shown = preview(engine, book, "1993-11", Filter(project="u4"), {"rate": "0.10"})
    adjust_many(..., seen=shown.seen)     as it was shown, or not at all
    undo_group(engine, book, group, …)    as if the group had never been

Which charges is said by a filter or by their names. All of them change, or none. A preview is the
very change in a transaction that is rolled back. A group is undone as long as its charges are
PENDING.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment, NotReady, UnknownCharge
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events
from billing_lib.ledger.database import reading, trying, writing
from billing_lib.pricing.adjusting import LINE_FIELDS
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adjust import (
    checked_values,
    current_values,
    lock_with_kin,
    move_to,
    price_with_kin,
    record_changes,
    require_reason,
    split_code,
    standing_so,
)
from billing_lib.workflow.charge_rows import unbound
from billing_lib.workflow.effect import VALUES, Changed, Standing
from billing_lib.workflow.filters import Filter
from billing_lib.workflow.finding import find_charge_codes
from billing_lib.workflow.gathering import standing_changes
from billing_lib.workflow.moving import move_charges
from billing_lib.workflow.permissions import REVIEWER, VIEWER, require
from billing_lib.workflow.runs import follow_changes
from billing_lib.workflow.seen import Seen, require_as_shown, require_untouched
from billing_lib.workflow.steps import Step, unheard

Chosen = Filter | Sequence[str]
"""Which charges of a month: all that match and may still change, or just these, ``RC/57``."""

_STAGES = 4


def preview(
    engine: Engine,
    book: PriceBook,
    month: str,
    chosen: Chosen,
    changes: Mapping[str, object],
    step: Step = unheard,
) -> Changed:
    """What a change would come to; nothing stays of it.

    Raises
    ------
    InvalidAdjustment, NotReady, UnknownCharge
        As of adjust_many.
    """
    with trying(engine) as connection:
        would = _change(connection, book, month, chosen, changes, "", None, step)
    return replace(would, group="")


def adjust_many(
    engine: Engine,
    book: PriceBook,
    month: str,
    chosen: Chosen,
    changes: Mapping[str, object],
    reason: str,
    *,
    seen: str | None = None,
    step: Step = unheard,
) -> Changed:
    """Make the same change to all chosen charges, as one group; all or none.

    Parameters
    ----------
    chosen
        A filter's facility and month are those of this call.
    seen
        The mark of the preview: then the change is made only as it was shown.

    Raises
    ------
    InvalidAdjustment, NotReady
        A field or value cannot be, or there is no reason; no pending charge is chosen, or one
        is being approved or issued.
    UnknownCharge
        There is no such charge in the month.
    ChangedMeanwhile
        Something is otherwise than it was shown.
    """
    require_reason(reason)
    with writing(engine) as connection:
        return _change(connection, book, month, chosen, changes, reason, seen, step)


def changeable(engine: Engine, book: PriceBook, month: str, wanted: Filter) -> list[str]:
    """The charges (``RC/57``) of a month that match and may still change, in order."""
    facility = book.facility.code
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        codes = _codes(connection, book, month, wanted)
        charges = ledger_charges.read_charges(connection, facility, period=month)
    free = unbound(charges).filter(pl.col("code").is_in(codes.implode()))["code"]
    return [f"{facility}/{code}" for code in free.sort()]


def preview_undo(engine: Engine, book: PriceBook, group: str, step: Step = unheard) -> Changed:
    """What undoing a group would come to; nothing stays of it.

    Raises
    ------
    InvalidAdjustment, NotReady
        As of undo_group.
    """
    with trying(engine) as connection:
        return _undo(connection, book, group, "", None, step)


def undo_group(
    engine: Engine,
    book: PriceBook,
    group: str,
    reason: str,
    *,
    seen: str | None = None,
    step: Step = unheard,
) -> Changed:
    """Take back what a group of changes did.

    Parameters
    ----------
    seen
        The mark of the preview: then it is undone only as it was shown.

    Raises
    ------
    InvalidAdjustment, NotReady
        There is no such group, or it was undone before; a charge of it is issued.
    ChangedMeanwhile
        Something is otherwise than it was shown.
    """
    require_reason(reason)
    with writing(engine) as connection:
        return _undo(connection, book, group, reason, seen, step)


def _change(
    connection: Connection,
    book: PriceBook,
    month: str,
    chosen: Chosen,
    changes: Mapping[str, object],
    reason: str,
    seen: str | None,
    step: Step,
) -> Changed:
    facility = book.facility.code
    require(connection, facility, REVIEWER)
    step(0, _STAGES, "finding the charges")
    codes = _codes(connection, book, month, chosen)
    lock_with_kin(connection, facility, codes, changes.get("project"))
    before, sequence = _standing(connection, facility, month, codes, seen)
    charges = _changeable(book, month, before.charges, codes, changes, chosen)
    values = checked_values(book, charges, changes)
    so = standing_so(connection, facility, charges, values)
    charges = charges.filter(~pl.col("code").is_in(so.implode()))
    if charges.height == 0:
        return Changed.nothing()
    group = uuid.uuid4().hex[:12]
    now = move_to(connection, book, charges, values)
    had = record_changes(connection, book, charges, values, reason, group, step)
    after = _write(connection, book, month, charges, now, step)
    told = _values(
        (code, field, had[code][field], values[field]) for code in had for field in values
    )
    return _compared(book, group, charges, (before, after, told), sequence, seen)


def _undo(
    connection: Connection,
    book: PriceBook,
    group: str,
    reason: str,
    seen: str | None,
    step: Step,
) -> Changed:
    facility = book.facility.code
    require(connection, facility, REVIEWER)
    step(0, _STAGES, "finding the charges")
    made = events.read_events(connection, facility, kinds=["adjust"], groups=[group])
    codes = made["subject"].unique().sort()
    lock_with_kin(connection, facility, codes)
    charges = ledger_charges.read_charges(connection, facility, codes=codes)
    months = charges["period"].unique()
    before, sequence = _standing(
        connection, facility, months[0] if months.len() else "", codes, seen
    )
    if (
        made.height == 0
        or events.read_events(connection, facility, kinds=["undo"], subjects=[group]).height
    ):
        raise InvalidAdjustment(
            f"there is no group of changes '{group}' to undo",
            remedy="name it as 'billing bulk' did when it made the changes",
        )
    if charges.height == 0:
        raise NotReady(f"the charges of the group {group} were deleted since")
    locked = charges.join(unbound(charges), on="code", how="anti").sort("code")
    if locked.height:
        raise NotReady(
            f"the charge {facility}/{locked['code'][0]} of the group is issued or submitted",
            remedy="reject its invoice first; what is issued is credited or reissued",
        )
    had = current_values(connection, book, charges)
    events.record_event(connection, facility, kind="undo", subject=group, reason=reason)
    back, rates = move_charges(connection, book, charges, _projects_without(connection, made))
    ledger_charges.keep_rates(connection, facility, rates.select("rate", "body").rows())
    after = _write(connection, book, months[0], charges, back, step)
    has = current_values(connection, book, after.charges.join(charges, on="code", how="semi"))
    field = pl.col("after").str.extract(r'^\{"([a-z_]+)":')
    set_by_it = made.select("subject", field).unique().sort("subject", "after").rows()
    told = _values(
        (code, field, had[code][field], has[code][field])
        for code, field in set_by_it
        if code in has
    )
    return _compared(book, group, charges, (before, after, told), sequence, seen)


def _write(
    connection: Connection,
    book: PriceBook,
    month: str,
    charges: pl.DataFrame,
    now: pl.DataFrame,
    step: Step,
) -> Standing:
    """Price and write charges of a month as they shall be now; the month after it."""
    step(2, _STAGES, "pricing them again")
    price_with_kin(connection, book, charges, now)
    step(3, _STAGES, "summing up the invoices")
    follow_changes(connection, book, charges)
    return Standing.read(connection, book.facility.code, month)


def _compared(
    book: PriceBook,
    group: str,
    charges: pl.DataFrame,
    came: tuple[Standing, Standing, pl.DataFrame],
    sequence: int,
    seen: str | None,
) -> Changed:
    """What a change came to, if it is what was shown.

    Parameters
    ----------
    came
        The month before and after it, and what was set.
    sequence
        Of the last event before it.
    """
    before, after, told = came
    codes = charges["code"].sort()
    effect, invoices = before.effect(after), before.invoices(after, codes)
    mark = Seen.of(sequence, (codes.to_frame(), effect, told, invoices), book)
    if seen is not None:
        require_as_shown(Seen.parse(seen), mark)
    return Changed(group, charges.height, effect, told, invoices, str(mark))


def _values(rows: Iterable[tuple[str, str, str | None, str | None]]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=VALUES, orient="row")


def _standing(
    connection: Connection, facility: str, month: str, codes: pl.Series, seen: str | None
) -> tuple[Standing, int]:
    """The month before the change, and the last event until then; nobody has touched these
    charges since they were seen, nor what is billed with them."""
    before = Standing.read(connection, facility, month)
    if seen is not None:
        beside = before.beside(codes)
        every = pl.concat([codes, beside["code"]]).unique()
        invoices = beside["invoice"].drop_nulls().unique()
        require_untouched(connection, facility, Seen.parse(seen), every, invoices)
    return before, events.last_sequence(connection, facility)


def _codes(connection: Connection, book: PriceBook, month: str, chosen: Chosen) -> pl.Series:
    """The codes of the chosen charges, in order."""
    facility = book.facility.code
    if isinstance(chosen, Filter):
        here = {"facility": facility, "period_from": month, "period_to": month}
        wanted = chosen.model_copy(update=here)
        found = find_charge_codes(connection, wanted, {facility: book})
        return pl.Series("code", [code for _, code in found], dtype=pl.String)
    named = [split_code(charge) for charge in chosen]
    others = [f"{of}/{code}" for of, code in named if of != facility]
    if others:
        raise UnknownCharge(f"the charge {others[0]} is not of {facility}")
    return pl.Series("code", sorted({code for _, code in named}), dtype=pl.String)


def _changeable(
    book: PriceBook,
    month: str,
    charges: pl.DataFrame,
    codes: pl.Series,
    changes: Mapping[str, object],
    chosen: Chosen,
) -> pl.DataFrame:
    """The chosen charges; of a quantity or rate, which added lines do not have, usage alone."""
    facility = book.facility.code
    found = charges.filter(pl.col("code").is_in(codes.implode()))
    free = unbound(found)
    if not isinstance(chosen, Filter):
        missing = sorted(set(codes) - set(found["code"]))
        if missing:
            raise UnknownCharge(
                f"there is no charge {facility}/{missing[0]} in {month}",
                remedy="'billing charges' lists them",
            )
        bound = found.join(free, on="code", how="anti").sort("code")
        if bound.height:
            code, invoice = bound.select("code", "invoice").row(0)
            raise NotReady(
                f"the charge {facility}/{code} is on invoice {invoice}, which is being approved "
                "or issued",
                remedy="leave it out, or reject the invoice first; what is issued never changes",
            )
    if not changes.keys() <= set(LINE_FIELDS):
        free = free.filter(pl.col("kind") == "usage")
    if free.height == 0:
        raise NotReady(
            f"no pending charge of {facility} {month} is selected",
            remedy="'billing charges' lists them with their state",
        )
    return free


def _projects_without(connection: Connection, made: pl.DataFrame) -> pl.DataFrame:
    """Where the charges that a group moved belong without it: ``code``, ``project``.

    That is the last other move that stands, or the project from which the first one took them.
    """
    moves = made.filter(pl.col("after").str.contains('{"project":', literal=True))
    facility, codes = made["facility"][0], moves["subject"].unique()
    standing, _ = standing_changes(connection, facility, codes)
    last = (
        standing.filter(pl.col("field") == "project")
        .group_by(pl.col("charge").alias("code"), maintain_order=True)
        .agg(pl.col("value").last().alias("project"))
    )
    ever = events.read_events(connection, facility, kinds=["adjust"], subjects=codes)
    first = (
        ever.filter(pl.col("before").str.contains('{"project":', literal=True))
        .group_by(pl.col("subject").alias("code"), maintain_order=True)
        .agg(pl.col("before").first().str.json_path_match("$.project").alias("project"))
    )
    return first.update(last, on="code")
