"""What a message says: subject, text and HTML, from canonical invoices or a statement.

    Invoice RC-1994-00003: USD 1,204.11, Research Computing, October 1993

Pure: the same invoices give the same letter, whatever the clock, the locale or the machine. The
text says all that the HTML says. The HTML keeps its style in each element, since mail programs
drop style sheets, and loads nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from billing_lib.documents.text import (
    Invoice,
    date_span,
    long_date,
    long_month,
    money,
    printable_invoice,
)

Link = Callable[[str], str | None]
"""The page about an invoice or a statement by its number or id, or none."""

_NO_LINK: dict[str, str | None] = {}


@dataclass(frozen=True)
class Letter:
    """What a message says."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True)
class _Table:
    """A table in a letter: the last column is of amounts, the first may be links."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    links: Sequence[str | None]
    footer: Sequence[str] = ()


@dataclass(frozen=True)
class _View:
    """All that the templates show, every text finished."""

    facility: str
    title: str
    opening: str
    facts: Sequence[tuple[str, str]]
    total: tuple[str, str]
    tables: Sequence[_Table]
    link: str | None
    button: str
    texts: Sequence[tuple[str, str]]
    closing: str


def invoice_letter(invoices: Sequence[Invoice], link: Link = _NO_LINK.get) -> Letter:
    """That an invoice is ready, or several of one facility: a digest.

    Parameters
    ----------
    invoices
        Canonical invoices, each with a number, in the order to list them.
    """
    shown = [printable_invoice(invoice) for invoice in invoices]
    return _one_invoice(shown[0], link) if len(shown) == 1 else _digest(shown, link)


def statement_letter(
    statement: Mapping[str, Any],
    link: Link = _NO_LINK.get,
    *,
    attached: bool = False,
    updated: bool = False,
) -> Letter:
    """A team's statement.

    Parameters
    ----------
    attached
        It comes with its document.
    updated
        It takes the place of one that was sent before.
    """
    shown = printable_invoice(statement)
    totals, currency, team = shown["totals"], shown["currency"], shown["team"]["name"]
    named = "Updated statement" if updated else "Statement"
    month = long_month(shown["period"])
    facts = [
        ("Team", _named(shown["team"])),
        ("Month", month),
        ("Invoices", f"{totals['invoices']:,}"),
        ("Total of the invoices", _amount(totals["raw_total"], currency)),
    ]
    if Decimal(totals["adjustment"]):
        facts.append(("Adjustments", _amount(totals["adjustment"], currency)))
    if Decimal(totals["prepaid"]):
        facts.append(("Total", _amount(totals["total"], currency)))
        facts.append(("From prepaid funds", _amount(f"-{totals['prepaid']}", currency)))
    if shown["payment"] is not None:
        facts.append(("Paid on", long_date(shown["payment"]["date"])))
    facilities = [part["facility"]["name"] for part in shown["facilities"]]
    opening = f"This is the statement of {team} for {month}, over {_and(facilities)}."
    if attached:
        opening += " It is attached as a PDF."
    if updated:
        opening += " It takes the place of the one that was sent before."
    return _letter(
        f"{named} {shown['id']}: {_amount(totals['due'], currency)}, {team}, {month}",
        _View(
            facility=_and(facilities),
            title=f"{named} {shown['id']}",
            opening=opening,
            facts=facts,
            total=("Due" if shown["payment"] is None else "Paid", _amount(totals["due"], currency)),
            tables=[_stated(part, currency, link) for part in shown["facilities"]],
            link=link(shown["id"]),
            button="Open the statement",
            texts=[],
            closing=f"You receive this as the one who answers for what {team} owes.",
        ),
    )


def _one_invoice(invoice: dict[str, Any], link: Link) -> Letter:
    number, team, currency = invoice["number"], invoice["team"]["name"], invoice["currency"]
    totals, prepaid = invoice["totals"], invoice["prepaid"]
    covered = invoice["dates_covered"]
    facts = [
        ("Team", _named(invoice["team"])),
        ("Project", _named(invoice["project"])),
        ("Reference", invoice["reference"] or ""),
        ("Replaces", f"invoice {invoice['replaces']}" if invoice["replaces"] else ""),
        ("Dates covered", date_span(covered["from"], covered["to"])),
        ("Invoice date", long_date(invoice["invoice_date"])),
        ("Charges", f"{totals['charges']:,}"),
    ]
    total = ("Total", _amount(totals["total"], currency))
    if prepaid is not None:
        facts += [total, ("From prepaid funds", _amount(f"-{prepaid['drawn']}", currency))]
        total = ("Left to pay", _amount(totals["due"], currency))
    facility = _facility(invoice)
    return _letter(
        f"Invoice {number}: {_amount(totals['total'], currency)}, {facility}, "
        f"{long_month(invoice['period'])}",
        _View(
            facility=facility,
            title=f"Invoice {number}",
            opening=f"Invoice {number} of {facility} to {team} is ready. It is attached as a PDF.",
            facts=[(label, text) for label, text in facts if text],
            total=total,
            tables=[],
            link=link(number),
            button="Open the invoice",
            texts=[*(("Note", note) for note in invoice["notes"]), *_standing_texts(invoice)],
            closing=_administrator([team]),
        ),
    )


def _digest(invoices: list[dict[str, Any]], link: Link) -> Letter:
    first = invoices[0]
    facility, currency, month = _facility(first), first["currency"], long_month(first["period"])
    total = str(sum(Decimal(invoice["totals"]["total"]) for invoice in invoices))
    count = len(invoices)
    teams = sorted({invoice["team"]["name"] for invoice in invoices})
    table = _Table(
        "Invoices",
        ("Invoice", "Project", "Team", f"Total ({currency})"),
        [
            (
                it["number"],
                _named(it["project"]),
                it["team"]["name"],
                money(it["totals"]["total"]),
            )
            for it in invoices
        ],
        [link(it["number"]) for it in invoices],
        ("Total", "", "", money(total)),
    )
    return _letter(
        f"{count} invoices: {_amount(total, currency)}, {facility}, {month}",
        _View(
            facility=facility,
            title=f"{count} invoices for {month}",
            opening=f"{count} invoices of {facility} are ready. They are attached as PDF.",
            facts=[],
            total=("Total", _amount(total, currency)),
            tables=[table],
            link=None,
            button="",
            texts=_standing_texts(first),  # notes stand in the documents
            closing=_administrator(teams),
        ),
    )


def _stated(part: dict[str, Any], currency: str, link: Link) -> _Table:
    rows = [
        (it["number"], it["project"], long_date(it["invoice_date"]), money(it["total"]))
        for it in part["invoices"]
    ]
    rules = [
        (f"{it['rule']} ({it['kind']})", "", "", money(it["amount"])) for it in part["adjustments"]
    ]
    return _Table(
        part["facility"]["name"],
        ("Invoice", "Project", "Date", f"Total ({currency})"),
        [*rows, *rules],
        [*(link(it["number"]) for it in part["invoices"]), *(None for _ in rules)],
        ("Total", "", "", money(part["total"])),
    )


def _standing_texts(invoice: dict[str, Any]) -> list[tuple[str, str]]:
    facility = invoice["facility"]
    said = [
        ("Instructions", (facility["instructions"] or "").strip()),
        ("Contacts", (facility["contacts"] or "").strip()),
    ]
    return [(label, text) for label, text in said if text]


def _administrator(teams: list[str]) -> str:
    return (
        f"You receive this as an administrator of {_and(teams)}. The contacts can have invoices "
        "told one by one, together, or not at all."
    )


def _facility(invoice: dict[str, Any]) -> str:
    return str(invoice["facility"]["name"] or invoice["facility"]["code"])


def _named(party: dict[str, Any]) -> str:
    name, code = party["name"], party["code"]
    return f"{name} ({code})" if name and name != code else str(code)


def _amount(amount: str, currency: str) -> str:
    # A drawn or prepaid amount is negated as text, and may be negative itself.
    shown = money(f"{Decimal(amount.replace('--', '')):f}")
    return f"{currency} {shown}"


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _letter(subject: str, view: _View) -> Letter:
    text, html = _templates()
    return Letter(
        " ".join(subject.split()),
        text.render(mail=view, aligned=_aligned),
        html.render(mail=view),
    )


def _aligned(table: _Table) -> list[str]:
    """The table in lines of text, columns padded, the last one to the right."""
    rows = [row for row in (table.columns, *table.rows, table.footer) if row]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    return [
        "  ".join(
            cell.rjust(width) if at == last else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


@cache
def _templates() -> tuple[Any, Any]:
    found = []
    for name, escaped in (("mail.txt.j2", False), ("mail.html.j2", True)):
        environment = Environment(
            loader=PackageLoader("billing_lib.documents"),
            autoescape=escaped,  # noqa: S701 — plain text has nothing to escape
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        found.append(environment.get_template(name))
    return found[0], found[1]
