"""Made-up price books and months of usage, as plain text, for hypothesis to draw and shrink.

Prices have up to six decimals, quantities reach 10^9 with nine, sessions last from nothing to
three weeks (to the microsecond), units reach 10^5, splits go 40 ways with four-place
percentages; rates have after hours, bands or tiers, rules work at every scope. Months with a
change of the clock come often. Some records are wrong in each way that ends in the unbilled
report. ``PRICING_EXAMPLES`` in the environment sets how many months are drawn.

A strategy that is made anew for each draw is checked anew by hypothesis, which takes longer than
drawing; so each is made once (``cache``) and what it is made from is tuples and text.
"""

import calendar
import datetime as dt
import os
from decimal import Decimal
from functools import cache
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple, Self

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("PRICING_EXAMPLES", "5000"))
"""How many months the comparison with the oracle draws."""

PLACES = {"USD": 2, "JPY": 0, "KWD": 3}
ZONES = ("America/New_York", "Asia/Kolkata", "America/Sao_Paulo", "Australia/Lord_Howe", "UTC")
MONTHS = (*range(1, 13), *(3, 4, 10, 11) * 3)
GROUPS = ("internal", "industry")
WHO = {"by": "carol", "at": "2030-01-01T09:00:00+00:00", "reason": "agreed"}
MONTHLY = ("month", "month", "snapshot", "snapshot", "daily_snapshot", "each")
STEPS = ("1s", "7min", "15min", "1h", "24h")


