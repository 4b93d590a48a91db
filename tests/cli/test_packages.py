"""Templates, transformations and packages by the command line, in process."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from dialects import ON_SQLITE
from sample_archive import archived_april
from sample_facility import BOOK
from sample_statements import SEQUENCING
from sqlalchemy import Engine
from typer.testing import CliRunner

from billing_lib.cli import app, main
from billing_lib.errors import BillingError

Run = Callable[..., str]


@pytest.fixture
def run(ledger: Engine, ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command in an office whose April is archived, and what it prints."""
    here, _ = archived_april(ledger, tmp_path)
    (here.parameters / "microscopy.yml").write_text(BOOK)
    (here.parameters / "sequencing.yml").write_text(SEQUENCING)
    folder = here.parameters / "microscopy" / "templates"
    folder.mkdir(parents=True)
    row = "{{ [it.number, it.totals.due] | csv }}"
    (folder / "up.csv.j2").write_text(
        f"{{# for: run #}}\n{{% for it in invoices %}}\n{row}\n{{% endfor %}}"
    )
    (folder / "bad.txt.j2").write_text("x\n{{ invoice.nobody }}")
    for name in ("runs", "parameters", "store"):
        monkeypatch.setenv(f"BILLING_{name.upper()}", str(getattr(here, name)))
    monkeypatch.setenv("BILLING_DATABASE", ledger_url)
    monkeypatch.setenv("BILLING_PACKAGE_DAYS", "7")
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> str:
        said = CliRunner().invoke(app, words)
        if isinstance(said.exception, BillingError):
            raise said.exception
        assert said.exit_code == 0, said.output
        return said.stdout

    return command


@ON_SQLITE
def test_an_upload_and_a_package_are_made_listed_and_deleted(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "up.csv" in run("templates", "MIC")
    words = ("transform", "up.csv", "--run", "MIC-2020-04-1", "--into", "upload")
    assert "up.csv: made, 43 bytes; upload/MIC-2020-04-1-up.csv" in run(*words)
    file = tmp_path / "upload" / "MIC-2020-04-1-up.csv"
    assert file.read_text() == "MIC-2021-00001,148.33\nMIC-2021-00002,12.50\n"
    assert "nothing changed" in run(*words)
    (kept,) = json.loads(run("transformations", "--search", "2020-04-1", "--json"))
    file.unlink()
    run("transformations", "--write", kept["id"], "--into", "upload")
    assert file.exists()
    assert "deleted" in run("transformations", "--delete", kept["id"], "--reason", "wrong")
    assert json.loads(run("transformations", "--json")) == []

    said = run("package", "--period", "2020-04", "--statements", "--formats", "json")
    pattern = r"(\w{12}): 6 files of 4 invoices and 2 statements, .*until ([\d-]+)"
    ((id_, until),) = re.findall(pattern, said)
    zips = {path.name: path.read_bytes() for path in tmp_path.glob("*.zip")}
    assert list(zips) == [f"package-{id_}.zip"]
    run("packages", "--write", id_, "--into", "again")
    assert (tmp_path / "again" / f"package-{id_}.zip").read_bytes() == zips[f"package-{id_}.zip"]
    (listed,) = json.loads(run("packages", "--json"))
    assert (listed["package"], listed["valid_until"], listed["state"]) == (id_, until, "valid")
    assert listed["selection"] == "period 2020-04, with statements"
    assert "deleted" in run("packages", "--delete", id_)
    assert json.loads(run("packages", "--json")) == []

    monkeypatch.setattr("sys.argv", ["billing", "transform", "bad.txt", "--facility", "MIC"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "bad.txt.j2, line 2: there is no 'nobody'" in capsys.readouterr().err
    assert json.loads(run("transformations", "--json")) == []
    assert not list(tmp_path.glob("*.txt"))
