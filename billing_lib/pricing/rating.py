"""Rating: each usage record gets its rate, or the reason why it is not billed.

    usage → rated  (one row per billable record, with the rate's fingerprint)
          → unbilled (one reason per record, the first that applies)

The rate is found by item, the project's rate group and the local day on which usage starts (or its
date). Each record is in exactly one of the two: records in = rated + unbilled.

The catalogue is the price book as frames. A snapshot holds one as Parquet files, with the rates
as they were, so that issuing needs no price book:

    rates     rate              item   group     pricing  price  minimum  step  valid_from  …
              3f0c…             slide  internal  flat     1.25   null     null  0001-01-01
    accounts  project  team       rate_group  from        position  expense_code  percent
              p1       smith-lab  internal    0001-01-01  0         370-1         600000

Many records are looked up in small tables by position; a join copies all columns of the records
and is several times as slow:

    positions(["scope", "x"], ["slide", "scope"])    1, null
    columns_at(rates, [1, 1, 0])                     the rates' columns, a row for each record
    Dated(rates).at(keys, days)                      the rate that is valid for a key on a day
"""

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import polars as pl

from billing_lib.pricing.clock import Period, ends, local_dates, period_of
from billing_lib.pricing.fields import step_microseconds
from billing_lib.pricing.money import (
    PERCENT_PLACES,
    PRICE_PLACES,
    largest_of,
    minor_places,
    plain_text,
    to_minor,
)
from billing_lib.pricing.pricebook import COST, PriceBook
from billing_lib.pricing.rates import Rate, Rule

PRICE = pl.Decimal(38, PRICE_PLACES)
"""A price: exact, six places, in the currency's unit."""

HOUR, EACH, USE, DAY, MONTH = "hour", "each", "use", "day", "month"
SNAPSHOT, DAILY_SNAPSHOT = "snapshot", "daily_snapshot"
"""The values of a rate's ``per``; hour is also the unit of items counted by time."""

SNAPSHOTS = (SNAPSHOT, DAILY_SNAPSHOT)

COUPLED = ("project", DAY, *SNAPSHOTS)
"""The values of ``per``, of a rate or its tiers, by which the price of a record depends on other
records of its project, item and month."""

_Made = TypeVar("_Made")

_SPAN = pl.Struct({"days": pl.String(), "hours": pl.String()})

RESOURCES = pl.Schema(
    {
        "resource": pl.String(),
        "business_hours": pl.List(_SPAN),
        "holidays": pl.List(pl.Date()),
    }
)
ITEMS = pl.Schema(
    {
        "item": pl.String(),
        "item_name": pl.String(),
        "unit": pl.String(),
        "resource": pl.String(),
        "cost": PRICE,  # per unit, for staff only
    }
)
RATES = pl.Schema(
    {
        "rate": pl.String(),  # fingerprint of the rate's body
        "item": pl.String(),
        "rate_group": pl.String(),
        "pricing": pl.String(),  # flat, hours, bands or tiers; details are in the body
        "per": pl.String(),  # null: by the item's unit
        "price": PRICE,  # null with tiers
        "minimum": pl.Int64(),  # minor units
        "service_fee": pl.Int64(),
        "step": pl.Int64(),  # microseconds
        "booking": pl.String(),  # longer; null where only use is billed
        "no_show": PRICE,  # of a booking that was not used; null: as any other
        "valid_from": pl.Date(),
        "valid_to": pl.Date(),  # inclusive
        "body": pl.String(),  # canonical JSON, as in the price book
    }
)
ACCOUNTS = pl.Schema(
    {
        "project": pl.String(),
        "project_name": pl.String(),
        "project_type": pl.String(),
        "rate_group": pl.String(),
        "tags": pl.List(pl.String()),  # the project's own and its team's
        "tax_name": pl.String(),
        "tax_percent": pl.Int64(),  # ten-thousandths of a per cent
        "team": pl.String(),
        "team_name": pl.String(),
        "team_tags": pl.List(pl.String()),
        "administrators": pl.List(pl.String()),
        "split_from": pl.Date(),  # the first and last day of this split
        "split_to": pl.Date(),
        "position": pl.Int32(),  # of the share in the split, from 0
        "expense_code": pl.String(),
        "percent": pl.Int64(),  # ten-thousandths of a per cent
    }
)
RULES = pl.Schema(
    {
        "position": pl.Int32(),  # in the order listed
        "name": pl.String(),
        "scope": pl.String(),
        "body": pl.String(),  # canonical JSON
    }
)


