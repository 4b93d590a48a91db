"""Added lines: charges without usage, and credits for issued invoices.

    billing adjust --add-line --facility RC --project u4 --date 1993-11-30 …     the month's
    billing adjust --add-line --facility RC --reference PO-12 --date 1993-10-05 …
    billing credit RC-1994-00001 --amount 20.00 --reason "overcharged"
    RC/line-1994-02-1: Credit for RC-1994-00001: overcharged, -20.00 USD on u4

A line goes on the project's invoice of a month or on an ad hoc invoice, and only while that is a
draft. An event keeps who added it, when and why. A credit is a line with a negative amount on the
project's next invoice; the issued invoice does not change. Its amount is before tax, and the rules
of the next invoice apply to it as to any added line.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment, NotReady
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.charges import credited
from billing_lib.ledger.database import Ledger, reading
from billing_lib.ledger.states import ACTIVE, APPROVING, EDITABLE, PENDING, SUPERSEDED
from billing_lib.pricing.adjusting import LINES
from billing_lib.pricing.charging import charge_usage
from billing_lib.pricing.clock import Period
from billing_lib.pricing.fields import USAGE, Amount, canonical_json
from billing_lib.pricing.money import minor_places, money_text, to_minor
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rating import Catalogue, rate_usage
from billing_lib.workflow.adhoc import taking_changes
from billing_lib.workflow.adjust import require_reason
from billing_lib.workflow.permissions import (
    ISSUER,
    REVIEWER,
    changing,
    require_some,
)
from billing_lib.workflow.price import insert_charges
from billing_lib.workflow.runs import follow_changes
from billing_lib.workflow.snapshot import AD_HOC


@dataclass(frozen=True)
class NewLine:
    """A line to add: a charge without usage, its amount in minor units.

    A line with the ``reference`` of an ad hoc invoice may leave the project out. Without an expense
    code the project's split applies.
    """

    project: str | None
    date: dt.date
    description: str
    amount: int
    expense_code: str | None
    reference: str | None = None

    @classmethod
    def parse(cls, stated: Mapping[str, str | None], book: PriceBook) -> Self:
        """Make a line from the texts of a form."""
        project, reference = stated["project"], stated.get("reference")
        if (project is not None or reference is None) and book.team_of(str(project)) is None:
            raise InvalidAdjustment(f"the price book has no project '{project}'", where="project")
        if not stated["date"]:
            raise InvalidAdjustment("the line has no date", where="date")
        description = (stated["description"] or "").strip()
        if not description:
            raise InvalidAdjustment("the line has no description", where="description")
        return cls(
            project,
            parse_date(str(stated["date"])),
            description,
            parse_amount(stated["amount"], book),
            stated["expense_code"],
            reference,
        )


def parse_date(text: str) -> dt.date:
    """Read a date, or raise InvalidAdjustment."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise InvalidAdjustment(
            f"'{text}' is not a date", where="date", remedy="write it as YYYY-MM-DD"
        ) from None


def parse_amount(text: str | None, book: PriceBook) -> int:
    """Read an amount as minor units, or raise InvalidAdjustment."""
    try:
        amount = TypeAdapter(Amount).validate_python(text)
        return to_minor(amount, minor_places(book.facility.currency))
    except (ValidationError, ValueError) as error:
        message = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InvalidAdjustment(message.removeprefix("Value error, "), where="amount") from None


def add_charge_line(
    engine: Engine, book: PriceBook, line: NewLine, reason: str, *, again: bool = False
) -> str:
    """Add a line to a project's invoice of a month or to an ad hoc invoice; return a sentence.

    A line with the same project, date, description and amount is added only with ``again``.
    """
    require_reason(reason)
    with changing(engine, book, REVIEWER) as connection:
        duplicate = None if again else added_before(connection, book, line)
        return duplicate or put_line(connection, book, line, reason)


