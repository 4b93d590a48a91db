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

Hours of the week: business hours of a resource, bands of a rate.

    business_hours: {mon-fri: "08:00-18:00", sat: "10:00-14:00"}
    hours:          {fri-sat: "20:00-02:00"}     a band may pass midnight into the next day

A week is 10,080 minutes from Monday 00:00, each with a label; whatever is said about hours
comes down to such a list, and the clock (pricing/clock.py) needs nothing else.

A period: one calendar month on the facility's wall clock.

Usage belongs to the period in which it ends; an end at midnight sharp belongs to the day, and
so the month, that it closes.

    America/New_York 2020-04   from 2020-04-01T04:00Z   to 2020-05-01T04:00Z
    a session until 2020-05-01T00:00-04:00 belongs to 2020-04

Usage across a month's end: whole in the month in which it ends, or cut at midnight.

A facility that says ``crossing: split`` charges each month its own part:

    04-30 22:00 to 05-01 03:00     April  04-30 22:00 to midnight, 2 h
                                   May    midnight to 05-01 03:00, 3 h

Only what the clock counts can be cut. A record that states its quantity, or has no start and
end, stays whole.
"""

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Self
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import AfterValidator

from billing_lib.errors import BillingError, InvalidPeriod

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES


def days_named(text: str) -> list[int]:
    """The days that a key such as ``mon-fri`` or ``sat`` names, Monday 0.

    Raises
    ------
    ValueError
        It names none.
    """
    first, dash, last = text.partition("-")
    if first not in DAYS or (dash and last not in DAYS):
        raise ValueError(f"'{text}' names no days; write them as mon, sat-sun or mon-fri")
    start = DAYS.index(first)
    length = (DAYS.index(last) - start) % 7 if dash else 0
    return [(start + at) % 7 for at in range(length + 1)]


def span_minutes(text: str) -> tuple[int, int]:
    """The minutes of the day between which a span such as ``08:00-18:00`` lies.

    Raises
    ------
    ValueError
        It is no span of time, or starts where it ends.
    """
    match = re.fullmatch(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})", text)
    if match is None:
        raise ValueError(f"'{text}' is not a span of hours; write it as \"08:00-18:00\"")
    first_hour, first_minute, last_hour, last_minute = (int(part) for part in match.groups())
    start, end = first_hour * 60 + first_minute, last_hour * 60 + last_minute
    if first_minute > 59 or last_minute > 59 or start >= DAY_MINUTES or end > DAY_MINUTES:
        raise ValueError(f"'{text}' is not a span of hours; a day is 00:00 to 24:00")
    if start == end:
        raise ValueError(f"the hours '{text}' end when they start; a whole day is \"00:00-24:00\"")
    return start, end


def _spans(hours: Mapping[str, str]) -> Mapping[str, str]:
    named: set[int] = set()
    for days, span in hours.items():
        listed = days_named(days)
        twice = named.intersection(listed)
        if twice:
            raise ValueError(f"the hours of {DAYS[min(twice)]} are stated twice")
        named.update(listed)
        span_minutes(span)
    return hours


def _within_days(hours: Mapping[str, str]) -> Mapping[str, str]:
    for span in hours.values():
        start, end = span_minutes(span)
        if end < start:
            raise ValueError(f"the hours '{span}' end before they start")
    return hours


BandHours = Annotated[dict[str, str], AfterValidator(_spans)]
"""Hours that may pass midnight."""

BusinessHours = Annotated[dict[str, str], AfterValidator(_spans), AfterValidator(_within_days)]
"""Hours within each day."""


def week_of(layers: Iterable[Mapping[str, str]]) -> list[int]:
    """The week's minutes, each with the number of the first layer that holds it, from 1; else 0.

    Parameters
    ----------
    layers
        Hours by days, the first before the later.
    """
    week = [0] * WEEK_MINUTES
    for number, hours in enumerate(layers, start=1):
        for minute in _minutes(hours):
            week[minute] = week[minute] or number
    return week


def _minutes(hours: Mapping[str, str]) -> Iterable[int]:
    for days, span in hours.items():
        start, end = span_minutes(span)
        length = end - start if end > start else end - start + DAY_MINUTES
        for day in days_named(days):
            for minute in range(length):
                yield (day * DAY_MINUTES + start + minute) % WEEK_MINUTES


def turns_of_day(week: Sequence[int]) -> list[int]:
    """The minutes of a day at which the label may change, with midnight among them."""
    turns = {at % DAY_MINUTES for at in range(WEEK_MINUTES) if week[at] != week[at - 1]}
    return sorted(turns | {0})


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


@dataclass(frozen=True, order=True)
class Period:
    """A month, ``YYYY-MM``."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The period that ``YYYY-MM`` names.

        Raises
        ------
        InvalidPeriod
            It names none.
        """
        match = re.fullmatch(r"([0-9]{4})-(0[1-9]|1[0-2])", text)
        if match is None or match[1] in ("0000", "9999"):
            raise InvalidPeriod(
                f"'{text}' is not a period", remedy="write a month as YYYY-MM, such as 2020-04"
            )
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"

    @property
    def first_day(self) -> dt.date:
        """The first day."""
        return dt.date(self.year, self.month, 1)

    @property
    def last_day(self) -> dt.date:
        """The last day."""
        return self.next.first_day - dt.timedelta(days=1)

    @property
    def next(self) -> "Period":
        """The month after."""
        return Period(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def previous(self) -> "Period":
        """The month before."""
        return Period(self.year - (self.month == 1), (self.month - 2) % 12 + 1)

    def end(self, timezone: str) -> dt.datetime:
        """The instant at which the period is over, in UTC."""
        midnight = dt.datetime.combine(self.next.first_day, dt.time(), ZoneInfo(timezone))
        return midnight.astimezone(dt.UTC)

    def require_over(self, now: dt.datetime, timezone: str) -> None:
        """Refuse a period that is not over yet.

        Raises
        ------
        InvalidPeriod
            ``now`` (an instant) lies before its end.
        """
        if now < self.end(timezone):
            raise InvalidPeriod(
                f"the period {self} is not over before {self.next.first_day} ({timezone})",
                remedy="issue it when it is over",
            )


_MICROSECONDS_PER_DAY = 86_400_000_000
_MANY = 1_000
"""Instants from which on the days' starts are worth the work."""
_LONG = dt.timedelta(days=4_000)


