"""After issue: an invoice is replaced, voided or paid, never changed; and prepaid funds.

    reissue RC-1994-00003   a new run with copies of its charges, RC/57~2, that take in changes
       … issued             RC-1994-00009 replaces RC-1994-00003, which is SUPERSEDED and kept
    void RC-1994-00004      it no longer counts; its charges stay with it, or are free again
    pay RC-1994-00005       "transfer 8812" of 1994-01-15; until undone, nothing else can happen
    deposit RC u4 1000.00   "purchase order 4711"

A copied charge is billed only if no other invoice that counts bills its original. A project's
invoices draw from its prepaid funds as far as they go, and its expense codes pay the rest. A
void or superseded invoice returns its draw. A balance below the project's ``prepaid_low`` (price
book) makes a notice.
"""

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment, NotReady, UnknownInvoice, count_of
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, runs, statements
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import Ledger, reading
from billing_lib.ledger.events import record_event
from billing_lib.ledger.statements import paid_statement_of
from billing_lib.ledger.states import BILLED, INVOICE, UNFINISHED, VOID, after
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.money import minor_places, money_text, to_minor
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adjust import require_reason
from billing_lib.workflow.lines import parse_amount, parse_date
from billing_lib.workflow.permissions import ISSUER, VIEWER, changing, require
from billing_lib.workflow.runs import RunScope, calculate

DEPOSIT, DRAW, RETURN = "deposit", "draw", "return"


def deposit(engine: Ledger, book: PriceBook, project: str, amount: str, reason: str) -> str:
    """Pay into a project's funds, or take out a negative amount; return the new balance's sentence.

    A deposit with the same amount and reason again changes nothing.
    """
    facility, currency = book.facility.code, book.facility.currency
    places = minor_places(currency)
    team = book.team_of(project)
    if team is None:
        raise InvalidAdjustment(f"the price book has no project '{project}'", where="project")
    require_reason(reason, "deposit")
    minor = parse_amount(amount, book)
    with changing(engine, book, ISSUER) as connection:
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
    """List the funds by project: ``project``, ``paid_in``, ``drawn``, ``balance``, ``notice``."""
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
    """A sentence if the balance is below the project's ``prepaid_low``."""
    low = next((entry.prepaid_low for entry in book.projects if entry.code == project), None)
    currency = book.facility.currency
    places = minor_places(currency)
    if low is None or balance >= to_minor(low, places):
        return None
    return (
        f"the prepaid balance of project {project} is low: {money_text(balance, places)} "
        f"{currency}, below {money_text(to_minor(low, places), places)}"
    )


def balances(connection: Connection, facility: str, invoices: pl.DataFrame) -> pl.DataFrame:
    """The funds that invoices (``project``, ``replaces``) may draw: ``project``, ``prepaid``.

    In minor units, for projects that ever had funds. The draw of a reissued invoice is available
    to its replacement.
    """
    entries = statements.read_entries(connection, facility)
    back = entries.filter(
        (pl.col("kind") == DRAW)
        & pl.col("number").is_in(invoices["replaces"].drop_nulls().implode())
    ).with_columns(amount=-pl.col("amount"))
    both = pl.concat([entries, back])
    return both.group_by("project").agg(pl.col("amount").sum().alias("prepaid")).sort("project")


