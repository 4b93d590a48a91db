"""``billing preview``: a draft in the terminal, as JSON and as documents."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pypdf import PdfReader
from sample_facility import price_book
from sqlalchemy import Engine

from billing_lib.ledger.database import open_ledger, writing
from billing_lib.pricing.clock import Period
from billing_lib.workflow.runs import RunScope, calculate, open_run, take_in

from .conftest import Office, new_office

# One worker makes the drafts, and tests all of it.
pytestmark = pytest.mark.xdist_group("preview")

P1 = "MIC-2020-04-1/p1"


@pytest.fixture(scope="module")
def drafted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """An office whose April is rated and on drafts."""
    office = new_office(tmp_path_factory.mktemp("drafted") / "office")
    office.done("init")
    office.done("load", "MIC", "usage.csv")
    office.done("rate", "MIC", "2020-04")
    engine: Engine = open_ledger(f"sqlite:///{office.folder / 'billing.db'}")
    with writing(engine) as connection:
        run = open_run(connection, price_book(), Period(2020, 4), RunScope())
        take_in(connection, price_book(), run)
        calculate(connection, price_book(), [P1, "MIC-2020-04-1/p2"])
    engine.dispose()
    return office


def test_a_draft_is_shown_as_such_and_stays_one(drafted: Office) -> None:
    said = drafted.done("preview", P1)
    assert "DRAFT MIC-2020-04-1/p1, not issued" in said
    assert "total 148.33 USD" in said
    assert "MIC/u1" in said and "133.33" in said
    (listed,) = [row for row in drafted.listed("invoices") if row["invoice"] == P1]
    assert (listed["state"], listed["number"], listed["total"]) == ("OPEN", None, "148.33")


def test_as_json_it_is_the_canonical_invoice_without_a_number(drafted: Office) -> None:
    draft = json.loads(drafted.done("preview", P1, "--json"))
    assert (draft["draft"], draft["number"], draft["invoice_date"]) == (P1, None, None)
    assert draft["totals"]["due"] == "148.33"


def test_documents_are_written_where_asked_and_twice_changes_nothing(drafted: Office) -> None:
    files = ("--pdf", "shown.pdf", "--html", "draft.html", "--xlsx", "draft.xlsx")
    assert drafted.done("preview", P1, *files).splitlines() == [
        "shown.pdf: written",
        "draft.html: written",
        "draft.xlsx: written",
    ]
    again = drafted.done("preview", P1, *files)
    assert again.count("is so already, nothing changed") == 3
    pages = PdfReader(drafted.folder / "shown.pdf").pages
    assert all("DRAFT" in page.extract_text().replace(" ", "") for page in pages)
    both = drafted.run("preview", P1, "--json", "--html", "draft.html")
    assert json.loads(both.stdout)["draft"] == P1
    assert "draft.html: is so already" in both.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("MIC-2020-04-1/p9",), "there is no draft MIC-2020-04-1/p9; 'billing invoices' lists"),
        ((P1, "--facility", "XYZ"), "is for the facility 'XYZ'"),
        ((P1, "--pdf", "usage.csv/draft.pdf"), "usage.csv/draft.pdf: it cannot be written (Not a"),
    ],
)
def test_a_mistake_is_one_sentence(drafted: Office, words: tuple[str, ...], sentence: str) -> None:
    said = drafted.run("preview", *words)
    assert said.returncode == 2
    assert sentence in said.stderr
    assert len(said.stderr.splitlines()) == 1
    assert not Path(drafted.folder / "draft.pdf").exists()
