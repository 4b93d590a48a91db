"""Packages: documents of a selection in one zip, kept for a while, and the store of their files.

    make_package(engine, settings, books, ExportSelection(…), ("pdf", "json"))
    7d1e2f3a4b5c: 72 files of 36 invoices, 1.4 MB, valid until 1994-03-06

Archived documents come from the audit record, byte for byte as sealed. Others are rendered once and
kept in the store, where all packages share them. A package made again has a new id and the same
bytes. The zip of an expired package is deleted; the ledger lists the package until a user deletes
it.

    RC/RC-1994-00003.pdf         archived: data/documents/RC-1994-00003.pdf of its audit record
    statements/bio-1993-11.json  rendered once, then in the store

The store keeps each content once, under its sha256 (``store/files/9c/9c41…``). A file is written
whole, before the ledger refers to it. Files without a reference, left by a crash or a deletion, are
swept away. One process at a time writes and sweeps, so that no file is swept just before the ledger
refers to it.
"""

import datetime as dt
import hashlib
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine

from billing_lib.audit.archive import open_record
from billing_lib.audit.verify import sealed_file, sealed_invoices, sealed_sha256
from billing_lib.documents.package import STATEMENTS, Packed, write_zip
from billing_lib.documents.pictures import with_logo
from billing_lib.documents.registry import rendered, renderers
from billing_lib.documents.statement import FORMATS, render_statement, statement_file
from billing_lib.documents.writing import make_folder, unwritable, write_file
from billing_lib.errors import InvalidFilter, NotReady, UnknownExport, count_of
from billing_lib.folders import Folder, RemoteFolder
from billing_lib.ledger import exports
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import record_event
from billing_lib.ledger.messages import add_notices, personal
from billing_lib.ledger.people import current_login
from billing_lib.ledger.states import ACTIVE
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.settings import Settings
from billing_lib.workflow.invoice import Invoice
from billing_lib.workflow.permissions import REVIEWER, may_team, require, require_team
from billing_lib.workflow.search import Books, Chosen, ExportSelection, choose
from billing_lib.workflow.snapshot import read_logo
from billing_lib.workflow.statements import Statement, read_statement, statement_json
from billing_lib.workflow.steps import Progress, unheard

_WAIT = 600  # seconds; a large package takes minutes
_PARTIAL = "package.partial"


@dataclass(frozen=True)
class Store:
    """A folder of files, named by their sha256."""

    folder: Path

    @contextmanager
    def locked(self, wait: float = _WAIT) -> Iterator[None]:
        """Let no other process write or sweep; it waits for its turn."""
        make_folder(self.folder / "files")
        lock = FileLock(self.folder / "lock", mode=0o666)  # less the umask
        try:
            lock.acquire(timeout=wait)
        except Timeout:
            raise NotReady(
                "another process is making packages or transformations at this moment",
                where=str(self.folder),
                remedy="run the command again when it has ended",
            ) from None
        except OSError as error:
            raise unwritable(self.folder, error) from None
        try:
            yield
        finally:
            lock.release()

    def put(self, content: bytes) -> str:
        """Store a file's content; returns its sha256."""
        sha256 = hashlib.sha256(content).hexdigest()
        path = self._path(sha256)
        make_folder(path.parent)
        write_file(path, content)
        return sha256

    @property
    def partial(self) -> Path:
        """The path for writing a large file, under the lock, before :meth:`take`."""
        return self.folder / _PARTIAL

    def take(self) -> tuple[str, int]:
        """Store the file written to ``partial``; returns its sha256 and size in bytes."""
        with self.partial.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            size = file.seek(0, os.SEEK_END)
        path = self._path(sha256)
        make_folder(path.parent)
        try:
            self.partial.replace(path)
        except OSError as error:
            raise unwritable(path, error) from None
        return sha256, size

    def has(self, sha256: str) -> bool:
        """Whether the store has a file with this content."""
        return self._path(sha256).is_file()

    def size(self, sha256: str) -> int:
        """The size of a stored file in bytes."""
        return self._path(sha256).stat().st_size

    def read(self, sha256: str) -> bytes:
        """A file's content."""
        path = self._path(sha256)
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != sha256:
            raise _gone(str(path))
        return content

    def sweep(self, referred: set[str]) -> int:
        """Delete files without a reference and a half-written one; returns the number of files."""
        paths = (self.folder / "files").glob("*/*")
        unreferred = [path for path in paths if path.name not in referred]
        for path in [*unreferred, self.partial]:
            path.unlink(missing_ok=True)
        return len(unreferred)

    def _path(self, sha256: str) -> Path:
        return self.folder / _stored(sha256)


