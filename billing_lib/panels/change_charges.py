"""Changing charges: choose them, choose the change, see what it does, give a reason, apply.

What is applied is what was shown: any other choice, and any change by somebody else, asks for it
to be shown again.
"""

from collections.abc import Sequence

import ipywidgets as widgets

from billing_lib.errors import BillingError, ChangedMeanwhile, InvalidAdjustment
from billing_lib.panels.change_form import ChangeForm
from billing_lib.panels.charge_list import ChargeList
from billing_lib.panels.desk import Desk
from billing_lib.panels.effect import effect_sentence, effect_tables
from billing_lib.panels.forms import button, buttons, heading, text_entry
from billing_lib.panels.office import Message
from billing_lib.panels.progress import Progress
from billing_lib.panels.trail import Trail
from billing_lib.workflow.bulk import adjust_many, preview
from billing_lib.workflow.effect import Changed


class ChangeCharges:
    """The form for one charge or many.

    Parameters
    ----------
    charges, field, value
        What is chosen at first, so that something found elsewhere can be mended here.
    fixed
        Whether it is for just these charges, which are listed elsewhere.

    Attributes
    ----------
    widget
        What a panel shows.
    """

    def __init__(
        self,
        desk: Desk,
        charges: Sequence[str] = (),
        field: str | None = None,
        value: str = "",
        *,
        fixed: bool = False,
    ) -> None:
        self.desk = desk
        self.message = Message()
        self.seen = ""
        self.effect = widgets.HTML()
        self.trail = Trail(desk)
        self.show = button("Show what it does")
        self.apply = button("Apply", primary=True, disabled=True)
        self.reason = text_entry("Reason", "why; kept with every change")
        self.progress = Progress(self.message, self.show, self.apply)
        self.list = ChargeList(desk, self.message, charges, self._chosen)
        self.form = ChangeForm(desk, field, value, self._forget)
        self.show.on_click(lambda _: self.show_effect())
        self.apply.on_click(lambda _: self.apply_change())
        desk.on_change(self.refresh)
        self._tell()
        column = widgets.Layout(flex="0 0 auto", margin="0 24px 0 0")
        form = widgets.VBox(
            [
                heading("Choose the change" if fixed else "2. Choose the change"),
                self.form.widget,
                self.reason,
                buttons(self.show, self.apply),
                self.progress.widget,
                self.message.widget,
                self.effect,
            ],
            layout=column,
        )
        beside = widgets.VBox(
            [heading("The selected charges"), self.trail.widget],
            layout=widgets.Layout(flex="1 1 30em", min_width="30em"),
        )
        selecting = () if fixed else (heading("1. Select charges"), self.list.widget)
        both = widgets.HBox([form, beside], layout=widgets.Layout(flex_flow="row wrap"))
        self.widget = widgets.VBox([*selecting, both])

    def refresh(self) -> None:
        """Read the month again."""
        self.list.refresh()
        self._tell()
        self._forget()

    def show_effect(self) -> None:
        """Show what the change would come to, and allow it to be applied."""
        with self.message.sentences():
            desk, chosen, changes = self.desk, self._some(), self.form.changes()
            self._forget()
            self.progress.start(
                lambda step: preview(desk.engine, desk.book, desk.period, chosen, changes, step),
                lambda would: self._show(would, chosen, changes),
            )

    def apply_change(self) -> None:
        """Make the change just as it was shown."""
        with self.message.sentences():
            desk, chosen, changes = self.desk, self._some(), self.form.changes()
            if not self.seen:
                raise InvalidAdjustment("it was not shown yet", remedy="have it shown first")
            seen, reason = self.seen, self.reason.value
            self.progress.start(
                lambda step: adjust_many(
                    *(desk.engine, desk.book, desk.period, chosen, changes, reason),
                    seen=seen,
                    step=step,
                ),
                self._applied,
                refused=self._refused,
            )

    def _some(self) -> list[str]:
        if not self.list.chosen:
            raise InvalidAdjustment("no charge is selected", remedy="tick one in the list")
        return self.list.chosen

    def _show(self, would: Changed, chosen: list[str], changes: dict[str, str]) -> None:
        if (chosen, changes) != (self.list.chosen, self.form.changes()):
            return  # something else was chosen while it was worked out
        if would.selected == 0:
            self.message.say("What is selected was set so before; there is nothing to change.")
            return
        self.seen = would.seen
        self.effect.value = effect_tables(would, self.desk, done=False)
        self.message.say(f"Nothing is changed yet. {effect_sentence(would, self.desk)}.")
        self.apply.disabled = False

    def _applied(self, done: Changed) -> None:
        self.desk.changed()
        self.form.clear()
        self.reason.value = ""
        self.effect.value = effect_tables(done, self.desk, done=True)
        self.message.say(
            f"Changed: {effect_sentence(done, self.desk)}. The group is {done.group}; "
            "it can be undone."
        )

    def _refused(self, error: BillingError) -> None:
        if isinstance(error, ChangedMeanwhile):
            self.refresh()

    def _chosen(self) -> None:
        self._forget()
        self._tell()

    def _forget(self) -> None:
        """What was shown is of another choice than what is chosen now."""
        self.seen, self.effect.value, self.apply.disabled = "", "", True

    def _tell(self) -> None:
        with self.message.sentences():
            self.trail.show(self.list.chosen)
