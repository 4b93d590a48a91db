"""Prepaid funds: what a project has paid in before, and what its invoices draw from it.

    billing deposit RC u4 1000.00 --reason "purchase order 4711"

An invoice draws what it can; its expense codes pay the rest as usual. What a void or superseded
invoice drew comes back. Below the project's ``prepaid_low`` (price book) staff are told.

After issue: an invoice is replaced by another one, or voided; it is never changed.

    reissue RC-1994-00003   a new run with copies of its charges, RC/57~2, that take in changes
       … issued             RC-1994-00009 replaces RC-1994-00003, which is SUPERSEDED and kept
    void RC-1994-00004      it no longer counts; its charges stay with it, or are free again

A copy is billed only when what it copies is on no invoice that counts.

Marking invoices as paid: they and their charges are read only until that is undone.

billing pay RC-1994-00003 --date 1994-01-15 --reference "transfer 8812"
"""

import datetime as dt

import polars as pl
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment, NotReady, UnknownInvoice
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, runs, statements
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import record_event
from billing_lib.ledger.statements import paid_statement_of
from billing_lib.ledger.states import INVOICE, after
from billing_lib.pricing.fields import Amount, canonical_json
from billing_lib.pricing.money import minor_places, money_text, to_minor
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.permissions import ISSUER, VIEWER, note_facility, require
from billing_lib.workflow.runs import UNFINISHED, RunSelection, calculate

DEPOSIT, DRAW, RETURN = "deposit", "draw", "return"


