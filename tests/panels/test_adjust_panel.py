"""The adjust notebook without a browser: select, see what a change does, apply it, undo it."""

import re
from datetime import date
from html import unescape
from threading import Event

import pytest
from html_cells import asked, cells, listed, tell, tick

from billing_lib import Site
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import read_events
from billing_lib.panels.adjust import AdjustPanel
from billing_lib.panels.change import ChangeCharges
from billing_lib.panels.office import Message, ProgressBar
from billing_lib.panels.table import PagedTable
from billing_lib.pricing.clock import Period
from billing_lib.workflow.adjust import adjust_charge
from billing_lib.workflow.approve import make_run, prepare
from billing_lib.workflow.bulk import adjust_many
from billing_lib.workflow.notes import read_notes
from billing_lib.workflow.review import read_month
from billing_lib.workflow.runs import RunScope
from billing_lib.workflow.search import Filter
from billing_lib.workflow.steps import Progress


def totals(office: Site) -> dict[str, int]:
    month = read_month(office.engine, office.book("MIC"), "2020-04")
    return dict(month.charges.select("charge", "total").iter_rows())


def said(part: object) -> str:
    """What a part of the panel says, and whether it is an alert."""
    html = part.message.widget.value  # type: ignore[attr-defined]
    alert = "! " if 'role="alert"' in html else ""
    return alert + unescape(re.sub(r"<[^>]*>", "", html))


@pytest.fixture
def panel(office: Site) -> AdjustPanel:
    """The sample month, its charges on drafts."""
    make_run(office.engine, office.book("MIC"), Period(2020, 4), RunScope())
    return AdjustPanel("MIC", "2020-04", office=office)


def rows(part: ChangeCharges) -> PagedTable:
    assert part.table is not None
    return part.table


def fill(part: ChangeCharges, field: str, value: str, reason: str = "agreed") -> None:
    part.form.fill(field, value)
    part.reason.value = reason


def show(part: ChangeCharges) -> str:
    part.show.click()
    part.progress.wait()
    return said(part)


def apply(part: ChangeCharges) -> str:
    part.apply.click()
    part.progress.wait()
    return said(part)


def test_charges_are_found_selected_shown_changed_and_undone(
    office: Site, panel: AdjustPanel
) -> None:
    before, part = totals(office), panel.charges
    table = rows(part)
    assert listed(table) == ["MIC/u1", "MIC/u2", "MIC/u3"]
    assert asked(table)["told"] == "3 pending charges, total 160.83 USD"
    assert table.widget.offers["use"] == ["= scope", "= slide"]
    assert listed(table, filters={"use": "= slide", "date": ">= 2020-04-08"}) == ["MIC/u3"]
    assert listed(table) == ["MIC/u1", "MIC/u2", "MIC/u3"]
    assert listed(table, filters={"total": "<= 100"}) == ["MIC/u2", "MIC/u3"]
    tell(table, {"kind": "all", "ticked": True})
    assert part.chosen == ["MIC/u2", "MIC/u3"]
    page = asked(table, filters={"total": "<= 100"})
    assert (page["ticked"], page["selected"]) == ([True, True], "2 selected: all that match")

    fill(part, "rate", "2.00")
    assert part.apply.disabled
    assert show(part) == (
        "Nothing is changed yet. 2 charges; 2 totals change, together 27.50 → 44.00 USD."
    )
    invoices = [
        ["MIC-2020-04-1/p1", "p1", "OPEN", "2", "148.33", "157.33", "9.00"],
        ["MIC-2020-04-1/p2", "p2", "OPEN", "1", "12.50", "20.00", "7.50"],
    ]
    charges = [
        ["MIC/u2", "p1", "rate", "1.25", "2", "15.00", "24.00", "9.00"],
        ["MIC/u3", "p2", "rate", "1.25", "2", "12.50", "20.00", "7.50"],
    ]
    assert cells(part.effect.value) == invoices + charges
    assert totals(office) == before

    tick(table, "MIC/u2", ticked=False)  # another choice has to be shown anew
    assert (part.apply.disabled, part.effect.value) == (True, "")
    assert part.chosen == ["MIC/u3"]
    tell(
        table,
        {"kind": "range", "from": "MIC/u2", "name": "MIC/u3", "ticked": True}
        | vars(table.question),
    )
    show(part)
    assert apply(part).startswith("Changed: 2 charges; 2 totals change, together 27.50 → 44.00")
    assert cells(part.effect.value) == invoices + charges
    assert totals(office) == before | {"MIC/u2": 2400, "MIC/u3": 2000}
    assert (part.apply.disabled, part.reason.value) == (True, "")

    undo = panel.groups
    ((label, group),) = undo.group.options
    assert label.endswith(" · 2 × Rate (price per unit): 2")
    undo.show.click()
    undo.progress.wait()
    assert said(undo) == (
        "Nothing is undone yet. 2 charges; 2 totals change, together 44.00 → 27.50 USD."
    )
    assert totals(office) != before
    undo.undo.click()
    undo.progress.wait()
    assert said(undo) == "! the change has no reason; say why"
    undo.reason.value = "not agreed after all"
    undo.undo.click()
    undo.progress.wait()
    assert said(undo).startswith(f"Group {group} is undone")
    assert totals(office) == before
    assert undo.group.options == ()
    (row,) = cells(undo.listed.value)
    assert row[3:] == ["2", "Rate (price per unit): 2", "agreed", "undone"]
    assert [row[1] for row in cells(panel.changes().data)] == ["rate", "rate", "group undone"]


