"""The page of a billing run, without a browser: its actions, and what its parts say."""

from dataclasses import replace
from pathlib import Path

import pytest
from sample_facility import BOOK

from billing_lib import Site
from billing_lib.panels.run import RunPanel


@pytest.fixture
def here(office: Site, tmp_path: Path) -> Site:
    """The office with a folder of its own, where a person must say that a month is ready."""
    text = BOOK.replace("issue: scheduled", "issue: ready")
    (office.settings.parameters / "microscopy.yml").write_text(text)
    settings = office.settings.model_copy(update={"office": tmp_path / "office"})
    return replace(office, settings=settings)


def said(panel: RunPanel) -> str:
    return str(panel.message.widget.value)


def test_a_run_is_made_and_shown(here: Site) -> None:
    panel = RunPanel("MIC", "2020-04", office=here)
    assert "There is no billing run" in panel.parts["Invoices"].value
    panel.text.value = "April"
    panel.buttons["Make or update the invoices"].click()
    assert "billing run MIC-2020-04-1 made: 2 invoices" in said(panel)
    assert panel.run.value == "MIC-2020-04-1"
    assert ">148.33<" in panel.parts["Invoices"].value
    assert "160.83 USD" in panel.parts["Statistics"].value
    assert "calculate" in panel.parts["Execution report"].value
    assert ">April<" in panel.parts["Configuration"].value
    assert "nobody; the issuer issues" in panel.parts["Configuration"].value


def test_a_month_is_said_to_be_ready(here: Site) -> None:
    panel = RunPanel("MIC", "2020-04", office=here)
    assert "waits for a reviewer" in panel.heading.value
    panel.buttons["Say that the month is ready"].click()
    assert "MIC 2020-04 is ready: 3 charges" in said(panel)
    assert "may be issued" in panel.heading.value


def test_a_run_is_disabled_enabled_described_and_cancelled(here: Site) -> None:
    panel = RunPanel("MIC", "2020-04", office=here)
    panel.buttons["Make or update the invoices"].click()
    panel.buttons["Disable or enable"].click()
    assert "is disabled" in said(panel)
    panel.buttons["Disable or enable"].click()
    assert "is enabled" in said(panel)
    panel.text.value = "second try"
    panel.buttons["Describe"].click()
    assert ">second try<" in panel.parts["Configuration"].value
    panel.buttons["Cancel the run"].click()
    assert "has no reason" in said(panel)
    panel.text.value = "wrong rates"
    panel.buttons["Cancel the run"].click()
    assert "billing run MIC-2020-04-1 is cancelled" in said(panel)


def test_a_step_that_cannot_be_taken_is_a_sentence(here: Site) -> None:
    panel = RunPanel("MIC", "2020-04", office=here)
    panel.buttons["Take the next step"].click()
    assert "this month has no billing run; make one first" in said(panel)
    panel.buttons["Make or update the invoices"].click()
    panel.buttons["Take the next step"].click()
    panel.progress.wait()
    assert 'role="alert"' in said(panel)
    assert panel.progress.widget.layout.display == "none"


def test_the_pdfs_are_written_into_the_office(here: Site) -> None:
    panel = RunPanel("MIC", "2020-04", office=here)
    panel.buttons["Make or update the invoices"].click()
    panel.buttons["Write the PDFs"].click()
    panel.progress.wait()
    written = here.settings.office / "MIC" / "2020-04" / "pdf"
    assert said(panel) == f'<span role="status">2 files written to {written}</span>'
    assert len(list(written.glob("*.pdf"))) == 2
