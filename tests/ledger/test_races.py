"""Two processes that issue the same run at the same moment: one does, the other is told."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dialects import ON_POSTGRESQL
from racing import APRIL, Outcome, issue_one, many_projects, race, usage_of
from sample_facility import BOOK, nothing, price_book, usage_file
from sqlalchemy import Engine

from billing_lib.errors import AlreadyIssued
from billing_lib.ledger import charges, events, invoices, runs
from billing_lib.ledger.database import reading
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period


def _rated(ledger: Engine, folder: Path, count: int) -> None:
    book = many_projects(count)
    load_files(ledger, book, [usage_file(folder, usage_of(count))], nothing)
    rate_period(ledger, book, APRIL)


def _race(url: str, folder: Path, count: int, *, locked: bool) -> list[Outcome]:
    """What became of all tries of two processes."""
    new = multiprocessing.get_context("spawn")
    start, outcomes = new.Barrier(2), new.Queue()
    racers = [
        new.Process(target=race, args=(url, folder / name, count, locked, behind, start, outcomes))
        for behind, name in enumerate(("one", "two"))
    ]
    for racer in racers:
        racer.start()
    found = [outcomes.get(timeout=300) for _ in range(2 * count)]
    for racer in racers:
        racer.join(timeout=60)
        assert racer.exitcode == 0
    return found


def _require_whole(ledger: Engine, count: int) -> None:
    """Each project has one invoice, the numbers have no gap, no charge is billed twice."""
    with reading(ledger) as connection:
        bills = invoices.read_issued(connection)
        assert bills["sequence"].to_list() == list(range(1, count + 1))
        assert bills["project"].n_unique() == count
        billed = charges.read_charges(connection, "MIC")
        assert billed["state"].unique().to_list() == ["BILLED"]
        lines = invoices.read_lines(connection, bills["number"].to_list())
        assert sorted(lines["charge"]) == sorted(billed["charge"])
        lives = invoices.read_invoices(connection, "MIC")
        assert lives["state"].unique().to_list() == ["APPROVED"]
        assert events.check_chain(connection, "MIC") == []
        assert runs.frozen(connection, "MIC") is None


@ON_POSTGRESQL
def test_of_two_that_issue_at_once_one_does_and_the_other_is_told(
    ledger: Engine, ledger_url: str, tmp_path: Path
) -> None:
    count = 80
    _rated(ledger, tmp_path, count)
    found = _race(ledger_url, tmp_path, count, locked=True)
    assert [outcome for outcome in found if outcome.what == "broken"] == []
    assert sorted(it.race for it in found if it.what == "issued") == list(range(count))
    told = [it.said for it in found if it.what == "refused"]
    kinds = {said.split(":")[0] for said in told}
    assert "IssuingElsewhere" in kinds  # they did meet
    assert kinds <= {"IssuingElsewhere", "AlreadyIssued", "NotReady"}
    assert not any("\n" in said for said in told)
    _require_whole(ledger, count)


@ON_POSTGRESQL
def test_without_the_lock_the_database_itself_lets_one_through(
    ledger: Engine, ledger_url: str, tmp_path: Path
) -> None:
    count = 40
    _rated(ledger, tmp_path, count)
    found = _race(ledger_url, tmp_path, count, locked=False)
    assert [outcome for outcome in found if outcome.what == "broken"] == []
    won = [outcome.race for outcome in found if outcome.what == "issued"]
    assert len(won) == len(set(won)) > 0
    book = many_projects(count)
    for left in range(count):  # where both kept one another from it
        if left in won:
            with pytest.raises(AlreadyIssued):
                issue_one(ledger, book, left, tmp_path / "after")
        else:
            issue_one(ledger, book, left, tmp_path / "after")
    _require_whole(ledger, count)


@pytest.mark.xdist_group("notebooks")
def test_of_two_commands_at_once_one_issues_and_the_other_says_why_not(
    ledger: Engine, ledger_url: str, tmp_path: Path
) -> None:
    (tmp_path / "parameters").mkdir()
    (tmp_path / "parameters" / "microscopy.yml").write_text(BOOK)
    load_files(ledger, price_book(), [usage_file(tmp_path)], nothing)
    rate_period(ledger, price_book(), APRIL)
    environment = os.environ | {
        "BILLING_DATABASE": ledger_url,
        "BILLING_RUNS": str(tmp_path / "runs"),
        "BILLING_PARAMETERS": str(tmp_path / "parameters"),
    }
    program = "from billing_lib.cli import main; main()"
    command = [sys.executable, "-c", program, "issue", "MIC", "2020-04", "--allow-dirty"]
    both = [
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300) for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], said
    (_, told) = said[[process.returncode for process in both].index(2)]
    # The progress bar that was begun leaves an empty line before the sentence.
    assert told.strip().startswith("billing: ") and "\n" not in told.strip(), told
    assert "another process is issuing at this moment" in told or "is issued" in told
    with reading(ledger) as connection:
        assert invoices.read_issued(connection)["sequence"].to_list() == [1, 2]
    assert [record.name for record in (tmp_path / "runs").glob("*/*/*")] == ["MIC-2020-04-1"]
