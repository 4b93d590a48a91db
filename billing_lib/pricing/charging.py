"""Charging: one usage record × one rate, with its adjustments, as a charge and its split.

    quantity   what the rate counts (pricing/amounts.py), or what staff set
    raw total  quantity × price, rounded once, half up; at least the minimum; and the service fee
    total      the raw total, or the amount that staff set, after the rules at charge scope

The same function prices the ledger's charges, a quotation and an invoice from its snapshot. A
rule that changes an amount gives a rule line: its name, its base and the difference. Rules at
invoice and statement scope are in pricing/invoicing.py.

    cap 500.00       520.00 → 500.00      scale 0.90     12.50 → 11.25
    floor 20.00       12.50 →  20.00      discount 3.00   2.00 →  0.00

A subsidy, the part of a rate that a third party pays, is a line before all rules; a charge whose
amount is set by staff has none:

    subsidy: {by: NIH, percent: "20"}     40.00 → the project pays 32.00, NIH 8.00
    subsidy: {by: NIH, price: "5.00"}     two hours → 10.00, at most the charge itself
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from billing_lib.pricing.adjusting import (
    ADJUSTMENTS,
    LINES,
    last_values,
    replaced_splits,
    waived_charges,
)
from billing_lib.pricing.amounts import (
    Blends,
    Quantities,
    as_booked,
    cost_amounts,
    elapsed_hours,
    quantities,
    snapshot_amounts,
    tier_amounts,
)
from billing_lib.pricing.charge import PRICED, QUANTITY_PLACES
from billing_lib.pricing.money import PRICE_PLACES, AmountTooLarge, Exact, decimals, largest_of
from billing_lib.pricing.rates import BANDS, CHARGE, FLAT, HOURS, TIERS, Rate, Rule
from billing_lib.pricing.rating import (
    COUPLED,
    DAY,
    PRICE,
    SNAPSHOTS,
    Catalogue,
    Codes,
    Dated,
    columns_at,
    counted_per,
    has_bookings,
    positions,
)
from billing_lib.pricing.split import Plans

RULE_LINES = pl.Schema(
    {
        "scope": pl.String(),  # charge, invoice or statement
        "subject": pl.String(),  # the charge, the project or the team
        "position": pl.Int32(),  # of the rule in the price book; a subsidy comes before all
        "rule": pl.String(),
        "kind": pl.String(),
        "on": pl.String(),  # the base in words: items, a user, a day; empty for the whole
        "user": pl.String(),  # of the base, as is the next; null for all of them
        "day": pl.Date(),
        "before": pl.Int64(),  # minor units, as is the next
        "amount": pl.Int64(),  # added by the rule
    }
)

Kind = Callable[[Rule, pl.Series, int], pl.Series]


def _discount(rule: Rule, amounts: pl.Series, places: int) -> pl.Series:
    less = (amounts - rule.amount_minor(places)).clip(lower_bound=0)
    return less.zip_with(amounts > 0, amounts)


def _tier(rule: Rule, amounts: pl.Series, places: int) -> pl.Series:
    """Each part × its own factor; a negative amount is in the first step."""
    total = Exact(pl.zeros(amounts.len(), dtype=pl.Int64, eager=True), 1)
    below = pl.zeros(amounts.len(), dtype=pl.Int64, eager=True)
    for step in rule.steps or ():
        bound = None if step.up_to is None else int(step.up_to.scaleb(places))
        reached = amounts.clip(upper_bound=bound)
        total = total.plus(_times(reached - below, step.factor))
        below = reached
    return total.rounded(0)


KINDS: dict[str, Kind] = {
    "cap": lambda rule, amounts, places: amounts.clip(upper_bound=rule.amount_minor(places)),
    "floor": lambda rule, amounts, places: amounts.clip(lower_bound=rule.amount_minor(places)),
    "fee": lambda rule, amounts, places: amounts + rule.amount_minor(places),
    "discount": _discount,
    "scale": lambda rule, amounts, _: scaled(amounts, rule.factor or Decimal(0)),
    "tier": _tier,
}
"""By kind a function of the rule, amounts in minor units and the currency's places."""


def scaled(amounts: pl.Series, factor: Decimal) -> pl.Series:
    """Amounts × a factor, rounded half up, half away from zero below it."""
    return _times(amounts, factor).rounded(0)


