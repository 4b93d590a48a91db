"""Prices by time: a session's hours, each at the price of the hours in which they lie.

    17:00 to 20:00, open until 18:00, 40.00 and 25.00 after:
    (40.00 × 1 h + 25.00 × 2 h) × units = 90.00, which is 30.000000 an hour

A rate with after hours has the labels 0 and 1 of its resource's clock, a rate with bands those
of its own (pricing/clock.py). A stated quantity takes the same blend of its elapsed time.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import polars as pl

from billing_lib.pricing.catalogue import Catalogue
from billing_lib.pricing.clock import Week, time_line
from billing_lib.pricing.exact import Exact
from billing_lib.pricing.hours import week_of
from billing_lib.pricing.money import PRICE_PLACES
from billing_lib.pricing.quantities import MICROSECONDS_PER_HOUR, elapsed, stepped
from billing_lib.pricing.rates import BANDS, HOURS, Rate

_PRICE_UNIT = 10**PRICE_PLACES


class Blends:
    """Sessions under rates that price by time, and what each hour of them costs.

    Parameters
    ----------
    frame
        Rated usage with start before end, each under a rate of ``hours`` or ``bands``, with
        ``step``, ``units``, ``known`` (the quantity that is stated, a Decimal; null where the
        clock counts).
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
        """Label by label the quantity in millionths, its price (10^-6), and what it comes to in
        whole numbers of 10^-places, each rounded by itself."""
        for label in range(self._labels):
            price, time = self.parts[f"price_{label}"], Exact(self.parts[f"time_{label}"], 1)
            one = pl.repeat(_PRICE_UNIT, price.len(), dtype=pl.Int64, eager=True)
            quantity = self._amounts(time.times(Exact(one, 1)).numerators, PRICE_PLACES)
            amount = self._amounts(time.times(Exact(price, 1)).numerators, places)
            yield quantity, price, amount

    def _amounts(self, weighted: pl.Series, places: int) -> pl.Series:
        counted = self._frame["known"].is_null()
        nothing = pl.Series([None], dtype=weighted.dtype)
        timed = Exact(
            weighted.zip_with(counted, nothing), MICROSECONDS_PER_HOUR * _PRICE_UNIT
        ).times(Exact.of_decimals(self._frame["units"].fill_null(1)))
        stated = Exact.of_decimals(self._frame["known"]).times_ratio(
            weighted, self._time, _PRICE_UNIT, places
        )
        return timed.rounded(places).zip_with(counted, stated)

    def effective_rates(self) -> pl.Series:
        """The blended prices, in whole numbers of 10^-6."""
        return self._one.times_ratio(self._weighted("price"), self._time, 1, 0)

    def minimums(self) -> pl.Series:
        """The mean of the minimums, weighted by time, rounded to minor units."""
        return self._one.times_ratio(self._weighted("minimum"), self._time, 1, 0)

    @property
    def _one(self) -> Exact:
        return Exact(pl.repeat(1, self._frame.height, dtype=pl.Int64, eager=True), 1)

    def _weighted(self, what: str) -> pl.Series:
        """Σ price × time over the labels."""
        total = Exact(pl.zeros(self._frame.height, dtype=pl.Int64, eager=True), 1)
        for label in range(self._labels):
            value, time = self.parts[f"{what}_{label}"], self.parts[f"time_{label}"]
            total = total.plus(Exact(value, 1).times(Exact(time, 1)))
        return total.numerators


def label_names(rate: Rate) -> list[str]:
    """What the labels of a rate that prices by time are called."""
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
    known = pl.col("known").is_not_null()
    # A stated quantity takes the blend of its elapsed time, which no step lengthens.
    time = frame.select(time=pl.when(known).then(elapsed()).otherwise(stepped())).to_series()
    added = pl.col("time") - (pl.col("end") - pl.col("start"))
    labels = range(1, line.labels + 1)
    stretched = (
        pl.concat([sessions, times], how="horizontal")
        .with_columns(time)
        .with_columns(
            (pl.col(f"time_{n}") + pl.when(pl.col("last") == n).then(added).otherwise(0))
            for n in labels
        )
    )
    rest = pl.col("time") - pl.sum_horizontal(f"time_{n}" for n in labels)
    return stretched.with_columns(time_0=rest)


def _labelled(rates: pl.DataFrame, catalogue: Catalogue) -> tuple[pl.DataFrame, dict[str, Week]]:
    """By rate its clock, prices and minimums by label; and the week of each clock."""
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
                weeks[clock] = _business_week(hours)
            labels.append((name, clock, [(rate.price, None), (rate.after_hours, None)]))
        else:
            clock, bands = f"bands of {name}", rate.bands or ()
            weeks[clock] = Week(week_of(band.hours for band in bands))
            values = [(rate.price, rate.minimum), *((it.price, it.minimum) for it in bands)]
            labels.append((name, clock, values))
    most = max(len(values) for _, _, values in labels)
    columns: dict[str, list[object]] = {
        "rate": [name for name, _, _ in labels],
        "clock": [clock for _, clock, _ in labels],
    }
    for n in range(most):
        here = [values[n] if n < len(values) else (None, None) for _, _, values in labels]
        columns[f"price_{n}"] = [_scaled(price, PRICE_PLACES) for price, _ in here]
        columns[f"minimum_{n}"] = [_scaled(least, catalogue.places) for _, least in here]
    return pl.DataFrame(columns), weeks


def _scaled(value: Decimal | None, places: int) -> int:
    return int((value or Decimal(0)).scaleb(places))


def _business_week(resource: dict[str, Any]) -> Week:
    open_minutes = week_of([{span["days"]: span["hours"] for span in resource["business_hours"]}])
    return Week([1 - label for label in open_minutes], frozenset(resource["holidays"]), 1)
