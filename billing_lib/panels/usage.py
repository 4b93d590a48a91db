"""The page of usage: a file is looked at, mapped, loaded and rated, and bad rows are mended.

    usage = UsagePanel("RC", "1993-10")
    usage           drop or choose a file ▸ what was recognised ▸ mapping ▸ report ▸ load ▸ rate
    usage.rows      the month's rows that are not billed, each mended or dismissed (mend.py)
    usage.files     the files loaded before, each taken back after a look at the effect

Nothing is written before "Load", "Rate", "Save the mapping" or "Take the file back". The browser
sends a file in pieces (static/drop.js).
"""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import polars as pl

from billing_lib import Site
from billing_lib.panels.forms import (
    BESIDE_LABEL,
    PAIR,
    Displayed,
    Upload,
    button,
    buttons,
    choice,
    heading,
    offer,
    paired,
    remark,
    show,
    suggestion,
    table,
    text_entry,
)
from billing_lib.panels.html import label_of
from billing_lib.panels.mend import PLACE, BadRows, rows_table
from billing_lib.panels.office import ActionForm, Desk, Message, ProgressBar
from billing_lib.panels.table import MONEY, NUMBER, Column
from billing_lib.sources.quantities import MEASURES
from billing_lib.sources.registry import TEMPLATES, registered
from billing_lib.workflow.correct import NEW, TakenBack, list_loaded, undo_unload, unload
from billing_lib.workflow.load import Loaded, load_files
from billing_lib.workflow.notebooks import open_month
from billing_lib.workflow.price_book import OpenedBook, open_book
from billing_lib.workflow.rate import RatedPeriod, rate_periods
from billing_lib.workflow.steps import Progress
from billing_lib.workflow.usage_files import (
    LookedAt,
    columns_shown,
    look_at,
    own_mapping,
    save_mapping,
    stated_mapping,
    summarise,
    uploads,
    waiting_files,
)

_BY_ITSELF, _NONE, _OTHER = "by itself", "none", "other"
_KEYS = {
    "numbers": ("", "1,234.5", "1.234,5", "1 234,5", "1'234.5", "1234,5", "1234.5"),
    "times": ("", "%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p", "%d/%m/%Y %H:%M"),
    "dates": ("", "%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y"),
    "measure": ("", *MEASURES),
}
"""Further keys of a mapping, with the values that are offered."""
_HINTS = {
    "numbers": "found by itself, or 1.234,5",
    "times": "ISO 8601, or %d.%m.%Y %H:%M",
    "dates": "ISO 8601, or %d.%m.%Y",
    "measure": "hours, minutes, [h]:mm",
}


class _FieldEntry:
    """The column of a usage field, or another template."""

    def __init__(self, field: str, changed: Callable[[], None]) -> None:
        self.chooser = choice(label_of(field), width=PAIR)
        self.text = text_entry("as text", "u{user}, or a fixed text", width=PAIR)
        self.widget = widgets.VBox([self.chooser, self.text])
        self.chooser.observe(lambda _: self._chosen(changed), names="value")
        self.text.observe(lambda _: changed(), names="value")

    def show(self, columns: list[str], stated: object, offered: str | None, *, given: bool) -> None:
        """Offer a file's columns, and show the template that makes the field."""
        own = f"by itself: {offered}" if offered else "not in the file"
        self.chooser.options = [
            (own, _BY_ITSELF),
            *((f"column {column}", f"{{{column}}}") for column in columns),
            ("left empty", _NONE),
            ("another text …", _OTHER),
        ]
        values = {f"{{{column}}}" for column in columns}
        chosen = _BY_ITSELF if not given else _NONE if not stated else str(stated)
        other = chosen not in {*values, _BY_ITSELF, _NONE}
        self.text.value = chosen if other else ""
        self.chooser.value = _OTHER if other else chosen
        show(self.text, shown=other)

    def stated(self, keys: dict[str, Any], field: str) -> None:
        """Write the field into a mapping's keys."""
        keys.pop(field, None)
        if self.chooser.value == _NONE:
            keys[field] = None
        elif self.chooser.value == _OTHER:
            keys[field] = self.text.value.strip()
        elif self.chooser.value != _BY_ITSELF:
            keys[field] = self.chooser.value

    def _chosen(self, changed: Callable[[], None]) -> None:
        show(self.text, shown=self.chooser.value == _OTHER)
        changed()


