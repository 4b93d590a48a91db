"""Every forgery in the manual's table is found, and none of them runs a program of its own."""

import os
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from billing_lib.audit.known import Known, known_by
from billing_lib.audit.log import Head, Log, log_findings, read_exported
from billing_lib.audit.reproduce import reproduce
from billing_lib.audit.verify import FAULTY, VERIFIED, Verification, verify, verify_all
from billing_lib.errors import InvalidRecord
from billing_lib.ledger.database import open_ledger
from billing_lib.program import ROOT

from .conftest import Office
from .forging import FORGERIES, MARKER, OTHER, RESULT, SIGNED, Forgery, info, reseal

PLACE = "MIC/2020-04/MIC-2020-04-1"
ARCHIVE = (
    ("a record deleted", "it is missing, and the ledger names it"),
    ("a record moved to another place", "the ledger names no record at this place"),
    ("a record that was never issued, in the archive", "the ledger names no record at this place"),
    (
        "a record's declaration taken away",
        "bagit.txt: it is missing, and tagmanifest-sha256.txt lists it",
    ),
    ("the last record rolled back in ledger, archive and log together", "records were taken away"),
    ("a record and its entry in the log replaced together", "were changed or replaced"),
)
"""Forgeries of the archive, with the words by which they are found."""


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting and no site: no signer is known, and seals must do."""
    for name in [name for name in os.environ if name.startswith("BILLING_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def ledger(issued_site: Path) -> Known:
    """What the ledger knows."""
    engine = open_ledger(f"sqlite:///{issued_site}/billing.db")
    known = known_by(engine)
    engine.dispose()
    return known


@pytest.fixture(scope="module")
def log(issued_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Known:
    """What an auditor knows who has the exported log, and neither ledger nor clone."""
    file = tmp_path_factory.mktemp("kept") / "log.txt"
    Office(issued_site).done("log", "export", log_export=str(file))
    return Known(log=read_exported(file), logged="log.txt", repository=file.parent)


@pytest.fixture
def archive(issued_site: Path, tmp_path: Path) -> Path:
    """A copy of the archive; its files are hard links."""
    copy = tmp_path / "archive"
    shutil.copytree(issued_site / "runs", copy, copy_function=os.link)
    return copy


def forge(record: Path, forgery: Forgery) -> None:
    forgery.change(record)
    if forgery.sealed:
        reseal(record)


def wrong(verification: Verification) -> set[str]:
    """The checks that found a fault."""
    return {each.name for each in verification.checks if each.findings}


def test_the_record_itself_is_right_by_ledger_and_by_log(
    archive: Path, ledger: Known, log: Known
) -> None:
    record = archive / PLACE
    assert wrong(verify(record, ledger)) == wrong(verify(record, log)) == set()
    reseal(record)  # describing the same files again is a change, too: the crate's bytes
    assert wrong(verify(record, ledger)) == {"seal"}


@pytest.mark.parametrize("forgery", FORGERIES, ids=[forgery.what for forgery in FORGERIES])
def test_a_forgery_is_found_by_its_check_and_is_not_run(
    archive: Path, ledger: Known, log: Known, forgery: Forgery, tmp_path: Path
) -> None:
    record = archive / PLACE
    forge(record, forgery)
    assert forgery.check in wrong(verify(record, ledger))
    assert verify(record, log).status == FAULTY
    for known in (ledger, log):
        with pytest.raises(InvalidRecord, match="nothing was run"):
            reproduce(record, known=known, accept_changes=True, unsandboxed=True)
    assert not list(tmp_path.rglob(MARKER))


@pytest.mark.parametrize("forgery", SIGNED, ids=[forgery.what for forgery in SIGNED])
def test_a_forged_signature_is_found_where_signers_are_known(
    archive: Path, issued_site: Path, forgery: Forgery, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = issued_site / "keys" / "allowed_signers"
    monkeypatch.setenv("BILLING_ALLOWED_SIGNERS", str(allowed))
    record = archive / PLACE
    assert wrong(verify(record)) == set()
    forge(record, forgery)
    assert forgery.check in wrong(verify(record))


def test_forgeries_of_the_archive_are_found(archive: Path, ledger: Known, log: Known) -> None:
    said: list[str] = []

    def found(known: Known) -> None:
        found = [each for each in verify_all(archive, known) if each.status == FAULTY]
        said.append("; ".join(str(finding) for each in found for finding in each.findings))

    place, aside = archive / PLACE, archive.parent / "aside"
    place.rename(aside)
    found(ledger)
    assert [str(it) for each in verify_all(archive, log) for it in each.findings] == [
        "MIC-2020-04-1: it is missing, and the log in log.txt names it"
    ]
    elsewhere = archive / "MIC" / "2020-05" / "MIC-2020-05-1"
    elsewhere.parent.mkdir()
    aside.rename(elsewhere)
    found(ledger)
    info("External-Identifier", "MIC-2020-05-1")(elsewhere)
    reseal(elsewhere)
    found(ledger)
    elsewhere.rename(place)
    (place / "bagit.txt").unlink()
    found(ledger)
    kept = log.log
    assert kept is not None
    assert kept.head is not None
    rolled = Known(log=Log((), None), logged="log.txt", head=kept.head)
    said.append("; ".join(rolled.log_defects))
    entry = replace(kept.entries[0], seal="0" * 64)
    root = Log((entry,), None).root()
    other = Log((entry,), Head(kept.head.name, 1, kept.head.at, root))
    assert log_findings(other) == []
    said.append("; ".join(Known(log=other, head=kept.head).log_defects))
    assert [(what, words in text) for (what, words), text in zip(ARCHIVE, said, strict=True)] == [
        (what, True) for what, _ in ARCHIVE
    ]


def test_an_archive_of_many_records_is_verified_by_processes(
    archive: Path, ledger: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(archive / PLACE, archive / "MIC" / "2020-05" / "MIC-2020-05-1")
    by_threads = list(verify_all(archive, ledger))
    assert [each.status == FAULTY for each in by_threads] == [False, True]
    monkeypatch.setattr("billing_lib.audit.verify._MANY", 2)
    monkeypatch.setattr("billing_lib.audit.verify._THREADS", 2)
    assert list(verify_all(archive, ledger)) == by_threads


def test_the_manual_has_the_table_of_forgeries() -> None:
    manual = (ROOT / "docs" / "audit-record.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (.+?) \| `(\w+)` \|$", manual, re.MULTILINE)
    forgeries = [(each.what, each.check) for each in (*FORGERIES, *SIGNED)]
    assert table == [*forgeries, *((what, "all") for what, _ in ARCHIVE)]
    assert len(table) >= 60


def test_a_document_and_a_fingerprint_say_which_invoice_they_are(
    issued_site: Path, tmp_path: Path
) -> None:
    office = Office(issued_site)
    record = issued_site / "runs" / PLACE
    pdf = tmp_path / "received.pdf"
    pdf.write_bytes((record / "data" / "documents" / f"{OTHER}.pdf").read_bytes())
    assert f"{pdf}: invoice {OTHER}, data/documents/{OTHER}.pdf of" in office.done(
        "verify", "--document", pdf
    )
    (fingerprint,) = [
        line[:64]
        for line in (record / "manifest-sha256.txt").read_text().splitlines()
        if line.endswith(f"  {RESULT}")
    ]
    typed = " ".join(fingerprint[at : at + 8] for at in range(0, 64, 8)).upper()
    assert "invoice MIC-2020-00001, " in office.done("verify", "--fingerprint", typed)
    pdf.write_bytes(pdf.read_bytes() + b"%")
    said = office.run("verify", "--document", pdf)
    assert (said.returncode, said.stdout) == (1, f"{pdf}: no issued invoice has this\n")
    assert "is no fingerprint" in office.run("verify", "--fingerprint", "a bill").stderr
    assert "cannot be read" in office.run("verify", "--document", tmp_path / "none.pdf").stderr


def test_every_record_is_verified_by_one_command(issued_site: Path) -> None:
    said = Office(issued_site).run("verify", "--all")
    assert said.stdout.splitlines()[-1] == (
        "1 record: 1 verified, 0 with faults, 0 not wholly checked"
    )
    assert said.returncode == VERIFIED


def test_an_event_changed_in_the_ledger_is_found_with_all_records(
    issued_site: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "billing.db"
    shutil.copyfile(issued_site / "billing.db", copy)
    with closing(sqlite3.connect(copy)) as ledger:
        triggers = ledger.execute(
            "select name from sqlite_master where type = 'trigger' and tbl_name = 'event'"
        )
        for (name,) in triggers.fetchall():
            ledger.execute(f"drop trigger {name}")
        ledger.execute("update event set reason = 'another' where sequence = 2")
        ledger.commit()
    said = Office(issued_site).run("verify", "--all", database=f"sqlite:///{copy}")
    assert "the ledger's events: MIC, event 2: its content is not what was recorded" in said.stdout
    assert said.returncode == FAULTY
