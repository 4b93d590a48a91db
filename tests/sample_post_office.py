"""A real mail server on loopback: STARTTLS and a login, TLS, or neither, and moods.

office.moods["bob@example.edu"] = "550 5.1.1 No such user here"     said to RCPT
office.moods["eve@example.edu"] = "dies"                            at RCPT
office.ends["ann@example.edu"] = "dies"                             after the message
"""

import socket
import ssl
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from billing_lib.settings import Settings

USER, PASSWORD = "billing", "c0rrect-horse"
DIES = "dies"


class PostOffice:
    """What the server got and how it answers; the handler of aiosmtpd."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.authority = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self.controllers = {
            "starttls": Controller(
                self,
                hostname="127.0.0.1",
                port=_free_port(),
                tls_context=context,
                require_starttls=True,
                auth_required=True,
                authenticator=self._authenticate,
            ),
            "tls": Controller(self, hostname="127.0.0.1", port=_free_port(), ssl_context=context),
            "none": Controller(self, hostname="127.0.0.1", port=_free_port()),
        }
        self.clear()

    def clear(self) -> None:
        """Forget what was got and said."""
        self.got: list[tuple[str, bytes]] = []
        self.moods: dict[str, str] = {}
        self.ends: dict[str, str] = {}
        self.sessions = 0
        self.sender_mood = "250 OK"
        self.before_answering: Callable[[], None] = lambda: None

    def settings(self, security: str = "starttls", **others: Any) -> Settings:
        """The settings of a billing office that sends by it."""
        here = {
            "smtp_host": "127.0.0.1",
            "smtp_port": self.controllers[security].port,
            "smtp_security": security,
            "smtp_user": USER if security == "starttls" else None,
            "smtp_password": PASSWORD if security == "starttls" else None,
            "smtp_from": "billing@example.edu",
            "smtp_ca": self.authority,
            "portal_url": "https://billing.example.edu/?id={id}",
        }
        return Settings(**(here | others))

    def mails(self, address: str | None = None) -> list[EmailMessage]:
        """The messages that it took, in order, perhaps only to this recipient."""
        return [
            message_from_bytes(content, policy=policy.default)
            for recipient, content in self.got
            if address in (None, recipient)
        ]

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: Any
    ) -> AuthResult:
        wanted = LoginPassword(USER.encode(), PASSWORD.encode())
        self.sessions += login == wanted
        return AuthResult(success=login == wanted, handled=False)

    async def handle_MAIL(  # noqa: N802 — aiosmtpd calls it so
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.sender_mood.startswith("250"):
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return self.sender_mood

    async def handle_RCPT(  # noqa: N802 — aiosmtpd calls it so
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        mood = self.moods.get(address, "250 OK")
        if mood == DIES:
            _die(server)
        elif mood.startswith("250"):
            envelope.rcpt_tos.append(address)
        return mood

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        (recipient,) = envelope.rcpt_tos
        end = self.ends.get(recipient, "250 2.0.0 Ok: queued as 4F1")
        if end.startswith(("250", DIES)):
            self.got.append((recipient, bytes(envelope.original_content or b"")))
        self.before_answering()
        if end == DIES:
            _die(server)
        return end


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _die(server: SMTP) -> None:
    assert server.transport is not None
    server.transport.abort()
