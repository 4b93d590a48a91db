"""A full disk while archiving: nothing is issued, nothing is lost, and it is said."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sample_facility import BOOK, nothing, price_book, usage_file
from sqlalchemy import Engine

from billing_lib.ledger import charges, invoices, runs
from billing_lib.ledger.database import reading
from billing_lib.pricing.clock import Period
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period

APRIL = Period(2020, 4)
UNSHARED = ["unshare", "--mount"] + (["--map-root-user"] if os.getuid() else [])
"""A file system of a few kilobytes that only one command sees."""


@pytest.mark.parametrize(
    ("ledger_url", "kilobytes"), [("sqlite", 16), ("postgresql", 160)], indirect=["ledger_url"]
)
def test_a_full_disk_issues_nothing_and_the_next_try_takes_the_same_numbers(
    ledger: Engine, ledger_url: str, tmp_path: Path, kilobytes: int
) -> None:
    """16 kB end while the snapshot is written, 160 kB while the results are."""
    (tmp_path / "parameters").mkdir()
    (tmp_path / "parameters" / "microscopy.yml").write_text(BOOK)
    (tmp_path / "runs").mkdir()
    load_files(ledger, price_book(), [usage_file(tmp_path)], nothing)
    rate_period(ledger, price_book(), APRIL)
    issue = f"{Path(sys.executable).with_name('billing')} issue MIC 2020-04 --allow-dirty"
    environment = os.environ | {
        "BILLING_DATABASE": ledger_url,
        "BILLING_RUNS": str(tmp_path / "runs"),
        "BILLING_PARAMETERS": str(tmp_path / "parameters"),
    }
    mount = f"mount -t tmpfs -o size={kilobytes}k none {tmp_path / 'runs'}"
    full = subprocess.run(
        [*UNSHARED, "sh", "-c", f"{mount} && {issue}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert full.returncode == 2, full.stderr
    assert "nothing was issued" in full.stderr and "Traceback" not in full.stderr
    with reading(ledger) as connection:
        assert invoices.read_issued(connection).height == 0
        pending = charges.read_charges(connection, "MIC", period="2020-04")
        assert pending["state"].unique().to_list() == ["PENDING"]
        assert runs.read_issuings(connection, "MIC")["state"].to_list() == ["FAILED"]
    again = subprocess.run(
        issue.split(), env=environment, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    with reading(ledger) as connection:
        numbers = invoices.read_issued(connection)["number"]
    assert numbers.str.tail(5).to_list() == ["00001", "00002"]
