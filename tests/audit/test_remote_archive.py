"""An archive and a store elsewhere: real servers of S3 and SFTP, asked by other clients too."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from dialects import ON_SQLITE
from sample_archive import archived_april
from sample_facility import nothing, price_book, usage_file
from sample_stores import make_locked_bucket, s3_client, s3_server, sftp_server
from sqlalchemy import Engine

from billing_lib.audit import archive as places
from billing_lib.audit.archive import find_record, list_records
from billing_lib.audit.known import known_by
from billing_lib.audit.verify import FAULTY, verify, verify_all
from billing_lib.batch import issuing
from billing_lib.batch.issuing import IssuingTerms, issue_month
from billing_lib.errors import InvalidSettings, RunFailed, UnreachableFolder
from billing_lib.exports.packages import make_package, open_store, read_package, sweep
from billing_lib.folders import RemoteFolder
from billing_lib.ledger import invoices
from billing_lib.ledger.database import reading
from billing_lib.pricing.clock import Period
from billing_lib.settings import Settings, settings
from billing_lib.workflow.invoice import compute_invoices, write_invoices
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.search import ExportSelection
from billing_lib.workflow.snapshot import Snapshot

APRIL = Period(2020, 4)
PLACE = "MIC/2020-04/MIC-2020-04-1"
TERMS = IssuingTerms("2020-05-04", allow_dirty=True)


def compute_here(data: Path, _: dict[str, str]) -> None:
    """Compute the invoices as the notebook does, without a kernel."""
    computed = compute_invoices(Snapshot.read(data / "snapshot"))
    write_invoices(computed.invoices, data / "invoices")
    (data / "notebook").mkdir()
    shutil.copy(issuing.SOURCES["issue"], data / "notebook")


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of a running server, which this process's variables name."""
    with s3_server() as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield s3_client(variables)