@dataclass(frozen=True)
class RemoteStore:
    """The same in a folder elsewhere, for many machines at once.

    There is no lock: a file is swept only a day after it was written, and putting a file that is
    there writes it again.
    """

    remote: RemoteFolder

    @contextmanager
    def locked(self, wait: float = _WAIT) -> Iterator[None]:
        """Nothing: no process needs to wait for another."""
        yield

    def put(self, content: bytes) -> str:
        """Store a file's content; returns its sha256."""
        sha256 = hashlib.sha256(content).hexdigest()
        self.remote.write(_stored(sha256), content)
        return sha256

    @property
    def partial(self) -> Path:
        """The local path for writing a large file before :meth:`take`."""
        return self.remote.copies / _PARTIAL

    def take(self) -> tuple[str, int]:
        """Store the file written to ``partial``; returns its sha256 and size in bytes."""
        content = self.partial.read_bytes()
        self.partial.unlink()
        return self.put(content), len(content)

    def has(self, sha256: str) -> bool:
        """Whether the store has a file with this content."""
        return self.remote.exists(_stored(sha256))

    def size(self, sha256: str) -> int:
        """The size of a stored file in bytes."""
        return self.remote.size(_stored(sha256))

    def read(self, sha256: str) -> bytes:
        """A file's content."""
        path = _stored(sha256)
        content = self.remote.read(path) if self.remote.exists(path) else b""
        if hashlib.sha256(content).hexdigest() != sha256:
            raise _gone(f"{self.remote}/{path}")
        return content

    def sweep(self, referred: set[str]) -> int:
        """Delete files without a reference that are older than a day; returns their number."""
        before = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        paths = (path for path in self.remote.names("files") if Path(path).name not in referred)
        unreferred = [path for path in paths if self.remote.modified(path) < before]
        self.remote.delete(unreferred)
        return len(unreferred)


def open_store(folder: Folder) -> Store | RemoteStore:
    """The store in a folder anywhere."""
    return Store(folder) if isinstance(folder, Path) else RemoteStore(folder)


def _stored(sha256: str) -> str:
    return f"files/{sha256[:2]}/{sha256}"


def _gone(where: str) -> UnknownExport:
    return UnknownExport(
        "the file is gone from the store, or was changed there", where=where, remedy="make it again"
    )


JSON = "json"
"""The format of the canonical invoice or statement itself."""


@dataclass(frozen=True)
class _File:
    """One file of a package."""

    path: str  # in the zip
    format: str
    source_sha256: str  # of the canonical JSON
    sha256: str | None = None  # of the file; None before it is made
    size: int = 0
    record: Path | None = None  # the audit record of an archived file; other files are in the store
    name: str = ""  # its path in the record


@dataclass
class _Document:
    """An invoice or statement with its files."""

    packed: Packed
    owners: list[tuple[str, str]]  # its facilities and teams
    invoices: Callable[[], dict[str, Invoice]]  # reads it, or the invoices on the statement
    files: list[_File] = field(default_factory=list)
    statement: Statement | None = None


def _invoice_documents(
    chosen: Chosen, archive: Folder, formats: Sequence[str]
) -> Iterator[_Document]:
    """The invoices with their files, archived or to be made."""
    sealed: dict[str, dict[str, str]] = {}
    for row in chosen.invoices.iter_rows(named=True):
        record, number = open_record(archive, row["record"]), row["number"]
        if row["record"] not in sealed:
            sealed[row["record"]] = sealed_sha256(record, row["seal"])
        archived = sealed[row["record"]]
        source = f"invoices/{number}.json"
        packed = Packed(
            kind="invoice",
            facility=row["facility"],
            number=number,
            project=row["project"],
            team=row["team"],
            period=row["period"],
            date=str(row["invoice_date"]),
            state=row["state"],
            total=money_text(row["total"], minor_places(row["currency"])),
            currency=row["currency"],
            counts=row["state"] in ACTIVE,
        )
        own = chosen.invoices.filter(pl.col("number") == number)
        read = partial(invoices_with_logos, archive, own)
        document = _Document(packed, [(row["facility"], row["team"])], read)
        for suffix in formats:
            file = f"{number}.{suffix}".replace("/", "_")
            name = source if suffix == JSON else f"documents/{file}"
            packed_file = _File(f"{row['facility']}/{file}", suffix, row["fingerprint"])
            if name in archived:
                sha256 = row["fingerprint"] if suffix == JSON else archived[name]
                place = record / "data" / name
                size = place.stat().st_size if place.is_file() else 0
                packed_file = replace(
                    packed_file, sha256=sha256, size=size, record=record, name=name
                )
            document.files.append(packed_file)
        for name in archived:  # the detail is part of the invoice
            if name.startswith(f"invoices/{number}.charges"):
                file = name.removeprefix("invoices/")
                document.files.append(
                    _File(
                        f"{row['facility']}/{file}",
                        file.removeprefix(f"{number}."),
                        row["fingerprint"],
                        archived[name],
                        (record / "data" / name).stat().st_size,
                        record,
                        name,
                    )
                )
        yield document


