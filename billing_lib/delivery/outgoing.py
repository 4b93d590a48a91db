"""A message that is about to be queued, and the same message read back to be sent.

What is attached is named by its place in the archive, with its sha256; only what the archive does
not hold is kept in the outbox itself. So a message is the same bytes whenever it is sent, or it
is not sent.
"""

import datetime as dt
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from billing_lib.documents.letter import Letter
from billing_lib.documents.mail import Attached, Mail, mail_bytes
from billing_lib.documents.writing import make_folder, write_file
from billing_lib.errors import InvalidRecord
from billing_lib.workflow.recipients import Mailbox

PDF = "application/pdf"


@dataclass(frozen=True)
class Archived:
    """A file of an audit record that a message attaches, and its place in the archive."""

    place: str
    sha256: str


@dataclass(frozen=True)
class Made:
    """A file that only the outbox holds."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Outgoing:
    """A message to one recipient, as rows of the outbox without state and stamps.

    Attributes
    ----------
    row
        Of the table message.
    tells, attachments
        Of the tables told and attachment.
    """

    row: dict[str, Any]
    tells: list[dict[str, Any]]
    attachments: list[dict[str, Any]]


def outgoing(
    letter: Letter,
    sender: Mailbox,
    recipient: Mailbox,
    about: Mapping[str, Any],
    tells: Sequence[Mapping[str, Any]],
    files: Iterable[Archived | Made],
) -> Outgoing:
    """A message with this letter.

    Parameters
    ----------
    about
        ``name`` that its id begins with, ``kind``, ``period``, ``team``.
    tells
        ``kind``, ``key``, ``facility``, ``version``, ``fingerprint`` of what it tells.
    """
    named = [f"{row['key']}/{row['version']}" for row in tells]
    told = "\n".join([about["kind"], recipient.address, *sorted(set(named))])
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", about["name"])
    key = f"{plain}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    return Outgoing(
        {
            "id": key,
            "kind": about["kind"],
            "period": about["period"],
            "team": about["team"],
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
    archive: Path,
    queued_at: dt.datetime | None,
) -> Mail:
    """The message that rows of the outbox say.

    Raises
    ------
    InvalidRecord
        An attached file is not in the archive, or is not what it was.
    """
    texts = {name: row[name] for name in ("id", "sender", "recipient", "subject", "text", "html")}
    return Mail(
        **texts,
        queued_at=queued_at,
        attached=[
            Attached(each["name"], each["media_type"], _content(each, archive))
            for each in attachments
        ],
    )


def write_previews(mails: Iterable[Mail], folder: Path) -> tuple[int, int]:
    """Write messages as ``.eml`` files; how many there are, and how many were not so already.

    Raises
    ------
    UnwritableFile
        The folder cannot be written.
    """
    make_folder(folder)
    written = [write_file(folder / f"{mail.id}.eml", mail_bytes(mail)) for mail in mails]
    return len(written), sum(written)


def _row(message: str, position: int, file: Archived | Made) -> dict[str, Any]:
    if isinstance(file, Made):
        sha256 = hashlib.sha256(file.content).hexdigest()
        stated = {"name": file.name, "sha256": sha256, "place": None, "content": file.content}
    else:
        name = Path(file.place).name
        stated = {"name": name, "sha256": file.sha256, "place": file.place, "content": None}
    return {"message": message, "position": position, "media_type": PDF, **stated}


def _content(row: Mapping[str, Any], archive: Path) -> bytes:
    if row["place"] is None:
        return bytes(row["content"])
    return read_archived(archive, row["place"], row["sha256"])


def read_archived(archive: Path, place: str, sha256: str | None = None) -> bytes:
    """A file of the archive.

    Raises
    ------
    InvalidRecord
        It is not there, or another than the one with this sha256.
    """
    try:
        content = (archive / place).read_bytes()
    except OSError as error:
        raise InvalidRecord(
            f"the archived file cannot be read ({error.strerror})",
            where=str(archive / place),
            remedy="check BILLING_RUNS, or bring the record back",
        ) from None
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise InvalidRecord(
            "the archived file is not what it was",
            where=str(archive / place),
            remedy="'billing verify' tells more",
        )
    return content
