"""The clock: how much of a session lies in which hours, by one look-up per end.

A clock labels every instant: 0 in a resource's business hours, 1 outside them; or 0, 1, 2 … for
the rest of the week and the bands of a rate. Laid along UTC the label is constant between few
turns, and beside each turn stands how much time every label has had until then:

    UTC from               label   label 1 until then
    2020-03-06 13:00  Fri  0       5 d 8 h              open at 08:00 in New York
    2020-03-06 23:00  Fri  1       5 d 8 h              closed at 18:00
    2020-03-09 12:00  Mon  0       7 d 21 h             open, an hour of DST later

So the time of a session under a label is what had passed at its end less what had at its start,
whatever lies between: nights, weekends, holidays, both changes of daylight-saving time.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from billing_lib.errors import BillingError
from billing_lib.pricing.hours import DAY_MINUTES, turns_of_day

_MINUTE = 60_000_000
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_LARGEST_KEY = 2**62


class SpanTooLong(BillingError):
    """Sessions so far apart that the turns between them cannot be numbered."""


@dataclass(frozen=True)
class Week:
    """A clock's labels: by minute of the week from Monday, and one for all of some days."""

    minutes: Sequence[int]
    holidays: frozenset[dt.date] = frozenset()
    holiday_label: int = 0


@dataclass(frozen=True)
class TimeLine:
    """The turns of several clocks over some years, one clock after the other.

    Attributes
    ----------
    clocks
        ``clock`` (its name) and ``number``.
    labels
        How many labels there are besides 0.
    """

    clocks: pl.DataFrame
    labels: int
    _origin: int
    _length: int
    _keys: pl.Series
    _turns: pl.DataFrame  # label; base_1, in_1 … : time of label n until t is base_n + in_n × t

    def time_by_label(self, sessions: pl.DataFrame) -> pl.DataFrame:
        """How long each session was under each label.

        Parameters
        ----------
        sessions
            ``clock`` (a number of ``clocks``), ``start``, ``end`` (µs since 1970).

        Returns
        -------
        pl.DataFrame
            ``time_1`` … ``time_n`` (µs) and ``last``, the label of the last instant used.
        """
        shift = pl.col("clock") * self._length - self._origin
        start, end = sessions.select(pl.col("start") + shift, pl.col("end") + shift)
        at_start = self._turns[self._keys.search_sorted(start, side="right") - 1]
        at_end_index = self._keys.search_sorted(end, side="right") - 1
        at_end = self._turns[at_end_index]
        last = self._turns["label"].gather(self._keys.search_sorted(end, side="left") - 1)
        times = [
            (
                at_end[f"base_{n}"]
                + at_end[f"in_{n}"] * sessions["end"]
                - at_start[f"base_{n}"]
                - at_start[f"in_{n}"] * sessions["start"]
            ).alias(f"time_{n}")
            for n in range(1, self.labels + 1)
        ]
        return pl.DataFrame([*times, last.alias("last")])


def time_line(
    weeks: Mapping[str, Week], labels: int, timezone: str, first: int, last: int
) -> TimeLine:
    """The turns of these clocks between two instants.

    Parameters
    ----------
    weeks
        By the clock's name.
    labels
        How many labels there are at most besides 0.
    timezone
        The facility's.
    first, last
        µs since 1970.

    Raises
    ------
    SpanTooLong
        There are too many clocks for so many years.
    """
    origin, end = first - 2 * _DAY, last + 2 * _DAY
    length = end - origin
    if (len(weeks) + 1) * length > _LARGEST_KEY:
        raise SpanTooLong(
            f"sessions lie {length // (365 * _DAY)} years apart", remedy="check their times"
        )
    offsets, changes = _offsets(timezone, origin, end)
    turns, keys = [], []
    for number, week in enumerate(weeks.values()):
        instants = _instants(week, offsets, changes, origin, end)
        line = _with_times(_labelled(week, instants, timezone), labels)
        keys.append(line["instant"] + (number * length - origin))
        turns.append(line.drop("instant"))
    names = pl.DataFrame({"clock": list(weeks), "number": range(len(weeks))}).cast(
        {"number": pl.Int64}
    )
    return TimeLine(names, labels, origin, length, pl.concat(keys), pl.concat(turns))


def _offsets(timezone: str, origin: int, end: int) -> tuple[list[int], list[int]]:
    """The zone's offsets from UTC between two instants, and the instants at which they change."""
    hours = pl.int_range(origin // _HOUR * _HOUR, end + _HOUR, _HOUR, eager=True).alias("utc")
    hourly = _with_offset(hours, timezone)
    changed = hourly.filter(pl.col("offset") != pl.col("offset").shift(1))
    changes = []
    for hour, offset in changed.rows():
        seconds = pl.int_range(hour - _HOUR, hour + 1, 1_000_000, eager=True).alias("utc")
        after = _with_offset(seconds, timezone).filter(pl.col("offset") == offset)
        changes.append(int(after["utc"][0]))
    return hourly["offset"].unique().sort().to_list(), changes


def _with_offset(utc: pl.Series, timezone: str) -> pl.DataFrame:
    local = _local(pl.col("utc"), timezone)
    return pl.DataFrame(utc).with_columns(offset=local.to_physical() - pl.col("utc"))


def _local(utc: pl.Expr, timezone: str) -> pl.Expr:
    zoned = utc.cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(timezone)
    return zoned.dt.replace_time_zone(None)


def _instants(
    week: Week, offsets: list[int], changes: list[int], origin: int, end: int
) -> pl.Series:
    """Every instant at which the label may change: a turn of the day under any offset of the
    zone, or a change of the offset."""
    days = pl.int_range(origin // _DAY * _DAY - _DAY, end + 2 * _DAY, _DAY, eager=True)
    turns = [
        days + (minute * _MINUTE - offset)
        for minute in turns_of_day(week.minutes)
        for offset in offsets
    ]
    instants = pl.concat([*turns, pl.Series([origin, *changes], dtype=pl.Int64)])
    return instants.filter((instants >= origin) & (instants < end)).unique().sort()


def _labelled(week: Week, instants: pl.Series, timezone: str) -> pl.DataFrame:
    local = _local(pl.col("instant"), timezone)
    weekday = local.dt.weekday().cast(pl.Int64) - 1
    minute = (
        weekday * DAY_MINUTES
        + local.dt.hour().cast(pl.Int64) * 60
        + local.dt.minute().cast(pl.Int64)
    )
    frame = pl.DataFrame({"instant": instants})
    minutes = pl.Series(week.minutes, dtype=pl.Int64)
    label = minutes.gather(frame.select(minute).to_series())
    on_holiday = frame.select(local.dt.date().is_in(sorted(week.holidays))).to_series()
    holiday = pl.Series([week.holiday_label], dtype=pl.Int64)
    labelled = frame.with_columns(label=label.zip_with(~on_holiday, holiday))
    turning = pl.col("label").ne_missing(pl.col("label").shift(1))
    return labelled.filter(turning)


def _with_times(line: pl.DataFrame, labels: int) -> pl.DataFrame:
    length = (pl.col("instant").shift(-1) - pl.col("instant")).fill_null(0)
    columns = []
    for n in range(1, labels + 1):
        inside = pl.col("label") == n
        passed = pl.when(inside).then(length).otherwise(0)
        until = passed.cum_sum() - passed
        base = until - pl.when(inside).then(pl.col("instant")).otherwise(0)
        columns += [base.alias(f"base_{n}"), inside.cast(pl.Int64).alias(f"in_{n}")]
    return line.with_columns(columns)
