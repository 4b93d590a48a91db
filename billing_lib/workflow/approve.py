"""Approving: the way of a run's invoices from OPEN to the last reviewer's approval.

    submit ─▶ ann approves ─▶ bob approves ─▶ issued
                  ▲               │ rejects: back to ann
    OPEN ◀─ rejects, from the first reviewer it reopens

The price book names the reviewers in order (``facility: approval``). If it asks for two persons,
nobody approves an invoice whose charges they changed. Preparing takes a month or a run as far as
it goes without a person. Staff also make, disable, enable, cancel and describe whole runs. Each
action is an event, and each job stands in the run's execution history.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine, Row

from billing_lib.errors import (
    AlreadyIssued,
    BillingError,
    InvalidAdjustment,
    NotPermitted,
    NotReady,
    count_of,
)
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, runs
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import Ledger, reading
from billing_lib.ledger.people import current_login
from billing_lib.ledger.states import (
    APPROVING,
    CANCELLED,
    DISABLED,
    DONE,
    EDITABLE,
    ERROR,
    INVOICE,
    OPEN,
    QUARANTINED,
    REJECTED,
    UNFINISHED,
    after,
)
from billing_lib.pricing.clock import Period
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adhoc import attach_waiting, find_ad_hoc, late_sentences, require_issuable
from billing_lib.workflow.adjust import require_reason
from billing_lib.workflow.after_issue import drop_copies
from billing_lib.workflow.content import invoice_content, require_other
from billing_lib.workflow.outbox import deliveries
from billing_lib.workflow.permissions import (
    ISSUER,
    REVIEWER,
    VIEWER,
    changing,
    readable,
    require,
)
from billing_lib.workflow.runs import (
    SIGN_OFF,
    Calculated,
    RunScope,
    bind_for_good,
    calculate,
    closed_projects,
    open_run,
    require_open,
    require_ready,
    submit,
    take_in,
    unsigned_ad_hoc,
)
from billing_lib.workflow.snapshot import AD_HOC


@dataclass(frozen=True)
class Prepared:
    """The invoices of a run that every reviewer has approved, and sentences on the others.

    ``submitted`` are invoices that were calculated and submitted in the same transaction, and
    ``decided`` the codes of those that the user has approved in it.
    """

    run: str
    codes: list[str]
    waiting: list[str]
    submitted: Calculated | None = field(default=None, compare=False, repr=False)
    decided: list[str] = field(default_factory=list, compare=False)


def prepare(
    connection: Connection,
    book: PriceBook,
    period: Period,
    selection: RunScope,
    *,
    unattended: bool = False,
) -> Prepared:
    """Make a month's run, take in its charges, and calculate and submit its invoices.

    The selection limits this to a part of the month. In the batch (``unattended``) rejected
    invoices are not submitted again: they wait for a person.

    Raises
    ------
    NotReady
        Nothing is charged, nobody has signed the month off, the run is disabled, or the price
        book has changed since the charges were rated.
    AlreadyIssued
        All selected charges are on invoices already.
    """
    if selection.reference is not None:
        return _prepare_ad_hoc(connection, book, period, selection)
    facility, month = book.facility.code, str(period)
    require(connection, facility, REVIEWER)
    what = f"{facility} {month}" + (f", {selection.words}" if selection.text else "")
    counted = ledger_charges.count_by_project(connection, facility, month)
    charges = selection.of(counted)
    unfinished = ledger_invoices.read_invoices(
        connection, facility, period=month, states=UNFINISHED
    )
    drafts = selection.of(unfinished.filter((pl.col("kind") != AD_HOC) | (pl.col("charges") > 0)))
    if charges.height + drafts.height == 0:
        raise NotReady(
            f"there are no charges for {what}",
            remedy=f"load usage and run 'billing rate {facility} {month}'",
        )
    closed_ones = closed_projects(connection, facility, month)
    closed = pl.col("project").is_in(closed_ones.implode())
    pending = charges.filter((pl.col("free") == 1) & pl.col("reference").is_null())
    late = [
        *_late_usage(book, pending.filter(closed)),
        *late_sentences(connection, facility, month),
        *([] if unattended or selection.text else _runs_passed_over(connection, facility, month)),
    ]
    if drafts.height + pending.filter(~closed).height == 0:
        raise _nothing_left(connection, facility, month, selection, what, late)
    run = _run_of(connection, book, period, selection, unfinished)
    return _prepare_run(
        connection,
        book,
        run,
        selection,
        late,
        unattended=unattended,
        closed=closed_ones,
        counted=counted,
    )


def _runs_passed_over(connection: Connection, facility: str, month: str) -> list[str]:
    """Sentences on the month's runs of a part of it, which the batch issues and this does not."""
    of_month = runs.read_runs(connection, facility, month)
    parts = of_month.filter(pl.col("state").is_in((OPEN, DISABLED)) & (pl.col("selection") != ""))
    return [
        f"passed over: billing run {run} ({RunScope.parse(text).words}) is {state}"
        + (f"; 'billing run process {run}' takes its next step" if state == OPEN else "")
        for run, text, state in parts.select("id", "selection", "state").iter_rows()
    ]


