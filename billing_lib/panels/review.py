"""The review notebook: a month's sums, findings and pictures, and the way to each remedy.

    review = ReviewPanel("RC", "1993-10")
    review.heading()    records = charges + unbilled, at once
    review.charges()    all charges, to filter, search, sort and change
    review.check()      runs all checks, with a progress bar
    review.findings()   overlapping sessions   scope-1   2 sessions overlap …   [Remedy]

A finding opens its charges, the form with the proposed change, and a way to dismiss it with a
reason. A mistake, such as a month that is not rated, is one sentence in the heading; all other
parts are then empty. Pictures are altair charts of small, already summed frames, drawn as SVG:
the same in JupyterLab and in a page by nbconvert, without a network. Their colours, by Okabe and
Ito and from cividis, are distinct for colour-blind people too.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from typing import Any

import altair as alt
import ipywidgets as widgets
import polars as pl
import vl_convert
from IPython.display import HTML, display

from billing_lib import Site, open_site
from billing_lib.errors import BillingError, NotReady, count_of
from billing_lib.panels.change import ChangeCharges, changes_table
from billing_lib.panels.charge_list import charge_columns, with_names
from billing_lib.panels.forms import bundle, in_browser, offer, on_page, table
from billing_lib.panels.html import amount
from billing_lib.panels.office import Desk, Later, Message, ProgressBar
from billing_lib.panels.table import MONEY, NUMBER, OPENING, Column, PagedTable
from billing_lib.pricing.charge import QUANTITY_PLACES, as_text
from billing_lib.pricing.clock import Period
from billing_lib.pricing.money import minor_places
from billing_lib.pricing.month_checks import CHECKS, name_of, told
from billing_lib.workflow.adjust import read_history
from billing_lib.workflow.price import changeable_charges
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.review import (
    Remedy,
    ReviewedMonth,
    dismiss,
    find_discrepancies,
    read_charges,
    remedy,
    restore,
    summarise_month,
)

_WIDE = {"width": "34em"}
_LABEL = {"description_width": "9em"}
_RECORDS = (
    Column("record", "Record"),
    Column("reason", "Reason"),
    Column("project", "Project"),
    Column("item", "Item"),
    Column("user", "User"),
    Column("detail", "What is known", wide=4),
    Column("file", "File"),
    Column("row", "Row", NUMBER),
)

FIGURES = ("quantity", "price")
"""Columns of charges that tables get as text."""


class FindingsPanel:
    """The findings of a month; ``again(done)`` reruns the checks, then calls ``done(success)``."""

    def __init__(
        self,
        facility: str,
        period: str,
        month: ReviewedMonth,
        again: Callable[[Callable[[bool], None]], None],
        office: Site | None = None,
    ) -> None:
        self.desk = Desk(facility, period, office)
        self.month = month
        self.summary = widgets.HTML()
        self.dismissed = widgets.HTML()
        self.message = Message()
        self.detail = widgets.VBox()
        self.change: ChangeCharges | None = None
        self.finding: dict[str, Any] | None = None
        self.reason = widgets.Text(description="Reason", layout=_WIDE, style=_LABEL)
        self.dismiss = widgets.Button(
            description="Dismiss the finding", tooltip="It was looked at and is right"
        )
        self.dismissal = widgets.Dropdown(description="Dismissed", layout=_WIDE, style=_LABEL)
        self.why_back = widgets.Text(description="Reason", layout=_WIDE, style=_LABEL)
        self.restore = widgets.Button(
            description="Take the dismissal back", layout=widgets.Layout(width="auto")
        )
        self.taking_back = widgets.VBox(
            [self.dismissal, widgets.HBox([self.why_back, self.restore])]
        )
        self.again = widgets.Button(description="Check again")
        self.rate = widgets.Button(
            description="Rate the month again",
            tooltip="What has become billable becomes charges",
            layout=widgets.Layout(width="14em"),
        )
        self._check = again
        self.table = PagedTable(
            "findings",
            (
                Column("severity", "Severity"),
                Column("check", "Check", wide=3),
                Column("subject", "About"),
                Column("sentence", "What was found", wide=6),
                Column("count", "Rows", NUMBER),
                Column("total", "Total", MONEY, self.desk.places),
            ),
            self._listed,
            key="key",
            action="Remedy",
            on_action=self.show,
        )
        self.again.on_click(lambda _: self.check_again())
        self.desk.on_change(lambda: self.message.say("Changed; 'Check again' looks anew."))
        self.rate.on_click(lambda _: self.rate_again())
        self.dismiss.on_click(lambda _: self.dismiss_finding())
        self.restore.on_click(lambda _: self.restore_finding())
        self._show_counts()
        self.widget = widgets.VBox(
            [
                self.summary,
                self.table.widget,
                widgets.HBox([self.again, self.message.widget]),
                self.detail,
                self.dismissed,
                self.taking_back,
            ]
        )

    def show(self, at: int) -> None:
        """Show the rows and remedy of the finding at this place among the findings."""
        finding = self.month.findings.row(at, named=True)
        self.finding = finding
        proposed = remedy(finding)
        self.reason.value = ""
        parts: list[widgets.Widget] = [
            widgets.HTML(
                f"<h3>{escape(finding['check'].capitalize())}: {escape(finding['subject'])}</h3>"
                f"<p>{escape(finding['sentence'])}.<br><b>Remedy:</b> "
                f"{escape(finding['remedy'])}.</p>"
            ),
            *self._rows(finding),
        ]
        self.change = None
        if finding["records"]:
            parts.append(self.rate)
        parts += [
            widgets.HTML("Is it right as it is? Then it is not shown again, with your reason:"),
            widgets.HBox([self.reason, self.dismiss]),
        ]
        if proposed is not None:
            parts.append(self._form(proposed))
        self.detail.children = parts

    def _form(self, proposed: Remedy) -> widgets.Widget:
        """The form with the proposed change, for the charges that can still change."""
        chosen = self.month.charges.filter(pl.col("charge").is_in(proposed.charges))
        free = changeable_charges(chosen)["charge"].to_list()
        if not free:
            return widgets.HTML(
                "<p>None of these charges can change any more; what is issued is credited or "
                "reissued.</p>"
            )
        self.change = ChangeCharges(
            self.desk, free, proposed.field, proposed.value or "", fixed=True
        )
        self.change.reason.value = proposed.reason
        return self.change.widget

    def check_again(self, said: str = "") -> None:
        """Run the checks again after a change; report the change (``said``) with the result."""
        self.message.say("The month is checked again …")
        self._check(
            lambda done: self.message.say(
                said + (f"Checked again: {self._count()}." if done else "Not checked again.")
            )
        )

    def take(self, month: ReviewedMonth) -> None:
        """Show the month as checked again."""
        self.month = month
        self.detail.children, self.finding, self.change = (), None, None
        self._show_counts()
        self.table.replace(self._listed)

    def rate_again(self) -> None:
        """Rate the month again, after the price book or the usage was corrected."""
        with self.message.sentences():
            book = self.desk.book  # read anew
            rated = rate_period(self.desk.engine, book, self.desk.month)
            self.check_again(f"{rated.sentence}. ")

    def dismiss_finding(self) -> None:
        """Dismiss the shown finding."""
        if self.finding is None:
            return
        with self.message.sentences():
            key = self.finding["key"]
            said = dismiss(
                self.desk.engine, self.desk.book, self.desk.period, key, self.reason.value
            )
            self.check_again(f"{said}. ")

    def restore_finding(self) -> None:
        """Take the chosen dismissal back."""
        with self.message.sentences():
            key, reason = str(self.dismissal.value), self.why_back.value
            said = restore(self.desk.engine, self.desk.book, self.desk.period, key, reason)
            self.why_back.value = ""
            self.check_again(f"{said}. ")

    def html(self) -> str:
        """The counts and the first findings, for pages without a browser."""
        return f"{self.summary.value}{self.table.html()}{self.dismissed.value}"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return bundle(self.widget, self.html())

    def _count(self) -> str:
        return f"{count_of(self.month.findings.height, 'finding')}"

    def _listed(self) -> pl.DataFrame:
        counts = pl.max_horizontal(pl.col("charges").list.len(), pl.col("records").list.len())
        return self.month.findings.with_columns(count=counts.cast(pl.Int64))

    def _show_counts(self) -> None:
        sums = (
            self._listed()
            .group_by("check")
            .agg(
                pl.col("severity").first(),
                pl.len().cast(pl.Int64).alias("findings"),
                pl.col("total").sum(),
            )
        )
        listed = pl.DataFrame(
            [(name_of(check), told(check)) for check in CHECKS],
            schema=["check", "looks_for"],
            orient="row",
        )
        shown = listed.join(sums, on="check", how="left", maintain_order="left").select(
            "check",
            "severity",
            pl.col("findings").fill_null(0),
            pl.when(pl.col("total") != 0).then("total").alias("total"),
            "looks_for",
        )
        made = table(shown, "What was checked", places=self.desk.places).data
        self.summary.value = (
            f"<details><summary>{len(CHECKS)} checks were asked: {sums.height} found something, "
            f"{len(CHECKS) - sums.height} found nothing</summary>{made}</details>"
        )
        gone = self.month.dismissed
        self.dismissed.value = table(gone.drop("key"), "Dismissed").data if gone.height else ""
        labels = pl.format("{}: {}", "check", "subject")
        offer(self.dismissal, gone.select(labels, "key").rows())
        self.taking_back.layout.display = "" if gone.height else "none"

    def _rows(self, finding: dict[str, Any]) -> list[widgets.Widget]:
        found: list[widgets.Widget] = []
        if finding["charges"]:
            found_in = self.month.charges.filter(pl.col("charge").is_in(finding["charges"]))
            charges = with_names(as_text(found_in, only=FIGURES), self.desk.book)
            columns = charge_columns(self.desk.places)
            currency = self.desk.currency
            found.append(
                PagedTable(
                    "charges of the finding",
                    columns,
                    lambda: charges,
                    sum_of="total",
                    currency=currency,
                    places=self.desk.places,
                ).widget
            )
        if finding["records"]:
            records = self.month.unbilled.filter(
                pl.col("record").is_in(finding["records"])
                & pl.any_horizontal(pl.col("reason", "file") == finding["subject"])
            )
            found.append(PagedTable("unbilled records", _RECORDS, lambda: records).widget)
        return found


class ChargesPanel:
    """The table of a month's charges, above the form for the chosen ones."""

    def __init__(self, facility: str, period: str, office: Site | None = None) -> None:
        self.desk = Desk(facility, period, office)
        opening = self.read(OPENING)
        self.table = PagedTable(
            "charges",
            charge_columns(self.desk.places),
            self.read,
            opening,
            sum_of="total",
            currency=self.desk.currency,
            places=self.desk.places,
            key="charge",
            action="Change",
            on_action=self.change_one,
        )
        self.change_all = widgets.Button(
            description="Change all that match", layout=widgets.Layout(width="14em")
        )
        self.again = widgets.Button(description="Read again")
        self.message = Message()
        self.form = widgets.VBox()
        self.change: ChangeCharges | None = None
        self.desk.on_change(lambda: self.message.say("Changed; 'Read again' shows it above."))
        self.change_all.on_click(lambda _: self.change_matching())
        self.again.on_click(lambda _: self.read_again())
        self.widget = widgets.VBox(
            [
                self.table.widget,
                widgets.HBox([self.change_all, self.again, self.message.widget]),
                self.form,
            ]
        )

    def read(self, first: int | None = None) -> pl.DataFrame:
        """Read all charges of the month, or the ``first`` ones, from the ledger."""
        charges = read_charges(self.desk.engine, self.desk.book, self.desk.period, first)
        return with_names(as_text(charges, only=FIGURES), self.desk.book)

    def change_one(self, at: int) -> None:
        """Open the form for the charge at this place among all."""
        self._open(lambda: self.table.rows_at([at]))

    def change_matching(self) -> None:
        """Open the form for all charges that match the table's filter."""
        self._open(self.table.matching)

    def read_again(self) -> None:
        """Read the month again after a change."""
        with self.message.sentences():
            self.table.replace(self.read)
            self.message.say("Read again.")

    def _open(self, choose: Callable[[], pl.DataFrame]) -> None:
        self.change, self.form.children = None, ()  # drop the former choice
        with self.message.sentences():
            charges = choose()
            free = changeable_charges(charges)
            if free.height == 0:
                raise NotReady(
                    "none of these charges can change any more",
                    remedy="what is issued is credited or reissued",
                )
            self.change = ChangeCharges(self.desk, free["charge"].to_list(), fixed=True)
            self.form.children = [self.change.widget]
            kept = charges.height - free.height
            left = f"; {kept:,} cannot change any more" if kept else ""
            self.message.say(f"The form below is for {count_of(free.height, 'charge')}{left}.")

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return bundle(self.widget, self.table.html())


