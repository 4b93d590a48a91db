"""Approving: invoices of a run on their way from OPEN to the last reviewer's approval.

    submit ─▶ ann approves ─▶ bob approves ─▶ issued
                  ▲               │ rejects: back to ann
    OPEN ◀─ rejects, from the first reviewer it reopens

Who reviews, in order, is in the price book (``facility: approval``). Where it asks for two
persons, nobody approves an invoice on which they changed something themselves.
"""

from dataclasses import dataclass

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment, NotPermitted, NotReady
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, placing, runs
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import writing
from billing_lib.ledger.permissions import current_login
from billing_lib.ledger.states import APPROVING, ERROR, INVOICE, OPEN, REJECTED, after
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adhoc import (
    attach_waiting,
    find_ad_hoc,
    late_sentences,
    require_issuable,
)
from billing_lib.workflow.permissions import ISSUER, REVIEWER, require
from billing_lib.workflow.readiness import require_ready
from billing_lib.workflow.reissue import drop_copies
from billing_lib.workflow.remaining import drafts_of, free_of, issued_before, late_of
from billing_lib.workflow.runs import (
    UNFINISHED,
    bind_for_good,
    calculate,
    open_run,
    require_open,
    run_errors,
    submit,
    take_in,
)
from billing_lib.workflow.selection import RunSelection


@dataclass(frozen=True)
class Prepared:
    """What of a run can be issued now.

    Attributes
    ----------
    codes
        Invoices that every reviewer has approved.
    waiting
        Sentences on what is not among them, and for whom it waits.
    """

    run: str
    codes: list[str]
    waiting: list[str]


def prepare(
    connection: Connection,
    book: PriceBook,
    period: Period,
    selection: RunSelection,
    *,
    unattended: bool = False,
) -> Prepared:
    """Bring a month, or some of it, as far as it goes without a person: make its run, take in
    its charges, calculate and submit its invoices.

    Parameters
    ----------
    unattended
        By the batch: what a reviewer has rejected waits for a person to take it up.

    Raises
    ------
    NotReady
        Nothing is charged, nobody has signed the month off, the run is disabled, or the price
        book has changed since the charges were rated.
    AlreadyIssued
        Everything asked for is on an invoice already.
    NotPermitted
        Only a reviewer does this.
    """
    if selection.reference is not None:
        return _prepare_ad_hoc(connection, book, period, selection)
    facility, month = book.facility.code, str(period)
    require(connection, facility, REVIEWER)
    what = f"{facility} {month}" + (f", {selection.words}" if selection.text else "")
    charges = selection.of(ledger_charges.read_charges(connection, facility, period=month))
    drafts = drafts_of(connection, facility, month, selection)
    if charges.height + drafts.height == 0:
        raise NotReady(
            f"there are no charges for {what}",
            remedy=f"load usage and run 'billing rate {facility} {month}'",
        )
    late = [*late_of(connection, book, charges), *late_sentences(connection, facility, month)]
    if drafts.height + free_of(connection, facility, month, charges).height == 0:
        raise issued_before(connection, facility, month, selection, what, late)
    run = _run_of(connection, book, period, selection)
    return prepare_run(connection, book, run, selection, late, unattended=unattended)


def prepare_run(
    connection: Connection,
    book: PriceBook,
    run: str,
    selection: RunSelection,
    told: list[str],
    *,
    unattended: bool = False,
) -> Prepared:
    """Bring a run, or some of it, as far as it goes without a person.

    Parameters
    ----------
    unattended
        By the batch: what a reviewer has rejected waits for a person to take it up.

    Raises
    ------
    NotReady
        As for ``prepare``.
    """
    require(connection, book.facility.code, REVIEWER)
    require_open(connection, run)
    row = runs.read_run(connection, run)
    if RunSelection.parse(row.selection).asks_sign_off:
        require_ready(connection, book, row.period)
    take_in(connection, book, run)
    mine = selection.of(ledger_invoices.read_invoices(connection, run=run, states=UNFINISHED))
    if mine.height == 0:  # and the run that may have been made for it is not kept
        raise NotReady(
            f"nothing of {book.facility.code} {row.period} is left that is on no other billing run",
            remedy="'billing runs' lists them",
        )
    taken = (OPEN, ERROR) if unattended else (OPEN, ERROR, REJECTED)
    submit(connection, book, run, mine.filter(pl.col("state").is_in(taken))["code"].to_list())
    return approved_of(connection, book, run, mine["code"].to_list(), told)


