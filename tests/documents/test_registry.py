"""Documents are written by suffix; the same invoice gives the same bytes everywhere."""

import hashlib
import os
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from sample_invoice import draft, invoice
from sample_statement import documents

from billing_lib.documents import registry, renderers, write_documents
from billing_lib.errors import AmbiguousFormat, NotReady

# Ten years on, by every clock that Python code can ask; prints each document's digest.
ELSEWHERE = """
import datetime, hashlib, sys, time
sys.path.insert(0, sys.argv[1])
now, local = time.time, time.localtime
time.time = lambda: now() + 3.2e8
time.localtime = lambda when=None: local(time.time() if when is None else when)
class Later(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
datetime.datetime = Later
from sample_statement import documents
for name, content in documents().items():
    print(name, hashlib.sha256(content).hexdigest())
"""


def digests() -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in documents().items()}


def test_a_document_of_each_format_is_written_under_the_invoice_number(tmp_path: Path) -> None:
    written = write_documents([invoice()], tmp_path / "documents")
    assert [path.name for path in written] == [
        "RC-1993-00001.html",
        "RC-1993-00001.pdf",
        "RC-1993-00001.xlsx",
        "RC-1993-00001.xml",
    ]
    page, pdf, workbook, xml = (path.read_bytes() for path in written)
    assert page.startswith(b"<!doctype html>")
    assert pdf.startswith(b"%PDF-")
    assert workbook.startswith(b"PK")
    assert xml.startswith(b"<?xml version='1.0' encoding='UTF-8'?>\n<Invoice ")


def test_a_draft_is_written_for_people_under_its_code_and_never_for_programs(
    tmp_path: Path,
) -> None:
    written = write_documents([draft()], tmp_path)
    assert [path.name for path in written] == [
        "RC-1993-10-1_u4.html",
        "RC-1993-10-1_u4.pdf",
        "RC-1993-10-1_u4.xlsx",
    ]
    with pytest.raises(NotReady, match=r"RC-1993-10-1/u4 is a draft, and \.xml is for issued"):
        registry.render(draft(), "xml")


def test_rendering_twice_gives_the_same_bytes() -> None:
    assert digests() == digests()


@pytest.mark.parametrize(
    "place",
    [
        {"TZ": "Pacific/Kiritimati", "LANG": "de_DE.UTF-8", "LC_ALL": "de_DE.UTF-8"},
        {"TZ": "America/Los_Angeles", "LANG": "C", "LC_ALL": "C", "PYTHONHASHSEED": "7"},
    ],
)
def test_another_place_language_and_year_give_the_same_bytes(place: dict[str, str]) -> None:
    printed = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(Path(__file__).parent)],
        env=os.environ | place,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert dict(line.split() for line in printed.splitlines()) == digests()


def offer(monkeypatch: pytest.MonkeyPatch, **offered: str) -> None:
    points = EntryPoints(
        EntryPoint(name.rstrip("_"), value, registry.GROUP) for name, value in offered.items()
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))


def test_an_installed_package_adds_a_format(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, json="json:dumps")
    assert list(renderers()) == ["html", "pdf", "xlsx", "xml", "json"]


def test_two_packages_for_one_format_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, csv="json:dumps", csv_="json:loads")
    with pytest.raises(AmbiguousFormat, match=r"json:dumps and json:loads both write \.csv"):
        renderers()
