"""The trail: a facility's chain of events as auditors read it, and whether it is whole.

7  1993-11-02T17:04:11Z  carol  adjust  57  half of the nodes failed
"""

from dataclasses import dataclass

import polars as pl
from sqlalchemy import Engine

from billing_lib.errors import UnknownFacility
from billing_lib.ledger.database import reading
from billing_lib.ledger.events import BEGINNING, check_chain, read_events
from billing_lib.ledger.facilities import read_facilities
from billing_lib.workflow.permissions import AUDITOR, require


@dataclass(frozen=True)
class Trail:
    """A facility's events.

    Attributes
    ----------
    events
        ``sequence``, ``at``, ``login``, ``kind``, ``subject``, ``team``, ``group``, ``reason``,
        ``before``, ``after``, ``hash``: those that were asked for, in order.
    length, last
        How many there are in all, and the hash of the last one; kept elsewhere it shows whether
        some were cut off the end.
    breaks
        One sentence per break of the whole chain; none if it is whole.
    """

    events: pl.DataFrame
    length: int
    last: str
    breaks: list[str]


def read_trail(
    engine: Engine,
    facility: str,
    subjects: list[str] | None = None,
    kinds: list[str] | None = None,
) -> Trail:
    """Read a facility's events, of some subjects or kinds, and check the whole chain.

    Raises
    ------
    UnknownFacility
        The ledger does not know it.
    NotPermitted
        Only an auditor or administrator does this.
    """
    with reading(engine) as connection:
        if facility not in read_facilities(connection)["code"]:
            raise UnknownFacility(f"the ledger knows no facility '{facility}'")
        require(connection, facility, AUDITOR)
        every = read_events(connection, facility)
        found = read_events(connection, facility, kinds=kinds, subjects=subjects)
        breaks = check_chain(connection, facility)
    columns = ("sequence", "at", "login", "kind", "subject", "team", "group", "reason")
    told = found.rename({"group_id": "group"}).with_columns(
        pl.col("at").dt.to_string("%Y-%m-%dT%H:%M:%SZ")
    )
    last = every["hash"][-1] if every.height else BEGINNING
    return Trail(told.select(*columns, "before", "after", "hash"), every.height, last, breaks)
