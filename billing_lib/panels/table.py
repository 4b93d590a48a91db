"""A frame behind a table that shows a page at a time: filtered, searched and sorted here.

    rows = Rows(charges, (Column("project", "Project"), Column("total", "Total", MONEY, places=2)))
    rows.page(Question(search="laser", filters={"total": ">100"}, sort=(("total", True),)), 0, 50)

A million rows take tenths of a second; what was asked last is kept, so that turning pages takes
none. What a filter of a column says:

    laser         a text that has it, whatever its case
    > 100, <= 5   an amount, number or date so much or more
    3 .. 10       between the two, both included
    2020-04-06    just this amount, number or date

A table of any number of rows in a notebook: only those in sight are sent to the browser.

    PagedTable("charges", columns, read=lambda: charges, opening=charges.head(60)).widget

Filtering, searching and sorting are done here (rows.py); the browser's part is static/table.js, a
widget by anywidget, which brings it along, so that nothing is loaded from a network. It opens
with the rows that it is given; where reading all takes long, that goes on beside in a thread.
Where there is no browser, as in a page that nbconvert writes, the opening rows stand as a table.
"""

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Any

import anywidget
import polars as pl
import traitlets

from billing_lib.errors import BillingError, InvalidFilter
from billing_lib.panels.forms import bundle, table
from billing_lib.pricing.money import money_text, money_text_column

TEXT, NUMBER, MONEY, DATE = "text", "number", "money", "date"
"""Kinds of columns: a text; a number, also as text; minor units; a date."""

_NUMBER = pl.Decimal(38, 9)
_COMPARED = re.compile(r"\s*(>=|<=|>|<|=)?\s*(\S+)\s*")
_BETWEEN = re.compile(r"\s*(\S+?)\s*\.\.\s*(\S+)\s*")
_KEPT = 4
"""How many sorted columns are kept."""
_DIFFERENT = 50_000
"""Up to how many different texts a column is sorted by their places."""


@dataclass(frozen=True)
class Column:
    """A column as it is shown."""

    name: str
    label: str
    kind: str = TEXT
    places: int = 2
    """Of money."""
    wide: int = 1
    """How many times as wide as others a column of text is."""


@dataclass(frozen=True)
class Question:
    """Which rows are wanted, and in which order.

    Attributes
    ----------
    search
        Words that a row must have, each in some text column.
    filters
        What columns must be, by name.
    sort
        Names, each with whether the largest comes first; the frame's order unless told.
    """

    search: str = ""
    filters: Mapping[str, str] = field(default_factory=dict)
    sort: Sequence[tuple[str, bool]] = ()


@dataclass(frozen=True)
class Page:
    """Some of the rows that match, and what all of them come to.

    Attributes
    ----------
    rows
        Texts as they are shown, row by row.
    at
        The rows' places in the frame.
    total
        The sum of ``sum_of`` over all that match.
    """

    rows: list[list[str]]
    at: list[int]
    matched: int
    total: int | None