def test_who_changed_what_stands_beside_each_selected_charge(
    office: Site, panel: AdjustPanel
) -> None:
    book, part = office.book("MIC"), panel.charges
    because = "<img src=x onerror=alert(1)>"
    adjust_charge(office.engine, book, "MIC/u2", {"quantity": "10"}, because)
    tick(rows(part), "MIC/u1")
    tick(rows(part), "MIC/u2")
    told = part.trail.widget.value
    assert told.index("MIC/u2") < told.index("MIC/u1")  # the last one first
    assert "Total: 133.33 USD." in told
    assert "Nobody has changed it." in told
    (change,) = cells(told)
    assert change[:4] == ["MIC/u2", "quantity", "12", "10"]
    assert change[6] == because
    part.refresh()
    assert listed(rows(part), search="ONERROR=alert") == ["MIC/u2"]  # reasons are searched, too
    assert "<img" not in told  # what people wrote is shown as text


def test_two_people_at_once_the_second_is_told(office: Site, panel: AdjustPanel) -> None:
    other = AdjustPanel("MIC", "2020-04", charges=["MIC/u2"], office=office).charges
    part = panel.charges
    rows(part).tick(["MIC/u2", "MIC/u3"])
    fill(part, "rate", "2.00")
    show(part)
    fill(other, "quantity", "10", "two broke")
    show(other)
    assert apply(other).startswith("Changed: 1 charge; 1 total changes 15.00 → 12.50 USD.")
    changed = totals(office)

    refused = apply(part)
    assert re.match(
        r"! \S+ changed the charge MIC/u2, quantity 12 → 10, on \d{4}-\d\d-\d\d at [\d:]+ UTC, "
        r"after this preview \(two broke\); nothing was written; make the preview again",
        refused,
    )
    assert totals(office) == changed
    assert (part.apply.disabled, part.reason.value) == (True, "agreed")
    assert asked(rows(part))["rows"][1][7] == "12.50"  # read again
    assert "together 25.00 → 40.00 USD" in show(part)
    assert apply(part).startswith("Changed: 2 charges")


