"""Verifying: any flipped bit in any file is found, and the file is named."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signing_key import new_key
from small_run import files, rebuild_manifests

from billing_lib.audit.bag import DECLARATION, INFO, MANIFEST, SIGNATURE, TAG_MANIFEST, file_sha256
from billing_lib.audit.known import IssuedRun, Known
from billing_lib.audit.log import Entry, Log
from billing_lib.audit.verify import CHECKS, NOT_ALL_CHECKED, VERIFIED, Finding, verify
from billing_lib.errors import InvalidRecord
from billing_lib.workflow.snapshot import snapshot_hash

INVOICE = "data/invoices/MIC-2020-00001.json"


def named(record: Path) -> set[str]:
    return {finding.file for finding in verify(record).findings}


def flipped(record: Path, name: str, byte: int, bit: int) -> set[str]:
    """Which files verify names when one bit of one file is flipped; the file is put back."""
    path = record / name
    content = path.read_bytes()
    changed = bytearray(content)
    changed[byte] ^= 1 << bit
    path.write_bytes(bytes(changed))
    try:
        return named(record)
    finally:
        path.write_bytes(content)


def every_byte(record: Path, name: str) -> list[tuple[int, int]]:
    """Each byte of a file with a bit of it: for even bytes the one that turns a letter's case."""
    size = (record / name).stat().st_size
    return [(byte, byte % 8 if byte % 2 else 5) for byte in range(size)]


def test_a_sealed_record_is_intact_wherever_it_is_copied(record: Path, tmp_path: Path) -> None:
    assert {SIGNATURE, INVOICE, "data/environment.json"} <= files(record).keys()
    assert verify(record).findings == []
    shutil.copytree(record, tmp_path / "copy")
    assert verify(tmp_path / "copy").findings == []


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_flipped_bit_anywhere_names_its_file(record: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(files(record))))
    byte = data.draw(st.integers(0, (record / name).stat().st_size - 1))
    assert name in flipped(record, name, byte, data.draw(st.integers(0, 7)))


@pytest.mark.parametrize("name", [DECLARATION, INFO, MANIFEST, TAG_MANIFEST])
def test_bytes_all_over_the_tag_files_count(record: Path, name: str) -> None:
    (record / SIGNATURE).unlink()
    for byte, bit in every_byte(record, name)[::7]:
        assert flipped(record, name, byte, bit) >= {name}, (byte, bit)


@pytest.mark.parametrize("name", [DECLARATION, INFO, MANIFEST, TAG_MANIFEST, INVOICE])
def test_a_signature_tells_which_file_was_changed_and_which_were_not(
    record: Path, name: str
) -> None:
    for byte, bit in every_byte(record, name)[::31]:
        assert flipped(record, name, byte, bit) == {name}, (byte, bit)


def test_without_a_signature_the_tag_file_and_its_manifest_are_both_named(record: Path) -> None:
    (record / SIGNATURE).unlink()
    assert flipped(record, INFO, 0, 0) == {INFO, TAG_MANIFEST}


def test_bytes_all_over_the_signature_count(record: Path) -> None:
    for byte, bit in every_byte(record, SIGNATURE)[::3]:
        assert SIGNATURE in flipped(record, SIGNATURE, byte, bit), (byte, bit)


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda text: text.upper(), id="upper case"),
        pytest.param(lambda text: text.replace("  ", " *"), id="binary marks"),
        pytest.param(lambda text: text.replace("  ", "\t"), id="tabs"),
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="other line ends"),
        pytest.param(lambda text: text + "\n", id="an empty line"),
        pytest.param(lambda text: text[:-1], id="no line end"),
        pytest.param(lambda text: "".join(reversed(text.splitlines(True))), id="another order"),
        pytest.param(lambda text: text + text.splitlines(True)[0], id="a line twice"),
        pytest.param(lambda text: "\ufeff" + text, id="a byte order mark"),
        pytest.param(lambda text: "", id="nothing"),
    ],
)
@pytest.mark.parametrize("name", [MANIFEST, TAG_MANIFEST])
def test_a_manifest_written_otherwise_is_found_though_it_says_the_same(
    record: Path, name: str, edit: Callable[[str], str]
) -> None:
    path = record / name
    text = path.read_text()
    changed = edit(text)
    assert changed != text
    path.write_bytes(changed.encode())
    assert named(record) == {name}
    (record / SIGNATURE).unlink()
    assert name in named(record)


