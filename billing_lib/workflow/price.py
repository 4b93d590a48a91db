"""The rules in force for a month: those of the price book when the month was first rated.

A price book may change while a month is being reviewed; its rates do not reach charges that have
kept theirs, and neither do its rules. ``billing rate --again`` takes today's rules for the month
and lists what they change. Each taking is an event, so who changed them and when is kept.

    event 12  rules  2020-04  after [{"kind":"cap",…}]

What the ledger holds of some charges, put together as pricing reads it.

Rating again, adjusting and freezing all price the same way: the charges' usage with the rate
each charge has kept, the accounts of today's price book, and staff's changes in order.

Priced charges as rows of the ledger: written, compared with what stands there, written over.

Charges ─ insert_charges ─▶ charge, charge_split ◀─ replace_charges ─ those that differ

Carried: what caps over a quarter or fiscal year have come to on issued invoices.

    cap "instrument cap", over a quarter, by project       in May, of April's issued invoices
    rule            key  amount
    instrument cap  p1   480.00

A quarter is counted from the start of the facility's fiscal year. Invoices of the same month that
another run has issued count too. Tax does not,
and neither do ad hoc invoices and what was superseded or is void.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from sqlalchemy import Connection

from billing_lib.errors import NotReady
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, invoices, usage
from billing_lib.ledger.schema import KEPT
from billing_lib.pricing.adjusting import ADJUSTMENTS, LINES
from billing_lib.pricing.charge import SPLIT
from billing_lib.pricing.charging import Charges, targeted
from billing_lib.pricing.clock import Period
from billing_lib.pricing.fields import USAGE, canonical_json
from billing_lib.pricing.invoicing import CARRIED, part_worked_on
from billing_lib.pricing.pricebook import Facility, PriceBook
from billing_lib.pricing.rates import INVOICE, Rate, Rule
from billing_lib.pricing.rating import RULES, Catalogue, rate_usage, rates_frame
from billing_lib.workflow.snapshot import (
    AD_HOC,
    RATED_USAGE,
    RULES_OF_MONTHS,
    charge_months,
    of_month,
)

KIND = "rules"
"""The kind of these events; their subject is the month."""


def rules_in_force(connection: Connection, book: PriceBook, month: str) -> pl.DataFrame:
    """The rules of a month (schema RULES); the price book's own where it was never rated."""
    taken = _taken(connection, book.facility.code, month)
    if taken is None:
        return Catalogue.of(book).rules
    rules = [Rule.model_validate(body) for body in json.loads(taken)]
    rows = [(at, rule.name, rule.scope, rule.body) for at, rule in enumerate(rules)]
    return pl.DataFrame(rows, schema=RULES, orient="row")


def take_rules(connection: Connection, book: PriceBook, month: str, *, again: bool) -> bool:
    """Take the price book's rules for a month that has none yet, or anew.

    Returns
    -------
    bool
        Whether the month was rated by other rules than the price book has now, and keeps them.
    """
    facility = book.facility.code
    taken = _taken(connection, facility, month)
    now = canonical_json([json.loads(rule.body) for rule in book.rules])
    if taken == now:
        return False
    if taken is not None and not again:
        return True
    events.record_event(
        connection, facility, kind=KIND, subject=month, reason="", before=taken, after=now
    )
    return False


def _taken(connection: Connection, facility: str, month: str) -> str | None:
    found = events.read_events(connection, facility, kinds=[KIND], subjects=[month])
    return None if found.height == 0 else str(found["after"][-1])


