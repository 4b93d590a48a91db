"""A billing run: numbers without a gap, one invoice at a time, nothing issued that differs."""

import json
from pathlib import Path

import nbformat
import pytest
from dialects import ON_SQLITE
from en16931 import judge
from sample_facility import BOOK, HEADER, nothing, price_book, usage_file
from sample_logins import hand_over
from sqlalchemy import Engine

from billing_lib.audit.known import known_by
from billing_lib.audit.verify import verify
from billing_lib.batch import issuing
from billing_lib.batch.issuing import IssuingResult, IssuingTerms, issue_month, issued_records
from billing_lib.documents.ubl import EN16931
from billing_lib.errors import AlreadyIssued, InvalidPeriod, NotPermitted, NotReady, RunFailed
from billing_lib.ledger import charges, invoices, runs
from billing_lib.ledger.database import reading
from billing_lib.pricing.clock import Period
from billing_lib.settings import Settings
from billing_lib.workflow.adjust import adjust_charge
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.runs import RunScope
from billing_lib.workflow.search import list_invoices

APRIL, MAY = Period(2020, 4), Period(2020, 5)


@pytest.fixture
def office(ledger: Engine, ledger_url: str, tmp_path: Path) -> Settings:
    """April and May are rated; where the archive and the ledger are."""
    load_files(ledger, price_book(), [usage_file(tmp_path)], nothing)
    for period in (APRIL, MAY):
        rate_period(ledger, price_book(), period)
    return Settings(database=ledger_url, runs=tmp_path / "runs", parameters=tmp_path)


def issue(
    ledger: Engine, office: Settings, period: Period, date: str, project: str | None = None
) -> IssuingResult:
    selection = RunScope() if project is None else RunScope(projects=(project,))
    terms = IssuingTerms(date, allow_dirty=True)
    return issue_month(ledger, office, price_book(), period, selection, terms=terms)


def test_one_invoice_then_the_rest_then_the_next_fiscal_year(
    ledger: Engine, office: Settings, tmp_path: Path
) -> None:
    first = issue(ledger, office, APRIL, "2020-05-04", project="p2")
    rest = issue(ledger, office, APRIL, "2020-05-05")
    handles = len([*Path("/proc/self/fd").iterdir()])
    later = issue(ledger, office, MAY, "2020-07-01")  # the fiscal year starts in July
    assert (
        len([*Path("/proc/self/fd").iterdir()]) <= handles
    )  # whoever issues often runs out of none
    assert [run.numbers for run in (first, rest, later)] == [
        ["MIC-2020-00001"],
        ["MIC-2020-00002"],
        ["MIC-2021-00001"],
    ]
    assert [run.total for run in (first, rest, later)] == [1250, 14833, 500]
    assert issued_records(ledger, office.runs, "MIC", APRIL) == [first.record, rest.record]
    known = known_by(ledger)
    for run in (first, rest, later):
        assert verify(run.record, known).findings == []
    snapshot = json.loads((first.record / "data" / "invoices" / "MIC-2020-00001.json").read_text())
    assert snapshot["project"]["code"] == "p2"
    xml = (first.record / "data" / "documents" / "MIC-2020-00001.xml").read_bytes()
    assert EN16931.encode() in xml  # the facility states its country
    assert judge(xml) == []

    shown = (first.record / "data" / "notebook" / "review.executed.ipynb").read_text()
    assert "160.83 USD" in shown  # the whole month, of which p2's invoice is a part
    assert "the price book has no project &#x27;nobody&#x27;" in shown  # a finding of the checks
    assert (
        "Changes by staff"
        in (first.record / "data" / "notebook" / "adjust.executed.ipynb").read_text()
    )

    with pytest.raises(AlreadyIssued, match=r"MIC 2020-04 is issued \(MIC-2020-00001 to "):
        issue(ledger, office, APRIL, "2020-05-06")
    with pytest.raises(AlreadyIssued, match="project p2 is issued"):
        issue(ledger, office, APRIL, "2020-05-06", project="p2")

    late = usage_file(tmp_path, HEADER + "u7,slide,p1,bob,,,2020-04-30,1\n", "late.csv")
    load_files(ledger, price_book(), [late], nothing)
    rate_period(ledger, price_book(), APRIL)
    with pytest.raises(AlreadyIssued, match="1 charge of project p1 came after its invoice"):
        issue(ledger, office, APRIL, "2020-05-06")
    assert list_invoices(ledger).height == 3
    with pytest.raises(NotReady, match="is BILLED on invoice MIC-2020-00002"):
        adjust_charge(ledger, price_book(), "MIC/u1", {"quantity": "1"}, "too late")


