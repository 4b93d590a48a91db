"""Text tables: how every text source is split into fields, and the reader of CSV files.

    1,slide,p1,12       4 fields          → a row
    2,slide,p1          3, one too few    → malformed, kept as it stood
    3,slide,p1,"a,b"    4, one quoted     → a row
    4,slide,p1,"a       5 lines with the quoted line break in it: a row that stands on line 4
    b"

Arrow splits a file at once if every record is one line, which its count of records shows. If a
quoted field holds a line break, the standard library's csv module reads record by record: only
so is the line known on which each one begins. There a quote that is never closed costs the line
it stands on, not the rest of the file.

A CSV file (RFC 4180) is UTF-8 with or without a byte order mark, plain or gzipped, separated by
commas, semicolons or tabs: by the one that makes most columns of the header. Fields may be
quoted; blank lines are passed over; a row is the line on which its record begins.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
from pyarrow import csv as arrow_csv

from billing_lib.errors import UnreadableFile
from billing_lib.sources.files import Lines, SourceTable, fault, read_utf8

_BLOCK = 1 << 28
_MALFORMED = pl.Schema({"row": pl.Int64(), "width": pl.Int64()})


@dataclass(frozen=True)
class Split:
    """A text split into fields.

    Parameters
    ----------
    fields
        The wanted columns, String, in file order; all null in a malformed row.
    rows
        Int64: the line on which each row begins.
    widths
        Int64: the number of fields of a malformed row (0: a quote is not closed), else null.
    raw
        From positions to the rows as they stood.
    """

    fields: pl.DataFrame
    rows: pl.Series
    widths: pl.Series
    raw: Callable[[pl.Series], pl.Series]


def wrong_widths(widths: pl.Series, columns: int) -> pl.DataFrame:
    """The faults (schema FAULTS) of rows that have not as many fields as there are columns."""
    sentence = (
        pl.when(pl.col("width") == 0)
        .then(pl.lit("a quotation mark is opened and never closed, or closed within a field"))
        .otherwise(pl.format(f"it has {{}} fields instead of {columns}", "width"))
    )
    rows = pl.DataFrame({"width": widths}).with_row_index("position")
    return fault(rows, pl.col("width").is_not_null(), "invalid_time", sentence)


def check_header(names: list[str], where: str) -> list[str]:
    """Trim the names of columns and refuse a header without names, or with one twice.

    A column without a name gets one that no template can mean.
    """
    trimmed = [name.strip() for name in names]
    twice = sorted({name for name in trimmed if name and trimmed.count(name) > 1})
    if twice:
        raise UnreadableFile(
            f"the column '{twice[0]}' stands twice in the header",
            where=where,
            remedy="name each column once",
        )
    if not any(trimmed):
        raise UnreadableFile(
            "the header names no column", where=where, remedy="name the columns in the first row"
        )
    return [name or f"{{{place}}}" for place, name in enumerate(trimmed, start=1)]


def split(
    body: bytes,
    names: list[str],
    separator: str,
    first: int,
    *,
    quoted: bool,
    wanted: list[str] | None = None,
    original: Lines | None = None,
) -> Split:
    """Split the lines below a header.

    Parameters
    ----------
    body
        UTF-8 text, lines ended by ``\\n``; empty lines are passed over.
    names
        The columns; a row with another number of fields is malformed.
    first
        The number of the body's first line in the file.
    quoted
        Whether fields may be quoted (RFC 4180).
    wanted
        The columns to keep; all unless told.
    original
        The lines to show as raw, where the body was changed before splitting.
    """
    lines = Lines(body, first)
    filled = lines.filled()
    if filled.is_empty():
        nothing = pl.DataFrame(schema=dict.fromkeys(wanted or names, pl.String))
        none = pl.Series("width", [], dtype=pl.Int64)
        return Split(nothing, filled, none, (original or lines).text)
    at_once = _split_at_once(body, names, separator, wanted or names, quoted=quoted)
    if at_once is None or at_once.records != filled.len():
        return _split_record_by_record(
            body, names, separator, first, wanted or names, quoted=quoted
        )
    numbers = pl.int_range(1, filled.len() + 1, eager=True)
    odd = at_once.odd
    exceptions = pl.Series([number for number, _ in odd] + at_once.blank, dtype=pl.Int64)
    good = filled.filter(~numbers.is_in(exceptions.implode()))
    malformed = pl.DataFrame(odd, schema=_MALFORMED, orient="row").with_columns(
        row=filled.gather(pl.Series([number - 1 for number, _ in odd], dtype=pl.Int64))
    )
    frame = _in_file_order(at_once.fields, good, malformed)
    rows, shown = frame["row"], original or lines
    return Split(
        frame.drop("row", "width"), rows, frame["width"], lambda at: shown.text(rows.gather(at))
    )


@dataclass(frozen=True)
class _AtOnce:
    """A text as Arrow split it; ``odd`` and ``blank`` by the number of the record, from 1."""

    fields: pl.DataFrame
    odd: list[tuple[int, int]]
    blank: list[int]

    @property
    def records(self) -> int:
        return self.fields.height + len(self.odd) + len(self.blank)


def _split_at_once(
    body: bytes, names: list[str], separator: str, wanted: list[str], *, quoted: bool
) -> _AtOnce | None:
    """Split a text with Arrow; None if a record is too long for it, as with an open quote."""
    odd: list[tuple[int, int]] = []
    blank: list[int] = []

    def note(row: arrow_csv.InvalidRow) -> str:
        if row.text.strip():
            odd.append((row.number, row.actual_columns))
        else:
            blank.append(row.number)
        return "skip"

    try:
        table = arrow_csv.read_csv(
            io.BytesIO(body),
            read_options=arrow_csv.ReadOptions(
                use_threads=False,  # else rows have no numbers
                column_names=names,
                block_size=min(len(body) + 1, _BLOCK),
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=separator,
                quote_char='"' if quoted else False,
                newlines_in_values=quoted,
                invalid_row_handler=note,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=wanted,
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:
        return None
    return _AtOnce(pl.DataFrame(pl.from_arrow(table)), odd, blank)


def _in_file_order(fields: pl.DataFrame, rows: pl.Series, malformed: pl.DataFrame) -> pl.DataFrame:
    frame = fields.with_columns(row=rows, width=pl.lit(None, pl.Int64))
    if malformed.is_empty():
        return frame
    return pl.concat([frame, malformed], how="diagonal").sort("row")


def _split_record_by_record(
    body: bytes, names: list[str], separator: str, first: int, wanted: list[str], *, quoted: bool
) -> Split:
    lines = io.StringIO(body.decode("utf-8"), newline="\n").readlines()
    records: list[list[str]] = []
    spans: list[tuple[int, int]] = []
    malformed: list[tuple[int, int, int]] = []
    at = 0
    while at < len(lines):
        reader = csv.reader(
            islice(lines, at, None),
            delimiter=separator,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            strict=True,
        )
        start = at
        try:
            for record in reader:
                end = at + reader.line_num
                if len(record) == len(names):
                    records.append(record)
                    spans.append((start, end))
                elif "".join(lines[start:end]).strip():
                    malformed.append((start, end, len(record)))
                start = end
        except csv.Error:  # a quote not closed, or closed in the middle of a field
            malformed.append((start, start + 1, 0))
            at = start + 1
        else:
            break
    fields = pl.DataFrame(records, schema=dict.fromkeys(names, pl.String), orient="row")
    good = pl.Series([start for start, _ in spans], dtype=pl.Int64)
    odd = pl.DataFrame(
        [(start, width) for start, _, width in malformed], schema=_MALFORMED, orient="row"
    )
    frame = _in_file_order(fields.select(wanted), good, odd)
    starts = frame["row"]
    ends = dict(spans) | {start: end for start, end, _ in malformed}

    def raw(at: pl.Series) -> pl.Series:
        texts = ["".join(lines[s : ends[s]]).rstrip("\n") for s in starts.gather(at).to_list()]
        return pl.Series("raw", texts, dtype=pl.String)

    return Split(frame.drop("row", "width"), starts + first, frame["width"], raw)


_HEADER = 1 << 16
_SEPARATORS = (",", ";", "\t")


def read_csv(path: Path) -> SourceTable:
    """Read a table; all columns as text, named as the header names them."""
    data = read_utf8(path)
    skipped = len(data) - len(data.lstrip(b"\n"))
    where = f"{path.name}, row {skipped + 1}"
    separator, names, height = _header(data[skipped : skipped + _HEADER], where)
    end = skipped
    for _ in range(height):
        end = data.find(b"\n", end) + 1 or len(data)
    body = data[end:]
    columns = check_header(names, where)
    cut = split(body, columns, separator, first=skipped + height + 1, quoted=True)
    faults = wrong_widths(cut.widths, len(columns))
    return SourceTable(path.name, cut.fields, cut.rows, cut.raw, faults)


def _header(top: bytes, where: str) -> tuple[str, list[str], int]:
    """The separator, the names and the number of lines they take.

    Only the header decides: the commas and semicolons in texts below it mislead csv.Sniffer.
    """
    text = top.decode("utf-8", errors="ignore")  # the last character may be cut
    readings = []
    for separator in _SEPARATORS:
        reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=separator, strict=True)
        try:
            readings.append((separator, next(reader), reader.line_num))
        except csv.Error:  # quotes that make no sense with this separator
            continue
    if not readings:
        raise UnreadableFile(
            "the header has a quotation mark that is not closed",
            where=where,
            remedy="close it, or take it out",
        )
    return max(readings, key=lambda reading: len(reading[1]))
