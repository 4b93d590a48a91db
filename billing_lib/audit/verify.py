"""Verifying: check a record against its own seal, and against all that is known of it here.

    bytes        right: 31 files, sha256 9c1f… of tagmanifest-sha256.txt, which covers them all
    results      wrong: data/invoices/RC-1994-00001.json: it is not the invoice that was issued
    signature    not checked: unsigned

CHECKS is the list of checks, in order. Each says right, wrong (which file, and how) or not checked
(why). They read and never write; none runs anything of the record. ``known.py`` has what records
are compared with: the ledger, the log of seals, the program's clone.

Both manifests are written again from the files and compared byte for byte with those in the
record. So every changed, missing or added file is found, including manifests and signature. The
tag manifest covers every other file, so an SSH signature of it (ssh-keygen, SSHSIG) covers the
record; anyone with the public key can check it by ``ssh-keygen -Y verify``. The signature shows
whether the tag manifest was changed, and the tag manifest whether the manifest was.
"""

import hashlib
import json
import multiprocessing
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import polars as pl
from sqlalchemy import Engine

from billing_lib.audit.archive import forget, list_records, open_anew, open_record, require_record
from billing_lib.audit.bag import (
    INFO,
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
from billing_lib.audit.known import (
    NOTHING,
    IssuedRun,
    Known,
    UnknownCommit,
    changed_file,
    committed_file,
)
from billing_lib.audit.log import Head, read_head
from billing_lib.audit.program_source import program_fault, read_program
from billing_lib.audit.proof import OWN_FILES, PROOF, Proof, proof_findings, read_proof
from billing_lib.audit.provenance import COMMIT
from billing_lib.audit.record import (
    ENVIRONMENT,
    EXECUTED_NOTEBOOKS,
    METADATA,
    NOTEBOOK,
    SOURCE_DIFF,
)
from billing_lib.audit.signing import RECORDS, SignatureCheck, check, check_time_stamp
from billing_lib.errors import BillingError, InvalidRecord, UnreadableFile, count_of
from billing_lib.folders import Folder
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import reading
from billing_lib.program import PROGRAM, SOURCE
from billing_lib.settings import Settings, anywhere
from billing_lib.workflow.invoice import (
    FIRST_FORMAT,
    Invoice,
    compute_invoices,
    invoice_json,
    misfit,
    read_invoice,
)
from billing_lib.workflow.permissions import require_team
from billing_lib.workflow.snapshot import Snapshot

VERIFIED, FAULTY, NOT_ALL_CHECKED = 0, 1, 3
"""The exit status of ``billing verify``: 2 is that of a mistake in the command."""

_HIDDEN = "your roles do not show this run in the ledger"

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_THREADS = os.cpu_count() or 1
_PROCESSES_PAY, _MANY = 2 << 30, 200
"""The bytes and the records of an archive from which processes are worth their start."""
_SPARSE = 1 << 30
"""The bytes from which a file with next to nothing on the disk is refused, not read for hours."""


class Finding(NamedTuple):
    """A defect of a record: the path of a file in it, and a sentence."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


@dataclass(frozen=True)
class Checked:
    """The result of a check.

    ``findings`` are faults; ``unchecked`` says why something could not be checked; ``right`` says
    what was compared.
    """

    name: str
    findings: tuple[Finding, ...] = ()
    unchecked: str | None = None
    right: str = ""

    @property
    def said(self) -> list[str]:
        """The result in sentences: right, wrong or not checked."""
        if self.findings:
            return [f"wrong: {finding}" for finding in self.findings]
        if self.unchecked is not None:
            return [f"not checked: {self.unchecked}"]
        return [f"right: {self.right}"]

    @property
    def lines(self) -> list[str]:
        """The result in lines that begin with the check's name."""
        return [f"{self.name:<10} {said}" for said in self.said]


@dataclass(frozen=True)
class Verification:
    """The results of all checks of a record, and notes on its invoices."""

    record: Folder
    checks: tuple[Checked, ...]
    notes: tuple[str, ...] = ()

    @property
    def findings(self) -> list[Finding]:
        """All faults."""
        return [finding for each in self.checks for finding in each.findings]

    @property
    def status(self) -> int:
        """VERIFIED, FAULTY or NOT_ALL_CHECKED."""
        if self.findings:
            return FAULTY
        whole = all(each.unchecked is None for each in self.checks)
        return VERIFIED if whole else NOT_ALL_CHECKED

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        count = len(self.findings)
        unchecked = ", ".join(each.name for each in self.checks if each.unchecked is not None)
        return {
            VERIFIED: "verified",
            FAULTY: f"{count:,} {'fault' if count == 1 else 'faults'}, the record is not as issued",
            NOT_ALL_CHECKED: f"nothing is wrong, but not all could be checked ({unchecked})",
        }[self.status]

    @property
    def lines(self) -> list[str]:
        """Each check's lines, then the notes."""
        return [line for each in self.checks for line in each.lines] + list(self.notes)


def verify(record: Path, known: Known = NOTHING) -> Verification:
    """Check a record by all CHECKS; InvalidRecord if the folder is no record.

    ``known`` is what the record is compared with.
    """
    return _verify(_Subject(record, known))


def _verify(subject: "_Subject") -> Verification:
    record, known = subject.record, subject.known
    require_record(record)
    if subject.odd:
        why = "the record has links, devices or other files that are not plain"
        rest = [Checked(name, unchecked=why) for name, _ in CHECKS[1:]]
        return Verification(record, (Checked("bytes", tuple(subject.odd)), *rest))
    checks = tuple(_checked(name, function, subject) for name, function in CHECKS)
    states = (known.states.get(number) for number in subject.numbers)
    return Verification(record, checks, tuple(state for state in states if state))


def _checked(name: str, function: "Check", subject: "_Subject") -> Checked:
    try:
        result = function(subject)
    except OSError as error:
        path = Path(error.filename or subject.record)
        inside = path.is_relative_to(subject.record)
        file = path.relative_to(subject.record).as_posix() if inside else str(path)
        result = [Finding(file, f"it cannot be read ({error.strerror})")]
    if isinstance(result, Unchecked):
        return Checked(name, unchecked=result)
    if isinstance(result, str):
        return Checked(name, right=result)
    return Checked(name, tuple(dict.fromkeys(result)))


class Unchecked(str):
    """Why something could not be checked."""

    __slots__ = ()


class _Subject:
    """A record that is checked: its files are hashed once, and its statements read once."""

    def __init__(self, record: Path, known: Known, settings: Settings | None = None) -> None:
        self.record, self.data, self.known = record, record / "data", known
        self._settings = settings

    @cached_property
    def settings(self) -> Settings:
        """The settings, with the signers to accept."""
        return self._settings or anywhere()

    @cached_property
    def payload(self) -> list[Path]:
        """The files under ``data/``."""
        return payload_files(self.record)

    @cached_property
    def beside(self) -> list[Path]:
        """The files beside ``data/`` that the tag manifest covers."""
        return tag_files(self.record)

    @cached_property
    def odd(self) -> list[Finding]:
        """Links and devices, whose content can change without the record, and sparse files."""
        findings = []
        for path in sorted(self.record.rglob("*")):
            state = path.lstat()
            name = path.relative_to(self.record).as_posix()
            if not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
                findings.append(Finding(name, "it is no plain file"))
            elif state.st_size >= _SPARSE and state.st_blocks * 512 * 1000 < state.st_size:
                findings.append(Finding(name, f"it has holes in place of {state.st_size:,} bytes"))
        return findings

    @cached_property
    def hashes(self) -> dict[Path, str]:
        """The sha256 of every file."""
        files = [*self.payload, *self.beside]
        with ThreadPoolExecutor(_THREADS) as pool:  # hashing lets other threads run
            return dict(zip(files, pool.map(file_sha256, files), strict=True))

    def sha256(self, path: Path) -> str:
        """The sha256 of a file."""
        return self.hashes[path]

    def name(self, path: Path) -> str:
        """The path of a file in the record."""
        return path.relative_to(self.record).as_posix()

    @cached_property
    def tags(self) -> bytes | None:
        """The tag manifest as it stands."""
        return _read(self.record / TAG_MANIFEST)

    @cached_property
    def tags_now(self) -> bytes:
        """The tag manifest of the files as they are."""
        return manifest_bytes(self.record, self.beside, self.sha256)

    @cached_property
    def as_sealed(self) -> "Result":
        """The result of the first check, on which others rest."""
        return _bytes(self)

    @property
    def seal(self) -> str:
        """The sha256 that covers every file."""
        return hashlib.sha256(self.tags_now).hexdigest()

    @cached_property
    def signed(self) -> tuple[bytes | None, list[Finding], str]:
        """The signed tag manifest, or None if unknown; the signature's defects; who signed."""
        allowed = self.settings.allowed_signers
        return _against_signature(self.record, self.tags, self.tags_now, allowed)

    @cached_property
    def results(self) -> list[Path]:
        """The canonical results, by number."""
        return sorted((self.data / "invoices").glob("*.json"))

    @property
    def numbers(self) -> list[str]:
        """The numbers of the invoices."""
        return [path.stem for path in self.results]

    @cached_property
    def info(self) -> dict[str, str]:
        """The lines of bag-info.txt."""
        text = (_read(self.record / INFO) or b"").decode(errors="replace")
        pairs = (line.partition(": ") for line in text.splitlines())
        return {key: value for key, _, value in pairs}

    @property
    def run(self) -> str:
        """The run's id."""
        return self.info.get("External-Identifier", "")

    @cached_property
    def environment(self) -> dict[str, Any]:
        """The content of environment.json; empty if it is none."""
        return _json_object(self.data / ENVIRONMENT)

    @cached_property
    def crate(self) -> dict[str, dict[str, Any]]:
        """The entities of the crate by id."""
        graph = _json_object(self.data / METADATA).get("@graph")
        entities = graph if isinstance(graph, list) else []
        return {
            str(each["@id"]): each for each in entities if isinstance(each, dict) and "@id" in each
        }

    @property
    def issued(self) -> IssuedRun | None:
        """The run in the ledger."""
        return (self.known.runs or {}).get(self.run)

    @cached_property
    def proof(self) -> Proof | None:
        """The proof in an extract of one invoice; None in a run's record, or if it is none."""
        file = self.data / PROOF
        try:
            return read_proof(file.read_bytes(), f"data/{PROOF}") if file.is_file() else None
        except InvalidRecord:
            return None

    @cached_property
    def proof_findings(self) -> list[str]:
        """The faults of an extract's proof."""
        if self.proof is None:
            return []
        taken = {
            self.name(path): self.sha256(path)
            for path in self.payload
            if self.name(path).split("/")[1] not in OWN_FILES
        }
        allowed = self.settings.allowed_signers
        try:
            return proof_findings(self.proof, taken, allowed, self.known.log)
        except InvalidRecord as error:
            return [error.what]

    @property
    def sealed(self) -> str:
        """The seal of the run's record: in an extract, that of the record it was taken from."""
        return self.seal if self.proof is None else self.proof.record.seal

    @property
    def head(self) -> Head | None:
        """The signed head of an extract's proof, which vouches for its files as a log does; None
        without one, or where no signer is known."""
        place = None if self.proof is None else self.proof.log
        if place is None or place.signature is None or self.settings.allowed_signers is None:
            return None
        return None if self.proof_findings else read_head(place.head)

    @property
    def voucher(self) -> str | None:
        """The log that has the record's seal, so that it vouches for every file; None without."""
        if self.known.seal(self.run) == self.sealed and not self.proof_findings:
            return f"the seal in {self.known.logged}"
        if self.known.log is None and self.head is not None:
            return "the proof under a signed head"
        return None

    def without_ledger(self) -> "str | Unchecked | None":
        """The result of a check that needs the ledger, if it is not here or lacks the run."""
        if self.known.runs is not None and self.issued is not None:
            return None
        if self.voucher is not None:
            return f"covered by {self.voucher}"
        if self.known.runs is None:
            return Unchecked("no ledger here")
        return Unchecked(f"the ledger here has no run {self.run or 'of this name'}")


Result = str | Unchecked | list[Finding]
Check = Callable[[_Subject], Result]


def _bytes(of: _Subject) -> Result:
    vouched = of.signed[0]
    findings = [
        *_payload(of, _entries(vouched or of.tags or b"")[0].get(MANIFEST)),
        *_tags(of.tags, of.tags_now, vouched),
    ]
    if of.tags == of.tags_now and (defect := tree_defect(of.record)):
        findings.append(Finding(TREE, defect))
    return findings or f"{count_of(len(of.hashes), 'file')}, sha256 {of.seal} of {TAG_MANIFEST}"


def _schema(of: _Subject) -> Result:
    findings: list[Finding] = []
    named: dict[str, str] = {}
    without_schema = False
    for path in of.results:
        try:
            content = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            wrong: str | None = "it is no JSON"
        else:
            old = isinstance(content, dict) and content.get("format") == FIRST_FORMAT
            without_schema |= old
            wrong = None if old else misfit(content)
            if wrong is None and content.get("number") != path.stem:
                wrong = f"it is the invoice {content.get('number')}"
        if wrong is not None:
            findings.append(Finding(of.name(path), wrong))
        else:
            named |= {it["file"]: it["sha256"] for it in content.get("detail", [])}
    beside = {
        path.relative_to(of.data / "invoices").as_posix(): of.sha256(path)
        for path in of.payload
        if path.is_relative_to(of.data / "invoices") and path not in of.results
    }
    for file in sorted(named | beside):
        if named.get(file) != beside.get(file):
            wrong = "the invoice names another" if file in named else "it is of no invoice here"
            findings.append(Finding(f"data/invoices/{file}", wrong))
    if without_schema and not findings:
        return Unchecked(f"{FIRST_FORMAT} has no schema")
    return findings or f"{count_of(len(of.results), 'result')} as the format says"


def _results(of: _Subject) -> Result:
    if of.issued is None:
        return of.without_ledger() or ""
    issued = of.issued.invoices
    findings = [
        Finding(of.name(path), "it is not the invoice that the ledger issued")
        for path in of.results
        if path.stem in issued and of.sha256(path) != issued[path.stem]
    ]
    return findings or "every fingerprint is the ledger's"


def _documents(of: _Subject) -> Result:
    findings = [
        Finding(of.name(path), "it is of no invoice in this record")
        for path in sorted((of.data / "documents").glob("*"))
        if path.stem not in {number.replace("/", "_") for number in of.numbers}
    ]
    if findings:
        return findings
    if of.voucher is not None:
        return f"covered by {of.voucher}"
    if of.known.log is None:
        return Unchecked("no ledger here")
    return Unchecked("the seal is another, and the ledger has no hash of a single document")


def _snapshot(of: _Subject) -> Result:
    if of.proof is not None:
        return _extracted(of)
    expected = None if of.issued is None else of.issued.snapshot_sha256
    if of.issued is None or expected is None:
        return of.without_ledger() or Unchecked("the ledger has no hash of the snapshot")
    digest = hashlib.sha256()
    for path in sorted(path for path in (of.data / "snapshot").iterdir() if path.is_file()):
        digest.update(path.name.encode() + b"\0" + bytes.fromhex(of.sha256(path)))
    if digest.hexdigest() != expected:
        return [Finding("data/snapshot", "it is not the snapshot that the ledger froze")]
    return "its hash is the ledger's"


def _extracted(of: _Subject) -> Result:
    """An extract's part of a snapshot is no file of the record: its invoice is computed from it."""
    try:
        computed = compute_invoices(Snapshot.read(of.data / "snapshot")).invoices
    except (BillingError, pl.exceptions.PolarsError, ValueError, KeyError, TypeError):
        return Unchecked("the program here cannot compute an invoice from it; reproduce tells")
    prints = {it: hashlib.sha256(invoice_json(one).encode()).hexdigest()
              for it, one in computed.items()}  # fmt: skip
    if prints != {path.stem: of.sha256(path) for path in of.results}:
        return Unchecked("the program here computes another invoice from it; reproduce tells")
    return "the proven invoice is computed from it"


def _commit(of: _Subject) -> Result:
    return _as_ledger(of, "commit", None if of.issued is None else of.issued.commit)


def _container(of: _Subject) -> Result:
    return _as_ledger(of, "container", None if of.issued is None else of.issued.container)


def _as_ledger(of: _Subject, key: str, expected: str | None) -> Result:
    if of.issued is None:
        return of.without_ledger() or ""
    if expected is None:
        return Unchecked(f"the ledger has no {key} of this run")
    stated = of.environment.get(key)
    if stated != expected:
        return [Finding(f"data/{ENVIRONMENT}", f"the {key} is {stated}, the ledger's {expected}")]
    return f"{expected}, as in the ledger"


def _numbers(of: _Subject) -> Result:
    if of.known.runs is None:
        return of.without_ledger() or ""
    if of.known.hides(of.run):
        return Unchecked(_HIDDEN)
    if of.issued is None:
        return [Finding(INFO, f"the ledger here issued no run {of.run or 'of this name'}")]
    here, issued = set(of.numbers), of.issued.invoices.keys()
    findings = [
        Finding(f"data/invoices/{number}.json", "the ledger has no such number in this run")
        for number in sorted(here - issued)
        if of.issued.whole
    ]
    missing = {of.proof.number} if of.proof else set(issued)
    findings += [
        Finding(f"data/invoices/{number}.json", "it is missing, and the ledger issued it")
        for number in sorted(missing - here)
    ]
    if not findings and not here <= issued:
        return Unchecked(
            f"your roles show {len(here & issued)} of {count_of(len(here), 'invoice')}"
        )
    return findings or f"{count_of(len(here), 'number')}, as the ledger issued them"


def _seal(of: _Subject) -> Result:
    known = of.known
    if known.log is None and of.head is not None:
        return (
            f"in the log under the signed head of {count_of(of.head.size, 'record')}, {of.head.at}"
        )
    if known.log is None:
        return Unchecked("no ledger and no exported log here")
    expected = known.seal(of.run)
    findings = [Finding(known.logged, defect) for defect in known.log_defects]
    if expected is None:
        findings.append(Finding(TAG_MANIFEST, f"the log in {known.logged} has no run {of.run}"))
    elif expected != of.sealed:
        wrong = f"its sha256 is {of.sealed}, and the log in {known.logged} has {expected}"
        findings.append(Finding(TAG_MANIFEST, wrong))
    return (
        findings
        or f"as in the log of {count_of(len(known.log.entries), 'record')} in {known.logged}"
    )


_PLACES = (
    ("commit", "Billing-Commit", "version"),
    ("version", "Billing-Version", "softwareVersion"),
    ("container", "Billing-Container", None),
)
"""For each key of environment.json the line in bag-info.txt and the notebook's key in the crate."""


def _places(of: _Subject) -> Result:
    findings = []
    notebook = of.crate.get(NOTEBOOK, {})
    for key, line, entity in _PLACES:
        stated = of.environment.get(key)
        if of.info.get(line) != stated:
            findings.append(Finding(INFO, f"{line} is {of.info.get(line)}, not {stated}"))
        if entity is not None and notebook.get(entity) != stated:
            wrong = f"the {key} is {notebook.get(entity)}, not {stated}"
            findings.append(Finding(f"data/{METADATA}", wrong))
    if re.fullmatch(COMMIT, str(of.environment.get("commit"))) is None:
        findings.append(Finding(f"data/{ENVIRONMENT}", "its commit is no full git hash"))
    return findings or f"{ENVIRONMENT}, {INFO} and {METADATA} name the same program"


def _crate(of: _Subject) -> Result:
    name = f"data/{METADATA}"
    if not isinstance(of.as_sealed, str):
        return Unchecked("the bytes are not as sealed")
    described = {
        key: each.get("contentSize")
        for key, each in of.crate.items()
        if "File" in (kinds if isinstance(kinds := each.get("@type"), list) else [kinds])
    }
    sizes = {
        path.relative_to(of.data).as_posix(): str(path.stat().st_size)
        for path in of.payload
        if path != of.data / METADATA
    }
    described = {unquote(key): size for key, size in described.items()}
    differing = sorted(
        key for key in described.keys() | sizes.keys() if described.get(key) != sizes.get(key)
    )
    findings = [
        Finding(name, f"it describes {key}, which is not so")
        if key in described
        else Finding(name, f"it does not describe {key}")
        for key in differing
    ]
    return findings or f"{count_of(len(sizes), 'file')}, as it describes them"


def _program(of: _Subject) -> Result:
    if not (of.data / PROGRAM / SOURCE).is_file():
        return "none is in this record"
    if not isinstance(of.as_sealed, str):
        return Unchecked("the bytes are not as sealed")
    fault = program_fault(of.data)
    if fault is not None:
        return [Finding(f"data/{PROGRAM}", fault)]
    return "every file is the commit's, by its hash"


def _notebook(of: _Subject) -> Result:
    stated = of.environment
    commit = str(stated.get("commit"))
    if re.fullmatch(COMMIT, commit) is None:
        return Unchecked("the record names no commit")
    changed = bool(stated.get("dirty"))
    if not changed and (of.data / SOURCE_DIFF).exists():
        return [Finding(f"data/{SOURCE_DIFF}", "the program is said to be unchanged")]
    what = "the commit's, with the recorded changes" if changed else "the commit's"
    findings = []
    for name in [f"notebook/{each}.ipynb" for each in EXECUTED_NOTEBOOKS]:
        here = _read(of.data / name)
        if here is None and name != NOTEBOOK:
            continue  # earlier versions and extracts have the issuing notebook alone
        file = f"notebooks/{Path(name).name}"
        try:
            expected = _committed(of, commit, file)
        except UnknownCommit as error:
            return Unchecked(str(error))
        except InvalidRecord:
            return Unchecked("the program in the record is not the commit's")
        if changed:
            diff = _read(of.data / SOURCE_DIFF) or b""
            try:
                expected = changed_file(expected, file, diff, str(stated.get("diff_sha256")))
            except InvalidRecord as error:
                return [Finding(f"data/{SOURCE_DIFF}", error.what)]
        if here is None or here != expected:
            findings.append(Finding(f"data/{name}", f"it is not {what}"))
    return findings or what


def _committed(of: _Subject, commit: str, file: str) -> bytes | None:
    """The content of a file at the commit, by the program in the record, else in the clone."""
    held = read_program(of.data, commit)
    if held is None:
        return committed_file(of.known.repository, commit, file)
    return held.files.get(file)


def _signature(of: _Subject) -> Result:
    roots = of.settings.time_stamp_ca
    findings = [*of.signed[1], *_against_time_stamp(of.record, of.tags_now, roots)]
    if findings:
        return findings
    said = of.signed[2]
    if not (of.record / SIGNATURE).is_file():
        return Unchecked(said)
    known = of.settings.allowed_signers is not None
    return said if known else Unchecked(f"signer unknown: {said}")


def _evidence(of: _Subject) -> Result:
    findings = [Finding(f"data/{file}", what) for file, what in evidence_findings(of.data)]
    held = (of.data / "evidence").is_dir()
    return findings or ("events and price book are whole" if held else "none is in this record")


def _proof(of: _Subject) -> Result:
    name = f"data/{PROOF}"
    if not (of.data / PROOF).is_file():
        return "this is a run's whole record"
    if of.proof is None:
        return [Finding(name, "this is no proof of an invoice")]
    findings = [Finding(name, finding) for finding in of.proof_findings]
    if of.proof.number not in of.numbers or len(of.numbers) != 1:
        findings.append(Finding(name, "it is the proof of another invoice"))
    return findings or f"the files are those of run {of.proof.record.run}'s sealed record"


CHECKS: tuple[tuple[str, Check], ...] = (
    ("bytes", lambda of: of.as_sealed),
    ("schema", _schema),
    ("results", _results),
    ("documents", _documents),
    ("snapshot", _snapshot),
    ("commit", _commit),
    ("container", _container),
    ("numbers", _numbers),
    ("seal", _seal),
    ("places", _places),
    ("program", _program),
    ("notebook", _notebook),
    ("signature", _signature),
    ("crate", _crate),
    ("evidence", _evidence),
    ("proof", _proof),
)
"""The checks of a record, in the order in which they are reported."""


def check_signature(record: Path, manifest: bytes, allowed_signers: Path | None) -> SignatureCheck:
    """Check that a record's signature is a valid signature of a tag manifest.

    ``allowed_signers`` is the file of the signers to accept; None accepts any key.
    """
    return check(manifest, (record / SIGNATURE).read_bytes(), RECORDS, allowed_signers)


def _against_signature(
    record: Path, tags: bytes | None, tags_now: bytes, allowed: Path | None
) -> tuple[bytes | None, list[Finding], str]:
    """The signed tag manifest, or None if unknown; the signature's defects; who signed."""
    if not (record / SIGNATURE).is_file():
        unsigned = Finding(SIGNATURE, "the record is not signed, and allowed signers are set")
        return None, [unsigned] if allowed is not None else [], "unsigned"
    wrong = ""
    for text in dict.fromkeys((tags_now, tags)):
        if text is not None:
            check = check_signature(record, text, allowed)
            if check.holds:
                return text, [], check.sentence
            wrong = check.sentence
    findings = [Finding(SIGNATURE, wrong)]
    if tags == tags_now:
        findings.append(Finding(TAG_MANIFEST, "it may not be what was signed"))
    return None, findings, wrong


def _against_time_stamp(record: Path, tags_now: bytes, roots: Path | None) -> list[Finding]:
    """The defect of a time stamp, where the roots of its authority are known."""
    file = record / TIME_STAMP
    if roots is None or not file.is_file():
        return []
    checked = check_time_stamp(tags_now, file.read_bytes(), roots)
    return [] if checked.holds else [Finding(TIME_STAMP, checked.sentence)]


def _payload(of: _Subject, sealed_sha256: str | None) -> list[Finding]:
    """Findings on the manifest and the files under ``data/``."""
    stated = _read(of.record / MANIFEST)
    now = manifest_bytes(of.record, of.payload, of.sha256)
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


def _json_object(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty if it is no object."""
    try:
        content = json.loads(_read(path) or b"")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def verify_all(archive: Folder, known: Known = NOTHING) -> Iterator[Verification]:
    """Check every record in the archive, and every record that the ledger or the log names.

    In parallel: by threads, in a large archive by processes; sorted by facility, period and run.
    A record that is missing, or at another place than the ledger's, has a finding that says so.
    """
    issued = {} if known.runs is None else {run.record: run for run in known.runs.values()}
    there = list_records(archive)
    places = sorted({*there, *issued})
    seen = set()
    for place, found in zip(places, _verified(places, archive, known), strict=True):
        if found is None:
            missing = Finding(place, "it is missing, and the ledger names it")
            yield Verification(archive / place, (Checked("bytes", (missing,)),))
            continue
        seen.add(found[0])
        verification = found[1]
        if known.runs is not None and place not in issued:
            elsewhere = Finding(place, "the ledger names no record at this place")
            check = Checked("place", (elsewhere,))
            if known.hides(found[0]):
                check = Checked("place", unchecked=_HIDDEN)
            more = (*verification.checks, check)
            verification = Verification(verification.record, more, verification.notes)
        yield verification
    for entry in known.log.entries if known.log is not None and known.runs is None else ():
        if entry.issuing not in seen:
            gone = Finding(entry.issuing, f"it is missing, and the log in {known.logged} names it")
            yield Verification(archive / entry.issuing, (Checked("bytes", (gone,)),))


def _verified(
    places: list[str], archive: Folder, known: Known
) -> Iterator[tuple[str, Verification] | None]:
    """The run and the verification of each record, in order; None where none is."""
    workers, settings = max(1, min(len(places), _THREADS)), anywhere()
    if workers == 1 or (len(places) < _MANY and _small(archive)):
        verify_there = partial(_verify_place, archive, known, settings)
        with ThreadPoolExecutor(workers) as threads:  # hashing lets other threads run
            yield from threads.map(verify_there, places)
        return
    fresh = multiprocessing.get_context("spawn")  # a fork would copy the locks of other threads
    with ProcessPoolExecutor(workers, fresh, _work_with, (archive, known, settings)) as pool:
        yield from pool.map(_verify_with, places, chunksize=1 + len(places) // (workers * 20))


def _small(archive: Folder) -> bool:
    """Whether threads verify these records sooner than processes, which start first."""
    if not isinstance(archive, Path):  # copying takes longer than hashing, and threads copy too
        return True
    sizes = (path.stat().st_size for path in archive.rglob("*") if path.is_file())
    return sum(sizes) < _PROCESSES_PAY


_working_with: tuple[Folder, Known, Settings]


def _work_with(archive: Folder, known: Known, settings: Settings) -> None:
    """Keep a worker's arguments."""
    global _working_with, _THREADS
    _working_with, _THREADS = (archive, known, settings), 1


def _verify_with(place: str) -> tuple[str, Verification] | None:
    """Verify a record in a worker."""
    return _verify_place(*_working_with, place)


def _verify_place(
    archive: Folder, known: Known, settings: Settings, place: str
) -> tuple[str, Verification] | None:
    """The run and the verification of the record at a place; None if none is there."""
    subject = _Subject(open_anew(archive, place), known, settings)
    try:
        verification = replace(_verify(subject), record=archive / place)
        return subject.run, verification
    except InvalidRecord:
        return None
    finally:
        forget(archive, place)


@dataclass(frozen=True)
class IssuedFile:
    """A file of an issued invoice: its path in the record's data, and whether it is vouched for.

    ``vouched`` is True if ledger or log have the record's seal, False if they have another, and
    None without any. ``note`` says whether the invoice was superseded or voided.
    """

    number: str
    record: Folder
    path: str
    vouched: bool | None
    note: str | None


def find_issued(archive: Folder, known: Known, sha256: str) -> IssuedFile | None:
    """The issued invoice that a document or a canonical result is of, by its sha256 in hex.

    The beginning of a hash finds it too, if it is long enough to be typed without doubt.
    """
    wanted = ("invoices/", "documents/")
    for place in list_records(archive):
        record = open_record(archive, place)
        subject = _Subject(record, known)
        seal = known.seal(subject.run)
        vouched: bool | None = None if known.log is None else seal is not None
        try:
            files = sealed_sha256(record, seal)
        except InvalidRecord:
            files, vouched = _unvouched(record), False
        for path, digest in files.items():
            if digest.startswith(sha256) and path.startswith(wanted):
                number = _number_of(path, files)
                return IssuedFile(number, archive / place, path, vouched, known.states.get(number))
    return None


def read_document(path: Path) -> str:
    """The sha256 of a document that someone was given; UnreadableFile if it cannot be read."""
    try:
        return file_sha256(path)
    except OSError as error:
        raise UnreadableFile(
            f"this document cannot be read ({error.strerror})", where=str(path)
        ) from None


def parse_fingerprint(text: str) -> str:
    """A fingerprint as typed from paper, in lower case without spaces and hyphens.

    InvalidRecord if it is no hash, or too short a part of one.
    """
    plain = re.sub(r"[\s:-]", "", text).lower().removeprefix("sha256")
    if re.fullmatch(r"[0-9a-f]{16,64}", plain) is None:
        raise InvalidRecord(
            f"'{text}' is no fingerprint",
            remedy="type the 64 digits and letters a to f from the invoice, or at least the "
            "first 16",
        )
    return plain


def _unvouched(record: Path) -> dict[str, str]:
    """The files in a manifest that was changed, as it stands."""
    try:
        return sealed_sha256(record, None)
    except InvalidRecord:
        return {}


def _number_of(path: str, files: Mapping[str, str]) -> str:
    """The invoice that a document is of, since slashes in numbers are underscores in names."""
    name = path.partition("/")[2]
    numbers = (
        it[len("invoices/") : -len(".json")]
        for it in files
        if it.startswith("invoices/") and it.endswith(".json")
    )
    of = (number for number in numbers if name.startswith(number.replace("/", "_") + "."))
    return next(of, name.rpartition(".")[0])


def sealed_sha256(record: Path, seal: str | None) -> dict[str, str]:
    """The sealed sha256 of every file of a record, by its path under ``data/``.

    ``seal`` is the ledger's: the sha256 of the tag manifest, which has that of the manifest. None
    takes the record's word.

    Raises
    ------
    InvalidRecord
        A manifest is missing, cannot be read or is not as it was sealed.
    """
    try:
        tags, manifest = (record / TAG_MANIFEST).read_bytes(), (record / MANIFEST).read_bytes()
        files, odd = _entries(manifest)
    except OSError as error:
        raise InvalidRecord(
            f"the audit record cannot be read ({error.strerror})",
            where=str(record),
            remedy="BILLING_RUNS says where the archive is",
        ) from None
    as_sealed = _entries(tags)[0].get(MANIFEST) == hashlib.sha256(manifest).hexdigest()
    if odd or not as_sealed or seal not in (None, hashlib.sha256(tags).hexdigest()):
        raise _not_as_sealed(record, TAG_MANIFEST if as_sealed else MANIFEST)
    return {path.removeprefix("data/"): sha256 for path, sha256 in files.items()}


def sealed_file(record: Path, path: str, sha256: str | None) -> bytes:
    """The content of a record's file, by its path under ``data/`` and its sealed sha256.

    Whatever is sent, packed or shown goes through this function.

    Raises
    ------
    InvalidRecord
        The file is missing or was changed.
    """
    file = record / "data" / path
    plain = file.is_file() and not file.is_symlink()
    content = file.read_bytes() if plain else b""
    if not plain or hashlib.sha256(content).hexdigest() != sha256:
        raise _not_as_sealed(record, f"data/{path}")
    return content


def _not_as_sealed(record: Path, name: str) -> InvalidRecord:
    return InvalidRecord(
        f"{name} is not as it was sealed",
        where=str(record),
        remedy="'billing verify' tells what was changed; restore it from a copy",
    )


def sealed_invoices(archive: Folder, invoices: pl.DataFrame) -> list[Invoice]:
    """The canonical invoices of records, in order; InvalidRecord if one is missing or changed.

    ``invoices`` has the ledger's columns ``record``, ``number`` and ``fingerprint``.
    """
    return [
        read_invoice(
            sealed_file(
                open_record(archive, record), f"invoices/{number}.json", fingerprint
            ).decode()
        )
        for record, number, fingerprint in invoices.select(
            "record", "number", "fingerprint"
        ).iter_rows()
    ]


def issued_files(engine: Engine, archive: Folder, number: str) -> dict[str, bytes]:
    """The canonical result, detail and documents of an issued invoice, as sealed, by file name.

    Raises
    ------
    UnknownInvoice
        There is none, or the ledger does not show it to the user.
    NotPermitted
        The user may not see the invoice.
    InvalidRecord
        A file is missing or was changed.
    """
    with reading(engine) as connection:
        ledger_invoices.require_invoice(connection, number)
        row = ledger_invoices.read_archived(connection, numbers=[number]).row(0, named=True)
        require_team(connection, row["facility"], row["team"])
    record = open_record(archive, row["record"])
    files = sealed_sha256(record, row["seal"]) | {f"invoices/{number}.json": row["fingerprint"]}
    own = number.replace("/", "_")
    return {
        path.partition("/")[2]: sealed_file(record, path, sha256)
        for path, sha256 in sorted(files.items())
        if path.startswith((f"invoices/{number}.", f"documents/{own}."))
    }
