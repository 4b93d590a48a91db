"""Price charges of the ledger: gather their usage, rates, rules and changes, and write the result.

    ledger ─ gather ─▶ price ─▶ Charges ─ insert_charges ──▶ charge, charge_split   new ones
                                        └ replace_charges ─▶ charge, charge_split   changed ones

Rating again, adjusting and freezing all price the same way: a charge's usage, the rate and rules
kept for it, the accounts of today's price book, and staff's changes in order. A month keeps the
rules that the price book had when the month was first rated, although the price book may change
during the review. ``billing rate --again`` takes today's rules; each taking is an event:

    event 12  rules  2020-04  after [{"kind":"cap",…}]

Caps and floors over a span also count the invoices issued before, of earlier months and of other
runs of the same month, without tax. Ad hoc, superseded and void invoices do not count. Quarters
begin with the facility's fiscal year.

    cap "instrument cap", over a quarter, by project       in May, from April's issued invoices
    rule            key  amount
    instrument cap  p1   480.00
"""

import json
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from sqlalchemy import Connection

from billing_lib.errors import NotReady
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, invoices, overview, usage
from billing_lib.ledger.schema import KEPT
from billing_lib.pricing.adjusting import ADJUSTMENTS, LINES
from billing_lib.pricing.charge import SPLIT
from billing_lib.pricing.charging import Charges, targeted
from billing_lib.pricing.clock import Period
from billing_lib.pricing.fields import USAGE, canonical_json
from billing_lib.pricing.invoicing import YEAR_TO_DATE, bases, carried_key
from billing_lib.pricing.pricebook import Facility, PriceBook
from billing_lib.pricing.rates import INVOICE, MONTHS_OF_SPAN, Rate, Rule
from billing_lib.pricing.rating import (
    RULES,
    SNAPSHOT,
    Catalogue,
    due_rules,
    rate_usage,
    rates_frame,
)
from billing_lib.workflow.snapshot import (
    AD_HOC,
    RATED_USAGE,
    RULES_OF_MONTHS,
    charge_months,
    of_month,
)

RULES_TAKEN = "rules"
"""The kind of these events; their subject is the month."""


def rules_in_force(connection: Connection, book: PriceBook, month: str) -> pl.DataFrame:
    """The rules kept for a month (schema RULES), or the price book's if it was never rated; without
    floors over months that are not over."""
    taken = _taken(connection, book.facility.code, month)
    frame = Catalogue.of(book).rules
    if taken is not None:
        rules = [Rule.model_validate(body) for body in json.loads(taken)]
        rows = [(position, rule.name, rule.scope, rule.body) for position, rule in enumerate(rules)]
        frame = pl.DataFrame(rows, schema=RULES, orient="row")
    return due_rules(frame, Period.parse(month), book.facility.fiscal_year_start)


def take_rules(connection: Connection, book: PriceBook, month: str, *, again: bool) -> bool:
    """Keep the price book's rules for a month that has none yet, or ``again``.

    Returns whether the month still has other rules than the price book.
    """
    facility = book.facility.code
    taken = _taken(connection, facility, month)
    now = canonical_json([json.loads(rule.body) for rule in book.rules])
    if taken == now:
        return False
    if taken is not None and not again:
        return True
    events.record_event(
        connection, facility, kind=RULES_TAKEN, subject=month, reason="", before=taken, after=now
    )
    return False


def _taken(connection: Connection, facility: str, month: str) -> str | None:
    takings = events.read_events(connection, facility, kinds=[RULES_TAKEN], subjects=[month])
    return None if takings.height == 0 else str(takings["after"][-1])


