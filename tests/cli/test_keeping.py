"""Keeping a site: backups that are restored, and its health."""

import json
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from billing_lib.ledger import triggers
from billing_lib.ledger.database import open_ledger, reading
from billing_lib.ledger.events import check_chains
from billing_lib.ledger.schema import metadata
from billing_lib.ledger.transfer import copy_ledger

from .conftest import Office


@pytest.fixture(scope="module")
def backup(issued_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the issued site."""
    folder = tmp_path_factory.mktemp("backups") / "first"
    Office(issued_site).done("backup", folder, parameters=str(issued_site / "parameters"))
    return folder


def test_a_backup_is_a_site_by_itself_and_a_drill_verifies_it(
    issued_site: Path, backup: Path
) -> None:
    """sha256sum knows nothing of billing; the records are signed, so nothing stays unchecked."""
    checked = subprocess.run(
        ["sha256sum", "--quiet", "--check", "manifest-sha256.txt"], cwd=backup, check=False
    )
    assert checked.returncode == 0
    listed = ("invoices", "--json")
    here, there = Office(issued_site).done(*listed), Office(backup).done(*listed)
    assert here == there
    assert Office(backup).run("verify", "--all").returncode == 0
    assert Office(backup.parent).run("restore", backup, "--drill").returncode == 0


def test_a_backup_that_changed_is_not_restored(backup: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(backup, tmp_path / "copy")
    with (copy / "parameters" / "microscopy.yml").open("a") as book:
        book.write("# cheaper\n")
    said = Office(tmp_path).run("restore", "copy", "site")
    assert said.returncode == 2
    assert "copy: it was changed since it was made, or was not copied whole: parameters/" in (
        said.stderr
    )
    assert not (tmp_path / "site").exists()
    assert Office(tmp_path).run("restore", "copy", "copy").returncode == 2


@pytest.mark.parametrize("bare_url", ["postgresql"], indirect=True)
def test_a_ledger_goes_to_postgresql_and_back_as_it_is(
    issued_site: Path, bare_url: str, tmp_path: Path
) -> None:
    """With the logins and times of the day, an unbroken chain, and all guards in force."""
    first, server, last = map(
        open_ledger,
        (f"sqlite:///{issued_site / 'billing.db'}", bare_url, f"sqlite:///{tmp_path / 'l.db'}"),
    )
    assert copy_ledger(first, server) == copy_ledger(server, last)
    assert _rows(first) == _rows(server) == _rows(last)
    for engine in (server, last):
        with reading(engine) as connection:
            assert triggers.missing(connection) == []
            assert check_chains(connection) == {"MIC": []}
    for engine in (first, server, last):
        engine.dispose()


def _rows(engine: Engine) -> dict[str, list[str]]:
    with reading(engine) as connection:
        return {
            table.name: sorted(map(repr, connection.execute(select(table))))
            for table in metadata.sorted_tables
        }


def _states(office: Office, **settings: str) -> dict[str, str]:
    rows = office.run("doctor", "--json", **settings)
    assert rows.returncode in (0, 1), rows.stderr
    return {row["subject"]: row["state"] for row in json.loads(rows.stdout)}


def test_the_doctor_names_a_lost_guard_and_a_ledger_that_is_not_there(
    issued_site: Path, tmp_path: Path
) -> None:
    office = Office(shutil.copytree(issued_site, tmp_path / "site"))
    states = _states(office)
    assert [states[name] for name in ("database", "guards", "roles", "signing", "archive")] == (
        ["ok"] * 5
    )
    with sqlite3.connect(office.folder / "billing.db") as connection:
        connection.execute("DROP TRIGGER billing_guard_rate_update_10")
    said = office.run("doctor")
    assert said.returncode == 1
    assert "guards       wrong    1 are missing or off: billing_guard_rate_update_10" in said.stdout
    states = _states(office, database="sqlite:///none.db", smtp_host="127.0.0.1", smtp_port="9")
    assert (states["database"], states["mail"], states["archive"]) == ("wrong", "wrong", "ok")


def test_what_a_shared_site_makes_its_group_may_change(
    office: Office, issued_site: Path, tmp_path: Path
) -> None:
    """And the doctor says how to share an archive that was made before."""
    before = os.umask(0o022)
    try:
        office.done("init")
        office.done("load", "MIC", "usage.csv", shared="true", usage_files="kept")
    finally:
        os.umask(before)
    (kept,) = (office.folder / "kept").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o664
    site = Office(shutil.copytree(issued_site, tmp_path / "site"))
    assert _states(site, shared="true")["archive"] == "wrong"
    subprocess.run(["chmod", "-R", "g+rwX,g+s", site.folder / "runs"], check=True)
    assert _states(site, shared="true")["archive"] == "ok"
