"""Review a month: its charges, unbilled usage and findings, and the explanation of a charge.

    find_discrepancies(engine, book, "1993-10")    run every check of pricing/month_checks.py
    check_month(MonthData.read(folder))            the same on a month frozen in a snapshot
    dismiss(engine, book, "1993-10", key, reason)  a reviewer found it right: hide it
    restore(engine, book, "1993-10", key, reason)  take the dismissal back: show it again
    remedy(finding)                                Remedy(("RC/u8",), "waived", "yes", …)
    explain(ledger, book, "RC/57")                 ["RC/57: Microscope 1, …", "Total: 81.00 USD."]

A finding names charges and may propose a change to them; workflow/bulk.py makes the change after
staff have seen its effect. A dismissal is an event and holds for exactly these charges: a finding
with one more charge is shown again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment, NotReady, UnknownCharge, count_of
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, overview, usage
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import reading
from billing_lib.pricing import month_checks
from billing_lib.pricing.clock import Period
from billing_lib.pricing.explain import explain_charge
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.month_checks import (
    CHECKED,
    SPEND,
    UNBILLED,
    UNPLACED,
    Reviewed,
    items_frame,
    name_of,
    projects_frame,
    usage_without_a_readable_time,
)
from billing_lib.pricing.pricebook import Facility, PriceBook
from billing_lib.workflow.adjust import CHANGES, changes_of, require_reason, split_code
from billing_lib.workflow.findings import (
    ANY,
    DISMISS,
    RESTORE,
    find_invalid_codes,
    named,
    read_codes,
    read_dismissals,
    read_stated,
    waiting,
    with_judged,
)
from billing_lib.workflow.permissions import REVIEWER, VIEWER, changing, require
from billing_lib.workflow.price import gather
from billing_lib.workflow.runs import SIGN_OFF, Calculated
from billing_lib.workflow.steps import Progress, unheard
from billing_lib.workflow.unplaced import count_unplaced, month_unbilled


@dataclass(frozen=True)
class MonthCharges:
    """A facility's month.

    Attributes
    ----------
    records
        Number of usage records that end in the month.
    charges
        ``charge`` (``RC/57``), ``kind``, ``project``, ``team``, ``item``, ``user``, ``date``,
        ``quantity``, ``price``, ``raw_total``, ``adjustment``, ``total``, ``cost`` (minor units),
        ``state``, ``invoice``.
    unbilled
        Unbilled records with reason and detail.
    invalid_codes
        Shares of pending charges with an invalid expense code: ``charge``, ``expense_code``,
        ``date``, ``problem``.
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


def read_month(engine: Engine, book: PriceBook, period: str) -> MonthCharges:
    """Read a month in one transaction."""
    facility, month = book.facility.code, str(Period.parse(period))
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        records = overview.count_records(connection, facility, month)
        records += count_unplaced(connection, facility, month)
        charges = ledger_charges.read_charges(connection, facility, period=month)
        splits = ledger_charges.read_splits(connection, facility, period=month, state="PENDING")
        unbilled = month_unbilled(connection, facility, month)
        changes = changes_of(connection, facility, charges["charge"])
    if charges.height + unbilled.height == 0:
        raise _no_charges(facility, month)
    charged = splits.join(charges.select("charge", "date"), on="charge").select(
        _name(facility, "charge").alias("charge"), "expense_code", "date"
    )
    return MonthCharges(
        facility,
        month,
        records,
        charges.with_columns(_name(facility, "charge").alias("charge")),
        unbilled,
        find_invalid_codes(book, charged),
        changes,
    )


MONTHS = 12
"""The number of earlier months that the checks compare with."""


@dataclass(frozen=True)
class Summary:
    """The sums of a month in minor units; ``cost`` is None if no item states its cost."""

    records: int
    charges: int
    lines: int
    unbilled: int
    total: int
    cost: int | None


