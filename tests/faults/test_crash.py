"""A crash at any step of a run, then the same command again: as if it had run once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from dialects import ON_SQLITE
from sample_facility import BOOK, nothing, price_book, usage_file
from sqlalchemy import Engine

from billing_lib.audit.known import known_by
from billing_lib.audit.verify import verify
from billing_lib.batch.issuing import IssuingTerms, issue_month
from billing_lib.ledger import charges, events, invoices, runs
from billing_lib.ledger.database import reading
from billing_lib.pricing.clock import Period
from billing_lib.settings import Settings
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period

APRIL = Period(2020, 4)
INSTANTS = (
    "freeze:after",  # the transaction is rolled back
    "execute_notebooks:before",  # frozen, nothing written
    "commit_issuing:after",  # the transaction is rolled back
    "publish:before",  # issued, the record not in its place
)
"""Each leaves another ledger."""

OF_FILES = ("execute_notebooks:after", "seal:before", "seal:after", "publish:after")
"""These leave a ledger as one of the above does, and other files."""


@pytest.fixture
def office(ledger: Engine, ledger_url: str, tmp_path: Path) -> tuple[Engine, Settings]:
    parameters = tmp_path / "parameters"
    parameters.mkdir()
    (parameters / "microscopy.yml").write_text(BOOK)
    load_files(ledger, price_book(), [usage_file(tmp_path)], nothing)
    rate_period(ledger, price_book(), APRIL)
    return ledger, Settings(database=ledger_url, runs=tmp_path / "runs", parameters=parameters)


def environment(settings: Settings) -> dict[str, str]:
    return os.environ | {
        "BILLING_DATABASE": settings.database,
        "BILLING_RUNS": str(settings.runs),
        "BILLING_PARAMETERS": str(settings.parameters),
    }


@ON_SQLITE  # on PostgreSQL tests/batch/test_workers.py kills at each step
@pytest.mark.parametrize("instant", [*INSTANTS, *OF_FILES])
def test_after_a_crash_the_same_command_issues_once(
    office: tuple[Engine, Settings], instant: str
) -> None:
    ledger, settings = office
    script = Path(__file__).with_name("interrupted.py")
    crashed = subprocess.run(
        [sys.executable, script, "MIC", "2020-04", instant],
        env=environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert crashed.returncode == 9, crashed.stderr
    if instant == "publish:after":
        with reading(ledger) as connection:
            assert invoices.read_issued(connection).height == 2
    else:
        again = issue_month(
            ledger, settings, price_book(), APRIL, terms=IssuingTerms(allow_dirty=True)
        )
        assert len(again.numbers) == 2
    with reading(ledger) as connection:
        bills = invoices.read_issued(connection)
        assert bills["number"].str.tail(5).to_list() == ["00001", "00002"]
        assert bills["total"].to_list() == [14833, 1250]  # 133.33 + 15.00; 12.50
        billed = charges.read_charges(connection, "MIC", period="2020-04")
        assert billed["state"].unique().to_list() == ["BILLED"]
        finished = runs.read_issuings(connection, "MIC").row(-1, named=True)
        assert finished["state"] == "ISSUED"
        assert events.read_events(connection, "MIC", kinds=["issue"]).height == 2
        assert runs.read_runs(connection, "MIC")["state"].to_list() == ["FINISHED"]
        lives = invoices.read_invoices(connection)
        assert lives["state"].unique().to_list() == ["APPROVED"]
        assert events.check_chain(connection, "MIC") == []
    assert list(settings.runs.glob("*/*/.*.partial")) == []
    records = list(settings.runs.glob("*/*/*"))
    assert [record.name for record in records] == [finished["id"]]
    assert verify(records[0], known_by(ledger)).findings == []