MOST = 15
"""Bars of a picture; smaller sums are added up in one more bar."""

_WIDTH = 620
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#8a929c"
_WHOLE = ",.12~g"
"""Number format of d3: all digits, in groups of three, without an exponent."""


@dataclass(frozen=True)
class Picture:
    """A picture, ``svg`` or '' for none, and a text (``told``) for people who cannot see it."""

    title: str
    svg: str
    told: str

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": f"{self.title}: {self.told}", "text/html": self.html()}

    def html(self) -> str:
        """The picture as an image inside the page."""
        if not self.svg:
            return f"<p>{escape(self.title)}: {escape(self.told)}</p>"
        data = base64.b64encode(self.svg.encode()).decode()
        alt_text = escape(f"{self.title}: {self.told}")
        style = "max-width: 100%"
        return f'<img alt="{alt_text}" style="{style}" src="data:image/svg+xml;base64,{data}">'


def spend_by(charges: pl.DataFrame, column: str, currency: str, places: int) -> Picture:
    """Totals by ``project``, ``user`` or ``item``, the largest first."""
    sums = (
        charges.group_by(pl.col(column).fill_null("–").alias("name"))
        .agg(pl.col("total").sum())
        .sort("total", "name", descending=[True, False])
    )
    rest = sums.slice(MOST)
    shown = sums.head(MOST)
    if rest.height:
        others = pl.DataFrame(
            {"name": [f"{rest.height:,} others"], "total": [rest["total"].sum()]},
            schema=sums.schema,
        )
        shown = pl.concat([shown, others])
    title = f"Spend by {column}"
    rows = _amounts(shown, places)
    base = alt.Chart(_values(rows), title=title).encode(
        y=alt.Y(
            "name:N",
            sort=None,
            title=column.capitalize(),
            axis=alt.Axis(labelLimit=180, titlePadding=24),
        ),
        x=alt.X(
            "amount:Q", title=f"Total, {currency}", axis=alt.Axis(format=_WHOLE, titlePadding=12)
        ),
    )
    figures = base.mark_text(align="left", dx=4).encode(text=alt.Text("text:N"))
    chart = (base.mark_bar(color=_BLUE) + figures).properties(width=_WIDTH - 100)
    return _picture(title, chart, rows, currency)


