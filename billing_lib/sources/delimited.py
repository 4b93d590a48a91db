"""Lines of fields between separators: how every text source is split, ragged rows and all.

    1,slide,p1,12       4 fields          → a row
    2,slide,p1          3, one too few    → malformed, kept as it stood
    3,slide,p1,"a,b"    4, one quoted     → a row
    4,slide,p1,"a       5 lines with the quoted line break in it: a row that stands on line 4
    b"

polars splits the lines at once where each is one record, which no quote leaves open. Where some
quoted field holds a line break, the standard library's csv module takes the file record by record,
since only so can be told on which line each one begins. There a quote that is never closed costs
the line it stands on, not the rest of the file.

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
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import polars as pl

from billing_lib.errors import UnreadableFile
from billing_lib.sources.files import FAULTS, Lines, SourceTable, fault, read_utf8, require_width

_SPLIT = pl.Schema({"row": pl.Int64(), "widths": pl.Int64()})


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
        Int64: for a malformed row how many fields it has (0: a quote is not closed), else null.
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
    odd = fault(rows, pl.col("width").is_not_null(), "invalid_time", sentence)
    return pl.concat([FAULTS.to_frame(), odd])


def check_header(names: list[str], where: str) -> list[str]:
    """The names, trimmed; a column without a name gets one that no template can mean.

    Raises
    ------
    UnreadableFile
        There is no name at all, one stands twice, or there are too many.
    """
    require_width(len(names), where)
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
        none = pl.Series("widths", [], dtype=pl.Int64)
        return Split(nothing, filled, none, (original or lines).text)
    at_once = _split_lines(lines.text(filled), names, separator, quoted=quoted)
    if at_once is None:
        return _split_record_by_record(
            body, names, separator, first, wanted or names, quoted=quoted
        )
    fields, widths, blank = at_once
    frame = fields.select(wanted or names).with_columns(row=filled, widths=widths).filter(~blank)
    rows, shown = frame["row"], original or lines
    return Split(
        frame.drop("row", "widths"), rows, frame["widths"], lambda at: shown.text(rows.gather(at))
    )


def _split_lines(
    lines: pl.Series, names: list[str], separator: str, *, quoted: bool
) -> tuple[pl.DataFrame, pl.Series, pl.Series] | None:
    """Split lines that are a record each.

    Returns
    -------
    tuple or None
        The fields, all null in a malformed line; its number of fields, else null; whether it is
        blank. None where a line is no record, for a quoted field goes on in the next one.
    """
    counts = lines.str.count_matches(separator, literal=True).cast(pl.Int64) + 1
    if not quoted or not (has_quotes := lines.str.contains('"', literal=True)).any():
        fields = _split_plain(lines, names, separator)
    else:
        with_quotes = _split_quoted(lines.filter(has_quotes), names, separator)
        if with_quotes is None:
            return None
        places = pl.concat([(~has_quotes).arg_true(), has_quotes.arg_true()]).arg_sort()
        of_quoted, counted = with_quotes
        plain = _split_plain(lines.filter(~has_quotes), names, separator)
        fields = pl.concat([plain, of_quoted])[places]
        counts = pl.concat([counts.filter(~has_quotes), counted])[places]
    odd = counts != len(names)
    good = fields.select(pl.when(~odd).then(pl.all()))
    widths = pl.select(widths=pl.when(odd).then(counts))["widths"]
    return good, widths, odd & (lines.str.strip_chars() == "")


def _split_plain(lines: pl.Series, names: list[str], separator: str) -> pl.DataFrame:
    """The fields of lines without quotes, for a line with too many the first ones."""
    parts = lines.str.split_exact(separator, len(names) - 1).struct.unnest()
    return parts.rename(dict(zip(parts.columns, names, strict=True)))


def _split_quoted(
    lines: pl.Series, names: list[str], separator: str
) -> tuple[pl.DataFrame, pl.Series] | None:
    """The fields of lines with quotes, and how many each has; all null in a line with another
    number. None where a quote is not closed on its line, or closed within a field."""
    apart = re.escape(separator)
    field = f'{apart}(?:"(?:[^"]|"")*"|[^"{apart}][^{apart}]*|)'
    parts = (separator + lines).str.extract_all(field)
    whole = parts.list.join("").str.len_bytes() == lines.str.len_bytes() + len(separator)
    if not whole.all():
        return None
    counts = parts.list.len().cast(pl.Int64)
    good = counts == len(names)
    text = parts.filter(good).explode(empty_as_null=False).str.slice(1)
    is_quoted = text.str.starts_with('"')
    bare = text.str.slice(1).str.strip_suffix('"').str.replace_all('""', '"', literal=True)
    text = text.zip_with(~is_quoted, bare)
    columns = {name: text.gather_every(len(names), at) for at, name in enumerate(names)}
    frame = pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String))
    place = pl.select(pl.when(good).then(good.cum_sum().cast(pl.Int64) - 1)).to_series()
    return frame.select(pl.all().gather(place)), counts


def _in_file_order(fields: pl.DataFrame, rows: pl.Series, malformed: pl.DataFrame) -> pl.DataFrame:
    frame = fields.with_columns(row=rows, widths=pl.lit(None, pl.Int64))
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
        [(start, widths) for start, _, widths in malformed], schema=_SPLIT, orient="row"
    )
    frame = _in_file_order(fields.select(wanted), good, odd)
    starts = frame["row"]
    ends = dict(spans) | {start: end for start, end, _ in malformed}

    def raw(at: pl.Series) -> pl.Series:
        texts = ["".join(lines[s : ends[s]]).rstrip("\n") for s in starts.gather(at).to_list()]
        return pl.Series("raw", texts, dtype=pl.String)

    return Split(frame.drop("row", "widths"), starts + first, frame["widths"], raw)


_HEADER = 1 << 20
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
    return SourceTable(
        name=path.name,
        fields=cut.fields,
        rows=cut.rows,
        raw=cut.raw,
        faults=wrong_widths(cut.widths, len(columns)),
    )


def _header(top: bytes, where: str) -> tuple[str, list[str], int]:
    """The separator, the names and how many lines they take.

    The header alone decides: below it, texts hold commas and semicolons of their own, by which
    csv.Sniffer is easily misled.
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
    return max(readings, key=lambda candidate: len(candidate[1]))
