"""The tables of the report of a batch (batch/report.ipynb).

    results_table(outcomes)     issued 3 months, failed 1 month
    months_table(outcomes)      a row for each facility and month

``outcomes`` are those of batch/month.py as JSON: ``facility``, ``period``, ``sentences``,
``numbers`` of issued invoices, ``failed``, ``seconds``.
"""

from typing import Any

import polars as pl
from IPython.display import HTML

from billing_lib.panels.html import plain_table

_OUTCOME = pl.Schema(
    {
        "facility": pl.String(),
        "period": pl.String(),
        "sentences": pl.List(pl.String()),
        "numbers": pl.List(pl.String()),
        "failed": pl.Boolean(),
        "seconds": pl.Float64(),
    }
)


def results_table(outcomes: list[dict[str, Any]]) -> HTML:
    """The number of months, invoices and seconds by result."""
    summed = (
        _with_results(outcomes)
        .group_by("result")
        .agg(pl.len().alias("months"), pl.col("invoices", "seconds").sum())
    )
    return plain_table(summed.sort("result"), "Results")


def months_table(outcomes: list[dict[str, Any]]) -> HTML:
    """One row per facility and month, with its result, invoices and seconds."""
    columns = ("facility", "period", "result", "invoices", "seconds")
    return plain_table(_with_results(outcomes).select(columns), "Facilities and months")


def sentences_table(
    outcomes: list[dict[str, Any]], statements: list[str], delivered: list[str]
) -> HTML:
    """All sentences of the batch: on failed months, on the others, on statements and mail."""
    order = ("failed", "facility", "period")
    months = _with_results(outcomes).sort(order, descending=[True, False, False])
    sentences = months["sentences"].explode().drop_nulls().to_list()
    return plain_table(
        pl.DataFrame({"sentence": [*sentences, *statements, *delivered]}), "Sentences"
    )


def _with_results(outcomes: list[dict[str, Any]]) -> pl.DataFrame:
    """Outcomes with their number of ``invoices``, their ``result``, and seconds to a tenth."""
    invoices = pl.col("numbers").list.len().cast(pl.Int64)
    result = (
        pl.when("failed")
        .then(pl.lit("failed"))
        .when(invoices > 0)
        .then(pl.lit("issued"))
        .otherwise(pl.lit("nothing issued"))
    )
    return pl.DataFrame(outcomes, schema=_OUTCOME).with_columns(
        pl.col("seconds").round(1), invoices=invoices, result=result
    )
