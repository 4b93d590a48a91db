"""The pictures on an invoice: the logo, the chart of twelve months and the QR code to check it.

The canonical invoice names its logo by sha256, and a renderer gets the picture beside it. So a
document is a function of the record's ``invoices/`` and ``snapshot/``, the canonical text stays
short, and any other picture is refused.

    {"facility": {"logo": {"file": "logo.svg", "sha256": "9f2c…"}}}     the canonical invoice
    {"facility": {"logo": {"file": …, "sha256": …, "content": b"<svg"}}}   the renderer's

The chart is drawn from whole numbers; only the lengths of bars are rounded, to thousandths of the
drawing's height:

    Chart(zero=1000, bars=(Bar("Oct", "1993", "12,345.60", top=120, height=880, …), …))

The fingerprint is the sha256 of the canonical text, as in the record's manifest and the ledger. The
canonical file cannot contain it, so documents compute it. The QR code (ISO/IEC 18004) says:

    Invoice RC-1993-00001
    Run RC-1993-10-1
    sha256 3f8a…                    or the facility's address for records (``record_url``)
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
    """The invoice with the content of its logo; unchanged if it names none."""
    named = invoice["facility"].get("logo")
    if named is None:
        return invoice
    if logo is None or logo.sha256 != named["sha256"]:
        name = invoice["number"] or draft_of(invoice)
        raise InvalidRecord(
            f"the logo of invoice {name} differs from the one on the issued invoice",
            where=f"snapshot/{named['file']}",
            remedy="take the record from the archive again",
        )
    return _replace_logo(invoice, named | {"content": logo.content})


def logo_of(invoice: Invoice) -> Logo | None:
    """The logo to draw, or None."""
    named = invoice["facility"].get("logo")
    if named is None:
        return None
    logo = Logo(named["file"], named.get("content", b""))
    with_logo(invoice, logo)
    return logo


def _replace_logo(invoice: Invoice, logo: dict[str, Any]) -> Invoice:
    return {**invoice, "facility": {**invoice["facility"], "logo": logo}}


_HEIGHT = 1000


@dataclass(frozen=True)
class Bar:
    """One month. Where there is no room for all amounts, ``labelled`` bars have theirs: the
    invoice's own month and, at some distance from it, the highest."""

    month: str
    year: str  # empty if the same as of the bar before
    amount: str  # the month's bill; empty without one
    top: int  # in thousandths of the drawing's height, from above
    height: int  # in thousandths of the drawing's height
    now: bool  # whether this is the invoice's own month
    labelled: bool


@dataclass(frozen=True)
class Chart:
    """Twelve bars, the place of zero (in thousandths from the top), and a description in words."""

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
    amounts = ", ".join(
        f"{short_month(month['period'])} {month['period'][:4]} "
        + ("no bill" if month["total"] is None else money(month["total"]))
        for month in history
    )
    words = f"Bar chart of the bills of this project by month, in {currency}: {amounts}."
    return Chart(f"Last twelve months ({currency})", words, zero, tuple(bars))


@dataclass(frozen=True)
class Check:
    """The means on a page to check an invoice."""

    fingerprint: str
    sentence: str
    qr: str  # the QR code as SVG
    says: str  # the text in the QR code
    address: str  # the address of the record, if the facility states one


def check(invoice: Invoice) -> Check | None:
    """The means to check an invoice; None for a draft."""
    if draft_of(invoice):
        return None
    number, run, logo = invoice["number"], invoice["run"], invoice["facility"].get("logo")
    if logo is not None:  # the canonical invoice has no content of the logo
        invoice = _replace_logo(invoice, {key: logo[key] for key in logo if key != "content"})
    sha256 = fingerprint(invoice)
    template = invoice["facility"].get("record_url", "")
    address = template.replace("{number}", number).replace("{fingerprint}", sha256)
    says = address or f"Invoice {number}\nRun {run}\nsha256 {sha256}"
    sentence = (
        f"This is the fingerprint of {number}.json in the audit record of {run}: "
        f"sha256sum {number}.json must print it, and billing verify {number} checks the record."
    )
    return Check(sha256, sentence, _qr(says), says.replace("\n", ", "), address)


@lru_cache(maxsize=16)  # an invoice's formats are made one after the other, each with this code
def _qr(text: str) -> str:
    drawing = BytesIO()
    code = segno.make(text, error="m", micro=False)
    # No border: the page leaves four modules of white around the code.
    code.save(drawing, kind="svg", xmldecl=False, nl=False, omitsize=True, border=0)
    return drawing.getvalue().decode()
