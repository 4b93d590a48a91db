"""A month as reviewers see it: its charges, what is unbilled, what staff changed.

Checking a month: what the ledger holds of it is gathered, and every check is asked.

    find_discrepancies(engine, book, "1993-10")    findings, those that staff dismissed apart
    dismiss(engine, book, "1993-10", key, reason)  looked at and found right: it is not shown again

A dismissal is an event with who, when and why; it holds for the very finding, so where another
charge joins it, it is found anew.

From a finding to its remedy: which charges to change, and what to propose.

    remedy(finding)   Remedy(("RC/u8",), "waived", "yes", "duplicates: slide")

This is the hand-over from review to whatever changes charges: the charges and the change that
workflow/bulk.py takes, as panels/change.py opens with them. Nothing is changed before
staff have seen what it does and say so.

Explaining a charge of the ledger: what it was made of, in words, as it is priced now.

explain(ledger, book, "RC/57")   ["Microscope 1, project p1, user ann", …, "Total: 81.00 USD."]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment, NotReady, UnknownCharge
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, overview, usage
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import reading, writing
from billing_lib.pricing import month_checks
from billing_lib.pricing.clock import Period
from billing_lib.pricing.explain import explain_charge
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.month_checks import (
    CHARGES,
    INVALID_CODES,
    SHARES,
    SPEND,
    UNBILLED,
    Reviewed,
    items_frame,
    projects_frame,
)
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adjust import history_of, require_reason, split_code
from billing_lib.workflow.load import find_invalid_codes
from billing_lib.workflow.permissions import REVIEWER, VIEWER, require
from billing_lib.workflow.price import gather
from billing_lib.workflow.steps import Step, unheard


@dataclass(frozen=True)
class Month:
    """A facility's month.

    Attributes
    ----------
    records
        How many usage records end in it.
    charges
        ``charge`` (``RC/57``), ``kind``, ``project``, ``team``, ``item``, ``user``, ``date``,
        ``quantity``, ``price``, ``raw_total``, ``adjustment``, ``total``, ``cost`` (minor units),
        ``state``, ``invoice``.
    unbilled
        Records that are not billed, with reason and detail.
    invalid_codes
        ``charge``, ``expense_code``, ``date``, ``problem``: shares of pending charges that
        cannot be charged so.
    changes
        ``charge``, ``what``, ``before``, ``after``, ``by``, ``at``, ``reason``, in order.
    """

    facility: str
    period: str
    records: int
    charges: pl.DataFrame
    unbilled: pl.DataFrame
    invalid_codes: pl.DataFrame
    changes: pl.DataFrame


def read_month(engine: Engine, book: PriceBook, period: str) -> Month:
    """Read a month from the ledger, as at one moment."""
    facility, month = book.facility.code, str(Period.parse(period))
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        records = overview.count_records(connection, facility, month)
        charges = ledger_charges.read_charges(connection, facility, period=month)
        splits = ledger_charges.read_splits(connection, facility, period=month, state="PENDING")
        unbilled = usage.read_unbilled(connection, facility, month)
        changes = history_of(connection, facility, charges["code"])
    if charges.height + unbilled.height == 0:
        raise NotReady(
            f"{facility} {month} has no charges yet",
            remedy=f"load usage and run 'billing rate {facility} {month}'",
        )
    charged = splits.join(charges.select("on_date", charge="code"), on="charge").select(
        pl.format("{}/{}", pl.lit(facility), "charge").alias("charge"),
        "expense_code",
        date="on_date",
    )
    named = pl.format("{}/{}", pl.lit(facility), "code").alias("charge")
    return Month(
        facility,
        month,
        records,
        charges.with_columns(named, date="on_date").drop("code"),
        unbilled,
        find_invalid_codes(book, charged),
        changes,
    )


DISMISS = "dismiss"
"""The kind of event that a dismissal is; its subject is the month and the finding's key."""

MONTHS = 12
"""How many months before are compared with."""

_JUDGING = ("quantity", "amount", "waived")


@dataclass(frozen=True)
class Summary:
    """How a month adds up; totals in minor units.

    Attributes
    ----------
    cost
        Null where no item says what it costs.
    """

    records: int
    charges: int
    lines: int
    unbilled: int
    total: int
    cost: int | None


