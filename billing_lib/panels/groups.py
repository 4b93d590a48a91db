"""Undoing a group of changes: which there are, what undoing one does, and why."""

import json

import ipywidgets as widgets
import polars as pl

from billing_lib.documents.text import value_of
from billing_lib.errors import InvalidAdjustment
from billing_lib.panels.change_form import LABELS
from billing_lib.panels.desk import Desk
from billing_lib.panels.effect import effect_sentence, effect_tables
from billing_lib.panels.forms import button, buttons, choice, heading, offer, text_entry
from billing_lib.panels.office import Message
from billing_lib.panels.progress import Progress
from billing_lib.panels.tables import table
from billing_lib.workflow.bulk import preview_undo, undo_group
from billing_lib.workflow.changes import KEPT, OPEN, UNDONE, list_groups
from billing_lib.workflow.effect import Changed

_STATES = {
    OPEN: "can be undone",
    UNDONE: "undone",
    KEPT: "stays: a charge of it is deleted, being approved or issued",
}


class UndoGroup:
    """The form that takes a group of changes back.

    Attributes
    ----------
    widget
        What a panel shows.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.message = Message()
        self.seen = ""
        self.listed = widgets.HTML()
        self.group = choice("Group", width="60em")
        self.reason = text_entry("Reason", "why it is taken back")
        self.show = button("Show what it does")
        self.undo = button("Undo the group", primary=True, disabled=True)
        self.effect = widgets.HTML()
        self.progress = Progress(self.message, self.show, self.undo)
        self.group.observe(lambda _: self._forget(), names="value")
        self.show.on_click(lambda _: self.show_effect())
        self.undo.on_click(lambda _: self.undo_change())
        desk.on_change(self.refresh)
        self.refresh()
        self.widget = widgets.VBox(
            [
                heading("Groups of changes"),
                self.listed,
                heading("Undo a group"),
                self.group,
                self.reason,
                buttons(self.show, self.undo),
                self.progress.widget,
                self.message.widget,
                self.effect,
            ]
        )

    def refresh(self) -> None:
        """Read again which groups there are."""
        with self.message.sentences():
            groups = list_groups(self.desk.engine, self.desk.book, self.desk.period)
            told = groups.with_columns(
                pl.col("after").map_elements(_set, return_dtype=pl.String).alias("what"),
                pl.col("state").replace_strict(_STATES, return_dtype=pl.String),
            )
            shown = told.select("group", "at", "by", "charges", "what", "reason", "state")
            self.listed.value = (
                table(shown, "Groups, the latest first").data
                if groups.height
                else "<p>Nothing was changed in this month yet.</p>"
            )
            open_ones = told.filter(groups["state"] == OPEN)
            labels = pl.format("{} · {} · {} × {}", "at", "by", "charges", "what")
            offer(self.group, open_ones.select(labels, "group").rows())
            self._forget()

    def show_effect(self) -> None:
        """Show what undoing the chosen group would come to, and allow it."""
        with self.message.sentences():
            desk, group = self.desk, self._one()
            self._forget()
            self.progress.start(
                lambda step: preview_undo(desk.engine, desk.book, group, step), self._show
            )

    def undo_change(self) -> None:
        """Take the chosen group back just as it was shown."""
        with self.message.sentences():
            desk, group = self.desk, self._one()
            if not self.seen:
                raise InvalidAdjustment("it was not shown yet", remedy="have it shown first")
            seen, reason = self.seen, self.reason.value
            self.progress.start(
                lambda step: undo_group(
                    desk.engine, desk.book, group, reason, seen=seen, step=step
                ),
                self._undone,
            )

    def _one(self) -> str:
        if self.group.value is None:
            raise InvalidAdjustment("there is no group to undo")
        return str(self.group.value)

    def _show(self, would: Changed) -> None:
        if would.group != self.group.value:
            return  # another was chosen while it was worked out
        self.seen = would.seen
        self.effect.value = effect_tables(would, self.desk, done=False)
        self.message.say(f"Nothing is undone yet. {effect_sentence(would, self.desk)}.")
        self.undo.disabled = False

    def _undone(self, done: Changed) -> None:
        self.desk.changed()
        self.reason.value = ""
        self.effect.value = effect_tables(done, self.desk, done=True)
        self.message.say(f"Group {done.group} is undone: {effect_sentence(done, self.desk)}.")

    def _forget(self) -> None:
        self.seen, self.effect.value, self.undo.disabled = "", "", True


def _set(after: pl.Series) -> str:
    """What a group set, in words."""
    fields = [pair for text in after for pair in json.loads(text).items()]
    return "; ".join(f"{LABELS[field]}: {value_of(field, value)}" for field, value in fields)
