"""The view of an invoice: the content of its page before any layout.

HTML, PDF and workbook differ in layout only: they show this one view, whose amounts and cells are
finished texts. A cell's further lines follow after ``\\n``.

    DocumentTable("By expense code", (Column("Expense code"), Column("Total (USD)", numeric=True)),
                  rows=[["370-1", "54.00"], ["370-2", "36.00"]], footer=["Total", "90.00"])

:func:`derivation` shows step by step how a charge gets its total. The raw total and the changes by
rules, by subsidies and by staff sum to the total:

    2.5 hours × 128 units, 1993-10-01 07:06:17 −07:00 to 1993-10-01 09:36:17 −07:00
    320 hour × 0.125 = 40.00
    pilot price (scale): −4.00
    Subsidy by City fund: −20.00
    carol, 1993-11-02 10:00:00 −08:00: amount 16.00 → 20.00 (agreed): 4.00
    Total: 20.00
    370-1 pays 60 %: 12.00

A line on the page says how its amount came about, where it is more than quantity × rate:

    1 h × 40.00 (business hours) + 3 h × 25.00 (after hours)
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Any

from billing_lib.documents.pictures import Chart, Check, chart, check, logo_of
from billing_lib.documents.text import (
    NOTHING,
    Invoice,
    at_least,
    date_span,
    draft_of,
    instant,
    long_date,
    money,
    named,
    number,
    percent_text,
    printable_invoice,
    rule_text,
    share_text,
    value_of,
)
from billing_lib.errors import count_of
from billing_lib.pricing.fields import Logo


@dataclass(frozen=True)
class Column:
    """A column: numeric cells stand right; ``notes`` puts small lines below a name."""

    label: str
    numeric: bool = False
    notes: bool = False


def texts(*labels: str) -> tuple[Column, ...]:
    """Columns of text."""
    return tuple(Column(label) for label in labels)


def numbers(*labels: str) -> tuple[Column, ...]:
    """Numeric columns."""
    return tuple(Column(label, numeric=True) for label in labels)


@dataclass(frozen=True)
class DocumentTable:
    """A titled table of texts; the footer holds sums."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    footer: Sequence[str] | None = None
    remark: str = ""


@dataclass(frozen=True)
class Change:
    """A change of a charge by staff, or an added line, with the canonical invoice's values."""

    charge: str
    date: str
    field: str
    before: Any
    after: Any
    by: str
    at: str
    reason: str


def subsidies(invoice: Invoice) -> list[DocumentTable]:
    """The table of subsidies, amounts that others pay; none without subsidies."""
    columns = (*texts("Paid by"), *numbers(f"Amount ({invoice['currency']})"))
    rows = [[part["by"], money(part["amount"])] for part in invoice["subsidies"]]
    footer = ["Total", _sum(part["amount"] for part in invoice["subsidies"])]
    remark = "Paid by others, and taken off the charges; no part of this invoice's total."
    return [DocumentTable("Subsidies", columns, rows, footer, remark)] if rows else []


def _sum(amounts: Iterable[str | None]) -> str:
    given = [Decimal(amount) for amount in amounts if amount is not None]
    return money(str(sum(given[1:], given[0]))) if given else ""


