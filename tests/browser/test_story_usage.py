"""A file with twenty kinds of bad rows: dropped, loaded, mended in place, until the month rates."""

import os
from collections.abc import Callable

import polars as pl
from office_window import APRIL, Facility, button, wait_until
from playwright.sync_api import Page, expect

from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger.database import reading
from billing_lib.workflow.mend import read_rows
from billing_lib.workflow.rate import read_unbilled

ALIKE = ("w22,slide,p8,ann,,,2020-04-07,1,", "w23,slide,p8,eve,,,2020-04-07,1,")
"""Rows with the same unknown project, which are mended at once: 2 pieces of 1.25."""

HEADER = "id,item,project,user,start,end,date,quantity,reference\n"

BAD: tuple[tuple[str, dict[str, str]], ...] = (
    ("w01,slide,p1,ann,,,2020-04-07,many,", {"Quantity": "1"}),
    ("w02,slide,p1,ann,,,2020-04-07,,", {"Quantity": "1"}),
    ("w03,slide,p1,ann,,,2020-04-07,-1,", {"Quantity": "1"}),
    ("w04,slide,p1,ann,,,2020-04-07,#REF!,", {"Quantity": "1"}),
    ("w05,slide,p1,ann,,,2020-04-07,1;5,", {"Quantity": "1"}),
    ("w06,slide,p9,ann,,,2020-04-07,1,", {"Project": "p1"}),
    ("w07,slide,,ann,,,2020-04-07,1,", {"Project": "p1"}),
    ("w08,slides,p1,ann,,,2020-04-07,1,", {"Item": "slide"}),
    ("w09,,p1,ann,,,2020-04-07,1,", {"Item": "slide"}),
    ("w10,scope,p1,ann,early,2020-04-07T12:00,,,", {"Start": "2020-04-07 11:00"}),
    ("w11,scope,p1,ann,2020-04-08T11:00,late,,,", {"End": "2020-04-08 12:00"}),
    ("w12,scope,p1,ann,,2020-04-09T12:00,,,", {"Start": "2020-04-09 11:00"}),
    ("w13,scope,p1,ann,2020-04-10T11:00,,,,", {"End": "2020-04-10 12:00"}),
    ("w14,scope,p1,ann,2020-04-11T11:00,2020-04-11T10:00,,,", {"End": "2020-04-11 12:00"}),
    (
        "w15,scope,p1,ann,2020-04-12T25:00,2020-04-12T26:00,,,",
        {"Start": "2020-04-12 11:00", "End": "2020-04-12 12:00"},
    ),
    ("w16,slide,p1,ann,,,2020-04-31,1,", {"Date": "2020-04-30"}),
    ("w17,slide,p1,ann,,,43928,1,", {"Date": "2020-04-07"}),
    ("w18,slide,p1,ann,,,,1,", {"Date": "2020-04-07"}),
    ("w18,slide,p1,ann,,,2020-04-08,1,", {"Its own id": "w18b"}),
    ("w19,slide,p1,ann,,,2020-04-07,1,AH-9", {"Reference": ""}),
    (",slide,p1,ann,,,2020-04-07,one,", {"Quantity": "1"}),
    ("w20,slide,p1,ann", {"Item": "slide", "Project": "p1", "Date": "2020-04-07", "Quantity": "1"}),
    (
        "w21,slide,p1,ann,,,2020-04-07,1,,,more,cells",
        {"Item": "slide", "Project": "p1", "Date": "2020-04-07", "Quantity": "1"},
    ),
)
"""Rows, and the fields that mend each: 16 pieces of 1.25, and six hours of 40.00."""


def waiting(here: Facility) -> int:
    """The rows that are neither mended nor dismissed."""
    rows = read_rows(here.engine, here.book, APRIL)
    return rows.filter(pl.col("dismissed") == "").height


def picture(page: Page, name: str) -> None:
    """Keep a picture of the page where PICTURES names a folder."""
    if folder := os.environ.get("PICTURES"):
        for width, height in ((1280, 800), (1440, 900)):
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(500)
            page.screenshot(path=f"{folder}/{name}-{width}.png")


