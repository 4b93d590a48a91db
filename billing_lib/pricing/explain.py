"""The derivation of charges: in sentences for people, and in steps for a table.

    Microscope 1, project p1, user ann
    Used from 2020-04-06 17:00:00 to 2020-04-06 20:00:00 (America/New_York): 3 hours.
    In business hours 1 hour at 40, after hours 2 hours at 25; together 30.000000 an hour.
    Quantity: 3 hour.
    Before adjustments: 90.00 USD.
    Rule 'pilot price' (scale): -9.00.
    Total: 81.00 USD.
    370-1 pays 60 %: 48.60.

The frames and functions are the same that price the charge. A charge that is more than quantity ×
rate has steps that sum to its raw total; they are rounded one by one, and the last part of the
price takes the rest:

    in business hours         1 × 40 =  40.00
    after hours               2 × 25 =  50.00
    service fee                          5.00
    raw total                           95.00
"""

from collections.abc import Iterator
from typing import Any

import polars as pl

from billing_lib.pricing.adjusting import last_values
from billing_lib.pricing.amounts import (
    MICROSECONDS_PER_HOUR,
    Blends,
    Quantities,
    Shares,
    as_booked,
    elapsed_hours,
    graduated_parts,
    label_names,
    last_day,
    wall_time,
)
from billing_lib.pricing.charge import QUANTITY_PLACES, as_text
from billing_lib.pricing.charging import charge_usage, price_usage
from billing_lib.pricing.clock import period_of
from billing_lib.pricing.money import (
    PRICE_PLACES,
    Exact,
    money_text,
    plain_text,
    plain_text_column,
)
from billing_lib.pricing.rates import BANDS, FLAT, HOURS, Rate, TierStep
from billing_lib.pricing.rating import DAY, HOUR, MONTH, PRICE, SNAPSHOT, SNAPSHOTS, USE, Catalogue


def explain_charge(
    charge: str,
    currency: str,
    rated: pl.DataFrame,
    catalogue: Catalogue,
    adjustments: pl.DataFrame,
    lines: pl.DataFrame,
) -> list[str]:
    """The derivation of a charge's total, step by step, one sentence each.

    ``rated`` also has all the records on which the price of the charge depends.
    """
    priced = charge_usage(rated, catalogue, adjustments, lines)
    places = catalogue.places
    found = priced.charges.filter(pl.col("charge") == charge)
    row = as_text(found, places, catalogue.timezone).row(0, named=True)
    own = rated.filter(pl.col("charge") == charge)
    sentences = [_heading(row, catalogue)]
    if row["kind"] == "usage":
        rates = catalogue.rates.filter(pl.col("rate") == row["rate"])
        rate = Rate.model_validate_json(rates["body"].item())
        billed = _billed(own, rates)
        stated = own["elapsed"].item() is not None
        sentences += _time(row, billed, catalogue.timezone, stated=stated)
        sentences += _step(row, rate, billed)
        changed = set(adjustments.filter(pl.col("charge") == charge)["field"])
        if not changed & {"rate", "quantity"}:
            sentences += _by_time(row, rate, billed, catalogue)
        if rate.per in (MONTH, *SNAPSHOTS):
            sentences += _by_month(price_steps(rated, catalogue, adjustments), charge)
        no_show = billed["set_price"].item() is not None and "rate" not in changed
        sentences += [_quantity(row, rate), *_price(row, rate, currency, no_show=no_show)]
        sentences += _cents(own, currency)
    sentences.append(f"Before adjustments: {row['raw_total']} {currency}.")
    sentences += _changes(adjustments.filter(pl.col("charge") == charge))
    sentences += [
        f"{_rule_name(line)}: {money_text(line['amount'], places)}."
        for line in priced.rule_lines.filter(pl.col("subject") == charge).iter_rows(named=True)
    ]
    sentences.append(f"Total: {row['total']} {currency}.")
    shares = priced.splits.filter(pl.col("charge") == charge)
    sentences += [
        f"{share['expense_code']} pays {share['percent']} %: {share['amount']}."
        for share in as_text(shares, places).iter_rows(named=True)
    ]
    return sentences