def test_a_change_comes_from_elsewhere_and_moves_a_charge(office: Site) -> None:
    part = AdjustPanel(
        "MIC", "2020-04", charges=["MIC/u2"], change="project", value="p2", office=office
    ).charges
    assert part.chosen == ["MIC/u2"]
    page = asked(rows(part))
    assert [row[0] for row in page["rows"]] == ["MIC/u2", "MIC/u1", "MIC/u3"]  # it comes first
    assert (page["ticked"], page["selected"]) == ([True, False, False], "1 selected")
    assert (part.form.field.value, part.form.changes()) == ("project", {"project": "p2"})
    part.reason.value = "it was for p2"
    show(part)
    assert cells(part.effect.value) == [
        ["on no invoice yet", "p1", "", "1", "148.33", "133.33", "-15.00"],
        ["on no invoice yet", "p2", "", "2", "12.50", "27.50", "15.00"],
        ["MIC/u2", "", "project", "p1", "p2", "", "", ""],
    ]
    assert apply(part).startswith("Changed: 1 charge; no total changes.")
    assert part.chosen == ["MIC/u2"]


def test_a_split_is_put_together_and_its_sum_is_shown(office: Site, panel: AdjustPanel) -> None:
    part, split = panel.charges, panel.charges.form.split
    rows(part).tick(["MIC/u2"])
    fill(part, "split", "")
    assert "together 0 %, 100 % missing" in split.sum.value
    (first, percent), (second, rest) = split.shares
    assert first.options == ("A", "B", "C")
    first.value, percent.value, second.value, rest.value = "A", "50", "B", "60"
    assert "together 110 %, 10 % too much" in split.sum.value
    assert "makes 110 %" in show(part)
    rest.value = "half"
    assert "half&#x27; is no percentage" in split.sum.value
    rest.value = "25.5"
    split.add.click()
    split.shares[2][0].value, split.shares[2][1].value = "C", "24.5"
    assert "together 100 %<" in split.sum.value
    show(part)
    assert apply(part).startswith("Changed: 1 charge; no total changes.")
    assert cells(part.effect.value)[-1][2:5] == [
        "split",
        "A 60 %, B 40 %",
        "A 50 %, B 25.5 %, C 24.5 %",
    ]


def test_mistakes_are_sentences_and_change_nothing(office: Site, panel: AdjustPanel) -> None:
    before, part = totals(office), panel.charges
    fill(part, "quantity", "10")
    assert show(part) == "! no charge is selected; tick one in the list"
    assert apply(part) == "! no charge is selected; tick one in the list"
    rows(part).tick(["MIC/u2"])
    part.apply_change()
    assert said(part) == "! it was not shown yet; have it shown first"
    fill(part, "quantity", "ten")
    assert "! quantity: 'ten' is no quantity" in show(part)
    fill(part, "quantity", "12")
    fill(part, "quantity", "11", reason=" ")
    show(part)
    assert apply(part) == "! the change has no reason; say why"
    assert not part.apply.disabled  # the reason is all that was missing
    asked(rows(part), filters={"total": "> ten"})
    assert "! Total: 'ten' is no money to compare with, so nothing is selected" in said(part)
    assert totals(office) == before


def test_ticks_stay_while_pages_are_turned_and_other_rows_are_sought(office: Site) -> None:
    line = AdjustPanel("MIC", "2020-04", office=office).line
    for number in range(25):
        line.description.value, line.amount.value = f"Training {number}", "10.00"
        line.reason.value = "agreed"
        line.add_line()
    part = AdjustPanel("MIC", "2020-04", office=office).charges
    table = rows(part)
    assert asked(table)["told"].startswith("28 pending charges, total ")
    falling = [["total", True]]
    first = listed(table, sort=falling, count=25)[0]
    assert first == "MIC/u1"
    tick(table, first)
    later = asked(table, sort=falling, first=25, count=25)
    assert later["ticked"] == [False] * 3
    ends = {"from": later["rows"][0][0], "name": later["rows"][2][0]}
    message = {"kind": "range", "ticked": True, "sort": falling} | ends
    tell(table, message)
    assert len(part.chosen) == 4
    assert asked(table, sort=falling, first=25, count=25)["ticked"] == [True] * 3
    assert asked(table, sort=falling)["ticked"][:2] == [True, False]
    assert asked(table, search="training 24")["selected"] == "4 selected"
    tell(table, message | {"ticked": False})
    assert part.chosen == [first]
    tell(table, {"kind": "all", "ticked": False})
    assert part.chosen == []
    assert asked(table)["selected"] == "none selected"


