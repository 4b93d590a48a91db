"""Changes of a YAML text that keep its comments, its order and the lines that did not change.

    items:                                     {"items": [{"code": "slide", "price": "1.30"}]}
      # by the piece                     ─▶    items:
      - {code: slide, price: "1.25"}             # by the piece
                                                 - {code: slide, price: "1.30"}

Only the characters of changed values are replaced, so a difference in git shows the change alone.
Entries of a list are recognised by their names (``name_of``), and their changes have names, too:

    rates, slide internal: price    1.25 → 1.30
    projects, p5                    (none) → {code: p5, …}
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import yaml

from billing_lib.errors import InvalidPriceBook
from billing_lib.pricing.yaml_text import Document

NAMES = (("code",), ("name",), ("item", "group", "valid_from"), ("expense_code",), ("valid_from",))
"""Keys that name an entry of a list, the first that it has."""


def name_of(entry: Any) -> str:
    """The name of an entry among its list: ``p1``, ``slide internal 2020-01-01``."""
    if isinstance(entry, dict):
        for keys in NAMES:
            if entry.get(keys[0]) is not None:
                return " ".join(str(entry[key]) for key in keys if entry.get(key) is not None)
    return entry if isinstance(entry, str) else plain(entry)


def plain(value: Any) -> str:
    """A value in one line, as YAML would write it."""
    if isinstance(value, str):
        return value
    return _flow(value)


@dataclass(frozen=True)
class Change:
    """A value that differs: its keys in words, and the value before and after (None: no value)."""

    where: str
    before: str | None
    after: str | None


def changes(before: Any, after: Any, where: str = "") -> Iterator[Change]:
    """The differences of two contents, each value once, in their order."""
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            here = f"{where}: {key}" if where else key
            yield from changes(before.get(key), after.get(key), here)
    elif isinstance(before, list) and isinstance(after, list):
        for old, new in aligned(before, after):
            entry = before[old] if old is not None else after[new or 0]
            yield from changes(
                None if old is None else before[old],
                None if new is None else after[new],
                f"{where}, {name_of(entry)}" if isinstance(entry, dict) else where,
            )
    else:
        yield Change(
            where,
            None if before is None else plain(before),
            None if after is None else plain(after),
        )


def aligned(before: Sequence[Any], after: Sequence[Any]) -> list[tuple[int | None, int | None]]:
    """Pairs of places of the same entry; None where an entry is new or gone."""
    old_names, new_names = ([name_of(entry) for entry in entries] for entries in (before, after))
    pairs: list[tuple[int | None, int | None]] = []
    matcher = SequenceMatcher(None, old_names, new_names, autojunk=False)
    for kind, old, old_end, new, new_end in matcher.get_opcodes():
        if kind == "equal":
            pairs += zip(range(old, old_end), range(new, new_end), strict=True)
            continue
        paired = min(old_end - old, new_end - new)
        if old_end - old != new_end - new:
            paired = 0  # which of them was renamed cannot be told
        pairs += zip(range(old, old + paired), range(new, new + paired), strict=True)
        pairs += [(at, None) for at in range(old + paired, old_end)]
        pairs += [(None, at) for at in range(new + paired, new_end)]
    return pairs


def edited(document: Document, content: dict[str, Any]) -> Document:
    """The document with this content.

    Raises
    ------
    InvalidPriceBook
        The text is laid out so that the change cannot be written into it.
    """
    if not document.text.endswith("\n"):
        document = Document(document.text + "\n", document.name)
    result = Document(_Editor(document.text).edited(document.node, content), document.name)
    if result.content != content:
        raise InvalidPriceBook(
            "the change cannot be written into the file as it is laid out, such as with a value "
            "that stands in several places by an alias",
            where=document.name,
            remedy="make this change in the file itself",
        )
    return result


class _Editor:
    def __init__(self, text: str) -> None:
        self.text = text
        self.splices: list[tuple[int, int, int, str]] = []

    def edited(self, node: yaml.Node, content: Any) -> str:
        self._value(node, content)
        text = self.text
        for start, end, _, replacement in sorted(self.splices, reverse=True):
            text = text[:start] + replacement + text[end:]
        return text

    def _put(self, start: int, end: int, replacement: str) -> None:
        self.splices.append((start, end, len(self.splices), replacement))

    def _value(self, node: yaml.Node, new: Any) -> None:
        old = _content(node)
        if old == new:
            return
        if isinstance(node, yaml.MappingNode) and isinstance(new, dict) and old.keys() & new.keys():
            self._mapping(node, new)
        elif isinstance(node, yaml.SequenceNode) and isinstance(new, list) and old and new:
            self._sequence(node, new)
        else:
            self._put(node.start_mark.index, self._end(node), _flow(new))

    def _mapping(self, node: yaml.MappingNode, new: dict[str, Any]) -> None:
        pairs = [(key.value, key, value) for key, value in node.value]
        kept = [at for at, (name, _, _) in enumerate(pairs) if name in new]
        for at in kept:  # before other lines are added behind theirs
            name, key, value = pairs[at]
            self._member(key, value, new[name], flow=bool(node.flow_style))
        known = {name for name, _, _ in pairs}
        added = [(key, value) for key, value in new.items() if key not in known]
        if node.flow_style:
            parts = [(key.start_mark.index, self._end(value)) for _, key, value in pairs]
            self._drop(parts, kept)
            end = parts[kept[-1]][1]
            self._put(end, end, "".join(f", {_flow(key)}: {_flow(it)}" for key, it in added))
        else:
            first, column = pairs[0][1].start_mark.index, node.start_mark.column
            beside_dash = self.text[self._line(first) : first].strip() != ""
            if beside_dash and kept[0] > 0:  # the first key that stays moves up to the dash
                self._put(first, pairs[kept[0]][1].start_mark.index, "")
            for at, (_, key, value) in enumerate(pairs):
                if at not in kept and not (beside_dash and at < kept[0]):
                    start = self._line(key.start_mark.index)
                    self._put(start, self._line_end(self._end(value)), "")
            end = self._line_end(self._end(pairs[-1][2]))
            lines = "".join(" " * column + _block(key, value, column) for key, value in added)
            self._put(end, end, lines)

    def _member(self, key: yaml.Node, value: yaml.Node, new: Any, *, flow: bool) -> None:
        """Change the value of a key; a value that becomes of another kind is written anew."""
        old = _content(value)
        same_kind = type(old) is type(new) and not isinstance(new, str) and old and new
        if old == new or same_kind:
            self._value(value, new)
            return
        colon = self.text.index(":", key.end_mark.index) + 1
        written = f" {_flow(new)}"
        if not flow:
            written = _block("", new, key.start_mark.column).removeprefix('"":').rstrip("\n")
        self._put(colon, max(self._end(value), colon), written)

    def _sequence(self, node: yaml.SequenceNode, new: list[Any]) -> None:
        pairs = aligned(_content(node), new)
        kept = [old for old, place in pairs if old is not None and place is not None]
        if not node.flow_style:
            self._entries(node, pairs, new)
            return
        if not kept:
            self._put(node.start_mark.index, self._end(node), _flow(new))
            return
        parts = [(child.start_mark.index, self._end(child)) for child in node.value]
        self._drop(parts, kept)
        last = None
        for old, place in pairs:
            if place is None:
                continue
            if old is not None:
                last = parts[old][1]
                self._value(node.value[old], new[place])
            elif last is None:
                first = parts[kept[0]][0]
                self._put(first, first, f"{_flow(new[place])}, ")
            else:
                self._put(last, last, f", {_flow(new[place])}")

    def _drop(self, parts: list[tuple[int, int]], kept: list[int]) -> None:
        """Take parts out of braces or brackets, each with one comma."""
        for at in range(len(parts)):
            if at not in kept and at < kept[-1]:
                self._put(parts[at][0], parts[at + 1][0], "")
            elif at not in kept:
                self._put(parts[at - 1][1], parts[at][1], "")

    def _entries(
        self,
        node: yaml.SequenceNode,
        pairs: list[tuple[int | None, int | None]],
        new: list[Any],
    ) -> None:
        """Change a list with one entry a line, or a block of lines for each."""
        places = [self._entry(child) for child in node.value]
        column = places[0][1]
        end = places[0][0]
        for old, place in pairs:
            if old is not None:
                start, _ = places[old]
                end = self._line_end(self._end(node.value[old]))
                if place is None:
                    self._put(start, end, "")
                else:
                    self._value(node.value[old], new[place])
            elif place is not None:
                self._put(end, end, f"{' ' * column}- {_flow(new[place])}\n")

    def _entry(self, child: yaml.Node) -> tuple[int, int]:
        """The start of the line with the entry's dash, and the dash's column."""
        dash = self.text.rindex("-", 0, child.start_mark.index)
        start = self._line(dash)
        return start, dash - start

    def _line(self, at: int) -> int:
        return self.text.rfind("\n", 0, at) + 1

    def _line_end(self, at: int) -> int:
        return self.text.index("\n", at) + 1

    def _end(self, node: yaml.Node) -> int:
        """The end of the node's last character; PyYAML's own is behind the comments that follow."""
        if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
            last = node.value[-1]
            return self._end(last[1] if isinstance(last, tuple) else last)
        end: int = node.end_mark.index
        if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
            text = self.text[node.start_mark.index : end].rstrip()
            return node.start_mark.index + len(text)
        return end


def _content(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _content(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_content(child) for child in node.value]
    return None if node.tag == "tag:yaml.org,2002:null" else node.value


_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./@+-]*( [A-Za-z0-9_./@+-]+)*|[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WORDS = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
"""Texts that YAML would read as something else."""


def _flow(value: Any) -> str:
    """A value in one line."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(it)}" for key, it in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(it) for it in value) + "]"
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _block(key: str, value: Any, column: int) -> str:
    """A key at this column, and its value in lines of their own."""
    margin, head = " " * column, f"{_flow(key)}:"
    if isinstance(value, str) and "\n" in value.rstrip("\n") and value == value.lstrip():
        keep = "|" if value.endswith("\n") and not value.endswith("\n\n") else "|-"
        lines = "".join(f"{margin}  {line}".rstrip() + "\n" for line in value.splitlines())
        if not value.endswith("\n\n"):
            return f"{head} {keep}\n{lines}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        rows = "".join(f"{margin}  - {_flow(entry)}\n" for entry in value)
        return f"{head}\n{rows}"
    return f"{head} {_flow(value)}\n"
