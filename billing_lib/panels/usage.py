"""The page of usage: a file is looked at, mapped, loaded and rated, and bad rows are mended.

    usage = UsagePanel("RC", "1993-10")
    usage           drop or choose a file ▸ what was recognised ▸ mapping ▸ report ▸ load ▸ rate
    usage.rows      the month's rows that are not billed, each mended or dismissed in place
    usage.files     the files loaded before, each taken back after a look at the effect

Nothing is written before "Load", "Rate", "Save the mapping", "Mend the row", "Dismiss the row" or
"Take the file back". The browser sends a file in pieces (static/drop.js).
"""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import IO, Any

import anywidget
import ipywidgets as widgets
import polars as pl

from billing_lib import Site
from billing_lib.panels.forms import (
    BESIDE_LABEL,
    Displayed,
    button,
    buttons,
    choice,
    heading,
    offer,
    remark,
    suggestion,
    table,
    text_entry,
)
from billing_lib.panels.office import ActionForm, Desk, Message, ProgressBar
from billing_lib.panels.table import MONEY, NUMBER, Column, PagedTable
from billing_lib.pricing.clock import Period
from billing_lib.sources.quantities import MEASURES
from billing_lib.sources.registry import TEMPLATES, registered
from billing_lib.workflow.adjust import require_reason
from billing_lib.workflow.correct import NEW, TakenBack, list_loaded, undo_unload, unload
from billing_lib.workflow.load import Loaded, load_files
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
from billing_lib.workflow.notebooks import open_month
from billing_lib.workflow.price_book import OpenedBook, open_book
from billing_lib.workflow.rate import RatedPeriod, rate_period
from billing_lib.workflow.steps import Progress
from billing_lib.workflow.usage_files import (
    LookedAt,
    look_at,
    own_mapping,
    save_mapping,
    stated_mapping,
    summarise,
    uploads,
    waiting_files,
)

STATIC = Path(__file__).parent / "static"

_HALF = "calc(30em - 8px)"
"""The width of an entry of which two stand side by side."""

_PAIRED = widgets.Layout(
    grid_template_columns="repeat(auto-fill, 30em)", grid_gap="0 1em", width="100%"
)


def _named(field: str) -> str:
    return field.replace("_", " ").capitalize() if field != "id" else "Id"


class _Drop(anywidget.AnyWidget):
    """The place where files are dropped."""

    _esm = STATIC / "drop.js"
    _css = STATIC / "drop.css"


class Upload:
    """Files from the browser into a folder; ``then`` gets each one's path."""

    def __init__(self, folder: Path, then: Callable[[Path], None]) -> None:
        self.folder, self._then = folder, then
        self.widget = _Drop()
        self.widget.on_msg(lambda _widget, content, buffers: self.received(content, buffers))
        self._name, self._size, self._done = "", 0, 0
        self._file: IO[bytes] | None = None

    def received(self, content: dict[str, Any], buffers: Sequence[bytes | memoryview]) -> None:
        """Take the beginning of a file, or its next piece."""
        try:
            if content.get("kind") == "begin":
                self._begin(str(content["name"]), int(content["size"]))
            elif self._file is not None:
                for piece in buffers:
                    self._done += self._file.write(piece)
                self._go_on()
        except OSError as error:
            self._end()
            told = f"{self._name} could not be kept: {error.strerror or error}"
            self.widget.send({"kind": "refused", "told": told})

    def _begin(self, name: str, size: int) -> None:
        self._end()
        self._name, self._size, self._done = Path(name).name.lstrip("."), size, 0
        if not self._name:
            self.widget.send({"kind": "refused", "told": "the file has no name"})
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("wb")
        self._go_on()

    def _go_on(self) -> None:
        if self._done < self._size:
            self.widget.send({"kind": "more", "received": self._done})
            return
        self._end()
        path = self.folder / self._name
        self._part.replace(path)
        self.widget.send({"kind": "done", "told": f"{self._name} is here ({self._size:,} bytes)."})
        self._then(path)

    def _end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def _part(self) -> Path:
        return self.folder / f".{self._name}.part"


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
    "measure": "of the elapsed time: hours, minutes, [h]:mm",
}


