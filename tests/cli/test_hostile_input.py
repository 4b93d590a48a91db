"""Hostile and broken input: one sentence and status 2, quickly, and nothing half done."""

import gzip
import json
import os
import runpy
import shutil
import sqlite3
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import polars as pl
import pytest
from sample_facility import BOOK, HEADER
from sqlalchemy import create_engine, text
from traitlets.config import Config

from billing_lib.errors import UnreachableLedger
from billing_lib.ledger.database import issuing, open_ledger

from .conftest import Office
from .test_mistakes import rows

ROOT = Path(__file__).parent.parent.parent

NOT_REGULAR = "it is not a regular file; save what it gives as a file"
TOO_LARGE = "it holds more than 1 MB, unpacked; split it, or raise the setting BILLING_LARGEST_FILE"
TOO_WIDE = "it has more than 5,000 columns"
TOO_DEEP = "nested too deeply"
MEGABYTES_2 = b"0" * 2_000_000


def _workbook(path: Path, sheet: bytes) -> None:
    """A workbook with this XML as its one sheet."""
    made = path.with_name("made.xlsx")
    openpyxl.Workbook().save(made)
    with zipfile.ZipFile(made) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as to:
        for name in source.namelist():
            to.writestr(name, sheet if name.endswith("sheet1.xml") else source.read(name))


def _sheet(cells: str) -> bytes:
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    return f'<worksheet xmlns="{space}"><sheetData>{cells}</sheetData></worksheet>'.encode()


USAGE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a FIFO": ("fifo.csv", os.mkfifo, NOT_REGULAR),
    "a device": ("zero.csv", lambda path: path.symlink_to("/dev/zero"), NOT_REGULAR),
    "a folder": ("folder.csv", Path.mkdir, "it cannot be opened: is a directory"),
    "a gzip bomb": (
        "bomb.csv.gz",
        lambda path: path.write_bytes(gzip.compress(HEADER.encode() + MEGABYTES_2)),
        TOO_LARGE,
    ),
    "a workbook bomb": (
        "bomb.xlsx",
        lambda path: _workbook(path, _sheet(f"<!--{MEGABYTES_2.decode()}-->")),
        TOO_LARGE,
    ),
    "a Parquet bomb": (
        "bomb.parquet",
        lambda path: pl.select(id=pl.repeat(0, 1_000_000)).write_parquet(path),
        TOO_LARGE,
    ),
    "a broken workbook": (
        "broken.xlsx",
        lambda path: _workbook(path, _sheet("<row")),
        "it is no Excel workbook, or a broken one",
    ),
    "a cell in the last column": (
        "wide.xlsx",
        lambda path: _workbook(
            path,
            _sheet(
                '<row r="1"><c r="A1"><v>1</v></c></row><row r="2"><c r="XFD2"><v>1</v></c></row>'
            ),
        ),
        TOO_WIDE,
    ),
    "a million columns": (
        "wide.csv",
        lambda path: path.write_text(",".join(map(str, range(100_000)))),
        TOO_WIDE,
    ),
    "a record of many fields": (
        "wide.json",
        lambda path: path.write_text(json.dumps([{str(at): at for at in range(6_000)}])),
        TOO_WIDE,
    ),
    "a deep record": (
        "deep.json",
        lambda path: path.write_text("[" * 100_000 + "]" * 100_000),
        TOO_DEEP,
    ),
}

SCENARIOS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a FIFO": (os.mkfifo, NOT_REGULAR),
    "deep lists": (lambda path: path.write_text("a: " + "[" * 5_000), TOO_DEEP),
    "deep mappings": (lambda path: path.write_text("{a: " * 5_000), TOO_DEEP),
    "an alias of itself": (
        lambda path: path.write_text("facility: &a\n  code: *a\n"),
        "an alias stands for a value that contains it",
    ),
    "aliases of aliases": (
        lambda path: path.write_text(
            "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"a{at}: &a{at} [{f'*a{at - 1}, ' * 10}]\n" for at in range(1, 9))
        ),
        "aliases add more than 100,000 values",
    ),
    "other bytes": (lambda path: path.write_bytes(b"a: 1\nb: \xff"), "line 2: the text is not"),
}

BOOKS: dict[str, tuple[str, str]] = {
    "codes from another folder": (
        "  expense_codes: {file: ../../outside.csv}\n",
        "it lies outside of the folder",
    ),
    "a logo by a link": ("  logo: link.svg\n", "it lies outside of the folder"),
}


@pytest.mark.parametrize("case", USAGE)
def test_a_usage_file(
    rated: Office, refused: Callable[..., str], tmp_path: Path, case: str
) -> None:
    name, make, sentence = USAGE[case]
    make(tmp_path / name)
    before = rows(rated)
    assert sentence in refused(rated, "load", "MIC", tmp_path / name, largest_file="1")
    assert rows(rated) == before


