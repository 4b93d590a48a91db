"""``billing journal``, ``journals`` and ``focus``, in process."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from sample_facility import BOOK, nothing, price_book, usage_file
from sample_issuing import issue_here

from billing_lib.cli import main
from billing_lib.ledger.database import initialise, open_ledger
from billing_lib.pricing.clock import Period
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period

APRIL = Period(2020, 4)
Billing = Callable[..., tuple[int, str, str]]


@pytest.fixture
def billing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Billing:
    """The command line where April is issued; status, output and messages of a command."""
    (tmp_path / "billing.toml").touch()
    (tmp_path / "parameters").mkdir()
    (tmp_path / "parameters" / "mic.yml").write_text(BOOK, encoding="utf-8")
    monkeypatch.setenv("BILLING_DATABASE", f"sqlite:///{tmp_path / 'billing.db'}")
    monkeypatch.setenv("BILLING_PARAMETERS", str(tmp_path / "parameters"))
    monkeypatch.chdir(tmp_path)
    engine = open_ledger(f"sqlite:///{tmp_path / 'billing.db'}")
    initialise(engine)
    load_files(engine, price_book(), [usage_file(tmp_path)], nothing)
    rate_period(engine, price_book(), APRIL)
    issue_here(engine, price_book(), APRIL, tmp_path)
    engine.dispose()

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["billing", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capfd.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


def test_a_journal_is_shown_posted_once_and_had_again(billing: Billing, tmp_path: Path) -> None:
    status, preview, _ = billing("journal", "MIC")
    assert status == 0
    assert preview.splitlines()[0].startswith("date,account,debit,credit,")
    first, again = tmp_path / "1.csv", tmp_path / "again.csv"
    said = "MIC: journal 1 is posted, 2 transactions, 160.83 USD debited\n1.csv: written\n"
    assert billing("journal", "MIC", "--post", "--to", "1.csv") == (0, said, "")
    nothing_left = (
        "MIC: there is nothing to post, nothing changed; 'billing journal MIC 1' shows the last "
        "one again\n"
    )
    assert billing("journal", "MIC", "--post", "--to", "2.csv") == (0, nothing_left, "")
    assert not (tmp_path / "2.csv").exists()
    assert billing("journal", "MIC", "1", "--to", "again.csv") == (0, "again.csv: written\n", "")
    assert first.read_bytes() == again.read_bytes()
    assert first.read_text().splitlines() == preview.splitlines()
    _, text, _ = billing("journal", "MIC", "--posted", "--format", "hledger")
    assert text.startswith("; MIC, journal 1\ncommodity 1000.00 USD\n")
    _, listed, _ = billing("journals", "MIC", "--json")
    (row,) = json.loads(listed)
    assert (row["journal"], row["invoices"], row["reversals"]) == (1, 2, 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("journal", "MIC", "--format", "sap", "--post"), "there is no format 'sap' of a journal"),
        (("journal", "MIC", "1", "--post"), "or what is to be posted; say one of them"),
        (("journal", "MIC", "--run", "MIC-9", "--post"), "there is no billing run MIC-9"),
        (("journal", "MIC", "--until", "soon", "--post"), "'soon' is not a date"),
        (("journal", "MIC", "7"), "MIC has no journal 7"),
        (("focus", "MAC", "2020-04", "--to", "x.csv"), "no price book is for the facility 'MAC'"),
        (("focus", "MIC", "2020-04", "--to", "x.pdf"), "x.pdf: a dataset is written as .csv or"),
        (("focus", "MIC", "April", "--to", "x.csv"), "'April' is not a period"),
    ],
)
def test_a_slip_is_one_sentence_and_changes_nothing(
    billing: Billing, words: tuple[str, ...], said: str
) -> None:
    status, out, err = billing(*words)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert json.loads(billing("journals", "MIC", "--json")[1]) == []


def test_a_month_is_written_for_cloud_cost_tools(billing: Billing, tmp_path: Path) -> None:
    for facility in ("MIC", "all"):
        status, said, _ = billing("focus", facility, "2020-04", "--to", f"{facility}.parquet")
        assert (status, said) == (
            0,
            f"{facility}.parquet: written; FOCUS 1.2, 3 rows, 0 of them on no issued invoice yet\n",
        )
    one, every = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("MIC", "all"))
    assert one.equals(every, null_equal=True)
    assert str(one["BilledCost"].sum()).rstrip("0") == "160.83"