def summaries(invoice: Invoice) -> list[DocumentTable]:
    """The totals by expense code, by item and by user; only tables with rows."""
    codes, items, users = (
        invoice["summaries"][f"by_{by}"] for by in ("expense_code", "item", "user")
    )
    total = f"Total ({invoice['currency']})"
    drawing = invoice["prepaid"] is not None
    by_units = {line["item"]["code"] for line in invoice["lines"] if _counts_units(line)}
    counted = f" {UNIT_HOURS}" if by_units else ""
    spread = "Adjustments and tax of the invoice are spread over the expense codes"
    drawn = "; payments from prepaid funds are taken off each in proportion" if drawing else ""
    tables = [
        DocumentTable(
            "By expense code",
            (*texts("Expense code"), *numbers(total)),
            [[row["expense_code"] or NOTHING, money(row["total"])] for row in codes],
            ["Left to pay" if drawing else "Total", _sum(row["total"] for row in codes)],
            f"{spread}{drawn}.",
        ),
        DocumentTable(
            "By item",
            (Column("Item", notes=True), *numbers("Quantity"), *texts("Unit"), *numbers(total)),
            [
                [
                    row["name"] or row["item"] or "Added lines",
                    number(row["quantity"]),
                    UNIT_HOUR if row["item"] in by_units else row["unit"] or NOTHING,
                    money(row["total"]),
                ]
                for row in items
            ],
            ["Total", "", "", _sum(row["total"] for row in items)],
            f"Before adjustments and tax of the invoice.{counted}",
        ),
        DocumentTable(
            "By user",
            (*texts("User"), *numbers("Charges", "Hours", total)),
            [
                [
                    row["user"] or "No user",
                    f"{row['charges']:,}",
                    number(row["hours"]),
                    money(row["total"]),
                ]
                for row in users
            ],
            [
                "Total",
                f"{sum(row['charges'] for row in users):,}",
                _sum(row["hours"] for row in users),
                _sum(row["total"] for row in users),
            ],
            "Before adjustments and tax of the invoice.",
        ),
    ]
    return [table for table in tables if table.rows]


UNIT_HOUR = "unit-hour"
UNIT_HOURS = "A unit-hour is an hour of one unit, such as a core-hour."
"""The unit of hours × units, which differ from the hours of use, and its meaning."""


def _counts_units(line: dict[str, Any]) -> bool:
    """Whether a line's quantity is its hours × a number of units."""
    several = line["hours"] is not None and Decimal(line["units"] or "1") != 1
    return several and line["item"] is not None and line["unit"] == "hour"


def summed(line: Mapping[str, Any]) -> bool:
    """Whether a line sums several charges."""
    return bool(line["charges"] > 1)


def line_name(line: Mapping[str, Any]) -> str:
    """The code of a line's charge, or the number of its charges."""
    return str(line["charge"] or f"{count_of(line['charges'], 'charge')}")


def shared(line: Mapping[str, Any], key: str) -> str:
    """A line's value of a key, or ``several`` where its charges differ."""
    return "several" if key in line["several"] else line[key] or NOTHING


def item_name(line: Mapping[str, Any], otherwise: str = "Added line") -> str:
    """The name of a line's item."""
    item = line["item"]
    if "item" in line["several"]:
        return "Several items"
    return str(item["name"] or item["code"]) if item else otherwise


def detail_table(invoice: Invoice) -> DocumentTable | None:
    """The files with all charges of an invoice whose lines sum several; None where none do."""
    rows = [[part["file"], f"{part['rows']:,}", part["sha256"]] for part in invoice["detail"]]
    columns = (*texts("File"), *numbers("Charges"), *texts("sha256"))
    remark = "The files come with this invoice, whose fingerprint covers them."
    return DocumentTable("All charges", columns, rows, None, remark) if rows else None


def charges_table(invoice: Invoice) -> DocumentTable:
    """The lines: charges with date, item, user, expense codes, rate and total, or sums of them."""
    currency, lines = invoice["currency"], invoice["lines"]
    remark = f"Amounts in {currency}."
    several = any(summed(line) for line in lines)
    if several:
        remark += " A line may sum several charges, each of which is rounded for itself."
    return DocumentTable(
        "Charges, summed" if several else "Itemised charges",
        (
            *texts("Charge", "Date"),
            Column("Item and description", notes=True),
            *texts("User", "Expense code"),
            *numbers("Hours", "Quantity"),
            *texts("Unit"),
            *numbers("Rate", "Amount", "Adjustment", "Total"),
        ),
        [_charge(line, invoice["project"]["rate_group"]) for line in lines],
        [
            "Total",
            *[""] * 8,
            *(_sum(line[key] for line in lines) for key in ("raw_total", "adjustment", "total")),
        ]
        if lines
        else None,
        remark if lines else "This invoice has no charges.",
    )


