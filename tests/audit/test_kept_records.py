"""Records of every format so far verify and reproduce by the program of today."""

import tarfile
from pathlib import Path

import pytest
from small_run import PROJECT

from billing_lib.audit.known import Known
from billing_lib.audit.reproduce import reproduce
from billing_lib.audit.verify import verify

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
    assert len(list((record / "data" / "invoices").glob("*.json"))) == 2
