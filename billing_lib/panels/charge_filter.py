"""The filter of the adjust notebook: what ``billing charges`` is asked, as a form."""

from collections.abc import Callable

import ipywidgets as widgets

from billing_lib.ledger.states import ERROR, OPEN, PENDING, QUARANTINED, REJECTED
from billing_lib.panels.desk import Desk
from billing_lib.panels.forms import button, choice, date_entry, suggestion, text_entry
from billing_lib.workflow.filters import Filter
from billing_lib.workflow.finding import find_values

_WIDTH, _LABEL = "25em", "8em"
_BELOW = f"4px 0 8px calc({_LABEL} + 8px)"
_STATES = (
    ("pending", PENDING),
    ("on a draft that is OPEN", OPEN),
    ("on a draft that was REJECTED", REJECTED),
    ("on a draft in ERROR", ERROR),
    ("on a draft in QUARANTINE", QUARANTINED),
)
"""Whose charges are listed: all that are pending, or those on a draft in some state."""


class ChargeFilter:
    """A form that says which of a month's charges are listed.

    Parameters
    ----------
    on_filter
        Called when it says something else.

    Attributes
    ----------
    widget
        What a panel shows.
    """

    def __init__(self, desk: Desk, on_filter: Callable[[], None]) -> None:
        self.desk = desk
        self.entries: dict[str, widgets.Widget] = {
            "project": suggestion("Project", width=_WIDTH),
            "user": suggestion("User", width=_WIDTH),
            "item": suggestion("Item", width=_WIDTH),
            "text": text_entry("Text", "in description, reason, note", width=_WIDTH),
            "date_from": date_entry("From", width=_WIDTH),
            "date_to": date_entry("To", width=_WIDTH),
            "total_from": text_entry("Total from", "10.00", width=_WIDTH),
            "total_to": text_entry("Total to", "100.00", width=_WIDTH),
            "expense_code": suggestion("Expense code", width=_WIDTH),
            "states": choice("State", _STATES, width=_WIDTH),
        }
        self.clear = button("Clear the filter")
        self._on_filter = on_filter
        for entry in self.entries.values():
            entry.style.description_width = _LABEL
            entry.observe(lambda _: self._on_filter(), names="value")
        self.clear.on_click(lambda _: self.reset())
        self.widget = widgets.VBox(
            [
                widgets.GridBox(
                    list(self.entries.values()),
                    layout=widgets.Layout(
                        grid_template_columns=f"repeat(auto-fill, {_WIDTH})", grid_gap="0 12px"
                    ),
                ),
                widgets.HBox([self.clear], layout=widgets.Layout(margin=_BELOW)),
            ]
        )

    def wanted(self) -> Filter:
        """The filter.

        Raises
        ------
        InvalidFilter
            An amount is none, or what is from is after what is to.
        """
        stated = {name: entry.value for name, entry in self.entries.items()}
        texts = {
            name: value.strip() or None if isinstance(value, str) else value
            for name, value in stated.items()
        }
        return Filter.parse(
            texts
            | {
                "facility": self.desk.facility,
                "period_from": self.desk.period,
                "period_to": self.desk.period,
                "states": (stated["states"],),
            }
        )

    def reset(self) -> None:
        """Say nothing any more."""
        told, self._on_filter = self._on_filter, lambda: None  # once, not for each entry
        for name, entry in self.entries.items():
            if name == "states":
                entry.value = PENDING
            else:
                entry.value = None if name.startswith("date") else ""
        self._on_filter = told
        self._on_filter()

    def refresh(self) -> None:
        """Offer what the month has now."""
        month = Filter.parse(
            {
                "facility": self.desk.facility,
                "period_from": self.desk.period,
                "period_to": self.desk.period,
                "states": (PENDING,),
            }
        )
        for name in ("project", "user", "item"):
            self.entries[name].options = find_values(self.desk.engine, month, name)
        self.entries["expense_code"].options = self.desk.expense_codes()
