"""The rows of the FOCUS dataset that are charges (focus.py).

    RC/57   Usage   3.333333 Hours at 40.00   list 133.33332   billed and effective 133.33

List and contracted cost are price times quantity, exactly as the specification wants it; what was
billed is rounded once, and has minimums, fees, rules and changes by staff in it. Where what a
charge came to before these is no price times its quantity (tiers, after hours, a minimum), the
unit price is the quotient.
"""

from collections.abc import Callable

import polars as pl

from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.money import minor_places, money_text_column
from billing_lib.pricing.period import day_start
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.costs import Costs

UNIT_PRICE_PLACES = 12
QUANTITY_PLACES = 6
COST_PLACES = UNIT_PRICE_PLACES + QUANTITY_PLACES

UTC = "%Y-%m-%dT%H:%M:%SZ"
"""An instant as the specification writes it."""

_ITEM = ("item", "item_name", "resource", "resource_name", "category")
_DATA_SIZES = {f"{size}{unit}" for size in ("", *"KMGTPE") for unit in ("b", "B")} | {
    f"{size}i{unit}" for size in "KMGTPE" for unit in ("b", "B")
}
_UNITS = {"each": "Units"}


def charge_rows(costs: Costs) -> pl.DataFrame:
    """A row per charge: the columns of focus.py that are its own, with ``team`` and ``project``,
    and ``billed`` and ``effective`` in minor units."""
    book = costs.book
    code, currency = pl.lit(book.facility.code), pl.lit(book.facility.currency)
    usage = pl.col("item").is_not_null()
    frame = _priced(costs.charges, minor_places(book.facility.currency))
    frame = _with_times(frame, book.facility.timezone)
    frame = frame.join(_items(book), on="item", how="left", maintain_order="left").with_columns(
        pl.col("item_name").fill_null(pl.col("item")),
        unit_name=_mapped(frame, "unit", unit_name),
        price_details=_mapped(
            frame, "rate_group", lambda group: canonical_json({"x_RateGroup": group})
        ),
    )
    told = pl.col("description").fill_null("")
    price = pl.when("flat").then(pl.format(" at {} {}", "price", currency)).otherwise(pl.lit(""))
    what = (
        pl.when(told == "")
        .then(pl.col("item_name"))
        .otherwise(pl.format("{}, {}", "item_name", told))
    )
    sku = pl.format("{}/{}", code, "item")
    late = pl.col("reference").is_null() & (pl.col("on_date") < pl.lit(costs.period.first_day))
    return frame.select(
        *("team", "project", "ChargePeriodStart", "ChargePeriodEnd"),
        InvoiceId="number",
        billed="total",
        effective="total",
        ChargeCategory=pl.when(usage)
        .then(pl.lit("Usage"))
        .when(pl.col("credits").is_not_null())
        .then(pl.lit("Credit"))
        .otherwise(pl.lit("Adjustment")),
        ChargeClass=pl.when(late | pl.col("credits").is_not_null()).then(pl.lit("Correction")),
        ChargeDescription=pl.when(usage)
        .then(pl.format("{}: {} {}{}", what, "quantity", "unit_name", price))
        .otherwise(told),
        ChargeFrequency=pl.when(usage).then(pl.lit("Usage-Based")).otherwise(pl.lit("One-Time")),
        ConsumedQuantity=pl.when(usage).then("quantity"),
        ConsumedUnit=pl.when(usage).then("unit_name"),
        ListUnitPrice=pl.when(usage).then("unit_price"),
        ListCost=pl.when(usage).then("list_cost"),
        PricingQuantity=pl.when(usage).then("priced"),
        PricingUnit=pl.when(usage & pl.col("countable"))
        .then("unit_name")
        .when(usage)
        .then(pl.lit("Charges")),
        PricingCategory=pl.when(usage).then(pl.lit("Standard")),
        ResourceId=pl.format("{}/{}", code, "resource"),
        ResourceName="resource_name",
        ResourceType=pl.when(pl.col("resource").is_not_null()).then(pl.lit("Resource")),
        ServiceCategory="category",
        ServiceName="item_name",
        SkuId=sku,
        SkuMeter="item_name",
        SkuPriceDetails="price_details",
        SkuPriceId=pl.format("{}/{}", sku, "rate_group"),
        x_Charge=pl.format("{}/{}", code, "code"),
        x_State="state",
        x_User="user",
    )


