"""The general-ledger journal: posted once, balanced, and taken by hledger and bean-check."""

import csv
import datetime as dt
import subprocess
import sys
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from dialects import ON_SQLITE
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_facility import BOOK, nothing, price_book, usage_file
from sample_issuing import issue_here, issue_prepared
from sqlalchemy import Engine

from billing_lib.documents.journal import FORMATS, account_name, render_journal
from billing_lib.errors import InvalidPriceBook, UnknownJournal, UnknownRun
from billing_lib.ledger import invoices
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import check_chain, read_events
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import Accounts
from billing_lib.workflow.adjust import adjust_charge
from billing_lib.workflow.after_issue import deposit, reissue, void
from billing_lib.workflow.approve import prepare_run
from billing_lib.workflow.journal import (
    Journal,
    Selection,
    list_journals,
    post_invoices,
    post_journal,
    read_journal,
    reverse_invoices,
)
from billing_lib.workflow.lines import credit_invoice
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.runs import RunScope

APRIL, MAY = Period(2020, 4), Period(2020, 5)
ONE, TWO, THREE = (f"MIC-2021-0000{at}" for at in (1, 2, 3))

ODD = 'Ünïts; "7" \\ (a:b)  *'
"""An expense code that no tool's account could be called."""

JOURNAL = """  journal:
    credit: "4500-{facility}"
    items: {slide: "4510"}
    prepaid: "2400-{project}"
    columns:
      Date: "{month}/{day}/{year}"
      Account: "{account}"
      Amount: "{amount}"
      Ledger: ACTUALS
      Text: "{description} ({side})"
"""
TAXED = BOOK.replace(
    "rate_group: internal}]", "rate_group: internal, tax: {name: T, percent: '7'}}]"
)
HERE = price_book(
    TAXED.replace("  issue:", f"{JOURNAL}  issue:").replace(
        "expense_code: B", f"expense_code: '{ODD}'"
    )
)


@pytest.fixture
def april(ledger: Engine, tmp_path: Path) -> Engine:
    """April issued: ONE of p1, 158.71 of which 30.00 is prepaid; TWO of p2, 13.38."""
    load_files(ledger, HERE, [usage_file(tmp_path)], nothing)
    rate_period(ledger, HERE, APRIL)
    deposit(ledger, HERE, "p1", "30.00", "purchase order 4711")
    assert list(issue_here(ledger, HERE, APRIL, tmp_path)) == [ONE, TWO]
    return ledger


def hledger(text: str, folder: Path, *words: str) -> str:
    path = folder / "checked.journal"
    path.write_text(text, encoding="utf-8")
    command = ["hledger", "-f", path, *words]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    return told.stdout


