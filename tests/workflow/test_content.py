"""Contents that are signed off, approved and frozen: what was written past the library is found.

Each slip is SQL as an operator writes it, with the guards off where they would refuse it.
"""

import json
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sample_facility import BOOK, nothing, price_book, usage_file
from sample_issuing import issue_here, issue_prepared
from sqlalchemy import Engine, make_url, text

from billing_lib.errors import NotPermitted, NotReady
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import triggers
from billing_lib.ledger.database import operating_system_login, reading, writing
from billing_lib.ledger.events import chain_head, check_chain, check_chains, read_events
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rates import Rate
from billing_lib.workflow.adjust import adjust_charge
from billing_lib.workflow.approve import approve, prepare
from billing_lib.workflow.lines import NewLine, add_charge_line
from billing_lib.workflow.load import load_files
from billing_lib.workflow.notes import write_note
from billing_lib.workflow.permissions import note_facility
from billing_lib.workflow.price import gather, replace_charges
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.review import MonthData, read_month_data
from billing_lib.workflow.runs import RunScope, require_ready, sign_off

APRIL, WHOLE = Period(2020, 4), RunScope()
RUN = "MIC-2020-04-1"


@pytest.fixture
def rated(ledger: Engine, tmp_path: Path) -> Engine:
    """April: u1 133.33 and u2 15.00 of p1, u3 12.50 of p2, and a line of 75.00."""
    load_files(ledger, price_book(), [usage_file(tmp_path)], nothing)
    rate_period(ledger, price_book(), APRIL)
    stated = {"project": "p2", "date": "2020-04-30", "description": "Training", "amount": "75.00"}
    line = NewLine.parse(stated | {"expense_code": None}, price_book())
    add_charge_line(ledger, price_book(), line, "as agreed")
    return ledger


def past_the_guards(ledger: Engine, *statements: str) -> None:
    with writing(ledger) as connection:
        triggers.remove(connection)
        for statement in statements:
            connection.execute(text(statement))
        triggers.install(connection)


def priced_again(ledger: Engine, book: PriceBook) -> None:
    """Amounts that fit what now stands beside the charges, as a careful forger makes them."""
    with writing(ledger) as connection:
        charges = ledger_charges.read_charges(connection, "MIC", "2020-04")
        priced = gather(connection, book, charges).price()
        replace_charges(connection, "MIC", priced, charges["charge"])


def refused(ledger: Engine, folder: Path, says: str) -> None:
    with pytest.raises(NotReady, match=says):
        issue_here(ledger, price_book(), APRIL, folder)
    with reading(ledger) as connection:
        assert connection.scalar(text("SELECT count(*) FROM issuing")) == 0


def test_a_total_that_no_pricing_gave_is_not_issued(rated: Engine, tmp_path: Path) -> None:
    with writing(rated) as connection:
        connection.execute(text("UPDATE charge SET raw_total = 2, total = 2 WHERE charge = 'u2'"))
    refused(rated, tmp_path, "the first of them MIC/u2")


def test_a_line_is_issued_as_it_was_added(rated: Engine, tmp_path: Path) -> None:
    with writing(rated) as connection:
        line = "charge = 'line-2020-04-1'"
        connection.execute(text(f"UPDATE charge SET raw_total = 2, total = 2 WHERE {line}"))
        connection.execute(text(f"UPDATE charge_split SET amount = 2 WHERE {line}"))
    refused(rated, tmp_path, "MIC/line-2020-04-1 cannot be issued: its amount is not that of")


def test_a_rate_that_the_price_book_did_not_give_is_not_issued(
    rated: Engine, tmp_path: Path
) -> None:
    book = price_book()
    cheap = next(each for each in book.rates if each.item == "slide").model_copy(
        update={"price": next(each for each in book.rates if each.item == "slide").price / 100}
    )
    assert Rate.model_validate_json(cheap.body).fingerprint == cheap.fingerprint
    with writing(rated) as connection:
        ledger_charges.keep_rates(connection, "MIC", [(cheap.fingerprint, cheap.body)])
        given = f"UPDATE charge SET rate = '{cheap.fingerprint}' WHERE charge = 'u2'"
        connection.execute(text(given))
    priced_again(rated, book)
    refused(rated, tmp_path, "MIC/u2 cannot be issued: the price book gave no such rate")


