"""What auditors and strangers are handed: a record's evidence, and the extract of one invoice."""

import csv
import hashlib
import json
import re
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from billing_lib.audit.bag import (
    INFO,
    SALT,
    SIGNATURE,
    TAG_MANIFEST,
    payload_files,
    write_manifests,
)
from billing_lib.audit.log import Log, read_head
from billing_lib.audit.proof import Proof, proof_findings, read_proof
from billing_lib.audit.signing import RECORDS, sign
from billing_lib.ledger.events import FIELDS
from billing_lib.program import ROOT

from .conftest import Office

RECORD = Path("runs") / "MIC" / "2020-04" / "MIC-2020-04-1"
NUMBER, OTHER = "MIC-2020-00001", "MIC-2020-00002"
JONES = ("jones", "Jones", "p2", "eve", "u3", OTHER, "12.50")
"""What of the other lab could show: its names, user, usage, invoice and amount."""


@pytest.fixture
def site(issued_site: Path) -> Path:
    """The site of two labs; do not change it."""
    return issued_site


@pytest.fixture
def extract(site: Path, tmp_path: Path) -> Path:
    """A copy of the extract alone, as a stranger has it."""
    return shutil.copytree(site / "out" / NUMBER, tmp_path / "an extract" / NUMBER)


def seal_anew(record: Path, key: Path) -> None:
    """What someone with the key does who changes a record and does not want it to be noticed."""
    payload = payload_files(record)
    size = sum(it.stat().st_size for it in payload)
    lines = (record / INFO).read_text().splitlines()
    kept = [line for line in lines if not line.startswith("Payload-Oxum")]
    (record / INFO).write_text("\n".join([*kept, f"Payload-Oxum: {size}.{len(payload)}", ""]))
    write_manifests(record, payload)
    content = (record / TAG_MANIFEST).read_bytes()
    (record / SIGNATURE).write_bytes(sign(content, key, RECORDS))


def proof_of(extract: Path) -> Proof:
    return read_proof((extract / "data" / "proof.json").read_bytes(), "proof.json")


def test_an_extract_verifies_and_reproduces_at_a_strangers(
    site: Path, extract: Path, tmp_path: Path
) -> None:
    stranger = Office(tmp_path)
    (tmp_path / "allowed").write_bytes((site / "keys" / "allowed_signers").read_bytes())
    known = {"allowed_signers": str(tmp_path / "allowed")}
    assert "verified" in stranger.done("verify", extract, **known)
    record = site / RECORD
    for name in (f"invoices/{NUMBER}.json", f"documents/{NUMBER}.pdf", "environment.json"):
        assert (extract / "data" / name).read_bytes() == (record / "data" / name).read_bytes()
    assert "every result is the same" in stranger.done(
        "reproduce", extract, "--accept-changes", **known
    )


def test_an_extract_has_nothing_of_another_lab_and_no_cost(extract: Path) -> None:
    names = [path.relative_to(extract).as_posix() for path in extract.rglob("*")]
    assert not [name for name in names if OTHER in name]
    assert "data/notebook/issue.executed.ipynb" not in names
    frames = [pl.read_parquet(path) for path in (extract / "data" / "snapshot").glob("*.parquet")]
    rows = [str(row) for frame in frames for row in frame.rows()]
    texts = [path.read_text() for path in (*extract.glob("*.txt"), extract / "data" / "proof.json")]
    crate = (extract / "data" / "ro-crate-metadata.json").read_text()
    for other in (*(f"'{word}'" for word in JONES), "31.07"):
        assert not [row for row in rows if other in row]
    for other in JONES:
        assert not [text for text in [*texts, crate] if f'"{other}"' in text or f"/{other}" in text]
    items = pl.read_parquet(extract / "data" / "snapshot" / "items.parquet")
    assert items["item"].to_list() == ["scope", "slide"]
    assert items["cost"].null_count() == 2


def test_the_proof_leads_from_the_fingerprint_to_the_logs_head(site: Path, extract: Path) -> None:
    office = Office(site)
    proof = json.loads(office.done("log", "prove", NUMBER))
    assert proof == proof_of(extract).model_dump()
    shown = office.listed("invoices", "--facility", "MIC", "--period", "2020-04")[0]
    assert shown["number"] == NUMBER
    assert proof["log"]["head"] + "\n" in office.done("log", "head")
    assert read_head(proof["log"]["head"]).size == proof["log"]["position"] == 1
    # Nobody can try amounts until a hash of another's file fits: each leaf has a secret salt.
    salts = [file["salt"] for file in proof["record"]["files"]]
    assert len(set(salts)) == len(salts)
    assert (extract / SALT).read_text() != (site / RECORD / SALT).read_text()


