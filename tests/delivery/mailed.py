"""April of the sample facility, issued and ready to be mailed, and what tests ask of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sample_facility import BOOK
from sample_post_office import PostOffice
from sqlalchemy import Engine

from billing_lib.delivery.queue import queue_invoices
from billing_lib.delivery.send import Sent, send_waiting
from billing_lib.ledger import messages
from billing_lib.ledger.database import reading
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings

APRIL = Period(2020, 4)
ANN, ZOE, HEAD = "ann@example.edu", "zoe@example.edu", "head@example.edu"
MAILED = BOOK.replace("name: Microscopy", "name: Mikroskopie Zürich").replace(
    "administrators: [admin@example.edu]",
    f'administrators: [{ANN}, "Zoë Müller <{ZOE}>"], owners: [{HEAD}]',
)
"""p1 and p2 of one team, with two administrators and an owner."""

P1, P2 = "MIC-2021-00001", "MIC-2021-00002"


@dataclass(frozen=True)
class Billed:
    """April, issued: MIC-2021-00001 of 148.33 for p1, MIC-2021-00002 of 12.50 for p2."""

    engine: Engine
    settings: Settings
    book: PriceBook
    post: PostOffice
    folder: Path

    @property
    def books(self) -> dict[str, PriceBook]:
        """The price books by facility."""
        return {"MIC": self.book}


def queued(billed: Billed) -> list[str]:
    """Queue what is not told yet; what is said."""
    told = queue_invoices(billed.engine, billed.settings, billed.book, APRIL)
    return [*told.sentences, *told.problems]


def sent(billed: Billed, **settings: Any) -> Sent:
    """Send what waits."""
    return send_waiting(billed.engine, billed.settings.model_copy(update=settings))


def standing(billed: Billed) -> dict[tuple[str, str], str]:
    """The state of each message by what it tells and to whom."""
    with reading(billed.engine) as connection:
        told = messages.read_told(connection)
    return {(row["key"], row["address"]): row["state"] for row in told.iter_rows(named=True)}


def ids(billed: Billed, address: str) -> list[str]:
    """The messages to an address, in the order of what they tell."""
    with reading(billed.engine) as connection:
        told = messages.read_told(connection)
    return told.filter(told["address"] == address)["message"].to_list()
