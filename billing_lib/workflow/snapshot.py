"""A snapshot: all that issuing reads, frozen as Parquet files.

Whoever holds one can compute the same invoices again, without database, clock, network or
locale; what only the world could know (numbers, dates, texts, who asked) stands in it.

    usage.parquet        the usage records of the charges, each with its kept rate
    unbilled.parquet     what is not billed, each record with its reason
    resources.parquet items.parquet rates.parquet accounts.parquet
    rules.parquet        the rules of the month, and of other months that charges belong to
    notes.parquet        what staff wrote to each project on its invoice
    carried.parquet      what caps over a quarter or fiscal year came to on earlier invoices
    adjustments.parquet  changes by staff, with who, when, why
    lines.parquet        added lines
    invoices.parquet     each invoice: its reserved number, what it is of, what it replaces, and
                         what prepaid funds there are for it
    placing.parquet      on which invoice each charge stands
    history.parquet      what each project was billed in the twelve months until now
    texts.parquet        key and value: facility, currency, time zone, period, dates, texts
    logo.png, logo.svg   the picture over the invoices, where the facility has one

History: what a project was billed in each of the twelve months up to an invoice's own.

    1993-10  1,204.50     1993-11  –     1993-12  980.00     …     1994-09  1,310.25  (this one)

The months before, and what is issued of this month already, are frozen; what the issuing itself
bills is added when it is computed. So a record gives the same figures again, whatever is
reissued or void by then. Invoices of every kind count, with tax; what was superseded, is void, or
is being replaced does not.

Charges priced month by month: each by the rules of the month that it belongs to.

    RC/PO-12    57  of 1993-10   by October's rules
                60  of 1993-11   by November's

An ad hoc invoice may bill what several months have charged; nothing of one month counts towards
tiers or day passes of another. What belongs to a project's month is of one month anyway.

What invoices come to, whether they are drafts or being issued: charges summed per invoice.

    charge 57 ─┐
    charge 58 ─┴▶ RC-1993-11-1/u4      12 charges, 1,204.11
    charge 60 ──▶ RC/PO-12 (ad hoc)     1 charge,     75.00

The rules at invoice scope are for a project's month, so they do not touch ad hoc invoices; taxes
do. A project can have both, so they are summed one after the other.
"""

import hashlib
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Connection

from billing_lib.errors import InvalidRecord
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.pricing.adjusting import ADJUSTMENTS, LINES
from billing_lib.pricing.charging import Charges, charge_usage
from billing_lib.pricing.clock import Period
from billing_lib.pricing.fields import USAGE, Logo
from billing_lib.pricing.invoicing import CARRIED, Invoices, invoice_charges
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.rating import ACCOUNTS, ITEMS, RATES, RESOURCES, RULES, Catalogue
from billing_lib.workflow.notes import NOTES

MONTHS = 12

HISTORY = pl.Schema({"project": pl.String(), "period": pl.String(), "total": pl.Int64()})
"""What each project was billed in a month before this issuing, minor units."""


def months_until(period: Period) -> list[Period]:
    """The twelve months that end with this one, in order."""
    months = [period]
    while len(months) < MONTHS:
        months.append(months[-1].previous)
    return months[::-1]


def billed_before(
    connection: Connection, facility: str, period: Period, invoices: pl.DataFrame
) -> pl.DataFrame:
    """What the projects of these invoices were billed in these months (schema HISTORY).

    Parameters
    ----------
    invoices
        ``project``, and ``replaces``: the numbers that do not count any more.
    """
    months = months_until(period)
    billed = ledger_invoices.read_billed(connection, facility, str(months[0]), str(period))
    return (
        billed.filter(
            pl.col("project").is_in(invoices["project"].unique().implode())
            & ~pl.col("number").is_in(invoices["replaces"].drop_nulls().implode())
        )
        .group_by("project", "period")
        .agg(pl.col("total").sum())
        .select(HISTORY.names())
        .sort("project", "period")
    )


def histories(
    before: pl.DataFrame, totals: pl.DataFrame, period: str, places: int
) -> dict[str, list[dict[str, Any]]]:
    """The twelve months of each project, this issuing's invoices added to its month.

    Parameters
    ----------
    before
        Schema HISTORY.
    totals
        ``project``, ``total`` of what is being issued.

    Returns
    -------
    dict
        By project: ``period`` and ``total`` of each month in order, null where nothing was billed.
    """
    now = totals.select("project", "total", period=pl.lit(period)).select(HISTORY.names())
    summed = pl.concat([before, now]).group_by("project", "period").agg(pl.col("total").sum())
    found = {(project, month): total for project, month, total in summed.iter_rows()}
    months = [str(month) for month in months_until(Period.parse(period))]
    return {
        project: [
            {
                "period": month,
                "total": None
                if (project, month) not in found
                else money_text(found[project, month], places),
            }
            for month in months
        ]
        for project in now["project"].unique()
    }


