"""Typed tables: Excel workbooks (.xlsx) and Parquet files.

    row 1   booking  tool     account  begin                finish
    row 2   57       scope-1  p1       2020-04-06 17:00:00  2020-04-06 20:00:00

A workbook is read from its first sheet, whose first filled row is the header; a row has the
sheet's own number. A date cell is a wall clock of the facility; a bare number is never a date. A
number is the shortest decimal that reads back as the same float (times.py). A formula counts as
the value saved with it.

    id: int64   begin: timestamp[us, tz=UTC]   finish: timestamp[us, tz=UTC]   hours: decimal(9, 2)

A row of a Parquet file has its number in the file, from 1. A timestamp with a zone is an instant,
one without is a wall clock. A column of the wrong type is a defect of each row; a column of lists,
structures or bytes is one of the file.
"""

import datetime as dt
import zipfile
from pathlib import Path

import openpyxl
import polars as pl
from openpyxl.utils.exceptions import InvalidFileException

from billing_lib.errors import UnreadableFile
from billing_lib.sources.delimited import check_header
from billing_lib.sources.files import SourceTable, cells_by_tab, empty, fault, unopened
from billing_lib.sources.times import plain


def read_excel(path: Path) -> SourceTable:
    """Read the first sheet; all cells as text: dates as ISO 8601, numbers as decimals."""
    filled = [(row, cells) for row, cells in _rows(path) if any(cells)]
    if not filled:
        raise empty(path)
    (top, header), *body = filled
    width = max(place for place, name in enumerate(header, start=1) if name)
    names = check_header([name or "" for name in header[:width]], f"{path.name}, row {top}")
    longest = max(width, *(len(line) for _, line in body), 0)
    whole = pl.DataFrame(
        [(*line, *[None] * (longest - len(line))) for _, line in body],
        schema=dict.fromkeys(map(str, range(longest)), pl.String),
        orient="row",
    )
    fields = pl.DataFrame(whole.get_columns()[:width]).rename(
        {str(place): name for place, name in enumerate(names)}
    )
    beyond = pl.DataFrame(
        {"beyond": [sum(cell is not None for cell in line[width:]) for _, line in body]},
        schema={"beyond": pl.Int64},
    ).with_row_index("position")
    sentence = pl.format("{} cells stand beyond the header's last column", "beyond")
    return SourceTable(
        name=path.name,
        fields=fields,
        rows=pl.Series("row", [row for row, _ in body], dtype=pl.Int64),
        raw=cells_by_tab(whole),
        faults=fault(beyond, pl.col("beyond") > 0, "invalid_time", sentence),
    )


def _rows(path: Path) -> list[tuple[int, list[str | None]]]:
    """The first sheet's rows with their numbers."""
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except OSError as error:
        raise unopened(path, error) from error
    except (zipfile.BadZipFile, InvalidFileException, KeyError, ValueError) as error:
        raise UnreadableFile(
            "it is no Excel workbook, or a broken one",
            where=path.name,
            remedy="save it as .xlsx again",
        ) from error
    try:
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # some programs write a wrong size into the file
        rows = sheet.iter_rows(values_only=True)
        return [(number, [_text(cell) for cell in row]) for number, row in enumerate(rows, start=1)]
    finally:
        book.close()


def _text(cell: object) -> str | None:
    if isinstance(cell, dt.datetime):
        # Excel keeps days as floats, whose digits below a millisecond are noise.
        exact = cell + dt.timedelta(microseconds=500)
        whole = exact.replace(microsecond=exact.microsecond // 1000 * 1000)
        return whole.isoformat()
    if isinstance(cell, dt.date | dt.time):
        return cell.isoformat()
    if isinstance(cell, float):
        return plain(repr(cell)).removesuffix(".0")
    text = "" if cell is None else str(cell).strip()
    return text or None


def read_parquet(path: Path) -> SourceTable:
    """Read all columns, with their types; categories as text."""
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise empty(path)
        frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
    except OSError as error:
        raise unopened(path, error) from error
    except pl.exceptions.PolarsError as error:
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
