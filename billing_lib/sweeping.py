"""Sweeping the store: what no valid package and no kept transformation refers to is removed."""

import datetime as dt

from sqlalchemy import Engine

from billing_lib.documents.store import Store
from billing_lib.ledger.database import reading
from billing_lib.ledger.packages import read_referred
from billing_lib.ledger.transformations import read_kept_results


def sweep(engine: Engine, store: Store, today: dt.date | None = None) -> int:
    """Sweep the store, which must be locked; how many files were removed.

    Packages that are no longer valid, those whose making or deleting a crash ended, are gone with
    it. It reads nothing of them but the hashes of their files.

    Parameters
    ----------
    today
        Until when packages must be valid to be kept; the day in UTC unless told.
    """
    day = today or dt.datetime.now(dt.UTC).date()
    with reading(engine) as connection:
        referred = read_referred(connection, day) | read_kept_results(connection)
    return store.sweep(referred)
