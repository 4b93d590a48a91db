"""Bulk changes: one change to many charges, previewed, made and undone as one group.

    shown = preview(engine, book, "1993-11", Filter(project="u4"), {"rate": "0.10"})
    adjust_many(..., seen=shown.seen)     as it was shown, or not at all
    undo_group(engine, book, group, …)    as if the group had never been
    take_new_rates(engine, book, "1993-11", Filter(item="core-hour"))     today's rates

A filter or a list of names selects the charges; all of them change, or none. A preview makes the
change in a transaction that is rolled back, and compares the month before and after it:

    effect     charge   project  before  after       charges with another total
    values     charge   field    before  after       the values set
    invoices   invoice  project  state   before …    drafts that change

Each preview carries a mark: ``412-9f3c1a2b4d5e6f70-7c21ab30`` holds the last event before it and
digests of the comparison and of the price book. A change made with the mark is refused if another
user has changed one of the charges or their invoices since, or if the comparison would differ.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import (
    ChangedMeanwhile,
    InvalidAdjustment,
    NotReady,
    UnknownCharge,
    count_of,
)
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import trying
from billing_lib.ledger.states import EDITABLE
from billing_lib.pricing.adjusting import LINE_FIELDS
from billing_lib.pricing.charge import as_text
from billing_lib.pricing.money import minor_places
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rating import Catalogue
from billing_lib.workflow.adjust import (
    CHANGES,
    checked_values,
    current_values,
    lock_coupled,
    move_charges,
    move_to,
    price_coupled,
    record_changes,
    require_reason,
    set_before,
    split_code,
)
from billing_lib.workflow.permissions import REVIEWER, changing, require
from billing_lib.workflow.price import changeable_charges, changes_in_force, gather, note_rating
from billing_lib.workflow.runs import follow_changes
from billing_lib.workflow.search import Filter, find_charge_codes
from billing_lib.workflow.steps import Progress, unheard

EFFECT = pl.Schema(
    {"charge": pl.String(), "project": pl.String(), "before": pl.Int64(), "after": pl.Int64()}
)
VALUES = pl.Schema(dict.fromkeys(("charge", "field", "before", "after"), pl.String()))
DRAFTS = pl.Schema(
    {
        "invoice": pl.String(),
        "project": pl.String(),
        "state": pl.String(),
        "charges": pl.Int64(),
        "before": pl.Int64(),
        "after": pl.Int64(),
    }
)
_COUNTED = ("state", "charges", "total")


@dataclass(frozen=True)
class BulkResult:
    """The result of a change to charges.

    Attributes
    ----------
    group
        The name by which the change is undone; '' for a preview and if nothing changed.
    selected
        The number of charges, without those that had the values before.
    effect
        Every charge with another total, coupled charges included, by charge (schema EFFECT;
        totals in minor units).
    values
        The values set on each charge, as text (schema VALUES).
    invoices
        Every draft that changes or holds a selected charge, as it is afterwards (schema
        DRAFTS). A null invoice stands for the project's charges on no invoice yet.
    seen
        The mark of this result.
    """

    group: str
    selected: int
    effect: pl.DataFrame
    values: pl.DataFrame
    invoices: pl.DataFrame
    seen: str = ""

    @classmethod
    def nothing(cls) -> "BulkResult":
        """The result if all selected charges had the values before."""
        return cls("", 0, EFFECT.to_frame(), VALUES.to_frame(), DRAFTS.to_frame())


@dataclass(frozen=True)
class MonthState:
    """The charges of some projects and months, and the drafts, at one moment of a transaction."""

    charges: pl.DataFrame
    drafts: pl.DataFrame

    @classmethod
    def read(cls, connection: Connection, facility: str, parts: pl.DataFrame) -> "MonthState":
        """Read the present charges of these parts (``period``, ``project``), and all drafts."""
        return cls(
            ledger_charges.read_charges(connection, facility, parts=parts),
            ledger_invoices.read_invoices(connection, facility, states=EDITABLE),
        )

    def effect(self, after: "MonthState") -> pl.DataFrame:
        """Compare the totals of charges before and after a change (schema EFFECT), by charge."""
        now = after.charges.select("charge", "total")
        return (
            self.charges.join(now, on="charge", suffix="_after")
            .filter(pl.col("total") != pl.col("total_after"))
            .select("charge", "project", before="total", after="total_after")
            .sort("charge")
        )

    def invoices(self, after: "MonthState", codes: pl.Series) -> pl.DataFrame:
        """Compare the drafts that change or hold one of these charges (schema DRAFTS).

        The charges on no invoice yet follow by project.
        """
        holding = pl.concat([self._holding(codes), after._holding(codes)])["invoice"]
        keys = ["code", "project"]
        drafts = after.drafts.select(*keys, *_COUNTED).join(
            self.drafts.select(*keys, *_COUNTED), on=keys, how="left", suffix="_before"
        )
        other = pl.any_horizontal(
            pl.col(name).ne_missing(pl.col(f"{name}_before")) for name in _COUNTED
        )
        changed = drafts.filter(other | pl.col("code").is_in(holding.drop_nulls().implode()))
        compared = changed.select(
            *("project", "state", "charges"),
            invoice="code",
            before=pl.col("total_before").fill_null(0),
            after="total",
        )
        drafts = compared.select(DRAFTS.names()).cast(DRAFTS).sort("invoice")
        return pl.concat([drafts, self._on_none(after, codes)])

    def beside(self, codes: pl.Series) -> pl.DataFrame:
        """These charges and those billed with them.

        That is, the charges on the same invoices, or, for charges on no invoice yet, the other
        charges of their projects on no invoice.
        """
        chosen = self._holding(codes).select("project", "invoice")
        on = chosen["invoice"].drop_nulls().implode()
        of = chosen.filter(pl.col("invoice").is_null())["project"].implode()
        free = pl.col("invoice").is_null() & pl.col("project").is_in(of)
        return self.charges.filter(pl.col("invoice").is_in(on) | free)

    def _holding(self, codes: pl.Series) -> pl.DataFrame:
        return self.charges.filter(pl.col("charge").is_in(codes.implode()))

    def _on_none(self, after: "MonthState", codes: pl.Series) -> pl.DataFrame:
        before, now = (
            changeable_charges(standing.charges)
            .filter(pl.col("invoice").is_null())
            .group_by("project")
            .agg(pl.col("total").sum(), pl.len().cast(pl.Int64).alias("charges"))
            for standing in (self, after)
        )
        chosen = pl.concat([self._holding(codes), after._holding(codes)])
        of = chosen.filter(pl.col("invoice").is_null())["project"].unique()
        both = before.join(now, on="project", how="full", coalesce=True, suffix="_after")
        return (
            both.filter(pl.col("project").is_in(of.implode()))
            .select(
                "project",
                invoice=pl.lit(None, pl.String),
                state=pl.lit(None, pl.String),
                charges=pl.col("charges_after").fill_null(0),
                before=pl.col("total").fill_null(0),
                after=pl.col("total_after").fill_null(0),
            )
            .select(DRAFTS.names())
            .cast(DRAFTS)
            .sort("project")
        )


_MARK = re.compile(r"([0-9]+)-([0-9a-f]{16})-([0-9a-f]{8})")
_REMEDY = "nothing was written; make the preview again"


@dataclass(frozen=True)
class PreviewMark:
    """The mark of a preview: the facility's last event before it, and two digests.

    The digests are those of the frames shown and of the price book.
    """

    sequence: int
    shown: str
    book: str

    @classmethod
    def parse(cls, mark: str) -> Self:
        """Read a mark from its text."""
        parts = _MARK.fullmatch(mark.strip())
        if parts is None:
            raise InvalidAdjustment(
                f"'{mark}' is not the mark of a preview", remedy="copy it from the preview"
            )
        return cls(int(parts[1]), parts[2], parts[3])

    @classmethod
    def of(cls, sequence: int, shown: Iterable[pl.DataFrame], book: PriceBook) -> Self:
        """Make the mark of a preview's frames under a price book."""
        rows = [[frame.columns, frame.rows()] for frame in shown]
        return cls(sequence, _digest(rows)[:16], _digest(book.model_dump(mode="json"))[:8])

    def __str__(self) -> str:
        return f"{self.sequence}-{self.shown}-{self.book}"


