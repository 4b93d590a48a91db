"""An invoice as a workbook of one sheet, and the sheets and tables of any workbook.

Numbers are numbers, dates are dates, and a text that starts like a formula (``=cmd|…``) stays a
text, also after someone edits the cell. Spreadsheets compute in binary floats, exact up to fifteen
digits; beyond that only the canonical invoice is exact. XlsxWriter writes no time into the file but
the given date, so the same content gives the same bytes.

    book = Book("Invoice RC-1994-00001", "Research Computing", date(1993, 12, 6))
    sheet = book.sheet("RC-1994-00001")
    sheet.put(0, 0, Decimal("12.50"), BOLD)
    book.saved()

An invoice's sheet:

    B–E  facts, bill-to, texts      F–K  totals, by expense code, by item, by user
    the charges: a table to filter and to sum, one row per charge

Its first columns are those in frequent use; each charge's origin and derivation follow. Each
expense code has a column of its shares, so that a filtered table sums every code's part.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from io import BytesIO
from typing import Any

import polars as pl
from xlsxwriter import Workbook
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from billing_lib.documents.text import NOTHING, Invoice
from billing_lib.documents.view import (
    InvoiceView,
    blended,
    changes_of,
    derivation,
    item_name,
    line_name,
    people,
    view,
    way_to_total,
)
from billing_lib.errors import UnknownFormat
from billing_lib.pricing.charge import without_formulas
from billing_lib.workflow.steps import Progress

Value = str | int | Decimal | date | datetime | None
Look = dict[str, Any]
"""A cell's appearance: properties of an XlsxWriter format."""

_INK = "#1B2A41"
_RULE = {"top": 1, "bottom": 1, "border_color": _INK}

PLAIN: Look = {}
TITLE: Look = {"bold": True, "font_size": 16, "font_color": _INK}
HEADING: Look = {"bold": True, "font_size": 12, "font_color": _INK}
BOLD: Look = {"bold": True}
QUIET: Look = {"font_color": "#55606E"}
WARNING: Look = {"bold": True, "font_size": 12, "font_color": "#B3261E"}
HEADER: Look = {"bold": True, "bg_color": "#F1F4F8", "text_wrap": True} | _RULE
WRAPPED: Look = {"text_wrap": True}
APART: Look = {"align": "left", "indent": 1}
"""For a text in a table, which would touch a number before it."""

LINE_HEIGHT = 15
"""The height of a line of text, in points."""

_TOP = {"valign": "top"}
_FORMULA_LIKE = re.compile(r"[=+\-@]")
_NOT_IN_SHEET_NAMES = re.compile(r"[\[\]:*?/\\]")
_LONGEST_SHEET_NAME, _LONGEST_HEADER = 31, 255  # in characters; the limits of spreadsheets


@dataclass(frozen=True)
class Field:
    """A column of a table."""

    label: str
    width: float  # in digits
    total: Decimal | None = None  # the sum for the total row, if it has one
    numeric: bool = False
    wrapped: bool = False  # whether its texts may take several lines


class Book:
    """A workbook, written once into bytes; ``day`` is the only time in the file."""

    def __init__(self, title: str, author: str, day: date) -> None:
        self._bytes = BytesIO()
        self._book = Workbook(self._bytes, {"in_memory": True})
        created = datetime.combine(day, time())
        self._book.set_properties({"title": title, "author": author, "created": created})
        self._formats: dict[tuple[tuple[str, Any], ...], Format] = {}
        self._names: set[str] = set()

    def sheet(self, name: str) -> "Sheet":
        """Add a sheet with this name, altered if it is not allowed or taken."""
        return Sheet(self, self._book.add_worksheet(self._sheet_name(name)))

    def format(self, look: Look) -> Format:
        """The format of a look, once in the file."""
        key = tuple(sorted(look.items()))
        if key not in self._formats:
            self._formats[key] = self._book.add_format(dict(key))
        return self._formats[key]

    def saved(self) -> bytes:
        """Close the workbook; returns its bytes."""
        self._book.close()
        return self._bytes.getvalue()

    def _sheet_name(self, wished: str) -> str:
        name = _NOT_IN_SHEET_NAMES.sub("_", " ".join(wished.split())).strip("'") or NOTHING
        taken, at, free = self._names | {"history"}, 1, name[:_LONGEST_SHEET_NAME]
        while free.lower() in taken:
            at += 1
            free = f"{name[: _LONGEST_SHEET_NAME - len(str(at)) - 1]}~{at}"
        self._names.add(free.lower())
        return free


