"""Who changed what: the changes of charges, and the groups in which they were made.

RC/57   quantity 388.5 → 194.25   carol   1993-11-02 17:04   half of the nodes failed
3f9c…   rate → 0.10   128 charges   carol   1993-11-02 17:20   agreed    open
"""

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events
from billing_lib.ledger.database import reading
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adjust import split_code
from billing_lib.workflow.charge_rows import unbound
from billing_lib.workflow.permissions import VIEWER, require

CHANGES = ("adjust", "add_line", "delete")
"""Kinds of events that change a charge."""

OPEN, UNDONE, KEPT = "open", "undone", "kept"
"""A group that can be undone, one that was, and one of which a charge is deleted, is being
approved or is issued."""

GROUPS = pl.Schema(
    {
        "group": pl.String(),
        "at": pl.String(),
        "by": pl.String(),
        "charges": pl.Int64(),
        "after": pl.List(pl.String()),
        "reason": pl.String(),
        "state": pl.String(),
    }
)


def read_history(engine: Engine, book: PriceBook, charges: list[str]) -> pl.DataFrame:
    """The changes of some charges (``RC/57``), in order: ``charge``, ``what``, ``before``,
    ``after``, ``by``, ``at``, ``reason``.
    """
    facility = book.facility.code
    codes = [split_code(charge)[1] for charge in charges]
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        return history_of(connection, facility, codes)


def history_of(connection: Connection, facility: str, codes: pl.Series | list[str]) -> pl.DataFrame:
    """The same, of the charges with these codes, as part of something read at one moment."""
    changes = events.read_events(connection, facility, kinds=list(CHANGES), subjects=codes)
    undone = events.read_events(
        connection, facility, kinds=["undo"], subjects=changes["group_id"].drop_nulls().unique()
    )
    return (
        pl.concat([changes, undone])
        .sort("sequence")
        .select(
            pl.when(pl.col("kind") == "undo")
            .then(pl.format("group {}", "subject"))
            .otherwise(pl.format("{}/{}", pl.lit(facility), "subject"))
            .alias("charge"),
            pl.col("kind").alias("what"),
            "before",
            "after",
            pl.col("login").alias("by"),
            pl.col("at").dt.to_string("%Y-%m-%d %H:%M:%SZ"),
            "reason",
        )
    )


def list_groups(engine: Engine, book: PriceBook, month: str) -> pl.DataFrame:
    """The groups of changes to a month's charges (schema GROUPS), the latest first.

    ``after`` is what was set, each field as JSON; ``state`` is OPEN, UNDONE or KEPT.
    """
    facility, period = book.facility.code, str(Period.parse(month))
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        charges = ledger_charges.read_charges(connection, facility, period=period)
        every = events.read_events(connection, facility, kinds=["adjust"])
        undone = events.read_events(connection, facility, kinds=["undo"])["subject"]
    grouped = every.filter(pl.col("group_id").is_not_null())
    here = grouped.filter(pl.col("subject").is_in(charges["code"].implode()))["group_id"]
    free = unbound(charges).select(subject="code", free=pl.lit(value=True))
    state = (
        pl.when(pl.col("group").is_in(undone.implode()))
        .then(pl.lit(UNDONE))
        .when(pl.col("free"))
        .then(pl.lit(OPEN))
        .otherwise(pl.lit(KEPT))
    )
    return (
        grouped.filter(pl.col("group_id").is_in(here.implode()))
        .join(free, on="subject", how="left")
        .group_by(pl.col("group_id").alias("group"))
        .agg(
            pl.col("sequence").first(),
            pl.col("at").first().dt.to_string("%Y-%m-%d %H:%M"),
            pl.col("login").first().alias("by"),
            pl.col("subject").n_unique().cast(pl.Int64).alias("charges"),
            pl.col("after").unique(maintain_order=True),
            pl.col("reason").first(),
            pl.col("free").is_not_null().all(),
        )
        .with_columns(state=state)
        .sort("sequence", descending=True)
        .select(GROUPS.names())
    )
