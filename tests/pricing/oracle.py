"""The oracle: the scenario format priced once more, as slowly and plainly as it can be.

It reads plain dicts of text (what YAML says), takes one record at a time, computes in
``fractions`` and shares no code with ``billing_lib``. Where it and the library differ, one of
them has misread docs/scenario-format.md.

    bill({"period": "2020-04", "rates": [...], "usage": [...]})
    {"charges": {"u1": {"quantity": "3", "total": "120.00", ...}}, "splits": ..., ...}
"""

import datetime as dt
from collections.abc import Iterator
from fractions import Fraction

from .oracle_numbers import days_of_month, half_up, instant, money, shared, six_places, tiered
from .oracle_usage import Usage


class Bill(Usage):
    """One scenario being priced."""

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
        own = changes.get("rate")
        if self.unused(record) and "quantity" not in record:
            own = changes.get("rate", rate.get("no_show"))
        if own is not None:
            price = Fraction(own)
        exact_raw = quantity * price
        if "tiers" in rate and own is None:
            exact_raw = tiered(rate["tiers"], quantity, before, whole)
        raw = half_up(exact_raw * 10**self.places)
        if minimum:
            raw = max(raw, half_up(minimum * 10**self.places))
        raw = record.get("share of the mean", raw)
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
            found[project] = {"raw": raw, "running": raw, "changed": []}
        for rule in self.rules("invoice"):
            bases = [
                base
                for project, invoice in found.items()
                if self.aims(rule, project)
                for base in self._bases(rule, project, invoice, priced)
            ]
            for at, (invoice, part, key, total) in enumerate(bases):
                new = self.ruled(rule, total)
                if "over" in rule:
                    before = sum(it for _, _, other, it in bases[:at] if other == key)
                    is_last = all(other != key for _, _, other, _ in bases[at + 1 :])
                    new = self._over_span(rule, key, before, total, is_last=is_last)
                invoice["running"] += new - total
                invoice["changed"].append((part, new - total))
        for project, invoice in found.items():
            tax = self.kinds[self.projects[project]["type"]].get("tax")
            invoice["adjustment"] = invoice["running"] - invoice["raw"]
            invoice["total"] = invoice["running"]
            if tax is not None:
                invoice["tax"] = half_up(invoice["running"] * Fraction(tax["percent"]) / 100)
                invoice["total"] += invoice["tax"]
        return found

    def _bases(
        self, rule: dict, project: str, invoice: dict, priced: dict
    ) -> Iterator[tuple[dict, tuple, tuple, int]]:
        """What a rule works on in an invoice, user by user and day by day where it says so."""
        by, over = rule.get("by", "project"), rule.get("over")
        items = tuple(sorted(rule["items"])) if "items" in rule else None
        charges = [it for it in priced.values() if it["project"] == project]
        if items is not None:
            charges = [it for it in charges if it.get("item") in items]
        parts = {
            (items, it.get("user") if over and by == "user" else None,
             it["day"] if over == "day" else None)
            for it in charges
            if not (over and by == "user") or it.get("user") is not None
        }  # fmt: skip
        for part in sorted(parts, key=lambda part: (part[1] or "", part[2] or "")):
            _, user, day = part
            total = sum(
                it["total"]
                for it in charges
                if user in (None, it.get("user")) and day in (None, it["day"])
            )
            total += sum(
                change
                for inner, change in invoice["changed"]
                if all(mine in (None, its) for mine, its in zip(part, inner, strict=True))
            )
            key = {"project": project, "team": self.projects[project]["team"]}.get(by, user)
            yield invoice, part, (key, day), total

    def _over_span(self, rule: dict, key: tuple, before: int, total: int, *, is_last: bool) -> int:
        """What a cap or floor leaves of a total, after earlier months and earlier invoices."""
        code = " ".join(filter(None, key))
        carried = self.minor(self.content.get("carried", {}).get(rule["name"], {}).get(code, "0"))
        left = self.minor(rule["amount"]) - carried
        if rule["kind"] == "cap":
            return min(before + total, max(left, 0)) - min(before, max(left, 0))
        missing = left - before - total
        return total + max(missing, 0) if is_last and self.span_ends(rule["over"]) else total

    def span_ends(self, over: str) -> bool:
        """Whether the month is the last one of a span."""
        begins = int(self.content["facility"].get("fiscal_year_start", 1))
        months = {"day": 1, "month": 1, "quarter": 3, "fiscal_year": 12}[over]
        return (int(self.period[5:]) - begins + 1) % months == 0

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
                if "over" in rule:
                    new = self._over_span(rule, (code,), 0, total, is_last=True)
                team["total"] = new
            team["adjustment"] = team["total"] - team["raw"]
        return found

    def split(self, charge: str, project: str, total: int, own: str | None) -> dict[str, int]:
        standing = self.projects[project]["split"]
        if own is not None:
            standing = [{"expense_code": own, "percent": "100"}]
        shares = self.changes.get(charge, {}).get("split", standing)
        parts = shared(total, [Fraction(share["percent"]) for share in shares])
        return {share["expense_code"]: part for share, part in zip(shares, parts, strict=True)}


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
    billed = _with_snapshots(book, _with_days(book, billed))
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
            "day": book.starts(record).isoformat(),
        }  # fmt: skip
        splits[record["id"]] = book.split(record["id"], record["project"], charge["total"], None)
    for code, line in book.lines:
        raw = book.minor(line["amount"])
        set_to = book.changes.get(code, {}).get("amount")
        total = raw if set_to is None else book.minor(set_to)
        day = str(line["date"])
        priced[code] = {"raw": raw, "total": total, "project": line["project"], "day": day}
        splits[code] = book.split(code, line["project"], total, line.get("expense_code"))
    return _printed(book, priced, splits, unbilled)


def _ends(book: Bill, record: dict) -> tuple[dt.datetime, str]:
    """Where a record stands in the month: by end, then id; a date at the end of its day."""
    end = instant(record.get("end", record.get("booked_end")))
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


def _with_snapshots(book: Bill, records: list[dict]) -> list[dict]:
    """The records, each snapshot with the number its quantity is divided by, and its amount."""
    kinds = ("snapshot", "daily_snapshot")
    means: dict[tuple, list[dict]] = {}
    for record in sorted(records, key=lambda it: _ends(book, it)):
        counts = book.counts(record, book.rate_of(record))
        if counts in kinds:
            whose = (record["project"], record.get("user"), record["item"], counts)
            means.setdefault(whose, []).append(record)
    done: dict[str, dict] = {}
    for (*_, counts), snapshots in means.items():
        of = len(snapshots)
        if counts == "daily_snapshot":
            of = days_of_month(dt.date.fromisoformat(book.period + "-01"))
        done |= {it["id"]: it | {"of": of} for it in snapshots}
        shared_out = [it for it in snapshots if "quantity" not in book.changes.get(it["id"], {})]
        worth = []
        for record in shared_out:
            price = book.changes.get(record["id"], {}).get("rate", book.rate_of(record)["price"])
            worth.append(Fraction(record["quantity"]) / of * Fraction(price))
        amount = half_up(sum(worth, Fraction(0)) * 10**book.places)
        for record, part in zip(shared_out, shared(amount, worth), strict=True):
            done[record["id"]]["share of the mean"] = part
    return [done.get(record["id"], record) for record in records]


def _begins(book: Bill, record: dict) -> dt.datetime:
    start = record.get("start", record.get("booked_start"))
    return instant(start) or book.midnight(book.starts(record))


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
