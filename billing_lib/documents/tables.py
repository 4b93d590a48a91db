"""The tables of an invoice's page: summaries, charges, adjustments, every cell a finished text.

    Table("By expense code", (Column("Expense code"), Column("Total (USD)", numeric=True)),
          rows=[["370-1", "54.00"], ["370-2", "36.00"]], footer=["Total", "90.00"])

Further lines of a cell follow after ``\\n``.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from billing_lib.documents.text import NOTHING, Invoice, instant, money, number, value_of


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


def subsidies(invoice: Invoice) -> list[Table]:
    """What others pay of the charges; no table where nobody does."""
    paid = invoice["subsidies"]
    columns = (Column("Paid by"), Column(f"Amount ({invoice['currency']})", numeric=True))
    rows = [[part["by"], money(part["amount"])] for part in paid]
    footer = ["Total", _sum(part["amount"] for part in paid)]
    remark = "Paid by others, and taken off the charges; no part of this invoice's total."
    return [Table("Subsidies", columns, rows, footer, remark)] if rows else []


def _sum(amounts: Iterable[str | None]) -> str:
    given = [Decimal(amount) for amount in amounts if amount is not None]
    return money(str(sum(given[1:], given[0]))) if given else ""


def summaries(invoice: Invoice) -> list[Table]:
    """What it comes to by expense code, by item and by user; only tables with rows."""
    codes, items, users = (
        invoice["summaries"][f"by_{by}"] for by in ("expense_code", "item", "user")
    )
    total = Column(f"Total ({invoice['currency']})", numeric=True)
    drawing = invoice["prepaid"] is not None
    spread = "Adjustments and tax of the invoice are spread over the expense codes"
    drawn = "; what is drawn from prepaid funds is taken off each in proportion" if drawing else ""
    tables = [
        Table(
            "By expense code",
            (Column("Expense code"), total),
            [[row["expense_code"] or NOTHING, money(row["total"])] for row in codes],
            ["Left to pay" if drawing else "Total", _sum(row["total"] for row in codes)],
            f"{spread}{drawn}.",
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


def charges_table(invoice: Invoice) -> Table:
    """Every charge: when, what, who, at which rate, and what it comes to."""
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
        number(line["rate"]),
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


def adjustments_table(lines: list[dict[str, Any]]) -> Table | None:
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
    return Table("Adjustments", [Column(label) for label in labels], rows) if rows else None
