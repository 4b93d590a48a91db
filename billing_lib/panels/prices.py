"""The page of prices and people: a facility's price book as forms and tables.

    PricesPanel("RC")     sections ▸ rows ▸ "Show what it does" ▸ open months ▸ "Save"

The forms come from the price book's models (pricing/book_fields.py, static/book.js), so a new key
of the format needs nothing here. Nothing is written before "Save", but for the file of a new logo,
which the price book does not name before.
"""

import hashlib
import json
from collections.abc import Callable
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import polars as pl
import traitlets

from billing_lib import Site, open_site
from billing_lib.documents.book_workbook import BookWorkbook, read_workbook, write_workbook
from billing_lib.panels.forms import (
    BESIDE_LABEL,
    Displayed,
    Fold,
    Upload,
    button,
    buttons,
    choice,
    heading,
    keep,
    offer,
    remark,
    table,
    text_entry,
)
from billing_lib.panels.office import Message, ProgressBar
from billing_lib.panels.table import NUMBER, Column, PagedTable
from billing_lib.pricing.book_fields import sections
from billing_lib.pricing.money import minor_places
from billing_lib.pricing.pricebook import find_mistakes
from billing_lib.pricing.yaml_edit import Change, changes, name_of
from billing_lib.pricing.yaml_text import KeyPath, Mistake
from billing_lib.workflow.load import read_price_books
from billing_lib.workflow.price_book import (
    BookPreview,
    BookVersion,
    OpenedBook,
    new_facility,
    open_book,
    preview_book,
    put_logo,
    read_versions,
    save_book,
    templates,
)

STATIC = Path(__file__).parent / "static"


class _Book(anywidget.AnyWidget):
    """The state that Python and the browser share."""

    _esm = STATIC / "book.js"
    _css = STATIC / "book.css"
    sections: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    content = traitlets.Dict().tag(sync=True)
    mistakes: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    reading = traitlets.Bool(default_value=False).tag(sync=True)
    version = traitlets.Int().tag(sync=True)
    """Counts the contents that Python has sent."""


class NewFacilityForm:
    """The form of a new facility, made from a template; ``made`` gets its code."""

    def __init__(self, office: Site, made: Callable[[str], None]) -> None:
        self.office, self._made = office, made
        self.message = Message()
        self.template = choice(
            "Template", [(name.replace("-", " ").capitalize(), name) for name in templates()]
        )
        self.keys = {
            "code": text_entry("Code", "short, the first part of each invoice's number"),
            "name": text_entry("Name", "as on invoices"),
            "currency": text_entry("Currency", "USD"),
            "timezone": text_entry("Time zone", "America/New_York"),
            "country": text_entry("Country", "US"),
        }
        self.make_button = button("Make the facility")
        self.make_button.on_click(lambda _: self.make())
        self.widget = widgets.VBox(
            [
                heading("A new facility"),
                remark(
                    "A template brings items, rates, example teams and projects, and an example of "
                    "usage. All of it can be changed above afterwards. An empty field takes the "
                    "template's value."
                ),
                self.template,
                *self.keys.values(),
                buttons(self.make_button),
                self.message.widget,
            ]
        )

    def make(self) -> None:
        """Make the facility."""
        keys = {name: entry.value.strip() for name, entry in self.keys.items()}
        code = keys.pop("code")
        with self.message.sentences():
            if not code:
                self.message.refuse("the field 'Code' is empty; give the facility a short code")
                return
            folder = self.office.settings.parameters
            made = new_facility(self.office.engine, folder, code, self.template.value, **keys)
            self._made(code)
            for entry in self.keys.values():
                entry.value = ""
            self.message.say(
                f"{code} is made and shown above. An example of its usage is the file "
                f"{made.example.parent.name}/{made.example.name} beside the price book."
            )


