"""Adding a line without usage, to a project's invoice of the month or to an ad hoc invoice."""

import ipywidgets as widgets

from billing_lib.ledger.states import EDITABLE
from billing_lib.panels.desk import Desk
from billing_lib.panels.forms import (
    button,
    buttons,
    choice,
    date_entry,
    heading,
    offer,
    suggestion,
    text_entry,
    tick,
)
from billing_lib.panels.office import Message
from billing_lib.workflow.filters import Filter
from billing_lib.workflow.finding import find_invoices
from billing_lib.workflow.lines import NewLine, add_charge_line
from billing_lib.workflow.summing import AD_HOC


class AddLine:
    """The form that adds a line.

    Attributes
    ----------
    widget
        What a panel shows.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.message = Message()
        self.goes_to = choice("Goes to")
        self.date = date_entry("Date")
        self.date.value = desk.month.last_day
        self.description = text_entry("Description", "as it stands on the invoice")
        self.amount = text_entry(f"Amount in {desk.currency}", "150.00, or -20.00 to give back")
        self.expense_code = suggestion(
            "Expense code", desk.expense_codes(), "the project's split unless told"
        )
        self.reason = text_entry("Reason", "why; kept with the line")
        self.again = tick("Again, although the same line is there")
        self.add = button("Add the line", primary=True)
        self.add.on_click(lambda _: self.add_line())
        desk.on_change(self.refresh)
        self.refresh()
        self.widget = widgets.VBox(
            [
                heading("Add a line to an invoice"),
                self.goes_to,
                self.date,
                self.description,
                self.amount,
                self.expense_code,
                self.reason,
                self.again,
                buttons(self.add),
                self.message.widget,
            ]
        )

    def refresh(self) -> None:
        """Read again where a line can go."""
        with self.message.sentences():
            wanted = {"facility": self.desk.facility, "kinds": (AD_HOC,), "states": EDITABLE}
            found = find_invoices(self.desk.engine, Filter.parse(wanted)).rows
            month = [
                (f"the month's invoice of {shown}", (code, None))
                for shown, code in self.desk.projects()
            ]
            ad_hoc = [
                (f"the ad hoc invoice {reference}, project {project}", (None, reference))
                for reference, project in found.select("reference", "project").drop_nulls().rows()
            ]
            offer(self.goes_to, [*month, *ad_hoc])

    def add_line(self) -> None:
        """Add the line that the form states."""
        with self.message.sentences():
            project, reference = self.goes_to.value
            day = self.date.value
            stated: dict[str, str | None] = {
                "project": project,
                "reference": reference,
                "date": None if day is None else day.isoformat(),
                "description": self.description.value,
                "amount": self.amount.value.strip(),
                "expense_code": self.expense_code.value.strip() or None,
            }
            book = self.desk.book
            line = NewLine.parse(stated, book)
            said = add_charge_line(
                self.desk.engine, book, line, self.reason.value, again=self.again.value
            )
            self.desk.changed()
            for entry in (self.description, self.amount, self.expense_code, self.reason):
                entry.value = ""
            self.again.value = False
            self.message.say(said)
