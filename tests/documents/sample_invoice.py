"""Canonical invoices to render, each figure computed here in decimals from the lines.

invoice(lines=[hourly("RC/1"), added_line("RC/2", "-75.00")], adjustment="-5.00")
"""

from collections import defaultdict
from decimal import Decimal
from typing import Any

from billing_lib.pricing.fields import Logo

Invoice = dict[str, Any]
CENT = Decimal("0.01")
PLAIN = {
    "charges": 1,
    "several": [],
    "steps": [],
    "effective_rate": None,
    "rules": [],
    "added": None,
    "waived": False,
    "late": None,
    "note": None,
}
"""What most lines have nothing of."""


def hourly(charge: str = "RC/57", *, user: str = "u4", hours: str = "2.5", **changed: Any) -> dict:
    """A job of 2.5 hours on 128 processors at 0.125 the core-hour, split 60 : 40."""
    quantity = Decimal(hours) * 128
    raw_total = (quantity * Decimal("0.125")).quantize(CENT)
    first = (raw_total * Decimal("0.6")).quantize(CENT)
    line = {
        "charge": charge,
        "kind": "usage",
        "item": {"code": "core-hour", "name": "Core hour"},
        "unit": "hour",
        "date": "1993-10-01",
        "start": "1993-10-01T07:06:17-07:00",
        "end": "1993-10-01T09:36:17-07:00",
        "description": "",
        "user": user,
        "hours": hours,
        "units": "128",
        "quantity": str(quantity),
        "price": "0.125",
        "rate_group": "internal",
        "raw_total": str(raw_total),
        "adjustment": "0.00",
        "total": str(raw_total),
        "expense_codes": [
            {"expense_code": "370-1", "percent": "60", "amount": str(first)},
            {"expense_code": "370-2", "percent": "40", "amount": str(raw_total - first)},
        ],
        "adjustments": [],
        "source": {"file": "NASA-iPSC-1993.swf.gz", "row": 40},
    }
    return PLAIN | line | changed


def slides(charge: str = "RC/58", **changed: Any) -> dict:
    """Twelve slides at 1.25, two of which broke and were taken off the bill."""
    line = {
        "charge": charge,
        "kind": "usage",
        "item": {"code": "slide", "name": "Slide"},
        "unit": "each",
        "date": "1993-10-07",
        "start": None,
        "end": None,
        "description": "Positively charged, box of twelve",
        "user": "bob",
        "hours": None,
        "units": "1",
        "quantity": "10",
        "price": "1.25",
        "rate_group": "internal",
        "raw_total": "12.50",
        "adjustment": "-1.25",
        "total": "11.25",
        "expense_codes": [{"expense_code": "370-1", "percent": "100", "amount": "11.25"}],
        "adjustments": [
            {
                "field": "quantity",
                "before": "12",
                "after": "10",
                "by": "carol",
                "at": "1993-11-01T09:00:00-08:00",
                "reason": "two broke",
            },
            {
                "field": "split",
                "before": '[{"expense_code":"370-1","percent":"60"},'
                '{"expense_code":"370-2","percent":"40"}]',
                "after": '[{"expense_code":"370-1","percent":"100"}]',
                "by": "dave",
                "at": "1993-11-02T10:00:00-08:00",
                "reason": "belongs to the first grant",
            },
        ],
        "source": {"file": "slides.csv", "row": 2},
    }
    return PLAIN | line | changed


def added_line(charge: str = "RC/59", amount: str = "-1275.00", **changed: Any) -> dict:
    """A line that staff added: a credit, with no usage behind it."""
    line = {
        "charge": charge,
        "kind": "line",
        "item": None,
        "unit": None,
        "date": "1993-10-31",
        "start": None,
        "end": None,
        "description": "Credit for the outage of 12 October",
        "user": None,
        "hours": None,
        "units": "1",
        "quantity": None,
        "price": None,
        "rate_group": None,
        "raw_total": amount,
        "adjustment": "0.00",
        "total": amount,
        "expense_codes": [{"expense_code": "370-1", "percent": "100", "amount": amount}],
        "adjustments": [],
        "added": {"by": "carol", "at": "1993-11-03T11:30:00-08:00", "reason": "outage"},
        "source": None,
    }
    return PLAIN | line | changed


