"""Verifying: are a record's bytes what was sealed?

Every manifest is written again from the files and compared with the one in the record, byte for
byte; so a flipped bit is found in any file, the manifests and the signature included, and a
missing or added file too.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from billing_lib.audit.bag import (
    DECLARATION,
    MANIFEST,
    SIGNATURE,
    TAG_MANIFEST,
    manifest_text,
    payload_files,
    tag_files,
)
from billing_lib.audit.signature import check_signature
from billing_lib.errors import InvalidRecord
from billing_lib.settings import settings

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass(frozen=True)
class Finding:
    """A file of a record that is not as it was sealed.

    Attributes
    ----------
    file
        Its path in the record.
    what
        What is wrong with it.
    """

    file: str
    what: str


def verify(record: Path, *, fingerprints: Mapping[str, str] | None = None) -> list[Finding]:
    """What is wrong with a record; nothing, if it is intact.

    Parameters
    ----------
    fingerprints
        The sha256 of each invoice's result by number, as the ledger keeps them.

    Raises
    ------
    InvalidRecord
        The folder is no record.
    """
    require_record(record)
    findings = [
        *_against(record, MANIFEST, payload_files(record)),
        *_against(record, TAG_MANIFEST, tag_files(record)),
    ]
    if (record / SIGNATURE).exists():
        wrong = check_signature(record, settings().allowed_signers)
        if wrong is not None:
            findings.append(Finding(SIGNATURE, wrong))
            if not findings[:-1]:
                findings.append(Finding(TAG_MANIFEST, "it may not be what was signed"))
    elif settings().allowed_signers is not None:
        findings.append(Finding(SIGNATURE, "the record is not signed"))
    return findings + _against_ledger(record, fingerprints or {})


def require_record(record: Path) -> None:
    """Refuse a folder that is no audit record.

    Raises
    ------
    InvalidRecord
        It is missing, or has none of a record's files.
    """
    if not any((record / name).exists() for name in (DECLARATION, MANIFEST, TAG_MANIFEST)):
        raise InvalidRecord(
            "this folder is no audit record (it has no bagit.txt and no manifest)",
            where=str(record),
            remedy="name a folder as runs/<facility>/<period>/<run>",
        )


def _against(record: Path, manifest: str, files: list[Path]) -> list[Finding]:
    """Compare a manifest with what would be written for these files now."""
    path = record / manifest
    if not path.is_file():
        return [Finding(manifest, "it is missing")]
    stated_text = path.read_bytes().decode("utf-8", errors="replace")
    actual_text = manifest_text(record, files)
    if stated_text == actual_text:
        return []
    stated, odd = _entries(stated_text)
    actual, _ = _entries(actual_text)
    findings = [Finding(manifest, f"line {line} is not as it was written") for line in odd]
    for name in sorted(stated | actual):
        if name not in actual:
            findings.append(Finding(name, f"it is missing, and {manifest} lists it"))
        elif name not in stated:
            findings.append(Finding(name, f"it is not listed in {manifest}"))
        elif stated[name] != actual[name]:
            findings.append(Finding(name, f"it does not match its sha256 in {manifest}"))
    named = {finding.file for finding in findings}
    if manifest == TAG_MANIFEST and manifest not in named:
        findings.append(Finding(manifest, "it does not match the files that it covers"))
    elif not findings:
        findings.append(Finding(manifest, "its lines are not as they were written"))
    return findings


def _entries(text: str) -> tuple[dict[str, str], list[int]]:
    """The sha256 by path, and the numbers of the lines that are no entry."""
    entries: dict[str, str] = {}
    odd = []
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            odd.append(number)
        else:
            entries[match[2]] = match[1]
    return entries, odd


def _against_ledger(record: Path, fingerprints: Mapping[str, str]) -> list[Finding]:
    return [
        Finding(path.relative_to(record).as_posix(), "it is not the invoice that the ledger issued")
        for path in sorted((record / "data" / "invoices").glob("*.json"))
        if path.stem in fingerprints
        and hashlib.sha256(path.read_bytes()).hexdigest() != fingerprints[path.stem]
    ]
