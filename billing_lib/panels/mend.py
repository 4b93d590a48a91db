"""Rows that cannot be billed as they are: each is mended or dismissed in place, or many at once.

    rows = BadRows(desk)      the month's rows ▸ Mend ▸ the fields of a row ▸ the next row
    rows.alike                another value for all rows that have the same wrong one

Nothing is written before "Mend the row", "Dismiss the row" or "Mend 12 rows"
(workflow/mend.py). Mended rows are charged when the month is rated.
"""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import ipywidgets as widgets
import polars as pl

from billing_lib.panels.forms import (
    PAIR,
    Displayed,
    Fold,
    button,
    buttons,
    choice,
    offer,
    paired,
    remark,
    show,
    suggestion,
    text_entry,
)
from billing_lib.panels.html import label_of
from billing_lib.panels.office import ActionForm, Desk, Message, ProgressBar
from billing_lib.panels.table import NUMBER, Column, PagedTable
from billing_lib.workflow.adjust import require_reason
from billing_lib.workflow.mend import (
    MENDED,
    MendedRows,
    dismiss_row,
    mend_record,
    mend_rows,
    read_rows,
    read_texts,
    restore_row,
    waiting_values,
)
from billing_lib.workflow.rate import RatedPeriod, rate_periods
from billing_lib.workflow.steps import Progress

PLACE = r"^.*?, row \d+(?:, |: )"
"""The place of a row at the beginning of a sentence, which stands in columns of its own."""

_HINTS = {
    "start": "2020-04-06 17:00",
    "end": "2020-04-06 18:30",
    "date": "2020-04-06",
    "elapsed": "1:30:00",
    "quantity": "12 or 0.25",
    "units": "1",
}


def rows_table(
    noun: str, columns: Sequence[Column], rows: pl.DataFrame, most: int = 12
) -> widgets.DOMWidget:
    """A table as high as its rows, within bounds."""
    visible = max(3, min(rows.height, most))
    return PagedTable(noun, columns, lambda: rows, visible=visible).widget


class AlikeForm(ActionForm):
    """Writes another value into a field of all rows that wait with the same old one.

    ``mended`` is called with the number of rows that can be billed then.
    """

    def __init__(self, desk: Desk, mended: Callable[[int], None]) -> None:
        self.desk, self._mended = desk, mended
        self.values = pl.DataFrame()
        field = choice("Field")
        super().__init__(
            {
                "field": field,
                "old": choice("Present value"),
                "new": text_entry("New value", "in all of these rows; empty for none"),
                "reason": text_entry("Reason", "why; kept with the rows"),
            }
        )
        field.observe(lambda _: self._list_values(), names="value")
        self.offer([("Mend all of them", "mend")])
        show(self.action, shown=False)

    def refresh(self) -> None:
        """Offer the fields of the rows that wait, and their values."""
        self.values = waiting_values(self.desk.engine, self.desk.book, self.desk.period)
        names = [name for name in MENDED if (self.values[name] != "").any()]
        offer(self.entries["field"], [(label_of(name), name) for name in names])
        self._list_values()

    def _list_values(self) -> None:
        field = self.entries["field"].value
        values = pl.Series(dtype=pl.String) if field is None else self.values[field]
        counts = values.alias("value").value_counts(sort=True).iter_rows()
        listed = [(f"{value or 'none'} ({_rows(count)})", value) for value, count in counts]
        offer(self.entries["old"], listed)

    def target(self, key: str, stated: dict[str, Any]) -> str:
        """The reason, without which nothing is mended."""
        require_reason(stated["reason"])
        return str(stated["reason"])

    def work(
        self, key: str, target: str, stated: dict[str, Any], step: Progress, *, trial: bool
    ) -> MendedRows:
        """Mend the rows, or try it."""
        step(0, 1, "mending")
        desk = self.desk
        field, old, new = (str(stated[name]) for name in ("field", "old", "new"))
        return mend_rows(
            desk.engine, desk.book, desk.period, field, old, new, target, preview=trial
        )

    def show(self, key: str, outcome: MendedRows) -> tuple[str, str]:
        """Show each row and its outcome."""
        self.message.say(f"Nothing is done yet: {outcome.sentence}.")
        self._list(outcome)
        return f"Mend {_rows(outcome.mended)}", self.stated()["reason"]

    def finish(self, key: str, outcome: MendedRows) -> None:
        """Show the result."""
        self._mended(outcome.billable)
        self.message.say(f"Done: {outcome.sentence}.")
        self._list(outcome)

    def _list(self, outcome: MendedRows) -> None:
        columns = (
            Column("record", "Record"),
            Column("file", "File"),
            Column("row", "Row", NUMBER),
            Column("outcome", "Outcome", wide=4),
        )
        said = pl.col("outcome").replace("", "it can be billed").str.replace(PLACE, "")
        self.result.children = [rows_table("rows", columns, outcome.rows.with_columns(said))]


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


