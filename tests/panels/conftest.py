"""An office with a rated month, as the panels work with it."""

import shutil
from pathlib import Path

import pytest
from sample_facility import BOOK, nothing, price_book, usage_file

from billing_lib import Site
from billing_lib.ledger.database import open_ledger
from billing_lib.pricing.clock import Period
from billing_lib.settings import Settings
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period


@pytest.fixture
def office(sqlite_template: Path, tmp_path: Path) -> Site:
    """April 2020 of the sample facility, rated."""
    shutil.copyfile(sqlite_template, tmp_path / "billing.db")
    (tmp_path / "parameters").mkdir()
    (tmp_path / "parameters" / "microscopy.yml").write_text(BOOK)
    url = f"sqlite:///{tmp_path / 'billing.db'}"
    engine = open_ledger(url)
    load_files(engine, price_book(), [usage_file(tmp_path)], nothing)
    rate_period(engine, price_book(), Period(2020, 4))
    here = Settings(database=url, runs=tmp_path / "runs", parameters=tmp_path / "parameters")
    return Site(engine, here)