class _FieldEntry:
    """The column of a usage field, or another template."""

    def __init__(self, field: str, changed: Callable[[], None]) -> None:
        self.chooser = choice(_named(field), width=_HALF)
        self.text = text_entry("as text", "u{user}, or a fixed text", width=_HALF)
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
        self.text.layout.display = None if other else "none"

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
        self.text.layout.display = None if self.chooser.value == _OTHER else "none"
        changed()


class MappingForm:
    """The mapping of a file's columns to usage, and the rows that count."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed, self._quiet = changed, False
        self.name = suggestion(
            "Name", placeholder="csv, or a name for files with these columns", width=_HALF
        )
        self.fields = {field: _FieldEntry(field, self._tell) for field in TEMPLATES}
        self.keys = {
            key: suggestion(
                _named(key), [value for value in values if value], _HINTS[key], width=_HALF
            )
            for key, values in _KEYS.items()
        }
        self.column = choice("Rows by column", width=_HALF)
        self.rows_mode = choice(
            "Rows", [("that count have", False), ("left out have", True)], width=_HALF
        )
        self.values = text_entry("With values", "COMPLETED, TIMEOUT", width=_HALF)
        self.rest = widgets.HTML()
        for entry in (*self.keys.values(), self.name, self.column, self.rows_mode, self.values):
            entry.observe(lambda _: self._tell(), names="value")
        self._kept: dict[str, Any] = {}
        self.widget = widgets.VBox(
            [
                widgets.GridBox(
                    [
                        self.name,
                        *(entry.widget for entry in self.fields.values()),
                        *self.keys.values(),
                        self.column,
                        self.rows_mode,
                        self.values,
                    ],
                    layout=_PAIRED,
                ),
                self.rest,
            ]
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
        if known is not None and name not in registered() and "header" not in keys:
            keys = own_mapping(known, keys)
        return name, keys

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
        self.upload = Upload(uploads(settings, desk.facility), self._arrived)
        self.file = choice("File")
        self.kind = choice("Read as")
        self.again = button("List the files again")
        self.look_button = button("Look at the file", primary=True)
        self.summary, self.columns = widgets.HTML(), widgets.HTML()
        self.mapping = MappingForm(self._mapping_changed)
        self.try_button = button("Try the mapping")
        self.reason = text_entry("Reason", "why the mapping changes; kept with it")
        self.save_button = button("Save the mapping", disabled="try the mapping first")
        self.mapping_note = Message()
        self.report = widgets.VBox()
        self.told = widgets.HTML()
        self.load_button = button("Load", primary=True, disabled="look at the file first")
        self.rate_button = button("Rate", disabled="load the file first")
        self.months: tuple[str, ...] = ()
        self.progress = ProgressBar(
            self.message,
            self.look_button,
            self.try_button,
            self.save_button,
            self.load_button,
            self.rate_button,
        )
        self.again.on_click(lambda _: self.list_files())
        self.look_button.on_click(lambda _: self.look())
        self.try_button.on_click(lambda _: self.look(trial=True))
        self.save_button.on_click(lambda _: self.save())
        self.load_button.on_click(lambda _: self.load())
        self.rate_button.on_click(lambda _: self.rate())
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
        self.shown.layout.display = self.effect.layout.display = "none"
        self.widget = widgets.VBox(
            [
                self.upload.widget,
                self.file,
                self.kind,
                buttons(self.look_button, self.again),
                self.progress.widget,
                self.message.widget,
                self.shown,
                self.effect,
            ]
        )
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
        path, desk = self.file.value, self.desk
        looked, opened = self.looked, self.opened
        tried = None
        if not path:
            self.message.refuse("no file is chosen; drop one above")
            return
        if trial and looked is not None:
            tried = self.mapping.stated(looked)

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
        self.shown.layout.display = None if known is not None else "none"
        self.summary.value = _pairs_html(summarise(opened.book, looked))
        if known is not None:
            self.columns.value = _columns_html(looked)
            if not tried:
                self.mapping.show(looked, opened)
        self.save_button.disabled = not tried or bool(looked.trouble)
        presets = known.presets if known is not None else ()
        if looked.trouble:
            self.effect.layout.display = "none"
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
        self.effect.layout.display = None
        parts: list[widgets.Widget] = [_line(loaded.sentence)]
        if loaded.outcomes.height:
            parts.append(outcome_table(self.desk, loaded.outcomes).widget)
        self.report.children = parts
        self.told.value = ""

    def _forget(self) -> None:
        self.looked = None
        self.shown.layout.display = self.effect.layout.display = "none"
        self.load_button.disabled = self.save_button.disabled = True
        self.message.say("")

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
            lambda step: load_files(desk.engine, desk.book, [looked.path], step, kind),
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
        self.progress.start(lambda step: rate_months(desk, months, step), self._rated)

    def _rated(self, rated: list[RatedPeriod]) -> None:
        lines = "".join(
            f"<li>{escape(month.sentence)}. {_month_link(self.desk, month.period)}</li>"
            for month in rated
        )
        self.told.value = f'<ul style="line-height: 1.6">{lines}</ul>'
        self.desk.changed()
        self.message.say(f"Rated: {', '.join(month.period for month in rated)}.")


def rate_months(desk: Desk, months: Sequence[str], step: Progress) -> list[RatedPeriod]:
    """Rate months one after the other."""
    rated = []
    for done, month in enumerate(months):
        step(done, len(months), f"rating {month}")
        rated.append(rate_period(desk.engine, desk.book, Period.parse(month)))
    step(len(months), len(months), "rated")
    return rated


def _month_link(desk: Desk, month: str) -> str:
    """A link to another month's page of usage, or to the review of this one."""
    page = "review" if month == desk.period else "usage"
    path = open_month(desk.office.settings.office, desk.facility, month)[page]
    return (
        f'<a href="../{month}/{escape(Path(path).name)}" style="text-decoration: underline; '
        f'color: #0b5394">{page.capitalize()} of {month}</a>'
    )