@pytest.mark.parametrize("variable", ["BILLING_RUNS", "BILLING_STORE"])
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ftp://host/runs", "'ftp://host/runs' is neither a folder nor a URL that begins with s3"),
        ("s3:/bucket/runs", "'s3:/bucket/runs' is neither a folder nor a URL that begins with s3"),
        ("s3:///runs", "'s3:///runs' names no bucket"),
        ("sftp://ann:secret@host/runs", "a URL with a password would be shown"),
    ],
)
def test_a_url_that_is_not_supported_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, url: str, sentence: str
) -> None:
    (tmp_path / "billing.toml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, url)
    with pytest.raises(InvalidSettings) as refused:
        settings()
    assert str(refused.value).startswith(f"{variable}: the setting cannot be read: {sentence}")
    assert "secret" not in str(refused.value)


def test_price_books_are_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "billing.toml").write_text('parameters = "s3://bucket/books"\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidSettings, match="this must be a path on this machine"):
        settings()


@ON_SQLITE
def test_a_record_in_a_locked_bucket(
    s3: Any, ledger: Engine, ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_locked_bucket(s3, "archive")
    load_files(ledger, price_book(), [usage_file(tmp_path)], nothing)
    rate_period(ledger, price_book(), APRIL)
    remote = RemoteFolder("s3://archive/runs")
    here = Settings(database=ledger_url, runs="s3://archive/runs", parameters=tmp_path)
    assert here.runs == remote

    def cut(*_: object, **__: object) -> None:
        raise OSError("the connection was cut")

    with monkeypatch.context() as failing:
        failing.setattr(issuing, "execute_notebooks", compute_here)
        failing.setattr(issuing, "commit_issuing", cut)
        with pytest.raises(RunFailed, match="the connection was cut"):
            issue_month(ledger, here, price_book(), APRIL, terms=TERMS)
    assert list_records(remote) == []
    assert "Contents" not in s3.list_objects_v2(Bucket="archive")  # stored, and deleted again

    issued = issue_month(ledger, here, price_book(), APRIL, terms=TERMS)
    place = f"{PLACE}.2"
    assert str(issued.record) == f"s3://archive/runs/{place}"
    assert list_records(remote) == [place]
    known = known_by(ledger)
    record = find_record("MIC-2020-00001", remote, ledger)
    assert verify(record, known).findings == []
    assert find_record("MIC-2020-00002", remote) == record
    keys = {it["Key"] for it in s3.list_objects_v2(Bucket="archive")["Contents"]}
    files = {path.relative_to(record).as_posix() for path in record.rglob("*") if path.is_file()}
    assert keys == {f"runs/{place}/{file}" for file in files}

    # Another client writes over a document. The sealed version stays, and nobody can delete it.
    key = f"runs/{place}/data/documents/MIC-2020-00001.pdf"
    (sealed,) = s3.list_object_versions(Bucket="archive", Prefix=key)["Versions"]
    s3.put_object(Bucket="archive", Key=key, Body=b"other")
    (found,) = verify_all(remote, known)
    assert (found.status, str(found.record)) == (FAULTY, f"s3://archive/runs/{place}")
    assert any("MIC-2020-00001.pdf" in str(finding) for finding in found.findings)
    with pytest.raises(ClientError, match="Access Denied"):
        s3.delete_object(Bucket="archive", Key=key, VersionId=sealed["VersionId"])

    # What crashed between commit and publishing is published by the next try, on any machine.
    s3.delete_object(Bucket="archive", Key=f"runs/{place}/bagit.txt")
    places.forget(remote, place)
    assert list_records(remote) == []
    again = issue_month(ledger, here, price_book(), APRIL, terms=TERMS)
    assert again.numbers == issued.numbers == ["MIC-2020-00001", "MIC-2020-00002"]
    assert list_records(remote) == [place]
    with reading(ledger) as connection:
        assert invoices.read_issued(connection).height == 2


@ON_SQLITE
def test_a_store_of_packages_in_a_bucket(
    s3: Any, ledger: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.create_bucket(Bucket="packages")
    here, both = archived_april(ledger, tmp_path)
    local = make_package(ledger, here, both, ExportSelection(everything=True), ["pdf", "html"])
    away = here.model_copy(update={"store": RemoteFolder("s3://packages/store")})
    made = make_package(ledger, away, both, ExportSelection(everything=True), ["pdf", "html"])
    assert made.sha256 == local.sha256
    assert read_package(ledger, away, made.id) == read_package(ledger, here, local.id)

    # Nothing refers to this file; while it is younger than a day, it may be somebody's next.
    store = open_store(away.store)
    orphan = store.put(b"left by a crash")
    assert sweep(ledger, store) == 0
    assert store.has(orphan)
    monkeypatch.setattr(RemoteFolder, "modified", lambda *_: datetime(2020, 1, 1, tzinfo=UTC))
    assert sweep(ledger, store) == 1
    assert not store.has(orphan)
    assert read_package(ledger, away, made.id)


def test_an_unreachable_store_is_one_sentence(s3: Any, tmp_path: Path) -> None:
    with pytest.raises(UnreachableFolder, match=r"s3://nowhere/runs: .*does not exist.*; check"):
        RemoteFolder("s3://nowhere/runs").write("bagit.txt", b"")
    assert list_records(RemoteFolder("s3://nowhere/runs")) == []


def test_a_name_that_leads_elsewhere_is_not_copied(s3: Any, tmp_path: Path) -> None:
    s3.create_bucket(Bucket="hostile")
    s3.put_object(Bucket="hostile", Key="runs/RC/1993-11/x/../../../../up", Body=b"")
    with pytest.raises(UnreachableFolder, match="is no name of a file"):
        RemoteFolder("s3://hostile/runs").download("RC/1993-11/x", tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_files_by_sftp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, there = tmp_path / "home", tmp_path / "there"
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "made" / "data").mkdir(parents=True)
    (tmp_path / "made" / "data" / "a").write_bytes(b"a")
    (tmp_path / "made" / "bagit.txt").write_bytes(b"last")
    with sftp_server(home) as port:
        remote = RemoteFolder(f"sftp://billing@127.0.0.1:{port}{there}")
        assert remote.names() == []
        remote.upload(tmp_path / "made", PLACE, ["data/a"])
        assert list_records(remote) == []
        remote.write(f"{PLACE}/bagit.txt", b"last")
        assert list_records(remote) == [PLACE]
        remote.download(PLACE, tmp_path / "copy")
        assert (tmp_path / "copy" / "data" / "a").read_bytes() == b"a"
        assert remote.size(f"{PLACE}/bagit.txt") == 4
        assert datetime.now(UTC) >= remote.modified(f"{PLACE}/bagit.txt")
        with pytest.raises(FileNotFoundError):
            remote.read("nothing")
        remote.delete(remote.names(PLACE))
        assert remote.names() == []


def test_an_sftp_server_of_unknown_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with sftp_server(tmp_path / "home", known=False) as port:
        remote = RemoteFolder(f"sftp://billing@127.0.0.1:{port}{tmp_path}/there")
        with pytest.raises(UnreachableFolder, match="Host key is not trusted"):
            remote.names()
