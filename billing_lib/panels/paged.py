"""A table of any number of rows in a notebook: only those in sight are sent to the browser.

    PagedTable("charges", columns, read=lambda: charges, opening=charges.head(60)).widget

Filtering, searching and sorting are done here (rows.py); the browser's part is static/table.js, a
widget by anywidget, which brings it along, so that nothing is loaded from a network. It opens
with the rows that it is given; where reading all takes long, that goes on beside in a thread.
Where there is no browser, as in a page that nbconvert writes, the opening rows stand as a table.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Any

import anywidget
import polars as pl
import traitlets

from billing_lib.errors import BillingError, InvalidFilter
from billing_lib.panels.display import bundle
from billing_lib.panels.rows import Column, Page, Question, Rows
from billing_lib.panels.tables import table
from billing_lib.pricing.money import money_text

STATIC = Path(__file__).parent / "static"

OPENING = 54
"""Rows that a table opens with: those in sight, and as many again before and after."""


class _Browser(anywidget.AnyWidget):
    """The widget's state that the browser knows from the start."""

    _esm = STATIC / "table.js"
    _css = STATIC / "table.css"
    columns: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    action = traitlets.Unicode().tag(sync=True)
    opening = traitlets.Dict().tag(sync=True)


class PagedTable:
    """Rows that can be filtered, searched, sorted and gone through with mouse and keyboard.

    Parameters
    ----------
    noun
        What a row is, in the plural.
    read
        Gives all rows.
    opening
        The first of them, where reading all takes long; then that happens in a thread, and
        the table says so until it is done.
    sum_of, currency, places
        The money column that is summed over what matches, and its currency.
    action, on_action
        The label of each row's button, and what is called with the row's place among all.

    Attributes
    ----------
    widget
        What the notebook displays.
    question
        What was asked last.
    """

    def __init__(
        self,
        noun: str,
        columns: Sequence[Column],
        read: Callable[[], pl.DataFrame],
        opening: pl.DataFrame | None = None,
        *,
        sum_of: str | None = None,
        currency: str = "",
        places: int = 2,
        action: str = "",
        on_action: Callable[[int], None] = lambda at: None,
    ) -> None:
        self.noun, self.columns, self.sum_of = noun, columns, sum_of
        self.currency, self.places = currency, places
        self.question = Question()
        self._read, self._act = read, on_action
        self._rows: Rows | None = None
        self._refused = ""
        self._filling: Thread | None = None
        if opening is None:
            self._rows = first = self._all()
        else:
            first = Rows(opening, columns)
        self._opening = first.page(Question(), 0, OPENING)
        self.widget = _Browser(
            columns=[
                {"name": it.name, "label": it.label, "kind": it.kind, "wide": it.wide}
                for it in columns
            ],
            label=noun,
            action=action,
            opening=self._sent(self._opening, 0),
        )
        self.widget.on_msg(lambda _widget, content, _buffers: self._received(content))

    def replace(self, read: Callable[[], pl.DataFrame]) -> None:
        """Show other rows from now on."""
        self._read = read
        self._rows = self._all()
        self.widget.send({"kind": "ready"})

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request for a page; a mistake in a filter is its sentence."""
        question = Question(
            str(asked.get("search", "")),
            dict(asked.get("filters", {})),
            [(name, falling) for name, falling in asked.get("sort", [])],
        )
        if self._rows is None:
            if self._refused:
                return {"kind": "refused", "told": self._refused}
            return self._sent(self._opening, 0)
        first, count = int(asked.get("first", 0)), int(asked.get("count", OPENING))
        try:
            page = self._rows.page(question, first, count)
        except InvalidFilter as error:
            return {"kind": "refused", "told": str(error)}
        self.question = question
        return self._sent(page, first)

    def matching(self) -> pl.DataFrame:
        """All rows that match what was asked last, in order."""
        rows = self._whole()
        return rows.frame[rows.matching(self.question)]

    def rows_at(self, at: Sequence[int]) -> pl.DataFrame:
        """Rows by their places among all."""
        return self._whole().frame[list(at)]

    def html(self) -> str:
        """The opening rows as a table for where there is no browser to ask for more."""
        names = [column.label for column in self.columns]
        frame = pl.DataFrame(
            self._opening.rows, schema=dict.fromkeys(names, pl.String), orient="row"
        )
        right = [column.label for column in self.columns if column.kind in ("money", "number")]
        count = self._opening.matched
        caption = self.noun.capitalize()
        if self._rows is None or count > frame.height:
            caption += f", the first {frame.height:,}"
        return str(table(frame, caption, right=right).data)

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return bundle(self.widget, self.html())

    def _received(self, content: dict[str, Any]) -> None:
        if content.get("kind") == "page":
            self.widget.send(self.answer(content) | {"request": content.get("request", 0)})
            self._begin_reading()
        elif content.get("kind") == "action":
            self._act(int(content["at"]))

    def _begin_reading(self) -> None:
        """Read all rows beside, once the first ones are in sight and not before: one thread
        that reads would keep the other from showing them."""
        if self._rows is None and self._filling is None:
            self._filling = Thread(target=self._fill, daemon=True)
            self._filling.start()

    def _fill(self) -> None:
        try:
            self._rows = self._all()
        except BillingError as error:
            self._refused = str(error)
        self.widget.send({"kind": "ready"})

    def _whole(self) -> Rows:
        """All rows, waited for where they are still being read."""
        if self._filling is not None:
            self._filling.join()
        if self._rows is None:
            self._rows = self._all()
        return self._rows

    def _all(self) -> Rows:
        return Rows(self._read(), self.columns, self.sum_of)

    def _sent(self, page: Page, first: int) -> dict[str, Any]:
        return {
            "kind": "page",
            "first": first,
            "rows": page.rows,
            "at": page.at,
            "matched": page.matched,
            "told": self._told(page),
        }

    def _told(self, page: Page) -> str:
        if self._rows is None:
            return f"the first {page.matched:,} {self.noun}; reading the others …"
        told = f"{page.matched:,} {self.noun.removesuffix('s') if page.matched == 1 else self.noun}"
        if page.matched < self._rows.frame.height:
            told += f" of {self._rows.frame.height:,}"
        if page.total is not None:
            total = Decimal(money_text(page.total, self.places))
            told += f", total {total:,} {self.currency}"
        return told
