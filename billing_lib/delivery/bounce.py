"""Bounces: a report that came back by mail, matched to the message and shown on its run.

    billing bounce undeliverable.eml
    BOUNCED RC-1994-00003-3f09ab12cd34 to ann@example.edu: 5.1.1 550 No such user here

A delivery status notification (RFC 3464) is a multipart/report: a part of fields per recipient,
``Action: failed`` among them, and the message that was returned, or its headers, which name the
Message-ID.
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
from billing_lib.workflow.permissions import ISSUER, require

_LONGEST = 500


@dataclass(frozen=True)
class Report:
    """What a delivery status notification says.

    Attributes
    ----------
    returned
        The Message-ID of the message it is about.
    action
        failed, delayed, delivered, relayed or expanded.
    said
        The status and the words of the server that refused.
    """

    returned: str
    action: str
    said: str


def read_report(content: bytes, name: str) -> Report:
    """The report that a mail holds."""
    mail = message_from_bytes(content, policy=policy.default)
    parts = list(mail.walk())
    status = next((it for it in parts if it.get_content_type() == "message/delivery-status"), None)
    if status is None:
        raise UnreadableFile(
            "it is no report on a message that was not delivered (RFC 3464)",
            where=name,
            remedy="save the whole mail as it came, headers included",
        )
    fields = [group for group in status.walk() if group.get("Action")]
    returned = next((it for it in parts if _is_returned(it)), None)
    original = _original_id(returned) if returned is not None else None
    if not fields or original is None:
        raise UnknownMessage(
            "the report does not say which message it is about",
            where=name,
            remedy="find the message with 'billing outbox --all'",
        )
    worst = next((it for it in fields if _plain(it["Action"]).lower() == "failed"), fields[0])
    words = [_plain(worst.get("Status")), _plain(worst.get("Diagnostic-Code"))]
    return Report(
        original,
        _plain(worst["Action"]).lower(),
        " ".join(word for word in words if word)[:_LONGEST] or "no reason is given",
    )


def note_bounce(engine: Engine, path: Path) -> str:
    """Note that a message was not delivered, by the report that came back; what was done."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableFile(f"it cannot be read ({error.strerror})", where=str(path)) from None
    report = read_report(content, str(path))
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
    """The Message-ID of the message that came back, whole or its headers only."""
    inner = part.get_payload()
    if isinstance(inner, list):
        found = next((it.get("Message-ID") for it in inner if isinstance(it, Message)), None)
    else:
        text = part.get_payload(decode=True)
        headers = message_from_bytes(text if isinstance(text, bytes) else b"")
        found = headers.get("Message-ID")
    return _plain(found) or None


def _plain(value: object) -> str:
    return "" if value is None else " ".join(printable(str(value)).split())
