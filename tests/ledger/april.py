"""April 2020 of a small facility: what the ledger's tests load, freeze and issue.

u1 scope-1-hour p1 90.00 (60/40)   u2 slide p1 11.25   u3 slide p2 2.50
RC-2020-0001 p1 101.25             RC-2020-0002 p2 2.50
"""

from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
from sqlalchemy import Connection

from billing_lib.ledger import charges, facilities, invoices, runs, usage
from billing_lib.ledger.charges import CHARGE_SPLIT
from billing_lib.ledger.invoices import INVOICE, INVOICE_ADJUSTMENT, INVOICE_LINE, INVOICE_SPLIT


def usage_records(*rows: tuple[str, str, str, str | None]) -> pl.DataFrame:
    """Usage of 6 April 2020, from rows of record, item, project, quantity."""
    start = datetime(2020, 4, 6, 21, 0, tzinfo=UTC)
    return pl.DataFrame(
        [
            {
                "record": record,
                "occurrence": 1,
                "item": item,
                "project": project,
                "user": "ann",
                "start": start,
                "end": start.replace(hour=23),
                "quantity": None if quantity is None else Decimal(quantity),
                "file": "april.csv",
                "row": number,
                "period": "2020-04",
            }
            for number, (record, item, project, quantity) in enumerate(rows, 2)
        ],
        schema_overrides=usage.USAGE_WITH_PERIOD,
    ).select(
        pl.col(name) if name in _GIVEN else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in usage.USAGE_WITH_PERIOD.items()
    )


_GIVEN = {
    *("record", "occurrence", "item", "project", "user", "start", "end"),
    *("quantity", "file", "row", "period"),
}


def load_and_rate(connection: Connection) -> None:
    """The three charges above, PENDING."""
    facilities.know_facility(connection, "RC", "Research Computing", "USD", "America/New_York")
    usage.insert_file(connection, "RC", "4f", "april.csv", "csv", 3)
    records = usage_records(
        ("u1", "scope-1-hour", "p1", None), ("u2", "slide", "p1", "9"), ("u3", "slide", "p2", "2")
    )
    usage.insert_usage(connection, "RC", "4f", records)
    charges.keep_rates(connection, "RC", [("3f0c", '{"item":"slide","price":"1.25"}')])
    charges.insert_charges(connection, "RC", *three_charges())


def three_charges() -> tuple[pl.DataFrame, pl.DataFrame]:
    """The charges above and their splits."""
    rows = [
        ("u1", "p1", "scope-1-hour", "2.25", 9000),
        ("u2", "p1", "slide", "9", 1125),
        ("u3", "p2", "slide", "2", 250),
    ]
    priced = pl.DataFrame(
        rows, schema=["code", "project", "item", "quantity", "total"], orient="row"
    ).with_columns(
        kind=pl.lit("usage"),
        record=pl.col("code"),
        occurrence=pl.lit(1),
        period=pl.lit("2020-04"),
        team=pl.lit("smith-lab"),
        user=pl.lit("ann"),
        on_date=pl.lit(date(2020, 4, 6)),
        rate=pl.lit("3f0c"),
        raw_total=pl.col("total"),
        adjustment=pl.lit(0),
    )
    splits = [
        ("u1", 0, "370-1", "60", 5400),
        ("u1", 1, "370-2", "40", 3600),
        ("u2", 0, "370-1", "100", 1125),
        ("u3", 0, "370-1", "100", 250),
    ]
    columns = ["charge", "position", "expense_code", "percent", "amount"]
    schema = {name: CHARGE_SPLIT[name] for name in columns}
    return priced, pl.DataFrame(splits, schema=schema, orient="row")


def freeze(connection: Connection) -> pl.DataFrame:
    """Freeze April, bind its charges; the numbers reserved for p1 and p2."""
    run = runs.next_run_id(connection, "RC", "2020-04")
    runs.freeze_run(
        connection,
        run,
        facility="RC",
        period="2020-04",
        selection="",
        invoice_date=date(2020, 5, 4),
        fiscal_year=2020,
    )
    charges.bind_charges(connection, "RC", pl.Series(["u1", "u2", "u3"]), run)
    return runs.reserve_numbers(
        connection, run, "RC", 2020, ["p1", "p2"], lambda n: f"RC-2020-{n:04}"
    )


def issued_frames(
    run: str, numbers: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The invoices of p1 (101.25 in two lines) and p2 (2.50), their lines and splits."""
    first, second = numbers["number"]
    totals = {first: ("p1", 2, 10125), second: ("p2", 1, 250)}
    bills = [
        {
            "number": number,
            "facility": "RC",
            "fiscal_year": 2020,
            "sequence": sequence,
            "run": run,
            "project": totals[number][0],
            "team": "smith-lab",
            "period": "2020-04",
            "invoice_date": date(2020, 5, 4),
            "currency": "USD",
            "state": "APPROVED",
            "charges": totals[number][1],
            "raw_total": totals[number][2],
            "adjustment": 0,
            "total": totals[number][2],
            "fingerprint": "ab" * 32,
        }
        for sequence, number in numbers.select("sequence", "number").iter_rows()
    ]
    line = {"facility": "RC", "team": "smith-lab", "adjustment": 0}
    lines = [
        line | {"number": number, "position": at, "charge": code, "raw_total": sum_, "total": sum_}
        for number, at, code, sum_ in (
            (first, 1, "u1", 9000),
            (first, 2, "u2", 1125),
            (second, 1, "u3", 250),
        )
    ]
    splits = [
        {"number": n, "expense_code": code, "facility": "RC", "team": "smith-lab", "amount": cents}
        for n, code, cents in (
            (first, "370-1", 6525),
            (first, "370-2", 3600),
            (second, "370-1", 250),
        )
    ]
    empty = {"item": None, "user": None, "on_date": None, "description": None, "quantity": None}
    return (
        pl.DataFrame(bills, schema=INVOICE),
        pl.DataFrame([row | empty for row in lines], schema=INVOICE_LINE),
        pl.DataFrame(splits, schema=INVOICE_SPLIT),
    )


def adjustments() -> pl.DataFrame:
    """A rule that changed nothing in the end, so that the totals stay as they are."""
    row = ("RC-2020-0001", 1, "RC", "smith-lab", "courtesy", "discount", "", 0)
    return pl.DataFrame([row], schema=INVOICE_ADJUSTMENT, orient="row")


def issue(connection: Connection) -> None:
    """All of April, issued."""
    numbers = freeze(connection)
    run = runs.frozen_run(connection, "RC").id
    bills, lines, splits = issued_frames(run, numbers)
    invoices.insert_invoices(connection, bills, lines, splits, adjustments())
    billed = lines.select(pl.col("charge").alias("code"), "number")
    charges.bill_charges(connection, "RC", run, billed)
    runs.issue_run(connection, run)
