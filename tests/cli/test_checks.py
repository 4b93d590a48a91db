"""What is wrong with a month, by the command line; in this process, since no file is at stake."""

import json
from pathlib import Path

import pytest
from sample_facility import BOOK, nothing, price_book, usage_file
from typer.testing import CliRunner

from billing_lib.cli import app
from billing_lib.ledger.database import open_ledger
from billing_lib.pricing.clock import Period
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period


def test_findings_are_listed_and_dismissed(
    ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_ledger(ledger_url)
    load_files(engine, price_book(), [usage_file(tmp_path)], nothing)
    rate_period(engine, price_book(), Period(2020, 4))
    engine.dispose()
    (tmp_path / "parameters").mkdir()
    (tmp_path / "parameters" / "microscopy.yml").write_text(BOOK)
    monkeypatch.setenv("BILLING_DATABASE", ledger_url)
    monkeypatch.setenv("BILLING_PARAMETERS", str(tmp_path / "parameters"))

    def said(*words: str) -> str:
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    found = json.loads(said("check", "MIC", "2020-04", "--json"))
    assert {row["subject"]: row["records"] for row in found} == {
        "invalid_quantity": ["u5"],
        "unknown_project": ["u4"],
    }
    assert "2 findings, 0 dismissed before" in said("check", "MIC", "2020-04")
    key = found[0]["key"]
    done = said("dismiss", "MIC", "2020-04", key, "--reason", "a typing error")
    assert done.startswith(f"{key}: dismissed, unbilled usage")
    assert "1 finding, 1 dismissed before" in said("check", "MIC", "2020-04")
    (kept,) = json.loads(said("check", "MIC", "2020-04", "--dismissed", "--json"))
    assert (kept["key"], kept["reason"]) == (key, "a typing error")
