"""Verifying: check that a record's bytes are as they were sealed; finding records in the archive.

    runs/<facility>/<YYYY-MM>/<run>/data/invoices/<number>.json      a record in the archive
    data/invoices/RC-1994-00001.json: it does not match its sha256 in manifest-sha256.txt

Both manifests are written again from the files and compared byte for byte with those in the
record. So every changed, missing or added file is found, including manifests and signature. The
tag manifest covers every other file, so an SSH signature of it (ssh-keygen, SSHSIG) covers the
record; anyone with the public key can check it by ``ssh-keygen -Y verify``. The signature shows
whether the tag manifest was changed, and the tag manifest whether the manifest was.

    record sha256 9c1f…   of tagmanifest-sha256.txt, which covers every file
    signed by office@example.edu with ED25519 key SHA256:3kQ…
    RC-1994-00001   sha256 3f8a…   the ledger has the same
"""

import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from sqlalchemy import Engine

from billing_lib.audit.bag import (
    DECLARATION,
    MANIFEST,
    SIGNATURE,
    TAG_MANIFEST,
    TIME_STAMP,
    TREE,
    file_sha256,
    manifest_bytes,
    payload_files,
    tag_files,
    tree_defect,
)
from billing_lib.audit.evidence import evidence_findings
from billing_lib.audit.program_source import program_fault
from billing_lib.audit.proof import OWN_FILES, PROOF, proof_findings, read_proof
from billing_lib.audit.signing import RECORDS, SignatureCheck, check, check_time_stamp
from billing_lib.errors import InvalidRecord, UnknownInvoice
from billing_lib.ledger import runs
from billing_lib.ledger.database import reading
from billing_lib.program import PROGRAM
from billing_lib.settings import anywhere
from billing_lib.workflow.invoice import Invoice, misfit, read_invoice


def signature_sentence(record: Path) -> str:
    """A sentence on a record's signature: ``signed by …``, ``not signed``, or the defect."""
    manifest = record / TAG_MANIFEST
    if not (record / SIGNATURE).is_file() or not manifest.is_file():
        return "not signed"
    return check_signature(record, manifest.read_bytes(), anywhere().allowed_signers).sentence


def check_signature(record: Path, manifest: bytes, allowed_signers: Path | None) -> SignatureCheck:
    """Check that a record's signature is a valid signature of a tag manifest.

    ``allowed_signers`` is the file of the signers to accept; None accepts any key.
    """
    return check(manifest, (record / SIGNATURE).read_bytes(), RECORDS, allowed_signers)


_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass(frozen=True)
class Finding:
    """A defect of a record: the path of a file in it, and a sentence."""

    file: str
    what: str


def verify(record: Path, *, fingerprints: Mapping[str, str] | None = None) -> list[Finding]:
    """The defects of a record; none if it is intact.

    ``fingerprints`` are the sha256 of canonical invoices by number, from the ledger. InvalidRecord
    if the folder is no record.
    """
    require_record(record)
    try:
        findings = _against_manifests(record)
        changed = {finding.file for finding in findings}
        return [
            *findings,
            *_against_schema(record, changed),
            *_against_proof(record),
            *_against_program(record, changed),
            *(Finding(f"data/{file}", what) for file, what in evidence_findings(record / "data")),
            *_against_ledger(record, fingerprints or {}),
        ]
    except OSError as error:
        path = Path(error.filename or record)
        name = path.relative_to(record).as_posix() if path.is_relative_to(record) else str(path)
        return [Finding(name, f"it cannot be read ({error.strerror})")]


def require_record(record: Path) -> None:
    """Raise InvalidRecord if a folder is missing or has none of a record's files."""
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
        *_against_time_stamp(record, tags_now),
        *([Finding(TREE, defect)] if tags == tags_now and (defect := tree_defect(record)) else []),
    ]


def _against_signature(
    record: Path, tags: bytes | None, tags_now: bytes
) -> tuple[bytes | None, list[Finding]]:
    """The signed tag manifest, or None if it is unknown, and the signature's defects."""
    allowed = anywhere().allowed_signers
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


def _against_time_stamp(record: Path, tags_now: bytes) -> list[Finding]:
    """The defect of a time stamp, where the roots of its authority are known."""
    roots, file = anywhere().time_stamp_ca, record / TIME_STAMP
    if roots is None or not file.is_file():
        return []
    checked = check_time_stamp(tags_now, file.read_bytes(), roots)
    return [] if checked.holds else [Finding(TIME_STAMP, checked.sentence)]


def _other_than_files(record: Path) -> list[Finding]:
    """Findings on links and devices, whose content can change without the record."""
    return [
        Finding(path.relative_to(record).as_posix(), "it is no plain file")
        for path in sorted(record.rglob("*"))
        if path.is_symlink() or not (path.is_file() or path.is_dir())
    ]


def _payload(record: Path, sealed_sha256: str | None) -> list[Finding]:
    """Findings on the manifest and the files under ``data/``."""
    stated, now = _read(record / MANIFEST), manifest_bytes(record, payload_files(record))
    if stated == now:
        return []
    if stated is None:
        return [Finding(MANIFEST, "it is missing")]
    if hashlib.sha256(now).hexdigest() == sealed_sha256:
        return [Finding(MANIFEST, "it was changed; the files that it lists are as sealed")]
    return _entry_findings(MANIFEST, stated, now)


def _tags(stated: bytes | None, now: bytes, vouched: bytes | None) -> list[Finding]:
    """Findings on the tag manifest and the files beside ``data/``."""
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
    """The sha256 by path, and the numbers of lines that are not valid entries."""
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


