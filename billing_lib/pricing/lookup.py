"""Looking up: where the codes of many records stand in a small table, and what stands there.

    positions(["scope", "x"], ["slide", "scope"])    1, null
    columns_at(rates, [1, 1, 0])                     the rates' columns, a row for each record

A join of many records does the same, and copies all of their columns to do it: several times
as slow where the table is small.
"""

import polars as pl

from billing_lib.pricing.exact import largest_of

_KEY_STEP = 2**33  # more than dates are apart, in days


def positions(codes: pl.Series, table: pl.Series) -> pl.Series:
    """Where each code stands in a table.

    Parameters
    ----------
    codes
        Texts, some perhaps null.
    table
        Texts, each once.

    Returns
    -------
    pl.Series
        UInt32, null where the table does not have it.
    """
    return codes.cast(pl.Enum(table), strict=False).to_physical().cast(pl.UInt32)


def columns_at(table: pl.DataFrame, at: pl.Series) -> list[pl.Expr]:
    """The columns of a table at these positions, null where a position is null.

    A column that is the same in all rows costs nothing, neither here nor in what is made of it.
    """
    found = bool(table.height) and at.null_count() == 0
    return [
        pl.lit(column.head(1)).first().alias(column.name)
        if found and column.n_unique() == 1
        else pl.lit(column.gather(at)).alias(column.name)
        for column in table
    ]


def valid_at(keys: pl.Series, days: pl.Series, table: pl.DataFrame) -> pl.Series:
    """Which row of a table holds for a key on a day.

    Parameters
    ----------
    keys, days
        Small whole numbers, null for none; dates.
    table
        ``key``, ``valid_from`` and ``valid_to`` (inclusive); no two rows of a key overlap.

    Returns
    -------
    pl.Series
        The row's position, UInt32; null where there is none.
    """
    if table.height == 0:
        return pl.repeat(None, keys.len(), dtype=pl.UInt32, eager=True)
    rows = table.with_row_index("at").drop_nulls("key").sort("key", "valid_from")
    at = _one_of_key(keys, rows) if rows["key"].is_unique().all() else _last_from(keys, days, rows)
    frame = pl.DataFrame({"at": at, "day": days}).with_columns(
        first=table["valid_from"].gather(at), last=table["valid_to"].gather(at)
    )
    holds = pl.col("day").is_between("first", "last")
    return frame.select(pl.when(holds).then("at")).to_series()


def _one_of_key(keys: pl.Series, rows: pl.DataFrame) -> pl.Series:
    size = max(largest_of(keys), largest_of(rows["key"])) + 1
    of_key = pl.repeat(None, size, dtype=pl.UInt32, eager=True).scatter(rows["key"], rows["at"])
    return of_key.gather(keys)


def _last_from(keys: pl.Series, days: pl.Series, rows: pl.DataFrame) -> pl.Series:
    """The row of the key that starts last, at or before the day."""
    starts = _key_and_day(rows["key"], rows["valid_from"])
    wanted = _key_and_day(keys, days)
    nearest = starts.search_sorted(wanted, side="right").cast(pl.Int64) - 1
    known = (nearest >= 0) & wanted.is_not_null()
    nearest = nearest.zip_with(known, pl.Series([None], dtype=pl.Int64))
    same = rows["key"].gather(nearest) == keys
    nothing = pl.Series([None], dtype=pl.UInt32)
    return rows["at"].gather(nearest).zip_with(same.fill_null(value=False), nothing)


def _key_and_day(keys: pl.Series, days: pl.Series) -> pl.Series:
    return keys.cast(pl.Int64) * _KEY_STEP + days.to_physical().cast(pl.Int64)