def drawn(examples: int) -> settings:
    """Settings for so many examples; time is not judged."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    return settings(max_examples=examples, deadline=None, suppress_health_check=slow)


@cache
def one_of(*values: Any) -> st.SearchStrategy[Any]:
    """One of these values; those that come oftener are named oftener."""
    return st.sampled_from(values)


@cache
def whole(least: int, most: int) -> st.SearchStrategy[int]:
    """A whole number, both ends included."""
    return st.integers(least, most)


@cache
def some(values: tuple[str, ...], most: int | None = None) -> st.SearchStrategy[list[str]]:
    """At least one of these, each once."""
    return st.lists(one_of(*values), unique=True, min_size=1, max_size=most)


@cache
def decimals(most: int, places: int) -> st.SearchStrategy[str]:
    """Decimal text from 0 to ``most`` with up to so many places; round numbers come often."""
    fine = whole(0, most * 10**places).map(lambda n: f"{Decimal(n).scaleb(-places):f}")
    return st.one_of(whole(0, most).map(str), whole(0, min(most, 20)).map(str), fine)


CUTS = st.one_of(st.just(set()), st.sets(st.integers(1, 999_999), max_size=39))


@cache
@st.composite
def splits(draw: st.DrawFn) -> list[dict]:
    """A split over up to forty codes."""
    cuts = draw(CUTS)
    edges = [0, *sorted(cuts), 1_000_000]
    return [
        {"expense_code": f"c{at:02d}", "percent": f"{Decimal(b - a).scaleb(-4):f}"}
        for at, (a, b) in enumerate(pairwise(edges))
    ]


SPANS = ("08:00-18:00", "00:00-24:00", "01:30-02:30", "02:00-03:00", "23:45-24:00")
NIGHTS = (*SPANS, "20:00-02:00", "18:00-08:00", "23:30-01:45")
ITEMS = (
    {"code": "scope", "name": "Microscope", "unit": "hour", "resource": "room"},
    {"code": "core", "name": "Core-hour", "unit": "hour"},
    {"code": "slide", "name": "Slide", "unit": "each"},
    {"code": "visit", "name": "Visit", "unit": "day"},
    {"code": "disk", "name": "Disk", "unit": "TB"},
)


@cache
@st.composite
def hours(draw: st.DrawFn, spans: tuple[str, ...]) -> dict[str, str]:
    """Hours of some days of the week, each day once."""
    apart = ("mon-fri", "sat", "sun"), ("mon", "tue-thu", "fri-sun"), ("sat-mon", "wed")
    chosen = draw(some(draw(one_of(*apart))))
    return {days: draw(one_of(*spans)) for days in chosen}


BOUNDS = st.sets(st.integers(1, 10**9), max_size=3)


@cache
@st.composite
def steps(draw: st.DrawFn, key: str, values: st.SearchStrategy[str], places: int) -> list[dict]:
    """Steps that rise and end open."""
    bounds = draw(BOUNDS)
    scaled = [f"{Decimal(bound).scaleb(-places):f}" for bound in sorted(bounds)]
    return [{"up_to": bound, key: draw(values)} for bound in [*scaled, None]]


@cache
@st.composite
def priced(draw: st.DrawFn, item: str, places: int) -> dict:
    """How a rate prices: flat, by hours, by bands or by tiers."""
    prices = decimals(1000, 6)
    ways = ("flat", "flat", "bands", "tiers") + ("hours",) * 3 * (item == "scope")
    match draw(one_of(*ways)):
        case "hours":
            return {"price": draw(prices), "after_hours": draw(prices)}
        case "bands":
            bands = [
                {"name": name, "hours": draw(hours(NIGHTS)), "price": draw(prices)}
                | ({"minimum": draw(decimals(50, places))} if draw(st.booleans()) else {})
                for name in ["peak", "night"][: draw(whole(1, 2))]
            ]
            return {"price": draw(prices), "bands": bands}
        case "tiers":
            tiers = {
                "mode": draw(one_of("graduated", "volume")),
                "per": draw(one_of("charge", "project")),
                "steps": draw(steps("price", prices, draw(one_of(0, 3, 7)))),
            }
            return {"tiers": tiers}
    return {"price": draw(prices)}


@cache
@st.composite
def monthly(draw: st.DrawFn, places: int) -> dict:
    """A price for a month: by days, or of the mean of snapshots."""
    rate = {"price": draw(decimals(1000, 6)), "per": draw(one_of(*MONTHLY))}
    if rate["per"] in ("month", "each"):
        if draw(st.booleans()):
            rate["minimum"] = draw(decimals(50, places))
        if draw(whole(0, 3)) == 0:
            rate["service_fee"] = draw(decimals(50, places))
    return rate


@cache
@st.composite
def rates(draw: st.DrawFn, first_of_month: dt.date, places: int) -> list[dict]:
    """At most one rate per item, group and date; some pairs have none."""
    listed = []
    turn = (first_of_month + dt.timedelta(days=draw(whole(0, 27)))).isoformat()
    before = (dt.date.fromisoformat(turn) - dt.timedelta(days=1)).isoformat()
    choices = [{}], [{}], [{"valid_to": before}, {"valid_from": turn}], [{"valid_to": turn}], []
    for item in ("scope", "core", "slide", "visit", "disk"):
        for group in GROUPS:
            for validity in choices[draw(whole(0, 4))]:
                if item == "disk":
                    listed.append({"item": item, "group": group} | draw(monthly(places)) | validity)
                    continue
                rate = {"item": item, "group": group} | draw(priced(item, places))
                if draw(st.booleans()):
                    rate["minimum"] = draw(decimals(50, places))
                if draw(st.booleans()):
                    rate["rounding_step"] = draw(one_of(*STEPS))
                if draw(whole(0, 3)) == 0:
                    rate["service_fee"] = draw(decimals(50, places))
                if draw(whole(0, 3)) == 0:
                    rate["per"] = draw(one_of("hour", "each", "use", "day"))
                timed_only = rate.get("per", "hour") == "hour" and item in ("scope", "core")
                if timed_only and draw(whole(0, 2)) == 0:
                    rate["booking"] = "longer"
                    if draw(st.booleans()):
                        rate["no_show"] = draw(decimals(1000, 6))
                listed.append(rate | validity)
    return listed


@cache
@st.composite
def rules(draw: st.DrawFn, projects: tuple[str, ...], places: int) -> list[dict]:
    """Up to five rules at any scope."""
    listed = []
    for at in range(draw(whole(0, 5))):
        scope = draw(one_of("charge", "invoice", "invoice", "statement"))
        kind = draw(one_of("cap", "cap", "floor", "floor", "scale", "tier", "fee", "discount"))
        rule = {"name": f"rule {at}", "scope": scope, "kind": kind}
        if kind == "scale":
            rule["factor"] = draw(decimals(2, 6))
        elif kind == "tier":
            rule["steps"] = draw(steps("factor", decimals(2, 6), places))
        else:
            rule["amount"] = draw(decimals(10**5, places))
        if draw(st.booleans()):
            rule["tags"] = [*draw(one_of(("pilot",), ("biology",), ("pilot", "biology")))]
        if scope != "statement" and draw(st.booleans()):
            rule["items"] = [
                *draw(one_of(("scope",), ("slide", "core"), ("core", "slide"), ("disk",)))
            ]
        if scope != "statement" and draw(whole(0, 3)) == 0:
            rule["projects"] = [draw(one_of(*projects))]
        if kind in ("cap", "floor") and scope != "charge" and draw(st.booleans()):
            spans = ("month", "quarter", "fiscal_year")
            rule["over"] = draw(one_of(*spans, *(("day",) if scope == "invoice" else ())))
            by = ("team",) if scope == "statement" else ("project", "team", "user")
            rule["by"] = draw(one_of(*by))
        listed.append(rule)
    return listed


def carried(draw: st.DrawFn, listed: list[dict], day: str, places: int) -> dict:
    """What caps and floors over a span came to before."""
    keys = {"project": "p1", "team": "t1", "user": "ann"}
    return {
        rule["name"]: {
            keys[rule["by"]] + (f" {day}" if rule["over"] == "day" else ""): draw(
                decimals(10**5, places)
            )
        }
        for rule in listed
        if "over" in rule and draw(st.booleans())
    }


@cache
@st.composite
def timed(draw: st.DrawFn, first_of_month: dt.date) -> dict:
    """A session that ends about the month, to the hour, second or microsecond."""
    grain = draw(one_of(3_600_000_000, 1_000_000, 1))
    days = calendar.monthrange(first_of_month.year, first_of_month.month)[1]
    midnight = dt.datetime.combine(first_of_month, dt.time(), dt.UTC)
    span = (days + 3) * 86_400_000_000
    end = midnight + dt.timedelta(microseconds=draw(whole(0, span // grain)) * grain)
    length = draw(whole(0, 21 * 86_400_000_000 // grain)) * grain
    record = {
        "start": (end - dt.timedelta(microseconds=length)).isoformat(),
        "end": end.isoformat(),
    }
    if draw(st.booleans()):
        record["units"] = draw(decimals(10**5, 9))
    if draw(whole(0, 3)) == 0:
        record["elapsed"] = draw(lasting())
    return record


@cache
def lasting() -> st.SearchStrategy[str]:
    """A stated elapsed time, up to three weeks: in seconds, or as a clock."""
    clock = st.builds("{:02}:{:02}:{:02}".format, whole(0, 500), whole(0, 59), whole(0, 59))
    days = st.builds("{}-{:02}:{:02}:{:02}".format, whole(0, 20), whole(0, 23), *[whole(0, 59)] * 2)
    return st.one_of(decimals(1_800_000, 6), clock, days)


@cache
@st.composite
def records(draw: st.DrawFn, first_of_month: dt.date, projects: tuple[str, ...]) -> dict:
    """One usage record, right or wrong, without its id."""
    item = draw(
        one_of("scope", "scope", "scope", "core", "slide", "visit", "disk", "disk", "unheard")
    )
    record = {"item": item, "project": draw(one_of(*projects * 3, "nobody"))}
    user = draw(one_of(None, "ann", "bob"))
    if user is not None:
        record["user"] = user
    day = first_of_month + dt.timedelta(days=draw(whole(-1, 32)))
    if item == "disk":
        return _spoilt(draw, record | draw(stored(first_of_month, day)))
    if item == "slide" or draw(whole(0, 3)) == 0:
        record |= {"date": day.isoformat(), "quantity": draw(decimals(10**9, 9))}
        if draw(whole(0, 5)) == 0:
            record["elapsed"] = draw(lasting())
    else:
        record |= draw(timed(first_of_month))
        if draw(whole(0, 2)) == 0:
            booking = draw(timed(first_of_month))
            record |= {f"booked_{end}": booking[end] for end in ("start", "end")}
            if draw(whole(0, 2)) == 0:
                del record["start"], record["end"]
        if draw(whole(0, 5)) == 0:
            record["quantity"] = draw(decimals(10**9, 9))
    return _spoilt(draw, record)


@cache
@st.composite
def stored(draw: st.DrawFn, first_of_month: dt.date, day: dt.date) -> dict:
    """A snapshot on a day, or storage for a while."""
    record = {"date": day.isoformat()} if draw(st.booleans()) else draw(timed(first_of_month))
    if "date" in record or draw(whole(0, 3)) > 0:
        record["quantity"] = draw(decimals(10**6, 3))
    return record


def _spoilt(draw: st.DrawFn, record: dict) -> dict:
    start, end = record.get("start"), record.get("end")
    match draw(whole(0, 17)):
        case 16 if "booked_end" in record:
            return {key: value for key, value in record.items() if key != "booked_start"}
        case 17 if record.get("booked_start") != record.get("booked_end"):
            opens, shuts = record["booked_start"], record["booked_end"]
            return record | {"booked_start": shuts, "booked_end": opens}
        case 0 if start != end:
            return record | {"start": end, "end": start}
        case 1 if end is not None:
            return {key: value for key, value in record.items() if key != "end"}
        case 2:
            return record | {"quantity": "-" + draw(decimals(5, 2))}
        case 3:
            return record | {"units": "-" + draw(decimals(5, 2))}
        case 4:
            return {key: value for key, value in record.items() if key != "quantity"}
    return record


@cache
def changes(places: int) -> dict[str, st.SearchStrategy[Any]]:
    """What can be set of a charge, and to what."""
    return {
        "quantity": decimals(10**9, 9),
        "rate": decimals(1000, 6),
        "amount": st.tuples(one_of("", "-"), decimals(10**6, places)).map("".join),
        "split": splits(),
        "expense_code": one_of("x1", "c00"),
    }


def adjustments(
    draw: st.DrawFn, ids: list[str], projects: tuple[str, ...], places: int
) -> list[dict]:
    """Up to six changes and added lines, in order."""
    values = changes(places)
    entries: list[dict] = []
    lines: list[str] = []
    for _ in range(draw(whole(0, 6))):
        targets = [*ids, *lines]
        if not targets or draw(whole(0, 2)) == 0:
            line = {"project": draw(one_of(*projects)), "date": "2024-01-01"}
            line |= {"description": "Training", "amount": draw(values["amount"])}
            if draw(st.booleans()):
                line["expense_code"] = "x2"
            lines.append(f"line-{len(lines) + 1}")
            entries.append({"add_line": line} | WHO)
            continue
        charge = targets[draw(whole(0, len(targets) - 1))]
        allowed = ("amount", "split", "expense_code") if charge in lines else tuple(values)
        fields = draw(some(allowed, 3))
        entries.append({"charge": charge, "set": {f: draw(values[f]) for f in fields}} | WHO)
    return entries


class Frame(NamedTuple):
    """What months share that are priced together (together.py)."""

    currency: str
    timezone: str
    crossing: str | None
    period: str

    @classmethod
    def of(cls, month: dict) -> Self:
        """A month's own."""
        facility = month["facility"]
        crossing = facility.get("crossing")
        return cls(facility["currency"], facility["timezone"], crossing, month["period"])


