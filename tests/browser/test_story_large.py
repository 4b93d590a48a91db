"""Fifty thousand invoices in one table, in an office of their own."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from conftest import running_lab
from office_window import Lab, button
from playwright.sync_api import Page, expect
from sample_facility import BOOK, price_book

from billing_lib.ledger.database import writing
from billing_lib.ledger.invoices import insert_invoices, set_totals
from billing_lib.ledger.runs import make_run
from billing_lib.pricing.clock import Period
from billing_lib.workflow.notebooks import open_home
from billing_lib.workflow.permissions import note_facility

MONTHS, PROJECTS = 20, 2500
"""50,000 drafts: project p0001 of each month comes to 0.01, p0002 to 0.02 and so on."""

MEMORY = 900
"""MiB that the page's kernel may take; an empty one of ours takes about 200."""

WATCH = """() => {
  const look = () => {
    const bars = [...document.querySelectorAll('.widget-hprogress')];
    window.progressSeen ||= bars.some(bar => bar.offsetParent !== null);
  };
  const changes = { subtree: true, childList: true, attributes: true };
  new MutationObserver(look).observe(document.body, changes);
}"""
"""Notes whether a progress bar is ever in sight."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """An office with MONTHS × PROJECTS drafts."""
    with running_lab(tmp_path_factory.mktemp("large")) as here:
        (here.parameters / "mic.yml").write_text(BOOK)
        months = [Period(2020 + at // 12, at % 12 + 1) for at in range(MONTHS)]
        numbers = pl.Series(range(1, PROJECTS + 1))
        names = pl.DataFrame({"number": numbers}).select(
            project=pl.format("p{}", pl.col("number").cast(pl.String).str.zfill(4)),
            total=pl.col("number"),
        )
        with writing(here.engine) as connection:
            note_facility(connection, price_book())
            for month in months:
                run = make_run(connection, "MIC", str(month), "", "")
                drafts = names.with_columns(
                    code=pl.format("{}/{}", pl.lit(run), "project"),
                    facility=pl.lit("MIC"),
                    kind=pl.lit("periodic"),
                    run=pl.lit(run),
                    period=pl.lit(str(month)),
                    team=pl.lit("smith"),
                    covers_from=pl.lit(month.first_day),
                    covers_to=pl.lit(month.last_day),
                    description=pl.lit(""),
                )
                insert_invoices(connection, drafts.drop("total"))
                nothing = {"adjustment": 0, "tax": None, "cost": None}
                totals = drafts.with_columns(
                    charges=pl.lit(1),
                    raw_total="total",
                    **{name: pl.lit(it, pl.Int64) for name, it in nothing.items()},
                )
                set_totals(connection, "MIC", totals)
        open_home(here.office)
        yield here


def kernels(lab: Lab) -> list[int]:
    """The MiB in memory of the kernels of this JupyterLab, and of the process that forks them."""
    sizes = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if b"warm_kernel" in command and str(lab.office) in (process / "environ").read_text():
                (pages,) = (process / "statm").read_text().split()[1:2]
                sizes.append(int(pages) * os.sysconf("SC_PAGE_SIZE") // 2**20)
        except OSError:  # it has ended
            continue
    return sizes


def test_fifty_thousand_invoices_are_found_sorted_and_acted_on(
    large: Lab, window: Callable[..., Page]
) -> None:
    page = window("invoices.ipynb", large)
    # 20 × (0.01 + … + 25.00) = 20 × 2,500 × 25.01 ÷ 2
    expect(page.get_by_text("50,000 invoices, total 625,250.00 USD")).to_be_visible()
    page.get_by_role("button", name="Total", exact=True).dblclick()
    first = page.get_by_role("row").filter(has_text="2500").first
    expect(first).to_contain_text("25.00")
    page.get_by_label("Filter Month").fill("= 2020-04")
    expect(page.get_by_text("2,500 invoices of 50,000, total 31,262.50 USD")).to_be_visible()
    page.get_by_label("Show").select_option("Ready to approve")
    page.get_by_label("Show").select_option("All")
    button(page, "Select all that match").first.click()
    expect(page.get_by_text("2,500 selected: all that match")).to_be_visible()
    page.get_by_label("Action", exact=True).select_option("Quarantine")
    page.get_by_label("Reason", exact=True).fill("ask all labs")
    page.keyboard.press("Tab")
    page.evaluate(WATCH)
    button(page, "Show what it touches").click()
    would = "Nothing is done yet. 2,500 invoices, 31,262.50 USD would be put in quarantine"
    expect(page.get_by_role("status").filter(has_text=would)).to_be_visible()
    assert page.evaluate("window.progressSeen") is True
    assert max(kernels(large)) < MEMORY
