"""Rows to choose from: a page of a frame, a box to tick beside each row.

    ☑ RC/57    u4   1993-10-04   194.25   23.31
    ☐ RC/58    u4   1993-10-04    12.00    1.44

It knows nothing of what the rows are: a frame and the keys that are chosen go in, what is ticked
comes out.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from html import escape

import ipywidgets as widgets
import polars as pl

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