def _prepare_ad_hoc(
    connection: Connection, book: PriceBook, period: Period, selection: RunSelection
) -> Prepared:
    """The same for one ad hoc invoice: its charges are those attached to it. It takes the
    sign-off of its month, as the month's invoices do."""
    facility = book.facility.code
    calculate(connection, book, attach_waiting(connection, facility))
    held = find_ad_hoc(connection, facility, str(selection.reference))
    require_issuable(held, book, period)
    require_ready(connection, book, str(period))
    run, codes = held["run"] or open_run(connection, book, period, selection), [held["code"]]
    require_open(connection, run)
    if held["run"] is None:
        ledger_invoices.put_in_run(connection, facility, codes, run)
    submit(connection, book, run, codes if held["state"] in (OPEN, ERROR, REJECTED) else [])
    return approved_of(connection, book, run, codes, [])


def approved_of(
    connection: Connection, book: PriceBook, run: str, codes: list[str], told: list[str]
) -> Prepared:
    """Which of these invoices of a run all reviewers have approved, and what the others wait
    for."""
    now = ledger_invoices.read_invoices(connection, run=run, codes=codes)
    steps = _steps(book)
    approving = now.filter(pl.col("state") == APPROVING)
    done = approving.filter(pl.col("step") >= len(steps))["code"].to_list()
    waiting = [
        f"{part.height:,} invoices of run {run} wait for {' or '.join(steps[int(str(step))])}"
        for (step,), part in approving.filter(pl.col("step") < len(steps))
        .sort("step")
        .group_by("step", maintain_order=True)
    ]
    for state, said in (("QUARANTINED", "are in quarantine"), (REJECTED, "are rejected")):
        count = now.filter(pl.col("state") == state).height
        if count:
            waiting.append(f"{count:,} invoices of run {run} {said}")
    return Prepared(run, done, [*waiting, *run_errors(connection, run), *told])


def _run_of(
    connection: Connection, book: PriceBook, period: Period, selection: RunSelection
) -> str:
    """The open run that holds the selection's invoices already, else one of its own."""
    if selection.text:
        facility, month = book.facility.code, str(period)
        drafts = ledger_invoices.read_invoices(
            connection, facility, period=month, states=UNFINISHED
        )
        holding = selection.of(drafts)["run"].drop_nulls().unique()
        if holding.len() == 1:
            return str(holding[0])
    return open_run(connection, book, period, selection)


def _steps(book: PriceBook) -> tuple[tuple[str, ...], ...]:
    return book.facility.approval.reviewers if book.facility.approval is not None else ()


def approve(
    connection: Connection, book: PriceBook, run: str, codes: list[str], comment: str = ""
) -> Prepared:
    """Approve invoices as the reviewer whose turn it is; what can be issued now.

    Raises
    ------
    NotReady
        The facility has no approval process, the month is not signed off, or one of them is not
        being approved.
    NotPermitted
        Who asks is no reviewer, it is another's turn, or an own change would be approved.
    """
    facility, steps = book.facility.code, _steps(book)
    require(connection, facility, REVIEWER)
    row = runs.read_run(connection, run)
    require_open(connection, run)
    if not steps:
        raise NotReady(
            f"{facility} has no reviewers who approve",
            remedy="'billing issue' issues; the price book's approval names reviewers",
        )
    if RunSelection.parse(row.selection).asks_sign_off:
        require_ready(connection, book, row.period)
    login = current_login(connection)
    for invoice in ledger_invoices.lock_invoices(connection, facility, codes).iter_rows(named=True):
        code, step = invoice["code"], invoice["step"]
        if invoice["state"] != APPROVING or step >= len(steps):
            raise NotReady(
                f"invoice {code} is {invoice['state']} and waits for no approval",
                remedy="'billing invoices' lists what does",
            )
        if login not in steps[step]:
            raise NotPermitted(
                f"invoice {code} waits for {' or '.join(steps[step])}, not for {login}"
            )
        if step == len(steps) - 1:  # whose approval issues
            require(connection, facility, ISSUER)
        _require_another(connection, book, code, login)
        ledger_invoices.set_step(connection, facility, code, step + 1)
        events.record_event(
            connection,
            facility,
            kind="approve",
            subject=code,
            reason=comment,
            before=f'{{"step":"{step}"}}',
            after=f'{{"step":"{step + 1}"}}',
            team=invoice["team"],
        )
    return approved_of(connection, book, run, codes, [])


def _require_another(connection: Connection, book: PriceBook, code: str, login: str) -> None:
    approval = book.facility.approval
    if approval is None or not approval.two_persons:
        return
    facility = book.facility.code
    charges = ledger_charges.read_charges(connection, facility, invoices=[code])["code"]
    family = ledger_charges.read_families(connection, facility, charges)["member"].unique()
    changes = events.read_events(
        connection, facility, kinds=["adjust", "add_line"], subjects=family
    )
    own = changes.filter(pl.col("login") == login)["subject"].unique()
    if own.len():
        raise NotPermitted(
            f"{login} changed {own.len():,} charges of invoice {code}, the first of them "
            f"{facility}/{own.sort()[0]}, and {facility} asks for two persons",
            remedy="another reviewer of this step approves it",
        )


