"""A price book as an Excel workbook that goes out and comes back.

    sheet rates    item   group     price  …       one row for each entry, all fields as columns
                   slide  internal  1.25
    sheet facility key              value          a facility's own keys; those of a part with a dot
                   name             Microscopy
                   review.longest_session  48h

A list stands in one cell with commas. Entries within an entry, such as a split, stand in one cell,
each in a line: ``expense_code: 370-1, percent: 60``. The sheets and columns come from the models
(pricing/book_fields.py). A workbook of an earlier version of the price book is refused.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import xlsxwriter

from billing_lib.errors import ChangedMeanwhile, InvalidPriceBook
from billing_lib.pricing.book_fields import FORM, LIST, LISTS, MAP, ROWS, Field, sections
from billing_lib.pricing.yaml_edit import aligned, plain
from billing_lib.pricing.yaml_text import Document, KeyPath
from billing_lib.sources.files import read_plain
from billing_lib.sources.sheets import open_workbook

_VERSION = "price book sha256"
_LARGEST = 32_767
"""The letters that a cell of Excel can hold."""

Sheet = tuple[KeyPath, Field]
_Line = tuple[int, tuple[str, ...], Field]
"""A row's number, its texts in the order of the fields, and the field of its key."""


def write_workbook(content: Mapping[str, Any], sha256: str) -> bytes:
    """The workbook of a price book's content; ``sha256`` is its version."""
    file = BytesIO()
    book = xlsxwriter.Workbook(file, {"in_memory": True})
    book.set_custom_property(_VERSION, sha256)
    bold = book.add_format({"bold": True, "bottom": 1, "num_format": "@"})
    text = book.add_format({"num_format": "@", "text_wrap": True, "valign": "top"})
    for place, field in _sheets():
        sheet = book.add_worksheet(_name(place))
        sheet.freeze_panes(1, 0)
        sheet.ignore_errors({"number_stored_as_text": "A1:XFD1048576"})
        if field.kind == FORM:
            head = ["key", "value"]
            form = _at(content, place) or {}
            rows = [[name, _cell(part, _at(form, name.split(".")))] for name, part in _keys(field)]
        else:
            head = [part.name for part in field.fields]
            rows = [
                [_cell(part, entry.get(part.name)) for part in field.fields]
                for entry in _at(content, place) or ()
            ]
        sheet.set_column(0, len(head) - 1, 18, text)
        if field.kind == FORM:
            sheet.set_column(0, 1, 48, text)
        sheet.write_row(0, 0, head, bold)
        for at, row in enumerate(rows, 1):
            for column, value in enumerate(row):
                if len(value) > _LARGEST:
                    raise InvalidPriceBook(
                        f"the value has more than {_LARGEST:,} letters, the most of an Excel cell",
                        where=f"sheet {_name(place)}, row {at + 1}, {head[column]}",
                    )
                if value:
                    sheet.write_string(at, column, value, text)
    book.close()
    return file.getvalue()


@dataclass(frozen=True)
class BookWorkbook:
    """The content that a workbook states, and the places of its entries."""

    content: dict[str, Any]
    rows: dict[tuple[KeyPath, int | str], int]
    """The number of a sheet's row by the sheet's keys and the entry's place or key."""

    def where(self, place: KeyPath) -> str:
        """The place of a key in words: ``sheet rates, row 3, column price``."""
        for sheet, field in reversed(_sheets()):
            if place[: len(sheet)] != sheet:
                continue
            rest = place[len(sheet) :]
            if not rest:
                return f"sheet {_name(sheet)}"
            if field.kind == FORM:
                named = [
                    name
                    for name, _ in _keys(field)
                    if ".".join(str(key) for key in rest).startswith(name)
                ]
                row = self.rows.get((sheet, named[-1] if named else ""))
                return f"sheet {_name(sheet)}" + (f", row {row}, column value" if row else "")
            row = self.rows.get((sheet, rest[0]))
            column = f", column {rest[1]}" if len(rest) > 1 else ""
            return f"sheet {_name(sheet)}, row {row}{column}"
        return "the workbook"


