"""The log of commands that nobody watches: facility and run in each line, and no secret."""

import json
import re
import shutil
from pathlib import Path

import pytest

from .conftest import Office

NOBODY_THERE = {
    **{"smtp_host": "127.0.0.1", "smtp_port": "9", "smtp_security": "none"},
    "smtp_from": "billing@example.edu",
}
PASSWORDS = {"smtp_password": "hunter2", "database": "postgresql://ann:hunter2@127.0.0.1:9/x"}
KEYS = ["time", "level", "command", "facility", "run", "text"]


@pytest.fixture
def office(issued_site: Path, tmp_path: Path) -> Office:
    return Office(shutil.copytree(issued_site, tmp_path / "site"))


def test_each_job_logs_json_with_facility_and_run(office: Office) -> None:
    logged = {}
    for words in (
        *(("month", "2020-04", "--allow-dirty"), ("deliver", "MIC", "2020-04"), ("backup", "copy")),
        *(("doctor",), ("log", "head")),
    ):
        said = office.run(*words, log="json", **NOBODY_THERE)
        entries = [json.loads(line) for line in said.stderr.splitlines()]
        assert entries, words
        for entry in entries:
            assert list(entry) == KEYS
            assert entry["command"] == words[0]
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry["time"])
        logged[words[0]] = entries
        assert said.stdout.startswith("billing-log " if words == ("log", "head") else "")
        assert len(said.stdout.splitlines()) == (2 if words == ("log", "head") else 0)
    assert logged["month"][0]["facility"] == logged["deliver"][0]["facility"] == "MIC"


def test_lines_name_the_run_of_their_sentence(
    office: Office, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from billing_lib.cli.unattended import tell  # noqa: PLC0415

    monkeypatch.chdir(office.folder)
    monkeypatch.setenv("BILLING_LOG", "lines")
    monkeypatch.setattr("sys.argv", ["billing", "month", "2020-04"])
    tell("MIC-2020-04-1: issued 2 invoices (MIC-2021-00001 to MIC-2021-00002)", facility="MIC")
    tell("statements of 2020-04: 1 made")
    first, second = capsys.readouterr().err.splitlines()
    assert " info month MIC MIC-2020-04-1 MIC-2020-04-1: issued 2 invoices" in first
    assert " info month - - statements of 2020-04: 1 made" in second


@pytest.mark.parametrize("form", ["json", "lines"])
def test_no_job_logs_a_password(office: Office, form: str) -> None:
    """Neither the database nor the mail server is there."""
    for words in (("month", "2020-04"), ("deliver",), ("backup", "copy"), ("doctor",)):
        said = office.run(*words, log=form, **NOBODY_THERE, **PASSWORDS)
        assert said.returncode in (1, 2)
        assert "error" in said.stderr
        assert "hunter2" not in said.stdout + said.stderr
