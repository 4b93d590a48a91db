"""The kinds of usage files, each a Source; an institution can add its own.

A Source is a reader with what must be known about its fields. The built-in five are listed
here; an installed package adds one, or takes the place of one, by an entry point that names a
Source:

    [project.entry-points."billing_lib.sources"]
    badge = "our_billing.badges:SOURCE"     # Source("badge", read_badges, (".badge",))

Mappings: which field of a source is the item, the project, the user of a usage record.

    sources:
      swf: {item: core-hour, project: "u{user}", user: "u{user}", units: "{processors}"}
      csv: {id: "{booking}", item: "{tool}", project: "{account}", date: "{day}", quantity: "{n}"}

This is the ``sources`` section of a price book: a template (template.py) for each field of the
usage frame, by kind of source. So another log needs another mapping and no code. A field that
the mapping leaves out has its source's own default: the job's number in SWF, the column of the
field's own name in a table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import EntryPoint
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from billing_lib.errors import AmbiguousFormat, InvalidPriceBook
from billing_lib.pricing.fields import Template
from billing_lib.settings import entry_points
from billing_lib.sources.clusters import SACCT_FIELDS, SWF_FIELDS, read_sacct, read_swf
from billing_lib.sources.delimited import read_csv
from billing_lib.sources.files import SourceTable
from billing_lib.sources.sheets import read_excel, read_parquet

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
        From a file to its table; raises UnreadableFile.
    endings
        File name endings in lower case, each with its dot. ``.gz`` behind them is told apart
        by whoever reads.
    fields
        The names of its fields, where the format fixes them; None where a header tells.
    defaults
        Templates of usage fields that a mapping need not give. Where a header tells the
        fields, a column with a usage field's own name is that field.
    own
        Usage fields that the source gives by itself, so that no mapping may.
    any_case
        Whether fields are found whatever their case, as sacct does.
    """

    name: str
    read: Callable[[Path], SourceTable]
    endings: tuple[str, ...]
    fields: tuple[str, ...] | None = None
    defaults: Mapping[str, str] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    any_case: bool = False

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
        {"id": "{JobID}", "user": "{User}", "start": "{Start}", "end": "{End}"},
        any_case=True,
    ),
    Source("csv", read_csv, (".csv", ".tsv")),
    Source("excel", read_excel, (".xlsx",)),
    Source("parquet", read_parquet, (".parquet",)),
)


def registered() -> dict[str, Source]:
    """Kind → source: the built-in ones, then the installed ones, in order of name.

    Raises
    ------
    AmbiguousFormat
        Two installed packages read the same kind: which one reads must not be chance.
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


_FEW = 20


class SourceMapping(BaseModel):
    """Templates for the fields of a usage record; None where there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str | None = None
    item: str | None = None
    project: str | None = None
    user: str | None = None
    start: str | None = None
    end: str | None = None
    date: str | None = None
    units: str | None = None
    quantity: str | None = None
    description: str | None = None
    reference: str | None = None

    @field_validator("*")
    @classmethod
    def _well_formed(cls, text: str | None) -> str | None:
        if text is not None:
            Template.parse(text)
        return text

    def templates(self) -> dict[str, Template]:
        """The templates that are there, by usage field."""
        given = self.model_dump(exclude_none=True)
        return {name: Template.parse(text) for name, text in given.items()}


SourceMappings = Mapping[str, SourceMapping]
"""Kind of source → its mapping."""


def mappings(raw: Mapping[str, Mapping[str, str]]) -> SourceMappings:
    """Check the ``sources`` section of a price book.

    Raises
    ------
    InvalidPriceBook
        An unknown kind of source, an unknown field of a usage record, a malformed template, or
        one that names a field which the source never has. The columns of tables are known only
        when a file is read.
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


def _mapping(source: Source, templates: Mapping[str, str]) -> SourceMapping:
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
                f"{source.name} has no key '{strange[0]}'",
                where=where,
                remedy=_suggestion(strange[0], source.fields),
            )
    return mapping


def _suggestion(name: str, fields: tuple[str, ...]) -> str:
    near = get_close_matches(name, fields, n=1)
    few = len(fields) <= _FEW
    listed = f"use {', '.join(fields)}" if few else "use one of those that its manual lists"
    return f"perhaps '{near[0]}' is meant; {listed}" if near else listed


def _refusal(kind: str, error: ValidationError) -> InvalidPriceBook:
    first = error.errors()[0]
    field = ".".join(str(step) for step in first["loc"])
    where = f"sources, {kind}, {field}"
    if first["type"] == "extra_forbidden":
        return InvalidPriceBook(
            f"'{field}' is no field of a usage record",
            where=where,
            remedy=f"use {', '.join(SourceMapping.model_fields)}",
        )
    if first["type"] == "value_error":
        return InvalidPriceBook(
            str(first["ctx"]["error"]), where=where, remedy="write fields as {name}"
        )
    return InvalidPriceBook("this is not a text", where=where, remedy="put it in quotes")
