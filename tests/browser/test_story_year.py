"""A new facility from a template to a paid statement, roles, and prices by Excel, all on pages."""

import datetime as dt
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import openpyxl
from office_window import ME, SIGHT, SLOW, Facility, Lab, button, go_to, wait_until
from playwright.sync_api import Page, expect

from billing_lib.ledger.database import reading
from billing_lib.ledger.invoices import read_invoices
from billing_lib.workflow.permissions import ROLES, list_permissions
from billing_lib.workflow.price_book import TEMPLATES
from billing_lib.workflow.statements import list_statements

MONTH = "2026-01"
"""The month of the template's example: 4 h from 16:00, 2 of them after hours, are 2 × 40.00 and
2 × 25.00; 12 slides of 1.25; for the company half an hour of 130.00 and 1.5 hours of 60.00."""


def carry_out(
    page: Page, action: str, touched: str, done: str, tick: str = "", **entries: str
) -> None:
    """Choose an action, fill in its form, look at what it touches, carry it out."""
    shown = page.locator(SIGHT)
    shown.get_by_label("Action", exact=True).select_option(action)
    if tick:
        shown.get_by_label(tick).check()
    for label, value in entries.items():
        shown.get_by_label(label, exact=True).fill(value)
        page.keyboard.press("Tab")
    button(shown, "Show what it touches").click()
    said = shown.get_by_role("status")
    expect(said.filter(has_text=touched)).to_be_visible()
    shown.locator("button.mod-primary", has_text=action).click()
    expect(said.filter(has_text=re.compile(done))).to_be_visible(timeout=2 * SLOW)


def test_a_new_facility_bills_its_first_month_to_a_paid_statement(
    window: Callable[..., Page], lab: Lab
) -> None:
    page = window("prices.ipynb")
    page.get_by_label("Template").select_option(label="Microscopy")
    page.get_by_label("Code", exact=True).last.fill("YEAR")
    page.keyboard.press("Tab")
    button(page, "Make the facility").click()
    expect(page.get_by_text("YEAR is made and shown above")).to_be_visible()
    expect(page.get_by_label("Facility", exact=True)).to_have_value("Microscopy (YEAR)")
    page.get_by_role("button", name="Rates 12", exact=True).click()
    page.get_by_role("button", name="Delete rates 12 (assistance company)").click()
    expect(page.get_by_role("button", name="Rates 11", exact=True)).to_be_visible()
    button(page, "Take all changes back").click()
    expect(page.get_by_role("button", name="Rates 12", exact=True)).to_be_visible()

    go_to(page, "Home")
    page.get_by_role("link", name="Load usage of YEAR").click()
    page.get_by_label("Drop usage files here").set_input_files(
        TEMPLATES / "microscopy" / "usage.csv"
    )
    expect(page.get_by_text("4 records read").first).to_be_visible()
    button(page, "Load").click()
    expect(page.get_by_text("Loaded. usage.csv: 4 records read")).to_be_visible()
    button(page, f"Rate {MONTH}").click()
    expect(page.get_by_text(f"Rated: {MONTH}")).to_be_visible()

    go_to(page, "Home")
    page.get_by_role("link", name=f"Review YEAR {MONTH}").click()
    expect(page.get_by_text("4 charges, total 300.00 USD").first).to_be_visible()
    go_to(page, "Run")
    carry_out(page, "Sign the month off", "4 charges, total 300.00", f"YEAR {MONTH} is ready")
    carry_out(page, "Make or update the invoices", "billing run", "^billing run .* made: 2")
    issue = "Submit, and issue what is approved"
    would = "2 invoices, 300.00 USD would be issued"
    carry_out(page, issue, would, "issued 2 invoices", tick="also from changed files")

    go_to(page, "Invoices")
    page.get_by_label("Filter Facility").first.fill("= YEAR")
    shown = page.locator(SIGHT)
    expect(shown.get_by_text(re.compile(r"^2 invoices\b"))).to_be_visible()
    button(page, "Select all that match").first.click()
    sums = "2 invoices, 300.00 USD"
    carry_out(page, "Deliver by mail", sums, f"Done. {sums}", tick="send at once")
    assert sorted(to for to, text in lab.mail if "YEAR-" in text) == [
        "billing@example.com",
        "lab@example.edu",
    ]

    go_to(page, "After issue")
    shown.get_by_label("Month").fill(MONTH)
    page.keyboard.press("Tab")
    carry_out(page, "Update the month's statements", "Nothing is done yet", "^Done: ")
    shown.get_by_label(re.compile("^Select .*example-lab")).check()
    pay = {"Date": "2026-03-02", "Reference": "WIRE 7"}
    carry_out(page, "Record a payment", "Nothing is done yet", "^Done: .*paid", **pay)

    shown.get_by_label("Part").select_option("Roles")
    shown.get_by_label("Facility", exact=True).select_option("Microscopy (YEAR)")
    for login, role in ((ME, "administrator"), ("ann", "reviewer")):
        shown.get_by_label("Action", exact=True).select_option("Give a role")
        shown.get_by_label("Role", exact=True).select_option(f"{role}: {ROLES[role]}")
        given = {"Login": login, "Reason": "new"}
        carry_out(
            page, "Give a role", "Nothing is done yet", f"^Done: .*{login} is an? {role}", **given
        )
    shown.get_by_label(re.compile("^Select ann$")).check()
    gone = "^Done: .*ann is no reviewer any more"
    carry_out(page, "Take ticked roles", "Nothing is done yet", gone, Reason="left")

    assert list_permissions(lab.engine, "YEAR").select("login", "role").rows() == [
        (ME, "administrator")
    ]
    with reading(lab.engine) as connection:
        bills = read_invoices(connection, "YEAR").select("project", "total", "state", "paid_on")
    assert bills.rows() == [
        ("cells", 14500, "PAID", dt.date(2026, 3, 2)),
        ("polymers", 15500, "APPROVED", None),
    ]
    assert list_statements(lab.engine, MONTH).filter(team="example-lab")["state"].item() == "PAID"


