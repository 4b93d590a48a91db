"""Mappings: which field of a source is the item, the project, the user of a usage record.

    sources:
      swf: {item: core-hour, project: "u{user}", user: "u{user}", units: "{processors}"}
      csv: {id: "{booking}", item: "{tool}", project: "{account}", date: "{day}", quantity: "{n}"}

This is the ``sources`` section of a price book: a template (template.py) for each field of the
usage frame, by kind of source. So another log needs another mapping and no code. A field that
the mapping leaves out has its source's own default: the job's number in SWF, the column of the
field's own name in a table.
"""

from collections.abc import Mapping
from difflib import get_close_matches

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from billing_lib.errors import InvalidPriceBook
from billing_lib.pricing.template import Template
from billing_lib.sources.registry import Source, registered

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
    for field, template in mapping.templates().items():
        where = f"sources, {source.name}, {field}"
        if field in source.own:
            raise InvalidPriceBook(
                f"a {source.name} file gives {field} by itself", where=where, remedy="leave it out"
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