def _times(amounts: pl.Series, factor: Decimal) -> Exact:
    value = pl.repeat(int(factor.scaleb(PRICE_PLACES)), amounts.len(), dtype=pl.Int64, eager=True)
    return Exact(amounts, 1).times(Exact(value, 10**PRICE_PLACES))


def targeted(rule: Rule, projects: pl.DataFrame, tags: str = "tags") -> pl.Series:
    """The projects to which a rule applies."""
    chosen = [
        rule.targets_project(project, set(held or ()))
        for project, held in projects.select("project", tags).iter_rows()
    ]
    return projects["project"].filter(pl.Series(chosen, dtype=pl.Boolean))


def rule_charges(charges: pl.DataFrame, catalogue: Catalogue) -> tuple[pl.Series, pl.DataFrame]:
    """The totals of charges after the rules at charge scope, and rule lines (schema RULE_LINES).

    ``charges`` has ``charge``, ``project``, ``item``, ``total``, and no added lines.
    """
    totals, lines = charges["total"], [RULE_LINES.to_frame()]
    projects = catalogue.projects
    for position, rule in catalogue.rules_at(CHARGE):
        mask = pl.col("project").is_in(targeted(rule, projects).implode())
        if rule.items is not None:
            mask &= pl.col("item").is_in(rule.items)
        chosen = charges.select(mask.fill_null(value=False)).to_series()
        changed = KINDS[rule.kind](rule, totals, catalogue.places).zip_with(chosen, totals)
        lines.append(
            _rule_lines(charges, position, pl.lit(rule.name), rule.kind, totals, changed - totals)
        )
        totals = changed
    return totals, pl.concat(lines)


def _rule_lines(
    charges: pl.DataFrame,
    position: int,
    rule: pl.Series | pl.Expr,
    kind: str,
    before: pl.Series,
    amount: pl.Series,
) -> pl.DataFrame:
    """The lines (schema RULE_LINES) of a rule at charge scope, where its amount is not 0."""
    return charges.select(
        scope=pl.lit(CHARGE), subject="charge", position=pl.lit(position, pl.Int32), rule=rule,
        kind=pl.lit(kind), on=pl.lit(""), user=pl.lit(None, pl.String), day=pl.lit(None, pl.Date),
        before=before, amount=amount,
    ).filter(pl.col("amount") != 0)  # fmt: skip


SUBSIDY = "subsidy"
"""The kind of a subsidy's line."""

_BEFORE_ALL_RULES = -1


@dataclass(frozen=True)
class Subsidies:
    """The subsidies by charge (minor units, zero or negative), and as rule lines."""

    by_charge: pl.Series
    lines: pl.DataFrame


def subsidise(charges: pl.DataFrame, counted: Quantities, catalogue: Catalogue) -> Subsidies:
    """The subsidies of charges.

    ``charges`` has ``charge``, ``rate``, ``raw_total``, ``set_amount`` (null unless set by staff).
    """
    amounts = pl.zeros(charges.height, dtype=pl.Int64, eager=True)
    subsidised = catalogue.once(_subsidised)
    if subsidised.height == 0:
        return Subsidies(amounts, RULE_LINES.to_frame())
    payers = pl.repeat("", charges.height, dtype=pl.String, eager=True)
    for name, body in subsidised.select("rate", "body").rows():
        subsidy = Rate.model_validate_json(body).subsidy
        chosen = charges.select(
            ((pl.col("rate") == name) & pl.col("set_amount").is_null()).fill_null(value=False)
        ).to_series()
        if subsidy is None or not chosen.any():
            continue
        if subsidy.percent is not None:
            paid = scaled(charges["raw_total"], subsidy.percent.scaleb(-2))
        else:
            unit = int((subsidy.price or Decimal(0)).scaleb(PRICE_PLACES))
            price = pl.repeat(unit, charges.height, dtype=pl.Int64, eager=True)
            whole = counted.times(Exact(price, 10**PRICE_PLACES), catalogue.places)
            paid = charges.select(
                pl.when(pl.col("raw_total") < 0)
                .then(pl.max_horizontal(whole, "raw_total"))
                .otherwise(pl.min_horizontal(whole, "raw_total"))
            ).to_series()
        amounts = (-paid).zip_with(chosen, amounts)
        payers = pl.repeat(subsidy.by, charges.height, eager=True).zip_with(chosen, payers)
    lines = _rule_lines(charges, _BEFORE_ALL_RULES, payers, SUBSIDY, charges["raw_total"], amounts)
    return Subsidies(amounts, lines)


