"""What an invoice's page says, before any layout: headings, facts, totals and tables of text.

HTML and PDF differ in layout only, so both are templates over this one view; every amount in it
is a finished text.

The tables of an invoice's page: summaries, charges, adjustments, every cell a finished text.

    Table("By expense code", (Column("Expense code"), Column("Total (USD)", numeric=True)),
          rows=[["370-1", "54.00"], ["370-2", "36.00"]], footer=["Total", "90.00"])

Further lines of a cell follow after ``\n``.

How a charge comes to its total, step by step, as the canonical invoice has it.

    2.5 hours × 128 units, 1993-10-01 07:06:17 −07:00 to 1993-10-01 09:36:17 −07:00
    320 hour × 0.125 = 40.00
    pilot price (scale): −4.00
    Subsidy by City fund: −20.00
    carol, 1993-11-02 10:00:00 −08:00: amount 16.00 → 20.00 (agreed): 4.00
    Total: 20.00
    370-1 pays 60 %: 12.00

The raw total and the changes by rules, by subsidies and by staff make the total.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from billing_lib.documents.pictures import Chart, Check, chart, check, logo_of
from billing_lib.documents.text import (
    NOTHING,
    Invoice,
    date_span,
    draft_of,
    instant,
    long_date,
    money,
    number,
    printable_invoice,
    value_of,
)
from billing_lib.pricing.fields import Logo


@dataclass(frozen=True)
class Column:
    """A column's heading; numeric ones are right aligned, notes are small lines below a name."""

    label: str
    numeric: bool = False
    notes: bool = False


