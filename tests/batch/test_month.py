"""The month of all facilities: what is ready is issued, what waits is said, twice is once."""

import re
from pathlib import Path

import nbformat
import pytest
from dialects import ON_POSTGRESQL, ON_SQLITE
from sample_facility import BOOK, price_book
from sample_logins import hand_over
from sample_statements import APRIL, SEQUENCING, books, load_both
from sqlalchemy import Engine

from billing_lib.batch.issuing import IssuingTerms
from billing_lib.batch.month import BatchMonth, Outcome, issue_all, issue_facility, write_report
from billing_lib.errors import InvalidPeriod
from billing_lib.ledger import events, invoices, runs
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.people import current_login, insert_permission, know_facility
from billing_lib.pricing.clock import Period
from billing_lib.settings import Settings
from billing_lib.workflow.approve import approve
from billing_lib.workflow.load import read_price_books
from billing_lib.workflow.runs import RunScope, open_run, take_in
from billing_lib.workflow.statements import list_statements

TERMS = IssuingTerms("2020-05-04", allow_dirty=True)
ONE_OF_TWO = RunScope(projects=("p2",))


@pytest.fixture
def office(ledger: Engine, ledger_url: str, tmp_path: Path) -> Settings:
    """Microscopy with a run of p2; sequencing, where who is asking approves; an empty one."""
    load_both(ledger, books(), tmp_path)
    with writing(ledger) as connection:
        login = current_login(connection)
        run = open_run(connection, price_book(), APRIL, ONE_OF_TWO)
        take_in(connection, price_book(), run)
        runs.move_run(connection, run, "disable", "p2 is not sure yet")
        know_facility(connection, "CYT", "Cytometry", "USD", "America/New_York")
    hand_over(ledger, "CYT")
    approval = f"  issue: scheduled\n  approval: {{reviewers: [{login}]}}\n"
    folder = tmp_path / "parameters"
    folder.mkdir()
    for name, text in (
        ("microscopy", BOOK),
        ("sequencing", SEQUENCING.replace("  issue: scheduled\n", approval)),
        ("cytometry", BOOK.replace("MIC", "CYT").replace("Microscopy", "Cytometry")),
    ):
        (folder / f"{name}.yml").write_text(text)
    return Settings(database=ledger_url, runs=tmp_path / "runs", parameters=folder)


def sentences(month: BatchMonth) -> dict[str, list[str]]:
    return {outcome.facility: outcome.sentences for outcome in month.facilities}


def written(ledger: Engine) -> list[int]:
    """How much there is in the ledger that running again must not add to."""
    with reading(ledger) as connection:
        counted = [events.read_events(connection, each).height for each in ("MIC", "SEQ", "CYT")]
        return [
            *counted,
            invoices.read_issued(connection).height,
            runs.read_runs(connection).height,
        ]


@ON_SQLITE
def test_a_month_of_three_facilities(ledger: Engine, office: Settings) -> None:
    steps: list[tuple[int, int, str]] = []
    first = issue_all(ledger, office, APRIL, terms=TERMS, step=lambda *told: steps.append(told))
    assert [told[:2] for told in steps] == [(1, 3), (2, 3), (3, 3)]
    assert {facility for _, _, facility in steps} == {"CYT", "MIC", "SEQ"}
    assert first.failed
    said = sentences(first)
    assert len(said["CYT"]) == 1
    assert "may not do this in CYT: it takes the role reviewer" in said["CYT"][0]
    assert said["MIC"][0] == "billing run MIC-2020-04-1 is DISABLED and skipped"
    assert said["MIC"][1].startswith("MIC-2020-04-2: issued 1 invoice (MIC-2020-00001), 2 charges")
    submitted, waits = said["SEQ"]
    assert submitted == "SEQ-2020-04-1: 2 invoices submitted"
    assert re.search(r"2 invoices of run SEQ-2020-04-1 waiting for ", waits)
    assert first.statements[0] == "smith-2020-04: 1 invoice, total 148.33 USD; 1 put on"

    # What waits for a person is no failure, and is not done twice.
    with writing(ledger) as connection:
        insert_permission(connection, "CYT", current_login(connection), "issuer", "")
    before = written(ledger)
    second = issue_all(ledger, office, APRIL, terms=TERMS)
    assert not second.failed
    assert "there are no charges for CYT 2020-04" in sentences(second)["CYT"][0]
    assert second.statements == ["statements of 2020-04: nothing changed, 1 unchanged"]
    assert written(ledger) == before

    # The persons do what they are waited for with.
    both = read_price_books(office.parameters)
    with writing(ledger) as connection:
        runs.move_run(connection, "MIC-2020-04-1", "enable")
        codes = invoices.read_invoices(connection, "SEQ", period="2020-04")["code"].to_list()
        approve(connection, both["SEQ"], "SEQ-2020-04-1", codes)
    third = issue_all(ledger, office, APRIL, terms=TERMS)
    assert not third.failed
    assert [outcome.numbers for outcome in third.facilities] == [
        [],
        ["MIC-2020-00002"],
        ["SEQ-2020-00001", "SEQ-2020-00002"],
    ]
    listed = list_statements(ledger, "2020-04").select("statement", "invoices", "total")
    assert listed.rows() == [("jones-2020-04", 1, "20.00"), ("smith-2020-04", 3, "190.83")]

    before = written(ledger)
    last = issue_all(ledger, office, APRIL, terms=TERMS)
    assert not last.failed
    assert "MIC 2020-04 is issued (MIC-2020-00001 to MIC-2020-00002)" in sentences(last)["MIC"][0]
    assert last.statements == ["statements of 2020-04: nothing changed, 2 unchanged"]
    assert written(ledger) == before