@dataclass(frozen=True)
class Catalogue:
    """A price book as frames, with its currency's places and time zone."""

    places: int
    timezone: str
    resources: pl.DataFrame
    items: pl.DataFrame
    rates: pl.DataFrame
    accounts: pl.DataFrame
    rules: pl.DataFrame
    _made: dict[Callable[["Catalogue"], Any], Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, book: PriceBook) -> "Catalogue":
        """The catalogue of a price book."""
        places = minor_places(book.facility.currency)
        return cls(
            places=places,
            timezone=book.facility.timezone,
            resources=_resources_frame(book),
            items=pl.DataFrame(
                [(i.code, i.name, i.unit, i.resource, i.cost) for i in book.items],
                schema=ITEMS,
                orient="row",
            ),
            rates=rates_frame(book.rates, places),
            accounts=_accounts_frame(book),
            rules=pl.DataFrame(
                [(at, rule.name, rule.scope, rule.body) for at, rule in enumerate(book.rules)],
                schema=RULES,
                orient="row",
            ),
        )

    def once(self, make: Callable[["Catalogue"], _Made]) -> _Made:
        """The result of a function of this catalogue, computed once and then kept.

        Usage priced in chunks needs the same tables for each chunk; computing them takes as long
        as pricing ten thousand records. Two threads may both compute it, which does no harm.
        """
        if make not in self._made:
            self._made[make] = make(self)
        made: _Made = self._made[make]
        return made

    @property
    def projects(self) -> pl.DataFrame:
        """The accounts, one row per project."""
        return self.once(_projects)

    def rules_at(self, scope: str) -> list[tuple[int, Rule]]:
        """The rules of one scope, in the order listed, each with its position."""
        return self.once(_rules).get(scope, [])


def _projects(catalogue: Catalogue) -> pl.DataFrame:
    return catalogue.accounts.unique("project", keep="first", maintain_order=True)


def _rules(catalogue: Catalogue) -> dict[str, list[tuple[int, Rule]]]:
    listed = catalogue.rules.sort("position").select("scope", "position", "body")
    by_scope: dict[str, list[tuple[int, Rule]]] = {}
    for scope, position, body in listed.iter_rows():
        by_scope.setdefault(scope, []).append((position, Rule.model_validate_json(body)))
    return by_scope


def due_rules(rules: pl.DataFrame, month: Period, fiscal_year_start: int) -> pl.DataFrame:
    """The rules that work in a month: all but floors over months that are not over."""
    due = [
        Rule.model_validate_json(body).is_due(month.month, fiscal_year_start)
        for body in rules["body"]
    ]
    return rules.filter(pl.Series(due, dtype=pl.Boolean))


def rates_frame(rates: Iterable[Rate], places: int) -> pl.DataFrame:
    """Rates as a frame (schema RATES); an open validity is filled with the calendar's ends."""
    rows = [
        (
            rate.fingerprint,
            rate.item,
            rate.group,
            rate.pricing,
            rate.per,
            None if rate.price is None else plain_text(rate.price),
            None if rate.minimum is None else to_minor(rate.minimum, places),
            None if rate.service_fee is None else to_minor(rate.service_fee, places),
            None if rate.rounding_step is None else step_microseconds(rate.rounding_step),
            rate.booking,
            None if rate.no_show is None else plain_text(rate.no_show),
            rate.valid_from or dt.date.min,
            rate.valid_to or dt.date.max,
            rate.body,
        )
        for rate in rates
    ]
    # Prices by their text: polars imports numpy to look at a decimal of Python.
    texts = pl.Schema(RATES | {"price": pl.String(), "no_show": pl.String()})
    return pl.DataFrame(rows, schema=texts, orient="row").cast({"price": PRICE, "no_show": PRICE})


