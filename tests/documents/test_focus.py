"""The FOCUS dataset against the rules of the specification, version 1.2, column by column.

The rules below are those of https://focus.finops.org/focus-specification/v1-2/: which columns
there must be, where they may be null, what they may hold, and how costs, prices and quantities
go together. The specification's own validator (PyPI focus-validator) wants other versions of
Python, pandas and numpy than we have, so it is not among the tests.
"""

import json
import re
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from sample_facility import BOOK, HEADER, nothing, price_book, usage_file
from sample_issuing import issue_here
from sample_statements import SEQUENCING
from sqlalchemy import Engine

from billing_lib.documents.focus import COLUMNS, focus_rows, unit_name, write_focus
from billing_lib.errors import InvalidPriceBook, UnknownFacility, UnwritableFile
from billing_lib.ledger import invoices
from billing_lib.ledger.database import reading
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adjust import adjust_charge
from billing_lib.workflow.after_issue import deposit, reissue, void
from billing_lib.workflow.journal import Costs, read_costs
from billing_lib.workflow.lines import NewLine, add_charge_line, credit_invoice
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period

APRIL, MAY = Period(2020, 4), Period(2020, 5)

MANDATORY = (
    *("BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargePeriodEnd", "ChargePeriodStart"),
    *("ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ProviderName"),
    *("PublisherName", "ServiceCategory", "ServiceName"),
)
"""Columns that must be there and never null."""

NULLABLE = (
    "BillingAccountName",
    "ChargeClass",
    "ChargeDescription",
    "PricingQuantity",
    "PricingUnit",
)
"""Columns that must be there."""

OTHERS_NOT_NULL = (
    "ChargeFrequency",
    "ServiceSubcategory",
    "BillingAccountType",
    "ChargeDescription",
)
"""Columns that need not be there, or should, and are never null here."""

ALLOWED = {
    "ChargeCategory": {"Usage", "Purchase", "Tax", "Credit", "Adjustment"},
    "ChargeClass": {"Correction"},
    "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
    "PricingCategory": {"Standard", "Dynamic", "Committed", "Other"},
}
SERVICES = set(
    """AI and Machine Learning,Analytics,Business Applications,Compute,Databases,Developer Tools,
Identity,Integration,Internet of Things,Management and Governance,Media,Migration,Mobile,
Multicloud,Networking,Other,Security,Storage,Web""".replace("\n", "").split(",")
)
PRICED = ("ListUnitPrice", "ContractedUnitPrice", "PricingQuantity", "PricingCategory", "SkuId",
          "SkuPriceId")  # fmt: skip
"""Null for Tax; not null for Usage and Purchase that are no corrections."""

TOGETHER = (
    ("PricingUnit", "PricingQuantity"),
    ("ConsumedUnit", "ConsumedQuantity"),
    ("SubAccountName", "SubAccountId"),
    ("SubAccountType", "SubAccountId"),
    ("ResourceType", "ResourceId"),
    ("SkuMeter", "SkuId"),
    ("SkuPriceDetails", "SkuPriceId"),
)
"""The first is null where the second is; all but details and meters the other way round too."""

NUMERIC = [name for name, dtype in COLUMNS.items() if isinstance(dtype, pl.Decimal)]
TIMES = [name for name, dtype in COLUMNS.items() if isinstance(dtype, pl.Datetime)]


def check_focus(rows: pl.DataFrame) -> None:
    """Hold a dataset against the specification's rules."""
    assert set(MANDATORY) | set(NULLABLE) <= set(rows.columns)
    ours = [name for name in rows.columns if name.startswith("x_")]
    assert rows.columns[-len(ours) :] == ours
    assert all(re.fullmatch("(x_)?([A-Z][a-z]*)+", name) for name in rows.columns)
    for row in rows.to_dicts():
        check_row(row)
    by_invoice = rows.drop_nulls("InvoiceId").group_by("InvoiceId")
    assert set(by_invoice.agg(pl.col("BillingAccountId").n_unique())["BillingAccountId"]) <= {1}
    services = rows.group_by("ServiceName").agg(pl.col("ServiceCategory").n_unique())
    assert services["ServiceCategory"].max() == 1
    skus = rows.drop_nulls("SkuPriceId").group_by("SkuPriceId").agg(pl.col("SkuId").n_unique())
    assert skus["SkuId"].max() == 1