def spend_by_day(charges: pl.DataFrame, period: Period, currency: str, places: int) -> Picture:
    """Totals by day of the month."""
    days = pl.DataFrame({"date": pl.date_range(period.first_day, period.last_day, eager=True)})
    sums = charges.group_by("date").agg(pl.col("total").sum())
    joined = days.join(sums, on="date", how="left").select(
        pl.col("date").dt.strftime("%d").alias("name"), pl.col("total").fill_null(0)
    )
    title = "Spend by day"
    rows = _amounts(joined, places)
    chart = (
        alt.Chart(_values(rows), title=title)
        .mark_bar(color=_BLUE)
        .encode(
            x=alt.X("name:O", title=f"Day of {period}", axis=alt.Axis(labelAngle=0)),
            y=alt.Y(
                "amount:Q",
                title=f"Total, {currency}",
                axis=alt.Axis(format=_WHOLE, titlePadding=12),
            ),
        )
        .properties(width=_WIDTH, height=220)
    )
    return _picture(title, chart, rows if charges.height else rows.clear(), currency)


def months(
    charges: pl.DataFrame, spend: pl.DataFrame, period: Period, currency: str, places: int
) -> Picture:
    """This month and the last twelve, without months that have no charge."""
    before = spend.group_by(pl.col("period").alias("name")).agg(pl.col("total").sum())
    now = pl.DataFrame(
        {"name": [str(period)], "total": [charges["total"].sum()]}, schema=before.schema
    )
    rows = _amounts(pl.concat([before, now]).sort("name"), places).with_columns(
        month=pl.when(pl.col("name") == str(period))
        .then(pl.lit("this month"))
        .otherwise(pl.lit("a month before"))
    )
    title = "This month against the last twelve"
    base = alt.Chart(_values(rows), title=title).encode(
        x=alt.X("name:O", title="Month", axis=alt.Axis(labelAngle=0)),
        y=alt.Y(
            "amount:Q", title=f"Total, {currency}", axis=alt.Axis(format=_WHOLE, titlePadding=12)
        ),
    )
    colours = alt.Scale(domain=["this month", "a month before"], range=[_ORANGE, _GREY])
    bars = base.mark_bar().encode(
        color=alt.Color("month:N", title=None, scale=colours, legend=alt.Legend(orient="top"))
    )
    figures = base.mark_text(dy=-6, fontSize=9).encode(text=alt.Text("text:N"))
    chart = (bars + figures).properties(width=_WIDTH, height=220)
    return _picture(title, chart, rows, currency)


