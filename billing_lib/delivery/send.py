"""Sending: waiting messages go out one by one, under one lock, through one mail server.

    claim (committed)  ─▶  the mail server  ─▶  mark (committed)

A process that dies between the two leaves SENDING behind. Under the lock no other process is
sending, so the next run makes that message UNCERTAIN and asks a person: nothing is sent twice.

    250 to the message       send      the server has taken it
    5xx to the recipient     refuse    for good
    4xx, or it went away     defer     nothing was taken; tried again later
    no answer to the end     lose      it may have taken it

SMTP leaves the last case open (RFC 5321, 4.5.3.2.6): between the message's final dot and the answer
only the server knows.

Attachments are named by their place in the archive and their sha256; the outbox itself holds only
files that the archive lacks. So a message has the same bytes whenever it is sent, or it is not
sent.

    BILLING_SMTP_FROM=billing@example.edu
    BILLING_PORTAL_URL=https://billing.example.edu/invoice?number={id}
"""

import datetime as dt
import hashlib
import ipaddress
import re
import smtplib
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parseaddr
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import polars as pl
from sqlalchemy import Connection, Engine

from billing_lib.audit.archive import open_record
from billing_lib.audit.verify import sealed_file
from billing_lib.documents.mail import Attached, Mail, mail_bytes
from billing_lib.documents.pdf import Letter, Link
from billing_lib.documents.text import printable
from billing_lib.documents.writing import make_folder, write_file
from billing_lib.errors import (
    InvalidAddress,
    InvalidRecord,
    InvalidSettings,
    UnusableMailServer,
    count_of,
)
from billing_lib.folders import Folder
from billing_lib.ledger import messages
from billing_lib.ledger.database import reading, sending, writing
from billing_lib.ledger.states import REFUSED, SENDING, SENT, UNCERTAIN
from billing_lib.settings import Settings
from billing_lib.workflow.outbox import Mailbox, parse_mailbox
from billing_lib.workflow.permissions import ISSUER, may, require
from billing_lib.workflow.steps import Progress, unheard

_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_SECONDS, _SECONDS_AT_THE_END = 60, 600  # RFC 5321, 4.5.3.2: ten minutes after the final dot
_TOO_BIG = 552
_LONGEST = 500


@dataclass(frozen=True)
class Answer:
    """The outcome of one message at the mail server."""

    action: str  # the move in states.py: send, refuse, defer or lose
    said: str  # the server's words
    stops: bool = False  # whether the server would give the next message the same answer
    gone: bool = False  # whether the server went away


