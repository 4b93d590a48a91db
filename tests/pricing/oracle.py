"""The oracle: the scenario format priced once more, as slowly and plainly as it can be.

It reads plain dicts of text (what YAML says), takes one record at a time, computes in
``fractions`` and shares no code with ``billing_lib``. Where it and the library differ, one of
them has misread docs/scenario-format.md.

    bill({"period": "2020-04", "rates": [...], "usage": [...]})
    {"charges": {"u1": {"quantity": "3", "total": "120.00", ...}}, "splits": ..., ...}
"""

import datetime as dt
from fractions import Fraction
from math import floor, gcd
from zoneinfo import ZoneInfo

PLACES = {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3}
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


def instant(text: str | None) -> dt.datetime | None:
    """A time with its offset."""
    return None if text is None else dt.datetime.fromisoformat(text)


def seconds(text: str) -> int:
    """A step: 15min is 900."""
    unit = text.lstrip("0123456789")
    return int(text.removesuffix(unit)) * STEP_SECONDS[unit]


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


class Bill:
    """One scenario being priced."""

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
        start = instant(record.get("start"))
        return self.local_day(start) if start else dt.date.fromisoformat(record["date"])

    def closes(self, record: dict) -> dt.date:
        end = instant(record.get("end"))
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
            if "use" in pers or "day" in pers:
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
        if (start is None) != (end is None) or (start is None and "date" not in record):
            return "invalid_time"
        if start is not None and end < start:
            return "invalid_time"
        if any(Fraction(record[key]) < 0 for key in ("units", "quantity") if key in record):
            return "invalid_quantity"
        rate = self.rate_of(record)
        counts = self.counts(record, rate)
        by_itself = counts in ("use", "day") or (counts == "hour" and start is not None)
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
        if self.content["facility"].get("crossing") != "split" or "quantity" in record:
            return record
        if start is None or end is None or end <= start:
            return record
        first = dt.date.fromisoformat(self.period + "-01")
        opens, shuts = self.midnight(first), self.midnight(_next_month(first))
        if end <= opens or start >= shuts:
            return record
        parts = {"start": max(start, opens).isoformat(), "end": min(end, shuts).isoformat()}
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
        if "quantity" in record:
            return Fraction(record["quantity"])
        return Fraction(sum(self.time(record, rate).values())) * self.units(record) / 3600

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

    def time(self, record: dict, rate: dict) -> dict[int, Fraction]:
        """Seconds by label: a quarter of an hour, or less, at a time."""
        start, end = instant(record.get("start")), instant(record.get("end"))
        times: dict[int, Fraction] = {}
        if start is None or end is None or start == end:
            return times
        if "after_hours" in rate or "bands" in rate:
            grain, moment, last = self.grain * 60, start, 0
            while moment < end:
                turn = dt.datetime.fromtimestamp(
                    (int(moment.timestamp()) // grain + 1) * grain, dt.UTC
                )
                last = self.label(rate, moment)
                times[last] = times.get(last, Fraction(0)) + exact(min(turn, end) - moment)
                moment = turn
        else:
            last, times[0] = 0, exact(end - start)
        if "rounding_step" in rate and "quantity" not in self.stated(record, rate):
            step, elapsed = seconds(rate["rounding_step"]), exact(end - start)
            times[last] += -(-elapsed // step) * step - elapsed
        return times

    def stated(self, record: dict, rate: dict) -> dict:
        """Where the clock does not count, the quantity is known before the time."""
        by_clock = self.counts(record, rate) in ("hour", "each") and "quantity" not in record
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

    # what it comes to

    def charge(self, record: dict, before: Fraction, whole: Fraction) -> dict:
        """One record × its rate, with staff's changes and the rules at charge scope.

        ``before`` and ``whole`` are what the project used of the item earlier in the month, and
        in all of it.
        """
        rate = self.rate_of(record)
        changes = self.changes.get(record["id"], {})
        quantity, times = self.quantity(record, rate), self.time(record, rate)
        elapsed = sum(times.values())
        prices = {0: Fraction(rate.get("price", "0")), 1: Fraction(rate.get("after_hours", "0"))}
        minimums = {0: Fraction(rate.get("minimum", "0"))}
        for number, band in enumerate(rate.get("bands", []), start=1):
            prices[number] = Fraction(band["price"])
            minimums[number] = Fraction(band.get("minimum", "0"))
        price, minimum = prices[0], minimums[0]
        if elapsed and ("bands" in rate or "after_hours" in rate):
            price = sum(prices[label] * time for label, time in times.items()) / elapsed
        if elapsed and "bands" in rate:
            minimum = sum(minimums[label] * time for label, time in times.items()) / elapsed
        if "rate" in changes:
            price = Fraction(changes["rate"])
        exact_raw = quantity * price
        if "tiers" in rate and "rate" not in changes:
            exact_raw = tiered(rate["tiers"], quantity, before, whole)
        raw = max(half_up(exact_raw * 10**self.places), half_up(minimum * 10**self.places))
        raw += self.minor(rate.get("service_fee", "0"))
        total = self.minor(changes["amount"]) if "amount" in changes else raw
        for rule in self.rules("charge"):
            if self.aims(rule, record["project"]) and record["item"] in rule.get(
                "items", [record["item"]]
            ):
                total = self.ruled(rule, total)
        found = {"quantity": six_places(quantity), "raw": raw, "total": total}
        if "after_hours" in rate:
            found["effective_rate"] = money(half_up(price * 10**6), 6)
        return found

    def rules(self, scope: str) -> list[dict]:
        return [rule for rule in self.content.get("rules", []) if rule["scope"] == scope]

    def aims(self, rule: dict, project: str) -> bool:
        """Whether a rule works on a project."""
        tags = self.projects[project].get("tags", [])
        tags = {*tags, *self.teams[self.projects[project]["team"]].get("tags", [])}
        tagged = "tags" not in rule or bool(tags & set(rule["tags"]))
        return tagged and ("projects" not in rule or project in rule["projects"])

    def ruled(self, rule: dict, total: int) -> int:
        """The new total of what a rule works on."""
        amount = self.minor(rule.get("amount", "0"))
        match rule["kind"]:
            case "cap":
                return min(total, amount)
            case "floor":
                return max(total, amount)
            case "fee":
                return total + amount
            case "discount":
                return max(total - amount, 0) if total > 0 else total
            case "scale":
                return half_up(total * Fraction(rule["factor"]))
        new, below = Fraction(0), 0
        for step in rule["steps"]:
            up_to = total if step["up_to"] is None else min(total, self.minor(step["up_to"]))
            new += (up_to - below) * Fraction(step["factor"])
            below = up_to
        return half_up(new)

    def invoices(self, priced: dict[str, dict]) -> dict[str, dict]:
        """Totals by project, with the rules at invoice scope and the tax."""
        found = {}
        for project in sorted({charge["project"] for charge in priced.values()}):
            raw = sum(it["total"] for it in priced.values() if it["project"] == project)
            found[project] = {"raw": raw, "running": raw, "changed": {}}
        for rule in self.rules("invoice"):
            by, capped = rule.get("by", "project"), {}
            for project, invoice in found.items():
                if self.aims(rule, project):
                    self._rule_invoice(rule, by, capped, project, invoice, priced)
        for project, invoice in found.items():
            tax = self.kinds[self.projects[project]["type"]].get("tax")
            invoice["adjustment"] = invoice["running"] - invoice["raw"]
            invoice["total"] = invoice["running"]
            if tax is not None:
                invoice["tax"] = half_up(invoice["running"] * Fraction(tax["percent"]) / 100)
                invoice["total"] += invoice["tax"]
        return found

    def _rule_invoice(
        self, rule: dict, by: str, capped: dict, project: str, invoice: dict, priced: dict
    ) -> None:
        charges = [it for it in priced.values() if it["project"] == project]
        if "items" in rule:
            charges = [it for it in charges if it.get("item") in rule["items"]]
        users: list[str | None] = [None]
        if "over" in rule and by == "user":
            users = sorted({it["user"] for it in charges if it.get("user") is not None})
        for user in users:
            mine = [it for it in charges if user is None or it.get("user") == user]
            if not mine:
                continue
            part = (tuple(sorted(rule.get("items", []))), user)
            total = sum(it["total"] for it in mine) + invoice["changed"].get(part, 0)
            if part == ((), None):
                total = invoice["running"]
            new = self.ruled(rule, total)
            if "over" in rule:
                key = {"project": project, "team": self.projects[project]["team"]}.get(by, user)
                new = self._capped(rule, key, capped, total)
            invoice["running"] += new - total
            invoice["changed"][part] = invoice["changed"].get(part, 0) + new - total

    def _capped(self, rule: dict, key: str, capped: dict, total: int) -> int:
        """What a cap leaves of a total, after earlier months and earlier invoices."""
        carried = self.minor(self.content.get("carried", {}).get(rule["name"], {}).get(key, "0"))
        left = max(self.minor(rule["amount"]) - carried, 0)
        before = capped.get(key, 0)
        capped[key] = before + total
        return min(capped[key], left) - min(before, left)

    def statements(self, invoices: dict[str, dict]) -> dict[str, dict]:
        """Totals by team, with the rules at statement scope."""
        found: dict[str, dict] = {}
        for project, invoice in invoices.items():
            team = found.setdefault(self.projects[project]["team"], {"raw": 0})
            team["raw"] += invoice["total"]
        for code, team in found.items():
            team["total"] = team["raw"]
            for rule in self.rules("statement"):
                tags = set(self.teams[code].get("tags", []))
                if "tags" in rule and not tags & set(rule["tags"]):
                    continue
                total = team["total"]
                new = self.ruled(rule, total)
                team["total"] = self._capped(rule, code, {}, total) if "over" in rule else new
            team["adjustment"] = team["total"] - team["raw"]
        return found

    def split(self, charge: str, project: str, total: int, own: str | None) -> dict[str, int]:
        standing = self.projects[project]["split"]
        if own is not None:
            standing = [{"expense_code": own, "percent": "100"}]
        shares = self.changes.get(charge, {}).get("split", standing)
        parts = shared(total, [Fraction(share["percent"]) for share in shares])
        return {share["expense_code"]: part for share, part in zip(shares, parts, strict=True)}


def exact(length: dt.timedelta) -> Fraction:
    """A length of time in seconds."""
    return Fraction(length // dt.timedelta(microseconds=1), 10**6)


def _next_month(first: dt.date) -> dt.date:
    return (first + dt.timedelta(days=32)).replace(day=1)


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


def bill(content: dict) -> dict:
    """What a scenario comes to, in the shape of ``expect``, as ``billing quote`` prints it."""
    book = Bill(content)
    unbilled: dict[str, str] = {}
    seen: set[str] = set()
    billed: list[dict] = []
    for stated in content.get("usage", []):
        record = book.cut(stated)
        reason = book.reason(record, seen)
        seen.add(record["id"])
        if reason is None:
            billed.append(record)
        else:
            unbilled[record["id"]] = reason
    billed = _with_days(book, billed)
    priced: dict[str, dict] = {}
    splits: dict[str, dict[str, int]] = {}
    for record in billed:
        kin = [
            it
            for it in billed
            if (it["project"], it["item"]) == (record["project"], record["item"])
        ]
        mine = _ends(book, record)
        used = [(_ends(book, it), book.quantity(it, book.rate_of(it))) for it in kin]
        before = sum((quantity for ends, quantity in used if ends < mine), Fraction(0))
        whole = sum((quantity for _, quantity in used), Fraction(0))
        charge = book.charge(record, before, whole)
        priced[record["id"]] = charge | {
            "project": record["project"], "item": record["item"], "user": record.get("user"),
        }  # fmt: skip
        splits[record["id"]] = book.split(record["id"], record["project"], charge["total"], None)
    for code, line in book.lines:
        raw = book.minor(line["amount"])
        set_to = book.changes.get(code, {}).get("amount")
        total = raw if set_to is None else book.minor(set_to)
        priced[code] = {"raw": raw, "total": total, "project": line["project"]}
        splits[code] = book.split(code, line["project"], total, line.get("expense_code"))
    return _printed(book, priced, splits, unbilled)


def _ends(book: Bill, record: dict) -> tuple[dt.datetime, str]:
    """Where a record stands in the month: by end, then id; a date at the end of its day."""
    end = instant(record.get("end"))
    after = book.starts(record) + dt.timedelta(days=1)
    return (book.midnight(after) if end is None else end), record["id"]


def _with_days(book: Bill, records: list[dict]) -> list[dict]:
    """The records, each with the days that it is the first to touch, where days count."""
    taken: set[tuple] = set()
    days: dict[str, list[dt.date]] = {}
    passes = [it for it in records if book.counts(it, book.rate_of(it)) == "day"]
    for record in sorted(passes, key=lambda it: (_begins(book, it), it["id"])):
        day, last = book.starts(record), book.closes(record)
        whose = (record["project"], record.get("user"), record["item"])
        days[record["id"]] = []
        while True:
            if (*whose, day) not in taken:
                taken.add((*whose, day))
                days[record["id"]].append(day)
            day += dt.timedelta(days=1)
            if day > last:
                break
    return [record | {"new days": days.get(record["id"], [])} for record in records]


def _begins(book: Bill, record: dict) -> dt.datetime:
    return instant(record.get("start")) or book.midnight(book.starts(record))


def _spread(amount: int, codes: dict[str, int]) -> dict[str, int]:
    """An amount over expense codes, in proportion to what they came to."""
    names = sorted(codes)
    weights = [Fraction(abs(codes[name])) for name in names]
    if not any(weights):
        weights[0] = Fraction(1)
    return dict(zip(names, shared(amount, weights), strict=True))


def _printed(book: Bill, priced: dict, splits: dict, unbilled: dict) -> dict:
    def shown(minor: int) -> str:
        return money(minor, book.places)

    def totals(found: dict) -> dict[str, str]:
        told = {"raw_total": found["raw"], "adjustment": found["total"] - found["raw"]}
        if "adjustment" in found:
            told["adjustment"] = found["adjustment"]
        told["total"] = found["total"]
        if "tax" in found:
            told["tax"] = found["tax"]
        return {key: shown(value) for key, value in told.items()}

    invoices = book.invoices(priced)
    codes: dict[str, dict[str, int]] = {}
    for charge, found in priced.items():
        by_code = codes.setdefault(found["project"], {})
        for code, part in splits[charge].items():
            by_code[code] = by_code.get(code, 0) + part
    for project, invoice in invoices.items():
        spread = [
            _spread(invoice[key], codes[project]) for key in ("adjustment", "tax") if key in invoice
        ]
        codes[project] = {
            code: part + sum(parts[code] for parts in spread)
            for code, part in codes[project].items()
        }
    return {
        "charges": {
            charge: {key: found[key] for key in ("quantity", "effective_rate") if key in found}
            | totals(found)
            for charge, found in priced.items()
        },
        "splits": {
            charge: {code: shown(part) for code, part in parts.items()}
            for charge, parts in splits.items()
        },
        "invoices": {
            project: totals(invoice)
            | {"by_expense_code": {code: shown(part) for code, part in codes[project].items()}}
            for project, invoice in invoices.items()
        },
        "statements": {team: totals(found) for team, found in book.statements(invoices).items()},
        "unbilled": unbilled,
    }
