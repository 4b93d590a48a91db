"""What of a month is left to issue, and how it is said where nothing is."""

import polars as pl
from sqlalchemy import Connection

from billing_lib.errors import AlreadyIssued, NotReady
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import issued as ledger_issued
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.runs import UNFINISHED, closed_projects
from billing_lib.workflow.selection import RunSelection
from billing_lib.workflow.summing import AD_HOC


def late_of(connection: Connection, book: PriceBook, charges: pl.DataFrame) -> list[str]:
    """Sentences on pending charges of projects whose month is issued."""
    facility = book.facility.code
    if charges.height == 0:
        return []
    month = charges["period"][0]
    closed = closed_projects(connection, facility, month)
    late = charges.filter(
        (pl.col("state") == "PENDING")
        & pl.col("invoice").is_null()
        & pl.col("reference").is_null()
        & pl.col("project").is_in(closed.implode())
    )
    then = (
        "rating the next month takes them to its run"
        if book.facility.late_usage == "next_run"
        else "'billing reissue' takes them in"
    )
    return [
        f"{count:,} charges of project {code} came after its invoice and stay pending; {then}"
        for code, count in late.group_by("project").len().sort("project").iter_rows()
    ]


def free_of(
    connection: Connection, facility: str, month: str, charges: pl.DataFrame
) -> pl.DataFrame:
    """Those of a month's charges that a run takes in."""
    closed = closed_projects(connection, facility, month)
    return charges.filter(
        (pl.col("state") == "PENDING")
        & pl.col("invoice").is_null()
        & pl.col("reference").is_null()
        & ~pl.col("project").is_in(closed.implode())
    )


def drafts_of(
    connection: Connection, facility: str, month: str, selection: RunSelection
) -> pl.DataFrame:
    """A month's invoices that may still be issued; ad hoc ones once they bill something."""
    drafts = ledger_invoices.read_invoices(connection, facility, period=month, states=UNFINISHED)
    billing = (pl.col("kind") != AD_HOC) | (pl.col("charges") > 0)
    return selection.of(drafts.filter(billing))


def issued_before(
    connection: Connection,
    facility: str,
    month: str,
    selection: RunSelection,
    what: str,
    late: list[str],
) -> AlreadyIssued | NotReady:
    """Why nothing of a selection can be issued, as an error to raise."""
    issued = selection.of(
        ledger_issued.read_issued(connection, facility=facility, period=month, active=True)
    )
    if issued.height == 0:
        return NotReady(f"nothing of {what} is to be issued", remedy="'billing charges' lists it")
    first, last = min(issued["number"]), max(issued["number"])
    numbers = str(first) if first == last else f"{first} to {last}"
    return AlreadyIssued(
        "; ".join([f"{what} is issued ({numbers})", *late]),
        remedy="'billing invoices' lists them",
    )
