"""The rules in force for a month: those of the price book when the month was first rated.

A price book may change while a month is being reviewed; its rates do not reach charges that have
kept theirs, and neither do its rules. ``billing rate --again`` takes today's rules for the month
and lists what they change. Each taking is an event, so who changed them and when is kept.

    event 12  rules  2020-04  after [{"kind":"cap",…}]
"""

import json

import polars as pl
from sqlalchemy import Connection

from billing_lib.ledger import events
from billing_lib.pricing.catalogue import RULES, Catalogue
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rules import Rule

KIND = "rules"
"""The kind of these events; their subject is the month."""


def rules_in_force(connection: Connection, book: PriceBook, month: str) -> pl.DataFrame:
    """The rules of a month (schema RULES); the price book's own where it was never rated."""
    taken = _taken(connection, book.facility.code, month)
    if taken is None:
        return Catalogue.of(book).rules
    rules = [Rule.model_validate(body) for body in json.loads(taken)]
    rows = [(at, rule.name, rule.scope, rule.body) for at, rule in enumerate(rules)]
    return pl.DataFrame(rows, schema=RULES, orient="row")


def take_rules(connection: Connection, book: PriceBook, month: str, *, again: bool) -> bool:
    """Take the price book's rules for a month that has none yet, or anew.

    Returns
    -------
    bool
        Whether the month was rated by other rules than the price book has now, and keeps them.
    """
    facility = book.facility.code
    taken = _taken(connection, facility, month)
    now = canonical_json([json.loads(rule.body) for rule in book.rules])
    if taken == now:
        return False
    if taken is not None and not again:
        return True
    events.record_event(
        connection, facility, kind=KIND, subject=month, reason="", before=taken, after=now
    )
    return False


def _taken(connection: Connection, facility: str, month: str) -> str | None:
    found = events.read_events(connection, facility, kinds=[KIND], subjects=[month])
    return None if found.height == 0 else str(found["after"][-1])