def test_a_rate_that_is_not_what_its_name_says_is_not_issued(rated: Engine, tmp_path: Path) -> None:
    with reading(rated) as connection:
        body = next(
            each
            for each in ledger_charges.read_rates(connection, "MIC")["body"]
            if json.loads(each)["item"] == "slide"
        )
    fingerprint = Rate.model_validate_json(body).fingerprint
    other = json.dumps(json.loads(body) | {"price": "0.01"})
    past_the_guards(rated, f"UPDATE rate SET body = '{other}' WHERE fingerprint = '{fingerprint}'")
    refused(rated, tmp_path, "MIC/u|price book")


def test_usage_is_issued_as_its_file_was_loaded(rated: Engine, tmp_path: Path) -> None:
    past_the_guards(rated, "UPDATE usage_record SET quantity = '1' WHERE record = 'u2'")
    priced_again(rated, price_book())
    refused(rated, tmp_path, "cannot be issued: the usage of its file is not as it was loaded")


def test_usage_that_is_added_to_a_file_is_not_issued(rated: Engine, tmp_path: Path) -> None:
    columns = (
        'facility, occurrence, item, project, "user", date, quantity, file, row, period,'
        " file_sha256"
    )
    past_the_guards(
        rated,
        f"INSERT INTO usage_record (record, {columns}) SELECT 'x', {columns} FROM usage_record"
        " WHERE record = 'u2'",
    )
    rate_period(rated, price_book(), APRIL)
    refused(rated, tmp_path, "cannot be issued: the usage of its file is not as it was loaded")


@pytest.mark.parametrize("change", ["split", "note"])
def test_a_month_is_signed_off_with_its_content(rated: Engine, change: str) -> None:
    """25.00 that go to another code leave count and total as they were."""
    book = price_book(BOOK.replace("  issue: scheduled\n", ""))
    sign_off(rated, book, "2020-04")
    with reading(rated) as connection:
        require_ready(connection, book, "2020-04")
    if change == "split":
        adjust_charge(
            rated, book, "MIC/u3", {"split": [{"expense_code": "Z", "percent": "100"}]}, "moved"
        )
    else:
        write_note(rated, book, "2020-04", "p1", "Thanks")
    with reading(rated) as connection, pytest.raises(NotReady, match="with the same total, but a"):
        require_ready(connection, book, "2020-04")
    sign_off(rated, book, "2020-04")
    with reading(rated) as connection:
        require_ready(connection, book, "2020-04")


def me(ledger: Engine) -> str:
    if ledger.dialect.name == "sqlite":
        return operating_system_login()
    return str(make_url(ledger.url).username)


def reviewed_by(login: str) -> PriceBook:
    approval = f"  issue: scheduled\n  approval: {{reviewers: [{login}]}}\n"
    return price_book(BOOK.replace("  issue: scheduled\n", approval))


def test_an_approval_is_of_whose_turn_it_is(rated: Engine, tmp_path: Path) -> None:
    book, by_hand = reviewed_by("bob"), text("UPDATE invoice SET step = 1")
    with writing(rated) as connection:
        note_facility(connection, book)
        prepare(connection, book, APRIL, WHOLE)
    if rated.dialect.name == "postgresql":
        with pytest.raises(NotPermitted, match="is the turn of bob"), writing(rated) as connection:
            connection.execute(by_hand)
        return
    with writing(rated) as connection:
        connection.execute(by_hand)
    with writing(rated) as connection:
        ready = prepare(connection, book, APRIL, WHOLE)
    assert len(ready.codes) == 2
    with pytest.raises(NotReady, match="was approved by nobody, and it is the turn of bob"):
        issue_prepared(rated, book, ready, tmp_path)


def test_other_reviewers_are_confirmed_by_an_administrator(rated: Engine, tmp_path: Path) -> None:
    with writing(rated) as connection:
        note_facility(connection, reviewed_by("bob"))
        ready = prepare(connection, price_book(BOOK), APRIL, WHOLE)
    refusal = "states another approval than its administrators have confirmed"
    with pytest.raises(NotReady, match=refusal):
        issue_prepared(rated, price_book(BOOK), ready, tmp_path)


def test_an_approval_is_of_the_content(rated: Engine, tmp_path: Path) -> None:
    book = reviewed_by(me(rated))
    with writing(rated) as connection:
        note_facility(connection, book)
        prepare(connection, book, APRIL, WHOLE)
    codes = [f"{RUN}/p1", f"{RUN}/p2"]
    with writing(rated) as connection:
        ready = approve(connection, book, RUN, codes, "")
        seen = read_events(connection, "MIC", kinds=["approve"])["after"]
    assert all(len(json.loads(each)["content"]) == 64 for each in seen)
    past_the_guards(rated, "UPDATE charge SET description = 'other' WHERE charge = 'u2'")
    with pytest.raises(NotReady, match=f"{RUN}/p1 is not as {me(rated)} approved it"):
        issue_prepared(rated, book, ready, tmp_path)


