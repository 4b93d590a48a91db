"""Statements as documents: from the ledger and the archive into files."""

import json
from pathlib import Path

import pytest
from openpyxl import load_workbook
from pypdf import PdfReader
from sample_issuing import issue_here
from sample_logins import hand_over
from sample_statements import APRIL, MAY, books, load_both
from sqlalchemy import Engine

from billing_lib.errors import InvalidRecord, NotPermitted, UnknownFormat, UnknownStatement
from billing_lib.exports.documents import write_statement, write_statements
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.invoice import write_invoices
from billing_lib.workflow.statements import (
    generate_statements,
    pay_statement,
    read_statement,
    statement_json,
)

SMITH, JONES = "smith-2020-04", "jones-2020-04"
DISCOUNT = '\nrules: [{name: courtesy, scope: statement, kind: discount, amount: "3.00"}]\n'


@pytest.fixture
def both(ledger: Engine, tmp_path: Path) -> dict[str, PriceBook]:
    """Two facilities whose April is issued, archived under ``runs`` and stated."""
    found = books(DISCOUNT)
    load_both(ledger, found, tmp_path)
    for code, book in found.items():
        record = tmp_path / "runs" / code / "2020-04" / f"{code}-2020-04-1"
        issued = issue_here(ledger, book, APRIL, tmp_path)
        write_invoices(issued, record / "data" / "invoices")
    generate_statements(ledger, found, APRIL)
    return found


def test_a_statement_is_written_in_each_format_and_anew_when_it_has_changed(
    ledger: Engine, both: dict[str, PriceBook], tmp_path: Path
) -> None:
    runs, shown = tmp_path / "runs", read_statement(ledger, both, SMITH)
    paths = [tmp_path / f"smith.{suffix}" for suffix in ("pdf", "xlsx", "json")]
    assert all(write_statement(ledger, runs, both, SMITH, path) for path in paths)
    assert not any(write_statement(ledger, runs, both, SMITH, path) for path in paths)
    pdf, xlsx, canonical = paths
    assert canonical.read_text("utf-8") == statement_json(shown)
    text = " ".join(page.extract_text() for page in PdfReader(pdf).pages)
    assert "Due" in text and "USD 187.83" in text  # 148.33 + 12.50 + 30.00 - 3.00
    assert "courtesy" in text
    numbers = [it["number"] for part in shown["facilities"] for it in part["invoices"]]
    assert load_workbook(xlsx).sheetnames == ["Statement", *numbers]

    pay_statement(ledger, SMITH, "2021-02-01", "WIRE 1")
    assert all(write_statement(ledger, runs, both, SMITH, path) for path in paths)
    assert json.loads(canonical.read_text())["payment"]["reference"] == "WIRE 1"
    assert "paid on 1 February 2021" in PdfReader(pdf).pages[0].extract_text()


def test_a_months_statements_go_into_a_folder(
    ledger: Engine, both: dict[str, PriceBook], tmp_path: Path
) -> None:
    runs, folder = tmp_path / "runs", tmp_path / "new" / "april"
    written = write_statements(ledger, runs, both, APRIL, "xlsx", folder)
    assert [path.name for path in written] == [f"{JONES}.xlsx", f"{SMITH}.xlsx"]
    assert write_statements(ledger, runs, both, APRIL, "xlsx", folder) == []
    (one,) = write_statements(ledger, runs, both, APRIL, "pdf", folder, ["jones"])
    assert one == folder / f"{JONES}.pdf"
    assert write_statements(ledger, runs, both, MAY, "pdf", folder) == []


def test_what_cannot_be_written_is_said_and_nothing_is(
    ledger: Engine, both: dict[str, PriceBook], tmp_path: Path
) -> None:
    runs, folder = tmp_path / "runs", tmp_path / "none"
    with pytest.raises(UnknownFormat, match=r"'docx' is no format of a statement; write it as"):
        write_statement(ledger, runs, both, SMITH, tmp_path / "smith.docx")
    with pytest.raises(UnknownFormat, match="a file without a suffix is no format"):
        write_statement(ledger, runs, both, SMITH, tmp_path / "smith")
    with pytest.raises(UnknownStatement, match="there is no statement nobody"):
        write_statement(ledger, runs, both, "nobody-2020-04", tmp_path / "nobody.pdf")
    (invoice,) = runs.glob("*/*/*/data/invoices/SEQ-2021-00001.json")
    text = invoice.read_text("utf-8")
    invoice.write_text(text.replace('"total": "20.00"', '"total": "21.00"'), "utf-8")
    with pytest.raises(InvalidRecord, match=r"SEQ-2021-00001\.json is not as it was sealed"):
        write_statements(ledger, runs, both, APRIL, "xlsx", folder)
    invoice.unlink()
    with pytest.raises(InvalidRecord, match=r"SEQ-2021-00001\.json is not as it was sealed"):
        write_statements(ledger, runs, both, APRIL, "xlsx", folder)
    assert not folder.exists()


def test_a_lab_administrator_writes_the_labs_statement_and_no_other(
    ledger: Engine, both: dict[str, PriceBook], tmp_path: Path
) -> None:
    hand_over(ledger, "MIC")
    hand_over(ledger, "SEQ", ("lab_administrator", "jones"))
    runs = tmp_path / "runs"
    assert write_statement(ledger, runs, both, JONES, tmp_path / "jones.xlsx")
    with pytest.raises(NotPermitted, match="may not see the team smith in MIC"):
        write_statement(ledger, runs, both, SMITH, tmp_path / "smith.pdf")
    folder = tmp_path / "april"
    written = write_statements(ledger, runs, both, APRIL, "pdf", folder)
    assert [path.name for path in written] == [f"{JONES}.pdf"]
