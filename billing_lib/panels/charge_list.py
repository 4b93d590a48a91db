"""A month's pending charges, page by page, and which of them are chosen."""

from collections.abc import Callable, Sequence

import ipywidgets as widgets
import polars as pl

from billing_lib.documents.text import number
from billing_lib.panels.charge_filter import ChargeFilter
from billing_lib.panels.desk import Desk
from billing_lib.panels.forms import button, choice
from billing_lib.panels.office import Message
from billing_lib.panels.row_table import Column, RowTable
from billing_lib.panels.tables import table
from billing_lib.workflow.bulk import changeable
from billing_lib.workflow.changes import read_history
from billing_lib.workflow.finding import Found, Page, find_charges

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
        rows = found.rows
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