class BookHistory:
    """The versions of a price book: the author, time, change and text of each."""

    def __init__(self, office: Site) -> None:
        self.office = office
        self.versions: list[BookVersion] = []
        self.opened: OpenedBook | None = None
        self.message = Message()
        self.shown = widgets.HTML()
        self.table = PagedTable(
            "versions",
            (
                Column("version", "Version", NUMBER),
                Column("at", "Date", wide=2),
                Column("login", "Login", offers="login"),
                Column("reason", "Reason", wide=3),
                Column("changed", "Changed", wide=6),
            ),
            self._rows,
            key="version",
            action="Show",
            on_action=self.show,
            visible=6,
        )
        parts = widgets.VBox([self.table.widget, self.message.widget, self.shown])
        self.fold = Fold("History of the price book", parts)
        self.fold.heading.observe(lambda _: self.refresh(), names="opened")

    def open(self, opened: OpenedBook) -> None:
        """Show another price book, or another version of it."""
        self.opened = opened
        self.shown.value = ""
        self.refresh()

    def refresh(self) -> None:
        """Read the versions, if the history is in sight."""
        if self.opened is None or not self.fold.heading.opened:
            return
        with self.message.sentences():
            self.versions = read_versions(self.office.engine, self.opened)
            self.table.replace(self._rows)

    def _rows(self) -> pl.DataFrame:
        zone = self.opened.book.facility.timezone if self.opened is not None else "UTC"
        words = ("version", "login", "reason", "changed")
        schema = pl.Schema({"at": pl.Datetime("us", "UTC")} | dict.fromkeys(words, pl.String()))
        rows = [
            {
                "version": str(len(self.versions) - place),
                "at": version.at,
                "login": version.login,
                "reason": version.reason,
                "changed": _words(version.changes),
            }
            for place, version in enumerate(self.versions)
        ]
        at = pl.col("at").dt.convert_time_zone(zone).dt.to_string("%Y-%m-%d %H:%M:%S")
        return pl.DataFrame(rows, schema).with_columns(at)

    def show(self, place: int) -> None:
        """Show a version's changes and its text."""
        version = self.versions[place]
        changed = changes_html(version.changes) if version.changes else ""
        text = (
            "<p>Its text is not kept: it was used, but neither opened nor saved here.</p>"
            if version.text is None
            else f'<pre tabindex="0" aria-label="Text of the version" style="{_TEXT}">'
            f"{escape(version.text)}</pre>"
        )
        number = len(self.versions) - place
        self.shown.value = f'<h3 style="margin: 12px 0 4px">Version {number}</h3>{changed}{text}'


_TEXT = "max-height: 40em; overflow: auto; border: 1px solid #c3cad3; padding: 6px 10px"


def _words(changed: list[Change] | None) -> str:
    """Changes in one line."""
    if changed is None:
        return "not known"
    return "; ".join(
        f"{change.where} {change.before or 'none'} → {change.after or 'none'}" for change in changed
    )


