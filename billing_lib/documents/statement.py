"""A statement as PDF, workbook or JSON.

A document is a function of the canonical statement (workflow/statements.py): it changes only with
it, by a payment or because the statement is made anew. The PDF is archival and accessible like an
invoice's (documents/pdf.py). The workbook's first sheet has every invoice and every change by a
rule, with its facility, to filter and to sum; an invoice's number links to the invoice's sheet.

    json   the canonical statement      pdf   for people
    xlsx   a summary sheet, then each invoice's sheet
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from billing_lib.documents.pdf import typeset
from billing_lib.documents.text import (
    Invoice,
    long_date,
    long_month,
    money,
    named,
    printable_invoice,
)
from billing_lib.documents.view import DocumentTable, Total, numbers, texts, view
from billing_lib.documents.workbook import (
    BOLD,
    HEADING,
    PLAIN,
    QUIET,
    TITLE,
    Book,
    Field,
    Sheet,
    Value,
    add_invoice_sheet,
)
from billing_lib.errors import UnknownFormat
from billing_lib.pricing.clock import Period
from billing_lib.workflow.statements import statement_json

Statement = Mapping[str, Any]
"""A canonical statement, read from its JSON."""


@dataclass(frozen=True)
class FacilityPart:
    """One facility's part of a statement, in reading order."""

    name: str
    tables: Sequence[DocumentTable]


@dataclass(frozen=True)
class StatementView:
    """The content of a statement's pages, every cell a finished text; ``day`` is day_of's, ISO."""

    title: str
    team: str
    month: str
    currency: str
    day: str
    facts: Sequence[tuple[str, str]]
    totals: Sequence[Total]
    facilities: Sequence[FacilityPart]


def statement_view(statement: Statement) -> StatementView:
    """The view of a canonical statement, all texts printable."""
    shown = printable_invoice(statement)
    return StatementView(
        title=f"Statement {shown['id']}",
        team=shown["team"]["name"],
        month=long_month(shown["period"]),
        currency=shown["currency"],
        day=day_of(shown).isoformat(),
        facts=statement_facts(shown),
        totals=[Total(it.label, money(it.amount), it.rank) for it in way_to_due(shown)],
        facilities=[_part(part, shown["currency"]) for part in shown["facilities"]],
    )


def statement_facts(statement: Statement) -> list[tuple[str, str]]:
    """The statement's id, team, month, currency, state, payment and head of the log of records,
    each with its label."""
    paid = statement["payment"]
    facts = [
        ("Statement", statement["id"]),
        ("Team", named(statement["team"])),
        ("Month", long_month(statement["period"])),
        ("Currency", statement["currency"]),
        ("State", statement["state"].capitalize()),
    ]
    if paid is not None:
        facts += [("Paid on", long_date(paid["date"])), ("Reference", paid["reference"])]
    if statement["log"] is not None:
        facts.append(("Log of records", statement["log"]))
    return facts


def way_to_due(statement: Statement) -> list[Total]:
    """The steps from the invoices to the amount due, with the canonical amounts."""
    totals, count, paid = statement["totals"], statement["totals"]["invoices"], statement["payment"]
    due = "Due" if paid is None else f"Due, paid on {long_date(paid['date'])}"
    return [
        Total(f"{count:,} invoice{'' if count == 1 else 's'}", totals["raw_total"], "part"),
        Total("Adjustments of the statement", totals["adjustment"], "part"),
        Total("Total", totals["total"], "subtotal"),
        Total("Of which drawn from prepaid funds", totals["prepaid"], "aside"),
        Total(due, totals["due"], "total"),
    ]


def day_of(statement: Statement) -> date:
    """The only date in a statement's files: the last one of its invoices and its payment."""
    dates = [it["invoice_date"] for part in statement["facilities"] for it in part["invoices"]]
    if statement["payment"] is not None:
        dates.append(statement["payment"]["date"])
    if not dates:
        return Period.parse(statement["period"]).last_day
    return date.fromisoformat(max(dates))


def _part(part: dict[str, Any], currency: str) -> FacilityPart:
    invoices = DocumentTable(
        "Invoices",
        (
            *texts("Invoice", "Project", "Kind", "Invoice date", "State"),
            *numbers("From prepaid", f"Total ({currency})"),
        ),
        [
            [
                it["number"],
                it["project"],
                it["kind"].capitalize(),
                it["invoice_date"],
                it["state"].capitalize(),
                money(it["prepaid"]),
                money(it["total"]),
            ]
            for it in part["invoices"]
        ],
        ["Together", *[""] * 5, money(part["raw_total"])],
    )
    adjustments = DocumentTable(
        "Adjustments of the statement",
        (*texts("Rule", "Kind"), *numbers(f"Amount ({currency})")),
        [[it["rule"], it["kind"], money(it["amount"])] for it in part["adjustments"]],
        ["Total of the facility", "", money(part["total"])],
    )
    tables = [invoices, adjustments] if part["adjustments"] else [invoices]
    return FacilityPart(_facility_name(part), tables)


def _facility_name(part: dict[str, Any]) -> str:
    return str(part["facility"]["name"] or part["facility"]["code"])


def render_statement_pdf(statement: Statement) -> bytes:
    """The statement as a PDF: tagged, PDF/A-2a and PDF/UA-1, A4 or US Letter."""
    return typeset("statement.typ", asdict(statement_view(statement)) | {"han": "SC"}, {})


SUMMARY = "Statement"
"""The first sheet's name."""

_WIDTHS = (30, 26, 22, 14, 14, 13, 15, 16)
_AMOUNTS = 3  # the column of the totals


