"""Reviewing a month: what it comes to, what is not billed, what staff changed.

records in = charges + unbilled
"""

import polars as pl
from IPython.display import HTML

from billing_lib.panels.changes import changes_table
from billing_lib.panels.office import Office
from billing_lib.panels.tables import table
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.workflow.review import read_month

LARGEST = 20
"""How many of the largest charges are shown."""


class ReviewPanel:
    """The tables of the review notebook for one facility and month."""

    def __init__(self, facility: str, period: str, office: Office | None = None) -> None:
        office = office or Office.open()
        book = office.book(facility)
        self.month = read_month(office.engine, book, period)
        self.currency = book.facility.currency
        self.places = minor_places(self.currency)
        self._costs = ["cost"] if self.month.charges["cost"].count() else []

    def heading(self) -> str:
        """The month in a few lines of Markdown."""
        month = self.month
        total = money_text(int(month.charges["total"].sum()), self.places)
        lines = month.charges.filter(pl.col("kind") == "line").height
        cost = ""
        if self._costs:
            text = money_text(int(month.charges["cost"].sum()), self.places)
            cost = f" Cost {text} {self.currency}."
        return (
            f"## {month.facility} · {month.period}\n\n"
            f"**{month.records:,}** usage records = **{month.charges.height - lines:,}** charges "
            f"+ **{month.unbilled.height:,}** unbilled; "
            f"{lines:,} added {'line' if lines == 1 else 'lines'}. "
            f"Total **{total} {self.currency}**.{cost}"
        )

    def by(self, column: str, caption: str) -> HTML:
        """Charges and totals by ``project``, ``user``, ``item`` or ``state``, largest first."""
        frame = (
            self.month.charges.group_by(column)
            .agg(
                pl.len().cast(pl.Int64).alias("charges"),
                pl.col("raw_total").sum(),
                pl.col("adjustment").sum(),
                pl.col("total").sum(),
                *(pl.col(name).sum() for name in self._costs),
            )
            .sort("total", column, descending=[True, False])
        )
        sums = ("charges", "raw_total", "adjustment", "total", *self._costs)
        return table(frame, caption, places=self.places, total=sums)

    def largest(self) -> HTML:
        """The largest charges, where a mistake costs most."""
        frame = self.month.charges.sort("total", "charge", descending=[True, False]).head(LARGEST)
        shown = ("charge", "project", "user", "date", "quantity", "price", "total", "state")
        return table(frame.select(shown), f"The {LARGEST} largest charges", places=self.places)

    def unbilled(self) -> HTML:
        """Unbilled records by reason, with an example of each."""
        frame = (
            self.month.unbilled.group_by("reason", maintain_order=True)
            .agg(
                pl.len().cast(pl.Int64).alias("records"),
                pl.col("detail").first().alias("for_example"),
            )
            .sort("records", descending=True)
        )
        return table(frame, "Unbilled records", total=("records",))

    def expense_codes(self) -> HTML:
        """Expense codes that may not be charged: unknown, malformed, or not valid on the day."""
        return table(self.month.invalid_codes, "Expense codes that may not be charged")

    def changes(self) -> HTML:
        """What staff changed, with who, when and why."""
        return changes_table(self.month.changes)
