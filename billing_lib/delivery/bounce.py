"""Bounces: a mail server's report on an undelivered message, matched to the message in the outbox.

    billing bounce undeliverable.eml
    BOUNCED RC-1994-00003-3f09ab12cd34 to ann@example.edu: 5.1.1 550 No such user here

A delivery status notification (RFC 3464) is a multipart/report: fields per recipient, among them
``Action: failed``, and the returned message or its headers, with the Message-ID.
"""

from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import Message
from pathlib import Path

from sqlalchemy import Engine

from billing_lib.delivery.send import tell_staff
from billing_lib.documents.mail import message_id
from billing_lib.documents.text import printable
from billing_lib.errors import UnknownMessage, UnreadableFile
from billing_lib.ledger import messages
from billing_lib.ledger.database import writing
from billing_lib.ledger.states import BOUNCED
from billing_lib.sources.files import read_plain
from billing_lib.workflow.permissions import ISSUER, require

_LONGEST = 500


@dataclass(frozen=True)
class Report:
    """The content of a delivery status notification."""

    returned: str  # the Message-ID of the returned message
    action: str  # failed, delayed, delivered, relayed or expanded
    said: str  # the status and the words of the refusing server


def read_report(content: bytes, name: str) -> Report:
    """The report in a mail."""
    mail = message_from_bytes(content, policy=policy.default)
    parts = list(mail.walk())
    status = next((it for it in parts if it.get_content_type() == "message/delivery-status"), None)
    if status is None:
        raise UnreadableFile(
            "it is no report on an undelivered message (RFC 3464)",
            where=name,
            remedy="save the whole mail, including its headers",
        )
    fields = [group for group in status.walk() if group.get("Action")]
    returned = next((it for it in parts if _is_returned(it)), None)
    original = _original_id(returned) if returned is not None else None
    if not fields or original is None:
        raise UnknownMessage(
            "the report does not name its message",
            where=name,
            remedy="look for the message in the outbox, sent ones too",
        )
    worst = next((it for it in fields if _plain(it["Action"]).lower() == "failed"), fields[0])
    words = [_plain(worst.get("Status")), _plain(worst.get("Diagnostic-Code"))]
    return Report(
        original,
        _plain(worst["Action"]).lower(),
        " ".join(word for word in words if word)[:_LONGEST] or "no reason is given",
    )


def note_bounce(engine: Engine, path: Path) -> str:
    """Mark a message as bounced, by the report in a file; returns a sentence."""
    report = read_report(read_plain(path), str(path))
    key = report.returned.strip("<>").partition("@")[0]
    with writing(engine) as connection:
        row = messages.read_message(connection, key)
        if message_id(row["id"], row["sender"]) != report.returned:
            raise UnknownMessage(f"no message is {report.returned}", where=str(path))
        for facility in messages.facilities_of(connection, key):
            require(connection, facility, ISSUER)
        if report.action != "failed":
            return f"message {key} to {row['recipient']} is {report.action}, nothing changed"
        if row["state"] == BOUNCED:
            return f"message {key} to {row['recipient']} bounced before, nothing changed"
        messages.move_message(connection, key, "bounce", report.said)
        sentence = f"{BOUNCED} {key} to {row['recipient']}: {report.said}"
        tell_staff(connection, key, BOUNCED, row["attempts"], sentence)
    return sentence


def _is_returned(part: Message) -> bool:
    return part.get_content_type() in ("message/rfc822", "text/rfc822-headers")


def _original_id(part: Message) -> str | None:
    """The Message-ID of the returned message or of its headers alone."""
    inner = part.get_payload()
    if isinstance(inner, list):
        identity = next((it.get("Message-ID") for it in inner if isinstance(it, Message)), None)
    else:
        text = part.get_payload(decode=True)
        headers = message_from_bytes(text if isinstance(text, bytes) else b"")
        identity = headers.get("Message-ID")
    return _plain(identity) or None


def _plain(value: object) -> str:
    return "" if value is None else " ".join(printable(str(value)).split())
