"""The store: files by their content, each once, whoever refers to it.

    store/files/9c/9c41…   what has this sha256

Files are put there whole or not at all, and before the ledger refers to them; what nothing refers
to, after a crash or a deletion, is swept away. One process at a time puts and sweeps, so that
nothing goes while somebody is about to refer to it.

The files of a package: where each is archived or kept, and making those that are nowhere yet.

RC/RC-1994-00003.pdf         archived: data/documents/RC-1994-00003.pdf of its audit record
statements/bio-1993-11.json  rendered once, then in the store

Sweeping the store: what no valid package and no kept transformation refers to is removed.

Packages: the documents of a selection of invoices and statements as one zip, kept for a while.

    make_package(engine, settings, books, Export(…), ("pdf", "json"))
    7d1e2f3a4b5c: 72 files of 36 invoices, 1.4 MB, valid until 1994-03-06

Documents that were archived come from the audit record, byte for byte as they were sealed; others
are rendered once and kept in the store, where every package that has them refers to them. Made
again, a package is a new one with the same bytes. When it is no longer valid its zip goes, and
with it what no other package refers to; the ledger still lists it until somebody deletes it.
"""

import datetime as dt
import hashlib
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine

from billing_lib.audit.verify import sealed_file, sealed_invoices, sealed_sha256
from billing_lib.documents.package import STATEMENTS, Packed, write_zip
from billing_lib.documents.pictures import with_logo
from billing_lib.documents.registry import rendered, renderers
from billing_lib.documents.statement import FORMATS, render_statement
from billing_lib.documents.writing import make_folder, unwritable, write_file
from billing_lib.errors import InvalidFilter, NotReady, UnknownExport
from billing_lib.ledger import exports
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import record_event
from billing_lib.ledger.exports import read_kept_results, read_referred
from billing_lib.ledger.states import ACTIVE
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.settings import Settings
from billing_lib.workflow.invoice import Invoice
from billing_lib.workflow.permissions import REVIEWER, may_team, require, require_team
from billing_lib.workflow.search import Books, Chosen, Export, choose
from billing_lib.workflow.snapshot import read_logo
from billing_lib.workflow.statements import Statement, read_statement, statement_json

_WAIT = 600  # seconds for whoever makes a large package
_PARTIAL = "package.partial"


@dataclass(frozen=True)
class Store:
    """A folder that is a store."""

    folder: Path

    @contextmanager
    def locked(self, wait: float = _WAIT) -> Iterator[None]:
        """Keep others from putting and sweeping; they wait."""
        make_folder(self.folder / "files")
        lock = FileLock(self.folder / "lock")
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
        """Keep a file's content; its sha256."""
        sha256 = hashlib.sha256(content).hexdigest()
        path = self._path(sha256)
        make_folder(path.parent)
        write_file(path, content)
        return sha256

    @property
    def partial(self) -> Path:
        """Where something large is written, under the lock, before it is taken."""
        return self.folder / _PARTIAL

    def take(self) -> tuple[str, int]:
        """Keep what was written to ``partial``; its sha256 and bytes."""
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
        """Whether a file with this content is kept."""
        return self._path(sha256).is_file()

    def size(self, sha256: str) -> int:
        """The bytes of a file that is kept."""
        return self._path(sha256).stat().st_size

    def read(self, sha256: str) -> bytes:
        """A file's content."""
        path = self._path(sha256)
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != sha256:
            raise UnknownExport(
                "the file is gone from the store, or was changed there",
                where=str(path),
                remedy="make it again",
            )
        return content

    def sweep(self, referred: set[str]) -> int:
        """Remove what nothing refers to, and what a crash left half written; how many files."""
        left = [path for path in (self.folder / "files").glob("*/*") if path.name not in referred]
        for path in [*left, self.partial]:
            path.unlink(missing_ok=True)
        return len(left)

    def _path(self, sha256: str) -> Path:
        return self.folder / "files" / sha256[:2] / sha256


Step = Callable[[int, int, str], None]

JSON = "json"
"""The canonical invoice or statement itself, as a format."""


Stated = tuple[Statement, dict[str, Invoice]]
"""A statement with the canonical invoices on it, by number."""


@dataclass(frozen=True)
class File:
    """One file of a package.

    Attributes
    ----------
    path
        Inside the zip.
    source_sha256
        Of the canonical JSON that it is made of.
    sha256
        Its own; None until it is made.
    record, name
        The audit record that has it, and its path in there; else the store has it.
    """

    path: str
    format: str
    source_sha256: str
    sha256: str | None = None
    size: int = 0
    record: Path | None = None
    name: str = ""


@dataclass
class Document:
    """An invoice or statement with its files.

    Attributes
    ----------
    owners
        The facilities and teams that it is of.
    read
        Its canonical content.
    """

    packed: Packed
    owners: list[tuple[str, str]]
    read: Callable[[], Any]
    files: list[File] = field(default_factory=list)


