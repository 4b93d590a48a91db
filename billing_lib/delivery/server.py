"""The mail server: one connection for many messages, and what each of its answers means.

    250 to the message       send      the server has taken it
    5xx to the recipient     refuse    for good
    4xx, or it went away     defer     nothing was taken; tried again later
    no answer to the end     lose      it may have taken it

The last is the one that SMTP leaves open (RFC 5321, 4.5.3.2.6): between the message's final dot
and the answer nobody but the server knows. smtplib is the protocol, ssl checks the certificate.
"""

import ipaddress
import re
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from billing_lib.documents.text import printable
from billing_lib.errors import InvalidSettings, UnusableMailServer
from billing_lib.settings import Settings

_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_SECONDS, _SECONDS_AT_THE_END = 60, 600  # RFC 5321, 4.5.3.2: ten minutes after the final dot
_TOO_BIG = 552
_LONGEST = 500


@dataclass(frozen=True)
class Answer:
    """What became of one message.

    Attributes
    ----------
    action
        The move of states.py that it makes: send, refuse, defer or lose.
    said
        The server's words.
    stops
        Whether the server would answer the next message alike.
    gone
        Whether it went away.
    """

    action: str
    said: str
    stops: bool = False
    gone: bool = False


class MailServer:
    """A mail server that is connected to when a message is there for it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._smtp: smtplib.SMTP | None = None
        self._host = _host(settings)
        self._port = settings.smtp_port or _PORTS[settings.smtp_security]

    def connect(self) -> None:
        """Be connected and logged in: anew where there is no connection, or it was dropped.

        Raises
        ------
        UnusableMailServer
            It cannot be reached, is not who it should be, or refuses the user.
        InvalidSettings
            The settings do not fit together, or name a file that is none.
        """
        if self._smtp is not None:
            with suppress(smtplib.SMTPException, OSError):
                if self._smtp.noop()[0] == 250:
                    return
            self.close()
        self._smtp = self._connected()

    def transmit(self, sender: str, recipient: str, content: bytes) -> Answer:
        """Hand one message over; call ``connect`` before.

        Parameters
        ----------
        sender, recipient
            Addresses without names.
        content
            The message in ASCII with CRLF.
        """
        smtp = self._smtp
        if smtp is None:
            raise RuntimeError("connect comes first")
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
            said = _words(f"the mail server went away before it answered ({error})")
            return Answer("lose", said, gone=True)
        if code == 250:
            return Answer("send", _answer(code, reply))
        self._reset()
        return _no(code, reply)

    def close(self) -> None:
        """End the connection, if there is one."""
        smtp, self._smtp = self._smtp, None
        if smtp is not None:
            with suppress(smtplib.SMTPException, OSError):
                smtp.quit()
            smtp.close()

    def _envelope(
        self, smtp: smtplib.SMTP, sender: str, recipient: str, size: int
    ) -> Answer | None:
        """Say who sends what to whom; the answer if it ends there."""
        code, said = smtp.mail(sender, [f"size={size}"] if smtp.has_extn("size") else [])
        if code == _TOO_BIG:
            return Answer("refuse", _answer(code, said))
        if code != 250:  # this is about who sends or how much, not about this message
            return Answer("defer", _answer(code, said), stops=True)
        code, said = smtp.rcpt(recipient)
        if code not in (250, 251):
            return _no(code, said)
        code, said = smtp.docmd("DATA")
        return None if code == 354 else _no(code, said)

    def _reset(self) -> None:
        """Be ready for the next message, or without a connection."""
        if self._smtp is not None:
            try:
                self._smtp.rset()
            except (smtplib.SMTPException, OSError):
                self.close()

    def _connected(self) -> smtplib.SMTP:
        its = self._settings
        trust = None if its.smtp_security == "none" else _trust(its.smtp_ca)
        with self._sentences(), ExitStack() as undone:
            if trust is None:
                _require_here(self._host)
            if its.smtp_security == "tls":
                smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                    self._host, self._port, timeout=_SECONDS, context=trust
                )
            else:
                smtp = smtplib.SMTP(self._host, self._port, timeout=_SECONDS)
            undone.callback(smtp.close)
            if its.smtp_security == "starttls":
                smtp.starttls(context=trust)
            smtp.ehlo_or_helo_if_needed()
            if its.smtp_user is not None and its.smtp_password is not None:
                smtp.login(its.smtp_user, its.smtp_password.get_secret_value())
            undone.pop_all()
        return smtp

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            raise self._unusable(
                f"its certificate cannot be trusted: {error.verify_message}",
                "name its authority's certificates in BILLING_SMTP_CA",
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


def _no(code: int, said: bytes) -> Answer:
    return Answer("refuse" if code >= 500 else "defer", _answer(code, said))


def _answer(code: int, said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return _words(f"{code} {text}")


def _words(text: str) -> str:
    return " ".join(printable(text).split())[:_LONGEST]


def _host(settings: Settings) -> str:
    if settings.smtp_host is None:
        raise InvalidSettings(
            "no mail server is named",
            where="BILLING_SMTP_HOST",
            remedy="set it, or write the messages into a folder with --preview",
        )
    if (settings.smtp_user is None) != (settings.smtp_password is None):
        raise InvalidSettings(
            "a user has a password, and a password a user",
            where="BILLING_SMTP_USER",
            remedy="set BILLING_SMTP_PASSWORD too, or neither",
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
    """Refuse to send in the clear to another machine."""
    found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    if not all(ipaddress.ip_address(str(it).partition("%")[0]).is_loopback for it in found):
        raise InvalidSettings(
            f"the connection to {host} would not be encrypted",
            where="BILLING_SMTP_SECURITY",
            remedy="say starttls or tls; none is for a server on this machine",
        )