def _resources_frame(book: PriceBook) -> pl.DataFrame:
    rows = [
        (
            resource.code,
            [{"days": days, "hours": span} for days, span in resource.business_hours.items()],
            list(resource.holidays),
        )
        for resource in book.resources
    ]
    return pl.DataFrame(rows, schema=RESOURCES, orient="row")


def _accounts_frame(book: PriceBook) -> pl.DataFrame:
    teams = {team.code: team for team in book.teams}
    taxes = {kind.code: kind.tax for kind in book.project_types}
    rows = []
    for project in book.projects:
        team, tax = teams[project.team], taxes[project.type]
        splits = project.dated_splits()
        ends = [later.valid_from for later in splits[1:]]
        for split, next_from in zip(splits, [*ends, None], strict=True):
            rows += [
                (
                    project.code,
                    project.name,
                    project.type,
                    book.rate_group(project),
                    [*project.tags, *team.tags],
                    tax.name if tax else None,
                    int(tax.percent.scaleb(PERCENT_PLACES)) if tax else None,
                    team.code,
                    team.name,
                    list(team.tags),
                    list(team.administrators),
                    split.valid_from or dt.date.min,
                    next_from - dt.timedelta(days=1) if next_from else dt.date.max,
                    position,
                    share.expense_code,
                    int(share.percent.scaleb(PERCENT_PLACES)),
                )
                for position, share in enumerate(split.split)
            ]
    return pl.DataFrame(rows, schema=ACCOUNTS, orient="row")


_KEY_STEP = 2**33  # more than dates are apart, in days
_PLACES = 2**16  # so many that a thousand codes mostly have one each


def positions(codes: pl.Series, table: pl.Series) -> pl.Series:
    """The position of each code in a table of distinct texts: UInt32, null for an unknown code."""
    return codes.cast(pl.Enum(table), strict=False).to_physical().cast(pl.UInt32)


class Codes:
    """The distinct codes of a small table, for looking up the codes of many records.

    Hashing is ten times as fast as looking up. So a code is compared with the table's code of the
    same hash, and looked up only if they differ.
    """

    def __init__(self, table: pl.Series) -> None:
        self.table = table
        nothing = pl.repeat(None, _PLACES, dtype=pl.UInt32, eager=True)
        numbers = pl.int_range(table.len(), dtype=pl.UInt32, eager=True)
        self._at_place = nothing.scatter(_place(table), numbers)

    def positions(self, codes: pl.Series) -> pl.Series:
        """The same as positions(codes, table)."""
        at = self._at_place[_place(codes)]
        other = codes.ne_missing(self.table[at])
        if not other.any():
            return at
        rows = other.arg_true()
        return at.scatter(rows, positions(codes[rows], self.table))


def _place(codes: pl.Series) -> pl.Series:
    return (codes.hash() % _PLACES).cast(pl.UInt32)


def columns_at(table: pl.DataFrame, at: pl.Series) -> list[pl.Expr]:
    """The columns of a table at these positions, null where a position is null.

    A column with one value becomes a literal, which costs nothing here or later.
    """
    complete = bool(table.height) and at.null_count() == 0
    return [
        pl.lit(column.head(1)).first().alias(column.name)
        if complete and column.n_unique() == 1
        else pl.lit(column[at]).alias(column.name)
        for column in table
    ]


