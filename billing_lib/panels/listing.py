"""A lab's month in a notebook: the very page that ``billing listing --html`` writes."""

import ipywidgets as widgets

from billing_lib.documents.listing import render_listing
from billing_lib.panels.display import Displayed
from billing_lib.panels.frame import framed
from billing_lib.panels.lab import LabChooser
from billing_lib.panels.office import Message, Office
from billing_lib.workflow.listing import read_listing
from billing_lib.workflow.price_books import read_price_books


class ListingPanel(Displayed):
    """The page of the listing notebook: a lab and a month to choose, and its listing.

    Parameters
    ----------
    team, period
        What is shown at first; the first lab that may be seen and its newest month where empty.
    facility
        Only this one's; all that may be seen where it is empty.

    Attributes
    ----------
    widget
        What the notebook displays.
    """

    def __init__(
        self, team: str = "", period: str = "", facility: str = "", office: Office | None = None
    ) -> None:
        self.office = office or Office.open()
        self.books = read_price_books(self.office.settings.parameters)
        self.facility = facility or None
        self.message = Message()
        self.page = widgets.HTML(layout={"width": "100%"})
        self.chooser = LabChooser(self.office, team, period, self._show, self.message)
        self.widget = widgets.VBox([self.chooser.widget, self.message.widget, self.page])

    def html(self) -> str:
        """What it shows, without the means to change it."""
        return str(self.message.widget.value) + str(self.page.value)

    def _show(self, team: str, period: str) -> None:
        self.page.value = ""
        found = read_listing(self.office.engine, self.books, team, period, self.facility)
        self.page.value = framed(render_listing(found), f"Listing of {team}, {period}")
