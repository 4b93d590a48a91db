"""The quarter summed once more from the files, in ``fractions``, by no code of the library."""

import gzip
import re
from collections import defaultdict
from fractions import Fraction
from math import floor

import yaml

from .facilities import LOG, PROJECT, sessions

Cents = dict[tuple[str, str], int]
"""What a project's month comes to, by project and month."""


def half_up(value: Fraction) -> int:
    """Cents of an amount, halves up."""
    return floor(value * 100 + Fraction(1, 2)) if value >= 0 else -half_up(-value)


def instruments() -> Cents:
    """MIC's sessions at 42.50 an hour, 5.00 at least; SEQ's lanes at 1,310.00."""
    return {
        (project, month): sum(
            session_cents(minutes) if project[0] == "m" else lane_cents(minutes)
            for _, minutes in records
        )
        for (project, month), records in sessions().items()
    }


def session_cents(minutes: int) -> int:
    """What a session on the confocal costs."""
    return max(half_up(Fraction(minutes, 60) * Fraction("42.50")), 500)


def lane_cents(lanes: int) -> int:
    """What lanes cost."""
    return lanes * 131000


def jobs() -> Cents:
    """The log's jobs by the demonstration's price book: processors × hours × the group's price.

    A job belongs to the month in which it ends, on the clock of Los Angeles, which left
    daylight saving on 31 October 1993 at 09:00 UTC.
    """
    book = yaml.safe_load((PROJECT / "parameters" / "research-computing.yml").read_text())
    groups = {kind["code"]: kind["rate_group"] for kind in book["project_types"]}
    projects = {it["code"]: groups[it["type"]] for it in book["projects"]}
    prices = {rate["group"]: rate for rate in book["rates"]}
    found: defaultdict[tuple[str, str], int] = defaultdict(int)
    with gzip.open(LOG, "rt", encoding="utf-8") as lines:
        text = lines.read()
    begun = int(re.search(r"UnixStartTime:\s*(\d+)", text)[1])  # type: ignore[index]
    for line in text.splitlines():
        if line.startswith(";") or not line.strip():
            continue
        fields = [int(field) for field in line.split()]
        submit, wait, run, processors, user = (fields[at] for at in (1, 2, 3, 4, 11))
        rate = prices.get(projects.get(f"u{user}", ""))
        if rate is None or run < 0 or processors < 0:
            continue
        cents = half_up(Fraction(run * processors, 3600) * Fraction(rate["price"]))
        cents = max(cents, half_up(Fraction(rate.get("minimum", "0"))))
        found[f"u{user}", month_of(begun + submit + max(wait, 0) + run)] += cents
    return dict(found)


def month_of(end: int) -> str:
    """The month in Los Angeles of a second since 1970, between October 1993 and January 1994."""
    winter = 752_058_000  # 31 October 1993, 09:00 UTC
    local = end - (7 if end < winter else 8) * 3600
    starts = {749_433_600: "1993-10", 752_112_000: "1993-11", 754_704_000: "1993-12"}
    ends = 757_382_400  # 1 January 1994
    if local >= ends:
        return "1994-01"
    return next(month for start, month in reversed(starts.items()) if local >= start)
