"""Stories of mending a month in JupyterLab: select, see, apply, undo; two people at once."""

import datetime as dt
from collections.abc import Callable

from office_window import APRIL, ME, Facility, button, wait_until
from playwright.sync_api import Page, expect

from billing_lib.ledger.charges import read_charges
from billing_lib.ledger.database import reading
from billing_lib.ledger.invoices import read_invoices

Make = Callable[..., Facility]
Open = Callable[..., Page]


def totals(facility: Facility) -> dict[str, int]:
    """Charge → total, in cents."""
    with reading(facility.engine) as connection:
        found = read_charges(connection, facility.code, period=APRIL)
    return dict(found.select("charge", "total").iter_rows())


def show_rate(page: Page, charge: str, rate: str, reason: str) -> None:
    """Select a charge, choose a new rate, say why, and look at what it does."""
    page.get_by_label(charge).check()
    page.get_by_role("combobox", name="Change", exact=True).select_option(
        label="Rate (price per unit)"
    )
    page.get_by_placeholder("a price per unit").fill(rate)
    page.get_by_label("Reason").first.fill(reason)
    button(page, "Show what it does").first.click()
    expect(page.get_by_text("Nothing is changed yet.").first).to_be_visible()


def test_a_charge_is_found_changed_and_the_change_undone(facility: Make, opened: Open) -> None:
    here, begun = facility("MEND"), dt.datetime.now(dt.UTC)
    page = opened(here, "adjust")
    page.get_by_label("Filter Item").fill("= slide")
    page.keyboard.press("Enter")
    expect(page.get_by_text("2 pending charges of 3, total 27.50 USD")).to_be_visible()
    show_rate(page, "MEND/u2", "1.00", "agreed by telephone")
    expect(page.get_by_text("15.00 → 12.00 USD").first).to_be_visible()
    assert totals(here)["u2"] == 1500
    button(page, "Apply").first.click()
    expect(page.get_by_role("cell", name="agreed by telephone").first).to_be_visible()
    assert totals(here) == {"u1": 13333, "u2": 1200, "u3": 1250}
    (change,) = here.events("adjust")
    assert (change["subject"], change["login"]) == ("u2", ME)
    assert change["reason"] == "agreed by telephone"
    assert begun < change["at"] < dt.datetime.now(dt.UTC)
    assert (change["before"], change["after"]) == ('{"rate":"1.25"}', '{"rate":"1"}')
    page.get_by_role("tab", name="Undo").click()
    page.get_by_placeholder("why it is taken back").fill("a mistake")
    button(page, "Show what it does").last.click()
    undo = button(page, "Undo the group")
    expect(undo).to_be_enabled()
    undo.click()
    wait_until(page, lambda: totals(here)["u2"] == 1500)


def test_charges_are_ticked_with_the_keyboard_and_a_refused_filter_selects_none(
    facility: Make, opened: Open
) -> None:
    page = opened(facility("TICK"), "adjust")
    selected = page.locator(".billing-selected")
    boxes = page.locator(".billing-row:visible input")
    expect(boxes).to_have_count(3)
    grid = page.get_by_role("grid", name="pending charges")
    grid.focus()
    page.keyboard.press("Space")
    expect(selected).to_have_text("1 selected")
    expect(page.get_by_role("row", name="TICK/u1")).to_have_attribute("aria-selected", "true")
    for key in ("ArrowDown", "End", "Shift+Space"):
        page.keyboard.press(key)
    expect(selected).to_have_text("3 selected")
    page.keyboard.press("Space")
    expect(selected).to_have_text("2 selected")
    expect(page.get_by_label("TICK/u3")).not_to_be_checked()
    button(page, "Select none").click()
    expect(selected).to_have_text("none selected")
    page.get_by_label("TICK/u1").check()
    page.get_by_label("TICK/u3").click(modifiers=["Shift"])
    expect(selected).to_have_text("3 selected")
    page.get_by_label("Filter Item").fill("slide")
    button(page, "Select all that match").click()  # at once, while the filter is hardly typed
    expect(selected).to_have_text("2 selected: all that match")
    page.get_by_label("Filter Total").fill("> abc")
    expect(selected).to_have_text("nothing is selected")
    assert [box.is_checked() for box in boxes.all()] == [False, False]
    button(page, "Show what it does").first.click()
    alert = page.get_by_role("alert")
    expect(alert.first).to_contain_text("'abc' is no money to compare with, so nothing is selected")
    button(page, "Clear the filter").click()
    expect(selected).to_have_text("3 selected: all that match")
    expect(alert).to_have_count(0)


def test_the_second_of_two_people_is_told_and_nothing_is_overwritten(
    facility: Make, opened: Open
) -> None:
    here = facility("TWO")
    first, second = opened(here, "adjust"), opened(here, "adjust")
    show_rate(first, "TWO/u2", "1.00", "the first")
    show_rate(second, "TWO/u2", "3.00", "the second")
    button(first, "Apply").first.click()
    expect(first.get_by_role("cell", name="the first").first).to_be_visible()
    button(second, "Apply").first.click()
    alert = second.get_by_role("alert").filter(has_text="TWO/u2")
    expect(alert).to_be_visible()
    expect(alert).to_contain_text(ME)
    assert totals(here)["u2"] == 1200
    second.get_by_label("TWO/u2").uncheck()
    show_rate(second, "TWO/u3", "2.00", "the second's own")
    button(second, "Apply").first.click()
    first.reload()
    for page in (second, first):  # each sees both changes, the first after opening the page anew
        for charge, reason in (("TWO/u2", "the first"), ("TWO/u3", "the second's own")):
            row = page.get_by_role("row", name=charge).filter(has=page.get_by_role("gridcell"))
            expect(row).to_contain_text(reason)
    assert totals(here) == {"u1": 13333, "u2": 1200, "u3": 2000}
    reasons = [event["reason"] for event in here.events("adjust")]
    assert reasons == ["the first", "the second's own"]


def test_an_ad_hoc_invoice_is_a_form(facility: Make, opened: Open) -> None:
    here = facility("ADHOC")
    page = opened(here, "adjust")
    page.get_by_role("tab", name="Ad hoc invoice").click()
    page.get_by_placeholder("a purchase order").fill("PO-12")
    page.get_by_label("First day").fill("2020-04-10")
    page.get_by_placeholder("what it is for").fill("A course")
    button(page, "Make the invoice").click()
    expect(page.get_by_role("status").filter(has_text="PO-12").first).to_be_visible()
    with reading(here.engine) as connection:
        (made,) = read_invoices(connection, "ADHOC", reference="PO-12").to_dicts()
    assert (made["kind"], made["state"]) == ("ad hoc", "OPEN")
