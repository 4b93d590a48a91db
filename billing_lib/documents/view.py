"""What an invoice's page says, before any layout: headings, facts, totals and tables of text.

HTML and PDF differ in layout only, so both are templates over this one view; every amount in it
is a finished text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from billing_lib.documents.chart import Chart, chart
from billing_lib.documents.checking import Check, check
from billing_lib.documents.logo import logo_of
from billing_lib.documents.tables import (
    Table,
    adjustments_table,
    charges_table,
    subsidies,
    summaries,
)
from billing_lib.documents.text import (
    NOTHING,
    Invoice,
    date_span,
    draft_of,
    long_date,
    money,
    printable_invoice,
)
from billing_lib.pricing.logo import Logo


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
    summaries: Sequence[Table]
    charges: Table
    adjustments: Table | None


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