class Dated:
    """A table whose rows are each valid for a key between two dates.

    Parameters
    ----------
    table
        ``key`` (a small whole number), ``valid_from`` and ``valid_to`` (inclusive, never null);
        no two rows of a key overlap.
    """

    def __init__(self, table: pl.DataFrame) -> None:
        self._first, self._last = table["valid_from"], table["valid_to"]
        self._rows = table.with_row_index("at").drop_nulls("key").sort("key", "valid_from")
        self._of_key = None
        if self._rows["key"].is_unique().all():
            size = largest_of(self._rows["key"]) + 1
            nulls = pl.repeat(None, size, dtype=pl.UInt32, eager=True)
            self._of_key = nulls.scatter(self._rows["key"], self._rows["at"])
        # The days on which all rows are valid: mostly all the days looked up.
        self._common = table.select(pl.max("valid_from"), pl.min("valid_to")).row(0)

    def at(self, keys: pl.Series, days: pl.Series) -> pl.Series:
        """The position of the row that is valid for each key on its day: UInt32, null for none."""
        if self._first.len() == 0:
            return pl.repeat(None, keys.len(), dtype=pl.UInt32, eager=True)
        at = self._last_from(keys, days) if self._of_key is None else _at(keys, self._of_key)
        if days.null_count() == 0 and days.is_between(*self._common).all():
            return at
        frame = pl.DataFrame(
            {"at": at, "day": days, "first": self._first[at], "last": self._last[at]}
        )
        holds = pl.col("day").is_between("first", "last")
        return frame.select(pl.when(holds).then("at")).to_series()

    def _last_from(self, keys: pl.Series, days: pl.Series) -> pl.Series:
        """The row of the key that starts last, at or before the day."""
        rows = self._rows
        starts = _key_and_day(rows["key"], rows["valid_from"])
        wanted = _key_and_day(keys, days)
        nearest = starts.search_sorted(wanted, side="right").cast(pl.Int64) - 1
        known = (nearest >= 0) & wanted.is_not_null()
        nearest = nearest.zip_with(known, pl.Series([None], dtype=pl.Int64)).cast(pl.UInt32)
        same = rows["key"][nearest] == keys
        nothing = pl.Series([None], dtype=pl.UInt32)
        return rows["at"][nearest].zip_with(same.fill_null(value=False), nothing)


def _at(keys: pl.Series, of_key: pl.Series) -> pl.Series:
    beyond = largest_of(keys) + 1 - of_key.len()
    table = of_key.extend_constant(None, beyond) if beyond > 0 else of_key
    return table[keys.cast(pl.UInt32)]


def _key_and_day(keys: pl.Series, days: pl.Series) -> pl.Series:
    return keys.cast(pl.Int64) * _KEY_STEP + days.to_physical().cast(pl.Int64)


_UNBILLED = pl.Schema(
    {"record": pl.String(), "occurrence": pl.Int32(), "reason": pl.String()}
    | {"detail": pl.String(), "file": pl.String(), "row": pl.Int64()}
)


@dataclass(frozen=True)
class Rating:
    """Usage as rating divides it.

    Attributes
    ----------
    rated
        The usage frame's billable rows with ``charge`` (the code of the charge that the record
        becomes), ``team``, ``rate_group``, ``unit`` and ``rate`` (fingerprint); ``date`` is the
        local day on which each starts.
    unbilled
        ``record``, ``occurrence``, ``reason``, ``detail``, ``file``, ``row``.
    """

    rated: pl.DataFrame
    unbilled: pl.DataFrame


def counted_per() -> pl.Expr:
    """The ``per`` of each rated record: its rate's, else by the item's unit.

    The units use and day count only for usage without a stated quantity.
    """
    unit = pl.col("unit")
    by_unit = (
        pl.when(unit == HOUR)
        .then(pl.lit(HOUR))
        .when(unit.is_in([USE, DAY]) & pl.col("quantity").is_null())
        .then(unit)
        .otherwise(pl.lit(EACH))
    )
    return pl.coalesce("per", by_unit)


REFERENCES = pl.Schema({"reference": pl.String(), "project": pl.String()})
"""The ad hoc invoices that usage can name, each once, with their projects."""


