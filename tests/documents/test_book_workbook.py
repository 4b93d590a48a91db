"""A price book as a workbook: it comes back as it went out, and changes have their places."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from openpyxl.workbook import Workbook
from sample_facility import BOOK

from billing_lib.documents.book_workbook import read_workbook, write_workbook
from billing_lib.errors import ChangedMeanwhile, InvalidPriceBook
from billing_lib.pricing.pricebook import find_mistakes
from billing_lib.pricing.yaml_edit import Change, changes, edited
from billing_lib.pricing.yaml_text import Document
from billing_lib.workflow.price_book import TEMPLATES

MORE = BOOK.replace(
    "  issue: scheduled\n",
    """  issue: scheduled
  approval: {reviewers: [[ann, amy], [bob, eve], [max, ida]], two_persons: true}
  expense_codes: {pattern: "[A-C]", codes: [{code: A, valid_to: 2020-12-31}, {code: B}]}
  review: {longest_session: 24h}
  journal: {items: {slide: "4510"}}
  letterhead: |
    Hall 3
    "Corner", A: B
""",
).replace(
    'price: "40.00"}',
    'tiers: {mode: volume, steps: [{up_to: "10", price: "1"}, {up_to: null, price: "2.50"}]}}',
)
BOOKS = [BOOK, MORE, *(path.read_text() for path in sorted(TEMPLATES.glob("*/price-book.yml")))]


def content_of(text: str) -> dict[str, Any]:
    return Document(text, "book.yml").content


def sent_back(text: str, change: Callable[[Workbook], None]) -> BytesIO:
    book = openpyxl.load_workbook(BytesIO(write_workbook(content_of(text), "1")))
    change(book)
    file = BytesIO()
    book.save(file)
    file.seek(0)
    return file


@pytest.mark.parametrize("text", BOOKS)
def test_a_workbook_comes_back_as_it_went_out(text: str) -> None:
    before = content_of(text)
    assert read_workbook(sent_back(text, lambda book: None), before, "1").content == before


def test_changes_and_new_rows_are_read() -> None:
    def change(book: Workbook) -> None:
        book["rates"]["C3"] = 1.3
        book["items"].append(["disk", "Disk", "each"])
        book["expense_codes codes"]["C2"] = None
        split = "expense_code: A, percent: 50\nexpense_code: C, percent: 50"
        at = [cell.value for cell in book["projects"][1]].index("split")
        book["projects"].cell(2, at + 1).value = split
        keys = {row[0].value: row[1] for row in book["facility"].iter_rows()}
        keys["review.longest_session"].value = "48h"

    before = content_of(MORE)
    after = read_workbook(sent_back(MORE, change), before, "1").content
    assert list(changes(before, after)) == [
        Change("facility: expense_codes: codes, A: valid_to", "2020-12-31", None),
        Change("facility: review: longest_session", "24h", "48h"),
        Change("items, disk", None, "{code: disk, name: Disk, unit: each}"),
        Change("rates, slide internal: price", "1.25", "1.3"),
        Change("projects, p1: split, A: percent", "60", "50"),
        Change("projects, p1: split, B: expense_code", "B", "C"),
        Change("projects, p1: split, B: percent", "40", "50"),
    ]
    assert find_mistakes(after) == []
    assert content_of(edited(Document(MORE, "book.yml"), after).text) == after


def test_a_mistake_has_its_sheet_row_and_column() -> None:
    def change(book: Workbook) -> None:
        book["rates"].insert_rows(2)
        book["rates"]["C4"] = "much"
        keys = {row[0].value: row[1] for row in book["facility"].iter_rows()}
        keys["currency"].value = "XXQ"

    read = read_workbook(sent_back(BOOK, change), content_of(BOOK), "1")
    mistakes = find_mistakes(read.content)
    assert [read.where(mistake.place) for mistake in mistakes] == [
        "sheet facility, row 4, column value",
        "sheet rates, row 4, column price",
    ]


def test_workbooks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ChangedMeanwhile, match="since this workbook was made"):
        read_workbook(sent_back(BOOK, lambda book: None), content_of(BOOK), "2")
    for change, sentence in (
        (lambda book: book.remove(book["rates"]), "no sheet 'rates'"),
        (lambda book: book["rates"].delete_cols(3), "column 'price' is missing"),
        (lambda book: book["facility"].append(["colour", "red"]), "no key 'colour'"),
        (lambda book: book["projects"].cell(2, 7, "A: {"), "write each line as key: value"),
    ):
        with pytest.raises(InvalidPriceBook, match=sentence):
            read_workbook(sent_back(BOOK, change), content_of(BOOK), "1")