def total_of(lines: list[dict], key: str) -> str:
    """The sum of a money column, at least two places."""
    return str(sum((Decimal(line[key]) for line in lines), Decimal("0.00")))


def history(total: str) -> list[dict[str, str | None]]:
    """The twelve months until October 1993: some without bill, one that was a credit."""
    before = {
        "1992-12": "61.50",
        "1993-01": "40.00",
        "1993-02": "88.75",
        "1993-05": "-15.00",
        "1993-06": "0.00",
        "1993-07": "52.10",
        "1993-08": "96.40",
        "1993-09": "71.05",
    }
    months = ["1992-11", "1992-12", *(f"1993-{month:02d}" for month in range(1, 11))]
    billed = before | {"1993-10": total}
    return [{"period": month, "total": billed.get(month)} for month in months]


def invoice(lines: list[dict] | None = None, adjustment: str = "-5.00", **changed: Any) -> Invoice:
    """An invoice over the lines; unless told, a job, some slides and a credit."""
    if lines is None:
        lines = [hourly(hours="84.0625"), slides(), added_line()]
    lines = [{"line": at, "last_date": it["date"]} | it for at, it in enumerate(lines, 1)]
    by_code: dict[str, Decimal] = defaultdict(Decimal)
    by_user: dict[str | None, list[dict]] = defaultdict(list)
    by_item: dict[str | None, list[dict]] = defaultdict(list)
    for line in lines:
        for share in line["expense_codes"]:
            by_code[share["expense_code"]] += Decimal(share["amount"])
        by_user[line["user"]].append(line)
        by_item[line["item"] and line["item"]["code"]].append(line)
    if by_code:
        by_code[min(by_code)] += Decimal(adjustment)
    raw_total = total_of(lines, "total")
    sample = {
        "format": "billing-invoice/3",
        "number": "RC-1993-00001",
        "kind": "periodic",
        "reference": None,
        "description": "",
        "replaces": None,
        "invoice_date": "1993-11-08",
        "period": "1993-10",
        "dates_covered": {"from": "1993-10-01", "to": "1993-10-31"},
        "run": "RC-1993-10-1",
        "currency": "USD",
        "facility": {
            "code": "RC",
            "name": "Research Computing",
            "timezone": "America/Los_Angeles",
            "instructions": "Charges post to the expense codes below on the 15th.\n"
            "To dispute a charge, name its code within 30 days.",
            "contacts": "Billing office, room 2-104\nbilling@example.edu\n+1 555 0100",
        },
        "project": {
            "code": "u4",
            "name": "Flow solver",
            "type": "faculty",
            "rate_group": "internal",
        },
        "team": {
            "code": "aero",
            "name": "Aerodynamics",
            "administrators": ["admin@example.edu", "second.admin@example.edu"],
        },
        "notes": ["The machine was down on 12 October; a credit is included."],
        "lines": lines,
        "detail": [],
        "summaries": {
            "by_user": [
                {
                    "user": user,
                    "charges": len(of),
                    "hours": total_of([line for line in of if line["hours"]], "hours")
                    if any(line["hours"] for line in of)
                    else None,
                    "total": total_of(of, "total"),
                }
                for user, of in by_user.items()
            ],
            "by_expense_code": [
                {"expense_code": code, "total": str(amount)} for code, amount in by_code.items()
            ],
            "by_item": [
                {
                    "item": code,
                    "charges": len(of),
                    "name": of[0]["item"] and of[0]["item"]["name"],
                    "unit": of[0]["unit"],
                    "quantity": str(sum(Decimal(line["quantity"]) for line in of))
                    if of[0]["quantity"]
                    else None,
                    "total": total_of(of, "total"),
                }
                for code, of in by_item.items()
            ],
        },
        "adjustments": [],
        "subsidies": [],
        "tax": None,
        "prepaid": None,
        "history": history(f"{Decimal(raw_total) + Decimal(adjustment):f}"),
        "totals": {
            "charges": len(lines),
            "charges_raw_total": total_of(lines, "raw_total"),
            "charges_adjustment": total_of(lines, "adjustment"),
            "raw_total": raw_total,
            "adjustment": adjustment,
            "total": str(Decimal(raw_total) + Decimal(adjustment)),
            "due": str(Decimal(raw_total) + Decimal(adjustment)),
        },
    }
    return sample | changed


