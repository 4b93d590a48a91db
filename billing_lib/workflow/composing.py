"""What invoices are computed from, put together from the ledger: for issuing and for previews.

    charges, price book, changes, notes, funds, texts  ─▶  Snapshot

Nothing is written here. Issuing gives the numbers and says who issues when (freeze.py); a
preview has neither (preview.py).
"""

import polars as pl
from sqlalchemy import Connection

from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.carried import carried_amounts
from billing_lib.workflow.funds import balances
from billing_lib.workflow.gathering import Gathered
from billing_lib.workflow.history import billed_before
from billing_lib.workflow.notes import notes_in_force
from billing_lib.workflow.snapshot import FACILITY_TEXTS, INVOICES, TEXTS, Snapshot
from billing_lib.workflow.texts import texts_in_force


def in_order(invoices: pl.DataFrame) -> list[str]:
    """The codes of these invoices in the order in which they get their numbers."""
    return invoices.sort("project", "code")["code"].to_list()


def compose(
    connection: Connection,
    book: PriceBook,
    period: Period,
    *,
    invoices: pl.DataFrame,
    numbers: pl.DataFrame,
    charges: pl.DataFrame,
    gathered: Gathered,
    unbilled: pl.DataFrame,
    said: dict[str, str],
) -> Snapshot:
    """The snapshot of some invoices of one month.

    Parameters
    ----------
    invoices
        Schema INVOICE of the ledger.
    numbers
        ``invoice``, ``number``.
    charges
        The charges on them, as the ledger has them.
    gathered
        What prices these charges.
    unbilled
        Schema UNBILLED: what of the month is on no invoice.
    said
        What the issuing says of itself: ``run``, ``invoice_date``, ``frozen_by``, ``frozen_at``.
    """
    facility, catalogue = book.facility.code, gathered.catalogue
    billed = pl.col("project").is_in(invoices["project"].unique().implode())
    return Snapshot(
        usage=gathered.usage,
        unbilled=unbilled,
        resources=catalogue.resources,
        items=catalogue.items,
        rates=catalogue.rates,
        accounts=catalogue.accounts.filter(billed),
        rules=gathered.rules,
        notes=notes_in_force(connection, facility, str(period)).filter(billed),
        carried=carried_amounts(
            connection, book.facility, catalogue, period, invoices["replaces"].drop_nulls()
        ),
        adjustments=gathered.adjustments,
        lines=gathered.lines,
        invoices=_invoices(connection, facility, invoices, numbers),
        placing=charges.select("invoice", charge="code"),
        history=billed_before(connection, facility, period, invoices),
        texts=_texts(connection, book, period, said),
        logo=book.facility.logo,
    )


def _invoices(
    connection: Connection, facility: str, invoices: pl.DataFrame, numbers: pl.DataFrame
) -> pl.DataFrame:
    return (
        invoices.rename({"code": "invoice"})
        .drop("number")
        .join(numbers.select("invoice", "number"), on="invoice")
        .join(balances(connection, facility, invoices), on="project", how="left")
        .select(INVOICES.names())
        .sort("number")
    )


def _texts(
    connection: Connection, book: PriceBook, period: Period, said: dict[str, str]
) -> pl.DataFrame:
    facility = book.facility
    texts = {
        "facility": facility.code,
        "facility_name": facility.name,
        "currency": facility.currency,
        "timezone": facility.timezone,
        **texts_in_force(connection, book),
        **{name: (getattr(facility, name) or "").strip() for name in FACILITY_TEXTS},
        "period": str(period),
        "covers_from": period.first_day.isoformat(),
        "covers_to": period.last_day.isoformat(),
        **said,
    }
    return pl.DataFrame(list(texts.items()), schema=TEXTS, orient="row")
