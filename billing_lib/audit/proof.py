"""Proofs that an invoice is in a sealed record, and the record in the log.

    fingerprint ─ line of the manifest ─ tree of the manifest ─ tag manifest ─ seal ─ log ─ head

A proof is JSON without any other lab's data: beside the invoice's own lines it has hashes alone.
Whoever holds an invoice's canonical file and the site's public key checks it, offline:

    1  sha256(file) stands in a line of ``files``
    2  sha256(0x00 ‖ salt ‖ line) and its path make the root in ``manifest-tree.txt`` (RFC 9162)
    3  the tag manifest has the sha256 of that text, and is signed; its own sha256 is the seal
    4  sha256(0x00 ‖ seal) and its path make the root in the head, which is signed

``proof.json`` in an extract (extract.py) is such a proof of all its files that the record has too.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from billing_lib.audit import signing
from billing_lib.audit.bag import TREE, TREE_TEXT
from billing_lib.audit.log import Log, head_findings, read_head, signed_by
from billing_lib.audit.merkle import leaf_hash, root_of_inclusion
from billing_lib.errors import InvalidRecord, count_of

PROOF = "proof.json"
"""The name of a proof in an extract's data."""

OWN_FILES = (PROOF, "snapshot", "ro-crate-metadata.json")
"""The files and folders in an extract's data that are not the record's, and so are not proven."""

FORMAT = "billing-proof/1"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FileProof(_Part):
    """A line of the record's manifest with its place in the tree; hashes and salt are in hex."""

    line: str
    salt: str
    index: int
    path: list[str]


class RecordProof(_Part):
    """A sealed record, as far as it is shown."""

    run: str
    seal: str
    tag_manifest: str
    signature: str | None
    tree: str
    files: list[FileProof]


class LogProof(_Part):
    """The record's place in the log, under a head."""

    position: int
    path: list[str]
    head: str
    signature: str | None


class Proof(_Part):
    """A proof of an invoice; ``log`` is None where no log has the record."""

    format: str
    number: str
    fingerprint: str
    record: RecordProof
    log: LogProof | None

    @property
    def sha256(self) -> dict[str, str]:
        """The sha256 of each file that is proven, by its path in the record."""
        pairs = (file.line.partition("  ") for file in self.record.files)
        return {path: sha256 for sha256, _, path in pairs}


def read_proof(content: bytes, where: str) -> Proof:
    """Read a proof from JSON; InvalidRecord if it is none."""
    try:
        proof = Proof.model_validate_json(content)
        if proof.format != FORMAT:
            raise ValueError(f"its format is {proof.format}")
    except (ValidationError, ValueError) as error:
        said = str(error).splitlines()[0]
        raise InvalidRecord(f"this is no proof of an invoice ({said})", where=where) from None
    return proof


def proof_findings(
    proof: Proof,
    sha256: Mapping[str, str],
    allowed_signers: Path | None,
    log: Log | None = None,
) -> list[str]:
    """Why a proof does not hold; nothing if it does.

    Parameters
    ----------
    sha256
        The sha256 of the files in hand, by their paths in the record: all that are to be proven.
    allowed_signers
        As for records; None accepts any key.
    log
        A log in reach, which must go on from the proof's head.
    """
    record = proof.record
    return [
        *_files_findings(proof, sha256),
        *_record_findings(record, allowed_signers),
        *([] if proof.log is None else _log_findings(record, proof.log, allowed_signers, log)),
    ]


def _files_findings(proof: Proof, sha256: Mapping[str, str]) -> list[str]:
    proven = proof.sha256
    findings = [
        f"{path} is {'not proven' if path not in proven else 'another than the proven one'}"
        for path, digest in sorted(sha256.items())
        if proven.get(path) != digest
    ]
    if proven.get(f"data/invoices/{proof.number}.json") != proof.fingerprint:
        findings.append("the fingerprint is not that of the proven invoice")
    stated = TREE_TEXT.fullmatch(proof.record.tree.encode())
    if stated is None:
        return [*findings, "the record's tree cannot be read"]
    for file in proof.record.files:
        try:
            leaf = bytes.fromhex(file.salt) + file.line.encode()
            path = [bytes.fromhex(it) for it in file.path]
        except ValueError:
            return [*findings, "a hash is not in hex"]
        root = root_of_inclusion(leaf_hash(leaf), file.index, int(stated["size"]), path)
        if root is None or root.hex().encode() != stated["root"]:
            findings.append(f"{file.line.partition('  ')[2]} is not in the record's tree")
    return findings


def _record_findings(record: RecordProof, allowed_signers: Path | None) -> list[str]:
    findings = []
    line = f"{hashlib.sha256(record.tree.encode()).hexdigest()}  {TREE}"
    if line not in record.tag_manifest.splitlines():
        findings.append("the tree is not the one that the record sealed")
    tags = record.tag_manifest.encode()
    if hashlib.sha256(tags).hexdigest() != record.seal:
        findings.append("the seal is not that of the record's tag manifest")
    if record.signature is None:
        return [*findings, *(["the record is not signed"] if allowed_signers else [])]
    checked = signing.check(tags, record.signature.encode(), signing.RECORDS, allowed_signers)
    return findings if checked.holds else [*findings, f"the record: {checked.sentence}"]


def _log_findings(
    record: RecordProof, place: LogProof, allowed_signers: Path | None, log: Log | None
) -> list[str]:
    head = read_head(
        f"{place.head}\nsignature {place.signature}" if place.signature else place.head
    )
    findings = []
    try:
        leaf, path = bytes.fromhex(record.seal), [bytes.fromhex(it) for it in place.path]
        root = root_of_inclusion(leaf_hash(leaf), place.position - 1, head.size, path)
    except ValueError:
        root = None
    if root is None or root.hex() != head.root:
        findings.append(
            f"the record is not in the log of the head of {count_of(head.size, 'record')}"
        )
    checked = signed_by(head, allowed_signers)
    if not checked.holds:
        findings.append(f"the head: {checked.sentence}")
    if log is not None:
        findings += head_findings(head, log)
        at = log.entries[place.position - 1 : place.position]
        if at and at[0].seal != record.seal:
            findings.append(f"the log has another record at {place.position:,}")
    return findings


def proof_json(proof: Proof) -> bytes:
    """A proof as it is written to a file."""
    return json.dumps(proof.model_dump(), indent=2, sort_keys=True).encode() + b"\n"
