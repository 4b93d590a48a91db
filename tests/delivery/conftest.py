"""A billing office whose April is issued and archived, and a mail server that takes its mail."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mailed import APRIL, MAILED, Billed
from post_office import PostOffice
from sample_facility import nothing, price_book, usage_file
from sample_issuing import issue_here
from sqlalchemy import Engine

from billing_lib.documents.pdf import render_pdf
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import runs as ledger_runs
from billing_lib.ledger.database import reading
from billing_lib.workflow.invoice import invoice_json
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
    invoices = issue_here(ledger, book, APRIL, tmp_path / "issuing")
    runs = tmp_path / "runs"
    with reading(ledger) as connection:
        records = dict(
            ledger_runs.read_issuings(connection, "MIC").select("id", "record").iter_rows()
        )
        of = dict(ledger_invoices.read_issued(connection).select("number", "issuing").iter_rows())
    for number, invoice in invoices.items():
        data = runs / records[of[number]] / "data"
        for name in ("invoices", "documents"):
            (data / name).mkdir(parents=True, exist_ok=True)
        (data / "invoices" / f"{number}.json").write_text(invoice_json(invoice), "utf-8")
        (data / "documents" / f"{number}.pdf").write_bytes(render_pdf(invoice))
    return Billed(ledger, post.settings(database=ledger_url, runs=runs), book, post, tmp_path)