class PricesPanel(Displayed):
    """Choose a facility, change its price book, see the effect, save."""

    def __init__(self, facility: str = "", office: Site | None = None) -> None:
        self.office = office or open_site()
        self.message = Message()
        self.opened: OpenedBook | None = None
        self.shown: str | None = None
        self.facility = choice("Facility")
        self.book = _Book(sections=[field.as_data() for field in sections()])
        self.show_button = button("Show what it does", primary=True)
        self.save_button = button("Save", disabled="show first what the change does")
        self.back_button = button("Take all changes back")
        self.reason = text_entry("Reason", "why; kept with the change")
        self.progress = ProgressBar(self.message, self.show_button, self.save_button)
        self.effect = widgets.HTML()
        self.workbook: BookWorkbook | None = None
        self.workbook_button = button("Make an Excel workbook")
        self.workbook_link = widgets.HTML()
        upload = self._upload("Drop a changed workbook here, or choose it", ".xlsx")
        logo = self._upload("Drop a logo here, or choose it", ".png,.svg")
        self.workbook_button.on_click(lambda _: self.make_workbook())
        self.history = BookHistory(self.office)
        self.new = NewFacilityForm(self.office, self.list_facilities)
        self.show_button.on_click(lambda _: self.show_effect())
        self.save_button.on_click(lambda _: self.save())
        self.back_button.on_click(lambda _: self.open(self.facility.value))
        self.book.observe(lambda _: self._changed(), names="content")
        self.widget = widgets.VBox(
            [
                self.facility,
                self.book,
                heading("The letterhead's logo"),
                remark(
                    "A PNG or SVG file of at most 200 kB. It stands on documents once the price "
                    "book is saved."
                ),
                logo.widget,
                heading("Save the changes"),
                remark(
                    "Shown first is what a change does: the values that differ, and the totals of "
                    "the open months if they were rated again."
                ),
                buttons(self.show_button, self.back_button),
                self.progress.widget,
                self.effect,
                self.reason,
                buttons(self.save_button),
                self.message.widget,
                heading("As an Excel workbook"),
                remark(
                    "The workbook has a sheet for each section. A changed one comes back into the "
                    "forms above, where its effect is shown before it is saved."
                ),
                buttons(self.workbook_button),
                widgets.HBox([self.workbook_link], layout={"margin": f"0 0 0 {BESIDE_LABEL}"}),
                upload.widget,
                self.history.fold.widget,
                self.new.widget,
            ]
        )
        self.list_facilities(facility)
        self.facility.observe(lambda _: self.open(self.facility.value), names="value")

    def html(self) -> str:
        """The facility, and its price book as tables."""
        if self.opened is None:
            return str(self.message.widget.value)
        content = self.opened.content
        parts = [f"<h3>{escape(self.opened.book.facility.name)}</h3>"]
        for field in sections():
            rows = content.get(field.name)
            if isinstance(rows, list) and rows:
                names = [name_of(entry) for entry in rows]
                parts.append(f"<p>{field.label} ({len(rows):,}): {escape(', '.join(names))}</p>")
        return "".join(parts)

    def list_facilities(self, facility: str = "") -> None:
        """List the facilities, and open the named one or the first."""
        with self.message.sentences():
            books = read_price_books(self.office.settings.parameters)
            names = [(f"{book.facility.name} ({code})", code) for code, book in books.items()]
            offer(self.facility, names)
            if facility in books:
                self.facility.value = facility
            self.open(self.facility.value)

    def open(self, facility: str | None) -> None:
        """Show a facility's price book as it is in its file."""
        self.message.say("")
        self.workbook_link.value = ""
        with self.message.sentences():
            if facility is None:
                self.message.say("There is no price book yet.")
                return
            opened = open_book(self.office.engine, self.office.settings.parameters, facility)
            self._take(opened)

    def _take(self, opened: OpenedBook) -> None:
        self.opened = opened
        self.history.open(opened)
        self.take_content(opened.content)

    def take_content(self, content: dict[str, Any]) -> None:
        """Show a content in the forms."""
        self.book.content = content
        self.book.version += 1
        self._changed()

    def _changed(self) -> None:
        """Check the content, and ask for a new look at its effect."""
        self.shown, self.effect.value = None, ""
        self.save_button.disabled = True
        if self.opened is None:
            return
        content = self.book.content
        found: list[Mistake] = []
        with self.message.sentences():
            found = [] if content == self.opened.content else find_mistakes(content)
        self.book.mistakes = [
            {
                "place": list(mistake.place),
                "where": self._where(mistake.place, content),
                "text": f"{mistake.sentence}; {mistake.remedy}"
                if mistake.remedy
                else mistake.sentence,
            }
            for mistake in found
        ]
        same = content == self.opened.content
        self.show_button.disabled = same or bool(found)
        self.show_button.tooltip = (
            "Nothing is changed yet" if same else "Correct the mistakes first" if found else ""
        )
        self.back_button.disabled = same
        self.back_button.tooltip = "Nothing is changed yet" if same else ""
        self.save_button.tooltip = "Show first what the change does"

    def _where(self, place: KeyPath, content: dict[str, Any]) -> str:
        words = place_in_words(place, content)
        if self.workbook is None or self.workbook.content != content:
            return words
        return f"{words} ({self.workbook.where(place)})"

    def make_workbook(self) -> None:
        """Offer the saved price book as a workbook."""
        if self.opened is None:
            return
        with self.message.sentences():
            content = write_workbook(self.opened.content, str(self.opened.book.sha256))
            self.workbook_link.value = keep({f"{self.opened.path.stem}.xlsx": content})

    def _upload(self, label: str, suffixes: str) -> Upload:
        return Upload(label, self.office.settings.office / ".dropped", self.take_file, suffixes)

    def take_file(self, path: Path) -> None:
        """Take a dropped workbook or logo in, and delete the file."""
        content = path.read_bytes()
        path.unlink()
        take = self.take_workbook if path.suffix.lower() == ".xlsx" else self.take_logo
        take(path.name, content)

    def take_logo(self, name: str, content: bytes) -> None:
        """Lay a logo beside the price book and name it in the forms."""
        if self.opened is None:
            return
        with self.message.sentences():
            file = put_logo(self.office.engine, self.opened, name, content)
            now = dict(self.book.content)
            self.take_content(now | {"facility": now["facility"] | {"logo": file}})
            self.message.say(f"{name} is taken in as {file}. Show what it does, and save.")

    def take_workbook(self, name: str, content: bytes) -> None:
        """Take the content of a workbook into the forms."""
        if self.opened is None:
            return
        with self.message.sentences():
            opened = self.opened
            self.workbook = read_workbook(BytesIO(content), opened.content, str(opened.book.sha256))
            self.take_content(self.workbook.content)
            differ = sum(1 for _ in changes(opened.content, self.workbook.content))
            count = f"{differ:,} value{'' if differ == 1 else 's'}"
            self.message.say(
                f"{name} changes {count}. “Show what it does” lists them."
                if differ
                else f"{name} is as the price book."
            )

    def show_effect(self) -> None:
        """Price the open months with the change, and show the difference."""
        opened, content = self.opened, dict(self.book.content)
        if opened is None:
            return
        self.progress.start(
            lambda step: preview_book(self.office.engine, opened, content, step),
            lambda shown: self._show(shown, _mark(content), opened.book.facility.currency),
        )

    def _show(self, shown: BookPreview, mark: str, currency: str) -> None:
        if mark != _mark(self.book.content):
            self.message.say("The price book was changed meanwhile: show again what it does.")
            return
        self.effect.value = effect_html(shown, currency)
        self.shown = mark
        self.save_button.disabled, self.save_button.tooltip = False, ""
        self.message.say("Look at it, give a reason and save.")

    def save(self) -> None:
        """Write the shown change into the price book."""
        opened, content, reason = self.opened, dict(self.book.content), self.reason.value
        if opened is None or self.shown != _mark(content):
            self.message.refuse("show first what the change does")
            return
        self.progress.start(
            lambda step: save_book(self.office.engine, opened, content, reason), self._saved
        )

    def _saved(self, saved: OpenedBook) -> None:
        self._take(saved)
        self.reason.value = ""
        self.message.say(f"{saved.path.name} is saved.")


