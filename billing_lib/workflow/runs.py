"""Billing runs before issuing: make draft invoices, calculate and submit them, sign off the month.

    charges (PENDING) ─ take in ─▶ invoices (OPEN) ─ submit ─▶ APPROVING, their charges locked

A run bills a whole month or a selection of it:

    ''                             the whole month
    projects: u4, u22              only these projects
    teams: bio                     only this team
    reference: PO-12               one ad hoc invoice
    reissue: RC-1994-00007         the replacement of an issued invoice

Every step can be repeated: taking in adds only charges on no invoice, and calculating writes only
differences. An invoice that cannot be calculated is in ERROR with the reason; the others go on.

A month may be issued once a reviewer has signed it off, unless its price book says ``issue:
scheduled``. A charge added or changed afterwards needs another sign-off; on an ad hoc invoice it
holds back this invoice only.

    billing ready RC 1993-10      RC 1993-10 is ready: 1,234 charges, total 10,204.11 USD
"""

import datetime as dt
import json
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import chain, count
from typing import Any, Self
from zoneinfo import ZoneInfo

import polars as pl
from sqlalchemy import Connection, Engine, Row

from billing_lib.errors import NotReady, count_of
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, runs
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import Ledger, reading
from billing_lib.ledger.states import DISABLED, EDITABLE, ERROR, OPEN, REJECTED, UNFINISHED
from billing_lib.pricing.charging import Charges
from billing_lib.pricing.clock import Period
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.money import minor_places, money_text, to_minor
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adhoc import attach_waiting
from billing_lib.workflow.content import month_contents
from billing_lib.workflow.findings import require_settled
from billing_lib.workflow.permissions import REVIEWER, VIEWER, changing, require
from billing_lib.workflow.price import (
    Gathered,
    differing,
    gather,
    note_rating,
    read_priced,
    replace_charges,
    year_to_date_amounts,
)
from billing_lib.workflow.snapshot import AD_HOC, PERIODIC, sum_invoices
from billing_lib.workflow.unplaced import require_placed


