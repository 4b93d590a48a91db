"""The same change to many charges: shown, made as one group, undone as one group.

    shown = preview(engine, book, "1993-11", Filter(project="u4"), {"rate": "0.10"})
    adjust_many(..., seen=shown.seen)     as it was shown, or not at all
    undo_group(engine, book, group, …)    as if the group had never been

Which charges is said by a filter or by their names. All of them change, or none. A preview is the
very change in a transaction that is rolled back. A group is undone as long as its charges are
PENDING.

What a change comes to: the month before it and after it, compared.

    effect     charge  project  before  after      the charges whose total is another
    values     charge  field    before  after      what was set on each
    invoices   invoice project  state   before …   the drafts that come to something else

Both are read from the ledger within the transaction that makes the change, so that what is shown
is what is written (bulk.py).

What a person was shown, and whether it is still so when they say yes.

    412-9f3c1a2b4d5e6f70-7c21ab30     the last event then, what was shown, the price book

A change that was shown carries this mark. Who makes the change hands the mark in, and it is made
only as it was shown: where another has changed one of the charges or its invoice since, it is
said who, what and when, and nothing is written.
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

from billing_lib.errors import ChangedMeanwhile, InvalidAdjustment, NotReady, UnknownCharge
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import trying, writing
from billing_lib.ledger.states import EDITABLE
from billing_lib.pricing.adjusting import LINE_FIELDS
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adjust import (
    checked_values,
    current_values,
    lock_with_kin,
    move_charges,
    move_to,
    price_with_kin,
    record_changes,
    require_reason,
    split_code,
    standing_so,
)
from billing_lib.workflow.permissions import REVIEWER, require
from billing_lib.workflow.price import standing_changes, unbound
from billing_lib.workflow.runs import follow_changes
from billing_lib.workflow.search import Filter, find_charge_codes
from billing_lib.workflow.steps import Step, unheard

EFFECT = pl.Schema(
    {"charge": pl.String(), "project": pl.String(), "before": pl.Int64(), "after": pl.Int64()}
)
VALUES = pl.Schema(dict.fromkeys(("charge", "field", "before", "after"), pl.String()))
INVOICES = pl.Schema(
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
class Changed:
    """What a change to charges comes to.

    Attributes
    ----------
    group
        Its name, by which it is undone; '' for a preview and where nothing changed.
    selected
        How many charges it is for; none that staff have set to just this before.
    effect
        ``charge``, ``project``, ``before``, ``after`` (totals in minor units) of every charge
        whose total changes, kin by tiers or day passes included, by charge.
    values
        ``charge``, ``field``, ``before``, ``after``: what is set on each, as text.
    invoices
        ``invoice``, ``project``, ``state``, ``charges``, ``before``, ``after``: every draft that
        changes or holds a selected charge, as it is after, and its totals. Without an invoice
        the project's charges that are on none yet.
    seen
        The mark of all this, by which the change is made as it was shown.
    """

    group: str
    selected: int
    effect: pl.DataFrame
    values: pl.DataFrame
    invoices: pl.DataFrame
    seen: str = ""

    @classmethod
    def nothing(cls) -> "Changed":
        """What is selected was set so before."""
        return cls("", 0, EFFECT.to_frame(), VALUES.to_frame(), INVOICES.to_frame())


@dataclass(frozen=True)
class Standing:
    """A month's charges and the facility's drafts, as at one moment of a transaction."""

    charges: pl.DataFrame
    drafts: pl.DataFrame

    @classmethod
    def read(cls, connection: Connection, facility: str, month: str) -> "Standing":
        """As they are now."""
        return cls(
            ledger_charges.read_charges(connection, facility, period=month),
            ledger_invoices.read_invoices(connection, facility, states=EDITABLE),
        )

    def effect(self, after: "Standing") -> pl.DataFrame:
        """The charges whose total is another one after (schema EFFECT), by charge."""
        now = after.charges.select("code", "total")
        return (
            self.charges.join(now, on="code", suffix="_after")
            .filter(pl.col("total") != pl.col("total_after"))
            .select(charge="code", project="project", before="total", after="total_after")
            .sort("charge")
        )

    def invoices(self, after: "Standing", codes: pl.Series) -> pl.DataFrame:
        """The drafts that are otherwise after, or hold one of these charges (schema INVOICES),
        and by project what is on no invoice yet."""
        holding = pl.concat([self._holding(codes), after._holding(codes)])["invoice"]
        keys = ["code", "project"]
        drafts = after.drafts.select(*keys, *_COUNTED).join(
            self.drafts.select(*keys, *_COUNTED), on=keys, how="left", suffix="_before"
        )
        other = pl.any_horizontal(
            pl.col(name).ne_missing(pl.col(f"{name}_before")) for name in _COUNTED
        )
        changed = drafts.filter(other | pl.col("code").is_in(holding.drop_nulls().implode()))
        return pl.concat(
            [
                changed.select(
                    "project",
                    "state",
                    "charges",
                    invoice="code",
                    before=pl.col("total_before").fill_null(0),
                    after="total",
                )
                .select(INVOICES.names())
                .cast(INVOICES)
                .sort("invoice"),
                self._on_none(after, codes),
            ]
        )

    def beside(self, codes: pl.Series) -> pl.DataFrame:
        """These charges and what is billed with them: on their invoices, or, where they are on
        none yet, of their projects on none either."""
        chosen = self._holding(codes).select("project", "invoice")
        on = chosen["invoice"].drop_nulls().implode()
        of = chosen.filter(pl.col("invoice").is_null())["project"].implode()
        free = pl.col("invoice").is_null() & pl.col("project").is_in(of)
        return self.charges.filter(pl.col("invoice").is_in(on) | free)

    def _holding(self, codes: pl.Series) -> pl.DataFrame:
        return self.charges.filter(pl.col("code").is_in(codes.implode()))

    def _on_none(self, after: "Standing", codes: pl.Series) -> pl.DataFrame:
        before, now = (
            unbound(standing.charges)
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
            .select(INVOICES.names())
            .cast(INVOICES)
            .sort("project")
        )


_MARK = re.compile(r"([0-9]+)-([0-9a-f]{16})-([0-9a-f]{8})")
_REMEDY = "nothing was written; have it shown again"


@dataclass(frozen=True)
class Seen:
    """A mark of what was shown.

    Attributes
    ----------
    sequence
        Of the facility's last event when it was shown.
    shown, book
        Digests of what was shown and of the price book then.
    """

    sequence: int
    shown: str
    book: str

    @classmethod
    def parse(cls, mark: str) -> Self:
        """A mark from its text.

        Raises
        ------
        InvalidAdjustment
            It is none.
        """
        found = _MARK.fullmatch(mark.strip())
        if found is None:
            raise InvalidAdjustment(
                f"'{mark}' is no mark of what was shown", remedy="copy it from the preview"
            )
        return cls(int(found[1]), found[2], found[3])

    @classmethod
    def of(cls, sequence: int, shown: Iterable[pl.DataFrame], book: PriceBook) -> Self:
        """The mark of these frames, by this price book."""
        rows = [[frame.columns, frame.rows()] for frame in shown]
        return cls(sequence, _digest(rows)[:16], _digest(book.model_dump(mode="json"))[:8])

    def __str__(self) -> str:
        return f"{self.sequence}-{self.shown}-{self.book}"


def require_untouched(
    connection: Connection, facility: str, seen: Seen, codes: pl.Series, invoices: pl.Series
) -> None:
    """Pass if nobody has changed these charges or invoices since they were shown.

    Parameters
    ----------
    codes
        Of the charges that are changed, which are locked, and of those billed with them.
    invoices
        The codes of those that they are on.

    Raises
    ------
    ChangedMeanwhile
        Somebody has: who, what and when.
    """
    since = events.read_events(connection, facility, after=seen.sequence)
    undone = since.filter(pl.col("kind") == "undo")["subject"]
    touched = events.read_events(connection, facility, kinds=["adjust"], groups=undone)
    mine = touched.filter(pl.col("subject").is_in(codes.implode()))["group_id"].unique()
    direct = pl.col("kind").is_in(["adjust", "add_line", "delete"]) & pl.col("subject").is_in(
        codes.implode()
    )
    grouped = (pl.col("kind") == "undo") & pl.col("subject").is_in(mine.implode())
    moved = pl.col("subject").is_in(invoices.implode())
    found = since.filter(direct | grouped | moved)
    if found.height == 0:
        return
    event = found.row(0, named=True)
    more = f", and {found.height - 1:,} more changes came after it" if found.height > 1 else ""
    raise ChangedMeanwhile(
        f"{event['login']} {_told(facility, event)} on {event['at']:%Y-%m-%d at %H:%M:%S} UTC, "
        f"after this was shown{_because(event['reason'])}{more}",
        remedy=_REMEDY,
    )


def require_as_shown(seen: Seen, now: Seen) -> None:
    """Pass if what is written is what was shown.

    Raises
    ------
    ChangedMeanwhile
        It is not, though nobody changed a charge of it.
    """
    if seen.shown == now.shown:
        return
    raise ChangedMeanwhile(
        "the price book was changed after this was shown, and it would come out otherwise"
        if seen.book != now.book
        else "this is not what was shown: it is for other charges, says something else, or they "
        "were rated again since",
        remedy=_REMEDY,
    )


def _digest(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _told(facility: str, event: dict[str, Any]) -> str:
    charge = f"{facility}/{event['subject']}"
    if event["kind"] == "delete":
        return f"deleted the charge {charge}"
    if event["kind"] == "add_line":
        return f"added the line {charge}"
    if event["kind"] == "undo":
        return f"undid the group {event['subject']}"
    if event["kind"] == "adjust":
        before, after = json.loads(event["before"]), json.loads(event["after"])
        fields = ", ".join(f"{name} {before[name]} → {after[name]}" for name in after)
        return f"changed the charge {charge}, {fields},"
    action = event["kind"].replace("_", " ")
    return f"changed the invoice {event['subject']} ({action})"


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
