"""The home page: the user's next steps, facilities by months, and the user's notices.

    HomePanel(months=6)    RC   1993-10   IN REVIEW   1,204.50 USD   Review ▸
    NoticePanel()          3 new notices, each with a button that marks it as read

The links are relative to the home page and lead to notebooks whose parameters are set
(workflow/notebooks.py). While the page is open it shows other people's work within seconds.
"""

from html import escape
from typing import Any

import ipywidgets as widgets
import polars as pl

from billing_lib import Site, open_site
from billing_lib.documents.text import money
from billing_lib.errors import count_of
from billing_lib.panels.forms import Displayed, button
from billing_lib.panels.office import Message, follow
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.workflow.load import read_price_books
from billing_lib.workflow.notebooks import MONTHLY, open_month
from billing_lib.workflow.outbox import list_notices, read_all
from billing_lib.workflow.overview import STATES, loading, read_overview

_COLOURS = {
    "TO RATE": "#8a4b00",
    "IN REVIEW": "#8a4b00",
    "READY": "#0b5394",
    "IN APPROVAL": "#0b5394",
    "PARTLY ISSUED": "#0b5394",
    "ISSUED": "#1e6b30",
}
"""Colours of states, each with a contrast of at least 4.5 to white (WCAG 2.1, 1.4.3)."""

_STYLE = """<style>
.billing-months { border-collapse: collapse; font-size: 13px; line-height: 1.5; }
.billing-months caption { text-align: left; padding: 4px 0 8px; }
.billing-months th, .billing-months td { text-align: left !important; vertical-align: top;
  padding: 10px 14px !important; border: 1px solid #c8ced6; }
.billing-months td { min-width: 13em; white-space: normal; }
.billing-months b.state { display: inline-block; margin-bottom: 4px; font-size: 11px;
  letter-spacing: .04em; color: #fff; padding: 2px 7px; border-radius: 9px; }
.billing-months .total { font-variant-numeric: tabular-nums; font-size: 15px; }
.billing-months ul { margin: 4px 0; padding-left: 1.2em; }
.billing-mine h3 { margin: 0 0 4px; font-size: 15px; }
.billing-mine ul { margin: 0 0 12px; padding-left: 1.2em; line-height: 1.9; }
a.billing-step { font-weight: 600; }
.billing-mine a, .billing-months a { text-decoration: underline; color: #0b5394;
  margin-right: .7em; }
</style>"""


_NEXT = {
    "TO RATE": "usage",
    "IN REVIEW": "review",
    "READY": "run",
    "IN APPROVAL": "approve",
    "PARTLY ISSUED": "run",
}
"""The page of the next step, by state."""