def rate_usage(
    usage: pl.DataFrame,
    catalogue: Catalogue,
    period: str | None = None,
    references: pl.DataFrame | None = None,
) -> Rating:
    """Give each usage record its rate, or the reason why it has none.

    Parameters
    ----------
    usage
        A usage frame (pricing/fields.py); with ``charge`` where the records have charges already.
    catalogue
        Items, rates and accounts.
    period
        ``YYYY-MM``: usage that ends in another month is ``outside_period``; None takes all.
    references
        The ad hoc invoices that usage may name (schema REFERENCES), which also give the project
        of usage without one; None takes any.
    """
    usage, named = _of_references(usage, references)
    if "charge" not in usage.columns:
        usage = usage.with_columns(charge="record")
    frame = _looked_up(usage, catalogue, period).with_columns(named.alias("_named"))
    frame = frame.with_columns(_too_large(frame, catalogue))
    checks = _checks(period, booked=has_bookings(usage))
    refused = frame.select(pl.any_horizontal(checks.values()).fill_null(value=False)).to_series()
    rated = frame.select(*usage.columns, "team", "rate_group", "unit", "rate")
    if not refused.any():  # then no row is copied and no sentence made
        return Rating(rated, _UNBILLED.to_frame())
    return Rating(rated.filter(~refused), _unbilled(frame.filter(refused), checks))


def _unbilled(frame: pl.DataFrame, checks: dict[str, pl.Expr]) -> pl.DataFrame:
    reasons = (pl.when(check).then(pl.lit(reason)) for reason, check in checks.items())
    reasoned = frame.with_columns(reason=pl.coalesce(*reasons))
    return reasoned.select("record", "occurrence", "reason", _detail(), "file", "row")


def _of_references(
    usage: pl.DataFrame, references: pl.DataFrame | None
) -> tuple[pl.DataFrame, pl.Series]:
    """The usage, with its reference's project if it names none; and a sentence on each reference
    that is unknown or belongs to another project."""
    fine = pl.repeat(None, usage.height, dtype=pl.String, eager=True)
    if references is None or usage["reference"].null_count() == usage.height:
        return usage, fine
    known = positions(usage["reference"], references["reference"])
    frame = usage.select("reference", "project", of=references["project"].gather(known))
    unknown = pl.format("there is no ad hoc invoice '{}'", "reference")
    other = pl.format("the ad hoc invoice '{}' is of project '{}'", "reference", "of")
    named = frame.select(
        sentence=pl.when(pl.col("of").is_null())
        .then(unknown)  # null without a reference
        .when(pl.col("project") != pl.col("of"))
        .then(other)
    )["sentence"]
    of = frame.select(pl.coalesce("project", "of")).to_series()
    return usage.with_columns(project=of), named


@dataclass(frozen=True)
class _Tables:
    """The tables for looking up usage.

    Attributes
    ----------
    items, of_item
        The items, and by item ``unit`` and ``_uncounted``: it has a rate per use, day or month.
    projects, of_project
        The projects, and by project ``team`` and ``rate_group``.
    groups, group_at
        The rate groups, and by project the position of its group.
    rates
        The rates by item and group, numbered by _pair.
    """

    items: Codes
    of_item: pl.DataFrame
    projects: Codes
    of_project: pl.DataFrame
    groups: pl.Series
    group_at: pl.Series
    rates: Dated


def _tables(catalogue: Catalogue) -> _Tables:
    uncounted = catalogue.rates.filter(pl.col("per").is_in([USE, DAY, MONTH]))["item"].unique()
    items, projects, rates = catalogue.items, catalogue.projects, catalogue.rates
    groups = projects["rate_group"].unique()
    item_at = positions(rates["item"], items["item"])
    pairs = _pair(item_at, positions(rates["rate_group"], groups), groups)
    return _Tables(
        items=Codes(items["item"]),
        of_item=items.select("unit", _uncounted=pl.col("item").is_in(uncounted.implode())),
        projects=Codes(projects["project"]),
        of_project=projects.select("team", "rate_group"),
        groups=groups,
        group_at=positions(projects["rate_group"], groups),
        rates=Dated(rates.select("valid_from", "valid_to", key=pairs)),
    )


