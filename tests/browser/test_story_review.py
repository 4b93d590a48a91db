"""Stories of review in JupyterLab: a month's charges, what is wrong with it, the way to mend it."""

from collections.abc import Callable

from office_window import ME, Facility, button, wait_until
from playwright.sync_api import Page, expect

Make = Callable[..., Facility]
Open = Callable[..., Page]


def test_charges_are_searched_one_is_mended_and_a_finding_dismissed(
    facility: Make, opened: Open
) -> None:
    here = facility("LOOK")
    page = opened(here, "review")
    counted = page.get_by_role("status").filter(has_text="charge")
    expect(counted.first).to_have_text("3 charges, total 160.83 USD")
    page.get_by_label("Filter Item").fill("slide")
    expect(counted.first).to_have_text("2 charges of 3, total 27.50 USD")
    page.get_by_label("Filter Item").fill("")
    page.get_by_label("Search charges").fill("bob")
    expect(counted.first).to_have_text("1 charge of 3, total 15.00 USD")
    page.get_by_label("Search charges").fill("")
    page.get_by_role("button", name="Total", exact=True).first.click()
    first = page.get_by_role("button", name="Change LOOK/").first
    expect(first).to_have_accessible_name("Change LOOK/u3")
    page.get_by_role("button", name="Change LOOK/u2").click()
    page.get_by_role("combobox", name="Change", exact=True).select_option(
        label="Rate (price per unit)"
    )
    page.get_by_placeholder("a price per unit").fill("1.00")
    page.get_by_label("Reason").first.fill("seen in review")
    button(page, "Show what it does").first.click()
    expect(page.get_by_text("15.00 → 12.00 USD").first).to_be_visible()
    button(page, "Apply").first.click()
    wait_until(page, lambda: len(here.events("adjust")) == 1)
    (change,) = here.events("adjust")
    assert (change["subject"], change["login"], change["reason"]) == ("u2", ME, "seen in review")

    findings = page.get_by_role("status").filter(has_text="finding")
    expect(findings.first).to_have_text("2 findings")
    page.get_by_role("row", name="unknown_project").get_by_role("button").click()
    expect(page.get_by_role("heading", name="Unbilled usage: unknown_project")).to_be_visible()
    page.get_by_label("Reason").locator("visible=true").last.fill("a test account")
    button(page, "Dismiss the finding").click()
    expect(findings.first).to_have_text("1 finding")
