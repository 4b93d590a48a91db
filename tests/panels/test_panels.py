"""The panels without a browser: what the forms do, and what they say of a mistake."""

from billing_lib import Site
from billing_lib.panels.audit import AuditPanel
from billing_lib.panels.forms import table
from billing_lib.workflow.review import read_month


def test_the_same_table_is_the_same_html(office: Site) -> None:
    month = read_month(office.engine, office.book("MIC"), "2020-04")
    assert table(month.charges, "Charges").data == table(month.charges, "Charges").data


def test_an_empty_archive_is_said(office: Site) -> None:
    panel = AuditPanel(archive=office.settings.runs)
    assert "There is no record in" in panel.message.widget.value
    assert panel.verify.disabled
    assert panel.reproduce.disabled
