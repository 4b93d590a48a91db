"""Usage across a month's end: whole in the month in which it ends, or cut at midnight.

A facility that says ``crossing: split`` charges each month its own part:

    04-30 22:00 to 05-01 03:00     April  04-30 22:00 to midnight, 2 h
                                   May    midnight to 05-01 03:00, 3 h

Only what the clock counts can be cut. A record that states its quantity, or has no start and
end, stays whole.
"""

import polars as pl

from billing_lib.pricing.period import closing_date, day_start, local_date

_LAST = "_last"


def cut_at_months(usage: pl.DataFrame, timezone: str) -> pl.DataFrame:
    """The usage frame with one row for each month that a record lies in, in the order of time.

    Each part has its own start and end and all else of its record; ``month`` is the first day
    of the part's month where a record was cut, and null in its last part and in whole records.
    """
    first = local_date(pl.col("start"), timezone).dt.month_start()
    last = closing_date(pl.col("end"), pl.col("date"), timezone).dt.month_start()
    cut = (pl.col("end") > pl.col("start")) & pl.col("quantity").is_null() & (first < last)
    framed = usage.with_columns(_first=first, _last=last).with_columns(
        _months=pl.when(cut.fill_null(value=False))
        .then(pl.date_ranges("_first", "_last", interval="1mo"))
        .otherwise(pl.concat_list(pl.lit(None, dtype=pl.Date)))
    )
    parts = framed.explode("_months")
    opens = day_start(pl.col("_months"), timezone)
    closes = day_start(pl.col("_months").dt.offset_by("1mo"), timezone)
    is_last = pl.col("_months").is_null() | (pl.col("_months") == pl.col(_LAST))
    return parts.with_columns(
        start=pl.coalesce(pl.max_horizontal("start", opens), "start"),
        end=pl.when(is_last).then("end").otherwise(closes),
        month=pl.when(~is_last).then("_months"),
    ).select(*usage.columns, "month")


def cut_to_period(usage: pl.DataFrame, period: str, timezone: str) -> pl.DataFrame:
    """The usage of one month: of each record across its ends only the part within.

    A record that has no part in the month stays as it is.
    """
    parts = cut_at_months(usage.with_row_index("_record"), timezone)
    part_of = closing_date(pl.col("end"), pl.col("date"), timezone).dt.strftime("%Y-%m")
    within = parts.filter(part_of == period)
    outside = parts.filter(pl.col("month").is_null()).join(within, on="_record", how="anti")
    return pl.concat([within, outside]).sort("_record").select(usage.columns)


def cut_with_ids(usage: pl.DataFrame, timezone: str) -> pl.DataFrame:
    """The usage with each part a record of its own: the last keeps the id, ``u1``, those before
    are named by their month, ``u1@2020-04``."""
    parts = cut_at_months(usage, timezone)
    named = pl.format("{}@{}", "record", pl.col("month").dt.strftime("%Y-%m"))
    return parts.with_columns(record=pl.coalesce(named, "record")).select(usage.columns)
