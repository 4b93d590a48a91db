"""How anyone checks an invoice: its fingerprint, and a QR code (ISO/IEC 18004) that says it.

The fingerprint is the sha256 of the canonical text, the file in the audit record; manifest and
ledger have the same. It cannot stand in that file itself, so documents compute it from there.

    Invoice RC-1993-00001
    Run RC-1993-10-1
    sha256 3f8a…                    or the address that the facility states (``record_url``)
"""

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import segno

from billing_lib.documents.logo import without_content
from billing_lib.documents.text import Invoice, draft_of
from billing_lib.workflow.canonical import fingerprint


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