def instrument_hours(charges: pl.DataFrame, period: Period) -> Picture:
    """A heat map of hours by item and day, for items sold by the hour, the most used first."""
    hourly = charges.filter((pl.col("unit") == "hour") & (pl.col("kind") == "usage"))
    used = hourly.group_by("item", "date").agg(hours=pl.col("quantity").sum())
    most = (
        used.group_by("item")
        .agg(pl.col("hours").sum())
        .sort("hours", "item", descending=[True, False])
        .head(2 * MOST)
    )
    in_month = pl.col("date").is_between(period.first_day, period.last_day)
    rows = (
        most.select("item")
        .join(used.filter(in_month), on="item", maintain_order="left")
        .select(
            pl.col("item").alias("name"),
            pl.col("date").dt.strftime("%d").alias("day"),
            (pl.col("hours") / 10**QUANTITY_PLACES).round(1).alias("amount"),  # a shade, not money
        )
    )
    days = [f"{day:02d}" for day in range(1, period.last_day.day + 1)]
    title = "Hours by instrument and day"
    chart = (
        alt.Chart(_values(rows), title=title)
        .mark_rect(stroke="white", strokeWidth=1)
        .encode(
            x=alt.X(
                "day:O",
                title=f"Day of {period}, by the start",
                scale=alt.Scale(domain=days),
                axis=alt.Axis(labelAngle=0),
            ),
            y=alt.Y(
                "name:N",
                title="Instrument",
                sort=most["item"].to_list(),
                axis=alt.Axis(titlePadding=24),
            ),
            color=alt.Color(
                "amount:Q",
                title="Hours",
                scale=alt.Scale(scheme="cividis", reverse=True),
                legend=alt.Legend(format=_WHOLE),
            ),
        )
        .properties(width=_WIDTH, height=20 * max(4, most.height))
    )
    largest = most.with_columns(
        name="item", text=(pl.col("hours") / 10**QUANTITY_PLACES).round(1).cast(pl.String)
    )
    return _picture(title, chart, largest, "hours")


