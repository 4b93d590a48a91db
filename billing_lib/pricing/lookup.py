"""Looking up: where the codes of many records stand in a small table, and what stands there.

    positions(["scope", "x"], ["slide", "scope"])    1, null
    columns_at(rates, [1, 1, 0])                     the rates' columns, a row for each record
    Dated(rates).at(keys, days)                      which rate holds for a key on a day

A join of many records does the same, and copies all of their columns to do it: several times
as slow where the table is small.
"""

import polars as pl

from billing_lib.pricing.exact import largest_of

_KEY_STEP = 2**33  # more than dates are apart, in days
_PLACES = 2**16  # so many that a thousand codes mostly have one each


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


class Codes:
    """The codes of a small table, each once, to find where those of many records stand in it.

    The hashes of all are computed in a tenth of the time in which each is looked up. So a code is
    taken for the one at the place that its hash names, and compared with it; only one that is not
    the same, as two may have one place, is looked up.
    """

    def __init__(self, table: pl.Series) -> None:
        self.table = table
        nothing = pl.repeat(None, _PLACES, dtype=pl.UInt32, eager=True)
        numbers = pl.int_range(table.len(), dtype=pl.UInt32, eager=True)
        self._at_place = nothing.scatter(_place(table), numbers)

    def positions(self, codes: pl.Series) -> pl.Series:
        """The same as positions(codes, table)."""
        at = self._at_place[_place(codes)]
        other = codes.ne_missing(self.table[at])
        if not other.any():
            return at
        rows = other.arg_true()
        return at.scatter(rows, positions(codes[rows], self.table))


def _place(codes: pl.Series) -> pl.Series:
    return (codes.hash() % _PLACES).cast(pl.UInt32)


def columns_at(table: pl.DataFrame, at: pl.Series) -> list[pl.Expr]:
    """The columns of a table at these positions, null where a position is null.

    A column that is the same in all rows costs nothing, neither here nor in what is made of it.
    """
    found = bool(table.height) and at.null_count() == 0
    return [
        pl.lit(column.head(1)).first().alias(column.name)
        if found and column.n_unique() == 1
        else pl.lit(column[at]).alias(column.name)
        for column in table
    ]


class Dated:
    """A table whose rows each hold for a key between two dates.

    Parameters
    ----------
    table
        ``key`` (a small whole number), ``valid_from`` and ``valid_to`` (inclusive, never null);
        no two rows of a key overlap.
    """

    def __init__(self, table: pl.DataFrame) -> None:
        self._first, self._last = table["valid_from"], table["valid_to"]
        self._rows = table.with_row_index("at").drop_nulls("key").sort("key", "valid_from")
        one_each = self._rows["key"].is_unique().all()
        self._of_key = _by_key(self._rows) if one_each else None
        # The days on which all rows hold, which are mostly all that are asked for.
        self._common = table.select(pl.max("valid_from"), pl.min("valid_to")).row(0)

    def at(self, keys: pl.Series, days: pl.Series) -> pl.Series:
        """Which row holds for a key on a day.

        Parameters
        ----------
        keys, days
            Small whole numbers, null for none; dates.

        Returns
        -------
        pl.Series
            The row's position, UInt32; null where there is none.
        """
        if self._first.len() == 0:
            return pl.repeat(None, keys.len(), dtype=pl.UInt32, eager=True)
        at = self._last_from(keys, days) if self._of_key is None else _at(keys, self._of_key)
        if days.null_count() == 0 and days.is_between(*self._common).all():
            return at
        frame = pl.DataFrame(
            {"at": at, "day": days, "first": self._first[at], "last": self._last[at]}
        )
        holds = pl.col("day").is_between("first", "last")
        return frame.select(pl.when(holds).then("at")).to_series()

    def _last_from(self, keys: pl.Series, days: pl.Series) -> pl.Series:
        """The row of the key that starts last, at or before the day."""
        rows = self._rows
        starts = _key_and_day(rows["key"], rows["valid_from"])
        wanted = _key_and_day(keys, days)
        nearest = starts.search_sorted(wanted, side="right").cast(pl.Int64) - 1
        known = (nearest >= 0) & wanted.is_not_null()
        nearest = nearest.zip_with(known, pl.Series([None], dtype=pl.Int64)).cast(pl.UInt32)
        same = rows["key"][nearest] == keys
        nothing = pl.Series([None], dtype=pl.UInt32)
        return rows["at"][nearest].zip_with(same.fill_null(value=False), nothing)


def _by_key(rows: pl.DataFrame) -> pl.Series:
    """The rows' positions, each at its key."""
    nothing = pl.repeat(None, largest_of(rows["key"]) + 1, dtype=pl.UInt32, eager=True)
    return nothing.scatter(rows["key"], rows["at"])


def _at(keys: pl.Series, of_key: pl.Series) -> pl.Series:
    beyond = largest_of(keys) + 1 - of_key.len()
    table = of_key.extend_constant(None, beyond) if beyond > 0 else of_key
    return table[keys.cast(pl.UInt32)]


def _key_and_day(keys: pl.Series, days: pl.Series) -> pl.Series:
    return keys.cast(pl.Int64) * _KEY_STEP + days.to_physical().cast(pl.Int64)
