"""The panels without a browser: what the forms do, and what they say of a mistake."""

import subprocess
import sys

from billing_lib import Site
from billing_lib.panels.audit import AuditPanel
from billing_lib.panels.forms import table
from billing_lib.panels.server import OfficeProvisioner
from billing_lib.workflow.review import read_month


def test_the_same_table_is_the_same_html(office: Site) -> None:
    month = read_month(office.engine, office.book("MIC"), "2020-04")
    assert table(month.charges, "Charges").data == table(month.charges, "Charges").data


def test_an_empty_archive_is_said(office: Site) -> None:
    panel = AuditPanel(archive=office.settings.runs)
    assert "There is no record in" in panel.message.widget.value
    assert panel.verify.disabled
    assert panel.reproduce.disabled


def test_no_page_makes_a_widget_when_it_is_imported() -> None:
    """Kernels of pages are forks of a process with these imports; a browser knows none of it."""
    imports = "\n".join(f"import {name}" for name in OfficeProvisioner.imports)
    asked = f"{imports}\nfrom ipywidgets.widgets.widget import _instances\nprint(len(_instances))"
    made = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert made.stdout == "0\n"