def _heading(row: dict[str, Any], catalogue: Catalogue) -> str:
    names = dict(catalogue.items.select("item", "item_name").iter_rows())
    name = names.get(row["item"], row["item"]) if row["item"] else row["description"]
    user = f", user {row['user']}" if row["user"] else ""
    return f"{name}, project {row['project']}{user}"


def _billed(own: pl.DataFrame, rates: pl.DataFrame) -> pl.DataFrame:
    """The record with the time that is billed: used, or booked."""
    rate = rates.select("rate", "step", "booking", "no_show")
    return as_booked(own.join(rate, on="rate").with_columns(set_price=pl.lit(None, PRICE)))


def _time(
    row: dict[str, Any], billed: pl.DataFrame, timezone: str, *, stated: bool
) -> Iterator[str]:
    booked = billed["booked"].item()
    if row["start"] is not None:
        start, end = (row[name][:19].replace("T", " ") for name in ("start", "end"))
        by = ", as the source states" if stated else ""
        yield f"Used from {start} to {end} ({timezone}): {_hours(row['hours'])}{by}."
    elif stated or not booked:
        yield f"Used on {row['date']}" + (f": {_hours(row['hours'])}." if stated else ".")
    if booked:
        hours = _shown(billed.select(wall_time()).item())
        why = "not used" if row["hours"] is None else "longer than used"
        booking = _sentence(billed.select(_booking(timezone)).item())
        yield f"{booking} ({timezone}): {_hours(hours)}, {why}."


def _booking(timezone: str) -> pl.Expr:
    """A booking in words: ``booked from 2020-04-06 09:00:00 to 2020-04-06 12:00:00``."""
    times = (
        pl.col(name).dt.convert_time_zone(timezone).dt.strftime("%Y-%m-%d %H:%M:%S")
        for name in ("booked_start", "booked_end")
    )
    return pl.format("booked from {} to {}", *times)


def _step(row: dict[str, Any], rate: Rate, billed: pl.DataFrame) -> Iterator[str]:
    counted = billed["quantity"].item() is None and (
        row["hours"] is not None or billed["booked"].item()
    )
    if rate.rounding_step is not None and counted and (rate.per or row["unit"]) == HOUR:
        yield f"The time is rounded up to the next {rate.rounding_step}."


def _by_time(
    row: dict[str, Any], rate: Rate, billed: pl.DataFrame, catalogue: Catalogue
) -> Iterator[str]:
    start, end, own_price = billed.select("start", "end", "set_price").row(0)
    if rate.pricing not in (HOURS, BANDS) or start == end or own_price is not None:
        return
    frame = billed.with_columns(known=pl.col("quantity"))
    parts = Blends(frame, catalogue).parts.row(0, named=True)
    parts_told = [
        f"{name} {_hours(_shown(parts[f'time_{n}']))} at "
        f"{money_text(parts[f'price_{n}'], PRICE_PLACES).rstrip('0').rstrip('.')}"
        for n, name in enumerate(label_names(rate))
        if parts[f"time_{n}"]
    ]
    blended = f"; together {row['effective_rate']} an hour" if row["effective_rate"] else ""
    sentence = ", ".join(parts_told) + blended
    yield f"{_sentence(sentence)}."


def _by_month(steps: pl.DataFrame, charge: str) -> Iterator[str]:
    """The months that a charge covers, or its share of a mean."""
    parts = steps.filter((pl.col("charge") == charge) & pl.col("quantity").is_not_null())
    for step, quantity in parts.select("step", "quantity").iter_rows():
        yield f"{_sentence(step)}: {_millionths(quantity)}."


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _quantity(row: dict[str, Any], rate: Rate) -> str:
    by_clock = (rate.per or row["unit"]) == HOUR and row["units"] not in (None, "1")
    times = f" (hours × {row['units']})" if by_clock else ""
    return f"Quantity: {row['quantity']} {row['unit']}{times}."