def read_workbook(path: Path | BytesIO, before: Mapping[str, Any], sha256: str) -> BookWorkbook:
    """Read a workbook that came back, to a price book with the content ``before``.

    Raises
    ------
    ChangedMeanwhile
        The workbook was made of another version of the price book.
    InvalidPriceBook, UnreadableFile
        A sheet, column or cell cannot be read.
    """
    name = path.name if isinstance(path, Path) else "the workbook"
    content = read_plain(path) if isinstance(path, Path) else path.getvalue()
    book = open_workbook(content, name, data_only=True)
    versions = {it.name: it.value for it in book.custom_doc_props.props}  # type: ignore[attr-defined]
    if versions.get(_VERSION, sha256) != sha256:
        raise ChangedMeanwhile(
            "the price book was changed since this workbook was made",
            where=name,
            remedy="make a new workbook and repeat the change there",
        )
    read = BookWorkbook(deepcopy(dict(before)), {})
    for place, field in _sheets():
        if _name(place) not in book.sheetnames:
            raise InvalidPriceBook(
                f"the workbook has no sheet '{_name(place)}'",
                where=name,
                remedy="keep all sheets, also empty ones",
            )
        lines = list(_lines(book[_name(place)], place, field))
        (_read_form if field.kind == FORM else _read_entries)(read, before, place, field, lines)
    return read


def _read_form(
    read: BookWorkbook, before: Mapping[str, Any], place: KeyPath, form: Field, lines: list[_Line]
) -> None:
    old = _at(before, place) or {}
    new: dict[str, Any] = {}
    for at, (key, value), part in lines:
        read.rows[place, key] = at
        _put(new, key.split("."), _value(part, value, _place(place, at, "value")))
    for key, part in _keys(form):
        _keep(part, key.split("."), old, new)
    for sheet, _ in _below(place, form):  # read from sheets of their own
        if _at(before, sheet) is not None:
            _put(new, sheet[len(place) :], _at(before, sheet))
    _put(read.content, place, new)


def _read_entries(
    read: BookWorkbook, before: Mapping[str, Any], place: KeyPath, field: Field, lines: list[_Line]
) -> None:
    entries: list[dict[str, Any]] = []
    for at, cells, _ in lines:
        read.rows[place, len(entries)] = at
        stated = zip(field.fields, cells, strict=True)
        entries.append(
            {
                part.name: _value(part, cell, _place(place, at, part.name))
                for part, cell in stated
                if cell
            }
        )
    old = _at(before, place)
    for was, now in aligned(old or [], entries):
        if was is not None and now is not None:
            for part in field.fields:
                _keep(part, [part.name], old[was], entries[now])
    if entries or old is not None or field.required:
        _put(read.content, place, entries)


def _sheets() -> list[Sheet]:
    """The sheets in order: each section, and the entries below a form."""
    sheets: list[Sheet] = []
    for field in sections():
        sheets.append(((field.name,), field))
        if field.kind == FORM:
            sheets += _below((field.name,), field)
    return sheets


def _below(place: KeyPath, form: Field) -> Iterator[Sheet]:
    for field in form.fields:
        here = (*place, field.name)
        if field.kind == ROWS:
            yield here, field
        elif field.kind == FORM:
            yield from _below(here, field)


def _keys(form: Field, before: str = "") -> Iterator[tuple[str, Field]]:
    """The keys of a form's sheet, those of its parts with a dot."""
    for field in form.fields:
        if field.kind == FORM:
            yield from _keys(field, f"{before}{field.name}.")
        elif field.kind != ROWS:
            yield f"{before}{field.name}", field


def _name(place: KeyPath) -> str:
    return str(place[0]) if len(place) == 1 else " ".join(str(key) for key in place[1:])[:31]


