"""Quantities: what a rate counts of a record.

    per hour   elapsed hours, up to the next step, × units; or the quantity that is stated
    per each   the quantity that is stated
    per use    1, whatever its length
    per day    the local days it touches that no earlier record has: a day pass, once per
               project (and ad hoc invoice), user, item and day, on the first record of that day
               (by start, then id)

What staff set goes before all of these.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import lcm

import polars as pl

from billing_lib.pricing.catalogue import DAY, USE
from billing_lib.pricing.exact import Exact
from billing_lib.pricing.period import day_start, local_date
from billing_lib.pricing.usage import DECIMAL

MICROSECONDS_PER_HOUR = 3_600_000_000


@dataclass(frozen=True)
class Quantities:
    """Quantities of some records, in two columns, each null where the other is not.

    They are apart because over one denominator a job timed to the microsecond would take
    the digits that a large stated quantity in the same frame needs.
    """

    known: pl.Series
    """The stated ones as they were stated, Decimal."""
    stated: Exact
    timed: Exact

    def joined(self) -> Exact:
        """Both as one column."""
        denominator = lcm(self.stated.denominator, self.timed.denominator)
        stated, timed = self.stated.over(denominator), self.timed.over(denominator)
        wide = stated.numerators.cast(pl.Int128)
        return Exact(_either(wide, timed.numerators.cast(pl.Int128)), denominator)

    def rounded(self, places: int) -> pl.Series:
        """Whole numbers of 10^-places."""
        return self._each(lambda part: part.rounded(places))

    def times(self, price: Exact, places: int) -> pl.Series:
        """Quantity × price in whole numbers of 10^-places, rounded once."""
        return self._each(lambda part: part.times(price).rounded(places))

    def _each(self, computed: Callable[[Exact], pl.Series]) -> pl.Series:
        """Something of both in one column, computed where there are some."""
        stated = self.known.len() - self.known.null_count()
        if stated == 0:
            return computed(self.timed)
        if stated == self.known.len():
            return computed(self.stated)
        return _either(computed(self.stated), computed(self.timed))


def _either(first: pl.Series, second: pl.Series) -> pl.Series:
    if first.null_count() == 0:
        return first
    return second if second.null_count() == 0 else first.zip_with(first.is_not_null(), second)


def elapsed() -> pl.Expr:
    """Real time between start and end, in microseconds."""
    return (pl.col("end") - pl.col("start")).dt.total_microseconds()


def stepped() -> pl.Expr:
    """Elapsed time up to the next multiple of the rate's step."""
    time, step = elapsed(), pl.col("step")
    return pl.when(step.is_null()).then(time).otherwise((time + step - 1) // step * step)


def quantities(frame: pl.DataFrame, timezone: str) -> Quantities:
    """What each record counts.

    Parameters
    ----------
    frame
        Rated usage with ``counts`` (hour, each, use or day), ``set_quantity`` and ``step``.
    timezone
        The facility's.
    """
    known = frame.select(counted=_stated(frame, timezone)).to_series()
    time = frame.select(stepped()).to_series()
    nothing = pl.Series([None], dtype=pl.Int64)
    if known.null_count() < known.len():
        time = time.zip_with(known.is_null(), nothing)
    hours = Exact(time, MICROSECONDS_PER_HOUR).reduced()
    units = Exact.of_decimals(frame.get_column("units").fill_null(1))
    return Quantities(known, Exact.of_decimals(known), hours.times(units))


def _stated(frame: pl.DataFrame, timezone: str) -> pl.Expr:
    one = pl.lit(1).cast(DECIMAL)
    counts = pl.col("counts")
    stated = pl.when(counts == USE).then(one).otherwise(pl.col("quantity"))
    if frame.select((counts == DAY).any()).item():
        days = pl.lit(_new_days(frame, timezone)).cast(DECIMAL)
        stated = pl.when(counts == DAY).then(days).otherwise(stated)
    return pl.coalesce("set_quantity", stated)


def _new_days(frame: pl.DataFrame, timezone: str) -> pl.Series:
    """How many days each record is the first of; null where days do not count."""
    last = local_date(pl.col("end").dt.offset_by("-1us"), timezone)
    passes = frame.with_row_index("at").filter(pl.col("counts") == DAY)
    # A record with a date alone stands at the start of its day, before those with a time.
    begins = pl.coalesce(pl.col("start"), day_start(pl.col("day"), timezone))
    touched = passes.select(
        "at", "project", "reference", "user", "item", "charge", begins=begins,
        days=pl.date_ranges("day", pl.max_horizontal("day", last)),
    ).explode("days")  # fmt: skip
    firsts = (
        touched.sort("begins", "charge", "at")
        .unique(["project", "reference", "user", "item", "days"], keep="first", maintain_order=True)
        .group_by("at")
        .agg(pl.len().cast(pl.Int64).alias("new"))
    )
    counted = (
        passes.select("at")
        .join(firsts, on="at", how="left")
        .with_columns(pl.col("new").fill_null(0))
    )
    return pl.select(at=pl.int_range(frame.height, dtype=pl.UInt32)).join(
        counted, on="at", how="left", maintain_order="left"
    )["new"]


def elapsed_hours(frame: pl.DataFrame) -> Exact:
    """Hours between start and end, as they are shown."""
    return Exact(frame.select(elapsed()).to_series(), MICROSECONDS_PER_HOUR)
