"""Choosing invoices of a run: a selection, or all that match.

--invoice RC-1993-11-1/u4     --project u4 --state OPEN     --total-from 1000     --all
"""

from dataclasses import dataclass
from decimal import Decimal

import polars as pl
from sqlalchemy import Connection

from billing_lib.errors import InvalidAdjustment, NotReady
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import runs
from billing_lib.pricing.money import minor_places, to_minor
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.permissions import VIEWER, require


@dataclass(frozen=True)
class Choice:
    """Which invoices of a run an action is for; what is empty or None chooses all.

    Attributes
    ----------
    total_from, total_to
        Bounds of the total, both included.
    everything
        Says that really all of the run is meant, where nothing else is stated.
    """

    invoices: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    total_from: Decimal | None = None
    total_to: Decimal | None = None
    everything: bool = False

    def of(self, connection: Connection, book: PriceBook, run: str) -> list[str]:
        """The codes of the chosen invoices of a run.

        Raises
        ------
        InvalidAdjustment
            Nothing is stated, or an invoice is not of the run.
        NotReady
            None matches.
        UnknownRun
            There is no such run.
        """
        require(connection, book.facility.code, VIEWER)
        runs.read_run(connection, run)
        if self == Choice():
            raise InvalidAdjustment(
                "say which invoices", remedy="name them with --invoice or a filter, or add --all"
            )
        found = ledger_invoices.read_invoices(connection, book.facility.code, run=run)
        strange = sorted(set(self.invoices) - set(found["code"]))
        if strange:
            raise InvalidAdjustment(f"invoice {strange[0]} is not of run {run}")
        for column, wanted in (
            ("code", self.invoices),
            ("project", self.projects),
            ("team", self.teams),
            ("state", tuple(state.upper() for state in self.states)),
        ):
            if wanted:
                found = found.filter(pl.col(column).is_in(wanted))
        places = minor_places(book.facility.currency)
        if self.total_from is not None:
            found = found.filter(pl.col("total") >= to_minor(self.total_from, places))
        if self.total_to is not None:
            found = found.filter(pl.col("total") <= to_minor(self.total_to, places))
        if found.height == 0:
            raise NotReady(
                f"no invoice of run {run} matches", remedy=f"'billing run show {run}' lists them"
            )
        return found["code"].to_list()
