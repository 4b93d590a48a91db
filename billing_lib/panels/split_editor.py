"""A split as a form: expense codes, their percentages, and what they make together.

370-2110   60 %
370-2190   40 %      together 100 %
"""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from html import escape

import ipywidgets as widgets

from billing_lib.documents.text import number
from billing_lib.panels.forms import BESIDE_LABEL, button, suggestion, text_entry
from billing_lib.pricing.money import plain_text

_WHOLE = Decimal(100)


class SplitEditor:
    """The shares of a split, one row each.

    Parameters
    ----------
    codes
        The expense codes that are offered.

    Attributes
    ----------
    widget
        What a panel shows.
    """

    def __init__(self, codes: list[str]) -> None:
        self.codes = codes
        self.shares: list[tuple[widgets.Combobox, widgets.Text]] = []
        self.add = button("Another expense code")
        self.sum = widgets.HTML()
        self._rows = widgets.VBox()
        self._on_edit: Callable[[], None] = lambda: None
        self.add.on_click(lambda _: self.add_share())
        below = widgets.HBox(
            [self.add, self.sum], layout=widgets.Layout(margin=f"0 0 0 {BESIDE_LABEL}")
        )
        self.widget = widgets.VBox([self._rows, below])
        self.fill("")

    def on_edit(self, told: Callable[[], None]) -> None:
        """Have this called whenever the split is another."""
        self._on_edit = told

    @property
    def value(self) -> str:
        """The split as people write it, ``370-1=60,370-2=40``; rows left empty are none."""
        return ",".join(
            f"{code.value.strip()}={percent.value.strip()}"
            for code, percent in self.shares
            if code.value.strip() or percent.value.strip()
        )

    def fill(self, value: str) -> None:
        """Show a split that is written so; two empty rows for none."""
        pairs = [part.partition("=") for part in value.split(",")] if value else [("", "", "")] * 2
        self.shares = []
        for code, _, percent in pairs:
            self.add_share(code.strip(), percent.strip())

    def add_share(self, code: str = "", percent: str = "") -> None:
        """A further row."""
        first = not self.shares
        at = suggestion(
            "Expense codes" if first else "\N{NO-BREAK SPACE}", self.codes, "370-2110", width="23em"
        )
        part = text_entry("", "60", width="6em")
        part.style.description_width = "0"
        at.value, part.value = code, percent
        for entry in (at, part):
            entry.observe(lambda _: self._edited(), names="value")
        self.shares.append((at, part))
        rows = [widgets.HBox([at, part, widgets.Label("%")]) for at, part in self.shares]
        self._rows.children = rows
        self._edited()

    def _edited(self) -> None:
        self.sum.value = (
            f'<span role="status" style="margin-left: 8px">{escape(self._said())}</span>'
        )
        self._on_edit()

    def _said(self) -> str:
        together = Decimal(0)
        for _, percent in self.shares:
            try:
                together += Decimal(percent.value.strip() or "0")
            except InvalidOperation:
                return f"'{percent.value}' is no percentage"
        said = f"together {number(plain_text(together))} %"
        if together == _WHOLE:
            return said
        left = plain_text(abs(_WHOLE - together))
        return f"{said}, {left} % {'missing' if together < _WHOLE else 'too much'}"
