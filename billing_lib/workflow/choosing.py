"""Choosing invoices of a run: a selection, or all that match.

--invoice RC-1993-11-1/u4     --project u4 --state OPEN     --total-from 1000     --all
"""

from dataclasses import dataclass
from decimal import Decimal
from itertools import product

from sqlalchemy import Connection

from billing_lib.errors import InvalidAdjustment, NotReady
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger import runs
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.filters import Filter
from billing_lib.workflow.finding import find_codes
from billing_lib.workflow.permissions import VIEWER, require


@dataclass(frozen=True)
class Choice:
    """Which invoices of a run an action is for; what is empty or None chooses all.

    Attributes
    ----------
    teams
        Those that belong to them are chosen with them.
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
        InvalidFilter
            No invoice is ever in such a state.
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
        facility = book.facility.code
        of_run = ledger_invoices.read_invoices(connection, facility, run=run)["code"]
        strange = sorted(set(self.invoices) - set(of_run))
        if strange:
            raise InvalidAdjustment(f"invoice {strange[0]} is not of run {run}")
        stated = {
            "facility": facility,
            "run": run,
            "states": self.states,
            "total_from": self.total_from,
            "total_to": self.total_to,
        }
        found = {
            code
            for project, team in product(self.projects or (None,), self.teams or (None,))
            for _, code in find_codes(
                connection,
                Filter.parse(stated | {"project": project, "team": team}),
                {facility: book},
            )
        }
        if self.invoices:
            found &= set(self.invoices)
        if not found:
            raise NotReady(
                f"no invoice of run {run} matches", remedy=f"'billing run show {run}' lists them"
            )
        return sorted(found)