@dataclass(frozen=True)
class RunScope:
    """The selection of a month that a run bills; by default the whole month."""

    projects: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    reference: str | None = None
    reissue: str | None = None

    @property
    def text(self) -> str:
        """The selection as the ledger stores it."""
        if self.projects:
            return "projects: " + ", ".join(sorted(self.projects))
        if self.teams:
            return "teams: " + ", ".join(sorted(self.teams))
        if self.reference is not None:
            return f"reference: {self.reference}"
        return "" if self.reissue is None else f"reissue: {self.reissue}"

    @property
    def words(self) -> str:
        """The selection in words: ``project u4``, ``teams bio, chem``."""
        kind, _, codes = self.text.partition(": ")
        return f"{kind.removesuffix('s') if ', ' not in codes else kind} {codes}".strip()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a selection as the ledger stores it."""
        kind, _, rest = text.partition(": ")
        codes = tuple(rest.split(", "))
        return {
            "": cls(),
            "projects": cls(projects=codes),
            "teams": cls(teams=codes),
            "reference": cls(reference=rest),
            "reissue": cls(reissue=rest),
        }[kind]

    @property
    def takes_charges(self) -> bool:
        """Whether the run's invoices take in charges that are on no invoice yet."""
        return self.reference is None and self.reissue is None

    @property
    def asks_sign_off(self) -> bool:
        """Whether the month must be signed off first; a reissue needs no sign-off."""
        return self.reissue is None

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Select rows by ``project``, ``team`` or ``reference``."""
        if self.projects:
            return frame.filter(pl.col("project").is_in(self.projects))
        if self.teams:
            return frame.filter(pl.col("team").is_in(self.teams))
        if self.reference is not None:
            return frame.filter(pl.col("reference") == self.reference)
        return frame


def open_run(
    connection: Connection,
    book: PriceBook,
    period: Period,
    selection: RunScope,
    description: str = "",
) -> str:
    """Return the id of the open or disabled run of a month and selection, or make a run."""
    facility, month = book.facility.code, str(period)
    same = runs.read_runs(connection, facility, month).filter(
        (pl.col("selection") == selection.text) & pl.col("state").is_in((OPEN, DISABLED))
    )
    if same.height:
        return str(same["id"][0])
    return runs.make_run(connection, facility, month, selection.text, description)


def take_in(
    connection: Connection,
    book: PriceBook,
    run: str,
    closed: pl.Series | None = None,
    counted: pl.DataFrame | None = None,
    submitting: RunScope | None = None,
) -> int:
    """Put the month's charges without an invoice on drafts of the run; return their number.

    Missing drafts are made. Charges of a project whose month is issued (``closed``, if it is known)
    wait for the next run or a reissue. ``counted`` has the charges by project, if it is known.
    Those on new drafts of a selection that is ``submitting`` are bound at once.
    """
    row = runs.read_run(connection, run)
    selection = RunScope.parse(row.selection)
    if not selection.takes_charges:
        return 0
    facility, month = book.facility.code, row.period
    calculate(connection, book, attach_waiting(connection, facility))
    invoices = ledger_invoices.read_invoices(connection, facility, period=month)
    ad_hoc = invoices.filter(
        pl.col("state").is_in(EDITABLE)
        & (pl.col("kind") == AD_HOC)
        & pl.col("run").is_null()
        & (pl.col("charges") > 0)
    )
    ledger_invoices.put_in_run(connection, facility, selection.of(ad_hoc)["code"].to_list(), run)
    if counted is None:
        counted = ledger_charges.count_by_project(connection, facility, month)
    pending = selection.of(counted).filter(pl.col("free") == 1)
    closed = closed_projects(connection, facility, month) if closed is None else closed
    free = pending.filter(
        pl.col("reference").is_null() & ~pl.col("project").is_in(closed.implode())
    )
    standing = invoices.filter(
        pl.col("state").is_in(UNFINISHED)
        & (pl.col("kind") == PERIODIC)
        & pl.col("replaces").is_null()
    )
    known = standing.filter(pl.col("state").is_in(EDITABLE)).select("project", invoice="code")
    waiting = standing.filter(~pl.col("state").is_in(EDITABLE))["project"]
    free = free.filter(~pl.col("project").is_in(waiting.implode()))
    new = (
        free.join(known, on="project", how="anti")
        .group_by("project")
        .agg(pl.col("team").first())
        .sort("project")
    )
    new = new.with_columns(_free_codes(set(invoices["code"]), run, new["project"]))
    period = Period.parse(month)
    ledger_invoices.insert_invoices(
        connection,
        new.select(
            "project",
            "team",
            code="invoice",
            facility=pl.lit(facility),
            kind=pl.lit(PERIODIC),
            run=pl.lit(run),
            period=pl.lit(month),
            covers_from=pl.lit(period.first_day),
            covers_to=pl.lit(period.last_day),
            description=pl.lit(""),
        ),
    )
    drafts = pl.concat([known, new.select(known.columns)])
    bound = (submitting.of(new) if submitting else new.clear()).select("project", run=pl.lit(run))
    placed = free.join(drafts, on="project").join(bound, on="project", how="left")
    ledger_charges.attach_unattached(connection, facility, month, placed)
    # Older drafts may be in another run or in quarantine, so no later step would calculate them.
    grown = placed["invoice"].unique().sort()
    calculate(connection, book, grown.filter(grown.is_in(known["invoice"].implode())).to_list())
    return int(placed["charges"].sum())


def _free_codes(taken: set[str], run: str, projects: pl.Series) -> pl.Series:
    """The codes of new invoices of a run: ``RC-1993-11-1/u4``, or ``RC-1993-11-1/u4~2`` if the
    first was closed."""
    free: list[str] = []
    for project in projects:
        first = f"{run}/{project}"
        further = (f"{first}~{again}" for again in count(2))
        free.append(next(code for code in chain([first], further) if code not in taken))
    return pl.Series("invoice", free, dtype=pl.String)


def closed_projects(connection: Connection, facility: str, month: str) -> pl.Series:
    """The projects whose invoice of the month is issued: further charges are late."""
    issued = ledger_invoices.read_issued(connection, facility=facility, period=month, active=True)
    return issued.filter(pl.col("kind") != AD_HOC)["project"].unique()


@dataclass(frozen=True)
class Calculated:
    """Calculated invoices of one month (schema INVOICE), their charges (as of ``read_priced``), the
    frames from which these are priced, and their splits (schema SPLIT)."""

    invoices: pl.DataFrame
    charges: pl.DataFrame
    gathered: Gathered
    splits: pl.DataFrame


def calculate(
    connection: Connection, book: PriceBook, codes: list[str], *, as_reviewed: bool = False
) -> list[Calculated]:
    """Price the charges of editable invoices and sum them; those without errors, by month.

    If the price book has changed a charge since its last rating or adjustment, the charge is
    updated; with ``as_reviewed``, NotReady is raised instead.
    """
    if not codes:
        return []
    facility, calculated = book.facility.code, []
    drafts = ledger_invoices.read_invoices(connection, facility, codes=codes, states=EDITABLE)
    for (month,), part in drafts.group_by("period", maintain_order=True):
        charges = read_priced(connection, facility, part["code"])
        failing: dict[str, str] = {}
        try:
            gathered = gather(connection, book, charges, str(month), with_content=as_reviewed)
        except NotReady:
            failing = _failing(connection, book, charges, str(month))
            charges = charges.filter(~pl.col("invoice").is_in(list(failing)))
            gathered = gather(connection, book, charges, str(month), with_content=as_reviewed)
        _note_errors(connection, facility, part, failing)
        fine = part.filter(~pl.col("code").is_in(list(failing)))
        priced = gathered.price()
        one = Calculated(fine, charges, gathered, priced.splits)
        totals = _totals(connection, book, one, priced, str(month), as_reviewed=as_reviewed)
        ledger_invoices.set_totals(connection, facility, totals)
        now = fine.update(totals, on="code", include_nulls=True).with_columns(
            state=pl.when(pl.col("state") == ERROR).then(pl.lit(OPEN)).otherwise("state")
        )
        calculated.append(replace(one, invoices=now))
    return calculated


def _failing(
    connection: Connection, book: PriceBook, charges: pl.DataFrame, month: str
) -> dict[str, str]:
    """The reasons why invoices cannot be calculated, by invoice."""
    reasons: dict[str, str] = {}
    for (invoice,), part in charges.group_by("invoice", maintain_order=True):
        try:
            gather(connection, book, part, month)
        except NotReady as error:
            reasons[str(invoice)] = str(error)
    return reasons


def _note_errors(
    connection: Connection, facility: str, drafts: pl.DataFrame, failing: dict[str, str]
) -> None:
    """Move failing invoices from OPEN to ERROR, and repaired ones back."""
    for code, state in drafts.select("code", "state").iter_rows():
        if code in failing and state == OPEN:
            ledger_invoices.move_invoices(connection, facility, [code], "fail", failing[code])
        if code not in failing and state == ERROR:
            ledger_invoices.move_invoices(connection, facility, [code], "recalculate")


def _totals(
    connection: Connection,
    book: PriceBook,
    calculated: Calculated,
    priced: Charges,
    month: str,
    *,
    as_reviewed: bool,
) -> pl.DataFrame:
    facility, gathered = book.facility.code, calculated.gathered
    drafts, charges = calculated.invoices, calculated.charges
    codes = differing(connection, facility, charges, priced)
    if codes.len() and as_reviewed:
        raise NotReady(
            f"the price book has changed since the rating of "
            f"{count_of(codes.len(), 'charge')}, the first of "
            f"them {facility}/{codes[0]}",
            remedy=f"run 'billing rate {facility} {month}' and review them",
        )
    note_rating(connection, facility, month, "changed", codes.len())
    replace_charges(connection, facility, priced, codes)
    stands_on = charges.select("charge", "invoice")
    invoices = drafts.select("kind", "project", invoice="code")
    year_to_date = year_to_date_amounts(
        connection,
        book.facility,
        gathered.catalogue,
        Period.parse(month),
        drafts["replaces"].drop_nulls(),
    )
    summed = sum_invoices(priced, gathered.catalogue, year_to_date, stands_on, invoices).invoices
    teams = gathered.catalogue.accounts.select("project", now="team").unique("project")
    names = ("charges", "raw_total", "adjustment", "total")  # zero without charges
    return (
        drafts.select("code", "project", "team")
        .join(teams, on="project", how="left")
        .join(summed.select(*names, "tax", "cost", code="invoice"), on="code", how="left")
        .with_columns(pl.coalesce("now", "team").alias("team"), pl.col(*names).fill_null(0))
    )


def calculate_holding(
    connection: Connection, book: PriceBook, changed: list[str], grown: list[str]
) -> None:
    """Calculate the invoices of changed charges, and the invoices that have grown."""
    facility = book.facility.code
    charges = ledger_charges.read_charges(connection, facility, codes=changed)
    holding = {*charges["invoice"].drop_nulls(), *grown}
    if holding:
        calculate(connection, book, sorted(holding))


def follow_changes(connection: Connection, book: PriceBook, before: pl.DataFrame) -> None:
    """Update the invoices after charges were changed, moved, added or deleted.

    ``before`` holds the charges before the change (schema CHARGE), but an added line after it.
    """
    facility = book.facility.code
    now = ledger_charges.read_charges(connection, facility, codes=before["charge"])
    drafts = ledger_invoices.read_invoices(connection, facility, states=EDITABLE)
    holding = drafts.filter(pl.col("kind") != AD_HOC)
    fitting = holding.select("project", "period", fit="code").unique(
        ["project", "period"], keep="last", maintain_order=True
    )
    left = now.join(before.select("charge", was="invoice"), on="charge").filter(
        pl.col("invoice").is_null() & (pl.col("reference").is_null() | pl.col("was").is_not_null())
    )
    placed = left.join(fitting, on=["project", "period"])
    ledger_charges.attach_charges(connection, facility, placed.select("charge", invoice="fit"))
    touched = pl.concat([before["invoice"], now["invoice"], placed["fit"]]).drop_nulls().unique()
    calculate(connection, book, touched.sort().to_list())


def submit(
    connection: Connection, book: PriceBook, run: str, codes: list[str]
) -> Calculated | None:
    """Calculate invoices of a run and lock them for approval; return those, if there are any.

    Invoices without charges stay OPEN.
    """
    if not codes:
        return None
    facility = book.facility.code
    chosen = ledger_invoices.lock_invoices(connection, facility, codes)
    back = chosen.filter(pl.col("state") == REJECTED)
    ledger_invoices.move_invoices(
        connection, facility, back["code"].to_list(), "reopen", locked=back
    )
    submitted, left = None, set(codes)
    for one in calculate(connection, book, codes, as_reviewed=True):
        ready = one.invoices.filter((pl.col("state") == OPEN) & (pl.col("charges") > 0))
        ready_codes = ready["code"].to_list()
        charges = one.charges.filter(pl.col("invoice").is_in(ready_codes))
        unbound = charges.filter(pl.col("run").is_null())["invoice"].unique().to_list()
        ledger_charges.bind_charges(connection, facility, unbound, run)
        ledger_invoices.move_invoices(connection, facility, ready_codes, "submit", locked=ready)
        charges = charges.with_columns(run=pl.lit(run))
        submitted = replace(one, invoices=ready, charges=charges) if ready_codes else submitted
        left.difference_update(ready_codes)
    ledger_charges.free_charges(connection, facility, sorted(left))  # bound as they were taken in
    return submitted


def bind_for_good(connection: Connection, book: PriceBook, closing: pl.DataFrame) -> None:
    """Bind the charges of closing invoices (schema INVOICE) to the invoices' runs.

    An ad hoc invoice without a run gets its own.
    """
    facility = book.facility.code
    without_run = closing.filter(pl.col("run").is_null() & (pl.col("charges") > 0))
    for code, month, reference in without_run.select("code", "period", "reference").iter_rows():
        selection = RunScope(reference=reference)
        own = open_run(connection, book, Period.parse(month), selection)
        ledger_invoices.put_in_run(connection, facility, [code], own)
    now = ledger_invoices.read_invoices(connection, facility, codes=closing["code"])
    for (run,), part in now.filter(pl.col("run").is_not_null()).group_by("run"):
        ledger_charges.bind_charges(connection, facility, part["code"].to_list(), str(run))


def finish_if_done(connection: Connection, book: PriceBook, run: str) -> bool:
    """Finish a run if none of its invoices can still be issued, and close its empty invoices."""
    facility = book.facility.code
    left = ledger_invoices.read_invoices(connection, run=run, states=UNFINISHED)
    empty = left.filter((pl.col("charges") == 0) & (pl.col("state") == OPEN))
    if left.height > empty.height or runs.read_run(connection, run).state != OPEN:
        return False
    codes = empty["code"].to_list()
    ledger_invoices.move_invoices(connection, facility, codes, "close", "it bills nothing")
    runs.move_run(connection, run, "finish")
    return True


def require_open(connection: Connection, run: str) -> Row[Any]:
    """Read a run; raise NotReady if it is disabled, cancelled or finished."""
    row = runs.read_run(connection, run)
    if row.state != OPEN:
        raise NotReady(
            f"billing run {run} is {row.state}", remedy="'billing runs' lists the open ones"
        )
    return row


SIGN_OFF = "ready"
"""The kind of these events; their subject is the month."""


def sign_off(engine: Ledger, book: PriceBook, month: str, comment: str = "") -> str:
    """Sign off a month as it is now; return a sentence.

    Raises
    ------
    NotReady
        The month is not over or has no charges, there is usage that nobody can place in a month, or
        a finding holds back the sign-off.
    """
    facility = book.facility.code
    last = Period.parse(month).last_day
    if dt.datetime.now(ZoneInfo(book.facility.timezone)).date() <= last:
        raise NotReady(
            f"{facility} {month} is not over; more usage may come until {last}",
            remedy="sign it off afterwards",
        )
    with changing(engine, book, REVIEWER) as connection:
        running = require_placed(connection, facility, month)
        sums = _sums(connection, book, month)
        if sums["charges"] == "0":
            raise NotReady(
                f"there are no charges for {facility} {month}",
                remedy=f"load usage and run 'billing rate {facility} {month}'",
            )
        require_settled(connection, book, Period.parse(month))
        sentence = f"{facility} {month} is ready: {_words(book, sums)}"
        sentence += f"; {running}" if running else ""
        if _signed(connection, facility, month) == sums:
            return f"{sentence}; it was signed off before, nothing changed"
        events.record_event(
            connection,
            facility,
            kind=SIGN_OFF,
            subject=month,
            reason=comment,
            after=canonical_json(sums),
        )
    return sentence


def is_ready(engine: Engine, book: PriceBook, month: str) -> bool:
    """Whether a month may be issued."""
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        return signed_off(connection, book, month)


def signed_off(connection: Connection, book: PriceBook, month: str) -> bool:
    """Whether the month is signed off as it is now, or needs no sign-off."""
    try:
        require_ready(connection, book, month)
    except NotReady:
        return False
    return True


def require_ready(
    connection: Connection, book: PriceBook, month: str, ad_hoc: str | None = None
) -> None:
    """Check that the month is signed off as it is now, or that its facility issues by schedule.

    The charges of ad hoc invoices are left out; ``ad_hoc`` checks one such invoice instead.

    Raises
    ------
    NotReady
        The month or the invoice needs a sign-off.
    """
    facility = book.facility.code
    if book.facility.issue == "scheduled":
        return
    signed, sums = _signed(connection, facility, month), _sums(connection, book, month)
    remedy = f"review it, then run 'billing ready {facility} {month}'"
    noun = f"{facility} {month}" if ad_hoc is None else f"invoice {ad_hoc}"
    if signed is None:
        raise NotReady(f"{facility} {month} is not signed off", remedy=remedy)
    if ad_hoc is not None and ad_hoc not in signed.get("ad_hoc", {}):
        raise NotReady(f"{noun} was not there when {month} was signed off", remedy=remedy)
    before, now = _part(book, signed, ad_hoc), _part(book, sums, ad_hoc)
    if before == now:
        return
    if _words(book, before) == _words(book, now):
        raise NotReady(
            f"{noun} was signed off with the same total, but a charge, split, note or decision on "
            "a finding is another now",
            remedy=remedy,
        )
    raise NotReady(
        f"{noun} was signed off with {_words(book, before)}; it has {_words(book, now)} now",
        remedy=remedy,
    )


def unsigned_ad_hoc(
    connection: Connection, book: PriceBook, month: str, invoices: pl.DataFrame
) -> list[str]:
    """The codes of the month's unsubmitted ad hoc invoices (schema INVOICE) without a sign-off."""
    codes = []
    mine = invoices.filter(
        (pl.col("kind") == AD_HOC) & pl.col("state").is_in(EDITABLE) & (pl.col("charges") > 0)
    )
    for code in mine["code"]:
        try:
            require_ready(connection, book, month, code)
        except NotReady:
            codes.append(code)
    return codes


