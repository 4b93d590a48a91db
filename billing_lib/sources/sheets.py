"""Typed tables: Excel workbooks (.xlsx) and Parquet files.

    row 1   booking  tool     account  begin                finish
    row 2   57       scope-1  p1       2020-04-06 17:00:00  2020-04-06 20:00:00

A sheet's first filled row is its header; a row has the sheet's own number. A date cell is a wall
clock of the facility; a bare number is never a date. A number is the shortest decimal that reads
back as the same float (quantities.py). A formula counts as the value saved with it. Whoever opens
the workbook does not see hidden sheets and rows, so they are not read, and named. A cell without
a known value is never taken for an empty one:

    =4*16 without a saved value    written by a program that computes nothing
    =4*16, saved as 0              the same, and the workbook says that it is to be computed
    #REF!  #DIV/0!                 an error

    id: int64   begin: timestamp[us, tz=UTC]   finish: timestamp[us, tz=UTC]   hours: decimal(9, 2)

A row of a Parquet file has its number in the file, from 1. A timestamp with a zone is an instant,
one without is a wall clock. A column of the wrong type is a defect of each row; a column of lists,
structures or bytes is one of the file.
"""

import datetime as dt
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from billing_lib.errors import UnreadableFile, count_of
from billing_lib.settings import anywhere
from billing_lib.sources.delimited import check_header
from billing_lib.sources.files import (
    TYPED,
    SourceTable,
    cells_by_tab,
    empty,
    fault,
    opened,
    read_plain,
    require_size,
    require_width,
)
from billing_lib.sources.quantities import plain

if TYPE_CHECKING:
    from openpyxl import Workbook

_FORMULA = re.compile(rb"<(?:\w+:)?f[\s>/]")
_HIDDEN_ROW = re.compile(
    rb"<(?:\w+:)?row\b(?=[^>]*\bhidden=[\"'](?:1|true)[\"'])[^>]*\br=[\"'](\d+)[\"']"
)
_TO_COMPUTE = re.compile(rb"\bfullCalcOnLoad=[\"'](?:1|true)[\"']")
_MERGED = re.compile(rb"<(?:\w+:)?mergeCell\s")
_ERRORS = frozenset(
    {
        *("#REF!", "#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#VALUE!", "#SPILL!"),
        *("#CALC!", "#FIELD!", "#BLOCKED!", "#CONNECT!", "#UNKNOWN!", "#BUSY!", "#PYTHON!"),
        "#GETTING_DATA",
    }
)


EMPTY = "the sheet is empty"


@dataclass(frozen=True)
class Sheet:
    """A sheet of a workbook, not read yet.

    Parameters
    ----------
    title
        Its name in the workbook.
    hidden
        Whether people who open the workbook do not see it.
    read
        From a name for messages to its table; raises UnreadableFile.
    """

    title: str
    hidden: bool
    read: Callable[[str], SourceTable]


def read_excel(path: Path) -> list[Sheet]:
    """The sheets of a workbook, those of charts left out.

    A sheet's cells are text: dates as ISO 8601, numbers as decimals, with their marks.
    """
    content = read_plain(path)
    values, formulas = (
        open_workbook(content, path.name, read_only=True, data_only=saved)
        for saved in (True, False)
    )
    with _whole(path.name), zipfile.ZipFile(BytesIO(content)) as archive:
        books = [name for name in archive.namelist() if name.endswith("workbook.xml")]
        computed = not any(_TO_COMPUTE.search(archive.read(name)) for name in books)
    return [
        Sheet(
            sheet.title,
            sheet.sheet_state != "visible",
            partial(_table, sheet, formulas[sheet.title], computed),
        )
        for sheet in values.worksheets
    ]


def open_workbook(content: bytes, name: str, **options: bool) -> "Workbook":
    """Open a workbook by openpyxl, with its options; UnreadableFile if it is none, or too large."""
    import openpyxl

    with _whole(name):
        with zipfile.ZipFile(BytesIO(content)) as archive:
            size = sum(part.file_size for part in archive.infolist())
        require_size(size, anywhere().largest_file * 1_000_000, name)
        return openpyxl.load_workbook(BytesIO(content), **options)


@contextmanager
def _whole(name: str) -> Iterator[None]:
    """Refuse a workbook that openpyxl cannot read, by all that it raises on broken ones."""
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        yield
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, InvalidFileException, SyntaxError),
        *(KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError),
        *(RuntimeError, OSError),
    ) as error:
        raise UnreadableFile(
            "it is no Excel workbook, or a broken one", where=name, remedy="save it as .xlsx again"
        ) from error


_Cells = list[tuple[str | None, str | None]]
"""A row of cells: the text of each, and its mark."""


