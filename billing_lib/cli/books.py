"""The price book that a run or an invoice belongs to, for commands that name only these."""

from sqlalchemy import Engine

from billing_lib.cli.app import price_book
from billing_lib.ledger import invoices, runs
from billing_lib.ledger.database import reading
from billing_lib.pricing.pricebook import PriceBook


def book_of_run(engine: Engine, run: str) -> PriceBook:
    """The price book of a run's facility."""
    with reading(engine) as connection:
        facility = runs.read_run(connection, run).facility
    return price_book(facility)


def book_of_invoice(engine: Engine, number: str) -> PriceBook:
    """The price book of an issued invoice's facility."""
    with reading(engine) as connection:
        facility = invoices.require_invoice(connection, number)["facility"]
    return price_book(str(facility))
