"""The kinds of usage files, each a Source, and the mapping of their fields to usage records.

A Source is a reader and a description of its fields. The built-in ones are listed here; an
installed package adds or replaces one by an entry point that names a Source:

    [project.entry-points."billing_lib.sources"]
    badge = "our_billing.badges:SOURCE"     # Source("badge", read_badges, (".badge",))

The ``sources`` section of a price book maps each kind to the usage frame, by a template
(pricing/fields.py) for each field. So another log needs another mapping and no code:

    sources:
      swf: {item: core-hour, project: "u{user}", user: "u{user}", units: "{processors}"}
      csv: {id: "{booking}", item: "{tool}", project: "{account}", date: "{day}", quantity: "{n}"}

A field that the mapping leaves out has its source's default: the job's number in SWF, the column
of the field's own name in a table; null leaves it empty. A mapping also says which rows count, how
the source's names become codes, and which records a row makes:

    sacct:
      where: {State: [COMPLETED, TIMEOUT]}              one of these values; "CANCELLED*" begins so
      lookup: {project: {chem: p1}, item: items.csv}    a table, or a file beside the price book
      items:                                            what they leave out is as above
        - {item: cpu-hour, units: "{AllocTRES[cpu]}"}
        - {item: gpu-hour, units: "{AllocTRES[gres/gpu]}",
           where: {"AllocTRES[gres/gpu]": {not: ["", "0"]}}}

Further keys say how the file writes its numbers and times:

    numbers: "1.234,5"                   a decimal comma, points between thousands
    times: "%m/%d/%Y %I:%M %p"           start and end; dates: "%d.%m.%Y" the date
    measure: minutes                     the elapsed time, else the quantity, is so many minutes
    overnight: next day                  where an end is before its start on one day
    sheets: [November]                   of a workbook
    defaults: {units: "1"}               for empty cells

A mapping with a name of its own is for files with its ``header``, so that one facility can have
several kinds of CSV. A preset (presets.yml) is such a mapping that comes with the package; keys
that the price book gives go before the preset's:

    nemo: {lookup: {item: instruments.csv}}
    badges: {kind: [csv], header: [badge, door], item: "{door}", project: "{badge}"}
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from billing_lib.errors import AmbiguousFormat, InvalidPriceBook
from billing_lib.pricing.fields import Template
from billing_lib.pricing.yaml_text import Document
from billing_lib.settings import entry_points
from billing_lib.sources.clusters import SACCT_FIELDS, SWF_FIELDS, read_sacct, read_swf
from billing_lib.sources.delimited import read_csv
from billing_lib.sources.files import SourceTable
from billing_lib.sources.json_files import read_json
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
        """Whether a file of this kind can have this field, or a field with this part."""
        if self.fields is None:
            return True
        names = {name, part[1]} if (part := PART.fullmatch(name)) else {name}
        if self.any_case:
            return not {n.lower() for n in names}.isdisjoint(known.lower() for known in self.fields)
        return not names.isdisjoint(self.fields)


PART = re.compile(r"(.+?)\[(.+)\]", re.DOTALL)
"""A part of a field: ``AllocTRES[gres/gpu]``, ``Tags[owner][name]``."""

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
    Source("json", read_json, (".json", ".jsonl", ".ndjson")),
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


@dataclass(frozen=True)
class Filter:
    """The values of a column that count, or with ``without`` those that do not.

    ``*`` in a value stands for any text, and "" for an empty field.
    """

    values: tuple[str, ...]
    without: bool = False


def _filter(stated: object) -> object:
    if isinstance(stated, Filter) or stated is None:
        return stated
    without = isinstance(stated, dict)
    if isinstance(stated, dict):
        if set(stated) != {"not"}:
            raise ValueError("a filter is a list of values, or {not: [values]}")
        stated = stated["not"]
    values = [stated] if isinstance(stated, str) else stated
    if not isinstance(values, list) or not values:
        raise ValueError("a filter is a list of values, or {not: [values]}")
    if not all(isinstance(value, str) for value in values):
        raise ValueError("the values of a filter are texts; put them in quotes")
    return Filter(tuple(values), without)


def _one_or_several(stated: object) -> object:
    return [stated] if isinstance(stated, str) else stated


TEMPLATES = (
    *("id", "item", "project", "user", "start", "end", "date", "elapsed", "booked_start"),
    *("booked_end", "units", "quantity"),
    *("cost", "currency", "description", "reference"),
)
"""The keys of a mapping that are templates: the fields of a usage record."""

_COUNTS = ("units", "quantity", "elapsed")
_WITH_DEFAULT = ("item", "project", "user", "description", "reference", *_COUNTS)

NAMED = ("item", "project", "user", "reference", "description")
"""The fields whose values a lookup can replace."""


class RecordMapping(BaseModel):
    """One record of a row: templates of its fields, and the rows that make it.

    A template that is None is not given, or null: then its field stays empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str | None = None
    item: str | None = None
    project: str | None = None
    user: str | None = None
    start: str | None = None
    end: str | None = None
    date: str | None = None
    elapsed: str | None = None
    booked_start: str | None = None
    booked_end: str | None = None
    units: str | None = None
    quantity: str | None = None
    cost: str | None = None
    """In place of a quantity: the row's own cost, of any sign and with any decimals."""
    currency: str | None = None
    """Of the cost; a record in another currency than the facility's is held back."""
    description: str | None = None
    reference: str | None = None
    where: dict[str, Annotated[Filter | None, BeforeValidator(_filter)]] = {}
    """By column its filter; None takes a preset's filter away."""
    lookup: dict[str, dict[str, str]] = {}
    """By field the codes that replace its values; others stay as they are."""
    measure: str | None = None
    defaults: dict[str, str] = {}

    @field_validator(*TEMPLATES)
    @classmethod
    def _well_formed(cls, text: str | None) -> str | None:
        if text is not None:
            Template.parse(text)
        return text

    @field_validator("lookup")
    @classmethod
    def _of_names(cls, lookup: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        for name in lookup:
            if name not in NAMED:
                raise ValueError(f"a lookup is of {', '.join(NAMED)}, not of '{name}'")
        return lookup

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
        given = {name: getattr(self, name) for name in TEMPLATES}
        return {name: Template.parse(text) for name, text in given.items() if text}

    @property
    def left_empty(self) -> set[str]:
        """The fields that are null, or an empty text, in the price book."""
        return {name for name in self.model_fields_set & {*TEMPLATES} if not getattr(self, name)}

    @property
    def filters(self) -> dict[str, Filter]:
        """The filters, by column."""
        return {name: chosen for name, chosen in self.where.items() if chosen is not None}


class SourceMapping(RecordMapping):
    """The mapping of a kind, or of files with a certain header."""

    kind: Annotated[tuple[str, ...], BeforeValidator(_one_or_several)] = ()
    """The kinds of file that it is for; empty if its name is that of a kind."""
    header: tuple[str, ...] = ()
    """The columns by which its files are known."""
    items: tuple[RecordMapping, ...] = ()
    """The records that a row makes, each with the mapping's own keys where it has none."""
    numbers: str | None = None
    times: str | None = None
    dates: str | None = None
    overnight: Literal["next day"] | None = None
    sheets: tuple[str, ...] | None = None

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

    def entries(self) -> tuple[RecordMapping, ...]:
        """The records that a row makes, each complete but for ``where``, which is its own."""
        if not self.items:
            return (self.model_copy(update={"where": {}}),)
        return tuple(self._completed(entry) for entry in self.items)

    def _completed(self, entry: RecordMapping) -> RecordMapping:
        keys = {*TEMPLATES, "measure"}
        mine = {name: getattr(self, name) for name in self.model_fields_set & keys}
        own = {name: getattr(entry, name) for name in entry.model_fields_set & keys}
        if "cost" in own or "quantity" in own:  # one takes the other's place
            mine = {n: text for n, text in mine.items() if n not in ("cost", "quantity")}
        both = {
            "lookup": {**self.lookup, **entry.lookup},
            "defaults": {**self.defaults, **entry.defaults},
        }
        return RecordMapping(**{**mine, **own, **both, "where": entry.where})

    def writing(self, source: Source, entry: RecordMapping) -> Writing:
        """How a file of this source writes the values of an entry."""
        plain = None if source.fields is None else Numbers.declared("1234.5")
        return Writing(
            numbers=plain if self.numbers is None else Numbers.declared(self.numbers),
            times=self.times,
            dates=self.dates,
            measure=entry.measure or source.measure,
            defaults=entry.defaults,
            overnight=self.overnight is not None,
        )


SourceMappings = Mapping[str, SourceMapping]
"""Kind of source, or name of a mapping → the mapping."""


@cache
def presets() -> dict[str, dict[str, Any]]:
    """The mappings that come with the package, by name, as in a price book."""
    text = (files("billing_lib.sources") / "presets.yml").read_text("utf-8")
    return Document(text, "presets.yml").content


def mappings(raw: Mapping[str, Mapping[str, Any] | None]) -> SourceMappings:
    """Check the ``sources`` section of a price book: its kinds, usage fields and templates.

    The columns of tables are known only when a file is read, so they are checked there.
    """
    known = registered()
    return {name: _mapping(name, known, stated or {}) for name, stated in raw.items()}


def _mapping(name: str, known: Mapping[str, Source], stated: Mapping[str, Any]) -> SourceMapping:
    try:
        mapping = SourceMapping.model_validate(_overriding(presets().get(name, {}), stated))
    except ValidationError as error:
        raise _refusal(name, error) from error
    if name in known:
        kinds: tuple[str, ...] = (name,)
        if mapping.kind or mapping.header:
            key = "kind" if mapping.kind else "header"
            raise InvalidPriceBook(
                f"'{name}' is a kind of file already, so it has no key '{key}'",
                where=f"sources, {name}, {key}",
                remedy="give the mapping a name of its own",
            )
    elif mapping.kind and mapping.header:
        kinds = mapping.kind
    elif mapping.kind or mapping.header:
        key = "header" if mapping.kind else "kind"
        raise InvalidPriceBook(
            f"the mapping has a name of its own, and its key '{key}' is missing",
            where=f"sources, {name}, {key}",
            remedy="name the kinds of its files, and the columns by which they are known",
        )
    else:
        raise InvalidPriceBook(
            f"'{name}' is no kind of usage file",
            where=f"sources, {name}",
            remedy=f"use {', '.join(known)}, or a preset: {', '.join(presets())}",
        )
    for kind in kinds:
        if kind not in known:
            raise InvalidPriceBook(
                f"'{kind}' is no kind of usage file",
                where=f"sources, {name}, kind",
                remedy=f"use {', '.join(known)}",
            )
        _check(name, known[kind], mapping)
    return mapping


def _overriding(preset: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """A preset with the price book's keys before its own; filters and lookups one by one."""
    merged = {**preset, **stated}
    for key in ("where", "lookup"):
        both = (preset.get(key), stated.get(key))
        if all(isinstance(part, dict) for part in both):
            merged[key] = {**both[0], **both[1]}  # type: ignore[dict-item]
    return merged


def _check(name: str, source: Source, mapping: SourceMapping) -> None:
    """Refuse keys that no file of this kind can serve."""
    listed: list[tuple[str, RecordMapping]] = [("", mapping)]
    listed += [(f"items[{n}], ", entry) for n, entry in enumerate(mapping.items, start=1)]
    for within, entry in listed:
        where = f"sources, {name}, {within}"
        templates = entry.templates()
        if {"cost", "quantity"} <= templates.keys():
            raise InvalidPriceBook(
                "a record has either a cost or a quantity", where=f"{where}cost", remedy="keep one"
            )
        used = {key: template.fields for key, template in templates.items()}
        used["where"] = tuple(entry.filters)
        for key, names in used.items():
            if key in source.own:
                raise InvalidPriceBook(
                    f"a {source.name} file gives {key} by itself",
                    where=f"{where}{key}",
                    remedy="leave it out",
                )
            strange = [column for column in names if not source.knows(column)]
            if strange and source.fields is not None:
                raise InvalidPriceBook(
                    f"{source.name} has no field '{strange[0]}'",
                    where=f"{where}{key}",
                    remedy=_suggestion(strange[0], source.fields),
                )


def _suggestion(name: str, fields: tuple[str, ...]) -> str:
    near = get_close_matches(name, fields, n=1)
    few = len(fields) <= 20
    advice = f"use {', '.join(fields)}" if few else "use a field that its manual lists"
    return f"perhaps '{near[0]}' is meant; {advice}" if near else advice


def _refusal(name: str, error: ValidationError) -> InvalidPriceBook:
    first = error.errors()[0]
    steps = [f"[{step + 1}]" if isinstance(step, int) else f", {step}" for step in first["loc"]]
    where = f"sources, {name}{''.join(steps)}"
    if first["type"] == "extra_forbidden":
        model = SourceMapping if len(first["loc"]) == 1 else RecordMapping
        return InvalidPriceBook(
            f"'{first['loc'][-1]}' is no field of a usage record",
            where=where,
            remedy=f"use {', '.join(model.model_fields)}",
        )
    if first["type"] == "value_error":
        sentence = str(first["ctx"]["error"])
        is_template = first["loc"][-1] in TEMPLATES
        remedy = "write fields as {name}" if is_template else None
        return InvalidPriceBook(sentence, where=where, remedy=remedy)
    if first["type"] == "string_type":
        return InvalidPriceBook("this is not a text", where=where, remedy="put it in quotes")
    if first["type"] == "literal_error":
        return InvalidPriceBook(
            f"'{first['input']}' is not known",
            where=where,
            remedy=f"use {first['ctx']['expected']}",
        )
    return InvalidPriceBook(
        "this has the wrong shape", where=where, remedy="see the manual's page 'Usage files'"
    )