@pytest.fixture
def generous_notebook(tmp_path: Path) -> Path:
    """The issuing notebook, but for a cent that it takes off each total."""
    notebook = nbformat.read(issuing.SOURCES["issue"], as_version=4)
    last = notebook.cells[-1]
    last.source = last.source.replace(
        "write_invoices(",
        "for invoice in computation.invoices.values():\n"
        "    invoice['totals']['total'] = invoice['totals']['total'][:-1] + '0'\n"
        "write_invoices(",
    )
    path = tmp_path / "generous.ipynb"
    nbformat.write(notebook, path)
    return path


def test_a_notebook_that_computes_otherwise_issues_nothing(
    ledger: Engine, office: Settings, generous_notebook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(issuing.SOURCES, "issue", generous_notebook)
        with pytest.raises(RunFailed, match=r"MIC-2020-00001\.json differs from the library's"):
            issue(ledger, office, APRIL, "2020-05-04")
    with reading(ledger) as connection:
        assert invoices.read_issued(connection).height == 0
        assert runs.read_issuings(connection, "MIC")["state"].to_list() == ["FAILED"]
        drafts = invoices.read_invoices(connection, "MIC", period="2020-04")
        assert drafts.select("state", "number").unique().rows() == [("APPROVING", None)]
        kept = charges.read_charges(connection, "MIC", period="2020-04")
        assert kept["state"].unique().to_list() == ["PENDING"]
    assert list(office.runs.glob("*/*/*")) == []
    assert issue(ledger, office, APRIL, "2020-05-04").numbers == [
        "MIC-2020-00001",
        "MIC-2020-00002",
    ]


def test_what_was_not_reviewed_is_not_issued(ledger: Engine, office: Settings) -> None:
    """A split that was changed after rating shows in no review until it is rated again."""
    moved = price_book(
        BOOK.replace('{expense_code: C, percent: "100"}', "").replace(
            "split: []", 'split: [{expense_code: D, percent: "100"}]'
        )
    )
    with pytest.raises(NotReady, match="the price book has changed since the rating of 1 charge"):
        issue_month(
            ledger, office, moved, APRIL, terms=IssuingTerms("2020-05-04", allow_dirty=True)
        )
    with pytest.raises(InvalidPeriod, match="the invoice date 2020-04-30 is not between"):
        issue(ledger, office, APRIL, "2020-04-30")
    with pytest.raises(NotReady, match="there are no charges for MIC 2020-06"):
        issue(ledger, office, Period(2020, 6), "2020-07-01")
    with reading(ledger) as connection:
        assert runs.read_runs(connection, "MIC").height == 0


@ON_SQLITE
def test_a_reviewer_submits_and_leaves_issuing_to_an_issuer(
    ledger: Engine, office: Settings
) -> None:
    hand_over(ledger, "MIC", ("reviewer", ""))
    submitted = issue(ledger, office, APRIL, "2020-05-04")
    assert (submitted.numbers, submitted.submitted) == ([], 2)
    assert submitted.sentences == [
        "MIC-2020-04-1: 2 invoices submitted",
        "2 of them wait for an issuer",
    ]
    with pytest.raises(NotPermitted, match="may not do this in MIC: it takes the role issuer"):
        issue(ledger, office, APRIL, "2020-05-04")
    reviewed = price_book(
        BOOK.replace("issue: scheduled", "issue: scheduled\n  approval: {reviewers: [ann]}")
    )
    terms = IssuingTerms("2020-06-04", allow_dirty=True)
    may = issue_month(ledger, office, reviewed, MAY, terms=terms)
    assert may.sentences == [
        "MIC-2020-05-1: 1 invoice submitted",
        "1 invoice of run MIC-2020-05-1 waiting for ann",
    ]
    with pytest.raises(NotReady, match=r"nothing can be issued yet; 1 invoice .* waiting for ann"):
        issue_month(ledger, office, reviewed, MAY, terms=terms)
