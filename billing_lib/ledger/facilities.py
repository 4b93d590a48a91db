"""Facilities the ledger knows: each from its first use on, with its currency and time zone.

    RC  Research Computing  USD  America/New_York

Amounts are whole minor units and periods are local months, so neither may change afterwards.
"""

import polars as pl
from sqlalchemy import Connection, insert, select, update

from billing_lib.errors import InvalidPriceBook
from billing_lib.ledger import frames
from billing_lib.ledger.tables import facility


def know_facility(
    connection: Connection, code: str, name: str, currency: str, timezone: str
) -> None:
    """Note a facility at its first use, and its name whenever that changes.

    Raises
    ------
    InvalidPriceBook
        Its currency or time zone is another than when it was first used.
    """
    known = connection.execute(select(facility).where(facility.c.code == code)).one_or_none()
    if known is None:
        values = {"code": code, "name": name, "currency": currency, "timezone": timezone}
        connection.execute(insert(facility).values(values))
        return
    for what, was, now in (
        ("currency", known.currency, currency),
        ("time zone", known.timezone, timezone),
    ):
        if was != now:
            raise InvalidPriceBook(
                f"the {what} of {code} was {was} when it was first used and cannot become {now}",
                remedy="set it back, or bill under another facility code",
            )
    if known.name != name:
        connection.execute(update(facility).where(facility.c.code == code).values(name=name))


def read_facilities(connection: Connection) -> pl.DataFrame:
    """``code``, ``name``, ``currency``, ``timezone``, by code."""
    return frames.read_frame(connection, select(facility).order_by(facility.c.code))