def require_untouched(
    connection: Connection, facility: str, seen: PreviewMark, codes: pl.Series, invoices: pl.Series
) -> None:
    """Refuse the change (ChangedMeanwhile) if another has changed the charges since the preview.

    ``codes`` name the locked charges and those billed with them, ``invoices`` their invoices.
    """
    since = events.read_events(connection, facility, after=seen.sequence)
    undone = since.filter(pl.col("kind") == "undo")["subject"]
    touched = events.read_events(connection, facility, kinds=["adjust"], groups=undone)
    mine = touched.filter(pl.col("subject").is_in(codes.implode()))["group_id"].unique()
    direct = pl.col("kind").is_in([*CHANGES, NEW_RATE]) & pl.col("subject").is_in(codes.implode())
    grouped = (pl.col("kind") == "undo") & pl.col("subject").is_in(mine.implode())
    moved = pl.col("subject").is_in(invoices.implode())
    changes = since.filter(direct | grouped | moved)
    if changes.height == 0:
        return
    event = changes.row(0, named=True)
    reason = f" ({event['reason']})" if event["reason"] else ""
    more = (
        f", and {count_of(changes.height - 1, 'more change')} followed"
        if changes.height > 1
        else ""
    )
    raise ChangedMeanwhile(
        f"{event['login']} {_words(facility, event)} on {event['at']:%Y-%m-%d at %H:%M:%S} UTC, "
        f"after this preview{reason}{more}",
        remedy=_REMEDY,
    )


