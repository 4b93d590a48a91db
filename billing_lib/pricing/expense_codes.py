"""Expense codes that may not be charged: unknown ones, and known ones on the wrong day.

expense_codes: {pattern: "[0-9]{3}-[0-9]+", codes: [{code: "370-1", valid_to: 2020-06-30}]}
370-1 on 2020-07-01   "the expense code '370-1' is not valid on 2020-07-01"
37-1  on 2020-07-01   "the expense code '37-1' does not match the pattern …"
"""

import datetime as dt

import polars as pl

from billing_lib.pricing.pricebook import ExpenseCodes

CODES = pl.Schema({"expense_code": pl.String(), "valid_from": pl.Date(), "valid_to": pl.Date()})


def invalid_codes(charged: pl.DataFrame, allowed: ExpenseCodes) -> pl.DataFrame:
    """The rows whose expense code may not be charged on their date.

    Parameters
    ----------
    charged
        ``expense_code``, ``date``, and any other columns.
    allowed
        What the price book says of expense codes.

    Returns
    -------
    pl.DataFrame
        These rows with ``problem``, a sentence.
    """
    problem = pl.lit(None, dtype=pl.String)
    if allowed.codes is not None:
        problem = _of_the_list(charged, allowed)
    if allowed.pattern is not None:
        fits = pl.col("expense_code").str.contains(f"^(?:{allowed.pattern})$")
        odd = pl.format(
            "the expense code '{}' does not match the pattern {}",
            "expense_code",
            pl.lit(allowed.pattern),
        )
        problem = pl.when(~fits).then(odd).otherwise(problem)
    return charged.with_columns(problem=problem).filter(pl.col("problem").is_not_null())


def _of_the_list(charged: pl.DataFrame, allowed: ExpenseCodes) -> pl.Expr:
    listed = pl.DataFrame(
        [
            (code.code, code.valid_from or dt.date.min, code.valid_to or dt.date.max)
            for code in allowed.codes or ()
        ],
        schema=CODES,
        orient="row",
    )
    numbered = charged.select("expense_code", "date").with_row_index("at")
    matched = numbered.join(listed, on="expense_code", how="left", maintain_order="left")
    valid = pl.col("date").is_between("valid_from", "valid_to").fill_null(value=False)
    found = matched.group_by("at", maintain_order=True).agg(
        known=pl.col("valid_from").is_not_null().any(), valid=valid.any()
    )
    unknown = pl.format("the expense code '{}' is not among those allowed", "expense_code")
    expired = pl.format("the expense code '{}' is not valid on {}", "expense_code", "date")
    return (
        pl.when(~pl.lit(found["known"]))
        .then(unknown)
        .when(~pl.lit(found["valid"]))
        .then(expired)
        .otherwise(pl.lit(None, dtype=pl.String))
    )
