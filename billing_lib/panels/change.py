"""Changing charges: choose them, choose a change, see its effect, give a reason, apply or undo it.

    370-2110   60 %
    370-2190   40 %      together 100 %                         SplitEditor

    RC/4   quantity   388.5   194.25   carol   1993-11-02 …   half of the nodes failed

``ChangeCharges`` shows the selected charges with their derivation and history, a form for the
field and its new value, and the effect on each invoice and charge. Only the effect that was shown
can be applied: another choice, or a change by another person, requires it to be shown again.
``UndoGroup`` takes a group of changes back in the same way.
"""

import json
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from html import escape

import ipywidgets as widgets
import polars as pl
from IPython.display import HTML

from billing_lib.documents.text import number, value_of
from billing_lib.errors import BillingError, ChangedMeanwhile, InvalidAdjustment
from billing_lib.panels.charge_list import pending_charges
from billing_lib.panels.forms import (
    BESIDE_LABEL,
    button,
    buttons,
    choice,
    heading,
    offer,
    suggestion,
    table,
    text_entry,
)
from billing_lib.panels.html import amount, changed_fields
from billing_lib.panels.office import Desk, Message, ProgressBar
from billing_lib.pricing.adjusting import FIELDS, NO, YES
from billing_lib.pricing.money import plain_text
from billing_lib.workflow.adjust import KEPT, OPEN, UNDONE, list_groups, read_history
from billing_lib.workflow.bulk import BulkResult, adjust_many, preview, preview_undo, undo_group
from billing_lib.workflow.review import explain

_WHOLE = Decimal(100)


class SplitEditor:
    """The shares of a split, one row each, with a list of expense ``codes`` to choose from."""

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
        """Call ``told`` whenever the split changes."""
        self._on_edit = told

    @property
    def value(self) -> str:
        """The split as text, ``370-1=60,370-2=40``, without empty rows."""
        return ",".join(
            f"{code.value.strip()}={percent.value.strip()}"
            for code, percent in self.shares
            if code.value.strip() or percent.value.strip()
        )

    def fill(self, value: str) -> None:
        """Show a split given as such a text; show two empty rows for none."""
        pairs = [part.partition("=") for part in value.split(",")] if value else [("", "", "")] * 2
        self.shares = []
        for code, _, percent in pairs:
            self.add_share(code.strip(), percent.strip())

    def add_share(self, code: str = "", percent: str = "") -> None:
        """Add a row."""
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


LABELS = {
    "quantity": "Quantity",
    "rate": "Rate (price per unit)",
    "amount": "Amount (the total)",
    "split": "Split over expense codes",
    "expense_code": "Expense code for all of it",
    "project": "Project that pays",
    "waived": "Waived, or not any more",
    "note": "Note on the invoice",
}
"""Labels of a charge's fields."""

_HINTS = {
    "quantity": "a number, such as 10 or 2.5",
    "rate": "a price per unit, such as 0.12",
    "amount": "the total in the currency, such as 75.00",
    "note": "a text beside the charge on the invoice",
}


class ChangeForm:
    """The field to change and the entry that fits it; a split's value is ``370-1=60,370-2=40``."""

    def __init__(
        self, desk: Desk, field: str | None, value: str, on_edit: Callable[[], None]
    ) -> None:
        self.field = choice("Change", [(LABELS[name], name) for name in FIELDS])
        codes = desk.expense_codes()
        self.split = SplitEditor(codes)
        self.entries: dict[str, widgets.Widget] = {
            name: text_entry("New value", hint) for name, hint in _HINTS.items()
        }
        self.entries["project"] = choice("New value", desk.projects())
        self.entries["expense_code"] = suggestion("New value", codes, "one code, such as 370-2110")
        self.entries["waived"] = choice(
            "New value",
            [("yes: it stays on the invoice at nothing", YES), ("no: it is billed", NO)],
        )
        self._entry = widgets.VBox()
        self._on_edit = on_edit
        self.field.observe(lambda _: self._show_entry(), names="value")
        self.split.on_edit(self._edited)
        for entry in self.entries.values():
            entry.observe(lambda _: self._edited(), names="value")
        self.widget = widgets.VBox([self.field, self._entry])
        if field is not None:
            self.fill(field, value)
        self._show_entry()

    def changes(self) -> dict[str, str]:
        """The new value by field."""
        field = str(self.field.value)
        value = self.split.value if field == "split" else self.entries[field].value
        return {field: str(value)}

    def fill(self, field: str, value: str) -> None:
        """Set the field and its value."""
        self.field.value = field
        if field == "split":
            self.split.fill(value)
        elif value:
            self.entries[field].value = value

    def clear(self) -> None:
        """Empty the value, if it is a text or a split."""
        field = str(self.field.value)
        if field == "split":
            self.split.fill("")
        elif field not in ("project", "waived"):
            self.entries[field].value = ""

    def _show_entry(self) -> None:
        field = str(self.field.value)
        shown = self.split.widget if field == "split" else self.entries[field]
        self._entry.children = [shown]
        self._edited()

    def _edited(self) -> None:
        self._on_edit()