def _charge(line: dict[str, Any], usual_group: str | None) -> list[str]:
    name, notes = item_name(line), [line["description"] or ""]
    unit = UNIT_HOUR if _counts_units(line) else shared(line, "unit")
    if line["hours"] is not None and Decimal(line["units"] or "1") != 1:
        notes.append(f"{number(line['hours'])} hours × {number(line['units'])}")
    if line["rate_group"] and line["rate_group"] != usual_group:
        notes.append(f"rate group {line['rate_group']}")
    notes += [made_up(line)]
    if blended(line):
        notes.append(f"blended rate {number(line['effective_rate'])}")
    notes += [f"{it['rule']} ({it['kind']}): {money(it['amount'])}" for it in line["rules"]]
    if line["late"]:
        notes.append(f"late, of {line['late']}")
    if line["waived"]:
        notes.append("waived, see Adjustments")
    if line["note"]:
        notes.append(line["note"])
    if line["adjustments"]:
        notes.append("adjusted by staff, see Adjustments")
    return [
        line_name(line),
        _when(line),
        "\n".join([name, *(note for note in notes if note)]),
        shared(line, "user"),
        share_text(line["expense_codes"]),
        number(line["hours"]),
        number(line["quantity"]),
        unit,
        "\n".join(rates(line)),
        money(line["raw_total"]),
        money(line["adjustment"]),
        money(line["total"]),
    ]


def _when(line: dict[str, Any]) -> str:
    """A line's local start and end, ``2020-04-06 09:00`` and ``to 12:30``, or its date."""
    if not line["start"]:
        first, last = line["date"], line["last_date"]
        return f"{first}\nto {last}" if summed(line) and first != last else str(first)
    start, end = (line[name][:16].replace("T", " ") for name in ("start", "end"))
    return f"{start}\nto {end[11:] if end[:10] == start[:10] else end}"


def blended(line: dict[str, Any]) -> bool:
    """Whether a line's rate is a mean of several, by the time of day."""
    return bool(line["effective_rate"]) and len(rates(line)) > 1


def rate(line: dict[str, Any], price: str) -> str:
    """A rate with the decimals of the line's currency at least: 40.00, but 0.125."""
    return at_least(price, line["raw_total"])


def rates(line: dict[str, Any]) -> list[str]:
    """The rates that a line was billed at, each once, in order."""
    billed = [step["price"] for step in line["steps"] if step["price"] is not None]
    if (not billed and "price" in line["several"]) or len(set(billed)) > _MOST:
        return ["several"]
    billed = billed or [line["price"]]
    return list(dict.fromkeys(NOTHING if it is None else rate(line, it) for it in billed))


_MOST = 6
"""So many rates or parts of an amount a line on the page has at most."""

_UNIT_SIGNS = {"hour": "h"}


def made_up(line: dict[str, Any]) -> str:
    """How a line's amount came about, where it is more than quantity × rate; else empty."""
    if len(line["steps"]) > _MOST:
        return f"{len(line['steps'])} parts"
    unit = _UNIT_SIGNS.get(line["unit"], line["unit"] or "")
    parts = []
    for step in line["steps"]:
        if step["quantity"] is None:
            parts.append(f"{money(step['amount'])} ({step['step']})")
            continue
        price = "" if step["price"] is None else f" × {rate(line, step['price'])}"
        name = "" if step["step"] == "quantity × rate" else f" ({step['step']})"
        parts.append(f"{number(step['quantity'])} {unit}".rstrip() + price + name)
    return " + ".join(parts)


