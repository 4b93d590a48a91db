"""Every page held against WCAG 2.1 AA by axe-core, and against the sizes of people's screens."""

from collections.abc import Callable

from axe_playwright_python.sync_playwright import Axe
from office_window import SIGHT, Facility, go_to
from playwright.sync_api import Page, expect

from billing_lib.pricing.clock import Period
from billing_lib.workflow.approve import make_run
from billing_lib.workflow.notebooks import open_home
from billing_lib.workflow.runs import RunScope

OPTIONS = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
OURS = ".jp-OutputArea-output"
"""What our notebooks show; JupyterLab's own page is not ours to mend."""

SIZES = ((1280, 800), (1440, 900), (1920, 1080))

PAGES = {
    "Usage": "text=Drop usage files here",
    "Review": "text=checks were asked",
    "Adjust": "text=Show what it does",
    "Run": "text=waits for a reviewer's sign-off",
    "Approve": "iframe",
    "Home": "text=Facilities and months",
    "Invoices": "text=Show what it touches",
    "After issue": "text=Show what it touches",
    "Prices and people": "text=Fiscal year start",
    "Listings": "iframe",
    "Statements": "text=smith",
    "Audit": "text=Verify",
}
"""The links of the bar, and a part of each page that is seen once it is there."""

WIDE = """[document.scrollingElement, ...document.querySelectorAll(
    '.jp-WindowedPanel-outer, .jp-OutputArea-output, .widget-box')]
  .filter(it => it.scrollWidth > it.clientWidth + 1
    && getComputedStyle(it).overflowX !== 'visible')
  .map(it => `${it.className} ${it.scrollWidth} of ${it.clientWidth}`)"""


def test_every_page_passes_axe_and_fits_the_window(
    facility: Callable[..., Facility], opened: Callable[..., Page]
) -> None:
    here = facility("AXE", issue="ready")
    make_run(here.engine, here.book, Period(2020, 4), RunScope(), "")
    open_home(here.lab.office)
    page = opened(here, "usage")
    axe, wrong = Axe(), []
    for name, shown in PAGES.items():
        go_to(page, name)
        expect(page.locator(f"{SIGHT} {OURS} >> {shown}").first).to_be_attached()
        page.wait_for_timeout(1000)  # widgets are drawn one after the other
        found = axe.run(page, context={"include": [[f"{SIGHT} {OURS}"]]}, options=OPTIONS)
        wrong += [
            f"{name}: {violation['id']}: {node['html'][:120]}"
            for violation in found.response["violations"]
            for node in violation["nodes"]
        ]
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(300)
            wrong += [f"{name} at {width}: {it}" for it in page.evaluate(WIDE)]
    ids = page.evaluate("[...document.querySelectorAll('[id^=billing-]')].map(it => it.id)")
    wrong += [f"{it} is the id of two" for it in ids if ids.count(it) > 1]
    assert wrong == []