@dataclass(frozen=True)
class ReviewedMonth:
    """A month as the review notebook shows it.

    Attributes
    ----------
    charges
        Those that count, as the ledger has them (ledger/overview.py), with ``charge``, RC/57.
    unbilled
        The unbilled report (ledger/usage.py).
    spend
        Of the months before: ``period``, ``project``, ``item``, ``user``, ``charges``, ``total``.
    findings
        Schema FOUND (pricing/month_checks.py), without those dismissed.
    dismissed
        ``key``, ``check``, ``subject``, ``sentence``, ``by``, ``at``, ``reason``.
    """

    charges: pl.DataFrame
    unbilled: pl.DataFrame
    spend: pl.DataFrame
    findings: pl.DataFrame
    dismissed: pl.DataFrame


def summarise_month(engine: Engine, book: PriceBook, period: str) -> Summary:
    """How a month adds up, quickly however large it is."""
    facility, month = book.facility.code, str(Period.parse(period))
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        sums = overview.count_month(connection, facility, month)
    rows = dict(sums.select("what", "rows").iter_rows())
    if not sums.filter(pl.col("what") != "records")["rows"].sum():
        raise NotReady(
            f"{facility} {month} has no charges yet",
            remedy=f"load usage and run 'billing rate {facility} {month}'",
        )
    return Summary(
        records=rows["records"],
        charges=rows.get("usage", 0),
        lines=rows.get("line", 0),
        unbilled=rows["unbilled"],
        total=int(sums["total"].sum()),
        cost=int(sums["cost"].sum()) if sums["cost"].count() else None,
    )


def read_charges(
    engine: Engine, book: PriceBook, period: str, first: int | None = None
) -> pl.DataFrame:
    """A month's charges that count, as ``ReviewedMonth.charges``; only so many where told."""
    facility = book.facility.code
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        found = overview.read_month(connection, facility, str(Period.parse(period)), first)
    return _named(found, facility)


def find_discrepancies(
    engine: Engine, book: PriceBook, period: str, step: Step = unheard
) -> ReviewedMonth:
    """What the checks find in a month, as at one moment.

    Parameters
    ----------
    step
        Told what is being read or checked; may raise to stop, nothing is written.
    """
    facility, month = book.facility.code, Period.parse(period)
    total = MONTHS + 3 + len(month_checks.CHECKS)
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        step(0, total, f"reading the charges of {month}")
        charges = _named(overview.read_month(connection, facility, str(month)), facility)
        step(1, total, f"reading the splits of {month}")
        shares = overview.read_shares(connection, facility, str(month))
        step(2, total, f"reading what is unbilled of {month}")
        unbilled = usage.read_unbilled(connection, facility, str(month))
        spend, before = [overview.SPEND.to_frame()], month
        for done in range(MONTHS):
            before = before.previous
            step(3 + done, total, f"reading {before}")
            spend.append(overview.read_spend(connection, facility, str(before)))
        judged = _judged(connection, facility)
        dismissals = events.read_events(connection, facility, kinds=[DISMISS])
    shares = shares.with_columns(charge=_name(facility, "charge"))
    reviewed = Reviewed(
        facility=book.facility,
        period=month,
        charges=_as_checked(charges, judged),
        shares=shares.select(SHARES.names()),
        unbilled=unbilled.select(UNBILLED.names()),
        invalid_codes=_invalid(book, charges, shares),
        spend=pl.concat(spend).select(SPEND.names()),
        items=items_frame(book),
        projects=projects_frame(book),
    )
    first = total - len(month_checks.CHECKS)
    found = month_checks.find(
        reviewed, lambda done, of, what: step(first + done, total, f"checking: {what}")
    )
    said = dismissals.select(
        pl.col("subject").str.strip_prefix(f"{month} ").alias("key"),
        by="login",
        at=pl.col("at").dt.to_string("%Y-%m-%d %H:%M"),
        reason="reason",
    ).unique("key", keep="last", maintain_order=True)
    return ReviewedMonth(
        charges=charges,
        unbilled=unbilled,
        spend=pl.concat(spend),
        findings=found.join(said, on="key", how="anti", maintain_order="left"),
        dismissed=found.select("key", "check", "subject", "sentence").join(
            said, on="key", maintain_order="left"
        ),
    )


def dismiss(engine: Engine, book: PriceBook, period: str, key: str, reason: str) -> str:
    """Dismiss a finding that was looked at and is right; what was done, in words."""
    require_reason(reason)
    facility, month = book.facility.code, str(Period.parse(period))
    with reading(engine) as connection:
        require(connection, facility, REVIEWER)
    found = find_discrepancies(engine, book, month)
    if key in found.dismissed["key"]:
        return f"{key}: was dismissed before, nothing changed"
    finding = found.findings.filter(pl.col("key") == key)
    if finding.height == 0:
        raise InvalidAdjustment(
            f"there is no finding '{key}' in {facility} {month}",
            remedy=f"'billing check {facility} {month}' lists them",
        )
    with writing(engine) as connection:
        require(connection, facility, REVIEWER)
        events.record_event(
            connection, facility, kind=DISMISS, subject=f"{month} {key}", reason=reason.strip()
        )
    check, subject = finding.select("check", "subject").row(0)
    return f"{key}: dismissed, {check}, {subject}"


