"""A canonical statement over sample invoices, each figure computed here in decimals.

statement_of([invoice(), invoice(number="RC-1993-00002")], rules={"RC": [("courtesy", "-3.00")]})
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sample_invoice import (
    Invoice,
    ad_hoc_credit,
    hourly,
    invoice,
    prepaid_invoice,
    reissue,
    taxed_invoice,
)

from billing_lib.documents import renderers
from billing_lib.documents.statement import FORMATS, render_statement

Rules = Mapping[str, list[tuple[str, str]]]


def statement_of(
    invoices: list[Invoice], rules: Rules, *, places: int = 2, **changed: Any
) -> dict[str, Any]:
    """The statement of what these invoices, and these rules by facility, come to."""
    facilities = {it["facility"]["code"]: it["facility"]["name"] for it in invoices}
    parts = [
        _part(code, name, invoices, rules.get(code, []), places)
        for code, name in facilities.items()
    ]
    drawn = sum((_drawn(it) for it in invoices), Decimal(0))
    total = _sum(part["total"] for part in parts)
    return {
        "format": "billing-statement/1",
        "id": "aero-1993-10",
        "team": {"code": "aero", "name": "Aerodynamics"},
        "period": "1993-10",
        "sequence": 1,
        "currency": invoices[0]["currency"] if invoices else "USD",
        "state": "OPEN",
        "facilities": parts,
        "payment": None,
        "log": f"billing-log core 3 1993-11-05T10:00:00Z {'0123456789abcdef' * 4}",
        "totals": {
            "invoices": len(invoices),
            "raw_total": _text(_sum(part["raw_total"] for part in parts), places),
            "adjustment": _text(_sum(part["adjustment"] for part in parts), places),
            "total": _text(total, places),
            "prepaid": _text(drawn, places),
            "due": _text(total - drawn, places),
        },
    } | changed


def _part(
    code: str, name: str, invoices: list[Invoice], rules: list[tuple[str, str]], places: int
) -> dict[str, Any]:
    here = [it for it in invoices if it["facility"]["code"] == code]
    raw_total = _sum(it["totals"]["total"] for it in here)
    change = _sum(amount for _, amount in rules)
    return {
        "facility": {"code": code, "name": name},
        "invoices": [
            {
                "number": it["number"],
                "project": it["project"]["code"],
                "kind": it["kind"],
                "state": "APPROVED",
                "invoice_date": it["invoice_date"],
                "total": it["totals"]["total"],
                "prepaid": _text(_drawn(it), places),
            }
            for it in here
        ],
        "adjustments": [
            {"rule": rule, "kind": "discount", "amount": amount} for rule, amount in rules
        ],
        "raw_total": _text(raw_total, places),
        "adjustment": _text(change, places),
        "total": _text(raw_total + change, places),
    }


def _drawn(it: Invoice) -> Decimal:
    return Decimal(it["totals"]["total"]) - Decimal(it["totals"]["due"])


def _sum(amounts: Any) -> Decimal:
    return sum((Decimal(amount) for amount in amounts), Decimal(0))


def _text(amount: Decimal, places: int) -> str:
    return f"{amount:.{places}f}"


def three_facilities() -> tuple[dict[str, Any], dict[str, Invoice]]:
    """An OPEN statement over three facilities, one with a name that is hard to print."""
    facility = invoice()["facility"]
    other = facility | {"code": "MIC", "name": "Microscopy & =Imaging [core]"}
    third = facility | {"code": "SEQ", "name": "Sequencing"}
    listed = [
        invoice(),
        taxed_invoice() | {"number": "RC-1993-00002"},
        prepaid_invoice() | {"number": "RC-1993-00003"},
        reissue(),
        ad_hoc_credit(),
        invoice([hourly("MIC/1")], number="MIC-1993/00001", facility=other),
        invoice([], number="SEQ-1993-00001", facility=third, notes=[]),
    ]
    rules = {"RC": [("courtesy", "-3.00"), ("handling fee of the office", "12.50")]}
    return statement_of(listed, rules), {it["number"]: it for it in listed}


def paid() -> dict[str, Any]:
    """The same, paid."""
    payment = {"date": "1994-01-15", "reference": "transfer 8813"}
    return three_facilities()[0] | {"state": "PAID", "payment": payment}


def documents() -> dict[str, bytes]:
    """An invoice and a statement in every format."""
    statement, invoices = three_facilities()
    of_invoice = {f"invoice.{suffix}": make(invoice()) for suffix, make in renderers().items()}
    return of_invoice | {
        f"statement.{suffix}": render_statement(statement, suffix, invoices) for suffix in FORMATS
    }
