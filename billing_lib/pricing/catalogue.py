"""The catalogue: a price book as frames, which is what columns are priced against.

A price book becomes a catalogue when usage is rated; a snapshot holds one as Parquet files, so
that issuing needs no price book. Rates in a snapshot are the kept copies, as they were.

    rates     rate              item   group     price  minimum  step  valid_from  valid_to
              3f0c…             slide  internal  1.25   null     null  0001-01-01  9999-12-31
    accounts  project  team       rate_group  position  expense_code  percent
              p1       smith-lab  internal    0         370-1         600000
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from billing_lib.pricing.money import PERCENT_PLACES, PRICE_PLACES, minor_places, to_minor
from billing_lib.pricing.pricebook import PriceBook, Rate, step_microseconds

PRICE = pl.Decimal(38, PRICE_PLACES)
"""A price: exact, six places, in the currency's unit."""

HOUR = "hour"
"""The unit of items that are counted by time."""

ITEMS = pl.Schema({"item": pl.String(), "item_name": pl.String(), "unit": pl.String()})
RATES = pl.Schema(
    {
        "rate": pl.String(),  # fingerprint of the rate's body
        "item": pl.String(),
        "rate_group": pl.String(),
        "price": PRICE,
        "minimum": pl.Int64(),  # minor units
        "step": pl.Int64(),  # microseconds
        "valid_from": pl.Date(),
        "valid_to": pl.Date(),  # inclusive
        "body": pl.String(),  # canonical JSON, as the price book said it
    }
)
ACCOUNTS = pl.Schema(
    {
        "project": pl.String(),
        "project_name": pl.String(),
        "project_type": pl.String(),
        "rate_group": pl.String(),
        "team": pl.String(),
        "team_name": pl.String(),
        "administrators": pl.List(pl.String()),
        "position": pl.Int32(),  # of the share in the split, from 0
        "expense_code": pl.String(),
        "percent": pl.Int64(),  # ten-thousandths of a per cent
    }
)


@dataclass(frozen=True)
class Catalogue:
    """Items, rates and accounts of a facility, with its currency's places and time zone."""

    places: int
    timezone: str
    items: pl.DataFrame
    rates: pl.DataFrame
    accounts: pl.DataFrame

    @classmethod
    def of(cls, book: PriceBook) -> "Catalogue":
        """The catalogue that a price book states."""
        places = minor_places(book.facility.currency)
        items = [(item.code, item.name, item.unit) for item in book.items]
        return cls(
            places=places,
            timezone=book.facility.timezone,
            items=pl.DataFrame(items, schema=ITEMS, orient="row"),
            rates=rates_frame(book.rates, places),
            accounts=_accounts_frame(book),
        )


def rates_frame(rates: Iterable[Rate], places: int) -> pl.DataFrame:
    """Rates as a frame (schema RATES); an open validity is filled with the calendar's ends."""
    rows = [
        (
            rate.fingerprint,
            rate.item,
            rate.group,
            rate.price,
            None if rate.minimum is None else to_minor(rate.minimum, places),
            None if rate.rounding_step is None else step_microseconds(rate.rounding_step),
            rate.valid_from or dt.date.min,
            rate.valid_to or dt.date.max,
            rate.body,
        )
        for rate in rates
    ]
    return pl.DataFrame(rows, schema=RATES, orient="row")


def _accounts_frame(book: PriceBook) -> pl.DataFrame:
    teams = {team.code: team for team in book.teams}
    rows = [
        (
            project.code,
            project.name,
            project.type,
            book.rate_group(project),
            project.team,
            teams[project.team].name,
            list(teams[project.team].administrators),
            position,
            share.expense_code,
            int(share.percent.scaleb(PERCENT_PLACES)),
        )
        for project in book.projects
        for position, share in enumerate(project.split)
    ]
    return pl.DataFrame(rows, schema=ACCOUNTS, orient="row")
