"""What an invoice or a statement comes to, read back from each format by other people's libraries.

figures_in["pdf"](rendered, sample)  ==  figures(sample)
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

from lxml import etree, html
from openpyxl.worksheet.worksheet import Worksheet
from pypdf import PdfReader
from ubl_reading import text, texts
from workbook_reading import cents, read, said, table, total_row

NUMBER = r"−?\d{1,3}(?:,\d{3})*(?:\.\d+)?"
LONG_DATE = r"\d{1,2} [A-Z][a-z]+ \d{4}"


@dataclass(frozen=True)
class Figures:
    """Number, dates and amounts of an invoice."""

    number: str
    date: date
    covers: tuple[date, date]
    total: Decimal
    due: Decimal
    lines: list[tuple[str, Decimal]]
    codes: dict[str, Decimal]


@dataclass(frozen=True)
class Stated:
    """Whose, amounts and invoices of a statement."""

    id: str
    month: str
    state: str
    paid_on: date | None
    totals: list[Decimal]
    invoices: list[tuple[str, date, Decimal]]
    rules: list[tuple[str, Decimal]]


def figures(invoice: dict[str, Any]) -> Figures:
    """Those of a canonical invoice."""
    covered, totals = invoice["dates_covered"], invoice["totals"]
    return Figures(
        number=invoice["number"],
        date=date.fromisoformat(invoice["invoice_date"]),
        covers=(date.fromisoformat(covered["from"]), date.fromisoformat(covered["to"])),
        total=Decimal(totals["total"]),
        due=Decimal(totals["due"]),
        lines=[(line["charge"], Decimal(line["total"])) for line in invoice["lines"]],
        codes={
            it["expense_code"]: Decimal(it["total"])
            for it in invoice["summaries"]["by_expense_code"]
        },
    )


def stated(statement: dict[str, Any]) -> Stated:
    """Those of a canonical statement."""
    names, paid = ("raw_total", "adjustment", "total", "prepaid", "due"), statement["payment"]
    parts = statement["facilities"]
    return Stated(
        id=statement["id"],
        month=f"{date.fromisoformat(statement['period'] + '-01'):%B %Y}",
        state=statement["state"].capitalize(),
        paid_on=None if paid is None else date.fromisoformat(paid["date"]),
        totals=[Decimal(statement["totals"][name]) for name in names],
        invoices=[
            (it["number"], date.fromisoformat(it["invoice_date"]), Decimal(it["total"]))
            for part in parts
            for it in part["invoices"]
        ],
        rules=[(it["rule"], Decimal(it["amount"])) for part in parts for it in part["adjustments"]],
    )


# --- invoices --------------------------------------------------------------------------------


def _in_json(rendered: bytes) -> Figures:
    return figures(json.loads(rendered))


def _in_html(rendered: bytes) -> Figures:
    page = html.fromstring(rendered.decode())
    facts = {
        str(label.text_content()): str(label.getnext().text_content()) for label in page.iter("dt")
    }
    tables = {
        str(found.getparent().get("aria-label")): [
            [str(cell.text_content()) for cell in row] for row in found.iter("tr")
        ]
        for found in page.iter("table")
    }
    steps = {label: _number(amount.split()[1]) for label, amount in tables["Totals"]}
    total = next(steps[label] for label in ("Total", "Total (credit)") if label in steps)
    codes = tables.get("By expense code", [])
    return Figures(
        number=facts["Invoice number"],
        date=_long_date(facts["Invoice date"]),
        covers=_span(facts["Dates covered"]),
        total=total,
        due=steps.get("Left to pay", total),
        lines=[(row[0], _number(row[-1])) for row in tables.get("Itemised charges", [])[1:-1]],
        codes={row[0]: _number(row[1]) for row in codes[1:-1]},
    )


def _in_pdf(rendered: bytes) -> Figures:
    reader = PdfReader(BytesIO(rendered))
    assert reader.metadata is not None
    footer = f"{' '.join(str(reader.metadata.author).split())} · "
    pages = [re.sub(r"\s+", " ", page.extract_text()) for page in reader.pages]
    whole = " ".join(page[: page.rindex(footer)] for page in pages)
    front, _, annex = whole.partition("Itemised charges")
    covered = _found(rf"Dates covered ({LONG_DATE}(?: – {LONG_DATE})?)", front)
    total = _number(_found(rf" Total(?: \(credit\))? [A-Z]{{3}} ({NUMBER})", front))
    left = re.search(rf"Left to pay [A-Z]{{3}} ({NUMBER})", front)
    codes = re.search(r"By expense code Expense code Total \([A-Z]{3}\) (.*?) By item", front)
    named = re.findall(rf"(\S+) ({NUMBER})(?!\S)", codes[1] if codes else "")
    return Figures(
        number=_found(r"Invoice number (\S+)", front),
        date=_long_date(_found(rf"Invoice date ({LONG_DATE})", front)),
        covers=_span(covered),
        total=total,
        due=_number(left[1]) if left else total,
        lines=_lines_in_pdf(annex),
        codes={code: _number(amount) for code, amount in named if code not in ("Total", "pay")},
    )


def _lines_in_pdf(annex: str) -> list[tuple[str, Decimal]]:
    """Each row of the table of charges: its code, a date, and the last of the numbers that end it:
    rate, amount, adjustment and total, of which the rate may be missing."""
    row = rf"(\S+/\S+) \d{{4}}-\d\d-\d\d .*?((?: {NUMBER}){{3,4}})"
    ends = r"(?= +(?:\S+/\S+ \d{4}-|Total |Charge ))"  # the next row, the sums, the next page
    found = re.findall(row + ends, annex)
    return [(code, _number(numbers.split()[-1])) for code, numbers in found]


def _in_xlsx(rendered: bytes) -> Figures:
    (sheet,) = read(rendered).worksheets
    return _on_sheet(sheet)


def _on_sheet(sheet: Worksheet) -> Figures:
    found, rows = said(sheet), table(sheet)
    places = _places(sheet)
    total = next(found[label] for label in ("Total", "Total (credit)") if label in found)
    if rows:  # the total row is what the table's rows come to
        summed = sum((cents(row["Total"], places) for row in rows), Decimal(0))
        assert cents(total_row(sheet)["Total"], places) == summed
    return Figures(
        number=found["Invoice number"],
        date=found["Invoice date"].date(),
        covers=(found["Dates covered from"].date(), found["Dates covered to"].date()),
        total=cents(total, places),
        due=cents(found.get("Left to pay", total), places),
        lines=[(row["Charge"], cents(row["Total"], places)) for row in rows],
        codes=_codes_on_sheet(sheet, places),
    )


def _codes_on_sheet(sheet: Worksheet, places: int) -> dict[str, Decimal]:
    """The summary below the heading 'Expense code', until it ends."""
    rows = [[cell.value for cell in row[6:11]] for row in sheet.iter_rows()]
    begins = next((at for at, row in enumerate(rows) if row[0] == "Expense code"), len(rows))
    found = {}
    for row in rows[begins + 1 :]:
        if row[0] is None:
            break
        found[str(row[0])] = cents(row[-1], places)
    return found


def _places(sheet: Worksheet) -> int:
    """Of the currency, as the amounts are shown."""
    rows = (row for row in sheet.iter_rows() if row[6].value == "Charges before adjustments")
    shown = next(rows)[10].number_format
    return len(shown.partition(".")[2])


def _in_xml(rendered: bytes) -> Figures:
    root = etree.fromstring(rendered)
    first, last = (
        date.fromisoformat(str(text(root, f"InvoicePeriod/{end}Date"))) for end in ("Start", "End")
    )
    due = Decimal(str(text(root, "LegalMonetaryTotal/PayableAmount")))
    # UBL has no invoice without a line: one with the identifier 0 says that there are no charges.
    lines = [it for it in root.findall("{*}InvoiceLine") if text(it, "ID") != "0"]
    booked = [it.rsplit(" ", 1) for it in (text(root, "AccountingCost") or "").split("; ") if it]
    codes = {it[0]: Decimal(it[1]) if len(it) == 2 else due for it in booked}
    return Figures(
        number=texts(root, "ID")[0],
        date=date.fromisoformat(str(text(root, "IssueDate"))),
        covers=(first, last),
        total=Decimal(str(text(root, "LegalMonetaryTotal/TaxInclusiveAmount"))),
        due=due,
        lines=[
            (str(text(it, "ID")), Decimal(str(text(it, "LineExtensionAmount")))) for it in lines
        ],
        codes=codes,
    )


figures_in: dict[str, Callable[[bytes], Figures]] = {
    "json": _in_json,
    "html": _in_html,
    "pdf": _in_pdf,
    "xlsx": _in_xlsx,
    "xml": _in_xml,
}
"""By format."""


# --- statements ------------------------------------------------------------------------------


def _stated_in_json(rendered: bytes) -> Stated:
    return stated(json.loads(rendered))


def _stated_in_pdf(rendered: bytes) -> Stated:
    pages = PdfReader(BytesIO(rendered)).pages
    whole = re.sub(r"\s+", " ", " ".join(page.extract_text() for page in pages))
    paid = re.search(rf"Paid on ({LONG_DATE})", whole)
    labels = (r"invoices?", "Adjustments of the statement", "Total", "prepaid funds", "Due[^:]*?")
    totals = [_found(rf"{label} [A-Z]{{3}} ({NUMBER})", whole) for label in labels]
    rows = rf"(\S+) \S+ (?:Periodic|Ad hoc) (\d{{4}}-\d\d-\d\d) \w+ {NUMBER} ({NUMBER})"
    rules = re.findall(r"Rule Kind Amount \([A-Z]{3}\) (.*?) Total of the facility", whole)
    named = [it for each in rules for it in re.findall(rf"(\S.*?) \w+ ({NUMBER})(?!\S)", each)]
    return Stated(
        id=_found(r"Statement (\S+) Team", whole),
        month=_found(r"Month (\w+ \d{4})", whole),
        state=_found(r"State (\w+)", whole),
        paid_on=_long_date(paid[1]) if paid else None,
        totals=[_number(it) for it in totals],
        invoices=[
            (number, date.fromisoformat(day), _number(total))
            for number, day, total in re.findall(rows, whole)
        ],
        rules=[(rule.strip(), _number(amount)) for rule, amount in named],
    )


def _stated_in_xlsx(rendered: bytes) -> Stated:
    summary, *sheets = read(rendered).worksheets
    found = {row[0]: [it for it in row[1:] if it is not None] for row in summary.values if row[0]}
    listed, rules = table(summary, "Invoices"), table(summary, "Adjustments")
    amount = next(row[3].number_format for row in summary.iter_rows() if row[0].value == "Total")
    places = len(amount.partition(".")[2])
    count = next(label for label in found if re.fullmatch(r"\d+ invoices?", label))
    due = next(label for label in found if label.startswith("Due"))
    labels = (count, "Adjustments of the statement", "Total")
    labels += ("Of which drawn from prepaid funds", due)
    top = [row for row in summary.values if row[0] in labels and row[3] is not None]
    heads = {row[0]: row[3] for row in reversed(top)}  # what stands first, not the tables' totals
    # What an invoice's row says is what its own sheet says.
    for row, sheet in zip(listed, sheets, strict=True):
        on_sheet = _on_sheet(sheet)
        assert (row["Invoice"], row["Invoice date"].date()) == (on_sheet.number, on_sheet.date)
        assert _amount_of(row, places) == on_sheet.total
    paid = found.get("Paid on")
    return Stated(
        id=found["Statement"][0],
        month=found["Month"][0],
        state=found["State"][0],
        paid_on=paid[0].date() if paid else None,
        totals=[cents(heads[label], places) for label in labels],
        invoices=[
            (row["Invoice"], row["Invoice date"].date(), _amount_of(row, places)) for row in listed
        ],
        rules=[(row["Rule"], _amount_of(row, places)) for row in rules],
    )


stated_in: dict[str, Callable[[bytes], Stated]] = {
    "json": _stated_in_json,
    "pdf": _stated_in_pdf,
    "xlsx": _stated_in_xlsx,
}
"""By format."""


def _amount_of(row: dict[str, Any], places: int) -> Decimal:
    """What stands in a row's last column, its total or amount."""
    return cents(list(row.values())[-1], places)


def _number(shown: str) -> Decimal:
    return Decimal(shown.replace(",", "").replace("−", "-"))


def _long_date(shown: str) -> date:
    return datetime.strptime(shown, "%d %B %Y").date()  # noqa: DTZ007


def _span(shown: str) -> tuple[date, date]:
    first, _, last = shown.partition(" – ")
    return _long_date(first), _long_date(last or first)


def _found(pattern: str, whole: str) -> str:
    match = re.search(pattern, whole)
    assert match is not None, pattern
    return match[1]
