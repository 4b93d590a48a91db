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
"""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import polars as pl

from billing_lib.errors import InvalidRecord
from billing_lib.pricing.adjusting import ADJUSTMENTS, LINES
from billing_lib.pricing.catalogue import ACCOUNTS, ITEMS, RATES, RESOURCES, Catalogue
from billing_lib.pricing.invoicing import CARRIED
from billing_lib.pricing.logo import Logo
from billing_lib.pricing.money import minor_places
from billing_lib.pricing.usage import USAGE
from billing_lib.workflow.history import HISTORY
from billing_lib.workflow.months import RULES_OF_MONTHS, of_month
from billing_lib.workflow.notes import NOTES
from billing_lib.workflow.summing import PLACING

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
        """Read the files.

        Raises
        ------
        InvalidRecord
            One is missing.
        """
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