def _table(sheet: Any, formulas: Any, computed: bool, name: str) -> SourceTable:
    with _whole(name):
        with sheet.parent._archive.open(sheet._worksheet_path) as source:
            xml = source.read()
        hidden = {int(number) for number in _HIDDEN_ROW.findall(xml)}
        has_formulas = _FORMULA.search(xml) is not None
        rows = _computed(sheet, formulas, computed) if has_formulas else _plain_rows(sheet)
    filled = [(row, cells) for row, cells in rows if any(text or mark for text, mark in cells)]
    if not filled:
        raise UnreadableFile(EMPTY, where=name, remedy="export the usage again")
    (top, header), *body = filled
    width = max(place for place, (title, _) in enumerate(header, start=1) if title)
    names = check_header([title or "" for title, _ in header[:width]], f"{name}, row {top}")
    unseen = [row for row, _ in body if row in hidden]
    body = [(row, cells) for row, cells in body if row not in hidden]
    longest = max(width, *(len(cells) for _, cells in body), 0)
    require_width(longest, name)
    nothing = (None, None)
    texts, marks = (
        pl.DataFrame(
            [
                (*(cell[at] for cell in cells), *[None] * (longest - len(cells)))
                for _, cells in body
            ],
            schema=dict.fromkeys(map(str, range(longest)), pl.String),
            orient="row",
        )
        for at in range(len(nothing))
    )
    titles = {str(place): title for place, title in enumerate(names)}
    beyond = pl.DataFrame(
        {"beyond": [sum(cell != nothing for cell in cells[width:]) for _, cells in body]},
        schema={"beyond": pl.Int64},
    ).with_row_index("position")
    sentence = pl.format("{} cells stand beyond the header's last column", "beyond")
    return SourceTable(
        name=name,
        fields=pl.DataFrame(texts.get_columns()[:width]).rename(titles),
        rows=pl.Series("row", [row for row, _ in body], dtype=pl.Int64),
        raw=cells_by_tab(texts),
        faults=fault(beyond, pl.col("beyond") > 0, "invalid_time", sentence),
        marks=pl.DataFrame(marks.get_columns()[:width]).rename(titles),
        notices=tuple(_notices(sheet.title, unseen, len(_MERGED.findall(xml)))),
    )


def _notices(title: str, unseen: list[int], merged: int) -> list[str]:
    notices = []
    if unseen:
        listed = ", ".join(map(str, unseen[:5])) + (" …" if len(unseen) > 5 else "")
        rows = count_of(len(unseen), "hidden row")
        notices.append(f"{rows} of the sheet '{title}' ({listed}) not read")
    if merged:
        notices.append(
            f"the sheet '{title}' has {merged:,} merged areas, each read as its first cell alone"
        )
    return notices


def _plain_rows(sheet: Any) -> list[tuple[int, _Cells]]:
    """The rows of a sheet without formulas, with their numbers."""
    sheet.reset_dimensions()  # some programs write a wrong size into the file
    rows = sheet.iter_rows(values_only=True)
    return [(number, [_cell(value) for value in row]) for number, row in enumerate(rows, start=1)]


def _computed(sheet: Any, formulas: Any, computed: bool) -> list[tuple[int, _Cells]]:
    """The rows of a sheet with formulas; ``computed`` tells whether saved zeros can be meant."""
    for each in (sheet, formulas):
        each.reset_dimensions()
    rows = []
    both = zip(sheet.iter_rows(), formulas.iter_rows(), strict=True)
    for number, (saved, stated) in enumerate(both, start=1):
        cells = []
        for cell, formula in zip(saved, stated, strict=True):
            unknown = formula.data_type == "f" and (
                # An empty text is a value; it is saved with the type of texts.
                (cell.value is None and cell.data_type != "str")
                or (cell.value == 0 and not computed)
            )
            no_value = "the formula has no saved value; open the workbook in Excel and save it"
            cells.append((None, no_value) if unknown else _cell(cell.value))
        rows.append((number, cells))
    return rows


def _cell(value: object) -> tuple[str | None, str | None]:
    text = _text(value)
    if text is None:
        return None, None
    if isinstance(value, str):
        return text, f"'{text}' is an error in the workbook" if text in _ERRORS else None
    return text, None if isinstance(value, bool) else TYPED


def _text(cell: object) -> str | None:
    if isinstance(cell, dt.datetime):
        # Excel keeps days as floats, whose digits below a millisecond are noise.
        exact = cell + dt.timedelta(microseconds=500)
        whole = exact.replace(microsecond=exact.microsecond // 1000 * 1000)
        return whole.isoformat()
    if isinstance(cell, dt.timedelta):
        millis = round(cell / dt.timedelta(milliseconds=1))
        seconds, rest = divmod(abs(millis), 1000)
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return "-" * (millis < 0) + clock + (f".{rest:03}" if rest else "")
    if isinstance(cell, dt.date | dt.time):
        return cell.isoformat()
    if isinstance(cell, float):
        return plain(repr(cell)).removesuffix(".0")
    text = "" if cell is None else str(cell).strip()
    return text or None


_CELL = 8
"""Bytes of a cell of a Parquet file in memory, at least."""


def read_parquet(path: Path) -> SourceTable:
    """Read all columns, with their types; categories as text."""
    with opened(path) as file:
        if not file.read(1):
            raise empty(path)
    try:
        scanned = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        columns, rows = scanned.collect_schema().len(), scanned.select(pl.len()).collect().item()
        require_width(columns, path.name)
        require_size(columns * rows * _CELL, anywhere().largest_file * 1_000_000, path.name)
        frame = scanned.collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise UnreadableFile(
            "it is no Parquet file, or a broken one", where=path.name, remedy="write it again"
        ) from error
    if not frame.columns:
        raise empty(path)
    for name, dtype in frame.schema.items():
        if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
            raise UnreadableFile(
                f"the column '{name}' is of type {dtype}, which no usage field has",
                where=path.name,
                remedy="leave it out, or write it as text, number or timestamp",
            )
    texts = frame.with_columns(pl.selectors.by_dtype(pl.Categorical, pl.Enum).cast(pl.String))
    return SourceTable(
        name=path.name,
        fields=texts,
        rows=pl.int_range(1, texts.height + 1, dtype=pl.Int64, eager=True).alias("row"),
        raw=cells_by_tab(texts),
    )
