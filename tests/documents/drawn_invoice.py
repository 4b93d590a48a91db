"""Small canonical invoices with every part that can be there or not, for hypothesis.

    @given(drawn_invoice())

Amounts are drawn freely and totals computed from them, so that what ties is the invoice's and
what a document makes of it is the document's.
"""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from hypothesis import strategies as st
from sample_invoice import added_line, invoice, stated

from billing_lib.documents.ubl import UNIT_CODES

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
REASONS = st.lists(st.tuples(TEXTS, st.integers(-500_00, 500_00)), max_size=2)


def decimal_text(minor: int, places: int) -> str:
    return f"{Decimal(minor).scaleb(-places):f}"


@st.composite
def drawn_line(draw: st.DrawFn, charge: str, places: int) -> dict[str, Any]:
    """Usage at a rate that gives its raw total or does not, or an added line."""
    quantity = draw(st.none() | st.decimals(0, 500, places=6))
    price = draw(st.none() | st.decimals(0, 90, places=draw(st.integers(0, 6))))
    raw_total = Decimal(draw(st.integers(-99_999, 99_999))).scaleb(-places)
    if quantity is not None:
        raw_total = abs(raw_total)
        if price is not None and draw(st.booleans()):
            raw_total = (quantity * price).quantize(raw_total, ROUND_HALF_UP)
    rules = draw(REASONS) if quantity is not None else []
    by_staff = draw(st.sampled_from([0, 0, 12_34, -12_34]))
    change = Decimal(sum(amount for _, amount in rules) + by_staff).scaleb(-places)
    total = raw_total + change
    first = (total / 3).quantize(total, ROUND_HALF_UP)
    named = draw(TEXTS)
    return added_line(charge) | {
        "item": {"code": "i1", "name": named} if quantity is not None else None,
        "unit": draw(st.sampled_from([*UNIT_CODES, "sample"])) if quantity is not None else None,
        "description": draw(TEXTS),
        "user": draw(st.none() | TEXTS),
        "note": draw(st.none() | TEXTS),
        "quantity": None if quantity is None else f"{quantity:f}",
        "price": None if price is None or quantity is None else f"{price:f}",
        "raw_total": f"{raw_total:f}",
        "adjustment": f"{change:f}",
        "total": f"{total:f}",
        "rules": [
            {"rule": name, "kind": "scale", "amount": decimal_text(amount, places)}
            for name, amount in rules
        ],
        "expense_codes": [
            {"expense_code": "370-1", "percent": "33.3333", "amount": f"{first:f}"},
            {"expense_code": "370-2", "percent": "66.6667", "amount": f"{total - first:f}"},
        ],
    }


@st.composite
def drawn_invoice(draw: st.DrawFn) -> dict[str, Any]:
    """Small invoices with every part that can be there or not, in dollars or yen."""
    currency, places = draw(st.sampled_from([("USD", 2), ("JPY", 0)]))
    count = draw(st.integers(1, 4))
    lines = [draw(drawn_line(f"RC/{at}", places)) for at in range(count)]
    raw_total = sum((Decimal(line["total"]) for line in lines), Decimal(0))
    rules = draw(REASONS)
    adjustment = Decimal(sum(amount for _, amount in rules)).scaleb(-places)
    percent = draw(st.none() | st.decimals(1, 30, places=2))
    before_tax = raw_total + adjustment
    tax = ((percent or 0) * before_tax / 100).quantize(before_tax, ROUND_HALF_UP)
    sample = invoice(lines, notes=draw(st.lists(TEXTS, max_size=3)), currency=currency)
    total = before_tax + tax
    drawn = draw(st.sampled_from([0, 1])) * max((total / 3).quantize(total), total * 0)
    return stated(sample) | {
        "adjustments": [
            {"rule": name, "kind": "fee", "on": None, "amount": decimal_text(amount, places)}
            for name, amount in rules
            if amount
        ],
        "tax": None
        if percent is None
        else {"name": draw(TEXTS), "percent": f"{percent:f}", "amount": f"{tax:f}"},
        "team": sample["team"] | {"name": draw(TEXTS)},
        "totals": sample["totals"]
        | {
            "raw_total": f"{raw_total:f}",
            "adjustment": f"{adjustment:f}",
            "total": f"{total:f}",
            "due": f"{total - drawn:f}",
        },
        "prepaid": {"drawn": f"{drawn:f}", "left": "0"} if drawn else None,
        "summaries": sample["summaries"]
        | {"by_expense_code": [{"expense_code": "370-1", "total": f"{total - drawn:f}"}]},
    }