def _statement_documents(
    chosen: Chosen, statements: Sequence[Statement], archive: Folder, formats: Sequence[str]
) -> Iterator[_Document]:
    """The statements with their files, in the formats of statements."""
    for statement in statements:
        on = chosen.stated.filter(pl.col("statement") == statement["id"])
        owners = on.select("facility", "team").unique().sort("facility", "team").rows()
        packed = Packed(
            kind="statement",
            facility=" ".join(facility for facility, _ in owners),
            number=statement["id"],
            project="",
            team=statement["team"]["code"],
            period=statement["period"],
            date="",
            state=statement["state"],
            total=statement["totals"]["total"],
            currency=statement["currency"],
            counts=True,
        )
        source = hashlib.sha256(statement_json(statement).encode()).hexdigest()
        files = [
            _File(f"{STATEMENTS}/{statement_file(statement, suffix)}", suffix, source)
            for suffix in formats
            if suffix in FORMATS
        ]
        if files and owners:
            read = partial(invoices_with_logos, archive, chosen.on(statement["id"]))
            yield _Document(packed, owners, read, files, statement)


def invoices_with_logos(archive: Folder, invoices: pl.DataFrame) -> dict[str, Invoice]:
    """The canonical invoices as issued, by number, each with its logo.

    Parameters
    ----------
    invoices
        Schema ARCHIVED.
    """
    snapshots = [
        open_record(archive, record) / "data" / "snapshot" for record in invoices["record"]
    ]
    return {
        str(invoice["number"]): dict(with_logo(invoice, read_logo(snapshot)))
        for invoice, snapshot in zip(sealed_invoices(archive, invoices), snapshots, strict=True)
    }


def _complete_files(
    store: Store | RemoteStore, documents: Sequence[_Document], known: pl.DataFrame, step: Progress
) -> None:
    """Set the sha256 and size of every file; files neither archived nor in the store are rendered.

    Parameters
    ----------
    known
        Files of earlier packages (schema PACKAGE_FILE).
    """
    made_before = {
        (row["subject"], row["format"], row["source_sha256"]): row["sha256"]
        for row in known.iter_rows(named=True)
        if store.has(row["sha256"])
    }
    to_make = [
        (document, at)
        for document in documents
        for at, file in enumerate(document.files)
        if file.sha256 is None
        and (document.packed.number, file.format, file.source_sha256) not in made_before
    ]
    for count, ((document, at), content) in enumerate(
        zip(to_make, _render(to_make), strict=True), start=1
    ):
        document.files[at] = replace(document.files[at], sha256=store.put(content))
        step(count, len(to_make), "package")
    for document in documents:
        for at, file in enumerate(document.files):
            key = (document.packed.number, file.format, file.source_sha256)
            sha256 = file.sha256 or made_before[key]
            size = file.size if file.record is not None else store.size(sha256)
            document.files[at] = replace(file, sha256=sha256, size=size)
            document.packed.files[file.path] = sha256
            document.packed.sizes[file.path] = size


def _render(to_make: Sequence[tuple[_Document, int]]) -> Iterator[bytes]:
    """The contents of these files, in this order; many invoices are rendered by all processors."""
    by_format: dict[str, list[Invoice]] = {}
    for document, at in to_make:
        if document.statement is None:
            by_format.setdefault(document.files[at].format, []).extend(document.invoices().values())
    contents = {suffix: rendered(invoices, suffix) for suffix, invoices in by_format.items()}
    for document, at in to_make:
        suffix = document.files[at].format
        if document.statement is None:
            yield next(contents[suffix])
        else:
            yield render_statement(document.statement, suffix, document.invoices())


