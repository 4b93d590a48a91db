"""The documents of all invoices of a run: issued ones as archived, drafts as drafts."""

import shutil
from pathlib import Path

import pytest
from sample_facility import BOOK, nothing, usage_file
from sqlalchemy import Engine

from billing_lib.batch.issuing import IssuingTerms, issue_month
from billing_lib.errors import NotReady, UnknownFormat
from billing_lib.exports.documents import write_run_documents
from billing_lib.pricing.clock import Period
from billing_lib.settings import Settings
from billing_lib.workflow.approve import change_invoices, make_run, read_run
from billing_lib.workflow.load import load_files, read_price_book
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.runs import RunScope

LOGO = Path(__file__).parent.parent.parent / "parameters" / "research-computing.svg"
APRIL, RUN = Period(2020, 4), "MIC-2020-04-1"


def test_a_runs_documents_are_written_once(ledger: Engine, ledger_url: str, tmp_path: Path) -> None:
    logo = shutil.copyfile(LOGO, tmp_path / "mark.svg")
    (tmp_path / "mic.yml").write_text(BOOK.replace("  contacts:", "  logo: mark.svg\n  contacts:"))
    book = read_price_book(tmp_path, "MIC")
    here = Settings(database=ledger_url, runs=tmp_path / "runs", parameters=tmp_path)
    load_files(ledger, book, [usage_file(tmp_path)], nothing)
    rate_period(ledger, book, APRIL)
    make_run(ledger, book, APRIL, RunScope())
    change_invoices(ledger, book, "quarantine", [f"{RUN}/p1"], "disputed")
    with pytest.raises(NotReady, match="can be written as xml"):
        write_run_documents(ledger, here, book, RUN, ["xml"], tmp_path / "drafts")
    issued = issue_month(ledger, here, book, APRIL, terms=IssuingTerms(allow_dirty=True))
    (number,) = issued.numbers
    folder = tmp_path / "april"
    frozen = issued.record / "data" / "snapshot" / "logo.svg"
    assert frozen.read_bytes() == logo.read_bytes()
    logo.unlink()  # what is issued needs no price book
    written = write_run_documents(ledger, here, book, RUN, ["pdf"], folder)
    assert [path.name for path in written] == ["MIC-2020-04-1_p1.pdf", f"{number}.pdf"]
    archived = issued.record / "data" / "documents" / f"{number}.pdf"
    assert (folder / f"{number}.pdf").read_bytes() == archived.read_bytes()
    assert write_run_documents(ledger, here, book, RUN, ["pdf"], folder) == []
    (xml,) = write_run_documents(ledger, here, book, RUN, ["xml"], folder)
    assert xml.read_bytes() == archived.with_suffix(".xml").read_bytes()
    several = write_run_documents(ledger, here, book, RUN, ["pdf", "xlsx", "xml"], tmp_path / "all")
    assert [path.name for path in several] == [
        *("MIC-2020-04-1_p1.pdf", "MIC-2020-04-1_p1.xlsx", f"{number}.pdf", f"{number}.xlsx"),
        f"{number}.xml",  # which a draft is not
    ]
    with pytest.raises(UnknownFormat, match="there is no format 'doc' of invoices"):
        write_run_documents(ledger, here, book, RUN, ["pdf", "doc"], tmp_path / "none")
    with pytest.raises(UnknownFormat, match="there is no format '' of invoices; say html, pdf, "):
        write_run_documents(ledger, here, book, RUN, [], tmp_path / "none")
    assert not (tmp_path / "none").exists()
    kinds = read_run(ledger, book, RUN).jobs["kind"].to_list()
    assert kinds == ["calculate", "issue", "pdf", "xml", "pdf, xlsx, xml"]
    twice = write_run_documents(ledger, here, book, RUN, ["xml", "xml"], tmp_path / "twice")
    assert [path.name for path in twice] == [f"{number}.xml"]
