"""The tree of teams as the ledger knows it: who sees a team sees the teams below it.

    event 4  teams  tree  after {"crystals":"bio","membranes":"bio"}       team: the one above it

The price book states the tree; it is noted whenever staff use a changed one, so that what a lab
may see is told by the ledger and not by the files on the lab's own machine.
"""

import json

from sqlalchemy import Connection

from billing_lib.ledger import events
from billing_lib.pricing.fields import canonical_json
from billing_lib.pricing.pricebook import PriceBook

KIND, TREE = "teams", "tree"
"""The kind of these events, and their subject."""


def note_teams(connection: Connection, book: PriceBook) -> None:
    """Note the price book's tree of teams where it is another than before."""
    above = {team.code: team.parent for team in book.teams if team.parent is not None}
    before = _noted(connection, book.facility.code)
    if above != before:
        events.record_event(
            connection,
            book.facility.code,
            kind=KIND,
            subject=TREE,
            reason="",
            before=canonical_json(before),
            after=canonical_json(above),
        )


def with_below(connection: Connection, facility: str, teams: set[str]) -> set[str]:
    """These teams and all that are below them."""
    above = _noted(connection, facility)
    found = set(teams)
    while below := {team for team, parent in above.items() if parent in found} - found:
        found |= below
    return found


def _noted(connection: Connection, facility: str) -> dict[str, str]:
    noted = events.read_events(connection, facility, kinds=[KIND], subjects=[TREE])
    above: dict[str, str] = json.loads(noted["after"][-1]) if noted.height else {}
    return above