def reject(connection: Connection, book: PriceBook, codes: list[str], reason: str) -> list[str]:
    """Reject invoices that are being approved: each goes back one reviewer, from the first it
    reopens and takes in changes. What was done, in words.

    Raises
    ------
    InvalidAdjustment
        There is no reason.
    NotReady
        One of them is not being approved.
    """
    require_word(reason, "rejection")
    facility, steps, said = book.facility.code, _steps(book), []
    require(connection, facility, REVIEWER)
    for invoice in ledger_invoices.lock_invoices(connection, facility, codes).iter_rows(named=True):
        code, step = invoice["code"], invoice["step"]
        if invoice["state"] == APPROVING and step > 0:
            ledger_invoices.set_step(connection, facility, code, step - 1)
            events.record_event(
                connection,
                facility,
                kind="send_back",
                subject=code,
                reason=reason,
                before=f'{{"step":"{step}"}}',
                after=f'{{"step":"{step - 1}"}}',
                team=invoice["team"],
            )
            said.append(f"invoice {code} goes back to {' or '.join(steps[step - 1])}")
            continue
        ledger_invoices.move_invoices(connection, facility, [code], "reject", reason)
        placing.free_charges(connection, facility, [code])
        said.append(f"invoice {code} is rejected and takes in changes")
    return said


def quarantine(connection: Connection, book: PriceBook, codes: list[str], reason: str) -> list[str]:
    """Keep invoices out of their run, with their charges; what was done, in words."""
    require_word(reason, "quarantine")
    facility = book.facility.code
    require(connection, facility, REVIEWER)
    ledger_invoices.move_invoices(connection, facility, codes, "quarantine", reason)
    placing.free_charges(connection, facility, codes)
    return [f"invoice {code} is in quarantine" for code in codes]


def release(connection: Connection, book: PriceBook, codes: list[str]) -> list[str]:
    """Take invoices back into their run; what was done, in words."""
    facility = book.facility.code
    require(connection, facility, REVIEWER)
    ledger_invoices.move_invoices(connection, facility, codes, "release")
    return [f"invoice {code} is in its run again" for code in codes]


def close(
    connection: Connection, book: PriceBook, codes: list[str], reason: str, *, reopen: bool
) -> list[str]:
    """Close invoices that were never sent, for good; what was done, in words.

    Parameters
    ----------
    reopen
        Whether their charges are free again, to be billed by another run (the copies of a
        reissue are deleted: the old invoice counts on); else they stay with the closed invoice
        and are never billed.
    """
    require_word(reason, "closing")
    facility = book.facility.code
    require(connection, facility, REVIEWER)
    chosen = ledger_invoices.lock_invoices(connection, facility, codes)
    for code, state in chosen.select("code", "state").iter_rows():
        after(INVOICE, state, "close", f"invoice {code}")
    if reopen:
        # Until it is rejected what it bills is what its reviewers saw, and stays with it.
        seen = chosen.filter(pl.col("state") == APPROVING)["code"].to_list()
        ledger_invoices.move_invoices(connection, facility, seen, "reject", reason)
        held = ledger_charges.read_charges(connection, facility, invoices=codes)
        placing.detach_charges(connection, facility, held["code"])
        apart = chosen.filter(pl.col("replaces").is_null())["code"].to_list()
        placing.forget_references(
            connection, facility, held.filter(pl.col("invoice").is_in(apart))["code"]
        )
        for number in chosen["replaces"].drop_nulls():
            drop_copies(connection, facility, number)
    else:
        bind_for_good(connection, book, chosen)
    ledger_invoices.move_invoices(connection, facility, codes, "close", reason)
    then = "its charges are free again" if reopen else "its charges stay with it, unbilled"
    return [f"invoice {code} is closed; {then}" for code in codes]


def require_word(reason: str, what: str) -> None:
    """Refuse what has no reason."""
    if not reason.strip():
        raise InvalidAdjustment(f"the {what} has no reason", remedy="say why with --reason")


def change_invoices(
    engine: Engine, book: PriceBook, action: str, codes: list[str], reason: str = ""
) -> list[str]:
    """Reject, quarantine, release or close invoices in a transaction of its own."""
    with writing(engine) as connection:
        if action == "reject":
            return reject(connection, book, codes, reason)
        if action == "quarantine":
            return quarantine(connection, book, codes, reason)
        if action == "release":
            return release(connection, book, codes)
        return close(connection, book, codes, reason, reopen=action == "close_and_reopen")
