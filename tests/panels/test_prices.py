"""The page of prices and people, without a browser."""

from copy import deepcopy
from typing import Any

import pytest

from billing_lib import Site
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
    assert "reason" in panel.message.widget.value
    panel.reason.value = "prices of the year"
    panel.save()
    assert "microscopy.yml is saved" in panel.message.widget.value
    assert office.book("MIC").rates[1].body == '{"group":"internal","item":"slide","price":"2"}'
    with reading(office.engine) as connection:
        events = read_events(connection, "MIC", kinds=["price_book"])
    assert events["reason"].to_list() == ["first seen", "prices of the year"]


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
    assert "show first" in panel.message.widget.value


def test_every_section_has_its_fields(panel: PricesPanel) -> None:
    names = {section["name"]: section for section in panel.book.sections}
    assert {"facility", "items", "rates", "rules", "teams", "projects"} <= names.keys()
    split = next(it for it in names["projects"]["fields"] if it["name"] == "split")
    assert [it["name"] for it in split["fields"]] == ["expense_code", "percent"]
    assert "Projects (2): p1, p2" in panel.html()