def _name(facility: str, column: str) -> pl.Expr:
    return pl.format("{}/{}", pl.lit(facility), column)


def _named(charges: pl.DataFrame, facility: str) -> pl.DataFrame:
    renamed = charges.rename({"on_date": "date", "start_at": "start", "end_at": "end"})
    return renamed.select(_name(facility, "code").alias("charge"), *renamed.columns)


def _as_checked(charges: pl.DataFrame, judged: pl.Series) -> pl.DataFrame:
    known = pl.col("code").is_in(judged.implode())
    return charges.with_columns(judged=known).select(CHARGES.names())


def _judged(connection: Connection, facility: str) -> pl.Series:
    """The codes of charges on which staff set what was used or what it comes to."""
    made = events.read_events(connection, facility, kinds=["adjust"])
    undone = events.read_events(connection, facility, kinds=["undo"])["subject"]
    sets = pl.any_horizontal(
        pl.col("after").str.json_path_match(f"$.{field}").is_not_null() for field in _JUDGING
    )
    standing = ~pl.col("group_id").is_in(undone.implode()).fill_null(value=False)
    return made.filter(sets & standing)["subject"].unique()


def _invalid(book: PriceBook, charges: pl.DataFrame, shares: pl.DataFrame) -> pl.DataFrame:
    pending = charges.filter(pl.col("state") == "PENDING").select("charge", "date")
    charged = shares.select("charge", "expense_code").join(pending, on="charge")
    return find_invalid_codes(book, charged).select(INVALID_CODES.names())


@dataclass(frozen=True)
class Remedy:
    """A change that is proposed.

    Attributes
    ----------
    charges
        The charges to change, ``RC/57``.
    field, value
        What to set (pricing/adjusting.py); None where staff must say.
    reason
        Why, as it would be kept.
    """

    charges: tuple[str, ...]
    field: str | None = None
    value: str | None = None
    reason: str = ""


def remedy(finding: Mapping[str, Any]) -> Remedy | None:
    """The change that a finding (a row of schema FOUND) proposes; None where it is about no
    charge, so that usage, price book or rating must be seen to."""
    if not finding["to_change"]:
        return None
    return Remedy(
        tuple(finding["to_change"]),
        finding["field"],
        finding["value"],
        f"{finding['check']}: {finding['subject']}",
    )


def explain(engine: Engine, book: PriceBook, charge: str) -> list[str]:
    """How a charge comes to its total, one sentence per step.

    Where the price book has changed since the charge was issued or last rated, the last sentence
    says what the ledger has.
    """
    facility, code = split_code(charge)
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        found = ledger_charges.read_charges(connection, facility, codes=[code])
        if found.height == 0:
            raise UnknownCharge(
                f"there is no charge {charge}", remedy="'billing charges' lists them"
            )
        row = found.row(0, named=True)
        month = ledger_charges.read_charges(
            connection, facility, period=row["period"], project=row["project"]
        )
        kin = month.filter(
            pl.col("item").eq_missing(pl.lit(row["item"], dtype=pl.String))
            | (pl.col("code") == code)
        )
        it = gather(connection, book, kin)
        held = ledger_invoices.read_invoices(connection, facility, codes=[row["invoice"] or ""])
    currency, places = book.facility.currency, minor_places(book.facility.currency)
    told = explain_charge(code, currency, it.usage, it.catalogue, it.adjustments, it.lines)
    standing = f"Total: {money_text(row['total'], places)} {currency}."
    state = _stands_on(row["invoice"], held)
    if standing not in told:
        state += f" The ledger has {standing[:-1].lower()}, priced by an earlier price book."
    return [f"{charge}: {told[0]}", *told[1:], state]


def _stands_on(code: str | None, held: pl.DataFrame) -> str:
    if code is None:
        return "It is on no invoice yet."
    state, number = held.select("state", "number").row(0)
    if number is None:
        return f"It is on invoice {code}, which is {state} and not issued yet."
    told = {"SUPERSEDED": ", which another replaces", "VOID": ", which is void"}
    return f"It is on invoice {number}{told.get(state, '')}."
