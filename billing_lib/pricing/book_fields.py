"""The fields of a price book as data, from its models: forms and workbooks are made from them.

    projects   code*, name, team* (one of the teams), split (rows: expense_code*, percent*), …

A field that a model gains is in every form and workbook at once.
"""

import ast
import inspect
from dataclasses import dataclass
from functools import cache
from typing import Any

from billing_lib.pricing import pricebook, rates
from billing_lib.pricing.pricebook import PriceBook

TEXT, LONG, DATE, CHOICE = "text", "long", "date", "choice"
LIST, LISTS, MAP, FORM, ROWS = "list", "lists", "map", "form", "rows"
"""Kinds of fields: texts, texts of several lines, days, one of some texts; lists of texts, of lists
of texts, texts by key; the fields of one entry, and entries."""

SINGLE = (TEXT, LONG, DATE, CHOICE, LIST, LISTS)
"""The kinds that are written in one entry field."""

OFFERED = {
    "team": ("teams", "code"),
    "parent": ("teams", "code"),
    "type": ("project_types", "code"),
    "item": ("items", "code"),
    "resource": ("resources", "code"),
    "group": ("project_types", "rate_group"),
    "rate_group": ("project_types", "rate_group"),
}
"""The section and key whose texts a field offers, by its name."""


@dataclass(frozen=True)
class Field:
    """A field of an entry."""

    name: str
    kind: str
    required: bool = False
    nullable: bool = False
    """Whether an empty field is written as null; others are left out."""
    options: tuple[str, ...] = ()
    default: str = ""
    help: str = ""
    fields: tuple["Field", ...] = ()
    """Of a form or of rows."""

    @property
    def label(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ").capitalize()

    def as_data(self) -> dict[str, Any]:
        """The field for a form in a browser."""
        return {
            "name": self.name,
            "label": self.label,
            "kind": self.kind,
            "required": self.required,
            "nullable": self.nullable,
            "options": self.options,
            "default": self.default,
            "help": self.help,
            "offered": OFFERED.get(self.name),
            "fields": [field.as_data() for field in self.fields],
        }


@cache
def sections() -> tuple[Field, ...]:
    """The sections of a price book in order; how usage files are read is none of them."""
    schema = PriceBook.model_json_schema()
    return _fields("PriceBook", schema, schema["$defs"])


def _fields(model: str, schema: dict[str, Any], known: dict[str, Any]) -> tuple[Field, ...]:
    required = schema.get("required", ())
    fields = [
        _field(model, name, stated, known, required=name in required)
        for name, stated in schema["properties"].items()
    ]
    return tuple(field for field in fields if field is not None)


def _field(
    model: str, name: str, stated: dict[str, Any], known: dict[str, Any], *, required: bool
) -> Field | None:
    choices = [one for one in stated.get("anyOf", [stated]) if one.get("type") != "null"]
    nullable = len(choices) < len(stated.get("anyOf", choices))
    only = choices[0]
    kind, options = TEXT, tuple(only.get("enum", [only["const"]] if "const" in only else ()))
    fields: tuple[Field, ...] = ()
    of = _model(only)
    match only.get("type"):
        case "array":
            of = _model(only["items"])
            kind = ROWS if of else LISTS if only["items"].get("type") == "array" else LIST
        case "object":
            if not isinstance(only.get("additionalProperties"), dict):
                return None
            if only["additionalProperties"].get("type") != "string":
                return None
            kind = MAP
        case "boolean":
            kind, options = CHOICE, ("true", "false")
        case "string" if options:
            kind = CHOICE
        case "string" if only.get("format") == "date":
            kind = DATE
        case "string" if stated.get("default") == "":
            kind = LONG
        case None if of:
            kind = FORM
    if of == "Logo":
        kind, of = TEXT, None
    if of:
        fields = _fields(of, known[of], known)
    default = stated.get("default")
    return Field(
        name,
        kind,
        required=required,
        nullable=nullable and required,
        options=options,
        default="" if default is None or kind not in SINGLE else _text(default),
        help=_helps().get((model, name), ""),
        fields=fields,
    )


def _model(stated: dict[str, Any]) -> str | None:
    reference = stated.get("$ref")
    return None if reference is None else str(reference).rpartition("/")[2]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value in ([], ()) else str(value)


@cache
def _helps() -> dict[tuple[str, str], str]:
    """The docstrings below the fields of the models."""
    helps = {}
    for module in (pricebook, rates):
        for node in ast.parse(inspect.getsource(module)).body:
            if not isinstance(node, ast.ClassDef):
                continue
            for field, text in zip(node.body, node.body[1:], strict=False):
                if (
                    isinstance(field, ast.AnnAssign)
                    and isinstance(field.target, ast.Name)
                    and isinstance(text, ast.Expr)
                    and isinstance(text.value, ast.Constant)
                ):
                    sentence = " ".join(str(text.value.value).split())
                    helps[node.name, field.target.id] = sentence
    return helps
