"""A period: one calendar month on the facility's wall clock.

Usage belongs to the period in which it ends; an end at midnight sharp belongs to the day, and
so the month, that it closes.

    America/New_York 2020-04   from 2020-04-01T04:00Z   to 2020-05-01T04:00Z
    a session until 2020-05-01T00:00-04:00 belongs to 2020-04
"""

import datetime as dt
import re
from dataclasses import dataclass
from typing import Self
from zoneinfo import ZoneInfo

import polars as pl

from billing_lib.errors import InvalidPeriod


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
