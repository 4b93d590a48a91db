"""The detail of an invoice whose lines sum several charges: every charge, as CSV and as Parquet.

    RC-1994-00001.charges.csv        the charges as texts
    RC-1994-00001.charges-2.csv      further charges, where they do not fit one sheet of Excel
    RC-1994-00001.charges.parquet    the same charges, with numbers as numbers

    line,charge,kind,date,…,total,expense_codes
    1,RC/57,usage,1993-10-04,…,40.00,370-1 60 % 24.00; 370-2 40 % 16.00

``line`` is the number of the invoice's line on which the charge stands. Numbers are those of the
canonical invoice, decimal texts; a list is one text with "; ". An apostrophe precedes a text of
usage or staff that a spreadsheet would take for a formula, and one that begins with an apostrophe.
The files stand in the record beside the canonical invoice, which names their rows and sha256.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from billing_lib.errors import InvalidRecord
from billing_lib.pricing.charge import as_decimals, without_formulas

ROWS = 1_048_575
"""The most charges in one CSV: the rows of a sheet of Excel, less the heading."""

CSV = ".csv"

Keep = Callable[[str, bytes], None]
"""Takes the name and content of a file of the detail."""

COLUMNS = (
    *("line", "charge", "kind", "date", "start", "end", "item", "item_name", "description", "user"),
    *("hours", "units", "quantity", "unit", "price", "effective_rate", "rate_group"),
    *("raw_total", "adjustment", "total", "expense_codes", "rules", "steps", "adjustments"),
    *("added", "waived", "late", "note", "file", "row"),
)
"""The columns of the detail, in order."""

_TEXTS = (
    *("charge", "item", "item_name", "description", "user", "unit", "rate_group"),
    *("expense_codes", "rules", "steps", "adjustments", "added", "note", "file"),
)


def _joined(name: str, words: pl.Expr) -> pl.Expr:
    """A list of structs as one text."""
    return pl.col(name).list.eval(words).list.join("; ", ignore_nulls=True).alias(name)


def _of(name: str) -> pl.Expr:
    return pl.element().struct.field(name)


def _step() -> pl.Expr:
    counted = pl.when(_of("quantity").is_not_null()).then(
        pl.concat_str(
            _of("quantity"),
            pl.when(_of("price").is_not_null())
            .then(pl.concat_str(pl.lit(" × "), _of("price")))
            .otherwise(pl.lit("")),
            pl.lit(" = "),
        )
    )
    return pl.concat_str(_of("step"), pl.lit(": "), counted.otherwise(pl.lit("")), _of("amount"))


def _change() -> pl.Expr:
    return pl.format(
        "{} {} → {} ({}, {}: {})",
        _of("field"),
        _of("before").fill_null("–"),
        *(_of(name) for name in ("after", "by", "at", "reason")),
    )


def detail_texts(charges: pl.DataFrame) -> pl.DataFrame:
    """Charges as texts (``COLUMNS`` with lists and structs) in the columns of the CSV."""
    added = pl.col("added").struct
    flat = charges.with_columns(
        _joined(
            "expense_codes",
            pl.format("{} {} % {}", *map(_of, ("expense_code", "percent", "amount"))),
        ),
        _joined("rules", pl.format("{} ({}) {}", *map(_of, ("rule", "kind", "amount")))),
        _joined("steps", _step()),
        _joined("adjustments", _change()),
        pl.when(pl.col("added").is_not_null())
        .then(pl.format("{}, {}: {}", *(added.field(name) for name in ("by", "at", "reason"))))
        .alias("added"),
        pl.when("waived").then(pl.lit("yes")).alias("waived"),
    )
    flat = flat.select(COLUMNS).with_columns(
        pl.when(pl.col(name) != "").then(name).alias(name) for name in _TEXTS
    )
    return without_formulas(flat, _TEXTS)


def detail_files(
    number: str, texts: pl.DataFrame, typed: pl.DataFrame, places: int
) -> Iterator[tuple[str, bytes, int]]:
    """The files of an invoice's detail: name, content and number of charges.

    Parameters
    ----------
    texts
        As of ``detail_texts``.
    typed
        The same charges with numbers and dates, for the Parquet.
    """
    for part, first in enumerate(range(0, texts.height, ROWS), start=1):
        rows = texts.slice(first, ROWS)
        name = f"{number}.charges{'' if part == 1 else f'-{part}'}.csv"
        yield name, rows.write_csv().encode(), rows.height
    content = BytesIO()
    as_decimals(typed, places).write_parquet(content)
    yield f"{number}.charges.parquet", content.getvalue(), typed.height


def stated(files: Iterator[tuple[str, bytes, int]], keep: Keep) -> list[dict[str, Any]]:
    """Keep the files, and state them as the canonical invoice does: ``file``, ``rows``,
    ``sha256``."""
    named = []
    for name, content, rows in files:
        keep(name, content)
        sha256 = hashlib.sha256(content).hexdigest()
        named.append({"file": name, "rows": rows, "sha256": sha256})
    return named


def into(folder: Path) -> Keep:
    """Keep files in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)

    def write(name: str, content: bytes) -> None:
        (folder / name).write_bytes(content)

    return write


def dropped(_name: str, _content: bytes) -> None:
    """Keep nothing: the invoice names its detail all the same."""


def detail_names(invoice: Mapping[str, Any], suffix: str = "") -> list[str]:
    """The names of the files of an invoice's detail, or of those with a suffix; none where each
    charge is a line."""
    return [part["file"] for part in invoice["detail"] if part["file"].endswith(suffix)]


def read_detail(
    files: Mapping[str, bytes], invoice: Mapping[str, Any], line: int | None = None
) -> pl.DataFrame:
    """The charges of an invoice's detail, or of one of its lines, as texts (``COLUMNS``).

    Parameters
    ----------
    files
        The contents of files of its record, by name.

    Raises
    ------
    InvalidRecord
        A file is missing, or is not the one that the invoice names.
    """
    parts = [pl.DataFrame(schema=dict.fromkeys(COLUMNS, pl.String))]
    for part in invoice["detail"]:
        if not part["file"].endswith(CSV):
            continue
        content = files.get(part["file"], b"")
        if hashlib.sha256(content).hexdigest() != part["sha256"]:
            raise InvalidRecord(
                f"the detail of invoice {invoice['number']} is not the one that the invoice names",
                where=part["file"],
                remedy="take the record from the archive again",
            )
        parts.append(pl.read_csv(content, infer_schema=False))
    rows = pl.concat(parts)
    return rows if line is None else rows.filter(pl.col("line") == str(line))
