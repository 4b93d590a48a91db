"""The archive: records by folder, by run or by the number of an invoice in them.

runs/<facility>/<YYYY-MM>/<run>/data/invoices/<number>.json
"""

import os
from pathlib import Path

from billing_lib.audit.verify import require_record
from billing_lib.errors import UnknownInvoice


def find_record(target: str, archive: Path) -> Path:
    """The record that a folder, a run's id or an invoice's number names.

    Raises
    ------
    InvalidRecord
        The folder is no record.
    UnknownInvoice
        No record in the archive has this run or number.
    """
    folder = Path(target)
    if os.path.isdir(target):  # noqa: PTH112 — unlike Path.is_dir it takes any text
        require_record(folder)
        return folder
    for record in list_records(archive):
        numbers = {path.stem for path in (record / "data" / "invoices").glob("*.json")}
        if target == record.name or target in numbers:
            return record
    raise UnknownInvoice(
        f"'{target}' is no record's folder, and no record in {archive}/ has this run or invoice",
        remedy="'billing invoices' lists the numbers; BILLING_RUNS says where the archive is",
    )


def list_records(archive: Path) -> list[Path]:
    """Every record in the archive, by facility, period and run."""
    return sorted(
        path
        for path in archive.glob("*/*/*")
        if path.is_dir() and not path.name.startswith(".") and (path / "bagit.txt").is_file()
    )