def _line(text: str) -> widgets.HTML:
    return widgets.HTML(f'<p style="margin: 0 0 6px; line-height: 1.5">{escape(text)}.</p>')


def _pairs_html(pairs: list[tuple[str, str]]) -> str:
    rows = "".join(
        f'<tr><th scope="row" style="{_LABELS}">{escape(label)}</th>'
        f'<td style="text-align: left; white-space: normal">{escape(text)}</td></tr>'
        for label, text in pairs
    )
    return f'<table style="font-size: 13px; line-height: 1.5">{rows}</table>'


_LABELS = "text-align: left; padding: 1px 14px 1px 0; vertical-align: top"

_LONGEST = 40
"""Letters of a cell that are shown."""


def _columns_html(looked: LookedAt) -> str:
    """A file's columns, each with its first values and the fields that it makes."""
    known = looked.recognised
    if known is None:
        return ""
    made: dict[str, list[str]] = {}
    for field, template in known.templates.items():
        for column in known.first.columns:
            if f"{{{column}}}" in template or f"{{{column}[" in template:
                made.setdefault(column, []).append(_named(field).lower())
    rows = [
        {"column": column}
        | {
            f"row {at}": (value if value is None else value[:_LONGEST])
            for at, value in enumerate(known.first[column], start=1)
        }
        | {"becomes": ", ".join(made.get(column, []))}
        for column in known.first.columns
    ]
    return str(
        table(
            pl.DataFrame(rows, infer_schema_length=None).cast(pl.String), "Columns and first rows"
        ).data
    )


