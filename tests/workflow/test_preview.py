"""A preview is what is issued afterwards, but for number, date and run; it writes nothing."""

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sample_facility import BOOK, HEADER, nothing, price_book, usage_file
from sample_issuing import issue_here, issue_prepared
from sample_logins import hand_over
from sqlalchemy import Engine

from billing_lib.errors import NotPermitted, NotReady, UnknownInvoice
from billing_lib.ledger import charges, invoices
from billing_lib.ledger.database import reading, writing
from billing_lib.pricing.clock import Period
from billing_lib.workflow.adjust import adjust_charge
from billing_lib.workflow.after_issue import deposit, reissue
from billing_lib.workflow.approve import change_invoices, prepare, prepare_run
from billing_lib.workflow.invoice import Invoice
from billing_lib.workflow.issue import facility_of, preview_draft, preview_invoices
from billing_lib.workflow.lines import NewLine, add_charge_line
from billing_lib.workflow.load import load_files
from billing_lib.workflow.notes import write_note
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.runs import RunScope, calculate, open_run, take_in

APRIL, MAY = Period(2020, 4), Period(2020, 5)
TAXED = price_book(
    BOOK.replace("rate_group: internal}", "rate_group: internal, tax: {name: City, percent: '10'}}")
    + """
rules:
  - {name: handling, scope: invoice, kind: fee, amount: "2.00"}
"""
)
ONLY_ISSUING_GIVES = ("number", "invoice_date", "run", "draft")
P1, P2, PO = "MIC-2020-05-1/p1", "MIC-2020-05-1/p2", "PO 4711"


def line(project: str, amount: str, description: str) -> NewLine:
    said = {"facility": "MIC", "project": project, "date": "2020-05-20", "amount": amount}
    return NewLine.parse(said | {"description": description, "expense_code": None}, TAXED)


@pytest.fixture
def drafted(ledger: Engine, tmp_path: Path) -> str:
    """The run of May as drafts: a late charge, a waived one, notes, a credit, an ad hoc invoice,
    and prepaid funds that are not enough; April is issued."""
    load_files(ledger, TAXED, [usage_file(tmp_path)], nothing)
    rate_period(ledger, TAXED, APRIL)
    issue_here(ledger, TAXED, APRIL, tmp_path)
    later = "u7,slide,p2,bob,,,2020-04-30,2\nu8,slide,p2,bob,,,2020-05-03,8\n"
    load_files(ledger, TAXED, [usage_file(tmp_path, HEADER + later, "later.csv")], nothing)
    for period in (APRIL, MAY):
        rate_period(ledger, TAXED, period)
    add_charge_line(ledger, TAXED, line("p1", "-75.00", "Credit"), "the outage")
    add_charge_line(ledger, TAXED, line("p2", "60.00", "Training"), "agreed")
    adjust_charge(ledger, TAXED, "MIC/u6", {"quantity": "6"}, "two more")
    adjust_charge(ledger, TAXED, "MIC/u8", {"waived": "yes"}, "they broke")
    write_note(ledger, TAXED, "2020-05", "p2", "Thank you.")
    deposit(ledger, TAXED, "p2", "70.00", "purchase order")
    with writing(ledger) as connection:
        training = "line-2020-05-2"
        draft = {
            "code": PO,
            "facility": "MIC",
            "kind": "ad hoc",
            "reference": PO,
            "period": "2020-05",
        }
        days = {"covers_from": dt.date(2020, 5, 20), "covers_to": dt.date(2020, 5, 20)}
        of = {"project": "p2", "team": "smith", "description": "Training", "run": None}
        rows = pl.DataFrame([draft | days | of], schema_overrides={"run": pl.String})
        invoices.insert_invoices(connection, rows)
        charges.attach_charges(
            connection, "MIC", pl.DataFrame({"charge": [training], "invoice": [PO]})
        )
        calculate(connection, TAXED, [PO])
        run = open_run(connection, TAXED, MAY, RunScope())
        take_in(connection, TAXED, run)
        drafts = invoices.read_invoices(connection, run=run)["code"].to_list()
        calculate(connection, TAXED, drafts)
    return run


def previewed(ledger: Engine, codes: list[str]) -> dict[str, Invoice]:
    with reading(ledger) as connection:  # a transaction that cannot write
        return preview_invoices(connection, TAXED, codes)


def without(bill: Invoice) -> dict[str, Any]:
    return {key: part for key, part in bill.items() if key not in ONLY_ISSUING_GIVES}


def test_what_was_previewed_is_what_is_issued(ledger: Engine, drafted: str, tmp_path: Path) -> None:
    before = previewed(ledger, [P2, PO, P1])
    assert list(before) == [P1, P2, PO]  # the order of their numbers to come
    with writing(ledger) as connection:
        prepared = prepare(connection, TAXED, MAY, RunScope())
    locked = previewed(ledger, prepared.codes)
    issued = issue_prepared(ledger, TAXED, prepared, tmp_path / "issued")
    codes = {row["number"]: row["code"] for row in _of_run(ledger, drafted).iter_rows(named=True)}
    after = {codes[number]: without(bill) for number, bill in issued.items()}
    assert {code: without(bill) for code, bill in before.items()} == after
    assert {code: without(bill) for code, bill in locked.items()} == after


