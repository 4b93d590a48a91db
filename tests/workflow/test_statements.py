"""Statements over facilities: what is on them, their rules, what comes later, their payment."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sample_facility import HEADER, nothing, usage_file
from sample_issuing import issue_here
from sample_logins import hand_over
from sample_statements import (
    APRIL,
    MAY,
    books,
    issue_both,
    load_both,
    pay_alone,
    reissue,
    void,
)
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from billing_lib.audit.log import ledger_log
from billing_lib.errors import (
    InvalidAdjustment,
    NotPermitted,
    NotReady,
    UnknownFacility,
    UnknownStatement,
)
from billing_lib.ledger import charges, events, invoices
from billing_lib.ledger import statements as ledger_statements
from billing_lib.ledger.database import reading, writing
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.after_issue import unpay
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.runs import RunScope, calculate
from billing_lib.workflow.statements import (
    generate_statements,
    list_statements,
    pay_statement,
    read_statement,
    statement_json,
    unpay_statement,
)

SMITH, JONES = "smith-2020-04", "jones-2020-04"
DISCOUNT = '\nrules: [{name: courtesy, scope: statement, kind: discount, amount: "3.00"}]\n'


@pytest.fixture
def both(ledger: Engine, tmp_path: Path) -> dict[str, PriceBook]:
    """Two facilities whose April and May are rated."""
    found = books()
    load_both(ledger, found, tmp_path)
    return found


def totals(ledger: Engine, month: str = "2020-04") -> dict[str, tuple[int, str, str]]:
    """Of each statement how many invoices, its total and state; all that they hold ties."""
    with reading(ledger) as connection:
        found = ledger_statements.read_statements(connection, periods=[month])
        ids = found["id"].to_list()
        held = ledger_statements.read_stated(connection, ids)
        changed = ledger_statements.read_statement_adjustments(connection, ids)
    for row in found.iter_rows(named=True):
        here = pl.col("statement") == row["id"]
        assert row["invoices"] == held.filter(here).height
        assert row["raw_total"] == held.filter(here)["total"].sum()
        assert row["adjustment"] == changed.filter(here)["amount"].sum()
    listed = list_statements(ledger, month).select("statement", "invoices", "total", "state")
    return {row[0]: row[1:] for row in listed.iter_rows()}


def numbers(ledger: Engine, both: dict[str, PriceBook], statement_id: str) -> list[str]:
    shown = read_statement(ledger, both, statement_id)
    return [it["number"] for part in shown["facilities"] for it in part["invoices"]]


def states(ledger: Engine, number: str) -> tuple[str, str | None, set[str]]:
    """An invoice's state, the statement that paid it, and its charges' states."""
    with reading(ledger) as connection:
        row = invoices.require_invoice(connection, number)
        held = charges.read_charges(connection, str(row["facility"]), invoices=[str(row["code"])])
    paid_by = row["statement"]
    assert paid_by is None or isinstance(paid_by, str)
    return str(row["state"]), paid_by, set(held["state"])


def kinds(ledger: Engine, facility: str, statement_id: str) -> list[str]:
    with reading(ledger) as connection:
        return events.read_events(connection, facility, subjects=[statement_id])["kind"].to_list()


def test_a_team_has_one_statement_over_facilities_however_often_it_is_generated(
    ledger: Engine, both: dict[str, PriceBook], tmp_path: Path
) -> None:
    nothing_yet = generate_statements(ledger, both, APRIL)
    assert nothing_yet.sentences == ["statements of 2020-04: no invoice counts, nothing changed"]
    issue_here(ledger, both["MIC"], APRIL, tmp_path)
    made = generate_statements(ledger, both, APRIL, ["smith"])
    assert made.changed == [f"{SMITH}: 2 invoices, total 160.83 USD; 2 put on"]
    again = generate_statements(ledger, both, APRIL)
    assert again.sentences == ["statements of 2020-04: nothing changed, 1 unchanged"]

    issue_here(ledger, both["SEQ"], APRIL, tmp_path)
    assert generate_statements(ledger, both, APRIL, ["jones"]).changed == [
        f"{JONES}: 1 invoice, total 20.00 USD; 1 put on"
    ]
    assert totals(ledger)[SMITH] == (2, "160.83", "OPEN")  # not asked for
    assert generate_statements(ledger, both, APRIL, ["smith", "jones"]).changed == [
        f"{SMITH}: 3 invoices, total 190.83 USD; 1 put on"
    ]
    assert generate_statements(ledger, both, APRIL).changed == []
    assert totals(ledger) == {JONES: (1, "20.00", "OPEN"), SMITH: (3, "190.83", "OPEN")}
    assert list_statements(ledger, "2020-04", ["smith"])["facilities"].to_list() == ["MIC, SEQ"]
    assert totals(ledger, "2020-05") == {}
    assert kinds(ledger, "MIC", SMITH) == ["statement_make", "statement_change"]
    assert kinds(ledger, "SEQ", SMITH) == ["statement_change"]

    with pytest.raises(UnknownStatement, match="no invoice of 2020-04 has the team 'smiht'"):
        generate_statements(ledger, both, APRIL, ["smith", "smiht"])
    with pytest.raises(UnknownFacility, match="no price book for the facility 'SEQ'"):
        generate_statements(ledger, {"MIC": both["MIC"]}, APRIL)


def test_what_is_void_or_superseded_goes_and_what_replaces_it_comes(
    ledger: Engine, both: dict[str, PriceBook], tmp_path: Path
) -> None:
    p1, p2, j1, s1 = issue_both(ledger, both, tmp_path)
    generate_statements(ledger, both, APRIL)
    void(ledger, s1)
    void(ledger, j1)
    new = reissue(ledger, both["MIC"], p1, tmp_path)
    assert generate_statements(ledger, both, APRIL).changed == [
        f"{JONES}: 0 invoices, total 0.00 USD; 1 taken off",
        f"{SMITH}: 2 invoices, total 160.83 USD; 1 put on and 2 taken off",
    ]
    assert numbers(ledger, both, SMITH) == [p2, new]
    assert generate_statements(ledger, both, APRIL).changed == []
    with pytest.raises(NotReady, match=f"statement {JONES} has no invoices, so it cannot be paid"):
        pay_statement(ledger, JONES, "2020-06-01", "X")


def test_an_ad_hoc_invoice_counts_too(
    ledger: Engine, both: dict[str, PriceBook], tmp_path: Path
) -> None:
    with writing(ledger) as connection:
        draft = {
            **{"facility": "SEQ", "code": "PO-12", "kind": "ad hoc", "reference": "PO-12"},
            **{"period": "2020-04", "project": "s1", "team": "smith", "description": "a lane"},
            **{"covers_from": APRIL.first_day, "covers_to": APRIL.last_day},
        }
        invoices.insert_invoices(connection, pl.DataFrame([draft]))
        placed = pl.DataFrame({"charge": ["v1"], "invoice": ["PO-12"]})
        charges.attach_charges(connection, "SEQ", placed)
        calculate(connection, both["SEQ"], ["PO-12"])
    issue_here(ledger, both["SEQ"], APRIL, tmp_path)
    generate_statements(ledger, both, APRIL)
    shown = read_statement(ledger, both, SMITH)
    assert [it["kind"] for it in shown["facilities"][0]["invoices"]] == ["ad hoc"]
    assert shown["totals"]["total"] == "30.00"


def test_each_facility_rules_what_is_its_own(ledger: Engine, tmp_path: Path) -> None:
    both = books(
        DISCOUNT,
        """
