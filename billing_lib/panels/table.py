"""A table of any number of rows to look at and choose from; the browser gets the rows in sight.

    table = PagedTable("charges", columns, read=lambda: charges, key="charge", on_tick=show)
    table.widget     filtered, searched, sorted, gone through and ticked with mouse and keyboard
    table.ticked     ["RC/57", …], or all that match the present filter

polars filters and sorts here; static/table.js, a widget by anywidget, draws the rows, and nothing
comes from a network. A million rows take tenths of a second; the last question is kept, so that
turning pages takes none. A table that is given opening rows shows them at once and reads the
others in a thread. In a page by nbconvert, the opening rows stand as a plain table. Filters:

    laser         text that contains it, in any case
    = p1          exactly this text; = alone finds empty cells
    > 100, <= 5   a bound on an amount, number or date
    3 .. 10       between the two, both included
    2020-04-06    exactly this amount, number or date

A filter that cannot be read raises InvalidFilter, and nothing is selected until it is mended.
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
from billing_lib.panels.html import amount, grouped
from billing_lib.pricing.money import money_text_column

STATIC = Path(__file__).parent / "static"

OPENING = 54
"""Rows that a table opens with: those in sight, and as many before and after."""

TEXT, NUMBER, MONEY, DATE = "text", "number", "money", "date"
"""Kinds of columns: text; numbers, also as text; minor units; dates."""

_NUMBER = pl.Decimal(38, 9)
_COMPARED = re.compile(r"\s*(>=|<=|>|<|=)?\s*(\S+)\s*")
_BETWEEN = re.compile(r"\s*(\S+?)\s*\.\.\s*(\S+)\s*")
_KEPT = 4
"""Sort orders that are kept."""
_DIFFERENT = 50_000
"""A column of at most so many distinct texts is sorted by their ranks."""
_LEAST, _MOST = 5, 14
"""Bounds of a column's width in letters; numbers and dates are never cut."""
_OFFERED = 2_000
"""A column of more distinct texts offers no filters."""


@dataclass(frozen=True)
class Column:
    """A column as it is shown."""

    name: str
    label: str
    kind: str = TEXT
    places: int = 2
    """Decimals of money."""
    wide: int = 1
    """The greatest width of a text column, as a multiple of others."""
    offers: str = ""
    """The column whose texts its filter offers; '' for none."""
    listed: bool = False
    """Whether its text is a list with commas; ``= part`` finds each part."""


@dataclass(frozen=True)
class Question:
    """The wanted rows and their order."""

    search: str = ""
    """Words that a row must have, each in some text column."""
    filters: Mapping[str, str] = field(default_factory=dict)
    sort: Sequence[tuple[str, bool]] = ()
    """Column names, each with whether the largest comes first; () keeps the frame's order."""


@dataclass(frozen=True)
class Page:
    """Some matching rows, with the count and the total of all matching rows."""

    rows: list[list[str]]
    at: list[int]
    """The rows' places in the frame."""
    matched: int
    total: int | None
    """The sum of ``sum_of`` in minor units."""


class Rows:
    """A frame that gives pages of matching rows; ``complete`` is False for just the first rows."""

    def __init__(
        self,
        frame: pl.DataFrame,
        columns: Sequence[Column],
        sum_of: str | None = None,
        *,
        complete: bool = True,
    ) -> None:
        self.complete = complete
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
        """Return ``count`` matching rows, beginning with number ``first``.

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

    def offers(self) -> dict[str, list[str]]:
        """The filters that columns offer, by name: ``= p1`` for each of their texts."""
        offered = {}
        for column in self.columns.values():
            if column.offers:
                texts = self.frame[column.offers].drop_nulls().unique()
                if column.listed and column.offers == column.name:
                    texts = texts.str.split(", ").explode().unique()
                if texts.len() <= _OFFERED:
                    offered[column.name] = [f"= {text}" for text in texts.sort()]
        return offered

    def letters(self) -> list[int]:
        """The width of each column in letters: its longest text, within its kind's bounds."""
        longest = []
        for column in self.columns.values():
            values = self.frame[column.name]
            if values.dtype != pl.String:
                ends = self.frame.select(
                    pl.col(column.name).min().append(pl.col(column.name).max())
                )
                values = ends.select(self._text(column)).to_series()
            most = values.str.len_chars().max()
            bound = _MOST * column.wide if column.kind == TEXT else 99
            least = _LEAST * column.wide if column.kind == TEXT else len(column.label)
            longest.append(max(_LEAST, least, min(int(str(most or 0)), bound)))
        return longest

    def _order(self, sort: Sequence[tuple[str, bool]]) -> pl.Series:
        """The places of all rows in order; ties keep the frame's order."""
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
                    _matches(column, said.strip())
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
        """The sort key of a column; repeated texts become ranks, which sort ten times as fast."""
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
            return grouped(money_text_column(pl.col(column.name), column.places))
        text = pl.col(column.name).cast(pl.String)
        return grouped(text) if column.kind == NUMBER else text


