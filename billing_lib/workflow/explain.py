"""Explaining a charge of the ledger: what it was made of, in words, as it is priced now.

explain(ledger, book, "RC/57")   ["Microscope 1, project p1, user ann", …, "Total: 81.00 USD."]
"""

import polars as pl
from sqlalchemy import Engine

from billing_lib.errors import UnknownCharge
from billing_lib.ledger import charges as ledger_charges
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.database import reading
from billing_lib.pricing.explain import explain_charge
from billing_lib.pricing.money import minor_places, money_text
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.adjust import split_code
from billing_lib.workflow.gathering import gather
from billing_lib.workflow.permissions import VIEWER, require


def explain(engine: Engine, book: PriceBook, charge: str) -> list[str]:
    """How a charge comes to its total, one sentence per step.

    Where the price book has changed since the charge was issued or last rated, the last sentence
    says what the ledger has.

    Raises
    ------
    UnknownCharge
        There is no such charge.
    """
    facility, code = split_code(charge)
    with reading(engine) as connection:
        require(connection, facility, VIEWER)
        found = ledger_charges.read_charges(connection, facility, codes=[code])
        if found.height == 0:
            raise UnknownCharge(
                f"there is no charge {charge}", remedy="'billing charges' lists them"
            )
        row = found.row(0, named=True)
        month = ledger_charges.read_charges(
            connection, facility, period=row["period"], project=row["project"]
        )
        kin = month.filter(
            pl.col("item").eq_missing(pl.lit(row["item"], dtype=pl.String))
            | (pl.col("code") == code)
        )
        it = gather(connection, book, kin)
        held = ledger_invoices.read_invoices(connection, facility, codes=[row["invoice"] or ""])
    currency, places = book.facility.currency, minor_places(book.facility.currency)
    told = explain_charge(code, currency, it.usage, it.catalogue, it.adjustments, it.lines)
    standing = f"Total: {money_text(row['total'], places)} {currency}."
    state = _stands_on(row["invoice"], held)
    if standing not in told:
        state += f" The ledger has {standing[:-1].lower()}, priced by an earlier price book."
    return [f"{charge}: {told[0]}", *told[1:], state]


def _stands_on(code: str | None, held: pl.DataFrame) -> str:
    if code is None:
        return "It is on no invoice yet."
    state, number = held.select("state", "number").row(0)
    if number is None:
        return f"It is on invoice {code}, which is {state} and not issued yet."
    told = {"SUPERSEDED": ", which another replaces", "VOID": ", which is void"}
    return f"It is on invoice {number}{told.get(state, '')}."