def check_row(row: dict[str, str | None]) -> None:
    here = row["ChargeCategory"], row["ChargeDescription"]
    assert all(row[name] for name in (*MANDATORY, *OTHERS_NOT_NULL)), here
    assert "" not in row.values(), here  # null where there is nothing, never an empty text
    for name, values in ALLOWED.items():
        assert row[name] is None or row[name] in values, here
    assert row["ServiceCategory"] in SERVICES
    assert row["ServiceSubcategory"] == f"Other ({row['ServiceCategory']})"
    assert re.fullmatch("[A-Z]{3}", row["BillingCurrency"] or "")
    for name in NUMERIC:
        assert row[name] is None or re.fullmatch(r"-?\d+(\.\d+)?", str(row[name])), here
    for name in TIMES:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row[name] or ""), here
    for what in ("BillingPeriod", "ChargePeriod"):
        assert str(row[f"{what}Start"]) < str(row[f"{what}End"]), here
    category, correction = row["ChargeCategory"], row["ChargeClass"] is not None
    for name in PRICED:
        assert category != "Tax" or row[name] is None, here
        assert category not in ("Usage", "Purchase") or correction or row[name], here
    assert (row["ConsumedQuantity"] is not None) == (category == "Usage"), here
    assert category != "Purchase" or row["ChargeFrequency"] != "Usage-Based", here
    for one, other in TOGETHER:
        assert row[other] is not None or row[one] is None, here
        assert row[other] is None or row[one] or one in ("SkuMeter", "SkuPriceDetails"), here
    amounts = {name: Decimal(str(row[name])) for name in NUMERIC if row[name] is not None}
    if row["ListUnitPrice"] is None:
        assert amounts["ListCost"] == amounts["ContractedCost"] == amounts["BilledCost"], here
    else:
        product = amounts["ListUnitPrice"] * amounts["PricingQuantity"]
        assert product == amounts["ListCost"] == amounts["ContractedCost"], here
        assert amounts["ListUnitPrice"] == amounts["ContractedUnitPrice"] >= 0, here
    if category not in ("Usage", "Purchase"):
        assert amounts["EffectiveCost"] == amounts["BilledCost"], here
    for name in ("Tags", "SkuPriceDetails"):
        values = json.loads(row[name] or "{}")
        assert isinstance(values, dict), here
        assert all(isinstance(it, str | int | bool | None) for it in values.values()), here


RICH = (
    BOOK.replace("  issue:", "  focus: {service_category: Other, items: {disk: Storage}}\n  issue:")
    .replace(
        "items:\n",
        "resources: [{code: room, name: Room 7, business_hours: {mon-fri: '08:00-18:00'}}]\n"
        "items:\n"
        "  - {code: disk, name: Disk, unit: GB-month}\n  - {code: night, name: Night, unit: hour,"
        " resource: room}\n",
    )
    .replace(
        "rates:\n",
        "rates:\n  - {item: disk, group: internal, tiers: {mode: graduated, per: charge, steps:"
        " [{up_to: '10', price: '5.00'}, {up_to: null, price: '3.00'}]}}\n"
        "  - {item: night, group: internal, price: '40.00', after_hours: '25.00',"
        " minimum: '10.00'}\n",
    )
    .replace("rate_group: internal}]", "rate_group: internal, tax: {name: VAT, percent: '7.7'}}]")
    .replace("    team: smith\n", "    team: smith\n    tags: [pilot]\n")
    + "rules:\n  - {name: handling, scope: invoice, kind: fee, amount: '5.00'}\n"
    "  - {name: half, scope: charge, kind: scale, factor: '0.5', items: [slide]}\n"
)
USED = HEADER + (
    "u1,scope,p1,ann,2020-04-06T17:00:00.25-04:00,2020-04-06T20:20:00.25-04:00,,\n"
    "u2,slide,p1,bob,,,2020-04-07,12\n"
    "u3,slide,p2,eve,,,2020-04-08,10\n"
    "u4,disk,p2,eve,,,2020-04-09,17\n"
    "u5,night,p1,ann,2020-04-06T17:30:00-04:00,2020-04-06T19:10:00-04:00,,\n"
    "u6,night,p1,ann,2020-04-06T09:00:00-04:00,2020-04-06T09:00:00-04:00,,\n"
    "m1,slide,p2,eve,,,2020-05-02,4\n"
)
LATE = HEADER + "l1,slide,p2,eve,,,2020-04-30,8\n"
BOOKS = {
    "MIC": price_book(RICH),
    "SEQ": PriceBook.parse(SEQUENCING.replace("USD", "JPY").replace("10.00", "10"), "s.yml"),
}