class BadRows(Displayed):
    """The month's rows that are not billed, and the form that mends or dismisses one."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.message = Message()
        self.row: dict[str, Any] | None = None
        self.rows = pl.DataFrame()
        self.mended = 0
        self.summary, self.title = widgets.HTML(), widgets.HTML()
        codes = {
            "item": [item.code for item in desk.book.items],
            "project": [project.code for project in desk.book.projects],
        }
        self.fields = {
            name: suggestion(label_of(name), codes[name], width=PAIR)
            if name in codes
            else text_entry(label_of(name), _HINTS.get(name, ""), width=PAIR)
            for name in MENDED
        }
        self.own_id = text_entry("Its own id", "an id that no other record has", width=PAIR)
        self.reason = text_entry("Reason", "why; kept with the row")
        self.mend_button = button("Mend the row", self.mend, primary=True)
        self.dismiss_button = button("Dismiss the row", lambda: self._judge(dismiss_row))
        self.restore_button = button("Take the dismissal back", lambda: self._judge(restore_row))
        self.rate_button = button(f"Rate {desk.period}", self.rate)
        self.progress = ProgressBar(
            self.message, self.mend_button, self.dismiss_button, self.rate_button
        )
        close = button("Close", lambda: self.open(None))
        self.form = widgets.VBox(
            [
                self.title,
                paired(*self.fields.values(), self.own_id),
                remark(
                    "Mending makes a new version of this record alone; the file's own is kept. "
                    "Dismissing leaves it unbilled, and nobody is asked again."
                ),
                self.reason,
                buttons(self.mend_button, self.dismiss_button, self.restore_button, close),
            ]
        )
        self.table = PagedTable(
            "rows that are not billed",
            (
                Column("record", "Record", wide=2),
                Column("reason", "Why", offers="reason", wide=1),
                Column("item", "Item", offers="item"),
                Column("project", "Project", offers="project"),
                Column("user", "User", offers="user"),
                Column("place", "File, row", wide=1),
                Column("detail", "Detail", wide=4),
                Column("dismissed", "Dismissed", wide=2),
            ),
            self._read,
            key="key",
            action="Mend",
            on_action=self.open,
            visible=9,
        )
        self.alike = AlikeForm(desk, self._mended_alike)
        self.many = Fold("Mend all rows with the same wrong value", self.alike.widget)
        self.widget = widgets.VBox(
            [
                *(self.summary, self.table.widget, self.form, self.progress.widget),
                *(self.message.widget, self.many.widget, buttons(self.rate_button)),
            ]
        )
        self.open(None)
        self._summarise()
        desk.on_change(self.refresh)

    def html(self) -> str:
        """The rows as a plain table."""
        return f"{self.summary.value}{self.table.html() if self.rows.height else ''}"

    def refresh(self) -> None:
        """Read the rows again."""
        with self.message.sentences():
            self.table.replace(self._read)
            self._summarise()

    def _read(self) -> pl.DataFrame:
        found = read_rows(self.desk.engine, self.desk.book, self.desk.period)
        self.rows = found.with_columns(
            pl.col("reason").str.replace_all("_", " "),
            pl.col("detail").str.replace(PLACE, ""),
            place=pl.format("{}, row {}", "file", "row"),
            key=pl.format("{} {}", "record", "occurrence"),
        ).sort(pl.col("dismissed") != "", maintain_order=True)
        return self.rows

    def _summarise(self) -> None:
        waiting = self.rows.filter(pl.col("dismissed") == "").height
        show(self.table.widget, shown=self.rows.height > 0)
        show(self.many.widget, shown=waiting > 1)
        if waiting > 1:
            self.alike.refresh()
        dismissed = self.rows.height - waiting
        verb = "is" if waiting == 1 else "are"
        words = f"{_rows(waiting)} of {self.desk.period} {verb} not billed"
        if not waiting:
            words = f"No row of {self.desk.period} waits to be mended"
        words += f", {dismissed:,} dismissed" if dismissed else ""
        if self.mended:
            words += f"; {self.mended:,} mended: rate the month to charge them"
        self.summary.value = f'<p style="margin: 0 0 6px"><b>{escape(words)}.</b></p>'
        self.rate_button.button_style = "primary" if self.mended else ""

    def open(self, place: int | None) -> None:
        """Show the form for the row at this place; None closes it."""
        self.row = None
        show(self.form, shown=False)
        if place is None:
            return
        self.message.say("")
        with self.message.sentences():
            row = self.table.rows_at([place]).row(0, named=True)
            desk = self.desk
            texts = read_texts(desk.engine, desk.book, row["record"], row["occurrence"])
            for name, text in texts.items():
                self.fields[name].value = text
            self.own_id.value, self.reason.value = "", ""
            show(self.own_id, shown=row["occurrence"] > 1)
            show(self.restore_button, shown=bool(row["dismissed"]))
            show(self.dismiss_button, shown=not row["dismissed"])
            self.title.value = _row_html(row)
            self.row = row
            show(self.form, shown=True)

    def mend(self) -> None:
        """Write the form's fields as a new version of the record."""
        row, desk = self.row, self.desk
        if row is None:
            return
        with self.message.sentences():
            mended = mend_record(
                desk.engine,
                desk.book,
                row["record"],
                row["occurrence"],
                {name: entry.value for name, entry in self.fields.items()},
                self.reason.value,
                own_id=self.own_id.value,
            )
            self.mended += not mended.reason
            self._go_on(row, mended.sentence)

    def _judge(self, judge: Callable[..., str]) -> None:
        """Dismiss the row, or take its dismissal back."""
        row, desk = self.row, self.desk
        if row is None:
            return
        with self.message.sentences():
            key = (row["record"], row["occurrence"])
            said = judge(desk.engine, desk.book, desk.period, *key, self.reason.value)
            self._go_on(row, said)

    def _go_on(self, row: dict[str, Any], said: str) -> None:
        """Show the rows anew, and the form of the next one that waits."""
        self._changed()
        after = self.rows.with_row_index("at").filter(
            pl.col("dismissed") == "",
            pl.col("key") != row["key"],
            (pl.col("file") > row["file"])
            | ((pl.col("file") == row["file"]) & (pl.col("row") >= row["row"])),
        )
        if after.height:
            self.open(int(after["at"][0]))
        self.message.say(said)

    def _mended_alike(self, billable: int) -> None:
        self.mended += billable
        self._changed()

    def _changed(self) -> None:
        """Show the rows anew, and no form."""
        self.desk.changed()
        self.open(None)

    def rate(self) -> None:
        """Rate the month."""
        desk = self.desk
        self.progress.start(
            lambda step: rate_periods(desk.engine, desk.book, [desk.period], step), self._rated
        )

    def _rated(self, rated: list[RatedPeriod]) -> None:
        self.mended = 0
        self._changed()
        self.message.say(f"{rated[0].sentence}.")


def _row_html(row: dict[str, Any]) -> str:
    dismissed = f" Dismissed: {row['dismissed']}." if row["dismissed"] else ""
    raw = (
        f'<br>In the file: <code style="white-space: pre-wrap">{escape(row["raw"])}</code>'
        if row["raw"]
        else ""
    )
    return (
        f'<h3 style="margin: 12px 0 4px">{escape(row["record"])}: {escape(row["reason"])}</h3>'
        f'<p style="margin: 0 0 6px; line-height: 1.5">{escape(row["place"])}: '
        f"{escape(row['detail'] or '')}.{escape(dismissed)}{raw}</p>"
    )