def sweep(engine: Engine, store: Store | RemoteStore, today: dt.date | None = None) -> int:
    """Delete files without a reference from the locked store; returns their number.

    Also deletes expired packages and packages left incomplete by a crash.
    """
    with reading(engine) as connection:
        referred = exports.read_referred(connection, today or _today())
        referred |= exports.read_kept_results(connection)
    return store.sweep(referred)


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


@dataclass(frozen=True)
class MadePackage:
    """A new package; ``notes`` are sentences about documents left out."""

    id: str
    invoices: int
    statements: int
    files: int
    sha256: str
    bytes: int
    valid_until: dt.date
    notes: list[str]

    @property
    def sentences(self) -> list[str]:
        """The package and its notes in sentences."""
        counted = [
            f"{count:,} {noun}{'' if count == 1 else 's'}"
            for count, noun in ((self.invoices, "invoice"), (self.statements, "statement"))
            if count
        ]
        return [
            f"{self.id}: {count_of(self.files, 'file')} of {' and '.join(counted)}, "
            f"{self.bytes:,} bytes, "
            f"sha256 {self.sha256}, valid until {self.valid_until}",
            *self.notes,
        ]


def make_package(
    engine: Engine,
    settings: Settings,
    books: Books,
    export: ExportSelection,
    formats: Sequence[str],
    *,
    today: dt.date | None = None,
    step: Progress = unheard,
) -> MadePackage:
    """Make a package of the selected documents that the user may see, whole or not at all.

    A statement brings the invoices on it. The user who asked for the package gets a notice.

    Parameters
    ----------
    formats
        Those of documents/registry.py, and JSON.
    today
        The first day of validity; by default today in UTC.
    """
    wanted = _formats(formats)
    day = today or _today()
    valid_until = day + dt.timedelta(days=settings.package_days)
    store = open_store(settings.store)
    with reading(engine) as connection:
        chosen = choose(connection, export, books)
        # A statement is packed with its invoices.
        every = pl.concat([chosen.invoices, chosen.archived]).unique("number")
        chosen = replace(chosen, invoices=every.sort("facility", "number"))
        known = exports.read_files(
            connection, subjects=[*chosen.invoices["number"], *chosen.statements]
        )
    statements = [read_statement(engine, dict(books), each) for each in chosen.statements]
    documents = [
        *_invoice_documents(chosen, settings.runs, wanted),
        *_statement_documents(chosen, statements, settings.runs, wanted),
    ]
    package = uuid.uuid4().hex[:12]
    with store.locked():
        sweep(engine, store, day)
        _complete_files(store, documents, known, step)
        content = {file.path: file for document in documents for file in document.files}

        def read(path: str) -> bytes:
            file, sha256 = content[path], str(content[path].sha256)
            if file.record is None:
                return store.read(sha256)
            return sealed_file(file.record, file.name, sha256)

        write_zip(store.partial, [document.packed for document in documents], wanted, read)
        sha256, size = store.take()
        values = {
            "id": package,
            "selection": export.words,
            "formats": ", ".join(wanted),
            "files": len(content),
            "sha256": sha256,
            "bytes": size,
            "valid_until": valid_until,
        }
        with writing(engine) as connection:
            exports.insert_package(connection, values, _rows(documents))
            add_notices(connection, [_notice(connection, values, documents)])
    return MadePackage(
        package,
        chosen.invoices.height,
        len(chosen.statements),
        len(content),
        sha256,
        size,
        valid_until,
        _notes(chosen, wanted),
    )


def _notice(
    connection: Connection, package: dict[str, Any], documents: Sequence[_Document]
) -> dict[str, str]:
    """The notice for the user who asked for a package."""
    return {
        "facility": min(facility for document in documents for facility, _ in document.owners),
        "team": personal(current_login(connection)),
        "kind": "package",
        "key": package["id"],
        "text": f"Package {package['id']} ({package['selection']}) is ready: {package['files']:,} "
        f"files, valid until {package['valid_until']}",
        "link": "",
    }


