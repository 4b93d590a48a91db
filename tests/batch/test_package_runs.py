"""Packages: the same bytes again, files once, gone when nothing refers to them."""

import csv
import datetime as dt
import subprocess
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO, StringIO
from pathlib import Path
from zipfile import ZipFile

import polars as pl
import pytest
from dialects import ON_SQLITE
from openpyxl import load_workbook
from sample_archive import archived_april
from sample_logins import hand_over
from sample_statements import MAY, pay_alone, void
from sqlalchemy import Engine

from billing_lib.documents import registry
from billing_lib.errors import (
    InvalidFilter,
    InvalidRecord,
    NotPermitted,
    NotReady,
    UnknownExport,
    UnwritableFile,
)
from billing_lib.exports.packages import (
    Store,
    delete_package,
    list_packages,
    make_package,
    read_package,
)
from billing_lib.ledger import exports
from billing_lib.ledger.database import reading
from billing_lib.ledger.events import check_chain, read_events
from billing_lib.ledger.people import current_login
from billing_lib.workflow.approve import make_run
from billing_lib.workflow.outbox import list_notices
from billing_lib.workflow.runs import RunScope
from billing_lib.workflow.search import ExportSelection, Filter

APRIL = ExportSelection(Filter.parse({"period_from": "2020-04", "period_to": "2020-04"}), (), True)
SMITH = ExportSelection(Filter.parse({"team": "smith", "facility": "MIC"}))
NEW_YEAR = dt.date(2026, 1, 1)
LAST_DAY = dt.date(2026, 4, 1)  # 90 days on


def kept(store: Path) -> set[str]:
    """The files of a store by their sha256; there is nothing else in it."""
    assert {path.name for path in store.iterdir()} <= {"files", "lock"}
    return {path.name for path in store.glob("files/*/*")}


def test_a_package_has_what_was_archived_and_the_same_bytes_again(
    ledger: Engine, tmp_path: Path
) -> None:
    here, both = archived_april(ledger, tmp_path)
    make_run(ledger, both["MIC"], MAY, RunScope())  # a draft
    first = make_package(ledger, here, both, APRIL, ("pdf", "json", "xlsx"), today=NEW_YEAR)
    assert (first.invoices, first.statements, first.valid_until) == (4, 2, LAST_DAY)
    second = make_package(ledger, here, both, APRIL, ("json", "xlsx", "pdf"))
    zips = [read_package(ledger, here, made.id, today=NEW_YEAR) for made in (first, second)]
    assert first.id != second.id
    assert zips[0] == zips[1]

    folder = tmp_path / "unpacked"
    with ZipFile(BytesIO(zips[0])) as package:
        package.extractall(folder)
        names = package.namelist()
        assert {(entry.date_time, entry.external_attr) for entry in package.infolist()} == {
            ((1980, 1, 1, 0, 0, 0), 0o644 << 16)
        }
    assert names == sorted(names)
    record = here.runs / "MIC" / "2020-04" / "MIC-2020-04-1" / "data"
    for number in ("MIC-2021-00001", "MIC-2021-00002"):
        for path in (
            f"documents/{number}.pdf",
            f"documents/{number}.xlsx",
            f"invoices/{number}.json",
        ):
            packed = folder / "MIC" / Path(path).name
            assert packed.read_bytes() == (record / path).read_bytes()
    check = ["sha256sum", "--strict", "-c", "manifest-sha256.txt"]
    checked = subprocess.run(check, cwd=folder, capture_output=True, check=False)
    assert checked.returncode == 0
    rows = list(csv.DictReader(StringIO((folder / "summary.csv").read_text())))
    assert [(row["number"], row["team"], row["state"], row["total"]) for row in rows] == [
        ("MIC-2021-00001", "smith", "APPROVED", "148.33"),
        ("MIC-2021-00002", "smith", "APPROVED", "12.50"),
        ("SEQ-2021-00001", "jones", "APPROVED", "20.00"),
        ("SEQ-2021-00002", "smith", "APPROVED", "30.00"),
        ("jones-2020-04", "jones", "OPEN", "20.00"),
        ("smith-2020-04", "smith", "OPEN", "190.83"),
    ]
    for suffix in ("json", "pdf", "xlsx"):
        assert all((folder / row[suffix]).is_file() for row in rows)
    workbook = load_workbook(folder / "statements" / "jones-2020-04.xlsx")
    assert workbook.sheetnames == ["Statement", "SEQ-2021-00001"]
    assert (
        '<td>Invoices</td><td class="number">4</td><td>USD</td>'
        in (folder / "summary.html").read_text()
    )

    # What became of an invoice is told, and then it is another package.
    with reading(ledger) as connection:
        before = exports.read_files(connection, [first.id]).drop("package")
        assert before.equals(exports.read_files(connection, [second.id]).drop("package"))
    pay_alone(ledger, "MIC-2021-00001")
    void(ledger, "MIC-2021-00002")
    third = make_package(ledger, here, both, SMITH, ("json",))
    with ZipFile(BytesIO(read_package(ledger, here, third.id))) as package:
        told = package.read("summary.html").decode()
    assert "PAID" in told
    assert "VOID" in told
    assert "Not counted: 1 superseded or void." in told
    may = ExportSelection(Filter.parse({"facility": "MIC", "period_from": "2020-04"}))
    assert make_package(ledger, here, both, may, ("json",)).notes == [
        "1 drafts are left out: they are not issued yet"
    ]


