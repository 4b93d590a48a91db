"""Credits: some of an issued invoice given back, as a line on the project's next invoice.

    billing credit RC-1994-00001 --amount 20.00 --reason "overcharged"
    RC/line-1994-02-1: Credit for RC-1994-00001: overcharged, -20.00 USD on u4

The issued invoice stays as it is. The amount is before tax, which the next invoice gives back with
it; like any added line it counts for the rules of the next invoice.
"""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment, NotReady
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.credits import credited
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.states import ACTIVE, SUPERSEDED
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adjust import require_reason
from billing_lib.workflow.lines import NewLine, added_before, parse_amount, parse_date, put_line
from billing_lib.workflow.permissions import ISSUER, require, require_some


def facility_of(engine: Engine, number: str) -> str:
    """The facility of an issued invoice.

    Raises
    ------
    UnknownInvoice
        There is none with this number.
    NotPermitted
        Who is asking may see nothing of the facility.
    """
    with reading(engine) as connection:
        facility = str(ledger_invoices.require_invoice(connection, number)["facility"])
        require_some(connection, facility)
    return facility


def credit_invoice(
    engine: Engine,
    book: PriceBook,
    number: str,
    amount: str,
    reason: str,
    *,
    date: str | None = None,
    expense_code: str | None = None,
    again: bool = False,
) -> str:
    """Give back some of an issued invoice; the line that does, in words.

    Parameters
    ----------
    amount
        More than nothing, before tax; with earlier credits at most what the invoice came to.
    date
        ``YYYY-MM-DD``; today on the facility's calendar unless told.
    again
        Give it although the same was given on that day already.

    Raises
    ------
    InvalidAdjustment
        The amount or date cannot be, or there is no reason.
    UnknownInvoice
        There is no such invoice.
    NotReady
        It no longer counts; or the invoice that would take the line takes none.
    """
    require_reason(reason)
    facility, currency = book.facility.code, book.facility.currency
    places = minor_places(currency)
    minor = parse_amount(amount, book)
    if minor <= 0:
        raise InvalidAdjustment(
            f"the credit '{amount}' gives nothing back",
            where="amount",
            remedy="write what is given back, such as 20.00",
        )
    today = dt.datetime.now(ZoneInfo(book.facility.timezone)).date()
    on = today if date is None else parse_date(date)
    with writing(engine) as connection:
        require(connection, facility, ISSUER)
        code = str(ledger_invoices.require_invoice(connection, number)["code"])
        invoice = ledger_invoices.lock_invoices(connection, facility, [code]).row(0, named=True)
        if invoice["state"] not in ACTIVE:
            raise NotReady(
                f"invoice {number} is {invoice['state']} and no longer counts",
                remedy="credit the one that replaces it"
                if invoice["state"] == SUPERSEDED
                else None,
            )
        line = NewLine(
            invoice["project"], on, f"Credit for {number}: {reason.strip()}", -minor, expense_code
        )
        said = None if again else added_before(connection, book, line)
        if said is not None:
            return said
        before = credited(connection, facility, _with_replaced(connection, invoice))
        left = invoice["total"] - (invoice["tax"] or 0) - before
        if minor > left:
            raise InvalidAdjustment(
                f"invoice {number} came to {money_text(left + before, places)} {currency} before "
                f"tax, of which {money_text(before, places)} is credited",
                where="amount",
                remedy=f"credit at most {money_text(max(left, 0), places)}",
            )
        return put_line(connection, book, line, reason, {"credits": number})


def _with_replaced(connection: Connection, invoice: dict[str, Any]) -> list[str]:
    """The invoice's number, and those that it replaces: what was credited of them stands."""
    numbers, earlier = [str(invoice["number"])], invoice["replaces"]
    while earlier is not None:
        numbers.append(str(earlier))
        earlier = ledger_invoices.require_invoice(connection, str(earlier))["replaces"]
    return numbers