def require_as_shown(seen: PreviewMark, now: PreviewMark) -> None:
    """Refuse a change (ChangedMeanwhile) whose result differs from its preview."""
    if seen.shown == now.shown:
        return
    raise ChangedMeanwhile(
        "the price book was changed after this preview, and the result would differ"
        if seen.book != now.book
        else "the result would differ from the preview: the selected charges or the values are "
        "not the same, or the charges were rated again",
        remedy=_REMEDY,
    )


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _words(facility: str, event: dict[str, Any]) -> str:
    charge = f"{facility}/{event['subject']}"
    if event["kind"] == "delete":
        return f"deleted the charge {charge}"
    if event["kind"] == "add_line":
        return f"added the line {charge}"
    if event["kind"] == "undo":
        return f"undid the group {event['subject']}"
    if event["kind"] == "correct":
        return f"loaded other usage for the charge {charge}"
    if event["kind"] == NEW_RATE:
        return f"gave the charge {charge} today's rate"
    if event["kind"] == "adjust":
        before, after = json.loads(event["before"]), json.loads(event["after"])
        fields = ", ".join(f"{name} {before[name]} → {after[name]}" for name in after)
        return f"changed the charge {charge}, {fields},"
    action = event["kind"].replace("_", " ")
    return f"changed the invoice {event['subject']} ({action})"


Chosen = Filter | Sequence[str]
"""A selection of a month's charges: all changeable matches of a filter, or names, ``RC/57``."""

_STAGES = 4


def preview(
    engine: Engine,
    book: PriceBook,
    month: str,
    chosen: Chosen,
    changes: Mapping[str, object],
    step: Progress = unheard,
) -> BulkResult:
    """Compute the result of a change and roll the change back."""
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
    step: Progress = unheard,
) -> BulkResult:
    """Make the same change to all chosen charges as one group, all or none.

    The facility and month of this call replace a filter's own. With the mark of a preview
    (``seen``), the change is made only if its result is the one shown.
    """
    require_reason(reason)
    with changing(engine, book, REVIEWER) as connection:
        return _change(connection, book, month, chosen, changes, reason, seen, step)


def preview_undo(
    engine: Engine, book: PriceBook, group: str, step: Progress = unheard
) -> BulkResult:
    """Compute the result of undoing a group and roll it back."""
    with trying(engine) as connection:
        return _undo(connection, book, group, "", None, step)


def undo_group(
    engine: Engine,
    book: PriceBook,
    group: str,
    reason: str,
    *,
    seen: str | None = None,
    step: Progress = unheard,
) -> BulkResult:
    """Undo a group of changes; with the mark of a preview, only if the result is the one shown."""
    require_reason(reason)
    with changing(engine, book, REVIEWER) as connection:
        return _undo(connection, book, group, reason, seen, step)


