"""The oracle: the scenario format priced once more, as slowly and plainly as it can be.

It reads plain dicts of text (what YAML says), takes one record at a time, computes in
``fractions`` and shares no code with ``billing_lib``. Where it and the library differ, one of
them has misread docs/scenario-format.md.

    bill({"period": "2020-04", "rates": [...], "usage": [...]})
    {"charges": {"u1": {"quantity": "3", "total": "120.00", ...}}, "splits": ..., ...}
"""

import datetime as dt
from fractions import Fraction
from math import floor
from zoneinfo import ZoneInfo

PLACES = {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3}
STEP_SECONDS = {"s": 1, "min": 60, "h": 3600}


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
    whole, part = divmod(half_up(value * 10**6), 10**6)
    return f"{whole}.{part:06d}".rstrip("0").rstrip(".")


def shared(amount: int, weights: list[Fraction]) -> list[int]:
    """The largest remainder, one unit at a time."""
    sign, size, whole = (-1 if amount < 0 else 1), abs(amount), sum(weights)
    exact = [size * weight / whole for weight in weights]
    parts = [floor(share) for share in exact]
    waiting = list(range(len(parts)))
    while sum(parts) < size:
        first = max(waiting, key=lambda at: (exact[at] - floor(exact[at]), -at))
        parts[first] += 1
        waiting.remove(first)
    return [sign * part for part in parts]


class Bill:
    """One scenario being priced."""

    def __init__(self, content: dict) -> None:
        self.content = content
        self.places = PLACES[content["facility"]["currency"]]
        self.zone = ZoneInfo(content["facility"]["timezone"])
        self.items = {item["code"]: item["unit"] for item in content["items"]}
        self.projects = {project["code"]: project for project in content["projects"]}
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

    def local_day(self, instant: dt.datetime) -> str:
        return instant.astimezone(self.zone).date().isoformat()

    def rate_of(self, record: dict, day: str) -> dict | None:
        project = self.projects[record["project"]]
        kinds = {kind["code"]: kind for kind in self.content["project_types"]}
        group = project.get("rate_group") or kinds[project["type"]]["rate_group"]
        for rate in self.content["rates"]:
            fits = rate["item"] == record["item"] and rate["group"] == group
            first, last = rate.get("valid_from", "0001-01-01"), rate.get("valid_to", "9999-12-31")
            if fits and first <= day <= last:
                return rate
        return None

    def reason(self, record: dict, seen: set[str]) -> str | None:
        """Why a record is unbilled; None where it is billed."""
        start, end = instant(record.get("start")), instant(record.get("end"))
        date, stated = record.get("date"), record.get("quantity")
        if record["id"] in seen:
            return "duplicate"
        if (start is None) != (end is None) or (start is None and date is None):
            return "invalid_time"
        if start is not None and end < start:
            return "invalid_time"
        if any(Fraction(record[key]) < 0 for key in ("units", "quantity") if key in record):
            return "invalid_quantity"
        unit = self.items.get(record["item"])
        by_the_clock = start is not None and unit in ("hour", None)
        if stated is None and not by_the_clock:
            return "invalid_quantity"
        if unit is None:
            return "unknown_item"
        if record["project"] not in self.projects:
            return "unknown_project"
        closes = self.local_day(end - dt.timedelta(microseconds=1)) if end else date
        if closes[:7] != self.content["period"]:
            return "outside_period"
        starts = self.local_day(start) if start else date
        return "no_rate" if self.rate_of(record, starts) is None else None

    def charge(self, record: dict) -> dict:
        """One record × its rate, with its adjustments."""
        changes = self.changes.get(record["id"], {})
        start, end = instant(record.get("start")), instant(record.get("end"))
        rate = self.rate_of(record, self.local_day(start) if start else record["date"])
        stated = changes.get("quantity", record.get("quantity"))
        quantity = Fraction(stated) if stated is not None else hours(start, end, rate)
        if stated is None:
            quantity *= Fraction(record.get("units", "1"))
        price = Fraction(changes.get("rate", rate["price"]))
        raw = half_up(quantity * price * 10**self.places)
        raw = max(raw, half_up(Fraction(rate.get("minimum", "0")) * 10**self.places))
        return {"quantity": six_places(quantity), "raw": raw} | self.set_amount(raw, changes)

    def set_amount(self, raw: int, changes: dict) -> dict:
        if "amount" in changes:
            return {"total": half_up(Fraction(changes["amount"]) * 10**self.places)}
        return {"total": raw}

    def split(self, charge: str, project: str, total: int, own: str | None) -> dict[str, int]:
        standing = self.projects[project]["split"]
        if own is not None:
            standing = [{"expense_code": own, "percent": "100"}]
        shares = self.changes.get(charge, {}).get("split", standing)
        parts = shared(total, [Fraction(share["percent"]) for share in shares])
        return {share["expense_code"]: part for share, part in zip(shares, parts, strict=True)}