@pytest.mark.parametrize("case", SCENARIOS)
def test_a_yaml_file(rated: Office, refused: Callable[..., str], tmp_path: Path, case: str) -> None:
    make, sentence = SCENARIOS[case]
    make(tmp_path / "file.yml")
    assert sentence in refused(rated, "quote", tmp_path / "file.yml")


@pytest.mark.parametrize("case", BOOKS)
def test_a_price_book(
    rated: Office, refused: Callable[..., str], tmp_path: Path, case: str
) -> None:
    key, sentence = BOOKS[case]
    folder = tmp_path / "a" / "parameters"
    folder.mkdir(parents=True)
    (tmp_path / "outside.csv").write_text("code,valid_from,valid_to\nA,,\n")
    (folder / "link.svg").symlink_to(tmp_path / "outside.csv")
    book = BOOK.replace("  fiscal_year_start: 7\n", f"  fiscal_year_start: 7\n{key}")
    (folder / "microscopy.yml").write_text(book)
    assert sentence in refused(rated, "rate", "MIC", "2020-04", parameters=str(folder))


def test_a_price_book_by_a_link(rated: Office, refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("password: 1\n")
    (tmp_path / "parameters").mkdir()
    (tmp_path / "parameters" / "link.yml").symlink_to(tmp_path / "secret")
    said = refused(rated, "rate", "MIC", "2020-04", parameters=str(tmp_path / "parameters"))
    assert "link.yml: it lies outside of the folder" in said


def test_a_kept_rate_that_cannot_be_read(
    rated: Office, refused: Callable[..., str], tmp_path: Path
) -> None:
    office = Office(shutil.copytree(rated.folder, tmp_path / "office"))
    with sqlite3.connect(office.folder / "billing.db") as connection:
        connection.execute("DROP TRIGGER billing_guard_rate_update_10")
        connection.execute("UPDATE rate SET body = '{'")
    assert "cannot be read; restore it from a backup" in refused(office, "rate", "MIC", "2020-04")


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
def test_a_database_that_goes_away_while_its_lock_is_held(ledger_url: str) -> None:
    """The work that was going on learns of it, and the end of the lock adds no traceback."""
    ended = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = :other")
    mine = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
    server = create_engine(open_ledger(ledger_url).url, isolation_level="AUTOCOMMIT")
    with (
        pytest.raises(UnreachableLedger, match="the database cannot be used"),
        issuing(open_ledger(ledger_url), "RC"),
        server.connect() as connection,
    ):
        me = connection.scalar(text("SELECT pg_backend_pid()"))
        for other in list(connection.scalars(mine)):
            if other != me:
                connection.execute(ended, {"other": other})
    server.dispose()


def test_lists_for_people_hold_no_formula_and_no_command(office: Office) -> None:
    """OWASP, CSV injection: a text that begins with = + - @ is no formula with ' before it.

    A terminal obeys ESC; documents/text.py shows it as U+FFFD, as on a page.
    """
    usage = "a1,slide,p1,=1+1,,,2020-04-07,2\na2,slide,p1,\x1b[2Jx,,,2020-04-07,-1\n"
    (office.folder / "usage.csv").write_text(HEADER + usage)
    office.done("init")
    office.done("load", "MIC", "usage.csv")
    office.done("rate", "MIC", "2020-04")
    words = ("charges", "MIC", "2020-04")
    assert ",'=1+1," in office.done(*words, "--csv")
    assert ",=1+1," in office.done(*words, "--csv", "--raw")
    assert ",'-" not in office.done(*words, "--csv")  # a negative amount is a number
    assert "\x1b" not in office.done(*words)


def test_a_trial_password_that_is_too_short(
    rated: Office, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(rated.folder)
    monkeypatch.setenv("BILLING_PORTAL_TRY", "abc")
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "jupyterhub_config.py"), {"get_config": Config})
    assert ended.value.code == 2
    assert capsys.readouterr().err == "billing: BILLING_PORTAL_TRY needs at least 8 characters\n"


def test_no_password_stands_in_the_list_of_processes(tmp_path: Path) -> None:
    """A stand-in for docker says how it is called; the real one is in tests/image."""
    script = tmp_path / "scripts" / "image.sh"
    script.parent.mkdir()
    for name in ("image.sh", "lib.sh"):
        shutil.copyfile(ROOT / "scripts" / name, script.with_name(name))
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "image.txt").write_text("billing@sha256:0\n")
    docker = tmp_path / "docker"
    docker.write_text(
        '#!/bin/sh\n[ "$1" = run ] || exit 0\necho "$@"; echo "$BILLING_SMTP_PASSWORD"'
    )
    docker.chmod(0o755)
    said = subprocess.run(
        ["bash", script, "run", "demo"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "BILLING_SMTP_PASSWORD": "it's secret"},
        capture_output=True,
        text=True,
        check=True,
    )
    called, given = said.stdout.splitlines()
    assert "-e BILLING_SMTP_PASSWORD " in called
    assert "secret" not in called
    assert given == "it's secret"
