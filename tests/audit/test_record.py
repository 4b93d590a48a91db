"""Sealing: the same run gives the same record; a key that needs a person is refused at once."""

import dataclasses
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from signing_key import new_key
from small_run import RUN, files, rebuild_manifests

from billing_lib.audit.bag import INFO, SIGNATURE
from billing_lib.audit.provenance import provenance
from billing_lib.audit.record import seal
from billing_lib.audit.verify import verify
from billing_lib.errors import InvalidRecord


def test_sealing_again_writes_the_same_bytes(
    record: Path, clone: Path, signing_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(record)
    monkeypatch.setenv("BILLING_SIGNING_KEY", str(signing_key))
    seal(record, RUN, provenance(clone))
    assert files(record) == before  # the signature too: ed25519 has no random part


def test_without_a_key_an_old_signature_does_not_stay(record: Path, clone: Path) -> None:
    seal(record, RUN, provenance(clone))
    assert not (record / SIGNATURE).exists()
    assert verify(record).findings == []


def test_the_info_says_which_run_by_which_commit(record: Path, clone: Path) -> None:
    payload = {name: data for name, data in files(record).items() if name.startswith("data/")}
    origin = provenance(clone)
    commit = origin.commit
    assert (record / INFO).read_text() == (
        "Source-Organization: Microscopy\n"
        "External-Identifier: MIC-2020-04-1\n"
        "External-Description: Audit record of billing run MIC-2020-04-1\n"
        "Bagging-Date: 2020-05-04\n"
        f"Bag-Software-Agent: billing-notebooks {origin.version}, commit {commit}\n"
        "Billing-Facility: MIC\n"
        "Billing-Period: 2020-04\n"
        "Billing-Selection: all projects\n"
        f"Billing-Version: {origin.version}\n"
        f"Billing-Commit: {commit}\n"
        "Billing-Container: none\n"
        f"Payload-Oxum: {sum(map(len, payload.values()))}.{len(payload)}\n"
    )


def test_a_name_of_several_lines_makes_no_further_entry(record: Path, clone: Path) -> None:
    run = dataclasses.replace(RUN, facility_name="Microscopy\nBilling-Commit: 0")
    seal(record, run, provenance(clone))
    assert (
        (record / INFO)
        .read_text()
        .startswith("Source-Organization: Microscopy Billing-Commit: 0\nExternal-Identifier")
    )
    subprocess.run([sys.executable, "-m", "bagit", "--validate", record], check=True)


def test_paths_are_percent_encoded_where_a_manifest_needs_it(record: Path) -> None:
    (record / "data" / "documents" / "two\nlines é.html").write_text("x")
    rebuild_manifests(record)
    assert "  data/documents/two%0Alines é.html\n" in (record / "manifest-sha256.txt").read_text()
    subprocess.run([sys.executable, "-m", "bagit", "--validate", record], check=True)
    # bagit.py 1.9 reads back line breaks only, RFC 8493 wants this one too; no file of ours has it.
    (record / "data" / "documents" / "100%.html").write_text("x")
    rebuild_manifests(record)
    assert "  data/documents/100%25.html\n" in (record / "manifest-sha256.txt").read_text()


@pytest.mark.parametrize("key", ["missing", "no key", "with a passphrase"])
def test_a_key_that_cannot_sign_is_refused_without_asking(
    record: Path, clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    path = tmp_path / "signing"
    if key == "no key":
        path.write_text("not a key\n")
    elif key == "with a passphrase":
        new_key(path, "a secret")
    monkeypatch.setenv("BILLING_SIGNING_KEY", str(path))
    with pytest.raises(InvalidRecord, match=r"signing: the record cannot be signed \(.+\); set"):
        seal(record, RUN, provenance(clone))


def test_at_a_terminal_nobody_is_asked_for_a_passphrase(record: Path, tmp_path: Path) -> None:
    key = new_key(tmp_path / "signing", "a secret")
    program = (
        "from pathlib import Path\n"
        "from billing_lib.audit.signing import RECORDS, sign\n"
        f"sign(b'content', Path({str(key)!r}), RECORDS)\n"
    )
    (record / SIGNATURE).unlink()
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", program])
    said = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the child has ended and with it its terminal
            break
        if not part or b"passphrase for" in part:
            break
        said += part
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert b"InvalidRecord" in said
    assert b"cannot be signed" in said


def test_without_ssh_keygen_a_sentence_says_so(
    record: Path, clone: Path, signing_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = provenance(clone)
    monkeypatch.setenv("BILLING_SIGNING_KEY", str(signing_key))
    (tmp_path / "git").symlink_to(str(shutil.which("git")))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidRecord, match=r"no ssh-keygen .*; install openssh-client"):
        seal(record, RUN, origin)