def _change(
    connection: Connection,
    book: PriceBook,
    month: str,
    chosen: Chosen,
    changes: Mapping[str, object],
    reason: str,
    seen: str | None,
    step: Progress,
) -> BulkResult:
    facility = book.facility.code
    require(connection, facility, REVIEWER)
    step(0, _STAGES, "finding the charges")
    codes = _codes(connection, book, month, chosen)
    project = changes.get("project")
    lock_coupled(connection, book, codes, project)
    found = ledger_charges.read_charges(connection, facility, period=month, codes=codes)
    parts = _parts(found, [] if project is None else [str(project)])
    before, sequence = _standing(connection, facility, parts, codes, seen)
    charges = _changeable(book, month, found, codes, changes, chosen)
    values = checked_values(book, charges, changes)
    in_force, _ = changes_in_force(connection, facility, charges["charge"])
    same = set_before(in_force, values)
    charges = charges.filter(~pl.col("charge").is_in(same.implode()))
    if charges.height == 0:
        return BulkResult.nothing()
    group = uuid.uuid4().hex[:12]
    had = record_changes(connection, book, charges, in_force, values, reason, group, step)
    now = move_to(connection, book, charges, values)
    _write(connection, book, charges, now, step)
    after = MonthState.read(connection, facility, parts)
    rows = [(code, field, had[code][field], values[field]) for code in had for field in values]
    return _compared(book, group, charges, (before, after, rows), sequence, seen)


def _undo(
    connection: Connection,
    book: PriceBook,
    group: str,
    reason: str,
    seen: str | None,
    step: Progress,
) -> BulkResult:
    facility = book.facility.code
    require(connection, facility, REVIEWER)
    step(0, _STAGES, "finding the charges")
    made = events.read_events(connection, facility, kinds=["adjust"], groups=[group])
    codes = made["subject"].unique().sort()
    lock_coupled(connection, book, codes)
    charges = ledger_charges.read_charges(connection, facility, codes=codes)
    back_to = _projects_without(connection, facility, made)
    parts = _parts(charges, back_to["project"].to_list())
    before, sequence = _standing(connection, facility, parts, codes, seen)
    undone = events.read_events(connection, facility, kinds=["undo"], subjects=[group])
    if made.height == 0 or undone.height:
        raise InvalidAdjustment(
            f"there is no group of changes '{group}' to undo",
            remedy="'billing groups' lists the groups of a month",
        )
    if charges.height == 0:
        raise NotReady(f"all charges of the group {group} are deleted")
    locked = charges.join(changeable_charges(charges), on="charge", how="anti").sort("charge")
    if locked.height:
        raise NotReady(
            f"the charge {facility}/{locked['charge'][0]} of the group is issued or submitted",
            remedy="reject a submitted invoice first; credit or reissue an issued one",
        )
    had = _values(connection, book, charges)
    events.record_event(connection, facility, kind="undo", subject=group, reason=reason)
    back, rates = move_charges(connection, book, charges, back_to)
    ledger_charges.keep_rates(connection, facility, rates.select("rate", "body").rows())
    _write(connection, book, charges, back, step)
    after = MonthState.read(connection, facility, parts)
    has = _values(connection, book, after.charges.join(charges, on="charge", how="semi"))
    field = pl.col("after").str.extract(r'^\{"([a-z_]+)":')
    set_by_it = made.select("subject", field).unique().sort("subject", "after").rows()
    rows = [
        (code, field, had[code][field], has[code][field])
        for code, field in set_by_it
        if code in has
    ]
    return _compared(book, group, charges, (before, after, rows), sequence, seen)


NEW_RATE = "new_rate"
"""The kind of the events of charges that take today's rate."""


def preview_new_rates(
    engine: Engine, book: PriceBook, month: str, chosen: Chosen, step: Progress = unheard
) -> BulkResult:
    """Compute the result of taking today's rates, and roll it back."""
    with trying(engine) as connection:
        return change_rates(connection, book, month, chosen, "", None, step)


def take_new_rates(
    engine: Engine,
    book: PriceBook,
    month: str,
    chosen: Chosen,
    reason: str = "",
    *,
    seen: str | None = None,
    step: Progress = unheard,
) -> BulkResult:
    """Price the chosen charges at today's rates instead of those that they keep, all or none.

    Staff's changes stay. A charge that today's price book has no rate for keeps its own. Each
    changed rate is an event. ``values`` of the result has the ``rate`` of each charge before and
    after; with the mark of a preview (``seen``) only what it showed is done.
    """
    with changing(engine, book, REVIEWER) as connection:
        return change_rates(connection, book, month, chosen, reason, seen, step)


