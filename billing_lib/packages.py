"""Packages: the documents of a selection of invoices and statements as one zip, kept for a while.

    make_package(engine, settings, books, Export(…), ("pdf", "json"))
    7d1e2f3a4b5c: 72 files of 36 invoices, 1.4 MB, valid until 1994-03-06

Documents that were archived come from the audit record, byte for byte as they were sealed; others
are rendered once and kept in the store, where every package that has them refers to them. Made
again, a package is a new one with the same bytes. When it is no longer valid its zip goes, and
with it what no other package refers to; the ledger still lists it until somebody deletes it.
"""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.documents.package import write_zip
from billing_lib.documents.registry import renderers
from billing_lib.documents.statements import FORMATS
from billing_lib.documents.store import Store
from billing_lib.errors import InvalidFilter, UnknownExport
from billing_lib.ledger import packages as ledger_packages
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import record_event
from billing_lib.packaging import (
    JSON,
    Document,
    Step,
    of_invoices,
    of_statements,
    read_file,
    settle,
)
from billing_lib.pricing.fields import canonical_json
from billing_lib.settings import Settings
from billing_lib.sweeping import sweep
from billing_lib.workflow.exporting import Chosen, Export, choose
from billing_lib.workflow.finding import Books
from billing_lib.workflow.permissions import REVIEWER, may_team, require, require_team
from billing_lib.workflow.statement_view import read_statement


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

    Raises
    ------
    InvalidFilter
        Nothing is selected, or there is no such format.
    NotReady
        Nothing of it is issued, or another process keeps the store.
    NotPermitted
        A statement is asked for that may not be seen.
    InvalidRecord
        An archived document is not as it was sealed.
    UnwritableFile
        The store cannot be written.
    """
    wanted = _formats(formats)
    day = today or dt.datetime.now(dt.UTC).date()
    valid_until = day + dt.timedelta(days=settings.package_days)
    store = Store(settings.store)
    with reading(engine) as connection:
        chosen = choose(connection, export, books)
        known = ledger_packages.read_files(
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
            ledger_packages.insert_package(connection, values, _rows(documents))
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
        found = ledger_packages.read_packages(connection)
        seen = _seen(connection, ledger_packages.read_owners(connection))
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
    """A package's zip.

    Raises
    ------
    UnknownExport
        There is none with this id; it has expired, or its file is gone.
    NotPermitted
        Who is asking may not see every file of it.
    """
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
    """Delete a package, and of its files those that nothing else refers to; what was done.

    Raises
    ------
    UnknownExport
        There is none with this id.
    NotPermitted
        It takes the role reviewer in every facility that is in it.
    """
    day = today or dt.datetime.now(dt.UTC).date()
    store = Store(settings.store)
    with store.locked():
        with writing(engine) as connection:
            row = _require(connection, package)
            files = ledger_packages.read_files(connection, [package])
            facilities = files["facility"].unique().sort().to_list()
            for facility in facilities:
                require(connection, facility, REVIEWER)
            if not ledger_packages.delete_package(connection, package):
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
    found = ledger_packages.read_packages(connection, [package])
    if found.height == 0:
        raise _unknown(package)
    owners = ledger_packages.read_files(connection, [package]).select("facility", "team").unique()
    for facility, team in owners.sort("facility", "team").iter_rows():
        require_team(connection, facility, team)
    return found.row(0, named=True)


def _unknown(package: str) -> UnknownExport:
    return UnknownExport(f"there is no package {package}", remedy="'billing packages' lists them")
