"""Prices changed on the page: a mistake, its correction, the effect on April, the saved file."""

import os
from collections.abc import Callable

from office_window import Facility, Lab, button, wait_until
from playwright.sync_api import Page, expect

Make = Callable[..., Facility]
Open = Callable[..., Page]


def picture(page: Page, name: str) -> None:
    """Keep a picture of the page where PICTURES names a folder."""
    if folder := os.environ.get("PICTURES"):
        for width, height in ((1280, 800), (1440, 900)):
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(500)
            page.screenshot(path=f"{folder}/{name}-{width}.png")


def test_a_price_is_changed_on_the_page(facility: Make, window: Open, lab: Lab) -> None:
    here = facility("PRICE", "letterhead: Hall 3  # never moves")
    page = window("prices.ipynb")
    page.get_by_label("Facility", exact=True).select_option(label="Microscopy (PRICE)")
    nav = page.get_by_role("navigation", name="Sections of the price book")
    picture(page, "facility")
    nav.get_by_role("button", name="Projects").click()
    page.get_by_role("button", name="More of projects 1 (p1)").click()
    picture(page, "projects")
    nav.get_by_role("button", name="Rates").click()
    price = page.get_by_label("Price, rates 2 (slide internal)")
    price.fill("much")
    page.keyboard.press("ArrowUp")
    expect(price).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Price, rates 1 (scope internal)")).to_be_focused()
    picture(page, "mistake")
    page.get_by_role("button", name="Rates, slide internal, price").click()
    expect(price).to_be_focused()
    price.fill("2.00")
    page.keyboard.press("Tab")
    expect(page.get_by_text("To correct before")).to_have_count(0)
    button(page, "Show what it does").click()
    expect(page.get_by_text("1 month would have other totals")).to_be_visible()
    picture(page, "effect")
    page.get_by_label("Reason").fill("prices of the year")
    page.keyboard.press("Tab")
    button(page, "Save").click()
    wait_until(page, lambda: len(here.events("price_book")) == 2)
    text = (lab.parameters / "price.yml").read_text()
    assert '{item: slide, group: internal, price: "2.00"}' in text
    assert "letterhead: Hall 3  # never moves" in text