RULES_OF_MONTHS = pl.Schema({"period": pl.String(), **RULES})
"""The rules in force of some months."""


def of_month(rules: pl.DataFrame, month: str) -> pl.DataFrame:
    """The rules of one month (schema RULES)."""
    return rules.filter(pl.col("period") == month).select(RULES.names())


def charge_months(
    usage: pl.DataFrame,
    catalogue: Catalogue,
    rules: pl.DataFrame,
    adjustments: pl.DataFrame,
    lines: pl.DataFrame,
) -> Charges:
    """Price rated usage and added lines.

    Parameters
    ----------
    usage
        Rated usage, each with the ``period`` that its charge belongs to.
    catalogue
        Whose rates and accounts hold for all; its own rules are not asked.
    rules
        Schema RULES_OF_MONTHS, for every period of the usage.
    adjustments, lines
        Staff's changes and added lines (pricing/adjusting.py); rules at charge scope leave added
        lines alone.
    """
    months = usage["period"].unique().sort()
    parts = [
        charge_usage(
            usage.filter(pl.col("period") == month) if months.len() > 1 else usage,
            replace(catalogue, rules=of_month(rules, month)),
            adjustments,
            lines if months.len() == 1 else None,
        )
        for month in months
    ]
    if months.len() == 1:
        return parts[0]
    parts.append(charge_usage(usage.clear(), catalogue, adjustments, lines))
    return Charges(
        pl.concat(part.charges for part in parts),
        pl.concat(part.splits for part in parts),
        pl.concat(part.rule_lines for part in parts),
    )


AD_HOC, PERIODIC = "ad hoc", "periodic"
"""The kinds of invoices; one that replaces another is of that one's kind."""

PLACING = pl.Schema({"charge": pl.String(), "invoice": pl.String()})
"""On which invoice each charge stands."""


def sum_invoices(
    priced: Charges,
    catalogue: Catalogue,
    carried: pl.DataFrame,
    placing: pl.DataFrame,
    invoices: pl.DataFrame,
) -> Invoices:
    """What each invoice comes to.

    Parameters
    ----------
    priced
        The charges of all of them.
    placing
        Schema PLACING.
    invoices
        ``invoice``, ``kind``, ``project``: at most one per project that is not ad hoc.

    Returns
    -------
    Invoices
        Its frames name the ``invoice`` beside the project; ``subject`` of a rule's line is the
        invoice.
    """
    parts = [
        _summed(priced, _rules_for(catalogue, ad_hoc=ad_hoc), carried, placing, part)
        for (ad_hoc, _), part in _apart(invoices).group_by("ad_hoc", "nth", maintain_order=True)
    ]
    if not parts:
        none = invoice_charges(_those(priced, PLACING.to_frame()), catalogue, carried)
        parts = [_named(none, invoices.clear())]
    return Invoices(
        pl.concat(part.invoices for part in parts).sort("invoice"),
        pl.concat(part.by_expense_code for part in parts).sort("invoice", "expense_code"),
        pl.concat(part.rule_lines for part in parts),
    )


def _apart(invoices: pl.DataFrame) -> pl.DataFrame:
    """Invoices in parts in which no project comes twice."""
    return (
        invoices.with_columns(ad_hoc=pl.col("kind") == AD_HOC)
        .sort("ad_hoc", "invoice")
        .with_columns(nth=pl.int_range(pl.len()).over("ad_hoc", "project"))
        .sort("ad_hoc", "nth", "invoice")
    )


def _rules_for(catalogue: Catalogue, *, ad_hoc: bool) -> Catalogue:
    return replace(catalogue, rules=RULES.to_frame()) if ad_hoc else catalogue


def _summed(
    priced: Charges,
    catalogue: Catalogue,
    carried: pl.DataFrame,
    placing: pl.DataFrame,
    part: pl.DataFrame,
) -> Invoices:
    here = placing.join(part.select("invoice"), on="invoice", how="semi")
    return _named(invoice_charges(_those(priced, here), catalogue, carried), part)


def _those(priced: Charges, placing: pl.DataFrame) -> Charges:
    return Charges(
        priced.charges.join(placing, on="charge", how="semi"),
        priced.splits.join(placing, on="charge", how="semi"),
        priced.rule_lines.join(placing, left_on="subject", right_on="charge", how="semi"),
    )


