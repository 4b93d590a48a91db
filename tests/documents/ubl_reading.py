"""Read a UBL invoice back: what stands where, and whether it ties, without our own code.

    root = etree.fromstring(xml)
    text(root, "LegalMonetaryTotal/PayableAmount")  →  "1338.75"

Paths are local names: UBL has each but once at a place, whatever its namespace.
"""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from lxml import etree


def text(element: etree._Element, path: str) -> str | None:
    found: str | None = element.findtext("/".join(f"{{*}}{name}" for name in path.split("/")))
    return found


def texts(element: etree._Element, path: str) -> list[str]:
    found = element.findall("/".join(f"{{*}}{name}" for name in path.split("/")))
    return [one.text or "" for one in found]


def money(element: etree._Element, path: str) -> Decimal:
    found = text(element, path)
    assert found is not None, path
    return Decimal(found)


def changes(element: etree._Element) -> list[tuple[str, Decimal]]:
    """Reason and signed amount of an invoice's or a line's allowances and charges."""
    return [
        (
            str(text(step, "AllowanceChargeReason")),
            money(step, "Amount") * (1 if text(step, "ChargeIndicator") == "true" else -1),
        )
        for step in element.findall("{*}AllowanceCharge")
    ]


def priced(line: etree._Element) -> Decimal:
    """Quantity × price ÷ base quantity, rounded to the places of the line's amounts."""
    base = Decimal(text(line, "Price/BaseQuantity") or 1)
    amount = money(line, "InvoicedQuantity") * money(line, "Price/PriceAmount") / base
    return amount.quantize(money(line, "LineExtensionAmount"), ROUND_HALF_UP)


def net_amounts_tie(root: etree._Element) -> bool:
    """BT-131 as EN 16931-1 defines it; its schematron does not compute it."""
    return all(
        priced(line) + sum(amount for _, amount in changes(line))
        == money(line, "LineExtensionAmount")
        for line in root.iter("{*}InvoiceLine")
    )


def assert_same_amounts(xml: bytes, canonical: dict[str, Any]) -> None:
    """Every amount of the canonical invoice stands in the document, as the same string."""
    root = etree.fromstring(xml)
    totals, tax = canonical["totals"], canonical.get("tax")
    assert text(root, "LegalMonetaryTotal/LineExtensionAmount") == totals["raw_total"]
    assert text(root, "LegalMonetaryTotal/TaxInclusiveAmount") == totals["total"]
    assert text(root, "LegalMonetaryTotal/PayableAmount") == totals["due"]
    before_tax = Decimal(totals["total"]) - Decimal(tax["amount"] if tax else 0)
    assert money(root, "LegalMonetaryTotal/TaxExclusiveAmount") == before_tax
    assert money(root, "TaxTotal/TaxSubtotal/TaxableAmount") == before_tax
    taxed = text(root, "TaxTotal/TaxAmount")
    assert taxed == (tax["amount"] if tax else f"{abs(0 * before_tax):f}")
    steps = changes(root)
    assert sum(amount for _, amount in steps) == Decimal(totals["adjustment"])
    rules = [Decimal(rule["amount"]) for rule in canonical.get("adjustments", [])]
    assert [amount for _, amount in steps][: len(rules)] == rules
    assert_books(text(root, "AccountingCost"), canonical["summaries"]["by_expense_code"], "total")
    lines = root.findall("{*}InvoiceLine")
    for line, said in zip(lines, canonical["lines"], strict=True):
        assert text(line, "ID") == said["charge"]
        assert text(line, "LineExtensionAmount") == said["total"]
        assert priced(line) == Decimal(said["raw_total"])
        assert sum(amount for _, amount in changes(line)) == Decimal(said["adjustment"])
        assert_books(text(line, "AccountingCost"), said["expense_codes"], "amount")
    assert net_amounts_tie(root)


def assert_books(said: str | None, shares: list[dict[str, str]], key: str) -> None:
    if len(shares) == 1:
        assert said == shares[0]["expense_code"]
    else:
        assert (said or "") == "; ".join(f"{it['expense_code']} {it[key]}" for it in shares)
