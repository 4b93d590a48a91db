"""What a change comes to: the month before it and after it, compared.

    effect     charge  project  before  after      the charges whose total is another
    values     charge  field    before  after      what was set on each
    invoices   invoice project  state   before …   the drafts that come to something else

Both are read from the ledger within the transaction that makes the change, so that what is shown
is what is written (bulk.py).
"""

from dataclasses import dataclass

import polars as pl
from sqlalchemy import Connection

from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.states import EDITABLE
from billing_lib.workflow.charge_rows import unbound

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