@dataclass(frozen=True)
class ReviewedMonth:
    """A month in the review notebook.

    Attributes
    ----------
    charges, unbilled
        The charges that count (ledger/overview.py), ``charge`` as ``RC/57``; the unbilled report.
    spend
        Sums of earlier months: ``period``, ``project``, ``item``, ``user``, ``charges``, ``total``.
    findings
        Schema FOUND (pricing/month_checks.py), without dismissed findings.
    dismissed
        ``key``, ``check``, ``subject``, ``sentence``, ``by``, ``at``, ``reason``.
    """

    charges: pl.DataFrame
    unbilled: pl.DataFrame
    spend: pl.DataFrame
    findings: pl.DataFrame
    dismissed: pl.DataFrame


def summarise_month(engine: Engine, book: PriceBook, period: str) -> Summary:
    """Sum a month in the database, so that large months are quick too."""
    facility, month = book.facility.code, str(Period.parse(period))
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        sums = overview.count_month(connection, facility, month)
        unplaced = count_unplaced(connection, facility, month)
    rows = dict(sums.select("what", "rows").iter_rows())
    if not sums.filter(pl.col("what") != "records")["rows"].sum() + unplaced:
        raise _no_charges(facility, month)
    return Summary(
        records=rows["records"] + unplaced,
        charges=rows.get("usage", 0),
        lines=rows.get("line", 0),
        unbilled=rows["unbilled"] + unplaced,
        total=int(sums["total"].sum()),
        cost=int(sums["cost"].sum()) if sums["cost"].count() else None,
    )


def read_charges(
    engine: Engine, book: PriceBook, period: str, first: int | None = None
) -> pl.DataFrame:
    """Read a month's charges as in ``ReviewedMonth.charges``, all or the ``first`` ones."""
    facility = book.facility.code
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        charges = overview.read_month(connection, facility, str(Period.parse(period)), first)
    return named(charges, facility)


