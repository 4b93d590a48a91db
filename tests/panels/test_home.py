"""The overview as the home notebook shows it."""

from dataclasses import replace
from pathlib import Path

import pytest

from billing_lib import Site
from billing_lib.panels.home import HomePanel


@pytest.fixture
def home(office: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HomePanel:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    here = office.settings.model_copy(update={"office": tmp_path / "office"})
    return HomePanel(office=replace(office, settings=here))


def test_the_grid_says_state_total_and_what_waits(home: HomePanel) -> None:
    shown = home.html()
    assert "Microscopy<br>MIC" in shown
    assert shown.index("2020-05") < shown.index("2020-04")
    assert "READY" in shown
    assert "160.83 USD" in shown
    assert "3 charges, 2 unbilled" in shown
    assert "<li>an issuer</li>" in shown


def test_every_link_leads_to_a_notebook(home: HomePanel, tmp_path: Path) -> None:
    shown = home.html()
    links = [part.split('"')[0] for part in shown.split('href="')[1:]]
    assert "MIC/2020-04/review-MIC-2020-04.ipynb" in links
    missing = [link for link in links if not (tmp_path / "office" / link).exists()]
    assert missing == []


def test_the_users_next_steps_are_listed_with_their_pages(home: HomePanel) -> None:
    mine = home.mine.value
    assert "<b>MIC 2020-04</b>: an issuer" in mine
    assert 'href="MIC/2020-04/run-MIC-2020-04.ipynb"' in mine


def test_a_facility_without_usage_has_a_link_that_loads_some(home: HomePanel) -> None:
    folder = home.office.settings.parameters
    text = (folder / "microscopy.yml").read_text().replace("code: MIC", "code: NEW")
    (folder / "new.yml").write_text(text)
    home.refresh()
    shown = home.html()
    assert 'aria-label="Load usage of NEW"' in shown
    assert 'aria-label="Load usage of MIC"' in shown


def test_an_empty_office_says_what_to_do(office: Site) -> None:
    (office.settings.parameters / "microscopy.yml").unlink()
    assert "The page Prices" in HomePanel(office=office).html()