rules:
  - {name: newcomers, scope: statement, kind: scale, factor: "0.5", tags: [new]}
  - {name: handling, scope: statement, kind: fee, amount: "2.00"}
  - {name: quarter, scope: statement, kind: cap, amount: "70.00", over: quarter, by: team}
""",
    )
    load_both(ledger, both, tmp_path)
    issue_both(ledger, both, tmp_path)
    generate_statements(ledger, both, APRIL)
    smith = read_statement(ledger, both, SMITH)
    assert [part["adjustments"] for part in smith["facilities"]] == [
        [{"rule": "courtesy", "kind": "discount", "amount": "-3.00"}],
        [{"rule": "handling", "kind": "fee", "amount": "2.00"}],
    ]
    assert [part["total"] for part in smith["facilities"]] == ["157.83", "32.00"]
    assert smith["totals"] == {
        **{"invoices": 3, "raw_total": "190.83", "adjustment": "-1.00", "total": "189.83"},
        **{"prepaid": "0.00", "due": "189.83"},
    }
    assert totals(ledger)[JONES] == (1, "12.00", "OPEN")  # half of 20.00, and 2.00

    # April's statement came to 32.00 of SEQ, so that 38.00 of May's 52.00 are left.
    issue_both(ledger, both, tmp_path, MAY)
    generate_statements(ledger, both, MAY)
    may = read_statement(ledger, both, "smith-2020-05")
    assert may["facilities"][1]["adjustments"] == [
        {"rule": "handling", "kind": "fee", "amount": "2.00"},
        {"rule": "quarter", "kind": "cap", "amount": "-14.00"},
    ]
    assert generate_statements(ledger, both, MAY).changed == []

    # What the price book says now is not what April was rated by, until it is rated again.
    changed = books(DISCOUNT.replace("3.00", "4.00"))
    assert generate_statements(ledger, both | {"MIC": changed["MIC"]}, APRIL).changed == []
    rate_period(ledger, changed["MIC"], APRIL, again=True)
    assert generate_statements(ledger, both | {"MIC": changed["MIC"]}, APRIL).changed == [
        f"{SMITH}: 3 invoices, total 188.83 USD; its adjustments have changed"
    ]


def test_what_comes_after_the_payment_is_on_the_next_statement(
    ledger: Engine, both: dict[str, PriceBook], tmp_path: Path
) -> None:
    issue_here(ledger, both["MIC"], APRIL, tmp_path)
    generate_statements(ledger, both, APRIL)
    pay_statement(ledger, SMITH, "2020-06-01", "WIRE 1")
    paid = statement_json(read_statement(ledger, both, SMITH))
    issue_here(ledger, both["SEQ"], APRIL, tmp_path, RunScope(projects=("s1",)))
    assert generate_statements(ledger, both, APRIL).changed == [
        f"{SMITH}-2: 1 invoice, total 30.00 USD; 1 put on"
    ]
    assert generate_statements(ledger, both, APRIL).unchanged == 2
    assert statement_json(read_statement(ledger, both, SMITH)) == paid

    # Two OPEN ones: what comes goes on the last.
    unpay_statement(ledger, SMITH, "the cheque bounced")
    extra = HEADER + "u9,slide,p3,ann,,,2020-04-20,8\n"
    load_files(ledger, both["MIC"], [usage_file(tmp_path, extra, "more.csv")], nothing)
    more = books()["MIC"].model_copy(
        update={"projects": (*both["MIC"].projects, both["MIC"].projects[1].model_copy(
            update={"code": "p3"}
        ))}
    )  # fmt: skip
    rate_period(ledger, more, APRIL)
    issue_here(ledger, more, APRIL, tmp_path)
    generate_statements(ledger, both | {"MIC": more}, APRIL)
    assert totals(ledger) == {SMITH: (2, "160.83", "OPEN"), f"{SMITH}-2": (2, "40.00", "OPEN")}


def test_a_cap_over_months_counts_the_first_statement_of_the_month(
    ledger: Engine, tmp_path: Path
) -> None:
    rule = "{name: c, scope: statement, kind: cap, amount: '135.00', over: fiscal_year}"
    both = books(f"\nrules: [{rule}]\n")
    load_both(ledger, both, tmp_path)
    issue_here(ledger, both["MIC"], APRIL, tmp_path, RunScope(projects=("p2",)))
    generate_statements(ledger, both, APRIL)
    pay_statement(ledger, SMITH, "2020-06-01", "WIRE 1")
    issue_here(ledger, both["MIC"], APRIL, tmp_path)
    generate_statements(ledger, both, APRIL)
    assert totals(ledger)[f"{SMITH}-2"] == (1, "122.50", "OPEN")  # 135.00 - 12.50
    assert generate_statements(ledger, both, APRIL).changed == []


def test_a_statement_is_of_one_currency(ledger: Engine, tmp_path: Path) -> None:
    both = books(currency="JPY")
    second = both["SEQ"].rates[0].model_copy(update={"price": Decimal(1000)})
    both["SEQ"] = both["SEQ"].model_copy(update={"rates": (second,)})
    load_both(ledger, both, tmp_path)
    issue_here(ledger, both["MIC"], APRIL, tmp_path)
    generate_statements(ledger, both, APRIL)
    issue_here(ledger, both["SEQ"], APRIL, tmp_path)
    generate_statements(ledger, both, APRIL)
    assert totals(ledger) == {
        JONES: (1, "2000", "OPEN"),  # the only currency it owes in
        f"{SMITH}-JPY": (1, "3000", "OPEN"),
        SMITH: (2, "160.83", "OPEN"),
    }
    pay_statement(ledger, f"{SMITH}-JPY", "2020-06-01", "X")
    issue_both(ledger, both, tmp_path, MAY)
    generate_statements(ledger, both, MAY)
    assert sorted(totals(ledger, "2020-05")) == ["smith-2020-05-JPY", "smith-2020-05-USD"]


def test_a_statement_locks_its_invoices_and_charges_while_it_is_paid(
    ledger: Engine, both: dict[str, PriceBook], tmp_path: Path
) -> None:
    p1, p2, _, s1 = issue_both(ledger, both, tmp_path)
    generate_statements(ledger, both, APRIL)
    pay_alone(ledger, p2)
    said = pay_statement(ledger, SMITH, "2020-06-01", "WIRE 1")
    assert said == (
        f"statement {SMITH} is paid: 3 invoices, total 190.83 USD; 1 of them were paid before"
    )
    for number in (p1, s1):
        assert states(ledger, number) == ("PAID", SMITH, {"PAID"})
    assert states(ledger, p2) == ("PAID", None, {"PAID"})
    shown = read_statement(ledger, both, SMITH)
    assert shown["payment"] == {"date": "2020-06-01", "reference": "WIRE 1"}
    assert "nothing changed" in pay_statement(ledger, SMITH, "2020-06-01", "WIRE 1")
    with pytest.raises(NotReady, match=f"statement {SMITH} is PAID; 'pay' is for OPEN"):
        pay_statement(ledger, SMITH, "2020-06-01", "WIRE 2")
    stays = pytest.raises(
        DBAPIError, match=r"stays paid|of an invoice that is not paid are not paid"
    )
    with stays, writing(ledger) as connection:
        row = invoices.require_invoice(connection, p1)
        invoices.move_invoices(connection, "MIC", [str(row["code"])], "unpay", "why")

    for number in (p1, p2):
        with pytest.raises(NotReady, match=f"{number} is on statement {SMITH}, which is paid"):
            unpay(ledger, both["MIC"], number, "why")

    with pytest.raises(InvalidAdjustment, match="has no reason"):
        unpay_statement(ledger, SMITH, " ")
    assert unpay_statement(ledger, SMITH, "another's money") == (
        f"statement {SMITH} is not paid: 2 invoices owed again; 1 that were paid by "
        "themselves stay paid"
    )
    for number in (p1, s1):
        assert states(ledger, number) == ("APPROVED", None, {"BILLED"})
    assert states(ledger, p2) == ("PAID", None, {"PAID"})
    with pytest.raises(NotReady, match=f"statement {SMITH} is OPEN; 'unpay' is for PAID"):
        unpay_statement(ledger, SMITH, "again")
    for facility in ("MIC", "SEQ"):
        assert kinds(ledger, facility, SMITH) == [
            *("statement_make", "statement_pay", "statement_unpay")
        ]
        with reading(ledger) as connection:
            assert events.check_chain(connection, facility) == []
            last = events.read_events(connection, facility, subjects=[SMITH]).row(-1, named=True)
        assert last["reason"] == "another's money"
        assert json.loads(last["before"]) == {"state": "PAID"}
    generate_statements(ledger, both, APRIL)
    pay_statement(ledger, SMITH, "2020-06-02", "WIRE 3")
    assert states(ledger, p1)[:2] == ("PAID", SMITH)


def test_what_cannot_be_paid_is_said(
    ledger: Engine, both: dict[str, PriceBook], tmp_path: Path
) -> None:
    _, p2, _, _ = issue_both(ledger, both, tmp_path)
    generate_statements(ledger, both, APRIL)
    wrong: tuple[tuple[tuple[str, str, str], type[Exception], str], ...] = (
        (("nobody-2020-04", "2020-06-01", "X"), UnknownStatement, "there is no statement nobody"),
        ((SMITH, "June", "X"), InvalidAdjustment, "'June' is not a date"),
        ((SMITH, "2020-06-01", " "), InvalidAdjustment, "the payment has no reference"),
    )
    for words, error, sentence in wrong:
        with pytest.raises(error, match=sentence):
            pay_statement(ledger, *words)
    void(ledger, p2)
    with pytest.raises(NotReady, match=f"holds the invoice {p2}, which is VOID; run 'billing st"):
        pay_statement(ledger, SMITH, "2020-06-01", "X")
    generate_statements(ledger, both, APRIL)
    hand_over(ledger, "SEQ", ("viewer", ""))
    with pytest.raises(NotPermitted, match="may not do this in SEQ: it takes the role issuer"):
        pay_statement(ledger, SMITH, "2020-06-01", "X")
    assert totals(ledger)[SMITH] == (2, "178.33", "OPEN")
    with reading(ledger) as connection:
        paid = invoices.read_invoices(connection, states=("PAID",))
    assert paid.height == 0


def test_the_database_keeps_a_paid_statement_as_it_is(
    ledger: Engine, both: dict[str, PriceBook], tmp_path: Path
) -> None:
    p1, _, j1, _ = issue_both(ledger, both, tmp_path)
    issue_both(ledger, both, tmp_path, MAY)
    generate_statements(ledger, both, APRIL, ["smith"])
    p1_p2_s1 = numbers(ledger, both, SMITH)
    wrong = pytest.raises(DBAPIError, match="adjustments make its adjustment")
    with wrong, writing(ledger) as connection:
        connection.execute(text("UPDATE statement SET adjustment = -100, total = total - 100"))
        paid = "SET state = 'PAID', paid_on = '2020-06-01'"
        for number in p1_p2_s1:
            connection.execute(text(f"UPDATE invoice {paid} WHERE number = '{number}'"))
        connection.execute(text(f"UPDATE statement {paid}"))
    pay_statement(ledger, SMITH, "2020-06-01", "X")
    for sql, says in (
        ("UPDATE statement SET invoices = 9", "a paid statement does not change"),
        (f"DELETE FROM statement_invoice WHERE number = '{p1}'", "a paid statement does not"),
        ("DELETE FROM statement", "a statement is kept"),
        (
            "INSERT INTO statement_invoice (number, statement, facility, team, total)"
            f" VALUES ('{j1}', '{SMITH}', 'SEQ', 'jones', 2000)",
            "a paid statement does not change|takes an issued invoice of its team and month",
        ),
    ):
        with pytest.raises(DBAPIError, match=says), writing(ledger) as connection:
            connection.execute(text(sql))


def test_the_canonical_statement(
    ledger: Engine, both: dict[str, PriceBook], tmp_path: Path
) -> None:
    issue_both(ledger, both, tmp_path)
    generate_statements(ledger, both, APRIL)
    shown: dict[str, Any] = read_statement(ledger, both, JONES)
    head = ledger_log(ledger).head
    assert head is not None
    assert shown.pop("log") == head.line
    assert head.size == 2  # of both facilities
    shown["log"] = None
    assert json.loads(statement_json(shown)) == shown
    assert list(json.loads(statement_json(shown))) == sorted(shown)
    invoice = {
        **{"number": "SEQ-2021-00001", "project": "j1", "kind": "periodic", "state": "APPROVED"},
        **{"invoice_date": "2021-01-04", "total": "20.00", "prepaid": "0.00"},
    }
    assert shown == {
        **{"format": "billing-statement/1", "id": JONES, "period": "2020-04", "sequence": 1},
        **{"team": {"code": "jones", "name": "Jones Lab"}, "currency": "USD", "state": "OPEN"},
        **{"payment": None, "log": None},
        "facilities": [
            {
                "facility": {"code": "SEQ", "name": "Sequencing"},
                "invoices": [invoice],
                "adjustments": [],
                **{"raw_total": "20.00", "adjustment": "0.00", "total": "20.00"},
            }
        ],
        "totals": {
            **{"invoices": 1, "raw_total": "20.00", "adjustment": "0.00", "total": "20.00"},
            **{"prepaid": "0.00", "due": "20.00"},
        },
    }
