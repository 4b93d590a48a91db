"""Actions on several invoices: those that can, a reason for each that cannot, on both databases."""

from pathlib import Path

import polars as pl
from sample_facility import nothing, price_book, usage_file
from sample_issuing import issue_here
from sqlalchemy import Engine

from billing_lib.ledger.database import reading
from billing_lib.ledger.events import read_events
from billing_lib.pricing.clock import Period
from billing_lib.workflow.invoice_actions import ACTIONS, act
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.search import Filter, find_invoices

APRIL = Period(2020, 4)


def credited(ledger: Engine) -> list[str]:
    with reading(ledger) as connection:
        added = read_events(connection, "MIC", kinds=["add_line"])
    return added["after"].str.json_path_match("$.credits").drop_nulls().to_list()


def test_one_that_refuses_stands_alone_and_a_trial_leaves_nothing(
    ledger: Engine, tmp_path: Path
) -> None:
    book = price_book()
    load_files(ledger, book, [usage_file(tmp_path)], nothing)
    rate_period(ledger, book, APRIL)
    first, second = sorted(issue_here(ledger, book, APRIL, tmp_path))  # 148.33 and 12.50
    rows = find_invoices(ledger, Filter(facility="MIC")).rows
    entries = {"amount": "100.00", "reason": "the laser was weak", "date": "2020-05-04"}
    entries |= {"expense_code": "", "again": False}
    for trial in (True, False):
        outcome = act(ledger, {"MIC": book}, ACTIONS["credit"], rows, entries, trial=trial)
        assert outcome.done["number"].to_list() == [first]
        ((refused, reason),) = outcome.refused
        assert refused == second
        assert "12.50" in reason  # more than the invoice comes to
        assert credited(ledger) == ([] if trial else [first])
    voided = act(
        ledger, {"MIC": book}, ACTIONS["void"], rows.filter(pl.col("number") == second),
        {"reason": "a test", "frees": False}, trial=False,
    )  # fmt: skip
    assert (voided.done["number"].to_list(), voided.refused) == ([second], [])
