"""The canonical text of an invoice, of which its fingerprint is the sha256.

    invoices/RC-1994-00001.json     sorted keys, two spaces, decimal strings, a line feed at the end
    sha256sum RC-1994-00001.json    the fingerprint, as ledger, manifest and documents have it

Whoever writes the file and whoever prints the fingerprint use the same function, so that they
cannot differ.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Invoice = dict[str, Any]


def invoice_json(invoice: Mapping[str, Any]) -> str:
    """The canonical text: sorted keys, two spaces, a line feed at the end."""
    return json.dumps(invoice, sort_keys=True, ensure_ascii=False, indent=2) + "\n"


def fingerprint(invoice: Mapping[str, Any]) -> str:
    """The sha256 of the canonical text in UTF-8, as hexadecimal digits."""
    return hashlib.sha256(invoice_json(invoice).encode()).hexdigest()


def read_invoice(text: str) -> Invoice:
    """A canonical result from its text."""
    invoice: Invoice = json.loads(text)
    return invoice


def write_invoices(invoices: Mapping[str, Invoice], folder: Path) -> None:
    """Write each canonical result as ``<number>.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, invoice in invoices.items():
        (folder / f"{number}.json").write_text(invoice_json(invoice), encoding="utf-8")
