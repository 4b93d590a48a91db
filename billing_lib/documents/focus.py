"""The FOCUS dataset of a month, as tools for cloud costs read it.

FinOps Open Cost and Usage Specification, version 1.2 (https://focus.finops.org); docs/focus.md
explains each column. There is a row per charge, per rule that changed an invoice, per invoice's
tax, and per payment from prepaid funds: the rows of an invoice sum to the amount left to pay, to
the cent.

    RC/57   Usage   3.333333 Hours at 40.00   list 133.33332   billed and effective 133.33

List and contracted cost are price times quantity, unrounded, as the specification demands. Billed
cost is rounded once and includes minimums, fees, rules and changes by staff. Where price times
quantity is not the raw total (tiers, after hours, a minimum), the unit price is the quotient.
"""

from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from pathlib import Path

import polars as pl

from billing_lib.documents.writing import write_file
from billing_lib.errors import UnwritableFile
from billing_lib.pricing.charge import QUANTITY_PLACES, as_text
from billing_lib.pricing.clock import day_start
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.money import minor_places, money_text_column
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.journal import Costs

UNIT_PRICE_PLACES = 12
COST_PLACES = UNIT_PRICE_PLACES + QUANTITY_PLACES

UTC = "%Y-%m-%dT%H:%M:%SZ"
"""The format of an instant in the specification."""

_ITEM = ("item", "item_name", "resource", "resource_name", "category")
_DATA_SIZES = {f"{size}{unit}" for size in ("", *"KMGTPE") for unit in ("b", "B")} | {
    f"{size}i{unit}" for size in "KMGTPE" for unit in ("b", "B")
}
_UNITS = {"each": "Units"}


def charge_rows(costs: Costs) -> pl.DataFrame:
    """A row per charge: its own columns of the dataset, ``team`` and ``project``, and the amounts
    ``billed`` and ``effective`` in minor units."""
    book = costs.book
    code, currency = pl.lit(book.facility.code), pl.lit(book.facility.currency)
    usage = pl.col("item").is_not_null()
    frame = _priced(costs.charges, minor_places(book.facility.currency))
    frame = as_text(frame, only=("quantity", "price"))
    frame = _with_times(frame, book.facility.timezone)
    frame = frame.join(_items(book), on="item", how="left", maintain_order="left").with_columns(
        pl.col("item_name").fill_null(pl.col("item")),
        unit_name=_mapped(frame, "unit", unit_name),
        price_details=_mapped(
            frame, "rate_group", lambda group: canonical_json({"x_RateGroup": group})
        ),
    )
    description = pl.col("description").fill_null("")
    price = pl.when("flat").then(pl.format(" at {} {}", "price", currency)).otherwise(pl.lit(""))
    service = (
        pl.when(description == "")
        .then(pl.col("item_name"))
        .otherwise(pl.format("{}, {}", "item_name", description))
    )
    sku = pl.format("{}/{}", code, "item")
    late = pl.col("reference").is_null() & (pl.col("date") < pl.lit(costs.period.first_day))
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
        .then(pl.format("{}: {} {}{}", service, "quantity", "unit_name", price))
        .otherwise(description),
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
        x_Charge=pl.format("{}/{}", code, "charge"),
        x_State="state",
        x_User="user",
    )


def _mapped(frame: pl.DataFrame, column: str, name: Callable[[str], str]) -> pl.Expr:
    """The name of each of a column's few values."""
    names = {value: name(value) for value in frame[column].drop_nulls().unique()}
    return pl.col(column).replace_strict(names, default=None, return_dtype=pl.String)


def _priced(charges: pl.DataFrame, places: int) -> pl.DataFrame:
    """Add the ``unit_price``, the ``list_cost`` and the ``priced`` quantity, as text.

    ``flat``: the stated price times the quantity is the raw total. ``countable``: some unit price
    gives it; a charge without a quantity counts as one piece.
    """
    quantity = pl.col("quantity").cast(pl.Int128).fill_null(0)
    price = pl.col("price").cast(pl.Decimal(38, UNIT_PRICE_PLACES)).to_physical()
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


def _power(places: int) -> pl.Expr:
    return pl.lit(10**places, dtype=pl.Int128)


def _text(scaled: pl.Expr, places: int) -> pl.Expr:
    text = money_text_column(scaled, places)
    return text.str.strip_chars_end("0").str.strip_chars_end(".")


def _with_times(charges: pl.DataFrame, timezone: str) -> pl.DataFrame:
    """Add the charge period: a session's times to the second, or its whole day."""
    tomorrow = pl.col("date").dt.offset_by("1d")
    days = charges.select(pl.col("date").unique()).with_columns(
        day_start=day_start(pl.col("date"), timezone), day_end=day_start(tomorrow, timezone)
    )
    start = pl.coalesce("start", "day_start").dt.truncate("1s")
    ended = pl.col("end").dt.offset_by("999999us").dt.truncate("1s")
    end = pl.when(pl.col("start").is_null()).then("day_end").otherwise(ended)
    return charges.join(days, on="date", how="left", maintain_order="left").with_columns(
        ChargePeriodStart=start.dt.to_string(UTC),
        ChargePeriodEnd=pl.max_horizontal(end, start.dt.offset_by("1s")).dt.to_string(UTC),
    )


