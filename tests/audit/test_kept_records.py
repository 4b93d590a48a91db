"""Records of every format so far verify and reproduce by the program of today."""

import tarfile
from pathlib import Path

import pytest
from small_run import PROJECT

from billing_lib.audit.known import Known
from billing_lib.audit.reproduce import reproduce
from billing_lib.audit.verify import verify
from billing_lib.workflow.invoice import invoice_json, read_invoice

RECORDS = Path(__file__).parent / "records"


@pytest.mark.parametrize("name", sorted(path.name for path in RECORDS.glob("*.tar.gz")))
def test_a_kept_record_verifies_and_reproduces(tmp_path: Path, name: str) -> None:
    with tarfile.open(RECORDS / name) as archive:
        archive.extractall(tmp_path, filter="data")
    (record,) = tmp_path.iterdir()
    known = Known(repository=PROJECT)
    checked = {check.name: check for check in verify(record, known).checks}
    assert [check for check in checked.values() if check.findings] == []
    assert (checked["schema"].unchecked is None) is ("billing-invoice-1" not in name)
    reproduction = reproduce(record, known=known)
    assert reproduction.differences == ()
    texts = [path.read_text() for path in sorted((record / "data" / "invoices").glob("*.json"))]
    assert len(texts) == 2
    if checked["schema"].unchecked is None:  # read as today's, and written as it was
        invoices = [read_invoice(text) for text in texts]
        assert [invoice_json(invoice) for invoice in invoices] == texts
        assert [line["line"] for line in invoices[0]["lines"]] == [1, 2]
