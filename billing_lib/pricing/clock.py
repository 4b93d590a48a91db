"""The facility's clock: hours of the week, time under each label, days, and months.

Hours (of a resource, or of a rate's band) become a week of 10,080 minutes from Monday 00:00, each
with a label: 0 in business hours, 1 outside them; or 0, 1, 2 … for the rest and the bands.

    business_hours: {mon-fri: "08:00-18:00", sat: "10:00-14:00"}
    hours:          {fri-sat: "20:00-02:00"}     a band may pass midnight into the next day

Along UTC the label changes at few turns. Each turn has the time of every label until then, so the
time of a session under a label is one difference, across nights, holidays and both changes of
daylight-saving time:

    UTC from               label   label 1 until then
    2020-03-06 13:00  Fri  0       5 d 8 h              open at 08:00 in New York
    2020-03-06 23:00  Fri  1       5 d 8 h              closed at 18:00
    2020-03-09 12:00  Mon  0       7 d 21 h             open, an hour of DST later

Usage belongs to the month (the period) in which it ends; an end at midnight sharp belongs to the
day that it closes. With ``crossing: split`` timed usage is cut at the month's end instead; a
record with a stated quantity or a booking, or without start and end, stays whole; a stated elapsed
time is shared by the time from start to end, to the microsecond:

    04-30 22:00 to 05-01 03:00     April  04-30 22:00 to midnight, 2 h
                                   May    midnight to 05-01 03:00, 3 h
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


def _days(text: str) -> list[int]:
    """The days of a key such as ``mon-fri`` or ``sat``, Monday 0."""
    first, dash, last = text.partition("-")
    if first not in DAYS or (dash and last not in DAYS):
        raise ValueError(f"'{text}' names no days; write them as mon, sat-sun or mon-fri")
    start = DAYS.index(first)
    length = (DAYS.index(last) - start) % 7 if dash else 0
    return [(start + at) % 7 for at in range(length + 1)]


def _span(text: str) -> tuple[int, int]:
    """The first and last minute of the day of a span such as ``08:00-18:00``."""
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
        twice = named.intersection(_days(days))
        if twice:
            raise ValueError(f"the hours of {DAYS[min(twice)]} are stated twice")
        named.update(_days(days))
        _span(span)
    return hours


def _within_days(hours: Mapping[str, str]) -> Mapping[str, str]:
    for span in hours.values():
        start, end = _span(span)
        if end < start:
            raise ValueError(f"the hours '{span}' end before they start")
    return hours


BandHours = Annotated[dict[str, str], AfterValidator(_spans)]
"""Hours that may pass midnight."""

BusinessHours = Annotated[dict[str, str], AfterValidator(_spans), AfterValidator(_within_days)]
"""Hours within each day."""


def week_of(layers: Iterable[Mapping[str, str]]) -> list[int]:
    """The week's minutes, each with the number of its first layer, from 1; 0 without a layer.

    A layer is hours by days.
    """
    week = [0] * WEEK_MINUTES
    for number, hours in enumerate(layers, start=1):
        for minute in _minutes(hours):
            week[minute] = week[minute] or number
    return week


def _minutes(hours: Mapping[str, str]) -> Iterable[int]:
    for days, span in hours.items():
        start, end = _span(span)
        length = end - start if end > start else end - start + DAY_MINUTES
        for day in _days(days):
            for minute in range(length):
                yield (day * DAY_MINUTES + start + minute) % WEEK_MINUTES


_MINUTE = 60_000_000  # microseconds, as are the next two
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_LARGEST_KEY = 2**62


class SpanTooLong(BillingError):
    """Sessions lie so far apart that the turns between them cannot be numbered."""


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
        The number of labels besides 0.
    """

    clocks: pl.DataFrame
    labels: int
    _origin: int
    _length: int
    _keys: pl.Series
    _turns: pl.DataFrame  # label; base_1, in_1 … : time of label n until t is base_n + in_n × t

    def time_by_label(self, sessions: pl.DataFrame) -> pl.DataFrame:
        """The time of each session under each label.

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
    """The turns of clocks between two instants.

    Parameters
    ----------
    weeks
        By the clock's name.
    labels
        The largest number of labels besides 0.
    first, last
        µs since 1970.
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
    """Every instant at which the label may change: midnight or a turn of the day under any offset
    of the zone, or a change of the offset."""
    days = pl.int_range(origin // _DAY * _DAY - _DAY, end + 2 * _DAY, _DAY, eager=True)
    minutes = week.minutes
    turns_of_day = {
        at % DAY_MINUTES for at in range(WEEK_MINUTES) if minutes[at] != minutes[at - 1]
    }
    turns = [
        days + (minute * _MINUTE - offset)
        for minute in sorted(turns_of_day | {0})
        for offset in offsets
    ]
    instants = pl.concat([*turns, pl.Series([origin, *changes], dtype=pl.Int64)])
    return instants.filter((instants >= origin) & (instants < end)).unique().sort()


def _labelled(week: Week, instants: pl.Series, timezone: str) -> pl.DataFrame:
    local = _local(pl.col("instant"), timezone)
    weekday, hour, minute = (
        part.cast(pl.Int64) for part in (local.dt.weekday(), local.dt.hour(), local.dt.minute())
    )
    frame = pl.DataFrame({"instant": instants})
    minutes = frame.select((weekday - 1) * DAY_MINUTES + hour * 60 + minute).to_series()
    label = pl.lit(pl.Series(week.minutes, dtype=pl.Int64).gather(minutes))
    on_holiday = local.dt.date().is_in(sorted(week.holidays))
    labelled = frame.with_columns(
        label=pl.when(on_holiday).then(week.holiday_label).otherwise(label).cast(pl.Int64)
    )
    return labelled.filter(pl.col("label").ne_missing(pl.col("label").shift(1)))


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
        """The period of a text ``YYYY-MM``.

        Raises
        ------
        InvalidPeriod
            The text is not of this form.
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
        """Refuse a period that is not over yet at the instant ``now``."""
        if now < self.end(timezone):
            raise InvalidPeriod(
                f"the period {self} is not over before {self.next.first_day} ({timezone})",
                remedy="wait until it is over",
            )


_MANY = 1_000
"""The number of instants from which on a table of days is faster."""
_LONG = dt.timedelta(days=4_000)


def local_date(instant: pl.Expr, timezone: str) -> pl.Expr:
    """The day on the facility's wall clock at an instant."""
    return instant.dt.convert_time_zone(timezone).dt.date()


def local_dates(instants: pl.Series, timezone: str, *, before: bool = False) -> pl.Series:
    """The days of a column of instants (microseconds, UTC), fast for many.

    With ``before`` the days of the microsecond before each: the days that the instants close.
    """
    if before:
        instants = instants.dt.offset_by("-1us")
    starts = _day_starts(instants, timezone) if instants.len() > _MANY else None
    if starts is None:
        return instants.to_frame("at").select(local_date(pl.col("at"), timezone)).to_series()
    bounds, at = starts["start"].to_physical(), instants.to_physical()
    # Nearly all days have 24 hours, so the guessed day is at most one off.
    guess: pl.Series = ((at - bounds[0]) // _DAY).cast(pl.UInt32)
    ahead = (bounds[guess] > at).cast(pl.UInt32)
    behind = (bounds[guess + 1] <= at).cast(pl.UInt32)
    return starts["day"][guess - ahead + behind]


def _day_starts(instants: pl.Series, timezone: str) -> pl.DataFrame | None:
    """The days around some instants with their starts; None if there are too many, or if the
    clock is changed over a midnight, so that a day does not have one start."""
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


def ends() -> pl.Expr:
    """The instant at which a record ends: that of its booking, if it was not used."""
    return pl.coalesce("end", "booked_end")


def closing_date(frame_end: pl.Expr, date: pl.Expr, timezone: str) -> pl.Expr:
    """The day to which usage belongs: the day that its end closes, else its stated date."""
    end_day = local_date(frame_end.dt.offset_by("-1us"), timezone)
    return pl.coalesce(end_day, date)


def period_of(day: pl.Expr) -> pl.Expr:
    """The period of a day, as ``YYYY-MM``."""
    return day.dt.strftime("%Y-%m")


def day_start(day: pl.Expr, timezone: str) -> pl.Expr:
    """The instant at which a day starts on the facility's wall clock, in UTC.

    If a change of the clock skips midnight, or the whole day, it is the first instant after.
    """
    midnight = day.cast(pl.Datetime("us"))
    tries = (
        midnight.dt.offset_by(later).dt.replace_time_zone(
            timezone, ambiguous="earliest", non_existent="null"
        )
        for later in ("0h", "1h", "24h")
    )
    return pl.coalesce(*tries).dt.convert_time_zone("UTC")


def cut_at_months(usage: pl.DataFrame, timezone: str) -> pl.DataFrame:
    """The usage frame with one row for each month of a record, in the order of time.

    Each part has its own start and end and all else of its record; ``month`` is the first day
    of the part's month, null in a record's last part and in whole records.
    """
    first = local_date(pl.col("start"), timezone).dt.month_start()
    last = closing_date(pl.col("end"), pl.col("date"), timezone).dt.month_start()
    divisible = pl.col("quantity").is_null() & pl.col("booked_end").is_null()
    cut = (pl.col("end") > pl.col("start")) & divisible & (first < last)
    framed = usage.with_columns(_first=first, _last=last).with_columns(
        _months=pl.when(cut.fill_null(value=False))
        .then(pl.date_ranges("_first", "_last", interval="1mo"))
        .otherwise(pl.concat_list(pl.lit(None, dtype=pl.Date)))
    )
    parts = framed.explode("_months")
    opens = day_start(pl.col("_months"), timezone)
    closes = day_start(pl.col("_months").dt.offset_by("1mo"), timezone)
    is_last = pl.col("_months").is_null() | (pl.col("_months") == pl.col("_last"))
    start = pl.coalesce(pl.max_horizontal("start", opens), "start")
    end = pl.when(is_last).then("end").otherwise(closes)
    return parts.with_columns(
        start=start,
        end=end,
        month=pl.when(~is_last).then("_months"),
        elapsed=_part_of_elapsed(start, end) if usage["elapsed"].count() else "elapsed",
    ).select(*usage.columns, "month")


def _part_of_elapsed(start: pl.Expr, end: pl.Expr) -> pl.Expr:
    """A part's share of the stated elapsed time, by the time from start to end: the share reached
    at its end less the share reached at its start, so that the parts' sum is the whole."""

    def micros(span: pl.Expr) -> pl.Expr:
        return span.dt.total_microseconds().cast(pl.Int128)

    whole = micros(pl.col("end") - pl.col("start"))
    stated = pl.col("elapsed").cast(pl.Int128)
    before, after = (stated * micros(at - pl.col("start")) // whole for at in (start, end))
    cut = pl.col("_months").is_not_null() & pl.col("elapsed").is_not_null()
    return pl.when(cut).then((after - before).cast(pl.Int64)).otherwise("elapsed")


def cut_to_period(usage: pl.DataFrame, period: str, timezone: str) -> pl.DataFrame:
    """The usage of one month: of each record across its ends only the part within.

    A record without a part in the month stays as it is.
    """
    parts = cut_at_months(usage.with_row_index("_record"), timezone)
    month = period_of(closing_date(ends(), pl.col("date"), timezone))
    within = parts.filter(month == period)
    outside = parts.filter(pl.col("month").is_null()).join(within, on="_record", how="anti")
    return pl.concat([within, outside]).sort("_record").select(usage.columns)


def cut_with_ids(usage: pl.DataFrame, timezone: str) -> pl.DataFrame:
    """The usage with each part a record of its own: the last part keeps the id, ``u1``, the parts
    before have their month in it, ``u1@2020-04``."""
    parts = cut_at_months(usage, timezone)
    named = pl.format("{}@{}", "record", period_of(pl.col("month")))
    return parts.with_columns(record=pl.coalesce(named, "record")).select(usage.columns)


def with_period(usage_frame: pl.DataFrame, timezone: str) -> pl.DataFrame:
    """Add the ``period`` of each row: the month of its end, else of its date, else of its start.

    It is null for a row without any readable time.
    """
    dated = usage_frame.with_columns(
        period=period_of(closing_date(ends(), pl.col("date"), timezone))
    )
    if dated["period"].null_count() == 0:
        return dated
    begun = period_of(local_date(pl.col("start"), timezone))
    return dated.with_columns(period=pl.coalesce("period", begun))