def _items(book: PriceBook) -> pl.DataFrame:
    """Each item with its names, its resource and its service category."""
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
    """A unit as the specification spells it: ``hour`` → ``Hours``, ``GB-month`` → ``GB-Months``."""
    if unit in _UNITS:
        return _UNITS[unit]
    *before, last = [part if part in _DATA_SIZES else part.capitalize() for part in unit.split("-")]
    plural = last if last in _DATA_SIZES or last.endswith("s") else f"{last}s"
    return "-".join([*before, plural])


VERSION = "1.2"
"""The version of the specification."""

_COST = pl.Decimal(38, COST_PLACES)
_UNIT_PRICE = pl.Decimal(38, UNIT_PRICE_PLACES)
_QUANTITY = pl.Decimal(38, QUANTITY_PLACES)
_TIME = pl.Datetime("us", "UTC")

COLUMNS: dict[str, pl.DataType] = {
    "BilledCost": _COST,
    "BillingAccountId": pl.String(),
    "BillingAccountName": pl.String(),
    "BillingAccountType": pl.String(),
    "BillingCurrency": pl.String(),
    "BillingPeriodEnd": _TIME,
    "BillingPeriodStart": _TIME,
    "ChargeCategory": pl.String(),
    "ChargeClass": pl.String(),
    "ChargeDescription": pl.String(),
    "ChargeFrequency": pl.String(),
    "ChargePeriodEnd": _TIME,
    "ChargePeriodStart": _TIME,
    "CommitmentDiscountStatus": pl.String(),
    "ConsumedQuantity": _QUANTITY,
    "ConsumedUnit": pl.String(),
    "ContractedCost": _COST,
    "ContractedUnitPrice": _UNIT_PRICE,
    "EffectiveCost": _COST,
    "InvoiceId": pl.String(),
    "InvoiceIssuerName": pl.String(),
    "ListCost": _COST,
    "ListUnitPrice": _UNIT_PRICE,
    "PricingCategory": pl.String(),
    "PricingQuantity": _QUANTITY,
    "PricingUnit": pl.String(),
    "ProviderName": pl.String(),
    "PublisherName": pl.String(),
    "ResourceId": pl.String(),
    "ResourceName": pl.String(),
    "ResourceType": pl.String(),
    "ServiceCategory": pl.String(),
    "ServiceName": pl.String(),
    "ServiceSubcategory": pl.String(),
    "SkuId": pl.String(),
    "SkuMeter": pl.String(),
    "SkuPriceDetails": pl.String(),
    "SkuPriceId": pl.String(),
    "SubAccountId": pl.String(),
    "SubAccountName": pl.String(),
    "SubAccountType": pl.String(),
    "Tags": pl.String(),
    "x_BillingPeriod": pl.String(),
    "x_Charge": pl.String(),
    "x_State": pl.String(),
    "x_User": pl.String(),
}
"""The columns, first FOCUS's, then our own (``x_…``), with their types in Parquet."""


def focus_rows(months: Iterable[Costs]) -> pl.DataFrame:
    """The dataset of some facilities' months, all columns as text."""
    empty = pl.DataFrame(schema=dict.fromkeys(COLUMNS, pl.String))
    return pl.concat([empty, *(_of_facility(costs) for costs in months)])


def write_focus(rows: pl.DataFrame, path: Path) -> bool:
    """Write the dataset as CSV or Parquet, by the file's name; whether the file changed."""
    if path.suffix == ".csv":
        return write_file(path, rows.write_csv(line_terminator="\r\n").encode())
    if path.suffix != ".parquet":
        raise UnwritableFile(
            "a dataset is written as .csv or .parquet",
            where=str(path),
            remedy="give the file one of these two endings",
        )
    typed = rows.with_columns(
        pl.col(name).str.to_datetime(UTC, time_unit="us", time_zone="UTC")
        if dtype == _TIME
        else pl.col(name).cast(dtype)
        for name, dtype in COLUMNS.items()
    )
    content = BytesIO()
    typed.write_parquet(content)
    return write_file(path, content.getvalue())


