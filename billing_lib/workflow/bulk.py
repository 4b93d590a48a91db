"""The same change to many charges: previewed, made as one group, undone as one group.

    select(project="u4", item="core-hour")    what a change is for
    preview(...)                              charge by charge: before, after
    adjust_many(...)                          one event per charge, all of group 3f9c…
    undo_group(...)                           as if the group had never been

All of a selection changes, or none. A group is undone as long as its charges are PENDING.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment, NotReady
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events
from billing_lib.ledger.database import reading, writing
from billing_lib.pricing.adjusting import ADJUSTMENTS
from billing_lib.pricing.charging import Charges
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adjust import checked_values, kin_of, record_changes, require_reason
from billing_lib.workflow.gathering import gather
from billing_lib.workflow.rating import differing, replace_charges, unbound

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
        Its name, by which it is undone; '' for a preview.
    selected
        How many charges it is for.
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
        chosen = _chosen(connection, book, month, selection)
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
        chosen = _chosen(connection, book, month, selection)
        ledger_charges.lock_charges(connection, facility, chosen["code"])
        values = checked_values(book, chosen, changes)
        group = uuid.uuid4().hex[:12]
        kin, _ = before = _priced(connection, book, chosen, values)
        record_changes(connection, book, chosen, values, reason, group)
        priced = gather(connection, book, kin).price()
        replace_charges(connection, facility, priced, differing(connection, facility, kin, priced))
        return Changed(group, chosen.height, _effect(*before))


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
        locked = charges.join(unbound(charges), on="code", how="anti").sort("code")
        if locked.height:
            raise NotReady(
                f"the charge {facility}/{locked['code'][0]} of the group is issued or in a run",
                remedy="credit or reissue its invoice",
            )
        kin = kin_of(connection, facility, charges)
        events.record_event(connection, facility, kind="undo", subject=group, reason=reason)
        priced = gather(connection, book, kin).price()
        replace_charges(connection, facility, priced, differing(connection, facility, kin, priced))
        return Changed(group, charges.height, _effect(kin, priced))


def _chosen(
    connection: Connection, book: PriceBook, month: str, selection: Selection
) -> pl.DataFrame:
    charges = ledger_charges.read_charges(connection, book.facility.code, period=month)
    chosen = selection.of(charges)
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
    kin = kin_of(connection, book.facility.code, chosen)
    it = gather(connection, book, kin)
    later = (it.adjustments["order"].max() or 0) if it.adjustments.height else 0
    added = pl.concat(
        [
            chosen.select(
                order=pl.lit(later, dtype=pl.Int64) + at,
                charge="code",
                field=pl.lit(field),
                value=pl.lit(value),
                before=pl.lit(None, dtype=pl.String),
                by=pl.lit(""),
                at=pl.lit(""),
                reason=pl.lit(""),
            )
            for at, (field, value) in enumerate(values.items(), start=1)
        ]
    ).select(pl.col(name).cast(dtype) for name, dtype in ADJUSTMENTS.items())
    it.adjustments.extend(added)
    return kin, it.price()


def _effect(standing: pl.DataFrame, priced: Charges) -> pl.DataFrame:
    after = priced.charges.select("total", code="charge")
    return (
        standing.join(after, on="code", suffix="_after")
        .filter(pl.col("total") != pl.col("total_after"))
        .select(charge="code", project="project", before="total", after="total_after")
        .sort("charge")
    )
