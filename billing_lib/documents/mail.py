"""A mail message: multipart text and HTML with attachments, the same bytes each time.

    multipart/mixed
        multipart/alternative     text/plain, text/html
        application/pdf           RC-1994-00003.pdf

The bytes depend on the queued message alone: boundaries come from its id, lines are ASCII with
CRLF. Python's email package implements RFC 5322 and 2045 to 2047; ``Auto-Submitted`` (RFC 3834)
tells that no person wrote it.
"""

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

_WIRE = SMTP.clone(cte_type="7bit")


@dataclass(frozen=True)
class Attached:
    """A file in a message."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True)
class Mail:
    """A message to one recipient; addresses are with or without names."""

    id: str  # its key in the outbox
    sender: str
    recipient: str
    subject: str
    text: str
    html: str
    queued_at: dt.datetime | None  # its date; None for a preview
    attached: Sequence[Attached] = ()


def message_id(mail_id: str, sender: str) -> str:
    """The Message-ID: the id in the sender's domain, so that receivers recognise a second copy."""
    return f"<{mail_id}@{parseaddr(sender)[1].rpartition('@')[2]}>"


def mail_bytes(mail: Mail) -> bytes:
    """The message for SMTP and for ``.eml`` files; mail programs show a preview as a draft."""
    message = EmailMessage(_WIRE)
    message["From"] = mail.sender
    message["To"] = mail.recipient
    message["Subject"] = mail.subject
    message["Message-ID"] = message_id(mail.id, mail.sender)
    if mail.queued_at is None:
        message["X-Unsent"] = "1"
    else:
        message["Date"] = format_datetime(mail.queued_at.replace(microsecond=0))
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    for file in mail.attached:
        kind, _, subtype = file.media_type.partition("/")
        message.add_attachment(file.content, kind, subtype, filename=file.name)
    seed = hashlib.sha256(mail.id.encode()).hexdigest()[:24]
    for number, part in enumerate(part for part in message.walk() if part.is_multipart()):
        part.set_boundary(f"={number}={seed}=")
    return message.as_bytes()
