"""The log of records: every record's seal in the order of issue, under a signed head.

    billing-log core 17 2026-11-29T05:51:04Z 9c1f…(64 digits)         a head: name, size, time, root
    signature 3kQ…(88 characters)                                     by the site's key

The seals are the leaves of a Merkle tree (merkle.py), to which issuing only adds. Whoever keeps a
head, from the foot of an e-mail or from a statement, can later tell whether the log still begins
with the same records: rolling ledger and archive back together does not go unseen. A seal is the
sha256 of a record's tag manifest, and a leaf is its 32 bytes.

A site may export the log to a file on another machine or to a git remote. Each issuing appends to
it, and a log that does not begin with the exported entries is refused:

    entry 17 RC-1993-11-1 07be…
    billing-log core 17 1993-12-06T09:12:44Z d37e…
    signature U1NIU0lH…                       the whole SSHSIG, for ssh-keygen -Y verify
    time-stamp MIIC…                          where the site has an authority (RFC 3161)
"""

import base64
import datetime as dt
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.audit import signing
from billing_lib.audit.merkle import tree_root
from billing_lib.errors import InvalidRecord, NotReady, count_of
from billing_lib.ledger.database import reading
from billing_lib.ledger.log import add_entry, lock_log, read_log
from billing_lib.program import git, said_by
from billing_lib.settings import GIT_EXPORT, Settings

NAMESPACE = "billing-log"
"""The namespace of heads' signatures."""

_HEAD = re.compile(
    r"billing-log\s+(?P<name>\S+)\s+(?P<size>[1-9]\d*)\s+(?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)"
    r"\s+(?P<root>(?:[0-9a-f]\s*){64})(?:signature\s+(?P<signature>(?:[A-Za-z0-9+/=]\s*)+))?"
)
_ENTRY = re.compile(r"entry (?P<position>[1-9]\d*) (?P<issuing>\S+) (?P<seal>[0-9a-f]{64})")
_BRANCH = "billing-log"
_FILE = "log.txt"
_SECONDS = 60


@dataclass(frozen=True)
class Head:
    """The state of a log after its first ``size`` records; ``root`` is in hex, ``at`` in UTC."""

    name: str
    size: int
    at: str
    root: str
    signature: str | None = None

    @property
    def line(self) -> str:
        """The head in one line, which is signed with a line feed after it."""
        return f"{NAMESPACE} {self.name} {self.size} {self.at} {self.root}"

    @property
    def text(self) -> str:
        """The head in two lines, with its signature shortened; in one if it is not signed."""
        if self.signature is None:
            return self.line
        return f"{self.line}\nsignature {signing.shortened(self.signature)}"


@dataclass(frozen=True)
class Entry:
    """A record in the log."""

    position: int
    issuing: str
    seal: str


@dataclass(frozen=True)
class Log:
    """A log's entries by position, and its last head; None while it is empty."""

    entries: tuple[Entry, ...]
    head: Head | None

    @property
    def leaves(self) -> list[bytes]:
        """The leaves of the tree."""
        return [bytes.fromhex(entry.seal) for entry in self.entries]

    def root(self, size: int | None = None) -> str:
        """The root over the first ``size`` records, in hex; over all by default."""
        return tree_root(self.leaves[:size]).hex()

    def seals(self) -> dict[str, str]:
        """The seal of each issuing's record."""
        return {entry.issuing: entry.seal for entry in self.entries}


def read_head(text: str) -> Head:
    """Read a head, whatever line breaks, quotation marks or soft breaks were put into it."""
    plain = re.sub(r"^[>\s]+|\u200b", "", text, flags=re.MULTILINE)
    found = _HEAD.search(plain)
    if found is None:
        raise InvalidRecord(
            "this is no head of a log of records",
            remedy="give the line that begins with 'billing-log', or a file that has it",
        )
    signature = found["signature"]
    return Head(
        found["name"],
        int(found["size"]),
        found["at"],
        "".join(found["root"].split()),
        None if signature is None else "".join(signature.split()),
    )