def _price(row: dict[str, Any], rate: Rate, currency: str, *, no_show: bool) -> Iterator[str]:
    month = f"{row['unit']} and month"
    per = {USE: "use", DAY: "day", **dict.fromkeys((MONTH, *SNAPSHOTS), month)}.get(
        rate.per or "", row["unit"]
    )
    if row["price"] is not None:
        noun = "No-show price" if no_show else "Rate"
        yield f"{noun} for group {row['rate_group']}: {row['price']} {currency} per {per}."
    if rate.tiers is not None:
        by_project = rate.tiers.per == "project"
        base = "the project's quantity in the month" if by_project else "the quantity"
        steps = ", ".join(f"{plain_text(step.price)} {_reach(step)}" for step in rate.tiers.steps)
        yield f"Tiers ({rate.tiers.mode}), by {base}: {steps}."
    if rate.minimum is not None or any(band.minimum for band in rate.bands or ()):
        mean = ", by bands the mean over the time" if rate.bands else ""
        yield f"At least {plain_text(rate.minimum) if rate.minimum else '0'} a charge{mean}."
    if rate.service_fee is not None:
        yield f"Service fee: {plain_text(rate.service_fee)}, added once."


def _cents(own: pl.DataFrame, currency: str) -> Iterator[str]:
    before = own["costs_before"].item()
    if before is not None:
        yield (
            f"The costs before it in its file are {plain_text(before)} {currency}; "
            "it is billed the cents that it adds to their rounded sum."
        )


def _reach(step: TierStep) -> str:
    return "beyond" if step.up_to is None else f"up to {plain_text(step.up_to)}"


def _changes(adjustments: pl.DataFrame) -> Iterator[str]:
    for change in adjustments.sort("order").iter_rows(named=True):
        before = f" from {change['before']}" if change["before"] else ""
        yield (
            f"{change['by']} set {change['field'].replace('_', ' ')}{before} to "
            f"{change['value']} on {change['at']}: {change['reason']}."
        )


def _rule_name(line: dict[str, Any]) -> str:
    if line["kind"] == "subsidy":
        return f"Subsidy by {line['rule']}"
    return f"Rule '{line['rule']}' ({line['kind']})"


def _shown(microseconds: int) -> str:
    return _millionths(
        Exact(pl.Series([microseconds]), MICROSECONDS_PER_HOUR).rounded(QUANTITY_PLACES).item()
    )


def _millionths(value: int) -> str:
    return money_text(value, QUANTITY_PLACES).rstrip("0").rstrip(".")


def _hours(text: str) -> str:
    return f"{text} hour{'' if text == '1' else 's'}"


STEPS = pl.Schema(
    {
        "charge": pl.String(),
        "step": pl.String(),  # its name, in words
        "quantity": pl.Int64(),  # in millionths; null where the step has none
        "price": PRICE,  # null where the step has none
        "amount": pl.Int64(),  # minor units
    }
)

_PARTS = pl.Schema(
    {
        "at": pl.UInt32(),
        "place": pl.Int64(),
        "step": pl.String(),
        "quantity": pl.Int64(),
        "price": pl.Int64(),
        "amount": pl.Int64(),
    }
)
_PLAIN = "quantity × rate"
_MINIMUM, _FEE = "up to the minimum", "service fee"
_LAST = 10**6  # a place behind all parts of a price


