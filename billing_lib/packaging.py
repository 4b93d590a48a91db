"""The files of a package: where each is archived or kept, and making those that are nowhere yet.

RC/RC-1994-00003.pdf         archived: data/documents/RC-1994-00003.pdf of its audit record
statements/bio-1993-11.json  rendered once, then in the store
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from billing_lib.audit.archive import sealed_file, sealed_invoices, sealed_sha256
from billing_lib.documents.bundle import rendered
from billing_lib.documents.logo import with_logo
from billing_lib.documents.package import STATEMENTS, Packed
from billing_lib.documents.statements import FORMATS, render_statement
from billing_lib.documents.store import Store
from billing_lib.ledger.states import ACTIVE
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.workflow.canonical import Invoice
from billing_lib.workflow.exporting import Chosen
from billing_lib.workflow.snapshot import read_logo
from billing_lib.workflow.statement_view import Statement, statement_json

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

    Raises
    ------
    InvalidRecord
        One is missing, or is not what was issued.
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
    """A file's bytes.

    Raises
    ------
    InvalidRecord, UnknownExport
        It is not as it was sealed, or not as it was kept.
    """
    sha256 = str(file.sha256)
    if file.record is not None:
        return sealed_file(file.record, file.name, sha256)
    return store.read(sha256)
