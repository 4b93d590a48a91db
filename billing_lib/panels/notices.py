"""Notices inside a notebook: what is new for who opened it, and a button that puts it away."""

from html import escape

import ipywidgets as widgets
import polars as pl

from billing_lib.panels.display import Displayed
from billing_lib.panels.forms import button
from billing_lib.panels.office import Message, Office
from billing_lib.workflow.inbox import list_notices, read_all

_SHOWN = 20
"""How many are shown at once, the newest; the rest follows as these are put away."""


class NoticePanel(Displayed):
    """The notices for who has opened the notebook, the newest first.

    Parameters
    ----------
    office
        By default the one that the environment names.

    Attributes
    ----------
    widget
        What the notebook displays.
    """

    def __init__(self, office: Office | None = None) -> None:
        self.office = office or Office.open()
        self.message = Message()
        self.heading = widgets.HTML()
        self.rows = widgets.VBox()
        self.all_read = button("Mark all as read")
        self.all_read.on_click(lambda _: self.mark_read())
        self.widget = widgets.VBox([self.heading, self.rows, self.all_read, self.message.widget])
        with self.message.sentences():
            self._show()

    def html(self) -> str:
        """What it shows, without the means to change it."""
        return str(self.heading.value) + "".join(
            row.children[0].value for row in self.rows.children
        )

    def mark_read(self, key: str | None = None) -> None:
        """Put one notice away, or all of them."""
        with self.message.sentences():
            count = read_all(self.office.engine, None if key is None else [key])
            self._show()
            self.message.say(f"{count:,} marked as read")

    def _show(self) -> None:
        found = list_notices(self.office.engine)
        count = found.height
        told = f"{count:,} new notice{'' if count == 1 else 's'}" if count else "No new notices"
        more = f", the newest {_SHOWN} shown" if count > _SHOWN else ""
        self.heading.value = f'<h3 style="margin: 0.3em 0">{told}{more}</h3>'
        self.rows.children = [self._row(row) for row in found.head(_SHOWN).iter_rows(named=True)]
        self.all_read.layout.display = None if count else "none"

    def _row(self, notice: dict[str, object]) -> widgets.HBox:
        put_away = button("Mark as read")
        put_away.on_click(lambda _: self.mark_read(str(notice["key"])))
        text = widgets.HTML(_line(notice), layout={"flex": "1 1 auto"})
        return widgets.HBox([text, put_away], layout={"align_items": "center"})


def _line(notice: dict[str, object]) -> str:
    made = pl.Series([notice["made_at"]]).dt.to_string("%Y-%m-%d %H:%MZ")[0]
    text, link = escape(str(notice["text"])), escape(str(notice["link"]))
    opened = f' <a href="{link}" target="_blank">Open {link}</a>' if link else ""
    return (
        '<div style="line-height: 1.4; white-space: normal; padding: 4px 0">'
        f'<span style="color: #55606e">{made} {escape(str(notice["facility"]))}</span><br>'
        f"{text}{opened}</div>"
    )
