"""A snapshot: everything that issuing reads, frozen as Parquet files.

From a snapshot anybody can compute the same invoices again without database, clock, network or
locale: it also holds the invoice numbers, dates, texts and the name of the person who asked.

    usage.parquet        the usage records of the charges, each with its kept rate
    unbilled.parquet     the unbilled records with reasons
    resources.parquet items.parquet rates.parquet accounts.parquet
    rules.parquet        the rules of the month, and of other months that charges belong to
    notes.parquet        staff's note on each project's invoice
    year_to_date.parquet sums of earlier invoices for caps and floors over a span
    adjustments.parquet  changes by staff, with login, time and reason
    lines.parquet        added lines
    invoices.parquet     each invoice: reserved number, kind, project, the number it replaces,
                         the prepaid balance, and how its charges become lines
    assignment.parquet   the invoice of each charge
    history.parquet      sums billed to each project in the twelve months until now
    texts.parquet        key and value: facility, currency, time zone, period, dates, texts
    logo.png, logo.svg   the facility's logo, if it has one

Drafts and issued invoices are computed by the same functions. Each charge is priced by the rules
of its own month, so tiers, day passes and means never mix months; then charges are summed per
invoice:

    charge 57 of 1993-11 ─┐
    charge 58 of 1993-11 ─┴▶ RC-1993-11-1/u4     12 charges, 1,204.11
    charge 60 of 1993-10 ──▶ RC/PO-12 (ad hoc)    1 charge,     75.00

Rules at invoice scope are about a project's month; on ad hoc invoices only taxes apply.

The history on an invoice covers the twelve months up to its own, with tax and invoices of every
kind, but without superseded, void or just replaced ones. All of it is frozen except the sums of
the present issuing, so a record gives the same figures again after later reissues:

    1993-10  1,204.50     1993-11  –     1993-12  980.00     …     1994-09  1,310.25  (this one)
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
from billing_lib.pricing.charge import CHARGE
from billing_lib.pricing.charging import Charges, charge_usage
from billing_lib.pricing.clock import Period
from billing_lib.pricing.fields import USAGE, Logo
from billing_lib.pricing.invoicing import YEAR_TO_DATE, Invoices, invoice_charges
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.rating import ACCOUNTS, ITEMS, RATES, RESOURCES, RULES, Catalogue
from billing_lib.workflow.notes import NOTES

MONTHS = 12

HISTORY = pl.Schema({"project": pl.String(), "period": pl.String(), "total": pl.Int64()})
"""The sum billed to each project in a month before this issuing, minor units."""


def months_until(period: Period) -> list[Period]:
    """The twelve months that end with this one, in order."""
    months = [period]
    while len(months) < MONTHS:
        months.append(months[-1].previous)
    return months[::-1]


def billed_before(
    connection: Connection, facility: str, period: Period, invoices: pl.DataFrame
) -> pl.DataFrame:
    """Sum the earlier invoices of the projects of ``invoices`` by month (schema HISTORY).

    Invoices whose number is in the column ``replaces`` do not count.
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
    """Add this issuing's ``totals`` (``project``, ``total``) to the history ``before``.

    Returns by project the ``period`` and ``total`` of each of the twelve months in order; the
    total is None if nothing was billed.
    """
    now = totals.select("project", "total", period=pl.lit(period)).select(HISTORY.names())
    summed = pl.concat([before, now]).group_by("project", "period").agg(pl.col("total").sum())
    texts = {
        (project, month): money_text(total, places) for project, month, total in summed.iter_rows()
    }
    months = [str(month) for month in months_until(Period.parse(period))]
    return {
        project: [{"period": month, "total": texts.get((project, month))} for month in months]
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
    """Price rated usage, added lines and staff's changes, each charge by the rules of its month.

    ``rules`` (schema RULES_OF_MONTHS) has each ``period`` of the usage and replaces the rules of
    the catalogue. Rules at charge scope do not apply to added lines.
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
"""The kinds of invoices; a replacement has the kind of the invoice it replaces."""

ASSIGNMENT = pl.Schema({"charge": pl.String(), "invoice": pl.String()})
"""The invoice of each charge."""


def sum_invoices(
    priced: Charges,
    catalogue: Catalogue,
    year_to_date: pl.DataFrame,
    assignment: pl.DataFrame,
    invoices: pl.DataFrame,
) -> Invoices:
    """Sum charges per invoice.

    ``assignment`` (schema ASSIGNMENT) gives the invoice of each charge. ``invoices`` has
    ``invoice``, ``kind`` and ``project``, with at most one periodic invoice per project. The
    resulting frames also name the ``invoice``, which is the ``subject`` of a rule's line.
    """
    without_rules = replace(catalogue, rules=RULES.to_frame())
    # A project may have several ad hoc invoices: in one part, no project comes twice.
    apart = (
        invoices.with_columns(ad_hoc=pl.col("kind") == AD_HOC)
        .sort("ad_hoc", "invoice")
        .with_columns(nth=pl.int_range(pl.len()).over("ad_hoc", "project"))
        .sort("ad_hoc", "nth", "invoice")
    )
    parts = [
        _sum_part(priced, without_rules if ad_hoc else catalogue, year_to_date, assignment, part)
        for (ad_hoc, _), part in apart.group_by("ad_hoc", "nth", maintain_order=True)
    ] or [_sum_part(priced, catalogue, year_to_date, assignment, invoices.clear())]
    return Invoices(
        pl.concat(part.invoices for part in parts).sort("invoice"),
        pl.concat(part.by_expense_code for part in parts).sort("invoice", "expense_code"),
        pl.concat(part.rule_lines for part in parts),
    )


def _sum_part(
    priced: Charges,
    catalogue: Catalogue,
    year_to_date: pl.DataFrame,
    assignment: pl.DataFrame,
    part: pl.DataFrame,
) -> Invoices:
    here = assignment.join(part.select("invoice"), on="invoice", how="semi")
    charges = Charges(
        priced.charges.join(here, on="charge", how="semi"),
        priced.splits.join(here, on="charge", how="semi"),
        priced.rule_lines.join(here, left_on="subject", right_on="charge", how="semi"),
    )
    summed = invoice_charges(charges, catalogue, year_to_date)
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
    {"charge": CHARGE["charge"]}
    | USAGE
    | {name: CHARGE[name] for name in ("team", "rate_group", "unit", "rate", "period")}
    | {"elsewhere": pl.Int64()}
)
"""Usage as its charges have it: the project that pays and the local day on which it starts. For a
snapshot, ``elsewhere`` is the number of others of its mean that are charged, but not among these.
"""
UNBILLED = pl.Schema(
    {name: USAGE[name] for name in ("record", "occurrence", "item", "project", "user")}
    | {"reason": pl.String(), "detail": pl.String()}
    | {name: USAGE[name] for name in ("file", "row")}
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
        "prepaid": pl.Int64(),  # the balance to draw from, minor units; null without prepaid funds
        "lines_by": pl.String(),  # the keys by which charges become lines (pricing/aggregation.py)
        "lines_above": pl.Int64(),  # and the number of charges above which they do
    }
)
TEXTS = pl.Schema({"key": pl.String(), "value": pl.String()})
FACILITY_TEXTS = ("country", "tax_id", "letterhead", "record_url")
"""Keys of optional texts about the facility."""
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
    year_to_date: pl.DataFrame
    notes: pl.DataFrame
    adjustments: pl.DataFrame
    lines: pl.DataFrame
    invoices: pl.DataFrame
    assignment: pl.DataFrame
    history: pl.DataFrame
    texts: pl.DataFrame
    logo: Logo | None = None

    @property
    def text(self) -> dict[str, str]:
        """The texts by key."""
        return dict(self.texts.iter_rows())

    def catalogue(self) -> Catalogue:
        """Return the catalogue to price with, with the rules of the snapshot's month."""
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
        """Write the files and return the snapshot's hash."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, schema in SCHEMAS.items():
            frame: pl.DataFrame = getattr(self, name)
            # Through memory: on a full disk polars would raise an error of its own, not OSError.
            content = BytesIO()
            frame.select(schema.names()).cast(schema).write_parquet(content)
            (folder / f"{name}.parquet").write_bytes(content.getvalue())
        if self.logo is not None:
            (folder / self.logo.file).write_bytes(self.logo.content)
        return snapshot_hash(folder)

    def outline(self) -> "Snapshot":
        """The snapshot without its charges, which take much memory in a large month."""
        return replace(self, usage=self.usage.clear(), assignment=self.assignment.clear())

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
    "year_to_date": YEAR_TO_DATE,
    "notes": NOTES,
    "adjustments": ADJUSTMENTS,
    "lines": LINES,
    "invoices": INVOICES,
    "assignment": ASSIGNMENT,
    "history": HISTORY,
    "texts": TEXTS,
}
"""The files of a snapshot and their columns."""


def read_logo(folder: Path) -> Logo | None:
    """Read the logo from a snapshot's folder, if there is one."""
    files = [folder / file for file in LOGOS if (folder / file).is_file()]
    return Logo(files[0].name, files[0].read_bytes()) if files else None


def snapshot_hash(folder: Path) -> str:
    """Return the sha256 over the names and contents of a snapshot's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
