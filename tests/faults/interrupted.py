"""Issue a month and die at a named instant, as if the power went: for test_crash.py.

    python interrupted.py FACILITY PERIOD WHERE

WHERE is ``<name in billing_lib.issuer>:before`` or ``:after``; the process ends there without
any clean-up.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

from billing_lib.batch import issuing
from billing_lib.batch.issuing import issue_month
from billing_lib.ledger.database import open_ledger
from billing_lib.pricing.clock import Period
from billing_lib.settings import settings
from billing_lib.workflow.load import read_price_book


def dying(function: Callable[..., Any], instant: str) -> Callable[..., Any]:
    def at_that_instant(*args: Any, **kwargs: Any) -> Any:
        if instant == "after":
            function(*args, **kwargs)
        os._exit(9)

    return at_that_instant


def main() -> None:
    facility, period, where = sys.argv[1:]
    name, instant = where.split(":")
    setattr(issuing, name, dying(getattr(issuing, name), instant))
    current = settings()
    issue_month(
        open_ledger(current.database),
        current,
        read_price_book(current.parameters, facility),
        Period.parse(period),
        terms=issuing.IssuingTerms(allow_dirty=True),
    )


if __name__ == "__main__":
    main()
