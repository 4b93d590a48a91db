"""JSON: a record a line, or the one document that a REST API answers with.

    {"id": 57, "tool": {"name": "scope-1"}, "start": "2020-04-06T17:00:00-04:00"}     a row, line 1

    [{…}, {…}]                                    each record is a row, numbered from 1
    {"count": 2, "next": null, "results": […]}    the one list of records in an answer
    {"code": 200, "data": [{"chem": {…}}]}        records by name, as OpenCost has them

The fields of a record within a record are columns ``tool[name]``; a list is its JSON text. A number
is the text that stands in the file: none passes through a binary float. So the standard library's
parser takes the file record by record.
"""

import json
from pathlib import Path
from typing import Any

import polars as pl

from billing_lib.errors import UnreadableFile
from billing_lib.sources.files import (
    FAULTS,
    TYPED,
    Lines,
    SourceTable,
    fault,
    read_utf8,
    require_width,
)
from billing_lib.sources.quantities import plain

Record = dict[str, Any]


def read_json(path: Path) -> SourceTable:
    """Read the records; all values as text, true and false as these words.

    A row is the line of the file where each line is a record, else the record's number. A line
    that is no record is malformed, and kept.
    """
    try:
        return _read(path)
    except RecursionError:
        raise UnreadableFile(
            "its records are nested too deeply",
            where=path.name,
            remedy="export it again, as a list of records or one record a line",
        ) from None


def _read(path: Path) -> SourceTable:
    data = read_utf8(path)
    lines = Lines(data)
    filled = lines.filled()
    texts = lines.text(filled)
    if texts.len() > 1 and _parsed(texts[0]) is not None:
        records = [_parsed(text) for text in texts]
        return _table(path, [record or {} for record in records], filled, texts, records)
    try:
        document = _decoder.decode(data.decode("utf-8").strip())
    except json.JSONDecodeError as error:
        raise UnreadableFile(
            f"it is no JSON ({error.msg.lower()})",
            where=f"{path.name}, row {error.lineno}",
            remedy="export it again, as a list of records or one record a line",
        ) from error
    found = _records(document)
    if not found:
        raise UnreadableFile(
            "it holds no list of records",
            where=path.name,
            remedy="export it as a list of records, or one record a line",
        )
    written = pl.Series("raw", [json.dumps(record) for record in found], dtype=pl.String)
    rows = pl.int_range(1, len(found) + 1, dtype=pl.Int64, eager=True).alias("row")
    notices = []
    if isinstance(document, dict) and document.get("next"):
        notices.append("it is one page of several: 'next' names another, which is not read")
    return _table(path, found, rows, written, found, tuple(notices))


class _Number(str):
    """The text of a number, as no string of the file is."""

    __slots__ = ()


_decoder = json.JSONDecoder(
    parse_float=lambda text: _Number(plain(text)), parse_int=_Number, parse_constant=_Number
)


def _parsed(line: str) -> Record | None:
    """The record on a line; None if it is none."""
    try:
        record = _decoder.decode(line.strip())
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


def _records(document: Any) -> list[Record]:
    """The records of a document: its list, the one list in it, or itself."""
    if isinstance(document, dict):
        lists = [value for value in document.values() if _is_list(value)]
        if len(lists) != 1:
            return [document] if document and not lists else []
        document = lists[0]
    if not _is_list(document):
        return []
    sets = [entry for entry in document if entry]
    if sets and all(isinstance(value, dict) for entry in sets for value in entry.values()):
        return [record for entry in sets for record in entry.values()]
    return sets


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(e, dict) or e is None for e in value)


def _table(
    path: Path,
    records: list[Record],
    rows: pl.Series,
    raw: pl.Series,
    read: list[Record] | list[Record | None],
    notices: tuple[str, ...] = (),
) -> SourceTable:
    flat = [dict(_fields(record, "")) for record in records]
    names = list(dict.fromkeys(name for record in flat for name in record))
    require_width(len(names), path.name)
    fields = pl.DataFrame(
        {name: pl.Series([record.get(name) for record in flat], dtype=pl.String) for name in names}
    )
    marks = {
        name: [TYPED if isinstance(record.get(name), _Number) else None for record in flat]
        for name in names
    }
    odd = pl.DataFrame({"odd": [record is None for record in read]}).with_row_index("position")
    faults = fault(odd, pl.col("odd"), "invalid_time", pl.lit("the line is no JSON record"))
    return SourceTable(
        name=path.name,
        fields=fields,
        rows=rows,
        raw=raw.gather,
        faults=pl.concat([FAULTS.to_frame(), faults]),
        marks=pl.DataFrame(marks, schema=dict.fromkeys(names, pl.String)),
        notices=notices,
    )


def _fields(value: Any, name: str) -> list[tuple[str, str | None]]:
    """The columns of a value: ``[("tool[name]", "scope-1"), …]``."""
    if isinstance(value, dict) and (value or not name):
        return [
            column
            for key, part in value.items()
            for column in _fields(part, f"{name}[{key}]" if name else key)
        ]
    if value is None or isinstance(value, str):
        return [(name, value)]
    return [(name, json.dumps(value))]