def instant(text: str | None) -> dt.datetime | None:
    """A time with its offset."""
    return None if text is None else dt.datetime.fromisoformat(text)


def hours(start: dt.datetime, end: dt.datetime, rate: dict) -> Fraction:
    """Elapsed hours, up to the next step of the rate."""
    seconds = Fraction((end - start) // dt.timedelta(microseconds=1), 10**6)
    step = rate.get("rounding_step")
    if step is not None:
        unit = step.lstrip("0123456789")
        length = int(step.removesuffix(unit)) * STEP_SECONDS[unit]
        seconds = Fraction(-((-seconds) // length) * length)
    return seconds / 3600


def bill(content: dict) -> dict:
    """What a scenario comes to, in the shape of ``expect``, as ``billing quote`` prints it."""
    book = Bill(content)
    priced: dict[str, dict] = {}
    splits: dict[str, dict[str, int]] = {}
    unbilled: dict[str, str] = {}
    seen: set[str] = set()
    for record in content.get("usage", []):
        reason = book.reason(record, seen)
        seen.add(record["id"])
        if reason is not None:
            unbilled[record["id"]] = reason
            continue
        charge = book.charge(record) | {"project": record["project"]}
        priced[record["id"]] = charge
        splits[record["id"]] = book.split(record["id"], record["project"], charge["total"], None)
    for code, line in book.lines:
        raw = half_up(Fraction(line["amount"]) * 10**book.places)
        charge = {"raw": raw, "project": line["project"]}
        priced[code] = charge | book.set_amount(raw, book.changes.get(code, {}))
        splits[code] = book.split(
            code, line["project"], priced[code]["total"], line.get("expense_code")
        )
    return _printed(book, priced, splits, unbilled)


def _printed(book: Bill, priced: dict, splits: dict, unbilled: dict) -> dict:
    def shown(minor: int) -> str:
        return money(minor, book.places)

    invoices: dict[str, int] = {}
    codes: dict[str, dict[str, int]] = {}
    for charge, found in priced.items():
        project = found["project"]
        invoices[project] = invoices.get(project, 0) + found["total"]
        for code, part in splits[charge].items():
            by_code = codes.setdefault(project, {})
            by_code[code] = by_code.get(code, 0) + part
    teams: dict[str, int] = {}
    for project, total in invoices.items():
        team = book.projects[project]["team"]
        teams[team] = teams.get(team, 0) + total

    def totals(total: int) -> dict[str, str]:
        return {"raw_total": shown(total), "adjustment": shown(0), "total": shown(total)}

    return {
        "charges": {
            charge: ({"quantity": found["quantity"]} if "quantity" in found else {})
            | {
                "raw_total": shown(found["raw"]),
                "adjustment": shown(found["total"] - found["raw"]),
                "total": shown(found["total"]),
            }
            for charge, found in priced.items()
        },
        "splits": {
            charge: {code: shown(part) for code, part in parts.items()}
            for charge, parts in splits.items()
        },
        "invoices": {
            project: totals(total)
            | {"by_expense_code": {code: shown(part) for code, part in codes[project].items()}}
            for project, total in invoices.items()
        },
        "statements": {team: totals(total) for team, total in teams.items()},
        "unbilled": unbilled,
    }
