"""A process that issues again and again, each time at about the same moment as another one.

It issues as batch/issuing.py does, but without papermill and the archive: this process computes the
notebook's results (sample_issuing.py). It is a module of its own, so that a new process can import
it.
"""

import time
import traceback
from contextlib import nullcontext
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

from sample_facility import BOOK, HEADER, price_book
from sample_issuing import issue_prepared
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from billing_lib.errors import BillingError, NotReady
from billing_lib.ledger import runs
from billing_lib.ledger.database import issuing, open_ledger, reading, writing
from billing_lib.pricing.clock import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.workflow.approve import prepare
from billing_lib.workflow.runs import RunScope

APRIL = Period(2020, 4)

STEPS, STEP = 20, 0.02
"""How much later than the other a process begins: in each two races by one step more, up to the
third of a second or so that an issuing takes. So in 40 races each of the two meets the other at
all that it does, which the same moment again and again would leave to chance."""


class Outcome(NamedTuple):
    """What became of one try: ``issued``, ``refused`` or ``broken``, and what was said."""

    race: int
    what: str
    said: str


def many_projects(count: int) -> PriceBook:
    """The facility with further projects, r0 and so on."""
    further = (
        f"  - {{code: r{n}, team: smith, type: faculty, "
        'split: [{expense_code: R, percent: "100"}]}\n'
        for n in range(count)
    )
    return price_book(BOOK + "".join(further))


def usage_of(count: int) -> str:
    """A slide for each of these projects."""
    return HEADER + "".join(f"s{n},slide,r{n},eve,,,2020-04-08,1\n" for n in range(count))


def race(
    url: str,
    folder: Path,
    count: int,
    locked: bool,
    behind: int,
    start: Barrier,
    outcomes: "Queue[Outcome]",
) -> None:
    """Issue the invoices of projects r0, r1, … one after the other, each when the other
    process does.

    Parameters
    ----------
    locked
        Hold the facility's lock, as ``billing issue`` does; else only the database keeps the
        processes apart.
    behind
        Begin later in the even races (0), or in the odd ones (1).
    """
    ledger, book = open_ledger(url), many_projects(count)
    for number in range(count):
        start.wait(timeout=120)
        if number % 2 == behind:
            time.sleep(number // 2 % STEPS * STEP)
        try:
            with issuing(ledger, "MIC") if locked else nullcontext():
                issue_one(ledger, book, number, folder)
        except BillingError as refusal:
            outcomes.put(Outcome(number, "refused", f"{type(refusal).__name__}: {refusal}"))
        except IntegrityError as refusal:
            what = "broken" if locked else "refused"
            outcomes.put(Outcome(number, what, str(refusal.orig)))
        except Exception:  # noqa: BLE001  # what else there may be is for the test to see
            outcomes.put(Outcome(number, "broken", traceback.format_exc()))
        else:
            outcomes.put(Outcome(number, "issued", ""))
    ledger.dispose()


def issue_one(ledger: Engine, book: PriceBook, number: int, folder: Path) -> None:
    """Prepare and issue one project's invoice; what is frozen is given up if it fails."""
    selection = RunScope(projects=(f"r{number}",))
    with writing(ledger) as connection:
        prepared = prepare(connection, book, APRIL, selection)
    if not prepared.codes:
        raise NotReady("nothing can be issued yet", where=prepared.run)
    try:
        issue_prepared(ledger, book, prepared, folder)
    except Exception:
        with reading(ledger) as connection:
            frozen = runs.frozen(connection, "MIC")
        if frozen is not None and frozen.run == prepared.run:
            with writing(ledger) as connection:
                runs.fail(connection, frozen.id, "lost the race")
        raise
