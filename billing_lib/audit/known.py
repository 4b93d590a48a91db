"""Knowledge about records from outside them: ledger, log, clone and signers.

    ledger    each issued run: its record's path, snapshot hash, commit, container, invoices, state
    log       the seal of every record, in the ledger or exported to another machine, and a head
    clone     the program's files at a commit
    signers   the keys that may sign

An auditor may have none of these, or an exported log alone. Whoever changes a record and seals it
again without the key contradicts one of them.
"""

import hashlib
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import polars as pl
from sqlalchemy import Engine

from billing_lib.audit.log import Head, Log, head_findings, ledger_log, log_findings, read_exported
from billing_lib.errors import InvalidRecord
from billing_lib.ledger import invoices, runs
from billing_lib.ledger.database import reading
from billing_lib.ledger.events import check_chains
from billing_lib.ledger.states import ISSUED
from billing_lib.program import ROOT, git, installed_source, said_by
from billing_lib.settings import anywhere
from billing_lib.workflow.issue import known_ledger
from billing_lib.workflow.permissions import readable, visible


@dataclass(frozen=True)
class IssuedRun:
    """A run as the ledger has it; ``invoices`` are fingerprints by number.

    ``whole`` is False where the user may see only some of its invoices.
    """

    run: str
    record: str
    snapshot_sha256: str | None
    commit: str | None
    container: str | None
    invoices: Mapping[str, str]
    whole: bool = True


@dataclass(frozen=True)
class Known:
    """The knowledge that records are compared with.

    Attributes
    ----------
    runs
        The issued runs by id; None without a ledger.
    states
        A sentence on each invoice that was superseded or voided, by number.
    log
        The log of seals; None without one. ``logged`` says whose it is.
    head
        A head that the log must go on from.
    repository
        The git clone that has the commits.
    """

    runs: Mapping[str, IssuedRun] | None = None
    states: Mapping[str, str] = field(default_factory=dict)
    log: Log | None = None
    logged: str = "the ledger"
    head: Head | None = None
    repository: Path = ROOT

    def seal(self, run: str) -> str | None:
        """The seal of a run's record in the log."""
        return self._seals.get(run)

    def hides(self, run: str) -> bool:
        """Whether the ledger has a run of which the user may see nothing but its seal."""
        return self.runs is not None and run not in self.runs and run in self._seals

    @cached_property
    def _seals(self) -> dict[str, str]:
        return {} if self.log is None else self.log.seals()

    @cached_property
    def log_defects(self) -> list[str]:
        """The defects of the log by itself, and against the head."""
        if self.log is None:
            return []
        against = [] if self.head is None else head_findings(self.head, self.log)
        return [*log_findings(self.log), *against]

    def run_of(self, number: str) -> str | None:
        """The run of an issued invoice."""
        found = (run for run, issued in (self.runs or {}).items() if number in issued.invoices)
        return next(found, None)


NOTHING = Known()
"""No ledger and no log, as at an auditor's; the program's own clone."""


def known_here(
    database: str | None = None, log: Path | None = None, head: Head | None = None
) -> Known:
    """Read a ledger and an exported log to verify records by; the settings' ledger by default.

    Raises
    ------
    InvalidRecord
        The exported log cannot be read.
    """
    engine = known_ledger(database or anywhere().database)
    exported = None if log is None else read_exported(log)
    if engine is None:
        return Known(log=exported, logged=str(log), head=head)
    known = known_by(engine)
    if exported is None:
        return Known(known.runs, known.states, known.log, head=head)
    return Known(known.runs, known.states, exported, str(log), head)


def known_by(engine: Engine) -> Known:
    """Read a ledger to verify records by, as far as the user sees it; all may see the log."""
    with reading(engine) as connection:
        sealed = visible(connection, invoices.read_sealed(connection))
        issuings = runs.read_issuings(connection).filter(pl.col("state") == ISSUED)
        whole = set(readable(connection, issuings["facility"].unique()))
    prints: dict[str, dict[str, str]] = {}
    for issuing, number, fingerprint in sealed.select(
        "issuing", "number", "fingerprint"
    ).iter_rows():
        prints.setdefault(issuing, {})[number] = fingerprint
    columns = ("id", "facility", "record", "snapshot_sha256", "commit_hash", "container")
    issued = {
        run: IssuedRun(
            run, record, snapshot, commit, container, prints.get(run, {}), facility in whole
        )
        for run, facility, record, snapshot, commit, container in issuings.select(
            columns
        ).iter_rows()
        if facility in whole or run in prints
    }
    past = sealed.filter(pl.col("state").is_in(("SUPERSEDED", "VOID")))
    states = {
        number: f"invoice {number} is superseded by {replaced_by}"
        if state == "SUPERSEDED" and replaced_by
        else f"invoice {number} is {'void' if state == 'VOID' else 'superseded'}"
        for number, state, replaced_by in past.select("number", "state", "replaced_by").iter_rows()
    }
    return Known(issued, states, ledger_log(engine))


