"""YAML with scalars as text, and the line of each key.

A price of 0.10 must not become a binary float, ``08:00`` not 480 and ``NO`` not false, so scalars
stay text and the models give them their types. The lines are for messages about mistakes.

    rates:                           ("rates",)            line 7
      - {item: scan, price: "1.25"}  ("rates", 0, "price") line 8
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from billing_lib.errors import InvalidPriceBook
from billing_lib.pricing.fields import WrongKey

KeyPath = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Mistake:
    """A mistake in a document: a sentence, its keys, and the remedy."""

    sentence: str
    place: KeyPath
    remedy: str | None = None
    beside: KeyPath | None = None
    """A second place, at the end of the sentence."""


_NULL = "tag:yaml.org,2002:null"
_ALIASED = 100_000
"""Values that aliases may add to those that are written out, of which each takes a letter."""


class Document:
    """A YAML mapping as text scalars, with the line of every key; ``name`` is the file's.

    A text that is no YAML or no mapping, has a key twice, is nested too deeply or made much longer
    by its aliases is refused as InvalidPriceBook.
    """

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name
        self.lines: dict[KeyPath, int] = {(): 1}
        try:
            node = _composed(text)
        except (yaml.MarkedYAMLError, yaml.reader.ReaderError) as error:
            if isinstance(error, yaml.MarkedYAMLError):
                reason = error.problem
                line = error.problem_mark.line + 1 if error.problem_mark else 1
            else:
                reason, line = error.reason, text.count("\n", 0, error.position) + 1
            raise InvalidPriceBook(
                f"this is not YAML ({reason})", where=f"{name}, line {line}"
            ) from None
        except RecursionError:
            raise self._too_deep() from None
        if not isinstance(node, yaml.MappingNode):
            raise InvalidPriceBook(
                "the file holds no mapping of keys", where=name, remedy="start with 'facility:'"
            )
        self.node = node
        self._open: list[yaml.Node] = []
        self._left = len(text) + _ALIASED
        try:
            self.content: dict[str, Any] = self._value(node, ())
        except RecursionError:
            raise self._too_deep() from None

    def _too_deep(self) -> InvalidPriceBook:
        return InvalidPriceBook(
            "the values are nested too deeply", where=self.name, remedy="write them out flat"
        )

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._left -= 1
        if self._left < 0:
            raise InvalidPriceBook(
                f"aliases add more than {_ALIASED:,} values",
                where=self.where(*path),
                remedy="write the values out",
            )
        if isinstance(node, yaml.ScalarNode):
            return None if node.tag == _NULL else node.value
        if node in self._open:
            raise InvalidPriceBook(
                "an alias stands for a value that contains it",
                where=self.where(*path),
                remedy="write the value out",
            )
        self._open.append(node)
        value: Any
        if isinstance(node, yaml.MappingNode):
            value = self._mapping(node, path)
        else:
            value = self._sequence(node, path)
        self._open.pop()
        return value

    def _sequence(self, node: yaml.Node, path: KeyPath) -> list[Any]:
        items = []
        for index, child in enumerate(node.value):
            self.lines[(*path, index)] = child.start_mark.line + 1
            items.append(self._value(child, (*path, index)))
        return items

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in mapping:
                raise InvalidPriceBook(
                    f"the key '{key}' stands twice",
                    where=f"{self.name}, line {line}",
                    remedy="keep one of them",
                )
            self.lines[(*path, key)] = line
            mapping[key] = self._value(value_node, (*path, key))
        return mapping

    def where(self, *path: str | int) -> str:
        """The place of a key in words: file, line and key."""
        known = path
        while known not in self.lines:
            known = known[:-1]
        key = key_text(path)
        return f"{self.name}, line {self.lines[known]}" + (f", {key}" if key else "")

    def validate(self, model: type[Model], content: Mapping[str, Any] | None = None) -> Model:
        """The document as a model; the first mistake is refused with its file, line and key."""
        try:
            return model.model_validate(self.content if content is None else content)
        except ValidationError as errors:
            details = errors.errors(include_url=False)
            first = min(details, key=self._rank)
            more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
            sentence, remedy = _sentence(first)
            raise InvalidPriceBook(
                sentence + more, where=self.where(*_place(first)), remedy=remedy
            ) from None

    def _rank(self, error: Any) -> tuple[int, bool]:
        # A misspelt key causes the missing one in the same entry, so it comes first: a missing
        # key counts as on the last line of its entry.
        path = error["loc"]
        if error["type"] == "missing":
            parent = path[:-1]
            within = [line for key, line in self.lines.items() if key[: len(parent)] == parent]
            return max(within), True
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path], error["type"] != "extra_forbidden"


class _Loader(yaml.CSafeLoader):
    """Tells null from other scalars only, since all of these are text here."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - yaml declares it so
        first: [(tag, pattern) for tag, pattern in resolvers if tag == _NULL]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


def _composed(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError:  # SafeLoader takes ten times as long and says more about a mistake
        return yaml.compose(text, Loader=yaml.SafeLoader)


def mistakes_in(content: Mapping[str, Any], model: type[BaseModel]) -> list[Mistake]:
    """All mistakes of a content as a model, in the order of the model's keys."""
    try:
        model.model_validate(content)
    except ValidationError as errors:
        return [
            Mistake(sentence, _place(error), remedy)
            for error in errors.errors(include_url=False)
            for sentence, remedy in [_sentence(error)]
        ]
    return []


def key_text(path: KeyPath) -> str:
    """Keys in words: ``rates[1].price``."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def _place(error: Any) -> KeyPath:
    place: KeyPath = error["loc"]
    cause = error.get("ctx", {}).get("error")
    return (*place, cause.key) if isinstance(cause, WrongKey) else place


def _sentence(error: Any) -> tuple[str, str | None]:
    key = error["loc"][-1] if error["loc"] else "the file"
    given = error.get("input")
    match error["type"]:
        case "extra_forbidden":
            return (
                f"the key '{key}' is not supported here",
                "remove it or correct its spelling (see the manual's page 'Scenario format')",
            )
        case "missing":
            return f"the key '{key}' is missing", "add it"
        case "value_error":
            cause = error["ctx"]["error"]
            return str(cause), cause.remedy if isinstance(cause, WrongKey) else None
        case "literal_error":
            return f"'{given}' is not known here", f"write {error['ctx']['expected']}"
        case "date_from_datetime_parsing" | "date_parsing" | "date_type":
            return f"'{given}' is not a date", "write it as YYYY-MM-DD"
        case "timezone_aware":
            return f"the time '{given}' has no time zone", 'write it as "2020-04-06T17:00:00-04:00"'
        case kind if kind.startswith("datetime"):
            return f"'{given}' is not a time", 'write it as "2020-04-06T17:00:00-04:00"'
        case "too_short":
            return f"'{key}' is empty", "list at least one"
        case kind if kind.endswith("_type"):
            return (
                f"'{key}' has the wrong shape ({error['msg'][0].lower()}{error['msg'][1:]})",
                None,
            )
        case _:
            return f"'{given}' cannot be: {error['msg'][0].lower()}{error['msg'][1:]}", None
