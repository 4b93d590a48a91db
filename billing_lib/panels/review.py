"""Reviewing a month: what it comes to, what is wrong with it, and where to set it right.

    review = ReviewPanel("RC", "1993-10")
    review.heading()    records = charges + unbilled, at once
    review.charges()    all of them, to filter, search, sort and change
    review.check()      asks all checks, with a progress bar
    review.findings()   what they found, each with its remedy

A mistake, such as a month that is not rated, is one sentence in the heading; all else is empty
then.
"""

from collections.abc import Callable
from decimal import Decimal
from html import escape

import ipywidgets as widgets
import polars as pl
from IPython.display import HTML, display

from billing_lib.errors import BillingError
from billing_lib.panels import pictures
from billing_lib.panels.changes import changes_table
from billing_lib.panels.charges import ChargesPanel
from billing_lib.panels.display import in_browser
from billing_lib.panels.findings import FindingsPanel
from billing_lib.panels.later import Later
from billing_lib.panels.office import Message, Office
from billing_lib.panels.pictures import Picture
from billing_lib.panels.progress import Progress
from billing_lib.panels.tables import table
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.period import Period
from billing_lib.workflow.changes import read_history
from billing_lib.workflow.discrepancies import (
    ReviewedMonth,
    find_discrepancies,
    summarise_month,
)

LARGEST = 20
"""How many of the largest charges are shown."""

Shown = HTML | Picture | FindingsPanel


class ReviewPanel:
    """The tables, pictures and forms of the review notebook for one facility and month.

    Attributes
    ----------
    month
        The month as the checks saw it; None until they were asked.
    refused
        What is wrong, where the month cannot be reviewed; else ''.
    """

    def __init__(self, facility: str, period: str, office: Office | None = None) -> None:
        self.facility, self.period = facility, period
        self.month: ReviewedMonth | None = None
        self.message = Message()
        self.progress = Progress(self.message)
        self.panel: FindingsPanel | None = None
        self.refused, self.stopped = "", False
        self._shown: list[Later] = []
        try:
            self.office = office or Office.open()
            self.book = self.office.book(facility)
            self.summary = summarise_month(self.office.engine, self.book, period)
        except BillingError as error:
            self.refused = str(error)
            return
        self.currency = self.book.facility.currency
        self.places = minor_places(self.currency)

    def heading(self) -> HTML:
        """How the month adds up."""
        if self.refused:
            return HTML(f'<p role="alert" style="color: #a40000">{escape(self.refused)}</p>')
        it = self.summary
        adds_up = "=" if it.records == it.charges + it.unbilled else ":"
        cost = "" if it.cost is None else f" Cost {self._money(it.cost)}."
        lines = f"{it.lines:,} added {'line' if it.lines == 1 else 'lines'}"
        return HTML(
            f"<h2>{escape(self.facility)} · {self.period}</h2>"
            f"<p><b>{it.records:,}</b> usage records {adds_up} <b>{it.charges:,}</b> charges + "
            f"<b>{it.unbilled:,}</b> unbilled; {lines}. Total <b>{self._money(it.total)}</b>."
            f"{cost}</p>"
        )

    def charges(self) -> ChargesPanel | HTML:
        """All charges, to filter, search, sort and change."""
        if self.refused:
            return HTML("")
        return ChargesPanel(self.facility, self.period, self.office)

    def check(self) -> None:
        """Ask all checks, showing how far it is; what is shown of them comes when they are done."""
        if self.refused:
            return
        if in_browser():
            display(widgets.VBox([self.progress.widget, self.message.widget]))
        self._ask()

    def findings(self) -> Later:
        """What the checks found, each with the way to its remedy."""
        return self._later(self._findings)

    def spend_by(self, column: str) -> Later:
        """A picture of what each ``project``, ``user`` or ``item`` comes to."""
        return self._later(
            lambda it: pictures.spend_by(it.charges, column, self.currency, self.places)
        )

    def spend_by_day(self) -> Later:
        """A picture of what each day comes to."""
        return self._later(
            lambda it: pictures.spend_by_day(
                it.charges, Period.parse(self.period), self.currency, self.places
            )
        )

    def months(self) -> Later:
        """A picture of this month against the last twelve."""
        return self._later(
            lambda it: pictures.months(
                it.charges, it.spend, Period.parse(self.period), self.currency, self.places
            )
        )

    def instrument_hours(self) -> Later:
        """A heat map of the instruments' hours by day; of what is shared, where there are none."""
        return self._later(
            lambda it: pictures.instrument_hours(
                self._of_instruments(it.charges), Period.parse(self.period)
            )
        )

    def by(self, column: str, caption: str) -> Later:
        """Charges and totals by ``project``, ``user``, ``item`` or ``state``, largest first."""

        def made(month: ReviewedMonth) -> HTML:
            sums = ["raw_total", "adjustment", "total"]
            sums += [] if self.summary.cost is None else ["cost"]
            frame = (
                month.charges.group_by(column)
                .agg(pl.len().cast(pl.Int64).alias("charges"), pl.col(sums).sum())
                .sort("total", column, descending=[True, False])
            )
            return table(frame, caption, places=self.places, total=("charges", *sums))

        return self._later(made)

    def largest(self) -> Later:
        """The largest charges, where a mistake costs most."""
        shown = ("charge", "project", "user", "date", "quantity", "price", "total", "state")

        def made(month: ReviewedMonth) -> HTML:
            frame = month.charges.sort("total", "charge", descending=[True, False]).head(LARGEST)
            return table(frame.select(shown), f"The {LARGEST} largest charges", places=self.places)

        return self._later(made)

    def changes(self) -> Later:
        """What staff changed, with who, when and why."""
        return self._later(
            lambda it: changes_table(
                read_history(self.office.engine, self.book, it.charges["charge"].to_list())
            )
        )

    def _ask(self, done: Callable[[bool], None] = lambda found: None) -> None:
        """Ask the checks in a thread; without JupyterLab wait for it, else the cell ends at once,
        since a kernel hears of no button while a cell runs."""

        def ended(month: ReviewedMonth | None) -> None:
            self.month = month or self.month  # what was seen before stays in sight
            self.stopped = self.month is None
            for shown in self._shown:
                shown.fill()
            done(month is not None)

        self.stopped = False
        self.message.say("")
        self.progress.start(
            lambda step: find_discrepancies(self.office.engine, self.book, self.period, step),
            then=ended,
            refused=lambda _: ended(None),
        )
        if not in_browser():
            self.progress.wait()

    def _findings(self, month: ReviewedMonth) -> FindingsPanel:
        if self.panel is None:
            self.panel = FindingsPanel(self.facility, self.period, month, self._ask, self.office)
        elif self.panel.month is not month:
            self.panel.take(month)
        return self.panel

    def _later(self, make: Callable[[ReviewedMonth], Shown]) -> Later:
        def now() -> Shown:
            if self.refused:
                return HTML("")
            if self.month is not None:
                return make(self.month)
            if self.stopped:
                return HTML("<p>The month was not checked; run the cell with the checks again.</p>")
            return HTML("<p>The month is being checked …</p>")

        shown = Later(now)
        self._shown.append(shown)
        return shown

    def _of_instruments(self, charges: pl.DataFrame) -> pl.DataFrame:
        shared = [item.code for item in self.book.items if item.shared]
        own = charges.filter(~pl.col("item").is_in(shared))
        return own if (own["unit"] == "hour").any() else charges

    def _money(self, amount: int) -> str:
        return f"{Decimal(money_text(amount, self.places)):,} {self.currency}"
