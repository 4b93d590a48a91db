"""A lab's month: what is in it, what is not, and that its tables make one total."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sample_facility import BOOK, HEADER, nothing, price_book, usage_file
from sample_issuing import issue_here, issue_prepared
from sqlalchemy import Engine

from billing_lib.documents.html import render_listing
from billing_lib.errors import UnknownTeam
from billing_lib.ledger.database import writing
from billing_lib.pricing.clock import Period
from billing_lib.pricing.money import to_minor
from billing_lib.workflow.adjust import adjust_charge
from billing_lib.workflow.after_issue import deposit, pay, reissue, void
from billing_lib.workflow.approve import change_invoices, make_run, prepare, prepare_run
from billing_lib.workflow.listing import read_listing
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.runs import RunScope

RULED = (
    BOOK.replace("unit: each}", 'unit: each, cost: "0.77"}')
    .replace("rate_group: internal}]", 'rate_group: internal, tax: {name: VAT, percent: "10"}}]')
    .replace("teams: [", "teams: [{code: dept, name: Department}, {code: jones, name: Jones},\n  ")
    .replace("name: Smith Lab,", "name: Smith Lab, parent: dept,")
    + "  - {code: p3, team: jones, type: faculty, split: [{expense_code: D, percent: '100'}]}\n"
    + """
rules:
  - {name: handling, scope: invoice, kind: fee, amount: "5.00"}
"""
)
RULED_BOOK = price_book(RULED)
BOOKS = {"MIC": RULED_BOOK}
APRIL = Period(2020, 4)
ONLY_P1 = RunScope(projects=("p1",))
USAGE = HEADER + (
    "u1,scope,p1,ann,2020-04-06T17:00:00-04:00,2020-04-06T20:20:00-04:00,,\n"
    "u2,slide,p1,bob,,,2020-04-07,12\n"
    "u3,slide,p2,eve,,,2020-04-08,10\n"
    "u4,slide,p3,joe,,,2020-04-08,10\n"
)
"""133.33 and 15.00 for p1, 12.50 for p2; 12.50 for another lab's p3."""


@pytest.fixture
def april(ledger: Engine, tmp_path: Path) -> Engine:
    """April rated."""
    load_files(ledger, RULED_BOOK, [usage_file(tmp_path, USAGE)], nothing)
    rate_period(ledger, RULED_BOOK, APRIL)
    return ledger


def of_smith(engine: Engine) -> dict[str, Any]:
    """What the listing of the lab has of its one facility."""
    (part,) = read_listing(engine, BOOKS, "smith", "2020-04")["facilities"]
    found: dict[str, Any] = part
    return found