def _subsidised(catalogue: Catalogue) -> pl.DataFrame:
    return catalogue.rates.filter(pl.col("body").str.contains('"subsidy"', literal=True))


_OF_RATE = ("pricing", "per", "price", "minimum", "service_fee", "step")
_OF_BOOKING = ("booking", "no_show")
_OF_SHARE = ("position", "expense_code", "percent")
_LARGEST_SUM = 10**18  # minor units


@dataclass(frozen=True)
class Charges:
    """Charges (schema PRICED) and their splits (schema SPLIT), in the order of the usage,
    added lines last; and what each rule changed (schema RULE_LINES), in order."""

    charges: pl.DataFrame
    splits: pl.DataFrame
    rule_lines: pl.DataFrame


def charge_usage(
    rated: pl.DataFrame,
    catalogue: Catalogue,
    adjustments: pl.DataFrame | None = None,
    lines: pl.DataFrame | None = None,
) -> Charges:
    """Price rated usage.

    Parameters
    ----------
    rated
        Billable usage with its rate (pricing/rating.py). If rates couple records, all of a
        project's month at once; else in chunks of any size.
    catalogue
        The rates that ``rated`` names, and the accounts of its projects.
    adjustments, lines
        The adjustments and added lines by staff (pricing/adjusting.py); none by default.
    """
    adjustments = ADJUSTMENTS.to_frame() if adjustments is None else adjustments
    lines = LINES.to_frame() if lines is None else lines
    values = last_values(adjustments, catalogue.places)
    usage_charges, subsidies = _usage_charges(rated, catalogue, values)
    totals, rule_lines = rule_charges(usage_charges, catalogue)
    charges = usage_charges.with_columns(
        total=totals, adjustment=totals - usage_charges["raw_total"]
    )
    if lines.height:
        charges = pl.concat([charges, _line_charges(lines, catalogue, values)])
    rule_lines = pl.concat([subsidies, rule_lines])
    waived = waived_charges(adjustments)
    if waived.len():
        charges = _waive(charges, waived)
        rule_lines = rule_lines.filter(~pl.col("subject").is_in(waived.implode()))
    _refuse_unsummable(charges)
    splits = _splits(charges, catalogue, replaced_splits(adjustments, lines))
    return Charges(charges, splits, rule_lines)


def _waive(charges: pl.DataFrame, waived: pl.Series) -> pl.DataFrame:
    """Charges with a total of 0 for the waived ones, in spite of all rules."""
    is_waived = pl.col("charge").is_in(waived.implode())
    return charges.with_columns(
        total=pl.when(is_waived).then(0).otherwise("total"),
        adjustment=pl.when(is_waived).then(-pl.col("raw_total")).otherwise("adjustment"),
    )


def couples_records(catalogue: Catalogue) -> bool:
    """Whether the price of a record may depend on others: tiers per project, day passes, means of
    snapshots."""
    rates = catalogue.rates.join(catalogue.items.select("item", "unit"), on="item", how="left")
    by_day = pl.col("per").is_null() & (pl.col("unit") == DAY)
    by_rate = pl.col("body").str.contains_any([f'"per":"{per}"' for per in COUPLED])
    return bool(rates.select((by_day | by_rate).any()).item())


def _refuse_unsummable(charges: pl.DataFrame) -> None:
    # Sums of invoices and statements have 64 bits and would wrap without an error.
    columns = [charges[name] for name in ("raw_total", "total", "cost")]
    if sum(largest_of(column) for column in columns) * charges.height <= _LARGEST_SUM:
        return
    if sum(int(column.cast(pl.Int128).abs().sum()) for column in columns) > _LARGEST_SUM:
        raise AmountTooLarge(
            "the sum of the charges has more than 18 digits", remedy="check the quantities"
        )


