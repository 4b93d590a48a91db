"""Files of expense codes and an institution's own check, which comes as an entry point."""

import datetime as dt
from importlib.metadata import EntryPoint
from pathlib import Path

import polars as pl
import pytest
from sample_facility import BOOK, price_book

from billing_lib.errors import BillingError
from billing_lib.workflow import findings
from billing_lib.workflow.findings import find_invalid_codes
from billing_lib.workflow.load import read_price_book

CHARGED = pl.DataFrame(
    {
        "charge": ["MIC/u1", "MIC/u2"],
        "expense_code": ["A", "B"],
        "date": [dt.date(2020, 4, 6), dt.date(2020, 4, 7)],
    }
)


def book_with(folder: Path, codes: str | None) -> None:
    stated = "  expense_codes: {file: codes.csv}\n  contacts: "
    (folder / "microscopy.yml").write_text(BOOK.replace("  contacts: ", stated))
    if codes is not None:
        (folder / "codes.csv").write_text(codes)


def test_the_codes_of_a_file_are_valid_between_their_dates(tmp_path: Path) -> None:
    book_with(tmp_path, "code,valid_from,valid_to\nA,2020-01-01,2020-04-05\nB,,\n")
    found = find_invalid_codes(read_price_book(tmp_path, "MIC"), CHARGED)
    assert found.select("charge", "problem").rows() == [
        ("MIC/u1", "the expense code 'A' is not valid on 2020-04-06")
    ]


@pytest.mark.parametrize(
    ("codes", "sentence"),
    [
        (None, r"codes\.csv: there is no such file"),
        ("account\nA\n", r"codes\.csv, row 1: the columns are account; name them code, valid_from"),
        (
            "code,valid_from,valid_to\nA,,\nB,soon,\n",
            r"codes\.csv, row 3, valid_from: 'soon' cannot be: 'soon' is not a date",
        ),
    ],
)
def test_a_file_that_is_no_list_of_codes_is_refused_by_row(
    tmp_path: Path, codes: str | None, sentence: str
) -> None:
    book_with(tmp_path, codes)
    with pytest.raises(BillingError, match=sentence):
        read_price_book(tmp_path, "MIC")


def closed(charged: pl.DataFrame) -> pl.DataFrame:
    """An institution's check: account B was closed."""
    closed_code = pl.col("expense_code") == "B"
    problem = pl.format("{} is closed at {}", "expense_code", "facility")
    return charged.filter(closed_code).with_columns(problem=problem)


def test_an_installed_check_is_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("finance", f"{__name__}:closed", findings.GROUP)
    monkeypatch.setattr(findings, "entry_points", lambda group: [entry])
    found = find_invalid_codes(price_book(), CHARGED)
    assert found.select("charge", "problem").rows() == [("MIC/u2", "B is closed at MIC")]