def test_a_disabled_month_is_passed_over(ledger: Engine, office: Settings) -> None:
    with writing(ledger) as connection:
        whole = open_run(connection, price_book(), APRIL, RunScope())
        runs.move_run(connection, whole, "disable")
    before = written(ledger)
    outcome = issue_facility("MIC", office, APRIL, TERMS)
    assert outcome.sentences == [
        "billing run MIC-2020-04-1 is DISABLED and skipped",
        "billing run MIC-2020-04-2 is DISABLED and skipped",
    ]
    assert not outcome.failed
    assert written(ledger) == before


@ON_POSTGRESQL
def test_an_invoice_that_cannot_be_calculated_is_a_failure(
    ledger: Engine, office: Settings
) -> None:
    """The price book has lost the project of p2's invoice, which the run holds."""
    lost = BOOK.replace("code: p2", "code: p9")
    (office.parameters / "microscopy.yml").write_text(lost)
    with writing(ledger) as connection:
        runs.move_run(connection, "MIC-2020-04-1", "enable")
    outcome = issue_facility("MIC", office, APRIL, IssuingTerms("2020-05-04", allow_dirty=True))
    assert outcome.failed
    assert any("cannot be calculated" in sentence for sentence in outcome.sentences)


def test_a_date_that_cannot_be_is_the_users_mistake(ledger: Engine, office: Settings) -> None:
    with pytest.raises(InvalidPeriod, match="the period 2999-01 is not over"):
        issue_all(ledger, office, Period(2999, 1), terms=IssuingTerms(allow_dirty=True))
    with pytest.raises(InvalidPeriod, match="'May' is not an invoice date"):
        issue_all(ledger, office, APRIL, terms=IssuingTerms("May", allow_dirty=True))
    with reading(ledger) as connection:
        assert invoices.read_issued(connection).height == 0


def test_a_report_counts_results_and_shows_no_markup_of_others(tmp_path: Path) -> None:
    outcomes = [
        Outcome("A", "2020-04", ["A: issued"], ["A-2020-00001", "A-2020-00002"], seconds=1.26),
        Outcome("MIC", "2020-04", ["MIC: project <script>x</script> waits"], failed=True),
    ]
    write_report(BatchMonth(outcomes, ["stated"], failed=True), tmp_path / "report.ipynb")
    cells = nbformat.read(tmp_path / "report.ipynb", as_version=4).cells
    shown = "".join(
        str(output.data.get(kind, ""))
        for cell in cells
        for output in cell.get("outputs", [])
        for kind in ("text/html", "text/markdown")
    )
    assert "<script>" not in shown
    rows = [re.findall("<td.*?>(.*?)</td>", row) for row in shown.split("<tr>")]
    assert [row for row in rows if row] == [
        ["failed", "1", "0", "0.0"],
        ["issued", "1", "2", "1.3"],
        ["A", "2020-04", "issued", "2", "1.3"],
        ["MIC", "2020-04", "failed", "0", "0.0"],
        ["MIC: project &lt;script&gt;x&lt;/script&gt; waits"],
        ["A: issued"],
        ["stated"],
    ]
