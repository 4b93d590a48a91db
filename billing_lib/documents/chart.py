"""The last twelve months of an invoice's project as a small bar chart, drawn from whole numbers.

Nothing is rounded but the lengths of bars, in thousandths of the drawing's height:

    Chart(zero=1000, bars=(Bar("Oct", "1993", "12,345.60", top=120, height=880, …), …))
"""

from dataclasses import dataclass
from decimal import Decimal

from billing_lib.documents.text import Invoice, money, short_month

_HEIGHT = 1000


@dataclass(frozen=True)
class Bar:
    """One month.

    Attributes
    ----------
    year
        Empty where it is the same as of the bar before.
    amount
        What was billed; empty where there was no bill.
    labelled
        Whether the amount stands at the bar where there is no room for all: the invoice's own
        month, and the highest where the two do not meet.
    top, height
        In thousandths from the top.
    now
        Whether this is the invoice's own month.
    """

    month: str
    year: str
    amount: str
    top: int
    height: int
    now: bool
    labelled: bool


@dataclass(frozen=True)
class Chart:
    """Twelve bars, where zero is (in thousandths from the top), and all of it in words."""

    title: str
    words: str
    zero: int
    bars: tuple[Bar, ...]


def chart(invoice: Invoice) -> Chart:
    """The chart of an invoice's history."""
    history, currency = invoice["history"], invoice["currency"]
    totals = [Decimal(month["total"] or 0) for month in history]
    highest, lowest = max([*totals, Decimal(0)]), min([*totals, Decimal(0)])
    scale = _HEIGHT / ((highest - lowest) or Decimal(1))
    zero = int(highest * scale) if highest > lowest else _HEIGHT
    bars, last = [], len(history) - 1
    for at, (month, total) in enumerate(zip(history, totals, strict=True)):
        year, name = month["period"][:4], short_month(month["period"])
        same_year = at > 0 and history[at - 1]["period"][:4] == year
        length = int(abs(total) * scale)
        bars.append(
            Bar(
                name,
                "" if same_year else year,
                "" if month["total"] is None else money(month["total"]),
                zero - length if total > 0 else zero,
                length,
                now=at == last,
                labelled=at == last or (total == highest > 0 and at < last - 2),
            )
        )
    said = ", ".join(
        f"{short_month(month['period'])} {month['period'][:4]} "
        + ("no bill" if month["total"] is None else money(month["total"]))
        for month in history
    )
    words = f"Bar chart of what this project was billed each month, in {currency}: {said}."
    return Chart(f"Last twelve months ({currency})", words, zero, tuple(bars))
