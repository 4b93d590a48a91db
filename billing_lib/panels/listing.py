"""A lab's month in a notebook: the very page that ``billing listing --html`` writes."""

from html import escape

from IPython.display import HTML

from billing_lib.documents.listing import render_listing
from billing_lib.panels.office import Office
from billing_lib.workflow.listing import read_listing
from billing_lib.workflow.price_books import read_price_books


def listing_page(team: str, period: str, facility: str = "", office: Office | None = None) -> HTML:
    """The page in a frame of its own, so that its style stays its own.

    Parameters
    ----------
    facility
        Only this one's; all that may be seen where it is empty.
    """
    office = office or Office.open()
    books = read_price_books(office.settings.parameters)
    page = render_listing(read_listing(office.engine, books, team, period, facility or None))
    style = "width: 100%; height: 48rem; border: 1px solid #c3cad3"
    frame = f'<iframe title="Listing" sandbox="" style="{style}" srcdoc="{escape(page)}"></iframe>'
    return HTML(f"<div>{frame}</div>")