@dataclass(frozen=True)
class Gathered:
    """Usage with kept rates, the catalogue, and staff's changes: what prices some charges.

    Attributes
    ----------
    catalogue
        With the rules of the month that bills them.
    rules
        Those of every month that a charge belongs to (schema RULES_OF_MONTHS).
    """

    usage: pl.DataFrame
    catalogue: Catalogue
    rules: pl.DataFrame
    adjustments: pl.DataFrame
    lines: pl.DataFrame

    def price(self) -> Charges:
        """The charges and their splits."""
        return charge_months(self.usage, self.catalogue, self.rules, self.adjustments, self.lines)

    def at_rates_of(self, today: Catalogue) -> "Gathered":
        """The same at today's rates; usage without one today keeps its own."""
        rated = rate_usage(self.usage.select(*USAGE.names(), "charge"), today).rated
        found = rated.select("charge", "team", "rate_group", "unit", "date", "rate")
        usage_now = self.usage.update(found, on="charge")
        rates = pl.concat([self.catalogue.rates, today.rates]).unique("rate", maintain_order=True)
        used = rates.join(usage_now.select("rate").unique(), on="rate", how="semi")
        return replace(self, usage=usage_now, catalogue=replace(self.catalogue, rates=used))


def gather(
    connection: Connection, book: PriceBook, charges: pl.DataFrame, month: str | None = None
) -> Gathered:
    """What prices these charges of the ledger.

    Parameters
    ----------
    charges
        Rows of the charge table (ledger/schema.py).
    month
        By whose rules their invoices are summed; their own unless told. Each charge is priced by
        the rules of its own month.

    Raises
    ------
    NotReady
        The price book has lost a project that a charge belongs to, or the business hours that
        its rate needs.
    """
    _require_projects(book, charges)
    facility = book.facility.code
    catalogue, rules = Catalogue.of(book), RULES_OF_MONTHS.to_frame()
    if charges.height:
        billing = month or str(charges["period"][0])
        rules = _rules(connection, book, {billing, *charges["period"]})
        catalogue = replace(catalogue, rules=of_month(rules, billing))
    bodies = ledger_charges.read_rates(connection, facility, charges["rate"].drop_nulls().unique())
    kept = [Rate.model_validate_json(body) for body in bodies["body"]]
    _require_hours(book, kept)
    changes, added = standing_changes(connection, facility, charges["charge"])
    return Gathered(
        usage=_rated_usage(connection, facility, charges),
        catalogue=replace(catalogue, rates=rates_frame(kept, catalogue.places)),
        rules=rules,
        adjustments=changes,
        lines=_lines(charges, added),
    )


def _rules(connection: Connection, book: PriceBook, months: set[str]) -> pl.DataFrame:
    return pl.concat(
        rules_in_force(connection, book, month).select(
            pl.lit(month).alias("period"), *RULES.names()
        )
        for month in sorted(months)
    )


def _require_projects(book: PriceBook, charges: pl.DataFrame) -> None:
    known = [project.code for project in book.projects]
    lost = charges.filter(~pl.col("project").is_in(known)).sort("charge")
    if lost.height:
        code, project = lost.select("charge", "project").row(0)
        raise NotReady(
            f"the charge {book.facility.code}/{code} belongs to the project '{project}', which "
            "the price book no longer has",
            remedy="put the project back, or delete the charge",
        )


def _require_hours(book: PriceBook, kept: list[Rate]) -> None:
    resources = {item.code: item.resource for item in book.items}
    for rate in kept:
        if rate.after_hours is not None and resources.get(rate.item) is None:
            raise NotReady(
                f"charges of {book.facility.code} have an after-hours rate for the item "
                f"'{rate.item}', which has no resource in the price book any more",
                remedy="put the item's resource back, or delete the charges",
            )


def _rated_usage(connection: Connection, facility: str, charges: pl.DataFrame) -> pl.DataFrame:
    """The usage of these charges; a copy on a reissue shares its record with the original."""
    # A charge has its own project, date and period: it may have moved, or be late.
    rated = charges.filter(pl.col("kind") == "usage").select(
        *("charge", "record", "occurrence", "period", "project", "date"),
        *("team", "rate_group", "unit", "rate"),
    )
    records = usage.read_usage(connection, facility, records=rated["record"].unique())
    return (
        records.drop("project", "date", "period")
        .join(rated, on=["record", "occurrence"], how="inner")
        .select(RATED_USAGE.names())
        .sort("charge")
    )