def changes(lines: Iterable[dict[str, Any]]) -> Iterator[Change]:
    """Added lines and changes by staff, in the order of the invoice's lines."""
    for line in lines:
        charge, date, added = line["charge"], line["date"], line["added"]
        if added:
            origin = (added["by"], added["at"], added["reason"])
            yield Change(charge, date, "added line", None, line["raw_total"], *origin)
        for step in line["adjustments"]:
            origin = (step["by"], step["at"], step["reason"])
            yield Change(charge, date, step["field"], step["before"], step["after"], *origin)


def adjustments_table(lines: list[dict[str, Any]]) -> DocumentTable | None:
    """Changes and added lines by staff with login, time and reason; None without any."""
    rows = [
        [
            it.charge,
            it.date,
            it.field.replace("_", " "),
            value_of(it.field, it.before),
            value_of(it.field, it.after),
            it.by,
            instant(it.at),
            it.reason or NOTHING,
        ]
        for it in changes(lines)
    ]
    columns = texts("Charge", "Date", "Changed", "Before", "After", "By", "When", "Reason")
    return DocumentTable("Adjustments", columns, rows) if rows else None


@dataclass(frozen=True)
class Total:
    """One step to the total; ``rank`` is part, subtotal, total or aside."""

    label: str
    amount: str
    rank: str


@dataclass(frozen=True)
class InvoiceView:
    """The content of an invoice's page, in reading order; absent texts are empty."""

    draft: str  # a draft's warning
    kind: str  # the heading
    title: str
    replaces: str  # a sentence about the invoice that this one replaces
    description: str
    currency: str
    facility: str
    letterhead: str  # lines beside the facility's name
    logo: Logo | None
    invoice_date: str
    invoice_date_iso: str  # the date in the files' properties; for a draft the last day covered
    facts: Sequence[tuple[str, str]]
    bill_to: Sequence[tuple[str, str]]
    totals: Sequence[Total]
    notes: Sequence[str]
    instructions: str
    contacts: str
    chart: Chart
    check: Check | None  # the means to check it; None for a draft
    summaries: Sequence[DocumentTable]
    charges: DocumentTable
    detail: DocumentTable | None  # the files with all charges
    adjustments: DocumentTable | None
    shown: Mapping[str, Any]  # the canonical invoice, all texts printable

    def data(self) -> dict[str, Any]:
        """The page as JSON values, for a template."""
        page = asdict(replace(self, shown={}))
        del page["shown"]
        return page


KINDS = {"periodic": "Invoice", "ad hoc": "Ad hoc invoice"}
"""The headings of invoices, by kind."""

DRAFT = "DRAFT: not issued, without a number; all on it may still change."
"""The warning on a draft."""

NOT_ISSUED = "not issued yet"
"""A draft's invoice date."""


def view(invoice: Invoice) -> InvoiceView:
    """The view of a canonical invoice, all texts printable."""
    shown = printable_invoice(invoice)
    facility, draft = shown["facility"], draft_of(shown)
    return InvoiceView(
        draft=DRAFT if draft else "",
        kind=_kind(shown),
        title=f"Draft {draft}" if draft else f"Invoice {shown['number']}",
        replaces=f"Replaces invoice {shown['replaces']}" if shown["replaces"] else "",
        description=shown["description"].strip(),
        currency=shown["currency"],
        facility=facility["name"] or facility["code"],
        letterhead=facility.get("letterhead", "").strip(),
        logo=logo_of(invoice),
        invoice_date=NOT_ISSUED if draft else long_date(shown["invoice_date"]),
        invoice_date_iso=shown["invoice_date"] or shown["dates_covered"]["to"],
        facts=_facts(shown),
        bill_to=_bill_to(shown),
        totals=[Total(it.label, money(it.amount), it.rank) for it in way_to_total(shown)],
        notes=shown["notes"],
        instructions=(facility["instructions"] or "").strip(),
        contacts=(facility["contacts"] or "").strip(),
        chart=chart(shown),
        check=check(invoice),
        summaries=[*summaries(shown), *subsidies(shown)],
        charges=charges_table(shown),
        detail=detail_table(shown),
        adjustments=adjustments_table(shown["lines"]),
        shown=shown,
    )


