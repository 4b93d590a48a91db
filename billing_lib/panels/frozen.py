"""The notebooks review and adjust, opened on the ledger or on a month frozen in a snapshot.

    open_review("RC", "1993-10")              forms and tables to work with, from the ledger
    open_review("RC", "1993-10", "record")    the same parts as plain tables, for a record

Issuing executes both notebooks on the frozen month, so that a record shows the month as it was
reviewed and changed. There every part is a plain table of the snapshot in the folder: no ledger,
no widget and no picture, so that the same snapshot gives the same HTML everywhere.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from IPython.display import HTML

from billing_lib.panels.html import amount, changed_fields, plain_table
from billing_lib.pricing.charge import as_text
from billing_lib.pricing.money import minor_places
from billing_lib.workflow.review import MonthData, ReviewedMonth, check_month
from billing_lib.workflow.snapshot import Snapshot

if TYPE_CHECKING:
    from billing_lib.panels.adjust import AdjustPanel
    from billing_lib.panels.review import ReviewPanel

MOST = 50
"""The most rows of a plain table; the snapshot has all of them."""

_CHARGE = ("charge", "project", "item", "user", "date", "quantity", "price", "total")


def open_review(facility: str, period: str, folder: str = "") -> "ReviewPanel | FrozenReview":
    """The month's review, from the ledger, or from the ``snapshot`` in a folder."""
    if folder:
        return FrozenReview(Path(folder) / "snapshot")
    from billing_lib.panels.review import ReviewPanel

    return ReviewPanel(facility, period)


def open_adjust(facility: str, period: str, folder: str = "") -> "AdjustPanel | FrozenAdjust":
    """The forms that change a month, or the changes in the ``snapshot`` of a folder."""
    if folder:
        return FrozenAdjust(Path(folder) / "snapshot")
    from billing_lib.panels.adjust import AdjustPanel

    return AdjustPanel(facility, period)


class FrozenReview:
    """A frozen month's review, with the methods of ``ReviewPanel``."""

    def __init__(self, snapshot: Path) -> None:
        self.data = MonthData.read(snapshot)
        self.month: ReviewedMonth = check_month(self.data)
        self.places = minor_places(self.data.facility.currency)

    def heading(self) -> HTML:
        """The month's counts and total."""
        data, charges = self.data, self.data.charges
        total = f"{amount(int(charges['total'].sum()), self.places)} {data.facility.currency}"
        counts = pl.DataFrame(
            {
                "facility": [data.facility.name],
                "period": [str(data.period)],
                "charges": [charges.filter(kind="usage").height],
                "added_lines": [charges.filter(kind="line").height],
                "unbilled": [data.unbilled.height],
                "total_of_all": [total],
            }
        )
        return self._table(counts, "The month as it was frozen")

    def charges(self) -> HTML:
        """The first charges."""
        return self._charges(self.month.charges.head(MOST), "All charges", self.month.charges)

    def check(self) -> None:
        """The checks ran when the month was opened."""

    def findings(self) -> HTML:
        """The findings of the checks, then the dismissed ones with who, when and why."""
        found = self.month.findings.select("severity", "check", "subject", "sentence", "total")
        dismissed = self.month.dismissed.drop("key")
        tables = (self._table(found, "Findings"), self._table(dismissed, "Dismissed findings"))
        return HTML("\n".join(str(each.data) for each in tables))

    def spend_by(self, column: str) -> HTML:
        """Totals by ``project``, ``user`` or ``item``."""
        sums = self.month.charges.group_by(column).agg(pl.col("total").sum())
        return self._largest(sums, column, f"Spend by {column}")

    def spend_by_day(self) -> HTML:
        """Totals by day."""
        sums = self.month.charges.group_by("date").agg(pl.col("total").sum()).sort("date")
        sums = sums.with_columns(pl.col("date").cast(pl.String))
        return self._table(sums, "Spend by day", total=("total",))

    def months(self) -> HTML:
        """This month and the last twelve."""
        before = self.month.spend.group_by("period").agg(pl.col("total").sum())
        now = before.clear().vstack(
            pl.DataFrame(
                {"period": [str(self.data.period)], "total": [self.month.charges["total"].sum()]},
                schema=before.schema,
            )
        )
        return self._table(pl.concat([before, now]).sort("period"), "Months")

    def instrument_hours(self) -> HTML:
        """The hours of items that are sold by the hour."""
        hourly = self.month.charges.filter((pl.col("unit") == "hour") & (pl.col("kind") == "usage"))
        hours = hourly.group_by("item").agg(quantity=pl.col("quantity").sum()).sort("item")
        return self._table(as_text(hours, only=("quantity",)), "Hours by item")

    def by(self, column: str, caption: str) -> HTML:
        """Charges and totals by ``project``, ``user``, ``item`` or ``state``, largest first."""
        sums = ["raw_total", "adjustment", "total"]
        counted = pl.len().cast(pl.Int64).alias("charges")
        frame = self.month.charges.group_by(column).agg(counted, pl.col(sums).sum())
        return self._largest(frame, column, caption, ("charges", *sums))

    def largest(self) -> HTML:
        """The largest charges."""
        ordered = self.month.charges.sort("total", "charge", descending=[True, False])
        return self._charges(ordered.head(20), "The largest charges")

    def changes(self) -> HTML:
        """The changes by staff, each with author, time and reason."""
        return plain_table(changed_fields(self.data.changes), "Changes by staff")

    def _charges(self, rows: pl.DataFrame, caption: str, of: pl.DataFrame | None = None) -> HTML:
        shown = as_text(rows.select(_CHARGE), only=("quantity", "price"))
        return self._table(shown, _counted(caption, rows, of))

    def _largest(
        self, sums: pl.DataFrame, column: str, caption: str, total: tuple[str, ...] = ("total",)
    ) -> HTML:
        ordered = sums.sort("total", column, descending=[True, False])
        rows = ordered.head(MOST)
        if rows.height < ordered.height:
            total = ()
        return self._table(rows, _counted(caption, rows, ordered), total)

    def _table(self, frame: pl.DataFrame, caption: str, total: tuple[str, ...] = ()) -> HTML:
        return plain_table(frame, caption, places=self.places, total=total)


class FrozenAdjust:
    """A frozen month's changes, with the methods of ``AdjustPanel``."""

    def __init__(self, snapshot: Path) -> None:
        self.data, self.snapshot = MonthData.read(snapshot), Snapshot.read(snapshot)
        self.places = minor_places(self.data.facility.currency)

    def _repr_html_(self) -> str:
        """The added lines, and the notes on invoices, of those that were issued."""
        lines = self.snapshot.lines.select("charge", "description", "amount", "by", "at", "reason")
        notes = self.snapshot.notes
        tables = (
            plain_table(lines, "Added lines", places=self.places),
            plain_table(notes, "Notes on invoices"),
        )
        return "\n".join(str(each.data) for each in tables)

    def changes(self) -> HTML:
        """The changes that staff made in the month, each with author, time and reason."""
        return plain_table(changed_fields(self.data.changes), "Changes by staff")


def _counted(caption: str, rows: pl.DataFrame, of: pl.DataFrame | None) -> str:
    if of is None or rows.height == of.height:
        return caption
    return f"{caption}: {rows.height:,} of {of.height:,}"
