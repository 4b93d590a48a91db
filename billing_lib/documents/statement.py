"""What a statement's pages say, before any layout: headings, facts, totals and tables of text.

A pure function of the canonical statement (workflow/statement_view.py): when it changes, by a
payment or because it is made anew, its documents do, and never otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from billing_lib.documents.tables import Column, Table
from billing_lib.documents.text import long_date, money, printable_invoice
from billing_lib.documents.view import Total
from billing_lib.pricing.period import Period

Statement = Mapping[str, Any]
"""A canonical statement as read from its JSON."""


@dataclass(frozen=True)
class FacilityPart:
    """What a statement shows of one facility, in reading order."""

    name: str
    tables: Sequence[Table]


@dataclass(frozen=True)
class StatementView:
    """All that a statement's pages show, every cell a finished text.

    Attributes
    ----------
    day
        The only date that its files carry, ISO: the last invoice date, or that of its payment.
    """

    title: str
    team: str
    month: str
    currency: str
    day: str
    facts: Sequence[tuple[str, str]]
    totals: Sequence[Total]
    facilities: Sequence[FacilityPart]


def statement_view(statement: Statement) -> StatementView:
    """The view of a canonical statement, every text made printable first."""
    shown = printable_invoice(statement)
    team, month = shown["team"], month_of(shown["period"])
    return StatementView(
        title=f"Statement {shown['id']}",
        team=team["name"],
        month=month,
        currency=shown["currency"],
        day=day_of(shown).isoformat(),
        facts=statement_facts(shown),
        totals=[Total(it.label, money(it.amount), it.rank) for it in way_to_due(shown)],
        facilities=[_part(part, shown["currency"]) for part in shown["facilities"]],
    )


def statement_facts(statement: Statement) -> list[tuple[str, str]]:
    """Whose it is, of which month, and whether it is paid."""
    team, paid = statement["team"], statement["payment"]
    named = team["name"] if team["name"] == team["code"] else f"{team['name']} ({team['code']})"
    facts = [
        ("Statement", statement["id"]),
        ("Team", named),
        ("Month", month_of(statement["period"])),
        ("Currency", statement["currency"]),
        ("State", statement["state"].capitalize()),
    ]
    if paid is not None:
        facts += [("Paid on", long_date(paid["date"])), ("Reference", paid["reference"])]
    return facts


def way_to_due(statement: Statement) -> list[Total]:
    """The steps from the invoices to what is due, with amounts as the statement has them."""
    totals, count, paid = statement["totals"], statement["totals"]["invoices"], statement["payment"]
    due = "Due" if paid is None else f"Due, paid on {long_date(paid['date'])}"
    return [
        Total(f"{count:,} invoice{'' if count == 1 else 's'}", totals["raw_total"], "part"),
        Total("Adjustments of the statement", totals["adjustment"], "part"),
        Total("Total", totals["total"], "subtotal"),
        Total("Of which drawn from prepaid funds", totals["prepaid"], "aside"),
        Total(due, totals["due"], "total"),
    ]


def month_of(period: str) -> str:
    """A period in words: ``November 1993``."""
    return long_date(f"{period}-01").removeprefix("1 ")


def day_of(statement: Statement) -> date:
    """The one date that a statement's files carry."""
    dates = [it["invoice_date"] for part in statement["facilities"] for it in part["invoices"]]
    if statement["payment"] is not None:
        dates.append(statement["payment"]["date"])
    if not dates:
        return Period.parse(statement["period"]).last_day
    return date.fromisoformat(max(dates))


def _part(part: dict[str, Any], currency: str) -> FacilityPart:
    facility = part["facility"]
    invoices = Table(
        "Invoices",
        (
            Column("Invoice"),
            Column("Project"),
            Column("Kind"),
            Column("Invoice date"),
            Column("State"),
            Column("From prepaid", numeric=True),
            Column(f"Total ({currency})", numeric=True),
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
    adjustments = Table(
        "Adjustments of the statement",
        (Column("Rule"), Column("Kind"), Column(f"Amount ({currency})", numeric=True)),
        [[it["rule"], it["kind"], money(it["amount"])] for it in part["adjustments"]],
        ["Total of the facility", "", money(part["total"])],
    )
    tables = [invoices, adjustments] if part["adjustments"] else [invoices]
    return FacilityPart(facility["name"] or facility["code"], tables)
