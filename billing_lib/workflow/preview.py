"""Previews: drafts as they would be issued now, computed as issuing computes them.

    RC-1993-11-1/u4   OPEN  ─▶  the canonical invoice without number and date

Nothing is reserved and nothing is written. What differs from the invoice that is issued
afterwards is what only issuing gives: ``number`` and ``invoice_date`` are null, ``run`` is the
billing run, and ``draft`` is the draft's code.
"""

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import NotReady, UnknownInvoice
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import reading
from billing_lib.ledger.states import CLOSED, ISSUED
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.canonical import Invoice
from billing_lib.workflow.composing import compose, in_order
from billing_lib.workflow.gathering import gather
from billing_lib.workflow.invoice import compute_invoices
from billing_lib.workflow.permissions import VIEWER, readable, require
from billing_lib.workflow.snapshot import UNBILLED

_NOT_ISSUED = {"run": "", "invoice_date": "", "frozen_by": "", "frozen_at": ""}


def preview_invoices(
    connection: Connection, book: PriceBook, codes: list[str]
) -> dict[str, Invoice]:
    """The canonical invoices of these drafts as they would be issued now, together, by code.

    Those that bill nothing would not be issued, and are left out. They come in the order in which
    they would get their numbers, which is the order in which they draw from prepaid funds.

    Raises
    ------
    UnknownInvoice
        There is no such draft.
    NotReady
        One is issued or closed, or cannot be calculated.
    """
    facility = book.facility.code
    drafts = _drafts(connection, facility, codes)
    charges = ledger_charges.read_charges(connection, facility, invoices=drafts["code"])
    billing = drafts.join(charges.select(code="invoice").unique(), on="code", how="semi")
    found: dict[str, Invoice] = {}
    for (month,), part in billing.group_by("period", maintain_order=True):
        held = charges.filter(pl.col("invoice").is_in(part["code"].implode()))
        found |= _of_month(connection, book, Period.parse(str(month)), part, held)
    return found


def _drafts(connection: Connection, facility: str, codes: list[str]) -> pl.DataFrame:
    found = ledger_invoices.read_invoices(connection, facility, codes=codes)
    missing = sorted(set(codes) - set(found["code"]))
    if missing:
        raise UnknownInvoice(
            f"there is no draft {missing[0]} of {facility}",
            remedy="'billing invoices' lists them under 'invoice'",
        )
    for code, state, number in found.select("code", "state", "number").iter_rows():
        if state in ISSUED:
            raise NotReady(
                f"{code} is issued as invoice {number}", remedy=f"see 'billing show {number}'"
            )
        if state == CLOSED:
            raise NotReady(f"{code} is {CLOSED} and will not be issued")
    return found


def _of_month(
    connection: Connection,
    book: PriceBook,
    period: Period,
    drafts: pl.DataFrame,
    charges: pl.DataFrame,
) -> dict[str, Invoice]:
    codes = in_order(drafts)
    gathered = gather(connection, book, charges, str(period))
    snapshot = compose(
        connection,
        book,
        period,
        invoices=drafts,
        # Stand-ins that sort as the numbers would.
        numbers=pl.DataFrame(
            {"invoice": codes, "number": [f"{at:09d}" for at in range(len(codes))]}
        ),
        charges=charges,
        gathered=gathered,
        unbilled=UNBILLED.to_frame(),
        said=_NOT_ISSUED,
    )
    computed = compute_invoices(snapshot).invoices
    runs = dict(drafts.select("code", "run").iter_rows())
    return {
        code: computed[number]
        | {"draft": code, "number": None, "invoice_date": None, "run": runs[code]}
        for code, number in snapshot.invoices.select("invoice", "number").iter_rows()
    }


def preview_draft(engine: Engine, book: PriceBook, code: str) -> Invoice:
    """One draft as it would be issued now, for who may see it.

    Raises
    ------
    UnknownInvoice, NotReady
        There is no such draft, or it would not be issued.
    NotPermitted
        Who is asking has no role in the facility.
    """
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        found = preview_invoices(connection, book, [code])
    if code not in found:
        raise NotReady(f"{code} bills nothing and would not be issued")
    return found[code]


def facility_of(engine: Engine, code: str) -> str:
    """The facility that has an invoice of this code, among those that may be read.

    Raises
    ------
    UnknownInvoice
        None has, or several have one.
    """
    with reading(engine) as connection:
        found = ledger_invoices.read_invoices(connection, codes=[code])["facility"].to_list()
        facilities = readable(connection, found)
    if not facilities:
        raise UnknownInvoice(
            f"there is no draft {code}", remedy="'billing invoices' lists them under 'invoice'"
        )
    if len(facilities) > 1:
        raise UnknownInvoice(
            f"{' and '.join(facilities)} have an invoice {code}", remedy="say which with --facility"
        )
    return str(facilities[0])