def _mark(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def place_in_words(place: KeyPath, content: Any) -> str:
    """Keys as people read them: ``Rates, slide internal, price``."""
    words = []
    for key in place:
        if isinstance(key, int):
            entry = content[key] if isinstance(content, list) and key < len(content) else None
            words.append(name_of(entry) if entry else f"row {key + 1}")
        else:
            words.append(key.replace("_", " "))
            entry = content.get(key) if isinstance(content, dict) else None
        content = entry
    first, *others = words or ["the price book"]
    return ", ".join([first.capitalize(), *others])


def changes_html(changed: list[Change]) -> str:
    """The changed values as a table."""
    frame = pl.DataFrame(
        {
            "changed": [change.where for change in changed],
            "before": [change.before for change in changed],
            "after": [change.after for change in changed],
        },
        schema=dict.fromkeys(("changed", "before", "after"), pl.String),
    )
    return str(table(frame, "Changed values").data)


def effect_html(shown: BookPreview, currency: str) -> str:
    """The changed values, the sentence, and the totals of open months."""
    places = minor_places(currency)
    parts = [changes_html(shown.changes), f"<p>{escape(shown.sentence)}</p>"]
    if shown.effect.height:
        frame = shown.effect.select(
            "period",
            "project",
            pl.col("charges").alias("charges_now"),
            "charges_after",
            pl.col("before").alias("total"),
            pl.col("after").alias("total_after"),
            (pl.col("after") - pl.col("before")).alias("difference"),
        )
        sums = ("charges_now", "charges_after", "total", "total_after", "difference")
        caption = f"Open months, now and rated again, {currency}"
        parts.append(str(table(frame, caption, places=places, total=sums).data))
    return "".join(parts)