class Rows:
    """A frame that is asked for pages.

    Parameters
    ----------
    sum_of
        The money column that is summed over what matches.
    """

    def __init__(
        self, frame: pl.DataFrame, columns: Sequence[Column], sum_of: str | None = None
    ) -> None:
        self.columns = {column.name: column for column in columns}
        self.sum_of = sum_of
        numbers = [
            pl.col(column.name).cast(_NUMBER).alias(f"{column.name} as number")
            for column in columns
            if column.kind == NUMBER and frame.schema[column.name] == pl.String
        ]
        self.frame = frame.with_columns(numbers)
        self._ranks: dict[tuple[tuple[str, bool], ...], pl.Series] = {}
        self._asked: Question | None = None
        self._found = pl.Series(dtype=pl.UInt32)
        self._total: int | None = None

    def page(self, question: Question, first: int, count: int) -> Page:
        """So many rows from a place on, of those that match.

        Raises
        ------
        InvalidFilter
            A filter cannot be read, or there is no such column.
        """
        found = self.matching(question)
        at = found[first : first + count]
        rows = self.frame[at].select(self._text(column) for column in self.columns.values())
        texts = [["" if cell is None else cell for cell in row] for row in rows.iter_rows()]
        return Page(texts, at.to_list(), found.len(), self._total)

    def matching(self, question: Question) -> pl.Series:
        """The places of all rows that match, in order."""
        if question == self._asked:
            return self._found
        conditions = self._conditions(question)
        order = self._order(question.sort)
        if not conditions:
            found = order
        else:
            matches = self.frame.select(pl.all_horizontal(conditions).fill_null(value=False))
            found = order.filter(matches.to_series()[order])
        if self.sum_of is not None:
            amounts = self.frame[self.sum_of]
            self._total = int(amounts.sum() if not conditions else amounts[found].sum())
        self._asked, self._found = question, found
        return found

    def _order(self, sort: Sequence[tuple[str, bool]]) -> pl.Series:
        """The places of all rows in order; ties stay as in the frame."""
        wanted = tuple((name, bool(falling)) for name, falling in sort)
        if wanted not in self._ranks:
            for name, _ in wanted:
                self._column(name)
            by = [self._ranked(name) for name, _ in wanted]
            places = pl.int_range(self.frame.height, dtype=pl.UInt32, eager=True)
            if by:
                falling = [largest_first for _, largest_first in wanted]
                places = self.frame.select(
                    pl.arg_sort_by(
                        by, descending=falling, nulls_last=True, maintain_order=True
                    ).cast(pl.UInt32)
                ).to_series()
            if len(self._ranks) >= _KEPT:
                self._ranks.pop(next(iter(self._ranks)))
            self._ranks[wanted] = places
        return self._ranks[wanted]

    def _conditions(self, question: Question) -> list[pl.Expr]:
        texts = [it.name for it in self.columns.values() if it.kind == TEXT]
        found = [
            pl.any_horizontal(_has(name, word) for name in texts)
            for word in question.search.split()
        ]
        for name, said in question.filters.items():
            column = self._column(name)
            if said.strip():
                found.append(
                    _has(name, said.strip())
                    if column.kind == TEXT
                    else self._compared(column, said)
                )
        return found

    def _compared(self, column: Column, said: str) -> pl.Expr:
        value = self._sorted_by(column.name)
        between = _BETWEEN.fullmatch(said)
        if between is not None:
            first, last = (_value(column, text) for text in between.groups())
            return pl.all_horizontal(value >= first, value <= last)
        match = _COMPARED.fullmatch(said)
        if match is None:
            raise _unreadable(column, said)
        bound = _value(column, match[2])
        compared = {
            ">=": value >= bound,
            "<=": value <= bound,
            ">": value > bound,
            "<": value < bound,
        }
        return compared.get(match[1] or "=", value == bound)

    def _sorted_by(self, name: str) -> pl.Expr:
        number = f"{name} as number"
        return pl.col(number if number in self.frame.columns else name)

    def _ranked(self, name: str) -> pl.Expr:
        """The same, texts that repeat as their places among the different ones: those are
        sorted once, and sorting whole numbers is ten times as fast."""
        values = self.frame[name]
        if self.columns[name].kind != TEXT or values.n_unique() > _DIFFERENT:
            return self._sorted_by(name)
        different = values.unique().drop_nulls().sort()
        return pl.col(name).cast(pl.Enum(different)).to_physical()

    def _column(self, name: str) -> Column:
        if name not in self.columns:
            raise InvalidFilter(
                f"there is no column '{name}'", remedy=f"it is one of {', '.join(self.columns)}"
            )
        return self.columns[name]

    def _text(self, column: Column) -> pl.Expr:
        if column.kind == MONEY:
            return money_text_column(pl.col(column.name), column.places)
        return pl.col(column.name).cast(pl.String)


def _has(name: str, text: str) -> pl.Expr:
    return pl.col(name).str.contains(f"(?i){re.escape(text)}")


def _value(column: Column, text: str) -> pl.Expr:
    try:
        if column.kind == DATE:
            return pl.lit(dt.date.fromisoformat(text))
        number = Decimal(text.replace(",", ""))
    except (ValueError, ArithmeticError):
        raise _unreadable(column, text) from None
    if not number.is_finite():
        raise _unreadable(column, text)
    if column.kind == MONEY:
        return pl.lit(number.scaleb(column.places)).cast(pl.Decimal(38, 9))
    return pl.lit(number).cast(_NUMBER)


def _unreadable(column: Column, text: str) -> InvalidFilter:
    example = "2020-04-06" if column.kind == DATE else "> 100"
    return InvalidFilter(
        f"'{text}' is no {column.kind} to compare with",
        where=column.label,
        remedy=f"write {example}, or two with .. between them",
    )


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
