"""One invoice to one stranger: its extract verifies, reproduces, and shows no other lab's data."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sample_facility import BOOK, usage_file

from billing_lib.audit.bag import INFO, SALT, payload_files, write_manifests
from billing_lib.audit.log import Log, read_head
from billing_lib.audit.proof import Proof, proof_findings, read_proof
from billing_lib.audit.signing import RECORDS, sign

from .conftest import Office

NUMBER, OTHER = "MIC-2020-00001", "MIC-2020-00002"
JONES = ("jones", "Jones", "p2", "eve", "u3", OTHER, "12.50")
"""What of the other lab could show: its names, user, usage, invoice and amount."""
COSTLY = (
    BOOK.replace("unit: hour}", 'unit: hour, cost: "31.07"}')
    .replace("{code: p2, team: smith,", "{code: p2, team: jones,")
    .replace("teams: [", "teams: [{code: jones, name: Jones Lab}, ")
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with its key, whose microscopy has issued two labs' April; do not change it."""
    folder = tmp_path_factory.mktemp("extract")
    Office(folder).done("init", "core")
    core = folder / "core"
    (core / "parameters" / "example.yml").unlink()
    (core / "parameters" / "microscopy.yml").write_text(COSTLY)
    usage_file(core)
    office = Office(core)
    office.done("load", "MIC", "usage.csv")
    office.done("rate", "MIC", "2020-04")
    office.done("issue", "MIC", "2020-04", "--date", "2020-05-04", "--allow-dirty")
    office.done("extract", NUMBER, "--to", "out")
    return core


@pytest.fixture
def extract(site: Path, tmp_path: Path) -> Path:
    """A copy of the extract alone, as a stranger has it."""
    return shutil.copytree(site / "out" / NUMBER, tmp_path / "an extract" / NUMBER)


def proof_of(extract: Path) -> Proof:
    return read_proof((extract / "data" / "proof.json").read_bytes(), "proof.json")


def test_an_extract_verifies_and_reproduces_at_a_strangers(
    site: Path, extract: Path, tmp_path: Path
) -> None:
    stranger = Office(tmp_path)
    (tmp_path / "allowed").write_bytes((site / "keys" / "allowed_signers").read_bytes())
    known = {"allowed_signers": str(tmp_path / "allowed")}
    assert "verified" in stranger.done("verify", extract, **known)
    record = site / "runs" / "MIC" / "2020-04" / "MIC-2020-04-1"
    for name in (f"invoices/{NUMBER}.json", f"documents/{NUMBER}.pdf", "environment.json"):
        assert (extract / "data" / name).read_bytes() == (record / "data" / name).read_bytes()
    assert "every result is the same" in stranger.done("reproduce", extract, **known)


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
    record = site / "runs" / "MIC" / "2020-04" / "MIC-2020-04-1"
    assert (extract / SALT).read_text() != (record / SALT).read_text()


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
    assert "1 records and the log has 0" in " ".join(
        proof_findings(proof, proof.sha256, allowed, Log((), None))
    ).replace("the head is of ", "")


def test_an_extract_that_is_changed_and_sealed_anew_is_found(
    site: Path, extract: Path, tmp_path: Path
) -> None:
    path = extract / "data" / "invoices" / f"{NUMBER}.json"
    path.write_text(path.read_text().replace("148.33", "48.33"))
    payload = payload_files(extract)
    size = sum(it.stat().st_size for it in payload)
    lines = (extract / INFO).read_text().splitlines()
    kept = [line for line in lines if not line.startswith("Payload-Oxum")]
    (extract / INFO).write_text("\n".join([*kept, f"Payload-Oxum: {size}.{len(payload)}", ""]))
    write_manifests(extract, payload)
    manifest = extract / "tagmanifest-sha256.txt"
    signature = sign(manifest.read_bytes(), site / "keys" / "billing", RECORDS)
    manifest.with_name(f"{manifest.name}.sig").write_bytes(signature)
    said = Office(tmp_path).run("verify", extract)
    assert said.returncode == 1
    assert f"data/invoices/{NUMBER}.json is another than the proven one" in said.stdout


def test_what_cannot_be_extracted_is_one_sentence(site: Path, tmp_path: Path) -> None:
    office = Office(site)
    assert "there is no invoice MIC-1" in office.run("extract", "MIC-1", "--to", tmp_path).stderr
    assert "this folder is there already" in office.run("extract", NUMBER, "--to", "out").stderr
    changed = shutil.copytree(site, tmp_path / "core")
    pdf = changed / "runs" / "MIC" / "2020-04" / "MIC-2020-04-1" / "data" / "documents"
    (pdf / f"{NUMBER}.pdf").write_bytes(b"%PDF")
    refused = Office(changed).run("extract", NUMBER, "--to", "new")
    assert refused.returncode == 2
    assert "the record is not as it was sealed" in refused.stderr
    assert not (changed / "new").exists()
