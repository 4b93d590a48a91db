"""A month as reviewers see it: its charges, what is unbilled, what staff changed."""

from dataclasses import dataclass

import polars as pl
from sqlalchemy import Engine

from billing_lib.errors import NotReady
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import reviewing, usage
from billing_lib.ledger.database import reading
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.changes import history_of
from billing_lib.workflow.expense_codes import find_invalid_codes
from billing_lib.workflow.permissions import VIEWER, require


@dataclass(frozen=True)
class Month:
    """A facility's month.

    Attributes
    ----------
    records
        How many usage records end in it.
    charges
        ``charge`` (``RC/57``), ``kind``, ``project``, ``team``, ``item``, ``user``, ``date``,
        ``quantity``, ``price``, ``raw_total``, ``adjustment``, ``total``, ``cost`` (minor units),
        ``state``, ``invoice``.
    unbilled
        Records that are not billed, with reason and detail.
    invalid_codes
        ``charge``, ``expense_code``, ``date``, ``problem``: shares of pending charges that
        cannot be charged so.
    changes
        ``charge``, ``what``, ``before``, ``after``, ``by``, ``at``, ``reason``, in order.
    """

    facility: str
    period: str
    records: int
    charges: pl.DataFrame
    unbilled: pl.DataFrame
    invalid_codes: pl.DataFrame
    changes: pl.DataFrame


def read_month(engine: Engine, book: PriceBook, period: str) -> Month:
    """Read a month from the ledger, as at one moment.

    Raises
    ------
    NotReady
        No usage of it was loaded, or it is not rated yet.
    """
    facility, month = book.facility.code, str(Period.parse(period))
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        records = reviewing.count_records(connection, facility, month)
        charges = ledger_charges.read_charges(connection, facility, period=month)
        splits = ledger_charges.read_splits(connection, facility, period=month, state="PENDING")
        unbilled = usage.read_unbilled(connection, facility, month)
        changes = history_of(connection, facility, charges["code"])
    if charges.height + unbilled.height == 0:
        raise NotReady(
            f"{facility} {month} has no charges yet",
            remedy=f"load usage and run 'billing rate {facility} {month}'",
        )
    charged = splits.join(charges.select("on_date", charge="code"), on="charge").select(
        pl.format("{}/{}", pl.lit(facility), "charge").alias("charge"),
        "expense_code",
        date="on_date",
    )
    named = pl.format("{}/{}", pl.lit(facility), "code").alias("charge")
    return Month(
        facility,
        month,
        records,
        charges.with_columns(named, date="on_date").drop("code"),
        unbilled,
        find_invalid_codes(book, charged),
        changes,
    )
