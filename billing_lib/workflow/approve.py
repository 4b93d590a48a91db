"""What of a month is left to issue, and how it is said where nothing is.

Approving: invoices of a run on their way from OPEN to the last reviewer's approval.

    submit ─▶ ann approves ─▶ bob approves ─▶ issued
                  ▲               │ rejects: back to ann
    OPEN ◀─ rejects, from the first reviewer it reopens

Who reviews, in order, is in the price book (``facility: approval``). Where it asks for two
persons, nobody approves an invoice on which they changed something themselves.

What staff do with a billing run as a whole: make, disable, enable, cancel, describe it.

Each is an event, and stands in the run's execution history where it is a job.
"""

from dataclasses import dataclass
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine, Row

from billing_lib.errors import AlreadyIssued, InvalidAdjustment, NotPermitted, NotReady
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, runs
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.people import current_login
from billing_lib.ledger.states import APPROVING, DISABLED, ERROR, INVOICE, OPEN, REJECTED, after
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adhoc import attach_waiting, find_ad_hoc, late_sentences, require_issuable
from billing_lib.workflow.after_issue import drop_copies
from billing_lib.workflow.outbox import deliveries
from billing_lib.workflow.permissions import (
    ISSUER,
    REVIEWER,
    VIEWER,
    note_facility,
    readable,
    require,
)
from billing_lib.workflow.runs import (
    UNFINISHED,
    RunSelection,
    bind_for_good,
    calculate,
    closed_projects,
    open_run,
    require_open,
    require_ready,
    run_errors,
    submit,
    take_in,
)
from billing_lib.workflow.snapshot import AD_HOC


def late_of(connection: Connection, book: PriceBook, charges: pl.DataFrame) -> list[str]:
    """Sentences on pending charges of projects whose month is issued."""
    facility = book.facility.code
    if charges.height == 0:
        return []
    month = charges["period"][0]
    closed = closed_projects(connection, facility, month)
    late = charges.filter(
        (pl.col("state") == "PENDING")
        & pl.col("invoice").is_null()
        & pl.col("reference").is_null()
        & pl.col("project").is_in(closed.implode())
    )
    then = (
        "rating the next month takes them to its run"
        if book.facility.late_usage == "next_run"
        else "'billing reissue' takes them in"
    )
    return [
        f"{count:,} charges of project {code} came after its invoice and stay pending; {then}"
        for code, count in late.group_by("project").len().sort("project").iter_rows()
    ]


def free_of(
    connection: Connection, facility: str, month: str, charges: pl.DataFrame
) -> pl.DataFrame:
    """Those of a month's charges that a run takes in."""
    closed = closed_projects(connection, facility, month)
    return charges.filter(
        (pl.col("state") == "PENDING")
        & pl.col("invoice").is_null()
        & pl.col("reference").is_null()
        & ~pl.col("project").is_in(closed.implode())
    )


def drafts_of(
    connection: Connection, facility: str, month: str, selection: RunSelection
) -> pl.DataFrame:
    """A month's invoices that may still be issued; ad hoc ones once they bill something."""
    drafts = ledger_invoices.read_invoices(connection, facility, period=month, states=UNFINISHED)
    billing = (pl.col("kind") != AD_HOC) | (pl.col("charges") > 0)
    return selection.of(drafts.filter(billing))


def issued_before(
    connection: Connection,
    facility: str,
    month: str,
    selection: RunSelection,
    what: str,
    late: list[str],
) -> AlreadyIssued | NotReady:
    """Why nothing of a selection can be issued, as an error to raise."""
    issued = selection.of(
        ledger_invoices.read_issued(connection, facility=facility, period=month, active=True)
    )
    if issued.height == 0:
        return NotReady(f"nothing of {what} is to be issued", remedy="'billing charges' lists it")
    first, last = min(issued["number"]), max(issued["number"])
    numbers = str(first) if first == last else f"{first} to {last}"
    return AlreadyIssued(
        "; ".join([f"{what} is issued ({numbers})", *late]),
        remedy="'billing invoices' lists them",
    )


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
    charges = ledger_charges.read_charges(connection, facility, invoices=[code])["charge"]
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
        ledger_charges.free_charges(connection, facility, [code])
        said.append(f"invoice {code} is rejected and takes in changes")
    return said