class MailServer:
    """One connection to the mail server for many messages, made by :meth:`connect`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._smtp: smtplib.SMTP | None = None
        self._host = _host(settings)
        self._port = settings.smtp_port or _PORTS[settings.smtp_security]

    def connect(self) -> None:
        """Connect and log in, unless the connection is still alive.

        Raises
        ------
        UnusableMailServer
            The server cannot be reached, is not trusted, or refuses the user.
        """
        if self._smtp is not None:
            with suppress(smtplib.SMTPException, OSError):
                if self._smtp.noop()[0] == 250:
                    return
            self.close()
        self._smtp = self._connected()

    def transmit(self, sender: str, recipient: str, content: bytes) -> Answer:
        """Hand over one message in ASCII with CRLF; addresses are without names."""
        smtp = self._smtp
        if smtp is None:
            raise RuntimeError("connect() must come first")
        try:
            refused = self._envelope(smtp, sender, recipient, len(content))
        except (smtplib.SMTPServerDisconnected, OSError) as error:
            self.close()
            return Answer("defer", _words(f"the mail server went away ({error})"), gone=True)
        if refused is not None:
            self._reset()
            return refused
        try:
            if smtp.sock is not None:
                smtp.sock.settimeout(_SECONDS_AT_THE_END)
            smtp.send(re.sub(rb"(?m)^\.", b"..", content) + b".\r\n")
            code, reply = smtp.getreply()
            if smtp.sock is not None:
                smtp.sock.settimeout(_SECONDS)
        except (smtplib.SMTPServerDisconnected, OSError) as error:
            self.close()
            words = _words(f"the mail server went away before it answered ({error})")
            return Answer("lose", words, gone=True)
        if code == 250:
            return Answer("send", _answer(code, reply))
        self._reset()
        return _no(code, reply)

    def close(self) -> None:
        """End the connection, if any."""
        smtp, self._smtp = self._smtp, None
        if smtp is not None:
            with suppress(smtplib.SMTPException, OSError):
                smtp.quit()
            smtp.close()

    def _envelope(
        self, smtp: smtplib.SMTP, sender: str, recipient: str, size: int
    ) -> Answer | None:
        """Announce sender, size and recipient; the answer if the server declines."""
        code, reply = smtp.mail(sender, [f"size={size}"] if smtp.has_extn("size") else [])
        if code == _TOO_BIG:
            return Answer("refuse", _answer(code, reply))
        if code != 250:  # about the sender or the volume, not about this message
            return Answer("defer", _answer(code, reply), stops=True)
        code, reply = smtp.rcpt(recipient)
        if code not in (250, 251):
            return _no(code, reply)
        code, reply = smtp.docmd("DATA")
        return None if code == 354 else _no(code, reply)

    def _reset(self) -> None:
        """Prepare for the next message, or close the connection."""
        if self._smtp is not None:
            try:
                self._smtp.rset()
            except (smtplib.SMTPException, OSError):
                self.close()

    def _connected(self) -> smtplib.SMTP:
        settings = self._settings
        trust = None if settings.smtp_security == "none" else _trust(settings.smtp_ca)
        with self._sentences(), ExitStack() as on_error:
            if trust is None:
                _require_here(self._host)
            if settings.smtp_security == "tls":
                smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                    self._host, self._port, timeout=_SECONDS, context=trust
                )
            else:
                smtp = smtplib.SMTP(self._host, self._port, timeout=_SECONDS)
            on_error.callback(smtp.close)
            if settings.smtp_security == "starttls":
                smtp.starttls(context=trust)
            smtp.ehlo_or_helo_if_needed()
            if settings.smtp_user is not None and settings.smtp_password is not None:
                smtp.login(settings.smtp_user, settings.smtp_password.get_secret_value())
            on_error.pop_all()
        return smtp

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            raise self._unusable(
                f"its certificate cannot be trusted: {error.verify_message}",
                "set BILLING_SMTP_CA to its authority's certificates",
            ) from None
        except smtplib.SMTPAuthenticationError as error:
            raise self._unusable(
                f"it refuses the user: {_answer(error.smtp_code, error.smtp_error)}",
                "check BILLING_SMTP_USER and BILLING_SMTP_PASSWORD",
            ) from None
        except smtplib.SMTPNotSupportedError as error:
            raise self._unusable(str(error), "check BILLING_SMTP_SECURITY") from None
        except (smtplib.SMTPException, OSError) as error:
            raise self._unusable(
                _words(f"it cannot be reached: {error}"),
                "check BILLING_SMTP_HOST, BILLING_SMTP_PORT and BILLING_SMTP_SECURITY",
            ) from None

    def _unusable(self, what: str, remedy: str) -> UnusableMailServer:
        where = f"mail server {self._host}:{self._port}"
        return UnusableMailServer(what, where=where, remedy=f"{remedy}; what is queued waits")


def _no(code: int, reply: bytes) -> Answer:
    return Answer("refuse" if code >= 500 else "defer", _answer(code, reply))


def _answer(code: int, reply: bytes | str) -> str:
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    return _words(f"{code} {text}")


def _words(text: str) -> str:
    return " ".join(printable(text).split())[:_LONGEST]


def _host(settings: Settings) -> str:
    if settings.smtp_host is None:
        raise InvalidSettings(
            "no mail server is named",
            where="BILLING_SMTP_HOST",
            remedy="set it, or write a preview of the messages into a folder",
        )
    if (settings.smtp_user is None) != (settings.smtp_password is None):
        raise InvalidSettings(
            "the user and the password must both be set",
            where="BILLING_SMTP_USER",
            remedy="set BILLING_SMTP_USER and BILLING_SMTP_PASSWORD, or neither",
        )
    return settings.smtp_host


def _trust(authority: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise InvalidSettings(
            f"the certificates cannot be read ({error.strerror or error})",
            where="BILLING_SMTP_CA",
            remedy="name a file in PEM format",
        ) from None


def _require_here(host: str) -> None:
    """Refuse an unencrypted connection to another machine."""
    addresses = {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(host, None)}
    if not all(ipaddress.ip_address(address).is_loopback for address in addresses):
        raise InvalidSettings(
            f"the connection to {host} would not be encrypted",
            where="BILLING_SMTP_SECURITY",
            remedy="set it to starttls or tls; none is for a server on this machine",
        )


MEDIA = {".pdf": "application/pdf", ".csv": "text/csv"}
"""The media types of attachments."""


@dataclass(frozen=True)
class Archived:
    """An attachment from an audit record, by its place in the archive."""

    place: str
    sha256: str


@dataclass(frozen=True)
class OutboxFile:
    """An attachment that only the outbox holds."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Outgoing:
    """A message to one recipient: rows of the tables message, told and attachment, without state
    and stamps."""

    row: dict[str, Any]
    tells: list[dict[str, Any]]
    attachments: list[dict[str, Any]]


