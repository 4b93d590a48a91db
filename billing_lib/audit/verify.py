"""Verifying: are a record's bytes what was sealed?

Every manifest is written again from the files and compared with the one in the record, byte for
byte; so a flipped bit is found in any file, the manifests and the signature included, and a
missing or added file too. What vouches for the other tells which of two was changed: the
signature for the tag manifest, the tag manifest for the manifest.

    data/invoices/RC-1994-00001.json: it does not match its sha256 in manifest-sha256.txt
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
    file_sha256,
    manifest_bytes,
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
    try:
        return [*_against_manifests(record), *_against_ledger(record, fingerprints or {})]
    except OSError as error:
        path = Path(error.filename or record)
        name = path.relative_to(record).as_posix() if path.is_relative_to(record) else str(path)
        return [Finding(name, f"it cannot be read ({error.strerror})")]


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


def _against_manifests(record: Path) -> list[Finding]:
    tags, tags_now = _read(record / TAG_MANIFEST), manifest_bytes(record, tag_files(record))
    vouched, findings = _against_signature(record, tags, tags_now)
    return [
        *_other_than_files(record),
        *_payload(record, _entries(vouched or tags or b"")[0].get(MANIFEST)),
        *_tags(tags, tags_now, vouched),
        *findings,
    ]


def _against_signature(
    record: Path, tags: bytes | None, tags_now: bytes
) -> tuple[bytes | None, list[Finding]]:
    """The tag manifest that the signature is of, if it is known, and what is wrong."""
    allowed = settings().allowed_signers
    if not (record / SIGNATURE).is_file():
        unsigned = Finding(SIGNATURE, "the record is not signed, and allowed signers are set")
        return None, [unsigned] if allowed is not None else []
    wrong = ""
    for text in dict.fromkeys((tags_now, tags)):
        if text is not None:
            check = check_signature(record, text, allowed)
            if check.holds:
                return text, []
            wrong = check.sentence
    findings = [Finding(SIGNATURE, wrong)]
    if tags == tags_now:
        findings.append(Finding(TAG_MANIFEST, "it may not be what was signed"))
    return None, findings


def _other_than_files(record: Path) -> list[Finding]:
    """Links and devices: what they lead to can change without the record."""
    return [
        Finding(path.relative_to(record).as_posix(), "it is no plain file")
        for path in sorted(record.rglob("*"))
        if path.is_symlink() or not (path.is_file() or path.is_dir())
    ]


def _payload(record: Path, sealed_sha256: str | None) -> list[Finding]:
    """Compare the manifest with the files under ``data/``."""
    stated, now = _read(record / MANIFEST), manifest_bytes(record, payload_files(record))
    if stated == now:
        return []
    if stated is None:
        return [Finding(MANIFEST, "it is missing")]
    if hashlib.sha256(now).hexdigest() == sealed_sha256:
        return [Finding(MANIFEST, "it was changed; the files that it lists are as sealed")]
    return _entry_findings(MANIFEST, stated, now)


def _tags(stated: bytes | None, now: bytes, vouched: bytes | None) -> list[Finding]:
    """Compare the tag manifest with the files beside ``data/``."""
    if stated == now:
        return []
    if stated is None:
        return [Finding(TAG_MANIFEST, "it is missing")]
    if vouched == now:
        return [Finding(TAG_MANIFEST, "it was changed; the files that it lists are as signed")]
    findings = _entry_findings(TAG_MANIFEST, stated, now)
    if vouched is None:
        findings.append(Finding(TAG_MANIFEST, "it does not match the files that it covers"))
    return findings


def _entry_findings(manifest: str, stated_bytes: bytes, now_bytes: bytes) -> list[Finding]:
    stated, odd = _entries(stated_bytes)
    now, _ = _entries(now_bytes)
    findings = [Finding(manifest, f"line {line} is not as it was written") for line in odd]
    for name in sorted(stated | now):
        if name not in now:
            findings.append(Finding(name, f"it is missing, and {manifest} lists it"))
        elif name not in stated:
            findings.append(Finding(name, f"it is not listed in {manifest}"))
        elif stated[name] != now[name]:
            findings.append(Finding(name, f"it does not match its sha256 in {manifest}"))
    return findings or [Finding(manifest, "its lines are not as they were written")]


def _entries(manifest: bytes) -> tuple[dict[str, str], list[int]]:
    """The sha256 by path, and the numbers of the lines that are no entry."""
    entries: dict[str, str] = {}
    odd = []
    lines = manifest.decode(errors="replace").split("\n")
    for number, line in enumerate(lines[:-1], start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            odd.append(number)
        else:
            entries[match[2]] = match[1]
    return entries, odd + ([len(lines)] if lines[-1] else [])


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _against_ledger(record: Path, fingerprints: Mapping[str, str]) -> list[Finding]:
    return [
        Finding(path.relative_to(record).as_posix(), "it is not the invoice that the ledger issued")
        for path in sorted((record / "data" / "invoices").glob("*.json"))
        if path.stem in fingerprints and file_sha256(path) != fingerprints[path.stem]
    ]