def draw(connection: Connection, book: PriceBook, totals: pl.DataFrame) -> list[str]:
    """Enter the draws of newly issued invoices; return notices on low balances.

    ``totals`` has ``number``, ``project``, ``team`` and ``drawn``.
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
    notices = (
        low_notice(book, project, _balance(connection, facility, project))
        for project in drawing["project"].unique().sort()
    )
    return [notice for notice in notices if notice is not None]


def give_back(connection: Connection, facility: str, number: str, reason: str) -> None:
    """Return the draw of an invoice that no longer counts, once."""
    entries = statements.read_entries(connection, facility, number=number)
    drawn = int(entries["amount"].sum()) if entries.height else 0
    if drawn < 0:
        project, team = entries.select("project", "team").row(0)
        statements.insert_entry(connection, facility, project, team, RETURN, -drawn, reason, number)


def _balance(connection: Connection, facility: str, project: str) -> int:
    entries = statements.read_entries(connection, facility, project)
    return int(entries["amount"].sum()) if entries.height else 0


def reissue(engine: Ledger, book: PriceBook, number: str, reason: str) -> list[str]:
    """Begin the reissue of an issued invoice and return sentences.

    Its charges are copied with their rates and changes to a new invoice in its own run, and take
    in further changes. Under ``late_usage: reissue`` the late charges of the month join them. The
    old invoice counts until the new one is issued.
    """
    require_reason(reason, "reissue")
    facility = book.facility.code
    with changing(engine, book, ISSUER) as connection:
        old = issued_invoice(connection, facility, number)
        begun = ledger_invoices.read_invoices(
            connection, facility, replaces=number, states=UNFINISHED
        )
        if begun.height:
            code = begun["code"][0]
            return [f"invoice {number} is being reissued as {code} already, nothing changed"]
        after(INVOICE, str(old["state"]), "supersede", f"invoice {number}")
        selection = RunScope(reissue=number)
        run = runs.make_run(connection, facility, str(old["period"]), selection.text, reason)
        code = f"{run}/{old['project']}"
        kept = ("facility", "kind", "period", "project", "team", "covers_from", "covers_to")
        draft = {name: old[name] for name in (*kept, "description")} | {
            "code": code,
            "run": run,
            "replaces": number,
        }
        ledger_invoices.insert_invoices(connection, pl.DataFrame([draft]))
        events.record_event(
            connection,
            facility,
            kind="reissue",
            subject=str(old["code"]),
            reason=reason,
            after=canonical_json({"invoice": code, "number": number}),
            team=str(old["team"]),
        )
        made = ledger_charges.copy_charges(connection, facility, str(old["code"]), (BILLED,))
        copies = made["charge"]
        late = _late(connection, book, old)
        both = pl.concat([copies, late])
        ledger_charges.attach_charges(
            connection, facility, pl.DataFrame({"charge": both}).with_columns(invoice=pl.lit(code))
        )
        calculate(connection, book, [code])
    first = copies.sort()[0]
    return [
        f"invoice {number} is being reissued as {code}: {count_of(copies.len(), 'charge')} copied, "
        f"the first {facility}/{first}"
        + (f", {count_of(late.len(), 'late charge')} added" if late.len() else ""),
        f"change them, then run 'billing run process {run}'; {number} counts until then",
    ]


def void(
    engine: Ledger, book: PriceBook, number: str, reason: str, *, reopen: bool = False
) -> list[str]:
    """Void an issued invoice, so that it no longer counts, and return a sentence.

    With ``reopen``, copies of its charges are free for the next run of its month; otherwise the
    charges stay with it and are not billed again.
    """
    require_reason(reason, "voiding")
    facility = book.facility.code
    with changing(engine, book, ISSUER) as connection:
        old = issued_invoice(connection, facility, number)
        if old["state"] == VOID:
            return [f"invoice {number} was voided before, nothing changed"]
        require_no_reissue(connection, facility, number)
        code = str(old["code"])
        ledger_invoices.move_invoices(connection, facility, [code], "void", reason)
        give_back(connection, facility, number, f"void: {reason}")
        then = "its charges stay with it"
        if reopen:
            copies = ledger_charges.copy_charges(connection, facility, code, (BILLED,))
            # A copy goes to the month's invoice, not to the voided ad hoc invoice.
            free = copies["charge"].sort()
            ledger_charges.forget_references(connection, facility, free)
            then = f"{count_of(free.len(), 'charge')} free again, the first {facility}/{free[0]}"
    return [f"invoice {number} is void; {then}"]


def drop_copies(connection: Connection, facility: str, number: str) -> None:
    """Delete the copied charges of a closed reissue."""
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
    ledger_charges.delete_charges(connection, facility, copies["charge"])


def require_no_reissue(connection: Connection, facility: str, number: str) -> None:
    """Refuse to pay or void an invoice that is being reissued."""
    begun = ledger_invoices.read_invoices(connection, facility, replaces=number, states=UNFINISHED)
    if begun.height:
        raise NotReady(
            f"invoice {number} is being reissued as {begun['code'][0]}",
            remedy="issue or close the new invoice first",
        )


def issued_invoice(connection: Connection, facility: str, number: str) -> dict[str, object]:
    """Read an issued invoice of a facility: its columns by name."""
    invoice = ledger_invoices.require_invoice(connection, number)
    if invoice["facility"] != facility:
        raise UnknownInvoice(f"there is no invoice {number} of {facility}")
    return invoice


def _late(connection: Connection, book: PriceBook, old: dict[str, object]) -> pl.Series:
    """The late charges that a reissue of the invoice takes in: their codes."""
    if book.facility.late_usage != "reissue":
        return pl.Series([], dtype=pl.String)
    waiting = ledger_charges.read_unattached(connection, book.facility.code, str(old["period"]))
    mine = waiting.filter((pl.col("project") == old["project"]) & pl.col("reference").is_null())
    return mine["charge"]


def pay(
    engine: Ledger, book: PriceBook, numbers: list[str], date: str, reference: str
) -> list[str]:
    """Mark invoices as paid, all or none, and return a sentence on each.

    ``reference`` names the payment in the records of the bank or the general ledger.
    """
    day = parse_date(date)
    if not reference.strip():
        raise InvalidAdjustment(
            "the payment has no reference", remedy="name the transfer or document"
        )
    facility, sentences = book.facility.code, []
    with changing(engine, book, ISSUER) as connection:
        for number in numbers:
            old = issued_invoice(connection, facility, number)
            if (old["paid_on"], old["payment_reference"]) == (day, reference):
                sentences.append(f"invoice {number} was marked as paid before, nothing changed")
                continue
            require_no_reissue(connection, facility, number)
            code = str(old["code"])
            payment = (day, reference, None)
            ledger_invoices.move_invoices(connection, facility, [code], "pay", payment=payment)
            ledger_charges.pay_charges(connection, facility, [code])
            sentences.append(f"invoice {number} is paid, on {day} by {reference}")
    return sentences


def unpay(engine: Ledger, book: PriceBook, number: str, reason: str) -> list[str]:
    """Undo a payment entered by mistake and return a sentence."""
    require_reason(reason, "undoing of the payment")
    facility = book.facility.code
    with changing(engine, book, ISSUER) as connection:
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
