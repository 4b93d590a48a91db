"""A workbook to calculate with: numbers are numbers, dates are dates, texts are never formulas.

Spreadsheets calculate in binary floats: amounts are exact up to fifteen digits, their limit,
and beyond it the canonical invoice alone is. A text that starts like a formula (``=cmd|…``)
stays a text, also when someone edits the cell. XlsxWriter writes no clock into the file but the
date that it is told, so the same content gives the same bytes.

    book = Book("Invoice RC-1994-00001", "Research Computing", date(1993, 12, 6))
    sheet = book.sheet("RC-1994-00001")
    sheet.put(0, 0, Decimal("12.50"), BOLD)
    book.saved()
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from io import BytesIO
from typing import Any

from xlsxwriter import Workbook
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from billing_lib.documents.text import NOTHING

Value = str | int | Decimal | date | datetime | None
Look = dict[str, Any]
"""How a cell looks: properties of an XlsxWriter format."""

_INK = "#1B2A41"
_RULE = {"top": 1, "bottom": 1, "border_color": _INK}

PLAIN: Look = {}
TITLE: Look = {"bold": True, "font_size": 16, "font_color": _INK}
HEADING: Look = {"bold": True, "font_size": 12, "font_color": _INK}
BOLD: Look = {"bold": True}
QUIET: Look = {"font_color": "#55606E"}
WARNING: Look = {"bold": True, "font_size": 12, "font_color": "#B3261E"}
HEADER: Look = {"bold": True, "bg_color": "#F1F4F8", "text_wrap": True} | _RULE
WRAPPED: Look = {"text_wrap": True}
APART: Look = {"align": "left", "indent": 1}
"""Of a text in a table: it would touch a number before it."""

LINE_HEIGHT = 15
"""Points that a line of text takes."""

_TOP = {"valign": "top"}
_FORMULA_LIKE = re.compile(r"[=+\-@]")
_NOT_IN_SHEET_NAMES = re.compile(r"[\[\]:*?/\\]")
_LONGEST_SHEET_NAME, _LONGEST_HEADER = 31, 255  # characters; a spreadsheet takes no more


@dataclass(frozen=True)
class Field:
    """A column of a table.

    Attributes
    ----------
    width
        In digits.
    total
        The sum of its amounts, which stands in the total row; none where nothing is to sum.
    wrapped
        Whether its texts go over several lines.
    """

    label: str
    width: float
    total: Decimal | None = None
    numeric: bool = False
    wrapped: bool = False


class Book:
    """A workbook that is written once, into bytes.

    Parameters
    ----------
    title, author, day
        Its properties; the day is the only time in the file.
    """

    def __init__(self, title: str, author: str, day: date) -> None:
        self._bytes = BytesIO()
        self._book = Workbook(self._bytes, {"in_memory": True})
        created = datetime.combine(day, time())
        self._book.set_properties({"title": title, "author": author, "created": created})
        self._formats: dict[tuple[tuple[str, Any], ...], Format] = {}
        self._names: set[str] = set()

    def sheet(self, name: str) -> "Sheet":
        """A new sheet under this name, or one that is allowed and not taken."""
        return Sheet(self, self._book.add_worksheet(self._sheet_name(name)))

    def format(self, look: Look) -> Format:
        """The format of a look; each is in the file once."""
        key = tuple(sorted(look.items()))
        if key not in self._formats:
            self._formats[key] = self._book.add_format(dict(key))
        return self._formats[key]

    def saved(self) -> bytes:
        """The workbook's bytes; nothing can be written into it afterwards."""
        self._book.close()
        return self._bytes.getvalue()

    def _sheet_name(self, wished: str) -> str:
        name = _NOT_IN_SHEET_NAMES.sub("_", " ".join(wished.split())).strip("'") or NOTHING
        taken, at, found = self._names | {"history"}, 1, name[:_LONGEST_SHEET_NAME]
        while found.lower() in taken:
            at += 1
            found = f"{name[: _LONGEST_SHEET_NAME - len(str(at)) - 1]}~{at}"
        self._names.add(found.lower())
        return found


