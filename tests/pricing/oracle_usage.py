"""The oracle's reading of usage: which records are billed, by which rate, how much they count."""

import datetime as dt
from fractions import Fraction
from math import floor, gcd
from zoneinfo import ZoneInfo

from .oracle_numbers import (
    days_of_month,
    elapsed,
    exact,
    half_up,
    held,
    instant,
    next_month,
    seconds,
)

PLACES = {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3}


class Usage:
    """The usage of one scenario."""

    def __init__(self, content: dict) -> None:
        self.content = content
        self.places = PLACES[content["facility"]["currency"]]
        self.zone = ZoneInfo(content["facility"]["timezone"])
        self.period = content["period"]
        self.items = {item["code"]: item for item in content["items"]}
        self.resources = {it["code"]: it for it in content.get("resources", [])}
        self.projects = {project["code"]: project for project in content["projects"]}
        self.teams = {team["code"]: team for team in content["teams"]}
        self.kinds = {kind["code"]: kind for kind in content["project_types"]}
        self.changes: dict[str, dict] = {}
        self.lines: list[tuple[str, dict]] = []
        for entry in content.get("adjustments", []):
            if "add_line" in entry:
                self.lines.append((f"line-{len(self.lines) + 1}", entry["add_line"]))
            else:
                self._change(entry["charge"], entry["set"])

    def _change(self, charge: str, fields: dict) -> None:
        changes = self.changes.setdefault(charge, {})
        for field, value in fields.items():
            if field == "expense_code":
                changes["split"] = [{"expense_code": value, "percent": "100"}]
            else:
                changes[field] = value

    def minor(self, text: str) -> int:
        return half_up(Fraction(text) * 10**self.places)

    def local_day(self, moment: dt.datetime) -> dt.date:
        return moment.astimezone(self.zone).date()

    def midnight(self, day: dt.date) -> dt.datetime:
        """The first instant of a day."""
        moment = dt.datetime.combine(day, dt.time(), dt.UTC) - dt.timedelta(hours=16)
        while self.local_day(moment) < day:
            moment += dt.timedelta(minutes=15)
        return moment

    def starts(self, record: dict) -> dt.date:
        start = instant(record.get("start", record.get("booked_start")))
        return self.local_day(start) if start else dt.date.fromisoformat(record["date"])

    def closes(self, record: dict) -> dt.date:
        end = instant(record.get("end", record.get("booked_end")))
        if end is None:
            return dt.date.fromisoformat(record["date"])
        return self.local_day(end - dt.timedelta(microseconds=1))

    # which rate, and what it counts

    def rate_of(self, record: dict) -> dict | None:
        project = self.projects.get(record["project"])
        if project is None:
            return None
        group = project.get("rate_group") or self.kinds[project["type"]]["rate_group"]
        for rate in self.content["rates"]:
            fits = rate["item"] == record["item"] and rate["group"] == group
            first, last = rate.get("valid_from", "0001-01-01"), rate.get("valid_to", "9999-12-31")
            if fits and first <= self.starts(record).isoformat() <= last:
                return rate
        return None

    def counts(self, record: dict, rate: dict | None) -> str:
        if rate is None:
            pers = [it.get("per") for it in self.content["rates"] if it["item"] == record["item"]]
            if {"use", "day", "month"} & set(pers):
                return "use"
        if rate is not None and "per" in rate:
            return rate["per"]
        unit = self.items[record["item"]]["unit"] if record["item"] in self.items else "hour"
        if unit in ("use", "day") and "quantity" not in record:
            return unit
        return "hour" if unit == "hour" else "each"

    def reason(self, record: dict, seen: set[str]) -> str | None:
        """Why a record is unbilled; None where it is billed."""
        start, end = instant(record.get("start")), instant(record.get("end"))
        if record["id"] in seen:
            return "duplicate"
        opens, shuts = (instant(record.get(key)) for key in ("booked_start", "booked_end"))
        if (start is None) != (end is None) or (opens is None) != (shuts is None):
            return "invalid_time"
        if start is None and opens is None and "date" not in record:
            return "invalid_time"
        if opens is not None and shuts < opens:
            return "invalid_time"
        if start is not None and end < start:
            return "invalid_time"
        is_cost = self.items.get(record["item"], {}).get("unit") == "cost"
        counted = ("units",) if is_cost else ("units", "quantity")
        if any(Fraction(record[key]) < 0 for key in counted if key in record):
            return "invalid_quantity"
        rate = self.rate_of(record)
        counts = self.counts(record, rate)
        has_time = start is not None or "elapsed" in record
        by_itself = self.unused(record) and (rate is None or "booking" in rate)
        if not self.unused(record):
            by_itself = counts in ("use", "day", "month") or (counts == "hour" and has_time)
        if "quantity" not in record and not by_itself:
            return "invalid_quantity"
        if record["item"] not in self.items:
            return "unknown_item"
        if record["project"] not in self.projects:
            return "unknown_project"
        if f"{self.closes(record):%Y-%m}" != self.period:
            return "outside_period"
        return "no_rate" if rate is None else None

    def cut(self, record: dict) -> dict:
        """The part of a record that lies in the period, where the facility cuts at its ends."""
        start, end = instant(record.get("start")), instant(record.get("end"))
        if self.content["facility"].get("crossing") != "split":
            return record
        if "quantity" in record or "booked_end" in record:
            return record
        if start is None or end is None or end <= start:
            return record
        first = dt.date.fromisoformat(self.period + "-01")
        opens, shuts = self.midnight(first), self.midnight(next_month(first))
        if end <= opens or start >= shuts:
            return record
        begins, ends = max(start, opens), min(end, shuts)
        parts = {"start": begins.isoformat(), "end": ends.isoformat()}
        if "elapsed" in record:  # what is reached at its end less what was reached at its start
            micros = elapsed(record["elapsed"]) * 10**6
            before, after = (
                floor(micros * exact(at - start) / exact(end - start)) for at in (begins, ends)
            )
            parts["elapsed"] = str(Fraction(after - before, 10**6))
        return record | parts

    def quantity(self, record: dict, rate: dict) -> Fraction:
        """What a record counts, days and staff's word included."""
        changes = self.changes.get(record["id"], {})
        counts = self.counts(record, rate)
        if "quantity" in changes:
            return Fraction(changes["quantity"])
        if counts == "use":
            return Fraction(1)
        if counts == "day":
            return Fraction(len(record["new days"]))
        if counts == "month":
            count = Fraction(record["quantity"]) if "quantity" in record else self.units(record)
            return count * sum(Fraction(1, days_of_month(day)) for day in self.touched(record))
        if counts in ("snapshot", "daily_snapshot"):
            return Fraction(record["quantity"]) / record["of"]
        if "quantity" in record:
            return Fraction(record["quantity"])
        if "elapsed" in record and not self.by_booking(record, rate):
            lasted = elapsed(record["elapsed"])
            if "rounding_step" in rate:
                step = seconds(rate["rounding_step"])
                lasted = -(-lasted // step) * step
            return lasted * self.units(record) / 3600
        return Fraction(sum(self.time(record, rate).values())) * self.units(record) / 3600

    def touched(self, record: dict) -> list[dt.date]:
        """The local days of a record, at least the one on which it starts."""
        days = [self.starts(record)]
        while days[-1] < self.closes(record):
            days.append(days[-1] + dt.timedelta(days=1))
        return days

    def units(self, record: dict) -> Fraction:
        return Fraction(record.get("units", "1"))

    def label(self, rate: dict, moment: dt.datetime) -> int:
        """0 for the rate's own price, 1 after hours; or the band, from 1."""
        local = moment.astimezone(self.zone)
        if "after_hours" in rate:
            resource = self.resources[self.items[rate["item"]]["resource"]]
            if local.date().isoformat() in resource.get("holidays", []):
                return 1
            return 0 if held(resource.get("business_hours", {}), local) else 1
        for number, band in enumerate(rate.get("bands", []), start=1):
            if held(band["hours"], local):
                return number
        return 0

    def unused(self, record: dict) -> bool:
        """Whether it is a booking and no more."""
        return "booked_end" in record and not {"start", "end", "elapsed"} & set(record)

    def by_booking(self, record: dict, rate: dict) -> bool:
        """Whether the booked time is billed: it was not used, or for less time."""
        if "booking" not in rate or "quantity" in record or "booked_end" not in record:
            return False
        if self.unused(record):
            return True
        booked = exact(instant(record["booked_end"]) - instant(record["booked_start"]))
        if "elapsed" in record:
            return booked > elapsed(record["elapsed"])
        return booked > exact(instant(record["end"]) - instant(record["start"]))

    def billed(self, record: dict, rate: dict) -> tuple[dt.datetime | None, dt.datetime | None]:
        """From when to when it is billed."""
        keys = ("start", "end")
        if self.by_booking(record, rate):
            keys = ("booked_start", "booked_end")
        return tuple(instant(record.get(key)) for key in keys)

    def time(self, record: dict, rate: dict) -> dict[int, Fraction]:
        """Seconds by label: a quarter of an hour, or less, at a time."""
        start, end = self.billed(record, rate)
        if start is None or end is None or start == end:
            return {}
        spent = {0: end - start}
        last = 0
        if "after_hours" in rate or "bands" in rate:
            grain, moment, spent = self.grain * 60, start, {}
            while moment < end:
                turn = dt.datetime.fromtimestamp(
                    (int(moment.timestamp()) // grain + 1) * grain, dt.UTC
                )
                last = self.label(rate, moment)
                spent[last] = spent.get(last, dt.timedelta()) + (min(turn, end) - moment)
                moment = turn
        times = {label: exact(span) for label, span in spent.items()}
        if "rounding_step" in rate and "quantity" not in self.stated(record, rate):
            step, lasted = seconds(rate["rounding_step"]), exact(end - start)
            times[last] += -(-lasted // step) * step - lasted
        return times

    def stated(self, record: dict, rate: dict) -> dict:
        """Where the clock does not count, the quantity is known before the time."""
        measure = {"quantity"} if self.by_booking(record, rate) else {"quantity", "elapsed"}
        by_clock = self.counts(record, rate) in ("hour", "each") and not measure & set(record)
        known = not by_clock or "quantity" in self.changes.get(record["id"], {})
        return {"quantity": True} if known else {}

    @property
    def grain(self) -> int:
        """Minutes within which no hours start or end."""
        spans = [it.get("business_hours", {}) for it in self.resources.values()]
        bands = [band for rate in self.content["rates"] for band in rate.get("bands", [])]
        spans += [band["hours"] for band in bands]
        ends = [end for span in spans for text in span.values() for end in text.split("-")]
        return gcd(15, *(int(end[3:]) for end in ends))