def put_line(
    connection: Connection,
    book: PriceBook,
    line: NewLine,
    reason: str,
    facts: Mapping[str, str] | None = None,
) -> str:
    """Add a line within a transaction; return a sentence. The event also keeps the ``facts``."""
    facility, places = book.facility.code, minor_places(book.facility.currency)
    project, invoice = _invoice_of(connection, book, line)
    month = f"{line.date:%Y-%m}"
    code = ledger_charges.next_line_code(connection, facility, month)
    after: dict[str, str | None] = {
        "project": project,
        "date": line.date.isoformat(),
        "description": line.description,
        "amount": money_text(line.amount, places),
        "expense_code": line.expense_code,
    }
    if line.reference is not None:
        after["reference"] = line.reference
    events.record_event(
        connection,
        facility,
        kind="add_line",
        subject=code,
        reason=reason,
        after=canonical_json(after | dict(facts or {})),
        team=book.team_of(project),
    )
    row = {
        "charge": code,
        "project": project,
        "date": line.date,
        "description": line.description,
        "amount": line.amount,
        "expense_code": line.expense_code,
    }
    catalogue = Catalogue.of(book)
    no_usage = rate_usage(USAGE.to_frame(), catalogue).rated
    priced = charge_usage(no_usage, catalogue, lines=pl.DataFrame([row], schema=LINES))
    named = pl.DataFrame({"charge": [code], "reference": [line.reference]}).drop_nulls()
    insert_charges(connection, facility, month, priced, named)
    if invoice is not None:
        placed = pl.DataFrame({"charge": [code], "invoice": [invoice]})
        ledger_charges.attach_charges(connection, facility, placed)
    follow_changes(
        connection, book, ledger_charges.read_charges(connection, facility, codes=[code])
    )
    return (
        f"{facility}/{code}: {line.description}, {money_text(line.amount, places)} "
        f"{book.facility.currency} on {line.reference or project}"
    )


def added_before(connection: Connection, book: PriceBook, line: NewLine) -> str | None:
    """Return a sentence that names an equal line already in the ledger, or None."""
    facility = book.facility.code
    lines = ledger_charges.read_charges(
        connection, facility, period=f"{line.date:%Y-%m}", project=line.project
    ).filter(
        (pl.col("kind") == "line")
        & (pl.col("date") == line.date)
        & (pl.col("description") == line.description)
        & (pl.col("raw_total") == line.amount)
        & pl.col("reference").eq_missing(pl.lit(line.reference, dtype=pl.String))
    )
    if lines.height == 0:
        return None
    return (
        f"{facility}/{lines['charge'][0]}: {line.description} was added before, nothing changed; "
        "choose 'again' to add it once more"
    )


def _invoice_of(connection: Connection, book: PriceBook, line: NewLine) -> tuple[str, str | None]:
    """The line's project, and the code of its ad hoc invoice.

    None puts the line on the month's regular invoice. Raises NotReady if the invoice accepts no
    further line.
    """
    facility = book.facility.code
    if line.reference is None:
        _require_takes(connection, facility, str(line.project), f"{line.date:%Y-%m}")
        return str(line.project), None
    invoice = taking_changes(connection, facility, line.reference)
    project = str(invoice["project"])
    if line.project not in (None, project):
        raise InvalidAdjustment(
            f"the ad hoc invoice {line.reference} is of project {project}", where="project"
        )
    return project, str(invoice["code"])


def _require_takes(connection: Connection, facility: str, project: str, month: str) -> None:
    """Raise NotReady if the project's invoice of the month is submitted or issued."""
    invoices = ledger_invoices.read_invoices(
        connection, facility, period=month, project=project
    ).filter(pl.col("kind") != AD_HOC)
    closed = invoices.filter(pl.col("state").is_in((APPROVING, *ACTIVE)))
    if closed.height == 0 or invoices.filter(pl.col("state").is_in(EDITABLE)).height:
        return
    code, state, number = closed.select("code", "state", "number").row(-1)
    if state == APPROVING:
        raise NotReady(
            f"invoice {code} of project {project} is being approved and accepts no further line",
            remedy="reject it first, or date the line to another month",
        )
    raise NotReady(
        f"the invoice of project {project} for {month} is issued ({number}) and accepts no "
        "further line",
        remedy="credit or reissue it, or date the line to another month",
    )


