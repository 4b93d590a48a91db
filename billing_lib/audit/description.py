"""What a record says of its run: which, of whom, when."""

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True)
class RunDescription:
    """A run as its record describes it.

    Attributes
    ----------
    run, facility, facility_name, period
        ``RC-1993-10-1``, ``RC``, its name, ``1993-10``.
    selection
        A project's code, or '' for the whole month.
    login, frozen_at
        Who froze it and when, as the ledger recorded it.
    started, ended
        When the notebook ran; instants with a time zone.
    """

    run: str
    facility: str
    facility_name: str
    period: str
    selection: str
    invoice_date: dt.date
    login: str
    frozen_at: dt.datetime
    started: dt.datetime
    ended: dt.datetime
