"""Marking invoices as paid: they and their charges are read only until that is undone.

billing pay RC-1994-00003 --date 1994-01-15 --reference "transfer 8812"
"""

import datetime as dt

from sqlalchemy import Engine

from billing_lib.errors import InvalidAdjustment, NotReady
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import placing
from billing_lib.ledger.database import writing
from billing_lib.ledger.statements import paid_statement_of
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.permissions import ISSUER, require
from billing_lib.workflow.reissue import issued_invoice, require_no_reissue


def pay(
    engine: Engine, book: PriceBook, numbers: list[str], date: str, reference: str
) -> list[str]:
    """Mark invoices as paid, all or none; what was done, in words.

    Parameters
    ----------
    date
        When the payment came, ``YYYY-MM-DD``.
    reference
        What the payment is found by.

    Raises
    ------
    InvalidAdjustment
        No date or reference.
    UnknownInvoice, NotReady
        No such invoice of the facility; one that is not APPROVED, or is being reissued.
    """
    day = payment_day(date)
    if not reference.strip():
        raise InvalidAdjustment("the payment has no reference", remedy="add --reference")
    facility, said = book.facility.code, []
    with writing(engine) as connection:
        require(connection, facility, ISSUER)
        for number in numbers:
            old = issued_invoice(connection, facility, number)
            if (old["paid_on"], old["payment_reference"]) == (day, reference):
                said.append(f"invoice {number} was marked as paid before, nothing changed")
                continue
            require_no_reissue(connection, facility, number)
            code = str(old["code"])
            payment = (day, reference, None)
            ledger_invoices.move_invoices(connection, facility, [code], "pay", payment=payment)
            placing.pay_charges(connection, facility, [code])
            said.append(f"invoice {number} is paid, on {day} by {reference}")
    return said


def unpay(engine: Engine, book: PriceBook, number: str, reason: str) -> list[str]:
    """Undo a payment that was a mistake; what was done, in words.

    Raises
    ------
    InvalidAdjustment
        There is no reason.
    UnknownInvoice, NotReady
        No such invoice of the facility, one that is not paid, or is on a statement that is.
    """
    if not reason.strip():
        raise InvalidAdjustment("undoing a payment has a reason", remedy="add --reason")
    facility = book.facility.code
    with writing(engine) as connection:
        require(connection, facility, ISSUER)
        old = issued_invoice(connection, facility, number)
        statement = paid_statement_of(connection, number)
        if statement is not None:
            raise NotReady(
                f"invoice {number} is on statement {statement}, which is paid",
                remedy=f"run 'billing unpay-statement {statement}'",
            )
        code = str(old["code"])
        placing.unpay_charges(connection, facility, [code])
        ledger_invoices.move_invoices(connection, facility, [code], "unpay", reason)
    return [f"invoice {number} is no longer paid"]


def payment_day(date: str) -> dt.date:
    """The day of a payment.

    Raises
    ------
    InvalidAdjustment
        It is not a date.
    """
    try:
        return dt.date.fromisoformat(date)
    except ValueError:
        raise InvalidAdjustment(
            f"'{date}' is not a date", where="date", remedy="write it as YYYY-MM-DD"
        ) from None
