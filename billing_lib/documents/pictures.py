"""The logo on documents: beside the canonical invoice, which names it by its sha256.

    {"facility": {"logo": {"file": "logo.svg", "sha256": "9f2c…"}}}     as canonical
    {"facility": {"logo": {"file": …, "sha256": …, "content": b"<svg"}}}   as a renderer gets it

So a document is still a function of what a record holds, ``invoices/`` and ``snapshot/``, and
the canonical text stays short. Another picture than the one named is refused.

The last twelve months of an invoice's project as a small bar chart, drawn from whole numbers.

Nothing is rounded but the lengths of bars, in thousandths of the drawing's height:

    Chart(zero=1000, bars=(Bar("Oct", "1993", "12,345.60", top=120, height=880, …), …))

How anyone checks an invoice: its fingerprint, and a QR code (ISO/IEC 18004) that says it.

The fingerprint is the sha256 of the canonical text, the file in the audit record; manifest and
ledger have the same. It cannot stand in that file itself, so documents compute it from there.

    Invoice RC-1993-00001
    Run RC-1993-10-1
    sha256 3f8a…                    or the address that the facility states (``record_url``)
"""

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from io import BytesIO
from typing import Any

import segno

from billing_lib.documents.text import Invoice, draft_of, money, short_month
from billing_lib.errors import InvalidRecord
from billing_lib.pricing.fields import Logo
from billing_lib.workflow.invoice import fingerprint


def with_logo(invoice: Invoice, logo: Logo | None) -> Invoice:
    """The invoice with the content of the logo that it names; as it is, if it names none."""
    named = invoice["facility"].get("logo")
    if named is None:
        return invoice
    if logo is None or logo.sha256 != named["sha256"]:
        name = invoice["number"] or draft_of(invoice)
        raise InvalidRecord(
            f"the logo of invoice {name} is not the one that it was made with",
            where=f"snapshot/{named['file']}",
            remedy="take the record from the archive again",
        )
    return _naming(invoice, named | {"content": logo.content})


def without_content(invoice: Invoice) -> Invoice:
    """The invoice as it is canonical."""
    named = invoice["facility"].get("logo")
    if named is None:
        return invoice
    return _naming(invoice, {key: value for key, value in named.items() if key != "content"})


def logo_of(invoice: Invoice) -> Logo | None:
    """The logo to draw, if the invoice names one."""
    named = invoice["facility"].get("logo")
    if named is None:
        return None
    logo = Logo(named["file"], named.get("content", b""))
    with_logo(invoice, logo)
    return logo


def _naming(invoice: Invoice, logo: dict[str, Any]) -> Invoice:
    return {**invoice, "facility": {**invoice["facility"], "logo": logo}}


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


@dataclass(frozen=True)
class Check:
    """What an invoice's page says of how to check it.

    Attributes
    ----------
    qr
        The QR code as SVG.
    says
        What is in it.
    address
        Where to look, if the facility states it.
    """

    fingerprint: str
    sentence: str
    qr: str
    says: str
    address: str


def check(invoice: Invoice) -> Check | None:
    """How to check an invoice; a draft has nothing to check it by."""
    if draft_of(invoice):
        return None
    number, run = invoice["number"], invoice["run"]
    found = fingerprint(without_content(invoice))
    template = invoice["facility"].get("record_url", "")
    address = template.replace("{number}", number).replace("{fingerprint}", found)
    says = address or f"Invoice {number}\nRun {run}\nsha256 {found}"
    sentence = (
        f"This is the fingerprint of {number}.json in the audit record of {run}: "
        f"sha256sum {number}.json must print it, and billing verify {number} checks the record."
    )
    return Check(found, sentence, _qr(says), says.replace("\n", ", "), address)


@lru_cache(maxsize=16)  # an invoice's formats are made one after the other, and each shows it
def _qr(text: str) -> str:
    """Without a border: the page leaves four modules of white around it."""
    drawing = BytesIO()
    code = segno.make(text, error="m", micro=False)
    code.save(drawing, kind="svg", xmldecl=False, nl=False, omitsize=True, border=0)
    return drawing.getvalue().decode()
