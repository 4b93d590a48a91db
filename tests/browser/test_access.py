"""Who cannot use a mouse or see low contrast: the office held against WCAG 2.1 AA by axe-core."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from office_window import Facility
from playwright.sync_api import Page, expect

OPTIONS = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
OURS = ".jp-OutputArea-output"
"""What our notebooks show; JupyterLab's own page is not ours to mend."""


@pytest.mark.parametrize(
    ("notebook", "shown"),
    [
        ("home", "Facilities and months"),
        ("run", "waits for a reviewer's word"),
        ("adjust", "Show what it does"),
        ("approve", "This month has no billing run yet"),
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
    page = window("home.ipynb") if notebook == "home" else opened(here, notebook)
    expect(page.get_by_text(shown).first).to_be_visible()
    found = Axe().run(page, context={"include": [[OURS]]}, options=OPTIONS)
    wrong = [
        f"{violation['id']}: {node['html'][:120]}"
        for violation in found.response["violations"]
        for node in violation["nodes"]
    ]
    assert wrong == []