def accepted(journal: Journal, folder: Path) -> dict[str, str]:
    """A journal's balances by account, as hledger tells them, once both tools have taken it."""
    text = render_journal(journal, "hledger")
    hledger(text, folder, "check", "--strict")
    path = folder / "checked.beancount"
    path.write_text(render_journal(journal, "beancount"), encoding="utf-8")
    bean_check = [Path(sys.executable).with_name("bean-check"), path]
    told = subprocess.run(bean_check, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    rows = csv.reader(StringIO(hledger(text, folder, "balance", "-O", "csv", "--layout=bare")))
    return {account: amount for account, _, amount in list(rows)[1:]}


def counting(ledger: Engine) -> int:
    """What the invoices that count come to."""
    with reading(ledger) as connection:
        return int(invoices.read_issued(connection, active=True)["total"].sum())


def test_what_is_issued_is_posted_once_and_what_is_undone_is_taken_back_once(
    april: Engine, tmp_path: Path
) -> None:
    preview = read_journal(april, HERE)
    assert preview.postings.select("invoice", "role", "account", "amount").rows() == [
        (ONE, "expense", "A", 7723),  # 60 % of 158.71 - 30.00
        (ONE, "expense", ODD, 5148),
        (ONE, "prepaid", "2400-p1", 3000),
        (ONE, "income", "4500-MIC", -13333),
        (ONE, "income", "4510", -1500),
        (ONE, "tax", "MIC-tax", -1038),
        (TWO, "expense", "C", 1338),
        (TWO, "income", "4510", -1250),
        (TWO, "tax", "MIC-tax", -88),
    ]
    first = post_journal(april, HERE)
    assert first is not None
    assert (first.number, first.sentence) == (1, "2 transactions, 172.09 USD debited")
    assert first.postings.drop("journal").equals(preview.postings.drop("journal"))
    assert post_journal(april, HERE) is None
    assert read_journal(april, HERE).postings.height == 0
    assert accepted(first, tmp_path)["Income:4500-MIC"] == "-133.33"
    before = {kind: render_journal(first, kind) for kind in FORMATS}

    void(april, HERE, TWO, "not theirs")
    reissue(april, HERE, ONE, "two slides broke")
    adjust_charge(april, HERE, "MIC/u2~2", {"quantity": "10"}, "two broke")
    with writing(april) as connection:
        prepared = prepare_run(connection, HERE, "MIC-2020-04-2", RunScope(), [])
        replacing = pl.DataFrame({"invoice": [ONE], "number": [THREE]})
        back = reverse_invoices(connection, HERE, replacing, dt.date(2021, 2, 1))
    assert list(issue_prepared(april, HERE, prepared, tmp_path, dt.date(2021, 2, 1))) == [THREE]
    credit_invoice(april, HERE, THREE, "20.00", "overcharged", date="2020-05-04")
    rate_period(april, HERE, MAY)
    issue_here(april, HERE, MAY, tmp_path, date=dt.date(2021, 2, 2))

    run = post_journal(april, HERE, Selection(run="MIC-2020-04-2"))
    assert run is not None
    assert run.postings.select("date", "invoice", "kind", "run").unique(
        maintain_order=True
    ).rows() == [
        (dt.date(2021, 2, 1), ONE, "reversal", "MIC-2020-04-2"),
        (dt.date(2021, 2, 1), THREE, "issue", "MIC-2020-04-2"),
    ]
    # A record's evidence has, before the reissue is in the ledger, what is then posted.
    assert (
        run.postings.filter(kind="reversal")
        .select(back.drop("number").columns)
        .equals(back.drop("number"))
    )
    february = post_journal(april, HERE, Selection(until=dt.date(2021, 2, 28)))
    assert february is not None
    assert set(february.postings["run"]) == {"MIC-2020-05-1"}
    last = post_journal(april, HERE)
    assert last is not None
    assert last.postings.select("invoice", "kind").unique().rows() == [(TWO, "reversal")]
    assert min(last.postings["date"]) > dt.date(2021, 1, 4)  # when it was voided, not issued
    assert list_journals(april, HERE).select("journal", "invoices", "reversals").rows() == [
        (1, 2, 0),
        (2, 1, 1),
        (3, 2, 0),  # of p1, below zero, and of p2
        (4, 0, 1),
    ]

    # All that was posted is what counts now; and no earlier journal reads otherwise than it did.
    every = read_journal(april, HERE, posted=True)
    totals = accepted(every, tmp_path)
    assert totals["total"] == "0"
    assert sum(
        every.postings.filter(pl.col("role").is_in(["income", "tax"]))["amount"]
    ) == -counting(april)
    other = price_book(BOOK)  # its accounts and columns do not reach what is posted
    assert {kind: render_journal(read_journal(april, other, 1), kind) for kind in FORMATS} == before
    with reading(april) as connection:
        assert check_chain(connection, "MIC") == []
        assert read_events(connection, "MIC", kinds=["journal"])["subject"].to_list() == [
            f"journal {number}" for number in (1, 2, 3, 4)
        ]
        lives = invoices.read_invoices(connection, "MIC")
    assert set(lives["state"]) == {"VOID", "SUPERSEDED", "APPROVED"}


@ON_SQLITE
def test_the_csv_has_the_columns_of_the_price_book(april: Engine) -> None:
    text = render_journal(read_journal(april, HERE), "csv")
    rows = list(csv.DictReader(StringIO(text)))
    assert rows[0] == {
        "Date": "01/04/2021",
        "Account": "A",
        "Amount": "77.23",
        "Ledger": "ACTUALS",
        "Text": f"Invoice {ONE}, project p1, 2020-04 (D)",
    }
    assert [row["Account"] for row in rows][1] == ODD
    assert sum(int(row["Amount"].replace(".", "")) for row in rows) == 0
    plain = render_journal(read_journal(april, price_book(TAXED)), "csv").split("\r\n")
    assert plain[0] == "date,account,debit,credit,currency,description,reference,invoice,run"
    end = f'"Invoice {TWO}, project p2, 2020-04",{TWO},{TWO},MIC-2020-04-1'
    assert plain[-4:] == [
        f"2021-01-04,C,13.38,,USD,{end}",
        f"2021-01-04,MIC,,12.50,USD,{end}",
        f"2021-01-04,MIC-tax,,0.88,USD,{end}",
        "",
    ]


@ON_SQLITE
def test_what_there_is_not_is_said(april: Engine) -> None:
    with pytest.raises(UnknownJournal, match="MIC has no journal 7; 'billing journals MIC' lists"):
        read_journal(april, HERE, 7)
    with pytest.raises(UnknownRun, match="no billing run MIC-1"):
        read_journal(april, HERE, selection=Selection(run="MIC-1"))
    with pytest.raises(
        UnknownJournal, match="no format 'sap' of a journal; say csv, hledger, bean"
    ):
        render_journal(read_journal(april, HERE), "sap")


@pytest.mark.parametrize(
    ("slip", "said"),
    [
        (
            'Amount: "{amout}"',
            r"line 16, .*\.columns\.Amount: '{amout}' names the field 'amout', wh",
        ),
        ('Amount: "{amount"', "the braces in '{amount' do not match"),
        ('Amount: "{amount:.2f}"', "must have a field's name alone between braces"),
        ('credit: "{user}"', "names the field 'user', which is unknown here; the fields are fac"),
        ("items: {slip: x}", "the item 'slip' is not defined"),
        ("columns: {}", "'columns' is empty; list at least one"),
    ],
)
def test_a_slip_in_the_journals_keys_is_one_sentence(slip: str, said: str) -> None:
    key = slip.partition(":")[0]
    lines = JOURNAL.split("\n")
    at = next(index for index, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
    lines[at] = lines[at][: len(lines[at]) - len(lines[at].lstrip())] + slip
    if key == "columns":
        del lines[at + 1 : -1]
    with pytest.raises(InvalidPriceBook, match=said):
        price_book(BOOK.replace("  issue:", "\n".join(lines) + "  issue:"))


CODES = st.sampled_from(["A", "a", "370-1", "370:1", "370 1", " ", "x;y", '"', ODD, "—"])


@st.composite
def drawn_journal(draw: st.DrawFn) -> Journal:
    """Invoices of any sign, with and without tax and prepaid funds, some taken back."""
    currency = draw(st.sampled_from(["USD", "JPY", "KWD"]))
    amount = st.integers(-(10**11), 10**11)
    rows, splits, items = [], [], []
    for at in range(draw(st.integers(1, 4))):
        number = f"F-{at}"
        shares = draw(st.dictionaries(CODES, amount, max_size=4))
        prepaid = draw(st.none() | st.integers(0, 10**9))
        total = sum(shares.values()) + (prepaid or 0)
        row = {
            "facility": "F",
            "project": draw(CODES),
            "team": "t",
            "period": "2020-04",
            "currency": currency,
            "tax": draw(st.none() | amount),
            "total": total,
            "prepaid": prepaid,
            "invoice": number,
            "run": "F-1",
            "reference": number,
            "description": f"Invoice {number} of {draw(CODES)}",
            "journal": None,
        }
        rows.append({**row, "date": dt.date(2021, 1, 4), "kind": "issue"})
        if draw(st.booleans()):
            rows.append({**row, "date": dt.date(2021, 2, 4), "kind": "reversal"})
        splits += [{"invoice": number, "expense_code": it, "amount": shares[it]} for it in shares]
        items += [{"invoice": number, "item": it, "total": draw(amount)} for it in ("i", "j")]
    accounts = Accounts(items=draw(st.sampled_from([{}, {"i": "1"}, {"i": "1", "j": "1"}])))
    numbers = {"tax": pl.Int64, "prepaid": pl.Int64, "journal": pl.Int32}
    parts = {"invoice": pl.String, "expense_code": pl.String, "amount": pl.Int64}
    postings = post_invoices(
        pl.DataFrame(rows, schema_overrides=numbers),
        pl.DataFrame(splits, schema=parts),
        pl.DataFrame(items),
        accounts,
    )
    return Journal("F", None, currency, dict(accounts.columns), postings)


@given(journal=drawn_journal())
@settings(max_examples=150, deadline=None)
def test_every_transaction_comes_to_zero_in_every_format(journal: Journal) -> None:
    sums = journal.postings.group_by("invoice", "kind").agg(pl.col("amount").sum())
    assert not sums.filter(pl.col("amount") != 0).height
    undone = journal.postings.filter(
        pl.col("invoice").is_in(
            journal.postings.filter(pl.col("kind") == "reversal")["invoice"].implode()
        )
    )
    per_account = undone.group_by("invoice", "role", "account").agg(pl.col("amount").sum())
    assert not per_account.filter(pl.col("amount") != 0).height
    rows = list(csv.DictReader(StringIO(render_journal(journal, "csv"))))
    places = {"USD": 2, "JPY": 0, "KWD": 3}[journal.currency]
    for row in rows:
        text = row["debit"] or row["credit"]
        assert len(text.partition(".")[2]) == places
        assert bool(row["debit"]) != bool(row["credit"])
    debit, credit = (
        sum(int(row[side].replace(".", "") or 0) for row in rows) for side in ("debit", "credit")
    )
    assert debit == credit
    names = {
        (role, account): account_name(role, account)
        for role, account in journal.postings.select("role", "account").unique().iter_rows()
    }
    assert len({(role, name) for (role, _), name in names.items()}) == len(names)


@pytest.mark.parametrize("currency", ["USD", "JPY", "KWD"])
def test_the_tools_take_whatever_is_drawn(currency: str, tmp_path: Path) -> None:
    drawn: list[Journal] = []

    @given(journal=drawn_journal().filter(lambda it: it.currency == currency))
    @settings(max_examples=12, deadline=None, derandomize=True, database=None)
    def collect(journal: Journal) -> None:
        drawn.append(journal)

    collect()
    numbered = [
        it.postings.with_columns(invoice=pl.format("{}-{}", "invoice", pl.lit(at)))
        for at, it in enumerate(drawn)
    ]
    journal = Journal("F", None, currency, drawn[0].columns, pl.concat(numbered))
    assert accepted(journal, tmp_path)["total"] == "0"
