"""What the ledger holds of some charges, put together as pricing reads it.

Rating again, adjusting and freezing all price the same way: the charges' usage with the rate
each charge has kept, the accounts of today's price book, and staff's changes in order.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from sqlalchemy import Connection

from billing_lib.errors import NotReady
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import events, usage
from billing_lib.pricing.adjusting import ADJUSTMENTS, LINES
from billing_lib.pricing.catalogue import RULES, Catalogue, rates_frame
from billing_lib.pricing.charging import Charges
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.pricing.rates import Rate
from billing_lib.pricing.rating import rate_usage
from billing_lib.pricing.usage import USAGE
from billing_lib.workflow.months import RULES_OF_MONTHS, charge_months, of_month
from billing_lib.workflow.rules_in_force import rules_in_force
from billing_lib.workflow.snapshot import RATED_USAGE


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
        rated = rate_usage(self.usage.select(USAGE.names()), today).rated
        found = rated.select("record", "occurrence", "team", "rate_group", "unit", "day", "rate")
        usage_now = self.usage.update(found, on=["record", "occurrence"])
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
        Rows of the charge table (ledger/tables.py).
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
    changes, added = standing_changes(connection, facility, charges["code"])
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
    lost = charges.filter(~pl.col("project").is_in(known)).sort("code")
    if lost.height:
        code, project = lost.select("code", "project").row(0)
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
    """The usage of these charges; a charge's code stands for its record, which a copy shares."""
    rated = charges.filter(pl.col("kind") == "usage").select(
        "record", "occurrence", "team", "rate_group", "unit", "rate", "code", day="on_date"
    )
    records = usage.read_usage(connection, facility, records=rated["record"].unique())
    bound = charges.select("code", "period", bound="project")
    return (
        records.drop("period")  # the record's own; late usage is of a later month's charges
        .join(rated, on=["record", "occurrence"], how="inner", maintain_order="left")
        .join(bound, on="code")
        .with_columns(project=pl.col("bound"), record=pl.col("code"))
        .select(RATED_USAGE.names())
        .sort("record")
    )


def standing_changes(
    connection: Connection, facility: str, codes: pl.Series
) -> tuple[pl.DataFrame, dict[str, dict[str, Any]]]:
    """The changes to these charges that stand (schema ADJUSTMENTS), and by code what was said
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
        .with_columns(subject="code")
        .drop("code")
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
        "project", "description", charge="code", date="on_date", amount="raw_total"
    )
    said = pl.DataFrame(
        [
            {"charge": code} | {key: what[key] for key in ("expense_code", "by", "at", "reason")}
            for code, what in added.items()
        ],
        schema=dict.fromkeys(("charge", "expense_code", "by", "at", "reason"), pl.String),
    )
    return lines.join(said, on="charge", how="left").select(LINES.names()).sort("charge")