class _Browser(anywidget.AnyWidget):
    """The state that Python and the browser share."""

    _esm = STATIC / "table.js"
    _css = STATIC / "table.css"
    columns: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    action = traitlets.Unicode().tag(sync=True)
    ticks = traitlets.Bool(default_value=False).tag(sync=True)
    follow = traitlets.Bool(default_value=False).tag(sync=True)
    visible = traitlets.Int().tag(sync=True)
    current = traitlets.Unicode().tag(sync=True)
    question = traitlets.Dict({"search": "", "filters": {}, "sort": []}).tag(sync=True)
    letters: traitlets.List[int] = traitlets.List().tag(sync=True)
    offers = traitlets.Dict().tag(sync=True)
    opening = traitlets.Dict().tag(sync=True)
    shortcuts = traitlets.Dict().tag(sync=True)


class PagedTable:
    """Rows that can be filtered, searched, sorted, gone through and ticked.

    Parameters
    ----------
    opening
        The first rows, if reading all takes long; ``read`` then runs in a thread.
    sum_of, currency, places
        The money column that is summed over matching rows, and its currency.
    key
        The column that names a row; actions and ticks need it.
    action, on_action
        The label of each row's button, and a function of the row's place among all; without a
        label, going to a row calls it.
    on_tick
        Called when the selection changes, and when a filter is refused or mended; gives rows boxes.
    tickable
        A condition for rows that "all that match" selects.
    on_key
        Functions by the key that calls them while the rows have the keyboard.
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
        key: str = "",
        action: str = "",
        on_action: Callable[[int], None] | None = None,
        on_tick: Callable[[], None] | None = None,
        ticked: Sequence[str] = (),
        tickable: pl.Expr | None = None,
        visible: int = OPENING // 3,
        on_key: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        self.noun, self.columns, self.sum_of = noun, columns, sum_of
        self.currency, self.places = currency, places
        self.question = Question()
        self._read, self._act, self._tell = read, on_action, on_tick
        self._key, self._on_key = key, dict(on_key or {})
        taken = pl.lit(value=True) if tickable is None else tickable.fill_null(value=False)
        self._tickable = taken
        self._by_hand = dict.fromkeys(ticked)  # in order
        self._all_that_match, self._left_out = False, set[str]()
        self._known: tuple[Rows, Question, list[str]] | None = None
        self._unreadable, self._failed = False, ""
        self._reading = 0
        self._filling: Thread | None = None
        self._rows = self._all() if opening is None else Rows(opening, columns, complete=False)
        self._opening = self._rows.page(Question(), 0, OPENING)
        self.widget = _Browser(
            columns=[{"name": it.name, "label": it.label, "kind": it.kind} for it in columns],
            label=noun,
            action=action,
            ticks=on_tick is not None,
            follow=on_action is not None and not action,
            visible=visible,
            shortcuts=dict.fromkeys(self._on_key, True),
            letters=self._rows.letters(),
            offers=self._rows.offers() if opening is None else {},
            opening=self._sent(self._opening, 0, self._rows),
        )
        self.widget.on_msg(lambda _widget, content, _buffers: self._received(content))

    def replace(self, read: Callable[[], pl.DataFrame], current: str = "") -> None:
        """Show other rows from now on, and go to the row named ``current``."""
        self._read = read
        self.widget.current = current
        self._reading += 1  # a thread that is still reading comes too late
        self._show(self._all())

    def read_again(self) -> None:
        """Read the rows again in a thread; show the former rows until then."""
        self._reading += 1
        self._filling = Thread(target=self._fill, args=(self._reading,), daemon=True)
        self._filling.start()

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer a request for a page, with a sentence if a filter cannot be read."""
        question = _question(asked)
        first, size = int(asked.get("first", 0)), int(asked.get("count", OPENING))
        narrowed = (question.search, question.filters) != (
            self.question.search,
            self.question.filters,
        )
        self.question = question
        if self._failed:
            return {"kind": "refused", "told": self._failed, "selected": ""}
        refused, was = "", self._unreadable
        rows = self._rows  # a thread may replace them at any moment
        try:
            page = rows.page(question, first, size)
        except InvalidFilter as error:
            refused = str(error)
        self._unreadable = bool(refused)
        if self._tell and (self._unreadable != was or (narrowed and self._all_that_match)):
            self._tell()
        if refused:
            return {"kind": "refused", "told": refused, "selected": "nothing is selected"}
        return (
            self._sent(page, first, rows) if rows.complete else self._sent(self._opening, 0, rows)
        )

    def matching(self) -> pl.DataFrame:
        """All rows that match the last question, in order."""
        rows = self._whole()
        return rows.frame[self._places(rows)]

    def ticked_rows(self) -> pl.DataFrame:
        """The selected rows, in the order of the frame."""
        rows = self._whole()
        return rows.frame.filter(pl.col(self._key).is_in(self._selected(rows)))

    def ask(
        self, search: str, filters: Mapping[str, str], sort: Sequence[tuple[str, bool]]
    ) -> None:
        """Filter and sort as if the browser had asked for it."""
        self.question = Question(search, filters, sort)
        stated: dict[str, Any] = {"search": search, "filters": dict(filters)}
        self.widget.question = stated | {"sort": [list(each) for each in sort]}

    def rows_at(self, at: Sequence[int]) -> pl.DataFrame:
        """The rows at these places among all."""
        return self._whole().frame[list(at)]

    @property
    def ticked(self) -> list[str]:
        """The names of selected rows: all that match, then rows in the order of ticking."""
        return self._selected(self._whole() if self._all_that_match else self._rows)

    def tick(self, names: Sequence[str]) -> None:
        """Select these rows and no others."""
        self._by_hand, self._all_that_match, self._left_out = dict.fromkeys(names), False, set()
        self._ticked()

    def tick_matching(self) -> None:
        """Select all rows that match the filter, now and whenever it changes."""
        self._by_hand, self._all_that_match, self._left_out = {}, True, set()
        self._ticked()

    def html(self) -> str:
        """The opening rows as a plain table, for pages without a browser."""
        names = [column.label for column in self.columns]
        frame = pl.DataFrame(
            self._opening.rows, schema=dict.fromkeys(names, pl.String), orient="row"
        )
        right = [column.label for column in self.columns if column.kind in (MONEY, NUMBER)]
        caption = self.noun.capitalize()
        if not self._rows.complete or self._opening.matched > frame.height:
            caption += f", the first {frame.height:,}"
        return str(table(frame, caption, right=right).data)

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return bundle(self.widget, self.html())

    def _received(self, content: dict[str, Any]) -> None:
        kind = content.get("kind")
        if kind == "page":
            self.widget.send(self.answer(content) | {"request": content.get("request", 0)})
            self._begin_reading()
        elif kind == "action" and self._act:
            named = pl.col(self._key) == content["name"]
            for place in self._rows.frame.select(pl.arg_where(named).head(1)).to_series():
                self._act(place)
        elif kind == "key" and content["key"] in self._on_key:
            self._on_key[content["key"]]()
        elif kind == "tick":
            self._tick_rows([content["name"]], ticked=content["ticked"])
        elif kind == "range":
            self.question = _question(content)
            self._tick_range(content["from"], content["name"], ticked=content["ticked"])
        elif kind == "all":
            self.tick_matching() if content["ticked"] else self.tick(())

    def _tick_range(self, first: str, last: str, *, ticked: bool) -> None:
        """Tick tickable rows from ``first`` (if it still matches) to ``last``, or untick all."""
        rows = self._rows
        named = self._named(rows, self._places(rows))
        ends = named.select(pl.arg_where(pl.col(self._key).is_in([first, last]))).to_series()
        if ends.len():
            within = named[ends[0] : ends[-1] + 1]
            names = (within.filter("taken") if ticked else within)[self._key]
            self._tick_rows(names.to_list(), ticked=ticked)

    def _tick_rows(self, names: Sequence[str], *, ticked: bool) -> None:
        """Tick rows by hand, or untick them."""
        for name in names:
            self._by_hand.pop(name, None)
        if not ticked:
            self._left_out.update(names)
        elif self._all_that_match:
            self._left_out.difference_update(names)
            chosen = pl.col(self._key).is_in(names) & ~self._tickable
            self._by_hand |= dict.fromkeys(self._rows.frame.filter(chosen)[self._key])
        else:
            self._by_hand |= dict.fromkeys(names)
        self._ticked()

    def _ticked(self) -> None:
        self._known = None
        if self._tell:
            self._tell()
        self.widget.send({"kind": "ready"})

    def _named(self, rows: Rows, places: Sequence[int] | pl.Series) -> pl.DataFrame:
        """The names of rows, and whether "all that match" has each ``taken``."""
        return rows.frame.select(self._key, taken=self._tickable)[places]

    def _places(self, rows: Rows) -> pl.Series:
        """The places of all rows that match the last question, in order."""
        try:
            return rows.matching(self.question)
        except InvalidFilter as error:
            what = f"{error.what}, so nothing is selected"
            raise InvalidFilter(what, where=error.where, remedy=error.remedy) from None

    def _selected(self, rows: Rows) -> list[str]:
        places = self._places(rows)
        if not self._all_that_match:
            return list(self._by_hand)
        if self._known is None or self._known[:2] != (rows, self.question):
            names = self._named(rows, places.sort()).filter("taken")[self._key]
            left_out = pl.Series([*self._left_out, *self._by_hand], dtype=pl.String)
            names = names.filter(~names.is_in(left_out.implode()))
            self._known = rows, self.question, [*names.to_list(), *self._by_hand]
        return self._known[2]

    def _begin_reading(self) -> None:
        """Read all rows in a thread, begun only now so as not to delay the first rows."""
        if not self._rows.complete and self._filling is None:
            self.read_again()

    def _fill(self, reading: int) -> None:
        try:
            rows = self._all()
        except BillingError as error:
            self._failed = str(error)
            self.widget.send({"kind": "ready"})
        else:
            if reading == self._reading:  # otherwise a newer reading is under way
                self._show(rows)

    def _show(self, rows: Rows) -> None:
        self._rows, self._failed = rows, ""
        self.widget.letters, self.widget.offers = rows.letters(), rows.offers()
        self.widget.send({"kind": "ready"})

    def _whole(self) -> Rows:
        """All rows; waits for a reading that is under way."""
        if self._filling is not None:
            self._filling.join()
        if self._failed or not self._rows.complete:
            self._show(self._all())
        return self._rows

    def _all(self) -> Rows:
        return Rows(self._read(), self.columns, self.sum_of)

    def _sent(self, page: Page, first: int, rows: Rows) -> dict[str, Any]:
        sent = {
            "kind": "page",
            "first": first,
            "rows": page.rows,
            "names": [""] * len(page.rows),
            "matched": page.matched,
            "told": self._told(page, rows),
        }
        if not self._key:
            return sent
        named = self._named(rows, page.at)
        sent["names"] = named[self._key].to_list()
        if self._tell is None:
            return sent
        selected, every = len(self._selected(rows)), self._all_that_match
        return sent | {
            "ticked": [
                name in self._by_hand or (every and taken and name not in self._left_out)
                for name, taken in named.rows()
            ],
            "selected": (f"{selected:,}" if selected else "none")
            + " selected"
            + (": all that match" if selected and every else ""),
        }

    def _told(self, page: Page, rows: Rows) -> str:
        if not rows.complete:
            return f"the first {page.matched:,} {self.noun}; reading the others …"
        told = f"{page.matched:,} {self.noun.removesuffix('s') if page.matched == 1 else self.noun}"
        if page.matched < rows.frame.height:
            told += f" of {rows.frame.height:,}"
        if page.total is not None:
            told += f", total {amount(page.total, self.places)} {self.currency}"
        return told


