"""A month's pending charges, page by page, and which of them are chosen.

The filter of the adjust notebook: what ``billing charges`` is asked, as a form.

Rows to choose from: a page of a frame, a box to tick beside each row.

    ☑ RC/57    u4   1993-10-04   194.25   23.31
    ☐ RC/58    u4   1993-10-04    12.00    1.44

It knows nothing of what the rows are: a frame and the keys that are chosen go in, what is ticked
comes out.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import ipywidgets as widgets
import polars as pl

from billing_lib.documents.text import number
from billing_lib.ledger.states import ERROR, OPEN, PENDING, QUARANTINED, REJECTED
from billing_lib.panels.forms import button, choice, date_entry, suggestion, table, text_entry
from billing_lib.panels.office import Desk, Message
from billing_lib.workflow.adjust import read_history
from billing_lib.workflow.bulk import changeable
from billing_lib.workflow.search import Filter, Found, Page, find_charges, find_values

_WIDTH, _LABEL = "25em", "8em"
_BELOW = f"4px 0 8px calc({_LABEL} + 8px)"
_STATES = (
    ("pending", PENDING),
    ("on a draft that is OPEN", OPEN),
    ("on a draft that was REJECTED", REJECTED),
    ("on a draft in ERROR", ERROR),
    ("on a draft in QUARANTINE", QUARANTINED),
)
"""Whose charges are listed: all that are pending, or those on a draft in some state."""


class ChargeFilter:
    """A form that says which of a month's charges are listed.

    Parameters
    ----------
    on_filter
        Called when it says something else.

    Attributes
    ----------
    widget
        What a panel shows.
    """

    def __init__(self, desk: Desk, on_filter: Callable[[], None]) -> None:
        self.desk = desk
        self.entries: dict[str, widgets.Widget] = {
            "project": suggestion("Project", width=_WIDTH),
            "user": suggestion("User", width=_WIDTH),
            "item": suggestion("Item", width=_WIDTH),
            "text": text_entry("Text", "in description, reason, note", width=_WIDTH),
            "date_from": date_entry("From", width=_WIDTH),
            "date_to": date_entry("To", width=_WIDTH),
            "total_from": text_entry("Total from", "10.00", width=_WIDTH),
            "total_to": text_entry("Total to", "100.00", width=_WIDTH),
            "expense_code": suggestion("Expense code", width=_WIDTH),
            "states": choice("State", _STATES, width=_WIDTH),
        }
        self.clear = button("Clear the filter")
        self._on_filter = on_filter
        for entry in self.entries.values():
            entry.style.description_width = _LABEL
            entry.observe(lambda _: self._on_filter(), names="value")
        self.clear.on_click(lambda _: self.reset())
        self.widget = widgets.VBox(
            [
                widgets.GridBox(
                    list(self.entries.values()),
                    layout=widgets.Layout(
                        grid_template_columns=f"repeat(auto-fill, {_WIDTH})", grid_gap="0 12px"
                    ),
                ),
                widgets.HBox([self.clear], layout=widgets.Layout(margin=_BELOW)),
            ]
        )

    def wanted(self) -> Filter:
        """The filter.

        Raises
        ------
        InvalidFilter
            An amount is none, or what is from is after what is to.
        """
        stated = {name: entry.value for name, entry in self.entries.items()}
        texts = {
            name: value.strip() or None if isinstance(value, str) else value
            for name, value in stated.items()
        }
        return Filter.parse(
            texts
            | {
                "facility": self.desk.facility,
                "period_from": self.desk.period,
                "period_to": self.desk.period,
                "states": (stated["states"],),
            }
        )

    def reset(self) -> None:
        """Say nothing any more."""
        told, self._on_filter = self._on_filter, lambda: None  # once, not for each entry
        for name, entry in self.entries.items():
            if name == "states":
                entry.value = PENDING
            else:
                entry.value = None if name.startswith("date") else ""
        self._on_filter = told
        self._on_filter()

    def refresh(self) -> None:
        """Offer what the month has now."""
        month = Filter.parse(
            {
                "facility": self.desk.facility,
                "period_from": self.desk.period,
                "period_to": self.desk.period,
                "states": (PENDING,),
            }
        )
        for name in ("project", "user", "item"):
            self.entries[name].options = find_values(self.desk.engine, month, name)
        self.entries["expense_code"].options = self.desk.expense_codes()


_KEY_WIDTH = "10em"
_STYLE = "<style>.billing-tick label { display: flex; align-items: center; }</style>"
"""Else the boxes stand a little above the words beside them."""


@dataclass(frozen=True)
class Column:
    """A column as shown: its heading, its width in CSS, and whether it is set to the right."""

    heading: str
    width: str
    right: bool = False


class RowTable:
    """A table of rows that can be ticked.

    Parameters
    ----------
    key
        The column that names a row; its text is the label of the row's box.
    heading
        Of the key's column.
    columns
        The others, by name, in order.
    on_tick
        Told a row's key and whether it is ticked now.

    Attributes
    ----------
    widget
        What a panel shows.
    """

    def __init__(
        self,
        key: str,
        heading: str,
        columns: Mapping[str, Column],
        on_tick: Callable[[str, bool], None],
    ) -> None:
        self.key = key
        self.columns = columns
        self._on_tick = on_tick
        self._grid = " ".join(column.width for column in columns.values())
        title = "font-weight: 600; padding-left: 4px;"
        self._heading = _row(
            widgets.HTML(
                f'{_STYLE}<div style="{title}">{escape(heading)}</div>',
                layout=widgets.Layout(width=_KEY_WIDTH, flex="0 0 auto", margin="0"),
            ),
            self._cells([column.heading for column in columns.values()], weight=600),
        )
        self.boxes: dict[str, widgets.Checkbox] = {}
        self.widget = widgets.VBox([self._heading], layout=widgets.Layout(overflow="auto"))

    def show(self, frame: pl.DataFrame, ticked: Collection[str]) -> None:
        """Show these rows, texts as they stand, with the ticks that there are."""
        old = self.widget.children[1:]
        self.boxes, rows = {}, []
        for values in frame.select(self.key, *self.columns).iter_rows():
            key, *texts = ("" if value is None else str(value) for value in values)
            box = widgets.Checkbox(
                value=key in ticked,
                description=key,
                indent=False,
                layout=widgets.Layout(width=_KEY_WIDTH, flex="0 0 auto", margin="0"),
            )
            box.add_class("billing-tick")
            box.observe(self._told, names="value")
            self.boxes[key] = box
            rows.append(_row(box, self._cells(texts)))
        nothing = [widgets.HTML('<p style="margin: 6px 4px">Nothing matches.</p>')]
        self.widget.children = [self._heading, *(rows or nothing)]
        for row in old:
            for part in getattr(row, "children", ()):
                part.close()
            row.close()

    def tick(self, ticked: Collection[str]) -> None:
        """Set the boxes that are shown; nobody is told."""
        for key, box in self.boxes.items():
            box.unobserve(self._told, names="value")
            box.value = key in ticked
            box.observe(self._told, names="value")

    def _told(self, change: Mapping[str, object]) -> None:
        box = change["owner"]
        self._on_tick(box.description, bool(change["new"]))  # type: ignore[attr-defined]

    def _cells(self, texts: list[str], weight: int = 400) -> widgets.HTML:
        cells = "".join(
            f'<div title="{escape(text)}" style="{_cell(column)}">{escape(text)}</div>'
            for text, column in zip(texts, self.columns.values(), strict=True)
        )
        grid = f"display: grid; grid-template-columns: {self._grid}; column-gap: 12px;"
        return widgets.HTML(
            f'<div style="{grid} font-weight: {weight};">{cells}</div>',
            layout=widgets.Layout(margin="0", flex="1 1 auto"),
        )


def _cell(column: Column) -> str:
    aligned = "text-align: right; font-variant-numeric: tabular-nums;" if column.right else ""
    return f"overflow: hidden; white-space: nowrap; text-overflow: ellipsis; {aligned}"


def _row(*parts: widgets.Widget) -> widgets.HBox:
    return widgets.HBox(
        list(parts),
        layout=widgets.Layout(
            border_bottom="1px solid var(--jp-border-color2, #e0e0e0)",
            align_items="center",
            flex="0 0 auto",
        ),
    )


PER_PAGE = 25

_COLUMNS = {
    "project": Column("Project", "4.5em"),
    "user": Column("User", "4.5em"),
    "date": Column("Date", "6.5em"),
    "what": Column("What", "minmax(8em, 1fr)"),
    "quantity": Column("Quantity", "7em", right=True),
    "price": Column("Price", "4em", right=True),
    "total": Column("Total", "6em", right=True),
    "invoice": Column("Invoice", "10em"),
    "changed": Column("Last changed", "12em"),
}
_SORTS = (
    ("project and date", ""),
    ("largest total first", "-total"),
    ("smallest total first", "total"),
    ("date", "date"),
    ("user", "user"),
    ("charge", "charge"),
)


class ChargeList:
    """The filter, the page, and the choice.

    Parameters
    ----------
    chosen
        Charges (``RC/57``) that are chosen at first; those are what is listed first.
    on_choose
        Called when the choice is another.

    Attributes
    ----------
    chosen
        The charges that are chosen, the last chosen last.
    widget
        What a panel shows.
    """

    def __init__(
        self, desk: Desk, message: Message, chosen: Sequence[str], on_choose: Callable[[], None]
    ) -> None:
        self.desk, self.message, self._on_choose = desk, message, on_choose
        self._chosen = dict.fromkeys(chosen)
        self.page, self.pages = 1, 1
        self.filter = ChargeFilter(desk, self.first_page)
        self.table = RowTable("charge", "Charge", _COLUMNS, self._ticked)
        self.sort = choice("Sorted by", _SORTS, width="24em")
        self.earlier, self.later = button("‹ Earlier page"), button("Later page ›")
        self.place = widgets.Label()
        self.all_shown = button("Select this page")
        self.all_matching = button("Select all that match")
        self.none = button("Select none")
        self.count = widgets.HTML()
        self._connect()
        self.refresh()
        wrapped = widgets.Layout(flex_flow="row wrap", align_items="center")
        self.widget = widgets.VBox(
            [
                self.filter.widget,
                widgets.HBox([self.earlier, self.later, self.place, self.sort], layout=wrapped),
                self.table.widget,
                widgets.HBox(
                    [self.all_shown, self.all_matching, self.none, self.count], layout=wrapped
                ),
            ]
        )

    @property
    def chosen(self) -> list[str]:
        """The charges that are chosen, the last chosen last."""
        return list(self._chosen)

    def _connect(self) -> None:
        self.sort.observe(lambda _: self.first_page(), names="value")
        self.earlier.on_click(lambda _: self.turn(self.page - 1))
        self.later.on_click(lambda _: self.turn(self.page + 1))
        self.all_shown.on_click(lambda _: self.choose([*self._chosen, *self.table.boxes]))
        self.all_matching.on_click(lambda _: self.choose_matching())
        self.none.on_click(lambda _: self.choose([]))

    def refresh(self) -> None:
        """Read the month again: what there is, and the page."""
        with self.message.sentences():
            self.filter.refresh()
            self._show()

    def first_page(self) -> None:
        """List what matches now from its beginning."""
        self.turn(1)

    def turn(self, page: int) -> None:
        """Show another page."""
        self.message.say("")
        with self.message.sentences():
            self.page = page
            self._show()

    def choose(self, charges: Sequence[str]) -> None:
        """Choose these charges and no others."""
        self._chosen = dict.fromkeys(charges)
        self.table.tick(self._chosen)
        self._count()
        self._on_choose()

    def choose_matching(self) -> None:
        """Choose all that match and may still change, whatever the page."""
        self.message.say("")
        with self.message.sentences():
            desk, wanted = self.desk, self.filter.wanted()
            self.choose(changeable(desk.engine, desk.book, desk.period, wanted))

    def html(self) -> str:
        """The page and how much matches, where there is no browser to ask."""
        names = ("charge", *_COLUMNS)
        found = self._as_shown(self._found()).select(names)
        figures = ("quantity", "price")
        return str(table(found, f"Pending charges: {self.place.value}", right=figures).data)

    def _show(self) -> None:
        found = self._found()
        self.page, self.pages = found.page, found.pages
        self.place.value = found.sentence("charges")
        self.earlier.disabled, self.later.disabled = self.page == 1, self.page == self.pages
        self.table.show(self._as_shown(found), self._chosen)
        self._count()

    def _found(self) -> Found:
        """The page, or the first where there is none of its number any more."""
        wanted, sort = self.filter.wanted(), self.sort.value
        order = (sort,) if sort else ()
        engine, books = self.desk.engine, {self.desk.facility: self.desk.book}
        first = find_charges(engine, wanted, books, Page(1, PER_PAGE, order))
        if not 1 < self.page <= first.pages:
            return first
        return find_charges(engine, wanted, books, Page(self.page, PER_PAGE, order))

    def _as_shown(self, found: Found) -> pl.DataFrame:
        """The page with numbers as people read them and who changed each charge last."""
        rows = found.texts()
        history = read_history(self.desk.engine, self.desk.book, rows["charge"].to_list())
        last = history.group_by("charge").agg(
            pl.format("{}, {}", pl.col("by").last(), pl.col("at").last().str.head(16)).alias(
                "changed"
            )
        )
        figures = ("quantity", "price", "total")
        return rows.with_columns(
            pl.coalesce("description", "item").alias("what"),
            *(pl.col(name).map_elements(number, return_dtype=pl.String) for name in figures),
        ).join(last, on="charge", how="left", maintain_order="left")

    def _ticked(self, charge: str, ticked: bool) -> None:
        self._chosen.pop(charge, None)
        if ticked:
            self._chosen[charge] = None
        self._count()
        self._on_choose()

    def _count(self) -> None:
        count = len(self._chosen)
        said = f"{count:,} charge{'' if count == 1 else 's'} selected" if count else "none selected"
        self.count.value = f'<span role="status" style="margin-left: 8px">{said}</span>'