def render_statement_xlsx(statement: Statement, invoices: Mapping[str, Invoice]) -> bytes:
    """The statement and its canonical invoices, by number, as a workbook (ECMA-376)."""
    shown = printable_invoice(statement)
    title = f"Statement {shown['id']}"
    book = Book(title, shown["team"]["name"], day_of(shown))
    summary = book.sheet(SUMMARY)
    listed = [it for part in statement["facilities"] for it in part["invoices"]]
    sheets = {
        number: add_invoice_sheet(book, view(invoices[number]), f"Charges_{at}")
        for at, number in enumerate((it["number"] for it in listed), start=1)
    }
    below = _head(summary, shown)
    below = _invoices(summary, below, shown, list(sheets.values()))
    _adjustments(summary, below, shown)
    summary.widths(_WIDTHS)
    summary.print_on(title, "")
    return book.saved()


def _head(sheet: Sheet, statement: dict[str, Any]) -> int:
    """Write the part over the tables; returns the row below it."""
    sheet.put(0, 0, statement["team"]["name"], TITLE)
    sheet.height(0, 24)
    sheet.put(1, 0, f"Statement {statement['id']}", HEADING)
    sheet.put(3, 0, f"Totals ({statement['currency']})", HEADING)
    row = 4
    for step in way_to_due(statement):
        look = BOLD if step.rank == "total" else QUIET if step.rank == "aside" else PLAIN
        sheet.put(row, 0, step.label, look)
        sheet.put(row, _AMOUNTS, Decimal(step.amount), look)
        row += 1
    row += 1
    sheet.put(row, 0, "This statement", HEADING)
    for label, text in statement_facts(statement):
        row += 1
        paid_on = label == "Paid on"
        value = date.fromisoformat(statement["payment"]["date"]) if paid_on else text
        sheet.put(row, 0, label, QUIET)
        sheet.put(row, 1, value, {"align": "left"})
    return row + 2


def _invoices(sheet: Sheet, row: int, statement: dict[str, Any], sheets: list[Sheet]) -> int:
    rows: list[list[Value]] = [
        [
            _facility_name(part),
            it["number"],
            it["project"],
            it["kind"].capitalize(),
            date.fromisoformat(it["invoice_date"]),
            it["state"].capitalize(),
            Decimal(it["prepaid"]),
            Decimal(it["total"]),
        ]
        for part in statement["facilities"]
        for it in part["invoices"]
    ]
    names = ("Facility", "Invoice", "Project", "Kind")
    fields = [
        *(Field(name, width, wrapped=True) for name, width in zip(names, _WIDTHS, strict=False)),
        Field("Invoice date", _WIDTHS[4], numeric=True),
        Field("State", _WIDTHS[5]),
        Field("From prepaid", _WIDTHS[6], _sum(row[6] for row in rows)),
        Field(f"Total ({statement['currency']})", _WIDTHS[7], _sum(row[7] for row in rows)),
    ]
    sheet.put(row, 0, "Invoices", HEADING)
    if not rows:
        sheet.put(row + 1, 0, "This statement has no invoices.")
        return row + 3
    below = sheet.put_table(row + 1, "Invoices", fields, rows)
    for at, (values, target) in enumerate(zip(rows, sheets, strict=True), start=row + 2):
        sheet.put_link(at, 1, str(values[1]), target)
    return below + 1


def _adjustments(sheet: Sheet, row: int, statement: dict[str, Any]) -> None:
    rows: list[list[Value]] = [
        [_facility_name(part), it["rule"], it["kind"], Decimal(it["amount"])]
        for part in statement["facilities"]
        for it in part["adjustments"]
    ]
    if rows:
        names = ("Facility", "Rule", "Kind")
        fields = [
            *(
                Field(name, width, wrapped=True)
                for name, width in zip(names, _WIDTHS, strict=False)
            ),
            Field(f"Amount ({statement['currency']})", _WIDTHS[3], _sum(row[3] for row in rows)),
        ]
        sheet.put(row, 0, "Adjustments of the statement", HEADING)
        sheet.put_table(row + 1, "Adjustments", fields, rows)


def _sum(amounts: Iterable[Value]) -> Decimal:
    return sum((it for it in amounts if isinstance(it, Decimal)), Decimal(0))


FORMATS = ("pdf", "xlsx", "json")

WITH_INVOICES = "xlsx"
"""The format that contains the invoices."""


def render_statement(
    statement: Statement, suffix: str, invoices: Mapping[str, Invoice] | None = None
) -> bytes:
    """A canonical statement in one of FORMATS; WITH_INVOICES needs its invoices, by number."""
    require_statement_format(suffix)
    if suffix == "pdf":
        return render_statement_pdf(statement)
    if suffix == WITH_INVOICES:
        return render_statement_xlsx(statement, invoices or {})
    return statement_json(dict(statement)).encode("utf-8")


def require_statement_format(suffix: str) -> None:
    """Refuse a format that statements do not have."""
    if suffix not in FORMATS:
        shown = f"'{suffix}'" if suffix else "a file without a suffix"
        *others, last = (f".{each}" for each in FORMATS)
        raise UnknownFormat(
            f"{shown} is no format of a statement",
            remedy=f"write it as {', '.join(others)} or {last}",
        )


def statement_file(statement: Statement, suffix: str) -> str:
    """A statement's file name: ``bio-1993-11.pdf``."""
    return f"{statement['id']}.{suffix}".replace("/", "_")


def suffix_of(path: Path) -> str:
    """The format of a statement's file, by the ending of its name."""
    suffix = path.suffix.removeprefix(".").lower()
    require_statement_format(suffix)
    return suffix