def _late_usage(book: PriceBook, late: pl.DataFrame) -> list[str]:
    """Sentences on pending charges that came after their project's invoice was issued."""
    then = (
        "rating the next month takes them to its run"
        if book.facility.late_usage == "next_run"
        else "'billing reissue' takes them in"
    )
    return [
        f"{count_of(count, 'charge')} of project {code} came after its invoice, "
        f"left pending; {then}"
        for code, count in late.group_by("project")
        .agg(pl.col("charges").sum())
        .sort("project")
        .iter_rows()
    ]


def _nothing_left(
    connection: Connection,
    facility: str,
    month: str,
    selection: RunScope,
    what: str,
    late: list[str],
) -> AlreadyIssued | NotReady:
    """Make the error that says why nothing of a selection can be issued."""
    issued = selection.of(
        ledger_invoices.read_issued(connection, facility=facility, period=month, active=True)
    )
    if issued.height == 0:
        return NotReady(
            "; ".join([f"{what} has nothing to issue", *late]),
            remedy="'billing charges' lists its charges",
        )
    first, last = min(issued["number"]), max(issued["number"])
    numbers = str(first) if first == last else f"{first} to {last}"
    return AlreadyIssued(
        "; ".join([f"{what} is issued ({numbers})", *late]),
        remedy="'billing invoices' lists them",
    )


def prepare_run(
    connection: Connection,
    book: PriceBook,
    run: str,
    selection: RunScope,
    notes: list[str],
    *,
    unattended: bool = False,
) -> Prepared:
    """Take in the charges of a run, and calculate and submit its invoices, as ``prepare``.

    ``notes`` are sentences to hand on with those on waiting invoices.
    """
    require(connection, book.facility.code, REVIEWER)
    return _prepare_run(connection, book, run, selection, notes, unattended=unattended)


def _prepare_run(
    connection: Connection,
    book: PriceBook,
    run: str,
    selection: RunScope,
    notes: list[str],
    *,
    unattended: bool,
    closed: pl.Series | None = None,
    counted: pl.DataFrame | None = None,
) -> Prepared:
    row = require_open(connection, run)
    if RunScope.parse(row.selection).asks_sign_off:
        require_ready(connection, book, row.period)
    take_in(connection, book, run, closed, counted, submitting=selection)
    of_run = ledger_invoices.read_invoices(connection, run=run, states=UNFINISHED)
    mine = selection.of(of_run)
    # The run may take in more than the selection; what is not submitted now shows its sums, too.
    others = of_run.join(mine.select("code"), on="code", how="anti")
    new = others.filter(pl.col("state").is_in(EDITABLE) & (pl.col("charges") == 0))
    calculate(connection, book, new["code"].to_list())
    if mine.height == 0:  # the transaction ends, so that a run made for it is not kept
        sentence = f"all charges of {book.facility.code} {row.period} are on other billing runs"
        raise NotReady("; ".join([sentence, *notes]), remedy="'billing runs' lists them")
    taken = (OPEN, ERROR) if unattended else (OPEN, ERROR, REJECTED)
    unsigned = unsigned_ad_hoc(connection, book, row.period, mine)
    codes = mine.filter(pl.col("state").is_in(taken) & ~pl.col("code").is_in(unsigned))["code"]
    submitted = submit(connection, book, run, codes.to_list())
    held = [
        f"the ad hoc invoice {code} is not signed off as it is now; "
        f"'billing ready {book.facility.code} {row.period}' signs it off with its month"
        for code in unsigned
    ]
    prepared = approved_of(connection, book, run, mine["code"].to_list(), [*held, *notes])
    return replace(prepared, submitted=submitted)


