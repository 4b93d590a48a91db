"""What invoices come to, whether they are drafts or being issued: charges summed per invoice.

    charge 57 ─┐
    charge 58 ─┴▶ RC-1993-11-1/u4      12 charges, 1,204.11
    charge 60 ──▶ RC/PO-12 (ad hoc)     1 charge,     75.00

The rules at invoice scope are for a project's month, so they do not touch ad hoc invoices; taxes
do. A project can have both, so they are summed one after the other.
"""

from dataclasses import replace

import polars as pl

from billing_lib.pricing.catalogue import RULES, Catalogue
from billing_lib.pricing.charging import Charges
from billing_lib.pricing.invoicing import Invoices, invoice_charges

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