def amounts(rows: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {row["key"]: (row["invoiced"], row["pending"]) for row in rows}


def test_a_month_of_issued_and_pending(april: Engine, tmp_path: Path) -> None:
    deposit(april, RULED_BOOK, "p1", "20.00", "paid in")
    issue_here(april, RULED_BOOK, APRIL, tmp_path, ONLY_P1)
    part = of_smith(april)
    # p1: 133.33 + 15.00 + 5.00 handling = 153.33, VAT 15.33; p2: 12.50 as it is priced now
    assert part["totals"] == {"invoiced": "168.66", "pending": "12.50", "total": "181.16"}
    (invoice,) = part["invoices"]
    assert {name: invoice[name] for name in ("number", "became", "total", "tax", "due")} == {
        "number": "MIC-2021-00001",
        "became": "issued",
        "total": "168.66",
        "tax": "15.33",
        "due": "148.66",  # without the 20.00 that it drew
    }
    assert invoice["adjustments"] == [
        {"rule": "handling", "kind": "fee", "worked_on": "", "amount": "5.00"}
    ]
    assert [(line["charge"], line["item"], line["total"]) for line in invoice["lines"]] == [
        ("MIC/u1", "Microscope", "133.33"),
        ("MIC/u2", "Slide", "15.00"),
    ]
    assert invoice["lines"][1]["expense_codes"] == [
        {"expense_code": "A", "percent": "60", "amount": "9.00"},
        {"expense_code": "B", "percent": "40", "amount": "6.00"},
    ]
    (pending,) = part["pending"]
    assert (pending["project"], pending["total"]) == ("p2", "12.50")
    assert [line["charge"] for line in pending["lines"]] == ["MIC/u3"]
    assert amounts(part["by_project"]) == {"p1": ("168.66", "0.00"), "p2": ("0.00", "12.50")}
    assert amounts(part["by_user"]) == {
        "ann": ("133.33", "0.00"),
        "bob": ("15.00", "0.00"),
        "eve": ("0.00", "12.50"),
    }
    assert part["beside_lines"]["invoiced"] == "20.33"  # handling and VAT
    assert part["prepaid"]["invoiced"] == "20.00"
    for rows, beside in (
        (part["by_project"], None),
        (part["by_user"], part["beside_lines"]),
        (part["by_expense_code"], part["prepaid"]),
    ):
        every = [*rows, *([beside] if beside else [])]
        for name in ("invoiced", "pending", "total"):
            assert sum(cents(row[name]) for row in every) == cents(part["totals"][name])


def cents(text: str) -> int:
    return to_minor(Decimal(text), 2)


def test_drafts_costs_reasons_and_other_labs_are_not_in_it(april: Engine, tmp_path: Path) -> None:
    adjust_charge(april, RULED_BOOK, "MIC/u2", {"quantity": "10"}, "they were rude")
    issue_here(april, RULED_BOOK, APRIL, tmp_path, ONLY_P1)
    make_run(april, RULED_BOOK, APRIL, RunScope())
    listing = read_listing(april, BOOKS, "smith", "2020-04")
    text = json.dumps(listing) + render_listing(listing)
    for hidden in ("cost", "rude", "p3", "joe", "MIC/u4", "MIC-2020-04-2", "OPEN", "login"):
        assert hidden not in text, hidden
    assert "7.70" not in text  # 10 slides at a cost of 0.77
    assert [it["number"] for it in of_smith(april)["invoices"]] == ["MIC-2021-00001"]


def test_the_listing_of_a_department_has_the_labs_below_it(april: Engine, tmp_path: Path) -> None:
    issue_here(april, RULED_BOOK, APRIL, tmp_path, ONLY_P1)
    listing = read_listing(april, BOOKS, "dept", "2020-04")
    (part,) = listing["facilities"]
    assert listing["team"] == {"code": "dept", "name": "Department"}
    assert part["teams"] == [{"code": "smith", "name": "Smith Lab"}]
    smith = of_smith(april)
    for name in ("invoices", "pending", "totals"):
        assert part[name] == smith[name]


def test_what_was_replaced_is_void_or_is_closed_counts_nowhere(
    april: Engine, tmp_path: Path
) -> None:
    issue_here(april, RULED_BOOK, APRIL, tmp_path, RunScope(projects=("p1", "p2")))
    before = of_smith(april)["totals"]
    assert before == {"invoiced": "187.91", "pending": "0.00", "total": "187.91"}

    reissue(april, RULED_BOOK, "MIC-2021-00001", "the wrong quantity")
    assert of_smith(april)["totals"] == before  # its copies are no second time to be paid
    adjust_charge(april, RULED_BOOK, "MIC/u2~2", {"quantity": "4"}, "four of them")
    with writing(april) as connection:
        prepared = prepare_run(connection, RULED_BOOK, "MIC-2020-04-2", RunScope(), [])
    issue_prepared(april, RULED_BOOK, prepared, tmp_path)
    void(april, RULED_BOOK, "MIC-2021-00002", "never used", reopen=True)
    pay(april, RULED_BOOK, ["MIC-2021-00003"], "2021-02-01", "transfer 8812")
    part = of_smith(april)
    assert {it["number"]: (it["became"], len(it["lines"])) for it in part["invoices"]} == {
        "MIC-2021-00001": ("replaced by MIC-2021-00003", 0),
        "MIC-2021-00002": ("void", 0),
        "MIC-2021-00003": ("paid on 2021-02-01", 2),
    }
    # 133.33 + 5.00 + 5.00, VAT 14.33; the void one's slides are free again
    assert part["totals"] == {"invoiced": "157.66", "pending": "12.50", "total": "170.16"}

    with writing(april) as connection:
        free = prepare(connection, RULED_BOOK, APRIL, RunScope(projects=("p2",)))
    change_invoices(april, RULED_BOOK, "close", free.codes, "never to be billed")
    assert of_smith(april)["totals"]["pending"] == "0.00"


def test_a_month_without_anything(april: Engine) -> None:
    listing = read_listing(april, BOOKS, "smith", "2019-02")
    (part,) = listing["facilities"]
    assert (part["invoices"], part["pending"], part["by_user"]) == ([], [], [])
    assert part["totals"]["total"] == "0.00"
    assert "No invoice was issued for this month." in render_listing(listing)


def test_a_team_that_no_price_book_has(april: Engine) -> None:
    with pytest.raises(UnknownTeam, match="no price book has the team 'none'"):
        read_listing(april, BOOKS, "none", "2020-04")
    with pytest.raises(UnknownTeam, match="the price book of MIC has no team 'none'"):
        read_listing(april, BOOKS, "none", "2020-04", "MIC")


def test_two_facilities_stand_one_below_the_other_and_one_alone_is_the_same(
    april: Engine, tmp_path: Path
) -> None:
    other = price_book(
        RULED.replace("code: MIC", "code: NF").replace("name: Microscopy", "name: NF")
    )
    load_files(april, other, [usage_file(tmp_path, USAGE)], nothing)
    rate_period(april, other, APRIL)
    books = {"NF": other, **BOOKS}
    both = read_listing(april, books, "smith", "2020-04")
    assert [part["code"] for part in both["facilities"]] == ["MIC", "NF"]
    for part in both["facilities"]:
        alone = read_listing(april, books, "smith", "2020-04", part["code"])
        assert alone["facilities"] == [part]