def test_all_that_match_is_the_filter_and_not_a_list(office: Site, panel: AdjustPanel) -> None:
    part = panel.charges
    table = rows(part)
    asked(table, filters={"use": "slide"})
    tell(table, {"kind": "all", "ticked": True})
    fill(part, "quantity", "1")
    show(part)
    assert not part.apply.disabled
    asked(table, filters={"use": "scope"})  # others match now, so they are what is selected
    assert part.chosen == ["MIC/u1"]
    assert (part.apply.disabled, part.effect.value) == (True, "")
    asked(table)
    tick(table, "MIC/u1", ticked=False)
    assert part.chosen == ["MIC/u2", "MIC/u3"]
    page = asked(table, sort=[["total", False]])
    assert (page["ticked"], page["selected"]) == (
        [True, True, False],
        "2 selected: all that match",
    )
    tick(table, "MIC/u1")
    assert part.chosen == ["MIC/u1", "MIC/u2", "MIC/u3"]
    tell(table, {"kind": "range", "from": "gone", "name": "MIC/u2", "ticked": False})
    assert part.chosen == ["MIC/u1", "MIC/u3"]


@pytest.mark.parametrize("by_hand", [True, False])
def test_while_a_filter_is_refused_nothing_is_selected(
    office: Site, panel: AdjustPanel, by_hand: bool
) -> None:
    before, part = totals(office), panel.charges
    table = rows(part)
    asked(table, filters={"use": "slide"})
    if by_hand:
        tick(table, "MIC/u2")
        tick(table, "MIC/u3")
    else:
        tell(table, {"kind": "all", "ticked": True})
    fill(part, "rate", "2.00")
    show(part)
    refused = asked(table, filters={"use": "slide", "total": "> abc"})
    assert (refused["kind"], refused["selected"]) == ("refused", "nothing is selected")
    assert (part.apply.disabled, part.trail.widget.value) == (True, "")
    sentence = "! Total: 'abc' is no money to compare with, so nothing is selected; "
    assert said(part).startswith(sentence)
    assert show(part).startswith(sentence)
    part.apply_change()
    assert said(part).startswith(sentence)
    assert totals(office) == before
    asked(table, filters={"use": "slide"})
    assert said(part) == ""
    assert part.chosen == ["MIC/u2", "MIC/u3"]
    show(part)
    assert apply(part).startswith("Changed: 2 charges")


def test_charges_are_sought_by_code_draft_and_words(office: Site, panel: AdjustPanel) -> None:
    table = rows(panel.charges)
    asked(table)
    assert table.widget.offers["expense_codes"] == ["= A", "= B", "= C"]
    for filters, found in (
        ({"expense_codes": "= A"}, ["MIC/u1", "MIC/u2"]),
        ({"expense_codes": "= C"}, ["MIC/u3"]),
        ({"draft": "= OPEN"}, ["MIC/u1", "MIC/u2", "MIC/u3"]),
        ({"draft": "= MIC-2020-04-1/p2"}, ["MIC/u3"]),
        ({"draft": "="}, []),
        ({"changes": "="}, ["MIC/u1", "MIC/u2", "MIC/u3"]),
    ):
        assert listed(table, filters=filters) == found
    adjust_charge(office.engine, office.book("MIC"), "MIC/u3", {"note": "Prepaid"}, "by mail")
    panel.charges.refresh()
    assert listed(table, filters={"changes": "prepaid"}) == ["MIC/u3"]
    assert listed(table, search="by mail") == ["MIC/u3"]


