"""Quantities of records, and their amounts under rates by time and by tiers.

    per hour   elapsed hours, up to the next step, × units; or the stated quantity
               (elapsed as the source states it, else from start to end)
    per each   the stated quantity
    per use    1, at any length
    per day    a day pass: the local days of the record that no earlier record (by start, then
               id) of the same project, ad hoc invoice, user and item has
    per month  each month's share of its local days, × the stated quantity or else units
    per snapshot, per daily_snapshot
               the record's share of the mean of the month's snapshots

A quantity set by staff goes before all of these.

A monthly price is prorated by the local days that a record touches, each month by its own days,
even where one charge spans several:

    5 TB from 2020-04-15 to 2020-05-10 at 4.00:  5 × (16/30 + 10/31) × 4.00 = 17.12

A snapshot says how much there was on a day. The mean is over the snapshots of the month that a
project, ad hoc invoice, user and item has; or, daily, over the days of the month, so that a day
without a snapshot counts nothing. Mean × price is rounded once, and its records share it:

    snapshots of 1, 1 and 2 TB at 1.00:  mean 4/3, 1.33 = 0.33 + 0.33 + 0.67

A rate by time prices each hour of a session by the business hours of its resource, or by its own
bands (pricing/clock.py); a stated quantity or elapsed time is priced at the blend of the time from
start to end:

    17:00 to 20:00, open until 18:00, 40.00 and 25.00 after:
    (40.00 × 1 h + 25.00 × 2 h) × units = 90.00, which is 30.000000 an hour

A rate that bills bookings takes the longer of the booked and the used time, whole, with the hours
in which it lies; the used one if they are equally long. A booking that was not used has its own
price, if the rate has one:

    booked 09:00 to 12:00, used 11:00 to 13:00, at 40.00:   3 h booked, 120.00

Tiers price by quantity: each part at its own price (graduated), or all at one (volume):

    steps up to 10 at 5.00, then 3.00; a quantity of 12
    graduated   10 × 5.00 + 2 × 3.00 = 56.00
    volume      12 × 3.00            = 36.00, the price of the tier that 12 reaches

Tiers per charge count each charge alone. Tiers per project count the project's quantity of the
item through the month, in order of end time, then id (a date counts as the end of its day); with
volume the quantity of the whole month decides. An ad hoc invoice counts apart.

The costs of a file's rows (of a cloud bill) share the cents of their sum, so that rounding row by
row neither adds nor loses any: a row's amount is the difference that it makes to the rounded sum.

    costs              0.004   0.004   0.004   -0.020   at price 1
    sum, rounded       0.00    0.01    0.01    -0.01
    amounts            0.00    0.01    0.00    -0.02
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from math import lcm

import polars as pl

from billing_lib.pricing.clock import (
    Week,
    closing_date,
    day_start,
    ends,
    local_date,
    period_of,
    time_line,
    week_of,
)
from billing_lib.pricing.fields import DECIMAL
from billing_lib.pricing.money import INT64_MAX, PRICE_PLACES, AmountTooLarge, Exact, plain_text
from billing_lib.pricing.rates import BANDS, FLAT, HOURS, TIERS, Rate, Tiers
from billing_lib.pricing.rating import DAY, MONTH, PRICE, SNAPSHOT, SNAPSHOTS, USE, Catalogue
from billing_lib.pricing.split import apportion

MICROSECONDS_PER_HOUR = 3_600_000_000


@dataclass(frozen=True)
class Shares:
    """Shares of quantities: ``whole × above / below``, row by row.

    Each row has its own denominator, as of a mean of 31 snapshots and one of 29; one for all would
    soon have too many digits.
    """

    whole: Exact
    above: pl.Series
    below: pl.Series

    def times(self, other: Exact) -> "Shares":
        """The product, row by row."""
        return Shares(self.whole.times(other), self.above, self.below)

    def rounded(self, places: int) -> pl.Series:
        """Whole numbers of 10^-places, rounded half up."""
        return self.whole.times_ratio(self.above, self.below, 1, places)

    def joined(self) -> Exact:
        """All over one denominator."""
        divisor = lcm(*self.below.drop_nulls().unique())
        if divisor > INT64_MAX:
            raise AmountTooLarge(
                "the shares have too many digits to be summed", remedy="check the snapshots"
            )
        return self.whole.times(Exact(self.above * (divisor // self.below), divisor))

    def filter(self, mask: pl.Series) -> "Shares":
        """Some of the rows."""
        whole = Exact(self.whole.numerators.filter(mask), self.whole.denominator)
        return Shares(whole, self.above.filter(mask), self.below.filter(mask))


@dataclass(frozen=True)
class Quantities:
    """Quantities of records in two columns or three, each null where the others are not.

    One denominator for all would give a job timed to the microsecond the digits that a large
    stated quantity in the same frame needs.
    """

    known: pl.Series
    """The stated ones, Decimal."""
    stated: Exact
    timed: Exact
    shares: Shares | None = None
    """Those per month and of snapshots, a third column; None if no record has one."""

    def joined(self) -> Exact:
        """All as one column."""
        parts = [self.stated, self.timed]
        if self.shares is not None:
            parts.append(self.shares.joined())
        denominator = lcm(*(part.denominator for part in parts))
        wide = [part.over(denominator).numerators.cast(pl.Int128) for part in parts]
        return Exact(reduce(_either, wide), denominator)

    def filter(self, mask: pl.Series) -> "Quantities":
        """The quantities of some of the records."""
        shares = self.shares and self.shares.filter(mask)
        if shares and shares.below.null_count() == shares.below.len():
            shares = None
        return Quantities(
            self.known.filter(mask),
            Exact(self.stated.numerators.filter(mask), self.stated.denominator),
            Exact(self.timed.numerators.filter(mask), self.timed.denominator),
            shares,
        )

    def rounded(self, places: int) -> pl.Series:
        """Whole numbers of 10^-places."""
        return self._each(lambda part: part.rounded(places))

    def times(self, price: Exact, places: int) -> pl.Series:
        """Quantity × price in whole numbers of 10^-places, rounded once."""
        return self._each(lambda part: part.times(price).rounded(places))

    def _each(self, computed: Callable[[Exact | Shares], pl.Series]) -> pl.Series:
        """A result of all in one column, computed only for a column that has values."""
        if self.shares is not None:
            parts: tuple[Exact | Shares, ...] = (self.stated, self.timed, self.shares)
            return reduce(_either, [computed(part) for part in parts])
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


def as_booked(frame: pl.DataFrame) -> pl.DataFrame:
    """Rated usage with ``start`` and ``end`` of the time that is billed, and ``booked``: whether
    that is the booking's. The price of a booking that was not used is its ``set_price``.

    ``frame`` has ``booking`` and ``no_show`` of its rates, and ``set_price``.
    """
    stated = pl.col("booking").is_not_null() & pl.col("quantity").is_null()
    used = elapsed(frame)
    longer = (pl.col("booked_end") - pl.col("booked_start")).dt.total_microseconds() > used
    unused = used.is_null()
    has_booking = pl.col("booked_end").is_not_null()
    booked = (stated & has_booking & (unused | longer)).fill_null(value=False)
    return frame.with_columns(booked=booked).with_columns(
        start=pl.when("booked").then("booked_start").otherwise("start"),
        end=pl.when("booked").then("booked_end").otherwise("end"),
        elapsed=pl.when("booked").then(None).otherwise("elapsed"),
        set_price=pl.when(pl.col("booked") & unused)
        .then(pl.coalesce("set_price", "no_show"))
        .otherwise("set_price"),
    )


def wall_time() -> pl.Expr:
    """Real time between start and end, in microseconds."""
    return (pl.col("end") - pl.col("start")).dt.total_microseconds()


def states_elapsed(frame: pl.DataFrame) -> bool:
    """Whether the source states the elapsed time of any record."""
    return frame["elapsed"].null_count() < frame.height


def elapsed(frame: pl.DataFrame) -> pl.Expr:
    """The time that is billed, in microseconds: as the source states it, else the wall time."""
    return pl.coalesce("elapsed", wall_time()) if states_elapsed(frame) else wall_time()


def stepped(frame: pl.DataFrame) -> pl.Expr:
    """Elapsed time up to the next multiple of the rate's step."""
    time, step = elapsed(frame), pl.col("step")
    return pl.when(step.is_null()).then(time).otherwise((time + step - 1) // step * step)


def quantities(frame: pl.DataFrame, timezone: str, pers: Collection[str | None]) -> Quantities:
    """The quantity of each record.

    Parameters
    ----------
    frame
        Rated usage with ``counts`` (a value of ``per``), ``set_quantity`` and ``step``.
    pers
        The values of ``per`` that its rates have.
    """
    known = frame.select(counted=_stated(frame, timezone)).to_series()
    time = frame.select(stepped(frame)).to_series()
    nothing = pl.Series([None], dtype=pl.Int64)
    shares = None
    if not {MONTH, *SNAPSHOTS}.isdisjoint(pers):
        by_month = frame.select(_is_shared()).to_series()
        known = known.zip_with(~by_month, pl.Series([None], dtype=DECIMAL))
        time = time.zip_with(~by_month, nothing)
        shares = _shares(frame, timezone) if by_month.any() else None
    if known.null_count() < known.len():
        time = time.zip_with(known.is_null(), nothing)
    hours = Exact(time, MICROSECONDS_PER_HOUR).reduced()
    units = Exact.of_decimals(frame.get_column("units").fill_null(1))
    return Quantities(known, Exact.of_decimals(known), hours.times(units), shares)


def _is_shared() -> pl.Expr:
    """Whether the quantity is a share of a month or a mean; a quantity set by staff is not."""
    shared = pl.col("counts").is_in([MONTH, *SNAPSHOTS])
    return (shared & pl.col("set_quantity").is_null()).fill_null(value=False)


MONTH_PARTS = lcm(28, 29, 30, 31)
"""The parts into which a month is divided, so that a day of any month is a whole number of them."""

_MEAN = ("project", "reference", "user", "item", "counts", "month")
"""The snapshots of one mean."""


def last_day(timezone: str) -> pl.Expr:
    """The last local day that a record touches, at least its date."""
    return pl.max_horizontal("date", local_date(ends().dt.offset_by("-1us"), timezone))


def _shares(frame: pl.DataFrame, timezone: str) -> Shares:
    """The shares of the records per month and of snapshots, null elsewhere.

    ``elsewhere`` of the frame, if it has that, is the number of snapshots of each record's mean
    that the frame lacks.
    """
    elsewhere = pl.col("elsewhere") if "elsewhere" in frame.columns else pl.lit(0, pl.Int64)
    shared = (
        frame.with_row_index("at")
        .filter(_is_shared())
        .with_columns(last=last_day(timezone), month=_month(timezone), elsewhere=elsewhere)
    )
    by_month = pl.col("counts") == MONTH
    snapshots = frame.filter(pl.col("counts").is_in(SNAPSHOTS)).with_columns(month=_month(timezone))
    counted = snapshots.group_by(_MEAN).agg(pl.len().cast(pl.Int64).alias("here"))
    days = pl.col("month").dt.days_in_month().cast(pl.Int64)
    shared = shared.join(counted, on=_MEAN, how="left", nulls_equal=True, maintain_order="left")
    covered = _parts_until(pl.col("last").dt.offset_by("1d")) - _parts_until(pl.col("date"))
    shares = shared.select(
        "at",
        whole=pl.when(by_month)
        .then(pl.coalesce("quantity", "units", pl.lit(1).cast(DECIMAL)))
        .otherwise("quantity"),
        above=pl.when(by_month).then(covered).otherwise(pl.lit(1, pl.Int64)),
        below=pl.when(by_month)
        .then(pl.lit(MONTH_PARTS, pl.Int64))
        .when(pl.col("counts") == SNAPSHOT)
        .then(pl.col("here") + pl.col("elsewhere").fill_null(0))
        .otherwise(days),
    )
    placed = pl.select(at=pl.int_range(frame.height, dtype=pl.UInt32)).join(
        shares, on="at", how="left", maintain_order="left"
    )
    return Shares(Exact.of_decimals(placed["whole"]), placed["above"], placed["below"])


def _month(timezone: str) -> pl.Expr:
    """The first day of the month to which a record belongs."""
    return closing_date(ends(), pl.col("date"), timezone).dt.month_start()


def _parts_until(day: pl.Expr) -> pl.Expr:
    """The parts of months (MONTH_PARTS each) from the year 0 until a day begins."""
    months = day.dt.year().cast(pl.Int64) * 12 + day.dt.month().cast(pl.Int64)
    of_day = MONTH_PARTS // day.dt.days_in_month().cast(pl.Int64)
    return months * MONTH_PARTS + (day.dt.day().cast(pl.Int64) - 1) * of_day


def snapshot_amounts(
    frame: pl.DataFrame, counted: Quantities, prices: Exact, catalogue: Catalogue
) -> tuple[pl.Series, pl.Series]:
    """The places of the records that are snapshots, and their amounts (minor units), which sum to
    the amount of each mean.

    ``frame`` is as in :func:`quantities`; ``prices`` has the price of each record.
    """
    snapshots = frame.with_row_index("at").filter(
        pl.col("counts").is_in(SNAPSHOTS) & pl.col("set_quantity").is_null()
    )
    if snapshots.height == 0 or counted.shares is None:
        return pl.Series([], dtype=pl.UInt32), pl.Series([], dtype=pl.Int64)
    of_day = day_start(pl.col("date").dt.offset_by("1d"), catalogue.timezone)
    at = snapshots.with_columns(
        month=_month(catalogue.timezone), ends=pl.coalesce(ends(), of_day)
    ).sort(*_MEAN, "ends", "charge", "at")
    worth = counted.shares.whole.times(prices)
    parts = at.select(
        "at",
        mean=pl.struct(_MEAN).rle_id(),
        below=pl.lit(counted.shares.below[at["at"]]),
        weight=pl.lit(worth.numerators[at["at"]].cast(pl.Int128)),
    )
    means = parts.group_by("mean", maintain_order=True).agg(
        pl.col("weight").sum(), pl.col("below").first()
    )
    one = pl.repeat(1, means.height, dtype=pl.Int64, eager=True)
    amounts = Exact(means["weight"], worth.denominator).times_ratio(
        one, means["below"], 1, catalogue.places
    )
    parts = parts.with_columns(
        # If all snapshots are of nothing, they share nothing equally.
        pl.when(pl.col("weight").sum().over("mean") == 0)
        .then(pl.lit(1, pl.Int128))
        .otherwise("weight")
        .alias("weight"),
        amount=pl.lit(amounts[parts["mean"]]),
        order=pl.int_range(pl.len()),
    )
    return parts["at"], apportion(parts, "mean", "amount", "weight", "order")


def _stated(frame: pl.DataFrame, timezone: str) -> pl.Expr:
    one = pl.lit(1).cast(DECIMAL)
    counts = pl.col("counts")
    stated = pl.when(counts == USE).then(one).otherwise(pl.col("quantity"))
    if frame.select((counts == DAY).any()).item():
        days = pl.lit(_new_days(frame, timezone)).cast(DECIMAL)
        stated = pl.when(counts == DAY).then(days).otherwise(stated)
    return pl.coalesce("set_quantity", stated)


def _new_days(frame: pl.DataFrame, timezone: str) -> pl.Series:
    """The number of days of which each record is the first; null where days do not count."""
    last = local_date(ends().dt.offset_by("-1us"), timezone)
    passes = frame.with_row_index("at").filter(pl.col("counts") == DAY)
    # A record with a date alone stands at the start of its day, before those with a time.
    begins = pl.coalesce("start", "booked_start", day_start(pl.col("date"), timezone))
    touched = passes.select(
        "at", "project", "reference", "user", "item", "charge", begins=begins,
        days=pl.date_ranges("date", pl.max_horizontal("date", last)),
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
    """The hours of the elapsed time."""
    return Exact(frame.select(elapsed(frame)).to_series(), MICROSECONDS_PER_HOUR)


def cost_amounts(frame: pl.DataFrame, prices: Exact, amounts: pl.Series, places: int) -> pl.Series:
    """The amounts, with those of rows that share the cents of their file's sum in their place.

    Parameters
    ----------
    frame
        Rated usage with ``set_quantity`` and ``prices``.
    prices, amounts
        Of each record: its price, and quantity × price in whole numbers of 10^-places.
    """
    stated = frame["costs_before"]
    if stated.null_count() == stated.len():
        return amounts
    shares = pl.col("costs_before").is_not_null() & pl.col("set_quantity").is_null()
    at = frame.select(shares & (pl.col("prices") == FLAT)).to_series().arg_true()
    before, cost = (Exact.of_decimals(frame[name][at]) for name in ("costs_before", "quantity"))
    price = prices.at(at)
    upto, until = (part.times(price).rounded(places) for part in (before.plus(cost), before))
    return amounts.scatter(at, upto - until)


_PRICE_UNIT = 10**PRICE_PLACES


class Blends:
    """Sessions under rates by time, with the price of each of their hours.

    Parameters
    ----------
    frame
        Rated usage with start before end, each under a rate of ``hours`` or ``bands``, with
        ``step``, ``units``, ``elapsed``, ``known`` (the stated quantity, Decimal; null if time
        counts).
    """

    def __init__(self, frame: pl.DataFrame, catalogue: Catalogue) -> None:
        self._frame = frame
        rates = catalogue.rates.join(frame.select("rate").unique(), on="rate", how="semi")
        self.parts = _parts(frame, rates, catalogue)
        self._labels = sum(name.startswith("time_") for name in self.parts.columns)
        self._time = self.parts["time"]

    def amounts(self, places: int) -> pl.Series:
        """Quantity × blended price in whole numbers of 10^-places, rounded once."""
        return self._amounts(self._weighted("price"), places)

    def by_label(self, places: int) -> Iterator[tuple[pl.Series, pl.Series, pl.Series]]:
        """Label by label the quantity in millionths, its price (10^-6) and the amount in whole
        numbers of 10^-places, each rounded by itself."""
        for label in range(self._labels):
            price, time = self.parts[f"price_{label}"], Exact(self.parts[f"time_{label}"], 1)
            one = pl.repeat(_PRICE_UNIT, price.len(), dtype=pl.Int64, eager=True)
            quantity = self._amounts(time.times(Exact(one, 1)).numerators, PRICE_PLACES)
            amount = self._amounts(time.times(Exact(price, 1)).numerators, places)
            yield quantity, price, amount

    def _amounts(self, weighted: pl.Series, places: int) -> pl.Series:
        frame = self._frame
        by_clock = ~frame.select(_blended()).to_series()
        nothing = pl.Series([None], dtype=weighted.dtype)
        units = Exact.of_decimals(frame["units"].fill_null(1))
        timed = Exact(weighted.zip_with(by_clock, nothing), MICROSECONDS_PER_HOUR * _PRICE_UNIT)
        amounts = timed.times(units).rounded(places)
        stated = Exact.of_decimals(frame["known"])
        at_blend = stated.times_ratio(weighted, self._time, _PRICE_UNIT, places)
        amounts = amounts.zip_with(by_clock, at_blend)
        if states_elapsed(frame):
            by_source = frame.select(
                pl.when(pl.col("known").is_null() & ~pl.lit(by_clock)).then(stepped(frame))
            ).to_series()
            hours = Exact(by_source, MICROSECONDS_PER_HOUR).reduced().times(units)
            at_blend = hours.times_ratio(weighted, self._time, _PRICE_UNIT, places)
            amounts = amounts.zip_with(by_source.is_null(), at_blend)
        return amounts

    def effective_rates(self) -> pl.Series:
        """The blended prices, in whole numbers of 10^-6."""
        return self._one.times_ratio(self._weighted("price"), self._time, 1, 0)

    def minimums(self) -> pl.Series:
        """The mean of the minimums, weighted by time, rounded to minor units."""
        return self._one.times_ratio(self._weighted("minimum"), self._time, 1, 0)

    @property
    def _one(self) -> Exact:
        return Exact(pl.repeat(1, self._frame.height, dtype=pl.Int64, eager=True), 1)

    def _weighted(self, column: str) -> pl.Series:
        """Σ value × time over the labels; the column is ``price`` or ``minimum``."""
        total = Exact(pl.zeros(self._frame.height, dtype=pl.Int64, eager=True), 1)
        for label in range(self._labels):
            value, time = self.parts[f"{column}_{label}"], self.parts[f"time_{label}"]
            total = total.plus(Exact(value, 1).times(Exact(time, 1)))
        return total.numerators


def _blended() -> pl.Expr:
    """Whether a record is priced at the blend of its wall time, since it states its quantity or
    its elapsed time."""
    return pl.col("known").is_not_null() | pl.col("elapsed").is_not_null()


def label_names(rate: Rate) -> list[str]:
    """The names of the labels of a rate by time."""
    if rate.pricing == BANDS:
        return ["outside the bands", *(f"in the band {band.name}" for band in rate.bands or ())]
    return ["in business hours", "after hours"]


def _parts(frame: pl.DataFrame, rates: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """Per session: ``time`` and by label ``time_n`` (µs), ``price_n`` (10^-6), ``minimum_n``."""
    labelled, weeks = _labelled(rates, catalogue)
    most = sum(name.startswith("price_") for name in labelled.columns) - 1
    sessions = frame.select(
        "rate", start=pl.col("start").to_physical(), end=pl.col("end").to_physical()
    )
    span = sessions.select(first=pl.col("start").min(), last=pl.col("end").max()).row(0)
    line = time_line(weeks, most, catalogue.timezone, *span)
    priced = labelled.join(line.clocks, on="clock").drop("clock").rename({"number": "clock"})
    sessions = sessions.join(priced, on="rate", how="left", maintain_order="left")
    times = line.time_by_label(sessions)
    # The step does not lengthen the time by which a stated quantity is blended.
    counted = pl.when(_blended()).then(wall_time()).otherwise(stepped(frame))
    time = frame.select(time=counted).to_series()
    added = pl.col("time") - (pl.col("end") - pl.col("start"))
    labels = range(1, line.labels + 1)
    lengthened = (
        pl.concat([sessions, times], how="horizontal")
        .with_columns(time)
        .with_columns(
            (pl.col(f"time_{n}") + pl.when(pl.col("last") == n).then(added).otherwise(0))
            for n in labels
        )
    )
    rest = pl.col("time") - pl.sum_horizontal(f"time_{n}" for n in labels)
    return lengthened.with_columns(time_0=rest)


def _labelled(rates: pl.DataFrame, catalogue: Catalogue) -> tuple[pl.DataFrame, dict[str, Week]]:
    """The clock of each rate with its prices and minimums by label; and the week of each clock."""
    weeks: dict[str, Week] = {}
    labels: list[tuple[str, str, list[tuple[Decimal | None, Decimal | None]]]] = []
    resources = dict(catalogue.items.select("item", "resource").iter_rows())
    stated = {row["resource"]: row for row in catalogue.resources.iter_rows(named=True)}
    for name, body in rates.select("rate", "body").iter_rows():
        rate = Rate.model_validate_json(body)
        if rate.pricing == HOURS:
            # Resources with the same hours and holidays share a clock.
            hours = stated[resources[rate.item]]
            clock = f"hours of {hours['business_hours']} but {hours['holidays']}"
            if clock not in weeks:
                spans = {span["days"]: span["hours"] for span in hours["business_hours"]}
                closed = [1 - label for label in week_of([spans])]
                weeks[clock] = Week(closed, frozenset(hours["holidays"]), holiday_label=1)
            labels.append((name, clock, [(rate.price, None), (rate.after_hours, None)]))
        else:
            clock, bands = f"bands of {name}", rate.bands or ()
            weeks[clock] = Week(week_of(band.hours for band in bands))
            values = [(rate.price, rate.minimum), *((band.price, band.minimum) for band in bands)]
            labels.append((name, clock, values))
    most = max(len(values) for _, _, values in labels)
    columns: dict[str, list[object]] = {
        "rate": [name for name, _, _ in labels],
        "clock": [clock for _, clock, _ in labels],
    }
    for n in range(most):
        nth = [values[n] if n < len(values) else (None, None) for _, _, values in labels]
        columns[f"price_{n}"] = [_scaled(price, PRICE_PLACES) for price, _ in nth]
        columns[f"minimum_{n}"] = [_scaled(least, catalogue.places) for _, least in nth]
    return pl.DataFrame(columns), weeks


def _scaled(value: Decimal | None, places: int) -> int:
    return int((value or Decimal(0)).scaleb(places))


_GROUP = ("project", "reference", "item", "month")
_OF_TIERED = (
    "rate",
    "prices",
    "project",
    "reference",
    "item",
    "charge",
    "date",
    "end",
    "booked_end",
)
_ONE_PRICE_PLACE = Decimal(1).scaleb(-PRICE_PLACES)


def tier_amounts(
    frame: pl.DataFrame, counted: Quantities, catalogue: Catalogue
) -> tuple[pl.Series, pl.Series]:
    """The amounts (minor units) of records under rates with tiers, null elsewhere, and the price
    of the tier if one price holds for all of a charge.

    Parameters
    ----------
    frame
        All the rated records, with ``prices`` (the way in which each is priced); records under
        other rates count towards a project's quantity too.
    """
    amounts = pl.repeat(None, frame.height, dtype=pl.Int64, eager=True)
    prices = pl.repeat(None, frame.height, dtype=pl.Int64, eager=True)
    for group in _tiered(frame, counted, catalogue):
        if group.tiers.mode == "graduated":
            total = Exact(pl.zeros(group.reached.height, dtype=pl.Int64, eager=True), 1)
            for _, part, price in _graduated(group):
                total = total.plus(part.times(price))
        else:
            reached = _volume_price(group.reached["whole"], group.tiers, group.denominator)
            quantity = Exact(group.reached["quantity"], group.denominator)
            total = quantity.times(Exact(reached, 10**PRICE_PLACES))
            prices = prices.scatter(group.at, reached)
        amounts = amounts.scatter(group.at, total.rounded(catalogue.places))
    return amounts, (prices.cast(pl.Decimal(38, 0)) * _ONE_PRICE_PLACE).cast(PRICE)


def graduated_parts(
    frame: pl.DataFrame, counted: Quantities, catalogue: Catalogue
) -> Iterator[tuple[pl.Series, str, Exact, Exact]]:
    """Tier by tier of the graduated rates: the records' places in the frame, the name of the
    tier, the part of each record in it, and its price; parameters as in :func:`tier_amounts`."""
    for group in _tiered(frame, counted, catalogue):
        if group.tiers.mode == "graduated":
            for name, part, price in _graduated(group):
                yield group.at, name, part, price


@dataclass(frozen=True)
class _Tiered:
    """The records under one rate: their places in the frame, and the quantities reached."""

    tiers: Tiers
    at: pl.Series
    reached: pl.DataFrame
    denominator: int


def _tiered(frame: pl.DataFrame, counted: Quantities, catalogue: Catalogue) -> Iterator[_Tiered]:
    tiered = frame.select("rate", "item").filter(frame["prices"] == TIERS)
    if tiered.height == 0:
        return
    # The other records have no part in the sums, and their digits no place in the denominator.
    same_items = frame["item"].is_in(tiered["item"].unique().implode())
    counted = counted.filter(same_items)
    frame = frame.select(*_OF_TIERED).with_row_index("at").filter(same_items)
    used = catalogue.rates.join(tiered.select("rate").unique(), on="rate", how="semi")
    stated = [
        (name, Rate.model_validate_json(body)) for name, body in used.select("rate", "body").rows()
    ]
    bounds = [step.up_to for _, rate in stated for step in _tiers(rate).steps if step.up_to]
    quantity = counted.joined()
    quantity = quantity.over(
        lcm(quantity.denominator, *(bound.as_integer_ratio()[1] for bound in bounds))
    )
    reached = _reached(frame, quantity, catalogue.timezone)
    for name, rate in stated:
        tiers = _tiers(rate)
        mine = (frame["rate"] == name) & (frame["prices"] == TIERS)
        at, own = frame["at"].filter(mine), reached.filter(mine)
        if tiers.per == "charge":
            alone = pl.col("quantity")
            own = own.select("quantity", before=alone - alone, after=alone, whole=alone)
        yield _Tiered(tiers, at, own, quantity.denominator)


def _tiers(rate: Rate) -> Tiers:
    if rate.tiers is None:
        raise TypeError(f"the rate {rate.fingerprint} has no tiers")
    return rate.tiers


def _reached(frame: pl.DataFrame, quantity: Exact, timezone: str) -> pl.DataFrame:
    """Per record its ``quantity``, the project's quantity ``before`` and ``after`` it in the
    month, and the month's ``whole``; numerators of the quantity's denominator."""
    day_ends = day_start(pl.col("date").dt.offset_by("1d"), timezone)
    month = period_of(closing_date(ends(), pl.col("date"), timezone))
    # Sums may pass 64 bits where no quantity does.
    wide = quantity.numerators.cast(pl.Int128)
    return (
        frame.select(
            "project", "reference", "item", "charge",
            month=month, ends=pl.coalesce(ends(), day_ends), quantity=wide,
        )
        .with_row_index("place")
        .sort("ends", "charge", "place")
        .with_columns(
            after=pl.col("quantity").cum_sum().over(_GROUP),
            whole=pl.col("quantity").sum().over(_GROUP),
        )
        .with_columns(before=pl.col("after") - pl.col("quantity"))
        .sort("place")
        .select("quantity", "before", "after", "whole")
    )  # fmt: skip


def _graduated(group: _Tiered) -> Iterator[tuple[str, Exact, Exact]]:
    """Each tier's name, the part of each record in it, and its price."""
    nothing = _whole_number(Decimal(0), group.denominator)
    lower, name = nothing, "beyond"
    for step in group.tiers.steps:
        upper = pl.col("after")
        if step.up_to is not None:
            bound, text = _whole_number(step.up_to, group.denominator), plain_text(step.up_to)
            upper, name = pl.min_horizontal("after", bound), f"up to {text}"
        part = group.reached.select(
            part=pl.max_horizontal(upper - pl.max_horizontal("before", lower), nothing)
        )["part"]
        price = pl.repeat(int(step.price.scaleb(PRICE_PLACES)), part.len(), eager=True)
        yield name, Exact(part, group.denominator), Exact(price, 10**PRICE_PLACES)
        if step.up_to is not None:
            lower, name = bound, f"beyond {text}"


def _volume_price(whole: pl.Series, tiers: Tiers, denominator: int) -> pl.Series:
    """The price (10^-6) of the tier that a quantity reaches."""
    chosen = pl.lit(int(tiers.steps[-1].price.scaleb(PRICE_PLACES)), dtype=pl.Int64)
    for step in reversed(tiers.steps[:-1]):
        bound = _whole_number(step.up_to or Decimal(0), denominator)
        price = int(step.price.scaleb(PRICE_PLACES))
        chosen = pl.when(pl.col("whole") <= bound).then(price).otherwise(chosen)
    return pl.DataFrame({"whole": whole}).select(price=chosen)["price"]


def _whole_number(value: Decimal, denominator: int) -> pl.Expr:
    above, below = value.as_integer_ratio()
    return pl.lit(pl.Series([above * (denominator // below)], dtype=pl.Int128)).first()