class Sheet:
    """A sheet, written cell by cell; rows and columns count from 0."""

    def __init__(self, book: Book, sheet: Worksheet) -> None:
        self._book, self._sheet = book, sheet
        self.name: str = sheet.get_name()

    def put(self, row: int, column: int, value: Value, look: Look = PLAIN) -> None:
        """Write a value by its type; None leaves the cell empty."""
        if value is None:
            return
        if isinstance(value, str):
            self._sheet.write_string(row, column, value, self._format(look, value))
        elif isinstance(value, datetime | date):
            self._sheet.write_datetime(row, column, value, self._format(look, value))
        else:
            self._sheet.write_number(row, column, value, self._format(look, value))

    def put_link(self, row: int, column: int, text: str, sheet: "Sheet") -> None:
        """Write a text that links to another sheet of the workbook."""
        name = sheet.name.replace("'", "''")
        look = {"font_color": "#1F4E9E", "underline": 1} | APART | _TOP
        target = f"internal:'{name}'!A1"
        self._sheet.write_url(row, column, target, self._book.format(look), text)

    def put_text(self, row: int, columns: tuple[int, int], text: str, width: int) -> int:
        """Write a text over some columns and as many rows as needed; returns their number."""
        lines = lines_of(text, width)
        if lines > 1:
            shape = self._book.format(WRAPPED | _TOP | _quoted(text))
            self._sheet.merge_range(row, columns[0], row + lines - 1, columns[1], "", shape)
        self.put(row, columns[0], text, WRAPPED if lines > 1 else PLAIN)
        return lines

    def put_table(
        self, row: int, name: str, fields: Sequence[Field], rows: Sequence[Sequence[Value]]
    ) -> int:
        """Write a table with its header in this row; returns the row below it.

        Sums follow the filter (``SUBTOTAL``). The file also holds the unfiltered sums, for readers
        that compute nothing.
        """
        last, summed = row + len(rows), any(field.total is not None for field in fields)
        labels = _unique(field.label for field in fields)
        columns: list[dict[str, Any]] = [
            {"header": label, "header_format": self._book.format(HEADER | _aligned(field, at))}
            for at, (label, field) in enumerate(zip(labels, fields, strict=True))
        ]
        if summed:
            columns[0]["total_string"] = "Total"
        for column, field in zip(columns, fields, strict=True):
            if field.total is not None:
                column["total_function"] = "sum"
        options = {"name": name, "style": None, "total_row": summed, "columns": columns}
        self._sheet.add_table(row, 0, last + summed, len(fields) - 1, options)
        self._sheet.set_row(row, 2 * LINE_HEIGHT)
        for at, values in enumerate(rows, start=row + 1):
            self._row(at, fields, values)
        if summed:
            self._sum(last + 1, name, labels, fields)
        return last + summed + 1

    def _sum(self, row: int, table: str, labels: Sequence[str], fields: Sequence[Field]) -> None:
        """Write the total row, each formula with its value."""
        for column, (label, field) in enumerate(zip(labels, fields, strict=True)):
            look = self._book.format(
                _TOTAL | (PLAIN if field.total is None else _shown(field.total))
            )
            if field.total is None:
                self._sheet.write_string(row, column, "" if column else "Total", look)
            else:
                # XlsxWriter leaves out the table's name; without it LibreOffice finds no column
                # with a space in its label.
                escaped = re.sub(r"(['#\[\]])", r"'\1", label)
                formula = f"=SUBTOTAL(109,{table}[{escaped}])"
                self._sheet.write_formula(row, column, formula, look, field.total)

    def _row(self, row: int, fields: Sequence[Field], values: Sequence[Value]) -> None:
        lines = 1
        for column, (field, value) in enumerate(zip(fields, values, strict=True)):
            wrapped = field.wrapped and isinstance(value, str)
            look = APART if column and isinstance(value, str) else PLAIN
            self.put(row, column, value, WRAPPED | look if wrapped else look)
            if wrapped:
                lines = max(lines, lines_of(str(value), int(field.width)))
        if lines > 1:  # not every spreadsheet fits a row's height to its text
            self._sheet.set_row(row, lines * LINE_HEIGHT)

    def widths(self, widths: Sequence[float]) -> None:
        """Set the columns' widths, in digits."""
        for column, width in enumerate(widths):
            self._sheet.set_column(column, column, width)

    def print_on(
        self, footer: str, header: str, area: tuple[int, int] | None = None, heading: int = 0
    ) -> None:
        """Print on numbered landscape pages, each as wide as the sheet.

        With an ``area``, the last row and column to print, the row ``heading`` stands on each page
        and columns to the right of the area are not printed.
        """
        self._sheet.set_landscape()
        self._sheet.set_margins(0.5, 0.5, 0.6, 0.6)
        self._sheet.fit_to_pages(1, 0)
        if area is not None:
            self._sheet.print_area(0, 0, *area)
            self._sheet.repeat_rows(heading)
        self._sheet.set_footer(f"&L{footer.replace('&', '&&')}&RPage &P of &N")
        if header:
            self._sheet.set_header(f"&C{header.replace('&', '&&')}")

    def height(self, row: int, points: int) -> None:
        """Set a row's height."""
        self._sheet.set_row(row, points)

    def freeze_first_column(self) -> None:
        """Keep the first column in sight when scrolling to the right."""
        self._sheet.freeze_panes(0, 1)

    def _format(self, look: Look, value: Value) -> Format:
        return self._book.format(look | _TOP | _shown(value))


