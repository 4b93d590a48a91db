"""What every panel needs: the ledger, the settings, the price books, and a place for sentences."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape

import ipywidgets as widgets
from sqlalchemy import Engine

from billing_lib.errors import BillingError
from billing_lib.ledger.database import open_ledger, require_initialised
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings, settings
from billing_lib.workflow.price_books import read_price_book


@dataclass(frozen=True)
class Office:
    """The ledger and the settings that a notebook works with."""

    engine: Engine
    settings: Settings

    @classmethod
    def open(cls) -> "Office":
        """The office that the environment names.

        Raises
        ------
        NotReady, UnreachableLedger
            The ledger is not set up, or out of reach.
        """
        current = settings()
        engine = open_ledger(current.database)
        require_initialised(engine)
        return cls(engine, current)

    def book(self, facility: str) -> PriceBook:
        """The facility's price book."""
        return read_price_book(self.settings.parameters, facility)


class Message:
    """A line in a panel that says what was done, or what is wrong, as a sentence."""

    def __init__(self) -> None:
        self.widget = widgets.HTML()

    def say(self, text: str) -> None:
        """Say what was done."""
        self.widget.value = f'<span role="status">{escape(text)}</span>'

    def refuse(self, text: str) -> None:
        """Say what is wrong."""
        self.widget.value = f'<span role="alert" style="color: #a40000">{escape(text)}</span>'

    @contextmanager
    def sentences(self) -> Iterator[None]:
        """Show a mistake as its sentence instead of a traceback."""
        try:
            yield
        except BillingError as error:
            self.refuse(str(error))