def _kind(invoice: Invoice) -> str:
    word = KINDS[invoice["kind"]]
    reissued = f"Reissued {word.lower()}" if invoice["replaces"] else word
    return f"Draft: {reissued}" if draft_of(invoice) else reissued


def _facts(invoice: dict[str, Any]) -> list[tuple[str, str]]:
    covered, draft = invoice["dates_covered"], draft_of(invoice)
    facts = [
        ("Draft", draft) if draft else ("Invoice number", invoice["number"]),
        ("Invoice date", NOT_ISSUED if draft else long_date(invoice["invoice_date"])),
        ("Kind", invoice["kind"].capitalize()),
        ("Reference", invoice["reference"]),
        ("Dates covered", date_span(covered["from"], covered["to"])),
        ("Billing run", invoice["run"]),
        ("Currency", invoice["currency"]),
    ]
    return [(label, text) for label, text in facts if text]


def _bill_to(invoice: dict[str, Any]) -> list[tuple[str, str]]:
    project, team = invoice["project"], invoice["team"]
    return [
        ("Team", named(team)),
        ("Project", named(project)),
        ("Project type", project["type"] or NOTHING),
        ("Rate group", project["rate_group"] or NOTHING),
        ("Administrators", "\n".join(team["administrators"]) or NOTHING),
    ]


def way_to_total(invoice: Invoice) -> list[Total]:
    """The steps from the charges to the amount left to pay, with the canonical amounts.

    Each rule on the invoice is a step. A tax stands before the total, a payment from prepaid funds
    after it.
    """
    totals, tax, prepaid = invoice["totals"], invoice["tax"], invoice["prepaid"]
    count = totals["charges"]
    rules = [Total(rule_text(step), step["amount"], "part") for step in invoice["adjustments"]]
    steps = [
        Total("Charges before adjustments", totals["charges_raw_total"], "part"),
        Total("Adjustments to charges", totals["charges_adjustment"], "part"),
        Total(
            f"{count:,} charge{'' if count == 1 else 's'} after adjustments",
            totals["raw_total"],
            "subtotal",
        ),
        *(rules or [Total("Adjustments to the invoice", totals["adjustment"], "part")]),
    ]
    if tax is not None:
        taxed = Decimal(totals["total"]) - Decimal(tax["amount"])
        steps += [
            Total("Before tax", str(taxed), "subtotal"),
            Total(f"{tax['name']}, {tax['percent']} %", tax["amount"], "part"),
        ]
    if prepaid is None:
        label = "Total (credit)" if Decimal(totals["total"]) < 0 else "Total"
        return [*steps, Total(label, totals["total"], "total")]
    return [
        *steps,
        Total("Total", totals["total"], "subtotal"),
        Total("Drawn from prepaid funds", f"{-Decimal(prepaid['drawn']):f}", "part"),
        Total("Left to pay", totals["due"], "total"),
        Total("Prepaid balance after this invoice", prepaid["left"], "aside"),
    ]


SUBSIDY = "subsidy"
"""The kind of a rule by which somebody else pays."""

_AFTER_RAW_TOTAL = ("amount", "waived")
"""Fields that staff change after the raw total is computed; other fields change it."""


@dataclass(frozen=True)
class Changes:
    """The difference between a charge's total and its raw total, by origin."""

    rules: Decimal
    subsidies: Decimal
    staff: Decimal


def changes_of(line: dict[str, Any]) -> Changes:
    """The parts of a line's adjustment; they sum to it."""
    whole = Decimal(line["adjustment"])
    rules = subsidised = whole - whole  # zero with the currency's decimal places
    for step in line["rules"]:
        if step["kind"] == SUBSIDY:
            subsidised += Decimal(step["amount"])
        else:
            rules += Decimal(step["amount"])
    return Changes(rules, subsidised, whole - rules - subsidised)


