"""Reading usage files: the one way from a file to a usage frame.

    read_usage(Path("1993-10.swf.gz"), mappings({"swf": {…}}), "America/Los_Angeles")

The ending of the name gives the kind: .swf, .csv, .tsv, .xlsx, .parquet, .sacct, for text kinds
also followed by .gz. A text file whose first line is a header of sacct is sacct, under any name.
"""

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import polars as pl

from billing_lib.errors import UnreadableFile
from billing_lib.pricing.fields import Template
from billing_lib.sources.clusters import is_sacct_header
from billing_lib.sources.files import SourceTable, first_line
from billing_lib.sources.records import usage_frame
from billing_lib.sources.registry import (
    TEMPLATES,
    Source,
    SourceMapping,
    SourceMappings,
    registered,
)
from billing_lib.sources.sheets import EMPTY, Sheet

_BINARY = (".xlsx", ".parquet")


def read_usage(path: Path, mapping: SourceMappings, timezone: str) -> pl.DataFrame:
    """Read a usage file into a usage frame (pricing/fields.py, schema USAGE), in file order.

    Every record of the file is a row, also with a defect (``defect``, ``detail``, ``raw``).
    ``occurrence`` counts the rows of one record id within the file.

    Parameters
    ----------
    mapping
        Kind of source → templates; see ``mappings``. Tables (csv, excel, parquet) need none
        if their columns are named like the usage frame's fields, with ``id``.
    timezone
        IANA name of the facility's time zone, for times without an offset.
    """
    return read_with_notices(path, mapping, timezone)[0]