def facility_of(engine: Engine, number: str) -> str:
    """Return the facility of an issued invoice."""
    with reading(engine) as connection:
        facility = str(ledger_invoices.require_invoice(connection, number)["facility"])
        require_some(connection, facility)
    return facility


def credit_invoice(
    engine: Ledger,
    book: PriceBook,
    number: str,
    amount: str,
    reason: str,
    *,
    date: str | None = None,
    expense_code: str | None = None,
    again: bool = False,
) -> str:
    """Give back some of an issued invoice as a line on the project's next one; return a sentence.

    Parameters
    ----------
    amount
        Before tax, positive; together with earlier credits at most the invoice's total.
    date
        ``YYYY-MM-DD``; by default in the month of the project's next invoice: the first one with
        a draft or pending charges of the project, on its last day, or else today.
    again
        Allow a second credit with the same date, reason and amount.
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
    stated = None if date is None else parse_date(date)
    with changing(engine, book, ISSUER) as connection:
        code = str(ledger_invoices.require_invoice(connection, number)["code"])
        invoice = ledger_invoices.lock_invoices(connection, facility, [code]).row(0, named=True)
        if invoice["state"] not in ACTIVE:
            superseded = invoice["state"] == SUPERSEDED
            raise NotReady(
                f"invoice {number} is {invoice['state']} and no longer counts",
                remedy="credit the invoice that replaces it" if superseded else None,
            )
        description = f"Credit for {number}: {reason.strip()}"
        credited_on = stated or _next_invoice(connection, book, invoice, today)
        line = NewLine(invoice["project"], credited_on, description, -minor, expense_code)
        duplicate = None if again else added_before(connection, book, line)
        if duplicate is not None:
            return duplicate
        before = credited(connection, facility, _with_replaced(connection, invoice))
        left = invoice["total"] - (invoice["tax"] or 0) - before
        if minor > left:
            raise InvalidAdjustment(
                f"the total of invoice {number} is {money_text(left + before, places)} {currency} "
                f"before tax, of which {money_text(before, places)} is credited already",
                where="amount",
                remedy=f"credit at most {money_text(max(left, 0), places)}",
            )
        return put_line(connection, book, line, reason, {"credits": number})


def _next_invoice(
    connection: Connection, book: PriceBook, credited: dict[str, Any], today: dt.date
) -> dt.date:
    """The date of a credit on the project's next invoice, which a draft or pending charges of an
    open month begin; today if there is none."""
    facility, project = book.facility.code, credited["project"]
    drafts = ledger_invoices.read_invoices(connection, facility, project=project).filter(
        (pl.col("kind") != AD_HOC) & pl.col("replaces").is_null()
    )
    closed = drafts.filter(pl.col("state").is_in((APPROVING, *ACTIVE)))["period"]
    editable = drafts.filter(pl.col("state").is_in(EDITABLE))["period"]
    waiting = ledger_charges.read_charges(
        connection, facility, project=project, state=PENDING
    ).filter(pl.col("invoice").is_null() & pl.col("reference").is_null())["period"]
    free = waiting.filter(~waiting.is_in(closed.implode()))
    months = {
        month for month in (*editable, *free) if credited["period"] <= month < f"{today:%Y-%m}"
    }
    return Period.parse(min(months)).last_day if months else today


def _with_replaced(connection: Connection, invoice: dict[str, Any]) -> list[str]:
    """The number of an invoice and of those it replaces, whose credits still count."""
    numbers, earlier = [str(invoice["number"])], invoice["replaces"]
    while earlier is not None:
        numbers.append(str(earlier))
        earlier = ledger_invoices.require_invoice(connection, str(earlier))["replaces"]
    return numbers