def test_a_file_goes_with_the_last_package_that_refers_to_it(
    ledger: Engine, tmp_path: Path
) -> None:
    here, both = archived_april(ledger, tmp_path)
    with_statements = make_package(ledger, here, both, APRIL, ("json",), today=NEW_YEAR)
    one = make_package(
        ledger,
        here,
        both,
        ExportSelection(statements=("smith-2020-04",)),
        ("json",),
        today=NEW_YEAR,
    )
    with reading(ledger) as connection:
        files = exports.read_files(connection, [one.id]).filter(subject="smith-2020-04")
    assert files["facility"].to_list() == ["MIC", "SEQ"]  # of both, for who may see it
    (shared,) = files["sha256"].unique()
    assert {shared, one.sha256, with_statements.sha256} <= kept(here.store)

    said = delete_package(ledger, here, with_statements.id, "wrong month", today=NEW_YEAR)
    assert said.endswith("deleted, with 2 files of the store that nothing else refers to")
    assert kept(here.store) == {shared, one.sha256}
    with reading(ledger) as connection:
        for facility in ("MIC", "SEQ"):
            (event,) = read_events(connection, facility, kinds=["delete_package"]).to_dicts()
            assert (event["subject"], event["reason"]) == (with_statements.id, "wrong month")
            assert check_chain(connection, facility) == []
    with pytest.raises(UnknownExport, match=f"there is no package {with_statements.id}"):
        delete_package(ledger, here, with_statements.id)

    # Valid to the last day; the next package after it removes the zip and what only it had.
    assert list_packages(ledger, today=LAST_DAY)["state"].to_list() == ["valid"]
    assert read_package(ledger, here, one.id, today=LAST_DAY)
    after = LAST_DAY + dt.timedelta(days=1)
    with pytest.raises(UnknownExport, match="was valid until 2026-04-01; make it again"):
        read_package(ledger, here, one.id, today=after)
    assert shared in kept(here.store)  # not before something is made
    later = make_package(ledger, here, both, SMITH, ("json",), today=after)
    assert kept(here.store) == {later.sha256}
    listed = list_packages(ledger, today=after)
    assert listed["state"].to_list() == ["expired", "valid"]
    assert "0 files" in delete_package(ledger, here, one.id, today=after)
    assert list_packages(ledger)["package"].to_list() == [later.id]