def _looked_up(usage: pl.DataFrame, catalogue: Catalogue, period: str | None) -> pl.DataFrame:
    """The usage with columns of its item, its project and its rate."""
    tables = catalogue.once(_tables)
    item_at = tables.items.positions(usage["item"])
    project_at = tables.projects.positions(usage["project"])
    date = local_dates(usage["start"], catalogue.timezone)
    if date.null_count() and has_bookings(usage):
        booked = local_dates(usage["booked_start"], catalogue.timezone)
        date = date.zip_with(date.is_not_null(), booked)
    if date.null_count():
        date = date.zip_with(date.is_not_null(), usage["date"])
    pairs = _pair(item_at, tables.group_at[project_at], tables.groups)
    rate_at = tables.rates.at(pairs, date)
    closes = None
    if period is not None:
        end = usage.select(ends()).to_series() if has_bookings(usage) else usage["end"]
        end_day = local_dates(end, catalogue.timezone, before=True)
        closes = usage.select(period_of(pl.coalesce(end_day, "date"))).to_series()
    return usage.with_columns(
        *columns_at(tables.of_item, item_at),
        *columns_at(tables.of_project, project_at),
        date.alias("date"),
        pl.lit(closes, dtype=pl.String).alias("_period"),
        *columns_at(catalogue.rates.select("rate", "per", "booking"), rate_at),
    )


def has_bookings(usage: pl.DataFrame) -> bool:
    """Whether any record has a booking."""
    bookings = usage["booked_end"]
    return bookings.null_count() < bookings.len()


def _pair(item_at: pl.Series, group_at: pl.Series, groups: pl.Series) -> pl.Series:
    return item_at.cast(pl.Int64) * max(groups.len(), 1) + group_at.cast(pl.Int64)


LARGEST_QUANTITY = 10**12
"""The largest quantity of a record; a larger one is a mistake, whatever its price."""
_LARGEST_AMOUNT = 10**16  # minor units


def _too_large(frame: pl.DataFrame, catalogue: Catalogue) -> pl.Expr | pl.Series:
    """Whether a record counts, or comes to, more than can be: pricing would refuse all others
    with it. The estimates are floats; no money is computed from them."""
    prices, highest = catalogue.once(_highest_prices)
    amount = _LARGEST_AMOUNT / 10**catalogue.places
    limit = min(LARGEST_QUANTITY, amount / highest if highest else LARGEST_QUANTITY)
    span = frame.select(
        pl.max("end").to_physical() - pl.min("start").to_physical(), pl.max("elapsed")
    ).row(0)
    if has_bookings(frame):
        opens, closes = pl.col("booked_start").to_physical(), pl.col("booked_end").to_physical()
        span += frame.select((closes - opens).max()).row(0)
    hours = max((part for part in span if part is not None), default=0) / 3_600_000_000
    sizes = [largest_of(frame[name].to_physical()) / 10**9 for name in ("units", "quantity")]
    if hours * max(sizes[0], 1) < limit and sizes[1] < limit:
        return pl.lit(value=False).alias("_too_large")
    wall = (pl.col("end") - pl.col("start")).dt.total_microseconds()
    booked = (pl.col("booked_end") - pl.col("booked_start")).dt.total_microseconds()
    longest = pl.max_horizontal(pl.coalesce("elapsed", wall), booked)
    timed = longest.cast(pl.Float64) / 3_600_000_000
    units = pl.col("units").fill_null(1).cast(pl.Float64)
    counted = pl.max_horizontal(pl.col("quantity").cast(pl.Float64).abs(), timed * units)
    price = pl.col("rate").replace_strict(prices, default=0.0, return_dtype=pl.Float64)
    large = (counted >= LARGEST_QUANTITY) | (counted * price >= amount)
    return frame.select(_too_large=large.fill_null(value=False)).to_series()


def _highest_prices(catalogue: Catalogue) -> tuple[dict[str, float], float]:
    """The highest price or cost of a unit by rate, and of all."""
    costs = dict(catalogue.items.drop_nulls("cost").select("item", "cost").iter_rows())
    prices = {}
    for name, body in catalogue.rates.select("rate", "body").iter_rows():
        rate = Rate.model_validate_json(body)
        steps = [step.price for step in rate.tiers.steps] if rate.tiers else []
        bands = [band.price for band in rate.bands or ()]
        stated = [rate.price, rate.after_hours, rate.no_show, costs.get(rate.item), *steps, *bands]
        prices[name] = float(max(price for price in stated if price is not None))
    return prices, max(prices.values(), default=0.0)


