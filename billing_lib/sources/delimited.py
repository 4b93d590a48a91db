"""Lines of fields between separators: how every text source is split, ragged rows and all.

    1,slide,p1,12       4 fields          → a row
    2,slide,p1          3, one too few    → malformed, kept as it stood
    3,slide,p1,"a,b"    4, one quoted     → a row
    4,slide,p1,"a       5 lines with the quoted line break in it: a row that stands on line 4
    b"

Arrow splits the file at once where every record is one line, which its count of records shows.
Where some quoted field holds a line break, the standard library's csv module takes the file
record by record, since only so can be told on which line each one begins. There a quote that
is never closed costs the line it stands on, not the rest of the file.

CSV and its relatives: one header line, then one record a line (RFC 4180).

    booking,tool,account,begin,finish
    57,scope-1,p1,2020-04-06T17:00,2020-04-06T20:00
    58,"scope-1, left",p1,2020-04-07T09:00,2020-04-07T09:30

UTF-8 with or without a byte order mark, plain or gzipped, separated by commas, semicolons or
tabs: by whichever of them the header falls into most columns with. Fields may be quoted, with
separators, doubled quotes and line breaks in them. Blank lines are passed over. A row is the
line of the file on which the record begins. A record with too few or too many fields is
malformed, and kept.
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
from billing_lib.sources.files import FAULTS, Lines, SourceTable, fault, read_utf8

_BLOCK = 1 << 28
_SPLIT = pl.Schema({"row": pl.Int64(), "found": pl.Int64()})


@dataclass(frozen=True)
class Split:
    """A text split into fields.

    Parameters
    ----------
    fields
        The wanted columns, String, in file order; all null in a malformed row.
    rows
        Int64: the line on which each row begins.
    found
        Int64: for a malformed row how many fields it has (0: a quote is not closed), else null.
    raw
        From positions to the rows as they stood.
    """

    fields: pl.DataFrame
    rows: pl.Series
    found: pl.Series
    raw: Callable[[pl.Series], pl.Series]


def check_header(names: list[str], where: str) -> list[str]:
    """The names, trimmed; a column without a name gets one that no template can mean.

    Raises
    ------
    UnreadableFile
        There is no name at all, or one stands twice.
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
        none = pl.Series("found", [], dtype=pl.Int64)
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
    malformed = pl.DataFrame(odd, schema=_SPLIT, orient="row").with_columns(
        row=filled.gather(pl.Series([number - 1 for number, _ in odd], dtype=pl.Int64))
    )
    frame = _in_file_order(at_once.fields, good, malformed)
    rows, shown = frame["row"], original or lines
    return Split(
        frame.drop("row", "found"), rows, frame["found"], lambda at: shown.text(rows.gather(at))
    )


@dataclass(frozen=True)
class _AtOnce:
    """What Arrow made of a text; ``odd`` and ``blank`` by the number of the record, from 1."""

    fields: pl.DataFrame
    odd: list[tuple[int, int]]
    blank: list[int]

    @property
    def records(self) -> int:
        return self.fields.height + len(self.odd) + len(self.blank)


def _split_at_once(
    body: bytes, names: list[str], separator: str, wanted: list[str], *, quoted: bool
) -> _AtOnce | None:
    """None where a record is longer than Arrow takes, as one with an open quote is."""
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
    frame = fields.with_columns(row=rows, found=pl.lit(None, pl.Int64))
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
        [(start, found) for start, _, found in malformed], schema=_SPLIT, orient="row"
    )
    frame = _in_file_order(fields.select(wanted), good, odd)
    starts = frame["row"]
    ends = dict(spans) | {start: end for start, end, _ in malformed}

    def raw(at: pl.Series) -> pl.Series:
        texts = ["".join(lines[s : ends[s]]).rstrip("\n") for s in starts.gather(at).to_list()]
        return pl.Series("raw", texts, dtype=pl.String)

    return Split(frame.drop("row", "found"), starts + first, frame["found"], raw)


_HEADER = 1 << 16
_SEPARATORS = (",", ";", "\t")


def read_csv(path: Path) -> SourceTable:
    """Read a table; all columns as text, named as the header names them.

    Raises
    ------
    UnreadableFile
        The file is missing, empty, not UTF-8, or its header has no or the same name twice.
    """
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
    frame = pl.DataFrame({"found": cut.found}).with_row_index("position")
    of_so_many = (
        pl.when(pl.col("found") == 0)
        .then(pl.lit("a quotation mark is opened and never closed, or closed within a field"))
        .otherwise(pl.format(f"it has {{}} fields instead of {len(columns)}", "found"))
    )
    odd = fault(frame, pl.col("found").is_not_null(), "invalid_time", of_so_many)
    return SourceTable(
        name=path.name,
        fields=cut.fields,
        rows=cut.rows,
        raw=cut.raw,
        faults=pl.concat([FAULTS.to_frame(), odd]),
    )


def _header(top: bytes, where: str) -> tuple[str, list[str], int]:
    """The separator, the names and how many lines they take.

    The header alone decides: below it, texts hold commas and semicolons of their own, by which
    csv.Sniffer is easily misled.
    """
    text = top.decode("utf-8", errors="ignore")  # the last character may be cut
    found = []
    for separator in _SEPARATORS:
        reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=separator, strict=True)
        try:
            found.append((separator, next(reader), reader.line_num))
        except csv.Error:  # quotes that make no sense with this separator
            continue
    if not found:
        raise UnreadableFile(
            "the header has a quotation mark that is not closed",
            where=where,
            remedy="close it, or take it out",
        )
    return max(found, key=lambda candidate: len(candidate[1]))
