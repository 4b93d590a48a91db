"""Mending a month without code: everything that staff change before it is issued, in tabs.

    AdjustPanel("RC", "1993-10")
    AdjustPanel("RC", "1993-10", charges=["RC/57"], change="project", value="u22")

Every part calls what the command of the same name calls, a mistake shows as a sentence, and what
one part changes the others show at once.
"""

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
from IPython.display import HTML

from billing_lib.panels.adhoc import AdHocInvoice
from billing_lib.panels.change_charges import ChangeCharges
from billing_lib.panels.changes import changes_table
from billing_lib.panels.desk import Desk
from billing_lib.panels.display import bundle
from billing_lib.panels.groups import UndoGroup
from billing_lib.panels.lines import AddLine
from billing_lib.panels.notes import InvoiceNote
from billing_lib.panels.office import Office
from billing_lib.workflow.review import read_month


class AdjustPanel:
    """The panel of the adjust notebook for one facility and month; the notebook displays it.

    Parameters
    ----------
    charges, change, value
        Charges (``RC/57``) that are selected at first, the field that is changed and its new
        value, so that what a review finds can be mended here.

    Attributes
    ----------
    widget
        The tabs.

    Raises
    ------
    UnknownFacility, InvalidPeriod, NotReady
        There is no such facility or month, or no ledger.
    """

    def __init__(
        self,
        facility: str,
        period: str,
        *,
        charges: Sequence[str] = (),
        change: str | None = None,
        value: str = "",
        office: Office | None = None,
    ) -> None:
        self.desk = Desk(facility, period, office)
        self.charges = ChangeCharges(self.desk, charges, change, value)
        self.groups = UndoGroup(self.desk)
        self.line = AddLine(self.desk)
        self.ad_hoc = AdHocInvoice(self.desk)
        self.note = InvoiceNote(self.desk)
        parts = {
            "Change charges": self.charges.widget,
            "Undo": self.groups.widget,
            "Add a line": self.line.widget,
            "Ad hoc invoice": self.ad_hoc.widget,
            "Note": self.note.widget,
        }
        self.widget = widgets.Tab(list(parts.values()), titles=list(parts), selected_index=0)

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return bundle(self.widget, self.charges.list.html())

    def changes(self) -> HTML:
        """What staff changed in the month so far, with who, when and why."""
        month = read_month(self.desk.engine, self.desk.book, self.desk.period)
        if month.changes.height == 0:
            return HTML("<p>Nobody has changed anything in this month.</p>")
        return changes_table(month.changes)