def deposit(engine: Engine, book: PriceBook, project: str, amount: str, reason: str) -> str:
    """Pay into a project's funds, or with a negative amount take out of them; in words.

    Raises
    ------
    InvalidAdjustment
        No such project, an amount that cannot be, more taken out than there is.
    """
    facility, currency = book.facility.code, book.facility.currency
    places = minor_places(currency)
    team = book.team_of(project)
    if team is None:
        raise InvalidAdjustment(f"the price book has no project '{project}'", where="project")
    if not reason.strip():
        raise InvalidAdjustment("the deposit has no reason", remedy="say why with --reason")
    try:
        minor = to_minor(TypeAdapter(Amount).validate_python(amount), places)
    except (ValidationError, ValueError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InvalidAdjustment(what.removeprefix("Value error, "), where="amount") from None
    with writing(engine) as connection:
        require(connection, facility, ISSUER)
        note_facility(connection, book)
        before = _balance(connection, facility, project)
        entered = statements.read_entries(connection, facility, project).filter(
            (pl.col("kind") == DEPOSIT) & (pl.col("amount") == minor) & (pl.col("reason") == reason)
        )
        if entered.height:
            return (
                f"{facility}, project {project}: {amount} for this reason was paid in before, "
                f"nothing changed; the prepaid balance is {money_text(before, places)} {currency}"
            )
        if before + minor < 0:
            raise InvalidAdjustment(
                f"the funds of project {project} are {money_text(before, places)} {currency}, "
                f"less than {money_text(-minor, places)}",
                where="amount",
            )
        statements.insert_entry(connection, facility, project, team, DEPOSIT, minor, reason)
        record_event(
            connection,
            facility,
            kind=DEPOSIT,
            subject=project,
            reason=reason,
            after=canonical_json({"amount": money_text(minor, places)}),
            team=team,
        )
        balance = money_text(before + minor, places)
    return f"{facility}, project {project}: the prepaid balance is {balance} {currency}"


def list_funds(engine: Engine, book: PriceBook) -> pl.DataFrame:
    """Per project with funds: ``project``, ``paid_in``, ``drawn``, ``balance``, ``notice``."""
    facility, places = book.facility.code, minor_places(book.facility.currency)
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        entries = statements.read_entries(connection, facility)
    paid_in = pl.col("kind") == DEPOSIT
    summed = (
        entries.group_by("project")
        .agg(
            pl.col("amount").filter(paid_in).sum().alias("paid_in"),
            -pl.col("amount").filter(~paid_in).sum().alias("drawn"),
            pl.col("amount").sum().alias("balance"),
        )
        .sort("project")
    )
    rows = [
        row | {"notice": low_notice(book, row["project"], row["balance"]) or ""}
        for row in summed.iter_rows(named=True)
    ]
    amounts = ("paid_in", "drawn", "balance")
    return pl.DataFrame(
        [row | {name: money_text(row[name], places) for name in amounts} for row in rows],
        schema=dict.fromkeys(("project", *amounts, "notice"), pl.String),
    )


def low_notice(book: PriceBook, project: str, balance: int) -> str | None:
    """The sentence on a balance that is below the project's ``prepaid_low``."""
    low = next((it.prepaid_low for it in book.projects if it.code == project), None)
    places = minor_places(book.facility.currency)
    if low is None or balance >= to_minor(low, places):
        return None
    currency = book.facility.currency
    return (
        f"the prepaid balance of project {project} is low: {money_text(balance, places)} "
        f"{currency}, below {money_text(to_minor(low, places), places)}"
    )


def balances(connection: Connection, facility: str, invoices: pl.DataFrame) -> pl.DataFrame:
    """What these invoices (``project``, ``replaces``) may draw from: ``project``, ``prepaid``
    (minor units), for projects that ever had funds.

    What a reissued invoice had drawn is there for the one that replaces it.
    """
    entries = statements.read_entries(connection, facility)
    back = entries.filter(
        (pl.col("kind") == DRAW)
        & pl.col("number").is_in(invoices["replaces"].drop_nulls().implode())
    ).with_columns(amount=-pl.col("amount"))
    both = pl.concat([entries, back])
    return both.group_by("project").agg(pl.col("amount").sum().alias("prepaid")).sort("project")


def draw(connection: Connection, book: PriceBook, totals: pl.DataFrame) -> list[str]:
    """Enter what invoices that are issued now draw; the notices on balances that are low.

    Parameters
    ----------
    totals
        ``number``, ``project``, ``team``, ``drawn``.
    """
    facility = book.facility.code
    drawing = totals.filter(pl.col("drawn") > 0)
    for row in drawing.sort("number").iter_rows(named=True):
        statements.insert_entry(
            connection,
            facility,
            row["project"],
            row["team"],
            DRAW,
            -row["drawn"],
            f"invoice {row['number']}",
            row["number"],
        )
    told = (
        low_notice(book, project, _balance(connection, facility, project))
        for project in drawing["project"].unique().sort()
    )
    return [notice for notice in told if notice is not None]


def give_back(connection: Connection, facility: str, number: str, reason: str) -> None:
    """Return what an invoice that no longer counts had drawn; once."""
    entries = statements.read_entries(connection, facility, number=number)
    drawn = int(entries["amount"].sum()) if entries.height else 0
    if drawn < 0:
        project, team = entries.select("project", "team").row(0)
        statements.insert_entry(connection, facility, project, team, RETURN, -drawn, reason, number)


def _balance(connection: Connection, facility: str, project: str) -> int:
    entries = statements.read_entries(connection, facility, project)
    return int(entries["amount"].sum()) if entries.height else 0


def reissue(engine: Engine, book: PriceBook, number: str, reason: str) -> list[str]:
    """Begin the reissue of an issued invoice; what was done, in words.

    Its charges are copied to a new invoice in a run of its own, with the rates and changes they
    have, and take in further changes; where the facility bills late usage so, the late charges
    of its month join them. The old invoice counts until the new one is issued.

    Raises
    ------
    InvalidAdjustment
        There is no reason.
    UnknownInvoice, NotReady
        There is no such invoice of the facility, or it is not APPROVED.
    """
    _require_reason(reason)
    facility = book.facility.code
    with writing(engine) as connection:
        require(connection, facility, ISSUER)
        old = issued_invoice(connection, facility, number)
        begun = ledger_invoices.read_invoices(
            connection, facility, replaces=number, states=UNFINISHED
        )
        if begun.height:
            code = begun["code"][0]
            return [f"invoice {number} is being reissued as {code} already, nothing changed"]
        after(INVOICE, str(old["state"]), "supersede", f"invoice {number}")
        selection = RunSelection(reissue=number)
        run = runs.make_run(connection, facility, str(old["period"]), selection.text, reason)
        code = f"{run}/{old['project']}"
        kept = ("facility", "kind", "period", "project", "team", "covers_from", "covers_to")
        draft = {name: old[name] for name in (*kept, "description")} | {
            "code": code,
            "run": run,
            "replaces": number,
        }
        ledger_invoices.insert_invoices(connection, pl.DataFrame([draft]))
        made = ledger_charges.copy_charges(connection, facility, str(old["code"]), ("BILLED",))
        copies = made["charge"]
        late = _late(connection, book, old)
        both = pl.concat([copies, late])
        ledger_charges.attach_charges(
            connection, facility, pl.DataFrame({"charge": both}).with_columns(invoice=pl.lit(code))
        )
        events.record_event(
            connection,
            facility,
            kind="reissue",
            subject=str(old["code"]),
            reason=reason,
            after=canonical_json({"invoice": code, "number": number}),
            team=str(old["team"]),
        )
        calculate(connection, book, [code])
    first = copies.sort()[0]
    return [
        f"invoice {number} is being reissued as {code}: {copies.len():,} charges copied, the "
        f"first {facility}/{first}"
        + (f", {late.len():,} late ones taken in" if late.len() else ""),
        f"change them, then run 'billing run process {run}'; {number} counts until then",
    ]


def void(
    engine: Engine, book: PriceBook, number: str, reason: str, *, reopen: bool = False
) -> list[str]:
    """Void an issued invoice: it no longer counts; what was done, in words.

    Parameters
    ----------
    reopen
        Whether its charges are free again, as copies that the next run of its month bills; else
        they stay with it for good.

    Raises
    ------
    InvalidAdjustment, UnknownInvoice, NotReady
        As for a reissue; also while a reissue is under way.
    """
    _require_reason(reason)
    facility = book.facility.code
    with writing(engine) as connection:
        require(connection, facility, ISSUER)
        old = issued_invoice(connection, facility, number)
        if old["state"] == "VOID":
            return [f"invoice {number} was voided before, nothing changed"]
        require_no_reissue(connection, facility, number)
        code = str(old["code"])
        ledger_invoices.move_invoices(connection, facility, [code], "void", reason)
        give_back(connection, facility, number, f"void: {reason}")
        then = "its charges stay with it"
        if reopen:
            copies = ledger_charges.copy_charges(connection, facility, code, ("BILLED",))
            free = copies["charge"].sort()
            ledger_charges.forget_references(connection, facility, free)  # the month bills them
            then = f"{free.len():,} charges are free again, the first {facility}/{free[0]}"
    return [f"invoice {number} is void; {then}"]


def drop_copies(connection: Connection, facility: str, number: str) -> int:
    """Delete the copies of a reissue that does not take place; how many."""
    old = issued_invoice(connection, facility, number)
    billed = ledger_charges.read_charges(connection, facility, invoices=[str(old["code"])])
    copies = ledger_charges.read_copies(connection, facility, billed["charge"])
    for code, team in copies.select("charge", "team").iter_rows():
        events.record_event(
            connection,
            facility,
            kind="delete",
            subject=code,
            reason=f"the reissue of invoice {number} was closed",
            team=team,
        )
        ledger_charges.delete_charge(connection, facility, code)
    return copies.height


def require_no_reissue(connection: Connection, facility: str, number: str) -> None:
    """Refuse what would settle an invoice while another is made to replace it.

    Raises
    ------
    NotReady
        A reissue of it is under way.
    """
    begun = ledger_invoices.read_invoices(connection, facility, replaces=number, states=UNFINISHED)
    if begun.height:
        raise NotReady(
            f"invoice {number} is being reissued as {begun['code'][0]}",
            remedy="close that one first, or issue it",
        )


def issued_invoice(connection: Connection, facility: str, number: str) -> dict[str, object]:
    """An issued invoice of a facility: its columns by name.

    Raises
    ------
    UnknownInvoice
        There is none with this number in the facility.
    """
    found = ledger_invoices.require_invoice(connection, number)
    if found["facility"] != facility:
        raise UnknownInvoice(f"there is no invoice {number} of {facility}")
    return found


def _late(connection: Connection, book: PriceBook, old: dict[str, object]) -> pl.Series:
    if book.facility.late_usage != "reissue":
        return pl.Series([], dtype=pl.String)
    waiting = ledger_charges.read_unattached(connection, book.facility.code, str(old["period"]))
    mine = waiting.filter((pl.col("project") == old["project"]) & pl.col("reference").is_null())
    return mine["charge"]


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise InvalidAdjustment("what is done after issue has a reason", remedy="add --reason")


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
            ledger_charges.pay_charges(connection, facility, [code])
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
        ledger_charges.unpay_charges(connection, facility, [code])
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
