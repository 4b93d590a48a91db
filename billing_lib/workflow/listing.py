"""The listing: a lab's month with its issued invoices and a preview of its pending charges.

    read_listing(engine, books, "bio", "1993-10")   →   render_listing(…) of documents/html.py

Staff and lab administrators read the same listing of a team. Pending charges may still change.
Drafts, costs and staff's reasons are left out. Replaced and void invoices are named, but no total
includes them.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.errors import UnknownTeam
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.charges import read_pending
from billing_lib.ledger.database import reading
from billing_lib.ledger.states import ACTIVE, PAID, SUPERSEDED, VOID
from billing_lib.pricing.charge import as_text
from billing_lib.pricing.clock import Period
from billing_lib.pricing.money import minor_places, money_text, money_text_column
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.permissions import may_team, require_team, with_below

LISTING_FORMAT = "billing-listing/2"
"""Name and version of the listing's format."""

Listing = dict[str, Any]

_CODES = "expense_codes"
_LINE = ("charge", "date", "item", "description", "user", "quantity", "unit", "price")
_AMOUNTS = ("raw_total", "adjustment", "total")


def read_listing(
    engine: Engine,
    books: Mapping[str, PriceBook],
    team: str,
    period: str,
    facility: str | None = None,
) -> Listing:
    """Return the month of a team and the teams below it as texts and lists.

    ``facility`` restricts the listing to one facility; by default it covers every facility in
    which the current user may see the team. ``books`` holds the price books by facility.
    """
    month = Period.parse(period)
    with reading(engine) as connection:
        if facility is not None:
            require_team(connection, facility, team)
        known = {code: book for code, book in books.items() if _name(book, team) is not None}
        facilities = [code for code in sorted(known) if facility in (None, code)]
        if not facilities:
            lacking = (
                "no price book has the team"
                if facility is None
                else f"the price book of {facility} has no team"
            )
            raise UnknownTeam(f"{lacking} '{team}'")
        allowed = [code for code in facilities if may_team(connection, code, team)]
        if not allowed:
            require_team(connection, facilities[0], team)
        parts = [_of_facility(connection, known[code], team, str(month)) for code in allowed]
    return {
        "format": LISTING_FORMAT,
        "team": {"code": team, "name": _name(known[allowed[0]], team)},
        "period": str(month),
        "covers": {"from": month.first_day.isoformat(), "to": month.last_day.isoformat()},
        "facilities": parts,
    }


def _of_facility(connection: Connection, book: PriceBook, team: str, month: str) -> dict[str, Any]:
    facility, places = book.facility.code, minor_places(book.facility.currency)
    teams = with_below(connection, facility, {team})
    issued = _issued(connection, facility, teams, month)
    counting = issued.filter(pl.col("counts"))
    numbers = counting["number"].to_list()
    lines = _issued_lines(connection, book, numbers)
    pending = _pending_lines(connection, book, teams, month)
    invoiced, waiting = int(counting["total"].sum()), int(pending["total"].sum())
    return {
        "code": facility,
        "name": book.facility.name,
        "currency": book.facility.currency,
        "contacts": book.facility.contacts.strip(),
        "teams": [
            {"code": code, "name": _name(book, code) or code} for code in sorted(teams - {team})
        ],
        "invoices": _invoices(connection, book, issued, lines, places),
        "pending": _pending(book, pending, places),
        "by_project": _summary(_amounts(counting, "project"), _amounts(pending, "project"), places),
        "by_user": _summary(_amounts(lines, "user"), _amounts(pending, "user"), places),
        "by_expense_code": _summary(
            ledger_invoices.read_splits(connection, numbers).select("amount", key="expense_code"),
            _shares(pending),
            places,
        ),
        "beside_lines": _invoiced_only(invoiced - int(lines["total"].sum()), places),
        "prepaid": _invoiced_only(int(counting["prepaid"].sum()), places),
        "totals": {
            "invoiced": money_text(invoiced, places),
            "pending": money_text(waiting, places),
            "total": money_text(invoiced + waiting, places),
        },
    }


def _issued(connection: Connection, facility: str, teams: set[str], month: str) -> pl.DataFrame:
    """The issued invoices of the month, each with its present state in words (``became``)."""
    issued = ledger_invoices.read_issued(connection, facility=facility, period=month).filter(
        pl.col("team").is_in(list(teams))
    )
    states = ledger_invoices.read_invoices(connection, facility, numbers=issued["number"])
    after = ledger_invoices.read_invoices(connection, facility, period=month)
    replaced = after.filter(pl.col("number").is_not_null()).select(number="replaces", by="number")
    became = (
        pl.when(pl.col("state") == PAID)
        .then(pl.format("paid on {}", pl.col("paid_on").cast(pl.String)))
        .when((pl.col("state") == SUPERSEDED) & pl.col("by").is_not_null())
        .then(pl.format("replaced by {}", "by"))
        .when(pl.col("state") == SUPERSEDED)
        .then(pl.lit("replaced"))
        .when(pl.col("state") == VOID)
        .then(pl.lit("void"))
        .otherwise(pl.lit("issued"))
    )
    return (
        issued.join(states.select("number", "state", "paid_on", "replaces"), on="number")
        .join(replaced.drop_nulls("number"), on="number", how="left", maintain_order="left")
        .with_columns(
            became=became,
            counts=pl.col("state").is_in(ACTIVE),
            prepaid=pl.col("prepaid").fill_null(0),
        )
        .sort("number")
    )