def _of_facility(costs: Costs) -> pl.DataFrame:
    facility, places = costs.book.facility, minor_places(costs.book.facility.currency)
    rows = pl.concat([charge_rows(costs), *_beside_charges(costs)], how="diagonal")
    _require_payable(costs, rows)
    start, end = (
        pl.select(day_start(pl.lit(day), facility.timezone).dt.to_string(UTC)).item()
        for day in (costs.period.first_day, costs.period.next.first_day)
    )
    billed = money_text_column(pl.col("billed"), places)
    category = pl.coalesce("ServiceCategory", pl.lit(facility.focus.service_category))
    completed = rows.with_columns(
        BilledCost=billed,
        EffectiveCost=money_text_column(pl.col("effective"), places),
        # A row without a unit price has one cost in every respect.
        ListCost=pl.coalesce("ListCost", billed),
        ContractedCost=pl.coalesce("ListCost", billed),
        ContractedUnitPrice="ListUnitPrice",
        BillingCurrency=pl.lit(facility.currency),
        BillingPeriodStart=pl.lit(start),
        BillingPeriodEnd=pl.lit(end),
        ChargePeriodStart=pl.coalesce("ChargePeriodStart", pl.lit(start)),
        ChargePeriodEnd=pl.coalesce("ChargePeriodEnd", pl.lit(end)),
        ServiceCategory=category,
        ServiceSubcategory=pl.format("Other ({})", category),
        ServiceName=pl.coalesce("ServiceName", pl.lit(facility.name)),
        # Always null: the rules of ConsumedQuantity name it, and validators look for it there.
        CommitmentDiscountStatus=pl.lit(None, dtype=pl.String),
        BillingAccountType=pl.lit("Team"),
        SubAccountType=pl.lit("Project"),
        x_BillingPeriod=pl.lit(str(costs.period)),
        **{
            name: pl.lit(facility.name)
            for name in ("InvoiceIssuerName", "ProviderName", "PublisherName")
        },
    )
    completed = _with_accounts(completed, costs.book)
    return completed.select(pl.col(name).cast(pl.String) for name in COLUMNS)


def _with_accounts(rows: pl.DataFrame, book: PriceBook) -> pl.DataFrame:
    """Add the billing account (the team) and the sub account (the project), with today's names
    and tags."""
    by_code = {team.code: team for team in book.teams}
    teams = pl.DataFrame(
        [(team.code, team.name) for team in book.teams],
        schema={"team": pl.String, "BillingAccountName": pl.String},
        orient="row",
    )
    projects = pl.DataFrame(
        [
            (project.code, project.name, _tags([*by_code[project.team].tags, *project.tags]))
            for project in book.projects
        ],
        schema=dict.fromkeys(("project", "SubAccountName", "Tags"), pl.String),
        orient="row",
    )
    named = rows.join(teams, on="team", how="left", maintain_order="left").join(
        projects, on="project", how="left", maintain_order="left"
    )
    return named.with_columns(
        pl.col("BillingAccountName").fill_null(pl.col("team")),
        pl.col("SubAccountName").fill_null(pl.col("project")),
        BillingAccountId="team",
        SubAccountId="project",
    )


def _tags(tags: Sequence[str]) -> str | None:
    """Tags, which have no values, as a JSON object."""
    return canonical_json(dict.fromkeys(tags, True)) if tags else None


def _beside_charges(costs: Costs) -> Iterable[pl.DataFrame]:
    """The rows of invoices that are no charges: changes by rules, tax, payments from funds."""
    invoices = costs.invoices.select("number", "team", "project", "tax", "prepaid")
    once = {"ChargeFrequency": pl.lit("One-Time")}
    on = pl.when(pl.col("worked_on") != "").then(pl.format(" on {}", "worked_on"))
    yield costs.adjustments.join(invoices.drop("tax", "prepaid"), on="number").select(
        *("team", "project"),
        InvoiceId="number",
        billed="amount",
        effective="amount",
        ChargeCategory=pl.lit("Adjustment"),
        ChargeDescription=pl.format("{} ({}){}", "rule", "kind", on.fill_null("")),
        **once,
    )
    yield invoices.filter(pl.col("tax") != 0).select(
        *("team", "project"),
        InvoiceId="number",
        billed="tax",
        effective="tax",
        ChargeCategory=pl.lit("Tax"),
        ChargeDescription=pl.format("Tax on invoice {}", "number"),
        **once,
    )
    # Funds were bought earlier: drawing on them is a purchase below zero without a new cost.
    drawn = invoices.filter(pl.col("prepaid") > 0)
    amount = money_text_column(-pl.col("prepaid"), minor_places(costs.book.facility.currency))
    sku = pl.lit(f"{costs.book.facility.code}/prepaid")
    yield drawn.select(
        *("team", "project"),
        InvoiceId="number",
        billed=-pl.col("prepaid"),
        effective=pl.lit(0, dtype=pl.Int64),
        ChargeCategory=pl.lit("Purchase"),
        ChargeDescription=pl.format("Paid for invoice {} from prepaid funds", "number"),
        ListUnitPrice=pl.lit("1"),
        ListCost=amount,
        PricingQuantity=amount,
        PricingUnit=pl.lit(costs.book.facility.currency),
        PricingCategory=pl.lit("Standard"),
        SkuId=sku,
        SkuPriceId=sku,
        SkuMeter=pl.lit("Prepaid funds"),
        **once,
    )


def _require_payable(costs: Costs, rows: pl.DataFrame) -> None:
    due = costs.invoices.select(
        InvoiceId="number", due=pl.col("total") - pl.col("prepaid").fill_null(0)
    )
    billed = rows.drop_nulls("InvoiceId").group_by("InvoiceId").agg(pl.col("billed").sum())
    both = due.join(billed, on="InvoiceId", how="full", coalesce=True).fill_null(0)
    odd = both.filter(pl.col("due") != pl.col("billed")).sort("InvoiceId")
    if odd.height:
        row = odd.row(0, named=True)
        raise ValueError(f"the rows of {row['InvoiceId']} make {row['billed']}, not {row['due']}")
