"""Adjusting without code: choose a charge, choose the change, say why, apply.

The panel calls the same functions as ``billing adjust``; a mistake shows as a sentence, and
what was applied shows in the trail below.
"""

from html import escape
from typing import Any

import ipywidgets as widgets
import polars as pl

from billing_lib.errors import InvalidAdjustment
from billing_lib.panels.changes import changes_table
from billing_lib.panels.office import Message, Office
from billing_lib.panels.tables import table
from billing_lib.pricing.adjusting import FIELDS
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.workflow.adjust import adjust_charge
from billing_lib.workflow.explain import explain
from billing_lib.workflow.lines import NewLine, add_charge_line
from billing_lib.workflow.review import Month, read_month

_WIDE = widgets.Layout(width="34em")
_LABEL = {"description_width": "9em"}

HINTS = {
    "quantity": "a number, such as 10 or 2.5",
    "rate": "a price per unit, such as 0.12",
    "amount": "the total in the currency, such as 75.00",
    "split": "codes and percentages, such as 370-1=60, 370-2=40",
    "project": "the project that pays, at its own group's rate, such as u22",
    "waived": "yes leaves it on the invoice at nothing, no takes that back",
    "note": "a text beside the charge on the invoice",
    "expense_code": "one code that takes all, such as 370-1",
}
"""What a value looks like, by field."""


class AdjustPanel:
    """The form of the adjust notebook for one facility and month.

    Attributes
    ----------
    widget
        What the notebook displays.
    """

    def __init__(self, facility: str, period: str, office: Office | None = None) -> None:
        self.office = office or Office.open()
        self.book = self.office.book(facility)
        self.period = period
        self.places = minor_places(self.book.facility.currency)
        self.message = Message()
        self.project = widgets.Dropdown(description="Project", layout=_WIDE, style=_LABEL)
        self.charge = widgets.Dropdown(description="Charge", layout=_WIDE, style=_LABEL)
        self.field = widgets.Dropdown(
            description="Change", options=list(FIELDS), layout=_WIDE, style=_LABEL
        )
        self.value = widgets.Text(description="New value", layout=_WIDE, style=_LABEL)
        self.reason = widgets.Text(description="Reason", layout=_WIDE, style=_LABEL)
        self.apply = widgets.Button(description="Apply the change", button_style="primary")
        self.line = {
            name: widgets.Text(
                description=name.replace("_", " ").capitalize(), layout=_WIDE, style=_LABEL
            )
            for name in ("date", "description", "amount", "expense_code", "reason")
        }
        self.add = widgets.Button(description="Add the line")
        self.trail = widgets.HTML()
        self.chosen = widgets.HTML()
        self.derivation = widgets.HTML()
        self._connect()
        self.refresh()
        self.widget = widgets.VBox(
            [
                widgets.HTML("<h3>Change a charge</h3>"),
                self.project,
                self.charge,
                self.chosen,
                self.derivation,
                self.field,
                self.value,
                self.reason,
                self.apply,
                self.message.widget,  # between the forms, in sight of both
                widgets.HTML("<h3>Add a line to the project's invoice</h3>"),
                *self.line.values(),
                self.add,
                self.trail,
            ]
        )

    def _connect(self) -> None:
        self.project.observe(lambda _: self._list_charges(), names="value")
        self.charge.observe(lambda _: self._show_chosen(), names="value")
        self.field.observe(lambda _: self._show_hint(), names="value")
        self.apply.on_click(lambda _: self.apply_change())
        self.add.on_click(lambda _: self.add_line())

    def refresh(self) -> None:
        """Read the month again and show it."""
        with self.message.sentences():
            self.month: Month = read_month(self.office.engine, self.book, self.period)
            projects = sorted(self._pending()["project"].unique())
            kept = self.project.value
            self.project.options = projects
            if projects:
                self.project.value = kept if kept in projects else projects[0]
            self._list_charges()
            self._show_hint()
            self.trail.value = changes_table(self.month.changes).data
            if not projects:
                self.message.say(
                    f"Every charge of {self.month.facility} {self.period} is issued; "
                    "nothing of it can change. Choose another month in the cell above."
                )

    def apply_change(self) -> None:
        """Apply the change that the form states."""
        with self.message.sentences():
            if self.charge.value is None:
                raise InvalidAdjustment("no charge is chosen", remedy="choose one")
            changes = {self.field.value: self.value.value}
            said = adjust_charge(
                self.office.engine, self.book, self.charge.value, changes, self.reason.value
            )
            kept = self.charge.value
            self.refresh()
            owner = self._pending().filter(pl.col("charge") == kept)["project"]
            self.project.value = owner.item()  # the change may have moved it to another
            self.charge.value = kept
            self.value.value = self.reason.value = ""
            self.message.say("; ".join(said))

    def add_line(self) -> None:
        """Add the line that the form states to the chosen project."""
        with self.message.sentences():
            stated: dict[str, str | None] = {
                name: self.line[name].value or None
                for name in ("date", "description", "amount", "expense_code")
            }
            line = NewLine.parse(stated | {"project": self.project.value}, self.book)
            said = add_charge_line(self.office.engine, self.book, line, self.line["reason"].value)
            self.refresh()
            for entry in self.line.values():
                entry.value = ""
            self.message.say(f"added {said}")

    def _pending(self) -> pl.DataFrame:
        return self.month.charges.filter(pl.col("state") == "PENDING")

    def _list_charges(self) -> None:
        chosen = self._pending().filter(pl.col("project").eq_missing(self.project.value))
        ordered = chosen.sort("total", "charge", descending=[True, False])
        self.charge.options = [
            (self._label(row), row["charge"]) for row in ordered.iter_rows(named=True)
        ]
        if ordered.height:
            self.charge.value = ordered["charge"][0]
        self._show_chosen()

    def _label(self, row: dict[str, Any]) -> str:
        total = money_text(row["total"], self.places)
        what = row["description"] or row["item"] or ""
        return f"{row['charge']}  ·  {row['date']}  ·  {total}  ·  {what}"

    def _show_chosen(self) -> None:
        chosen = self.month.charges.filter(pl.col("charge").eq_missing(self.charge.value))
        columns = (
            "charge",
            "user",
            "date",
            "quantity",
            "price",
            "raw_total",
            "adjustment",
            "total",
        )
        shown = table(chosen.select(columns), "The charge now", places=self.places)
        self.chosen.value = shown.data if chosen.height else ""
        self.derivation.value = ""
        if chosen.height:
            with self.message.sentences():
                steps = explain(self.office.engine, self.book, str(self.charge.value))
                listed = "".join(f"<li>{escape(step)}</li>" for step in steps)
                summary = "<summary>How it comes to its total</summary>"
                self.derivation.value = f"<details>{summary}<ul>{listed}</ul></details>"

    def _show_hint(self) -> None:
        self.value.placeholder = HINTS[self.field.value]