@dataclass(frozen=True)
class DocumentTable:
    """A titled table of text; the footer, where there is one, holds sums."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    footer: Sequence[str] | None = None
    remark: str = ""


@dataclass(frozen=True)
class Change:
    """What staff changed on a charge, or that they added it, as the canonical invoice has it."""

    charge: str
    date: str
    field: str
    before: Any
    after: Any
    by: str
    at: str
    reason: str


def subsidies(invoice: Invoice) -> list[DocumentTable]:
    """What others pay of the charges; no table where nobody does."""
    paid = invoice["subsidies"]
    columns = (Column("Paid by"), Column(f"Amount ({invoice['currency']})", numeric=True))
    rows = [[part["by"], money(part["amount"])] for part in paid]
    footer = ["Total", _sum(part["amount"] for part in paid)]
    remark = "Paid by others, and taken off the charges; no part of this invoice's total."
    return [DocumentTable("Subsidies", columns, rows, footer, remark)] if rows else []


def _sum(amounts: Iterable[str | None]) -> str:
    given = [Decimal(amount) for amount in amounts if amount is not None]
    return money(str(sum(given[1:], given[0]))) if given else ""


def summaries(invoice: Invoice) -> list[DocumentTable]:
    """What it comes to by expense code, by item and by user; only tables with rows."""
    codes, items, users = (
        invoice["summaries"][f"by_{by}"] for by in ("expense_code", "item", "user")
    )
    total = Column(f"Total ({invoice['currency']})", numeric=True)
    drawing = invoice["prepaid"] is not None
    spread = "Adjustments and tax of the invoice are spread over the expense codes"
    drawn = "; what is drawn from prepaid funds is taken off each in proportion" if drawing else ""
    tables = [
        DocumentTable(
            "By expense code",
            (Column("Expense code"), total),
            [[row["expense_code"] or NOTHING, money(row["total"])] for row in codes],
            ["Left to pay" if drawing else "Total", _sum(row["total"] for row in codes)],
            f"{spread}{drawn}.",
        ),
        DocumentTable(
            "By item",
            (Column("Item", notes=True), Column("Quantity", numeric=True), Column("Unit"), total),
            [
                [
                    row["name"] or row["item"] or "Added lines",
                    number(row["quantity"]),
                    row["unit"] or NOTHING,
                    money(row["total"]),
                ]
                for row in items
            ],
            ["Total", "", "", _sum(row["total"] for row in items)],
            "Before adjustments and tax of the invoice.",
        ),
        DocumentTable(
            "By user",
            (Column("User"), Column("Charges", numeric=True), Column("Hours", numeric=True), total),
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


def charges_table(invoice: Invoice) -> DocumentTable:
    """Every charge: when, what, who, at which rate, and what it comes to."""
    currency, lines = invoice["currency"], invoice["lines"]
    return DocumentTable(
        "Itemised charges",
        (
            Column("Charge"),
            Column("Date"),
            Column("Item and description", notes=True),
            Column("User"),
            Column("Expense code"),
            Column("Hours", numeric=True),
            Column("Quantity", numeric=True),
            Column("Unit"),
            Column("Rate", numeric=True),
            Column("Amount", numeric=True),
            Column("Adjustment", numeric=True),
            Column("Total", numeric=True),
        ),
        [_charge(line, invoice["project"]["rate_group"]) for line in lines],
        [
            "Total",
            *[""] * 8,
            *(_sum(line[key] for line in lines) for key in ("raw_total", "adjustment", "total")),
        ]
        if lines
        else None,
        f"Amounts in {currency}." if lines else "This invoice has no charges.",
    )


def _charge(line: dict[str, Any], usual_group: str | None) -> list[str]:
    item = line["item"]
    name = (item["name"] or item["code"]) if item else "Added line"
    notes = [line["description"] or ""]
    if line["hours"] is not None and Decimal(line["units"] or "1") != 1:
        notes.append(f"{number(line['hours'])} hours × {number(line['units'])}")
    if line["rate_group"] and line["rate_group"] != usual_group:
        notes.append(f"rate group {line['rate_group']}")
    if line["effective_rate"]:
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
    codes = line["expense_codes"]
    return [
        line["charge"],
        line["start"][:16].replace("T", " ") if line["start"] else line["date"],
        "\n".join([name, *(note for note in notes if note)]),
        line["user"] or NOTHING,
        "\n".join(_share(code, alone=len(codes) == 1) for code in codes) or NOTHING,
        number(line["hours"]),
        number(line["quantity"]),
        line["unit"] or NOTHING,
        number(line["price"]),
        money(line["raw_total"]),
        money(line["adjustment"]),
        money(line["total"]),
    ]


def _share(share: dict[str, Any], *, alone: bool) -> str:
    code = share["expense_code"] or NOTHING
    return code if alone else f"{code}: {number(share['percent'])} %, {money(share['amount'])}"


def changes(lines: Iterable[dict[str, Any]]) -> Iterator[Change]:
    """What staff did to the charges of an invoice, in its order: added lines, then changes."""
    for line in lines:
        charge, date, added = line["charge"], line["date"], line["added"]
        if added:
            who = (added["by"], added["at"], added["reason"])
            yield Change(charge, date, "added line", None, line["raw_total"], *who)
        for step in line["adjustments"]:
            who = (step["by"], step["at"], step["reason"])
            yield Change(charge, date, step["field"], step["before"], step["after"], *who)


def adjustments_table(lines: list[dict[str, Any]]) -> DocumentTable | None:
    """What staff changed and added, with who, when and why; none where they did nothing."""
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
    labels = ("Charge", "Date", "Changed", "Before", "After", "By", "When", "Reason")
    return DocumentTable("Adjustments", [Column(label) for label in labels], rows) if rows else None


@dataclass(frozen=True)
class Total:
    """One step of the way to the total; ``rank`` is part, subtotal, total or aside."""

    label: str
    amount: str
    rank: str


@dataclass(frozen=True)
class InvoiceView:
    """All that an invoice's page shows, in reading order.

    Attributes
    ----------
    draft
        What a reader must know of a draft before anything else; empty for what is issued.
    kind
        The words over it all.
    replaces
        Which invoice it replaces, in words; empty if none.
    letterhead
        Lines beside the facility's name; empty if none.
    check
        How to check it; None for a draft.
    invoice_date_iso
        A draft has none: the last day that it covers stands for it in the files' properties.
    """

    draft: str
    kind: str
    title: str
    replaces: str
    description: str
    currency: str
    facility: str
    letterhead: str
    logo: Logo | None
    invoice_date: str
    invoice_date_iso: str
    facts: Sequence[tuple[str, str]]
    bill_to: Sequence[tuple[str, str]]
    totals: Sequence[Total]
    notes: Sequence[str]
    instructions: str
    contacts: str
    chart: Chart
    check: Check | None
    summaries: Sequence[DocumentTable]
    charges: DocumentTable
    adjustments: DocumentTable | None


KINDS = {"periodic": "Invoice", "ad hoc": "Ad hoc invoice"}
"""The words over an invoice, by its kind."""

DRAFT = "DRAFT: not issued, without a number; all on it may still change."
"""What a draft says of itself."""

NOT_ISSUED = "not issued yet"
"""Stands where an invoice has its date."""


def view(invoice: Invoice) -> InvoiceView:
    """The view of a canonical invoice, every text made printable first."""
    shown = printable_invoice(invoice)
    facility, draft = shown["facility"], draft_of(shown)
    return InvoiceView(
        draft=DRAFT if draft else "",
        kind=_kind(shown),
        title=_title(shown),
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
        adjustments=adjustments_table(shown["lines"]),
    )


def _kind(invoice: Invoice) -> str:
    word = KINDS[invoice["kind"]]
    reissued = f"Reissued {word.lower()}" if invoice["replaces"] else word
    return f"Draft: {reissued}" if draft_of(invoice) else reissued


def _title(invoice: Invoice) -> str:
    """What a document is called: by its number, a draft by its code."""
    draft = draft_of(invoice)
    return f"Draft {draft}" if draft else f"Invoice {invoice['number']}"


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


def _named(party: dict[str, Any]) -> str:
    name, code = party["name"], party["code"]
    return f"{name} ({code})" if name and name != code else str(code)


def _bill_to(invoice: dict[str, Any]) -> list[tuple[str, str]]:
    project, team = invoice["project"], invoice["team"]
    return [
        ("Team", _named(team)),
        ("Project", _named(project)),
        ("Project type", project["type"] or NOTHING),
        ("Rate group", project["rate_group"] or NOTHING),
        ("Administrators", "\n".join(team["administrators"]) or NOTHING),
    ]


def way_to_total(invoice: Invoice) -> list[Total]:
    """The steps from the charges to what is left to pay, with amounts as the canonical invoice
    has them.

    Each rule on the invoice is a step of its own; where there is a tax, it stands between what
    is taxed and the total. What is drawn from prepaid funds comes after the total.
    """
    totals, tax = invoice["totals"], invoice["tax"]
    count = totals["charges"]
    rules = [Total(_rule_label(step), step["amount"], "part") for step in invoice["adjustments"]]
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
    return [*steps, *_end(invoice)]


def _end(invoice: Invoice) -> list[Total]:
    total, prepaid = invoice["totals"]["total"], invoice["prepaid"]
    if prepaid is None:
        label = "Total (credit)" if Decimal(total) < 0 else "Total"
        return [Total(label, total, "total")]
    return [
        Total("Total", total, "subtotal"),
        Total("Drawn from prepaid funds", f"{-Decimal(prepaid['drawn']):f}", "part"),
        Total("Left to pay", invoice["totals"]["due"], "total"),
        Total("Prepaid balance after this invoice", prepaid["left"], "aside"),
    ]


def _rule_label(step: dict[str, Any]) -> str:
    on = f" on {step['on']}" if step["on"] else ""
    return f"{step['rule']} ({step['kind']}{on})"


SUBSIDY = "subsidy"
"""The kind of a rule's change that somebody else pays."""

