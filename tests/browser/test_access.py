"""Who cannot use a mouse or see low contrast: the office held against WCAG 2.1 AA by axe-core."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from office_window import Facility
from playwright.sync_api import Page, expect

from billing_lib.pricing.clock import Period
from billing_lib.workflow.approve import make_run
from billing_lib.workflow.runs import RunScope

OPTIONS = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
OURS = ".jp-OutputArea-output"
"""What our notebooks show; JupyterLab's own page is not ours to mend."""


GENERAL = ("home", "invoices", "after", "prices", "listing", "statement", "audit")


@pytest.mark.parametrize(
    ("notebook", "shown"),
    [
        ("home", "text=Facilities and months"),
        ("prices", "text=Fiscal year start"),
        ("usage", "text=Drop usage files here"),
        ("review", "text=checks were asked"),
        ("run", "text=waits for a reviewer's sign-off"),
        ("adjust", "text=Show what it does"),
        ("approve", "iframe"),
        ("listing", "iframe"),
        ("statement", "text=smith"),
        ("invoices", "text=Show what it touches"),
        ("audit", "text=Verify"),
        ("after", "text=Show what it touches"),
    ],
)
def test_nothing_of_ours_fails_axe(
    facility: Callable[..., Facility],
    opened: Callable[..., Page],
    window: Callable[..., Page],
    notebook: str,
    shown: str,
) -> None:
    here = facility("AXE", issue="ready")
    make_run(here.engine, here.book, Period(2020, 4), RunScope(), "")
    page = window(f"{notebook}.ipynb") if notebook in GENERAL else opened(here, notebook)
    expect(page.locator(f"{OURS} >> {shown}").first).to_be_attached()
    page.wait_for_timeout(1000)  # widgets are drawn one after the other
    found = Axe().run(page, context={"include": [[OURS]]}, options=OPTIONS)
    wrong = [
        f"{violation['id']}: {node['html'][:120]}"
        for violation in found.response["violations"]
        for node in violation["nodes"]
    ]
    assert wrong == []