def test_a_charge_on_its_way_out_is_left_out_of_all_that_match(office: Site) -> None:
    with writing(office.engine) as connection:
        prepare(connection, office.book("MIC"), Period(2020, 4), RunScope(projects=("p2",)))
    part = AdjustPanel("MIC", "2020-04", office=office).charges
    table = rows(part)
    asked(table)
    tell(table, {"kind": "all", "ticked": True})
    assert part.chosen == ["MIC/u1", "MIC/u2"]
    tick(table, "MIC/u3")  # to see how it came to its total
    assert part.chosen == ["MIC/u1", "MIC/u2", "MIC/u3"]
    assert "MIC/u3" in part.trail.widget.value
    fill(part, "rate", "2.00")
    assert "MIC/u3 is on invoice" in show(part)
    every = {"kind": "range", "from": "MIC/u1", "name": "MIC/u3"}
    tell(table, every | {"ticked": False})
    assert part.chosen == []
    rows(part).tick([])
    tell(table, every | {"ticked": True})
    assert part.chosen == ["MIC/u1", "MIC/u2"]


def test_lines_ad_hoc_invoices_and_notes_are_forms(office: Site, panel: AdjustPanel) -> None:
    ad_hoc, line, note = panel.ad_hoc, panel.line, panel.note
    ad_hoc.reference.value, ad_hoc.project.value = "PO-12", "p2"
    ad_hoc.create.click()
    assert said(ad_hoc) == "! the invoice has no first day; choose one"
    ad_hoc.start.value, ad_hoc.end.value = date(2020, 4, 6), date(2020, 4, 8)
    ad_hoc.create.click()
    assert "2020-04-06 to 2020-04-08, is open" in said(ad_hoc)
    ad_hoc.description.value = "Workshop"
    ad_hoc.edit.click()
    assert said(ad_hoc).endswith("is edited")

    assert line.date.value == date(2020, 4, 30)
    assert line.goes_to.value == ("p1", None)
    line.goes_to.value = (None, "PO-12")
    line.description.value, line.amount.value, line.reason.value = "Training", "75.00", "asked for"
    line.add.click()
    assert said(line) == "MIC/line-2020-04-1: Training, 75.00 USD on PO-12"
    assert totals(office)["MIC/line-2020-04-1"] == 7500
    assert cells(ad_hoc.listed.value) == [["PO-12", "p2", "2020-04", "1", "75.00", "OPEN"]]
    line.goes_to.value, line.date.value = ("p1", None), None
    line.description.value, line.amount.value, line.reason.value = "Training", "75.00", "asked for"
    line.add.click()
    assert said(line).startswith("! date: the line has no date")

    note.project.value, note.text.value = "p1", "The laser was down."
    note.write.click()
    assert said(note).endswith("project p1: the note is written")
    assert read_notes(office.engine, office.book("MIC"), "2020-04") == {"p1": "The laser was down."}
    note.project.value = "p2"
    assert note.text.value == ""


def test_stopping_leaves_everything_whole(office: Site) -> None:
    before, book = totals(office), office.book("MIC")
    message, begun, stopped = Message(), Event(), Event()
    progress = ProgressBar(message)

    def work(step: Progress) -> None:
        def watched(done: int, total: int, what: str) -> None:
            if what == "summing up the invoices":  # the charges are written by now
                begun.set()
                stopped.wait(10)
            step(done, total, what)

        changes = {"rate": "2.00"}
        adjust_many(office.engine, book, "2020-04", Filter(), changes, "agreed", step=watched)

    progress.start(work, lambda _: message.say("done"))
    assert begun.wait(10)
    assert (progress.running, progress.widget.layout.display) == (True, "")
    progress.start(work, lambda _: message.say("twice"))
    assert "something is under way" in message.widget.value
    progress.stop.click()
    stopped.set()
    progress.wait()
    assert "stopped; nothing of it was done" in message.widget.value
    assert progress.widget.layout.display == "none"
    assert totals(office) == before
    with reading(office.engine) as connection:
        assert read_events(connection, "MIC", kinds=["adjust"]).height == 0


def test_a_page_without_a_browser_has_the_charges(
    panel: AdjustPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    alone = panel._repr_mimebundle_()
    assert set(alone) == {"text/plain", "text/html"}
    assert [row[0] for row in cells(alone["text/html"])] == ["MIC/u1", "MIC/u2", "MIC/u3"]
    monkeypatch.setenv("JPY_SESSION_NAME", "adjust.ipynb")
    assert "application/vnd.jupyter.widget-view+json" in panel._repr_mimebundle_()