def _question(asked: Mapping[str, Any]) -> Question:
    return Question(
        str(asked.get("search", "")),
        dict(asked.get("filters", {})),
        [(name, falling) for name, falling in asked.get("sort", [])],
    )


def _has(name: str, text: str) -> pl.Expr:
    return pl.col(name).str.contains(f"(?i){re.escape(text)}")


def _matches(column: Column, said: str) -> pl.Expr:
    if not said.startswith("="):
        return _has(column.name, said)
    text, value = said[1:].strip(), pl.col(column.name).fill_null("")
    if column.listed and text:
        return pl.format(", {}, ", value).str.contains(f", {text}, ", literal=True)
    return value == text


def _value(column: Column, text: str) -> pl.Expr:
    try:
        if column.kind == DATE:
            return pl.lit(dt.date.fromisoformat(text))
        number = Decimal(text.replace(",", ""))
    except (ValueError, ArithmeticError):
        raise _unreadable(column, text) from None
    # Within what _NUMBER holds, also in minor units.
    if not number.is_finite() or number.adjusted() > 24 or int(number.as_tuple().exponent) < -9:
        raise _unreadable(column, text)
    return pl.lit(number.scaleb(column.places) if column.kind == MONEY else number).cast(_NUMBER)


def _unreadable(column: Column, text: str) -> InvalidFilter:
    example = "2020-04-06" if column.kind == DATE else "> 100"
    return InvalidFilter(
        f"'{text}' is no {column.kind} to compare with",
        where=column.label,
        remedy=f"write {example}, or two with .. between them",
    )