def test_prices_are_changed_by_excel(
    facility: Callable[..., Facility], window: Callable[..., Page], lab: Lab, tmp_path: Path
) -> None:
    here = facility("EXCEL")
    page = window("prices.ipynb")
    page.get_by_label("Facility", exact=True).select_option(label="Microscopy (EXCEL)")
    button(page, "Make an Excel workbook").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="excel.xlsx").click()
    book = openpyxl.load_workbook(BytesIO(Path(download.value.path()).read_bytes()))
    cells = [cell for sheet in book for row in sheet for cell in row if cell.value == "1.25"]
    (price,) = cells
    price.value = "2.00"
    changed = tmp_path / "excel.xlsx"
    book.save(changed)
    page.get_by_label("Drop a changed workbook here").set_input_files(changed)
    expect(page.get_by_text("excel.xlsx changes 1 value.")).to_be_visible()
    button(page, "Show what it does").click()
    expect(page.get_by_role("cell", name="rates, slide internal: price")).to_be_visible()
    # 22 slides of April at 0.75 more
    expect(page.get_by_text("1 month would have other totals")).to_be_visible()
    expect(page.get_by_role("cell", name="177.33")).to_be_visible()
    page.get_by_label("Reason", exact=True).fill("prices by Excel")
    page.keyboard.press("Tab")
    button(page, "Save").click()
    expect(page.get_by_text("excel.yml is saved.")).to_be_visible()
    wait_until(page, lambda: len(here.events("price_book")) == 2)
    saved = here.events("price_book")[-1]
    assert saved["reason"] == "prices by Excel"
    assert '"rates, slide internal: price":"2.00"' in str(saved["after"])
    assert 'price: "2.00"' in (lab.parameters / "excel.yml").read_text()