SHOWN = 50
"""Changed charges that are listed; all of them are counted."""


def effect_sentence(changed: BulkResult, desk: Desk) -> str:
    """Sum the effect: ``2 charges; 2 totals change, together 27.50 → 30.00 USD``."""
    before, after = (
        amount(int(changed.effect[name].sum()), desk.places) for name in ("before", "after")
    )
    count = changed.effect.height
    selected = f"{changed.selected:,} charge{'' if changed.selected == 1 else 's'}"
    if count == 0:
        return f"{selected}; no total changes"
    totals = f"{count:,} total{' changes' if count == 1 else 's change, together'}"
    sentence = f"{selected}; {totals} {before} → {after} {desk.currency}"
    of_invoices, of_charges = (
        int((frame["after"] - frame["before"]).sum())
        for frame in (changed.invoices, changed.effect)
    )
    if of_invoices != of_charges:
        difference = amount(of_invoices, desk.places)
        sentence += f"; with their rules and tax the invoices change by {difference}"
    return sentence


def effect_tables(changed: BulkResult, desk: Desk, *, done: bool) -> str:
    """Invoices and charges before and after as HTML; ``done`` tells a change from a preview."""
    would = "" if done else " would be"
    invoices = changed.invoices.select(
        pl.col("invoice").fill_null("on no invoice yet"),
        "project",
        "state",
        "charges",
        total="before",
        total_after="after",
        difference=pl.col("after") - pl.col("before"),
    )
    charges, count = _charges(changed, desk.facility)
    more = "" if count <= SHOWN else f", the first {SHOWN} of {count:,}"
    shown = [
        table(invoices, f"Invoices as they{would or ' are'}", places=desk.places),
        table(charges, f"Charges as they{would or ' are'}{more}", places=desk.places),
    ]
    return "".join(str(part.data) for part in shown)


def _charges(changed: BulkResult, facility: str) -> tuple[pl.DataFrame, int]:
    """The first selected charges and charges repriced with them, and the count of all."""
    totals = changed.effect.rename({"before": "total", "after": "total_after"})
    every = changed.values.join(totals, on="charge", how="full", coalesce=True)
    # A charge with several fields has its totals once, so that the column sums to what is said.
    again = pl.int_range(pl.len()).over("charge") > 0
    every = every.sort(pl.col("field").is_null(), "charge").with_columns(
        pl.when(~again).then(pl.col("total", "total_after"))
    )
    first = every.head(SHOWN)
    told = first.with_columns(
        pl.struct("field", value=name)
        .map_elements(lambda it: value_of(it["field"] or "", it["value"]), return_dtype=pl.String)
        .alias(name)
        for name in ("before", "after")
    )
    shown = told.select(
        pl.format("{}/{}", pl.lit(facility), "charge").alias("charge"),
        "project",
        pl.col("field").str.replace("_", " ").fill_null("priced with them").alias("what"),
        "before",
        "after",
        "total",
        "total_after",
        difference=pl.col("total_after") - pl.col("total"),
    )
    return shown, every.height


def changes_table(changes: pl.DataFrame, caption: str = "Changes by staff") -> HTML:
    """List changes (``Month.changes`` or ``read_history``), one row per changed field."""
    return table(changed_fields(changes), caption)


_SHOW_FIRST = "'Show what it does' comes first, and again after each change of the form"

SHOWN_EVENTS = 3
"""Selected charges that are explained, the last chosen ones."""