def local_date(instant: pl.Expr, timezone: str) -> pl.Expr:
    """The day on the facility's wall clock at an instant."""
    return instant.dt.convert_time_zone(timezone).dt.date()


def local_dates(instants: pl.Series, timezone: str, *, before: bool = False) -> pl.Series:
    """The same of a column of instants (microseconds, UTC), fast where there are many.

    Parameters
    ----------
    before
        Take the day of the microsecond before each: the day that an instant closes.
    """
    if before:
        instants = instants.dt.offset_by("-1us")
    starts = _day_starts(instants, timezone) if instants.len() > _MANY else None
    if starts is None:
        return instants.to_frame("at").select(local_date(pl.col("at"), timezone)).to_series()
    bounds, at = starts["start"].to_physical(), instants.to_physical()
    # Days are 24 hours but for some: the day guessed by that is at most one off.
    guess: pl.Series = ((at - bounds[0]) // _MICROSECONDS_PER_DAY).cast(pl.UInt32)
    ahead = (bounds[guess] > at).cast(pl.UInt32)
    behind = (bounds[guess + 1] <= at).cast(pl.UInt32)
    return starts["day"][guess - ahead + behind]


def _day_starts(instants: pl.Series, timezone: str) -> pl.DataFrame | None:
    """The days around some instants and when each starts; None where there are too many, or
    where the clock is changed over some midnight, so that a day has not one start."""
    first, last = instants.min(), instants.max()
    if not isinstance(first, dt.datetime) or not isinstance(last, dt.datetime):
        return None
    if last - first > _LONG or first.year < 2 or last.year > 9998:
        return None
    around = pl.date_range(
        (first - dt.timedelta(days=2)).date(), (last + dt.timedelta(days=3)).date(), eager=True
    )
    midnights = pl.select(
        day=around,
        start=around.cast(pl.Datetime("us"))
        .dt.replace_time_zone(timezone, ambiguous="null", non_existent="null")
        .dt.convert_time_zone("UTC"),
    )
    return midnights if midnights["start"].null_count() == 0 else None


def closing_date(frame_end: pl.Expr, date: pl.Expr, timezone: str) -> pl.Expr:
    """The day to which usage belongs: the one its end closes, else its stated date."""
    end_day = local_date(frame_end.dt.offset_by("-1us"), timezone)
    return pl.coalesce(end_day, date)


def period_of(day: pl.Expr) -> pl.Expr:
    """The period of a day, as ``YYYY-MM``."""
    return day.dt.strftime("%Y-%m")


def day_start(day: pl.Expr, timezone: str) -> pl.Expr:
    """The instant at which a day starts on the facility's wall clock, in UTC.

    Where a change of the clock skips midnight, or the whole day, it is the first instant after.
    """
    midnight = day.cast(pl.Datetime("us"))
    tries = (
        midnight.dt.offset_by(later).dt.replace_time_zone(
            timezone, ambiguous="earliest", non_existent="null"
        )
        for later in ("0h", "1h", "24h")
    )
    return pl.coalesce(*tries).dt.convert_time_zone("UTC")


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
