"""The logo on documents: beside the canonical invoice, which names it by its sha256.

    {"facility": {"logo": {"file": "logo.svg", "sha256": "9f2c…"}}}     as canonical
    {"facility": {"logo": {"file": …, "sha256": …, "content": b"<svg"}}}   as a renderer gets it

So a document is still a function of what a record holds, ``invoices/`` and ``snapshot/``, and
the canonical text stays short. Another picture than the one named is refused.
"""

from typing import Any

from billing_lib.documents.text import Invoice, draft_of
from billing_lib.errors import InvalidRecord
from billing_lib.pricing.logo import Logo


def with_logo(invoice: Invoice, logo: Logo | None) -> Invoice:
    """The invoice with the content of the logo that it names; as it is, if it names none.

    Raises
    ------
    InvalidRecord
        This is not the logo that it names.
    """
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
    """The logo to draw, if the invoice names one.

    Raises
    ------
    InvalidRecord
        It names one, and was not given its content by :func:`with_logo`.
    """
    named = invoice["facility"].get("logo")
    if named is None:
        return None
    logo = Logo(named["file"], named.get("content", b""))
    with_logo(invoice, logo)
    return logo


def _naming(invoice: Invoice, logo: dict[str, Any]) -> Invoice:
    return {**invoice, "facility": {**invoice["facility"], "logo": logo}}