@dataclass(frozen=True)
class Gathered:
    """The frames from which some charges are priced.

    Each row of ``usage`` names the rate kept for it. ``catalogue`` has the rules of the month that
    bills the charges, ``rules`` those of each charge's own month (schema RULES_OF_MONTHS).
    ``files`` are those of the usage: ``file_sha256``, the first ``charge``, the number of these
    ``records`` that are as they were loaded, and their ``content`` (or null).
    """

    usage: pl.DataFrame
    files: pl.DataFrame
    catalogue: Catalogue
    rules: pl.DataFrame
    adjustments: pl.DataFrame
    lines: pl.DataFrame

    def price(self) -> Charges:
        """Price the charges and their splits."""
        return charge_months(self.usage, self.catalogue, self.rules, self.adjustments, self.lines)

    def at_rates_of(self, today: Catalogue, codes: pl.Series) -> "Gathered":
        """Replace the kept rates of these charges by today's; usage without a rate today keeps its
        own."""
        chosen = self.usage.filter(pl.col("charge").is_in(codes.implode()))
        rated = rate_usage(chosen.select(*USAGE.names(), "charge"), today).rated
        looked_up = rated.select("charge", "team", "rate_group", "unit", "date", "rate")
        usage_now = self.usage.update(looked_up, on="charge")
        rates = pl.concat([self.catalogue.rates, today.rates]).unique("rate", maintain_order=True)
        used = rates.join(usage_now.select("rate").unique(), on="rate", how="semi")
        return replace(self, usage=usage_now, catalogue=replace(self.catalogue, rates=used))