def outcome_table(desk: Desk, outcomes: pl.DataFrame) -> PagedTable:
    """The rows of a load or unload that are not simply added, with reasons."""
    columns = (
        Column("outcome", "Outcome", wide=2, offers="outcome"),
        Column("record", "Record"),
        Column("file", "File", offers="file"),
        Column("row", "Row", NUMBER),
        Column("reason", "Reason", wide=2),
        Column("note", "Note", wide=3),
        Column("before", "Before", MONEY, desk.places, wide=2),
        Column("after", "After", MONEY, desk.places, wide=2),
    )
    shown = outcomes.with_columns(
        pl.when(pl.col("outcome") == NEW)
        .then(pl.col("reason").str.replace_all("_", " "))
        .otherwise("reason")
        .alias("reason"),
        pl.col("note").str.replace(_PLACE, ""),
    )
    return PagedTable("rows of the file", columns, lambda: shown, visible=_sight(outcomes.height))


_PLACE = r"^.*?, row \d+(?:, |: )"
"""The place of a row at the beginning of a sentence, which stands in columns of its own."""


def _sight(rows: int, most: int = 12) -> int:
    return max(3, min(rows, most))


class AlikeForm(ActionForm):
    """Writes another value into a field of all rows that wait with the same old one.

    ``mended`` is called with the number of rows that can be billed then.
    """

    def __init__(self, desk: Desk, mended: Callable[[int], None]) -> None:
        self.desk, self._mended = desk, mended
        self.values = pl.DataFrame()
        field, old = choice("Field"), choice("Present value")
        super().__init__(
            {
                "field": field,
                "old": old,
                "new": text_entry("New value", "in all of these rows; empty for none"),
                "reason": text_entry("Reason", "why; kept with the rows"),
            }
        )
        field.observe(lambda _: self._list_values(), names="value")
        self.action.layout.display = "none"
        self.offer([("Mend all of them", "mend")])

    def refresh(self) -> None:
        """Offer the fields of the rows that wait, and their values."""
        self.values = waiting_values(self.desk.engine, self.desk.book, self.desk.period)
        names = [name for name in MENDED if (self.values[name] != "").any()]
        offer(self.entries["field"], [(_named(name), name) for name in names])
        self._list_values()

    def _list_values(self) -> None:
        field = self.entries["field"].value
        counts = (
            pl.Series("value", dtype=pl.String).value_counts(sort=True)
            if field is None
            else self.values[field].alias("value").value_counts(sort=True)
        )
        offer(
            self.entries["old"],
            [
                (f"{value or 'none'} ({count:,} row{'' if count == 1 else 's'})", value)
                for value, count in counts.iter_rows()
            ],
        )

    def names(self, key: str) -> Sequence[str]:
        """The names of the entries."""
        return tuple(self.entries)

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
        rows = outcome.rows.with_columns(
            pl.col("outcome").replace("", "it can be billed").str.replace(_PLACE, "")
        )
        shown = PagedTable("rows", columns, lambda: rows, visible=_sight(rows.height))
        self.result.children = [shown.widget]


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