def _amounts(sums: pl.DataFrame, places: int) -> pl.DataFrame:
    """Add ``amount``, the length of bars, and ``text`` to ``total`` (minor units)."""
    texts = [f"{Decimal(total).scaleb(-places):,.{places}f}" for total in sums["total"]]
    amount = (pl.col("total") / 10**places).alias("amount")  # a length, not money
    return sums.with_columns(amount, text=pl.Series(texts, dtype=pl.String))


def _values(rows: pl.DataFrame) -> alt.InlineData:
    return alt.InlineData(values=rows.to_dicts())


def _picture(title: str, chart: Any, rows: pl.DataFrame, unit: str) -> Picture:
    if rows.height == 0:
        return Picture(title, "", "there is nothing to show")
    drawn = chart.configure(
        background="white",
        font="sans-serif",
        title=alt.TitleConfig(anchor="start"),
        view=alt.ViewConfig(stroke=None),
    )
    svg = vl_convert.vegalite_to_svg(drawn.to_dict(), vl_version=alt.SCHEMA_VERSION[1:4])
    first = ", ".join(f"{name} {text}" for name, text in rows.select("name", "text").head(5).rows())
    return Picture(title, svg, f"{first} {unit}")


LARGEST = 20

Shown = HTML | Picture | FindingsPanel


