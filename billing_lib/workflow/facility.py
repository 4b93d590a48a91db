"""A facility in the ledger: noted at its first use; currency and time zone stay.

Its tree of teams is noted with it, since that says which teams a lab administrator may see.
"""

from sqlalchemy import Connection

from billing_lib.ledger.facilities import know_facility
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.teams import note_teams


def note_facility(connection: Connection, book: PriceBook) -> None:
    """Note the price book's facility and its tree of teams.

    Raises
    ------
    InvalidPriceBook
        Its currency or time zone is another than at its first use.
    """
    facility = book.facility
    know_facility(connection, facility.code, facility.name, facility.currency, facility.timezone)
    note_teams(connection, book)