class Sheet:
    """A sheet that is written cell by cell; rows and columns count from 0."""

    def __init__(self, book: Book, sheet: Worksheet) -> None:
        self._book, self._sheet = book, sheet
        self.name: str = sheet.get_name()

    def put(self, row: int, column: int, value: Value, look: Look = PLAIN) -> None:
        """A value in a cell, as what it is; an empty cell for none."""
        if value is None:
            return
        if isinstance(value, str):
            self._sheet.write_string(row, column, value, self._format(look, value))
        elif isinstance(value, datetime | date):
            self._sheet.write_datetime(row, column, value, self._format(look, value))
        else:
            self._sheet.write_number(row, column, value, self._format(look, value))

    def put_link(self, row: int, column: int, text: str, sheet: "Sheet") -> None:
        """A text that leads to another sheet of the workbook."""
        name = sheet.name.replace("'", "''")
        look = {"font_color": "#1F4E9E", "underline": 1} | APART | _TOP
        target = f"internal:'{name}'!A1"
        self._sheet.write_url(row, column, target, self._book.format(look), text)

    def put_text(self, row: int, columns: tuple[int, int], text: str, width: int) -> int:
        """A text over some columns and as many rows as it takes; how many those are."""
        lines = lines_of(text, width)
        if lines > 1:
            shape = self._book.format(WRAPPED | _TOP | _quoted(text))
            self._sheet.merge_range(row, columns[0], row + lines - 1, columns[1], "", shape)
        self.put(row, columns[0], text, WRAPPED if lines > 1 else PLAIN)
        return lines

    def put_table(
        self, row: int, name: str, fields: Sequence[Field], rows: Sequence[Sequence[Value]]
    ) -> int:
        """A table to filter and to sum, its header in this row; the row below it.

        Sums follow the filter (``SUBTOTAL``) and are in the file as they are unfiltered, for
        whoever only looks at it.
        """
        last, summed = row + len(rows), any(field.total is not None for field in fields)
        labels = _unique(field.label for field in fields)
        columns: list[dict[str, Any]] = [
            {"header": label, "header_format": self._book.format(HEADER | _aligned(field, at))}
            for at, (label, field) in enumerate(zip(labels, fields, strict=True))
        ]
        if summed:
            columns[0]["total_string"] = "Total"
        for column, field in zip(columns, fields, strict=True):
            if field.total is not None:
                column["total_function"] = "sum"
        options = {"name": name, "style": None, "total_row": summed, "columns": columns}
        self._sheet.add_table(row, 0, last + summed, len(fields) - 1, options)
        self._sheet.set_row(row, 2 * LINE_HEIGHT)
        for at, values in enumerate(rows, start=row + 1):
            self._row(at, fields, values)
        if summed:
            self._sum(last + 1, name, labels, fields)
        return last + summed + 1

    def _sum(self, row: int, table: str, labels: Sequence[str], fields: Sequence[Field]) -> None:
        """The total row, each formula with what it comes to: not every reader computes."""
        for column, (label, field) in enumerate(zip(labels, fields, strict=True)):
            look = self._book.format(
                _TOTAL | (PLAIN if field.total is None else _shown(field.total))
            )
            if field.total is None:
                self._sheet.write_string(row, column, "" if column else "Total", look)
            else:
                # XlsxWriter leaves the table's name out, without which LibreOffice finds no
                # column whose label has a space.
                named = re.sub(r"(['#\[\]])", r"'\1", label)
                formula = f"=SUBTOTAL(109,{table}[{named}])"
                self._sheet.write_formula(row, column, formula, look, field.total)

    def _row(self, row: int, fields: Sequence[Field], values: Sequence[Value]) -> None:
        lines = 1
        for column, (field, value) in enumerate(zip(fields, values, strict=True)):
            wrapped = field.wrapped and isinstance(value, str)
            look = APART if column and isinstance(value, str) else PLAIN
            self.put(row, column, value, WRAPPED | look if wrapped else look)
            if wrapped:
                lines = max(lines, lines_of(str(value), int(field.width)))
        if lines > 1:  # not every spreadsheet makes a row as high as its text
            self._sheet.set_row(row, lines * LINE_HEIGHT)

    def widths(self, widths: Sequence[float]) -> None:
        """The columns' widths, in digits."""
        for column, width in enumerate(widths):
            self._sheet.set_column(column, column, width)

    def print_on(self, footer: str, header: str, scale: int = 0, before: int = 0) -> None:
        """How it is printed: on landscape pages with their number below.

        Parameters
        ----------
        scale, before
            In per cent, with a new page before this column and the first column on each page; or
            else as small as one page is wide.
        """
        self._sheet.set_landscape()
        self._sheet.set_margins(0.5, 0.5, 0.6, 0.6)
        if scale:
            self._sheet.set_print_scale(scale)
            self._sheet.set_v_pagebreaks([before])
            self._sheet.repeat_columns(0, 0)
        else:
            self._sheet.fit_to_pages(1, 0)
        self._sheet.set_footer(f"&L{footer.replace('&', '&&')}&RPage &P of &N")
        if header:
            self._sheet.set_header(f"&C{header.replace('&', '&&')}")

    def height(self, row: int, points: int) -> None:
        """How high a row is."""
        self._sheet.set_row(row, points)

    def freeze_first_column(self) -> None:
        """Keep the first column in sight when scrolling to the right."""
        self._sheet.freeze_panes(0, 1)

    def _format(self, look: Look, value: Value) -> Format:
        return self._book.format(look | _TOP | _shown(value))


_TOTAL: dict[str, Any] = {"bold": True} | _RULE


def lines_of(text: str, width: int) -> int:
    """How many lines a text takes in a column of this width."""
    return sum(1 + max(0, len(line) - 1) // width for line in text.split("\n"))


def number_format(value: Decimal) -> str:
    """Thousands grouped, and the places that the value is stated with."""
    places = max(0, -int(value.as_tuple().exponent))
    return f"#,##0.{'0' * places}" if places else "#,##0"


def _shown(value: Value) -> Look:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, datetime):
        return {"num_format": "yyyy-mm-dd hh:mm:ss"}
    if isinstance(value, date):
        return {"num_format": "yyyy-mm-dd"}
    return {"num_format": number_format(value)} if isinstance(value, Decimal) else PLAIN


def _quoted(text: str) -> Look:
    return {"quote_prefix": True} if _FORMULA_LIKE.match(text) else PLAIN


def _aligned(field: Field, column: int) -> Look:
    if field.numeric or field.total is not None:
        return {"align": "right"}
    return APART if column else PLAIN


def _unique(labels: Iterable[str]) -> list[str]:
    """The labels on one line each, numbered where a spreadsheet would take two for the same."""
    found: list[str] = []
    for label in labels:
        name = " ".join(label.split())[: _LONGEST_HEADER - 8] or NOTHING
        wished, at = name, 1
        while name.lower() in {it.lower() for it in found}:
            at += 1
            name = f"{wished} ({at})"
        found.append(name)
    return found
