"""What an invoice's page says, before any layout: headings, facts, totals and tables of text.

HTML and PDF differ in layout only, so both are templates over this one view. Every cell is a
finished string; further lines of a cell follow after ``\\n``.

    Table("By expense code", (Column("Expense code"), Column("Total (USD)", numeric=True)),
          rows=[["370-1", "54.00"], ["370-2", "36.00"]], footer=["Total", "90.00"])
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from billing_lib.documents.text import (
    NOTHING,
    Invoice,
    date_span,
    instant,
    long_date,
    money,
    number,
    printable_invoice,
    value_of,
)


@dataclass(frozen=True)
class Column:
    """A column's heading; numeric ones are right aligned, notes are small lines below a name."""

    label: str
    numeric: bool = False
    notes: bool = False


@dataclass(frozen=True)
class Table:
    """A titled table of text; the footer, where there is one, holds sums."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    footer: Sequence[str] | None = None
    remark: str = ""


@dataclass(frozen=True)
class Total:
    """One step of the way to the total; ``rank`` is part, subtotal or total."""

    label: str
    amount: str
    rank: str


@dataclass(frozen=True)
class InvoiceView:
    """All that an invoice's page shows, in reading order."""

    title: str
    number: str
    currency: str
    facility: str
    facility_code: str
    invoice_date: str
    invoice_date_iso: str
    facts: Sequence[tuple[str, str]]
    bill_to: Sequence[tuple[str, str]]
    totals: Sequence[Total]
    notes: Sequence[str]
    instructions: str
    contacts: str
    summaries: Sequence[Table]
    charges: Table
    adjustments: Table | None


def view(invoice: Invoice) -> InvoiceView:
    """The view of a canonical invoice, every text made printable first."""
    shown = printable_invoice(invoice)
    facility, covered = shown["facility"], shown["dates_covered"]
    return InvoiceView(
        title=f"Invoice {shown['number']}",
        number=shown["number"],
        currency=shown["currency"],
        facility=facility["name"] or facility["code"],
        facility_code=facility["code"],
        invoice_date=long_date(shown["invoice_date"]),
        invoice_date_iso=shown["invoice_date"],
        facts=[
            ("Invoice number", shown["number"]),
            ("Invoice date", long_date(shown["invoice_date"])),
            ("Dates covered", date_span(covered["from"], covered["to"])),
            ("Billing run", shown["run"]),
            ("Currency", shown["currency"]),
        ],
        bill_to=_bill_to(shown),
        totals=[Total(it.label, money(it.amount), it.rank) for it in way_to_total(shown)],
        notes=shown["notes"],
        instructions=(facility["instructions"] or "").strip(),
        contacts=(facility["contacts"] or "").strip(),
        summaries=[*_summaries(shown["summaries"], shown["currency"]), *_subsidies(shown)],
        charges=_charges(shown),
        adjustments=_adjustments(shown["lines"]),
    )


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
    """The steps from the charges to the total, with amounts as the canonical invoice has them.

    Each rule on the invoice is a step of its own; where there is a tax, it stands between what
    is taxed and the total.
    """
    totals, tax = invoice["totals"], invoice.get("tax")
    count = totals["charges"]
    rules = [
        Total(_rule_label(step), step["amount"], "part") for step in invoice.get("adjustments", [])
    ]
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
    return [*steps, Total("Total", totals["total"], "total")]


def _rule_label(step: dict[str, Any]) -> str:
    on = f" on {step['on']}" if step["on"] else ""
    return f"{step['rule']} ({step['kind']}{on})"


def _subsidies(invoice: Invoice) -> list[Table]:
    paid = invoice.get("subsidies", [])
    columns = (Column("Paid by"), Column(f"Amount ({invoice['currency']})", numeric=True))
    rows = [[part["by"], money(part["amount"])] for part in paid]
    footer = ["Total", _sum(part["amount"] for part in paid)]
    remark = "Paid by others, and taken off the charges; no part of this invoice's total."
    return [Table("Subsidies", columns, rows, footer, remark)] if rows else []


def _sum(amounts: Iterable[str | None]) -> str:
    given = [Decimal(amount) for amount in amounts if amount is not None]
    return money(str(sum(given[1:], given[0]))) if given else ""


def _summaries(summaries: dict[str, Any], currency: str) -> list[Table]:
    codes, items, users = (summaries[f"by_{by}"] for by in ("expense_code", "item", "user"))
    total = Column(f"Total ({currency})", numeric=True)
    tables = [
        Table(
            "By expense code",
            (Column("Expense code"), total),
            [[row["expense_code"] or NOTHING, money(row["total"])] for row in codes],
            ["Total", _sum(row["total"] for row in codes)],
            "Adjustments and tax of the invoice are spread over the expense codes.",
        ),
        Table(
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
        Table(
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


def _charges(invoice: dict[str, Any]) -> Table:
    currency, lines = invoice["currency"], invoice["lines"]
    return Table(
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
    if line.get("effective_rate"):
        notes.append(f"blended rate {number(line['effective_rate'])}")
    notes += [f"{it['rule']} ({it['kind']}): {money(it['amount'])}" for it in line.get("rules", [])]
    if line.get("waived"):
        notes.append("waived, see Adjustments")
    if line.get("note"):
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
        number(line["rate"]),
        money(line["raw_total"]),
        money(line["adjustment"]),
        money(line["total"]),
    ]


def _share(share: dict[str, Any], *, alone: bool) -> str:
    code = share["expense_code"] or NOTHING
    return code if alone else f"{code}: {number(share['percent'])} %, {money(share['amount'])}"


def _adjustments(lines: list[dict[str, Any]]) -> Table | None:
    rows = [
        [
            line["charge"],
            line["date"],
            str(step["field"]).replace("_", " "),
            value_of(step["field"], step["before"]),
            value_of(step["field"], step["after"]),
            step["by"],
            instant(step["at"]),
            step["reason"] or NOTHING,
        ]
        for line in lines
        for step in line["adjustments"]
    ]
    labels = ("Charge", "Date", "Changed", "Before", "After", "By", "When", "Reason")
    return Table("Adjustments", [Column(label) for label in labels], rows) if rows else None
