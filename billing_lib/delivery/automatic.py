"""Delivery by the scheduled job: of the facilities that say ``deliver: automatic``.

Their invoices and statements of the month are queued, then all that waits is sent, with what
could not be sent an earlier time. Done twice, it changes nothing.
"""

from collections.abc import Callable
from functools import partial

from sqlalchemy import Engine

from billing_lib.delivery.queue import Queued, queue_invoices, queue_statements
from billing_lib.delivery.send import send_waiting
from billing_lib.errors import BillingError, NotReady
from billing_lib.pricing.period import Period
from billing_lib.pricing.pricebook import PriceBook
from billing_lib.settings import Settings


def deliver_month(
    engine: Engine, settings: Settings, books: dict[str, PriceBook], period: Period
) -> tuple[list[str], bool]:
    """Deliver what a month has of the facilities that wish so; sentences, and whether a person
    has to look at something.

    A statement is sent where every facility on it wishes so.
    """
    wishing = {code: book for code, book in books.items() if book.facility.deliver == "automatic"}
    if not wishing:
        return [], False
    said: list[str] = []
    failed = False
    queueing: list[Callable[[], Queued]] = [
        *(partial(queue_invoices, engine, settings, book, period) for book in wishing.values()),
        partial(queue_statements, engine, settings, books, period, facilities=wishing.keys()),
    ]
    for queue in queueing:
        try:
            queued = queue()
        except NotReady:
            continue  # nothing is issued or stated, which the month has said
        except BillingError as error:
            said, failed = [*said, f"deliver: {error}"], True
        else:
            said += [*queued.sentences, *queued.problems]
            failed = failed or bool(queued.problems)
    try:
        sent = send_waiting(engine, settings)
    except BillingError as error:
        return [*said, f"deliver: {error}"], True
    return [*said, *sent.sentences, f"{sent.sent:,} messages sent"], failed or sent.failed
