"""Two facilities that bill one team: microscopy, and sequencing with a team of its own too.

April 2020: MIC bills smith 148.33 (p1) and 12.50 (p2); SEQ bills smith 30.00 (s1), jones 20.00.
"""

import datetime as dt
from pathlib import Path

import polars as pl
from sample_facility import BOOK, HEADER, USAGE, nothing, price_book, usage_file
from sample_issuing import issue_here, issue_prepared
from sqlalchemy import Connection, Engine

from billing_lib.ledger import charges, invoices, runs
from billing_lib.ledger.database import writing
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.approve import approved_of
from billing_lib.workflow.load import load_files
from billing_lib.workflow.rate import rate_period
from billing_lib.workflow.runs import submit

APRIL, MAY = Period(2020, 4), Period(2020, 5)

SEQUENCING = """
facility:
  code: SEQ
  name: Sequencing
  currency: USD
  timezone: Europe/Berlin
  issue: scheduled
items: [{code: lane, name: Lane, unit: each}]
rates: [{item: lane, group: internal, price: "10.00"}]
project_types: [{code: faculty, rate_group: internal}]
teams: [{code: smith, name: Smith Lab}, {code: jones, name: Jones Lab, tags: [new]}]
projects:
  - {code: s1, team: smith, type: faculty, split: [{expense_code: A, percent: "100"}]}
  - {code: j1, team: jones, type: faculty, split: [{expense_code: J, percent: "100"}]}
"""

LANES = HEADER + (
    "v1,lane,s1,ann,,,2020-04-08,3\nv2,lane,j1,joe,,,2020-04-09,2\nv3,lane,s1,ann,,,2020-05-04,5\n"
)


def books(
    microscopy: str = "", sequencing: str = "", currency: str = "USD"
) -> dict[str, PriceBook]:
    """Both price books, each with these rules added; the second in this currency."""
    second = SEQUENCING.replace("currency: USD", f"currency: {currency}") + sequencing
    return {
        "MIC": price_book(BOOK + microscopy),
        "SEQ": PriceBook.parse(second, "sequencing.yml"),
    }


def load_both(engine: Engine, both: dict[str, PriceBook], folder: Path) -> None:
    """Load and rate April and May of both."""
    for code, text in (("MIC", USAGE), ("SEQ", LANES)):
        load_files(engine, both[code], [usage_file(folder, text, f"{code}.csv")], nothing)
        for period in (APRIL, MAY):
            rate_period(engine, both[code], period)


def issue_both(
    engine: Engine, both: dict[str, PriceBook], folder: Path, period: Period = APRIL
) -> list[str]:
    """Issue a month of both; the numbers."""
    return [number for book in both.values() for number in issue_here(engine, book, period, folder)]


def code_of(connection: Connection, number: str) -> tuple[str, str]:
    """Facility and code of an issued invoice."""
    row = invoices.require_invoice(connection, number)
    return str(row["facility"]), str(row["code"])


def void(engine: Engine, number: str) -> None:
    """Have an issued invoice count no longer."""
    with writing(engine) as connection:
        facility, code = code_of(connection, number)
        invoices.move_invoices(connection, facility, [code], "void", "it was wrong")


def pay_alone(engine: Engine, number: str, reference: str = "by itself") -> None:
    """Record that one invoice is paid."""
    with writing(engine) as connection:
        facility, code = code_of(connection, number)
        payment = (dt.date(2021, 1, 5), reference, None)
        invoices.move_invoices(connection, facility, [code], "pay", payment=payment)
        charges.pay_charges(connection, facility, [code])


def reissue(engine: Engine, book: PriceBook, number: str, folder: Path) -> str:
    """Issue an invoice anew, which supersedes it; the new number."""
    facility = book.facility.code
    with writing(engine) as connection:
        old = invoices.require_invoice(connection, number)
        run = runs.make_run(connection, facility, str(old["period"]), f"reissue: {number}", "")
        code = f"{run}/{old['project']}"
        names = ("facility", "period", "project", "team", "covers_from", "covers_to")
        draft = {name: [old[name]] for name in names} | {
            "code": [code],
            "kind": ["reissue"],
            "run": [run],
            "description": [""],
            "replaces": [number],
        }
        invoices.insert_invoices(connection, pl.DataFrame(draft))
        copies = charges.copy_charges(connection, facility, str(old["code"]), ("BILLED",))
        charges.attach_charges(connection, facility, copies.select("charge", invoice=pl.lit(code)))
        submit(connection, book, run, [code])
        prepared = approved_of(connection, book, run, [code], [])
    (new,) = issue_prepared(engine, book, prepared, folder)
    return new