FORGERIES: dict[str, dict[str, Any]] = {
    "another fingerprint": {"fingerprint": "ab" * 32},
    "another number": {"number": OTHER},
    "another seal": {"record": {"seal": "ab" * 32}},
    "another tree": {"record": {"tree": f"{'ab' * 32}  9 lines\n"}},
    "no tree": {"record": {"tree": "a tree"}},
    "a short path": {"record": {"files": {0: {"path": []}}}},
    "another place": {"record": {"files": {0: {"index": 1}}}},
    "another salt": {"record": {"files": {0: {"salt": "ab" * 32}}}},
    "no hex": {"record": {"files": {0: {"salt": "a salt"}}}},
    "no signature": {"record": {"signature": None}},
    "another head": {"log": {"head": f"billing-log core 1 2020-05-04T10:00:00Z {'ab' * 32}"}},
    "another position": {"log": {"position": 2}},
}


def merged(value: Any, change: Any) -> Any:
    """A value of JSON with some of its parts replaced."""
    if isinstance(value, list) and isinstance(change, dict):
        return [merged(it, change[at]) if at in change else it for at, it in enumerate(value)]
    if isinstance(value, dict) and isinstance(change, dict):
        return value | {key: merged(value[key], change[key]) for key in change}
    return change


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_proof_does_not_hold(site: Path, extract: Path, forgery: str) -> None:
    proof, allowed = proof_of(extract), site / "keys" / "allowed_signers"
    sha256 = proof.sha256
    assert proof_findings(proof, sha256, allowed) == []
    forged = Proof.model_validate(merged(proof.model_dump(), FORGERIES[forgery]))
    assert proof_findings(forged, sha256, allowed) != []


def test_files_that_are_not_the_proven_ones_are_named(site: Path, extract: Path) -> None:
    proof, allowed = proof_of(extract), site / "keys" / "allowed_signers"
    path = f"data/documents/{NUMBER}.pdf"
    more = proof.sha256 | {path: "ab" * 32, "data/extra.txt": "cd" * 32}
    assert proof_findings(proof, more, allowed) == [
        f"{path} is another than the proven one",
        "data/extra.txt is not proven",
    ]
    assert "1 record and the log has 0" in " ".join(
        proof_findings(proof, proof.sha256, allowed, Log((), None))
    ).replace("the head is of ", "")


def test_an_extract_that_is_changed_and_sealed_anew_is_found(
    site: Path, extract: Path, tmp_path: Path
) -> None:
    path = extract / "data" / "invoices" / f"{NUMBER}.json"
    path.write_text(path.read_text().replace("148.33", "48.33"))
    seal_anew(extract, site / "keys" / "billing")
    said = Office(tmp_path).run("verify", extract)
    assert said.returncode == 1
    assert f"data/invoices/{NUMBER}.json is another than the proven one" in said.stdout


def test_what_cannot_be_extracted_is_one_sentence(site: Path, tmp_path: Path) -> None:
    office = Office(site)
    assert "there is no invoice MIC-1" in office.run("extract", "MIC-1", "--to", tmp_path).stderr
    assert "this folder is there already" in office.run("extract", NUMBER, "--to", "out").stderr
    changed = shutil.copytree(site, tmp_path / "core")
    (changed / RECORD / "data" / "documents" / f"{NUMBER}.pdf").write_bytes(b"%PDF")
    refused = Office(changed).run("extract", NUMBER, "--to", "new")
    assert refused.returncode == 2
    assert "the record is not as it was sealed" in refused.stderr
    assert not (changed / "new").exists()


