"""Subsidies: the part of a rate that a third party pays, listed apart.

    subsidy: {by: NIH, percent: "20"}     40.00 → the project pays 32.00, NIH 8.00
    subsidy: {by: NIH, price: "5.00"}     two hours → 10.00, at most the charge itself

A subsidy is an adjustment line of its charge, before all rules; where staff set the amount of a
charge there is none.
"""

from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from billing_lib.pricing.catalogue import Catalogue
from billing_lib.pricing.exact import Exact
from billing_lib.pricing.money import PRICE_PLACES
from billing_lib.pricing.quantities import Quantities
from billing_lib.pricing.rates import Rate
from billing_lib.pricing.rules import CHARGE
from billing_lib.pricing.ruling import RULE_LINES, scaled

SUBSIDY = "subsidy"
"""The kind of a subsidy's line."""

_BEFORE_ALL_RULES = -1


@dataclass(frozen=True)
class Subsidies:
    """What third parties pay: by charge (not above zero, minor units), and as rule lines."""

    by_charge: pl.Series
    lines: pl.DataFrame


def subsidise(charges: pl.DataFrame, counted: Quantities, catalogue: Catalogue) -> Subsidies:
    """What third parties pay of these charges.

    Parameters
    ----------
    charges
        ``charge``, ``rate``, ``raw_total``, ``set_amount`` (null unless staff set it).
    counted
        Their quantities.
    """
    amounts = pl.zeros(charges.height, dtype=pl.Int64, eager=True)
    some = catalogue.once(_subsidised)
    if some.height == 0:
        return Subsidies(amounts, RULE_LINES.to_frame())
    payers = pl.repeat("", charges.height, dtype=pl.String, eager=True)
    for name, body in some["rate", "body"].rows():
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
            paid = charges.select(pl.min_horizontal(whole, "raw_total")).to_series()
        amounts = (-paid).zip_with(chosen, amounts)
        payers = pl.repeat(subsidy.by, charges.height, eager=True).zip_with(chosen, payers)
    lines = charges.select(
        scope=pl.lit(CHARGE), subject="charge", position=pl.lit(_BEFORE_ALL_RULES, pl.Int32),
        rule=payers, kind=pl.lit(SUBSIDY), on=pl.lit(""), before="raw_total", amount=amounts,
    ).filter(pl.col("amount") != 0)  # fmt: skip
    return Subsidies(amounts, lines.select(RULE_LINES.names()))


def _subsidised(catalogue: Catalogue) -> pl.DataFrame:
    return catalogue.rates.filter(pl.col("body").str.contains('"subsidy"', literal=True))
