"""The office's frame in JupyterLab: pages alone, a bar between them, and a way to the lab."""

from collections.abc import Callable

from office_window import APRIL, Facility, Lab
from playwright.sync_api import Page, expect

from billing_lib.workflow.runs import sign_off

Make = Callable[..., Facility]
Open = Callable[..., Page]

CHROME = (
    *(".jp-NotebookPanel-toolbar", ".jp-Notebook-footer", ".jp-Collapser", ".jp-InputPrompt"),
    *(".jp-OutputPrompt", ".jp-cell-toolbar", ".jp-CodeMirrorEditor", "#jp-top-panel"),
    *("#jp-menu-panel", ".jp-SideBar", "#jp-main-statusbar"),
)
"""Parts of a programmer's notebook, by their selectors in JupyterLab 4."""


def test_nothing_of_a_programmers_notebook_is_seen(facility: Make, opened: Open) -> None:
    page = opened(facility("FRAME"), "run")
    expect(page.get_by_text("Show what it touches")).to_be_visible()
    assert [name for name in CHROME if page.locator(f"{name}:visible").count()] == []
    cells = page.locator(".jp-Cell").count()
    page.get_by_role("heading", name="The billing run").dblclick()
    for key in ("d", "d", "Escape", "d", "d", "b", "x"):  # JupyterLab's keys that change cells
        page.keyboard.press(key)
    assert page.locator(".jp-Cell").count() == cells
    assert page.locator(".jp-CodeMirrorEditor:visible").count() == 0


def test_the_bar_leads_from_page_to_page_and_back(facility: Make, opened: Open, lab: Lab) -> None:
    here = facility("BAR")
    page = opened(here, "run")
    bar = page.get_by_role("navigation", name="Pages of the billing office")
    expect(bar).to_contain_text(f"BAR {APRIL}")
    expect(bar.get_by_role("link", name="Run")).to_have_attribute("aria-current", "page")
    expect(page).to_have_title(f"Run BAR {APRIL} – Billing")
    bar.get_by_role("link", name="Adjust").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Show what it does").first).to_be_visible()
    expect(page).to_have_title(f"Adjust BAR {APRIL} – Billing")
    assert page.url.endswith(f"/doc/tree/BAR/{APRIL}/adjust-BAR-{APRIL}.ipynb")
    page.go_back()
    expect(page.get_by_text("Show what it touches")).to_be_visible()
    expect(bar.get_by_role("link", name="Run")).to_have_attribute("aria-current", "page")
    with page.expect_popup() as opening:
        bar.get_by_role("link", name="JupyterLab").click()
    ordinary = opening.value
    expect(ordinary.locator(".jp-NotebookPanel-toolbar").first).to_be_visible()
    expect(ordinary.get_by_text("Show what it touches").first).to_be_visible()


def test_home_shows_the_work_of_others_and_my_next_step(facility: Make, window: Open) -> None:
    here = facility("LIVE", issue="ready")
    page = window("home.ipynb")
    row = page.get_by_role("row", name="LIVE")
    expect(row).to_contain_text("IN REVIEW")
    expect(row).to_contain_text("160.83 USD")
    expect(row).to_contain_text("a reviewer's sign-off")
    sign_off(here.engine, here.book, APRIL, "by somebody else")
    expect(row).to_contain_text("READY")
    page.get_by_role("link", name=f"Next step of LIVE {APRIL}: run").first.click()
    expect(page.get_by_text("Show what it touches")).to_be_visible()
    assert page.url.endswith(f"/doc/tree/LIVE/{APRIL}/run-LIVE-{APRIL}.ipynb")