def _signed(connection: Connection, facility: str, month: str) -> dict[str, Any] | None:
    sign_offs = events.read_events(connection, facility, kinds=[SIGN_OFF], subjects=[month])
    if sign_offs.height == 0:
        return None
    sums: dict[str, Any] = json.loads(sign_offs["after"][-1])
    return sums


def _sums(connection: Connection, book: PriceBook, month: str) -> dict[str, Any]:
    """The number and total of the month's charges, and of those on each ad hoc invoice.

    The content of each invoice, and of all other charges, stands beside (workflow/content.py).
    """
    contents = month_contents(connection, book.facility.code, month)
    counted = ledger_charges.count_charges(connection, book.facility.code, month)
    places = minor_places(book.facility.currency)
    sums: dict[str, Any] = _texts(
        int(counted["charges"].sum()), int(counted["total"].sum()), places
    )
    ad_hoc = {
        code: _texts(count, total, places) | {"content": contents[code]}
        for code, count, total in counted.drop_nulls("ad_hoc").iter_rows()
    }
    return sums | {"content": contents[None]} | ({"ad_hoc": ad_hoc} if ad_hoc else {})


def _texts(charges: int, total: int, places: int) -> dict[str, str]:
    return {"charges": str(charges), "total": money_text(total, places)}


def _part(book: PriceBook, sums: dict[str, Any], ad_hoc: str | None) -> dict[str, str]:
    """The sums of one ad hoc invoice, or of all charges on no such invoice."""
    places = minor_places(book.facility.currency)
    parts = sums.get("ad_hoc", {})
    if ad_hoc is not None:
        return dict(parts.get(ad_hoc, _texts(0, 0, places)))
    charges = int(sums["charges"]) - sum(int(part["charges"]) for part in parts.values())
    total = Decimal(sums["total"]) - sum(Decimal(part["total"]) for part in parts.values())
    return _texts(charges, to_minor(total, places), places) | {"content": sums.get("content", "")}


def _words(book: PriceBook, sums: dict[str, Any]) -> str:
    charges, total = int(sums["charges"]), sums["total"]
    return f"{count_of(charges, 'charge')}, total {total} {book.facility.currency}"