def _prepare_ad_hoc(
    connection: Connection, book: PriceBook, period: Period, selection: RunScope
) -> Prepared:
    """Attach the waiting charges of an ad hoc invoice, calculate it and submit it.

    It needs the sign-off of its month, as the month's invoices do.
    """
    facility = book.facility.code
    calculate(connection, book, attach_waiting(connection, facility))
    invoice = find_ad_hoc(connection, facility, str(selection.reference))
    require_issuable(invoice, book, period)
    require_ready(connection, book, str(period), invoice["code"])
    run, codes = invoice["run"] or open_run(connection, book, period, selection), [invoice["code"]]
    require_open(connection, run)
    if invoice["run"] is None:
        ledger_invoices.put_in_run(connection, facility, codes, run)
    editable = invoice["state"] in (OPEN, ERROR, REJECTED)
    submitted = submit(connection, book, run, codes if editable else [])
    return replace(approved_of(connection, book, run, codes, []), submitted=submitted)


def approved_of(
    connection: Connection, book: PriceBook, run: str, codes: list[str] | None, notes: list[str]
) -> Prepared:
    """Select the invoices of a run that all reviewers have approved; say why the others wait.

    ``codes`` limits both to some invoices.
    """
    of_run = ledger_invoices.read_invoices(connection, run=run)
    now = of_run.filter(True if codes is None else pl.col("code").is_in(codes))
    steps = book.review_steps
    approving = now.filter(pl.col("state") == APPROVING)
    done = approving.filter(pl.col("step") >= len(steps))["code"].to_list()
    waiting = [
        f"{count_of(part.height, 'invoice')} of run {run} waiting for "
        f"{' or '.join(steps[int(str(step))])}"
        for (step,), part in approving.filter(pl.col("step") < len(steps))
        .sort("step")
        .group_by("step", maintain_order=True)
    ]
    for state, words in ((QUARANTINED, "in quarantine"), (REJECTED, "rejected")):
        count = now.filter(pl.col("state") == state).height
        if count:
            waiting.append(f"{count_of(count, 'invoice')} of run {run} {words}")
    waiting += [
        f"invoice {code} is in ERROR: {reason}"
        for code, reason in of_run.filter(pl.col("state") == ERROR).select("code", "reason").rows()
    ]
    return Prepared(run, done, [*waiting, *notes])


def _run_of(
    connection: Connection,
    book: PriceBook,
    period: Period,
    selection: RunScope,
    unfinished: pl.DataFrame,
) -> str:
    """Find the open run that has the selection's invoices, or open the selection's own run."""
    if selection.text:
        holding = selection.of(unfinished)["run"].drop_nulls().unique()
        if holding.len() == 1:
            return str(holding[0])
    return open_run(connection, book, period, selection)