def test_nothing_is_issued_on_a_broken_chain(rated: Engine, tmp_path: Path) -> None:
    past_the_guards(rated, "UPDATE event SET reason = 'x' WHERE sequence = 3")
    refused(rated, tmp_path, "the chain of events is broken: MIC, event 3: its content is not")


def test_the_last_hash_is_in_the_record_and_the_chain_is_checked_from_there(
    rated: Engine, tmp_path: Path
) -> None:
    with reading(rated) as connection:
        before = chain_head(connection, "MIC")
    issue_here(rated, price_book(), APRIL, tmp_path)
    texts = next(tmp_path.glob("**/texts.parquet"))
    import polars as pl  # noqa: PLC0415

    chain = dict(pl.read_parquet(texts).iter_rows())["chain"]
    sequence, last = chain.split(" ")
    with reading(rated) as connection:
        events = read_events(connection, "MIC")
    assert events.filter(sequence=int(sequence))["hash"].to_list() == [last]
    assert int(sequence) > before[0]
    past_the_guards(rated, "UPDATE event SET reason = 'x' WHERE sequence = 2")
    with reading(rated) as connection:
        assert check_chain(connection, "MIC", after=int(sequence)) == []
        assert check_chain(connection, "MIC") == [
            "MIC, event 2: its content is not what was recorded"
        ]


def test_time_that_runs_backwards_is_found(rated: Engine) -> None:
    with reading(rated) as connection:
        assert check_chains(connection) == {"MIC": []}
    past_the_guards(rated, "UPDATE event SET at = '2001-01-01T00:00:00.000000Z' WHERE sequence = 3")
    with reading(rated) as connection:
        found = check_chains(connection)["MIC"]
        assert "MIC, event 3: its time is before that of the event before it" in found
        assert not any("time" in each for each in check_chain(connection, "MIC", times=False))


@pytest.mark.parametrize(
    ("project", "corrected", "whole"),
    [("p1", None, ["u3"]), ("p2", None, ["u1", "u2"]), ("p1", "u1", ["u1", "u3"])],
)
def test_a_frozen_month_is_read_as_it_was(
    rated: Engine, tmp_path: Path, project: str, corrected: str | None, whole: list[str]
) -> None:
    with reading(rated) as connection:
        month = read_month_data(connection, price_book(), APRIL)
        billed = ledger_charges.read_charges(connection, "MIC", "2020-04", project)
        usage = gather(connection, price_book(), billed).usage
    # As if the usage of a charge had no user, which staff have stated.
    user = pl.when(pl.col("charge").ne_missing(corrected)).then("user")
    usage.with_columns(user).write_parquet(tmp_path / "usage.parquet")
    month.write(tmp_path)
    again = MonthData.read(tmp_path)
    for name in ("charges", "stated", "shares", "unbilled", "changes"):
        assert_frame_equal(getattr(again, name), getattr(month, name))
    # What the snapshot's usage has in common with a charge is not written again.
    written = pl.read_parquet(tmp_path / "review_charges.parquet")
    charges = [f"MIC/{each}" for each in ("line-2020-04-1", *whole)]
    assert written.drop_nulls("project")["charge"].to_list() == charges


@pytest.mark.parametrize("scope", [WHOLE, RunScope(projects=("p1",))])
def test_a_month_just_calculated_is_frozen_as_it_stands_in_the_ledger(
    rated: Engine, tmp_path: Path, scope: RunScope
) -> None:
    head = "id,item,project,user,start,end,quantity"
    row = "q1,scope,p1,ann,2020-04-14T08:00:00Z,2020-04-14T09:00:00Z,2"
    (tmp_path / "stated.csv").write_text(f"{head}\n{row}\n")
    load_files(rated, price_book(), [tmp_path / "stated.csv"], nothing)
    rate_period(rated, price_book(), APRIL)
    with writing(rated) as connection:
        calculated = prepare(connection, price_book(), APRIL, scope).submitted
        known = read_month_data(connection, price_book(), APRIL, calculated=calculated)
        read = read_month_data(connection, price_book(), APRIL)
    assert read.stated["charge"].to_list() == ["MIC/q1"]
    for name in ("charges", "stated", "shares", "unbilled", "changes"):
        assert_frame_equal(getattr(known, name), getattr(read, name))
