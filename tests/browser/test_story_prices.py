"""Prices changed on the page: a mistake, its correction, a logo, the effect, the saved versions."""

import os
from collections.abc import Callable

from office_window import Facility, Lab, button, wait_until
from playwright.sync_api import Page, expect

from billing_lib.workflow.load import read_price_book

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M0 0h9v9z"/></svg>'

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
    expect(page.get_by_label("Letterhead")).to_have_value("Hall 3")
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
    taken = "mark.svg is taken in as price-logo-"
    for content, told in ((b"<svg/>", "the logo is not an SVG drawing"), (SVG, taken)):
        page.get_by_label("Drop a logo here").set_input_files(
            {"name": "mark.svg", "mimeType": "image/svg+xml", "buffer": content}
        )
        expect(page.get_by_text(told)).to_be_visible()
    button(page, "Show what it does").click()
    expect(page.get_by_role("cell", name="facility: logo")).to_be_visible()
    expect(page.get_by_text("1 month would have other totals")).to_be_visible()
    picture(page, "effect")
    page.get_by_label("Reason", exact=True).fill("prices of the year")
    page.keyboard.press("Tab")
    button(page, "Save").click()
    wait_until(page, lambda: len(here.events("price_book")) == 2)
    text = (lab.parameters / "price.yml").read_text()
    assert '{item: slide, group: internal, price: "2.00"}' in text
    assert "letterhead: Hall 3  # never moves" in text
    logo = read_price_book(lab.parameters, "PRICE").facility.logo
    assert logo is not None
    assert logo.content == SVG
    page.get_by_role("button", name="History of the price book").press("Enter")
    page.get_by_role("button", name="Show 2", exact=True).click()
    version = page.get_by_label("Text of the version")
    expect(version).to_contain_text('price: "2.00"')
    picture(page, "history")
    page.get_by_role("button", name="Show 1", exact=True).click()
    expect(version).to_contain_text('price: "1.25"')