def _place(sheet: KeyPath, row: int, column: str) -> str:
    return f"sheet {_name(sheet)}, row {row}, column {column}"


def _lines(sheet: Any, place: KeyPath, field: Field) -> Iterator[_Line]:
    """The rows that are not empty."""
    table = sheet.iter_rows(values_only=True)
    head = [_text(value) for value in next(table, ())]
    keys = dict(_keys(field)) if field.kind == FORM else {}
    wanted = ["key", "value"] if keys else [part.name for part in field.fields]
    unknown = [name for name in head if name and name not in wanted]
    missing = [name for name in wanted if name not in head]
    if unknown or missing:
        raise InvalidPriceBook(
            f"the column '{missing[0]}' is missing"
            if missing
            else f"the column '{unknown[0]}' is unknown",
            where=f"sheet {_name(place)}",
            remedy="keep the columns of the workbook as it was made",
        )
    for at, values in enumerate(table, 2):
        texts = [_text(value) for value in values]
        cells = tuple(texts[head.index(name)] for name in wanted)
        if not any(cells):
            continue
        if keys and cells[0] not in keys:
            raise InvalidPriceBook(f"there is no key '{cells[0]}'", where=_place(place, at, "key"))
        if not keys or cells[1]:
            yield at, cells, keys.get(cells[0], field)


def _text(value: object) -> str:
    """A cell as text; numbers as they were typed."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dt.datetime):
        return value.date().isoformat()
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f").removesuffix(".0")
    return str(value).replace("\r\n", "\n").replace("_x000D_", "")


def _cell(field: Field, value: Any) -> str:
    """A value as the text of a cell."""
    if value in (None, "", [], {}):
        return ""
    if field.kind == LIST:
        return ", ".join([value] if isinstance(value, str) else value)
    if field.kind == LISTS:
        return "; ".join(it if isinstance(it, str) else ", ".join(it) for it in value)
    if field.kind == ROWS:
        return "\n".join(plain(entry)[1:-1] for entry in value)
    if field.kind in (FORM, MAP):
        return "\n".join(f"{plain([key])[1:-1]}: {plain([it])[1:-1]}" for key, it in value.items())
    return str(value)


def _value(field: Field, text: str, where: str) -> Any:
    """The value of a cell's text."""
    if field.kind == LIST:
        return _parts(text, ",")
    if field.kind == LISTS:
        steps = [_parts(step, ",") for step in _parts(text, ";")]
        return [step[0] if len(step) == 1 else step for step in steps]
    if field.kind == ROWS:
        return [_mapping(f"{{{line}}}", where) for line in text.splitlines() if line.strip()]
    if field.kind in (FORM, MAP):
        return _mapping(text, where)
    return text if text.count("\n") else text.strip()


def _mapping(text: str, where: str) -> dict[str, Any]:
    try:
        return Document(text, where).content
    except InvalidPriceBook as error:
        raise InvalidPriceBook(
            error.what, where=where, remedy="write each line as key: value, key: value"
        ) from None


def _parts(text: str, mark: str) -> list[str]:
    return [part.strip() for part in text.split(mark) if part.strip()]


def _keep(field: Field, keys: Sequence[str], old: Mapping[str, Any], new: dict[str, Any]) -> None:
    """Keep the old value if both are the same text in a cell."""
    above = _at(old, keys[:-1])
    if not isinstance(above, Mapping) or keys[-1] not in above:
        return
    was = above[keys[-1]]
    if _cell(field, was) == _cell(field, _at(new, keys)):
        _put(new, keys, deepcopy(was))


def _at(content: Any, keys: Sequence[str | int]) -> Any:
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def _put(content: dict[str, Any], keys: Sequence[str | int], value: Any) -> None:
    *above, last = (str(key) for key in keys)
    for key in above:
        if not isinstance(content.get(key), dict):
            content[key] = {}
        content = content[key]
    content[last] = value
