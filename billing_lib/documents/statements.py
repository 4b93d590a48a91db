"""The formats a statement is written in, by file suffix; all from the canonical one.

json   the canonical statement      pdf   for people
xlsx   a summary sheet, then each invoice's sheet
"""

from collections.abc import Mapping
from pathlib import Path

from billing_lib.documents.statement import Statement
from billing_lib.documents.statement_pdf import render_statement_pdf
from billing_lib.documents.statement_xlsx import render_statement_xlsx
from billing_lib.documents.text import Invoice
from billing_lib.errors import UnknownFormat
from billing_lib.workflow.statement_view import statement_json

FORMATS = ("pdf", "xlsx", "json")
"""The suffixes."""

WITH_INVOICES = "xlsx"
"""The format that needs the invoices themselves."""


def render_statement(
    statement: Statement, suffix: str, invoices: Mapping[str, Invoice] | None = None
) -> bytes:
    """A canonical statement in a format: the same statement and invoices, the same bytes.

    Parameters
    ----------
    invoices
        The canonical invoices that are on it, by number; for the workbook alone.

    Raises
    ------
    UnknownFormat
        Statements are not written in this one.
    """
    require_format(suffix)
    if suffix == "pdf":
        return render_statement_pdf(statement)
    if suffix == WITH_INVOICES:
        return render_statement_xlsx(statement, invoices or {})
    return statement_json(dict(statement)).encode("utf-8")


def require_format(suffix: str) -> None:
    """Refuse a format that statements are not written in.

    Raises
    ------
    UnknownFormat
        It is none of FORMATS.
    """
    if suffix not in FORMATS:
        named = f"'{suffix}'" if suffix else "a file without a suffix"
        raise UnknownFormat(
            f"{named} is no format of a statement", remedy=f"write it as {_listed()}"
        )


def statement_file(statement: Statement, suffix: str) -> str:
    """A statement's file: ``bio-1993-11.pdf``."""
    return f"{statement['id']}.{suffix}".replace("/", "_")


def suffix_of(path: Path) -> str:
    """The format that a file's name says.

    Raises
    ------
    UnknownFormat
        It says none that a statement is written in.
    """
    suffix = path.suffix.removeprefix(".").lower()
    require_format(suffix)
    return suffix


def _listed() -> str:
    *others, last = (f".{each}" for each in FORMATS)
    return f"{', '.join(others)} or {last}"