def chain_breaks_here() -> list[str] | None:
    """The breaks in the ledger's chains of events, a sentence each; None without a ledger."""
    engine = known_ledger(anywhere().database)
    if engine is None:
        return None
    with reading(engine) as connection:
        return [each for breaks in check_chains(connection).values() for each in breaks]


class UnknownCommit(InvalidRecord):
    """No clone, wheel or image here has the record's commit."""


@lru_cache(maxsize=64)
def committed_file(repository: Path, commit: str, path: str) -> bytes | None:
    """The content of a file at a commit, or None if the commit has no such file.

    Raises
    ------
    UnknownCommit
        Neither the clone nor the installed program is of that commit.
    """
    if not (repository / ".git").exists():
        own = installed_source()
        here = anywhere().commit if own is None else own.commit
        if here != commit or (own is not None and own.changed):
            raise UnknownCommit("no clone of the program here")
        file = ROOT / path
        return file.read_bytes() if file.is_file() else None
    try:
        return from_clone(repository, commit, "cat-file", "blob", f"{commit}:{path}")
    except FileNotFoundError:
        return None


def from_clone(repository: Path, commit: str, *words: str) -> bytes:
    """The output of a git command about a commit of a clone.

    Raises
    ------
    UnknownCommit
        git is missing, may not read the clone, or finds no such commit in it.
    FileNotFoundError
        The commit has no such file.
    """
    try:
        return git(repository, *words)
    except FileNotFoundError:
        raise UnknownCommit(
            "there is no git to take the commit from", remedy="install git"
        ) from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace")
        if "dubious ownership" in said:
            raise UnknownCommit(
                "git does not read this clone, because another user owns it",
                where=str(repository),
                remedy="run the command as its owner, or let git's setting safe.directory name it",
            ) from None
        if "does not exist in" in said:
            raise FileNotFoundError(said_by(error)) from None
        raise UnknownCommit(
            f"the repository {repository} does not have the record's commit {commit} "
            f"({said_by(error)})",
            remedy="fetch it, and reproduce again",
        ) from None


def changed_file(
    content: bytes | None, path: str, diff: bytes, diff_sha256: str | None
) -> bytes | None:
    """A committed file's content with a recorded difference from the commit applied.

    InvalidRecord if the difference is not the recorded one or does not fit the commit.
    """
    if hashlib.sha256(diff).hexdigest() != diff_sha256:
        raise InvalidRecord("the difference from the commit is not the one that was recorded")
    if f" b/{path}\n".encode() not in diff:
        return content
    with tempfile.TemporaryDirectory(prefix="billing-notebook-") as folder:
        file = Path(folder) / path
        file.parent.mkdir(parents=True)
        if content is not None:
            file.write_bytes(content)
        apply_difference(diff, Path(folder), f"--include={path}")
        return file.read_bytes() if file.is_file() else None


def apply_difference(diff: bytes, target: Path, *options: str) -> None:
    """Apply a recorded difference to files.

    Raises
    ------
    InvalidRecord
        It does not fit them, or makes a link, which could lead anywhere.
    """
    # In a repository further up, git apply would skip files outside of it.
    alone = {"GIT_CEILING_DIRECTORIES": str(target.parent.resolve())}
    words = ("apply", "--binary", "--whitespace=nowarn", *options, "-")
    try:
        git(target, *words, environment=alone, stdin=diff)
    except subprocess.CalledProcessError as error:
        raise InvalidRecord(
            f"the recorded difference does not fit the commit ({said_by(error)})"
        ) from None
    links = sorted(path for path in target.rglob("*") if path.is_symlink())
    if links:
        name = links[0].relative_to(target).as_posix()
        raise InvalidRecord(f"the recorded difference makes a link of {name}")