class BadRows(Displayed):
    """The month's rows that are not billed, and the form that mends or dismisses one."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.message = Message()
        self.summary = widgets.HTML()
        self.row: dict[str, Any] | None = None
        self.rows = pl.DataFrame()
        self.mended = 0
        self.title = widgets.HTML()
        book = desk.book
        known = {
            "item": [item.code for item in book.items],
            "project": [project.code for project in book.projects],
        }
        hints = {
            "start": "2020-04-06 17:00",
            "end": "2020-04-06 18:30",
            "date": "2020-04-06",
            "elapsed": "1:30:00",
            "quantity": "12 or 0.25",
            "units": "1",
        }
        self.fields = {
            name: suggestion(_named(name), known[name], width=_HALF)
            if name in known
            else text_entry(_named(name), hints.get(name, ""), width=_HALF)
            for name in MENDED
        }
        self.own_id = text_entry("Its own id", "an id that no other record has", width=_HALF)
        self.reason = text_entry("Reason", "why; kept with the row")
        self.mend_button = button("Mend the row", primary=True)
        self.dismiss_button = button("Dismiss the row")
        self.restore_button = button("Take the dismissal back")
        self.close_button = button("Close")
        self.rate_button = button(f"Rate {desk.period}")
        self.progress = ProgressBar(
            self.message, self.mend_button, self.dismiss_button, self.rate_button
        )
        self.mend_button.on_click(lambda _: self.mend())
        self.dismiss_button.on_click(lambda _: self.dismiss())
        self.restore_button.on_click(lambda _: self.restore())
        self.close_button.on_click(lambda _: self.open(None))
        self.rate_button.on_click(lambda _: self.rate())
        self.form = widgets.VBox(
            [
                self.title,
                widgets.GridBox([*self.fields.values(), self.own_id], layout=_PAIRED),
                remark(
                    "Mending makes a new version of this record alone; the file's own is kept. "
                    "Dismissing leaves it unbilled, and nobody is asked again."
                ),
                self.reason,
                buttons(
                    self.mend_button, self.dismiss_button, self.restore_button, self.close_button
                ),
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
        self.many = widgets.Accordion([self.alike.widget], selected_index=None)
        self.many.set_title(0, "Mend all rows with the same wrong value")
        self.widget = widgets.VBox(
            [
                self.summary,
                self.table.widget,
                self.form,
                self.progress.widget,
                self.message.widget,
                self.many,
                buttons(self.rate_button),
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
        place = pl.format("{}, row {}", "file", "row")
        self.rows = found.with_columns(
            pl.col("reason").str.replace_all("_", " "),
            pl.col("detail").str.replace(_PLACE, ""),
            place=place,
            key=pl.format("{} {}", "record", "occurrence"),
        ).sort(pl.col("dismissed") != "", maintain_order=True)
        return self.rows

    def _summarise(self) -> None:
        waiting = self.rows.filter(pl.col("dismissed") == "").height
        self.many.layout.display = None if waiting > 1 else "none"
        if waiting > 1:
            self.alike.refresh()
        dismissed = self.rows.height - waiting
        noun, verb = ("row", "is") if waiting == 1 else ("rows", "are")
        words = f"{waiting:,} {noun} of {self.desk.period} {verb} not billed"
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
        self.form.layout.display = "none"
        if place is None:
            return
        self.message.say("")
        with self.message.sentences():
            row = self.table.rows_at([place]).row(0, named=True)
            desk = self.desk
            texts = read_texts(desk.engine, desk.book, row["record"], row["occurrence"])
            for name, text in texts.items():
                self.fields[name].value = text
            duplicate = row["occurrence"] > 1
            self.own_id.layout.display = None if duplicate else "none"
            self.own_id.value, self.reason.value = "", ""
            self.restore_button.layout.display = "none" if not row["dismissed"] else None
            self.dismiss_button.layout.display = "none" if row["dismissed"] else None
            self.title.value = _row_html(row)
            self.row = row
            self.form.layout.display = None

    def mend(self) -> None:
        """Write the form's fields as a new version of the record."""
        row, desk = self.row, self.desk
        if row is None:
            return
        with self.message.sentences():
            fields = {name: entry.value for name, entry in self.fields.items()}
            mended = mend_record(
                desk.engine,
                desk.book,
                row["record"],
                row["occurrence"],
                fields,
                self.reason.value,
                own_id=self.own_id.value,
            )
            self.mended += not mended.reason
            self._go_on(row, mended.sentence)

    def dismiss(self) -> None:
        """Dismiss the row."""
        self._judge(dismiss_row)

    def restore(self) -> None:
        """Take the row's dismissal back."""
        self._judge(restore_row)

    def _judge(self, judge: Callable[..., str]) -> None:
        row, desk = self.row, self.desk
        if row is None:
            return
        with self.message.sentences():
            record, occurrence = row["record"], row["occurrence"]
            said = judge(desk.engine, desk.book, desk.period, record, occurrence, self.reason.value)
            self._go_on(row, said)

    def _go_on(self, row: dict[str, Any], said: str) -> None:
        """Show the rows anew, and the form of the next one that waits."""
        self.desk.changed()
        self.open(None)
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
        """Show the rows anew after many were mended."""
        self.mended += billable
        self.desk.changed()
        self.open(None)

    def rate(self) -> None:
        """Rate the month."""
        desk = self.desk
        self.progress.start(lambda step: rate_months(desk, [desk.period], step), self._rated)

    def _rated(self, rated: list[RatedPeriod]) -> None:
        self.mended = 0
        self.desk.changed()
        self.open(None)
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