def change_rates(
    connection: Connection,
    book: PriceBook,
    month: str,
    chosen: Chosen,
    reason: str = "",
    seen: str | None = None,
    step: Progress = unheard,
) -> BulkResult:
    """Take today's rates in an open transaction, as ``take_new_rates`` does."""
    facility = book.facility.code
    require(connection, facility, REVIEWER)
    step(0, _STAGES, "finding the charges")
    codes = _codes(connection, book, month, chosen)
    lock_coupled(connection, book, codes)
    found = ledger_charges.read_charges(connection, facility, period=month, codes=codes)
    parts = _parts(found, [])
    before, sequence = _standing(connection, facility, parts, codes, seen)
    charges = _changeable(book, month, found, codes, {"rate": None}, chosen)
    step(1, _STAGES, "finding today's rates")
    today = Catalogue.of(book)
    rates = gather(connection, book, charges).at_rates_of(today, charges["charge"])
    looked_up = rates.usage.select("charge", "team", "rate_group", "unit", "date", "rate")
    now = charges.update(looked_up, on="charge")
    other = now.join(charges.select("charge", was="rate"), on="charge")
    charges = charges.join(other.filter(pl.col("rate") != pl.col("was")), on="charge", how="semi")
    if charges.height == 0:
        return BulkResult.nothing()
    note_rating(connection, facility, month, "changed", charges.height)
    kept = rates.catalogue.rates.select("rate", "body").rows()
    ledger_charges.keep_rates(connection, facility, kept)
    _write(connection, book, charges, now, step)
    after = MonthState.read(connection, facility, parts)
    rows, told = _new_rates(book, charges, after.charges, reason)
    events.record_events(connection, facility, told)
    return _compared(book, "", charges, (before, after, rows), sequence, seen)


def _new_rates(
    book: PriceBook, was: pl.DataFrame, now: pl.DataFrame, reason: str
) -> tuple[list[tuple[str, str, str | None, str | None]], list[dict[str, str | None]]]:
    """The rows of VALUES and the events of charges that take another rate."""
    places = minor_places(book.facility.currency)
    columns = ("charge", "team", "price", "total", "rate")
    before, after = (as_text(frame.select(columns), places) for frame in (was, now))
    both = before.join(after, on="charge", suffix="_now").sort("charge")

    def as_json(suffix: str) -> pl.Expr:
        return pl.struct(
            fingerprint=f"rate{suffix}", rate=f"price{suffix}", total=f"total{suffix}"
        ).struct.json_encode()

    told = both.select(
        kind=pl.lit(NEW_RATE),
        subject="charge",
        team="team",
        group_id=pl.lit(None, pl.String),
        reason=pl.lit(reason.strip()),
        before=as_json(""),
        after=as_json("_now"),
    )
    rows = both.select("charge", pl.lit("rate"), "price", "price_now").rows()
    return rows, told.to_dicts()


def _parts(charges: pl.DataFrame, projects: list[str]) -> pl.DataFrame:
    """The months and projects of charges, and these projects in the same months."""
    months = charges.select("period").unique()
    there = months.join(pl.DataFrame({"project": projects}, {"project": pl.String}), how="cross")
    return pl.concat([charges.select("period", "project"), there]).unique()


def _values(
    connection: Connection, book: PriceBook, charges: pl.DataFrame
) -> dict[str, dict[str, str | None]]:
    in_force, _ = changes_in_force(connection, book.facility.code, charges["charge"])
    return current_values(connection, book, charges, in_force)


def _write(
    connection: Connection,
    book: PriceBook,
    charges: pl.DataFrame,
    now: pl.DataFrame,
    step: Progress,
) -> None:
    """Price and write changed charges, month by month, and sum up their invoices."""
    step(2, _STAGES, "pricing them again")
    for _, part in charges.group_by("period", maintain_order=True):
        price_coupled(connection, book, part, now.join(part, on="charge", how="semi"))
    step(3, _STAGES, "summing up the invoices")
    follow_changes(connection, book, charges)


