"""Reading usage files: the one way from a file to a usage frame.

    read_usage(Path("1993-10.swf.gz"), mappings({"swf": {…}}), "America/Los_Angeles")

The ending of the name gives the kind: .swf, .csv, .tsv, .xlsx, .parquet, .json, .jsonl, .sacct, for
text kinds also followed by .gz. A text file whose first line is a header of sacct is sacct, under
any name. The mapping is that of the kind, or one with a name of its own whose ``header`` the file
has (registry.py). It is applied to whole columns:

    fields → parts of fields → rows that count → for each of its items: usage_frame (records.py)
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import polars as pl

from billing_lib.errors import AmbiguousFormat, UnreadableFile
from billing_lib.pricing.fields import Template, as_text
from billing_lib.pricing.money import plain_text_column
from billing_lib.sources.clusters import is_sacct_header
from billing_lib.sources.files import SourceTable, first_line
from billing_lib.sources.records import usage_frame
from billing_lib.sources.registry import (
    PART,
    TEMPLATES,
    Filter,
    RecordMapping,
    Source,
    SourceMapping,
    SourceMappings,
    presets,
    registered,
)
from billing_lib.sources.sheets import EMPTY, Sheet

_BINARY = (".xlsx", ".parquet")


@dataclass(frozen=True)
class UsageFile:
    """A usage file as it was read: its kind, its usage frame, and notices about it."""

    kind: str
    usage: pl.DataFrame
    notices: tuple[str, ...]


def read_usage(
    path: Path, mapping: SourceMappings, timezone: str, kind: str | None = None
) -> pl.DataFrame:
    """The usage frame of a usage file; parameters as in ``read_file``."""
    return read_file(path, mapping, timezone, kind).usage


def read_file(
    path: Path,
    mapping: SourceMappings,
    timezone: str,
    kind: str | None = None,
    currency: str | None = None,
) -> UsageFile:
    """Read a usage file into a usage frame (pricing/fields.py, schema USAGE), in file order.

    Every record of the file is a row, also with a defect (``defect``, ``detail``, ``raw``), except
    those that the mapping's ``where`` leaves out, which a notice counts. ``occurrence`` counts the
    rows of one record id within the file.

    Parameters
    ----------
    mapping
        Kind of source → templates; see ``mappings``. Tables (csv, excel, parquet, json) need none
        if their columns are named like the usage frame's fields, with ``id``.
    timezone
        IANA name of the facility's time zone, for times without an offset.
    kind
        A kind of file or a mapping's name, if the file's name and header are not to tell it.
    currency
        The facility's, for costs whose mapping names their currency.
    """
    named = mapping.get(kind or "")
    source = _source(path, kind, named, mapping)
    made = source.read(path)
    sheets = () if isinstance(made, SourceTable) else made
    name, chosen = source.name, mapping.get(source.name, SourceMapping())
    if kind is not None and named is not None:
        name, chosen = kind, named
    else:
        for table in [made] if isinstance(made, SourceTable) else _headers(source, mapping, sheets):
            name, chosen = _chosen(source, mapping, table)
    if isinstance(made, SourceTable):
        tables = [made]
    else:
        tables = _sheets(source, name, chosen, sheets, path.name)
    read = [_read_table(source, name, chosen, table, timezone, currency) for table in tables]
    usage = read[0][0]
    if len(read) > 1:  # an id may stand on several sheets
        usage = _counted(pl.concat([frame for frame, _ in read]))
    return UsageFile(source.name, usage, tuple(notice for _, told in read for notice in told))


@dataclass(frozen=True)
class Recognised:
    """A usage file as it is recognised before it is read, for a person who maps its columns.

    Attributes
    ----------
    kind
        The kind of file.
    name
        The name of its mapping in the price book, or the kind.
    presets
        Presets with its header that the price book does not name.
    first
        Its first rows as text, by column; of a workbook those of the sheet that is read first.
    templates
        By usage field the template that makes it, whether stated or of the kind itself.
    """

    kind: str
    name: str
    presets: tuple[str, ...]
    first: pl.DataFrame
    templates: dict[str, str]


def recognise(
    path: Path, mapping: SourceMappings, kind: str | None = None, rows: int = 3
) -> Recognised:
    """Recognise a usage file's kind, mapping and columns; parameters as in ``read_file``."""
    named = mapping.get(kind or "")
    source = _source(path, kind, named, mapping)
    made = source.read(path)
    if isinstance(made, SourceTable):
        table = made
    else:
        fit = next(_headers(source, mapping, made), None)
        readable = (sheet for sheet in made if not sheet.hidden)
        table = fit or next(readable, made[0]).read(path.name)
    name, chosen = (
        (str(kind), named)
        if kind is not None and named is not None
        else _chosen(source, mapping, table)
    )
    reading = _Reading(source, name, chosen, table)
    fields = table.fields.head(rows)
    return Recognised(
        source.name,
        name,
        tuple(it for it in reading.presets() if it not in mapping),
        fields.select(as_text(fields, column).alias(column) for column in fields.columns),
        {
            field: template.text
            for field, template in (reading.offered(chosen) | chosen.templates()).items()
        },
    )