def test_bad_rows_are_mended_in_place_until_the_month_rates(
    facility: Callable[..., Facility], opened: Callable[..., Page]
) -> None:
    here = facility("MEND")
    page = opened(here, "usage")
    text = HEADER + "".join(f"{row}\n" for row in (*(row for row, _ in BAD), *ALIKE))
    page.get_by_label("Drop usage files here").set_input_files(
        {"name": "week.csv", "mimeType": "text/csv", "buffer": text.encode()}
    )
    expect(page.get_by_text("Nothing is loaded yet.")).to_be_visible()
    expect(page.get_by_text("25 records read").first).to_be_visible()
    picture(page, "looked")
    page.get_by_role("heading", name="The mapping").scroll_into_view_if_needed()
    picture(page, "mapping")
    button(page, "Load").scroll_into_view_if_needed()
    picture(page, "report")
    button(page, "Load").click()
    expect(page.get_by_text("Loaded. week.csv: 25 records read")).to_be_visible()
    button(page, f"Rate {APRIL}").first.click()
    expect(page.get_by_text(f"Rated: {APRIL}")).to_be_visible()
    rows = read_rows(here.engine, here.book, APRIL)
    assert rows.height == 2 + len(BAD) + len(ALIKE)
    page.get_by_role("button", name="Mend all rows with the same wrong value").press("Enter")
    page.get_by_label("Field", exact=True).select_option("Project")
    page.get_by_label("Present value").select_option("p8 (2 rows)")
    page.get_by_label("New value").fill("p1")
    page.get_by_label("Reason", exact=True).nth(2).fill("the project's old name")
    page.keyboard.press("Tab")
    button(page, "Show what it touches").click()
    alike = "project p8 → p1 in 2 rows; 2 of 2 can be billed"
    expect(page.get_by_text(f"Nothing is done yet: {alike}")).to_be_visible()
    picture(page, "alike")
    button(page, "Mend 2 rows").click()
    expect(page.get_by_text(f"Done: {alike}")).to_be_visible()
    rows = read_rows(here.engine, here.book, APRIL)
    bad = rows.filter(pl.col("file") == "week.csv")
    assert bad.height == len(BAD)
    # Two rows of the facility's own file come before: one is mended, one dismissed.
    page.get_by_role("button", name="Mend u4").click()
    picture(page, "rows")
    mended: dict[str, dict[str, str]] = {"u4": {}, "u5": {"Quantity": "12"}}
    by_row = {number: fields for number, (_, fields) in enumerate(BAD, start=2)}
    left = rows.height
    for row in rows.sort("file", "row").iter_rows(named=True):
        expect(page.get_by_role("heading", name=f"{row['record']}: ")).to_be_visible()
        fields = mended.get(row["record"]) if row["file"] != "week.csv" else by_row[row["row"]]
        if row["record"] == "w10":
            page.get_by_role("heading", name="w10: ").scroll_into_view_if_needed()
            picture(page, "form")
        for label, value in (fields or {}).items():
            page.get_by_label(label, exact=True).last.fill(value)
        page.get_by_label("Reason", exact=True).nth(1).fill("asked the lab")  # of the row
        button(page, "Mend the row" if fields else "Dismiss the row").click()
        left -= 1
        wait_until(page, lambda: waiting(here) == left)  # noqa: B023 - it is waited for here
    expect(page.get_by_text(f"No row of {APRIL} waits to be mended, 1 dismissed")).to_be_visible()
    picture(page, "done")
    button(page, f"Rate {APRIL}").last.click()
    expect(page.get_by_text("0 changed) + 1 unbilled (1 unknown_project)")).to_be_visible()
    assert read_unbilled(here.engine, here.code, APRIL)["record"].to_list() == ["u4"]
    with reading(here.engine) as connection:
        charges = ledger_charges.read_charges(connection, here.code, period=APRIL)
    assert charges.height == 4 + len(BAD) + len(ALIKE)
    assert charges["total"].sum() == 16083 + 1500 + 6 * 4000 + (17 + len(ALIKE)) * 125


def test_a_file_above_ten_megabytes_is_dropped_on_the_page(
    facility: Callable[..., Facility], opened: Callable[..., Page]
) -> None:
    page = opened(facility("DROP"), "usage")
    expect(page.get_by_label("Drop usage files here")).to_be_visible()
    dropped = page.evaluate_handle(
        """() => {
          const lines = ['id,item,project,user,date,quantity,note'];
          for (let at = 1; at <= 120; at += 1)
            lines.push(`d${at},slide,p1,ann,2020-04-07,1,${'x'.repeat(100000)}`);
          const transfer = new DataTransfer();
          transfer.items.add(new File([lines.join('\\n')], 'large.csv', { type: 'text/csv' }));
          return transfer;
        }"""
    )
    page.dispatch_event(".billing-drop", "drop", {"dataTransfer": dropped})
    expect(page.get_by_label("Upload")).to_be_visible()  # its progress
    expect(page.get_by_text("120 records read").first).to_be_visible()
    expect(page.get_by_text("Nothing is loaded yet.")).to_be_visible()