_TOTAL: dict[str, Any] = {"bold": True} | _RULE


def lines_of(text: str, width: int) -> int:
    """The number of lines of a text in a column of this width."""
    return sum(1 + max(0, len(line) - 1) // width for line in text.split("\n"))


def number_format(value: Decimal) -> str:
    """Grouped thousands and the value's own decimal places."""
    places = max(0, -int(value.as_tuple().exponent))
    return f"#,##0.{'0' * places}" if places else "#,##0"


def _shown(value: Value) -> Look:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, datetime):
        return {"num_format": "yyyy-mm-dd hh:mm:ss"}
    if isinstance(value, date):
        return {"num_format": "yyyy-mm-dd"}
    return {"num_format": number_format(value)} if isinstance(value, Decimal) else PLAIN


def _quoted(text: str) -> Look:
    return {"quote_prefix": True} if _FORMULA_LIKE.match(text) else PLAIN


def _aligned(field: Field, column: int) -> Look:
    if field.numeric or field.total is not None:
        return {"align": "right"}
    return APART if column else PLAIN


def _unique(labels: Iterable[str]) -> list[str]:
    """The labels on one line each, numbered where a spreadsheet would confuse two."""
    names: list[str] = []
    for label in labels:
        wished = name = " ".join(label.split())[: _LONGEST_HEADER - 8] or NOTHING
        at = 1
        while name.lower() in {taken.lower() for taken in names}:
            at += 1
            name = f"{wished} ({at})"
        names.append(name)
    return names


_LEFT, _LEFT_TEXT, _LEFT_END = 1, 3, 4  # the first column stays in sight, for the charges' codes
_RIGHT, _COUNT, _UNIT, _TOTAL_COLUMN = 6, 8, 9, 10
_TEXT_WIDTH = 40  # of the two columns of texts
_WIDEST_CODE = 26  # of a charge; the column stays in sight
_NO_CODE = "No expense code"

_BEFORE_TEXT = "Before adjustments and tax of the invoice"


def add_invoice_sheet(book: Book, page: InvoiceView, table: str) -> Sheet:
    """Add a sheet with an invoice or a draft, named by its number.

    Parameters
    ----------
    table
        The name of the sheet's table, unique in the workbook.
    """
    shown = page.shown
    sheet = book.sheet(shown["number"] or shown["draft"])
    sheet.put(0, _LEFT, page.facility, TITLE)
    sheet.height(0, 24)
    row = 1
    for text, look in ((page.title, HEADING), (page.replaces, BOLD), (page.draft, WARNING)):
        if text:
            sheet.put(row, _LEFT, text, look)
            row += 1
    below = max(_facts(sheet, row + 1, shown, page), _sums(sheet, row + 1, shown))
    end = _charges(sheet, below + 1, table, shown["lines"])
    sheet.freeze_first_column()
    sheet.print_on(page.title, page.draft, (end, _TOTAL_COLUMN), below + 2)
    return sheet