def _mapped(frame: pl.DataFrame, column: str, name: Callable[[str], str]) -> pl.Expr:
    """What each of a column's few values is called."""
    names = {value: name(value) for value in frame[column].drop_nulls().unique()}
    return pl.col(column).replace_strict(names, default=None, return_dtype=pl.String)


def _priced(charges: pl.DataFrame, places: int) -> pl.DataFrame:
    """``unit_price``, ``list_cost`` and the ``priced`` quantity as text; whether the price as
    stated gives what is charged (``flat``), and whether the quantity does at all
    (``countable``): what costs something though nothing was used counts as one charge."""
    quantity = _scaled(pl.col("quantity"), QUANTITY_PLACES).fill_null(0)
    price = _scaled(pl.col("price"), UNIT_PRICE_PLACES)
    cost = pl.col("raw_total").cast(pl.Int128) * _power(COST_PLACES - places)
    half = _power(COST_PLACES - places) // 2
    flat = ((price * quantity - cost).abs() <= half).fill_null(value=False)
    countable = flat | (quantity > 0)
    quotient = (cost + quantity // 2) // pl.when(quantity > 0).then(quantity).otherwise(_power(0))
    priced = pl.when(countable).then(quantity).otherwise(_power(QUANTITY_PLACES))
    unit = (
        pl.when(flat)
        .then(price)
        .when(countable)
        .then(quotient)
        .otherwise(cost // _power(QUANTITY_PLACES))
    )
    return charges.with_columns(
        flat=flat, countable=countable, priced=priced, unit_price=unit
    ).with_columns(
        priced=_text(pl.col("priced"), QUANTITY_PLACES),
        unit_price=_text(pl.col("unit_price"), UNIT_PRICE_PLACES),
        list_cost=_text(pl.col("unit_price") * pl.col("priced"), COST_PLACES),
    )


def _scaled(text: pl.Expr, places: int) -> pl.Expr:
    """Decimal text in whole numbers of 10^-places."""
    return text.str.to_decimal(scale=places).to_physical().cast(pl.Int128)


def _power(places: int) -> pl.Expr:
    return pl.lit(10**places, dtype=pl.Int128)


def _text(scaled: pl.Expr, places: int) -> pl.Expr:
    text = money_text_column(scaled, places)
    return text.str.strip_chars_end("0").str.strip_chars_end(".")


def _with_times(charges: pl.DataFrame, timezone: str) -> pl.DataFrame:
    """From when until when: a session's times to the second, or the whole of its day."""
    tomorrow = pl.col("on_date").dt.offset_by("1d")
    days = charges.select(pl.col("on_date").unique()).with_columns(
        day_start=day_start(pl.col("on_date"), timezone), day_end=day_start(tomorrow, timezone)
    )
    start = pl.coalesce("start_at", "day_start").dt.truncate("1s")
    ended = pl.col("end_at").dt.offset_by("999999us").dt.truncate("1s")
    end = pl.when(pl.col("start_at").is_null()).then("day_end").otherwise(ended)
    return charges.join(days, on="on_date", how="left", maintain_order="left").with_columns(
        ChargePeriodStart=start.dt.to_string(UTC),
        ChargePeriodEnd=pl.max_horizontal(end, start.dt.offset_by("1s")).dt.to_string(UTC),
    )


def _items(book: PriceBook) -> pl.DataFrame:
    """What the price book says of each item."""
    names = {resource.code: resource.name for resource in book.resources}
    focus = book.facility.focus
    rows = [
        {
            "item": item.code,
            "item_name": item.name,
            "resource": item.resource,
            "resource_name": names.get(item.resource or ""),
            "category": focus.items.get(item.code, focus.service_category),
        }
        for item in book.items
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(_ITEM, pl.String))


def unit_name(unit: str) -> str:
    """A unit as the specification writes it: ``hour`` → ``Hours``, ``GB-month`` → ``GB-Months``."""
    if unit in _UNITS:
        return _UNITS[unit]
    *before, last = [part if part in _DATA_SIZES else part.capitalize() for part in unit.split("-")]
    plural = last if last in _DATA_SIZES or last.endswith("s") else f"{last}s"
    return "-".join([*before, plural])