def test_missing_and_added_files_are_named(record: Path) -> None:
    (record / "data" / "parameters.yml").unlink()
    (record / "data" / "note.txt").write_text("added later")
    (record / "extra.txt").write_text("beside")
    (record / "data" / "an empty folder").mkdir()
    found = {(finding.file, finding.what) for finding in verify(record).findings}
    assert found == {
        ("data/parameters.yml", f"it is missing, and {MANIFEST} lists it"),
        ("data/note.txt", f"it is not listed in {MANIFEST}"),
        ("extra.txt", f"it is not listed in {TAG_MANIFEST}"),
    }


@pytest.mark.parametrize("name", [DECLARATION, INFO, MANIFEST, TAG_MANIFEST, INVOICE])
def test_a_missing_file_is_named_whichever_it_is(record: Path, name: str) -> None:
    (record / name).unlink()
    assert name in named(record)


def test_a_file_of_any_name_can_be_added_and_is_found(record: Path) -> None:
    (record / "data" / "100%\nsure").write_text("x")
    (record / "data" / os.fsdecode(b"caf\xe9")).write_text("x")
    assert named(record) == {"data/100%25%0Asure", "data/caf\ufffd"}


def test_a_link_in_place_of_a_file_is_named(record: Path, tmp_path: Path) -> None:
    shutil.move(record / INVOICE, tmp_path / "elsewhere.json")
    (record / INVOICE).symlink_to(tmp_path / "elsewhere.json")
    (record / "data" / "nowhere").symlink_to(tmp_path / "nowhere")
    assert {
        Finding(INVOICE, "it is no plain file"),
        Finding("data/nowhere", "it is no plain file"),
    } == set(verify(record).findings)


def test_a_file_that_cannot_be_read_is_named(record: Path) -> None:
    path = record / INVOICE
    path.unlink()
    os.mkfifo(path)
    assert INVOICE in named(record)


def test_a_rebuilt_record_does_not_fit_its_signature(record: Path) -> None:
    path = record / INVOICE
    path.write_text(path.read_text().replace("132.50", "132.51"))
    rebuild_manifests(record)
    assert named(record) == {SIGNATURE, TAG_MANIFEST}


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (
            '"billing-invoice/3"',
            '"billing-invoice/9"',
            "its format is billing-invoice/9, and this version reads billing-invoice/3 and",
        ),
        ('"period"', '"month"', "it does not fit invoice.schema.json: data must contain"),
        ("{", "", "it is no JSON"),
    ],
)
def test_a_sealed_result_that_does_not_fit_its_schema_is_named(
    record: Path, old: str, new: str, what: str
) -> None:
    path = record / INVOICE
    path.write_text(path.read_text().replace(old, new, 1))
    rebuild_manifests(record)
    (record / SIGNATURE).unlink()
    findings = [it.what for it in verify(record).findings if it.file == INVOICE]
    assert len(findings) == 1
    assert what in findings[0]


def known(record: Path, **other: object) -> Known:
    """A ledger and a log that have the record, but for some values."""
    data = record / "data"
    stated = json.loads((data / "environment.json").read_text())
    values: dict[str, Any] = {
        "snapshot_sha256": snapshot_hash(data / "snapshot"),
        "commit": stated["commit"],
        "container": "none",
        "invoices": {path.stem: file_sha256(path) for path in (data / "invoices").iterdir()},
        "seal": file_sha256(record / TAG_MANIFEST),
    } | other
    run = "MIC-2020-04-1"
    entry = Entry(1, run, values.pop("seal"))
    return Known({run: IssuedRun(run, f"MIC/2020-04/{run}", **values)}, log=Log((entry,), None))


def result(record: Path, name: str, knows: Known) -> list[str]:
    """A check's sentences."""
    (check,) = [each for each in verify(record, knows).checks if each.name == name]
    return check.said


