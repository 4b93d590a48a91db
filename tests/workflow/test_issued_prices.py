"""Prices by month, of snapshots and of bookings, from a usage file to the issued invoice."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from sample_facility import BOOK, nothing, price_book, usage_file
from sample_issuing import issue_here
from sqlalchemy import Engine

from billing_lib.documents.view import derivation
from billing_lib.pricing.clock import Period
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period, read_unbilled
from billing_lib.workflow.review import explain

APRIL = Period(2020, 4)

PRICES = (
    BOOK.replace(
        "items:",
        "items:\n  - {code: disk, name: Disk, unit: TB}\n  - {code: bay, name: Bay, unit: bay}",
    )
    .replace(
        "rates:",
        "rates:\n  - {item: disk, group: internal, price: '1.00', per: snapshot}"
        "\n  - {item: bay, group: internal, price: '90.00', per: month}",
    )
    .replace('"40.00"}', '"40.00", booking: longer, no_show: "20.00"}')
)

USAGE = (
    "id,item,project,user,start,end,date,quantity,booked_start,booked_end\n"
    "b1,scope,p1,ann,2020-04-06T09:30,2020-04-06T10:00,,,2020-04-06T09:00,2020-04-06T12:00\n"
    "b2,scope,p1,ann,,,,,2020-04-07T09:00,2020-04-07T12:00\n"
    "b3,scope,p1,ann,,,,,2020-04-08T09:00,\n"
    "b4,scope,p1,ann,,,,,2020-04-08T12:00,2020-04-08T09:00\n"
    "b5,scope,p1,ann,,,,,,\n"
    "m1,bay,p1,,2020-03-31T09:00,2020-04-30T17:00,,,,\n"
    "s1,disk,p1,,,,2020-04-01,1,,\n"
    "s2,disk,p1,,,,2020-04-02,1,,\n"
    "s3,disk,p1,,,,2020-04-03,1,,\n"
    "s4,disk,p1,,,,2020-04-04,,,\n"
)


@pytest.fixture
def rated(ledger: Engine, tmp_path: Path) -> Engine:
    load_files(ledger, price_book(PRICES), [usage_file(tmp_path, USAGE)], nothing)
    rate_period(ledger, price_book(PRICES), APRIL)
    return ledger


def test_an_issued_invoice_shows_how_each_price_came_about(rated: Engine, tmp_path: Path) -> None:
    (invoice,) = issue_here(
        rated, price_book(PRICES), APRIL, tmp_path / "issued", date=dt.date(2020, 5, 4)
    ).values()

    lines: dict[str, dict[str, Any]] = {line["charge"]: line for line in invoice["lines"]}
    assert {code: line["total"] for code, line in lines.items()} == {
        "MIC/b1": "120.00",  # 3 h booked, half an hour used
        "MIC/b2": "60.00",  # 3 h not used, at 20.00
        "MIC/m1": "92.90",  # (1/31 + 30/30) × 90.00 = 92.903…
        "MIC/s1": "0.34",  # the mean is 1 TB: 1.00 over three snapshots
        "MIC/s2": "0.33",
        "MIC/s3": "0.33",
    }
    assert lines["MIC/b1"]["start"] == "2020-04-06T09:30:00-04:00"
    assert (lines["MIC/b2"]["date"], lines["MIC/b2"]["start"]) == ("2020-04-07", None)
    told = {code: derivation(line) for code, line in lines.items()}
    span = "booked from 2020-04-07 09:00:00 to 2020-04-07 12:00:00, not used"
    assert told["MIC/b2"][0] == f"{span}: 3 × 20.00 = 60.00"
    assert told["MIC/m1"][1:3] == [
        "1 of the 31 days of 2020-03: 0.032258 × 90.00 = 2.90",
        "30 of the 30 days of 2020-04: 1 × 90.00 = 90.00",
    ]
    assert told["MIC/s2"][0] == "snapshot of 1, one of the 3 of its month: 0.333333 × 1.00 = 0.33"


def test_bookings_and_snapshots_that_lack_something_are_unbilled(rated: Engine) -> None:
    unbilled = read_unbilled(rated, "MIC", "2020-04").select("record", "reason", "detail").sort("*")

    assert [row[:2] for row in unbilled.rows()] == [
        ("b3", "invalid_time"),
        ("b4", "invalid_time"),
        ("b5", "invalid_time"),
        ("s4", "invalid_quantity"),
    ]
    assert [row[2].partition(": ")[2] for row in unbilled.rows()[:3]] == [
        "its booking has one of start and end",
        "its booking starts at 2020-04-08 16:00:00Z and ends before that, at 2020-04-08 13:00:00Z",
        "it has no time",
    ]


def test_the_derivation_of_a_charge_in_the_ledger(rated: Engine) -> None:
    told = explain(rated, price_book(PRICES), "MIC/b2")
    assert told[1:4] == [
        "Booked from 2020-04-07 09:00:00 to 2020-04-07 12:00:00 (America/New_York): "
        "3 hours, not used.",
        "Quantity: 3 hour.",
        "No-show price for group internal: 20 USD per hour.",
    ]
    told = explain(rated, price_book(PRICES), "MIC/s1")
    assert "Snapshot of 1, one of the 3 of its month: 0.333333." in told
    assert "Total: 0.34 USD." in told