def _named(summed: Invoices, part: pl.DataFrame) -> Invoices:
    names = part.select("project", "invoice")
    lines = summed.rule_lines.join(
        names.rename({"project": "subject"}), on="subject", how="left", maintain_order="left"
    )
    return Invoices(
        summed.invoices.join(names, on="project"),
        summed.by_expense_code.join(names, on="project"),
        lines.with_columns(subject="invoice").drop("invoice"),
    )


RATED_USAGE = pl.Schema(
    USAGE
    | {
        "team": pl.String(),
        "rate_group": pl.String(),
        "unit": pl.String(),
        "day": pl.Date(),
        "rate": pl.String(),
        "period": pl.String(),  # the month that its charge belongs to
    }
)
UNBILLED = pl.Schema(
    {
        "record": pl.String(),
        "occurrence": pl.Int32(),
        "item": pl.String(),
        "project": pl.String(),
        "user": pl.String(),
        "reason": pl.String(),
        "detail": pl.String(),
        "file": pl.String(),
        "row": pl.Int64(),
    }
)
INVOICES = pl.Schema(
    {
        "invoice": pl.String(),
        "number": pl.String(),
        "kind": pl.String(),
        "project": pl.String(),
        "reference": pl.String(),
        "covers_from": pl.Date(),
        "covers_to": pl.Date(),
        "description": pl.String(),
        "replaces": pl.String(),
        "prepaid": pl.Int64(),  # the balance that it may draw from, minor units; null without one
    }
)
TEXTS = pl.Schema({"key": pl.String(), "value": pl.String()})
FACILITY_TEXTS = ("country", "tax_id", "letterhead", "record_url")
"""What a facility may state of itself and need not."""
LOGOS = ("logo.png", "logo.svg")


@dataclass(frozen=True)
class Snapshot:
    """The frames of a snapshot, each one Parquet file of the same name, and the logo."""

    usage: pl.DataFrame
    unbilled: pl.DataFrame
    resources: pl.DataFrame
    items: pl.DataFrame
    rates: pl.DataFrame
    accounts: pl.DataFrame
    rules: pl.DataFrame
    carried: pl.DataFrame
    notes: pl.DataFrame
    adjustments: pl.DataFrame
    lines: pl.DataFrame
    invoices: pl.DataFrame
    placing: pl.DataFrame
    history: pl.DataFrame
    texts: pl.DataFrame
    logo: Logo | None = None

    @property
    def text(self) -> dict[str, str]:
        """The texts by key."""
        return dict(self.texts.iter_rows())

    def catalogue(self) -> Catalogue:
        """The resources, items, kept rates, accounts and the month's rules to price with."""
        text = self.text
        return Catalogue(
            places=minor_places(text["currency"]),
            timezone=text["timezone"],
            resources=self.resources,
            items=self.items,
            rates=self.rates,
            accounts=self.accounts,
            rules=of_month(self.rules, text["period"]),
        )

    def write(self, folder: Path) -> str:
        """Write the files; returns the sha256 over their names and contents."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, schema in SCHEMAS.items():
            frame: pl.DataFrame = getattr(self, name)
            # Through memory: of a full disk polars would say so in an error of its own.
            content = BytesIO()
            frame.select(schema.names()).cast(schema).write_parquet(content)
            (folder / f"{name}.parquet").write_bytes(content.getvalue())
        if self.logo is not None:
            (folder / self.logo.file).write_bytes(self.logo.content)
        return snapshot_hash(folder)

    @classmethod
    def read(cls, folder: Path) -> "Snapshot":
        """Read the files."""
        missing = [name for name in SCHEMAS if not (folder / f"{name}.parquet").is_file()]
        if missing:
            raise InvalidRecord(
                f"the snapshot has no {missing[0]}.parquet",
                where=str(folder),
                remedy="take the record from the archive again",
            )
        frames = {name: pl.read_parquet(folder / f"{name}.parquet") for name in SCHEMAS}
        return cls(**frames, logo=read_logo(folder))


SCHEMAS = {
    "usage": RATED_USAGE,
    "unbilled": UNBILLED,
    "resources": RESOURCES,
    "items": ITEMS,
    "rates": RATES,
    "accounts": ACCOUNTS,
    "rules": RULES_OF_MONTHS,
    "carried": CARRIED,
    "notes": NOTES,
    "adjustments": ADJUSTMENTS,
    "lines": LINES,
    "invoices": INVOICES,
    "placing": PLACING,
    "history": HISTORY,
    "texts": TEXTS,
}
"""The files of a snapshot and their columns."""


def read_logo(folder: Path) -> Logo | None:
    """The logo in a snapshot's folder, if there is one."""
    found = [folder / file for file in LOGOS if (folder / file).is_file()]
    return Logo(found[0].name, found[0].read_bytes()) if found else None


def snapshot_hash(folder: Path) -> str:
    """The sha256 over the names and contents of a snapshot's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
