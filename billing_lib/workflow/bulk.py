"""The same change to many charges: previewed, made as one group, undone as one group.

    select(project="u4", item="core-hour")    what a change is for
    preview(...)                              charge by charge: before, after
    adjust_many(...)                          one event per charge, all of group 3f9c…
    undo_group(...)                           as if the group had never been

All of a selection changes, or none. A group is undone as long as its charges are PENDING.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment, NotReady
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events
from billing_lib.ledger.database import reading, writing
from billing_lib.pricing.adjusting import ADJUSTMENTS, LINE_FIELDS
from billing_lib.pricing.charging import Charges
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adjust import (
    checked_values,
    move_to,
    price_with_kin,
    record_changes,
    require_reason,
    standing_so,
    with_kin,
)
from billing_lib.workflow.charge_rows import unbound
from billing_lib.workflow.gathering import Gathered, standing_changes
from billing_lib.workflow.moving import move_charges
from billing_lib.workflow.permissions import REVIEWER, VIEWER, require
from billing_lib.workflow.runs import follow_changes

EFFECT = ("charge", "project", "before", "after")


@dataclass(frozen=True)
class Selection:
    """Which pending charges of a month a change is for; what is None selects all.

    Attributes
    ----------
    text
        Part of the charge's description, whatever its case.
    """

    project: str | None = None
    team: str | None = None
    item: str | None = None
    user: str | None = None
    text: str | None = None

    def of(self, charges: pl.DataFrame) -> pl.DataFrame:
        """Those of the charges that are selected and may still change."""
        chosen = unbound(charges)
        for column in ("project", "team", "item", "user"):
            wanted = getattr(self, column)
            if wanted is not None:
                chosen = chosen.filter(pl.col(column) == wanted)
        if self.text is not None:
            described = pl.col("description").str.to_lowercase()
            chosen = chosen.filter(described.str.contains(self.text.lower(), literal=True))
        return chosen


@dataclass(frozen=True)
class Changed:
    """What a change to many charges comes to.

    Attributes
    ----------
    group
        Its name, by which it is undone; '' for a preview and where nothing changed.
    selected
        How many charges it is for; none that staff have set to just this before.
    effect
        ``charge``, ``project``, ``before``, ``after`` (totals in minor units) of every charge
        whose total changes, kin by tiers or day passes included, by charge.
    """

    group: str
    selected: int
    effect: pl.DataFrame


def preview(
    engine: Engine, book: PriceBook, month: str, selection: Selection, changes: Mapping[str, object]
) -> Changed:
    """What a change would come to; nothing is written.

    Raises
    ------
    InvalidAdjustment, NotReady
        A field or value cannot be; no pending charge is selected.
    """
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        chosen = _chosen(connection, book, month, selection, changes)
        values = checked_values(book, chosen, changes)
        return Changed("", chosen.height, _effect(*_priced(connection, book, chosen, values)))


def adjust_many(
    engine: Engine,
    book: PriceBook,
    month: str,
    selection: Selection,
    changes: Mapping[str, object],
    reason: str,
) -> Changed:
    """Make the same change to all selected charges, as one group; all or none.

    Raises
    ------
    InvalidAdjustment, NotReady
        A field or value cannot be, or there is no reason; no pending charge is selected.
    """
    require_reason(reason)
    facility = book.facility.code
    with writing(engine) as connection:
        require(connection, facility, REVIEWER)
        chosen = _chosen(connection, book, month, selection, changes)
        ledger_charges.lock_charges(connection, facility, chosen["code"])
        values = checked_values(book, chosen, changes)
        so = standing_so(connection, facility, chosen, values)
        chosen = chosen.filter(~pl.col("code").is_in(so.implode()))
        if chosen.height == 0:
            return Changed("", 0, pl.DataFrame(schema=dict.fromkeys(EFFECT, pl.String)))
        group = uuid.uuid4().hex[:12]
        effect = _effect(*_priced(connection, book, chosen, values))
        now = move_to(connection, book, chosen, values)
        record_changes(connection, book, chosen, values, reason, group)
        price_with_kin(connection, book, chosen, now)
        follow_changes(connection, book, chosen)
        return Changed(group, chosen.height, effect)


def undo_group(engine: Engine, book: PriceBook, group: str, reason: str) -> Changed:
    """Take back what a group of changes did.

    Raises
    ------
    InvalidAdjustment, NotReady
        There is no such group, or it was undone before; a charge of it is issued.
    """
    require_reason(reason)
    facility = book.facility.code
    with writing(engine) as connection:
        require(connection, facility, REVIEWER)
        made = events.read_events(connection, facility, kinds=["adjust"], groups=[group])
        if (
            made.height == 0
            or events.read_events(connection, facility, kinds=["undo"], subjects=[group]).height
        ):
            raise InvalidAdjustment(
                f"there is no group of changes '{group}' to undo",
                remedy="name it as 'billing bulk' did when it made the changes",
            )
        codes = made["subject"].unique()
        ledger_charges.lock_charges(connection, facility, codes)
        charges = ledger_charges.read_charges(connection, facility, codes=codes)
        if charges.height == 0:
            raise NotReady(f"the charges of the group {group} were deleted since")
        locked = charges.join(unbound(charges), on="code", how="anti").sort("code")
        if locked.height:
            raise NotReady(
                f"the charge {facility}/{locked['code'][0]} of the group is issued or submitted",
                remedy="reject its invoice first; what is issued is credited or reissued",
            )
        events.record_event(connection, facility, kind="undo", subject=group, reason=reason)
        back, rates = move_charges(connection, book, charges, _projects_without(connection, made))
        ledger_charges.keep_rates(connection, facility, rates.select("rate", "body").rows())
        effect = _effect(*with_kin(connection, book, charges, back))
        price_with_kin(connection, book, charges, back)
        follow_changes(connection, book, charges)
        return Changed(group, charges.height, effect)


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


def _chosen(
    connection: Connection,
    book: PriceBook,
    month: str,
    selection: Selection,
    changes: Mapping[str, object],
) -> pl.DataFrame:
    """The selected charges; of a quantity or rate, which added lines do not have, usage alone."""
    charges = ledger_charges.read_charges(connection, book.facility.code, period=month)
    chosen = selection.of(charges)
    if not changes.keys() <= set(LINE_FIELDS):
        chosen = chosen.filter(pl.col("kind") == "usage")
    if chosen.height == 0:
        raise NotReady(
            f"no pending charge of {book.facility.code} {month} is selected",
            remedy="'billing charges' lists them with their state",
        )
    return chosen


def _priced(
    connection: Connection, book: PriceBook, chosen: pl.DataFrame, values: Mapping[str, str]
) -> tuple[pl.DataFrame, Charges]:
    """The selected charges with their kin as they stand, and as they would be priced."""
    now, rates = chosen, None
    if "project" in values:
        to = chosen.select("code", project=pl.lit(values["project"]))
        now, rates = move_charges(connection, book, chosen, to)

    def changed(it: Gathered) -> Gathered:
        catalogue = it.catalogue
        if rates is not None:
            known = pl.concat([catalogue.rates, rates]).unique("rate", maintain_order=True)
            catalogue = replace(catalogue, rates=known)
        changes = pl.concat([it.adjustments, _not_made_yet(it.adjustments, chosen, values)])
        return replace(it, catalogue=catalogue, adjustments=changes)

    return with_kin(connection, book, chosen, now, changed)


def _not_made_yet(
    standing: pl.DataFrame, chosen: pl.DataFrame, values: Mapping[str, str]
) -> pl.DataFrame:
    """The changes as they will be (schema ADJUSTMENTS), after those that stand."""
    last = standing.select(pl.col("order").max().fill_null(0)).item() if standing.height else 0
    changes = [
        chosen.select(
            order=pl.lit(last + at),
            charge="code",
            field=pl.lit(field),
            value=pl.lit(value),
            before=pl.lit(None),
            by=pl.lit(""),
            at=pl.lit(""),
            reason=pl.lit(""),
        ).cast(ADJUSTMENTS)
        for at, (field, value) in enumerate(values.items(), start=1)
    ]
    return pl.concat(changes)


def _effect(standing: pl.DataFrame, priced: Charges) -> pl.DataFrame:
    after = priced.charges.select("total", code="charge")
    return (
        standing.join(after, on="code", suffix="_after")
        .filter(pl.col("total") != pl.col("total_after"))
        .select(charge="code", project="project", before="total", after="total_after")
        .sort("charge")
    )
