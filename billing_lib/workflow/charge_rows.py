"""Priced charges as rows of the ledger: written, compared with what stands there, written over.

Charges ─ insert_charges ─▶ charge, charge_split ◀─ replace_charges ─ those that differ
"""

import polars as pl
from sqlalchemy import Connection

from billing_lib.ledger import charges as ledger_charges
from billing_lib.pricing.charging import Charges, shown
from billing_lib.pricing.money import PERCENT_PLACES, plain_text_column


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
        ``code``, ``reference``: which of them go to ad hoc invoices; none by default.
    """
    rows = ledger_rows(priced)
    if references is not None and references.height:
        rows = rows.join(references, on="code", how="left", maintain_order="left")
    usage_charge = pl.col("kind") == "usage"
    ledger_charges.insert_charges(
        connection,
        facility,
        rows.with_columns(
            period=pl.lit(month),
            record=pl.when(usage_charge).then(pl.col("code")),
            occurrence=pl.when(usage_charge).then(pl.lit(1, dtype=pl.Int32)),
        ),
        ledger_splits(priced),
    )


def ledger_rows(priced: Charges) -> pl.DataFrame:
    """Charges under the ledger's column names, with numbers as texts."""
    return (
        shown(priced.charges)
        .rename({"charge": "code", "date": "on_date", "start": "start_at", "end": "end_at"})
        .drop("file", "row", "units")
    )


def ledger_splits(priced: Charges) -> pl.DataFrame:
    """Splits as the ledger keeps them, percentages as decimal text."""
    percent = pl.col("percent").cast(pl.Decimal(38, PERCENT_PLACES)) / 10**PERCENT_PLACES
    return priced.splits.with_columns(percent=plain_text_column(percent))


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
    now = ledger_rows(priced).select("code", *compared)
    again = standing.select("code", *compared).join(now, on="code", suffix="_now")
    other = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_now")) for name in compared)
    splits = ledger_charges.read_splits(connection, facility, codes=standing["code"])
    keys = ["charge", "position", "expense_code", "percent", "amount"]
    split_now = ledger_splits(priced).select(keys)
    moved = pl.concat(
        [
            split_now.join(splits.select(keys), on=keys, how="anti"),
            splits.select(keys).join(split_now, on=keys, how="anti"),
        ]
    )
    return pl.concat([again.filter(other)["code"], moved["charge"]]).unique().sort()


def replace_charges(
    connection: Connection, facility: str, priced: Charges, codes: pl.Series
) -> None:
    """Write these codes' priced columns and splits over the pending rows."""
    ledger_charges.replace_charges(
        connection,
        facility,
        ledger_rows(priced).filter(pl.col("code").is_in(codes.implode())),
        ledger_splits(priced).filter(pl.col("charge").is_in(codes.implode())),
    )


def unbound(charges: pl.DataFrame) -> pl.DataFrame:
    """The charges that may still change: PENDING, and in no run."""
    return charges.filter((pl.col("state") == "PENDING") & pl.col("run").is_null())