def approve(
    connection: Connection,
    book: PriceBook,
    run: str,
    codes: list[str],
    comment: str = "",
    *,
    passing_over: bool = False,
) -> Prepared:
    """Approve invoices as the reviewer whose turn it is; return the fully approved ones.

    With ``passing_over``, invoices that the user cannot approve now stay as they are, and
    ``waiting`` says which; otherwise the first of them refuses all.
    """
    facility, steps = book.facility.code, book.review_steps
    require(connection, facility, REVIEWER)
    row = require_open(connection, run)
    if not steps:
        raise NotReady(
            f"the price book of {facility} names no reviewers",
            remedy="issue the invoices without an approval, or name reviewers under 'approval'",
        )
    scope = RunScope.parse(row.selection)
    if scope.asks_sign_off and scope.reference is None:
        require_ready(connection, book, row.period)
    login = current_login(connection)
    mine, passed = _turns(connection, book, codes, login, _not_approved, passing_over=passing_over)
    for invoice in mine:
        step = invoice["step"]
        if step == len(steps) - 1:  # the last approval issues the invoice
            require(connection, facility, ISSUER)
        seen = {"content": invoice_content(connection, facility, invoice["code"])}
        ledger_invoices.set_step(connection, invoice, step + 1, comment, seen)
    decided = [str(invoice["code"]) for invoice in mine]
    return replace(approved_of(connection, book, run, decided, passed), decided=decided)


_Obstacle = tuple[str, BillingError]
"""The reason why an invoice is passed over, said of one or several, and the error about one."""


_BY_ALL = "approved by all already"
_PROCESS = "'billing run process' issues what all have approved"


