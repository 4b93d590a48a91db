"""What vouches for a record: fingerprints that sha256sum prints, and what the ledger has."""

import subprocess
from pathlib import Path

from billing_lib.audit.verify import prove


def sha256sum(path: Path) -> str:
    said = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
    return said.stdout.split()[0]


def test_the_fingerprints_are_those_of_sha256sum(record: Path) -> None:
    proof = prove(record, None)
    assert proof.sha256 == sha256sum(record / "tagmanifest-sha256.txt")
    assert proof.signature.startswith("signed ")
    covered = (record / "manifest-sha256.txt", record / "tagmanifest-sha256.txt")
    assert proof.files == sum(len(path.read_text().splitlines()) for path in covered)
    first = record / "data" / "invoices" / "MIC-2020-00001.json"
    assert proof.invoices.row(0) == ("MIC-2020-00001", sha256sum(first), "no ledger here")


def test_it_is_said_whether_the_ledger_has_the_same(record: Path) -> None:
    first = record / "data" / "invoices" / "MIC-2020-00001.json"
    for known, said in (
        ({"MIC-2020-00001": sha256sum(first)}, "the same"),
        ({"MIC-2020-00001": "0" * 64}, "another"),
        ({}, "not in this ledger"),
    ):
        assert prove(record, known).invoices["ledger"][0] == said
