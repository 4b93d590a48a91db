"""Preferences: how a recipient is told of a facility's invoices; statements ignore them.

billing preferences RC ann@example.edu --invoices digest
"""

import polars as pl
from sqlalchemy import Engine

from billing_lib.errors import InvalidAddress, InvalidAdjustment
from billing_lib.ledger import notices
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import record_event
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.facility import note_facility
from billing_lib.workflow.permissions import REVIEWER, VIEWER, require
from billing_lib.workflow.recipients import EACH, WISHES, parse_mailbox, wishes


def list_preferences(engine: Engine, book: PriceBook) -> pl.DataFrame:
    """``team``, ``address``, ``invoices``, ``statements``: who is told what of a facility, by the
    price book and by what they wish."""
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        wished = wishes(connection, book.facility.code)
    rows = []
    for team in book.teams:
        owners = team.owners or team.administrators
        for text in dict.fromkeys((*team.administrators, *owners)):
            told = wished.get(_address(text), EACH) if text in team.administrators else "–"
            rows.append((team.code, text, told, "yes" if text in owners else "–"))
    schema = dict.fromkeys(("team", "address", "invoices", "statements"), pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row")


def prefer(engine: Engine, book: PriceBook, address: str, invoices: str) -> str:
    """Set how an address is told of invoices, an event; what was done, in words.

    Raises
    ------
    InvalidAddress
        It is none.
    InvalidAdjustment
        There is no such preference.
    """
    facility, known = book.facility.code, parse_mailbox(address).address
    if invoices not in WISHES:
        raise InvalidAdjustment(
            f"there is no preference '{invoices}'",
            where="invoices",
            remedy=f"say {', '.join(WISHES)}",
        )
    with writing(engine) as connection:
        require(connection, facility, REVIEWER)
        note_facility(connection, book)
        before = wishes(connection, facility).get(known, EACH)
        if before == invoices:
            return f"{facility}: {known} is told {_words(invoices)} already, nothing changed"
        notices.set_preference(connection, facility, known, invoices)
        record_event(
            connection,
            facility,
            kind="prefer",
            subject=known,
            reason="",
            before=canonical_json({"invoices": before}),
            after=canonical_json({"invoices": invoices}),
        )
    return f"{facility}: {known} is told {_words(invoices)}; statements come all the same"


def _address(text: str) -> str:
    try:
        return parse_mailbox(text).address
    except InvalidAddress:
        return text


def _words(invoices: str) -> str:
    told = {EACH: "of each invoice", "digest": "of all invoices in one message"}
    return told.get(invoices, "of no invoice")