def total(rows: pl.DataFrame, column: str = "BilledCost") -> Decimal:
    return sum((Decimal(text) for text in rows[column]), Decimal(0))


def test_a_month_in_all_its_kinds_keeps_the_rules_and_comes_to_its_invoices(
    ledger: Engine, tmp_path: Path
) -> None:
    book = BOOKS["MIC"]
    load_files(ledger, book, [usage_file(tmp_path, USED)], nothing)
    rate_period(ledger, book, APRIL)
    deposit(ledger, book, "p1", "30.00", "purchase order 4711")
    line = {"project": "p2", "date": "2020-04-30", "description": "Training", "amount": "75.00"}
    add_charge_line(ledger, book, NewLine.parse(line | {"expense_code": None}, book), "agreed")

    pending = focus_rows(read_costs(ledger, BOOKS, APRIL, "MIC"))
    check_focus(pending)
    assert pending["InvoiceId"].null_count() == pending.height == 7
    bills = issue_here(ledger, book, APRIL, tmp_path)
    rows = focus_rows(read_costs(ledger, BOOKS, APRIL, "MIC"))
    check_focus(rows)
    due = {number: it["totals"]["due"] for number, it in bills.items()}
    assert {number: f"{total(rows.filter(pl.col('InvoiceId') == number))}" for number in due} == due
    with reading(ledger) as connection:
        every = invoices.read_issued(connection, active=True)["total"].sum()
    not_prepaid = rows.filter(pl.col("ChargeCategory") != "Purchase")
    assert total(not_prepaid) == total(rows, "EffectiveCost") == Decimal(every) / 100
    assert total(rows.filter(pl.col("ChargeCategory") == "Purchase")) == Decimal(-30)
    shown = (
        "x_Charge",
        "PricingQuantity",
        "PricingUnit",
        "ListUnitPrice",
        "ListCost",
        "BilledCost",
    )
    assert rows.filter(pl.col("ChargeCategory") == "Usage").select(shown).sort(
        "x_Charge"
    ).rows() == [
        ("MIC/u1", "3.333333", "Hours", "40", "133.33332", "133.33"),
        ("MIC/u2", "12", "Units", "1.25", "15", "7.50"),
        ("MIC/u3", "10", "Units", "1.25", "12.5", "6.25"),
        ("MIC/u4", "17", "GB-Months", "4.176470588235", "70.999999999995", "71.00"),  # tiers
        # 0.5 h at 40.00 and 7/6 h after hours at 25.00
        ("MIC/u5", "1.666667", "Hours", "29.501994099601", "49.169999999999699867", "49.17"),
        ("MIC/u6", "1", "Charges", "10", "10", "10.00"),  # of no length, and so the minimum
    ]
    first = rows.filter(pl.col("x_Charge") == "MIC/u1").row(0, named=True)
    assert (first["ChargePeriodStart"], first["ChargePeriodEnd"]) == (
        "2020-04-06T21:00:00Z",
        "2020-04-07T00:20:01Z",
    )
    assert (first["Tags"], first["x_User"]) == ('{"pilot":true}', "ann")
    disk = rows.filter(pl.col("ServiceCategory") == "Storage")
    assert disk["x_Charge"].to_list() == ["MIC/u4"]

    # What is replaced or void is in it no longer; what is late, or gives back, corrects.
    load_files(ledger, book, [usage_file(tmp_path, LATE, "late.csv")], nothing)
    rate_period(ledger, book, APRIL)
    one, two = bills
    credit_invoice(ledger, book, two, "20.00", "overcharged", date="2020-05-04")
    rate_period(ledger, book, MAY)
    void(ledger, book, one, "another's", reopen=True)
    reissue(ledger, book, two, "the disk was smaller")
    adjust_charge(ledger, book, "MIC/u4~2", {"quantity": "1"}, "smaller")
    april, may = (focus_rows(read_costs(ledger, BOOKS, each)) for each in (APRIL, MAY))
    for each in (april, may):
        check_focus(each)
    assert set(april["InvoiceId"]) == {None, two}  # which counts until the other is issued
    assert april.filter(pl.col("InvoiceId").is_null())["x_Charge"].sort().to_list() == [
        f"MIC/{code}~2" for code in ("u1", "u2", "u5", "u6")
    ]
    kinds = may.sort("x_Charge").select("x_Charge", "ChargeCategory", "ChargeClass").rows()
    assert kinds == [
        ("MIC/l1", "Usage", "Correction"),
        ("MIC/line-2020-05-1", "Credit", "Correction"),
        ("MIC/m1", "Usage", None),
    ]