def price_steps(
    rated: pl.DataFrame, catalogue: Catalogue, adjustments: pl.DataFrame
) -> pl.DataFrame:
    """The steps (schema STEPS) of charges that are more than quantity × rate, in their order."""
    used = catalogue.rates.join(rated.select("rate").unique(), on="rate", how="semi")
    plain = (pl.col("pricing") == FLAT) & pl.col("minimum").is_null()
    plain &= ~pl.col("per").is_in([MONTH, *SNAPSHOTS]).fill_null(value=False)
    plain &= pl.col("booking").is_null()
    if used.select((plain & pl.col("service_fee").is_null()).all()).item():
        return STEPS.to_frame()
    frame, counted = price_usage(rated, catalogue, last_values(adjustments, catalogue.places))
    frame = frame.with_columns(
        known=counted.known, unused=elapsed_hours(rated).numerators.is_null()
    )
    frame = frame.with_row_index("at")
    parts = pl.concat(
        [
            _PARTS.to_frame(),
            *_steps_by_time(frame, catalogue),
            *_by_tier(frame, counted, catalogue),
            *_by_share(frame, counted, catalogue),
        ]
    )
    parts = parts.filter((pl.col("quantity") != 0) | (pl.col("amount") != 0))
    parts = pl.concat([parts, _flat(frame, parts, counted)])
    parts = pl.concat([_as_booked(parts, frame, catalogue.timezone), *_added(frame)])
    parts = parts.sort("at", "place")
    unit = pl.lit(1).cast(PRICE) / 10**PRICE_PLACES
    return (
        parts.join(frame.select("at", "charge", "priced"), on="at", maintain_order="left")
        .with_columns(amount=pl.col("amount") + _rest())
        .select("charge", "step", "quantity", (pl.col("price") * unit).cast(PRICE), "amount")
        .cast(STEPS)
    )


def _steps_by_time(frame: pl.DataFrame, catalogue: Catalogue) -> Iterator[pl.DataFrame]:
    timed = frame.filter(pl.col("prices").is_in([HOURS, BANDS]))
    if timed.height == 0:
        return
    used = catalogue.rates.join(timed.select("rate").unique(), on="rate", how="semi")
    names = {
        rate: label_names(Rate.model_validate_json(body))
        for rate, body in used.select("rate", "body").iter_rows()
    }
    for label, (quantity, price, amount) in enumerate(
        Blends(timed, catalogue).by_label(catalogue.places)
    ):
        called = {rate: listed[label] for rate, listed in names.items() if label < len(listed)}
        yield _part(
            timed["at"], label, timed["rate"].replace_strict(called, default=None),
            quantity, price, amount,
        )  # fmt: skip


def _by_tier(
    frame: pl.DataFrame, counted: Quantities, catalogue: Catalogue
) -> Iterator[pl.DataFrame]:
    for place, (at, name, part, price) in enumerate(graduated_parts(frame, counted, catalogue)):
        called = pl.repeat(name, at.len(), dtype=pl.String, eager=True)
        amount = part.times(price).rounded(catalogue.places)
        yield _part(at, place, called, part.rounded(QUANTITY_PLACES), price.numerators, amount)


def _by_share(
    frame: pl.DataFrame, counted: Quantities, catalogue: Catalogue
) -> Iterator[pl.DataFrame]:
    """The months that a charge covers, each its days; and the snapshots."""
    if counted.shares is None:
        return
    whole, price = counted.shares.whole, pl.coalesce("set_price", "price")
    shared = frame.filter(whole.numerators.is_not_null()).with_columns(
        price=price, last=last_day(catalogue.timezone)
    )
    first, last = pl.col("date").dt.month_start(), pl.col("last").dt.month_start()
    months = (
        shared.filter(pl.col("counts") == MONTH)
        .with_columns(month=pl.date_ranges(first, last, interval="1mo"))
        .explode("month")
        .with_columns(
            above=(
                pl.min_horizontal("last", pl.col("month").dt.month_end())
                - pl.max_horizontal("date", "month")
            ).dt.total_days()
            + 1,
            below=pl.col("month").dt.days_in_month().cast(pl.Int64),
            place=pl.int_range(pl.len()).over("at"),
        )
    )
    part = Shares(whole.at(months["at"]), months["above"], months["below"])
    prices = Exact.of_decimals(months["price"])
    month = period_of(pl.col("month"))
    yield months.select(
        "at", "place",
        step=pl.format("{} of the {} days of {}", "above", "below", month),
        quantity=pl.lit(part.rounded(QUANTITY_PLACES)),
        price=pl.col("price").to_physical().cast(pl.Int64),
        amount=pl.lit(part.times(prices).rounded(catalogue.places)),
    )  # fmt: skip
    quantity = counted.rounded(QUANTITY_PLACES)
    below = counted.shares.below
    snapshots = shared.filter(pl.col("counts") != MONTH)
    of_days = pl.format("on one of the {} days of its month", "below")
    of_snapshots = pl.format("one of the {} of its month", "below")
    yield snapshots.with_columns(below=pl.lit(below[snapshots["at"]])).select(
        "at", place=pl.lit(0, pl.Int64),
        step=pl.format(
            "snapshot of {}, {}", plain_text_column(pl.col("quantity")),
            pl.when(pl.col("counts") == SNAPSHOT).then(of_snapshots).otherwise(of_days),
        ),
        quantity=pl.lit(quantity[snapshots["at"]]),
        price=pl.col("price").to_physical().cast(pl.Int64),
        amount="priced",
    )  # fmt: skip