def outgoing(
    letter: Letter,
    sender: Mailbox,
    recipient: Mailbox,
    about: Mapping[str, Any],
    tells: Sequence[Mapping[str, Any]],
    files: Iterable[Archived | OutboxFile],
) -> Outgoing:
    """A message with this letter.

    Parameters
    ----------
    about
        ``name`` (the beginning of its id), ``kind``, ``period``, ``team``.
    tells
        ``kind``, ``key``, ``facility``, ``version``, ``fingerprint`` of each document told.
    """
    versions = {f"{row['key']}/{row['version']}" for row in tells}
    identity = "\n".join([about["kind"], recipient.address, *sorted(versions)])
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", about["name"])
    key = f"{plain}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    return Outgoing(
        {
            "id": key,
            **{name: about[name] for name in ("kind", "period", "team")},
            "sender": str(sender),
            "recipient": str(recipient),
            "subject": letter.subject,
            "text": letter.text,
            "html": letter.html,
        },
        [{**row, "address": recipient.address, "message": key} for row in tells],
        [_row(key, position, file) for position, file in enumerate(files, 1)],
    )


def mail_of(
    row: Mapping[str, Any],
    attachments: Iterable[Mapping[str, Any]],
    archive: Folder,
    queued_at: dt.datetime | None,
) -> Mail:
    """The message from rows of the outbox.

    Raises
    ------
    InvalidRecord
        The archive lacks an attachment or has a different file in its place.
    """
    texts = {name: row[name] for name in ("id", "sender", "recipient", "subject", "text", "html")}
    attached = []
    for file in attachments:
        if file["place"] is None:
            content = bytes(file["content"])
        else:
            record, _, path = file["place"].partition("/data/")
            content = sealed_file(open_record(archive, record), path, file["sha256"])
        attached.append(Attached(file["name"], file["media_type"], content))
    return Mail(**texts, queued_at=queued_at, attached=attached)


def read_mail(connection: Connection, settings: Settings, message_id: str) -> Mail:
    """A message of the outbox; InvalidRecord as ``mail_of``."""
    row = messages.read_message(connection, message_id)
    attachments = messages.read_attachments(connection, message_id)
    return mail_of(row, attachments, settings.runs, row["queued_at"])


def write_previews(mails: Iterable[Mail], folder: Path) -> tuple[int, int]:
    """Write messages as ``.eml`` files; the number of messages and of changed files."""
    make_folder(folder)
    written = [write_file(folder / f"{mail.id}.eml", mail_bytes(mail)) for mail in mails]
    return len(written), sum(written)


def _row(message: str, position: int, file: Archived | OutboxFile) -> dict[str, Any]:
    if isinstance(file, OutboxFile):
        sha256 = hashlib.sha256(file.content).hexdigest()
        columns = {"name": file.name, "sha256": sha256, "place": None, "content": file.content}
    else:
        name = Path(file.place).name
        columns = {"name": name, "sha256": file.sha256, "place": file.place, "content": None}
    media = MEDIA[Path(str(columns["name"])).suffix]
    return {"message": message, "position": position, "media_type": media, **columns}


MOST_TRIES = 13
"""A message counts as refused after so many tries, in about five days (RFC 5321, 4.5.4.1)."""

_LONGEST_WAIT = dt.timedelta(days=1)
_GONE_TOO_OFTEN = 2  # in a row; such a server would leave every message uncertain
_DIED = "a process ended while it was sending this"


