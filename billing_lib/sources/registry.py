"""The kinds of usage files, each a Source, and the mapping of their fields to usage records.

A Source is a reader and a description of its fields. The built-in five are listed here; an
installed package adds or replaces one by an entry point that names a Source:

    [project.entry-points."billing_lib.sources"]
    badge = "our_billing.badges:SOURCE"     # Source("badge", read_badges, (".badge",))

The ``sources`` section of a price book maps each kind to the usage frame, by a template
(pricing/fields.py) for each field. So another log needs another mapping and no code:

    sources:
      swf: {item: core-hour, project: "u{user}", user: "u{user}", units: "{processors}"}
      csv: {id: "{booking}", item: "{tool}", project: "{account}", date: "{day}", quantity: "{n}"}

A field that the mapping leaves out has its source's default: the job's number in SWF, the column
of the field's own name in a table. Further keys say how the file writes its numbers and times:

    numbers: "1.234,5"                   a decimal comma, points between thousands
    times: "%m/%d/%Y %I:%M %p"           start and end; dates: "%d.%m.%Y" the date
    measure: minutes                     the elapsed time, else the quantity, is so many minutes
    overnight: next day                  where an end is before its start on one day
    sheets: [November]                   of a workbook
    defaults: {units: "1"}               for empty cells
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from billing_lib.errors import AmbiguousFormat, InvalidPriceBook
from billing_lib.pricing.fields import Template
from billing_lib.settings import entry_points
from billing_lib.sources.clusters import SACCT_FIELDS, SWF_FIELDS, read_sacct, read_swf
from billing_lib.sources.delimited import read_csv
from billing_lib.sources.files import SourceTable
from billing_lib.sources.quantities import MEASURES, SACCT, Numbers, read_quantities
from billing_lib.sources.records import Writing
from billing_lib.sources.sheets import Sheet, read_excel, read_parquet
from billing_lib.sources.times import check_pattern

GROUP = "billing_lib.sources"
"""The entry points' group."""


@dataclass(frozen=True)
class Source:
    """One kind of usage file.

    Parameters
    ----------
    name
        The kind, as the price book's ``sources`` section names it.
    read
        From a file to its table, or to the sheets of a workbook; raises UnreadableFile.
    endings
        File name endings in lower case, each with its dot, without ``.gz``.
    fields
        The names of its fields, if the format fixes them; None if a header names them.
    defaults
        Templates of usage fields that a mapping need not give, the first of several whose columns
        the file has. If a header names the fields, a column with a usage field's own name is that
        field.
    own
        Usage fields that the source gives by itself, so that no mapping may.
    any_case
        Whether the names of fields ignore case, as in sacct.
    measure
        How it writes elapsed times, unless a mapping declares it.
    """

    name: str
    read: Callable[[Path], SourceTable | Sequence[Sheet]]
    endings: tuple[str, ...]
    fields: tuple[str, ...] | None = None
    defaults: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    any_case: bool = False
    measure: str | None = None

    def knows(self, name: str) -> bool:
        """Whether a file of this kind can have this field."""
        if self.fields is None:
            return True
        if self.any_case:
            return name.lower() in {known.lower() for known in self.fields}
        return name in self.fields


BUILT_IN = (
    Source(
        "swf",
        read_swf,
        (".swf",),
        SWF_FIELDS,
        {"id": "{job}", "user": "{user}", "start": "{start}", "end": "{end}"},
        own=frozenset({"start", "end", "date"}),
    ),
    Source(
        "sacct",
        read_sacct,
        (".sacct",),
        SACCT_FIELDS,
        {
            # A requeued job keeps its number and is submitted anew; clusters number apart.
            "id": (
                *("{Cluster}:{JobID}@{Submit}", "{JobID}@{Submit}", "{Cluster}:{JobID}"),
                *("{JobID}", "{Cluster}:{JobIDRaw}@{Submit}", "{JobIDRaw}@{Submit}"),
                *("{Cluster}:{JobIDRaw}", "{JobIDRaw}"),
            ),
            "user": "{User}",
            "start": "{Start}",
            "end": "{End}",
            "elapsed": ("{ElapsedRaw}", "{Elapsed}"),
        },
        any_case=True,
        measure=SACCT,
    ),
    Source("csv", read_csv, (".csv", ".tsv")),
    Source("excel", read_excel, (".xlsx",)),
    Source("parquet", read_parquet, (".parquet",)),
)


def registered() -> dict[str, Source]:
    """Kind → source: the built-in ones, then the installed ones, in order of name.

    Two installed packages for one kind are refused: which one reads must not be chance.
    """
    offered: dict[str, EntryPoint] = {}
    for entry in entry_points(GROUP):
        before = offered.setdefault(entry.name, entry)
        if before.value != entry.value:
            raise AmbiguousFormat(
                f"{before.value} and {entry.value} both read {entry.name} files",
                where=f"entry points {GROUP}",
                remedy="uninstall one of the two packages",
            )
    added: dict[str, Source] = {name: entry.load() for name, entry in offered.items()}
    return {source.name: source for source in BUILT_IN} | added


TEMPLATES = (
    *("id", "item", "project", "user", "start", "end", "date", "elapsed", "units", "quantity"),
    *("description", "reference"),
)
"""The keys of a mapping that are templates: the fields of a usage record."""

_COUNTS = ("units", "quantity", "elapsed")
_WITH_DEFAULT = ("item", "project", "user", "description", "reference", *_COUNTS)