def _part(
    at: pl.Series, place: int, step: pl.Series, quantity: pl.Series, price: pl.Series,
    amount: pl.Series,
) -> pl.DataFrame:  # fmt: skip
    columns = {"at": at, "step": step, "quantity": quantity, "price": price, "amount": amount}
    return pl.DataFrame(columns).select(
        pl.lit(place).alias(name).cast(dtype) if name == "place" else pl.col(name).cast(dtype)
        for name, dtype in _PARTS.items()
    )


def _flat(frame: pl.DataFrame, parts: pl.DataFrame, counted: Quantities) -> pl.DataFrame:
    """Quantity × rate, as a step of the charges that also have a minimum or a fee."""
    price = pl.coalesce("tier_price", "set_price", "price")
    return (
        frame.with_columns(counted.rounded(QUANTITY_PLACES).alias("quantity"))
        .filter(
            (pl.col("least") > pl.col("priced"))
            | pl.col("service_fee").is_not_null()
            | pl.col("booked")
        )
        .join(parts.select("at").unique(), on="at", how="anti")
        .select(
            "at",
            place=pl.lit(0, dtype=pl.Int64),
            step=pl.lit(_PLAIN),
            quantity="quantity",
            price=price.to_physical().cast(pl.Int64),
            amount="priced",
        )
    )


def _as_booked(parts: pl.DataFrame, frame: pl.DataFrame, timezone: str) -> pl.DataFrame:
    """The parts of a price, each named after the booking where that is billed."""
    of_booking = frame.filter(pl.col("booked")).select(
        "at", booking=pl.format("{}{}", _booking(timezone), pl.col("unused").replace_strict(
            {True: ", not used", False: ""}, return_dtype=pl.String
        )),
    )  # fmt: skip
    if of_booking.height == 0:
        return parts
    named = pl.when(pl.col("step") == _PLAIN).then("booking").otherwise(
        pl.format("{}, {}", "booking", "step")
    )  # fmt: skip
    return (
        parts.join(of_booking, on="at", how="left", maintain_order="left")
        .with_columns(step=pl.coalesce(named, "step"))
        .drop("booking")
    )


def _added(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The steps on top of the price: up to the minimum, and the service fee."""
    nothing = pl.lit(None, dtype=pl.Int64)
    over = pl.col("least") - pl.col("priced")
    for place, step, amount in ((_LAST, _MINIMUM, over), (_LAST + 1, _FEE, pl.col("service_fee"))):
        yield frame.select(
            "at", place=pl.lit(place, dtype=pl.Int64), step=pl.lit(step),
            quantity=nothing, price=nothing, amount=amount,
        ).filter(pl.col("amount") > 0)  # fmt: skip


def _rest() -> pl.Expr:
    """The rest from rounding the parts of a price one by one, on the last part; 0 elsewhere."""
    of_price = pl.col("place") < _LAST
    rest = pl.col("priced") - pl.col("amount").filter(of_price).sum().over("at")
    last = of_price & (pl.col("place") == pl.col("place").filter(of_price).max().over("at"))
    return pl.when(last).then(rest).otherwise(0)
