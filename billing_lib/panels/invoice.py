"""Issued invoices, chosen by lab and month: each as it was sent, and its files to keep.

The files come from the invoice's audit record, byte for byte; nothing is rendered anew.
"""

import ipywidgets as widgets
import polars as pl

from billing_lib.audit.archive import find_record
from billing_lib.panels.display import Displayed
from billing_lib.panels.files import keep
from billing_lib.panels.frame import framed
from billing_lib.panels.lab import LabChooser
from billing_lib.panels.office import Message, Office
from billing_lib.workflow.filters import Filter
from billing_lib.workflow.finding import find_invoices
from billing_lib.workflow.price_books import read_price_books

FILES = ("pdf", "xlsx", "xml", "html")
"""The documents that can be kept, in the order in which they are offered."""


class InvoicePanel(Displayed):
    """The page of the invoice notebook.

    Parameters
    ----------
    team, period
        What is chosen at first.

    Attributes
    ----------
    widget
        What the notebook displays.
    """

    def __init__(self, team: str = "", period: str = "", office: Office | None = None) -> None:
        self.office = office or Office.open()
        self.books = read_price_books(self.office.settings.parameters)
        self.message = Message()
        self.number = widgets.Dropdown(description="Invoice", layout={"width": "26em"})
        self.files = widgets.HTML()
        self.page = widgets.HTML(layout={"width": "100%"})
        self.number.observe(lambda _: self._show_invoice(), names="value")
        self.chooser = LabChooser(self.office, team, period, self._list, self.message, self._has)
        self.widget = widgets.VBox(
            [
                *(self.chooser.widget, self.number, self.message.widget, self.files, self.page),
            ]
        )

    def html(self) -> str:
        """What it shows, without the means to change it."""
        return str(self.message.widget.value) + str(self.page.value)

    def _issued(self, team: str, period: str) -> pl.DataFrame:
        wanted = Filter.parse({"team": team, "period_from": period, "period_to": period})
        return find_invoices(self.office.engine, wanted, self.books).rows.drop_nulls("number")

    def _has(self, team: str, period: str) -> bool:
        return self._issued(team, period).height > 0

    def _list(self, team: str, period: str) -> None:
        rows = self._issued(team, period)
        self.number.options = [
            (f"{number}  ·  {project}  ·  {total} {currency}  ·  {state}", number)
            for number, project, total, currency, state in rows.select(
                "number", "project", "total", "currency", "state"
            ).iter_rows()
        ]
        shown = self.number.value
        self.number.index = 0 if self.number.options else None
        if self.number.value == shown:  # else it was told already
            self._show_invoice()

    def _show_invoice(self) -> None:
        self.files.value = self.page.value = ""
        if self.number.value is None:
            self.message.say("Nothing of this month is issued yet.")
            return
        with self.message.sentences():
            number = str(self.number.value)
            folder = find_record(number, self.office.settings.runs) / "data" / "documents"
            held = [path for kind in FILES if (path := folder / f"{number}.{kind}").is_file()]
            self.files.value = keep({path.name: path.read_bytes() for path in held})
            page = (folder / f"{number}.html").read_text("utf-8")
            self.page.value = framed(page, f"Invoice {number}")
            self.message.say(f"Invoice {number}, as it was sent.")
