"""Notices inside the notebooks, beside e-mail: a lab's invoices, and what staff have to look at.

    2 new notices
    Invoice RC-1994-00003 of 1,204.11 USD for project u4, 1993-11, is ready      listing.ipynb

Staff of a facility see what is for its staff, a lab administrator what is for the team and those
below it; each login reads and puts away by itself.
"""

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.ledger import notices
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.facilities import read_facilities
from billing_lib.ledger.notices import KEYS, NOTICE, STAFF
from billing_lib.workflow.permissions import VIEWER, labs_of, may, may_team, require_team


def list_notices(
    engine: Engine, *, team: str | None = None, everything: bool = False
) -> pl.DataFrame:
    """The notices for who is asking (schema NOTICE), the newest first.

    Parameters
    ----------
    team
        Those for this team's lab administrators, as staff see what a lab is told.
    everything
        Those that are read already, too.
    """
    with reading(engine) as connection:
        return _mine(connection, team, everything=everything)


def read_all(engine: Engine, keys: list[str] | None = None) -> int:
    """Put notices away for who is asking, all or those with these keys; how many were new."""
    with writing(engine) as connection:
        unread = _mine(connection, None, everything=False)
        if keys is not None:
            unread = unread.filter(pl.col("key").is_in(keys))
        notices.mark_read(connection, unread.select(KEYS))
    return unread.height


def _mine(connection: Connection, team: str | None, *, everything: bool) -> pl.DataFrame:
    facilities = read_facilities(connection)["code"].to_list()
    if team is not None and facilities:
        seen = [code for code in facilities if may_team(connection, code, team)]
        for facility in facilities if not seen else []:
            require_team(connection, facility, team)
        facilities = seen
    parts = [NOTICE.to_frame()]
    for facility in facilities:
        staff = [STAFF] if may(connection, facility, VIEWER) else []
        mine = [*staff, *sorted(labs_of(connection, facility))]
        teams = mine if team is None else [team]
        parts.append(notices.read_notices(connection, facility, teams))
    found = pl.concat(parts).sort("made_at", "key", descending=[True, False])
    return found if everything else found.filter(pl.col("seen_at").is_null())
