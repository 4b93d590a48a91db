"""The note that goes to a project with its invoice of the month."""

import ipywidgets as widgets

from billing_lib.panels.desk import Desk
from billing_lib.panels.forms import button, buttons, choice, heading, long_text_entry, remark
from billing_lib.panels.office import Message
from billing_lib.workflow.notes import read_notes, write_note


class InvoiceNote:
    """The form that writes a note.

    Attributes
    ----------
    widget
        What a panel shows.
    """

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
        """Show the note that stands."""
        self.message.say("")
        with self.message.sentences():
            notes = read_notes(self.desk.engine, self.desk.book, self.desk.period)
            self.text.value = notes.get(self.project.value, "")

    def write_text(self) -> None:
        """Write the note that the form states."""
        with self.message.sentences():
            desk, text = self.desk, self.text.value
            said = write_note(desk.engine, desk.book, desk.period, self.project.value, text)
            desk.changed()
            self.message.say(said)
