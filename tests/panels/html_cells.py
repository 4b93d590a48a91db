"""Reading the tables that panels show, and answering as the browser does that shows them."""

import re
from html import unescape
from typing import Any

from billing_lib.panels.table import PagedTable


def cells(html: str) -> list[list[str]]:
    """The texts of a table's body, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    found = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [[unescape(cell) for cell in row] for row in found if row]


def asked(table: PagedTable, **what: Any) -> dict[str, Any]:
    """A page as the browser asks for it, once all rows are read."""
    table.rows_at([])
    return table.answer({"first": 0, "count": 100} | what)


def listed(table: PagedTable, **what: Any) -> list[str]:
    """The first column of what matches."""
    return [row[0] for row in asked(table, **what)["rows"]]


def tick(table: PagedTable, name: str, *, ticked: bool = True) -> None:
    """Click on the box of the row with this name."""
    tell(table, {"kind": "tick", "name": name, "ticked": ticked})


def tell(table: PagedTable, message: dict[str, Any]) -> None:
    """Send what the browser would send."""
    table.rows_at([])
    table.widget._handle_custom_msg(message, [])
