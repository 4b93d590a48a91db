"""The heading and the tables of the issuing notebook.

    run_heading(snapshot, computation)    40 invoices, 1,204 charges, total 9,310.00 USD
    totals_table(snapshot, computation)   a row per invoice, and the run's total

They read the frozen snapshot and its computation alone, never the ledger.
"""

from html import escape

import polars as pl
from IPython.display import HTML

from billing_lib.errors import count_of
from billing_lib.panels.html import amount, plain_table
from billing_lib.pricing.money import minor_places, money_text_column
from billing_lib.workflow.invoice import Computation
from billing_lib.workflow.snapshot import AD_HOC, PERIODIC, Snapshot


def run_heading(snapshot: Snapshot, computation: Computation) -> HTML:
    """Summarise the run in a few lines."""
    text = {name: escape(value) for name, value in snapshot.text.items()}
    places = minor_places(text["currency"])
    total = amount(int(computation.totals["total"].sum()), places)
    charges = computation.priced.charges.height
    return HTML(
        f"<h2>{text['facility_name']} · {text['period']}</h2>\n"
        f"<p>Billing run <b>{text['run']}</b>, invoice date {text['invoice_date']}, "
        f"frozen by {text['frozen_by']} at {text['frozen_at']}.</p>\n"
        f"<p><b>{computation.totals.height:,}</b> invoices, <b>{charges:,}</b> charges, "
        f"total <b>{total} {text['currency']}</b>{_left_to_pay(computation, places)}; "
        f"{count_of(snapshot.unbilled.height, 'record')} not billed.</p>"
    )


def _left_to_pay(computation: Computation, places: int) -> str:
    drawn = int(computation.totals["drawn"].sum())
    if not drawn:
        return ""
    due = amount(int(computation.totals["total"].sum()) - drawn, places)
    return f", of which {amount(drawn, places)} from prepaid funds and <b>{due}</b> left to pay"


def totals_table(snapshot: Snapshot, computation: Computation) -> HTML:
    """One row per invoice and the run's total, without columns that are empty throughout."""
    totals = computation.totals.with_columns(
        kind=pl.when(pl.col("kind") != PERIODIC).then("kind"),
        drawn=pl.when(pl.col("drawn") > 0).then("drawn"),
        prepaid_left=pl.when(pl.col("drawn") > 0).then("left"),
        due=pl.col("total") - pl.col("drawn").fill_null(0),
    )
    amounts = ["charges", "charges_raw_total", "charges_adjustment", "total"]
    if totals["drawn"].count():
        amounts += ["drawn", "due", "prepaid_left"]
    about = [name for name in ("kind", "reference", "replaces") if totals[name].count()]
    frame = totals.select("number", "project", "team", *about, *amounts)
    summed = [name for name in amounts if name != "prepaid_left"]
    return plain_table(frame, "Invoices", places=_places(snapshot), total=summed)


def codes_table(snapshot: Snapshot, computation: Computation) -> HTML:
    """The amount that each expense code pays in this run, net of prepaid funds."""
    frame = (
        computation.by_expense_code.group_by("expense_code")
        .agg(pl.col("number").n_unique().cast(pl.Int64).alias("invoices"), pl.col("amount").sum())
        .sort("expense_code")
    )
    return plain_table(frame, "Expense codes", places=_places(snapshot), total=("amount",))


def adjustments_table(snapshot: Snapshot) -> HTML:
    """Changes and added lines in order of time."""
    changes = snapshot.adjustments.sort("order").select(
        "charge", "field", "before", pl.col("value").alias("after"), "by", "at", "reason"
    )
    places = _places(snapshot)
    lines = snapshot.lines.select(
        "charge",
        field=pl.lit("added line"),
        before=pl.lit(None, dtype=pl.String),
        after=pl.format("{}: {}", "description", money_text_column(pl.col("amount"), places)),
        by="by",
        at="at",
        reason="reason",
    )
    return plain_table(pl.concat([changes, lines]).sort("at", maintain_order=True), "Adjustments")


def unbilled_table(snapshot: Snapshot) -> HTML:
    """Counts of unbilled records by reason, each with the first record's detail."""
    frame = (
        snapshot.unbilled.sort("row")
        .group_by("reason", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("records"), pl.col("detail").first().alias("for_example")
        )
        .sort("records", descending=True)
    )
    return plain_table(frame, "Unbilled records", total=("records",))


def late_table(snapshot: Snapshot, computation: Computation) -> HTML:
    """Charges of earlier months by month and project, without those on ad hoc invoices."""
    month = pl.col("date").dt.to_string("%Y-%m")
    kinds = computation.totals.select("invoice", of="kind")
    frame = (
        computation.priced.charges.join(kinds, on="invoice")
        .with_columns(month=month)
        .filter((pl.col("month") < snapshot.text["period"]) & (pl.col("of") != AD_HOC))
        .group_by("month", "project")
        .agg(pl.len().cast(pl.Int64).alias("charges"), pl.col("total").sum())
        .sort("month", "project")
    )
    return plain_table(frame, "Late charges", places=_places(snapshot), total=("charges", "total"))


def _places(snapshot: Snapshot) -> int:
    return minor_places(snapshot.text["currency"])
