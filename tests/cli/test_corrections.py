"""Usage that is corrected and taken back, and today's rates, as commands."""

import json
from pathlib import Path

import pytest
from sample_facility import BOOK, HEADER, USAGE

from billing_lib.cli import main


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs a command in a site with April rated; gives its status, output and mistake."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BILLING_DATABASE", f"sqlite:///{tmp_path / 'billing.db'}")
    monkeypatch.setenv("BILLING_PARAMETERS", str(tmp_path))
    (tmp_path / "mic.yml").write_text(BOOK)
    (tmp_path / "usage.csv").write_text(USAGE)
    (tmp_path / "b.csv").write_text(
        HEADER + "u2,slide,p1,bob,,,2020-04-07,13\nz1,slide,p1,bob,,,07.04.2020,1\n"
    )

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["billing", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    for words in (("init",), ("load", "MIC", "usage.csv"), ("rate", "MIC", "2020-04")):
        assert command(*words)[0] == 0
    return command


def test_load_says_what_it_would_do_and_what_it_did(run) -> None:
    status, shown, _ = run("load", "MIC", "b.csv", "--preview")
    assert status == 0
    assert shown.splitlines() == [
        "b.csv: 2 records read, 1 new, 1 corrected, 1 that cannot be billed as they are, "
        "1 without a readable time, shown in every open month",
        "b.csv, row 2: u2 corrected, quantity 12 → 13; MIC/u2 15.00 → 16.25",
        "b.csv, row 3: z1 new, invalid_time",
        "MIC: nothing was loaded, this is a preview",
    ]
    assert run("load", "MIC", "b.csv")[1].splitlines() == shown.splitlines()[:-1]
    rows = json.loads(run("load", "MIC", "usage.csv", "--preview", "--json")[1])
    assert (rows[0]["corrected"], rows[0]["known"]) == (1, 5)
    assert rows[0]["rows"][0]["after"] == "15.00"


def test_ready_refuses_and_unload_and_undo_go_there_and_back(run) -> None:
    run("load", "MIC", "b.csv")
    status, _, mistake = run("ready", "MIC", "2020-04")
    assert status == 2
    assert "z1 (b.csv, row 3)" in mistake
    shown = run("unload", "MIC", "b.csv", "--preview")[1]
    assert shown.splitlines()[-1] == "MIC: nothing was changed, this is a preview"
    said = run("unload", "MIC", "b.csv", "--reason", "the wrong file")[1].splitlines()
    assert said[0] == "b.csv: 1 record taken back, 1 as they were before it"
    assert "usage.csv, row 3: u2 corrected, quantity 13 → 12; MIC/u2 16.25 → 15.00" in said
    group = said[-1].rpartition(" ")[2]
    assert run("ready", "MIC", "2020-04")[0] == 0
    assert run("undo", "MIC", group)[0] == 2  # no reason
    assert run("undo", "MIC", group, "--reason", "it was right")[0] == 0
    assert run("ready", "MIC", "2020-04")[0] == 2
    assert run("unload", "MIC", "june.csv")[0] == 2


def test_rate_takes_new_rates_only_if_told(run, tmp_path: Path) -> None:
    (tmp_path / "mic.yml").write_text(BOOK.replace('"1.25"', '"2.00"'))
    assert "rate 1.25" not in run("rate", "MIC", "2020-04", "--again")[1]
    words = ("rate", "MIC", "2020-04", "--again", "--new-rates", "--project", "p1")
    shown = run(*words, "--preview")[1].splitlines()
    assert shown[0] == "MIC/u2: rate 1.25 → 2, total 15.00 → 24.00"
    mark = shown[-1].rpartition(" ")[2]
    assert run(*words, "--seen", mark)[1].splitlines() == [
        shown[0],
        "MIC 2020-04: 1 charge with another rate than before",
    ]
    for mistaken in (("--new-rates",), ("--preview",), ("--project", "p1"), ("--reason", "x")):
        assert run("rate", "MIC", "2020-04", *mistaken)[0] == 2
