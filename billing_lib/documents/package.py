"""A package: documents of invoices and statements in one zip, with a summary.

    summary.html  summary.csv            number, project, team, state, total of each document
    manifest-sha256.txt                  for sha256sum -c
    RC/RC-1994-00003.pdf                 a folder per facility
    statements/bio-1993-11.pdf

The same documents give the same bytes: entries are sorted and have a constant time and constant
permissions, and nothing inside tells when or by whom the package was made.
"""

import csv
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from io import StringIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from billing_lib.documents.html import page_template
from billing_lib.documents.text import money, printable
from billing_lib.documents.view import DocumentTable, numbers, texts
from billing_lib.documents.writing import unwritable
from billing_lib.pricing.charge import FORMULA

STATEMENTS = "statements"
"""The folder of statements, which belong to no single facility."""

MANIFEST = "manifest-sha256.txt"

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest possible time of a zip entry


@dataclass(frozen=True)
class Packed:
    """One invoice or statement of a package."""

    kind: str  # ``invoice`` or ``statement``
    facility: str  # the facility's code; for a statement the codes of all its facilities
    number: str
    project: str
    team: str
    period: str
    date: str
    state: str
    total: str
    currency: str
    counts: bool  # whether it is neither superseded nor void
    files: dict[str, str] = field(default_factory=dict)  # each file's sha256 by its path in the zip
    sizes: dict[str, int] = field(default_factory=dict)  # each file's bytes by its path in the zip


_FACTS = ("kind", "facility", "number", "project", "team", "period", "date", "state")


def write_zip(
    path: Path,
    packed: Sequence[Packed],
    formats: Sequence[str],
    content: Callable[[str], bytes],
) -> None:
    """Write a package; ``content`` gives a file's bytes by its path, one file at a time."""
    own = {
        "summary.csv": summary_csv(packed, formats).encode(),
        "summary.html": summary_html(packed).encode(),
    }
    hashes = {name: hashlib.sha256(text).hexdigest() for name, text in own.items()}
    for document in packed:
        hashes |= document.files
    manifest = "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    own[MANIFEST] = manifest.encode()
    try:
        with ZipFile(path, "w") as target:
            for name in sorted({*hashes, MANIFEST}):
                entry = ZipInfo(name, _ZIP_EPOCH)
                entry.compress_type = ZIP_DEFLATED
                entry.create_system = 3  # Unix, on every machine
                entry.external_attr = 0o644 << 16
                target.writestr(entry, own[name] if name in own else content(name))
    except OSError as error:
        raise unwritable(path, error) from None


def summary_csv(packed: Sequence[Packed], formats: Sequence[str]) -> str:
    """The summary as CSV (RFC 4180): a row per document, with its files and their sha256.

    An apostrophe precedes a text that a spreadsheet would take for a formula.
    """
    lines = StringIO()
    writer = csv.writer(lines)
    per_format = [name for suffix in formats for name in (suffix, f"{suffix}_sha256")]
    writer.writerow([*_FACTS, "total", "currency", *per_format])
    for document in packed:
        by_format = {path.rpartition(".")[2]: path for path in document.files}
        files = [
            text
            for suffix in formats
            for path in [by_format.get(suffix, "")]
            for text in (path, document.files.get(path, ""))
        ]
        facts = [getattr(document, name) for name in _FACTS]
        plain = [f"'{text}" if re.match(FORMULA, text) else text for text in facts]
        writer.writerow([*plain, document.total, document.currency, *files])
    return lines.getvalue()


def summary_html(packed: Sequence[Packed]) -> str:
    """The summary as a page: totals per currency, the documents, the files."""
    tables = [_totals(packed)]
    for kind in ("invoice", "statement"):
        documents = [document for document in packed if document.kind == kind]
        if documents:
            tables.append(_documents(kind, documents))
    tables.append(_files(packed))
    return page_template("package.html.j2").render(tables=[asdict(table) for table in tables])


def _totals(packed: Sequence[Packed]) -> DocumentTable:
    rows = []
    for kind, currency in sorted({(it.kind, it.currency) for it in packed}):
        totals = [
            Decimal(it.total)
            for it in packed
            if (it.kind, it.currency, it.counts) == (kind, currency, True)
        ]
        total = money(f"{sum(totals, Decimal(0)):f}")
        rows.append([f"{kind.capitalize()}s", f"{len(totals):,}", currency, total])
    uncounted = sum(not it.counts for it in packed)
    remark = f"Not counted: {uncounted:,} superseded or void." if uncounted else ""
    columns = (*texts("Documents"), *numbers("Number"), *texts("Currency"), *numbers("Total"))
    return DocumentTable("Totals", columns, rows, None, remark)


def _documents(kind: str, packed: Sequence[Packed]) -> DocumentTable:
    rows = [
        [
            it.number,
            *(printable(text) for text in (it.facility, it.project, it.team)),
            *(it.period, it.date, it.state, it.currency, money(it.total)),
        ]
        for it in packed
    ]
    labels = ["Number", "Facility", "Project", "Team", "Month", "Date", "State", "Currency"]
    if kind == "statement":  # it has neither project nor date
        labels = [label for label in labels if label not in ("Project", "Date")]
        rows = [[*row[:2], row[3], row[4], *row[6:]] for row in rows]
    columns = (*texts(*labels), *numbers("Total"))
    return DocumentTable(f"{kind.capitalize()}s", columns, rows)


def _files(packed: Sequence[Packed]) -> DocumentTable:
    rows = [
        [path, f"{document.sizes[path]:,}", sha256]
        for document in packed
        for path, sha256 in sorted(document.files.items())
    ]
    columns = (*texts("File"), *numbers("Bytes"), *texts("SHA-256"))
    remark = f"sha256sum -c {MANIFEST} checks all of them."
    return DocumentTable(f"Files ({len(rows):,})", columns, rows, None, remark)
