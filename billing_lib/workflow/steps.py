"""What long work tells as it goes on, so that a bar moves and a person can stop it.

    step(2_000, 5_000, "recording")    2,000 of 5,000, and what is being done

Who listens stops the work by raising Stopped: it leaves the transaction, and nothing is written.
"""

from collections.abc import Callable

from billing_lib.errors import BillingError

Step = Callable[[int, int, str], None]
"""Told by long work as it goes on: how much is done, of how much, and what is being done."""


class Stopped(BillingError):
    """The person who began the work stopped it."""


def unheard(done: int, total: int, what: str) -> None:
    """A step that nobody listens to."""
