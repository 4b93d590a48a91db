"""One statement as it is shown: a plain structure of texts and counts, and its canonical JSON.

{"facilities": [{"facility": {"code": "MIC", …}, "invoices": [{"number": …, "total": "75.00"}],
  "adjustments": [{"rule": "courtesy", "amount": "-3.00"}], "total": "72.00"}], …}
"""

import json
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.ledger import statements as ledger_statements
from billing_lib.ledger.database import reading
from billing_lib.ledger.facilities import read_facilities
from billing_lib.pricing.money import minor_places, money_text, money_text_column
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.permissions import may_team, require_team

FORMAT = "billing-statement/1"
"""What the canonical JSON calls its own format."""

Statement = dict[str, Any]
"""A statement as it is shown; amounts are decimal text."""


def read_statement(engine: Engine, books: dict[str, PriceBook], statement_id: str) -> Statement:
    """One statement.

    Parameters
    ----------
    books
        Where the team's name stands.

    Raises
    ------
    UnknownStatement
        There is none with this id.
    NotPermitted
        Who is asking may not see the team in every facility that is on it.
    """
    with reading(engine) as connection:
        stated = ledger_statements.read_stated(connection, [statement_id])
        for facility, team in _facilities_on(stated).rows():
            require_team(connection, facility, team)
        return shown_statement(connection, books, statement_id)


def statement_json(statement: Statement) -> str:
    """The canonical text: sorted keys, two spaces, a line feed at the end."""
    return json.dumps(statement, sort_keys=True, ensure_ascii=False, indent=2) + "\n"


def list_statements(engine: Engine, month: str, teams: list[str] | None = None) -> pl.DataFrame:
    """The statements of a month that may be seen, as lists show them, amounts as text in their
    currency: those of teams that who is asking may see in every facility that is on them."""
    with reading(engine) as connection:
        found = ledger_statements.read_statements(connection, periods=[month], teams=teams)
        stated = ledger_statements.read_stated(connection, found["id"].to_list())
        may = [
            (facility, team, may_team(connection, facility, team))
            for facility, team in _facilities_on(stated).rows()
        ]
    schema = {"facility": pl.String, "team": pl.String, "may": pl.Boolean}
    seen = stated.join(pl.DataFrame(may, schema=schema, orient="row"), on=["facility", "team"])
    hidden = seen.filter(~pl.col("may"))["statement"]
    found = found.filter(~pl.col("id").is_in(hidden.implode()))
    facilities = stated.group_by("statement").agg(
        pl.col("facility").unique().sort().str.join(", ").alias("facilities")
    )
    places = [minor_places(currency) for currency in found["currency"]]
    amounts = {
        name: pl.Series(
            [money_text(amount, n) for amount, n in zip(found[name], places, strict=True)],
            dtype=pl.String,
        )
        for name in ("raw_total", "adjustment", "total")
    }
    return (
        found.with_columns(**amounts)
        .join(facilities, left_on="id", right_on="statement", how="left", maintain_order="left")
        .select(
            pl.col("id").alias("statement"),
            "team",
            pl.col("facilities").fill_null(""),
            "invoices",
            *amounts,
            "currency",
            "state",
            pl.col("paid_on").cast(pl.String),
            "payment_reference",
        )
    )


def _facilities_on(stated: pl.DataFrame) -> pl.DataFrame:
    return stated.select("facility", "team").unique().sort("facility", "team")


def shown_statement(
    connection: Connection, books: dict[str, PriceBook], statement_id: str
) -> Statement:
    """One statement, whoever is asking."""
    row = ledger_statements.require_statement(connection, statement_id)
    places = minor_places(row.currency)
    stated = ledger_statements.read_stated(connection, [statement_id])
    adjusted = ledger_statements.read_statement_adjustments(connection, [statement_id])
    named = read_facilities(connection).filter(pl.col("code").is_in(stated["facility"].implode()))
    drawn = int(stated["prepaid"].sum())
    return {
        "format": FORMAT,
        "id": row.id,
        "team": {"code": row.team, "name": _team_name(books, row.team)},
        "period": row.period,
        "sequence": row.sequence,
        "currency": row.currency,
        "state": row.state,
        "facilities": [
            _facility(code, name, stated, adjusted, places)
            for code, name in named.select("code", "name").iter_rows()
        ],
        "payment": None
        if row.paid_on is None
        else {"date": row.paid_on.isoformat(), "reference": row.payment_reference},
        "totals": {
            "invoices": row.invoices,
            "raw_total": money_text(row.raw_total, places),
            "adjustment": money_text(row.adjustment, places),
            "total": money_text(row.total, places),
            "prepaid": money_text(drawn, places),
            "due": money_text(row.total - drawn, places),
        },
    }


def _facility(
    code: str, name: str, stated: pl.DataFrame, adjusted: pl.DataFrame, places: int
) -> dict[str, Any]:
    here = stated.filter(pl.col("facility") == code)
    changes = adjusted.filter(pl.col("facility") == code)
    raw, change = int(here["total"].sum()), int(changes["amount"].sum())
    return {
        "facility": {"code": code, "name": name},
        "invoices": here.select(
            "number",
            "project",
            "kind",
            "state",
            pl.col("invoice_date").cast(pl.String),
            money_text_column(pl.col("total"), places),
            money_text_column(pl.col("prepaid").fill_null(0), places),
        ).to_dicts(),
        "adjustments": changes.select(
            "rule", "kind", money_text_column(pl.col("amount"), places)
        ).to_dicts(),
        "raw_total": money_text(raw, places),
        "adjustment": money_text(change, places),
        "total": money_text(raw + change, places),
    }


def _team_name(books: dict[str, PriceBook], team: str) -> str:
    """As the first price book that has the team says it; its code where none has."""
    names = (known.name for book in books.values() for known in book.teams if known.code == team)
    return next(names, team)