class SourceMapping(BaseModel):
    """Templates for the fields of a usage record, and how the file writes its values; None where
    there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str | None = None
    item: str | None = None
    project: str | None = None
    user: str | None = None
    start: str | None = None
    end: str | None = None
    date: str | None = None
    elapsed: str | None = None
    units: str | None = None
    quantity: str | None = None
    description: str | None = None
    reference: str | None = None
    numbers: str | None = None
    times: str | None = None
    dates: str | None = None
    measure: str | None = None
    overnight: Literal["next day"] | None = None
    sheets: tuple[str, ...] | None = None
    defaults: dict[str, str] = Field(default_factory=dict)

    @field_validator(*TEMPLATES)
    @classmethod
    def _well_formed(cls, text: str | None) -> str | None:
        if text is not None:
            Template.parse(text)
        return text

    @field_validator("numbers")
    @classmethod
    def _shows_numbers(cls, example: str | None) -> str | None:
        if example is not None:
            Numbers.declared(example)
        return example

    @field_validator("times", "dates")
    @classmethod
    def _reads_times(cls, pattern: str | None, info: ValidationInfo) -> str | None:
        return pattern and check_pattern(pattern, clock=info.field_name == "times")

    @field_validator("measure")
    @classmethod
    def _is_measure(cls, measure: str | None) -> str | None:
        if measure is not None and measure not in MEASURES:
            raise ValueError(f"'{measure}' is no measure of time; use {', '.join(MEASURES)}")
        return measure

    @field_validator("defaults")
    @classmethod
    def _of_fields(cls, defaults: dict[str, str]) -> dict[str, str]:
        for name, value in defaults.items():
            if name not in _WITH_DEFAULT:
                allowed = ", ".join(_WITH_DEFAULT)
                raise ValueError(f"'{name}' can have no default; these can: {allowed}")
            if name == "elapsed" and value:
                raise ValueError('the default of elapsed can only be "": the clock counts then')
            if name in _COUNTS and value:
                trouble = read_quantities(pl.Series([value]))[1].item()
                if trouble is not None:
                    raise ValueError(str(trouble))
        return defaults

    def templates(self) -> dict[str, Template]:
        """The given templates, by usage field."""
        given = self.model_dump(include=set(TEMPLATES), exclude_none=True)
        return {name: Template.parse(text) for name, text in given.items()}

    def writing(self, source: Source) -> Writing:
        """How a file of this source writes its values."""
        plain = None if source.fields is None else Numbers.declared("1234.5")
        return Writing(
            numbers=plain if self.numbers is None else Numbers.declared(self.numbers),
            times=self.times,
            dates=self.dates,
            measure=self.measure or source.measure,
            defaults=self.defaults,
            overnight=self.overnight is not None,
        )


SourceMappings = Mapping[str, SourceMapping]
"""Kind of source → its mapping."""


def mappings(raw: Mapping[str, Mapping[str, Any]]) -> SourceMappings:
    """Check the ``sources`` section of a price book: its kinds, usage fields and templates.

    The columns of tables are known only when a file is read, so they are checked there.
    """
    known = registered()
    checked = {}
    for kind, templates in raw.items():
        if kind not in known:
            raise InvalidPriceBook(
                f"'{kind}' is no kind of usage file",
                where=f"sources, {kind}",
                remedy=f"use {', '.join(known)}",
            )
        checked[kind] = _mapping(known[kind], templates)
    return checked


def _mapping(source: Source, templates: Mapping[str, Any]) -> SourceMapping:
    try:
        mapping = SourceMapping.model_validate(dict(templates))
    except ValidationError as error:
        raise _refusal(source.name, error) from error
    for key, template in mapping.templates().items():
        where = f"sources, {source.name}, {key}"
        if key in source.own:
            raise InvalidPriceBook(
                f"a {source.name} file gives {key} by itself", where=where, remedy="leave it out"
            )
        strange = [name for name in template.fields if not source.knows(name)]
        if strange and source.fields is not None:
            raise InvalidPriceBook(
                f"{source.name} has no field '{strange[0]}'",
                where=where,
                remedy=_suggestion(strange[0], source.fields),
            )
    return mapping


def _suggestion(name: str, fields: tuple[str, ...]) -> str:
    near = get_close_matches(name, fields, n=1)
    few = len(fields) <= 20
    advice = f"use {', '.join(fields)}" if few else "use a field that its manual lists"
    return f"perhaps '{near[0]}' is meant; {advice}" if near else advice


def _refusal(kind: str, error: ValidationError) -> InvalidPriceBook:
    first = error.errors()[0]
    field = ".".join(str(step) for step in first["loc"])
    remedy = "write fields as {name}" if first["loc"][0] in TEMPLATES else None
    where = f"sources, {kind}, {field}"
    if first["type"] == "extra_forbidden":
        return InvalidPriceBook(
            f"'{field}' is no field of a usage record",
            where=where,
            remedy=f"use {', '.join(SourceMapping.model_fields)}",
        )
    if first["type"] == "value_error":
        return InvalidPriceBook(str(first["ctx"]["error"]), where=where, remedy=remedy)
    if first["type"] == "literal_error":
        return InvalidPriceBook(
            f"'{first['input']}' is not known",
            where=where,
            remedy=f"use {first['ctx']['expected']}",
        )
    if first["type"] != "string_type":
        return InvalidPriceBook(f"'{first['input']}' has the wrong shape", where=where)
    return InvalidPriceBook("this is not a text", where=where, remedy="put it in quotes")