def test_a_preview_shows_late_waived_prepaid_taxed_and_negative(
    ledger: Engine, drafted: str
) -> None:
    drafts = previewed(ledger, [P1, P2, PO])
    credit, monthly, training = drafts[P1], drafts[P2], drafts[PO]
    for code, bill in drafts.items():
        assert (bill["draft"], bill["number"], bill["invoice_date"]) == (code, None, None)
        assert bill["run"] == drafted
    assert {line["charge"]: (line["late"], line["waived"]) for line in monthly["lines"]} == {
        "MIC/u7": ("2020-04", False),
        "MIC/u6": (None, False),
        "MIC/u8": (None, True),
    }
    assert monthly["notes"] == ["Thank you."]
    # 2 and 6 slides at 1.25, 2.00 handling, 10 % tax: 12.00 + 1.20
    assert monthly["totals"]["total"] == "13.20"
    assert monthly["prepaid"] == {"drawn": "13.20", "left": "56.80"}
    # An ad hoc invoice has no handling: 60.00 + 6.00, of which the funds have 56.80 left.
    assert (training["kind"], training["reference"]) == ("ad hoc", PO)
    assert training["totals"]["total"] == "66.00"
    assert training["prepaid"] == {"drawn": "56.80", "left": "0.00"}
    assert training["totals"]["due"] == "9.20"
    assert credit["totals"]["total"] == credit["totals"]["due"] == "-80.30"  # (−75 + 2) × 1.1
    assert credit["prepaid"] is None


def test_a_draft_alone_draws_as_if_it_were_issued_alone(ledger: Engine, drafted: str) -> None:
    training = preview_draft(ledger, TAXED, PO)
    assert training["prepaid"] == {"drawn": "66.00", "left": "4.00"}
    assert facility_of(ledger, PO) == "MIC"


def test_a_reissue_is_previewed_with_what_the_old_invoice_had_drawn(
    ledger: Engine, drafted: str, tmp_path: Path
) -> None:
    with writing(ledger) as connection:
        prepared = prepare(connection, TAXED, MAY, RunScope())
    old = issue_prepared(ledger, TAXED, prepared, tmp_path / "issued")
    (number,) = (number for number, bill in old.items() if bill["totals"]["total"] == "13.20")
    reissue(ledger, TAXED, number, "one broke")
    code = "MIC-2020-05-2/p2"
    adjust_charge(ledger, TAXED, "MIC/u6~2", {"quantity": "5"}, "one broke")
    draft = preview_draft(ledger, TAXED, code)
    assert draft["replaces"] == number
    assert draft["totals"]["total"] == "11.83"  # (2.50 + 6.25 + 2.00) × 1.1
    assert draft["prepaid"] == {"drawn": "11.83", "left": "1.37"}  # of the 13.20 that come back
    with writing(ledger) as connection:
        again = prepare_run(connection, TAXED, "MIC-2020-05-2", RunScope(), [])
    (new,) = issue_prepared(ledger, TAXED, again, tmp_path / "reissued").values()
    assert without(draft) == without(new)


def test_a_draft_that_bills_nothing_is_left_out(ledger: Engine, drafted: str) -> None:
    with writing(ledger) as connection:
        charges.detach_charges(connection, "MIC", pl.Series(["line-2020-05-1"]))
        calculate(connection, TAXED, [P1])
    assert list(previewed(ledger, [P1, P2])) == [P2]
    with pytest.raises(NotReady, match=f"{P1} has no charges and would not be issued"):
        preview_draft(ledger, TAXED, P1)


def test_what_is_no_draft_is_said(ledger: Engine, drafted: str) -> None:
    with pytest.raises(UnknownInvoice, match="there is no draft MIC-2020-05-1/p9 of MIC"):
        previewed(ledger, ["MIC-2020-05-1/p9", P1])
    with pytest.raises(UnknownInvoice, match="there is no draft nowhere"):
        facility_of(ledger, "nowhere")
    with pytest.raises(NotReady, match="MIC-2020-04-1/p1 is issued as invoice MIC-2021-00001"):
        previewed(ledger, ["MIC-2020-04-1/p1"])
    change_invoices(ledger, TAXED, "close", [P1], "settled")
    with pytest.raises(NotReady, match=f"{P1} is CLOSED and will not be issued"):
        previewed(ledger, [P1])


def test_who_has_no_role_sees_no_draft(ledger: Engine, drafted: str) -> None:
    hand_over(ledger, "MIC")
    with pytest.raises(NotPermitted, match="it takes the role viewer"):
        preview_draft(ledger, TAXED, P1)


def _of_run(ledger: Engine, run: str) -> pl.DataFrame:
    with reading(ledger) as connection:
        return invoices.read_invoices(connection, run=run)
