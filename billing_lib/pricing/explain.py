"""The derivation of one charge, in words that a lab's administrator understands.

    Microscope 1, project p1, user ann
    Used from 2020-04-06 17:00:00 to 2020-04-06 20:00:00 (America/New_York): 3 hours.
    In business hours 1 hour at 40, after hours 2 hours at 25; together 30.000000 an hour.
    Quantity: 3 hour.
    Before adjustments: 90.00 USD.
    Rule 'pilot price' (scale): -9.00.
    Total: 81.00 USD.
    370-1 pays 60 %: 48.60.

Everything is read from the same frames and priced by the same functions as the charge itself.
"""

from collections.abc import Iterator
from typing import Any

import polars as pl

from billing_lib.pricing.by_time import Blends, label_names
from billing_lib.pricing.catalogue import DAY, HOUR, USE, Catalogue
from billing_lib.pricing.charging import QUANTITY_PLACES, charge_usage, shown
from billing_lib.pricing.exact import Exact
from billing_lib.pricing.money import PERCENT_PLACES, PRICE_PLACES, money_text, plain_text
from billing_lib.pricing.quantities import MICROSECONDS_PER_HOUR
from billing_lib.pricing.rates import BANDS, HOURS, Rate, TierStep


def explain_charge(
    charge: str,
    currency: str,
    rated: pl.DataFrame,
    catalogue: Catalogue,
    adjustments: pl.DataFrame,
    lines: pl.DataFrame,
) -> list[str]:
    """How a charge comes to its total, step by step, one sentence each.

    Parameters
    ----------
    charge
        Its code.
    currency
        The facility's.
    rated, catalogue, adjustments, lines
        What prices it, with all the records whose prices it depends on.
    """
    priced = charge_usage(rated, catalogue, adjustments, lines)
    row = shown(priced.charges.filter(pl.col("charge") == charge)).row(0, named=True)
    own = rated.filter(pl.col("record") == charge)
    places = catalogue.places
    sentences = [_heading(row, catalogue)]
    if row["kind"] == "usage":
        rates = catalogue.rates.filter(pl.col("rate") == row["rate"])
        rate = Rate.model_validate_json(rates["body"].item())
        sentences += [_time(row, catalogue.timezone)]
        sentences += _step(row, rate, own)
        changed = set(adjustments.filter(pl.col("charge") == charge)["field"])
        if not changed & {"rate", "quantity"}:
            sentences += _by_time(row, rate, own, catalogue)
        sentences += [_quantity(row), *_price(row, rate, currency)]
    sentences.append(f"Before adjustments: {money_text(row['raw_total'], places)} {currency}.")
    sentences += _changes(adjustments.filter(pl.col("charge") == charge))
    sentences += [
        f"{_rule_name(line)}: {money_text(line['amount'], places)}."
        for line in priced.rule_lines.filter(pl.col("subject") == charge).iter_rows(named=True)
    ]
    sentences.append(f"Total: {money_text(row['total'], places)} {currency}.")
    sentences += [
        f"{share['expense_code']} pays {_percent(share['percent'])} %: "
        f"{money_text(share['amount'], places)}."
        for share in priced.splits.filter(pl.col("charge") == charge).iter_rows(named=True)
    ]
    return sentences


def _heading(row: dict[str, Any], catalogue: Catalogue) -> str:
    names = dict(catalogue.items.select("item", "item_name").iter_rows())
    what = names.get(row["item"], row["item"]) if row["item"] else row["description"]
    user = f", user {row['user']}" if row["user"] else ""
    return f"{what}, project {row['project']}{user}"


def _time(row: dict[str, Any], timezone: str) -> str:
    if row["start"] is None:
        return f"Used on {row['date']}."
    ends = pl.DataFrame({"at": [row["start"], row["end"]]}).select(
        pl.col("at").dt.convert_time_zone(timezone).dt.strftime("%Y-%m-%d %H:%M:%S")
    )
    start, end = ends["at"]
    return f"Used from {start} to {end} ({timezone}): {_hours(row['hours'])}."


def _step(row: dict[str, Any], rate: Rate, own: pl.DataFrame) -> Iterator[str]:
    counted = own["quantity"].item() is None and row["start"] is not None
    if rate.rounding_step is not None and counted and (rate.per or row["unit"]) == HOUR:
        yield f"The time is rounded up to the next {rate.rounding_step}."


def _by_time(
    row: dict[str, Any], rate: Rate, own: pl.DataFrame, catalogue: Catalogue
) -> Iterator[str]:
    if rate.pricing not in (HOURS, BANDS) or row["start"] is None or row["start"] == row["end"]:
        return
    of_rate = catalogue.rates.select("rate", "step")
    frame = own.join(of_rate, on="rate").with_columns(known=pl.col("quantity"))
    parts = Blends(frame, catalogue).parts.row(0, named=True)
    told = [
        f"{name} {_hours(_shown(parts[f'time_{n}']))} at "
        f"{money_text(parts[f'price_{n}'], PRICE_PLACES).rstrip('0').rstrip('.')}"
        for n, name in enumerate(label_names(rate))
        if parts[f"time_{n}"]
    ]
    blended = f"; together {row['effective_rate']} an hour" if row["effective_rate"] else ""
    sentence = ", ".join(told) + blended
    yield f"{sentence[0].upper()}{sentence[1:]}."


def _quantity(row: dict[str, Any]) -> str:
    times = f" (hours × {row['units']})" if row["units"] not in (None, "1") else ""
    return f"Quantity: {row['quantity']} {row['unit']}{times}."


def _price(row: dict[str, Any], rate: Rate, currency: str) -> Iterator[str]:
    per = {USE: "use", DAY: "day"}.get(rate.per or "", row["unit"])
    if row["price"] is not None:
        yield f"Rate for group {row['rate_group']}: {row['price']} {currency} per {per}."
    if rate.tiers is not None:
        counted = "the project's quantity in the month" if rate.tiers.per == "project" else "it"
        steps = ", ".join(
            f"{plain_text(step.price)} "
            + (f"up to {plain_text(step.up_to)}" if step.up_to else "beyond")
            for step in rate.tiers.steps
        )
        yield f"Tiers ({rate.tiers.mode}), by what {counted} comes to: {steps}."
    if rate.minimum is not None or any(band.minimum for band in rate.bands or ()):
        mean = ", by bands the mean over the time" if rate.bands else ""
        yield f"At least {plain_text(rate.minimum) if rate.minimum else '0'} a charge{mean}."
    if rate.service_fee is not None:
        yield f"Service fee: {plain_text(rate.service_fee)}, added once."


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
    whole = Exact(pl.Series([microseconds]), MICROSECONDS_PER_HOUR).rounded(QUANTITY_PLACES).item()
    return money_text(whole, QUANTITY_PLACES).rstrip("0").rstrip(".")


def _hours(text: str) -> str:
    return f"{text} hour{'' if text == '1' else 's'}"


def _percent(scaled: int) -> str:
    return money_text(scaled, PERCENT_PLACES).rstrip("0").rstrip(".")