def derivation(line: dict[str, Any]) -> list[str]:
    """The steps from use to expense codes of a canonical line, one sentence each."""
    early = (step for step in line["adjustments"] if step["field"] not in _AFTER_RAW_TOTAL)
    shares = (
        f"{share['expense_code'] or NOTHING} pays {percent_text(share, ': ')}"
        f"{money(share['amount'])}"
        for share in line["expense_codes"]
    )
    return [
        *_use(line),
        *(_by_staff(step) for step in early),
        *_price(line),
        *(_by_rule(step) for step in line["rules"]),
        *_set_amount(line),
        *([f"Total: {money(line['total'])}"] if line["total"] != line["raw_total"] else []),
        *shares,
    ]


def people(line: dict[str, Any]) -> str:
    """The logins that added or changed the charge, each once, in that order."""
    logins = [line["added"]["by"]] if line["added"] else []
    logins += [step["by"] for step in line["adjustments"]]
    return ", ".join(dict.fromkeys(logins))


def _use(line: dict[str, Any]) -> Iterator[str]:
    if line["added"]:
        yield f"Added by {_login_and_time(line['added'])}{_reason(line['added'])}"
    if line["start"]:
        times = f" × {number(line['units'])} units" if Decimal(line["units"] or 1) != 1 else ""
        span = f"{instant(line['start'])} to {instant(line['end'])}"
        hours = "hour" if Decimal(line["hours"]) == 1 else "hours"
        yield f"{number(line['hours'])} {hours}{times}, {span}"
    elif summed(line):
        days = f"{line['date']} to {line['last_date']}"
        time = "" if line["hours"] is None else f", {number(line['hours'])} hours"
        yield f"{count_of(line['charges'], 'charge')}, {days}{time}"


def _price(line: dict[str, Any]) -> Iterator[str]:
    for step in line["steps"]:
        price = "" if step["price"] is None else f" × {rate(line, step['price'])}"
        counted = f"{number(step['quantity'])}{price} = " if step["quantity"] is not None else ""
        yield f"{step['step']}: {counted}{number(step['amount'])}"
    raw_total = money(line["raw_total"])
    if line["steps"] or line["quantity"] is None:
        yield f"Raw total: {raw_total}"
        return
    unit = f" {line['unit']}" if line["unit"] else ""
    times = f" × {rate(line, line['price'])}" if line["price"] is not None else ""
    rounded = ", each charge rounded" if summed(line) else ""
    yield f"{number(line['quantity'])}{unit}{times}{rounded} = {raw_total}"


def _by_rule(step: dict[str, Any]) -> str:
    rule = f"{step['rule']} ({step['kind']})"
    label = f"Subsidy by {step['rule']}" if step["kind"] == SUBSIDY else rule
    return f"{label}: {money(step['amount'])}"


def _set_amount(line: dict[str, Any]) -> Iterator[str]:
    """Changes of the amount by staff; the last one carries their effect on the charge."""
    late = [_by_staff(step) for step in line["adjustments"] if step["field"] in _AFTER_RAW_TOTAL]
    amount = changes_of(line).staff
    yield from late[:-1]
    if late or amount:
        yield f"{late[-1] if late else 'By staff'}: {money(f'{amount:f}')}"


def _by_staff(step: dict[str, Any]) -> str:
    field = step["field"]
    before, after = value_of(field, step["before"]), value_of(field, step["after"])
    change = f"{field.replace('_', ' ')} {before} → {after}"
    return f"{_login_and_time(step)}: {change}{_reason(step)}"


def _login_and_time(step: dict[str, Any]) -> str:
    return f"{step['by']}, {instant(step['at'])}"


def _reason(step: dict[str, Any]) -> str:
    return f" ({step['reason']})" if step["reason"] else ""
