"""Sending: what waits in the outbox goes out, one message at a time, under one lock.

    claim (committed)  ─▶  the mail server  ─▶  mark (committed)

A process that dies between the two leaves SENDING behind. Under the lock nobody else is sending,
so the next try knows that, and has it UNCERTAIN: a person is asked, and nothing is sent twice.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parseaddr

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.delivery.outgoing import mail_of
from billing_lib.delivery.server import Answer, MailServer
from billing_lib.documents.mail import Mail, mail_bytes
from billing_lib.errors import InvalidRecord, UnusableMailServer
from billing_lib.ledger import messages, notices
from billing_lib.ledger.database import reading, writing
from billing_lib.ledger.lock import sending
from billing_lib.ledger.states import REFUSED, SENDING, SENT, UNCERTAIN
from billing_lib.settings import Settings
from billing_lib.workflow.permissions import ISSUER, may, require

Step = Callable[[int, int, str], None]

MOST_TRIES = 13
"""After so many tries, about five days (RFC 5321, 4.5.4.1), a message counts as refused."""

_LONGEST_WAIT = dt.timedelta(days=1)
_GONE_TOO_OFTEN = 2  # in a row: such a server would leave every message uncertain
_DIED = "a process ended while it was sending this"


@dataclass
class Sent:
    """What sending came to.

    Attributes
    ----------
    sent
        How many messages the server took.
    sentences
        What became of the others.
    failed
        Whether a person has to look at one.
    """

    sent: int = 0
    sentences: list[str] = field(default_factory=list)
    failed: bool = False

    def say(self, sentence: str, *, failed: bool = True) -> None:
        """Add a sentence on a message that was not sent."""
        self.sentences.append(sentence)
        self.failed = self.failed or failed


def send_waiting(
    engine: Engine, settings: Settings, step: Step = lambda done, total, what: None
) -> Sent:
    """Send what waits and is due, of the facilities whose issuer is asking.

    Parameters
    ----------
    step
        Told how far it is.

    Raises
    ------
    NotPermitted
        Something waits, and all of it is of other facilities.
    SendingElsewhere
        Another process is sending.
    InvalidSettings
        No mail server is named, or the settings do not fit together.
    """
    done = Sent()
    with sending(engine):
        _settle(engine, done)
        chosen = _due(engine)
        if not chosen:
            return done
        server, gone = MailServer(settings), 0
        try:
            for at, message_id in enumerate(chosen):
                step(at, len(chosen), message_id)
                answer = _send(engine, settings, server, message_id, done)
                if answer is None:
                    continue
                gone = gone + 1 if answer.gone else 0
                left = len(chosen) - at - 1
                if left and (answer.stops or gone == _GONE_TOO_OFTEN):
                    done.say(f"{left:,} messages wait for another time")
                    break
        except UnusableMailServer as error:
            done.say(str(error))
        finally:
            server.close()
    return done


def wait_after(attempts: int) -> dt.timedelta:
    """How long a message waits after so many tries: 5 minutes, 10, 20, … a day at most."""
    return min(dt.timedelta(minutes=5 << (attempts - 1)), _LONGEST_WAIT)


def _settle(engine: Engine, done: Sent) -> None:
    """Find what a process that died was sending; call it under the lock."""
    with reading(engine) as connection:
        left = messages.read_messages(connection, states=(SENDING,))["id"].to_list()
    for message_id in left:
        _mark(engine, message_id, Answer("lose", _DIED), done)


def _due(engine: Engine) -> list[str]:
    """The ids of what may be sent by who is asking."""
    with reading(engine) as connection:
        waiting = messages.due_messages(connection, dt.datetime.now(dt.UTC))
        told = messages.read_told(connection, messages=waiting)
        others = [
            facility
            for facility in told["facility"].unique().sort()
            if not may(connection, facility, ISSUER)
        ]
        theirs = set(told.filter(pl.col("facility").is_in(others))["message"])
        chosen = [each for each in waiting if each not in theirs]
        if waiting and not chosen:
            require(connection, others[0], ISSUER)
    return chosen


def _send(
    engine: Engine, settings: Settings, server: MailServer, message_id: str, done: Sent
) -> Answer | None:
    """Send one message; the server's answer, or none where there was nothing to send."""
    with writing(engine) as connection:
        lapsed = messages.lapsed_invoices(connection, message_id)
        if lapsed:
            why = f"invoice {', '.join(lapsed)} counts no longer"
            messages.move_message(connection, message_id, "withdraw", why)
            done.say(f"message {message_id} is withdrawn: {why}", failed=False)
            return None
        try:
            mail = _read(connection, settings, message_id)
        except InvalidRecord as error:
            done.say(f"message {message_id} waits: {error}")
            return None
    content = mail_bytes(mail)
    server.connect()
    with writing(engine) as connection:
        if not messages.claim_message(connection, message_id):
            return None  # somebody withdrew it meanwhile
    answer = server.transmit(parseaddr(mail.sender)[1], parseaddr(mail.recipient)[1], content)
    _mark(engine, message_id, answer, done)
    return answer


def _read(connection: Connection, settings: Settings, message_id: str) -> Mail:
    row = messages.read_message(connection, message_id)
    attachments = messages.read_attachments(connection, message_id)
    return mail_of(row, attachments, settings.runs, row["queued_at"])


def _mark(engine: Engine, message_id: str, answer: Answer, done: Sent) -> None:
    """Note what became of a message that was claimed."""
    with writing(engine) as connection:
        row = messages.read_message(connection, message_id)
        action, said, next_try = answer.action, answer.said, None
        if action == "defer" and row["attempts"] >= MOST_TRIES:
            action, said = "refuse", f"given up after {row['attempts']} tries: {said}"
        elif action == "defer":
            next_try = dt.datetime.now(dt.UTC) + wait_after(row["attempts"])
        state = messages.move_message(connection, message_id, action, said, next_try=next_try)
        sentence = _sentence(message_id, row["recipient"], state, said, next_try)
        if state in (REFUSED, UNCERTAIN):
            tell_staff(connection, message_id, state, row["attempts"], sentence)
    if state == SENT:
        done.sent += 1
    else:
        done.say(sentence)


def _sentence(
    message_id: str, recipient: str, state: str, said: str, next_try: dt.datetime | None
) -> str:
    named = f"{state} {message_id} to {recipient}: {said}"
    if state == UNCERTAIN:
        return (
            f"{named}; the server may have it: ask the recipient, then say 'billing outbox --sent "
            f"{message_id}' or 'billing outbox --again {message_id}'"
        )
    return named if next_try is None else f"{named}; tried again from {next_try:%Y-%m-%d %H:%M}Z"


def tell_staff(
    connection: Connection, message_id: str, state: str, attempts: int, sentence: str
) -> None:
    """Show the staff of each facility that a message tells of what became of it.

    Parameters
    ----------
    attempts
        At which try; the same state is shown again after another.
    """
    notices.add_notices(
        connection,
        [
            {
                "facility": facility,
                "team": notices.STAFF,
                "kind": state.lower(),
                "key": f"{message_id}/{attempts}",
                "text": sentence,
                "link": "",
            }
            for facility in messages.facilities_of(connection, message_id)
        ],
    )
