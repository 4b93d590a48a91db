"""An invoice on one sheet: what it says, and below it every charge with its derivation.

    B–E  facts, bill-to, texts      F–K  totals, by expense code, by item, by user
    the charges: a table to filter and to sum, one row per charge

Columns of the table that are often asked for stand first; what a charge was made of follows. Each
expense code has a column with its shares, so that a filtered table sums what each code pays.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from billing_lib.documents.derivation import changes_of, derivation, people
from billing_lib.documents.text import NOTHING, Invoice, printable_invoice
from billing_lib.documents.view import InvoiceView, way_to_total
from billing_lib.documents.workbook import (
    APART,
    BOLD,
    HEADER,
    HEADING,
    PLAIN,
    QUIET,
    TITLE,
    WARNING,
    Book,
    Field,
    Sheet,
    Value,
)

_LEFT, _LEFT_TEXT, _LEFT_END = 1, 3, 4  # the first column, which stays in sight, is the charges'
_RIGHT, _COUNT, _UNIT, _TOTAL = 6, 8, 9, 10
_TEXT_WIDTH = 40  # of the two columns that texts stand in
_WIDEST_CODE = 26  # of a charge; the column stays in sight and is on each page
_NO_CODE = "No expense code"

_BEFORE_TEXT = "Before adjustments and tax of the invoice"


def add_invoice_sheet(book: Book, invoice: Invoice, said: InvoiceView, table: str) -> Sheet:
    """Add an invoice, or a draft of one, to a workbook, on a sheet named by its number.

    Parameters
    ----------
    said
        Its view.
    table
        The name of the sheet's table, which no other of the workbook may have.
    """
    shown = printable_invoice(invoice)
    sheet = book.sheet(shown["number"] or shown["draft"])
    sheet.put(0, _LEFT, said.facility, TITLE)
    sheet.height(0, 24)
    row = 1
    for text, look in ((said.title, HEADING), (said.replaces, BOLD), (said.draft, WARNING)):
        if text:
            sheet.put(row, _LEFT, text, look)
            row += 1
    below = max(_facts(sheet, row + 1, shown, said), _sums(sheet, row + 1, shown))
    _charges(sheet, below + 1, table, shown["lines"])
    sheet.freeze_first_column()
    sheet.print_on(said.title, said.draft, scale=55, before=_TOTAL + 1)
    return sheet


def _facts(sheet: Sheet, row: int, invoice: dict[str, Any], said: InvoiceView) -> int:
    """What stands on the left; the row below it."""
    facility, check = invoice["facility"], said.check
    covered, issued = invoice["dates_covered"], invoice["invoice_date"]
    facts: list[tuple[str, Value]] = [
        said.facts[0],  # its number, or a draft's code
        ("Invoice date", _date(issued) if issued else said.invoice_date),
        ("Kind", invoice["kind"].capitalize()),
        ("Reference", invoice["reference"]),
        ("Replaces invoice", invoice["replaces"]),
        ("Description", said.description),
        ("Dates covered from", _date(covered["from"])),
        ("Dates covered to", _date(covered["to"])),
        ("Time zone", facility["timezone"]),
        ("Billing run", invoice["run"]),
        ("Currency", invoice["currency"]),
        ("Fingerprint, sha256", check.fingerprint if check else None),
    ]
    texts = [
        ("Letterhead", said.letterhead),
        ("Instructions", facility["instructions"]),
        ("Contacts", facility["contacts"]),
    ]
    texts += [("Note", note) for note in invoice["notes"]]
    for title, pairs in (("This invoice", facts), ("Bill to", said.bill_to), ("Texts", texts)):
        known = [(label, value) for label, value in pairs if value]
        if known:
            row = _pairs(sheet, row, title, known)
    return row


def _pairs(sheet: Sheet, row: int, title: str, pairs: Iterable[tuple[str, Value]]) -> int:
    sheet.put(row, _LEFT, title, HEADING)
    row += 1
    for label, value in pairs:
        sheet.put(row, _LEFT, label, QUIET)
        if isinstance(value, str):
            row += sheet.put_text(row, (_LEFT_TEXT, _LEFT_END), value.strip(), _TEXT_WIDTH)
        else:
            sheet.put(row, _LEFT_TEXT, value, {"align": "left"})
            row += 1
    return row + 1


def _sums(sheet: Sheet, row: int, invoice: dict[str, Any]) -> int:
    """What stands on the right; the row below it."""
    currency, summaries = invoice["currency"], invoice["summaries"]
    sheet.put(row, _RIGHT, f"Totals ({currency})", HEADING)
    row += 1
    for step in way_to_total(invoice):
        look = BOLD if step.rank == "total" else PLAIN
        sheet.put(row, _RIGHT, step.label, look)
        sheet.put(row, _TOTAL, Decimal(step.amount), look)
        row += 1
    sheet.put(row, _RIGHT, "Number of charges")
    sheet.put(row, _TOTAL, invoice["totals"]["charges"])
    codes = [
        [it["expense_code"] or _NO_CODE, None, None, Decimal(it["total"])]
        for it in summaries["by_expense_code"]
    ]
    items = [
        [
            _item_name(it),
            _amount(it["quantity"]),
            it["unit"],
            Decimal(it["total"]),
        ]
        for it in summaries["by_item"]
    ]
    users = [
        [it["user"] or "No user", it["charges"], _amount(it["hours"]), Decimal(it["total"])]
        for it in summaries["by_user"]
    ]
    paid = [[it["by"], None, None, Decimal(it["amount"])] for it in invoice["subsidies"]]
    row += 2
    for title, header, rows in (
        ("By expense code", ["Expense code", "", ""], codes),
        ("Subsidies, paid by others", ["Paid by", "", ""], paid),
        (f"By item ({_BEFORE_TEXT.lower()})", ["Item", "Quantity", "Unit"], items),
        (f"By user ({_BEFORE_TEXT.lower()})", ["User", "Charges", "Hours"], users),
    ):
        if rows:
            row = _summary(sheet, row, title, [*header, f"Total ({currency})"], rows)
    return row


def _item_name(it: Mapping[str, Any]) -> str:
    if it["item"] is None:
        return "Added lines"
    name = it["name"] or it["item"]
    return f"{name} ({it['item']})" if name != it["item"] else str(name)


def _summary(
    sheet: Sheet, row: int, title: str, header: Sequence[str], rows: Sequence[Sequence[Value]]
) -> int:
    sheet.put(row, _RIGHT, title, HEADING)
    row += 1
    first, *others = header
    for column in range(_RIGHT, _TOTAL + 1):
        sheet.put(row, column, first if column == _RIGHT else "", HEADER | {"text_wrap": False})
    for column, label in zip((_COUNT, _UNIT, _TOTAL), others, strict=True):
        numeric = column != _UNIT or label == "Hours"
        aligned = {"align": "right"} if numeric else APART
        sheet.put(row, column, label, HEADER | {"text_wrap": False} | aligned)
    for values in rows:
        row += 1
        for column, value in zip((_RIGHT, _COUNT, _UNIT, _TOTAL), values, strict=True):
            indent = column == _UNIT and isinstance(value, str)
            sheet.put(row, column, value, APART if indent else PLAIN)
    return row + 2


def _charges(sheet: Sheet, row: int, table: str, lines: list[dict[str, Any]]) -> None:
    sheet.put(row, 0, "Charges", HEADING)
    codes = _codes(lines)
    fields = _fields(lines, codes)
    sheet.widths([field.width for field in fields])
    if lines:
        sheet.put_table(row + 1, table, fields, [_charge(line, codes) for line in lines])
    else:
        sheet.put(row + 1, 0, "This invoice has no charges.")


def _codes(lines: Iterable[Mapping[str, Any]]) -> dict[str | None, Decimal]:
    """The expense codes that have shares of the charges, and what those sum to."""
    sums: dict[str | None, Decimal] = defaultdict(Decimal)
    for line in lines:
        for share in line["expense_codes"]:
            sums[share["expense_code"]] += Decimal(share["amount"])
    return dict(sorted(sums.items(), key=lambda it: it[0] or ""))


def _fields(lines: Sequence[dict[str, Any]], codes: Mapping[str | None, Decimal]) -> list[Field]:
    def total(key: str) -> Decimal:
        return sum((Decimal(line[key]) for line in lines), Decimal(0))

    changes = [changes_of(line) for line in lines]
    rules = sum((it.rules for it in changes), Decimal(0))
    subsidies = sum((it.subsidies for it in changes), Decimal(0))
    staff = sum((it.staff for it in changes), Decimal(0))
    longest = max((len(line["charge"]) for line in lines), default=0)
    return [
        Field("Charge", min(max(longest + 1, 14), _WIDEST_CODE), wrapped=True),
        Field("Date", 11, numeric=True),
        Field("Item", 24, wrapped=True),
        Field("Description", 28, wrapped=True),
        Field("User", 14),
        Field("Quantity", 13, numeric=True),
        Field("Unit", 11),
        Field("Rate", 12, numeric=True),
        Field("Raw total", 14, total("raw_total")),
        Field("Adjustment", 13, total("adjustment")),
        Field("Total", 15, total("total")),
        Field("Derivation", 82, wrapped=True),
        Field("By rules", 12, rules),
        Field("By subsidies", 12, subsidies),
        Field("By staff", 12, staff),
        Field("Expense codes", 22, wrapped=True),
        *(Field(f"Code {code or NOTHING}", 15, amount) for code, amount in codes.items()),
        Field("Start", 19, numeric=True),
        Field("End", 19, numeric=True),
        Field("Hours", 12, numeric=True),
        Field("Units", 10, numeric=True),
        Field("Item code", 16),
        Field("Rate group", 14),
        Field("Blended rate", 12, numeric=True),
        Field("Changed by", 16, wrapped=True),
        Field("Late, of month", 12),
        Field("Waived", 10),
        Field("Note", 28, wrapped=True),
        Field("Source file", 28, wrapped=True),
        Field("Source row", 11, numeric=True),
    ]


def _charge(line: dict[str, Any], codes: Iterable[str | None]) -> list[Value]:
    item, source, changes = line["item"] or {}, line["source"] or {}, changes_of(line)
    shares: dict[str | None, Decimal] = defaultdict(Decimal)
    for share in line["expense_codes"]:
        shares[share["expense_code"]] += Decimal(share["amount"])
    return [
        line["charge"],
        _date(line["date"]),
        item.get("name") or item.get("code"),
        line["description"] or None,
        line["user"],
        _amount(line["quantity"]),
        line["unit"],
        _amount(line["rate"]),
        Decimal(line["raw_total"]),
        Decimal(line["adjustment"]),
        Decimal(line["total"]),
        "\n".join(derivation(line)),
        changes.rules or None,
        changes.subsidies or None,
        changes.staff or None,
        ", ".join(code or NOTHING for code in shares) or None,
        *(shares.get(code) for code in codes),
        _wall_time(line["start"]),
        _wall_time(line["end"]),
        _amount(line["hours"]),
        _amount(line["units"]),
        item.get("code"),
        line["rate_group"],
        _amount(line["effective_rate"]),
        people(line) or None,
        line["late"],
        "yes" if line["waived"] else None,
        line["note"],
        source.get("file"),
        source.get("row"),
    ]


def _amount(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def _date(value: str) -> date:
    return date.fromisoformat(value)


def _wall_time(iso: str | None) -> datetime | None:
    """A moment as the facility's clocks show it; its distance from UTC is in the derivation."""
    return None if iso is None else datetime.fromisoformat(iso).replace(tzinfo=None)
