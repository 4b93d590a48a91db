"""A billing office whose April is issued and archived, and a mail server that takes its mail."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mailed import APRIL, MAILED, Billed
from sample_facility import nothing, price_book, usage_file
from sample_issuing import issue_here
from sample_post_office import PostOffice
from sqlalchemy import Engine

from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period


@pytest.fixture(scope="session")
def post(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostOffice]:
    """The mail server, one for all tests."""
    office = PostOffice(tmp_path_factory.mktemp("post"))
    for controller in office.controllers.values():
        controller.start()
    yield office
    for controller in office.controllers.values():
        controller.stop()


@pytest.fixture
def billed(ledger: Engine, ledger_url: str, tmp_path: Path, post: PostOffice) -> Billed:
    """The office, with an archive as issuing leaves it."""
    post.clear()
    book = price_book(MAILED)
    load_files(ledger, book, [usage_file(tmp_path)], nothing)
    rate_period(ledger, book, APRIL)
    runs = tmp_path / "runs"
    issue_here(ledger, book, APRIL, tmp_path / "issuing", runs=runs)
    return Billed(ledger, post.settings(database=ledger_url, runs=runs), book, post, tmp_path)