def _facts(sheet: Sheet, row: int, invoice: Mapping[str, Any], page: InvoiceView) -> int:
    """Write the left part; returns the row below it."""
    facility, check = invoice["facility"], page.check
    covered, issued = invoice["dates_covered"], invoice["invoice_date"]
    facts: list[tuple[str, Value]] = [
        page.facts[0],  # its number, or a draft's code
        ("Invoice date", date.fromisoformat(issued) if issued else page.invoice_date),
        ("Kind", invoice["kind"].capitalize()),
        ("Reference", invoice["reference"]),
        ("Replaces invoice", invoice["replaces"]),
        ("Description", page.description),
        ("Dates covered from", date.fromisoformat(covered["from"])),
        ("Dates covered to", date.fromisoformat(covered["to"])),
        ("Time zone", facility["timezone"]),
        ("Billing run", invoice["run"]),
        ("Currency", invoice["currency"]),
        ("Fingerprint, sha256", check.fingerprint if check else None),
        *(
            ("All charges", f"{part['file']}, {part['rows']:,} charges, sha256 {part['sha256']}")
            for part in invoice["detail"]
        ),
    ]
    texts = [
        ("Letterhead", page.letterhead),
        ("Instructions", facility["instructions"]),
        ("Contacts", facility["contacts"]),
        *(("Note", note) for note in invoice["notes"]),
    ]
    for title, pairs in (("This invoice", facts), ("Bill to", page.bill_to), ("Texts", texts)):
        present = [(label, value) for label, value in pairs if value]
        if not present:
            continue
        sheet.put(row, _LEFT, title, HEADING)
        row += 1
        for label, value in present:
            sheet.put(row, _LEFT, label, QUIET)
            if isinstance(value, str):
                row += sheet.put_text(row, (_LEFT_TEXT, _LEFT_END), value.strip(), _TEXT_WIDTH)
            else:
                sheet.put(row, _LEFT_TEXT, value, {"align": "left"})
                row += 1
        row += 1
    return row


def _sums(sheet: Sheet, row: int, invoice: Mapping[str, Any]) -> int:
    """Write the right part; returns the row below it."""
    currency, summaries = invoice["currency"], invoice["summaries"]
    sheet.put(row, _RIGHT, f"Totals ({currency})", HEADING)
    row += 1
    for step in way_to_total(invoice):
        look = BOLD if step.rank == "total" else PLAIN
        sheet.put(row, _RIGHT, step.label, look)
        sheet.put(row, _TOTAL_COLUMN, Decimal(step.amount), look)
        row += 1
    sheet.put(row, _RIGHT, "Number of charges")
    sheet.put(row, _TOTAL_COLUMN, invoice["totals"]["charges"])
    codes = [
        [it["expense_code"] or _NO_CODE, None, None, Decimal(it["total"])]
        for it in summaries["by_expense_code"]
    ]
    items = [
        [_item_name(it), _amount(it["quantity"]), it["unit"], Decimal(it["total"])]
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
    for column in range(_RIGHT, _TOTAL_COLUMN + 1):
        sheet.put(row, column, first if column == _RIGHT else "", HEADER | {"text_wrap": False})
    for column, label in zip((_COUNT, _UNIT, _TOTAL_COLUMN), others, strict=True):
        numeric = column != _UNIT or label == "Hours"
        aligned = {"align": "right"} if numeric else APART
        sheet.put(row, column, label, HEADER | {"text_wrap": False} | aligned)
    for values in rows:
        row += 1
        for column, value in zip((_RIGHT, _COUNT, _UNIT, _TOTAL_COLUMN), values, strict=True):
            indent = column == _UNIT and isinstance(value, str)
            sheet.put(row, column, value, APART if indent else PLAIN)
    return row + 2


def _charges(sheet: Sheet, row: int, table: str, lines: list[dict[str, Any]]) -> int:
    """Write the table of charges; returns its last row."""
    sheet.put(row, 0, "Charges", HEADING)
    codes = _codes(lines)
    fields = _fields(lines, codes)
    sheet.widths([field.width for field in fields])
    if lines:
        return sheet.put_table(row + 1, table, fields, [_charge(line, codes) for line in lines]) - 1
    sheet.put(row + 1, 0, "This invoice has no charges.")
    return row + 1


def _codes(lines: Iterable[Mapping[str, Any]]) -> dict[str | None, Decimal]:
    """The expense codes of the charges, each with the sum of its shares."""
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
    longest = max((len(line_name(line)) for line in lines), default=0)
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
        Field("Derivation", 82),
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
        Field("Source file", 28),
        Field("Source row", 11, numeric=True),
        Field("Line", 8, numeric=True),
        Field("Charges on it", 10, numeric=True),
        Field("Last date", 11, numeric=True),
    ]