def head_in(target: str) -> Head:
    """Read a head from its text, or from the file which the text names."""
    if NAMESPACE in target:
        return read_head(target)
    try:
        return read_head(Path(target).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InvalidRecord(
            f"there is no head to read ({error})",
            remedy="give the line that begins with 'billing-log', or a file that has it",
        ) from None


def log_findings(log: Log) -> list[str]:
    """The defects of a log by itself: positions with a gap, or a last head of other records."""
    findings = [
        f"entry {entry.position:,} stands at place {place:,}"
        for place, entry in enumerate(log.entries, start=1)
        if entry.position != place
    ]
    if log.head is not None and (log.head.size, log.head.root) != (len(log.entries), log.root()):
        findings.append(
            f"the last head, of {count_of(log.head.size, 'record')}, is not that of the "
            f"{count_of(len(log.entries), 'record')} in the log"
        )
    return findings


def head_findings(head: Head, log: Log) -> list[str]:
    """Why a log does not continue an earlier head; nothing if it does."""
    size, now = head.size, len(log.entries)
    if size > now:
        return [
            f"the head is of {count_of(size, 'record')} and the log has {now:,}: "
            "records were taken away"
        ]
    if log.root(size) != head.root:
        return [
            f"the log's first {count_of(size, 'record')} of {now:,} differ from those of "
            f"the head of {head.at}: records were changed or replaced"
        ]
    return []


def signed_by(head: Head, allowed_signers: Path | None) -> signing.SignatureCheck:
    """Check a head's signature; one that cannot be checked holds, and the result says so."""
    if head.signature is None:
        return signing.SignatureCheck(True, "the head is not signed")
    content = f"{head.line}\n".encode()
    checked = signing.check_short(content, head.signature, NAMESPACE, allowed_signers)
    if checked is None:
        return signing.SignatureCheck(True, "the signature is not checked: no signers are known")
    return checked


def append(
    connection: Connection, settings: Settings, *, issuing: str, facility: str, seal: str
) -> Head:
    """Append a frozen issuing's record to the ledger's log, under a new signed head.

    Call it in the transaction that issues, before the issuing ends.
    """
    entries = _log(lock_log(connection)).entries
    entry = Entry(len(entries) + 1, issuing, seal)
    at = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    root = Log((*entries, entry), None).root()
    head = Head(settings.log_named, entry.position, at, root)
    if settings.signing_key is not None:
        signature = signing.sign(f"{head.line}\n".encode(), settings.signing_key, NAMESPACE)
        head = Head(head.name, head.size, head.at, head.root, signing.unarmored(signature))
    add_entry(
        connection,
        entry.position,
        issuing=issuing,
        facility=facility,
        seal=seal,
        head=head.line,
        signature=head.signature,
    )
    return head


def ledger_log(engine: Engine) -> Log:
    """The log in the ledger. It holds no lab's data, so everybody may read it."""
    with reading(engine) as connection:
        return _log(read_log(connection))


def _log(entries: pl.DataFrame) -> Log:
    read = tuple(Entry(*row) for row in entries.select("position", "issuing", "seal").iter_rows())
    if not read:
        return Log((), None)
    head = read_head(str(entries["head"][-1]))
    return Log(read, Head(head.name, head.size, head.at, head.root, entries["signature"][-1]))


def read_exported(path: Path) -> Log:
    """Read an exported log; InvalidRecord if it is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRecord(f"the log cannot be read ({error})", where=str(path)) from None
    return _exported(text, str(path))


def export(engine: Engine, settings: Settings) -> str:
    """Append the entries that the exported log lacks; a sentence.

    Raises
    ------
    NotReady
        The site states no place to export to.
    InvalidRecord
        The place cannot be reached, or has entries that the ledger has not.
    """
    place = settings.log_export
    if place is None:
        raise NotReady(
            "the log of records is not exported", remedy="set BILLING_LOG_EXPORT to a place"
        )
    with reading(engine) as connection:
        entries = read_log(connection)
    if not place.startswith(GIT_EXPORT):
        return _append_to(Path(place), place, entries, settings)
    with tempfile.TemporaryDirectory(prefix="billing-log-") as folder:
        work, remote = Path(folder), place.removeprefix(GIT_EXPORT)
        try:
            _git(work, "init", "--quiet")
            if _git(work, "ls-remote", "--heads", remote, _BRANCH):
                _git(work, "fetch", "--quiet", "--depth", "1", remote, _BRANCH)
                _git(work, "checkout", "--quiet", "-B", _BRANCH, "FETCH_HEAD")
            else:
                _git(work, "checkout", "--quiet", "-B", _BRANCH)
            said = _append_to(work / _FILE, place, entries, settings)
            _git(work, "add", _FILE)
            if _git(work, "status", "--porcelain"):
                who = ("-c", "user.name=billing", "-c", "user.email=billing@localhost")
                sign = ("-c", "commit.gpgsign=false")
                title = count_of(entries.height, "record")
                _git(work, *who, *sign, "commit", "--quiet", "-m", title)
                _git(work, "push", "--quiet", remote, f"HEAD:refs/heads/{_BRANCH}")
        except FileNotFoundError:
            raise InvalidRecord("there is no git to export with", remedy="install git") from None
        except subprocess.CalledProcessError as error:
            raise _unreachable(place, said_by(error)) from None
        except subprocess.TimeoutExpired:
            raise _unreachable(place, f"no answer in {_SECONDS} seconds") from None
    return said


def _append_to(path: Path, place: str, entries: pl.DataFrame, settings: Settings) -> str:
    """Append the missing entries to a file, if it is the beginning of this log."""
    try:
        standing = path.read_text(encoding="utf-8") if path.exists() else ""
        there, here = _exported(standing, place).entries, _log(entries).entries
        if here[: len(there)] != there:
            raise InvalidRecord(
                f"the exported log has {count_of(len(there), 'record')} and the ledger "
                f"{len(here):,}, and "
                "they do not begin with the same ones: the ledger was set back or changed",
                where=place,
                remedy="find out by whom; 'billing log check' compares with heads kept elsewhere",
            )
        missing = entries.slice(len(there))
        texts = [_entry_text(row, settings) for row in missing.iter_rows(named=True)]
        with path.open("ab") as file:
            file.write("".join(texts).encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unreachable(place, error.strerror or str(error)) from None
    return f"{place}: {count_of(missing.height, 'record')} added, {len(here):,} in all"


def _entry_text(row: dict[str, object], settings: Settings) -> str:
    lines = [f"entry {row['position']} {row['issuing']} {row['seal']}", str(row["head"])]
    if row["signature"] is not None:
        lines.append(f"signature {row['signature']}")
    if settings.time_stamps is not None:
        reply = signing.time_stamp(f"{row['head']}\n".encode(), settings.time_stamps)
        lines.append(f"time-stamp {base64.b64encode(reply).decode()}")
    return "".join(f"{line}\n" for line in lines)


def _exported(text: str, where: str) -> Log:
    """Read an exported log's text."""
    entries: list[Entry] = []
    head: Head | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.partition(" ")[0]
        if word == "entry" and (found := _ENTRY.fullmatch(line)):
            entries.append(Entry(int(found["position"]), found["issuing"], found["seal"]))
        elif word == NAMESPACE and _HEAD.fullmatch(line):
            head = read_head(line)
        elif word == "signature" and head is not None:
            head = Head(head.name, head.size, head.at, head.root, line.partition(" ")[2])
        elif word != "time-stamp":
            raise InvalidRecord(
                "this line is none of a log of records",
                where=f"{where}, line {number}",
                remedy="take the exported log from a copy",
            )
    return Log(tuple(entries), head)


def _git(folder: Path, *words: str) -> bytes:
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}
    return git(folder, *words, environment=quiet, timeout=_SECONDS)


def _unreachable(place: str, said: str) -> InvalidRecord:
    return InvalidRecord(
        f"the log of records cannot be exported ({said})",
        where=place,
        remedy="see that the place can be written to, then run 'billing log export'",
    )
