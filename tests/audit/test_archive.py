"""Finding a record by its folder, its run or the number of an invoice in it."""

import shutil
from pathlib import Path

import pytest

from billing_lib.audit.archive import find_record, list_records
from billing_lib.errors import InvalidRecord, UnknownInvoice


@pytest.fixture
def archive(record: Path, tmp_path: Path) -> Path:
    """An archive with the record, a run that was interrupted, and what is no record."""
    runs = tmp_path / "runs"
    shutil.copytree(record, runs / "MIC" / "2020-04" / "MIC-2020-04-1")
    shutil.copytree(record, runs / "MIC" / "2020-04" / ".MIC-2020-04-2.partial")
    (runs / "MIC" / "2020-05" / "notes").mkdir(parents=True)
    (runs / "README.md").write_text("What a record is.\n")
    return runs


def test_a_record_is_found_by_run_number_and_folder(archive: Path, record: Path) -> None:
    place = archive / "MIC" / "2020-04" / "MIC-2020-04-1"
    for target in ("MIC-2020-04-1", "MIC-2020-00001", "MIC-2020-00002", str(place)):
        assert find_record(target, archive) == place
    assert find_record(str(record), archive) == record


def test_only_finished_records_are_listed(archive: Path) -> None:
    assert list_records(archive) == ["MIC/2020-04/MIC-2020-04-1"]
    assert list_records(archive / "nowhere") == []


@pytest.mark.parametrize(
    "target", ["MIC-2020-00003", "MIC-2020-04-2", "../MIC-2020-00001", "no/such/folder", "x" * 300]
)
def test_what_no_record_has_is_unknown(archive: Path, target: str) -> None:
    with pytest.raises(UnknownInvoice, match=r"no record in .*/runs/ has this run or invoice"):
        find_record(target, archive)


def test_a_folder_that_is_no_record_is_refused(archive: Path) -> None:
    with pytest.raises(InvalidRecord, match="no audit record"):
        find_record(str(archive / "MIC"), archive)
