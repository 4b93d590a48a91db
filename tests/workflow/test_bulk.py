"""The same change to many charges: previewed, made as one group, and undone as one."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from sample_facility import BOOK, HEADER, nothing, price_book, usage_file
from sample_issuing import issue_here
from sqlalchemy import Engine

from billing_lib.errors import ChangedMeanwhile, InvalidAdjustment, NotReady, UnknownCharge
from billing_lib.ledger import charges, events, invoices
from billing_lib.ledger.database import open_ledger, reading, writing
from billing_lib.ledger.people import current_login
from billing_lib.pricing.clock import Period
from billing_lib.workflow.adjust import (
    KEPT,
    OPEN,
    UNDONE,
    adjust_charge,
    delete_charge,
    list_groups,
)
from billing_lib.workflow.approve import make_run, prepare
from billing_lib.workflow.bulk import BulkResult, adjust_many, preview, preview_undo, undo_group
from billing_lib.workflow.lines import NewLine, add_charge_line
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.review import read_month
from billing_lib.workflow.runs import RunScope
from billing_lib.workflow.search import Filter, find_charges

APRIL = "2020-04"
SLIDES = Filter(item="slide")
LATE = HEADER + "v1,slide,p2,eve,,,2020-04-20,8\n"


@pytest.fixture
def rated(ledger: Engine, tmp_path: Path) -> Engine:
    """Three charges: u1 133.33 and u2 15.00 of p1, u3 12.50 of p2."""
    load_files(ledger, price_book(), [usage_file(tmp_path)], nothing)
    rate_period(ledger, price_book(), Period(2020, 4))
    return ledger


def totals(ledger: Engine) -> dict[str, int]:
    wanted = Filter(facility="MIC", period_from=APRIL, period_to=APRIL)
    found = find_charges(ledger, wanted).rows
    return {f"MIC/{charge}": total for charge, total in found.select("charge", "total").iter_rows()}


def log(ledger: Engine) -> list[str]:
    with reading(ledger) as connection:
        assert events.check_chain(connection, "MIC") == []
        return events.read_events(connection, "MIC")["kind"].to_list()


def test_a_preview_says_what_would_change_and_changes_nothing(rated: Engine) -> None:
    before, told = totals(rated), log(rated)
    shown = preview(rated, price_book(), APRIL, SLIDES, {"rate": "2.00"})
    # 12 x 2.00 and 10 x 2.00
    assert shown.effect.rows() == [("u2", "p1", 1500, 2400), ("u3", "p2", 1250, 2000)]
    assert (shown.selected, shown.group) == (2, "")
    assert (totals(rated), log(rated)) == (before, told)


def test_a_group_is_made_undone_and_not_undone_twice(rated: Engine) -> None:
    before = totals(rated)
    adjust_charge(rated, price_book(), "MIC/u2", {"quantity": "10"}, "two broke")
    made = adjust_many(rated, price_book(), APRIL, SLIDES, {"rate": "2.00"}, "agreed")
    assert made.effect.rows() == [("u2", "p1", 1250, 2000), ("u3", "p2", 1250, 2000)]
    assert totals(rated) == before | {"MIC/u2": 2000, "MIC/u3": 2000}

    undone = undo_group(rated, price_book(), made.group, "not agreed after all")
    assert undone.effect.rows() == [("u2", "p1", 2000, 1250), ("u3", "p2", 2000, 1250)]
    assert undone.values.rows() == [("u2", "rate", "2", "1.25"), ("u3", "rate", "2", "1.25")]
    assert totals(rated) == before | {"MIC/u2": 1250}  # what was changed apart stays
    assert log(rated)[-4:] == ["adjust", "adjust", "adjust", "undo"]
    with pytest.raises(InvalidAdjustment, match="no group of changes"):
        undo_group(rated, price_book(), made.group, "again")
    assert rate_period(rated, price_book(), Period(2020, 4)).changed == 0

    trail = read_month(rated, price_book(), APRIL).changes
    assert trail.select("charge", "what", "reason").rows()[-1] == (
        f"group {made.group}",
        "undo",
        "not agreed after all",
    )


def test_a_group_whose_charges_are_deleted_is_not_undone(rated: Engine) -> None:
    chosen = Filter(project="p2")
    made = adjust_many(rated, price_book(), APRIL, chosen, {"rate": "2.00"}, "agreed")
    delete_charge(rated, price_book(), "MIC/u3", "afresh")
    with pytest.raises(NotReady, match=f"all charges of the group {made.group} are deleted"):
        undo_group(rated, price_book(), made.group, "not agreed")
    assert log(rated)[-1] == "delete"


def test_a_group_with_a_charge_that_is_being_approved_stays(rated: Engine) -> None:
    made = adjust_many(rated, price_book(), APRIL, SLIDES, {"rate": "2.00"}, "agreed")
    with writing(rated) as connection:
        prepared = prepare(connection, price_book(), Period(2020, 4), RunScope(projects=("p2",)))
    assert prepared.codes == ["MIC-2020-04-1/p2"]
    with pytest.raises(NotReady, match="the charge MIC/u3 of the group is issued or submitted"):
        undo_group(rated, price_book(), made.group, "too late")
    assert totals(rated)["MIC/u2"] == 2400


@pytest.mark.parametrize(
    ("selection", "codes"),
    [
        (Filter(), ["u1", "u2", "u3"]),
        (Filter(project="p1"), ["u1", "u2"]),
        (Filter(user="eve"), ["u3"]),
        (Filter(team="smith", item="slide"), ["u2", "u3"]),
    ],
)
def test_a_selection_takes_what_matches_all_that_it_says(
    rated: Engine, selection: Filter, codes: list[str]
) -> None:
    made = adjust_many(rated, price_book(), APRIL, selection, {"waived": "yes"}, "opening month")
    assert made.effect["charge"].to_list() == codes
    assert made.effect["after"].to_list() == [0] * len(codes)


def test_a_rate_is_set_on_usage_and_leaves_added_lines_alone(rated: Engine) -> None:
    stated = {"project": "p2", "date": "2020-04-30", "description": "Training", "amount": "75.00"}
    line = NewLine.parse(stated | {"expense_code": None}, price_book())
    add_charge_line(rated, price_book(), line, "agreed")
    made = adjust_many(rated, price_book(), APRIL, Filter(project="p2"), {"rate": "2.00"}, "agreed")
    assert made.effect.rows() == [("u3", "p2", 1250, 2000)]
    waived = adjust_many(
        rated, price_book(), APRIL, Filter(project="p2"), {"waived": "yes"}, "agreed"
    )
    assert waived.selected == 2


def change_u2(ledger: Engine, made: BulkResult) -> None:
    adjust_charge(ledger, price_book(), "MIC/u2", {"quantity": "10"}, "two broke")


def delete_u3(ledger: Engine, made: BulkResult) -> None:
    delete_charge(ledger, price_book(), "MIC/u3", "afresh")


def undo_before(ledger: Engine, made: BulkResult) -> None:
    undo_group(ledger, price_book(), made.group, "not agreed")


def quarantine(ledger: Engine, made: BulkResult) -> None:
    with writing(ledger) as connection:
        invoices.move_invoices(connection, "MIC", ["MIC-2020-04-1/p2"], "quarantine", "disputed")


MEANWHILE = {
    "another changed a charge": (
        change_u2,
        r" changed the charge MIC/u2, quantity 12 → 10, on \d{4}-\d\d-\d\d at [\d:]+ UTC, after "
        r"this preview \(two broke\); nothing was written; make the preview again",
    ),
    "another deleted a charge": (delete_u3, r" deleted the charge MIC/u3 on .* \(afresh\)"),
    "another undid a group": (undo_before, r" undid the group [0-9a-f]{12} on .* \(not agreed\)"),
    "an invoice moved": (quarantine, r" changed the invoice MIC-2020-04-1/p2 \(quarantine\) on "),
}


@pytest.mark.parametrize("case", MEANWHILE)
def test_a_change_is_made_as_it_was_shown_or_not_at_all(rated: Engine, case: str) -> None:
    book = price_book()
    make_run(rated, book, Period(2020, 4), RunScope())
    first = adjust_many(rated, book, APRIL, Filter(user="eve"), {"note": "late"}, "for the lab")
    named, change = ["MIC/u3", "MIC/u2"], {"rate": "2.00"}
    shown = preview(rated, book, APRIL, named, change)
    assert shown.invoices.rows() == [
        ("MIC-2020-04-1/p1", "p1", "OPEN", 2, 14833, 15733),
        ("MIC-2020-04-1/p2", "p2", "OPEN", 1, 1250, 2000),
    ]
    assert shown.values.rows() == [("u2", "rate", "1.25", "2"), ("u3", "rate", "1.25", "2")]
    meanwhile, sentence = MEANWHILE[case]
    meanwhile(rated, first)
    before, told = totals(rated), log(rated)
    with pytest.raises(ChangedMeanwhile) as refused:
        adjust_many(rated, book, APRIL, named, change, "agreed", seen=shown.seen)
    with reading(rated) as connection:
        assert re.match(re.escape(current_login(connection)) + sentence, str(refused.value))
    assert (totals(rated), log(rated)) == (before, told)


def test_what_was_shown_is_what_is_written(rated: Engine) -> None:
    book, change = price_book(), {"rate": "2.00"}
    shown = preview(rated, book, APRIL, SLIDES, change)
    adjust_charge(rated, book, "MIC/u1", {"quantity": "1"}, "of the same invoice")
    with pytest.raises(ChangedMeanwhile, match=r"changed the charge MIC/u1, quantity .* → 1,"):
        adjust_many(rated, book, APRIL, SLIDES, change, "agreed", seen=shown.seen)
    shown = preview(rated, book, APRIL, SLIDES, change)
    made = adjust_many(rated, book, APRIL, SLIDES, change, "agreed", seen=shown.seen)
    assert (made.effect.rows(), made.values.rows()) == (shown.effect.rows(), shown.values.rows())

    back = preview_undo(rated, book, made.group)
    adjust_charge(rated, book, "MIC/u2", {"quantity": "10"}, "two broke")
    with pytest.raises(ChangedMeanwhile, match="changed the charge MIC/u2, quantity 12 → 10,"):
        undo_group(rated, book, made.group, "not agreed", seen=back.seen)
    back = preview_undo(rated, book, made.group)
    undone = undo_group(rated, book, made.group, "not agreed", seen=back.seen)
    assert undone.effect.rows() == back.effect.rows()
    assert list_groups(rated, book, APRIL)["state"].to_list() == ["undone"]
    with pytest.raises(InvalidAdjustment, match="'7' is not the mark of a preview"):
        adjust_many(rated, book, APRIL, SLIDES, change, "agreed", seen="7")


def test_another_price_book_or_another_choice_is_not_what_was_shown(rated: Engine) -> None:
    before, book, company = totals(rated), price_book(MOVING), {"project": "firm"}
    shown = preview(rated, book, APRIL, SLIDES, company)
    dearer = price_book(MOVING.replace('"3.00"', '"4.00"'))
    with pytest.raises(ChangedMeanwhile, match="the price book was changed after this preview"):
        adjust_many(rated, dearer, APRIL, SLIDES, company, "agreed", seen=shown.seen)
    with pytest.raises(ChangedMeanwhile, match="would differ from the preview: the selected"):
        adjust_many(rated, book, APRIL, ["MIC/u2"], company, "agreed", seen=shown.seen)
    for strange in ("MIC/u9", "RC/u2", "u2"):
        with pytest.raises(UnknownCharge):
            adjust_many(rated, book, APRIL, [strange], company, "agreed")
    assert totals(rated) == before


def test_of_two_who_apply_the_same_at_once_one_is_told(rated: Engine) -> None:
    book, change, both = price_book(), {"quantity": "7"}, Barrier(2)
    shown = preview(rated, book, APRIL, SLIDES, change)

    def change_it(who: int) -> str:
        engine = open_ledger(rated.url.render_as_string(hide_password=False))
        both.wait(30)
        try:
            adjust_many(engine, book, APRIL, SLIDES, change, f"by {who}", seen=shown.seen)
        except ChangedMeanwhile as error:
            return str(error)
        finally:
            engine.dispose()
        return "made"

    with ThreadPoolExecutor(2) as pool:
        said = sorted(pool.map(change_it, (1, 2)), key="made".__eq__)
    assert said[1] == "made"
    assert "changed the charge MIC/u2, quantity 12 → 7, on" in said[0]
    assert totals(rated)["MIC/u2"] == 875
    assert log(rated).count("adjust") == 2


def test_two_who_change_coupled_charges_wait_for_each_other(rated: Engine) -> None:
    # Each prices the other's charge too; locked in no order, they would wait for ever.
    book, both = price_book(), Barrier(2)
    adjust_charge(rated, book, "MIC/u3", {"project": "p1"}, "p1 asked for them")

    def change_it(charge: str) -> None:
        engine = open_ledger(rated.url.render_as_string(hide_password=False))
        both.wait(30)
        for quantity in range(1, 6):
            adjust_charge(engine, book, charge, {"quantity": str(quantity)}, "counted again")
        engine.dispose()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(change_it, ("MIC/u2", "MIC/u3")))
    assert (totals(rated)["MIC/u2"], totals(rated)["MIC/u3"]) == (625, 625)


def test_what_cannot_be_is_refused_for_all(rated: Engine) -> None:
    before, told = totals(rated), log(rated)
    for selection, changes, reason, sentence in (
        (SLIDES, {"rate": "-1"}, "why", "negative"),
        (SLIDES, {"waived": "perhaps"}, "why", "neither yes nor no"),
        (SLIDES, {"rate": "1"}, " ", "no reason"),
        (Filter(project="p9"), {"rate": "1"}, "why", "has no pending charge of MIC 2020-04"),
    ):
        with pytest.raises((InvalidAdjustment, NotReady), match=sentence):
            adjust_many(rated, price_book(), APRIL, selection, changes, reason)
    assert (totals(rated), log(rated)) == (before, told)


def test_a_waived_charge_comes_to_nothing_whatever_the_rules(
    ledger: Engine, tmp_path: Path
) -> None:
    ruled = price_book(
        BOOK + 'rules: [{name: least, scope: charge, kind: floor, amount: "20.00"}]\n'
    )
    rows = HEADER + "u1,slide,p1,bob,,,2020-04-07,1\n"
    load_files(ledger, ruled, [usage_file(tmp_path, rows)], nothing)
    rate_period(ledger, ruled, Period(2020, 4))
    assert totals(ledger) == {"MIC/u1": 2000}
    said = adjust_charge(ledger, ruled, "MIC/u1", {"waived": "yes"}, "a broken slide")
    assert said[-1] == "MIC/u1: total 20.00 → 0.00 USD"
    adjust_charge(ledger, ruled, "MIC/u1", {"waived": "no"}, "it was whole")
    assert totals(ledger) == {"MIC/u1": 2000}


MOVING = (
    BOOK.replace("project_types: [", "project_types: [{code: company, rate_group: industry}, ")
    .replace("teams: [", "teams: [{code: firm, name: Firm}, ")
    .replace('"1.25"}', '"1.25"}\n  - {item: slide, group: industry, price: "3.00"}')
) + ('  - {code: firm, team: firm, type: company, split: [{expense_code: F, percent: "100"}]}\n')


def owners(ledger: Engine) -> dict[str, tuple[str, str, str, int]]:
    """Who pays each charge: project, team, rate group, and how much."""
    with reading(ledger) as connection:
        found = charges.read_charges(connection, "MIC", period=APRIL)
    rows = found.select("charge", "project", "team", "rate_group", "total").iter_rows()
    return {code: (project, team, group, total) for code, project, team, group, total in rows}


def test_a_charge_goes_to_another_project_at_its_groups_rate_and_back(rated: Engine) -> None:
    book = price_book(MOVING)
    shown = preview(rated, book, APRIL, SLIDES, {"project": "firm"})
    # 12 x 3.00 and 10 x 3.00
    assert shown.effect.rows() == [("u2", "p1", 1500, 3600), ("u3", "p2", 1250, 3000)]
    assert owners(rated)["u2"] == ("p1", "smith", "internal", 1500)

    adjust_charge(rated, book, "MIC/u3", {"project": "p1"}, "p1 asked for them")
    assert owners(rated)["u3"] == ("p1", "smith", "internal", 1250)
    made = adjust_many(rated, book, APRIL, SLIDES, {"project": "firm"}, "the firm's order")
    assert owners(rated)["u2"] == ("firm", "firm", "industry", 3600)
    assert owners(rated)["u3"] == ("firm", "firm", "industry", 3000)
    assert rate_period(rated, book, Period(2020, 4)).changed == 0

    undo_group(rated, book, made.group, "it was not")
    assert owners(rated)["u2"] == ("p1", "smith", "internal", 1500)
    assert owners(rated)["u3"] == ("p1", "smith", "internal", 1250)  # the move before it stands
    assert rate_period(rated, book, Period(2020, 4)).changed == 0


def test_a_charge_does_not_go_where_there_is_no_project_or_no_rate(rated: Engine) -> None:
    book, before = price_book(MOVING), totals(rated)
    with pytest.raises(InvalidAdjustment, match="no project 'p9'"):
        adjust_charge(rated, book, "MIC/u2", {"project": "p9"}, "why")
    with pytest.raises(InvalidAdjustment, match="to that project: no rate for item 'scope'"):
        adjust_charge(rated, book, "MIC/u1", {"project": "firm"}, "why")
    assert (totals(rated), log(rated)[-1]) == (before, "rate")


def test_a_note_changes_no_amount(rated: Engine) -> None:
    before = totals(rated)
    said = adjust_charge(rated, price_book(), "MIC/u2", {"note": "ask Bob"}, "for the lab")
    assert said[0] == "MIC/u2: note  → ask Bob"
    assert totals(rated) == before


def test_undoing_a_group_shows_every_month_that_it_changes(rated: Engine, tmp_path: Path) -> None:
    """A late charge moves to May; its group was made in April and is undone in both months."""
    load_files(rated, price_book(), [usage_file(tmp_path, LATE, "late.csv")], nothing)
    issue_here(rated, price_book(), Period(2020, 4), tmp_path, RunScope(projects=("p2",)))
    rate_period(rated, price_book(), Period(2020, 4))
    made = adjust_many(rated, price_book(), APRIL, ["MIC/u2", "MIC/v1"], {"rate": "2.00"}, "agreed")
    rate_period(rated, price_book(), Period(2020, 5))  # bills v1, since April's p2 is issued

    assert {month: list_groups(rated, price_book(), month)["state"].to_list()
            for month in (APRIL, "2020-05")} == {APRIL: [OPEN], "2020-05": [OPEN]}  # fmt: skip
    shown = preview_undo(rated, price_book(), made.group)
    # 12 x 2.00 back to 12 x 1.25 in April, 8 x 2.00 back to 8 x 1.25 in May
    assert shown.effect.rows() == [("u2", "p1", 2400, 1500), ("v1", "p2", 1600, 1000)]
    undone = undo_group(rated, price_book(), made.group, "not agreed", seen=shown.seen)
    assert undone.effect.rows() == shown.effect.rows()
    assert list_groups(rated, price_book(), APRIL)["state"].to_list() == [UNDONE]


def test_the_list_of_groups_says_what_the_command_does(rated: Engine) -> None:
    """One charge of the group is deleted: the others go back. All deleted: nothing can."""
    made = adjust_many(rated, price_book(), APRIL, SLIDES, {"rate": "2.00"}, "agreed")
    delete_charge(rated, price_book(), "MIC/u3", "afresh")
    assert list_groups(rated, price_book(), APRIL)["state"].to_list() == [OPEN]
    assert undo_group(rated, price_book(), made.group, "no").effect["charge"].to_list() == ["u2"]


def test_a_group_that_cannot_be_undone_is_listed_as_kept(rated: Engine) -> None:
    made = adjust_many(rated, price_book(), APRIL, SLIDES, {"rate": "2.00"}, "agreed")
    with writing(rated) as connection:
        prepare(connection, price_book(), Period(2020, 4), RunScope(projects=("p2",)))
    assert list_groups(rated, price_book(), APRIL)["state"].to_list() == [KEPT]
    with pytest.raises(NotReady):
        preview_undo(rated, price_book(), made.group)