def list_packages(engine: Engine, *, today: dt.date | None = None) -> pl.DataFrame:
    """The packages whose files the user may all see, the newest last.

    ``package``, ``made_at``, ``login``, ``selection``, ``formats``, ``files``, ``bytes``,
    ``valid_until``, ``state`` (valid or expired) and ``sha256``.
    """
    with reading(engine) as connection:
        packages = exports.read_packages(connection)
        visible = _visible(connection, exports.read_owners(connection))
    return packages.filter(pl.col("id").is_in(visible)).select(
        pl.col("id").alias("package"),
        pl.col("made_at").dt.strftime("%Y-%m-%d %H:%M"),
        "login",
        "selection",
        "formats",
        "files",
        "bytes",
        pl.col("valid_until").cast(pl.String),
        pl.when(pl.col("valid_until") >= (today or _today()))
        .then(pl.lit("valid"))
        .otherwise(pl.lit("expired"))
        .alias("state"),
        "sha256",
    )


def read_package(
    engine: Engine, settings: Settings, package: str, *, today: dt.date | None = None
) -> bytes:
    """A package's zip."""
    with reading(engine) as connection:
        row = _require(connection, package)
    if row["valid_until"] < (today or _today()):
        raise UnknownExport(
            f"the package {package} was valid until {row['valid_until']}",
            remedy="make it again with 'billing package'",
        )
    return open_store(settings.store).read(str(row["sha256"]))


def delete_package(
    engine: Engine,
    settings: Settings,
    package: str,
    reason: str = "",
    *,
    today: dt.date | None = None,
) -> str:
    """Delete a package and its files without another reference; returns a sentence."""
    store = open_store(settings.store)
    with store.locked():
        with writing(engine) as connection:
            row = _require(connection, package)
            files = exports.read_files(connection, [package])
            facilities = files["facility"].unique().sort().to_list()
            for facility in facilities:
                require(connection, facility, REVIEWER)
            if not exports.delete_package(connection, package):
                raise _unknown(package)
            before = {name: row[name] for name in ("selection", "formats", "files", "sha256")}
            for facility in facilities:
                record_event(
                    connection,
                    facility,
                    kind="delete_package",
                    subject=package,
                    reason=reason,
                    before=canonical_json(before),
                )
        count = sweep(engine, store, today)
    return (
        f"{package}: deleted, with {count_of(count, 'file')} of the store that "
        "nothing else refers to"
    )


def _formats(formats: Sequence[str]) -> tuple[str, ...]:
    known = [*renderers(), JSON]
    for suffix in formats:
        if suffix not in known:
            raise InvalidFilter(
                f"there is no format '{suffix}'", remedy=f"it is one of {', '.join(known)}"
            )
    if not formats:
        raise InvalidFilter("say in which formats", remedy=f"some of {', '.join(known)}")
    return tuple(sorted(set(formats)))


def _rows(documents: Sequence[_Document]) -> pl.DataFrame:
    rows = [
        {
            "path": file.path,
            "facility": facility,
            "team": team,
            "subject": document.packed.number,
            "format": file.format,
            "source_sha256": file.source_sha256,
            "sha256": file.sha256,
            "bytes": file.size,
        }
        for document in documents
        for file in document.files
        for facility, team in document.owners
    ]
    return pl.DataFrame(rows)


def _notes(chosen: Chosen, formats: Sequence[str]) -> list[str]:
    notes = []
    if chosen.drafts:
        notes.append(f"{chosen.drafts:,} drafts are left out: they are not issued yet")
    unsuited = [suffix for suffix in formats if suffix not in FORMATS]
    if chosen.statements and unsuited:
        notes.append(f"statements are not written as {', '.join(unsuited)}")
    return notes


def _visible(connection: Connection, owners: pl.DataFrame) -> list[str]:
    """The packages whose files the user may all see."""
    may = {
        pair: may_team(connection, *pair)
        for pair in owners.select("facility", "team").unique().iter_rows()
    }
    hidden = {package for package, *pair in owners.iter_rows() if not may[tuple(pair)]}
    return sorted(set(owners["package"]) - hidden)


def _require(connection: Connection, package: str) -> dict[str, Any]:
    """A package's row, if the user may see all its files."""
    rows = exports.read_packages(connection, [package])
    if rows.height == 0:
        raise _unknown(package)
    owners = exports.read_files(connection, [package]).select("facility", "team").unique()
    for facility, team in owners.sort("facility", "team").iter_rows():
        require_team(connection, facility, team)
    return rows.row(0, named=True)


def _unknown(package: str) -> UnknownExport:
    return UnknownExport(f"there is no package {package}", remedy="'billing packages' lists them")