def _unused() -> pl.Expr:
    """Whether a record is a booking that was not used."""
    used = pl.any_horizontal(pl.col("start", "end", "elapsed").is_not_null())
    return pl.col("booked_end").is_not_null() & ~used


def _needs_quantity(*, booked: bool) -> pl.Expr:
    """Whether the quantity must be stated: no clock, day or month, nor the record, counts it."""
    timed = pl.col("start").is_not_null() & pl.col("end").is_not_null()
    timed |= pl.col("elapsed").is_not_null()
    unit = pl.col("unit")
    # Without a rate, the item's rates for other groups decide.
    unrated = pl.col("rate").is_null() & pl.col("_uncounted")
    known = pl.when(unrated).then(pl.lit(USE)).otherwise(counted_per())
    counted = (timed & (unit.is_null() | (known == HOUR))) | known.is_in([USE, DAY, MONTH])
    if booked:
        billed = pl.col("booking").is_not_null() | pl.col("rate").is_null()
        counted = pl.when(_unused()).then(billed).otherwise(counted)
    return ~counted.fill_null(value=False)


def _checks(period: str | None, *, booked: bool) -> dict[str, pl.Expr]:
    """By reason whether it applies to a record; the first one counts."""
    start, end, date = pl.col("start"), pl.col("end"), pl.col("date")
    timed = start.is_not_null() & end.is_not_null()
    half_timed = start.is_null() != end.is_null()
    no_time = half_timed | (~timed & date.is_null()) | (end < start).fill_null(value=False)
    if booked:
        opens, closes = pl.col("booked_start"), pl.col("booked_end")
        no_time |= (opens.is_null() != closes.is_null()) | (closes < opens).fill_null(value=False)
    no_quantity = (
        ((pl.col("quantity") < 0) & pl.col("unit").ne_missing(COST)).fill_null(value=False)
        | (pl.col("units") < 0).fill_null(value=False)
        | (pl.col("quantity").is_null() & _needs_quantity(booked=booked))
        | pl.col("_too_large")
    )
    outside = pl.lit(value=False) if period is None else pl.col("_period") != period
    defect = {
        reason: (pl.col("defect") == reason).fill_null(value=False)
        for reason in ("invalid_time", "invalid_quantity")
    }
    return {
        "duplicate": pl.col("occurrence") > 1,
        "invalid_time": defect["invalid_time"] | no_time,
        "invalid_quantity": defect["invalid_quantity"] | no_quantity,
        "unknown_item": pl.col("unit").is_null(),
        "unknown_reference": pl.col("_named").is_not_null(),
        "unknown_project": pl.col("team").is_null(),
        "outside_period": outside,
        "no_rate": pl.col("rate").is_null(),
    }


def _detail() -> pl.Expr:
    said = {
        "duplicate": pl.format("the id '{}' stands earlier in the same file", "record"),
        "invalid_time": pl.lit("start or end is unknown, or the end is before the start"),
        "invalid_quantity": pl.when("_too_large")
        .then(pl.lit("the quantity, or the amount it comes to, is too large"))
        .when(_unused() & pl.col("quantity").is_null())
        .then(pl.lit("the booking was not used, and its rate bills no bookings"))
        .otherwise(pl.lit("the quantity is unknown or negative")),
        "unknown_item": pl.coalesce(
            pl.format("the price book has no item '{}'", "item"),
            pl.lit("the usage names no item"),
        ),
        "unknown_reference": pl.col("_named"),
        "unknown_project": pl.coalesce(
            pl.format("the price book has no project '{}'", "project"),
            pl.lit("the usage names no project"),
        ),
        "outside_period": pl.format("the usage ends in {}", "_period"),
        "no_rate": pl.format(
            "no rate for item '{}' and group '{}' on {}", "item", "rate_group", "date"
        ),
    }
    sentences = pl.coalesce(
        *(pl.when(pl.col("reason") == reason).then(text) for reason, text in said.items())
    )
    found_at_intake = pl.col("detail").is_not_null() & (pl.col("reason") == pl.col("defect"))
    return pl.when(found_at_intake).then(pl.col("detail")).otherwise(sentences).alias("detail")
