"""Prepaid funds: what a project has paid in before, and what its invoices draw from it.

    billing deposit RC u4 1000.00 --reason "purchase order 4711"

An invoice draws what it can; its expense codes pay the rest as usual. What a void or superseded
invoice drew comes back. Below the project's ``prepaid_low`` (price book) staff are told.
"""

import polars as pl
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Engine

from billing_lib.errors import InvalidAdjustment
from billing_lib.ledger import funds as ledger_funds
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.events import record_event
from billing_lib.pricing.fields import Amount, canonical_json
from billing_lib.pricing.money import minor_places, money_text, to_minor
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.facility import note_facility
from billing_lib.workflow.permissions import ISSUER, VIEWER, require

DEPOSIT, DRAW, RETURN = "deposit", "draw", "return"


def deposit(engine: Engine, book: PriceBook, project: str, amount: str, reason: str) -> str:
    """Pay into a project's funds, or with a negative amount take out of them; in words.

    Raises
    ------
    InvalidAdjustment
        No such project, an amount that cannot be, more taken out than there is.
    """
    facility, currency = book.facility.code, book.facility.currency
    places = minor_places(currency)
    team = book.team_of(project)
    if team is None:
        raise InvalidAdjustment(f"the price book has no project '{project}'", where="project")
    if not reason.strip():
        raise InvalidAdjustment("the deposit has no reason", remedy="say why with --reason")
    try:
        minor = to_minor(TypeAdapter(Amount).validate_python(amount), places)
    except (ValidationError, ValueError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InvalidAdjustment(what.removeprefix("Value error, "), where="amount") from None
    with writing(engine) as connection:
        require(connection, facility, ISSUER)
        note_facility(connection, book)
        before = _balance(connection, facility, project)
        entered = ledger_funds.read_entries(connection, facility, project).filter(
            (pl.col("kind") == DEPOSIT) & (pl.col("amount") == minor) & (pl.col("reason") == reason)
        )
        if entered.height:
            return (
                f"{facility}, project {project}: {amount} for this reason was paid in before, "
                f"nothing changed; the prepaid balance is {money_text(before, places)} {currency}"
            )
        if before + minor < 0:
            raise InvalidAdjustment(
                f"the funds of project {project} are {money_text(before, places)} {currency}, "
                f"less than {money_text(-minor, places)}",
                where="amount",
            )
        ledger_funds.insert_entry(connection, facility, project, team, DEPOSIT, minor, reason)
        record_event(
            connection,
            facility,
            kind=DEPOSIT,
            subject=project,
            reason=reason,
            after=canonical_json({"amount": money_text(minor, places)}),
            team=team,
        )
        balance = money_text(before + minor, places)
    return f"{facility}, project {project}: the prepaid balance is {balance} {currency}"


def list_funds(engine: Engine, book: PriceBook) -> pl.DataFrame:
    """Per project with funds: ``project``, ``paid_in``, ``drawn``, ``balance``, ``notice``."""
    facility, places = book.facility.code, minor_places(book.facility.currency)
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        entries = ledger_funds.read_entries(connection, facility)
    paid_in = pl.col("kind") == DEPOSIT
    summed = (
        entries.group_by("project")
        .agg(
            pl.col("amount").filter(paid_in).sum().alias("paid_in"),
            -pl.col("amount").filter(~paid_in).sum().alias("drawn"),
            pl.col("amount").sum().alias("balance"),
        )
        .sort("project")
    )
    rows = [
        row | {"notice": low_notice(book, row["project"], row["balance"]) or ""}
        for row in summed.iter_rows(named=True)
    ]
    amounts = ("paid_in", "drawn", "balance")
    return pl.DataFrame(
        [row | {name: money_text(row[name], places) for name in amounts} for row in rows],
        schema=dict.fromkeys(("project", *amounts, "notice"), pl.String),
    )


def low_notice(book: PriceBook, project: str, balance: int) -> str | None:
    """The sentence on a balance that is below the project's ``prepaid_low``."""
    low = next((it.prepaid_low for it in book.projects if it.code == project), None)
    places = minor_places(book.facility.currency)
    if low is None or balance >= to_minor(low, places):
        return None
    currency = book.facility.currency
    return (
        f"the prepaid balance of project {project} is low: {money_text(balance, places)} "
        f"{currency}, below {money_text(to_minor(low, places), places)}"
    )


def balances(connection: Connection, facility: str, invoices: pl.DataFrame) -> pl.DataFrame:
    """What these invoices (``project``, ``replaces``) may draw from: ``project``, ``prepaid``
    (minor units), for projects that ever had funds.

    What a reissued invoice had drawn is there for the one that replaces it.
    """
    entries = ledger_funds.read_entries(connection, facility)
    back = entries.filter(
        (pl.col("kind") == DRAW)
        & pl.col("number").is_in(invoices["replaces"].drop_nulls().implode())
    ).with_columns(amount=-pl.col("amount"))
    both = pl.concat([entries, back])
    return both.group_by("project").agg(pl.col("amount").sum().alias("prepaid")).sort("project")


def draw(connection: Connection, book: PriceBook, totals: pl.DataFrame) -> list[str]:
    """Enter what invoices that are issued now draw; the notices on balances that are low.

    Parameters
    ----------
    totals
        ``number``, ``project``, ``team``, ``drawn``.
    """
    facility = book.facility.code
    drawing = totals.filter(pl.col("drawn") > 0)
    for row in drawing.sort("number").iter_rows(named=True):
        ledger_funds.insert_entry(
            connection,
            facility,
            row["project"],
            row["team"],
            DRAW,
            -row["drawn"],
            f"invoice {row['number']}",
            row["number"],
        )
    told = (
        low_notice(book, project, _balance(connection, facility, project))
        for project in drawing["project"].unique().sort()
    )
    return [notice for notice in told if notice is not None]


def give_back(connection: Connection, facility: str, number: str, reason: str) -> None:
    """Return what an invoice that no longer counts had drawn; once."""
    entries = ledger_funds.read_entries(connection, facility, number=number)
    drawn = int(entries["amount"].sum()) if entries.height else 0
    if drawn < 0:
        project, team = entries.select("project", "team").row(0)
        ledger_funds.insert_entry(
            connection, facility, project, team, RETURN, -drawn, reason, number
        )


def _balance(connection: Connection, facility: str, project: str) -> int:
    entries = ledger_funds.read_entries(connection, facility, project)
    return int(entries["amount"].sum()) if entries.height else 0
