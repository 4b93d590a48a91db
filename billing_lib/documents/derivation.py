"""How a charge comes to its total, step by step, as the canonical invoice has it.

    2.5 hours × 128 units, 1993-10-01 07:06:17 −07:00 to 1993-10-01 09:36:17 −07:00
    320 hour × 0.125 = 40.00
    pilot price (scale): −4.00
    Subsidy by City fund: −20.00
    carol, 1993-11-02 10:00:00 −08:00: amount 16.00 → 20.00 (agreed): 4.00
    Total: 20.00
    370-1 pays 60 %: 12.00

The raw total and the changes by rules, by subsidies and by staff make the total.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from billing_lib.documents.text import NOTHING, instant, money, number, value_of

SUBSIDY = "subsidy"
"""The kind of a rule's change that somebody else pays."""

_IN_AMOUNT = ("amount", "waived")
"""What staff change after the raw total; all else they change before it."""


@dataclass(frozen=True)
class Changes:
    """What makes a charge's total of its raw total, by where it comes from."""

    rules: Decimal
    subsidies: Decimal
    staff: Decimal


def changes_of(line: dict[str, Any]) -> Changes:
    """The parts of a line's adjustment; they sum to it."""
    by_rule = {True: Decimal(0), False: Decimal(0)}
    for step in line["rules"]:
        by_rule[step["kind"] == SUBSIDY] += Decimal(step["amount"])
    whole = Decimal(line["adjustment"])
    rest = whole - by_rule[True] - by_rule[False]
    exact = whole - whole  # nothing, with the currency's places
    return Changes(exact + by_rule[False], exact + by_rule[True], exact + rest)


def derivation(line: dict[str, Any]) -> list[str]:
    """The steps of a line of the canonical invoice, one sentence each."""
    return [
        *_use(line),
        *(_by_staff(step) for step in line["adjustments"] if step["field"] not in _IN_AMOUNT),
        *_price(line),
        *(_by_rule(step) for step in line["rules"]),
        *_set_amount(line),
        *([f"Total: {money(line['total'])}"] if line["total"] != line["raw_total"] else []),
        *_shares(line["expense_codes"]),
    ]


def people(line: dict[str, Any]) -> str:
    """Who of the staff added or changed the charge, each once, in that order."""
    said = [line["added"]["by"]] if line["added"] else []
    said += [step["by"] for step in line["adjustments"]]
    return ", ".join(dict.fromkeys(said))


def _use(line: dict[str, Any]) -> Iterator[str]:
    if line["added"]:
        added = line["added"]
        yield f"Added by {_who(added)}{_why(added)}"
    if line["start"]:
        units = Decimal(line["units"] or 1)
        times = f" × {number(line['units'])} units" if units != 1 else ""
        span = f"{instant(line['start'])} to {instant(line['end'])}"
        hours = "hour" if Decimal(line["hours"]) == 1 else "hours"
        yield f"{number(line['hours'])} {hours}{times}, {span}"


def _price(line: dict[str, Any]) -> Iterator[str]:
    for step in line["steps"]:
        quantity = f"{number(step['quantity'])} × {number(step['rate'])} = "
        counted = quantity if step["quantity"] is not None else ""
        yield f"{step['step']}: {counted}{number(step['amount'])}"
    raw_total = money(line["raw_total"])
    if line["steps"] or line["quantity"] is None:
        yield f"Raw total: {raw_total}"
        return
    unit = f" {line['unit']}" if line["unit"] else ""
    times = f" × {number(line['rate'])}" if line["rate"] is not None else ""
    yield f"{number(line['quantity'])}{unit}{times} = {raw_total}"


def _by_rule(step: dict[str, Any]) -> str:
    named = f"Subsidy by {step['rule']}" if step["kind"] == SUBSIDY else _ruled(step)
    return f"{named}: {money(step['amount'])}"


def _ruled(step: dict[str, Any]) -> str:
    return f"{step['rule']} ({step['kind']})"


def _set_amount(line: dict[str, Any]) -> Iterator[str]:
    """What staff set the amount to, and by how much all of it changes the charge."""
    said = [_by_staff(step) for step in line["adjustments"] if step["field"] in _IN_AMOUNT]
    amount = changes_of(line).staff
    yield from said[:-1]
    if said:
        yield f"{said[-1]}: {money(f'{amount:f}')}"
    elif amount:
        yield f"By staff: {money(f'{amount:f}')}"


def _by_staff(step: dict[str, Any]) -> str:
    field = step["field"]
    before, after = value_of(field, step["before"]), value_of(field, step["after"])
    return f"{_who(step)}: {field.replace('_', ' ')} {before} → {after}{_why(step)}"


def _who(step: dict[str, Any]) -> str:
    return f"{step['by']}, {instant(step['at'])}"


def _why(step: dict[str, Any]) -> str:
    return f" ({step['reason']})" if step["reason"] else ""


def _shares(shares: list[dict[str, Any]]) -> Iterator[str]:
    for share in shares:
        percent = number(share["percent"])
        yield f"{share['expense_code'] or NOTHING} pays {percent} %: {money(share['amount'])}"
