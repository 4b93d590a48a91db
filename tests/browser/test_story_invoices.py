"""A story of many invoices in JupyterLab: found, looked at, acted on together, opened."""

import re
from collections.abc import Callable

from office_window import ME, Facility, button
from playwright.sync_api import Page, expect

from billing_lib.ledger.database import reading
from billing_lib.ledger.invoices import read_invoices
from billing_lib.pricing.clock import Period
from billing_lib.workflow.approve import make_run
from billing_lib.workflow.runs import RunScope


def test_invoices_are_acted_on_together_and_one_is_opened(
    facility: Callable[..., Facility], window: Callable[..., Page]
) -> None:
    here = facility("MANY", f"approval: {{reviewers: [{ME}]}}")
    make_run(here.engine, here.book, Period(2020, 4), RunScope(), "")
    page = window("invoices.ipynb")
    page.get_by_label("Filter Facility").first.fill("= MANY")
    expect(page.get_by_text(re.compile(r"^2 invoices\b"))).to_be_visible()
    button(page, "Select all that match").first.click()
    expect(page.get_by_text("2 selected: all that match")).to_be_visible()
    page.get_by_label("Action", exact=True).select_option("Submit for approval")
    button(page, "Show what it touches").click()
    said = page.get_by_role("status")
    would = "Nothing is done yet. 2 invoices, 160.83 USD would be submitted."
    expect(said.filter(has_text=would)).to_be_visible()
    button(page, "Submit for approval: 2 invoices, 160.83 USD").click()
    expect(said.filter(has_text="Done. 2 invoices, 160.83 USD submitted.")).to_be_visible()
    with reading(here.engine) as connection:
        assert set(read_invoices(connection, "MANY")["state"]) == {"APPROVING"}
    page.get_by_role("button", name="Open MANY-2020-04-1/p1").click()
    expect(page.get_by_title("Invoice MANY-2020-04-1/p1 as it will be sent")).to_be_in_viewport()
    page.get_by_role("tab", name="Lines and prices").click()
    page.get_by_role("button", name="Price 1", exact=True).click()
    expect(page.get_by_text("A pays 60 %: 80.00")).to_be_visible()
    page.get_by_role("tab", name="History").click()
    expect(page.get_by_role("cell", name="submit", exact=True)).to_be_visible()
