"""Progress of long work, so that a bar can move and a person can stop it.

    step(2_000, 5_000, "recording")    2,000 of 5,000 done; now recording

The listener stops the work by raising Stopped: the transaction is rolled back.
"""

from collections.abc import Callable

from billing_lib.errors import BillingError

Progress = Callable[[int, int, str], None]
"""Called during long work with the number done, the total, and the present activity."""


class Stopped(BillingError):
    """The person who began the work stopped it."""


def unheard(done: int, total: int, activity: str) -> None:
    """Ignore progress."""
