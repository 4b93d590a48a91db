"""The overview as the home notebook shows it: facilities by months, each with ways to work on it.

The links are plain ones, relative to the home notebook: JupyterLab opens them in a tab, with the
keyboard as with the mouse, and they lead to copies whose parameters are set (notebooks.py).
"""

from html import escape
from typing import Any

import polars as pl
from IPython.display import HTML

from billing_lib.documents.text import money
from billing_lib.panels.office import Office
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.workflow.notebooks import GENERAL, MONTHLY, open_month
from billing_lib.workflow.overview import STATES, read_overview
from billing_lib.workflow.price_books import read_price_books

_COLOURS = {
    "TO RATE": "#8a4b00",
    "IN REVIEW": "#8a4b00",
    "READY": "#0b5394",
    "IN APPROVAL": "#0b5394",
    "PARTLY ISSUED": "#0b5394",
    "ISSUED": "#1e6b30",
}
"""A state's colour; each has a contrast of at least 4.5 against white (WCAG 2.1, 1.4.3)."""

_STYLE = """<style>
.billing-months { border-collapse: collapse; font-size: 13px; }
.billing-months caption { text-align: left; padding: 4px 0 8px; }
.billing-months th, .billing-months td { text-align: left !important; vertical-align: top;
  padding: 10px 14px !important; border: 1px solid #c8ced6; }
.billing-months td { min-width: 13em; white-space: normal; }
.billing-months b.state { display: inline-block; margin-bottom: 4px; font-size: 11px;
  letter-spacing: .04em; color: #fff; padding: 2px 7px; border-radius: 9px; }
.billing-months .total { font-variant-numeric: tabular-nums; font-size: 15px; }
.billing-months ul { margin: 4px 0; padding-left: 1.2em; }
.billing-months a, .billing-ways a { text-decoration: underline; color: #0b5394;
  margin-right: .7em; }
</style>"""


class HomePanel:
    """The overview of the months that were billed last.

    Parameters
    ----------
    months
        How many months are shown.
    """

    def __init__(self, months: int = 6, office: Office | None = None) -> None:
        self.office = office or Office.open()
        self.books = read_price_books(self.office.settings.parameters)
        self.overview = read_overview(self.office.engine, self.books, months)

    def grid(self) -> HTML:
        """Facilities by months: state, total, what waits for whom, and links to the notebooks."""
        if self.overview.height == 0:
            return HTML(
                "<p>No month has anything yet, or none that you may read. Load usage with "
                "<code>billing load</code>, then run this notebook again.</p>"
            )
        months = self.overview["period"].unique().sort(descending=True).to_list()
        head = "".join(f'<th scope="col">{month}</th>' for month in months)
        rows = "".join(
            self._row(part, months)
            for _, part in self.overview.group_by("facility", maintain_order=True)
        )
        return HTML(
            f'{_STYLE}<table class="billing-months"><caption>Facilities and months, the newest '
            f'first</caption><thead><tr><th scope="col">Facility</th>{head}</tr></thead>'
            f"<tbody>{rows}</tbody></table>"
        )

    def ways(self) -> HTML:
        """Links to the notebooks that are about a team or a record."""
        links = "".join(f'<a href="{name}.ipynb">{name.capitalize()}</a>' for name in GENERAL)
        return HTML(f'{_STYLE}<p class="billing-ways">{links}</p>')

    def states(self) -> HTML:
        """What each state means."""
        items = "".join(f"<li><b>{name}</b>: {means}</li>" for name, means in STATES.items())
        return HTML(f"<details><summary>What the states mean</summary><ul>{items}</ul></details>")

    def _row(self, months: pl.DataFrame, shown: list[str]) -> str:
        by_month = {row["period"]: row for row in months.iter_rows(named=True)}
        name = escape(months["name"][0] or months["facility"][0])
        code = escape(months["facility"][0])
        cells = "".join(self._cell(by_month.get(month)) for month in shown)
        return f'<tr><th scope="row">{name}<br>{code}</th>{cells}</tr>'

    def _cell(self, month: dict[str, Any] | None) -> str:
        if month is None:
            return "<td>–</td>"
        facility, period = month["facility"], month["period"]
        total = money(money_text(month["total"], minor_places(month["currency"])))
        counts = f"{month['charges']:,} charges, {month['unbilled']:,} unbilled"
        if month["invoices"]:
            counts += f", {month['invoices']:,} invoices issued"
        waits = "".join(f"<li>{escape(wait)}</li>" for wait in month["waits"])
        paths = open_month(self.office.settings.office, facility, period)
        links = "".join(
            f'<a href="{escape(paths[name])}" '
            f'aria-label="{name.capitalize()} {escape(facility)} {period}">{name.capitalize()}</a>'
            for name in MONTHLY
        )
        return (
            f'<td><b class="state" style="background: {_COLOURS[month["state"]]}">'
            f"{month['state']}</b><br>"
            f'<span class="total">{total} {month["currency"]}</span><br>{counts}'
            f"{f'<ul>{waits}</ul>' if waits else '<br>'}{links}</td>"
        )
