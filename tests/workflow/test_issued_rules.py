"""Rules of the price book on issued invoices: lines, tax, subsidies, and caps that carry on."""

import datetime as dt
from pathlib import Path
from typing import Any

from sample_facility import BOOK, HEADER, nothing, price_book, usage_file
from sample_issuing import issue_here
from sqlalchemy import Engine

from billing_lib.pricing.clock import Period
from billing_lib.workflow.invoice import invoice_json
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period

RULED = (
    (
        BOOK.replace("unit: each}", 'unit: each, cost: "0.40"}')
        .replace('price: "1.25"}', 'price: "1.25", subsidy: {by: NIH, percent: "20"}}')
        .replace(
            "rate_group: internal}]", 'rate_group: internal, tax: {name: VAT, percent: "10"}}]'
        )
    )
    + """
rules:
  - {name: bulk, scope: charge, kind: scale, factor: "0.5", items: [slide]}
  - {name: slide cap, scope: invoice, kind: cap, amount: "20.00", items: [slide], over: quarter}
"""
)

USAGE = HEADER + (
    "u1,slide,p1,bob,,,2020-04-07,30\n"  # 37.50 - 7.50, half: 15.00
    "u2,slide,p1,bob,,,2020-05-07,24\n"  # 30.00 - 6.00, half: 12.00
    "u3,slide,p1,bob,,,2020-07-07,24\n"
)


def issue(ledger: Engine, month: int, folder: Path) -> dict[str, Any]:
    """Rate and issue a month; its one invoice, computed from the snapshot as it was written."""
    book, period = price_book(RULED), Period(2020, month)
    rate_period(ledger, book, period)
    (invoice,) = issue_here(ledger, book, period, folder, date=dt.date(2020, 8, 1)).values()
    return invoice


def test_rules_leave_their_lines_and_caps_count_what_was_issued(
    ledger: Engine, tmp_path: Path
) -> None:
    load_files(ledger, price_book(RULED), [usage_file(tmp_path, USAGE)], nothing)

    april = issue(ledger, 4, tmp_path / "april")
    may = issue(ledger, 5, tmp_path / "may")
    july = issue(ledger, 7, tmp_path / "july")

    assert april["lines"][0]["rules"] == [
        {"rule": "NIH", "kind": "subsidy", "amount": "-7.50"},
        {"rule": "bulk", "kind": "scale", "amount": "-15.00"},
    ]
    assert april["subsidies"] == [{"by": "NIH", "amount": "7.50"}]
    assert (april["adjustments"], april["totals"]["total"]) == ([], "16.50")  # 15.00 and 10 %
    assert april["tax"] == {"name": "VAT", "percent": "10", "amount": "1.50"}
    # April came to 15.00 before tax, so that 5.00 of May's 12.00 are left
    assert may["adjustments"] == [
        {"rule": "slide cap", "kind": "cap", "on": "slide", "amount": "-7.00"}
    ]
    assert (may["totals"]["raw_total"], may["totals"]["total"]) == ("12.00", "5.50")
    # 60 and 40 per cent: 7.20 - 4.20 + 0.30 and 4.80 - 2.80 + 0.20
    assert may["summaries"]["by_expense_code"] == [
        {"expense_code": "A", "total": "3.30"},
        {"expense_code": "B", "total": "2.20"},
    ]
    assert july["adjustments"] == []  # another quarter
    assert "cost" not in invoice_json(july)


SPANS = (
    BOOK
    + """
rules:
  - {name: day, scope: invoice, kind: cap, amount: "10.00", items: [slide], over: day, by: user}
  - {name: quarter, scope: invoice, kind: cap, amount: "25.00", over: quarter, by: user}
  - {name: least, scope: invoice, kind: floor, amount: "60.00", over: quarter}
"""
)
DAYS = HEADER + (
    "u1,slide,p1,bob,,,2020-04-07,30\n"  # 37.50, the day's cap leaves 10.00
    "u2,slide,p1,bob,,,2020-04-08,4\n"  # 5.00
    "u3,slide,p1,ann,,,2020-04-08,4\n"  # 5.00
    "u4,slide,p1,bob,,,2020-05-07,8\n"  # 10.00
    "u5,slide,p1,bob,,,2020-06-07,8\n"  # 10.00
)


def test_spans_count_what_parts_of_issued_invoices_came_to(ledger: Engine, tmp_path: Path) -> None:
    book = price_book(SPANS)
    load_files(ledger, book, [usage_file(tmp_path, DAYS)], nothing)
    invoices = []
    for month in (4, 5, 6):
        rate_period(ledger, book, Period(2020, month))
        (invoice,) = issue_here(
            ledger, book, Period(2020, month), tmp_path / str(month), date=dt.date(2020, 8, 1)
        ).values()
        invoices.append(invoice)

    assert [invoice["adjustments"] for invoice in invoices] == [
        [{"rule": "day", "kind": "cap", "on": "slide of bob on 2020-04-07", "amount": "-27.50"}],
        [],  # bob's 15.00 of April and 10.00 make 25.00; the quarter is not over
        [
            {"rule": "quarter", "kind": "cap", "on": "of bob", "amount": "-10.00"},
            # 20.00 and 10.00 were issued, and nothing is left of June's
            {"rule": "least", "kind": "floor", "on": "", "amount": "30.00"},
        ],
    ]
    assert [invoice["totals"]["total"] for invoice in invoices] == ["20.00", "10.00", "30.00"]
