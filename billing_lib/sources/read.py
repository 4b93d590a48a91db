"""Reading usage files: the one way from a file to a usage frame.

    read_usage(Path("1993-10.swf.gz"), mappings({"swf": {…}}), "America/Los_Angeles")

The ending of the name gives the kind: .swf, .csv, .tsv, .xlsx, .parquet, .sacct, for text kinds
also followed by .gz. A text file whose first line is a header of sacct is sacct, under any name.
"""

from difflib import get_close_matches
from pathlib import Path

import polars as pl

from billing_lib.errors import UnreadableFile
from billing_lib.pricing.fields import Template
from billing_lib.sources.clusters import is_sacct_header
from billing_lib.sources.files import SourceTable, first_line
from billing_lib.sources.records import usage_frame
from billing_lib.sources.registry import Source, SourceMapping, SourceMappings, registered

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
    source = registered()[file_kind(path)]
    table = source.read(path)
    templates = _templates(source, mapping.get(source.name, SourceMapping()), table)
    if table.fields.is_empty():
        raise UnreadableFile(
            f"it holds no record, only a header; the columns are {_listed(table)}",
            where=table.name,
            remedy="export the usage again, or leave the file out",
        )
    return usage_frame(table, templates, timezone)


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
    defaults = dict(source.defaults)
    if source.fields is None:
        defaults = {name: f"{{{name}}}" for name in SourceMapping.model_fields if name in columns}
    templates = {name: Template.parse(text) for name, text in defaults.items()} | given
    if source.any_case:
        templates = {name: _respelled(known, columns) for name, known in templates.items()}
    if "user" not in given and not set(templates.get("user", _NOTHING).fields) <= set(columns):
        del templates["user"]  # only a template of the mapping itself needs its column
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


_NOTHING = Template.parse("")


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