def read_with_notices(
    path: Path, mapping: SourceMappings, timezone: str
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The usage frame of a file as by :func:`read_usage`, and sentences on all that was not read.

    Of a workbook the sheets that the mapping names are read, else all visible ones that have the
    columns.
    """
    source = registered()[file_kind(path)]
    given = mapping.get(source.name, SourceMapping())
    made = source.read(path)
    tables = [made] if isinstance(made, SourceTable) else _chosen(source, given, made, path.name)
    usage: list[pl.DataFrame] = []
    notices: list[str] = []
    for table in tables:
        notices += table.notices
        templates = _templates(source, given, table)
        _require_records(table)
        strict = set(given.templates()) if source.fields is None else set(templates)
        if "quantity" in strict and "quantity" not in templates:  # it is the elapsed time
            strict.add("elapsed")
        writing = given.writing(source)
        usage.append(usage_frame(table, templates, timezone, writing, frozenset(strict)))
    read = usage[0]
    if len(usage) > 1:  # an id may stand on several sheets
        occurrence = pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("record")
        read = pl.concat(usage).with_columns(occurrence=occurrence)
    return read, tuple(notices)


def _chosen(
    source: Source, mapping: SourceMapping, sheets: Sequence[Sheet], name: str
) -> list[SourceTable]:
    """The sheets to read, the first of them with notices on all that are not read.

    Raises
    ------
    UnreadableFile
        A named sheet is missing, or no sheet can be read.
    """
    wanted = mapping.sheets
    missing = [name for name in wanted or () if name not in {sheet.title for sheet in sheets}]
    if missing:
        raise UnreadableFile(
            f"it has no sheet '{missing[0]}'; the sheets are "
            + ", ".join(f"'{sheet.title}'" for sheet in sheets),
            where=name,
            remedy=f"correct the mapping's sheets in the price book's sources, {source.name}",
        )
    tables: list[SourceTable] = []
    notices: list[str] = []
    refusals: list[UnreadableFile] = []
    for sheet in sheets:
        if wanted is not None and sheet.title not in wanted:
            reason = "is hidden and" if sheet.hidden else "is not among those of the mapping and"
            notices.append(f"the sheet '{sheet.title}' {reason} was not read")
            continue
        if wanted is None and sheet.hidden:
            notices.append(f"the sheet '{sheet.title}' is hidden and was not read")
            continue
        try:
            table = sheet.read(name if len(sheets) == 1 else f"{name}, sheet {sheet.title}")
            _templates(source, mapping, table)
            _require_records(table)
        except UnreadableFile as refusal:
            if wanted is not None:
                raise
            refusals.append(refusal)
            if refusal.what != EMPTY:
                notices.append(f"the sheet '{sheet.title}' was not read: {refusal.what}")
        else:
            tables.append(table)
    if not tables:
        raise (
            refusals[0]
            if refusals
            else UnreadableFile(
                "all of its sheets are hidden",
                where=name,
                remedy=f"show one, or name it in the price book's sources, {source.name}, sheets",
            )
        )
    if len(tables) == 1:
        tables = [replace(tables[0], name=name)]
    return [replace(tables[0], notices=(*notices, *tables[0].notices)), *tables[1:]]


def _require_records(table: SourceTable) -> None:
    if table.fields.is_empty():
        raise UnreadableFile(
            f"it holds no record, only a header; the columns are {_listed(table)}",
            where=table.name,
            remedy="export the usage again, or leave the file out",
        )


def file_kind(path: Path) -> str:
    """The kind of a usage file, as the price book's ``sources`` section names it."""
    known = registered()
    name = path.name.lower().removesuffix(".gz")
    named = [s for s in known.values() for ending in s.endings if name.endswith(ending)]
    if named and (named[0].name == "swf" or name.endswith(_BINARY)):
        return named[0].name
    if is_sacct_header(first_line(path)):
        return "sacct"
    if named:
        return named[0].name
    endings = [ending for source in known.values() for ending in source.endings]
    raise UnreadableFile(
        "its name ends like no known kind of usage file",
        where=path.name,
        remedy=f"name it with one of {', '.join(endings)}",
    )


def _templates(source: Source, mapping: SourceMapping, table: SourceTable) -> dict[str, Template]:
    """The mapping with its defaults, in the table's own spelling, after checking its columns."""
    columns = table.fields.columns
    given = mapping.templates()
    offered = _offered(source, columns)
    states_elapsed = "elapsed" in given or (source.fields is None and "elapsed" in offered)
    if mapping.measure and not states_elapsed:  # then it is the quantity that is a time
        for named in (given, offered):
            if "quantity" in named:
                named["elapsed"] = named.pop("quantity")
    if source.any_case:
        given = {name: _respelled(known, columns) for name, known in given.items()}
    templates = {name: made for name, made in (offered | given).items() if made.text}
    for name, template in templates.items():
        for column in template.fields:
            if column not in columns:
                raise _no_column(source, name, template, column, table)
    for name in ("id", "item", "project"):
        referred = name == "project" and "reference" in templates  # the reference has a project
        if name not in templates and not referred:
            raise _no_field(source, name, table)
    if "date" not in templates:
        for name in ("start", "end"):
            if name not in templates:
                raise _no_field(source, name, table)
    return templates


def _offered(source: Source, columns: list[str]) -> dict[str, Template]:
    """The templates that a mapping need not give."""
    if source.fields is None:
        return {name: Template.parse(f"{{{name}}}") for name in TEMPLATES if name in columns}
    offered = {}
    for name, texts in source.defaults.items():
        choices = [Template.parse(text) for text in ([texts] if isinstance(texts, str) else texts)]
        fit = [choice for choice in choices if set(choice.fields) <= set(columns)]
        if fit or name not in _OPTIONAL:  # only a template of the mapping itself needs its column
            offered[name] = (fit or choices)[0]
    return offered


_OPTIONAL = ("user", "elapsed")
"""Fields that a source gives where the file has their columns."""


def _respelled(template: Template, columns: list[str]) -> Template:
    spelling = {column.lower(): column for column in columns}
    parts = tuple(
        (literal, None if field is None else spelling.get(field.lower(), field))
        for literal, field in template.parts
    )
    return Template(template.text, parts)


def _no_column(
    source: Source, field: str, template: Template, column: str, table: SourceTable
) -> UnreadableFile:
    near = get_close_matches(column, table.fields.columns, n=1)
    hint = f"perhaps '{near[0]}' is meant: " if near else ""
    return UnreadableFile(
        f"the column '{column}' is missing, from which {field} is made ('{template.text}'); "
        f"the columns are {_listed(table)}",
        where=table.name,
        remedy=f"{hint}add it to the file, or map {field} to another column in the price "
        f"book's sources, {source.name}",
    )


def _no_field(source: Source, field: str, table: SourceTable) -> UnreadableFile:
    noun = "time (start and end, or date)" if field in ("start", "end") else field
    remedy = f"map {field} in the price book's sources, {source.name}"
    if source.fields is not None:
        return UnreadableFile(
            f"the mapping does not give the {noun} of a {source.name} record",
            where=table.name,
            remedy=remedy,
        )
    return UnreadableFile(
        f"the mapping does not give the {noun} of a record, and the column '{field}' is missing; "
        f"the columns are {_listed(table)}",
        where=table.name,
        remedy=f"add it to the file, or {remedy}",
    )


def _listed(table: SourceTable) -> str:
    return ", ".join(name for name in table.fields.columns if not name.startswith("{"))
