"""CSV and its relatives: one header line, then one record a line (RFC 4180).

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
from pathlib import Path

import polars as pl

from billing_lib.errors import UnreadableFile
from billing_lib.sources.delimited import check_header, split
from billing_lib.sources.files import read_utf8
from billing_lib.sources.table import FAULTS, SourceTable, fault

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