def _charge(line: dict[str, Any], codes: Iterable[str | None]) -> list[Value]:
    item, source, changes = line["item"] or {}, line["source"] or {}, changes_of(line)
    shares: dict[str | None, Decimal] = defaultdict(Decimal)
    for share in line["expense_codes"]:
        shares[share["expense_code"]] += Decimal(share["amount"])
    return [
        line_name(line),
        date.fromisoformat(line["date"]),
        item_name(line, "") or None,
        line["description"] or None,
        _shared(line, "user"),
        _amount(line["quantity"]),
        _shared(line, "unit"),
        _amount(line["price"]),
        Decimal(line["raw_total"]),
        Decimal(line["adjustment"]),
        Decimal(line["total"]),
        _fitting("; ".join(derivation(line))),
        changes.rules or None,
        changes.subsidies or None,
        changes.staff or None,
        ", ".join(code or NOTHING for code in shares) or None,
        *(shares.get(code) for code in codes),
        _local_time(line["start"]),
        _local_time(line["end"]),
        _amount(line["hours"]),
        _amount(line["units"]),
        item.get("code"),
        _shared(line, "rate_group"),
        _amount(line["effective_rate"]) if blended(line) else None,
        people(line) or None,
        line["late"],
        "yes" if line["waived"] else None,
        line["note"],
        source.get("file"),
        source.get("row"),
        line["line"],
        line["charges"],
        date.fromisoformat(line["last_date"]),
    ]


def _shared(line: Mapping[str, Any], key: str) -> str | None:
    return "several" if key in line["several"] else line[key]


_LARGEST = 32_767
"""The characters that a cell of Excel can hold."""


def _fitting(text: str) -> str:
    """The text, cut with a remark where it is longer than a cell."""
    remark = " … the rest stands in the canonical invoice"
    return text if len(text) <= _LARGEST else text[: _LARGEST - len(remark)] + remark


def _amount(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def _local_time(iso: str | None) -> datetime | None:
    """An instant in the facility's local time; the derivation shows its offset from UTC."""
    return None if iso is None else datetime.fromisoformat(iso).replace(tzinfo=None)


def render_xlsx(invoice: Invoice, page: InvoiceView | None = None) -> bytes:
    """The invoice as an Office Open XML workbook (ECMA-376) of one sheet.

    ``page`` is its view, if that is made already.
    """
    page = page or view(invoice)
    book = Book(page.title, page.facility, date.fromisoformat(page.invoice_date_iso))
    add_invoice_sheet(book, page, "Charges")
    return book.saved()


def render_list(
    title: str, frame: pl.DataFrame, labels: Mapping[str, str], suffix: str, step: Progress
) -> bytes:
    """The columns ``labels`` of a frame with these headings, as XLSX or CSV.

    Numbers and dates stay such. In CSV an apostrophe precedes a text that a spreadsheet would take
    for a formula.
    """
    shown = frame.select(*labels).rename(dict(labels))
    if suffix == "csv":
        return without_formulas(shown).write_csv().encode()
    if suffix != "xlsx":
        raise UnknownFormat(f"there is no format '{suffix}' of lists", remedy="say xlsx or csv")
    letters = shown.select(pl.all().cast(pl.String).str.len_chars().max()).row(0)
    widths = [
        min(48, max(len(name), most or 0) + 3)
        for name, most in zip(shown.columns, letters, strict=True)
    ]
    fields = [Field(name, width) for name, width in zip(shown.columns, widths, strict=True)]
    book = Book(title, "", date.today())  # noqa: DTZ011 - the day on this machine's calendar
    sheet = book.sheet(title)
    step(0, shown.height, "writing the list")
    sheet.put_table(0, "List", fields, shown.rows())
    sheet.widths(widths)
    sheet.print_on(title, "")
    return book.saved()
