"""Reading the tables that panels show."""

import re
from html import unescape


def cells(html: str) -> list[list[str]]:
    """The texts of a table's body, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    found = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [[unescape(cell) for cell in row] for row in found if row]
