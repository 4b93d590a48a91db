"""What is changed on charges, as a form: the field, and the entry that fits it."""

from collections.abc import Callable

import ipywidgets as widgets

from billing_lib.panels.desk import Desk
from billing_lib.panels.forms import choice, suggestion, text_entry
from billing_lib.panels.split_editor import SplitEditor
from billing_lib.pricing.adjusting import FIELDS, NO, YES

LABELS = {
    "quantity": "Quantity",
    "rate": "Rate (price per unit)",
    "amount": "Amount (the total)",
    "split": "Split over expense codes",
    "expense_code": "Expense code for all of it",
    "project": "Project that pays",
    "waived": "Waived, or not any more",
    "note": "Note on the invoice",
}
"""What the fields of a charge are called."""

_HINTS = {
    "quantity": "a number, such as 10 or 2.5",
    "rate": "a price per unit, such as 0.12",
    "amount": "the total in the currency, such as 75.00",
    "note": "a text beside the charge on the invoice",
}


class ChangeForm:
    """The field and its new value.

    Parameters
    ----------
    field, value
        What stands in the form at first; a split as ``370-1=60,370-2=40``.
    on_edit
        Called when it says something else.

    Attributes
    ----------
    widget
        What a panel shows.
    """

    def __init__(
        self, desk: Desk, field: str | None, value: str, on_edit: Callable[[], None]
    ) -> None:
        self.field = choice("Change", [(LABELS[name], name) for name in FIELDS])
        codes = desk.expense_codes()
        self.split = SplitEditor(codes)
        self.entries: dict[str, widgets.Widget] = {
            name: text_entry("New value", hint) for name, hint in _HINTS.items()
        }
        self.entries["project"] = choice("New value", desk.projects())
        self.entries["expense_code"] = suggestion("New value", codes, "one code, such as 370-2110")
        self.entries["waived"] = choice(
            "New value",
            [("yes: it stays on the invoice at nothing", YES), ("no: it is billed", NO)],
        )
        self._entry = widgets.VBox()
        self._on_edit = on_edit
        self.field.observe(lambda _: self._show_entry(), names="value")
        self.split.on_edit(self._edited)
        for entry in self.entries.values():
            entry.observe(lambda _: self._edited(), names="value")
        self.widget = widgets.VBox([self.field, self._entry])
        if field is not None:
            self.fill(field, value)
        self._show_entry()

    def changes(self) -> dict[str, str]:
        """What is set, by field."""
        field = str(self.field.value)
        value = self.split.value if field == "split" else self.entries[field].value
        return {field: str(value)}

    def fill(self, field: str, value: str) -> None:
        """Have the form say this."""
        self.field.value = field
        if field == "split":
            self.split.fill(value)
        elif value:
            self.entries[field].value = value

    def clear(self) -> None:
        """Take the value away, where it is a text."""
        field = str(self.field.value)
        if field == "split":
            self.split.fill("")
        elif field not in ("project", "waived"):
            self.entries[field].value = ""

    def _show_entry(self) -> None:
        field = str(self.field.value)
        shown = self.split.widget if field == "split" else self.entries[field]
        self._entry.children = [shown]
        self._edited()

    def _edited(self) -> None:
        self._on_edit()