class LoadedFiles(Displayed):
    """The files loaded before: each is taken back after a look at the effect, or brought again."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.message = Message()
        self.listed = widgets.HTML()
        self.file = choice("File")
        self.reason = text_entry("Reason", "why; kept with the event")
        self.show_button = button("Show what it does", primary=True)
        self.do_button = button("Take the file back", disabled="show first what it does")
        self.effect = widgets.VBox()
        self.progress = ProgressBar(self.message, self.show_button, self.do_button)
        self.show_button.on_click(lambda _: self.show())
        self.do_button.on_click(lambda _: self.carry_out())
        self.file.observe(lambda _: self._forget(), names="value")
        desk.on_change(self.refresh)
        self.form = widgets.VBox(
            [
                self.file,
                buttons(self.show_button),
                self.progress.widget,
                self.effect,
                self.reason,
                buttons(self.do_button),
            ]
        )
        self.widget = widgets.VBox([self.listed, self.form, self.message.widget])
        self.refresh()

    def html(self) -> str:
        """The files as a table."""
        return str(self.listed.value)

    def refresh(self) -> None:
        """List the files again."""
        with self.message.sentences():
            self.files = list_loaded(self.desk.engine, self.desk.book)
            if self.files.height == 0:
                self.listed.value = "<p>No file was loaded yet.</p>"
            else:
                shown = self.files.select(
                    "file", "kind", "records", "state", loaded_by="by", loaded_at="at"
                )
                self.listed.value = str(table(shown.head(_LISTED), "Files").data)
            offer(
                self.file,
                [
                    (f"{file['file']}, {file['at']} ({file['state']})", file["sha256"])
                    for file in self.files.iter_rows(named=True)
                ],
            )
            self.form.layout.display = None if self.files.height else "none"
            self._forget()

    def _chosen(self) -> dict[str, Any]:
        return self.files.filter(sha256=self.file.value).row(0, named=True)

    def _forget(self) -> None:
        self.effect.children = []
        self.do_button.disabled = True
        if self.files.height and self.file.value is not None:
            back = bool(self._chosen()["group"])
            self.do_button.description = "Bring the file again" if back else "Take the file back"

    def _work(self, *, preview: bool) -> TakenBack:
        file, desk, reason = self._chosen(), self.desk, self.reason.value
        if file["group"]:
            return undo_unload(desk.engine, desk.book, file["group"], reason, preview=preview)
        return unload(desk.engine, desk.book, file["sha256"], reason, preview=preview)

    def show(self) -> None:
        """Show the effect of taking the file back, or of bringing it again."""
        self.progress.start(lambda step: self._work(preview=True), self._show)

    def _show(self, done: TakenBack) -> None:
        parts: list[widgets.Widget] = [_line(done.sentence)]
        if done.outcomes.height:
            parts.append(outcome_table(self.desk, done.outcomes).widget)
        self.effect.children = parts
        self.do_button.disabled = done.outcomes.height == 0
        self.message.say("Nothing is written yet.")

    def carry_out(self) -> None:
        """Take the file back, or bring it again."""
        self.progress.start(lambda step: self._work(preview=False), self._done)

    def _done(self, done: TakenBack) -> None:
        self.reason.value = ""
        self.desk.changed()
        self.message.say(f"{done.sentence}.")


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