def _compared(
    book: PriceBook,
    group: str,
    charges: pl.DataFrame,
    compared: tuple[MonthState, MonthState, Sequence[tuple[str, str, str | None, str | None]]],
    sequence: int,
    seen: str | None,
) -> BulkResult:
    """Compare the month before and after a change, and require the result that was shown.

    ``compared`` holds both months and the rows of VALUES; ``sequence`` numbers the last event
    before the change.
    """
    before, after, rows = compared
    values = pl.DataFrame(rows, schema=VALUES, orient="row")
    codes = charges["charge"].sort()
    effect, invoices = before.effect(after), before.invoices(after, codes)
    mark = PreviewMark.of(sequence, (codes.to_frame(), effect, values, invoices), book)
    if seen is not None:
        require_as_shown(PreviewMark.parse(seen), mark)
    return BulkResult(group, charges.height, effect, values, invoices, str(mark))


def _standing(
    connection: Connection, facility: str, parts: pl.DataFrame, codes: pl.Series, seen: str | None
) -> tuple[MonthState, int]:
    """Read the charges and drafts before the change, and the number of the last event.

    With a mark, changes by others since the preview are refused.
    """
    before = MonthState.read(connection, facility, parts)
    if seen is not None:
        beside = before.beside(codes)
        every = pl.concat([codes, beside["charge"]]).unique()
        invoices = beside["invoice"].drop_nulls().unique()
        require_untouched(connection, facility, PreviewMark.parse(seen), every, invoices)
    return before, events.last_sequence(connection, facility)


def _codes(connection: Connection, book: PriceBook, month: str, chosen: Chosen) -> pl.Series:
    """Find the codes of the chosen charges, in order."""
    facility = book.facility.code
    if isinstance(chosen, Filter):
        here = {"facility": facility, "period_from": month, "period_to": month}
        wanted = chosen.model_copy(update=here)
        found = find_charge_codes(connection, wanted, {facility: book})
        return pl.Series("charge", [code for _, code in found], dtype=pl.String)
    named = [split_code(charge) for charge in chosen]
    others = [f"{of}/{code}" for of, code in named if of != facility]
    if others:
        raise UnknownCharge(f"the charge {others[0]} does not belong to {facility}")
    return pl.Series("charge", sorted({code for _, code in named}), dtype=pl.String)


def _changeable(
    book: PriceBook,
    month: str,
    found: pl.DataFrame,
    codes: pl.Series,
    changes: Mapping[str, object],
    chosen: Chosen,
) -> pl.DataFrame:
    """Select the chosen charges that may change from those found in the month.

    A quantity or a rate can be set on usage charges only, since added lines have none.
    """
    facility = book.facility.code
    free = changeable_charges(found)
    if not isinstance(chosen, Filter):
        missing = sorted(set(codes) - set(found["charge"]))
        if missing:
            raise UnknownCharge(
                f"there is no charge {facility}/{missing[0]} in {month}",
                remedy="'billing charges' lists them",
            )
        bound = found.join(free, on="charge", how="anti").sort("charge")
        if bound.height:
            code, invoice = bound.select("charge", "invoice").row(0)
            raise NotReady(
                f"the charge {facility}/{code} is on invoice {invoice}, which is being approved "
                "or issued",
                remedy="leave it out, or reject a submitted invoice first",
            )
    if not changes.keys() <= set(LINE_FIELDS):
        free = free.filter(pl.col("kind") == "usage")
    if free.height == 0:
        raise NotReady(
            f"the selection has no pending charge of {facility} {month}",
            remedy="'billing charges' lists the charges with their state",
        )
    return free


def _projects_without(connection: Connection, facility: str, made: pl.DataFrame) -> pl.DataFrame:
    """The projects that moved charges have without a group: ``charge``, ``project``.

    That is the target of the last other move in force, or the project before the first move.
    ``made`` are the group's events.
    """
    moves = made.filter(pl.col("after").str.contains('{"project":', literal=True))
    codes = moves["subject"].unique()
    in_force, _ = changes_in_force(connection, facility, codes)
    last = (
        in_force.filter(
            (pl.col("field") == "project") & ~pl.col("order").is_in(made["sequence"].implode())
        )
        .group_by("charge", maintain_order=True)
        .agg(pl.col("value").last().alias("project"))
    )
    ever = events.read_events(connection, facility, kinds=["adjust"], subjects=codes)
    first = (
        ever.filter(pl.col("before").str.contains('{"project":', literal=True))
        .group_by(pl.col("subject").alias("charge"), maintain_order=True)
        .agg(pl.col("before").first().str.json_path_match("$.project").alias("project"))
    )
    return first.update(last, on="charge")