@pytest.mark.parametrize(
    ("name", "other", "wrong"),
    [
        (
            "results",
            {"invoices": {"MIC-2020-00001": "0" * 64}},
            f"{INVOICE}: it is not the invoice that the ledger issued",
        ),
        (
            "snapshot",
            {"snapshot_sha256": "0" * 64},
            "data/snapshot: it is not the snapshot that the ledger froze",
        ),
        (
            "commit",
            {"commit": "a" * 40},
            f"data/environment.json: the commit is COMMIT, the ledger's {'a' * 40}",
        ),
        (
            "container",
            {"container": "x@sha256:1"},
            "data/environment.json: the container is none, the ledger's x@sha256:1",
        ),
        (
            "numbers",
            {"invoices": {"MIC-2020-00002": "0" * 64}},
            f"{INVOICE}: the ledger has no such number in this run",
        ),
        (
            "seal",
            {"seal": "0" * 64},
            f"{TAG_MANIFEST}: its sha256 is SEAL, and the log in the ledger has {'0' * 64}",
        ),
    ],
)
def test_each_statement_is_compared_with_the_ledger(
    record: Path, name: str, other: dict[str, object], wrong: str
) -> None:
    assert result(record, name, known(record))[0].startswith("right: ")
    stated = json.loads((record / "data" / "environment.json").read_text())
    seal = file_sha256(record / TAG_MANIFEST)
    expected = wrong.replace("COMMIT", stated["commit"]).replace("SEAL", seal)
    assert result(record, name, known(record, **other)) == [f"wrong: {expected}"]


def test_what_cannot_be_checked_is_said(record: Path) -> None:
    alone = verify(record)
    assert alone.findings == []
    assert alone.status == NOT_ALL_CHECKED
    assert result(record, "numbers", Known()) == ["not checked: no ledger here"]
    assert result(record, "seal", Known()) == ["not checked: no ledger and no exported log here"]
    (said,) = result(record, "signature", Known())
    assert said.startswith("not checked: signer unknown: signed with ED25519 key SHA256:")
    (record / SIGNATURE).unlink()
    assert result(record, "signature", Known()) == ["not checked: unsigned"]
    hidden = Known(runs={}, log=known(record).log)
    assert result(record, "numbers", hidden) == [
        "not checked: your roles do not show this run in the ledger"
    ]
    by_log = Known(log=known(record).log, logged="log.txt")
    assert result(record, "results", by_log) == ["right: covered by the seal in log.txt"]


def test_every_check_is_right_where_all_is_known(
    record: Path, clone: Path, signing_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text(f"office@example.edu {signing_key.with_suffix('.pub').read_text()}")
    monkeypatch.setenv("BILLING_ALLOWED_SIGNERS", str(allowed))
    verification = verify(record, replace(known(record), repository=clone))
    assert [line for line in verification.lines if " right: " not in line] == []
    assert verification.status == VERIFIED
    assert [each.name for each in verification.checks] == [name for name, _ in CHECKS]


def test_only_an_allowed_signer_counts(
    record: Path, signing_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = signing_key.with_suffix(".pub").read_text()
    assert "whose it is, is not checked" in result(record, "signature", Known())[0]
    allowed = tmp_path / "allowed"
    monkeypatch.setenv("BILLING_ALLOWED_SIGNERS", str(allowed))
    with pytest.raises(InvalidRecord, match=r"allowed: there is no such file; .*ALLOWED_SIGNERS"):
        verify(record)
    allowed.write_text(f"audit@example.edu,office@example.edu {public}")
    assert verify(record).findings == []
    (said,) = result(record, "signature", Known())
    assert said.startswith("right: signed by audit@example.edu with ED25519 key")
    another = new_key(tmp_path / "another").with_suffix(".pub").read_text()
    allowed.write_text(f"audit@example.edu {another}")
    assert SIGNATURE in named(record)
    (record / SIGNATURE).unlink()
    assert named(record) == {SIGNATURE}


def test_a_signature_for_something_else_does_not_count(record: Path, signing_key: Path) -> None:
    (record / SIGNATURE).unlink()
    words = ["-q", "-n", "file", "-f", signing_key, record / TAG_MANIFEST]
    subprocess.run(["ssh-keygen", "-Y", "sign", *words], check=True)
    assert SIGNATURE in named(record)


def test_a_folder_that_is_no_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecord, match="no audit record"):
        verify(tmp_path)
    with pytest.raises(InvalidRecord, match="no audit record"):
        verify(tmp_path / "nowhere")
