"""Hours of the week: business hours of a resource, bands of a rate.

    business_hours: {mon-fri: "08:00-18:00", sat: "10:00-14:00"}
    hours:          {fri-sat: "20:00-02:00"}     a band may pass midnight into the next day

A week is 10,080 minutes from Monday 00:00, each with a label; whatever is said about hours
comes down to such a list, and the clock (pricing/clock.py) needs nothing else.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator

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