def _turns(
    connection: Connection,
    book: PriceBook,
    codes: list[str],
    login: str,
    obstacle: Callable[[Connection, PriceBook, dict[str, Any], str], _Obstacle | None],
    *,
    passing_over: bool,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Lock invoices; return those without an obstacle, and sentences on the others.

    Raises the first obstacle unless the others are passed over, or if no invoice is without one.
    """
    free, passed, found = [], dict[str, list[str]](), None
    locked = ledger_invoices.lock_invoices(connection, book.facility.code, codes)
    for invoice in locked.iter_rows(named=True):
        found = obstacle(connection, book, invoice, login)
        if found is None:
            free.append(invoice)
        elif not passing_over:
            raise found[1]
        else:
            passed.setdefault(found[0], []).append(str(invoice["code"]))
    sentences = [
        "passed over: "
        f"{f'invoice {held[0]}' if len(held) == 1 else count_of(len(held), 'invoice')} "
        f"{words}"
        for words, held in passed.items()
    ]
    if not free:
        if locked.height == 1 and found is not None:
            raise found[1]
        raise NotReady(
            "; ".join([f"nothing here waits for {login}", *sentences]),
            remedy=_PROCESS if _BY_ALL in passed else None,
        )
    return free, sentences


def _not_approved(
    connection: Connection, book: PriceBook, invoice: dict[str, Any], login: str
) -> _Obstacle | None:
    """Why the user cannot approve an invoice now."""
    code, state = invoice["code"], invoice["state"]
    reviewers = book.reviewers_of(state, invoice["step"])
    if not reviewers:
        error = NotReady(
            f"invoice {code} is {state} and does not wait for an approval",
            remedy=_PROCESS if state == APPROVING else "'billing invoices' lists those that do",
        )
        return (_BY_ALL if state == APPROVING else f"in state {state}"), error
    return _not_your_turn(code, reviewers, login) or _own_changes(connection, book, code, login)


def _not_rejected(
    _: Connection, book: PriceBook, invoice: dict[str, Any], login: str
) -> _Obstacle | None:
    """Why the user cannot reject an invoice now; approved by all, it is the last reviewer's."""
    code, state, steps = invoice["code"], invoice["state"], book.review_steps
    if state != APPROVING:
        error = NotReady(f"invoice {code} is {state}; 'reject' is for {APPROVING}")
        return f"in state {state}", error
    reviewers = steps[min(invoice["step"], len(steps) - 1)] if steps else (login,)
    return _not_your_turn(code, reviewers, login)


def _not_your_turn(code: str, reviewers: tuple[str, ...], login: str) -> _Obstacle | None:
    if login in reviewers:
        return None
    names = " or ".join(reviewers)
    return f"waiting for {names}", NotPermitted(
        f"invoice {code} waits for {names}, not for {login}"
    )


def _own_changes(
    connection: Connection, book: PriceBook, code: str, login: str
) -> _Obstacle | None:
    """The obstacle of the two-person rule: the user changed an amount of the invoice."""
    try:
        require_other(connection, book, code, login)
    except NotPermitted as error:
        return f"with amounts that {login} changed (two persons are asked for)", error
    return None


def reject(
    connection: Connection,
    book: PriceBook,
    codes: list[str],
    reason: str,
    *,
    passing_over: bool = False,
) -> list[str]:
    """Reject invoices as the reviewer whose turn it is, and return a sentence on each.

    Each goes back one reviewer. Rejected by the first, it reopens and takes in changes.
    """
    require_reason(reason, "rejection")
    facility, steps = book.facility.code, book.review_steps
    require(connection, facility, REVIEWER)
    login = current_login(connection)
    mine, sentences = _turns(
        connection, book, codes, login, _not_rejected, passing_over=passing_over
    )
    for invoice in mine:
        code, step = invoice["code"], invoice["step"]
        if step > 0 and steps:
            back = min(step, len(steps)) - 1
            ledger_invoices.set_step(connection, invoice, back, reason, {})
            sentences.append(f"invoice {code} goes back to {' or '.join(steps[back])}")
            continue
        ledger_invoices.move_invoices(connection, facility, [code], "reject", reason)
        ledger_charges.free_charges(connection, facility, [code])
        sentences.append(f"invoice {code} is rejected and takes in changes")
    return sentences


def quarantine(connection: Connection, book: PriceBook, codes: list[str], reason: str) -> list[str]:
    """Keep invoices and their charges out of their run, and return a sentence on each."""
    require_reason(reason, "quarantine")
    facility = book.facility.code
    require(connection, facility, REVIEWER)
    ledger_invoices.move_invoices(connection, facility, codes, "quarantine", reason)
    ledger_charges.free_charges(connection, facility, codes)
    return [f"invoice {code} is in quarantine" for code in codes]


def release(connection: Connection, book: PriceBook, codes: list[str]) -> list[str]:
    """Take invoices back into their run, and return a sentence on each."""
    facility = book.facility.code
    require(connection, facility, REVIEWER)
    ledger_invoices.move_invoices(connection, facility, codes, "release")
    return [f"invoice {code} is in its run again" for code in codes]


def close(
    connection: Connection, book: PriceBook, codes: list[str], reason: str, *, reopen: bool
) -> list[str]:
    """Close invoices that were never issued, for good, and return a sentence on each.

    With ``reopen`` their charges are free for another run (copies made for a reissue are deleted,
    and the old invoice still counts); otherwise the charges are CANCELLED and never billed.

    Raises
    ------
    InvalidPeriod
        The month of an invoice is not over.
    """
    require_reason(reason, "closing")
    facility = book.facility.code
    require(connection, facility, REVIEWER)
    chosen = ledger_invoices.lock_invoices(connection, facility, codes)
    now = dt.datetime.now(dt.UTC)
    for code, state, month in chosen.select("code", "state", "period").iter_rows():
        after(INVOICE, state, "close", f"invoice {code}")
        Period.parse(month).require_over(now, book.facility.timezone)
    if reopen:
        # The charges of a submitted invoice are locked until it is rejected.
        submitted = chosen.filter(pl.col("state") == APPROVING)["code"].to_list()
        ledger_invoices.move_invoices(connection, facility, submitted, "reject", reason)
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
    if not reopen:
        ledger_charges.cancel_charges(connection, facility, codes)
    then = "its charges are free again" if reopen else "its charges are cancelled"
    return [f"invoice {code} is closed; {then}" for code in codes]


def submit_invoices(connection: Connection, book: PriceBook, codes: list[str]) -> list[str]:
    """Calculate these invoices and lock them for approval, and return a sentence on each.

    Each goes with its run, whose month must be signed off; an ad hoc invoice gets its run here.
    """
    facility, steps = book.facility.code, book.review_steps
    require(connection, facility, REVIEWER)
    chosen = ledger_invoices.lock_invoices(connection, facility, codes)
    for code, state in chosen.select("code", "state").iter_rows():
        if state not in (OPEN, ERROR, REJECTED):
            raise NotReady(f"invoice {code} is {state}; submitted are drafts alone")
    apart = chosen.filter(pl.col("run").is_null())
    for reference, month in apart.select("reference", "period").iter_rows():
        prepare(connection, book, Period.parse(month), RunScope(reference=reference))
    for (run,), part in chosen.filter(pl.col("run").is_not_null()).group_by("run"):
        row = require_open(connection, str(run))
        if RunScope.parse(row.selection).asks_sign_off:
            require_ready(connection, book, row.period)
        submit(connection, book, str(run), part["code"].to_list())
    now = ledger_invoices.read_invoices(connection, facility, codes=codes)
    for code, state, reason in now.select("code", "state", "reason").iter_rows():
        if state == ERROR:
            raise NotReady(f"invoice {code} is in ERROR: {reason}")
        if state != APPROVING:
            raise NotReady(f"invoice {code} has no charges, so there is nothing to approve")
    waits = f"waits for {' or '.join(steps[0])}" if steps else "can be issued"
    return [f"invoice {code} is submitted and {waits}" for code in codes]


def recalculate(connection: Connection, book: PriceBook, codes: list[str]) -> list[str]:
    """Price drafts by the present price book, and return a sentence on each."""
    facility, places = book.facility.code, minor_places(book.facility.currency)
    require(connection, facility, REVIEWER)
    before = ledger_invoices.lock_invoices(connection, facility, codes)
    for code, state in before.select("code", "state").iter_rows():
        if state not in EDITABLE:
            raise NotReady(f"invoice {code} is {state}, and its amounts stand")
    calculate(connection, book, codes)
    after_it = ledger_invoices.read_invoices(connection, facility, codes=codes)
    both = before.select("code", was="total").join(after_it, on="code", maintain_order="left")
    sentences = []
    for row in both.iter_rows(named=True):
        if row["state"] == ERROR:
            sentences.append(f"invoice {row['code']} is in ERROR: {row['reason']}")
            continue
        was, total = (money_text(row[name], places) for name in ("was", "total"))
        change = "as before" if was == total else f"{was} before"
        sentences.append(f"invoice {row['code']} comes to {total}, {change}")
    return sentences


def read_invoice_history(engine: Engine, book: PriceBook, code: str) -> pl.DataFrame:
    """Read the events of an invoice in order: ``at``, ``by``, ``action``, ``from``, ``to``,
    ``reason``."""
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        found = events.read_events(connection, book.facility.code, subjects=[code])
    return found.select(
        pl.col("at").dt.convert_time_zone(book.facility.timezone).dt.to_string("%Y-%m-%d %H:%M:%S"),
        pl.col("login").alias("by"),
        pl.col("kind").str.replace_all("_", " ").alias("action"),
        *(
            pl.coalesce(
                pl.col(column).str.json_path_match("$.state"),
                pl.format("step {}", pl.col(column).str.json_path_match("$.step")),
            ).alias(name)
            for column, name in (("before", "from"), ("after", "to"))
        ),
        "reason",
    )


def change_invoices(
    engine: Engine,
    book: PriceBook,
    action: str,
    codes: list[str],
    reason: str = "",
    *,
    passing_over: bool = False,
) -> list[str]:
    """Reject, quarantine, release or close invoices in one transaction.

    With ``passing_over``, rejecting leaves invoices whose turn is somebody else's.
    """
    with changing(engine, book, REVIEWER) as connection:
        if action == "reject":
            return reject(connection, book, codes, reason, passing_over=passing_over)
        if action == "quarantine":
            return quarantine(connection, book, codes, reason)
        if action == "release":
            return release(connection, book, codes)
        return close(connection, book, codes, reason, reopen=action == "close_and_reopen")


def make_run(
    engine: Ledger,
    book: PriceBook,
    period: Period,
    selection: RunScope,
    description: str = "",
) -> list[str]:
    """Make a run of a month or of some projects or teams, or update the open one.

    Returns a sentence on its invoices and charges.
    """
    facility = book.facility.code
    _require_known(book, selection)
    with changing(engine, book, REVIEWER) as connection:
        before = set(runs.read_runs(connection, facility, str(period))["id"])
        run = open_run(connection, book, period, selection, description)
        require_open(connection, run)
        taken = take_in(connection, book, run)
        drafts = ledger_invoices.read_invoices(connection, run=run, states=UNFINISHED)
        if drafts.height == 0:
            raise NotReady(
                f"{facility} {period} has no charges left for a run",
                remedy=f"'billing charges {facility} {period}' lists its charges",
            )
        calculate(connection, book, drafts["code"].to_list())
        made = "made" if run not in before else "brought up to date"
        sentence = (
            f"billing run {run} {made}: {count_of(drafts.height, 'invoice')} not issued yet, "
            f"{taken:,} charges taken in"
        )
        if run not in before or taken:
            note_job(connection, run, "calculate", sentence)
    return [sentence]


def note_job(connection: Connection, run: str, kind: str, log: str) -> None:
    """Enter a job done in this transaction into the run's execution history."""
    runs.end_job(connection, run, runs.begin_job(connection, run, kind), DONE, log)


def set_enabled(engine: Ledger, book: PriceBook, run: str, *, enabled: bool) -> list[str]:
    """Enable a run, or disable it so that the batch skips it, and return a sentence."""
    with changing(engine, book, REVIEWER) as connection:
        row = run_of(connection, book, run)
        if enabled == (row.state != DISABLED) and row.state in (OPEN, DISABLED):
            return [f"billing run {run} is {row.state} already, nothing changed"]
        runs.move_run(connection, run, "enable" if enabled else "disable")
    return [f"billing run {run} is {'enabled' if enabled else 'disabled'}"]


def cancel(
    engine: Ledger,
    book: PriceBook,
    run: str,
    reason: str,
    *,
    reopen: bool,
    with_ad_hoc: bool = False,
) -> list[str]:
    """Cancel a run by closing its invoices that are not issued, and return sentences.

    With ``reopen`` their charges are free for another run; otherwise they are never billed. The
    ad hoc invoices of a run of a month leave it and stay as they are, unless ``with_ad_hoc``; one
    that was submitted is rejected first.
    """
    with changing(engine, book, REVIEWER) as connection:
        row = run_of(connection, book, run)
        if row.state == CANCELLED:
            return [f"billing run {run} was cancelled before, nothing changed"]
        require_reason(reason, "closing")
        left = ledger_invoices.read_invoices(connection, run=run, states=UNFINISHED)
        stay = (pl.col("kind") == AD_HOC) & pl.lit(
            RunScope.parse(row.selection).takes_charges and not with_ad_hoc
        )
        staying = left.filter(stay)
        closed = close(
            connection, book, left.filter(~stay)["code"].to_list(), reason, reopen=reopen
        )
        left_out = _leave_run(connection, book, staying, reason)
        runs.move_run(connection, run, "cancel", reason)
        apart = f", {len(left_out):,} ad hoc invoices left open" if left_out else ""
        note_job(
            connection, run, "cancel", f"{count_of(len(closed), 'invoice')} closed{apart}: {reason}"
        )
    return [*closed, *left_out, f"billing run {run} is cancelled"]


def _leave_run(
    connection: Connection, book: PriceBook, invoices: pl.DataFrame, reason: str
) -> list[str]:
    """Take ad hoc invoices (schema INVOICE) out of their run; return a sentence on each."""
    facility = book.facility.code
    submitted = invoices.filter(pl.col("state") == APPROVING)["code"].to_list()
    ledger_invoices.move_invoices(connection, facility, submitted, "reject", reason)
    ledger_charges.free_charges(connection, facility, submitted)
    ledger_invoices.put_in_run(connection, facility, invoices["code"].to_list(), None)
    return [f"the ad hoc invoice {code} stays, in no run" for code in invoices["code"]]


def describe(engine: Ledger, book: PriceBook, run: str, description: str) -> list[str]:
    """Edit a run's description, and return a sentence."""
    with changing(engine, book, REVIEWER) as connection:
        if run_of(connection, book, run).description == description:
            return [f"billing run {run} has this description already, nothing changed"]
        runs.describe_run(connection, run, description)
    return [f"billing run {run}: {description}"]


@dataclass(frozen=True)
class RunView:
    """A run as staff see it: its columns by name, and the frames that belong to it.

    ``invoices`` has the ledger's schema INVOICE; ``jobs`` is the execution history in order
    (schema JOB); ``deliveries`` are the states of messages on its invoices (workflow/outbox.py);
    ``history`` has the jobs, the moves of the run and the sign-offs of its month in order of time:
    ``at``, ``by``, ``action``, ``state``, ``log`` (also the reason of a move).
    """

    run: dict[str, object]
    invoices: pl.DataFrame
    jobs: pl.DataFrame
    deliveries: pl.DataFrame
    history: pl.DataFrame


def read_run(engine: Ledger, book: PriceBook, run: str) -> RunView:
    """Read a run with its invoices, execution history and messages."""
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        row = run_of(connection, book, run)
        invoices = ledger_invoices.read_invoices(connection, run=run)
        messages = deliveries(connection, invoices["number"].drop_nulls().to_list())
        jobs = runs.read_jobs(connection, run)
        moved = events.read_events(connection, row.facility, subjects=[run, row.period])
    return RunView(row._asdict(), invoices, jobs, messages, _history(moved, jobs, row.period))


def _history(moved: pl.DataFrame, jobs: pl.DataFrame, month: str) -> pl.DataFrame:
    """The moves of a run, the sign-offs of its month and its jobs, in order of time."""
    of_run = (pl.col("subject") != month) | (pl.col("kind") == SIGN_OFF)
    value = pl.coalesce(
        pl.col("after").str.json_path_match(f"$.{name}")
        for name in ("state", "description", "total")
    )
    steps = moved.filter(of_run).select(
        "at",
        by="login",
        action=pl.col("kind").replace(SIGN_OFF, "sign_off").str.strip_prefix("run_"),
        state=value,
        log="reason",
    )
    done = jobs.select(at="started_at", by="login", action="kind", state="state", log="log")
    both = pl.concat([steps, done.cast({"at": steps.schema["at"]})])
    words = pl.col("action").str.replace_all("_", " ")
    return both.sort("at", maintain_order=True).with_columns(action=words)


def list_runs(
    engine: Engine, facility: str | None = None, month: str | None = None
) -> pl.DataFrame:
    """List the runs that the user may see, with the number of their invoices and of open ones."""
    with reading(engine) as connection:
        if facility is not None:
            require(connection, facility, VIEWER)
        listed = runs.read_runs(connection, facility, month)
        listed = listed.filter(pl.col("facility").is_in(readable(connection, listed["facility"])))
        invoices = ledger_invoices.read_invoices(connection, facility, period=month)
    counts = invoices.group_by(pl.col("run").alias("id")).agg(
        pl.len().cast(pl.Int64).alias("invoices"),
        pl.col("state").is_in(UNFINISHED).sum().cast(pl.Int64).alias("open"),
    )
    return (
        listed.join(counts, on="id", how="left", maintain_order="left")
        .with_columns(pl.col("invoices", "open").fill_null(0))
        .select("id", "facility", "period", "selection", "state", "invoices", "open", "description")
        .rename({"id": "run"})
    )


def _require_known(book: PriceBook, selection: RunScope) -> None:
    known = {
        "project": {project.code for project in book.projects},
        "team": {team.code for team in book.teams},
    }
    for noun, stated in (("project", selection.projects), ("team", selection.teams)):
        unknown = sorted(set(stated) - known[noun])
        if unknown:
            raise InvalidAdjustment(f"the price book has no {noun} '{unknown[0]}'", where=noun)


def run_of(connection: Connection, book: PriceBook, run: str) -> Row[Any]:
    """Read a run of the price book's facility: its columns by name."""
    row = runs.read_run(connection, run)
    if row.facility != book.facility.code:
        raise InvalidAdjustment(f"billing run {run} does not belong to {book.facility.code}")
    return row
