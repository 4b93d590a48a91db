"""The page of prices and people: a facility's price book as forms and tables.

    PricesPanel("RC")     sections ▸ rows ▸ "Show what it does" ▸ open months ▸ "Save"

The forms come from the price book's models (pricing/book_fields.py, static/book.js), so a new key
of the format needs nothing here. Nothing is written before "Save".
"""

import hashlib
import json
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import polars as pl
import traitlets

from billing_lib import Site, open_site
from billing_lib.panels.forms import (
    Displayed,
    button,
    buttons,
    choice,
    heading,
    remark,
    table,
    text_entry,
)
from billing_lib.panels.office import Message, ProgressBar
from billing_lib.pricing.book_fields import sections
from billing_lib.pricing.money import minor_places
from billing_lib.pricing.yaml_edit import Change, name_of
from billing_lib.pricing.yaml_text import KeyPath, Mistake
from billing_lib.workflow.load import read_price_books
from billing_lib.workflow.price_book import (
    BookPreview,
    OpenedBook,
    mistakes_of,
    open_book,
    preview_book,
    save_book,
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
        self.save_button = button("Save", disabled=True)
        self.back_button = button("Take all changes back")
        self.reason = text_entry("Reason", "why; kept with the change")
        self.progress = ProgressBar(self.message, self.show_button, self.save_button)
        self.effect = widgets.HTML()
        self.show_button.on_click(lambda _: self.show_effect())
        self.save_button.on_click(lambda _: self.save())
        self.back_button.on_click(lambda _: self.open(self.facility.value))
        self.book.observe(lambda _: self._changed(), names="content")
        self.widget = widgets.VBox(
            [
                self.facility,
                self.book,
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
            self.facility.options = [
                (f"{book.facility.name} ({code})", code) for code, book in books.items()
            ]
            if facility in books:
                self.facility.value = facility
            self.open(self.facility.value)

    def open(self, facility: str | None) -> None:
        """Show a facility's price book as it is in its file."""
        self.message.say("")
        with self.message.sentences():
            if facility is None:
                self.message.say("There is no price book yet.")
                return
            opened = open_book(self.office.engine, self.office.settings.parameters, facility)
            self._take(opened)

    def _take(self, opened: OpenedBook) -> None:
        self.opened = opened
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
            found = [] if content == self.opened.content else mistakes_of(self.opened, content)
        self.book.mistakes = [
            {
                "place": list(mistake.place),
                "where": place_in_words(mistake.place, content),
                "text": f"{mistake.sentence}; {mistake.remedy}"
                if mistake.remedy
                else mistake.sentence,
            }
            for mistake in found
        ]
        self.show_button.disabled = content == self.opened.content or bool(found)
        self.back_button.disabled = content == self.opened.content

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
        self.save_button.disabled = False
        self.message.say("Look at it, give a reason and save.")

    def save(self) -> None:
        """Write the shown change into the price book."""
        content = dict(self.book.content)
        with self.message.sentences():
            if self.opened is None or self.shown != _mark(content):
                self.message.refuse("show first what the change does")
                return
            saved = save_book(self.office.engine, self.opened, content, self.reason.value)
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


def changes_html(changes: list[Change]) -> str:
    """The changed values as a table."""
    frame = pl.DataFrame(
        {
            "changed": [change.where for change in changes],
            "before": [change.before for change in changes],
            "after": [change.after for change in changes],
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