def _usage_charges(
    rated: pl.DataFrame, catalogue: Catalogue, values: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    priced, counted = price_usage(rated, catalogue, values)
    charges = priced.with_columns(
        *rated.select("start", "end"),
        counted.rounded(QUANTITY_PLACES).alias("quantity"),
        elapsed_hours(rated).rounded(QUANTITY_PLACES).alias("hours"),
        cost=_costs(rated["item"], counted, catalogue),
    )
    subsidies = subsidise(charges, counted, catalogue)
    charges = charges.with_columns(
        total=pl.coalesce("set_amount", pl.col("raw_total") + subsidies.by_charge)
    ).select(
        "charge",
        pl.lit("usage").alias("kind"),
        "record",
        "occurrence",
        "project",
        "team",
        "item",
        "user",
        "date",
        "start",
        "end",
        "description",
        "unit",
        "hours",
        "units",
        "quantity",
        "rate",
        "rate_group",
        pl.coalesce("tier_price", "set_price", "price").alias("price"),
        decimals(pl.col("effective_rate"), PRICE_PLACES).cast(PRICE),
        "raw_total",
        pl.lit(0, dtype=pl.Int64).alias("adjustment"),
        "total",
        pl.col("cost").cast(pl.Int64),
        "file",
        "row",
    )
    return charges, subsidies.lines


def price_usage(
    rated: pl.DataFrame, catalogue: Catalogue, values: pl.DataFrame
) -> tuple[pl.DataFrame, Quantities]:
    """Rated usage with its prices, before rules; and its quantities.

    Parameters
    ----------
    rated, catalogue
        As for :func:`charge_usage`.
    values
        The values set by staff (:func:`~billing_lib.pricing.adjusting.last_values`).

    Returns
    -------
    tuple[pl.DataFrame, Quantities]
        With ``prices`` (how each is priced), ``priced`` (what that comes to, minor units),
        ``least`` (the minimum it has), ``raw_total``, ``effective_rate`` (in millionths),
        ``tier_price``, ``booked`` (whether the booked time is billed), and ``start`` and ``end``
        of the time that is billed.
    """
    rates, fingerprints = catalogue.once(_rates)
    rate_at = fingerprints.positions(rated["rate"])
    frame = (
        _with_values(rated, values)
        .with_columns(columns_at(rates.select(_OF_RATE), rate_at))
        .with_columns(booked=pl.lit(value=False))
    )
    if rates["booking"].null_count() < rates.height and has_bookings(rated):
        frame = as_booked(frame.with_columns(columns_at(rates.select(_OF_BOOKING), rate_at)))
    frame = frame.with_columns(counts=counted_per(), prices=_prices())
    counted = quantities(frame, catalogue.timezone, set(rates["per"]))
    return _priced(frame, counted, catalogue, rates, rate_at), counted


def _rates(catalogue: Catalogue) -> tuple[pl.DataFrame, Codes]:
    """Each rate once, and their fingerprints."""
    rates = catalogue.rates.unique("rate", keep="first", maintain_order=True)
    return rates, Codes(rates["rate"])


def _with_values(frame: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
    if values.height == 0:
        nothing = {name: dtype for name, dtype in values.schema.items() if name != "charge"}
        return frame.with_columns(
            pl.lit(None, dtype=dtype).alias(name) for name, dtype in nothing.items()
        )
    return frame.join(values, on="charge", how="left", maintain_order="left")


def _costs(items: pl.Series, counted: Quantities, catalogue: Catalogue) -> pl.Series | None:
    if catalogue.items["cost"].null_count() == catalogue.items.height:
        return None
    known = catalogue.items.drop_nulls("cost")
    prices = Exact.of_decimals(known["cost"]).at(positions(items, known["item"]))
    return counted.times(prices, catalogue.places)


def _prices() -> pl.Expr:
    """The way in which each record is priced: that of its rate, but flat if staff set a price, or
    if there is no time to be divided."""
    by_time = pl.col("pricing").is_in([HOURS, BANDS])
    flat = pl.col("set_price").is_not_null() | (by_time & ~_lasts())
    return pl.when(flat).then(pl.lit(FLAT)).otherwise(pl.col("pricing"))


def _lasts() -> pl.Expr:
    return (pl.col("end") > pl.col("start")).fill_null(value=False)


def _priced(
    frame: pl.DataFrame,
    counted: Quantities,
    catalogue: Catalogue,
    rates: pl.DataFrame,
    rate_at: pl.Series,
) -> pl.DataFrame:
    """The frame with the columns that :func:`price_usage` adds."""
    own_price = pl.coalesce("set_price", "price")
    ways = set(rates["pricing"])
    if ways == {FLAT} and frame["set_price"].null_count() == frame.height:
        prices = Exact.of_decimals(rates["price"]).at(rate_at)
    else:
        flat = pl.when(pl.col("prices") == FLAT).then(own_price).cast(PRICE)
        prices = Exact.of_decimals(frame.select(flat).to_series())
    raw = cost_amounts(frame, prices, counted.times(prices, catalogue.places), catalogue.places)
    if not set(SNAPSHOTS).isdisjoint(rates["per"]):
        raw = raw.scatter(*snapshot_amounts(frame, counted, prices, catalogue))
    least = frame["minimum"]
    hourly = pl.when(pl.col("pricing") == HOURS).then(own_price)
    effective = frame.select(hourly.to_physical().cast(pl.Int64)).to_series()
    tier_price: pl.Expr | pl.Series = pl.lit(None, dtype=PRICE)
    if ways & {HOURS, BANDS}:
        numbered = frame.with_columns(known=counted.known).with_row_index("at")
        timed = numbered.filter(pl.col("pricing").is_in([HOURS, BANDS]) & _lasts())
        if timed.height:
            blends = Blends(timed, catalogue)
            blended = timed["prices"] != FLAT
            at = timed["at"].filter(blended)
            raw = raw.scatter(at, blends.amounts(catalogue.places).filter(blended))
            hours = blended & (timed["pricing"] == HOURS)
            each = blends.effective_rates().filter(hours)
            effective = effective.scatter(timed["at"].filter(hours), each)
            banded = timed["pricing"] == BANDS
            least = least.scatter(timed["at"].filter(banded), blends.minimums().filter(banded))
    if TIERS in ways:
        amounts, tier_price = tier_amounts(frame, counted, catalogue)
        raw = raw.zip_with(amounts.is_null(), amounts)
    fee = pl.col("service_fee").fill_null(0)
    return frame.with_columns(
        priced=raw,
        least=least,
        raw_total=pl.max_horizontal(raw, least) + fee,
        effective_rate=effective,
        tier_price=tier_price,
    )


def _line_charges(lines: pl.DataFrame, catalogue: Catalogue, values: pl.DataFrame) -> pl.DataFrame:
    teams = catalogue.accounts.select("project", "team").unique("project")
    known = (
        lines.join(teams, on="project", how="left", maintain_order="left")
        .join(values.select("charge", "set_amount"), on="charge", how="left", maintain_order="left")
        .with_columns(
            kind=pl.lit("line"),
            raw_total=pl.col("amount"),
            total=pl.coalesce("set_amount", "amount"),
        )
        .with_columns(adjustment=pl.col("total") - pl.col("raw_total"))
    )
    return known.select(
        pl.col(name).cast(dtype) if name in known.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in PRICED.items()
    )


@dataclass(frozen=True)
class _Standing:
    """The splits of the projects: their dates by the place of the project, their shares in lists,
    and the same as plans."""

    projects: Codes
    dated: Dated
    lists: pl.DataFrame
    plans: Plans


def _standing(catalogue: Catalogue) -> _Standing:
    splits = _listed(catalogue.accounts, ["project", "split_from", "split_to"])
    projects = splits["project"].unique(maintain_order=True)
    spans = splits.select(
        key=positions(splits["project"], projects), valid_from="split_from", valid_to="split_to"
    )
    lists = splits.select(_OF_SHARE)
    return _Standing(Codes(projects), Dated(spans), lists, Plans(lists, "percent"))


def _listed(shares: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """One row per split, its shares in lists."""
    ordered = shares.sort("position", maintain_order=True)
    return ordered.group_by(keys, maintain_order=True).agg(_OF_SHARE)


def _splits(charges: pl.DataFrame, catalogue: Catalogue, replaced: pl.DataFrame) -> pl.DataFrame:
    """Each charge's total over its project's split on its day, or over its own split."""
    standing = catalogue.once(_standing)
    plan = standing.dated.at(standing.projects.positions(charges["project"]), charges["date"])
    plans = standing.plans
    if replaced.height:
        own = _listed(replaced, ["charge"])
        own_plan = positions(charges["charge"], own["charge"]) + standing.lists.height
        plan = own_plan.zip_with(own_plan.is_not_null(), plan)
        plans = Plans(pl.concat([standing.lists, own.select(_OF_SHARE)]), "percent")
    charge, total = charges["charge"], charges["total"]
    if plan.null_count():
        has_plan = plan.is_not_null()
        charge, total, plan = (column.filter(has_plan) for column in (charge, total, plan))
    parts = plans.share_out(total, plan)
    return parts.select(charge[parts["at"]], *_OF_SHARE, "amount")
