"""A package: documents of invoices and statements in one zip, with a summary over them.

    summary.html  summary.csv            what is in it: number, project, team, state, total
    manifest-sha256.txt                  for sha256sum -c
    RC/RC-1994-00003.pdf                 a folder per facility
    statements/bio-1993-11.pdf

The same documents give the same bytes: entries are sorted, bear a constant time and the same
permissions, and nothing inside says when or by whom the package was made.
"""

import csv
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from functools import cache
from io import StringIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from billing_lib.documents.text import money, printable
from billing_lib.documents.view import Column, DocumentTable
from billing_lib.documents.writing import unwritable

STATEMENTS = "statements"
"""The folder of statements, which are of no facility alone."""

MANIFEST = "manifest-sha256.txt"

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip entry can carry
_FORMULA_LIKE = re.compile(r"[=+\-@\t\r]")


@dataclass(frozen=True)
class Packed:
    """One invoice or statement of a package.

    Attributes
    ----------
    kind
        ``invoice`` or ``statement``.
    facility
        The facility's code, of a statement the codes of all on it.
    counts
        Whether it counts: it is neither superseded nor void.
    files
        The sha256 of each of its files by its path in the zip.
    sizes
        Their bytes.
    """

    kind: str
    facility: str
    number: str
    project: str
    team: str
    period: str
    date: str
    state: str
    total: str
    currency: str
    counts: bool
    files: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


_FACTS = ("kind", "facility", "number", "project", "team", "period", "date", "state")


def write_zip(
    path: Path,
    packed: Sequence[Packed],
    formats: Sequence[str],
    content: Callable[[str], bytes],
) -> None:
    """Write a package.

    Parameters
    ----------
    content
        A file's bytes by its path in the zip; asked for one after the other.
    """
    own = {
        "summary.csv": summary_csv(packed, formats).encode(),
        "summary.html": summary_html(packed).encode(),
    }
    hashes = {name: hashlib.sha256(text).hexdigest() for name, text in own.items()}
    for document in packed:
        hashes |= document.files
    listed = "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    own[MANIFEST] = listed.encode()
    try:
        with ZipFile(path, "w") as target:
            for name in sorted({*hashes, MANIFEST}):
                entry = ZipInfo(name, _ZIP_EPOCH)
                entry.compress_type = ZIP_DEFLATED
                entry.create_system = 3  # Unix, wherever it is made
                entry.external_attr = 0o644 << 16
                target.writestr(entry, own[name] if name in own else content(name))
    except OSError as error:
        raise unwritable(path, error) from None


def summary_csv(packed: Sequence[Packed], formats: Sequence[str]) -> str:
    """One row per document (RFC 4180): what it is, its total, each file with its sha256.

    A text that a spreadsheet would take for a formula has an apostrophe before it.
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
        facts = [_plain(getattr(document, name)) for name in _FACTS]
        writer.writerow([*facts, document.total, document.currency, *files])
    return lines.getvalue()


def summary_html(packed: Sequence[Packed]) -> str:
    """The same for people: totals per currency, the documents, the files."""
    tables = [
        _totals(packed),
        *(
            _documents(title, kind, [it for it in packed if it.kind == kind])
            for title, kind in (("Invoices", "invoice"), ("Statements", "statement"))
            if any(it.kind == kind for it in packed)
        ),
        _files(packed),
    ]
    return _template().render(tables=[asdict(table) for table in tables])


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("billing_lib.documents"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("package.html.j2")


def _totals(packed: Sequence[Packed]) -> DocumentTable:
    groups = sorted({(it.kind, it.currency) for it in packed})
    rows = []
    for kind, currency in groups:
        counting = [
            it for it in packed if (it.kind, it.currency, it.counts) == (kind, currency, True)
        ]
        rows.append([f"{kind.capitalize()}s", f"{len(counting):,}", currency, _sum(counting)])
    beside = sum(not it.counts for it in packed)
    remark = f"Not counted: {beside:,} superseded or void." if beside else ""
    columns = (Column("Documents"), Column("Number", numeric=True), Column("Currency"))
    return DocumentTable("Totals", (*columns, Column("Total", numeric=True)), rows, None, remark)


def _documents(title: str, kind: str, packed: Sequence[Packed]) -> DocumentTable:
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
    columns = (*(Column(label) for label in labels), Column("Total", numeric=True))
    return DocumentTable(title, columns, rows)


def _files(packed: Sequence[Packed]) -> DocumentTable:
    rows = [
        [path, f"{document.sizes[path]:,}", sha256]
        for document in packed
        for path, sha256 in sorted(document.files.items())
    ]
    columns = (Column("File"), Column("Bytes", numeric=True), Column("SHA-256"))
    remark = f"sha256sum -c {MANIFEST} checks all of them."
    return DocumentTable(f"Files ({len(rows):,})", columns, rows, None, remark)


def _sum(packed: Iterable[Packed]) -> str:
    return money(f"{sum((Decimal(it.total) for it in packed), Decimal(0)):f}")


def _plain(text: str) -> str:
    return f"'{text}" if _FORMULA_LIKE.match(text) else text
