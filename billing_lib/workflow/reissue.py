"""After issue: an invoice is replaced by another one, or voided; it is never changed.

    reissue RC-1994-00003   a new run with copies of its charges, RC/57~2, that take in changes
       … issued             RC-1994-00009 replaces RC-1994-00003, which is SUPERSEDED and kept
    void RC-1994-00004      it no longer counts; its charges stay with it, or are free again

A copy is billed only when what it copies is on no invoice that counts.
"""

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment, NotReady, UnknownInvoice
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, placing, runs
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import writing
from billing_lib.ledger.states import INVOICE, after
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.funds import give_back
from billing_lib.workflow.permissions import ISSUER, require
from billing_lib.workflow.runs import UNFINISHED, calculate
from billing_lib.workflow.selection import RunSelection


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
        copies = placing.copy_charges(connection, facility, str(old["code"]), ("BILLED",))["code"]
        late = _late(connection, book, old)
        both = pl.concat([copies, late])
        placing.attach_charges(
            connection, facility, pl.DataFrame({"code": both}).with_columns(invoice=pl.lit(code))
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
            copies = placing.copy_charges(connection, facility, code, ("BILLED",))
            placing.forget_references(connection, facility, copies["code"])  # the month bills them
            then = f"{copies.height:,} charges are free again, the first {facility}/"
            then += copies["code"].sort()[0]
    return [f"invoice {number} is void; {then}"]


def drop_copies(connection: Connection, facility: str, number: str) -> int:
    """Delete the copies of a reissue that does not take place; how many."""
    old = issued_invoice(connection, facility, number)
    billed = ledger_charges.read_charges(connection, facility, invoices=[str(old["code"])])
    copies = ledger_charges.read_copies(connection, facility, billed["code"])
    for code, team in copies.select("code", "team").iter_rows():
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
    return mine["code"]


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise InvalidAdjustment("what is done after issue has a reason", remedy="add --reason")
