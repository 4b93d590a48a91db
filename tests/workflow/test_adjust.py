"""Adjusting: every change with who, when, why, before and after, and refused when it cannot be."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sample_facility import BOOK, USAGE, nothing, price_book, usage_file
from sqlalchemy import Engine

from billing_lib.errors import InvalidAdjustment, UnknownCharge
from billing_lib.ledger import charges, events, frames
from billing_lib.ledger.database import reading
from billing_lib.pricing.clock import Period
from billing_lib.workflow.adjust import adjust_charge, delete_charge
from billing_lib.workflow.lines import NewLine, add_charge_line
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.review import explain

BOOKED = price_book()
TIERS = (
    "tiers: {mode: graduated, per: project, "
    'steps: [{up_to: "5", price: "1.25"}, {up_to: null, price: "1.00"}]}'
)


@pytest.fixture
def rated(ledger: Engine, tmp_path: Path) -> Engine:
    load_files(ledger, BOOKED, [usage_file(tmp_path)], nothing)
    rate_period(ledger, BOOKED, Period(2020, 4))
    return ledger


def charge(ledger: Engine, code: str) -> tuple[int, int, int]:
    with reading(ledger) as connection:
        frame = charges.read_charges(connection, "MIC", codes=[code])
    return frame.select("raw_total", "adjustment", "total").row(0)


def parts(ledger: Engine, code: str) -> dict[str, int]:
    with reading(ledger) as connection:
        frame = charges.read_splits(connection, "MIC", codes=[code])
    return dict(frame.select("expense_code", "amount").iter_rows())


@pytest.mark.parametrize(
    ("changes", "expected", "split"),
    [
        ({"quantity": "10"}, (1250, 0, 1250), {"A": 750, "B": 500}),  # 10 x 1.25
        ({"rate": "0.5"}, (600, 0, 600), {"A": 360, "B": 240}),  # 12 x 0.50
        ({"amount": "9.99"}, (1500, -501, 999), {"A": 599, "B": 400}),  # 5.994 and 3.996
        ({"expense_code": "Z"}, (1500, 0, 1500), {"Z": 1500}),
        ({"split": "X=25, Y=75"}, (1500, 0, 1500), {"X": 375, "Y": 1125}),
    ],
)
def test_each_field_prices_the_charge_again(
    rated: Engine, changes: dict[str, str], expected: tuple[int, int, int], split: dict[str, int]
) -> None:
    adjust_charge(rated, BOOKED, "MIC/u2", changes, "agreed")
    assert charge(rated, "u2") == expected
    assert parts(rated, "u2") == split


def test_a_change_keeps_who_when_why_before_and_after(rated: Engine) -> None:
    said = adjust_charge(rated, BOOKED, "MIC/u2", {"quantity": "10"}, "two broke")
    assert said == ["MIC/u2: quantity 12 → 10", "MIC/u2: total 15.00 → 12.50 USD"]
    with reading(rated) as connection:
        event = events.read_events(connection, "MIC", kinds=["adjust"]).row(0, named=True)
    assert (event["subject"], event["reason"], event["team"]) == ("u2", "two broke", "smith")
    assert json.loads(event["before"]) == {"quantity": "12"}
    assert json.loads(event["after"]) == {"quantity": "10"}
    assert event["login"] and event["at"]


def test_the_last_change_of_a_field_wins(rated: Engine) -> None:
    for quantity in ("10", "7", "8"):
        adjust_charge(rated, BOOKED, "MIC/u2", {"quantity": quantity}, "counted again")
    adjust_charge(rated, BOOKED, "MIC/u2", {"rate": "2"}, "and dearer")
    assert charge(rated, "u2") == (1600, 0, 1600)  # 8 x 2.00


def test_an_added_line_is_a_charge_of_its_project(rated: Engine) -> None:
    stated = {
        "project": "p2",
        "date": "2020-04-30",
        "description": "Training",
        "amount": "75.00",
        "expense_code": None,
    }
    line = NewLine.parse(stated, BOOKED)
    assert add_charge_line(rated, BOOKED, line, "agreed") == (
        "MIC/line-2020-04-1: Training, 75.00 USD on p2"
    )
    assert charge(rated, "line-2020-04-1") == (7500, 0, 7500)
    assert parts(rated, "line-2020-04-1") == {"C": 7500}
    adjust_charge(rated, BOOKED, "MIC/line-2020-04-1", {"amount": "50.00"}, "half price")
    assert charge(rated, "line-2020-04-1") == (7500, -2500, 5000)
    assert "was added before, nothing changed" in add_charge_line(rated, BOOKED, line, "again")
    assert "line-2020-04-2" in add_charge_line(rated, BOOKED, line, "two of them", again=True)
    same = adjust_charge(rated, BOOKED, "MIC/line-2020-04-1", {"amount": "50.00"}, "half price")
    assert same == ["MIC/line-2020-04-1: amount 50.00 was set before, nothing changed"]


@pytest.mark.parametrize(
    ("code", "changes", "reason", "sentence"),
    [
        ("MIC/u2", {"quantity": "-1"}, "why", "negative"),
        ("MIC/u2", {"quantity": "ten"}, "why", "'ten' is no quantity"),
        ("MIC/u2", {"colour": "red"}, "why", "no field 'colour'"),
        ("MIC/u2", {"split": "A=50,B=49"}, "why", "makes 99 %"),
        ("MIC/u2", {"amount": "1.234"}, "why", "more than 2 decimal places"),
        ("MIC/u2", {"rate": "-1"}, "why", "negative"),
        ("MIC/u2", {"quantity": "1"}, "  ", "no reason"),
        ("MIC/zzz", {"quantity": "1"}, "why", "no charge MIC/zzz"),
        ("u2", {"quantity": "1"}, "why", "not the name of a charge"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    rated: Engine, code: str, changes: dict[str, str], reason: str, sentence: str
) -> None:
    before = charge(rated, "u2")
    with pytest.raises((InvalidAdjustment, UnknownCharge)) as refusal:
        adjust_charge(rated, BOOKED, code, changes, reason)
    assert sentence in str(refusal.value)
    assert charge(rated, "u2") == before
    with reading(rated) as connection:
        assert events.read_events(connection, "MIC", kinds=["adjust"]).height == 0


def test_a_good_and_a_bad_change_together_change_nothing(rated: Engine) -> None:
    with pytest.raises(InvalidAdjustment):
        adjust_charge(rated, BOOKED, "MIC/u2", {"quantity": "1", "rate": "free"}, "why")
    assert charge(rated, "u2") == (1500, 0, 1500)


def test_a_deleted_charge_leaves_an_event(rated: Engine) -> None:
    delete_charge(rated, price_book(), "MIC/u2", "afresh")
    with reading(rated) as connection:
        event = events.read_events(connection, "MIC", kinds=["delete"]).row(0, named=True)
        assert charges.read_charges(connection, "MIC", codes=["u2"]).height == 0
        assert events.check_chain(connection, "MIC") == []
    assert json.loads(event["before"])["total"] == 1500


def test_a_charge_is_explained_as_the_ledger_has_it(rated: Engine) -> None:
    adjust_charge(rated, BOOKED, "MIC/u2", {"quantity": "10"}, "two broke")

    told = explain(rated, BOOKED, "MIC/u2")

    assert told[0] == "MIC/u2: Slide, project p1, user bob"
    assert any("set quantity from 12 to 10" in sentence for sentence in told)
    assert told[-4:] == [
        "Total: 12.50 USD.",
        "A pays 60 %: 7.50.",
        "B pays 40 %: 5.00.",
        "It is on no invoice yet.",
    ]
    dearer = price_book(BOOK.replace('percent: "60"', 'percent: "50"').replace('"40"', '"50"'))
    assert "A pays 50 %: 6.25." in explain(rated, dearer, "MIC/u2")
    with pytest.raises(UnknownCharge, match="no charge MIC/u9"):
        explain(rated, BOOKED, "MIC/u9")


@pytest.mark.parametrize(
    ("book", "others"),
    [
        (BOOK, 0),  # a plain rate couples nothing
        # the tiers of a project count its slides, u2 and u7, not those of p2
        (BOOK.replace('price: "1.25"', TIERS), 1),
    ],
    ids=["plain", "tiers"],
)
def test_an_adjustment_reads_no_charges_but_the_coupled(
    ledger: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, book: str, others: int
) -> None:
    many = USAGE + "".join(f"w{n},slide,p2,eve,,,2020-04-20,1\n" for n in range(50))
    booked = price_book(book)
    load_files(ledger, booked, [usage_file(tmp_path, f"{many}u7,slide,p1,bob,,,2020-04-09,1\n")],
               nothing)  # fmt: skip
    rate_period(ledger, booked, Period(2020, 4))
    read: set[str] = set()
    really = frames.read_frame

    def watched(*given: Any) -> pl.DataFrame:
        frame = really(*given)
        read.update(frame["charge"].to_list() if "charge" in frame.columns else ())
        return frame

    monkeypatch.setattr(frames, "read_frame", watched)
    adjust_charge(ledger, booked, "MIC/u2", {"quantity": "10"}, "two broke")
    assert read == {"u2", *["u7"][:others]}
