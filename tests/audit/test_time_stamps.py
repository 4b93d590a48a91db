"""Time stamps by RFC 3161, given by OpenSSL's own authority behind a server on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sample_authority import openssl, stamping
from small_run import RUN

from billing_lib.audit.bag import TAG_MANIFEST, TIME_STAMP
from billing_lib.audit.provenance import provenance
from billing_lib.audit.record import seal
from billing_lib.audit.signing import check_time_stamp, time_stamp
from billing_lib.audit.verify import verify
from billing_lib.errors import InvalidRecord


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a time stamp authority, and its root certificate."""
    with stamping(tmp_path_factory.mktemp("authority")) as running:
        yield running


def test_a_stamp_is_of_its_content_and_authority_alone(
    authority: tuple[str, Path], tmp_path: Path
) -> None:
    address, root = authority
    reply = time_stamp(b"content", address)
    assert check_time_stamp(b"content", reply, root).sentence.startswith("time-stamped ")
    assert check_time_stamp(b"content", reply, root).sentence.endswith(" GMT")
    assert not check_time_stamp(b"another", reply, root).holds
    assert not check_time_stamp(b"content", reply[:-1], root).holds
    new = ("req", "-newkey", "ed25519", "-nodes", "-keyout", "key", "-x509", "-subj", "/CN=other")
    openssl(tmp_path, *new, "-out", "other")
    assert not check_time_stamp(b"content", reply, tmp_path / "other").holds
    with pytest.raises(InvalidRecord, match="there is no such file"):
        check_time_stamp(b"content", reply, tmp_path / "nowhere")


def test_a_record_is_stamped_where_the_site_has_an_authority(
    record: Path, clone: Path, authority: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, root = authority
    monkeypatch.setenv("BILLING_TIME_STAMPS", address)
    assert seal(record, RUN, provenance(clone)) == []
    reply = (record / TIME_STAMP).read_bytes()
    assert check_time_stamp((record / TAG_MANIFEST).read_bytes(), reply, root).holds
    monkeypatch.setenv("BILLING_TIME_STAMP_CA", str(root))
    assert verify(record).findings == []
    (record / TIME_STAMP).write_bytes(time_stamp(b"another", address))
    (finding,) = verify(record).findings
    assert finding.file == TIME_STAMP
    (record / TIME_STAMP).write_bytes(reply)
    openssl(record, "ts", "-verify", "-data", TAG_MANIFEST, "-in", TIME_STAMP, "-CAfile", str(root))


def test_without_an_answer_a_record_is_sealed_and_the_lack_is_said(
    record: Path, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLING_TIME_STAMPS", "http://127.0.0.1:9/")
    (note,) = seal(record, RUN, provenance(clone))
    assert note.startswith("the record of MIC-2020-04-1 is not time-stamped: http://127.0.0.1:9/")
    assert not (record / TIME_STAMP).exists()
    assert verify(record).findings == []
