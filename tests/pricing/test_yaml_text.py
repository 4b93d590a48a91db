"""YAML whose scalars stay text and know their lines."""

import pytest
from pydantic import BaseModel, ConfigDict

from billing_lib.errors import InvalidPriceBook
from billing_lib.pricing.yaml_text import Document

BOOK = """\
facility: {code: RC}
rates:
  - {item: scan, price: 1.10}
  - item: slide
    price: 0x10
"""


class Facility(BaseModel):
    model_config = ConfigDict(extra="forbid")
    code: str


class Rate(BaseModel):
    model_config = ConfigDict(extra="forbid")
    item: str
    price: str


class Book(BaseModel):
    model_config = ConfigDict(extra="forbid")
    facility: Facility
    rates: list[Rate]


def refusal(text: str) -> str:
    with pytest.raises(InvalidPriceBook) as refused:
        Document(text, "book.yml").validate(Book)
    return str(refused.value)


@pytest.mark.parametrize(
    "scalar", ["0.10", "08:00", "NO", "1e3", "0x10", "010", "2020-04-06", "~0", "1_000", "3.0"]
)
def test_a_scalar_is_the_text_that_was_written(scalar: str) -> None:
    assert Document(f"price: {scalar}", "book.yml").content == {"price": scalar}


def test_only_an_empty_value_is_none() -> None:
    document = Document('a:\nb: null\nc: ~\nd: ""\ne: "null"', "book.yml")

    assert document.content == {"a": None, "b": None, "c": None, "d": "", "e": "null"}


def test_an_alias_is_what_it_stands_for() -> None:
    document = Document("a: &split [x, y]\nb: *split\nc: *split", "book.yml")

    assert document.content == {"a": ["x", "y"], "b": ["x", "y"], "c": ["x", "y"]}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ((), "book.yml, line 1"),
        (("rates",), "book.yml, line 2, rates"),
        (("rates", 0, "price"), "book.yml, line 3, rates[1].price"),
        (("rates", 1), "book.yml, line 4, rates[2]"),
        (("rates", 1, "price"), "book.yml, line 5, rates[2].price"),
        (("rates", 1, "minimum"), "book.yml, line 4, rates[2].minimum"),  # the entry's line
        (("teams",), "book.yml, line 1, teams"),
    ],
)
def test_the_place_of_a_key_is_its_file_line_and_path(
    path: tuple[str | int, ...], place: str
) -> None:
    assert Document(BOOK, "book.yml").where(*path) == place


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "book.yml: the file holds no mapping of keys; start with 'facility:'"),
        ("# nothing\n", "book.yml: the file holds no mapping of keys; start with 'facility:'"),
        ("- a\n- b\n", "book.yml: the file holds no mapping of keys; start with 'facility:'"),
        ("price", "book.yml: the file holds no mapping of keys; start with 'facility:'"),
        ("a: 1\nb: [1\nc: 2", "book.yml, line 3: this is not YAML (expected ',' or ']', but got"),
        ("a: 1\n\tb: 2", "book.yml, line 2: this is not YAML (found character '\\t'"),
        ("a: 1\n---\nb: 1", "book.yml, line 2: this is not YAML (but found another document)"),
        ("a: 1\nb: \0", "book.yml, line 2: this is not YAML (special characters"),
        ("a: *b", "book.yml, line 1: this is not YAML (found undefined alias 'b')"),
        (
            "a: 1\nb: &b [*b]",
            "book.yml, line 2, b[1]: an alias stands for a value that contains it",
        ),
        (
            "a: 1\nb:\n  c: 1\n  d: 2\n  c: 3",
            "book.yml, line 5: the key 'c' stands twice; keep one of them",
        ),
    ],
)
def test_what_is_no_price_book_is_refused_with_its_line(text: str, sentence: str) -> None:
    refused = refusal(text)

    assert refused.startswith(sentence)
    assert "\n" not in refused


@pytest.mark.parametrize(
    ("written", "instead", "sentence"),
    [
        (
            "{code: RC}",
            "{code: RC, vat: 7}",
            "book.yml, line 1, facility.vat: the key 'vat' is not supported here; remove it or "
            "correct its spelling (see the manual's page 'Scenario format')",
        ),
        (
            "{code: RC}",
            "{}",
            "book.yml, line 1, facility.code: the key 'code' is missing; add it",
        ),
        (
            "price: 0x10",
            "cost: 0x10",  # the misspelling is told, not the key that is missing for it
            "book.yml, line 5, rates[2].cost: the key 'cost' is not supported here (and 1 more); "
            "remove it or correct its spelling (see the manual's page 'Scenario format')",
        ),
        (
            "item: slide",
            "item: [slide]",
            "book.yml, line 4, rates[2].item: 'item' has the wrong shape "
            "(input should be a valid string)",
        ),
        (
            "price: 0x10",
            "price:",
            "book.yml, line 5, rates[2].price: 'price' has the wrong shape "
            "(input should be a valid string)",
        ),
    ],
)
def test_what_a_model_refuses_is_told_with_file_line_and_key(
    written: str, instead: str, sentence: str
) -> None:
    assert refusal(BOOK.replace(written, instead)) == sentence


def test_of_several_mistakes_the_first_in_the_file_is_told() -> None:
    refused = refusal(BOOK.replace("item: slide", "itm: slide").replace("{code: RC}", "{kode: RC}"))

    assert refused.startswith("book.yml, line 1, facility.kode: the key 'kode' is not supported")
    assert "(and 3 more)" in refused


def test_an_unsupported_key_is_told_before_what_is_missing_for_it_lines_above() -> None:
    refused = refusal("facility: {code: RC}\nrates:\n  - item: disk\n    price_per_tier: [5, 3]\n")

    assert refused.startswith("book.yml, line 4, rates[1].price_per_tier: the key 'price_per_tier'")
