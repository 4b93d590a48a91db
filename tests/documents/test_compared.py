"""A record's documents against the same rendered again: what differs is found and named."""

from datetime import date
from pathlib import Path

import pytest
from sample_invoice import taxed_invoice

from billing_lib.audit.comparison import compare_folders
from billing_lib.documents import renderers
from billing_lib.documents.workbook import Book


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    """The documents of an invoice in a record, and rendered again."""
    for name in ("archived", "now"):
        (tmp_path / name / "documents").mkdir(parents=True)
        for suffix, render in renderers().items():
            (tmp_path / name / "documents" / f"RC-1.{suffix}").write_bytes(render(taxed_invoice()))
    return tmp_path / "archived", tmp_path / "now"


def test_documents_rendered_again_are_the_same(both: tuple[Path, Path]) -> None:
    archived, now = both
    assert len(list((now / "documents").iterdir())) == 4
    assert compare_folders(archived, now, "documents") == []


@pytest.mark.parametrize("suffix", ["html", "pdf", "xlsx", "xml"])
def test_one_flipped_bit_in_a_document_is_a_difference_that_names_it(
    both: tuple[Path, Path], suffix: str
) -> None:
    archived, now = both
    path = archived / "documents" / f"RC-1.{suffix}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (found,) = compare_folders(archived, now, "documents")
    assert found.file == f"documents/RC-1.{suffix}"
    assert found.lines


def test_a_workbooks_differing_part_is_named(both: tuple[Path, Path]) -> None:
    archived, now = both
    book = Book("Invoice RC-1", "Research Computing", date(1993, 11, 8))
    book.sheet("RC-1")
    (now / "documents" / "RC-1.xlsx").write_bytes(book.saved())
    (found,) = compare_folders(archived, now, "documents")
    assert "the part xl/worksheets/sheet1.xml is not the same" in found.lines
    (archived / "documents" / "RC-1.xlsx").unlink()
    (found,) = compare_folders(archived, now, "documents")
    assert found.lines == ("it is not in the record, and was made now",)