class ReviewPanel:
    """The tables, pictures and forms of the review notebook for one facility and month.

    ``month`` is None before the checks' first result; ``refused`` is a mistake that prevents a
    review, or ''.
    """

    def __init__(self, facility: str, period: str, office: Site | None = None) -> None:
        self.facility, self.period = facility, period
        self.month: ReviewedMonth | None = None
        self.message = Message()
        self.progress = ProgressBar(self.message)
        self.panel: FindingsPanel | None = None
        self.refused, self.stopped = "", False
        self._shown: list[Later] = []
        try:
            self.office = office or open_site()
            self.book = self.office.book(facility)
            self.summary = summarise_month(self.office.engine, self.book, period)
        except BillingError as error:
            self.refused = on_page(str(error))
            return
        self.currency = self.book.facility.currency
        self.places = minor_places(self.currency)

    def heading(self) -> HTML:
        """The month's counts and total."""
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
        """The table of all charges, to filter, search, sort and change."""
        if self.refused:
            return HTML("")
        return ChargesPanel(self.facility, self.period, self.office)

    def check(self) -> None:
        """Run all checks with a progress bar; their tables and pictures appear at the end."""
        if self.refused:
            return
        if in_browser():
            display(widgets.VBox([self.progress.widget, self.message.widget]))
        self._ask()

    def findings(self) -> Later:
        """The findings of the checks, each with the way to its remedy."""
        return self._later(self._findings)

    def spend_by(self, column: str) -> Later:
        """A picture of totals by ``project``, ``user`` or ``item``."""
        return self._later(lambda it: spend_by(it.charges, column, self.currency, self.places))

    def spend_by_day(self) -> Later:
        """A picture of totals by day."""
        return self._later(
            lambda it: spend_by_day(
                it.charges, Period.parse(self.period), self.currency, self.places
            )
        )

    def months(self) -> Later:
        """A picture of this month and the last twelve."""
        return self._later(
            lambda it: months(
                it.charges, it.spend, Period.parse(self.period), self.currency, self.places
            )
        )

    def instrument_hours(self) -> Later:
        """A heat map of instruments' hours by day; of shared items if no instrument has hours."""
        return self._later(
            lambda it: instrument_hours(self._of_instruments(it.charges), Period.parse(self.period))
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
            figures = as_text(frame.select(shown), only=FIGURES)
            caption = f"The {LARGEST} largest charges"
            return table(figures, caption, places=self.places, right=("quantity", "price"))

        return self._later(made)

    def changes(self) -> Later:
        """The changes by staff, each with author, time and reason."""
        return self._later(
            lambda it: changes_table(
                read_history(self.office.engine, self.book, it.charges["charge"].to_list())
            )
        )

    def _ask(self, done: Callable[[bool], None] = lambda found: None) -> None:
        """Run the checks in a thread; wait only without a browser: a busy cell hears no click."""

        def ended(month: ReviewedMonth | None) -> None:
            self.month = month or self.month  # the former result stays visible
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

    def _money(self, minor: int) -> str:
        return f"{amount(minor, self.places)} {self.currency}"
