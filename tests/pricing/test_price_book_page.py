"""docs/price-book.md lists every key of a price book, each with an example that is read."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import yaml
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from billing_lib.pricing.fields import Entry
from billing_lib.pricing.pricebook import PriceBook

PAGE = Path(__file__).parents[2] / "docs" / "price-book.md"
ROW = re.compile(r"^\| `(\w+)` \| `(.+?)` \| .+ \|$", re.MULTILINE)


def entries_in(annotation: Any) -> Iterator[type[Entry]]:
    """The kinds of entries that a key's type holds."""
    if isinstance(annotation, type) and issubclass(annotation, Entry):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, tuple, Annotated):
        for part in get_args(annotation):
            yield from entries_in(part)


def sections(model: type[Entry], path: str = "") -> Iterator[tuple[str, dict[str, FieldInfo]]]:
    """Each section of a price book: its path, and its keys."""
    yield path, model.model_fields
    for key, field in model.model_fields.items():
        for inner in entries_in(field.annotation):
            if not path.endswith("splits"):  # a dated split is a split as any other
                yield from sections(inner, f"{path}.{key}".strip("."))


CODE = dict(sections(PriceBook))


def documented() -> dict[str, dict[str, str]]:
    """The page's examples by section and key."""
    parts = re.split(r"^##+ (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    named = zip(parts[1::2], parts[2::2], strict=True)
    return {
        "" if title == "The sections" else title.strip("`"): dict(ROW.findall(text))
        for title, text in named
    }


def test_every_section_and_key_is_on_the_page_and_no_other() -> None:
    page = documented()
    assert page.keys() == CODE.keys()
    for path, fields in CODE.items():
        assert list(page[path]) == list(fields), f"section {path or 'at the top'}"


@pytest.mark.parametrize(
    ("path", "key"), [(path, key) for path, keys in documented().items() for key in keys]
)
def test_every_example_is_read(path: str, key: str) -> None:
    (stated,) = yaml.safe_load(documented()[path][key]).items()
    assert stated[0] == key
    field = CODE[path][key]
    kind = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    TypeAdapter(kind).validate_python(stated[1])