def _against_proof(record: Path) -> list[Finding]:
    """Why an extract's files are not those of the record from which it was taken."""
    file, name = record / "data" / PROOF, f"data/{PROOF}"
    if not file.is_file():
        return []
    try:
        proof = read_proof(file.read_bytes(), name)
        taken = {
            path.relative_to(record).as_posix(): file_sha256(path)
            for path in payload_files(record)
            if path.relative_to(record).parts[1] not in OWN_FILES
        }
        findings = proof_findings(proof, taken, anywhere().allowed_signers)
    except InvalidRecord as error:
        findings = [error.what]
    return [Finding(name, finding) for finding in findings]


def _against_program(record: Path, changed: Collection[str]) -> list[Finding]:
    """The finding on a program that is not the commit's, in otherwise intact files."""
    fault = None if changed else program_fault(record / "data")
    return [] if fault is None else [Finding(f"data/{PROGRAM}", fault)]


def _against_schema(record: Path, changed: Collection[str]) -> list[Finding]:
    """Findings on unchanged results that do not fit this version's format of an invoice."""
    findings = []
    for path in sorted((record / "data" / "invoices").glob("*.json")):
        name = path.relative_to(record).as_posix()
        if name in changed:
            continue
        try:
            wrong = misfit(json.loads(path.read_bytes()))
        except ValueError:
            wrong = "it is no JSON"
        if wrong is not None:
            findings.append(Finding(name, wrong))
    return findings


INVOICE_HASHES = pl.Schema({"number": pl.String(), "sha256": pl.String(), "ledger": pl.String()})
"""Columns of a proof's invoices; ``ledger`` compares with the ledger, in words."""


@dataclass(frozen=True)
class Proof:
    """The data by which anyone can check an intact record.

    Attributes
    ----------
    sha256
        Of the tag manifest, which covers every file of the record.
    files
        The number of files.
    signature
        A sentence on the signature.
    invoices
        Each invoice's fingerprint (INVOICE_HASHES), by number.
    """

    sha256: str
    files: int
    signature: str
    invoices: pl.DataFrame


def prove(record: Path, fingerprints: Mapping[str, str] | None) -> Proof:
    """The proof of a record that ``verify`` found intact.

    ``fingerprints`` are those of the ledger by number, or None without a ledger.
    """
    invoices = [
        (path.stem, sha256 := file_sha256(path), _of_ledger(path.stem, sha256, fingerprints))
        for path in sorted((record / "data" / "invoices").glob("*.json"))
    ]
    return Proof(
        sha256=file_sha256(record / TAG_MANIFEST),
        files=len(payload_files(record)) + len(tag_files(record)),
        signature=signature_sentence(record),
        invoices=pl.DataFrame(invoices, schema=INVOICE_HASHES, orient="row"),
    )


def _of_ledger(number: str, sha256: str, fingerprints: Mapping[str, str] | None) -> str:
    if fingerprints is None:
        return "no ledger here"
    if number not in fingerprints:
        return "not in this ledger"
    return "the same" if fingerprints[number] == sha256 else "another"


def find_record(target: str, archive: Path, engine: Engine | None = None) -> Path:
    """The record that a folder, a run's id or an invoice's number names.

    A ledger knows the path of each record; without one, the archive is searched.

    Raises
    ------
    InvalidRecord
        The folder is no record.
    UnknownInvoice
        No record in the archive has this run or number.
    """
    folder = Path(target)
    if os.path.isdir(target):  # noqa: PTH112 — Path.is_dir fails on some texts
        require_record(folder)
        return folder
    if engine is not None:
        with reading(engine) as connection:
            path = runs.find_record(connection, target)
        if path is not None and (archive / path / "bagit.txt").is_file():
            return archive / path
    for record in list_records(archive):
        numbers = {path.stem for path in (record / "data" / "invoices").glob("*.json")}
        if target == record.name or target in numbers:
            return record
    raise UnknownInvoice(
        f"'{target}' is no record's folder, and no record in {archive}/ has this run or invoice",
        remedy="'billing invoices' lists the numbers; BILLING_RUNS says where the archive is",
    )


def list_records(archive: Path) -> list[Path]:
    """Every record in the archive, sorted by facility, period and run."""
    return sorted(
        path
        for path in archive.glob("*/*/*")
        if path.is_dir() and not path.name.startswith(".") and (path / "bagit.txt").is_file()
    )


def sealed_sha256(record: Path) -> dict[str, str]:
    """The sealed sha256 of every file of a record, by its path under ``data/``.

    Raises
    ------
    InvalidRecord
        The record's manifest is missing or cannot be read.
    """
    try:
        text = (record / MANIFEST).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRecord(
            f"the audit record cannot be read ({error})",
            where=str(record),
            remedy="BILLING_RUNS says where the archive is",
        ) from None
    pairs = (line.split("  ", 1) for line in text.splitlines())
    return {path.removeprefix("data/"): sha256 for sha256, path in pairs}


def sealed_file(record: Path, path: str, sha256: str) -> bytes:
    """The content of a record's file, by its path under ``data/`` and its sealed sha256.

    Raises
    ------
    InvalidRecord
        The file is missing or was changed.
    """
    file = record / "data" / path
    content = file.read_bytes() if file.is_file() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InvalidRecord(
            f"data/{path} is not as it was sealed",
            where=str(record),
            remedy="'billing verify' tells what was changed; restore it from a copy",
        )
    return content


def sealed_invoices(archive: Path, invoices: pl.DataFrame) -> list[Invoice]:
    """The canonical invoices of records, in order; InvalidRecord if one is missing or changed.

    ``invoices`` has the ledger's columns ``record``, ``number`` and ``fingerprint``.
    """
    return [
        read_invoice(sealed_file(archive / record, f"invoices/{number}.json", fingerprint).decode())
        for record, number, fingerprint in invoices.select(
            "record", "number", "fingerprint"
        ).iter_rows()
    ]
