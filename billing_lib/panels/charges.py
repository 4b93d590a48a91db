"""All charges of a month: filter, search, sort, go through them, and change one or all that match.

The table opens with the first rows at once; however many there are, the others are read beside.
"""

from typing import Any

import ipywidgets as widgets
import polars as pl

from billing_lib.errors import NotReady
from billing_lib.panels.change_charges import ChangeCharges
from billing_lib.panels.desk import Desk
from billing_lib.panels.display import bundle
from billing_lib.panels.findings import charge_columns
from billing_lib.panels.office import Message, Office
from billing_lib.panels.paged import OPENING, PagedTable
from billing_lib.workflow.charge_rows import unbound
from billing_lib.workflow.discrepancies import read_charges


class ChargesPanel:
    """The table of a month's charges, with the form for those that are chosen below it.

    Attributes
    ----------
    widget
        What the notebook displays.
    """

    def __init__(self, facility: str, period: str, office: Office | None = None) -> None:
        self.desk = Desk(facility, period, office)
        opening = read_charges(self.desk.engine, self.desk.book, period, OPENING)
        self.table = PagedTable(
            "charges",
            charge_columns(self.desk.places),
            self.read,
            opening,
            sum_of="total",
            currency=self.desk.currency,
            places=self.desk.places,
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

    def read(self) -> pl.DataFrame:
        """All charges of the month, from the ledger."""
        return read_charges(self.desk.engine, self.desk.book, self.desk.period)

    def change_one(self, at: int) -> None:
        """Open the form for one charge, by its place among all."""
        self._open(self.table.rows_at([at]))

    def change_matching(self) -> None:
        """Open the form for all charges that match what the table shows."""
        self._open(self.table.matching())

    def read_again(self) -> None:
        """Read the month again, after something was changed."""
        with self.message.sentences():
            self.table.replace(self.read)
            self.message.say("Read again.")

    def _open(self, charges: pl.DataFrame) -> None:
        with self.message.sentences():
            free = unbound(charges)
            if free.height == 0:
                raise NotReady(
                    "none of these charges can change any more",
                    remedy="what is issued is credited or reissued",
                )
            self.change = ChangeCharges(self.desk, free["charge"].to_list(), fixed=True)
            self.form.children = [self.change.widget]
            kept = charges.height - free.height
            left = f"; {kept:,} cannot change any more" if kept else ""
            self.message.say(f"The form below is for {free.height:,} charges{left}.")

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return bundle(self.widget, self.table.html())
