"""A record of April 2020 that the program issued when each charge was a line (billing-invoice/2).

data/MIC-2020-04-1.tar.xz is sample_facility.py's month as commit ff81918 issued it.
"""

import tarfile
from pathlib import Path

import pytest

from billing_lib.audit.reproduce import reproduce
from billing_lib.audit.verify import verify
from billing_lib.documents.view import view
from billing_lib.workflow.invoice import invoice_json, read_invoice


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(Path(__file__).parent / "data" / "MIC-2020-04-1.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "MIC-2020-04-1"


def test_an_earlier_record_verifies_and_its_invoices_are_read(earlier: Path) -> None:
    assert verify(earlier).findings == []
    text = (earlier / "data" / "invoices" / "MIC-2020-00001.json").read_text(encoding="utf-8")
    invoice = read_invoice(text)
    assert invoice_json(invoice) == text
    assert [(line["line"], line["charges"], line["total"]) for line in invoice["lines"]] == [
        (1, 1, "133.33"),
        (2, 1, "15.00"),
    ]
    page = view(invoice)
    assert (page.charges.title, page.detail) == ("Itemised charges", None)


def test_an_earlier_record_reproduces_by_its_own_program(earlier: Path) -> None:
    assert reproduce(earlier).differences == ()