EVERY = (
    sorted(PLACES),
    ZONES,
    (None, "split"),
    [f"{year}-{month:02}" for year in range(2015, 2026) for month in MONTHS],
)
FRAMES = st.builds(Frame, *(one_of(*values) for values in EVERY))


def frames_of(random: Random, count: int) -> list[Frame]:
    """So many of them."""
    return [Frame(*map(random.choice, EVERY)) for _ in range(count)]


@st.composite
def months(draw: st.DrawFn, frames: st.SearchStrategy[Frame] = FRAMES) -> dict:
    """A whole scenario without ``expect``: the content of its YAML file."""
    currency, timezone, crossing, period = draw(frames)
    first = dt.date.fromisoformat(f"{period}-01")
    places = PLACES[currency]
    codes = ("p1", "p2", "p3")[: draw(whole(1, 3))]
    usage = [
        {"id": draw(one_of(f"u{at}", f"u{at}", f"u{at}", "u0"))} | draw(records(first, codes))
        for at in range(draw(whole(0, 8)))
    ]
    ids = sorted({record["id"] for record in usage})
    listed = draw(rules(codes, places))
    tax = {"tax": {"name": "Sales tax", "percent": draw(decimals(20, 4))}}
    facility = {"code": "RC", "name": "Research Computing"}
    facility |= {"currency": currency, "timezone": timezone}
    # The frame decides, so that months that are priced together share it.
    facility |= {"fiscal_year_start": 1 + first.year % 12}
    holiday = first + dt.timedelta(days=draw(whole(0, 27)))
    return {
        "facility": facility | ({} if crossing is None else {"crossing": crossing}),
        "period": period,
        "resources": [
            {
                "code": "room",
                "business_hours": draw(hours(SPANS)),
                "holidays": [holiday.isoformat()],
            }
        ],
        "items": list(ITEMS),
        "rates": draw(rates(first, places)),
        "project_types": [
            {"code": "faculty", "rate_group": "internal"},
            {"code": "company", "rate_group": "industry"} | (tax if draw(st.booleans()) else {}),
        ],
        "teams": [
            {"code": "t1", "name": "One"},
            {"code": "t2", "name": "Two", "tags": ["biology"]},
        ],
        "projects": [
            {
                "code": code,
                "team": draw(one_of("t1", "t2")),
                "type": draw(one_of("faculty", "company")),
                "tags": ["pilot"] if code == "p1" else [],
                "split": draw(splits()),
            }
            | ({"rate_group": "industry"} if draw(whole(0, 2)) == 2 else {})
            for code in codes
        ],
        "rules": listed,
        "usage": usage,
        "adjustments": adjustments(draw, ids, codes, places),
        "carried": carried(draw, listed, holiday.isoformat(), places),
    }


def uncoupled(month: dict) -> dict:
    """The same month where no record's price depends on another's."""
    rates = [dict(rate) for rate in month["rates"]]
    for rate in rates:
        if rate.get("per") in ("day", "snapshot", "daily_snapshot"):
            rate["per"] = "use"
        if "tiers" in rate:
            rate["tiers"] = rate["tiers"] | {"per": "charge"}
    items = [item | ({"unit": "use"} if item["unit"] == "day" else {}) for item in month["items"]]
    return month | {"rates": rates, "items": items}