class HomePanel(Displayed):
    """The overview of the last ``months`` months; it follows the ledger while it is open."""

    def __init__(self, months: int = 6, office: Site | None = None) -> None:
        self.office = office or open_site()
        self.months = months
        self.message = Message()
        self.mine, self.grid = widgets.HTML(), widgets.HTML()
        again = button("Refresh")
        again.on_click(lambda _: self.refresh())
        states = widgets.HTML(_states())
        parts = [self.mine, self.grid, widgets.HBox([again, self.message.widget]), states]
        self.widget = widgets.VBox(parts)
        self.refresh()
        self._following = follow(self.office.engine, self.refresh)

    def refresh(self) -> None:
        """Show the ledger as it is now."""
        with self.message.sentences():
            books = read_price_books(self.office.settings.parameters)
            overview = read_overview(self.office.engine, books, self.months)
            self.mine.value = self._mine(overview)
            names = {code: book.facility.name for code, book in books.items()}
            self.grid.value = self._grid(overview, loading(self.office.engine, books), names)
            self.message.say("")

    def html(self) -> str:
        """The steps that wait for the user, and the grid."""
        return f"{self.mine.value}{self.grid.value}{_states()}"

    def _mine(self, overview: pl.DataFrame) -> str:
        """The steps that the user takes next, over all facilities."""
        waiting = (
            overview.filter("mine")
            .sort("facility")
            .sort("period", descending=True, maintain_order=True)
        )
        steps = "".join(
            f"<li><b>{escape(row['facility'])} {row['period']}</b>: "
            f"{escape('; '.join(row['waits']) or row['state'].lower())} {self._step(row)}</li>"
            for row in waiting.iter_rows(named=True)
        )
        said = f"<ul>{steps}</ul>" if steps else "<p>Nothing waits for you.</p>"
        return f'{_STYLE}<div class="billing-mine"><h3>Waits for you</h3>{said}</div>'

    def _step(self, month: dict[str, Any]) -> str:
        """The link to the next step of a month."""
        page = _NEXT.get(month["state"])
        if page is None:
            return ""
        facility, period = month["facility"], month["period"]
        path = open_month(self.office.settings.office, facility, period)[page]
        return (
            f'<a class="billing-step" href="{escape(path)}" aria-label="Next step of '
            f'{escape(facility)} {period}: {page}">{page.capitalize()} ▸</a>'
        )

    def _grid(self, overview: pl.DataFrame, loads: dict[str, str], names: dict[str, str]) -> str:
        """Facilities by months: state, total, pending tasks, and links to the pages."""
        shown = dict.fromkeys([*overview["facility"].unique(maintain_order=True), *loads])
        if not shown:
            return (
                "<p>There is no facility yet, or none that you may see. The page Prices makes "
                "one.</p>"
            )
        months = overview["period"].unique().sort(descending=True).to_list()
        head = "".join(f'<th scope="col">{month}</th>' for month in months)
        rows = "".join(
            self._row(code, names[code], overview.filter(facility=code), months, loads.get(code))
            for code in sorted(shown)
        )
        return (
            f'{_STYLE}<table class="billing-months"><caption>Facilities and months, the newest '
            f'first</caption><thead><tr><th scope="col">Facility</th>{head}</tr></thead>'
            f"<tbody>{rows}</tbody></table>"
        )

    def _row(
        self, code: str, name: str, months: pl.DataFrame, shown: list[str], load: str | None
    ) -> str:
        by_month = {row["period"]: row for row in months.iter_rows(named=True)}
        cells = "".join(self._cell(by_month.get(month)) for month in shown)
        link = ""
        if load is not None:
            path = open_month(self.office.settings.office, code, load)["usage"]
            link = (
                f'<br><a class="billing-step" href="{escape(path)}" aria-label="Load usage of '
                f'{escape(code)}">Load usage</a>'
            )
        return (
            f'<tr><th scope="row">{escape(name or code)}<br>{escape(code)}{link}</th>{cells}</tr>'
        )

    def _cell(self, month: dict[str, Any] | None) -> str:
        if month is None:
            return "<td>–</td>"
        facility, period = month["facility"], month["period"]
        total = money(money_text(month["total"], minor_places(month["currency"])))
        counts = f"{count_of(month['charges'], 'charge')}, {month['unbilled']:,} unbilled"
        if month["invoices"]:
            many = "" if month["invoices"] == 1 else "s"
            counts += f", {month['invoices']:,} invoice{many} issued"
        waits = "".join(f"<li>{escape(wait)}</li>" for wait in month["waits"])
        paths = open_month(self.office.settings.office, facility, period)
        links = "".join(
            f'<a href="{escape(paths[name])}" '
            f'aria-label="{name.capitalize()} {escape(facility)} {period}">{name.capitalize()}</a>'
            for name in MONTHLY
        )
        step = self._step(month)
        return (
            f'<td><b class="state" style="background: {_COLOURS[month["state"]]}">'
            f"{month['state']}</b><br>"
            f'<span class="total">{total} {month["currency"]}</span><br>{counts}'
            f"{f'<ul>{waits}</ul>' if waits else '<br>'}{f'{step}<br>' if step else ''}{links}</td>"
        )


def _states() -> str:
    """The meanings of the states."""
    items = "".join(f"<li><b>{name}</b>: {means}</li>" for name, means in STATES.items())
    return f"<details><summary>The meanings of the states</summary><ul>{items}</ul></details>"


_SHOWN = 20
"""Notices shown at once, the newest; others follow as these are marked as read."""


class NoticePanel(Displayed):
    """The unread notices of the user, the newest first."""

    def __init__(self, office: Site | None = None) -> None:
        self.office = office or open_site()
        self.message = Message()
        self.heading = widgets.HTML()
        self.rows = widgets.VBox()
        self.all_read = button("Mark all as read")
        self.all_read.on_click(lambda _: self.mark_read())
        self.widget = widgets.VBox([self.heading, self.rows, self.all_read, self.message.widget])
        with self.message.sentences():
            self._show()

    def html(self) -> str:
        """The heading and the notices."""
        return str(self.heading.value) + "".join(
            row.children[0].value for row in self.rows.children
        )

    def mark_read(self, key: str | None = None) -> None:
        """Mark one notice as read, or all of them."""
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