class MappingForm:
    """The mapping of a file's columns to usage, and the rows that count."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed, self._quiet = changed, False
        self.name = suggestion(
            "Name", placeholder="csv, or a name for files with these columns", width=PAIR
        )
        self.fields = {field: _FieldEntry(field, self._tell) for field in TEMPLATES}
        self.keys = {
            key: suggestion(
                label_of(key), [value for value in values if value], _HINTS[key], width=PAIR
            )
            for key, values in _KEYS.items()
        }
        self.column = choice("Rows by column", width=PAIR)
        self.rows_mode = choice(
            "Rows", [("that count have", False), ("left out have", True)], width=PAIR
        )
        self.values = text_entry("With values", "COMPLETED, TIMEOUT", width=PAIR)
        self.rest = widgets.HTML()
        for entry in (*self.keys.values(), self.name, self.column, self.rows_mode, self.values):
            entry.observe(lambda _: self._tell(), names="value")
        self._kept: dict[str, Any] = {}
        fields = (entry.widget for entry in self.fields.values())
        rows = (self.column, self.rows_mode, self.values)
        self.widget = widgets.VBox(
            [paired(self.name, *fields, *self.keys.values(), *rows), self.rest]
        )

    def show(self, looked: LookedAt, opened: OpenedBook) -> None:
        """Show the mapping that a file was read by."""
        known = looked.recognised
        if known is None:
            return
        self._quiet = True
        stated = stated_mapping(opened, known.name)
        self._kept = dict(stated)
        columns = known.first.columns
        self.name.options = list(dict.fromkeys([known.name, known.kind, *known.presets]))
        self.name.value = known.name
        for field, entry in self.fields.items():
            given = field in stated
            offered = None if given else known.templates.get(field)
            entry.show(columns, stated.get(field), offered, given=given)
        for key, chooser in self.keys.items():
            chooser.value = str(stated.get(key) or "")
        where = stated.get("where") or {}
        offer(self.column, [("all rows count", ""), *((name, name) for name in columns)])
        first = next(iter(where), "") if len(where) == 1 else ""
        self.column.value = first if first in columns else ""
        filtered = where.get(first) if self.column.value else None
        self.rows_mode.value = isinstance(filtered, dict)
        values = filtered["not"] if isinstance(filtered, dict) else filtered
        self.values.value = ", ".join([values] if isinstance(values, str) else values or [])
        self._where_kept = bool(where) and not self.column.value
        others = sorted({*stated} & {"items", "lookup", "defaults", "overnight", "sheets"})
        others += ["where"] if self._where_kept else []
        self.rest.value = (
            f'<p style="margin: 0 0 6px {BESIDE_LABEL}">It keeps its {escape(", ".join(others))}, '
            "which the page of prices shows.</p>"
            if others
            else ""
        )
        self._quiet = False

    def stated(self, looked: LookedAt) -> tuple[str, dict[str, Any]]:
        """The mapping's name, and its keys as in the price book."""
        known = looked.recognised
        name = self.name.value.strip()
        keys = dict(self._kept)
        for field, entry in self.fields.items():
            entry.stated(keys, field)
        for key, chooser in self.keys.items():
            keys.pop(key, None)
            if chooser.value.strip():
                keys[key] = chooser.value.strip()
        if self.column.value:
            values = [value.strip() for value in self.values.value.split(",")]
            without = self.rows_mode.value
            keys["where"] = {self.column.value: {"not": values} if without else values}
        elif not self._where_kept:
            keys.pop("where", None)
        return name, keys if known is None else own_mapping(known, name, keys)

    _where_kept = False

    def _tell(self) -> None:
        if not self._quiet:
            self._changed()