def gather(
    connection: Connection,
    book: PriceBook,
    charges: pl.DataFrame,
    month: str | None = None,
    *,
    with_content: bool = False,
) -> Gathered:
    """Read everything that these charges (rows of the charge table) are priced from.

    Parameters
    ----------
    month
        The month that bills the charges; by default their own. Its rules at invoice scope apply;
        each charge is priced by the rules of its own month.
    with_content
        Whether to compute the contents of the files, as freezing compares them.

    Raises
    ------
    NotReady
        The price book no longer has a charge's project, or the business hours for its rate.
    """
    _require_projects(book, charges)
    facility = book.facility.code
    catalogue, rules = Catalogue.of(book), RULES_OF_MONTHS.to_frame()
    if charges.height:
        billing = month or str(charges["period"][0])
        rules = pl.concat(
            rules_in_force(connection, book, each).select(
                pl.lit(each).alias("period"), *RULES.names()
            )
            for each in sorted({billing, *charges["period"]})
        )
        catalogue = replace(catalogue, rules=of_month(rules, billing))
    bodies = ledger_charges.read_rates(connection, facility, charges["rate"].drop_nulls().unique())
    kept = [Rate.model_validate_json(body) for body in bodies["body"]]
    _require_hours(book, kept)
    changes, added = changes_in_force(connection, facility, charges["charge"])
    teams = catalogue.accounts.select("project", "team").unique("project")
    records, rated = _rated_usage(connection, facility, charges, kept)
    files = rated.group_by("file_sha256").agg(pl.col("charge").min())
    contents = _contents(records if with_content else records.clear())
    return Gathered(
        # A project may have moved to another team: as its split, its team is today's.
        usage=rated.select(RATED_USAGE.names()).update(teams, on="project"),
        files=files.join(contents, on="file_sha256", how="left").sort("file_sha256"),
        catalogue=replace(catalogue, rates=rates_frame(kept, catalogue.places)),
        rules=rules,
        adjustments=changes,
        lines=_lines(charges, added),
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


def _contents(records: pl.DataFrame) -> pl.DataFrame:
    """Of each file of records (schema STANDING): ``file_sha256``, the number of its ``records``
    that are as they were loaded, and their ``content``."""
    loaded = records.filter(pl.col("version") == 1).group_by("file_sha256")
    rows = [(sha256, part.height, usage.content(part)) for (sha256,), part in loaded]
    schema = {"file_sha256": pl.String, "records": pl.Int64, "content": pl.String}
    return pl.DataFrame(rows, schema, orient="row")


def _rated_usage(
    connection: Connection, facility: str, charges: pl.DataFrame, kept: list[Rate]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read the usage of these charges: the records (schema STANDING), and as it was rated
    (RATED_USAGE and ``file_sha256``), by charge.

    A copy on a reissue shares its record with the original.
    """
    # A charge has its own project, date and period: it may have moved, or be late.
    rated = charges.filter(pl.col("kind") == "usage").select(
        *("charge", "record", "occurrence", "period", "project", "date"),
        *("team", "rate_group", "unit", "rate"),
    )
    records = usage.read_standing(connection, facility, rated["record"].unique())
    priced = (
        records.filter(pl.col("withdrawn").is_null())
        .rename({"period": "month"})
        .drop("project", "date", "withdrawn", "version")
        .join(rated, on=["record", "occurrence"], how="inner")
    )
    priced = priced.with_columns(elsewhere=pl.lit(None, pl.Int64))
    counted = [rate.fingerprint for rate in kept if rate.per == SNAPSHOT]
    if counted:
        here = priced.filter(pl.col("rate").is_in(counted))
        others = ledger_charges.read_snapshots(connection, facility, counted, here)
        keys = ["month", "project", "reference", "user", "item"]
        number = (
            others.join(here, on="record", how="anti")
            .group_by(keys)
            .agg(pl.len().cast(pl.Int64).alias("number"))
        )
        priced = priced.join(number, on=keys, how="left", nulls_equal=True).with_columns(
            elsewhere="number"
        )
    return records, priced.select(*RATED_USAGE.names(), "file_sha256").sort("charge")


def changes_in_force(
    connection: Connection, facility: str, codes: pl.Series
) -> tuple[pl.DataFrame, dict[str, dict[str, Any]]]:
    """Read the changes in force on these charges (schema ADJUSTMENTS), and added lines by charge.

    Deleting a charge ends its earlier changes, undoing a group ends the group's. A copy on a
    reissue keeps the changes of its original.
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
    groups = history["group_id"].drop_nulls().unique()
    if groups.len():
        undone = events.read_events(connection, facility, kinds=["undo"], subjects=groups)
        undone_by = pl.col("group_id").is_in(undone["subject"].implode())
        history = history.filter(~undone_by.fill_null(value=False))
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
        author = {
            "by": event["login"],
            "at": event["at"].isoformat(timespec="seconds"),
            "reason": event["reason"],
        }
        after = json.loads(event["after"])
        if event["kind"] == "add_line":
            added[event["subject"]] = after | author
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
            | author
            for field, value in after.items()
        ]
    return pl.DataFrame(rows, schema=ADJUSTMENTS), added


def moved_by_staff(changes: pl.DataFrame) -> pl.DataFrame:
    """The projects to which changes in force (schema ADJUSTMENTS) move charges: ``charge``,
    ``moved``."""
    moves = changes.filter(pl.col("field") == "project").sort("order")
    return moves.group_by("charge").agg(moved=pl.col("value").last())


def _lines(charges: pl.DataFrame, added: dict[str, dict[str, Any]]) -> pl.DataFrame:
    lines = charges.filter(pl.col("kind") == "line").select(
        "charge", "project", "description", "date", amount="raw_total"
    )
    keys = ("expense_code", "by", "at", "reason")
    stated = pl.DataFrame(
        [{"charge": code} | {key: line[key] for key in keys} for code, line in added.items()],
        schema=dict.fromkeys(("charge", *keys), pl.String),
    )
    return lines.join(stated, on="charge", how="left").select(LINES.names()).sort("charge")


def insert_charges(
    connection: Connection,
    facility: str,
    month: str,
    priced: Charges,
    references: pl.DataFrame | None = None,
) -> None:
    """Write new PENDING charges and their splits.

    ``references`` (``charge``, ``reference``) names the charges for ad hoc invoices.
    """
    rows = kept_columns(priced.charges).with_columns(period=pl.lit(month))
    if references is not None and references.height:
        rows = rows.join(references, on="charge", how="left", maintain_order="left")
    ledger_charges.insert_charges(connection, facility, rows, priced.splits)


def kept_columns(charges: pl.DataFrame) -> pl.DataFrame:
    """The columns of priced charges that the ledger's table has."""
    return charges.select(name for name in charges.columns if name in KEPT)


_COMPARED = (
    *("project", "team", "rate_group", "rate", "quantity", "price"),
    *("raw_total", "adjustment", "total", "cost"),
)
"""The columns of a charge that pricing may change."""


def read_priced(connection: Connection, facility: str, invoices: pl.Series) -> pl.DataFrame:
    """The charges of invoices, in the columns of KEPT that pricing, review and issuing ask for."""
    columns = ("record", "occurrence", "period", *overview.REVIEWED)
    return ledger_charges.read_charges(connection, facility, invoices=invoices, columns=columns)


def differing(
    connection: Connection, facility: str, standing: pl.DataFrame, priced: Charges
) -> pl.Series:
    """The codes of charges whose new price or split differs from the ledger's."""
    now = priced.charges.select("charge", *_COMPARED)
    both = standing.select("charge", *_COMPARED).join(now, on="charge", suffix="_now")
    other = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_now")) for name in _COMPARED)
    splits = ledger_charges.read_splits(connection, facility, codes=standing["charge"])
    keys = SPLIT.names()
    split_now = priced.splits.select(keys)
    moved = pl.concat(
        [
            split_now.join(splits, on=keys, how="anti"),
            splits.join(split_now, on=keys, how="anti"),
        ]
    )
    return pl.concat([both.filter(other)["charge"], moved["charge"]]).unique().sort()


def note_rating(connection: Connection, facility: str, month: str, what: str, count: int) -> None:
    """Record that rating writes charges of a month, ``new`` ``late`` or ``changed``."""
    if count:
        told = canonical_json({what: str(count)})
        events.record_event(connection, facility, kind="rate", subject=month, reason="", after=told)


def replace_charges(
    connection: Connection, facility: str, priced: Charges, codes: pl.Series
) -> None:
    """Overwrite the priced columns and splits of these pending charges."""
    ledger_charges.replace_charges(
        connection,
        facility,
        kept_columns(priced.charges).filter(pl.col("charge").is_in(codes.implode())),
        priced.splits.filter(pl.col("charge").is_in(codes.implode())),
    )


def changeable_charges(charges: pl.DataFrame) -> pl.DataFrame:
    """The charges that may still change: PENDING and in no run."""
    return charges.filter((pl.col("state") == "PENDING") & pl.col("run").is_null())


def year_to_date_amounts(
    connection: Connection,
    facility: Facility,
    catalogue: Catalogue,
    period: Period,
    replaced: pl.Series,
) -> pl.DataFrame:
    """Sum the issued invoices that rules over a span count (schema YEAR_TO_DATE).

    The invoices with the numbers ``replaced`` are being reissued and do not count.
    """
    parts = [YEAR_TO_DATE.to_frame()]
    for rule in (rule for _, rule in catalogue.rules_at(INVOICE) if rule.over is not None):
        months = span(period, facility.fiscal_year_start, str(rule.over))
        issued = pl.concat(
            invoices.read_issued(connection, facility=facility.code, period=str(month), active=True)
            for month in months
        )
        projects = targeted(rule, catalogue.projects)
        counted = issued.filter(
            pl.col("project").is_in(projects.implode())
            & ~pl.col("number").is_in(replaced.implode())
            & (pl.col("kind") != AD_HOC)
        )
        parts.append(_counted_by(connection, rule, counted))
    return pl.concat(parts)


def span(period: Period, fiscal_year_start: int, over: str) -> list[Period]:
    """The months of a rule's span up to and including this period."""
    since_start = (period.month - fiscal_year_start) % 12
    months = [period]
    for _ in range(since_start % MONTHS_OF_SPAN[over]):
        months.append(months[-1].previous)
    return months[::-1]


def _counted_by(connection: Connection, rule: Rule, issued: pl.DataFrame) -> pl.DataFrame:
    numbers = issued["number"].to_list()
    lines = invoices.read_lines(connection, numbers)
    changes = invoices.read_adjustments(connection, numbers).rename({"worked_on": "on"})
    return (
        bases(rule, lines, changes, "number")
        .join(issued.select("number", "project", "team"), on="number")
        .group_by(key=carried_key(rule))
        .agg(pl.col("before").sum())
        .select(pl.lit(rule.name).alias("rule"), "key", amount="before")
        .sort("key")
    )