def of_invoices(chosen: Chosen, archive: Path, formats: Sequence[str]) -> Iterator[Document]:
    """The invoices with their files, those that are archived with where and as what."""
    sealed: dict[str, dict[str, str]] = {}
    for row in chosen.invoices.iter_rows(named=True):
        record, number = archive / row["record"], row["number"]
        if row["record"] not in sealed:
            sealed[row["record"]] = sealed_sha256(record)
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
        read = partial(_invoice, archive, own)
        document = Document(packed, [(row["facility"], row["team"])], read)
        for suffix in formats:
            file = f"{number}.{suffix}".replace("/", "_")
            name = source if suffix == JSON else f"documents/{file}"
            made = File(f"{row['facility']}/{file}", suffix, row["fingerprint"])
            if name in archived:
                sha256 = row["fingerprint"] if suffix == JSON else archived[name]
                place = record / "data" / name
                size = place.stat().st_size if place.is_file() else 0
                made = replace(made, sha256=sha256, size=size, record=record, name=name)
            document.files.append(made)
        yield document


def of_statements(
    chosen: Chosen, statements: Sequence[Statement], archive: Path, formats: Sequence[str]
) -> Iterator[Document]:
    """The statements with their files in those formats that statements have."""
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
            File(f"{STATEMENTS}/{statement['id']}.{suffix}", suffix, source)
            for suffix in formats
            if suffix in FORMATS
        ]
        if files and owners:
            yield Document(
                packed,
                owners,
                partial(_stated, archive, statement, chosen.on(statement["id"])),
                files,
            )


def _invoice(archive: Path, own: pl.DataFrame) -> Mapping[str, Any]:
    (invoice,) = invoices_with_logos(archive, own).values()
    return invoice


def _stated(archive: Path, statement: Statement, on: pl.DataFrame) -> Stated:
    return statement, invoices_with_logos(archive, on)


def invoices_with_logos(archive: Path, invoices: pl.DataFrame) -> dict[str, Invoice]:
    """The canonical invoices by number, as they were issued, each with the logo that it names.

    Parameters
    ----------
    invoices
        Schema ARCHIVED.
    """
    snapshots = [archive / record / "data" / "snapshot" for record in invoices["record"]]
    return {
        str(invoice["number"]): dict(with_logo(invoice, read_logo(snapshot)))
        for invoice, snapshot in zip(sealed_invoices(archive, invoices), snapshots, strict=True)
    }


def settle(store: Store, documents: Sequence[Document], known: pl.DataFrame, step: Step) -> None:
    """Find the sha256 and size of every file; what is neither archived nor kept is rendered.

    Parameters
    ----------
    known
        Files that packages have or had (schema PACKAGE_FILE).
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


def _render(to_make: Sequence[tuple[Document, int]]) -> Iterator[bytes]:
    """The contents of these files, in this order; of many invoices by all processors."""
    invoices = [it for it in to_make if it[0].packed.kind == "invoice"]
    by_format: dict[str, Iterator[bytes]] = {}
    for suffix in {document.files[at].format for document, at in invoices}:
        read = [document.read() for document, at in invoices if document.files[at].format == suffix]
        by_format[suffix] = rendered(read, suffix)
    for document, at in to_make:
        suffix = document.files[at].format
        if document.packed.kind == "invoice":
            yield next(by_format[suffix])
        else:
            statement, on_it = document.read()
            yield render_statement(statement, suffix, on_it)


def read_file(store: Store, file: File) -> bytes:
    """A file's bytes."""
    sha256 = str(file.sha256)
    if file.record is not None:
        return sealed_file(file.record, file.name, sha256)
    return store.read(sha256)


def sweep(engine: Engine, store: Store, today: dt.date | None = None) -> int:
    """Sweep the store, which must be locked; how many files were removed.

    Packages that are no longer valid, those whose making or deleting a crash ended, are gone with
    it. It reads nothing of them but the hashes of their files.

    Parameters
    ----------
    today
        Until when packages must be valid to be kept; the day in UTC unless told.
    """
    day = today or dt.datetime.now(dt.UTC).date()
    with reading(engine) as connection:
        referred = read_referred(connection, day) | read_kept_results(connection)
    return store.sweep(referred)


@dataclass(frozen=True)
class Made:
    """A package that was made.

    Attributes
    ----------
    notes
        Sentences on what was left out.
    """

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
        """The same in words."""
        counted = [
            f"{count:,} {noun}{'' if count == 1 else 's'}"
            for count, noun in ((self.invoices, "invoice"), (self.statements, "statement"))
            if count
        ]
        return [
            f"{self.id}: {self.files:,} files of {' and '.join(counted)}, {self.bytes:,} bytes, "
            f"sha256 {self.sha256}, valid until {self.valid_until}",
            *self.notes,
        ]