class UsageFilePart(Displayed):
    """Choose a file, look at it, correct its mapping, load it, rate its months."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.message = Message()
        self.looked: LookedAt | None = None
        self.opened: OpenedBook | None = None
        settings = desk.office.settings
        folder = uploads(settings, desk.facility)
        label = "Drop usage files here, or choose them"
        self.upload = Upload(label, folder, self._arrived)
        self.file = choice("File")
        self.kind = choice("Read as")
        again = button("List the files again", self.list_files)
        self.look_button = button("Look at the file", self.look, primary=True)
        self.summary, self.columns = widgets.HTML(), widgets.HTML()
        self.mapping = MappingForm(self._mapping_changed)
        self.try_button = button("Try the mapping", lambda: self.look(trial=True))
        self.reason = text_entry("Reason", "why the mapping changes; kept with it")
        self.save_button = button("Save the mapping", self.save, disabled="try the mapping first")
        self.mapping_note = Message()
        self.report = widgets.VBox()
        self.told = widgets.HTML()
        first = "look at the file first"
        self.load_button = button("Load", self.load, primary=True, disabled=first)
        self.rate_button = button("Rate", self.rate, disabled="load the file first")
        self.months: tuple[str, ...] = ()
        self.progress = ProgressBar(
            self.message,
            *(self.look_button, self.try_button, self.save_button),
            *(self.load_button, self.rate_button),
        )
        self.file.observe(lambda _: self._forget(), names="value")
        self.kind.observe(lambda _: self._forget(), names="value")
        self.shown = widgets.VBox(
            [
                heading("What was recognised"),
                self.summary,
                self.columns,
                heading("The mapping"),
                remark(
                    "It says which column makes which field of usage. Try it on the file. Saved, "
                    "it stands in the price book and reads all files of its name."
                ),
                self.mapping.widget,
                self.reason,
                buttons(self.try_button, self.save_button),
                self.mapping_note.widget,
            ]
        )
        self.effect = widgets.VBox(
            [
                heading("What loading it does"),
                self.report,
                remark(
                    "A record that is new is added, one that stands otherwise is corrected with "
                    "its pending charge, and one that is billed stays. Loading it twice is "
                    "the same as once."
                ),
                buttons(self.load_button, self.rate_button),
                self.told,
            ]
        )
        self.widget = widgets.VBox(
            [
                *(self.upload.widget, self.file, self.kind, buttons(self.look_button, again)),
                *(self.progress.widget, self.message.widget, self.shown, self.effect),
            ]
        )
        self._hide()
        self.list_files()
        self._offer_rating(())

    def html(self) -> str:
        """The files that wait."""
        names = ", ".join(label for label, path in self.file.options if path)
        return f"<p>Files that wait: {escape(names) or 'none'}.</p>"

    def list_files(self, chosen: Path | None = None) -> None:
        """List the files of the inbox and those uploaded."""
        with self.message.sentences():
            files = waiting_files(self.desk.office.settings, self.desk.facility)
            listed = [(f"{path.name} ({path.parent.name})", path) for path in files]
            offer(self.file, listed or [("no file is here yet: drop one above", "")])
            if chosen in files:
                self.file.value = chosen
            named = [name for name in self.desk.book.sources if name not in registered()]
            kinds = [*registered(), *named]
            offer(self.kind, [("its name and header tell", ""), *((it, it) for it in kinds)])
            self.look_button.disabled = not files

    def look(self, *, trial: bool = False) -> None:
        """Recognise and read the chosen file, and show the effect of loading it."""
        path, desk, looked, opened = self.file.value, self.desk, self.looked, self.opened
        if not path:
            self.message.refuse("no file is chosen; drop one above")
            return
        tried = self.mapping.stated(looked) if trial and looked is not None else None

        def work(step: Progress) -> tuple[OpenedBook, LookedAt]:
            at = open_book(desk.engine, desk.office.settings.parameters, desk.facility)
            book = opened if tried is not None and opened is not None else at
            return book, look_at(desk.engine, book, path, self.kind.value or None, tried, step)

        self.progress.start(
            work,
            lambda done: self._show(*done, tried=tried is not None),
            lambda error: self.mapping_note.refuse(str(error)) if trial else None,
        )

    def _show(self, opened: OpenedBook, looked: LookedAt, *, tried: bool) -> None:
        self.opened, self.looked = opened, looked
        known = looked.recognised
        show(self.shown, shown=known is not None)
        self.summary.value = _pairs_html(summarise(opened.book, looked))
        if known is not None:
            first = table(columns_shown(known), "Columns and first rows")
            self.columns.value = str(first.data)
            if not tried:
                self.mapping.show(looked, opened)
        self.save_button.disabled = not tried or bool(looked.trouble)
        presets = known.presets if known is not None else ()
        if looked.trouble:
            show(self.effect, shown=False)
            told = looked.trouble
            if presets:
                told += f". Name the mapping {presets[0]} and try it to read it as that system's."
            (self.mapping_note if tried else self.message).refuse(told)
            if tried:
                self.message.say("")
            return
        self.mapping_note.say(
            "The file can be read so. Give a reason and save the mapping." if tried else ""
        )
        self._report(looked.loaded)
        self.load_button.disabled = tried
        self.load_button.tooltip = (
            "save the mapping first" if tried else "writes it into the ledger"
        )
        self.message.say(
            "This is a trial: the mapping is not saved, nothing is loaded."
            if tried
            else "Nothing is loaded yet."
        )

    def _report(self, loaded: Loaded | None) -> None:
        if loaded is None:
            return
        show(self.effect, shown=True)
        self.report.children = _outcome(self.desk, loaded)
        self.told.value = ""

    def _forget(self) -> None:
        self.looked = None
        self._hide()
        self.load_button.disabled = self.save_button.disabled = True
        self.message.say("")

    def _hide(self) -> None:
        show(self.shown, shown=False)
        show(self.effect, shown=False)

    def _mapping_changed(self) -> None:
        self.save_button.disabled = self.load_button.disabled = True
        self.mapping_note.say("The mapping was changed: try it.")

    def _arrived(self, path: Path) -> None:
        self.list_files(path)
        self.look()

    def save(self) -> None:
        """Write the tried mapping into the price book, and read the file by it."""
        looked, opened = self.looked, self.opened
        if looked is None or opened is None:
            return
        name, keys = self.mapping.stated(looked)
        reason, desk = self.reason.value, self.desk

        def work(step: Progress) -> tuple[OpenedBook, LookedAt]:
            saved = save_mapping(desk.engine, opened, name, keys, reason)
            own = None if name in registered() else name
            return saved, look_at(desk.engine, saved, looked.path, own, step=step)

        def then(done: tuple[OpenedBook, LookedAt]) -> None:
            self.reason.value = ""
            self._show(*done, tried=False)
            self.mapping_note.say(f"The mapping {name} is saved.")

        self.progress.start(work, then, lambda error: self.mapping_note.refuse(str(error)))

    def load(self) -> None:
        """Load the file as it was looked at."""
        looked, desk = self.looked, self.desk
        if looked is None or looked.loaded is None:
            return
        kind = self.kind.value or None
        self.progress.start(
            lambda step: load_files(
                desk.engine,
                desk.book,
                [looked.path],
                step,
                kind,
                keep=desk.office.settings.usage_files,
            ),
            self._loaded,
        )

    def _loaded(self, files: list[Loaded]) -> None:
        (loaded,) = files
        self._report(loaded)
        self.load_button.disabled = True
        self._offer_rating(loaded.months)
        self.desk.changed()
        self.message.say(f"Loaded. {loaded.sentence}.")

    def _offer_rating(self, months: Sequence[str]) -> None:
        self.months = tuple(months) or (self.desk.period,)
        few = f"{self.months[0]} to {self.months[-1]}" if len(self.months) > 2 else None
        self.rate_button.description = f"Rate {few or ' and '.join(self.months)}"
        self.rate_button.disabled = not months

    def rate(self) -> None:
        """Rate the months of the file."""
        months, desk = self.months, self.desk
        self.progress.start(
            lambda step: rate_periods(desk.engine, desk.book, months, step), self._rated
        )

    def _rated(self, rated: list[RatedPeriod]) -> None:
        lines = "".join(
            f"<li>{escape(month.sentence)}. {_month_link(self.desk, month.period)}</li>"
            for month in rated
        )
        self.told.value = f'<ul style="line-height: 1.6">{lines}</ul>'
        self.desk.changed()
        self.message.say(f"Rated: {', '.join(month.period for month in rated)}.")


def _month_link(desk: Desk, month: str) -> str:
    """A link to another month's page of usage, or to the review of this one."""
    page = "review" if month == desk.period else "usage"
    path = open_month(desk.office.settings.office, desk.facility, month)[page]
    return (
        f'<a href="../{month}/{escape(Path(path).name)}" style="text-decoration: underline; '
        f'color: #0b5394">{page.capitalize()} of {month}</a>'
    )


