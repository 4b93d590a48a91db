"""Changes of a YAML text keep its comments and the lines that did not change."""

import difflib
import string
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing_lib.errors import InvalidPriceBook
from billing_lib.pricing.yaml_edit import Change, changes, edited
from billing_lib.pricing.yaml_text import Document

TEXT = """\
# at the top
facility:
  code: MIC   # never changes
  contacts: office@example.edu
  letterhead: |
    One
    Two

# by the piece
items:
  - {code: slide, name: Slide, unit: each}   # of glass
  # by the hour
  - code: scope
    name: Microscope
    unit: hour
teams: [{code: smith, administrators: [a@example.edu]}]  # one line
"""


def content_of(text: str) -> dict[str, Any]:
    return Document(text, "book.yml").content


def difference(after: dict[str, Any]) -> list[str]:
    lines = difflib.unified_diff(
        TEXT.splitlines(),
        edited(Document(TEXT, "book.yml"), after).text.splitlines(),
        n=0,
        lineterm="",
    )
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def test_only_the_changed_value_is_written() -> None:
    after = content_of(TEXT)
    after["items"][0]["name"] = "Glass: slide"
    assert difference(after) == [
        "-  - {code: slide, name: Slide, unit: each}   # of glass",
        '+  - {code: slide, name: "Glass: slide", unit: each}   # of glass',
    ]


def test_an_entry_is_added_behind_the_one_before_it() -> None:
    after = content_of(TEXT)
    after["items"].insert(1, {"code": "disk", "name": "Disk", "unit": "each", "cost": "0.10"})
    assert difference(after) == ['+  - {code: disk, name: Disk, unit: each, cost: "0.10"}']


def test_an_entry_goes_and_the_comments_around_it_stay() -> None:
    after = content_of(TEXT)
    del after["items"][1]
    assert difference(after) == ["-  - code: scope", "-    name: Microscope", "-    unit: hour"]


def test_texts_of_several_lines_and_new_keys() -> None:
    after = content_of(TEXT)
    after["facility"]["letterhead"] = "One\nThree\n"
    after["facility"]["issue"] = "scheduled"
    after["teams"][0]["administrators"].append("b@example.edu")
    assert difference(after) == [
        "-    Two",
        "+    Three",
        "+  issue: scheduled",
        "-teams: [{code: smith, administrators: [a@example.edu]}]  # one line",
        "+teams: [{code: smith, administrators: [a@example.edu, b@example.edu]}]  # one line",
    ]


def test_a_value_of_several_places_is_refused() -> None:
    text = "a: &one {code: x}\nb: *one\n"
    after = content_of(text)
    after["b"]["code"] = "y"
    with pytest.raises(InvalidPriceBook, match="alias"):
        edited(Document(text, "book.yml"), after)


def test_changes_have_the_names_of_their_entries() -> None:
    after = content_of(TEXT)
    after["items"][1]["unit"] = "each"
    after["items"].insert(0, {"code": "disk"})
    del after["facility"]["contacts"]
    assert list(changes(content_of(TEXT), after)) == [
        Change("facility: contacts", "office@example.edu", None),
        Change("items, disk", None, "{code: disk}"),
        Change("items, scope: unit", "hour", "each"),
    ]


WORDS = st.text(string.ascii_letters + string.digits + " :#-,'\"{}[]|\n\\é", max_size=12)
VALUES = st.recursive(
    st.none() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_change_is_read_back_as_it_was_made(data: st.DataObject) -> None:
    after = deepcopy(content_of(TEXT))
    text = TEXT
    for _ in range(3):
        place = data.draw(st.sampled_from([after, after["facility"], *after["items"]]))
        key = data.draw(st.sampled_from([*place, "new"]) if place else st.just("new"))
        if place is after and key in ("facility", "items"):
            after["items"] = data.draw(st.permutations(after["items"]))
        elif len(place) > 1 and data.draw(st.booleans()):
            place.pop(key, None)
        else:
            place[key] = data.draw(VALUES)
        text = edited(Document(text, "book.yml"), after).text
    assert "# at the top" in text
    assert "# by the piece" in text
