"""What the checks of a month found: how much of each, all findings, and the way to each remedy.

overlapping sessions of an instrument   scope-1   2 sessions overlap …   [Remedy]
                                        ▼
the finding's charges · the form with the proposed change · or: dismiss, with a reason
"""

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as widgets
import polars as pl

from billing_lib.panels.change_charges import ChangeCharges
from billing_lib.panels.desk import Desk
from billing_lib.panels.display import bundle
from billing_lib.panels.office import Message, Office
from billing_lib.panels.paged import PagedTable
from billing_lib.panels.rows import DATE, MONEY, NUMBER, Column
from billing_lib.panels.tables import table
from billing_lib.pricing.discrepancies import CHECKS, name_of, told
from billing_lib.workflow.charge_rows import unbound
from billing_lib.workflow.discrepancies import ReviewedMonth, dismiss
from billing_lib.workflow.rating import rate_period
from billing_lib.workflow.remedies import Remedy, remedy

_WIDE = widgets.Layout(width="34em")
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


def charge_columns(places: int) -> tuple[Column, ...]:
    """The columns in which charges are shown."""
    return (
        Column("charge", "Charge"),
        Column("project", "Project"),
        Column("item", "Item"),
        Column("user", "User"),
        Column("date", "Date", DATE),
        Column("description", "Description"),
        Column("quantity", "Quantity", NUMBER),
        Column("price", "Price", NUMBER),
        Column("total", "Total", MONEY, places),
        Column("state", "State"),
    )


class FindingsPanel:
    """The findings of one facility and month.

    Parameters
    ----------
    again
        Called when staff ask for the checks again, with what is to be told whether they were.

    Attributes
    ----------
    widget
        What the notebook displays.
    """

    def __init__(
        self,
        facility: str,
        period: str,
        month: ReviewedMonth,
        again: Callable[[Callable[[bool], None]], None],
        office: Office | None = None,
    ) -> None:
        self.desk = Desk(facility, period, office)
        self.month = month
        self.summary = widgets.HTML()
        self.dismissed = widgets.HTML()
        self.message = Message()
        self.detail = widgets.VBox()
        self.change: ChangeCharges | None = None
        self.finding: dict[str, Any] | None = None
        self.reason = widgets.Text(
            description="Reason", layout=_WIDE, style={"description_width": "9em"}
        )
        self.dismiss = widgets.Button(
            description="Dismiss the finding", tooltip="It was looked at and is right"
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
            action="Remedy",
            on_action=self.show,
        )
        self.again.on_click(lambda _: self.check_again())
        self.desk.on_change(lambda: self.message.say("Changed; 'Check again' looks anew."))
        self.rate.on_click(lambda _: self.rate_again())
        self.dismiss.on_click(lambda _: self.dismiss_finding())
        self._show_counts()
        self.widget = widgets.VBox(
            [
                self.summary,
                self.table.widget,
                widgets.HBox([self.again, self.message.widget]),
                self.detail,
                self.dismissed,
            ]
        )

    def show(self, at: int) -> None:
        """Show a finding's rows and the way to its remedy, by its place among the findings."""
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
        """The form with what is proposed, for those of the charges that can still change."""
        chosen = self.month.charges.filter(pl.col("charge").is_in(proposed.charges))
        free = unbound(chosen)["charge"].to_list()
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
        """Ask the checks again, after something was changed; then say what it was."""
        self.message.say("The month is checked again …")
        self._check(
            lambda done: self.message.say(
                said + (f"Checked again: {self._count()}." if done else "Not checked again.")
            )
        )

    def take(self, month: ReviewedMonth) -> None:
        """Show the month as it is now."""
        self.month = month
        self.detail.children, self.finding, self.change = (), None, None
        self._show_counts()
        self.table.replace(self._listed)

    def rate_again(self) -> None:
        """Rate the month again, after the price book or the usage was set right."""
        with self.message.sentences():
            book = self.desk.book  # as it is now
            rated = rate_period(self.desk.engine, book, self.desk.month)
            self.check_again(f"{rated.sentence}. ")

    def dismiss_finding(self) -> None:
        """Dismiss the finding that is shown."""
        if self.finding is None:
            return
        with self.message.sentences():
            key = self.finding["key"]
            said = dismiss(
                self.desk.engine, self.desk.book, self.desk.period, key, self.reason.value
            )
            self.check_again(f"{said}. ")

    def html(self) -> str:
        """How much was found, and the first findings, where there is no browser to ask."""
        return f"{self.summary.value}{self.table.html()}{self.dismissed.value}"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return bundle(self.widget, self.html())

    def _count(self) -> str:
        return f"{self.month.findings.height:,} findings"

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
        self.dismissed.value = ""
        if self.month.dismissed.height:
            self.dismissed.value = table(self.month.dismissed.drop("key"), "Dismissed").data

    def _rows(self, finding: dict[str, Any]) -> list[widgets.Widget]:
        found: list[widgets.Widget] = []
        if finding["charges"]:
            charges = self.month.charges.filter(pl.col("charge").is_in(finding["charges"]))
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
                & (pl.col("reason") == finding["subject"])
            )
            found.append(PagedTable("unbilled records", _RECORDS, lambda: records).widget)
        return found
