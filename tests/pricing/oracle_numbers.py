"""The oracle's numbers and times: fractions, largest remainders, hours of the week, tiers."""

import datetime as dt
from fractions import Fraction
from math import floor

STEP_SECONDS = {"s": 1, "min": 60, "h": 3600}
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def half_up(value: Fraction) -> int:
    """The nearest whole number, a half away from zero."""
    magnitude = floor(abs(value) + Fraction(1, 2))
    return -magnitude if value < 0 else magnitude


def money(minor: int, places: int) -> str:
    """1250 with two places is 12.50."""
    sign = "-" if minor < 0 else ""
    whole, part = divmod(abs(minor), 10**places)
    return f"{sign}{whole}.{part:0{places}d}" if places else f"{sign}{whole}"


def six_places(value: Fraction) -> str:
    """A quantity as it is shown."""
    millionths = half_up(value * 10**6)
    return money(millionths, 6).rstrip("0").rstrip(".")


def shared(amount: int, weights: list[Fraction]) -> list[int]:
    """The largest remainder, one unit at a time."""
    sign, size, whole = (-1 if amount < 0 else 1), abs(amount), sum(weights)
    if not whole:
        weights, whole = [Fraction(1)] * len(weights), Fraction(len(weights))
    exact = [size * weight / whole for weight in weights]
    parts = [floor(share) for share in exact]
    waiting = list(range(len(parts)))
    while sum(parts) < size:
        first = max(waiting, key=lambda at: (exact[at] - floor(exact[at]), -at))
        parts[first] += 1
        waiting.remove(first)
    return [sign * part for part in parts]


def instant(text: str | None) -> dt.datetime | None:
    """A time with its offset."""
    return None if text is None else dt.datetime.fromisoformat(text)


def seconds(text: str) -> int:
    """A step: 15min is 900."""
    unit = text.lstrip("0123456789")
    return int(text.removesuffix(unit)) * STEP_SECONDS[unit]


def elapsed(text: str) -> Fraction:
    """A stated time in seconds: 90, 01:30:00 or 1-02:00:00."""
    days, _, clock = text.rpartition("-")
    total = Fraction(0)
    for part in clock.split(":"):
        total = total * 60 + Fraction(part)
    return int(days or 0) * 86400 + total


def held(hours: dict, local: dt.datetime) -> bool:
    """Whether hours such as ``{mon-fri: "20:00-02:00"}`` hold a moment of the wall clock."""
    for days, span in hours.items():
        first, _, last = days.partition("-")
        named = [DAYS.index(first)]
        while last and DAYS[named[-1]] != last:
            named.append((named[-1] + 1) % 7)
        opens, closes = span.split("-")
        now, today, yesterday = f"{local:%H:%M}", local.weekday(), (local.weekday() - 1) % 7
        if opens < closes and today in named and opens <= now < closes:
            return True
        if opens > closes and today in named and now >= opens:
            return True
        if opens > closes and yesterday in named and now < closes:
            return True
    return False


def exact(length: dt.timedelta) -> Fraction:
    """A length of time in seconds."""
    return Fraction(length // dt.timedelta(microseconds=1), 10**6)


def next_month(first: dt.date) -> dt.date:
    return (first + dt.timedelta(days=32)).replace(day=1)


def days_of_month(day: dt.date) -> int:
    return (next_month(day.replace(day=1)) - day.replace(day=1)).days


def tiered(tiers: dict, quantity: Fraction, before: Fraction, whole: Fraction) -> Fraction:
    """What a quantity costs by tiers."""
    if tiers.get("per", "charge") == "charge":
        before, whole = Fraction(0), quantity
    if tiers["mode"] == "volume":
        for step in tiers["steps"]:
            if step["up_to"] is None or whole <= Fraction(step["up_to"]):
                return quantity * Fraction(step["price"])
    cost, lower = Fraction(0), Fraction(0)
    for step in tiers["steps"]:
        upper = before + quantity if step["up_to"] is None else Fraction(step["up_to"])
        part = min(before + quantity, upper) - max(before, lower)
        cost += max(part, Fraction(0)) * Fraction(step["price"])
        lower = upper
    return cost