@dataclass
class Sent:
    """The result of sending."""

    sent: int = 0  # number of messages that the server took
    sentences: list[str] = field(default_factory=list)  # a sentence on each other message
    failed: bool = False  # whether a person has to look at one

    def say(self, sentence: str, *, failed: bool = True) -> None:
        """Add a sentence on an unsent message."""
        self.sentences.append(sentence)
        self.failed = self.failed or failed


def send_waiting(engine: Engine, settings: Settings, step: Progress = unheard) -> Sent:
    """Send the due messages of facilities where the user is an issuer."""
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
                    done.say(f"{count_of(left, 'message')} left for another time")
                    break
        except UnusableMailServer as error:
            done.say(str(error))
        finally:
            server.close()
    return done


def wait_after(attempts: int) -> dt.timedelta:
    """The time until the next try: 5 minutes, 10, 20, … a day at most."""
    return min(dt.timedelta(minutes=5 << (attempts - 1)), _LONGEST_WAIT)


def _settle(engine: Engine, done: Sent) -> None:
    """Make messages UNCERTAIN that a dead process was sending; call it under the lock."""
    with reading(engine) as connection:
        abandoned = messages.read_messages(connection, states=(SENDING,))["id"].to_list()
    for message_id in abandoned:
        _mark(engine, message_id, Answer("lose", _DIED), done)


def _due(engine: Engine) -> list[str]:
    """The ids of the due messages that the user may send."""
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
    """Send one message; the server's answer, or None if the message was not sent."""
    with writing(engine) as connection:
        lapsed = messages.lapsed_invoices(connection, message_id)
        if lapsed:
            reason = f"invoice {', '.join(lapsed)} counts no longer"
            messages.move_message(connection, message_id, "withdraw", reason)
            done.say(f"message {message_id} is withdrawn: {reason}", failed=False)
            return None
        try:
            mail = read_mail(connection, settings, message_id)
        except InvalidRecord as error:
            done.say(f"message {message_id} waits: {error}")
            return None
    content = mail_bytes(mail)
    server.connect()
    with writing(engine) as connection:
        if not messages.claim_message(connection, message_id):
            return None  # withdrawn meanwhile
    answer = server.transmit(parseaddr(mail.sender)[1], parseaddr(mail.recipient)[1], content)
    _mark(engine, message_id, answer, done)
    return answer


def _mark(engine: Engine, message_id: str, answer: Answer, done: Sent) -> None:
    """Record the outcome of a claimed message."""
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
    sentence = f"{state} {message_id} to {recipient}: {said}"
    if state == UNCERTAIN:
        return (
            f"{sentence}; the server may have it: ask the recipient, then settle it with "
            "'billing outbox'"
        )
    if next_try is not None:
        return f"{sentence}; tried again from {next_try:%Y-%m-%d %H:%M}Z"
    return sentence


def tell_staff(
    connection: Connection, message_id: str, state: str, attempts: int, sentence: str
) -> None:
    """Show a message's outcome to the staff of its facilities, once per state and try."""
    messages.add_notices(
        connection,
        [
            {
                "facility": facility,
                "team": messages.STAFF,
                "kind": state.lower(),
                "key": f"{message_id}/{attempts}",
                "text": sentence,
                "link": "",
            }
            for facility in messages.facilities_of(connection, message_id)
        ],
    )


_PLACE = "{id}"


def sender_of(settings: Settings, name: str) -> Mailbox:
    """The sender of messages, with this name unless the setting has one."""
    where, remedy = "BILLING_SMTP_FROM", "set it to the address for bounces"
    if settings.smtp_from is None:
        raise InvalidSettings("the sender of mail is not set", where=where, remedy=remedy)
    try:
        mailbox = parse_mailbox(settings.smtp_from)
    except InvalidAddress as error:
        raise InvalidSettings(error.what, where=where, remedy=remedy) from None
    return mailbox if mailbox.name else Mailbox(mailbox.address, name)


def link_of(settings: Settings) -> Link:
    """The address of the page about an invoice number or statement id."""
    url = settings.portal_url
    if url is None:
        return lambda _: None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or _PLACE not in url:
        raise InvalidSettings(
            f"'{url}' is no address of a page about an invoice",
            where="BILLING_PORTAL_URL",
            remedy=f"write it as https://…/{_PLACE}",
        )
    return lambda key: url.replace(_PLACE, quote(key, safe=""))