@ON_SQLITE
def test_two_at_once_and_a_crash_leave_whole_packages(
    ledger: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, both = archived_april(ledger, tmp_path)

    def make(_number: int) -> str:
        return make_package(ledger, here, both, APRIL, ("json", "html")).sha256

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(make, range(4)))) == 1
    assert list_packages(ledger).height == 4
    before = kept(here.store)

    def crash(*_told: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as crashing:
        crashing.setattr(exports, "insert_package", crash)
        with pytest.raises(KeyboardInterrupt):
            make_package(ledger, here, both, SMITH, ("json",))
    (here.store / "package.partial").write_bytes(b"half a zip")
    assert list_packages(ledger).height == 4
    made = make_package(ledger, here, both, SMITH, ("html",))
    assert kept(here.store) == before | {made.sha256}
    store = Store(here.store)
    with (
        store.locked(),
        pytest.raises(NotReady, match="another process is making"),
        store.locked(wait=0),
    ):
        pass


@ON_SQLITE
def test_what_was_not_archived_is_rendered_once(
    ledger: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, both = archived_april(ledger, tmp_path)
    made: list[str] = []

    def render(invoice: registry.Invoice) -> bytes:
        made.append(invoice["number"])
        return f"{invoice['number']}\n".encode()

    monkeypatch.setitem(registry.BUILT_IN, "txt", render)
    packages = [make_package(ledger, here, both, SMITH, ("txt",)) for _ in range(2)]
    assert made == ["MIC-2021-00001", "MIC-2021-00002"]
    for package in packages:
        delete_package(ledger, here, package.id)
    make_package(ledger, here, both, SMITH, ("txt",))
    assert len(made) == 4


@ON_SQLITE
def test_mistakes_are_said_and_nothing_is_made(ledger: Engine, tmp_path: Path) -> None:
    here, both = archived_april(ledger, tmp_path)
    for export, formats, error, says in (
        (ExportSelection(), ("pdf",), InvalidFilter, "no invoice or statement is selected"),
        (SMITH, ("doc",), InvalidFilter, "there is no format 'doc'; it is one of html, pdf"),
        (SMITH, (), InvalidFilter, "say in which formats"),
        (
            ExportSelection(Filter.parse({"project": "p9"})),
            ("pdf",),
            NotReady,
            "issued matches project p9",
        ),
    ):
        with pytest.raises(error, match=says):
            make_package(ledger, here, both, export, formats)
    page = here.runs / "MIC" / "2020-04" / "MIC-2020-04-1" / "data/documents/MIC-2021-00001.pdf"
    page.write_bytes(page.read_bytes()[:-1])
    with pytest.raises(InvalidRecord, match=r"MIC-2021-00001\.pdf is not as it was sealed"):
        make_package(ledger, here, both, SMITH, ("pdf",))
    assert list_packages(ledger).height == 0
    blocked = here.model_copy(update={"store": page})
    with pytest.raises(UnwritableFile):
        make_package(ledger, blocked, both, SMITH, ("json",))


@ON_SQLITE
def test_a_package_holds_what_may_be_seen_and_is_seen_by_who_may(
    ledger: Engine, tmp_path: Path
) -> None:
    here, both = archived_april(ledger, tmp_path)
    everything = ExportSelection(everything=True, with_statements=True)
    whole = make_package(ledger, here, both, everything, ("json",))
    with reading(ledger) as connection:
        me = current_login(connection)
    hand_over(ledger, "SEQ")
    assert list_packages(ledger).height == 0
    own = make_package(ledger, here, both, everything, ("json",))
    assert (own.invoices, own.statements) == (2, 0)  # smith's statement has SEQ on it too
    assert list_packages(ledger)["package"].to_list() == [own.id]
    with pytest.raises(NotPermitted, match=f"{me} may not see the team"):
        read_package(ledger, here, whole.id)
    with pytest.raises(NotPermitted, match=f"{me} may not see the team smith in SEQ"):
        make_package(ledger, here, both, ExportSelection(statements=("smith-2020-04",)), ("json",))


@ON_SQLITE
def test_a_statement_is_packed_with_its_invoices_and_its_maker_is_told(
    ledger: Engine, tmp_path: Path
) -> None:
    here, both = archived_april(ledger, tmp_path)
    chosen = ExportSelection(statements=("smith-2020-04",))
    made = make_package(ledger, here, both, chosen, ("json",), today=NEW_YEAR)
    with ZipFile(BytesIO(read_package(ledger, here, made.id, today=NEW_YEAR))) as package:
        files = {name for name in package.namelist() if name.endswith(".json")}
    assert files == {
        "MIC/MIC-2021-00001.json",
        "MIC/MIC-2021-00002.json",
        "SEQ/SEQ-2021-00002.json",
        "statements/smith-2020-04.json",
    }
    assert (made.invoices, made.statements) == (3, 1)
    told = list_notices(ledger).filter(pl.col("kind") == "package")
    assert told["text"].to_list() == [
        f"Package {made.id} (statement smith-2020-04) is ready: 4 files, valid until {LAST_DAY}"
    ]
    with reading(ledger) as connection:
        assert told["team"].to_list() == [f"@{current_login(connection)}"]