def test_both_files_hold_the_same_to_the_last_place(ledger: Engine, tmp_path: Path) -> None:
    lanes = HEADER + "v1,lane,s1,Ann “A”,,,2020-04-08,3\n"
    for code, text in (("MIC", USED), ("SEQ", lanes)):
        load_files(ledger, BOOKS[code], [usage_file(tmp_path, text, f"{code}.csv")], nothing)
        rate_period(ledger, BOOKS[code], APRIL)
    rows = focus_rows(read_costs(ledger, BOOKS, APRIL))
    check_focus(rows)
    assert set(rows["BillingCurrency"]) == {"USD", "JPY"}
    assert rows.filter(pl.col("BillingCurrency") == "JPY")["BilledCost"].to_list() == ["30"]
    for name in ("april.csv", "april.parquet"):
        path = tmp_path / name
        assert write_focus(rows, path)
        assert not write_focus(rows, path)
    assert pl.read_csv(tmp_path / "april.csv", infer_schema=False).equals(rows)
    typed = pl.read_parquet(tmp_path / "april.parquet")
    assert typed.schema == COLUMNS
    for name in NUMERIC:
        texts = rows[name].cast(typed.schema[name])
        assert typed[name].equals(texts, null_equal=True), name
    for bad in ("april.xlsx", "april"):
        with pytest.raises(
            UnwritableFile, match=r"written as \.csv or \.parquet; give the file one of"
        ):
            write_focus(rows, tmp_path / bad)


def test_slips_are_said(ledger: Engine) -> None:
    with pytest.raises(
        UnknownFacility, match=r"no price book is for the facility 'MAC' \(known: MIC"
    ):
        read_costs(ledger, BOOKS, APRIL, "MAC")
    with pytest.raises(InvalidPriceBook, match="'Magic' is not known here; write 'AI and Machine"):
        price_book(BOOK.replace("  issue:", "  focus: {service_category: Magic}\n  issue:"))
    with pytest.raises(InvalidPriceBook, match="the item 'slip' is not defined"):
        price_book(BOOK.replace("  issue:", "  focus: {items: {slip: Web}}\n  issue:"))


def test_an_invoice_whose_rows_do_not_come_to_it_is_never_written(
    ledger: Engine, tmp_path: Path
) -> None:
    load_files(ledger, BOOKS["MIC"], [usage_file(tmp_path, USED)], nothing)
    rate_period(ledger, BOOKS["MIC"], APRIL)
    issue_here(ledger, BOOKS["MIC"], APRIL, tmp_path)
    (costs,) = read_costs(ledger, BOOKS, APRIL, "MIC")
    short = Costs(
        costs.book, costs.period, costs.charges.head(-1), costs.invoices, costs.adjustments
    )
    with pytest.raises(ValueError, match=r"the rows of MIC-2021-0000\d make"):
        focus_rows([short])


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("hour", "Hours"),
        ("each", "Units"),
        ("GB-month", "GB-Months"),
        ("TiB", "TiB"),
        ("core-hour", "Core-Hours"),
    ],
)
def test_units_are_written_as_the_specification_writes_them(unit: str, name: str) -> None:
    assert unit_name(unit) == name
