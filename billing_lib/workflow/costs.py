"""A facility's month as costs: what its invoices that count bill, and what is still to bill."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import UnknownFacility
from billing_lib.ledger import issued as ledger_issued
from billing_lib.ledger.costs import read_billed, read_pending
from billing_lib.ledger.credits import read_credits
from billing_lib.ledger.database import reading
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.permissions import VIEWER, readable, require


@dataclass(frozen=True)
class Costs:
    """A facility's month.

    Attributes
    ----------
    charges
        Schema BILLED_CHARGE, ``number`` null for what is still to bill; ``credits``, the number
        of the invoice of which a line gives some back.
    invoices
        Those that count (schema ISSUED_INVOICE).
    adjustments
        What rules changed on them (schema INVOICE_ADJUSTMENT).
    """

    book: PriceBook
    period: Period
    charges: pl.DataFrame
    invoices: pl.DataFrame
    adjustments: pl.DataFrame


def read_costs(
    engine: Engine, books: Mapping[str, PriceBook], period: Period, facility: str | None = None
) -> list[Costs]:
    """The month of a facility, or of all that who is asking may read.

    Raises
    ------
    UnknownFacility
        No price book is for it.
    """
    if facility is not None and facility not in books:
        known = ", ".join(books) or "none"
        raise UnknownFacility(f"no price book is for the facility '{facility}' (known: {known})")
    with reading(engine) as connection:
        if facility is not None:
            require(connection, facility, VIEWER)
        wanted = readable(connection, books) if facility is None else [facility]
        return [_of(connection, books[code], period) for code in wanted]


def _of(connection: Connection, book: PriceBook, period: Period) -> Costs:
    facility, month = book.facility.code, str(period)
    charges = pl.concat(
        [
            read_billed(connection, facility, month),
            read_pending(connection, facility, month),
        ],
        how="diagonal",
    )
    invoices = ledger_issued.read_issued(connection, facility=facility, period=month, active=True)
    return Costs(
        book,
        period,
        charges.with_columns(
            first=pl.coalesce("original", "code"),
        )
        .join(read_credits(connection, facility), left_on="first", right_on="code", how="left")
        .drop("first"),
        invoices,
        ledger_issued.read_adjustments(connection, invoices["number"].to_list()),
    )
