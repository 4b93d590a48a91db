"""An ad hoc invoice as a form: of anything, for one project, over dates of its own."""

import ipywidgets as widgets

from billing_lib.errors import InvalidAdjustment
from billing_lib.panels.desk import Desk
from billing_lib.panels.forms import (
    button,
    buttons,
    choice,
    date_entry,
    heading,
    remark,
    text_entry,
)
from billing_lib.panels.office import Message
from billing_lib.panels.tables import table
from billing_lib.workflow.adhoc import Words, create_ad_hoc, edit_ad_hoc
from billing_lib.workflow.filters import Filter
from billing_lib.workflow.finding import find_invoices
from billing_lib.workflow.summing import AD_HOC


class AdHocInvoice:
    """The form that makes an ad hoc invoice, or edits its dates and description.

    Attributes
    ----------
    widget
        What a panel shows.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.message = Message()
        self.reference = text_entry("Reference", "a purchase order, such as PO-12")
        self.project = choice("Project", desk.projects())
        self.start, self.end = date_entry("First day"), date_entry("Last day")
        self.description = text_entry("Description", "what it is for")
        self.create = button("Make the invoice", primary=True)
        self.edit = button("Edit the one with this reference")
        self.listed = widgets.HTML()
        self.create.on_click(lambda _: self.create_invoice())
        self.edit.on_click(lambda _: self.edit_invoice())
        desk.on_change(self.refresh)
        self.refresh()
        self.widget = widgets.VBox(
            [
                heading("An ad hoc invoice"),
                remark(
                    "It bills what names its reference: lines added to it, and usage. It goes out "
                    "with the month in which it ends, or by itself."
                ),
                self.reference,
                self.project,
                self.start,
                self.end,
                self.description,
                buttons(self.create, self.edit),
                self.message.widget,
                self.listed,
            ]
        )

    def refresh(self) -> None:
        """Read again which there are."""
        with self.message.sentences():
            wanted = {"facility": self.desk.facility, "kinds": (AD_HOC,)}
            found = find_invoices(self.desk.engine, Filter.parse(wanted)).rows
            shown = found.select("reference", "project", "period", "charges", "total", "state")
            title = "Ad hoc invoices"
            self.listed.value = table(shown, title).data if shown.height else ""

    def create_invoice(self) -> None:
        """Make the invoice that the form states."""
        with self.message.sentences():
            if self.start.value is None:
                raise InvalidAdjustment("the invoice has no first day", remedy="choose one")
            words = Words(*self._said(), description=self.description.value)
            self._done(create_ad_hoc(self.desk.engine, self.desk.book, self._named(), words))

    def edit_invoice(self) -> None:
        """Set the dates and description of the invoice with this reference; what is left empty
        stays."""
        with self.message.sentences():
            words = Words(*self._said(), description=self.description.value.strip() or None)
            self._done(edit_ad_hoc(self.desk.engine, self.desk.book, self._named(), words))

    def _named(self) -> str:
        return str(self.reference.value).strip()

    def _said(self) -> tuple[str, str | None, str | None]:
        first, last = (
            None if day.value is None else day.value.isoformat() for day in (self.start, self.end)
        )
        return self.project.value, first, last

    def _done(self, said: str) -> None:
        self.desk.changed()
        self.message.say(said)