def taxed_invoice() -> Invoice:
    """1345.00 − 40.00 by a rule on the charge, − 45.00 by one on the invoice, + 6.25 % tax."""
    rules = [{"rule": "pilot price", "kind": "scale", "amount": "-40.00"}]
    line = hourly(
        hours="84.0625",
        adjustment="-40.00",
        total="1305.00",
        expense_codes=[{"expense_code": "370-1", "percent": "100", "amount": "1305.00"}],
        rules=rules,
        effective_rate="0.121000",
    )
    sample = invoice([line], adjustment="-45.00")
    sample["totals"] |= {"total": "1338.75", "due": "1338.75"}
    sample["summaries"]["by_expense_code"] = [{"expense_code": "370-1", "total": "1338.75"}]
    return sample | {
        "adjustments": [
            {"rule": "cap p1", "kind": "cap", "on": "core-hour", "amount": "-45.00"},
        ],
        "tax": {"name": "Sales tax", "percent": "6.25", "amount": "78.75"},
        "subsidies": [{"by": "City fund", "amount": "100.00"}],
    }


def prepaid_invoice() -> Invoice:
    """76.25, of which 50.00 are drawn from prepaid funds, the last there were."""
    sample = invoice([hourly(), slides(), added_line(amount="30.00")])  # 40.00 + 11.25 + 30.00
    sample["totals"]["due"] = "26.25"
    sample["summaries"]["by_expense_code"] = [
        {"expense_code": "370-1", "total": "20.74"},  # 60.25 − 39.51
        {"expense_code": "370-2", "total": "5.51"},  # 16.00 − 10.49
    ]
    return sample | {"prepaid": {"drawn": "50.00", "left": "0.00"}}


def reissue() -> Invoice:
    """What replaces RC-1993-00001: a late job of September, and one that is waived."""
    at = {"by": "carol", "at": "1993-11-20T10:00:00-08:00"}
    waived = at | {"field": "waived", "before": "no", "after": "yes", "reason": "it crashed"}
    shares = [{"expense_code": "370-1", "percent": "100", "amount": "0.00"}]
    lines = [
        hourly("RC/60", date="1993-09-30", start="1993-09-30T23:00:00-07:00", late="1993-09"),
        hourly(
            "RC/61",
            adjustment="-40.00",
            total="0.00",
            waived=True,
            note="node 7",
            adjustments=[waived],
            expense_codes=shares,
        ),
    ]
    return invoice(
        lines,
        number="RC-1993-00007",
        replaces="RC-1993-00001",
        description="With the jobs that came late",
        run="RC-1993-10-2",
    )


def ad_hoc_credit() -> Invoice:
    """A credit of its own, on the lab's reference."""
    return invoice(
        [added_line(amount="-1275.00")],
        adjustment="0.00",
        number="RC-1993-00008",
        kind="ad hoc",
        reference="PO 4711",
        description="Settled by telephone",
        dates_covered={"from": "1993-10-31", "to": "1993-10-31"},
        notes=[],
    )


def draft() -> Invoice:
    """A draft as workflow/issue.py gives it."""
    return invoice() | {
        "draft": "RC-1993-10-1/u4",
        "number": None,
        "invoice_date": None,
        "run": "RC-1993-10-1",
    }


def stated(sample: Invoice, **facility: str | None) -> Invoice:
    """The invoice of a facility that states where it is and how it is taxed."""
    said = {"country": "US", "tax_id": "12-3456789"} | facility
    return sample | {"facility": sample["facility"] | said}


LOGO = Logo(
    "logo.svg",
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20"><path d="M0 0h40v20z"/></svg>',
)


def lettered(sample: Invoice, **facility: str) -> Invoice:
    """The invoice of a facility with letterhead and logo, as canonical."""
    stated = {
        "letterhead": "Office of Research, 1200 Campus Way\nMountain View, CA 94035",
        "logo": {"file": LOGO.file, "sha256": LOGO.sha256},
    }
    return sample | {"facility": sample["facility"] | stated | facility}


def long_invoice(count: int = 2000) -> Invoice:
    """An invoice of as many jobs of several users."""
    return invoice(
        [hourly(f"RC/{n}", user=f"u{n % 7}", hours=f"{n}.5") for n in range(1, count + 1)]
    )