def table(site: Path, name: str) -> list[dict[str, str]]:
    """A table of the record's evidence, as an auditor's spreadsheet reads it."""
    with (site / RECORD / "data" / "evidence" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_record_says_who_decided_what_and_why(site: Path) -> None:
    decisions = table(site, "decisions.csv")
    (ready,) = (row for row in decisions if row["kind"] == "ready")
    assert (ready["subject"], ready["reason"]) == ("2020-04", "seen with both labs")
    submitted = [row["subject"] for row in decisions if row["kind"] == "submit"]
    assert submitted == ["MIC-2020-04-1/p1", "MIC-2020-04-1/p2"]
    assert all(row["login"] and row["at"].endswith("Z") for row in decisions)
    (dismissed,) = table(site, "findings.csv")
    assert (dismissed["kind"], dismissed["reason"]) == ("dismiss", "a colleague of both")
    assert dismissed["subject"].startswith("2020-04 ")
    (paid_in,) = table(site, "deposits.csv")
    assert (paid_in["project"], paid_in["amount"], paid_in["reason"]) == ("p1", "50.00", "a grant")


def test_the_record_names_the_usage_files_and_holds_the_price_book(site: Path) -> None:
    (file,) = table(site, "usage-files.csv")
    sha256 = hashlib.sha256((site / "usage.csv").read_bytes()).hexdigest()
    assert (file["name"], file["sha256"], file["records"]) == ("usage.csv", sha256, "6")
    kept = site / RECORD / "data" / "evidence" / "usage"
    assert [path.name for path in kept.iterdir()] == [sha256]
    assert (kept / sha256).read_bytes() == (site / "usage.csv").read_bytes()
    book = (site / RECORD / "data" / "evidence" / "price-book.yml").read_bytes()
    assert book == (site / "parameters" / "microscopy.yml").read_bytes()


def test_the_journal_lines_of_the_record_are_those_that_are_posted(
    site: Path, tmp_path: Path
) -> None:
    lines = table(site, "journal.csv")
    amounts: dict[str, Decimal] = {}
    for row in lines:
        amounts[row["invoice"]] = amounts.get(row["invoice"], Decimal(0)) + Decimal(row["amount"])
    assert amounts == {NUMBER: 0, OTHER: 0}
    # p1: 148.33, of which 50.00 from prepaid funds; 98.33 in shares of 60 and 40 per cent.
    own = {row["account"]: row["amount"] for row in lines if row["invoice"] == NUMBER}
    assert sorted(own.values()) == sorted(["59.00", "39.33", "50.00", "-148.33"])
    posted = shutil.copytree(site, tmp_path / "core")
    Office(posted).done("journal", "MIC", "--post", "--to", "posted.csv")
    with (posted / "posted.csv").open(newline="") as file:
        accounts = {row["account"] for row in csv.DictReader(file)}
    assert accounts == {row["account"] for row in lines}


def test_a_line_is_followed_by_standard_tools_as_the_manual_says(site: Path) -> None:
    manual = (ROOT / "docs" / "audit-record.md").read_text(encoding="utf-8")
    walk = manual.split("## Following one line\n")[1].split("```sh\n")[1].split("```")[0]
    walk = walk.replace("USAGE=usage.csv", f"USAGE='{site}/usage.csv'")
    done = subprocess.run(
        ["sh", "-eu"],
        cwd=site / RECORD / "data",
        input=walk,
        capture_output=True,
        text=True,
        check=True,
    )
    said = done.stdout.splitlines()
    hashes = re.findall(r"\b[0-9a-f]{64}\b", done.stdout)[:6]
    assert hashes[::2] == hashes[1::2]  # of the result, the usage file and the price book
    assert len(set(hashes)) == 3
    for line in (
        '{"file":"usage.csv","row":2}',
        "3.333333 hour × 40 = 133.33, then 133.33",
        "u1,scope,p1,ann,2020-04-06T17:00:00-04:00,2020-04-06T20:20:00-04:00,,",
        '16:  - {item: scope, group: internal, price: "40.00"}',
        "nobody changed the charge",
    ):
        assert line in said
    assert [line for line in said if ",ready,2020-04,,seen with both labs," in line]
    assert [line for line in said if "income,MIC,-148.33,USD," in line]
    assert said[-1] == "0"


def test_the_events_of_the_record_are_a_segment_of_the_chain(site: Path, tmp_path: Path) -> None:
    events = (site / RECORD / "data" / "evidence" / "events.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in events]
    assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
    # By standard tools alone, as docs/audit-record.md says: each hash covers the one before.
    previous = "0" * 64
    for row in rows:
        assert row["previous_hash"] == previous
        texts = [row[name] for name in FIELDS]
        rendered = "".join("-," if it is None else f"{len(str(it).encode())}:{it}," for it in texts)
        previous = hashlib.sha256(rendered.encode()).hexdigest()
        assert row["hash"] == previous


@pytest.mark.parametrize(
    ("name", "old", "new", "what"),
    [
        ("events.jsonl", "a colleague of both", "nothing to see", "not what was recorded"),
        ("events.jsonl", '"sequence":2,', '"sequence":3,', "is missing before it"),
        ("events.jsonl", '"sequence"', '"number"', "its events cannot be read"),
        ("price-book.yml", "40.00", "41.00", "it is not the price book of environment.json"),
    ],
)
def test_changed_evidence_that_is_sealed_anew_is_found(
    site: Path, tmp_path: Path, name: str, old: str, new: str, what: str
) -> None:
    record = shutil.copytree(site / RECORD, tmp_path / "record")
    path = record / "data" / "evidence" / name
    path.write_text(path.read_text().replace(old, new))
    seal_anew(record, site / "keys" / "billing")
    said = Office(tmp_path).run("verify", record)
    assert said.returncode == 1
    assert f"data/evidence/{name}: " in said.stdout
    assert what in said.stdout
