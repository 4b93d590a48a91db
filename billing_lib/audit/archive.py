"""The archive: where audit records are, on this machine or elsewhere.

    runs/RC/1993-11/.RC-1993-11-1.partial   being made
    runs/RC/1993-11/RC-1993-11-1            a record: its place in the archive, facility/month/id
    s3://bucket/archive/RC/1993-11/RC-1993-11-1/data/…, then bagit.txt

A record is made in a local folder. Before the commit it is stored, and after it, published: in one
step each, so that the archive never shows half a record. On this machine the step is a rename.
Elsewhere all files but ``bagit.txt`` are stored before the commit, and that one file, the last,
publishes them: a folder without it is no record. Its content is the same for all records, so any
machine can publish what another one stored.

Who reads a record gets a local folder; of a record elsewhere it is a copy for this process.
"""

import os
import shutil
from pathlib import Path

from sqlalchemy import Engine

from billing_lib.audit.bag import DECLARATION, DECLARATION_TEXT, MANIFEST, TAG_MANIFEST
from billing_lib.errors import InvalidRecord, UnknownInvoice
from billing_lib.folders import Folder
from billing_lib.ledger import runs
from billing_lib.ledger.database import reading


def list_records(archive: Folder) -> list[str]:
    """The places of all records, sorted by facility, month and run."""
    if isinstance(archive, Path):
        found = (
            path.relative_to(archive).as_posix() for path in archive.glob(f"*/*/*/{DECLARATION}")
        )
    else:
        found = iter(name for name in archive.names() if name.count("/") == 3)
    places = (name.removesuffix(f"/{DECLARATION}") for name in found if name.endswith(DECLARATION))
    return sorted(place for place in places if not place.rpartition("/")[2].startswith("."))


def open_record(archive: Folder, place: str | Path) -> Path:
    """The folder of a record; one that is elsewhere is copied here once for this process."""
    if isinstance(archive, Path):
        return archive / place
    copy = archive.copies / place
    if not copy.exists():
        partial = partial_record(archive, place)
        archive.download(str(place), partial)
        if partial.exists():
            partial.rename(copy)
    return copy


def open_anew(archive: Folder, place: str | Path) -> Path:
    """The folder of a record as it is in the archive now, for whoever checks it."""
    forget(archive, place)
    return open_record(archive, place)


def forget(archive: Folder, place: str | Path) -> None:
    """Delete this process's copy of a record elsewhere."""
    if not isinstance(archive, Path):
        shutil.rmtree(archive.copies / place, ignore_errors=True)


def find_record(target: str, archive: Folder, engine: Engine | None = None) -> Path:
    """The folder of the record that a folder, a run's id or an invoice's number names.

    A ledger knows the place of each record; without one, the archive is searched.

    Raises
    ------
    InvalidRecord
        The folder is no record.
    UnknownInvoice
        No record in the archive has this run or number.
    """
    folder = Path(target)
    if os.path.isdir(target):  # noqa: PTH112 — Path.is_dir fails on some texts
        require_record(folder)
        return folder
    if engine is not None:
        with reading(engine) as connection:
            place = runs.find_record(connection, target)
        if place is not None:
            record = open_anew(archive, place)
            if (record / DECLARATION).is_file():
                return record
    for place in list_records(archive):
        if target == place.rpartition("/")[2] or target in _numbers(archive, place):
            return open_anew(archive, place)
    raise UnknownInvoice(
        f"'{target}' is no record's folder, and no record in {archive}/ has this run or invoice",
        remedy="'billing invoices' lists the numbers; BILLING_RUNS says where the archive is",
    )


def _numbers(archive: Folder, place: str) -> set[str]:
    """The numbers of the invoices in a record."""
    invoices = f"{place}/data/invoices"
    if isinstance(archive, Path):
        return {path.stem for path in (archive / invoices).glob("*.json")}
    return {Path(name).stem for name in archive.names(invoices) if name.endswith(".json")}


def require_record(record: Path) -> None:
    """Raise InvalidRecord if a folder is missing or has none of a record's files."""
    if not any((record / name).exists() for name in (DECLARATION, MANIFEST, TAG_MANIFEST)):
        raise InvalidRecord(
            "this folder is no audit record (it has no bagit.txt and no manifest)",
            where=str(record),
            remedy="name a folder as runs/<facility>/<period>/<run>",
        )


def partial_record(archive: Folder, place: str | Path) -> Path:
    """The local folder in which the record of a place is made."""
    local = archive if isinstance(archive, Path) else archive.copies
    whole = local / place
    return whole.with_name(f".{whole.name}.partial")


def store(archive: Folder, place: str | Path) -> None:
    """Store the sealed record of a place, not yet published."""
    if not isinstance(archive, Path):
        partial = partial_record(archive, place)
        files = (path.relative_to(partial) for path in partial.rglob("*") if path.is_file())
        archive.upload(partial, str(place), (str(it) for it in files if str(it) != DECLARATION))


def stored_only(archive: Folder, place: str | Path) -> bool:
    """Whether the record of a place is stored and not published."""
    if isinstance(archive, Path):
        return partial_record(archive, place).is_dir() and not (archive / place).exists()
    return not archive.exists(f"{place}/{DECLARATION}")


def publish(archive: Folder, place: str | Path) -> None:
    """Publish the stored record of a place."""
    partial = partial_record(archive, place)
    if isinstance(archive, Path):
        partial.rename(archive / place)
        folder = os.open(partial.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return
    archive.write(f"{place}/{DECLARATION}", DECLARATION_TEXT.encode())
    if partial.exists():
        partial.rename(archive.copies / place)


def discard(archive: Folder, place: str | Path) -> None:
    """Delete the files of a record that is not published, made or stored."""
    partial = partial_record(archive, place)
    if partial.exists():
        shutil.rmtree(partial)
    if not isinstance(archive, Path):
        archive.delete(archive.names(str(place)))
