"""The same change to many charges without code: choose which, see what would change, apply, undo.

The panel calls the same functions as ``billing bulk`` and ``billing undo``. What is applied is
what was previewed: another choice asks for another preview first.
"""

from typing import Any

import ipywidgets as widgets
import polars as pl

from billing_lib.errors import InvalidAdjustment
from billing_lib.panels.adjust import HINTS
from billing_lib.panels.office import Message, Office
from billing_lib.panels.tables import table
from billing_lib.pricing.adjusting import FIELDS
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.workflow.bulk import Changed, Selection, adjust_many, preview, undo_group
from billing_lib.workflow.review import read_month

_WIDE = widgets.Layout(width="34em")
_LABEL = {"description_width": "9em"}
_ALL = "all"
SHOWN = 50
"""How many of the changed charges are listed; all of them are counted."""


class BulkPanel:
    """The form for many charges of one facility and month.

    Attributes
    ----------
    widget
        What the notebook displays.
    """

    def __init__(self, facility: str, period: str, office: Office | None = None) -> None:
        self.office = office or Office.open()
        self.book = self.office.book(facility)
        self.period = period
        self.message = Message()
        self.select = {
            name: widgets.Dropdown(
                description=name.capitalize(), options=[_ALL], layout=_WIDE, style=_LABEL
            )
            for name in ("project", "team", "item", "user")
        }
        self.text = widgets.Text(description="Description has", layout=_WIDE, style=_LABEL)
        self.field = widgets.Dropdown(
            description="Change", options=list(FIELDS), layout=_WIDE, style=_LABEL
        )
        self.value = widgets.Text(description="New value", layout=_WIDE, style=_LABEL)
        self.reason = widgets.Text(description="Reason", layout=_WIDE, style=_LABEL)
        self.preview = widgets.Button(description="Preview")
        self.apply = widgets.Button(
            description="Apply to all", button_style="primary", disabled=True
        )
        self.group = widgets.Dropdown(description="Group", layout=_WIDE, style=_LABEL)
        self.undo_reason = widgets.Text(description="Reason", layout=_WIDE, style=_LABEL)
        self.undo = widgets.Button(description="Undo the group")
        self.effect = widgets.HTML()
        self._connect()
        self.refresh()
        self.widget = widgets.VBox(
            [
                widgets.HTML("<h3>Change many charges</h3>"),
                *self.select.values(),
                self.text,
                self.field,
                self.value,
                self.reason,
                widgets.HBox([self.preview, self.apply]),
                self.message.widget,
                self.effect,
                widgets.HTML("<h3>Undo a group of changes</h3>"),
                self.group,
                self.undo_reason,
                self.undo,
            ]
        )

    def _connect(self) -> None:
        for chooser in (*self.select.values(), self.text, self.field, self.value):
            chooser.observe(lambda _: self._ask_for_preview(), names="value")
        self.field.observe(lambda _: self._show_hint(), names="value")
        self.preview.on_click(lambda _: self.show_preview())
        self.apply.on_click(lambda _: self.apply_change())
        self.undo.on_click(lambda _: self.undo_change())

    def refresh(self) -> None:
        """Read the month again: what can be chosen, and which groups can be undone."""
        self._show_hint()
        with self.message.sentences():
            month = read_month(self.office.engine, self.book, self.period)
            pending = month.charges.filter(pl.col("state") == "PENDING")
            for name, chooser in self.select.items():
                kept = chooser.value
                found = pending[name].drop_nulls().unique().sort().to_list()
                chooser.options = [_ALL, *found]
                chooser.value = kept if kept in found else _ALL
            self.group.options = [(label, group) for group, label in month.groups.items()]

    def show_preview(self) -> None:
        """Show what the change would come to, and allow it to be applied."""
        with self.message.sentences():
            shown = preview(
                self.office.engine, self.book, self.period, self._selection(), self._changes()
            )
            self._show(shown, "Would change")
            self.message.say(
                f"{shown.selected:,} charges selected, nothing changed yet; {self._sums(shown)}."
            )
            self.apply.disabled = False

    def apply_change(self) -> None:
        """Make the change that was previewed, as one group."""
        with self.message.sentences():
            done = adjust_many(
                self.office.engine,
                self.book,
                self.period,
                self._selection(),
                self._changes(),
                self.reason.value,
            )
            if not done.selected:
                self.message.say("What is selected was set so before, nothing changed.")
                return
            self._show(done, "Changed")
            self.value.value = self.reason.value = ""
            self.refresh()
            self.message.say(
                f"{done.selected:,} charges changed, group {done.group}; {self._sums(done)}."
            )

    def undo_change(self) -> None:
        """Take the chosen group back."""
        with self.message.sentences():
            if self.group.value is None:
                raise InvalidAdjustment("no group is chosen", remedy="choose one")
            done = undo_group(
                self.office.engine, self.book, self.group.value, self.undo_reason.value
            )
            self._show(done, "As before")
            self.undo_reason.value = ""
            self.refresh()
            self.message.say(f"Group {done.group} undone, {done.selected:,} charges.")

    def _selection(self) -> Selection:
        chosen: dict[str, Any] = {
            name: None if chooser.value == _ALL else chooser.value
            for name, chooser in self.select.items()
        }
        return Selection(**chosen, text=self.text.value.strip() or None)

    def _sums(self, changed: Changed) -> str:
        places = minor_places(self.book.facility.currency)
        before, after = (
            money_text(int(changed.effect[name].sum()), places) for name in ("before", "after")
        )
        count, currency = changed.effect.height, self.book.facility.currency
        return f"{count:,} totals change, together {before} → {after} {currency}"

    def _changes(self) -> dict[str, str]:
        return {str(self.field.value): self.value.value}

    def _ask_for_preview(self) -> None:
        self.apply.disabled = True

    def _show_hint(self) -> None:
        self.value.placeholder = HINTS[self.field.value]

    def _show(self, changed: Changed, title: str) -> None:
        facility, effect = self.book.facility.code, changed.effect
        named = effect.with_columns(pl.format("{}/{}", pl.lit(facility), "charge").alias("charge"))
        more = "" if effect.height <= SHOWN else f", the first {SHOWN} of {effect.height:,}"
        self.effect.value = table(
            named.head(SHOWN).rename({"before": "total", "after": "total_after"}),
            f"{title}{more}",
            places=minor_places(self.book.facility.currency),
        ).data