def _source(
    path: Path, kind: str | None, named: SourceMapping | None, mapping: SourceMappings
) -> Source:
    """The source of a file, of this kind if one is given, or of a kind that the mapping is for."""
    known = registered()
    if kind is None:
        return known[file_kind(path)]
    if kind in known:
        return known[kind]
    if named is None:
        raise UnreadableFile(
            f"'{kind}' is no kind of usage file and no mapping of the price book",
            where=path.name,
            remedy=f"use {', '.join([*known, *(name for name in mapping if name not in known)])}",
        )
    fits = [name for name in named.kind if _ends_like(path, known[name])]
    return known[(fits or named.kind)[0]]


def _headers(
    source: Source, mapping: SourceMappings, sheets: Sequence[Sheet]
) -> Iterator[SourceTable]:
    """The first visible sheet that has the header of a mapping with a name of its own."""
    if not any(source.name in named.kind for named in mapping.values()):
        return
    for sheet in sheets:
        if sheet.hidden:
            continue
        try:
            table = sheet.read(sheet.title)
        except UnreadableFile:
            continue
        if _chosen(source, mapping, table)[0] != source.name:
            yield table
            return


def _read_table(
    source: Source,
    name: str,
    mapping: SourceMapping,
    table: SourceTable,
    timezone: str,
    currency: str | None,
) -> tuple[pl.DataFrame, list[str]]:
    """The usage frame of a table, and the notices on it."""
    reading = _Reading(source, name, mapping, table)
    entries = mapping.entries()
    templates = [reading.templates(entry) for entry in entries]
    filters = reading.filters(mapping)
    own = [reading.filters(entry) for entry in entries]
    _require_records(table)
    kept, notices = _filtered(reading.with_parts(), filters)
    frames, places = [], []
    for n, entry in enumerate(entries):
        at = _rows_of(kept, own[n], first=n == 0)
        given = entry.templates()
        strict = set(given) if source.fields is None else set(templates[n])
        if "quantity" in strict and "quantity" not in templates[n]:  # it is the elapsed time
            strict.add("elapsed")
        frames.append(
            usage_frame(
                kept if at is None else kept.at(at),
                templates[n],
                timezone,
                mapping.writing(source, entry),
                frozenset(strict),
                lookup=entry.lookup,
                currency=currency,
                named_by_item=n > 0 and mapping.items[n].id is None,
            )
        )
        places.append(pl.int_range(kept.fields.height, eager=True) if at is None else at)
    if len(frames) > 1:
        notices += _of_no_item(kept, places)
    return _together(frames, places), [*table.notices, *notices]


def file_kind(path: Path) -> str:
    """The kind of a usage file, as the price book's ``sources`` section names it."""
    known = registered()
    name = path.name.lower().removesuffix(".gz")
    named = [source for source in known.values() if _ends_like(path, source)]
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


def _ends_like(path: Path, source: Source) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(source.endings)


def _chosen(
    source: Source, mapping: SourceMappings, table: SourceTable
) -> tuple[str, SourceMapping]:
    """The mapping of a file, with its name: the one whose header it has, else its kind's."""
    fits = [
        name
        for name, named in mapping.items()
        if source.name in named.kind and _has_header(named.header, source, table)
    ]
    if len(fits) > 1:
        raise AmbiguousFormat(
            f"it has the header of {' and of '.join(fits)}",
            where=table.name,
            remedy="name more columns in the header of one, or say the kind when loading",
        )
    name = fits[0] if fits else source.name
    return name, mapping.get(name, SourceMapping())


