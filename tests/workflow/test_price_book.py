"""Changing a price book: mistakes by key, the effect on open months, saving with an event."""

import json
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from sample_facility import BOOK, nothing, price_book, usage_file
from sample_logins import hand_over
from sqlalchemy import Engine

from billing_lib.errors import ChangedMeanwhile, InvalidPriceBook, NotPermitted, NotReady
from billing_lib.ledger.database import open_ledger, operating_system_login, reading
from billing_lib.ledger.events import read_events
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import find_mistakes
from billing_lib.pricing.yaml_edit import Change
from billing_lib.workflow.adjust import adjust_charge
from billing_lib.workflow.load import load_files, read_price_book
from billing_lib.workflow.permissions import ADMINISTRATOR, grant
from billing_lib.workflow.price_book import open_book, preview_book, read_versions, save_book
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.search import Filter, find_charges

APRIL = Period(2020, 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parameters").mkdir()
    (tmp_path / "parameters" / "microscopy.yml").write_text("# ours\n" + BOOK.lstrip())
    return tmp_path / "parameters"


@pytest.fixture
def engine(sqlite_template: Path, tmp_path: Path, folder: Path) -> Engine:
    """April 2020 rated, May loaded."""
    shutil.copyfile(sqlite_template, tmp_path / "billing.db")
    engine = open_ledger(f"sqlite:///{tmp_path / 'billing.db'}")
    book = read_price_book(folder, "MIC")
    load_files(engine, book, [usage_file(tmp_path)], nothing)
    rate_period(engine, book, APRIL)
    return engine


def changed(content: dict[str, Any]) -> dict[str, Any]:
    after = deepcopy(content)
    after["rates"][1]["price"] = "2.00"
    return after


def noted(engine: Engine) -> list[dict[str, Any]]:
    with reading(engine) as connection:
        return read_events(connection, "MIC", kinds=["price_book"]).to_dicts()


def test_a_file_that_the_ledger_has_not_met_is_opened_and_noted(
    sqlite_template: Path, tmp_path: Path, folder: Path
) -> None:
    shutil.copyfile(sqlite_template, tmp_path / "billing.db")
    engine = open_ledger(f"sqlite:///{tmp_path / 'billing.db'}")
    assert open_book(engine, folder, "MIC").book.facility.name == "Microscopy"
    assert [event["reason"] for event in noted(engine)] == ["first seen"]


def test_a_new_price_shows_its_effect_and_changes_nothing(engine: Engine, folder: Path) -> None:
    opened = open_book(engine, folder, "MIC")
    shown = preview_book(engine, opened, changed(opened.content))
    assert shown.changes == [Change("rates, slide internal: price", "1.25", "2.00")]
    assert shown.months == ["2020-04"]
    assert shown.effect.rows() == [  # 12 and 10 slides at 0.75 more
        ("2020-04", "p1", 2, 14833, 2, 15733),
        ("2020-04", "p2", 1, 1250, 1, 2000),
    ]
    assert "keeps the rates and rules of the last rating" in shown.sentence
    assert folder.joinpath("microscopy.yml").read_text() == opened.text
    assert find_charges(engine, Filter(facility="MIC"), {}).rows["total"].sum() == 16083


def test_rules_of_invoices_and_newly_billable_usage_are_in_the_effect(
    engine: Engine, folder: Path
) -> None:
    opened = open_book(engine, folder, "MIC")
    after = deepcopy(opened.content)
    cap = {"name": "cap", "scope": "invoice", "kind": "cap", "amount": "100.00"}
    after["rules"] = [cap]
    split = [{"expense_code": "D", "percent": "100"}]
    after["projects"].append({"code": "nobody", "team": "smith", "type": "faculty", "split": split})
    effect = preview_book(engine, opened, after).effect
    assert effect.rows() == [
        ("2020-04", "nobody", 0, 0, 1, 1250),
        ("2020-04", "p1", 2, 14833, 2, 10000),
    ]


def test_a_project_with_charges_cannot_go(engine: Engine, folder: Path) -> None:
    opened = open_book(engine, folder, "MIC")
    after = deepcopy(opened.content)
    del after["projects"][1]
    with pytest.raises(NotReady, match=r"MIC 2020-04: .*'p2', which the price book no longer has"):
        preview_book(engine, opened, after)


def test_all_mistakes_are_found_with_their_keys(engine: Engine, folder: Path) -> None:
    opened = open_book(engine, folder, "MIC")
    after = changed(opened.content)
    after["rates"][0]["price"] = "forty"
    after["projects"][0]["split"][0]["percent"] = "50"
    del after["items"][1]["unit"]
    found = {mistake.place: mistake.sentence for mistake in find_mistakes(after)}
    assert found == {
        ("rates", 0, "price"): "'forty' is no price; write it in digits, such as \"12.50\"",
        ("projects", 0, "split"): "the split makes 90 %; its percentages must make 100",
        ("items", 1, "unit"): "the key 'unit' is missing",
    }
    with pytest.raises(InvalidPriceBook, match=r"microscopy.yml, line \d+"):
        save_book(engine, opened, after, "wrong")
    after = changed(opened.content)
    after["rates"].append(after["rates"][0])
    (mistake,) = find_mistakes(after)
    assert mistake.place == ("rates", 2)
    assert mistake.sentence.endswith("this one and the one at rates[1]")


def test_saving_keeps_comments_and_is_an_event(engine: Engine, folder: Path) -> None:
    opened = open_book(engine, folder, "MIC")
    saved = save_book(engine, opened, changed(opened.content), "prices of the year")
    text = folder.joinpath("microscopy.yml").read_text()
    assert text == opened.text.replace('"1.25"', '"2.00"')
    assert [path.name for path in folder.iterdir() if path.is_file()] == ["microscopy.yml"]
    seen, event = noted(engine)
    assert seen["reason"] == "first seen"
    assert event["reason"] == "prices of the year"
    assert json.loads(event["before"]) == {
        "sha256": opened.book.sha256,
        "rates, slide internal: price": "1.25",
    }
    assert json.loads(event["after"]) == {
        "sha256": saved.book.sha256,
        "rates, slide internal: price": "2.00",
    }
    rate_period(engine, read_price_book(folder, "MIC"), APRIL)
    assert len(noted(engine)) == 2
    with pytest.raises(NotReady, match="nothing was changed"):
        save_book(engine, saved, saved.content, "again")


def test_a_change_of_the_file_is_not_overwritten_and_is_noted(engine: Engine, folder: Path) -> None:
    opened = open_book(engine, folder, "MIC")
    by_hand = opened.text.replace('"40.00"', '"41.00"')
    folder.joinpath("microscopy.yml").write_text(by_hand)
    with pytest.raises(ChangedMeanwhile, match="changed since it was opened"):
        save_book(engine, opened, changed(opened.content), "prices")
    assert folder.joinpath("microscopy.yml").read_text() == by_hand
    assert len(noted(engine)) == 1
    again = open_book(engine, folder, "MIC")
    *_, event = noted(engine)
    assert event["reason"] == "changed outside the office"
    assert json.loads(event["after"]) == {"sha256": again.book.sha256}


def test_a_change_by_hand_is_noted_by_the_first_who_works_with_it(
    engine: Engine, folder: Path
) -> None:
    before = read_price_book(folder, "MIC")
    by_hand = folder.joinpath("microscopy.yml")
    by_hand.write_text(by_hand.read_text().replace('"40.00"', '"41.00"'))
    book = read_price_book(folder, "MIC")
    adjust_charge(engine, book, "MIC/u1", {"note": "one slide was broken"}, "said so")
    adjust_charge(engine, book, "MIC/u1", {"note": "two slides were broken"}, "said so")
    _, event = noted(engine)
    assert event["reason"] == "changed outside the office"
    assert json.loads(event["before"]) == {"sha256": before.sha256}
    assert json.loads(event["after"]) == {"sha256": book.sha256}


def test_versions_tell_who_changed_what_and_keep_their_text(engine: Engine, folder: Path) -> None:
    file = folder / "microscopy.yml"
    first = open_book(engine, folder, "MIC")
    saved = save_book(engine, first, changed(first.content), "prices of the year")
    unopened = saved.text.replace('"40.00"', '"41.00"')
    file.write_text(unopened)
    rate_period(engine, read_price_book(folder, "MIC"), APRIL)
    file.write_text(saved.text.replace('"40.00"', '"42.00"'))
    open_book(engine, folder, "MIC")
    file.write_text(saved.text)
    last = open_book(engine, folder, "MIC")
    versions = read_versions(engine, last)
    assert [version.text for version in versions] == [
        saved.text,
        saved.text.replace('"40.00"', '"42.00"'),
        None,
        saved.text,
        first.text,
    ]
    assert [version.changes for version in versions] == [
        [Change("rates, scope internal: price", "42.00", "40.00")],
        None,
        None,
        [Change("rates, slide internal: price", "1.25", "2.00")],
        [],
    ]
    assert versions[3].reason == "prices of the year"
    assert {version.login for version in versions} == {operating_system_login()}
    for kept in (folder / "microscopy" / "versions").iterdir():
        kept.write_text(BOOK)  # by somebody who should not
    assert [version.text for version in read_versions(engine, last)] == [
        *(saved.text, None, None, saved.text, None)
    ]


def test_only_an_administrator_saves(engine: Engine, folder: Path) -> None:
    opened = open_book(engine, folder, "MIC")
    grant(engine, price_book(), "ann", ADMINISTRATOR)
    hand_over(engine, "MIC")
    with pytest.raises(NotPermitted):
        open_book(engine, folder, "MIC")
    with pytest.raises(NotPermitted):
        preview_book(engine, opened, changed(opened.content))
    with pytest.raises(NotPermitted):
        save_book(engine, opened, changed(opened.content), "prices")
    assert folder.joinpath("microscopy.yml").read_text() == opened.text


def test_code_and_currency_stay(engine: Engine, folder: Path) -> None:
    opened = open_book(engine, folder, "MIC")
    for key, value in (("code", "NEW"), ("currency", "EUR")):
        after = deepcopy(opened.content)
        after["facility"][key] = value
        with pytest.raises(InvalidPriceBook, match="cannot become"):
            save_book(engine, opened, after, "moved")
