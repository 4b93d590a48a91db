"""Facilities made from templates, and price books as workbooks, by the command line."""

import openpyxl
import pytest

from billing_lib.ledger.database import open_ledger, reading
from billing_lib.ledger.events import read_events
from billing_lib.workflow.price_book import templates

from .conftest import Office


def refused(office: Office, *words: object) -> str:
    said = office.run(*words)
    assert said.returncode == 2, said.stdout
    return said.stderr


TOTALS = {
    "clean-room": {"cells": "188.75", "polymers": "200.00"},
    "cluster": {"cells": "9.36", "polymers": "211.20"},
    "microscopy": {"cells": "145.00", "polymers": "155.00"},
    "sequencing": {"cells": "5735.00", "polymers": "760.00"},
    "workshop": {"cells": "223.55", "polymers": "440.00"},
}
"""By hand:

clean room  20.00 + 1.75 h × 45.00 + 5 × 18.00 = 188.75; 90.00 + at least 110.00 = 200.00
cluster     64 × 12 h × 0.012 = 9.216 → 9.22, 16 × 0.75 h × 0.012 = 0.144 → 0.14; 128 × 30 h × 0.055
microscopy  2 h × 40.00 + 2 h × 25.00 + 12 × 1.25 = 145.00; 0.5 h × 130.00 + 1.5 h × 60.00 = 155.00
sequencing  30 × 12.50 + 24 × 85.00 + 6 × 70.00 + 2 × 1450.00 = 5735.00; 4 × 190.00 = 760.00
workshop    3 h × 55.00 + 0.75 h × 25.00 + 5.00 + 34.80 = 223.55; 4 h × 110.00 = 440.00
"""


@pytest.mark.parametrize("template", templates())
def test_a_new_facility_bills_its_example(office: Office, template: str) -> None:
    office.done("init")
    said = office.done("facility", "new", "NEW", "--template", template, "--name", "Ours")
    example = said.split()[-1]
    assert "name: Ours" in (office.folder / "parameters" / "new.yml").read_text()
    office.done("load", "NEW", example)
    assert "0 unbilled" in office.done("rate", "NEW", "2026-01")
    office.done("ready", "NEW", "2026-01")
    office.done("issue", "NEW", "2026-01", "--date", "2026-02-02", "--allow-dirty")
    issued = office.listed("invoices", "--facility", "NEW", "--period", "2026-01")
    assert {row["project"]: row["total"] for row in issued} == TOTALS[template]


def test_mistakes_of_a_new_facility(office: Office) -> None:
    office.done("init")
    assert "name one of clean-room" in refused(office, "facility", "new", "X", "--template", "bar")
    words = ("facility", "new", "MIC", "--template", "workshop")
    assert "already has a price book" in refused(office, *words)
    words = ("facility", "new", "WS", "--template", "workshop", "--currency", "XXQ")
    assert "XXQ" in refused(office, *words)
    assert not (office.folder / "parameters" / "ws.yml").exists()


def test_a_workbook_goes_out_and_comes_back(office: Office) -> None:
    office.done("init")
    office.done("load", "MIC", "usage.csv")
    office.done("rate", "MIC", "2020-04")
    office.done("prices", "MIC", "--to", "book.xlsx")
    path = office.folder / "book.xlsx"
    book = openpyxl.load_workbook(path)
    book["rates"]["C3"] = "much"
    book.save(path)
    said = refused(office, "prices", "MIC", "--from", "book.xlsx", "--preview")
    assert "book.xlsx, sheet rates, row 3, column price: 'much' is no price" in said
    book["rates"]["C3"] = 2
    book.save(path)
    shown = office.done("prices", "MIC", "--from", "book.xlsx", "--preview")
    assert "rates, slide internal: price" in shown
    assert "157.33" in shown
    before = (office.folder / "parameters" / "microscopy.yml").read_text()
    assert '"1.25"' in before
    assert "reason" in refused(office, "prices", "MIC", "--from", "book.xlsx")
    office.done("prices", "MIC", "--from", "book.xlsx", "--reason", "new year")
    after = (office.folder / "parameters" / "microscopy.yml").read_text()
    assert after == before.replace('price: "1.25"', 'price: "2"')
    with reading(open_ledger(f"sqlite:///{office.folder / 'billing.db'}")) as connection:
        events = read_events(connection, "MIC", kinds=["price_book"])
    assert events["reason"].to_list() == ["first seen", "new year"]
    said = refused(office, "prices", "MIC", "--from", "book.xlsx")
    assert "changed since this workbook was made" in said