def _issued_lines(connection: Connection, book: PriceBook, numbers: list[str]) -> pl.DataFrame:
    """The lines of these invoices, each with its shares and its charge's unit and rate."""
    lines = ledger_invoices.read_lines(connection, numbers)
    charges = ledger_charges.read_charges(connection, book.facility.code, codes=lines["charge"])
    beside = charges.select("charge", "unit", "price")
    return _shown_lines(connection, book, lines.join(beside, on="charge", how="left")).sort(
        "number", "position"
    )


def _pending_lines(
    connection: Connection, book: PriceBook, teams: set[str], month: str
) -> pl.DataFrame:
    """The charges not invoiced yet, at their present prices."""
    facility = book.facility.code
    free = read_pending(connection, facility, month).filter(pl.col("team").is_in(list(teams)))
    return _shown_lines(connection, book, free).sort(
        "project", "date", "start", "charge", nulls_last=True
    )


def _shown_lines(connection: Connection, book: PriceBook, lines: pl.DataFrame) -> pl.DataFrame:
    """Add the items' names and the ``shares`` of expense codes to lines."""
    facility, places = book.facility.code, minor_places(book.facility.currency)
    splits = ledger_charges.read_splits(connection, facility, codes=lines["charge"])
    texts = as_text(splits, places).with_columns(minor=splits["amount"])
    shares = texts.group_by("charge", maintain_order=True).agg(
        pl.struct("expense_code", "minor").alias("shares"),
        pl.struct("expense_code", "percent", "amount").alias("expense_codes"),
    )
    names = {item.code: item.name for item in book.items}
    return lines.join(shares, on="charge", how="left", maintain_order="left").with_columns(
        pl.col("item").replace(names),
        pl.col("description").fill_null(""),
    )


def _invoices(
    connection: Connection,
    book: PriceBook,
    issued: pl.DataFrame,
    lines: pl.DataFrame,
    places: int,
) -> list[dict[str, Any]]:
    numbers = issued["number"].to_list()
    adjustments = ledger_invoices.read_adjustments(connection, numbers)
    changes = as_text(adjustments.select("number", "rule", "kind", "worked_on", "amount"), places)
    parts = {
        "adjustments": _parted(changes, "number", ("rule", "kind", "worked_on", "amount")),
        "lines": _parted(_texts(book, lines, places), "number", (*_LINE, *_AMOUNTS, _CODES)),
    }
    columns = issued.select(
        *("number", "kind", "invoice_date", "project", "team", "became", "counts", "replaces"),
        *("charges", *_AMOUNTS, "tax", "prepaid"),
        due=pl.col("total") - pl.col("prepaid"),
        name=_project_name(book),
    )
    shown = as_text(columns, places)
    return [
        row | {part: rows.get(row["number"], []) for part, rows in parts.items()}
        for row in shown.iter_rows(named=True)
    ]


def _pending(book: PriceBook, lines: pl.DataFrame, places: int) -> list[dict[str, Any]]:
    totals = (
        lines.group_by("project")
        .agg(pl.len().alias("charges"), *(pl.col(name).sum() for name in _AMOUNTS))
        .sort("project")
        .pipe(as_text, places)
        .with_columns(name=_project_name(book))
    )
    texts = _texts(book, lines, places)
    parts = _parted(texts, "project", (*_LINE, *_AMOUNTS, _CODES))
    return [row | {"lines": parts.get(row["project"], [])} for row in totals.iter_rows(named=True)]


def _project_name(book: PriceBook) -> pl.Expr:
    return pl.col("project").replace(
        {project.code: project.name or project.code for project in book.projects}
    )


def _texts(book: PriceBook, lines: pl.DataFrame, places: int) -> pl.DataFrame:
    """Write amounts as text and charges with their facility, ``RC/57``."""
    return as_text(lines, places).with_columns(
        charge=pl.format("{}/{}", pl.lit(book.facility.code), "charge"),
    )


def _parted(
    frame: pl.DataFrame, by: str, columns: tuple[str, ...]
) -> dict[str, list[dict[str, Any]]]:
    grouped = frame.group_by(by, maintain_order=True).agg(pl.struct(columns).alias("rows"))
    return dict(grouped.iter_rows())


def _amounts(frame: pl.DataFrame, key: str) -> pl.DataFrame:
    return frame.select(amount="total", key=key)


def _shares(lines: pl.DataFrame) -> pl.DataFrame:
    """The amount of pending charges per expense code."""
    shares = lines.select(pl.col("shares").explode()).drop_nulls()
    return shares.select(
        amount=pl.col("shares").struct.field("minor"),
        key=pl.col("shares").struct.field("expense_code"),
    )


def _summary(invoiced: pl.DataFrame, pending: pl.DataFrame, places: int) -> list[dict[str, Any]]:
    """Sum the invoiced and pending ``amount`` by ``key``."""
    parts = pl.concat(
        [
            invoiced.select("key", invoiced="amount", pending=pl.lit(0, dtype=pl.Int64)),
            pending.select("key", invoiced=pl.lit(0, dtype=pl.Int64), pending="amount"),
        ]
    )
    return (
        parts.group_by("key")
        .agg(pl.col("invoiced", "pending").sum())
        .with_columns(total=pl.col("invoiced") + pl.col("pending"))
        .sort("key", nulls_last=True)
        .with_columns(
            money_text_column(pl.col(name), places) for name in ("invoiced", "pending", "total")
        )
        .to_dicts()
    )


def _invoiced_only(invoiced: int, places: int) -> dict[str, str] | None:
    """A summary's row for an amount that stands on invoices only; None for zero."""
    if not invoiced:
        return None
    text = money_text(invoiced, places)
    return {"invoiced": text, "pending": money_text(0, places), "total": text}


def _name(book: PriceBook, team: str) -> str | None:
    return next((known.name for known in book.teams if known.code == team), None)
