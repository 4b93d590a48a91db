"""Checking a month: what the ledger holds of it is gathered, and every check is asked.

    find_discrepancies(engine, book, "1993-10")    findings, those that staff dismissed apart
    dismiss(engine, book, "1993-10", key, reason)  looked at and found right: it is not shown again

A dismissal is an event with who, when and why; it holds for the very finding, so where another
charge joins it, it is found anew.
"""

from dataclasses import dataclass

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment, NotReady
from billing_lib.ledger import events, reviewing, usage
from billing_lib.ledger.database import reading, writing
from billing_lib.pricing import discrepancies
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.reviewed import (
    CHARGES,
    INVALID_CODES,
    SHARES,
    SPEND,
    UNBILLED,
    Reviewed,
    items_frame,
    projects_frame,
)
from billing_lib.workflow.adjust import require_reason
from billing_lib.workflow.expense_codes import find_invalid_codes
from billing_lib.workflow.permissions import REVIEWER, VIEWER, require
from billing_lib.workflow.steps import Step, unheard

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
        Those that count, as the ledger has them (ledger/reviewing.py), with ``charge``, RC/57.
    unbilled
        The unbilled report (ledger/usage.py).
    spend
        Of the months before: ``period``, ``project``, ``item``, ``user``, ``charges``, ``total``.
    findings
        Schema FOUND (pricing/discrepancies.py), without those dismissed.
    dismissed
        ``key``, ``check``, ``subject``, ``sentence``, ``by``, ``at``, ``reason``.
    """

    charges: pl.DataFrame
    unbilled: pl.DataFrame
    spend: pl.DataFrame
    findings: pl.DataFrame
    dismissed: pl.DataFrame


def summarise_month(engine: Engine, book: PriceBook, period: str) -> Summary:
    """How a month adds up, quickly however large it is.

    Raises
    ------
    NotReady
        It is not rated yet, or nothing of it was loaded.
    """
    facility, month = book.facility.code, str(Period.parse(period))
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        sums = reviewing.count_month(connection, facility, month)
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
        found = reviewing.read_month(connection, facility, str(Period.parse(period)), first)
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
    total = MONTHS + 3 + len(discrepancies.CHECKS)
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        step(0, total, f"reading the charges of {month}")
        charges = _named(reviewing.read_month(connection, facility, str(month)), facility)
        step(1, total, f"reading the splits of {month}")
        shares = reviewing.read_shares(connection, facility, str(month))
        step(2, total, f"reading what is unbilled of {month}")
        unbilled = usage.read_unbilled(connection, facility, str(month))
        spend, before = [reviewing.SPEND.to_frame()], month
        for done in range(MONTHS):
            before = before.previous
            step(3 + done, total, f"reading {before}")
            spend.append(reviewing.read_spend(connection, facility, str(before)))
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
    first = total - len(discrepancies.CHECKS)
    found = discrepancies.find(
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
    """Dismiss a finding that was looked at and is right; what was done, in words.

    Raises
    ------
    InvalidAdjustment
        There is no such finding, or no reason.
    """
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