def _has_header(header: tuple[str, ...], source: Source, table: SourceTable) -> bool:
    columns = set(table.fields.columns)
    if source.any_case:
        return {name.lower() for name in header} <= {name.lower() for name in columns}
    return set(header) <= columns


def _sheets(
    source: Source, named: str, mapping: SourceMapping, sheets: Sequence[Sheet], name: str
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
            remedy=f"correct the mapping's sheets in the price book's sources, {named}",
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
            reading = _Reading(source, named, mapping, table)
            for entry in mapping.entries():
                reading.templates(entry)
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
                remedy=f"show one, or name it in the price book's sources, {named}, sheets",
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


class _Reading:
    """The columns of a file under a mapping: which ones its templates mean, and parts of them."""

    def __init__(
        self, source: Source, name: str, mapping: SourceMapping, table: SourceTable
    ) -> None:
        self._source, self._name, self._mapping, self._table = source, name, mapping, table
        self._columns = set(table.fields.columns)
        self._spelling = {c.lower(): c for c in table.fields.columns} if source.any_case else {}
        self._parts: dict[str, tuple[str, list[str]]] = {}

    def column(self, name: str, field: str, made: str | None = None) -> str:
        """The column that a name means: itself, or a part of another (``AllocTRES[gres/gpu]``)."""
        found = self._found(name)
        if found is None:
            raise self._no_column(name, field, made)
        return found

    def _found(self, name: str) -> str | None:
        spelled = self._spelling.get(name.lower(), name)
        if spelled in self._columns:
            return spelled
        part = PART.fullmatch(name)
        base = self._spelling.get(part[1].lower(), part[1]) if part else None
        if part is None or base not in self._columns:
            # Of JSON, a part that no record of the file has is no mistake of the mapping.
            inside = f"{name.partition('[')[0]}[" if part else None
            if inside is None or not any(c.startswith(inside) for c in self._columns):
                return None
            self._parts[name] = ("", [])
            return name
        full = f"{base}[{part[2]}]"
        self._parts[full] = (base, part[2].split("]["))
        return full

    def with_parts(self) -> SourceTable:
        """The table with the parts that were asked for as columns."""
        if not self._parts:
            return self._table
        fields = self._table.fields
        added = {
            name: _part(as_text(fields, base), keys) if base else pl.lit(None, pl.String)
            for name, (base, keys) in self._parts.items()
        }
        return replace(self._table, fields=fields.with_columns(**added))

    def templates(self, entry: RecordMapping) -> dict[str, Template]:
        """The templates of an entry with their defaults, each column as the table spells it."""
        given = entry.templates()
        offered = self.offered(entry)
        states_elapsed = "elapsed" in given or (
            self._source.fields is None and "elapsed" in offered
        )
        if entry.measure and not states_elapsed:  # then it is the quantity that is a time
            for stated in (given, offered):
                if "quantity" in stated:
                    stated["elapsed"] = stated.pop("quantity")
        templates = {
            name: self._resolved(name, template) for name, template in (offered | given).items()
        }
        for name in ("id", "item", "project"):
            referred = name == "project" and "reference" in templates  # that has a project
            placed = name == "id" and name in entry.left_empty  # by its file and row
            if name not in templates and not referred and not placed:
                raise self._no_field(name)
        if "date" not in templates and not {"booked_start", "booked_end"} <= set(templates):
            for name in ("start", "end"):
                if name not in templates:
                    raise self._no_field(name)
        return templates

    def filters(self, entry: RecordMapping) -> dict[str, Filter]:
        """The filters of an entry, by the column that each means."""
        return {self.column(name, "where"): chosen for name, chosen in entry.filters.items()}

    def offered(self, entry: RecordMapping) -> dict[str, Template]:
        """The templates that a mapping need not give."""
        columns = self._table.fields.columns
        if self._source.fields is None:
            offered = {n: Template.parse(f"{{{n}}}") for n in _BY_NAME if n in columns}
        else:
            offered = {}
            for name, texts in self._source.defaults.items():
                listed = [texts] if isinstance(texts, str) else texts
                choices = [Template.parse(text) for text in listed]
                fit = [choice for choice in choices if set(choice.fields) <= set(columns)]
                if fit or name not in _OPTIONAL:  # only a mapping's own template needs its column
                    offered[name] = (fit or choices)[0]
        counted = _COUNTED if entry.cost is not None else ()
        left_out = {*entry.left_empty, *counted}
        return {name: made for name, made in offered.items() if name not in left_out}

    def _resolved(self, field: str, template: Template) -> Template:
        parts = tuple(
            (literal, None if column is None else self.column(column, field, template.text))
            for literal, column in template.parts
        )
        return Template(template.text, parts)

    def _no_column(self, column: str, field: str, made: str | None) -> UnreadableFile:
        near = get_close_matches(column, self._table.fields.columns, n=1)
        hint = f"perhaps '{near[0]}' is meant: " if near else ""
        use = f"from which {field} is made ('{made}')" if made else f"which '{field}' names"
        other = f"map {field} to another column" if made else f"correct '{field}'"
        return UnreadableFile(
            f"the column '{column}' is missing, {use}; the columns are {_listed(self._table)}",
            where=self._table.name,
            remedy=f"{hint}add it to the file, or {other} in the price book's sources, "
            f"{self._name}{self._preset()}",
        )

    def _no_field(self, field: str) -> UnreadableFile:
        noun = "time (start and end, or date)" if field in ("start", "end") else field
        remedy = f"map {field} in the price book's sources, {self._name}{self._preset()}"
        if self._source.fields is not None:
            return UnreadableFile(
                f"the mapping does not give the {noun} of a {self._source.name} record",
                where=self._table.name,
                remedy=remedy,
            )
        return UnreadableFile(
            f"the mapping does not give the {noun} of a record, and the column '{field}' is "
            f"missing; the columns are {_listed(self._table)}",
            where=self._table.name,
            remedy=f"add it to the file, or {remedy}",
        )

    def presets(self) -> list[str]:
        """The presets that this file looks like."""
        return [
            name
            for name, preset in presets().items()
            if name != self._name
            and self._source.name in preset["kind"]
            and _has_header(tuple(preset["header"]), self._source, self._table)
        ]

    def _preset(self) -> str:
        """The preset that this file looks like, if the price book does not name it."""
        fits = self.presets()
        return f" (it looks like the preset '{fits[0]}')" if fits else ""


_OPTIONAL = ("user", "elapsed")
"""Fields that a source gives where the file has their columns."""

_COUNTED = ("units", "quantity", "elapsed")
"""Fields that a record with a cost of its own has not."""

_BY_NAME = tuple(name for name in TEMPLATES if name not in ("cost", "currency"))
"""The fields that a table's column of this name is without being asked for."""


def _part(text: pl.Expr, keys: list[str]) -> pl.Expr:
    """A part of a text: of a JSON object, or of ``cpu=8,mem=32G``; null where it has none. ``:10``
    are its first ten characters.

    A number in an object is the shortest decimal of its binary float: 15 digits stay exact.
    """
    if len(keys) == 1 and (first := _FIRST.fullmatch(keys[0])):
        return text.str.head(int(first[1]))
    path = "$" + "".join(f"[{_quoted(key)}]" for key in keys)
    is_object = text.str.starts_with("{")
    inside = pl.when(is_object).then(text).str.json_path_match(path)
    pattern = rf"(?:^|,)\s*{pl.escape_regex('['.join(keys))}=([^,]*)"
    stated = pl.when(~is_object).then(text).str.extract(pattern).str.strip_chars()
    return pl.coalesce(inside, _sized(stated))


_FIRST = re.compile(r":(\d{1,4})")


def _quoted(key: str) -> str:
    return "'" + key.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SIZE = r"^(\d+(?:\.\d+)?)([KMGTP])$"
_NINE = pl.Decimal(38, 9)


def _sized(text: pl.Expr) -> pl.Expr:
    """A size with a unit (``4000M``, ``2.5T``) as a number of G, which are 1024 M, rounded half up
    to nine decimals, which is a byte; any other text as it is."""
    number = text.str.extract(_SIZE).cast(_NINE, strict=False).to_physical().cast(pl.Int128)
    unit = text.str.extract(_SIZE, 2)
    in_g = (
        pl.when(unit == "K")
        .then((number * 2 + 1024**2) // (2 * 1024**2))
        .when(unit == "M")
        .then((number * 2 + 1024) // (2 * 1024))
        .when(unit == "T")
        .then(number * 1024)
        .when(unit == "P")
        .then(number * 1024**2)
        .otherwise(number)
    )
    digits = in_g.cast(pl.String).str.pad_start(10, "0")
    decimal = pl.concat_str(digits.str.head(-9), pl.lit("."), digits.str.tail(9))
    return pl.when(unit.is_not_null()).then(plain_text_column(decimal)).otherwise(text)


def _filtered(table: SourceTable, filters: Mapping[str, Filter]) -> tuple[SourceTable, list[str]]:
    """The rows that count, and for each filter the number of those it leaves out.

    A malformed row, which has no values, is never left out.
    """
    if not filters:
        return table, []
    passed = _passed(table, filters)
    kept = passed.select(pl.all_horizontal(pl.all())).to_series() | _malformed(table)
    notices, still = [], ~_malformed(table)
    for name in passed.columns:
        left_out = (still & ~passed[name]).arg_true().len()
        still &= passed[name]
        if left_out:
            notices.append(f"{_rows(left_out)} left out by where ({name})")
    return table.at(kept.arg_true()), notices


def _rows_of(table: SourceTable, filters: Mapping[str, Filter], *, first: bool) -> pl.Series | None:
    """The positions of the rows that make a record of one of several items; None for all.

    A malformed row makes one record, of the first.
    """
    if not filters and first:
        return None
    malformed = _malformed(table)
    fine = pl.repeat(True, table.fields.height, eager=True)
    if filters:
        fine = _passed(table, filters).select(pl.all_horizontal(pl.all())).to_series()
    return (fine | malformed if first else fine & ~malformed).arg_true()


def _of_no_item(table: SourceTable, places: list[pl.Series]) -> list[str]:
    taken = pl.concat([at.cast(pl.Int64) for at in places]).n_unique()
    rest = table.fields.height - taken
    return [f"{_rows(rest)} left out by the where of each item"] if rest else []


def _passed(table: SourceTable, filters: Mapping[str, Filter]) -> pl.DataFrame:
    """By column whether its filter lets each row pass."""
    return table.fields.select(
        _lets_pass(as_text(table.fields, name).fill_null(""), chosen).alias(name)
        for name, chosen in filters.items()
    )


def _lets_pass(text: pl.Expr, chosen: Filter) -> pl.Expr:
    whole = [value for value in chosen.values if "*" not in value]
    among = text.is_in(whole)
    for value in chosen.values:
        if "*" in value:
            pattern = ".*".join(pl.escape_regex(part) for part in value.split("*"))
            among |= text.str.contains(f"(?s)^{pattern}$")
    return ~among if chosen.without else among


def _malformed(table: SourceTable) -> pl.Series:
    """Whether each row is at fault and without any value."""
    none = pl.repeat(False, table.fields.height, eager=True)
    at = table.faults["position"].unique()
    if at.is_empty():
        return none
    empty = table.fields[at].select(pl.all_horizontal(pl.all().is_null())).to_series()
    return none.scatter(at.filter(empty), True)


def _together(frames: list[pl.DataFrame], places: list[pl.Series]) -> pl.DataFrame:
    """The records of several items in file order, those of a row in the order of the items."""
    if len(frames) == 1:
        return frames[0]
    rows = pl.DataFrame({"place": pl.concat([at.cast(pl.Int64) for at in places])})
    return _counted(pl.concat(frames)[rows.with_row_index().sort("place", "index")["index"]])


def _counted(usage: pl.DataFrame) -> pl.DataFrame:
    """The usage with the rows of each record counted anew."""
    occurrence = pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("record")
    return usage.with_columns(occurrence=occurrence)


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _listed(table: SourceTable) -> str:
    return ", ".join(name for name in table.fields.columns if not name.startswith("{"))