def quarantine(connection: Connection, book: PriceBook, codes: list[str], reason: str) -> list[str]:
    """Keep invoices out of their run, with their charges; what was done, in words."""
    require_word(reason, "quarantine")
    facility = book.facility.code
    require(connection, facility, REVIEWER)
    ledger_invoices.move_invoices(connection, facility, codes, "quarantine", reason)
    ledger_charges.free_charges(connection, facility, codes)
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
        ledger_charges.detach_charges(connection, facility, held["charge"])
        apart = chosen.filter(pl.col("replaces").is_null())["code"].to_list()
        ledger_charges.forget_references(
            connection, facility, held.filter(pl.col("invoice").is_in(apart))["charge"]
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


def make_run(
    engine: Engine,
    book: PriceBook,
    period: Period,
    selection: RunSelection,
    description: str = "",
) -> list[str]:
    """Make the run of a month or of some projects or teams of it, or bring the one that is open
    up to date; what it has now, in words.

    Raises
    ------
    InvalidAdjustment
        A project or team is not in the price book.
    NotReady
        Nothing is charged that is on no invoice yet.
    """
    facility = book.facility.code
    _require_known(book, selection)
    with writing(engine) as connection:
        require(connection, facility, REVIEWER)
        note_facility(connection, book)
        before = set(runs.read_runs(connection, facility, str(period))["id"])
        run = open_run(connection, book, period, selection, description)
        require_open(connection, run)
        taken = take_in(connection, book, run)
        drafts = ledger_invoices.read_invoices(connection, run=run, states=UNFINISHED)
        if drafts.height == 0:
            raise NotReady(
                f"nothing of {facility} {period} is left for a run",
                remedy=f"'billing charges {facility} {period}' lists what there is",
            )
        calculate(connection, book, drafts["code"].to_list())
        made = "made" if run not in before else "brought up to date"
        said = (
            f"billing run {run} {made}: {drafts.height:,} invoices not issued yet, "
            f"{taken:,} charges taken in"
        )
        if run not in before or taken:
            note_job(connection, run, "calculate", said)
    return [said]


def note_job(connection: Connection, run: str, kind: str, log: str) -> None:
    """Note a job that was done within this transaction."""
    runs.end_job(connection, run, runs.begin_job(connection, run, kind), "DONE", log)


def set_enabled(engine: Engine, book: PriceBook, run: str, *, enabled: bool) -> list[str]:
    """Enable a run, or disable it so that the batch passes it over; what was done, in words."""
    with writing(engine) as connection:
        require(connection, book.facility.code, REVIEWER)
        row = run_of(connection, book, run)
        if enabled == (row.state != DISABLED) and row.state in ("OPEN", DISABLED):
            return [f"billing run {run} is {row.state} already, nothing changed"]
        runs.move_run(connection, run, "enable" if enabled else "disable")
    return [f"billing run {run} is {'enabled' if enabled else 'disabled'}"]


def cancel(engine: Engine, book: PriceBook, run: str, reason: str, *, reopen: bool) -> list[str]:
    """Cancel a run: what it has not issued is closed; what was done, in words.

    Parameters
    ----------
    reopen
        Whether the charges are free again for another run, or cancelled for good.
    """
    with writing(engine) as connection:
        require(connection, book.facility.code, REVIEWER)
        row = run_of(connection, book, run)
        if row.state == "CANCELLED":
            return [f"billing run {run} was cancelled before, nothing changed"]
        left = ledger_invoices.read_invoices(connection, run=run, states=UNFINISHED)
        codes = left["code"].to_list()
        said = close(connection, book, codes, reason, reopen=reopen)
        runs.move_run(connection, run, "cancel", reason)
        note_job(connection, run, "cancel", f"{len(said):,} invoices closed: {reason}")
    return [*said, f"billing run {run} is cancelled"]


def describe(engine: Engine, book: PriceBook, run: str, description: str) -> list[str]:
    """Edit a run's description; what was done, in words."""
    with writing(engine) as connection:
        require(connection, book.facility.code, REVIEWER)
        if run_of(connection, book, run).description == description:
            return [f"billing run {run} is described so already, nothing changed"]
        runs.describe_run(connection, run, description)
    return [f"billing run {run}: {description}"]


@dataclass(frozen=True)
class RunView:
    """A run as staff see it.

    Attributes
    ----------
    run
        Its columns by name.
    invoices
        Its invoices (schema INVOICE of ledger/invoices.py), by code.
    jobs
        Its execution history (schema JOB of ledger/runs.py), in order.
    deliveries
        What became of the messages on its invoices (workflow/outbox.py).
    """

    run: dict[str, object]
    invoices: pl.DataFrame
    jobs: pl.DataFrame
    deliveries: pl.DataFrame


def read_run(engine: Engine, book: PriceBook, run: str) -> RunView:
    """A run with its invoices and its execution history."""
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        row = run_of(connection, book, run)
        held = ledger_invoices.read_invoices(connection, run=run)
        told = deliveries(connection, held["number"].drop_nulls().to_list())
        return RunView(row._asdict(), held, runs.read_jobs(connection, run), told)


def list_runs(
    engine: Engine, facility: str | None = None, month: str | None = None
) -> pl.DataFrame:
    """Billing runs that may be seen, with how many invoices they have in all, and not issued yet.

    Raises
    ------
    NotPermitted
        A facility is named that may not be read.
    """
    with reading(engine) as connection:
        if facility is not None:
            require(connection, facility, VIEWER)
        found = runs.read_runs(connection, facility, month)
        whole = readable(connection, found["facility"])
        found = found.filter(pl.col("facility").is_in(whole))
        held = ledger_invoices.read_invoices(connection, facility, period=month)
    counts = held.group_by(pl.col("run").alias("id")).agg(
        pl.len().cast(pl.Int64).alias("invoices"),
        pl.col("state").is_in(UNFINISHED).sum().cast(pl.Int64).alias("open"),
    )
    return (
        found.join(counts, on="id", how="left", maintain_order="left")
        .with_columns(pl.col("invoices", "open").fill_null(0))
        .select("id", "facility", "period", "selection", "state", "invoices", "open", "description")
        .rename({"id": "run"})
    )


def _require_known(book: PriceBook, selection: RunSelection) -> None:
    known = {
        "project": {project.code for project in book.projects},
        "team": {team.code for team in book.teams},
    }
    for what, stated in (("project", selection.projects), ("team", selection.teams)):
        strange = sorted(set(stated) - known[what])
        if strange:
            raise InvalidAdjustment(f"the price book has no {what} '{strange[0]}'", where=what)


def run_of(connection: Connection, book: PriceBook, run: str) -> Row[Any]:
    """A run of the price book's facility: its columns by name.

    Raises
    ------
    UnknownRun
        There is none with this id.
    InvalidAdjustment
        It is another facility's.
    """
    row = runs.read_run(connection, run)
    if row.facility != book.facility.code:
        raise InvalidAdjustment(f"billing run {run} is not of {book.facility.code}")
    return row
