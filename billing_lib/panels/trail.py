"""Beside the selected charges: how each comes to its total, and who changed what."""

from collections.abc import Sequence
from html import escape

import ipywidgets as widgets

from billing_lib.panels.changes import changes_table
from billing_lib.panels.desk import Desk
from billing_lib.workflow.changes import read_history
from billing_lib.workflow.explain import explain

SHOWN = 3
"""How many of the selected charges are told of, those chosen last."""


class Trail:
    """The derivation and history of selected charges.

    Attributes
    ----------
    widget
        What a panel shows.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.widget = widgets.HTML()

    def show(self, charges: Sequence[str]) -> None:
        """Tell of those that were chosen last, the last one first.

        Raises
        ------
        UnknownCharge
            One of them is not there any more.
        """
        told = [self._told(charge) for charge in reversed(charges[-SHOWN:])]
        left = len(charges) - SHOWN
        if left > 0:
            told.append(f"<p>and {left:,} more</p>")
        self.widget.value = "".join(told)

    def _told(self, charge: str) -> str:
        engine, book = self.desk.engine, self.desk.book
        steps = "".join(
            f"<li>{escape(step.removeprefix(f'{charge}: '))}</li>"
            for step in explain(engine, book, charge)
        )
        history = read_history(engine, book, [charge])
        changes = changes_table(history, f"Who changed {charge}").data
        never = "<p>Nobody has changed it.</p>"
        return (
            f"<details open><summary><b>{escape(charge)}</b>: how it comes to its total</summary>"
            f'<ul style="line-height: 1.5; margin: 2px 0 2px 1em">{steps}</ul>'
            f"{changes if history.height else never}</details>"
        )