def _pairs_html(pairs: list[tuple[str, str]]) -> str:
    rows = "".join(
        f'<tr><th scope="row" style="{_LABELS}">{escape(label)}</th>'
        f'<td style="text-align: left; white-space: normal">{escape(text)}</td></tr>'
        for label, text in pairs
    )
    return f'<table style="font-size: 13px; line-height: 1.5">{rows}</table>'


_LABELS = "text-align: left; padding: 1px 14px 1px 0; vertical-align: top"


def _outcome(desk: Desk, done: Loaded | TakenBack) -> list[widgets.DOMWidget]:
    """A sentence, and the rows that are not simply added, with reasons."""
    sentence = remark(f"{done.sentence}.")
    columns = (
        Column("outcome", "Outcome", wide=2, offers="outcome"),
        Column("record", "Record"),
        Column("file", "File", offers="file"),
        Column("row", "Row", NUMBER),
        Column("reason", "Reason", wide=2),
        Column("note", "Note", wide=6),
        Column("before", "Before", MONEY, desk.places, wide=2),
        Column("after", "After", MONEY, desk.places, wide=2),
    )
    reason = pl.col("reason")
    rows = done.outcomes.with_columns(
        pl.when(pl.col("outcome") == NEW).then(reason.str.replace_all("_", " ")).otherwise(reason),
        pl.col("note").str.replace(PLACE, ""),
    )
    return [sentence, rows_table("rows of the file", columns, rows)] if rows.height else [sentence]


