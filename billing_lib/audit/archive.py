"""The archive: records by folder, by run or by the number of an invoice in them.

runs/<facility>/<YYYY-MM>/<run>/data/invoices/<number>.json
"""

import hashlib
import os
from pathlib import Path

import polars as pl

from billing_lib.audit.bag import MANIFEST
from billing_lib.audit.verify import require_record
from billing_lib.errors import InvalidRecord, UnknownInvoice
from billing_lib.workflow.canonical import Invoice, read_invoice


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


def sealed_sha256(record: Path) -> dict[str, str]:
    """The sha256 of every file of a record as it was sealed, by its path under ``data/``.

    Raises
    ------
    InvalidRecord
        The record is not there, or has no manifest that can be read.
    """
    try:
        text = (record / MANIFEST).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRecord(
            f"the audit record cannot be read ({error})",
            where=str(record),
            remedy="BILLING_RUNS says where the archive is",
        ) from None
    pairs = (line.split("  ", 1) for line in text.splitlines())
    return {path.removeprefix("data/"): sha256 for sha256, path in pairs}


def sealed_file(record: Path, path: str, sha256: str) -> bytes:
    """A file of a record, by its path under ``data/``, as long as it is as it was sealed.

    Raises
    ------
    InvalidRecord
        It is missing, or was changed since.
    """
    file = record / "data" / path
    content = file.read_bytes() if file.is_file() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InvalidRecord(
            f"data/{path} is not as it was sealed",
            where=str(record),
            remedy="'billing verify' tells what was changed; restore it from a copy",
        )
    return content


def sealed_invoices(archive: Path, invoices: pl.DataFrame) -> list[Invoice]:
    """The canonical invoices, in order, each as it was issued and sealed.

    Parameters
    ----------
    invoices
        ``record``, ``number``, ``fingerprint`` as the ledger has it.

    Raises
    ------
    InvalidRecord
        One is missing, or is not what was issued.
    """
    return [
        read_invoice(sealed_file(archive / record, f"invoices/{number}.json", fingerprint).decode())
        for record, number, fingerprint in invoices.select(
            "record", "number", "fingerprint"
        ).iter_rows()
    ]
