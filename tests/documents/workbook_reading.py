"""Read a workbook back: its tables and what stands beside labels, without our own code.

sheet = read(rendered)["RC-1993-00001"]
table(sheet)[0]["Total"]      →  40
said(sheet)["Invoice date"]   →  datetime(1993, 11, 8)
"""

from decimal import Decimal
from io import BytesIO
from typing import Any

from openpyxl import Workbook, load_workbook
from openpyxl.worksheet.worksheet import Worksheet


def read(rendered: bytes) -> Workbook:
    """The workbook, its formulas as what they came to when it was written."""
    return load_workbook(BytesIO(rendered), data_only=True)


def table(sheet: Worksheet, name: str = "") -> list[dict[str, Any]]:
    """The rows of a sheet's table, or its only one, by their headings; none where it has none."""
    found = [it for it in sheet.tables.values() if name in ("", it.name)]
    if not found:
        return []
    header, *rows = sheet[found[0].ref]
    last = len(rows) - (found[0].totalsRowCount or 0)
    labels = [cell.value for cell in header]
    assert labels == [column.name for column in found[0].tableColumns]
    return [dict(zip(labels, [it.value for it in row], strict=True)) for row in rows[:last]]


def total_row(sheet: Worksheet, name: str = "") -> dict[str, Any]:
    """The total row of a sheet's table, by the headings."""
    (found,) = [it for it in sheet.tables.values() if name in ("", it.name)]
    rows = sheet[found.ref]
    assert found.totalsRowCount == 1
    return {head.value: cell.value for head, cell in zip(rows[0], rows[-1], strict=True)}


def said(sheet: Worksheet) -> dict[str, Any]:
    """What stands over the tables: by each label the last value beside it, left of the next."""
    pairs: dict[str, Any] = {}
    top = min((_first_row(it.ref) for it in sheet.tables.values()), default=sheet.max_row + 1)
    for row in sheet.iter_rows(max_row=top - 1):
        for columns in (row[:6], row[6:]):
            label, *values = [cell.value for cell in columns if cell.value is not None] or [None]
            if isinstance(label, str) and values:
                pairs[label] = values[-1]
    return pairs


def cents(value: float | None, places: int = 2) -> Decimal:
    """A number of a spreadsheet as the amount that it shows."""
    return round(Decimal(str(value or 0)), places)


def formulas(rendered: bytes) -> set[str]:
    """Every formula of the workbook."""
    workbook = load_workbook(BytesIO(rendered))
    return {
        str(cell.value)
        for sheet in workbook
        for row in sheet.iter_rows()
        for cell in row
        if cell.data_type == "f"
    }


def _first_row(reference: str) -> int:
    return int("".join(filter(str.isdigit, reference.split(":", maxsplit=1)[0])))