_IN_AMOUNT = ("amount", "waived")
"""What staff change after the raw total; all else they change before it."""


@dataclass(frozen=True)
class Changes:
    """What makes a charge's total of its raw total, by where it comes from."""

    rules: Decimal
    subsidies: Decimal
    staff: Decimal


def changes_of(line: dict[str, Any]) -> Changes:
    """The parts of a line's adjustment; they sum to it."""
    by_rule = {True: Decimal(0), False: Decimal(0)}
    for step in line["rules"]:
        by_rule[step["kind"] == SUBSIDY] += Decimal(step["amount"])
    whole = Decimal(line["adjustment"])
    rest = whole - by_rule[True] - by_rule[False]
    exact = whole - whole  # nothing, with the currency's places
    return Changes(exact + by_rule[False], exact + by_rule[True], exact + rest)


def derivation(line: dict[str, Any]) -> list[str]:
    """The steps of a line of the canonical invoice, one sentence each."""
    return [
        *_use(line),
        *(_by_staff(step) for step in line["adjustments"] if step["field"] not in _IN_AMOUNT),
        *_price(line),
        *(_by_rule(step) for step in line["rules"]),
        *_set_amount(line),
        *([f"Total: {money(line['total'])}"] if line["total"] != line["raw_total"] else []),
        *_shares(line["expense_codes"]),
    ]


