"""What vouches for an intact record, so that anyone can check it without us.

record sha256 9c1f…   of tagmanifest-sha256.txt, which covers every file
signed by office@example.edu with ED25519 key SHA256:3kQ…
RC-1994-00001   sha256 3f8a…   the ledger has the same
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from billing_lib.audit.bag import TAG_MANIFEST, file_sha256, payload_files, tag_files
from billing_lib.audit.signature import signature_sentence

INVOICES = pl.Schema({"number": pl.String(), "sha256": pl.String(), "ledger": pl.String()})
"""Columns of a proof's invoices; ``ledger`` says in words what the ledger has."""


@dataclass(frozen=True)
class Proof:
    """What vouches for a record.

    Attributes
    ----------
    sha256
        Of the tag manifest, which covers every file of the record.
    files
        How many files that is.
    signature
        Who signed it, for people.
    invoices
        Each invoice's fingerprint (INVOICES), by number.
    """

    sha256: str
    files: int
    signature: str
    invoices: pl.DataFrame


def prove(record: Path, fingerprints: Mapping[str, str] | None) -> Proof:
    """What vouches for a record that verify found intact.

    Parameters
    ----------
    fingerprints
        What the ledger has of each invoice, by number; None where there is no ledger.
    """
    invoices = [
        (path.stem, sha256 := file_sha256(path), _of_ledger(path.stem, sha256, fingerprints))
        for path in sorted((record / "data" / "invoices").glob("*.json"))
    ]
    return Proof(
        sha256=file_sha256(record / TAG_MANIFEST),
        files=len(payload_files(record)) + len(tag_files(record)),
        signature=signature_sentence(record),
        invoices=pl.DataFrame(invoices, schema=INVOICES, orient="row"),
    )


def _of_ledger(number: str, sha256: str, fingerprints: Mapping[str, str] | None) -> str:
    if fingerprints is None:
        return "no ledger here"
    if number not in fingerprints:
        return "not in this ledger"
    return "the same" if fingerprints[number] == sha256 else "another"
