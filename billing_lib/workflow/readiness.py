"""Readiness: a person's word that a month may be issued.

    billing ready RC 1993-10      RC 1993-10 is ready: 1,234 charges, total 10,204.11 USD

The sign-off holds for what was seen: a charge that is added or changed afterwards asks for
another one. A facility whose price book says ``issue: scheduled`` needs none.
"""

import json

from sqlalchemy import Connection, Engine

from billing_lib.errors import NotReady
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events
from billing_lib.ledger.database import reading, writing
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.permissions import REVIEWER, VIEWER, require

KIND = "ready"
"""The kind of these events; their subject is the month."""


def sign_off(engine: Engine, book: PriceBook, month: str, comment: str = "") -> str:
    """Say that a month may be issued as it stands; what was signed, in words.

    Raises
    ------
    NotReady
        It has no charges.
    """
    facility = book.facility.code
    with writing(engine) as connection:
        require(connection, facility, REVIEWER)
        seen = _seen(connection, book, month)
        if seen["charges"] == "0":
            raise NotReady(
                f"there are no charges for {facility} {month}",
                remedy=f"load usage and run 'billing rate {facility} {month}'",
            )
        said = f"{facility} {month} is ready: {_words(book, seen)}"
        if _signed(connection, facility, month) == seen:
            return f"{said}; it was said before, nothing changed"
        events.record_event(
            connection,
            facility,
            kind=KIND,
            subject=month,
            reason=comment,
            after=canonical_json(seen),
        )
    return said


def is_ready(engine: Engine, book: PriceBook, month: str) -> bool:
    """Whether a month may be issued."""
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        try:
            require_ready(connection, book, month)
        except NotReady:
            return False
    return True


def require_ready(connection: Connection, book: PriceBook, month: str) -> None:
    """Pass if the month is signed off as it stands, or the facility issues by schedule.

    Raises
    ------
    NotReady
        It is not.
    """
    facility = book.facility.code
    if book.facility.issue == "scheduled":
        return
    signed, seen = _signed(connection, facility, month), _seen(connection, book, month)
    remedy = f"review it, then run 'billing ready {facility} {month}'"
    if signed is None:
        raise NotReady(f"nobody has said that {facility} {month} is ready", remedy=remedy)
    if signed != seen:
        raise NotReady(
            f"{facility} {month} was said to be ready with {_words(book, signed)}; it has "
            f"{_words(book, seen)} now",
            remedy=remedy,
        )


def _signed(connection: Connection, facility: str, month: str) -> dict[str, str] | None:
    said = events.read_events(connection, facility, kinds=[KIND], subjects=[month])
    if said.height == 0:
        return None
    seen: dict[str, str] = json.loads(said["after"][-1])
    return seen


def _seen(connection: Connection, book: PriceBook, month: str) -> dict[str, str]:
    count, total = ledger_charges.count_charges(connection, book.facility.code, month)
    places = minor_places(book.facility.currency)
    return {"charges": str(count), "total": money_text(total, places)}


def _words(book: PriceBook, seen: dict[str, str]) -> str:
    charges, total = int(seen["charges"]), seen["total"]
    return f"{charges:,} charges, total {total} {book.facility.currency}"
