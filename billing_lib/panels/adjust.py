"""The adjust notebook: forms with which staff change a month before it is issued.

    AdjustPanel("RC", "1993-10")
    AdjustPanel("RC", "1993-10", charges=["RC/57"], change="project", value="u22")

Its tabs change charges, undo groups of changes, add a line without usage, make an ad hoc invoice
(for one project, over dates of its own) and write the note on a project's invoice of the month.
Each calls the function behind the command of the same name, shows a mistake as a sentence, and
has the other tabs read the month again.
"""

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
from IPython.display import HTML

from billing_lib import Site
from billing_lib.errors import InvalidAdjustment
from billing_lib.ledger.states import EDITABLE
from billing_lib.panels.change import ChangeCharges, UndoGroup, changes_table
from billing_lib.panels.forms import (
    bundle,
    button,
    buttons,
    choice,
    date_entry,
    heading,
    long_text_entry,
    offer,
    remark,
    suggestion,
    table,
    text_entry,
    tick,
)
from billing_lib.panels.office import Desk, Message
from billing_lib.workflow.adhoc import Words, create_ad_hoc, edit_ad_hoc
from billing_lib.workflow.lines import NewLine, add_charge_line
from billing_lib.workflow.notes import read_notes, write_note
from billing_lib.workflow.review import read_month
from billing_lib.workflow.search import Filter, find_invoices
from billing_lib.workflow.snapshot import AD_HOC


class AdHocInvoice:
    """The form that makes an ad hoc invoice, or edits its dates and description."""

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
        """Read the ad hoc invoices again."""
        with self.message.sentences():
            wanted = {"facility": self.desk.facility, "kinds": (AD_HOC,)}
            found = find_invoices(self.desk.engine, Filter.parse(wanted)).texts()
            shown = found.select("reference", "project", "period", "charges", "total", "state")
            title = "Ad hoc invoices"
            self.listed.value = table(shown, title).data if shown.height else ""

    def create_invoice(self) -> None:
        """Make an invoice from the form."""
        with self.message.sentences():
            if self.start.value is None:
                raise InvalidAdjustment("the invoice has no first day", remedy="choose one")
            words = Words(*self._said(), description=self.description.value)
            self._done(create_ad_hoc(self.desk.engine, self.desk.book, self._named(), words))

    def edit_invoice(self) -> None:
        """Set the dates and description of the invoice with this reference; skip empty entries."""
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


class AddLine:
    """The form that adds a line to a project's invoice of the month or an ad hoc invoice."""

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
        """Read the invoices that can take a line again."""
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
        """Add a line from the form."""
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


class InvoiceNote:
    """The form that writes the note on a project's invoice of the month."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.message = Message()
        self.project = choice("Project", desk.projects())
        self.text = long_text_entry("Note")
        self.write = button("Write the note", primary=True)
        self.project.observe(lambda _: self.refresh(), names="value")
        self.write.on_click(lambda _: self.write_text())
        self.refresh()
        self.widget = widgets.VBox(
            [
                heading("A note on a project's invoice"),
                remark(
                    "It stands on the project's next invoice of this month; empty takes it away."
                ),
                self.project,
                self.text,
                buttons(self.write),
                self.message.widget,
            ]
        )

    def refresh(self) -> None:
        """Show the project's present note."""
        self.message.say("")
        with self.message.sentences():
            notes = read_notes(self.desk.engine, self.desk.book, self.desk.period)
            self.text.value = notes.get(self.project.value, "")

    def write_text(self) -> None:
        """Write the note from the form."""
        with self.message.sentences():
            desk, text = self.desk, self.text.value
            said = write_note(desk.engine, desk.book, desk.period, self.project.value, text)
            desk.changed()
            self.message.say(said)


class AdjustPanel:
    """The tabs of the adjust notebook for one facility and month.

    The form opens with ``charges`` (``RC/57``) selected and ``value`` set for the field ``change``,
    so that a link from the review can propose a change.
    """

    def __init__(
        self,
        facility: str,
        period: str,
        *,
        charges: Sequence[str] = (),
        change: str | None = None,
        value: str = "",
        office: Site | None = None,
    ) -> None:
        self.desk = Desk(facility, period, office)
        self.charges = ChangeCharges(self.desk, charges, change, value)
        self.groups = UndoGroup(self.desk)
        self.line = AddLine(self.desk)
        self.ad_hoc = AdHocInvoice(self.desk)
        self.note = InvoiceNote(self.desk)
        parts = {
            "Change charges": self.charges.widget,
            "Undo": self.groups.widget,
            "Add a line": self.line.widget,
            "Ad hoc invoice": self.ad_hoc.widget,
            "Note": self.note.widget,
        }
        self.widget = widgets.Tab(list(parts.values()), titles=list(parts), selected_index=0)

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        listed = self.charges.table
        return bundle(self.widget, "" if listed is None else listed.html())

    def changes(self) -> HTML:
        """The changes that staff made in the month, each with author, time and reason."""
        month = read_month(self.desk.engine, self.desk.book, self.desk.period)
        if month.changes.height == 0:
            return HTML("<p>Nobody has changed anything in this month.</p>")
        return changes_table(month.changes)
