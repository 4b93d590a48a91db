"""The same change to many charges: previewed, made as one group, and undone as one."""

from pathlib import Path

import pytest
from sample_facility import BOOK, HEADER, nothing, price_book, usage_file
from sqlalchemy import Engine

from billing_lib.errors import InvalidAdjustment, NotReady
from billing_lib.ledger import charges, events
from billing_lib.ledger.database import reading, writing
from billing_lib.pricing.period import Period
from billing_lib.workflow.adjust import adjust_charge, delete_charge
from billing_lib.workflow.approving import prepare
from billing_lib.workflow.bulk import Selection, adjust_many, preview, undo_group
from billing_lib.workflow.intake import load_files
from billing_lib.workflow.lines import NewLine, add_charge_line
from billing_lib.workflow.rating import list_charges, rate_period
from billing_lib.workflow.review import read_month
from billing_lib.workflow.selection import RunSelection

APRIL = "2020-04"
SLIDES = Selection(item="slide")


@pytest.fixture
def rated(ledger: Engine, tmp_path: Path) -> Engine:
    """Three charges: u1 133.33 and u2 15.00 of p1, u3 12.50 of p2."""
    load_files(ledger, price_book(), [usage_file(tmp_path)], nothing)
    rate_period(ledger, price_book(), Period(2020, 4))
    return ledger


def totals(ledger: Engine) -> dict[str, int]:
    return dict(list_charges(ledger, "MIC", APRIL).select("charge", "total").iter_rows())


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
    chosen = Selection(project="p2")
    made = adjust_many(rated, price_book(), APRIL, chosen, {"rate": "2.00"}, "agreed")
    delete_charge(rated, price_book(), "MIC/u3", "afresh")
    with pytest.raises(NotReady, match=f"the charges of the group {made.group} were deleted"):
        undo_group(rated, price_book(), made.group, "not agreed")
    assert log(rated)[-1] == "delete"


def test_a_group_with_a_charge_that_is_being_approved_stays(rated: Engine) -> None:
    made = adjust_many(rated, price_book(), APRIL, SLIDES, {"rate": "2.00"}, "agreed")
    with writing(rated) as connection:
        prepared = prepare(
            connection, price_book(), Period(2020, 4), RunSelection(projects=("p2",))
        )
    assert prepared.codes == ["MIC-2020-04-1/p2"]
    with pytest.raises(NotReady, match="the charge MIC/u3 of the group is issued or submitted"):
        undo_group(rated, price_book(), made.group, "too late")
    assert totals(rated)["MIC/u2"] == 2400


@pytest.mark.parametrize(
    ("selection", "codes"),
    [
        (Selection(), ["u1", "u2", "u3"]),
        (Selection(project="p1"), ["u1", "u2"]),
        (Selection(user="eve"), ["u3"]),
        (Selection(team="smith", item="slide"), ["u2", "u3"]),
    ],
)
def test_a_selection_takes_what_matches_all_that_it_says(
    rated: Engine, selection: Selection, codes: list[str]
) -> None:
    made = adjust_many(rated, price_book(), APRIL, selection, {"waived": "yes"}, "opening month")
    assert made.effect["charge"].to_list() == codes
    assert made.effect["after"].to_list() == [0] * len(codes)


def test_a_rate_is_set_on_usage_and_leaves_added_lines_alone(rated: Engine) -> None:
    stated = {"project": "p2", "date": "2020-04-30", "description": "Training", "amount": "75.00"}
    line = NewLine.parse(stated | {"expense_code": None}, price_book())
    add_charge_line(rated, price_book(), line, "agreed")
    made = adjust_many(rated, price_book(), APRIL, Selection("p2"), {"rate": "2.00"}, "agreed")
    assert made.effect.rows() == [("u3", "p2", 1250, 2000)]
    waived = adjust_many(rated, price_book(), APRIL, Selection("p2"), {"waived": "yes"}, "agreed")
    assert waived.selected == 2


def test_what_cannot_be_is_refused_for_all(rated: Engine) -> None:
    before, told = totals(rated), log(rated)
    for selection, changes, reason, sentence in (
        (SLIDES, {"rate": "-1"}, "why", "negative"),
        (SLIDES, {"waived": "perhaps"}, "why", "neither yes nor no"),
        (SLIDES, {"rate": "1"}, " ", "no reason"),
        (Selection(project="p9"), {"rate": "1"}, "why", "no pending charge of MIC 2020-04"),
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
    rows = found.select("code", "project", "team", "rate_group", "total").iter_rows()
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
    with pytest.raises(InvalidAdjustment, match="cannot go there: no rate for item 'scope'"):
        adjust_charge(rated, book, "MIC/u1", {"project": "firm"}, "why")
    assert (totals(rated), log(rated)[-1]) == (before, "rules")


def test_a_note_changes_no_amount(rated: Engine) -> None:
    before = totals(rated)
    said = adjust_charge(rated, price_book(), "MIC/u2", {"note": "ask Bob"}, "for the lab")
    assert said[0] == "MIC/u2: note  → ask Bob"
    assert totals(rated) == before
