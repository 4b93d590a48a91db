"""Postings: what an issued invoice moves in the general ledger, and its reversal back again.

    RC-1994-00003   debit 370-1   89.00   credit RC       144.00
                    debit 370-2   59.33   credit RC-tax     4.33

Expense codes are debited with what they were issued to pay, the prepaid funds with what was drawn
from them; the facility is credited before tax, and the tax apart. An amount below zero changes
sides, nothing of nothing is posted, and a reversal is the same with its sign turned.
"""

import polars as pl

from billing_lib.pricing.accounts import ACCOUNT_FIELDS, Accounts
from billing_lib.pricing.template import Template

EXPENSE, PREPAID, INCOME, TAX = "expense", "prepaid", "income", "tax"
ROLES = (EXPENSE, PREPAID, INCOME, TAX)
"""What accounts are for, in the order in which they are posted."""

ISSUE, REVERSAL = "issue", "reversal"

KEY = ("date", "invoice", "kind")
"""What a transaction is known by."""


def post_invoices(
    transactions: pl.DataFrame, splits: pl.DataFrame, items: pl.DataFrame, accounts: Accounts
) -> pl.DataFrame:
    """The postings of transactions: their columns, ``role``, ``account`` and ``amount``, in
    minor units, debits above zero; by date, invoice and kind.

    Parameters
    ----------
    transactions
        ``date``, ``invoice`` (its number), ``kind`` (issue or reversal), ``facility``,
        ``project``, ``team``, ``period``, ``tax``, ``total``, ``prepaid`` and others.
    splits
        ``invoice``, ``expense_code``, ``amount``.
    items
        What the lines of each item come to: ``invoice``, ``item``, ``total``.

    Raises
    ------
    ValueError
        A transaction does not come to zero.
    """
    mapped = _by_account(items, accounts)
    apart = mapped.group_by("invoice").agg(apart=pl.col("amount").sum())
    own = transactions.join(apart, on="invoice", how="left").with_columns(
        pl.col("tax", "prepaid", "apart").fill_null(0)
    )
    known = own.join(splits.select("invoice", "expense_code", "amount"), on="invoice", how="left")
    credited = own.join(mapped, on="invoice")
    income = own.with_columns(amount=pl.col("total") - pl.col("tax") - pl.col("apart"))
    parts = (
        _posted(known, EXPENSE, accounts.debit, pl.col("amount")),
        _posted(own, PREPAID, accounts.prepaid, pl.col("prepaid")),
        _posted(income, INCOME, accounts.credit, -pl.col("amount")),
        *(
            _posted(credited.filter(pl.col("account") == name), INCOME, name, -pl.col("amount"))
            for name in mapped["account"].unique().sort()
        ),
        _posted(own, TAX, accounts.tax, -pl.col("tax")),
    )
    turned = pl.when(pl.col("kind") == REVERSAL).then(-1).otherwise(1)
    rank = pl.col("role").replace_strict({role: at for at, role in enumerate(ROLES)})
    names = (*transactions.columns, "role", "account")
    postings = (
        pl.concat([part.select(*names, "amount") for part in parts])
        .with_columns(amount=pl.col("amount") * turned)
        .group_by(names, maintain_order=True)
        .agg(pl.col("amount").sum())
        .filter(pl.col("amount") != 0)
        .sort(*KEY, rank, "account")
    )
    require_balance(postings)
    return postings


def require_balance(postings: pl.DataFrame) -> None:
    """Refuse postings of which a transaction does not come to zero (ValueError)."""
    sums = postings.group_by(KEY).agg(pl.col("amount").sum()).filter(pl.col("amount") != 0)
    if sums.height:
        row = sums.sort(*KEY).row(0, named=True)
        raise ValueError(f"the {row['kind']} of {row['invoice']} is off by {row['amount']}")


def _by_account(items: pl.DataFrame, accounts: Accounts) -> pl.DataFrame:
    """What of the invoices goes to accounts of items: ``invoice``, ``account``, ``amount``."""
    schema = {"item": pl.String, "account": pl.String}
    names = pl.DataFrame(list(accounts.items.items()), schema=schema, orient="row")
    found = items.join(names, on="item").group_by("invoice", "account")
    return found.agg(amount=pl.col("total").sum())


def _posted(rows: pl.DataFrame, role: str, account: str, amount: pl.Expr) -> pl.DataFrame:
    fields = rows.select(pl.col(*ACCOUNT_FIELDS, "^expense_code$"))
    name = Template.parse(account).of(fields).alias("account")
    return rows.with_columns(name, role=pl.lit(role), amount=amount.cast(pl.Int64))