def make_package(
    engine: Engine,
    settings: Settings,
    books: Books,
    export: Export,
    formats: Sequence[str],
    *,
    today: dt.date | None = None,
    step: Step = lambda done, total, what: None,
) -> Made:
    """Make a package of what who is asking may see; all of it or nothing.

    Parameters
    ----------
    formats
        ``pdf``, ``xlsx``, ``xml``, ``html``, ``json``, or that of an installed package.
    today
        From when its validity counts; the day in UTC unless told.
    """
    wanted = _formats(formats)
    day = today or dt.datetime.now(dt.UTC).date()
    valid_until = day + dt.timedelta(days=settings.package_days)
    store = Store(settings.store)
    with reading(engine) as connection:
        chosen = choose(connection, export, books)
        known = exports.read_files(
            connection, subjects=[*chosen.invoices["number"], *chosen.statements]
        )
    statements = [read_statement(engine, dict(books), each) for each in chosen.statements]
    documents = [
        *of_invoices(chosen, settings.runs, wanted),
        *of_statements(chosen, statements, settings.runs, wanted),
    ]
    package = uuid.uuid4().hex[:12]
    with store.locked():
        sweep(engine, store, day)
        settle(store, documents, known, step)
        content = {file.path: file for document in documents for file in document.files}

        def read(path: str) -> bytes:
            return read_file(store, content[path])

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
    return Made(
        package,
        chosen.invoices.height,
        len(chosen.statements),
        len(content),
        sha256,
        size,
        valid_until,
        _notes(chosen, wanted),
    )


def list_packages(engine: Engine, *, today: dt.date | None = None) -> pl.DataFrame:
    """The packages of which who is asking may see every file, the last made last.

    ``package``, ``made_at``, ``login``, ``selection``, ``formats``, ``files``, ``bytes``,
    ``valid_until``, ``state`` (valid or expired) and ``sha256``.
    """
    day = today or dt.datetime.now(dt.UTC).date()
    with reading(engine) as connection:
        found = exports.read_packages(connection)
        seen = _seen(connection, exports.read_owners(connection))
    return found.filter(pl.col("id").is_in(seen)).select(
        pl.col("id").alias("package"),
        pl.col("made_at").dt.strftime("%Y-%m-%d %H:%M"),
        "login",
        "selection",
        "formats",
        "files",
        "bytes",
        pl.col("valid_until").cast(pl.String),
        pl.when(pl.col("valid_until") >= day)
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
    if row["valid_until"] < (today or dt.datetime.now(dt.UTC).date()):
        raise UnknownExport(
            f"the package {package} was valid until {row['valid_until']}",
            remedy="make it again with 'billing package'",
        )
    return Store(settings.store).read(str(row["sha256"]))


def delete_package(
    engine: Engine,
    settings: Settings,
    package: str,
    reason: str = "",
    *,
    today: dt.date | None = None,
) -> str:
    """Delete a package, and of its files those that nothing else refers to; what was done."""
    day = today or dt.datetime.now(dt.UTC).date()
    store = Store(settings.store)
    with store.locked():
        with writing(engine) as connection:
            row = _require(connection, package)
            files = exports.read_files(connection, [package])
            facilities = files["facility"].unique().sort().to_list()
            for facility in facilities:
                require(connection, facility, REVIEWER)
            if not exports.delete_package(connection, package):
                raise _unknown(package)
            told = {name: row[name] for name in ("selection", "formats", "files", "sha256")}
            for facility in facilities:
                record_event(
                    connection,
                    facility,
                    kind="delete_package",
                    subject=package,
                    reason=reason,
                    before=canonical_json(told),
                )
        gone = sweep(engine, store, day)
    return f"{package}: deleted, {gone:,} files that nothing else refers to removed from the store"


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


def _rows(documents: Sequence[Document]) -> pl.DataFrame:
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
    lacking = [suffix for suffix in formats if suffix not in FORMATS]
    if chosen.statements and lacking:
        notes.append(f"statements are not written as {', '.join(lacking)}")
    return notes


def _seen(connection: Connection, owners: pl.DataFrame) -> list[str]:
    """The packages of which who is asking may see every file."""
    may = {
        pair: may_team(connection, *pair)
        for pair in owners.select("facility", "team").unique().iter_rows()
    }
    hidden = {package for package, *pair in owners.iter_rows() if not may[tuple(pair)]}
    return sorted(set(owners["package"]) - hidden)


def _require(connection: Connection, package: str) -> dict[str, Any]:
    """A package, for who may see every file of it."""
    found = exports.read_packages(connection, [package])
    if found.height == 0:
        raise _unknown(package)
    owners = exports.read_files(connection, [package]).select("facility", "team").unique()
    for facility, team in owners.sort("facility", "team").iter_rows():
        require_team(connection, facility, team)
    return found.row(0, named=True)


def _unknown(package: str) -> UnknownExport:
    return UnknownExport(f"there is no package {package}", remedy="'billing packages' lists them")