class LoadedFiles(ActionForm, Displayed):
    """The files loaded before: each is taken back after a look at the effect, or brought again."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.listed = widgets.HTML()
        self.file = choice("File", width="48em")
        super().__init__(
            {"file": self.file, "reason": text_entry("Reason", "why; kept with the event")}
        )
        self.look.description = "Show what it does"
        self.offer([("Take the file back", "unload")])
        show(self.action, shown=False)
        self.below = self.widget
        self.widget = widgets.VBox([self.listed, self.below])
        desk.on_change(self.refresh)
        self.refresh()

    def html(self) -> str:
        """The files as a table."""
        return str(self.listed.value)

    def refresh(self) -> None:
        """List the files again."""
        with self.message.sentences():
            self.files = list_loaded(self.desk.engine, self.desk.book)
            shown = self.files.select(
                "file", "kind", "records", "state", loaded_by="by", loaded_at="at"
            )
            self.listed.value = (
                str(table(shown.head(_LISTED), "Files").data)
                if shown.height
                else "<p>No file was loaded yet.</p>"
            )
            offer(
                self.file,
                [
                    (f"{file['file']}, {file['at']} ({file['state']})", file["sha256"])
                    for file in self.files.iter_rows(named=True)
                ],
            )
            show(self.below, shown=shown.height > 0)

    def target(self, key: str, stated: dict[str, Any]) -> dict[str, Any]:
        """The chosen file."""
        return self.files.row(by_predicate=pl.col("sha256") == self.file.value, named=True)

    def work(
        self,
        key: str,
        target: dict[str, Any],
        stated: dict[str, Any],
        step: Progress,
        *,
        trial: bool,
    ) -> TakenBack:
        """Take the file back, or bring one again that was taken back."""
        engine, book, reason = self.desk.engine, self.desk.book, stated["reason"]
        if target["group"]:
            return undo_unload(engine, book, target["group"], reason, preview=trial)
        return unload(engine, book, target["sha256"], reason, preview=trial)

    def show(self, key: str, outcome: TakenBack) -> tuple[str, dict[str, Any]] | None:
        """Show the effect."""
        self.result.children = _outcome(self.desk, outcome)
        self.message.say("Nothing is written yet.")
        if outcome.outcomes.height == 0:
            return None
        file = self.target(key, self.stated())
        return ("Bring the file again" if file["group"] else "Take the file back"), file

    def finish(self, key: str, outcome: TakenBack) -> None:
        """Show the result."""
        self.entries["reason"].value = ""
        self.result.children = []
        self.desk.changed()
        self.message.say(f"{outcome.sentence}.")


_LISTED = 30
"""Files that the table shows; the list beside it has all."""


class UsagePanel:
    """The parts of the page of usage for one facility and month."""

    def __init__(self, facility: str, period: str, office: Site | None = None) -> None:
        self.desk = Desk(facility, period, office)
        self.file = UsageFilePart(self.desk)
        self.rows = BadRows(self.desk)
        self.files = LoadedFiles(self.desk)

    def _repr_mimebundle_(self, **options: object) -> dict[str, Any]:
        return self.file._repr_mimebundle_(**options)
