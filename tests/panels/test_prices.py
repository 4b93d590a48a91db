"""The page of prices and people, without a browser."""

from copy import deepcopy
from io import BytesIO
from typing import Any

import openpyxl
import pytest

from billing_lib import Site
from billing_lib.documents.book_workbook import write_workbook
from billing_lib.ledger.database import reading
from billing_lib.ledger.events import read_events
from billing_lib.panels.prices import PricesPanel


@pytest.fixture
def panel(office: Site) -> PricesPanel:
    return PricesPanel("MIC", office)


def change(panel: PricesPanel, price: str) -> None:
    content: dict[str, Any] = deepcopy(panel.book.content)
    content["rates"][1]["price"] = price
    panel.book.content = content


def test_the_first_facility_is_open_unless_one_is_named(office: Site) -> None:
    panel = PricesPanel(office=office)
    assert panel.facility.value == "MIC"
    assert panel.book.content["facility"]["code"] == "MIC"


def test_a_change_is_shown_then_saved(panel: PricesPanel, office: Site) -> None:
    assert panel.show_button.disabled
    change(panel, "2.00")
    assert not panel.show_button.disabled
    assert panel.save_button.disabled
    panel.show_effect()
    panel.progress.wait()
    assert "rates, slide internal: price" in panel.effect.value
    assert "157.33" in panel.effect.value
    assert "2020-04" in panel.effect.value
    panel.save()
    panel.progress.wait()
    assert "reason" in panel.message.widget.value
    panel.reason.value = "prices of the year"
    panel.save()
    panel.progress.wait()
    assert "microscopy.yml is saved" in panel.message.widget.value
    assert office.book("MIC").rates[1].body == '{"group":"internal","item":"slide","price":"2"}'
    with reading(office.engine) as connection:
        events = read_events(connection, "MIC", kinds=["price_book"])
    assert events["reason"].to_list() == ["first seen", "prices of the year"]
    history = panel.history
    history.fold.heading.opened = True
    rows = history.table.matching().select("version", "reason", "changed").rows()
    assert rows == [
        ("2", "prices of the year", "rates, slide internal: price 1.25 → 2.00"),
        ("1", "first seen", ""),
    ]
    history.show(1)
    assert "price: &quot;1.25&quot;" in history.shown.value
    history.show(0)
    assert "price: &quot;2.00&quot;" in history.shown.value
    assert "<td" in history.shown.value


def test_mistakes_stand_at_their_field(panel: PricesPanel) -> None:
    change(panel, "much")
    (mistake,) = panel.book.mistakes
    assert mistake["place"] == ["rates", 1, "price"]
    assert mistake["where"] == "Rates, slide internal, price"
    assert mistake["text"].startswith("'much' is no price")
    assert panel.show_button.disabled
    panel.back_button.click()
    assert panel.book.mistakes == []
    assert panel.book.content["rates"][1]["price"] == "1.25"


def test_a_change_after_the_preview_needs_a_new_one(panel: PricesPanel) -> None:
    change(panel, "2.00")
    panel.show_effect()
    panel.progress.wait()
    change(panel, "3.00")
    assert panel.save_button.disabled
    panel.save()
    panel.progress.wait()
    assert "show first" in panel.message.widget.value


def test_every_section_has_its_fields(panel: PricesPanel) -> None:
    names = {section["name"]: section for section in panel.book.sections}
    assert {"facility", "items", "rates", "rules", "teams", "projects"} <= names.keys()
    split = next(it for it in names["projects"]["fields"] if it["name"] == "split")
    assert [it["name"] for it in split["fields"]] == ["expense_code", "percent"]
    assert "Projects (2): p1, p2" in panel.html()


def test_a_workbook_goes_out_and_comes_back(panel: PricesPanel) -> None:
    assert panel.opened is not None
    panel.make_workbook()
    assert 'download="microscopy.xlsx"' in panel.workbook_link.value
    made = write_workbook(panel.opened.content, str(panel.opened.book.sha256))
    book = openpyxl.load_workbook(BytesIO(made))
    for price, told in (("much", ""), ("2.00", "changes 1 value.")):
        book["rates"]["C3"] = price
        file = BytesIO()
        book.save(file)
        panel.take_workbook("book.xlsx", file.getvalue())
        assert told in panel.message.widget.value
        where = [mistake["where"] for mistake in panel.book.mistakes]
        sheet = "(sheet rates, row 3, column price)"
        assert where == ([] if told else [f"Rates, slide internal, price {sheet}"])
    assert panel.book.content["rates"][1]["price"] == "2.00"
    panel.take_workbook("book.xlsx", b"no workbook")
    assert "no Excel workbook" in panel.message.widget.value


def test_a_new_facility_is_made_and_shown(panel: PricesPanel, office: Site) -> None:
    form = panel.new
    form.make()
    assert "Code" in form.message.widget.value
    form.template.value = "clean-room"
    form.keys["code"].value = "CR"
    form.keys["name"].value = "Nanofab"
    form.make()
    assert "CR is made" in form.message.widget.value
    assert panel.facility.value == "CR"
    assert panel.book.content["facility"]["name"] == "Nanofab"
    assert office.book("CR").rules[0].name == "monthly cap"
    assert (office.settings.parameters / "cr" / "usage.csv").exists()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M0 0h9v9z"/></svg>'


def test_a_logo_is_taken_in_shown_and_saved(panel: PricesPanel, office: Site) -> None:
    panel.take_logo("Mark.gif", b"GIF89a")
    assert "save it as PNG or SVG" in panel.message.widget.value
    panel.take_logo("Mark.png", SVG)
    assert "not a whole PNG file" in panel.message.widget.value
    assert panel.show_button.disabled
    panel.take_logo("Mark.SVG", SVG)
    assert office.book("MIC").facility.logo is None
    panel.show_effect()
    panel.progress.wait()
    assert "microscopy-logo-" in panel.effect.value
    panel.reason.value = "a new logo"
    panel.save()
    panel.progress.wait()
    logo = office.book("MIC").facility.logo
    assert logo is not None
    assert logo.content == SVG
