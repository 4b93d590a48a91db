"""Usage that nobody can place in a month: rows without any readable time.

    november.csv: 2 rows have no readable time: z1 (row 2), z2 (row 3)      key 7c215e2c53

Such a row may be of any month. It is in the unbilled report, review and overview of every open
month, and no month is signed off, until somebody deals with it: by mending the row, by a corrected
file, by taking back its file, or by dismissing it with a reason, for all months at once. A row of
which a start, an end or a date can be read belongs to that month. A job that is still running, with
a start and no end, keeps no month back: it is named, and is usage of the month in which it ends.
"""

import polars as pl
from sqlalchemy import Connection

from billing_lib.errors import NotReady
from billing_lib.ledger import charges, usage
from billing_lib.ledger import invoices as ledger_invoices
from billing_lib.ledger.states import ACTIVE, UNFINISHED
from billing_lib.pricing.month_checks import UNPLACED, find_unplaced, named_rows
from billing_lib.workflow.findings import ANY, standing_dismissals, waiting, with_dismissals


def read_unplaced(connection: Connection, facility: str) -> pl.DataFrame:
    """The rows without a readable time that nobody has dealt with (schema UNBILLED of
    ledger/usage.py), each with the ``key`` of its finding."""
    rows = waiting(connection, facility, usage.read_unbilled(connection, facility, undated=True))
    if rows.height == 0:
        return rows.with_columns(key=pl.lit(None, pl.String))
    dismissed = standing_dismissals(connection, facility)["subject"].str.strip_prefix(f"{ANY} ")
    keys = find_unplaced(rows.select(UNPLACED.names())).select("key", file="subject")
    return rows.join(keys, on="file", maintain_order="left").filter(
        ~pl.col("key").is_in(dismissed.implode())
    )


def month_unbilled(connection: Connection, facility: str, month: str) -> pl.DataFrame:
    """A month's unbilled report (schema UNBILLED of ledger/usage.py), with the rows that nobody
    can place if the month is open."""
    own = usage.read_unbilled(connection, facility, month)
    unplaced = read_unplaced(connection, facility)
    if unplaced.height == 0 or not is_open(connection, facility, month):
        return own
    return pl.concat([own, unplaced.select(own.columns)]).sort("file", "row", "record")


def month_rows(connection: Connection, facility: str, month: str) -> pl.DataFrame:
    """A month's unbilled report with ``dismissed``, the reason why staff dismissed a row, or ''."""
    rows = month_unbilled(connection, facility, month)
    undated = usage.read_unbilled(connection, facility, undated=True)
    if undated.height and is_open(connection, facility, month):
        judged = with_dismissals(connection, facility, undated).filter(pl.col("dismissed") != "")
        rows = pl.concat([rows, judged.select(rows.columns)]).sort("file", "row", "record")
    return with_dismissals(connection, facility, rows)


def count_unplaced(connection: Connection, facility: str, month: str) -> int:
    """The number of rows that nobody can place, as an open month counts them; else 0."""
    unplaced = read_unplaced(connection, facility).height
    return unplaced if unplaced and is_open(connection, facility, month) else 0


def is_open(connection: Connection, facility: str, month: str) -> bool:
    """Whether a month may still bill usage: it is not issued, or not all of it."""
    states = set(ledger_invoices.read_invoices(connection, facility, period=month)["state"])
    if states.isdisjoint(ACTIVE) or not states.isdisjoint(UNFINISHED):
        return True
    return charges.has_pending(connection, facility, month)


def require_placed(connection: Connection, facility: str, month: str) -> str:
    """Refuse to sign off a month while nobody can place some rows; name the running jobs.

    Returns a sentence on the month's jobs that have a start and no end, '' for none.

    Raises
    ------
    NotReady
        Some rows have no readable time, and nobody has dealt with them.
    """
    unplaced = read_unplaced(connection, facility)
    if unplaced.height:
        keys = ", ".join(unplaced["key"].unique(maintain_order=True))
        raise NotReady(
            f"{_rows(unplaced.height, 'has', 'have')} no readable time, so that nobody can place "
            f"them in a month: {named_rows(unplaced)}",
            where=facility,
            remedy="correct the file and load it again, take it back with 'billing unload', or "
            f"dismiss the finding {keys}",
        )
    running = usage.read_unbilled(connection, facility, month).filter(
        (pl.col("reason") == "invalid_time")
        & pl.col("start").is_not_null()
        & pl.col("end").is_null()
        & pl.col("date").is_null()
    )
    if running.height == 0:
        return ""
    return f"{_rows(running.height, 'has', 'have')} a start and no end yet: {named_rows(running)}"


def _rows(count: int, one: str, more: str) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'} of usage {one if count == 1 else more}"
