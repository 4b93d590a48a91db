"""Added lines: charges without usage, on a project's invoice of a month or on an ad hoc invoice.

    billing adjust --add-line --facility RC --project u4 --date 1993-11-30 …     the month's
    billing adjust --add-line --facility RC --reference PO-12 --date 1993-10-05 …

Each is an event that keeps who, when and why. A month's invoice that is being approved or is
issued takes none.

Credits: some of an issued invoice given back, as a line on the project's next invoice.

    billing credit RC-1994-00001 --amount 20.00 --reason "overcharged"
    RC/line-1994-02-1: Credit for RC-1994-00001: overcharged, -20.00 USD on u4

The issued invoice stays as it is. The amount is before tax, which the next invoice gives back with
it; like any added line it counts for the rules of the next invoice.
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
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.states import ACTIVE, APPROVING, EDITABLE, SUPERSEDED
from billing_lib.pricing.adjusting import LINES
from billing_lib.pricing.charging import charge_usage
from billing_lib.pricing.fields import USAGE, Amount, canonical_json
from billing_lib.pricing.money import minor_places, money_text, to_minor
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rating import Catalogue, rate_usage
from billing_lib.workflow.adhoc import taking_changes
from billing_lib.workflow.adjust import require_reason
from billing_lib.workflow.permissions import ISSUER, REVIEWER, note_facility, require, require_some
from billing_lib.workflow.price import insert_charges
from billing_lib.workflow.runs import follow_changes
from billing_lib.workflow.snapshot import AD_HOC


@dataclass(frozen=True)
class NewLine:
    """A line to add: a charge without usage.

    Attributes
    ----------
    project
        None where it goes to an ad hoc invoice, whose it is.
    amount
        Minor units.
    expense_code
        The project's split unless told.
    reference
        Of the ad hoc invoice that it goes to; None for the month's.
    """

    project: str | None
    date: dt.date
    description: str
    amount: int
    expense_code: str | None
    reference: str | None = None

    @classmethod
    def parse(cls, stated: Mapping[str, str | None], book: PriceBook) -> Self:
        """A line from text.

        Raises
        ------
        InvalidAdjustment
            The project, date or amount cannot be.
        """
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
    """A date from text, or InvalidAdjustment."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise InvalidAdjustment(
            f"'{text}' is not a date", where="date", remedy="write it as YYYY-MM-DD"
        ) from None


def parse_amount(text: str | None, book: PriceBook) -> int:
    """An amount in minor units from text, or InvalidAdjustment."""
    try:
        amount = TypeAdapter(Amount).validate_python(text)
        return to_minor(amount, minor_places(book.facility.currency))
    except (ValidationError, ValueError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InvalidAdjustment(what.removeprefix("Value error, "), where="amount") from None


def add_charge_line(
    engine: Engine, book: PriceBook, line: NewLine, reason: str, *, again: bool = False
) -> str:
    """Add a line to a project's invoice of a month, or to an ad hoc one; what it is called, in
    words.

    Parameters
    ----------
    again
        Add it although the same line (project, date, description, amount) is there already.

    Raises
    ------
    InvalidAdjustment
        There is no reason, or the ad hoc invoice is another project's.
    UnknownInvoice
        There is no such ad hoc invoice.
    NotReady
        The invoice is being approved, or issued.
    """
    require_reason(reason)
    with writing(engine) as connection:
        require(connection, book.facility.code, REVIEWER)
        note_facility(connection, book)
        said = None if again else added_before(connection, book, line)
        return said or put_line(connection, book, line, reason)


def put_line(
    connection: Connection,
    book: PriceBook,
    line: NewLine,
    reason: str,
    facts: Mapping[str, str] | None = None,
) -> str:
    """Add a line, in a transaction that goes on; what it is called, in words.

    Parameters
    ----------
    facts
        What else the event tells.
    """
    facility, places = book.facility.code, minor_places(book.facility.currency)
    project, invoice = _invoice_of(connection, book, line)
    month = f"{line.date:%Y-%m}"
    code = ledger_charges.next_line_code(connection, facility, month)
    told: dict[str, str | None] = {
        "project": project,
        "date": line.date.isoformat(),
        "description": line.description,
        "amount": money_text(line.amount, places),
        "expense_code": line.expense_code,
    }
    if line.reference is not None:
        told["reference"] = line.reference
    events.record_event(
        connection,
        facility,
        kind="add_line",
        subject=code,
        reason=reason,
        after=canonical_json(told | dict(facts or {})),
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
    nothing = rate_usage(USAGE.to_frame(), catalogue).rated
    priced = charge_usage(nothing, catalogue, lines=pl.DataFrame([row], schema=LINES))
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
    """The sentence on an added line that says the same, if there is one."""
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
        "say again (--again) to add it once more"
    )


def _invoice_of(connection: Connection, book: PriceBook, line: NewLine) -> tuple[str, str | None]:
    """Whose line it is, and the code of the ad hoc invoice that takes it; None for the month's,
    if that takes it."""
    facility = book.facility.code
    if line.reference is None:
        _require_takes(connection, facility, str(line.project), f"{line.date:%Y-%m}")
        return str(line.project), None
    invoice = taking_changes(connection, facility, line.reference)
    of = str(invoice["project"])
    if line.project not in (None, of):
        raise InvalidAdjustment(
            f"the ad hoc invoice {line.reference} is of project {of}", where="project"
        )
    return of, str(invoice["code"])


def _require_takes(connection: Connection, facility: str, project: str, month: str) -> None:
    """Pass if the project's month takes a further line: its invoice is still a draft, or none."""
    found = ledger_invoices.read_invoices(connection, facility, period=month, project=project)
    of_month = found.filter(pl.col("kind") != AD_HOC)
    if of_month.filter(pl.col("state").is_in(EDITABLE)).height:
        return
    standing = of_month.filter(pl.col("state").is_in((APPROVING, *ACTIVE)))
    if standing.height == 0:
        return
    code, state, number = standing.select("code", "state", "number").row(-1)
    if state == APPROVING:
        raise NotReady(
            f"invoice {code} of project {project} is being approved and takes no further line",
            remedy="reject it first, or date the line to another month",
        )
    raise NotReady(
        f"the invoice of project {project} for {month} is issued ({number}) and takes no further "
        "line",
        remedy="credit or reissue it, or date the line to another month",
    )


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