def standing_changes(
    connection: Connection, facility: str, codes: pl.Series
) -> tuple[pl.DataFrame, dict[str, dict[str, Any]]]:
    """The changes to these charges that stand (schema ADJUSTMENTS), and by charge what was said
    when a line was added.

    Deleting a charge takes the changes before it with it, undoing a group those of the group. A
    copy on a reissue goes on from the changes of what it copies.
    """
    family = ledger_charges.read_families(connection, facility, codes)
    history = events.read_events(
        connection,
        facility,
        kinds=["adjust", "add_line", "delete"],
        subjects=family["member"].unique(),
    )
    history = (
        history.join(family, left_on="subject", right_on="member")
        .with_columns(subject="charge")
        .drop("charge")
        .sort("sequence")
    )
    undone = events.read_events(connection, facility, kinds=["undo"])["subject"]
    history = history.filter(~pl.col("group_id").is_in(undone.implode()).fill_null(value=False))
    deleted = (
        history.filter(pl.col("kind") == "delete")
        .group_by("subject")
        .agg(pl.col("sequence").max().alias("deleted"))
    )
    standing = history.join(deleted, on="subject", how="left").filter(
        pl.col("sequence") > pl.col("deleted").fill_null(0)
    )
    rows: list[dict[str, Any]] = []
    added: dict[str, dict[str, Any]] = {}
    for event in standing.iter_rows(named=True):
        who = {
            "by": event["login"],
            "at": event["at"].isoformat(timespec="seconds"),
            "reason": event["reason"],
        }
        after = json.loads(event["after"])
        if event["kind"] == "add_line":
            added[event["subject"]] = after | who
            continue
        before = json.loads(event["before"])
        rows += [
            {
                "order": event["sequence"],
                "charge": event["subject"],
                "field": field,
                "value": value,
                "before": before[field],
            }
            | who
            for field, value in after.items()
        ]
    return pl.DataFrame(rows, schema=ADJUSTMENTS), added


def _lines(charges: pl.DataFrame, added: dict[str, dict[str, Any]]) -> pl.DataFrame:
    lines = charges.filter(pl.col("kind") == "line").select(
        "charge", "project", "description", "date", amount="raw_total"
    )
    said = pl.DataFrame(
        [
            {"charge": code} | {key: what[key] for key in ("expense_code", "by", "at", "reason")}
            for code, what in added.items()
        ],
        schema=dict.fromkeys(("charge", "expense_code", "by", "at", "reason"), pl.String),
    )
    return lines.join(said, on="charge", how="left").select(LINES.names()).sort("charge")


def insert_charges(
    connection: Connection,
    facility: str,
    month: str,
    priced: Charges,
    references: pl.DataFrame | None = None,
) -> None:
    """Write new PENDING charges and their splits.

    Parameters
    ----------
    references
        ``charge``, ``reference``: which of them go to ad hoc invoices; none by default.
    """
    rows = kept_columns(priced.charges).with_columns(period=pl.lit(month))
    if references is not None and references.height:
        rows = rows.join(references, on="charge", how="left", maintain_order="left")
    ledger_charges.insert_charges(connection, facility, rows, priced.splits)


def kept_columns(charges: pl.DataFrame) -> pl.DataFrame:
    """The columns of priced charges that the ledger's table has."""
    return charges.select(name for name in charges.columns if name in KEPT)


def differing(
    connection: Connection, facility: str, standing: pl.DataFrame, priced: Charges
) -> pl.Series:
    """The codes of charges that come out otherwise than the ledger has them."""
    compared = [
        "project",
        "team",
        "rate_group",
        "rate",
        "quantity",
        "price",
        "raw_total",
        "adjustment",
        "total",
        "cost",
    ]
    now = priced.charges.select("charge", *compared)
    again = standing.select("charge", *compared).join(now, on="charge", suffix="_now")
    other = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_now")) for name in compared)
    splits = ledger_charges.read_splits(connection, facility, codes=standing["charge"])
    keys = SPLIT.names()
    split_now = priced.splits.select(keys)
    moved = pl.concat(
        [
            split_now.join(splits, on=keys, how="anti"),
            splits.join(split_now, on=keys, how="anti"),
        ]
    )
    return pl.concat([again.filter(other)["charge"], moved["charge"]]).unique().sort()