class Trail:
    """The derivation and history of selected charges."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.widget = widgets.HTML()

    def show(self, charges: Sequence[str]) -> None:
        """Explain the charges chosen last, the last one first."""
        told = [self._told(charge) for charge in reversed(charges[-SHOWN_EVENTS:])]
        left = len(charges) - SHOWN_EVENTS
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


class ChangeCharges:
    """The form for one charge or many.

    It opens with ``charges`` selected and ``value`` set for ``field``. If ``fixed``, it changes
    just these charges, which are listed elsewhere, and ``table`` is None.
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
        self.apply = button("Apply", primary=True, disabled=_SHOW_FIRST)
        self.reason = text_entry("Reason", "why; kept with every change")
        self.progress = ProgressBar(self.message, self.show, self.apply)
        self._fixed = list(charges)
        self.table = None if fixed else pending_charges(desk, charges, self._others_chosen)
        self.form = ChangeForm(desk, field, value, self._forget)
        self.show.on_click(lambda _: self.show_effect())
        self.apply.on_click(lambda _: self.apply_change())
        desk.on_change(lambda: self.message.say(""))  # what it said may hold no longer
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
        both = widgets.HBox([form, beside], layout=widgets.Layout(flex_flow="row wrap"))
        selecting = [] if self.table is None else [heading("1. Select charges"), self.table.widget]
        self.widget = widgets.VBox([*selecting, both])

    @property
    def chosen(self) -> list[str]:
        """The selected charges, those ticked by hand last."""
        return self._fixed if self.table is None else self.table.ticked

    def refresh(self) -> None:
        """Read the month again."""
        if self.table is not None:
            self.table.read_again()
        self._tell()
        self._forget()

    def show_effect(self) -> None:
        """Preview the change and enable applying it."""
        with self.message.sentences():
            desk, chosen, changes = self.desk, self._some(), self.form.changes()
            self._forget()
            self.progress.start(
                lambda step: preview(desk.engine, desk.book, desk.period, chosen, changes, step),
                lambda would: self._show(would, chosen, changes),
            )

    def apply_change(self) -> None:
        """Apply the change exactly as it was shown."""
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
        if not self.chosen:
            raise InvalidAdjustment("no charge is selected", remedy="tick one in the list")
        return self.chosen

    def _show(self, would: BulkResult, chosen: list[str], changes: dict[str, str]) -> None:
        if (chosen, changes) != (self.chosen, self.form.changes()):
            return  # the choice changed during the preview
        if would.selected == 0:
            self.message.say("What is selected was set so before; there is nothing to change.")
            return
        self.seen = would.seen
        self.effect.value = effect_tables(would, self.desk, done=False)
        self.message.say(f"Nothing is changed yet. {effect_sentence(would, self.desk)}.")
        self.apply.disabled = False

    def _applied(self, done: BulkResult) -> None:
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

    def _others_chosen(self) -> None:
        self._forget()
        self.message.say("")
        self._tell()

    def _forget(self) -> None:
        """Forget the effect, which belongs to an earlier choice."""
        self.seen, self.effect.value, self.apply.disabled = "", "", True

    def _tell(self) -> None:
        with self.message.sentences():
            self.trail.show([])
            self.trail.show(self.chosen)


_STATES = {
    OPEN: "can be undone",
    UNDONE: "undone",
    KEPT: "stays: a charge of it is deleted, being approved or issued",
}


class UndoGroup:
    """The form that undoes a group of changes."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.message = Message()
        self.seen = ""
        self.listed = widgets.HTML()
        self.group = choice("Group", width="60em")
        self.reason = text_entry("Reason", "why it is taken back")
        self.show = button("Show what it does")
        self.undo = button("Undo the group", primary=True, disabled=_SHOW_FIRST)
        self.effect = widgets.HTML()
        self.progress = ProgressBar(self.message, self.show, self.undo)
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
        """Read the groups again."""
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
        """Preview undoing the chosen group and enable it."""
        with self.message.sentences():
            desk, group = self.desk, self._one()
            self._forget()
            self.progress.start(
                lambda step: preview_undo(desk.engine, desk.book, group, step), self._show
            )

    def undo_change(self) -> None:
        """Undo the chosen group exactly as it was shown."""
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

    def _show(self, would: BulkResult) -> None:
        if would.group != self.group.value:
            return  # the choice changed during the preview
        self.seen = would.seen
        self.effect.value = effect_tables(would, self.desk, done=False)
        self.message.say(f"Nothing is undone yet. {effect_sentence(would, self.desk)}.")
        self.undo.disabled = False

    def _undone(self, done: BulkResult) -> None:
        self.desk.changed()
        self.reason.value = ""
        self.effect.value = effect_tables(done, self.desk, done=True)
        self.message.say(f"Group {done.group} is undone: {effect_sentence(done, self.desk)}.")

    def _forget(self) -> None:
        self.seen, self.effect.value, self.undo.disabled = "", "", True


def _set(after: pl.Series) -> str:
    """The values that a group set, in words."""
    fields = [pair for text in after for pair in json.loads(text).items()]
    return "; ".join(f"{LABELS[field]}: {value_of(field, value)}" for field, value in fields)
