"""What a project was billed in the twelve months until an invoice stands on it, and stays so."""

import datetime as dt
from pathlib import Path
from typing import Any

from sample_facility import HEADER, nothing, price_book, usage_file
from sample_issuing import issue_here, issue_prepared
from sqlalchemy import Engine

from billing_lib.ledger.database import writing
from billing_lib.pricing.clock import Period
from billing_lib.workflow.adjust import adjust_charge
from billing_lib.workflow.after_issue import reissue, void
from billing_lib.workflow.approve import approved_of
from billing_lib.workflow.invoice import compute_invoices, invoice_json
from billing_lib.workflow.issue import preview_draft
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.runs import submit
from billing_lib.workflow.snapshot import Snapshot

BOOK = price_book()
USAGE = HEADER + "".join(
    f"{project}-{day},slide,{project},bob,,,{day},{count}\n"
    for project, day, count in (
        ("p1", "2019-06-04", 1),  # 1.25, within twelve months of May 2020, not of June
        ("p1", "2019-07-04", 2),  # 2.50
        ("p1", "2020-04-04", 4),  # 5.00, to be reissued as 3.75
        ("p1", "2020-05-04", 8),  # 10.00, to be void
        ("p1", "2020-06-04", 16),  # 20.00
        ("p2", "2020-04-04", 100),
    )
)
DATE = dt.date(2020, 8, 1)


def billed(invoice: dict[str, Any]) -> dict[str, str]:
    """The months that have a total."""
    months = invoice["history"]
    assert len(months) == 12
    assert [month["period"] for month in months] == sorted(month["period"] for month in months)
    assert months[-1]["period"] == invoice["period"]
    return {month["period"]: month["total"] for month in months if month["total"] is not None}


def issue(ledger: Engine, month: str, folder: Path) -> dict[str, Any]:
    """Rate and issue a month; p1's invoice."""
    rate_period(ledger, BOOK, Period.parse(month))
    issued = issue_here(ledger, BOOK, Period.parse(month), folder, date=DATE)
    return next(it for it in issued.values() if it["project"]["code"] == "p1")


def test_the_history_counts_what_counts_then_and_a_record_keeps_it(
    ledger: Engine, tmp_path: Path
) -> None:
    load_files(ledger, BOOK, [usage_file(tmp_path, USAGE)], nothing)
    issue(ledger, "2019-06", tmp_path)
    issue(ledger, "2019-07", tmp_path)
    april = issue(ledger, "2020-04", tmp_path)
    may = issue(ledger, "2020-05", tmp_path)
    early = {"2019-06": "1.25", "2019-07": "2.50"}
    assert billed(may) == {**early, "2020-04": "5.00", "2020-05": "10.00"}

    reissue(ledger, BOOK, april["number"], "one broke")
    adjust_charge(ledger, BOOK, "MIC/p1-2020-04-04~2", {"quantity": "3"}, "one broke")
    draft = preview_draft(ledger, BOOK, "MIC-2020-04-2/p1")
    with writing(ledger) as connection:
        submit(connection, BOOK, "MIC-2020-04-2", ["MIC-2020-04-2/p1"])
        prepared = approved_of(connection, BOOK, "MIC-2020-04-2", ["MIC-2020-04-2/p1"], [])
    (again,) = issue_prepared(ledger, BOOK, prepared, tmp_path, DATE).values()
    # What it replaces does not count beside it, and what came later was not yet.
    assert billed(again) == {**early, "2020-04": "3.75"}
    assert draft["history"] == again["history"]

    void(ledger, BOOK, may["number"], "another's")
    june = issue(ledger, "2020-06", tmp_path)
    assert billed(june) == {"2019-07": "2.50", "2020-04": "3.75", "2020-06": "20.00"}

    kept = Snapshot.read(tmp_path / may["run"])
    assert invoice_json(compute_invoices(kept).invoices[may["number"]]) == invoice_json(may)