@dataclass(frozen=True)
class MonthData:
    """All that the review of a month reads, so that a frozen month is reviewed again.

    Attributes
    ----------
    facility
        Of the price book; frozen are its code, name, currency, time zone and limits of review.
    charges, unbilled, spend
        As in ``ReviewedMonth``.
    judged
        ``charge``: staff set its quantity or amount, or waived it.
    stated, shares, unplaced, invalid_codes, items, projects
        As in ``Reviewed`` (pricing/month_checks.py).
    waiting
        Unbilled usage of the month that staff have not dismissed, for the checks.
    dismissals
        ``key``, ``by``, ``at``, ``reason`` of dismissed findings.
    changes
        The changes by staff, as ``read_history`` has them.
    """

    facility: Facility
    period: Period
    charges: pl.DataFrame
    judged: pl.DataFrame
    stated: pl.DataFrame
    shares: pl.DataFrame
    unbilled: pl.DataFrame
    waiting: pl.DataFrame
    unplaced: pl.DataFrame
    invalid_codes: pl.DataFrame
    spend: pl.DataFrame
    items: pl.DataFrame
    projects: pl.DataFrame
    dismissals: pl.DataFrame
    changes: pl.DataFrame

    def write(self, folder: Path) -> None:
        """Write the frames and the facility into a snapshot's folder, as ``review_…`` files.

        What a charge has in common with the snapshot's usage is not written again: its times, and
        its project, team, item, user and date where all of these are still those of the usage.
        """
        charges = _beside_usage(self.charges.sort("charge"), folder, self.facility.code)
        as_used = pl.all_horizontal(pl.col(each).eq_missing(_used(each)) for each in _OF_USAGE)
        lean = replace(
            self,
            charges=charges.with_columns(
                *(pl.when(_used(each).is_null()).then(each).alias(each) for each in _TIMES),
                *(pl.when(~as_used).then(each).alias(each) for each in _OF_USAGE),
            ).select(self.charges.columns),
            shares=self.shares.group_by("charge", maintain_order=True).agg(_SHARE),
        )
        for name in _FRAMES:
            content = BytesIO()
            getattr(lean, name).write_parquet(content)
            (folder / f"{_FROZEN}{name}.parquet").write_bytes(content.getvalue())
        kept = {"code", "name", "currency", "timezone", "review"}
        stated = {"period": str(self.period), "facility": self.facility.model_dump(include=kept)}
        text = json.dumps(stated, default=str, indent=2, sort_keys=True, ensure_ascii=False)
        (folder / f"{_FROZEN}month.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "MonthData":
        """Read a month that ``write`` has written."""
        stated = json.loads((folder / f"{_FROZEN}month.json").read_bytes())
        frames = {name: pl.read_parquet(folder / f"{_FROZEN}{name}.parquet") for name in _FRAMES}
        facility = Facility.model_validate(stated["facility"])
        written = frames.pop("charges")
        as_used = pl.col("project").is_null()  # every charge has a project
        charges = _beside_usage(written, folder, facility.code).with_columns(
            *(pl.coalesce(each, _used(each)).alias(each) for each in _TIMES),
            *(pl.when(as_used).then(_used(each)).otherwise(each).alias(each) for each in _OF_USAGE),
        )
        return cls(
            facility,
            Period.parse(stated["period"]),
            charges.select(written.columns).sort("project", "charge"),
            shares=frames.pop("shares").explode(_SHARE),
            **frames,
        )


_TIMES = ("start", "end")
_OF_USAGE = ("project", "team", "item", "user", "date")
_SHARE = ("expense_code", "percent")


def _used(column: str) -> pl.Expr:
    """A column of the snapshot's usage, beside the charge's own."""
    return pl.col(f"{column}_used")


def _beside_usage(charges: pl.DataFrame, snapshot: Path, facility: str) -> pl.DataFrame:
    """Charges (``RC/57``) with the columns of their usage in a snapshot, if it is there."""
    columns = ["charge", *_TIMES, *_OF_USAGE]
    usage = named(pl.read_parquet(snapshot / "usage.parquet", columns=columns), facility)
    return charges.join(usage, on="charge", how="left", suffix="_used", maintain_order="left")


_FROZEN = "review_"
_FRAMES = tuple(each.name for each in fields(MonthData) if each.name not in ("facility", "period"))


def read_month_data(
    connection: Connection,
    book: PriceBook,
    month: Period,
    step: Progress = unheard,
    total: int = MONTHS + 3,
    calculated: Calculated | None = None,
) -> MonthData:
    """Read a month for its review, in ``MONTHS`` + 3 of ``total`` steps.

    What was ``calculated`` in the same transaction is not read again, if it is the whole month.
    """
    facility = book.facility.code
    step(0, total, f"reading the charges of {month}")
    known, used, splits = None, None, None
    if calculated is not None:
        here = calculated.charges.filter(pl.col("period") == str(month))
        if here.height == overview.count_all_charges(connection, facility, str(month)):
            known, used = here, calculated.gathered.usage.filter(pl.col("period") == str(month))
            of_month = calculated.splits.join(here, on="charge", how="semi")
            splits = of_month.sort("charge", "position")
    charges = named(overview.read_month(connection, facility, str(month), known=known), facility)
    step(1, total, f"reading the splits of {month}")
    shares, invalid_codes = read_codes(connection, book, month, charges, splits)
    step(2, total, f"reading the unbilled usage of {month}")
    own = waiting(connection, facility, usage.read_unbilled(connection, facility, str(month)))
    undated = waiting(connection, facility, usage.read_unbilled(connection, facility, undated=True))
    spend, before = [overview.SPEND.to_frame()], month
    for done in range(MONTHS):
        before = before.previous
        step(3 + done, total, f"reading {before}")
        spend.append(overview.read_spend(connection, facility, str(before)))
    judged = with_judged(connection, facility, charges)
    codes = charges["charge"].str.strip_prefix(f"{facility}/")
    return MonthData(
        facility=book.facility,
        period=month,
        charges=charges,
        judged=judged.filter("judged").select("charge"),
        stated=read_stated(connection, facility, str(month), used),
        shares=shares,
        unbilled=month_unbilled(connection, facility, str(month)),
        waiting=own.select(UNBILLED.names()),
        unplaced=undated.select(UNPLACED.names()),
        invalid_codes=invalid_codes,
        spend=pl.concat(spend),
        items=items_frame(book),
        projects=projects_frame(book),
        dismissals=read_dismissals(connection, facility, month),
        changes=changes_of(connection, facility, codes),
    )


def check_month(month: MonthData, step: month_checks.Step = lambda *_: None) -> ReviewedMonth:
    """Run the checks on a month's data; ``step`` reports the progress."""
    judged = pl.col("charge").is_in(month.judged["charge"].implode())
    reviewed = Reviewed(
        facility=month.facility,
        period=month.period,
        charges=month.charges.with_columns(judged=judged).select(CHECKED.names()),
        stated=month.stated,
        shares=month.shares,
        unbilled=month.waiting,
        unplaced=month.unplaced,
        invalid_codes=month.invalid_codes,
        spend=month.spend.select(SPEND.names()),
        items=month.items,
        projects=month.projects,
    )
    findings = month_checks.find(reviewed, step)
    dismissed = month.dismissals
    return ReviewedMonth(
        charges=month.charges,
        unbilled=month.unbilled,
        spend=month.spend,
        findings=findings.join(dismissed, on="key", how="anti", maintain_order="left"),
        dismissed=findings.select("key", "check", "subject", "sentence").join(
            dismissed, on="key", maintain_order="left"
        ),
    )


def find_discrepancies(
    engine: Engine, book: PriceBook, period: str, step: Progress = unheard
) -> ReviewedMonth:
    """Run the checks on a month, read in one transaction; ``step`` reports the progress."""
    month = Period.parse(period)
    total = MONTHS + 3 + len(month_checks.CHECKS)
    with reading(engine) as connection:
        require(connection, book.facility.code, VIEWER)
        data = read_month_data(connection, book, month, step, total)
    first = total - len(month_checks.CHECKS)
    return check_month(
        data, lambda done, of, check: step(first + done, total, f"checking: {check}")
    )


def describe_sign_off(
    engine: Engine, book: PriceBook, period: str, step: Progress = unheard
) -> list[str]:
    """Describe the content of a sign-off of a month: its charges, open findings, unbilled usage,
    and the changes since the last one; one sentence each."""
    facility, month = book.facility.code, str(Period.parse(period))
    reviewed = find_discrepancies(engine, book, month, step)
    charges, findings, unbilled = reviewed.charges, reviewed.findings, reviewed.unbilled
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        signed = events.read_events(connection, facility, kinds=[SIGN_OFF], subjects=[month])
        last = signed["sequence"].max() if signed.height else None
        changes = events.read_events(
            connection,
            facility,
            kinds=list(CHANGES),
            subjects=charges["charge"].str.strip_prefix(f"{facility}/"),
            after=0 if last is None else int(str(last)),
        )
    total = money_text(int(charges["total"].sum()), minor_places(book.facility.currency))
    return [
        f"{facility} {month} has {count_of(charges.height, 'charge')}, total {total} "
        f"{book.facility.currency}",
        _counted(findings["severity"], "findings are open"),
        _counted(unbilled["reason"], "usage records are not billed"),
        f"{count_of(changes.height, 'change')} by staff"
        + (
            "; it was not signed off before"
            if last is None
            else f" since it was signed off by {signed['login'][-1]}, "
            f"{signed['at'].dt.to_string('%Y-%m-%d %H:%M')[-1]} UTC"
        ),
    ]


def _counted(kinds: pl.Series, noun: str) -> str:
    """``3 findings are open: 1 error, 2 warning``."""
    counts = kinds.alias("kind").value_counts(sort=True)
    parts = [f"{count:,} {str(kind).replace('_', ' ')}" for kind, count in counts.iter_rows()]
    return f"{kinds.len():,} {noun}" + (f": {', '.join(parts)}" if parts else "")


def dismiss(engine: Engine, book: PriceBook, period: str, key: str, reason: str) -> str:
    """Dismiss a finding that a reviewer found right; return a sentence."""
    facility, month = book.facility.code, str(Period.parse(period))
    missing = InvalidAdjustment(
        f"there is no finding '{key}' in {facility} {month}",
        remedy=f"'billing check {facility} {month}' lists them",
    )
    decided = _decide(engine, book, month, key, DISMISS, reason, missing)
    return f"{key}: dismissed, {decided}" if decided else f"{key}: was dismissed before, {_SAME}"


def restore(engine: Engine, book: PriceBook, period: str, key: str, reason: str) -> str:
    """Take back a dismissal, so that the finding is shown again; return a sentence."""
    facility, month = book.facility.code, str(Period.parse(period))
    missing = InvalidAdjustment(f"there is no dismissed finding '{key}' in {facility} {month}")
    decided = _decide(engine, book, month, key, RESTORE, reason, missing)
    return f"{key}: shown again, {decided}" if decided else f"{key}: is not dismissed, {_SAME}"


_SAME = "nothing changed"


def _decide(
    engine: Engine,
    book: PriceBook,
    month: str,
    key: str,
    kind: str,
    reason: str,
    missing: InvalidAdjustment,
) -> str:
    """Record the dismissal of a finding, or that it is taken back; its check and subject, or '' if
    that was decided before. Without such a finding ``missing`` is raised."""
    require_reason(reason)
    facility = book.facility.code
    with reading(engine) as connection:
        require(connection, facility, REVIEWER)
    reviewed = find_discrepancies(engine, book, month)
    undecided, decided = reviewed.findings, reviewed.dismissed
    if kind == RESTORE:
        undecided, decided = decided, undecided
    if key in decided["key"]:
        return ""
    finding = undecided.filter(pl.col("key") == key)
    if finding.height == 0:
        raise missing
    check, subject = finding.select("check", "subject").row(0)
    of = ANY if check == name_of(usage_without_a_readable_time) else month
    with changing(engine, book, REVIEWER) as connection:
        events.record_event(
            connection, facility, kind=kind, subject=f"{of} {key}", reason=reason.strip()
        )
    return f"{check}, {subject}"


def _no_charges(facility: str, month: str) -> NotReady:
    return NotReady(
        f"{facility} {month} has no charges yet",
        remedy=f"load usage and run 'billing rate {facility} {month}'",
    )


def _name(facility: str, column: str) -> pl.Expr:
    return pl.format("{}/{}", pl.lit(facility), column)


@dataclass(frozen=True)
class Remedy:
    """A proposed change to charges (``RC/57``).

    The field (pricing/adjusting.py) and value are None if staff must choose them.
    """

    charges: tuple[str, ...]
    field: str | None = None
    value: str | None = None
    reason: str = ""


def remedy(finding: Mapping[str, Any]) -> Remedy | None:
    """The change that a finding (a row of schema FOUND) proposes.

    None if it names no charge: then usage, price book or rating need attention.
    """
    if not finding["to_change"]:
        return None
    return Remedy(
        tuple(finding["to_change"]),
        finding["field"],
        finding["value"],
        f"{finding['check']}: {finding['subject']}",
    )


def explain(engine: Engine, book: PriceBook, charge: str) -> list[str]:
    """Explain a charge's total, one sentence per step, at present prices.

    The last sentence gives the ledger's total if it differs, because the price book has changed
    since the charge was issued or last rated.
    """
    facility, code = split_code(charge)
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        charges = ledger_charges.read_charges(connection, facility, codes=[code])
        if charges.height == 0:
            raise UnknownCharge(
                f"there is no charge {charge}", remedy="'billing charges' lists them"
            )
        row = charges.row(0, named=True)
        month = ledger_charges.read_charges(
            connection, facility, period=row["period"], project=row["project"]
        )
        coupled = month.filter(
            pl.col("item").eq_missing(pl.lit(row["item"], dtype=pl.String))
            | (pl.col("charge") == code)
        )
        inputs = gather(connection, book, coupled)
        invoices = ledger_invoices.read_invoices(connection, facility, codes=[row["invoice"] or ""])
    currency, places = book.facility.currency, minor_places(book.facility.currency)
    sentences = explain_charge(
        code, currency, inputs.usage, inputs.catalogue, inputs.adjustments, inputs.lines
    )
    total = f"Total: {money_text(row['total'], places)} {currency}."
    last = _invoice_sentence(row["invoice"], invoices)
    if total not in sentences:
        last += f" The ledger has {total[:-1].lower()}, priced by an earlier price book."
    return [f"{charge}: {sentences[0]}", *sentences[1:], last]


def _invoice_sentence(code: str | None, invoices: pl.DataFrame) -> str:
    if code is None:
        return "It is on no invoice yet."
    state, number = invoices.select("state", "number").row(0)
    if number is None:
        return f"It is on invoice {code}, which is {state} and not issued yet."
    remarks = {"SUPERSEDED": ", which another replaces", "VOID": ", which is void"}
    return f"It is on invoice {number}{remarks.get(state, '')}."