def people(line: dict[str, Any]) -> str:
    """Who of the staff added or changed the charge, each once, in that order."""
    said = [line["added"]["by"]] if line["added"] else []
    said += [step["by"] for step in line["adjustments"]]
    return ", ".join(dict.fromkeys(said))


def _use(line: dict[str, Any]) -> Iterator[str]:
    if line["added"]:
        added = line["added"]
        yield f"Added by {_who(added)}{_why(added)}"
    if line["start"]:
        units = Decimal(line["units"] or 1)
        times = f" × {number(line['units'])} units" if units != 1 else ""
        span = f"{instant(line['start'])} to {instant(line['end'])}"
        hours = "hour" if Decimal(line["hours"]) == 1 else "hours"
        yield f"{number(line['hours'])} {hours}{times}, {span}"


def _price(line: dict[str, Any]) -> Iterator[str]:
    for step in line["steps"]:
        quantity = f"{number(step['quantity'])} × {number(step['price'])} = "
        counted = quantity if step["quantity"] is not None else ""
        yield f"{step['step']}: {counted}{number(step['amount'])}"
    raw_total = money(line["raw_total"])
    if line["steps"] or line["quantity"] is None:
        yield f"Raw total: {raw_total}"
        return
    unit = f" {line['unit']}" if line["unit"] else ""
    times = f" × {number(line['price'])}" if line["price"] is not None else ""
    yield f"{number(line['quantity'])}{unit}{times} = {raw_total}"


def _by_rule(step: dict[str, Any]) -> str:
    named = f"Subsidy by {step['rule']}" if step["kind"] == SUBSIDY else _ruled(step)
    return f"{named}: {money(step['amount'])}"


def _ruled(step: dict[str, Any]) -> str:
    return f"{step['rule']} ({step['kind']})"


def _set_amount(line: dict[str, Any]) -> Iterator[str]:
    """What staff set the amount to, and by how much all of it changes the charge."""
    said = [_by_staff(step) for step in line["adjustments"] if step["field"] in _IN_AMOUNT]
    amount = changes_of(line).staff
    yield from said[:-1]
    if said:
        yield f"{said[-1]}: {money(f'{amount:f}')}"
    elif amount:
        yield f"By staff: {money(f'{amount:f}')}"


def _by_staff(step: dict[str, Any]) -> str:
    field = step["field"]
    before, after = value_of(field, step["before"]), value_of(field, step["after"])
    return f"{_who(step)}: {field.replace('_', ' ')} {before} → {after}{_why(step)}"


def _who(step: dict[str, Any]) -> str:
    return f"{step['by']}, {instant(step['at'])}"


def _why(step: dict[str, Any]) -> str:
    return f" ({step['reason']})" if step["reason"] else ""


def _shares(shares: list[dict[str, Any]]) -> Iterator[str]:
    for share in shares:
        percent = number(share["percent"])
        yield f"{share['expense_code'] or NOTHING} pays {percent} %: {money(share['amount'])}"