def replace_charges(
    connection: Connection, facility: str, priced: Charges, codes: pl.Series
) -> None:
    """Write these codes' priced columns and splits over the pending rows."""
    ledger_charges.replace_charges(
        connection,
        facility,
        kept_columns(priced.charges).filter(pl.col("charge").is_in(codes.implode())),
        priced.splits.filter(pl.col("charge").is_in(codes.implode())),
    )


def unbound(charges: pl.DataFrame) -> pl.DataFrame:
    """The charges that may still change: PENDING, and in no run."""
    return charges.filter((pl.col("state") == "PENDING") & pl.col("run").is_null())


_MONTHS = {"quarter": 3, "fiscal_year": 12}


def carried_amounts(
    connection: Connection,
    facility: Facility,
    catalogue: Catalogue,
    period: Period,
    replaced: pl.Series,
) -> pl.DataFrame:
    """What the caps of these rules have come to before (schema CARRIED).

    Parameters
    ----------
    replaced
        Numbers of invoices that are being reissued, which do not count.
    """
    caps = [rule for _, rule in catalogue.rules_at(INVOICE) if rule.over is not None]
    found = [CARRIED.to_frame()]
    for rule in caps:
        months = [str(month) for month in span(period, facility.fiscal_year_start, str(rule.over))]
        issued = pl.concat(
            invoices.read_issued(connection, facility=facility.code, period=month, active=True)
            for month in months
        )
        projects = targeted(rule, catalogue.projects)
        counted = issued.filter(
            pl.col("project").is_in(projects.implode())
            & ~pl.col("number").is_in(replaced.implode())
            & (pl.col("kind") != AD_HOC)
        )
        found.append(_came_to(connection, rule, counted))
    return pl.concat(found)


def span(period: Period, fiscal_year_start: int, over: str) -> list[Period]:
    """The months of a period's quarter or fiscal year until it, itself among them."""
    since_start = (period.month - fiscal_year_start) % 12
    months = [period]
    for _ in range(since_start % _MONTHS[over]):
        months.append(months[-1].previous)
    return months[::-1]


def _came_to(connection: Connection, rule: Rule, issued: pl.DataFrame) -> pl.DataFrame:
    numbers = issued["number"].to_list()
    of_invoice = issued.select("number", "project", "team")
    lines = invoices.read_lines(connection, numbers).select("number", "item", "user", "total")
    changes = invoices.read_adjustments(connection, numbers)
    if rule.items is not None:
        lines = lines.filter(pl.col("item").is_in(rule.items))
    if rule.carries_by == "user":
        lines = lines.filter(pl.col("user").is_not_null())
    on = part_worked_on(rule)
    parts = pl.concat(
        [
            lines.with_columns(on=on).select("number", "user", "on", amount="total"),
            _changes_of(rule, changes, lines.with_columns(on=on).select("user", "on").unique()),
        ]
    )
    key: Any = rule.carries_by
    return (
        parts.join(of_invoice, on="number")
        .group_by(pl.col(key).alias("key"))
        .agg(pl.col("amount").sum())
        .select(rule=pl.lit(rule.name), key="key", amount="amount")
        .sort("key")
    )


def _changes_of(rule: Rule, changes: pl.DataFrame, parts: pl.DataFrame) -> pl.DataFrame:
    """What rules changed on the same part: all of an invoice's where it is the whole."""
    amounts = changes.select("number", "amount", on="worked_on")
    if rule.items is None and rule.carries_by != "user":
        return amounts.select("number", pl.lit(None, pl.String).alias("user"), "on", "amount")
    return amounts.join(parts.unique("on"), on="on").select("number", "user", "on", "amount")
